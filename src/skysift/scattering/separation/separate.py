"""Recover a signal of unknown statistics from data and the statistics of its contamination."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.gaussian import Colour, colour_of
from skysift.scattering.generative.objective import AbstractObjective
from skysift.scattering.generative.samplers import LBFGS, AbstractSampler, Task
from skysift.scattering.separation.constraints import Constraint, Total
from skysift.scattering.separation.contamination import AbstractContamination, Draws, Ensemble
from skysift.scattering.separation.problem import Observation, free, observe, projected, terms_of
from skysift.scattering.separation.terms import AbstractTerm, Fields
from skysift.scattering.statistic import AbstractStatistic

Losses = Mapping[str, float]


class Status(enum.Enum):
    """How a separation ended."""

    CONVERGED = "converged"
    STALLED = "stalled"
    STEP_LIMIT = "step limit"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Descent:
    """How a signal is moved until it satisfies the constraints.

    In every step the mean of the statistics over all draws of the contamination is taken at the
    present signal. The signal then moves with what the contamination adds to its statistics held
    fixed, or against few draws plus what their mean lacks of that of all of them. The objective
    does not change within a step. Few draws keep more of the places of weak structure, but in part
    the signal learns them: its power is off for longer.

    Args:
        sampler: that moves the signal in one step.
        steps: at most.
        batch: draws in one step against which the signal moves; 0 to hold fixed what the
            contamination adds.
        tolerance: loss of every constraint at which to stop. 1 is the scatter over the draws.
        inner: part of the tolerance at which a step ends.

    Raises:
        ValueError: for numbers that make no sense.
    """

    sampler: AbstractSampler = field(default_factory=lambda: LBFGS(max_iter=20))
    steps: int = 30
    batch: int = 0
    tolerance: float = 1.0
    inner: float = 0.3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected 1 or more, got {self.steps}. Say steps=30.")
        if self.batch < 0:
            raise ValueError(f"batch: expected 0 or more, got {self.batch}. Say batch=0.")
        for name, usual in (("tolerance", 1.0), ("inner", 0.3)):
            if not getattr(self, name) > 0.0:
                raise ValueError(
                    f"{name}: expected more than 0, got {getattr(self, name)}. Say {name}={usual}."
                )


class Lifted(AbstractObjective):
    """Losses of a signal in one step.

    Args:
        terms: constraints.
        shares: of the numbers of each term, over their deviations; times the root of its weight.
        lift: what to add to the numbers of each term.
        batch: draws to move against, at least one.
        origin: the signal at the start.
        colour: from unknowns to what is added to it.
    """

    terms: tuple[AbstractTerm, ...]
    shares: tuple[Float[Array, " number"], ...]
    lift: tuple[Float[Array, " number"], ...]
    batch: Draws
    origin: Fields
    colour: Colour

    @property
    def count(self) -> int:
        """See `AbstractObjective`."""
        return sum(one.size for one in self.lift)

    def differences(
        self, unknowns: Float[Array, "field channel unknown"]
    ) -> Float[Array, "field number"]:
        """See `AbstractObjective`."""
        return jnp.stack([self._differences(one) for one in unknowns])

    def _differences(self, unknowns: Float[Array, "channel unknown"]) -> Float[Array, " number"]:
        signal = self.origin + self.colour.fields(unknowns)
        parts = []
        for term, share, lift in zip(self.terms, self.shares, self.lift, strict=True):
            parts.append((_mean_offset(term, signal, self.batch) + lift) * share)
        return jnp.concatenate(parts)


class Begin(enum.Enum):
    """Where a signal starts."""

    DATA = "data"
    NOISE = "noise"


@dataclass(frozen=True, eq=False)
class State:
    """A separation under way, from which it can go on as if it had not stopped.

    Args:
        restart: number of the solution.
        step: number of steps that are done.
        signal: fields of the best signal so far, and of the present one.
        losses: of each constraint before each step, and of the present signal.
        status: how the solution ended; `None` while it goes on.
    """

    restart: int
    step: int
    signal: tuple[Fields, Fields]
    losses: tuple[Losses, ...]
    status: Status | None = None


@dataclass(frozen=True, eq=False)
class Separated:
    """Signal and contamination of an observation.

    Args:
        maps: signals `(restart, *map shape)`, each a solution.
        data: map of the data, the mean of its halves; NaN where not known.
        status: how each solution ended.
        history: for each solution the loss of each constraint before each step.
        draws: number of draws of the contamination.
    """

    maps: Float[np.ndarray, "restart ..."]
    data: Float[np.ndarray, "..."]
    statuses: tuple[Status, ...]
    histories: tuple[Mapping[str, Float[np.ndarray, " step"]], ...]
    draws: int

    @property
    def map(self) -> Float[np.ndarray, "..."]:
        """The first solution."""
        return self.maps[0]

    @property
    def contamination(self) -> Float[np.ndarray, "..."]:
        """What is left of the data."""
        return self.data - self.map

    @property
    def status(self) -> Status:
        """How the first solution ended."""
        return self.statuses[0]

    @property
    def history(self) -> Mapping[str, Float[np.ndarray, " step"]]:
        """Loss of each constraint before each step, of the first solution."""
        return self.histories[0]

    @property
    def spread(self) -> Float[np.ndarray, "..."]:
        """Standard deviation of the solutions in each cell; needs several."""
        return self.maps.std(axis=0, ddof=1)


def separate(
    data: Float[np.ndarray, "..."],
    contamination: AbstractContamination | Float[np.ndarray, "draw ..."],
    statistics: AbstractStatistic,
    constraints: Sequence[Constraint] = (Total(),),
    seed: int = 0,
    *,
    descent: Descent | None = None,
    begin: Begin = Begin.DATA,
    draws: int = 100,
    restarts: int = 1,
    report: Callable[[State], None] | None = None,
    resume: State | None = None,
) -> Separated:
    """A signal whose statistics, with those of the contamination, are those of the data.

    `d = s + c`: nothing is known of s, and fields with the statistics of c are known. The signal
    is moved from the data until the statistics of itself plus a contamination agree with those of
    the data within their scatter. Where the contamination is weak it is the true signal; where it
    is strong it has the statistics of the true signal, but not its places.

    Args:
        data: one map `(*map shape)`, or two halves `(2, *map shape)`; NaN or UNSEEN where not
            known.
        contamination: fields of it, as an ensemble of maps or what draws them.
        statistics: of the data; its weights mask, and its regions make the constraints local.
        constraints: what the signal has to satisfy.
        seed: of the draws and the order in which they are used.
        descent: how the signal is moved; `None` for `Descent()`.
        begin: where the signal starts.
        draws: of the contamination, at most.
        restarts: number of solutions; the later ones start from the data less another draw of the
            contamination each.
        report: called with the state before each step.
        resume: a state that was reported; solutions before it are not made again.

    Raises:
        ValueError: for data, contamination and constraints that do not fit together, or numbers
            that make no sense.

    Warns:
        UserWarning: when a solution did not reach the tolerance.

    Examples:
        >>> from skysift.scattering import Covariance
        >>> st = Covariance.plane((16, 16), scales=2, orientations=2)
        >>> rng = np.random.default_rng(0)
        >>> noise = 0.5 * rng.standard_normal((20, 16, 16))
        >>> signal = np.cos(np.arange(16) * np.pi / 4) + np.zeros((16, 16))
        >>> found = separate(signal + noise[0], noise[1:], st, seed=1)
        >>> found.map.shape, found.status.value
        ((16, 16), 'converged')
    """
    for name, value in (("draws", draws), ("restarts", restarts)):
        if value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}. Say {name}=1 or leave it.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    if not isinstance(contamination, AbstractContamination):
        contamination = Ensemble(contamination)
    descent = descent or Descent()
    dtype = np.dtype(np.float32 if np.asarray(data).dtype == np.float32 else np.float64)
    observation = observe(data, statistics, dtype)
    drawn, order = np.random.SeedSequence(seed).spawn(2)
    fields = contamination.draws(observation.domain, draws, drawn, dtype)
    terms = terms_of(constraints, observation, fields)
    colour = _colour(observation, fields, free(constraints, observation.domain))
    solver = _Solver(descent, terms, fields, colour, report or (lambda state: None))
    first = resume.restart if resume is not None else 0
    solutions = []
    for restart, stream in enumerate(order.spawn(restarts)):
        if restart < first:
            continue
        keys = [jax.random.key(int(one)) for one in stream.generate_state(2, np.uint32)]
        if resume is not None and restart == first:
            state = resume
        else:
            origin = _origin(observation, fields, colour, begin, restart, keys[0])
            state = State(restart, 0, (origin, origin), ())
        solutions.append(solver.run(state, keys[1]))
    maps = np.stack([np.asarray(observation.domain.seen(one.signal[0])) for one, _ in solutions])
    missed = sum(status is not Status.CONVERGED for _, status in solutions)
    if missed:
        worst = max(max(one.losses[-1].values()) for one, _ in solutions)
        warnings.warn(
            f"separate: {missed} of {len(solutions)} solutions did not reach the tolerance "
            f"{descent.tolerance} (the largest loss is {worst:.3g}). Allow more steps "
            "(descent=Descent(steps=...)), or look at which constraint cannot be satisfied.",
            stacklevel=2,
        )
    whole = np.asarray(observation.domain.seen(observation.whole))
    return Separated(
        maps,
        np.where(np.broadcast_to(observation.kept, whole.shape), whole, np.nan),
        tuple(status for _, status in solutions),
        tuple(_history(one.losses) for one, _ in solutions),
        fields.count,
    )


@dataclass(frozen=True, eq=False)
class _Solver:
    """What stays the same over all steps and solutions."""

    descent: Descent
    terms: tuple[AbstractTerm, ...]
    draws: Draws
    colour: Colour
    report: Callable[[State], None]

    def run(self, state: State, key: Array) -> tuple[State, Status]:
        """The state at the end, with the best signal first, and how it ended."""
        known = state.losses[: state.step]
        state = replace(state, losses=known)
        best = min((_worst(one) for one in known), default=np.inf)
        while True:
            here = state.signal[1]
            means, shares = self._at(here)
            losses = {
                term.name: float(np.sum((mean * share) ** 2))
                for term, mean, share in zip(self.terms, means, shares, strict=True)
            }
            worst = _worst(losses)
            kept = here if worst < best else state.signal[0]
            best = min(best, worst)
            state = State(state.restart, state.step, (kept, here), (*state.losses, losses))
            status = self._status(state)
            self.report(replace(state, status=status))
            if status is not None:
                return state, status
            moved = self._moved(here, means, shares, jax.random.fold_in(key, state.step))
            state = State(state.restart, state.step + 1, (kept, moved), state.losses)

    def _status(self, state: State) -> Status | None:
        """How the separation ended, or `None` while it goes on."""
        worst = [_worst(one) for one in state.losses]
        if not np.isfinite(worst[-1]) or worst[-1] > 100.0 * max(worst[0], 1.0):
            return Status.DIVERGED
        if worst[-1] <= self.descent.tolerance:
            return Status.CONVERGED
        if state.step >= self.descent.steps:
            return Status.STEP_LIMIT
        recent = worst[-_PATIENCE:]
        if len(worst) > 2 * _PATIENCE and min(recent) > 0.98 * min(worst[:-_PATIENCE]):
            return Status.STALLED
        return None

    def _at(self, signal: Fields) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Means over the draws of what should vanish, and the shares of its numbers."""
        random = tuple(term for term in self.terms if term.random)
        seen = [_offsets(random, signal, self.draws[one]) for one in range(self.draws.count)]
        stacked = iter([np.stack([np.asarray(one[n]) for one in seen]) for n in range(len(random))])
        fixed = iter(_offsets(tuple(t for t in self.terms if not t.random), signal, self.draws[0]))
        means, shares = [], []
        for term in self.terms:
            offsets = next(stacked) if term.random else np.asarray(next(fixed))[None]
            means.append(offsets.mean(axis=0))
            shares.append(term.shares(offsets))
            if not np.any(shares[-1] > 0.0):
                raise ValueError(
                    f"contamination: expected draws whose statistics differ, got none that do for "
                    f"'{term.name}': there is nothing to measure its loss by. Give independent "
                    "draws."
                )
        return means, shares

    def _moved(
        self, signal: Fields, means: list[np.ndarray], shares: list[np.ndarray], key: Array
    ) -> Fields:
        """The signal after one step."""
        chosen, way = jax.random.split(key)
        if self.descent.batch:
            count = min(self.descent.batch, self.draws.count)
            which = jax.random.choice(chosen, self.draws.count, (count,), replace=False)
            batch = self.draws[np.asarray(which)]
        else:
            batch = jax.tree.map(lambda values: values[None], self.draws.none())
        dtype = jnp.real(signal).dtype
        lift = tuple(
            jnp.asarray(mean, dtype) - found
            for mean, found in zip(means, _batch_offsets(self.terms, signal, batch), strict=True)
        )
        weighed = tuple(
            jnp.asarray(share * np.sqrt(term.weight), dtype)
            for term, share in zip(self.terms, shares, strict=True)
        )
        objective = Lifted(self.terms, weighed, lift, batch, signal, self.colour)
        domain = self.colour.domain
        still = jnp.zeros((1, domain.channels, domain.size), dtype)
        total = sum(term.weight for term in self.terms)
        tolerance = self.descent.inner * self.descent.tolerance * total
        task = Task(objective, still, way, tolerance, lambda *_: None)
        found = self.descent.sampler.run(task)
        return signal + self.colour.fields(jnp.asarray(found.unknowns[0], dtype))


_PATIENCE = 5
"""Steps without gain after which a separation has stalled."""


def _worst(losses: Losses) -> float:
    values = list(losses.values())
    return max(values) if np.all(np.isfinite(values)) else np.inf


def _history(losses: Sequence[Losses]) -> dict[str, Float[np.ndarray, " step"]]:
    return {name: np.array([one[name] for one in losses]) for name in losses[0]}


def _mean_offset(term: AbstractTerm, signal: Fields, batch: Draws) -> Float[Array, " number"]:
    if not term.random:
        return term.offset(signal, jax.tree.map(lambda values: values[0], batch))
    return jnp.mean(jax.lax.map(lambda draw: term.offset(signal, draw), batch), axis=0)


@eqx.filter_jit
def _offsets(terms: tuple[AbstractTerm, ...], signal: Fields, draw: Draws) -> list[Array]:
    return [term.offset(signal, draw) for term in terms]


@eqx.filter_jit
def _batch_offsets(terms: tuple[AbstractTerm, ...], signal: Fields, batch: Draws) -> list[Array]:
    return [_mean_offset(term, signal, batch) for term in terms]


def _colour(observation: Observation, draws: Draws, modes: Float[np.ndarray, "..."]) -> Colour:
    """From white unknowns to changes of the signal, as large as the contamination at each scale.

    The signal changes where the contamination is: what is known well stays as it is.
    """
    statistic = observation.statistic
    maps = np.asarray(statistic.domain.seen(draws.whole))
    if not maps.std() > 0.0:
        raise ValueError(
            "contamination: expected fields with structure, got constant ones. Give the draws "
            "themselves, not their mean."
        )
    colour = colour_of(statistic, statistic(maps).mean())
    return Colour(colour.amplitude * modes, jnp.zeros_like(colour.mean), colour.domain)


def _origin(
    observation: Observation,
    draws: Draws,
    colour: Colour,
    begin: Begin,
    restart: int,
    key: Array,
) -> Fields:
    """Where a solution starts; modes that may not change are the data's."""
    domain, whole = observation.domain, observation.whole
    cells = tuple(range(-len(domain.cell_shape), 0))
    each = domain.seen(draws.whole).reshape(-1, domain.channels, *domain.cell_shape)
    start = domain.shifted(whole, -jnp.mean(each, axis=(0, *cells)))
    moving = np.asarray(colour.amplitude) > 0.0
    if begin is Begin.NOISE:
        noise = colour.fields(colour.draw(key, 1, jnp.real(whole).dtype)[0])
        return start - projected(domain, whole, moving) + noise
    if restart:
        other = draws.whole[int(jax.random.randint(key, (), 0, draws.count))]
        start = start - projected(domain, other, moving)
    return start
