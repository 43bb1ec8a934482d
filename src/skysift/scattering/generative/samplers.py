"""Ways to fields whose statistics are the wanted ones."""

from __future__ import annotations

import abc
import enum
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.scattering.generative.gathered import Gathered
from skysift.scattering.generative.objective import AbstractObjective

Report = Callable[[int, int, float], None]
"""Called with the number of the field, of the iteration, and the objective."""


class Status(enum.Enum):
    """How a synthesis ended."""

    CONVERGED = "converged"
    STALLED = "stalled"
    ITERATION_LIMIT = "iteration limit"
    SAMPLED = "sampled"


@dataclass(frozen=True)
class Found:
    """Unknowns that a sampler ended at.

    Args:
        unknowns: `(field, channel, unknown)`.
        status: of each field.
        history: objective of each field at each iteration.
    """

    unknowns: Float[np.ndarray, "field channel unknown"]
    status: tuple[Status, ...]
    history: tuple[Float[np.ndarray, " iteration"], ...]


@dataclass(frozen=True, eq=False)
class Task:
    """What a sampler is to do.

    Args:
        objective: to bring down; what is wanted may differ between its fields, so that it is
            evaluated for all of them, in their order.
        start: white unknowns.
        key: of what is random on the way.
        tolerance: objective at which to stop.
        report: called once an iteration.
    """

    objective: AbstractObjective
    start: Float[Array, "field channel unknown"]
    key: PRNGKeyArray
    tolerance: float
    report: Report


class AbstractSampler(abc.ABC):
    """A way from unknowns to others whose statistics are the wanted ones."""

    batch: int = 1
    """Solutions of a separation that are moved at once."""

    @abc.abstractmethod
    def run(self, task: Task) -> Found:
        """Fields from a start."""


def _require_count(name: str, value: int, usual: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}. Say {name}={usual}.")


def _require_positive(name: str, value: float, usual: float) -> None:
    if not value > 0.0:
        raise ValueError(f"{name}: expected more than 0, got {value}. Say {name}={usual}.")


class _Reached(Exception):
    """The objective is below the tolerance."""


@dataclass(frozen=True)
class LBFGS(AbstractSampler):
    """Gradient descent with the quasi-Newton steps of SciPy's L-BFGS-B, each field by itself.

    The limit of the microcanonical model of Bruna & Mallat (2019, Math. Stat. Learn. 1, 257).

    Args:
        max_iter: iterations at most.
        memory: steps that the estimate of the curvature is built on.
        batch: fields that are evaluated at once: as many as the memory of a GPU holds. On a
            processor, which one field keeps busy unless it is small, 1.
    """

    max_iter: int = 500
    memory: int = 20
    batch: int = 1

    def __post_init__(self) -> None:
        _require_count("max_iter", self.max_iter, 500)
        _require_count("memory", self.memory, 20)
        _require_count("batch", self.batch, 1)

    def run(self, task: Task) -> Found:
        """See `AbstractSampler`."""
        ends, turn = [], threading.Lock()

        def report(number: int, iteration: int, value: float) -> None:
            with turn:
                task.report(number, iteration, value)

        for first in range(0, len(task.start), self.batch):
            some = task.start[first : first + self.batch]
            if len(some) == 1:
                ends.append(self.descend(replace(task, start=some), _each, first))
                continue
            gathered = Gathered(functools.partial(_apart, task.objective), some)
            ends += gathered.run(
                lambda here, evaluate, first=first: self.descend(
                    replace(task, start=task.start[first + here][None], report=report),
                    evaluate,
                    first + here,
                )
            )
        return Found(
            np.concatenate([end[0] for end in ends]),
            tuple(end[1] for end in ends),
            tuple(end[2] for end in ends),
        )

    def descend(
        self,
        task: Task,
        evaluate: Callable[[AbstractObjective, Array], tuple[Array, Array]],
        number: int,
    ) -> tuple[np.ndarray, Status, np.ndarray]:
        """Unknowns, status and history of one descent of all fields of a task.

        Args:
            task: where from and how far.
            evaluate: what to bring down, with its gradient.
            number: of the first field, for the report.
        """
        import scipy.optimize  # a fifth of a second that nothing else needs

        start, tolerance = task.start, task.tolerance
        shape, dtype = start.shape, start.dtype
        history: list[float] = []
        latest: dict[bytes, float] = {}
        best = (np.inf, np.asarray(start))

        def function(flat: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal best
            value, slope = evaluate(task.objective, jnp.asarray(flat.reshape(shape), dtype))
            value = float(value)
            if value < best[0]:
                best = (value, flat.reshape(shape).copy())
            latest.clear()
            latest[flat.tobytes()] = value
            return value, np.asarray(slope, dtype=float).ravel()

        def step(flat: np.ndarray) -> None:
            value = latest.get(flat.tobytes(), best[0])
            history.append(value)
            task.report(number, len(history), value)
            if value <= tolerance:
                raise _Reached

        try:
            end = scipy.optimize.minimize(
                function,
                np.asarray(start, dtype=float).ravel(),
                jac=True,
                method="L-BFGS-B",
                callback=step,
                options={
                    "maxcor": self.memory,
                    "maxiter": self.max_iter,
                    "maxfun": 2 * self.max_iter,
                    "ftol": 1e-9,
                    "gtol": 0.0,
                },
            )
            limited = end.status == 1
        except _Reached:
            limited = False
        # The line search may end on a worse point than the best, or before the first iteration.
        if not history or history[-1] > best[0]:
            history.append(best[0])
        if best[0] <= tolerance:
            status = Status.CONVERGED
        else:
            status = Status.ITERATION_LIMIT if limited else Status.STALLED
        return best[1].astype(dtype), status, np.array(history)


@dataclass(frozen=True)
class MeanField(AbstractSampler):
    """Many fields moved together until the average of their statistics is the wanted one.

    Each keeps fluctuations of its own, which descent of a single field takes away (Häggbom et al.
    2024, arXiv:2403.08362).

    Args:
        descent: how to move.
    """

    descent: LBFGS = LBFGS()

    def run(self, task: Task) -> Found:
        """See `AbstractSampler`."""
        # The average over n fields varies n times less.
        count = len(task.start)
        nearer = replace(task, tolerance=task.tolerance / count)
        unknowns, status, history = self.descent.descend(nearer, _together, 0)
        return Found(unknowns, (status,) * count, (history,) * count)


@dataclass(frozen=True)
class Adam(AbstractSampler):
    """First-order descent of all fields at once.

    Args:
        max_iter: iterations at most.
        learning_rate: size of the first steps, in units of the white unknowns.
        batch: see `AbstractSampler`; fields of a synthesis are all moved at once.
    """

    max_iter: int = 2000
    learning_rate: float = 0.03
    batch: int = 1

    def __post_init__(self) -> None:
        _require_count("max_iter", self.max_iter, 2000)
        _require_positive("learning_rate", self.learning_rate, 0.03)
        _require_count("batch", self.batch, 1)

    def run(self, task: Task) -> Found:
        """See `AbstractSampler`."""
        start, tolerance = task.start, task.tolerance
        schedule = optax.cosine_decay_schedule(self.learning_rate, self.max_iter, alpha=0.02)
        optimiser = optax.adam(schedule)
        unknowns, state = start, optimiser.init(start)
        best, lowest = np.asarray(start), np.full(len(start), np.inf)
        history: list[np.ndarray] = []
        for iteration in range(self.max_iter):
            values, slope = _apart(task.objective, unknowns)
            numbers = np.asarray(values)
            # What one field ends at does not depend on how long others take.
            better = (numbers < lowest) & (lowest > tolerance)
            best = np.where(better[:, None, None], np.asarray(unknowns), best)
            lowest = np.where(better, numbers, lowest)
            history.append(numbers)
            task.report(0, iteration + 1, float(numbers.max()))
            if np.all(lowest <= tolerance):
                break
            updates, state = optimiser.update(slope, state)
            unknowns = jnp.asarray(optax.apply_updates(unknowns, updates))
        status = tuple(
            Status.CONVERGED if value <= tolerance else Status.ITERATION_LIMIT for value in lowest
        )
        each = [
            values[: np.count_nonzero(np.minimum.accumulate(values) > tolerance) + 1]
            for values in np.stack(history, axis=1)
        ]
        return Found(best, status, tuple(each))


@dataclass(frozen=True)
class HMC(AbstractSampler):
    """Hamiltonian Monte Carlo: draws, not descents.

    Of the density `exp(-n objective / (2 temperature)) N(unknowns; 0, 1)`, with n the number of
    statistics: a Gaussian field of the colour of the target, conditioned on its statistics up to
    about their sampling variance times the temperature, less for orders of few numbers: in the
    objective every order counts alike.

    Args:
        draws: trajectories; the last one's end is the field.
        steps: leapfrog steps of each.
        temperature: in units of the sampling variance.
        acceptance: to which the size of the steps is brought in the first half.
    """

    draws: int = 200
    steps: int = 10
    temperature: float = 1.0
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        _require_count("draws", self.draws, 200)
        _require_count("steps", self.steps, 10)
        _require_positive("temperature", self.temperature, 1.0)
        if not 0.0 < self.acceptance < 1.0:
            raise ValueError(
                f"acceptance: expected between 0 and 1, got {self.acceptance}. Say acceptance=0.8."
            )

    def run(self, task: Task) -> Found:
        """See `AbstractSampler`."""
        objective, start, key = task.objective, task.start, task.key
        count = float(objective.count) / self.temperature
        unknowns, size = start, jnp.full(len(start), 0.05, start.dtype)
        history = []
        for draw in range(self.draws):
            key, this = jax.random.split(key)
            unknowns, accepted, values = _trajectory(
                objective, unknowns, size, jnp.asarray(count, start.dtype), self.steps, this
            )
            if draw < self.draws // 2:
                size = size * jnp.exp(0.2 * (accepted - self.acceptance))
            history.append(np.asarray(values))
            task.report(0, draw + 1, float(np.max(history[-1])))
        return Found(
            np.asarray(unknowns), (Status.SAMPLED,) * len(start), tuple(np.stack(history, axis=1))
        )


@eqx.filter_jit
def _each(objective: AbstractObjective, unknowns: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda values: jnp.sum(objective.each(values)))(unknowns)


@eqx.filter_jit
def _together(objective: AbstractObjective, unknowns: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(objective.together)(unknowns)


@eqx.filter_jit
def _apart(objective: AbstractObjective, unknowns: Array) -> tuple[Array, Array]:
    def total(values: Array) -> tuple[Array, Array]:
        each = objective.each(values)
        return jnp.sum(each), each

    (_, each), slope = jax.value_and_grad(total, has_aux=True)(unknowns)
    return each, slope


@eqx.filter_jit
def _trajectory(
    objective: AbstractObjective,
    unknowns: Array,
    size: Array,
    count: Array,
    steps: int,
    key: PRNGKeyArray,
) -> tuple[Array, Array, Array]:
    """One leapfrog trajectory of each field, with its chance of being accepted."""
    size = size[:, None, None]

    def energy(values: Array) -> tuple[Array, tuple[Array, Array]]:
        each = objective.each(values)
        total = 0.5 * count * each + 0.5 * jnp.sum(values**2, axis=(1, 2))
        return jnp.sum(total), (total, each)

    slope = jax.value_and_grad(energy, has_aux=True)
    kick, choose = jax.random.split(key)
    momentum = jax.random.normal(kick, unknowns.shape, unknowns.dtype)
    (_, (before, each)), force = slope(unknowns)

    def leap(carry: tuple, _: None) -> tuple[tuple, None]:
        at, moving, pull, _, _ = carry
        moving = moving - 0.5 * size * pull
        at = at + size * moving
        (_, (total, values)), pull = slope(at)
        return (at, moving - 0.5 * size * pull, pull, total, values), None

    start = (unknowns, momentum, force, before, each)
    (end, moving, _, after, values), _ = jax.lax.scan(leap, start, length=steps)
    change = (
        before
        + 0.5 * jnp.sum(momentum**2, axis=(1, 2))
        - after
        - 0.5 * jnp.sum(moving**2, axis=(1, 2))
    )
    chance = jnp.where(jnp.isfinite(change), jnp.exp(jnp.minimum(change, 0.0)), 0.0)
    taken = jax.random.uniform(choose, chance.shape) < chance
    return (
        jnp.where(taken[:, None, None], end, unknowns),
        chance,
        jnp.where(taken, values, each),
    )
