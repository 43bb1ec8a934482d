"""Training: maps drawn as they are needed, in steps that can be interrupted and gone on with."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.inference import codec
from skysift.inference.model import Family, Member, Model, Network, each, start
from skysift.inference.networks import AbstractNetwork, learnt
from skysift.inference.optimiser import optimiser
from skysift.inference.simulators import AbstractSimulator, FunctionSimulator, Observed, Split
from skysift.inference.summary import AbstractSummary

_KIND = "checkpoint"
_CHUNK = 500
_TOLD_BY_PILOT = 2000
"""Maps that scale the numbers of a summary that learns."""
_GAIN = 0.01
"""Validation loss [nats] that the last quarter of the epochs may still gain."""


class Status(enum.Enum):
    """How training ended."""

    CONVERGED = "validation improves no more"
    EPOCH_LIMIT = "all epochs done, validation still improves"
    DIVERGED = "loss not finite: the best state before is kept"


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Args:
        maps: of one epoch. Numbers of a fixed summary are computed once for as many; of one that
            learns every epoch has new maps.
        validation: maps on which the best state is chosen.
        epochs: at most.
        batch: maps of a step.
        learning_rate: the largest, of one cycle (Smith & Topin 2017, arXiv:1708.07120).
        weight_decay: of AdamW, on weights of layers.
        patience: epochs without improvement after which training ends.
        members: networks that are trained, whose densities are averaged.
        pilot: maps from which the head starts.

    Raises:
        ValueError: for numbers that make no sense.
    """

    maps: int = 100_000
    validation: int = 10_000
    epochs: int = 20
    batch: int = 500
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 8
    members: int = 1
    pilot: int = 50_000

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            least = 0 if one.name == "weight_decay" else 1
            wrong = value < least if one.type == "int" else not (0.0 <= value < math.inf)
            if wrong or (one.name == "learning_rate" and value == 0.0):
                raise ValueError(
                    f"{one.name}: expected {'more than 0' if least else '0 or more'}, got {value}. "
                    f"Say {one.name}={one.default}."
                )
        if self.batch > self.maps:
            raise ValueError(
                f"batch: expected at most the {self.maps} maps of an epoch, got {self.batch}. "
                "Take smaller batches."
            )


@dataclass(frozen=True)
class Epoch:
    """What one epoch reached.

    Args:
        number: from 1 on; 0 is the start.
        training: mean loss of each member, minus the log density in the box of the prior.
        validation: the same of validation maps.
        error: root mean square error of validation maps, of each parameter, over members.
    """

    number: int
    training: tuple[float, ...]
    validation: tuple[float, ...]
    error: tuple[float, ...]


@dataclass(frozen=True)
class Progress:
    """What a training does now.

    Args:
        stage: `maps` of a fixed summary, or `epochs`.
        done: of the stage.
        total: of the stage.
        epoch: the last one.
    """

    stage: str
    done: int
    total: int
    epoch: Epoch | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Args:
        model: of the states that are best on validation maps.
        status: how training ended.
        history: of all epochs.
    """

    model: Model
    status: Status
    history: tuple[Epoch, ...]


class _State(eqx.Module):
    """All that a training goes on from: arrays of the members, learnt or not."""

    values: Member
    optimiser: Any
    best: Member
    lowest: Float[Array, " member"]


class _Data(eqx.Module):
    """Numbers of a fixed summary and places, for training or validation."""

    numbers: Float[Array, "map number"]
    places: Float[Array, "map parameter"]


class _Run(eqx.Module):
    """What does not change during a training."""

    simulator: AbstractSimulator
    plan: Plan = eqx.field(static=True)
    fixed: Member
    train_key: PRNGKeyArray
    validation_key: PRNGKeyArray
    order_key: PRNGKeyArray
    train_data: _Data | None
    validation_data: _Data | None


def train(
    simulator: AbstractSimulator,
    network: Network | AbstractSummary,
    seed: int = 0,
    plan: Plan | None = None,
    *,
    folder: str | Path | None = None,
    report: Callable[[Progress], None] | None = None,
    resume: bool = True,
) -> Trained:
    """Train a network to tell posteriors of the maps of a simulator.

    The loss is minus the mean logarithm of the density at the true parameters, which is least for
    the posterior (Papamakarios & Murray 2016, arXiv:1605.06376). With several devices each has a
    part of each batch. On the same machine a seed gives the same model, bit by bit, also if it was
    interrupted.

    Args:
        simulator: of maps and parameters.
        network: what is trained, or its summary.
        seed: of maps, of the start and of the order.
        plan: how; `None` for `Plan()`.
        folder: for the checkpoint, which is written after each epoch; `None` for none.
        report: is told how far it is.
        resume: go on from the checkpoint of the folder, if there is one.

    Raises:
        ValueError: for a checkpoint of another training, batches that the devices cannot share,
            maps that are not finite, or a network that learns from maps that are not made in JAX.

    Examples:
        >>> from skysift.inference.simulators import t1
        >>> from skysift.inference.summaries import Filtered
        >>> simulator = t1(nside=2)
        >>> plan = Plan(maps=600, validation=100, epochs=1, batch=100)
        >>> result = train(simulator, Filtered.of(simulator), plan=plan)
        >>> result.model(simulator.batch(Split.TEST.key(0), 3)[1].values).mean.shape
        (3, 1)
    """
    plan = plan or Plan()
    network = network if isinstance(network, Network) else Network(network)
    if network.summary.learns and isinstance(simulator, FunctionSimulator) and not simulator.traced:
        raise ValueError(
            "network: expected a fixed summary for a simulator that is not traced by JAX, got "
            f"{type(network.summary).__name__}, which has new maps in each step. Take Filtered."
        )
    told = report or (lambda _: None)
    devices = len(jax.devices())
    if plan.batch % devices:
        raise ValueError(
            f"batch: expected a multiple of the {devices} devices, got {plan.batch}. Say "
            f"batch={math.ceil(plan.batch / devices) * devices}."
        )
    file = None if folder is None else Path(folder) / "training.checkpoint"
    mark = _mark(simulator, network, seed, plan)
    run, state = _begin(simulator, network, seed, plan, told)
    history: tuple[Epoch, ...] = ()
    if file is not None and resume and file.exists():
        state, history = _resumed(file, mark, state)
    else:
        # The start counts: it may be better than what is learnt from few maps.
        losses, error = _validate(run, state.values)
        state = eqx.tree_at(lambda one: one.lowest, state, _finite(losses))
        history = (_epoch_of(simulator, 0, losses, losses, error),)
    ended = _ended(history, plan)
    while ended is None:
        number = history[-1].number + 1
        state, training = _epoch(run, state, jnp.asarray(number))
        losses, error = _validate(run, state.values)
        state = _kept(state, losses)
        history = (*history, _epoch_of(simulator, number, training, losses, error))
        if file is not None:
            header = {"mark": mark, "history": [dataclasses.asdict(one) for one in history]}
            codec.write(file, _KIND, header, state)
        told(Progress("epochs", number, plan.epochs, history[-1]))
        ended = _ended(history, plan)
    members = eqx.combine(state.best, run.fixed)
    figures = {
        "seed": seed,
        "status": ended.name,
        "plan": dataclasses.asdict(plan),
        "epochs": history[-1].number,
        "loss": np.asarray(state.lowest, float).tolist(),
    }
    return Trained(Model(network, members, Family.of(simulator), figures), ended, history)


def _begin(
    simulator: AbstractSimulator,
    network: Network,
    seed: int,
    plan: Plan,
    told: Callable[[Progress], None],
) -> tuple[_Run, _State]:
    """What stays, and the state at the start."""
    keys = [split.key(seed) for split in (Split.TRAIN, Split.VALIDATION)]
    of_start, of_order = jax.random.split(jax.random.fold_in(keys[0], 1))
    members = start(network, simulator.prior.size, of_start, plan.members)
    data = None
    if network.summary.learns:
        places, observed = _drawn(simulator, jax.random.fold_in(keys[0], 0), _TOLD_BY_PILOT)
        members, found = _calibrated(members, observed)
        numbers = np.asarray(found)
    else:
        total = plan.maps + plan.validation
        data = []
        for key, count, before in ((keys[0], plan.maps, 0), (keys[1], plan.validation, plan.maps)):
            one = _numbers(
                simulator,
                network.summary,
                key,
                count,
                lambda done, before=before: told(Progress("maps", before + done, total)),
            )
            data.append(one)
        pilot = slice(0, plan.pilot)
        places = data[0].places[pilot]
        numbers = np.asarray(data[0].numbers[pilot])[None]
    members = _piloted(members, numbers, np.asarray(places), plan.members)
    values, fixed = eqx.partition(members, eqx.is_array)
    optimised = eqx.filter_vmap(_optimiser(plan).init)(eqx.filter(members, learnt(members)))
    lowest = jnp.full(plan.members, jnp.inf, jnp.float32)
    run = _Run(
        simulator,
        plan,
        fixed,
        keys[0],
        keys[1],
        of_order,
        *(data or (None, None)),
    )
    return run, _State(values, optimised, values, lowest)


def _numbers(
    simulator: AbstractSimulator,
    summary: AbstractSummary,
    key: PRNGKeyArray,
    count: int,
    told: Callable[[int], None],
) -> _Data:
    """Numbers of a fixed summary, of maps drawn in parts of one size."""
    numbers = np.empty((count, summary.size), dtype=np.float32)
    places = np.empty((count, simulator.prior.size), dtype=np.float32)
    for part, first in enumerate(range(0, count, _CHUNK)):
        at, observed = _drawn(simulator, jax.random.fold_in(key, 2 + part), _CHUNK)
        some = slice(first, min(first + _CHUNK, count))
        numbers[some] = _summed(summary, observed)[: some.stop - first]
        places[some] = at[: some.stop - first]
        told(some.stop)
    if not np.isfinite(numbers).all():
        raise ValueError(
            "simulator: expected maps with finite numbers, got others. Look at its maps: are they "
            "finite, and not zero everywhere?"
        )
    return _Data(jnp.asarray(numbers), jnp.asarray(places))


@eqx.filter_jit
def _summed(summary: AbstractSummary, observed: Observed) -> Array:
    return summary(observed)


def _drawn(
    simulator: AbstractSimulator, key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "map parameter"], Observed]:
    """Places in the box of the prior, and maps."""
    parameters, observed = simulator.batch(key, count)
    places = simulator.prior.places(parameters)
    return jnp.clip(places, -1.0, 1.0).astype(jnp.float32), observed


def _piloted(members: Member, numbers: np.ndarray, places: np.ndarray, count: int) -> Member:
    """Heads where learning begins; of a fixed summary linear algebra is done once for all."""
    arrays, rest = eqx.partition(members.head, eqx.is_array)
    heads = []
    for number in range(count):
        head = eqx.combine(jax.tree.map(lambda leaf, at=number: leaf[at], arrays), rest)
        heads.append(head.piloted(numbers[number % len(numbers)], places))
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *heads
    )
    return Member(members.summary, stacked)


def _optimiser(plan: Plan) -> optax.GradientTransformation:
    steps = plan.epochs * (plan.maps // plan.batch)
    return optimiser(steps, plan.learning_rate, plan.weight_decay)


@eqx.filter_jit
def _calibrated(members: Member, observed: Observed) -> tuple[Member, Array]:
    """Members whose summaries have the scales of these maps, and their numbers."""

    def one(member: Member) -> tuple[Member, Array]:
        summary = member.summary
        if isinstance(summary, AbstractNetwork):
            summary = summary.calibrated(observed)
        assert summary is not None
        return Member(summary, member.head), summary(observed)

    return eqx.filter_vmap(one, in_axes=(eqx.if_array(0),))(members)


def _loss(
    learning: Member,
    rest: Member,
    numbers: Array | Observed,
    places: Array,
    key: PRNGKeyArray,
    done: Array,
) -> tuple[Array, Member]:
    """Mean loss, and the member with its buffers brought up."""
    member = eqx.combine(learning, rest)
    summary = member.summary
    if isinstance(summary, AbstractNetwork):
        assert isinstance(numbers, Observed)
        found, summary = summary.learning(numbers, key, done)
        mixture = member.head(found)
    else:
        mixture = member(numbers)
    loss = -jnp.mean(mixture.log_prob(places), dtype=jnp.float32)
    return loss, Member(summary, member.head)


@eqx.filter_jit
def _epoch(run: _Run, state: _State, number: Array) -> tuple[_State, Array]:
    """All steps of an epoch, and the mean loss of each member."""
    plan = run.plan
    steps = plan.maps // plan.batch
    by = _optimiser(plan)
    key = jax.random.fold_in(run.order_key, number)
    if run.train_data is None:
        rows = jax.random.split(key, steps)
    else:
        order = jax.vmap(lambda one: jax.random.permutation(one, plan.maps))(
            jax.random.split(key, plan.members)
        )[:, : steps * plan.batch]
        rows = order.reshape(plan.members, steps, plan.batch).swapaxes(0, 1)

    def one(
        values: Member, optimised: Any, numbers: Any, places: Array, key: Array, done: Array
    ) -> tuple:
        member = eqx.combine(values, run.fixed)
        learning, rest = eqx.partition(member, learnt(member))
        slope_of = eqx.filter_value_and_grad(_loss, has_aux=True)
        (loss, member), slope = slope_of(learning, rest, numbers, places, key, done)
        updates, optimised = by.update(slope, optimised, learning)
        member = eqx.apply_updates(jax.lax.stop_gradient(_arrays(member)), updates)
        return _arrays(member), optimised, loss

    def step(carry: tuple, of_step: tuple[Array, Array]) -> tuple[tuple, Array]:
        (values, optimised), (row, before) = carry, of_step
        done = (number - 1 + before / steps) / plan.epochs
        if run.train_data is None:
            places, numbers = _shared(_drawn(run.simulator, row, plan.batch), 0)
            keys = jax.random.split(jax.random.fold_in(row, 1), plan.members)
            # An axis of members would cost networks, whose time is in large products, half of it.
            found = []
            for at, of_member in enumerate(keys):
                own = jax.tree.map(lambda leaf, at=at: leaf[at], (values, optimised))
                found.append(one(own[0], own[1], numbers, places, of_member, done))
            values, optimised, loss = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
        else:
            numbers, places = _shared((run.train_data.numbers[row], run.train_data.places[row]), 1)
            keys = jax.random.split(key, plan.members)
            values, optimised, loss = eqx.filter_vmap(one, in_axes=(0, 0, 0, 0, 0, None))(
                values, optimised, numbers, places, keys, done
            )
        return (values, optimised), loss

    start = state.values, state.optimiser
    (values, optimised), losses = jax.lax.scan(step, start, (rows, jnp.arange(steps)))
    return _State(values, optimised, state.best, state.lowest), losses.mean(axis=0)


def _arrays(member: Member) -> Member:
    return eqx.filter(member, eqx.is_array)


def _shared(tree: Any, axis: int) -> Any:
    """Each device has a part of the batch."""
    devices = jax.devices()
    if len(devices) == 1:
        return tree
    mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
    spec = jax.sharding.PartitionSpec(*[None] * axis, "batch")
    sharding = jax.sharding.NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)


@eqx.filter_jit
def _validate(run: _Run, values: Member) -> tuple[Array, Array]:
    """Losses of the members, and mean square errors of the average, in places."""
    plan = run.plan
    members = eqx.combine(values, run.fixed)

    def part(numbers: Any, places: Array) -> tuple[Array, Array]:
        mixtures = each(members, numbers)
        losses = -jnp.mean(jax.vmap(lambda one: one.log_prob(places))(mixtures), axis=1)
        weights = jax.nn.softmax(mixtures.logits, axis=-1)[..., None]
        means = jnp.mean(jnp.sum(weights * mixtures.means, axis=2), axis=0)
        return losses, jnp.mean((jnp.clip(means, -1.0, 1.0) - places) ** 2, axis=0)

    if run.validation_data is not None:
        return part(run.validation_data.numbers, run.validation_data.places)

    def drawn(key: PRNGKeyArray) -> tuple[Array, Array]:
        places, observed = _drawn(run.simulator, key, min(plan.batch, plan.validation))
        return part(observed, places)

    parts = math.ceil(plan.validation / plan.batch)
    losses, squares = jax.lax.map(drawn, jax.random.split(run.validation_key, parts))
    return losses.mean(axis=0), squares.mean(axis=0)


def _kept(state: _State, losses: Array) -> _State:
    """The state with the best of each member so far."""
    better = _finite(losses) < state.lowest
    best = jax.tree.map(
        lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        state.values,
        state.best,
    )
    return _State(state.values, state.optimiser, best, jnp.where(better, losses, state.lowest))


def _finite(losses: Array) -> Array:
    return jnp.where(jnp.isfinite(losses), losses, jnp.inf)


def _epoch_of(
    simulator: AbstractSimulator, number: int, training: Array, validation: Array, squares: Array
) -> Epoch:
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    error = half * np.sqrt(np.asarray(squares, float))
    told = (tuple(np.asarray(one, float).tolist()) for one in (training, validation, error))
    return Epoch(number, *told)


def _ended(history: tuple[Epoch, ...], plan: Plan) -> Status | None:
    """How training has ended, `None` while it goes on."""
    if not history:
        return None
    newest = history[-1]
    losses = np.array([one.validation for one in history])
    last = np.array([newest.training, newest.validation])
    if newest.number and not np.isfinite(last).all():
        return Status.DIVERGED
    since = len(history) - 1 - np.argmin(np.where(np.isfinite(losses), losses, np.inf), axis=0)
    if since.min() >= plan.patience:
        return Status.CONVERGED
    if newest.number < plan.epochs:
        return None
    quarter = max(1, plan.epochs // 4)
    gain = losses[-1 - quarter :].max(axis=0) - losses.min(axis=0)
    return Status.CONVERGED if np.all(gain < _GAIN) else Status.EPOCH_LIMIT


def _mark(simulator: AbstractSimulator, network: Network, seed: int, plan: Plan) -> str:
    """What a training is, for its checkpoint."""
    told = [_told(one) for one in (simulator, network.summary, network.kind)]
    return codec.digest([told, _told(Family.of(simulator)), seed, dataclasses.asdict(plan)])


def _told(one: Any) -> Any:
    """What it is, or where a file cannot hold that, the names of its class and function."""
    try:
        return codec.encode(one)
    except ValueError:
        function = getattr(one, "function", None)
        return [type(one).__qualname__, getattr(function, "__qualname__", "")]


def _resumed(file: Path, mark: str, state: _State) -> tuple[_State, tuple[Epoch, ...]]:
    header, payload = codec.read(file, _KIND)
    if header["mark"] != mark:
        raise ValueError(
            f"folder: expected the checkpoint of this training, {file} is of another simulator, "
            "network, seed or plan. Take another folder, or say resume=False."
        )
    history = tuple(
        Epoch(one["number"], *(tuple(one[name]) for name in ("training", "validation", "error")))
        for one in header["history"]
    )
    return codec.filled(state, payload), history
