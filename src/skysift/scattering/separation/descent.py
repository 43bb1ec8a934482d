"""How a signal is moved, step by step, until it satisfies constraints."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.generative.objective import AbstractObjective
from skysift.scattering.generative.samplers import LBFGS, AbstractSampler, Task
from skysift.scattering.separation.contamination import Draws
from skysift.scattering.separation.terms import AbstractTerm, Fields

Losses = Mapping[str, float]

_PATIENCE = 5
"""Steps without gain after which a separation has stalled."""
_FEW = 16
"""Draws that are looked at first: they tell a deviation to a fifth of itself."""
_ENOUGH = 10.0
"""How many times the loss that the error of a mean over few draws adds, a loss has to be."""


class Status(enum.Enum):
    """How a separation ended."""

    CONVERGED = "converged"
    STALLED = "stalled"
    STEP_LIMIT = "step limit"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Descent:
    """How a signal is moved until it satisfies the constraints.

    In every step the mean of the statistics over the draws of the contamination is taken at the
    present signal: over few while they tell it well enough, the losses being large, and over all
    in the end. The signal then moves with what the contamination adds to its statistics held
    fixed, or against few draws plus what their mean lacks of that of all of them. The objective
    does not change within a step. Few draws keep more of the places of weak structure, but in part
    the signal learns them: its power is off for longer.

    Args:
        sampler: that moves the signal in one step.
        steps: at most.
        batch: draws in one step against which the signal moves; 0 to hold fixed what the
            contamination adds.
        tolerance: loss of every constraint at which to stop. That of the true signal is about 1;
            a signal that comes from the data and stops there keeps part of the contamination: its
            offsets are all to the same side, and of many small ones the sum is large.
        settled: gain of a step, as a part of a loss, below which that loss is not waited for once
            all are 1 or less: two halves of an observation, say, cannot both be met.
        inner: part of the tolerance at which a step ends.

    Raises:
        ValueError: for numbers that make no sense.
    """

    sampler: AbstractSampler = field(default_factory=lambda: LBFGS(max_iter=20))
    steps: int = 30
    batch: int = 0
    tolerance: float = 0.03
    settled: float = 0.1
    inner: float = 0.3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected 1 or more, got {self.steps}. Say steps=30.")
        if self.batch < 0:
            raise ValueError(f"batch: expected 0 or more, got {self.batch}. Say batch=0.")
        for name, usual in (("tolerance", 0.03), ("settled", 0.1), ("inner", 0.3)):
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
class Solver:
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
            means, shares, losses = self._at(here)
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
        if len(worst) > 1 and worst[-1] <= 1.0:
            part = 1.0 - self.descent.settled
            before, now = state.losses[-2:]
            if all(
                now[one] <= self.descent.tolerance or now[one] >= part * before[one] for one in now
            ):
                return Status.CONVERGED
        if state.step >= self.descent.steps:
            return Status.STEP_LIMIT
        recent = worst[-_PATIENCE:]
        if len(worst) > 2 * _PATIENCE and min(recent) > 0.98 * min(worst[:-_PATIENCE]):
            return Status.STALLED
        return None

    def _at(self, signal: Fields) -> tuple[list[np.ndarray], list[np.ndarray], Losses]:
        """Means over draws of what should vanish, the shares of its numbers, and the losses."""
        random = tuple(term for term in self.terms if term.random)
        fixed = _offsets(tuple(t for t in self.terms if not t.random), signal, self.draws[0])
        seen: list[list[np.ndarray]] = []
        count = _FEW if random else 0
        while True:
            count = min(count, self.draws.count)
            for one in range(len(seen), count):
                seen.append([np.asarray(v) for v in _offsets(random, signal, self.draws[one])])
            means, shares = self._means(seen, fixed)
            losses = {
                term.name: float(np.sum((mean * share) ** 2))
                for term, mean, share in zip(self.terms, means, shares, strict=True)
            }
            # The mean over n draws of a contamination that fits has a loss of 1/n.
            least = min((losses[term.name] for term in random), default=np.inf)
            if count * least >= _ENOUGH or count in (0, self.draws.count):
                return means, shares, losses
            count = 4 * count

    def _means(
        self, seen: list[list[np.ndarray]], fixed: list[Array]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Means over the draws that were seen, and the shares of the numbers of each term."""
        stacked = (np.stack(one) for one in zip(*seen, strict=True))
        given = (np.asarray(one)[None] for one in fixed)
        means, shares = [], []
        for term in self.terms:
            offsets = next(stacked) if term.random else next(given)
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


def _worst(losses: Losses) -> float:
    values = list(losses.values())
    return max(values) if np.all(np.isfinite(values)) else np.inf


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
