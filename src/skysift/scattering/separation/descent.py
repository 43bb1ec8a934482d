"""How a signal is moved, step by step, until it satisfies constraints."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.generative.objective import AbstractObjective
from skysift.scattering.generative.samplers import LBFGS, AbstractSampler, Task
from skysift.scattering.separation.contamination import Draws
from skysift.scattering.separation.terms import AbstractTerm, Fields

Losses = Mapping[str, float]

SAMPLER = LBFGS(max_iter=20)
"""That moves a signal in one step, unless another is given."""
_PATIENCE = 5
"""Steps without gain after which a separation has stalled."""
_FEW = 16
"""Draws that are looked at first: they tell a deviation to a fifth of itself."""
_SAME = 1e-3
"""Part by which losses of a state may differ, of rounding on another machine."""
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
        sampler: that moves the signal in one step; its `batch` is how many solutions move at once.
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

    sampler: AbstractSampler = SAMPLER
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
    """Losses of signals in one step.

    Args:
        terms: constraints.
        shares: of the numbers of each term, over their deviations; times the root of its weight.
        lift: what to add to the numbers of each term.
        batch: draws that each signal moves against, at least one.
        origin: the signals at the start.
        colour: from unknowns to what is added to them.
    """

    terms: tuple[AbstractTerm, ...]
    shares: tuple[Float[Array, "field number"], ...]
    lift: tuple[Float[Array, "field number"], ...]
    batch: Draws
    origin: Inexact[Array, "field channel ..."]
    colour: Colour

    @property
    def count(self) -> int:
        """See `AbstractObjective`."""
        return sum(one[0].size for one in self.lift)

    def differences(
        self, unknowns: Float[Array, "field channel unknown"]
    ) -> Float[Array, "field number"]:
        """See `AbstractObjective`."""
        return _over(self._differences, unknowns, self.origin, self.shares, self.lift, self.batch)

    def _differences(
        self,
        unknowns: Float[Array, "channel unknown"],
        origin: Fields,
        shares: tuple[Float[Array, " number"], ...],
        lift: tuple[Float[Array, " number"], ...],
        batch: Draws,
    ) -> Float[Array, " number"]:
        signal = origin + self.colour.fields(unknowns)
        parts = []
        for term, share, more in zip(self.terms, shares, lift, strict=True):
            parts.append((_mean_offset(term, signal, batch) + more) * share)
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
class _Seen:
    """Of a signal the means over draws of what should vanish, the shares of its numbers, losses."""

    means: list[np.ndarray]
    shares: list[np.ndarray]
    losses: Losses


@dataclass(frozen=True, eq=False)
class Solver:
    """What stays the same over all steps and solutions."""

    descent: Descent
    terms: tuple[AbstractTerm, ...]
    draws: Draws
    colour: Colour
    report: Callable[[State], None]

    def run(self, states: Sequence[State], keys: Sequence[Array]) -> list[State]:
        """The states at the end, with the best signal first.

        Args:
            states: of solutions, moved at once; those that have ended, by the tolerance and the
                steps that are allowed now, stay as they are.
            keys: of what is random on the way of each.
        """
        count = len(states)
        now = [self._resumed(one) for one in states]
        while going := [number for number, one in enumerate(now) if one.status is None]:
            seen = self._at([now[one].signal[1] for one in going], count)
            for one, here in zip(going, seen, strict=True):
                now[one] = self._judged(now[one], here.losses)
                self.report(now[one])
            left = [
                (one, here)
                for one, here in zip(going, seen, strict=True)
                if now[one].status is None
            ]
            if left:
                moved = self._moved(
                    [now[one].signal[1] for one, _ in left],
                    [here for _, here in left],
                    [jax.random.fold_in(keys[one], now[one].step) for one, _ in left],
                    count,
                )
                for (one, _), signal in zip(left, moved, strict=True):
                    kept, _ = now[one].signal
                    now[one] = replace(now[one], step=now[one].step + 1, signal=(kept, signal))
        return now

    def require_own(self, state: State) -> None:
        """Refuse a state whose losses are not those that its signal has here.

        Raises:
            ValueError: for other losses.
        """
        if not state.losses:
            return
        (seen,) = self._at([state.signal[1]], self.descent.sampler.batch)
        for name, known in state.losses[-1].items():
            if not np.isclose(seen.losses[name], known, rtol=_SAME, equal_nan=True):
                raise ValueError(
                    f"resume: expected a state of this separation, with a loss of {name} of "
                    f"{seen.losses[name]:.4g}, got {known:.4g}. Give data, draws and constraints "
                    "as when it was made, or begin anew."
                )

    def _resumed(self, state: State) -> State:
        """A state to go on from, or one that has ended by this descent."""
        status = self._status(state) if state.losses else None
        known = state.losses if status is not None else state.losses[: state.step]
        return replace(state, losses=known, status=status)

    def _judged(self, state: State, losses: Losses) -> State:
        """The state with the losses of its present signal, and with its status if it ended."""
        best = min((_worst(one) for one in state.losses), default=np.inf)
        kept, here = state.signal
        kept = here if _worst(losses) < best else kept
        state = replace(state, signal=(kept, here), losses=(*state.losses, losses))
        return replace(state, status=self._status(state))

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

    def _at(self, signals: Sequence[Fields], count: int) -> list[_Seen]:
        """What is seen of each signal, `count` of them at a time."""
        random = tuple(term for term in self.terms if term.random)
        fixed = tuple(term for term in self.terms if not term.random)
        still = _numbers(fixed, signals, self.draws[0], count)
        drawn: list[list[list[np.ndarray]]] = [[] for _ in signals]
        seen: dict[int, _Seen] = {}
        few = _FEW if random else 0
        while waiting := [one for one in range(len(signals)) if one not in seen]:
            few = min(few, self.draws.count)
            for draw in range(len(drawn[waiting[0]]), few):
                some = [signals[one] for one in waiting]
                found = _numbers(random, some, self.draws[draw], count)
                for one, numbers in zip(waiting, found, strict=True):
                    drawn[one].append(numbers)
            for one in waiting:
                here = self._seen(drawn[one], still[one])
                # The mean over n draws of a contamination that fits has a loss of 1/n.
                least = min((here.losses[term.name] for term in random), default=np.inf)
                if few * least >= _ENOUGH or few in (0, self.draws.count):
                    seen[one] = here
            few = 4 * few
        return [seen[one] for one in range(len(signals))]

    def _seen(self, drawn: list[list[np.ndarray]], still: list[np.ndarray]) -> _Seen:
        """What is seen of a signal with the numbers of several draws."""
        means, shares = self._means(drawn, still)
        losses = {
            term.name: float(np.sum((mean * share) ** 2))
            for term, mean, share in zip(self.terms, means, shares, strict=True)
        }
        return _Seen(means, shares, losses)

    def _means(
        self, drawn: list[list[np.ndarray]], still: list[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Means over the draws that were seen, and the shares of the numbers of each term."""
        stacked = (np.stack(one) for one in zip(*drawn, strict=True))
        given = (one[None] for one in still)
        means, shares = [], []
        for term in self.terms:
            offsets = next(stacked) if term.random else next(given)
            means.append(offsets.mean(axis=0))
            shares.append(term.shares(offsets))
            if np.all(np.isfinite(offsets)) and not np.any(shares[-1] > 0.0):
                raise ValueError(
                    f"contamination: expected draws whose statistics differ, got none that do for "
                    f"'{term.name}': there is nothing to measure its loss by. Give independent "
                    "draws."
                )
        return means, shares

    def _moved(
        self, signals: Sequence[Fields], seen: Sequence[_Seen], keys: Sequence[Array], count: int
    ) -> list[Fields]:
        """The signals after one step, `count` of them at a time."""
        pairs = [jax.random.split(key) for key in keys]
        batch = _stacked([self._batch(chosen) for chosen, _ in pairs], count)
        here = _stacked(signals, count)
        dtype = jnp.real(here).dtype
        lift, weighed = [], []
        for number, (term, found) in enumerate(
            zip(self.terms, _batch_offsets(self.terms, here, batch), strict=True)
        ):
            means = _stacked([jnp.asarray(one.means[number], dtype) for one in seen], count)
            root = np.sqrt(term.weight)
            shares = [jnp.asarray(one.shares[number] * root, dtype) for one in seen]
            lift.append(means - found)
            weighed.append(_stacked(shares, count))
        objective = Lifted(self.terms, tuple(weighed), tuple(lift), batch, here, self.colour)
        domain = self.colour.domain
        still = jnp.zeros((count, domain.channels, domain.size), dtype)
        total = sum(term.weight for term in self.terms)
        tolerance = self.descent.inner * self.descent.tolerance * total
        found = self.descent.sampler.run(
            Task(objective, still, pairs[0][1], tolerance, lambda *_: None)
        )
        moved = found.unknowns[: len(signals)]
        return [
            signal + self.colour.fields(jnp.asarray(unknowns, dtype))
            for signal, unknowns in zip(signals, moved, strict=True)
        ]

    def _batch(self, key: Array) -> Draws:
        """Draws that a signal moves against in one step."""
        if not self.descent.batch:
            return jax.tree.map(lambda values: values[None], self.draws.none())
        count = min(self.descent.batch, self.draws.count)
        which = jax.random.choice(key, self.draws.count, (count,), replace=False)
        return self.draws[np.asarray(which)]


def _worst(losses: Losses) -> float:
    values = list(losses.values())
    return max(values) if np.all(np.isfinite(values)) else np.inf


def _mean_offset(term: AbstractTerm, signal: Fields, batch: Draws) -> Float[Array, " number"]:
    if not term.random:
        return term.offset(signal, jax.tree.map(lambda values: values[0], batch))
    return jnp.mean(jax.lax.map(lambda draw: term.offset(signal, draw), batch), axis=0)


def _numbers(
    terms: tuple[AbstractTerm, ...], signals: Sequence[Fields], draw: Draws, count: int
) -> list[list[np.ndarray]]:
    """For each signal the numbers of each term with one draw, of `count` signals at a time."""
    found = [np.asarray(one) for one in _offsets(terms, _stacked(signals, count), draw)]
    return [[one[number] for one in found] for number in range(len(signals))]


Tree = TypeVar("Tree")


def _stacked(trees: Sequence[Tree], count: int) -> Tree:
    """Trees of arrays stacked, the first one repeated so that there are always as many.

    Every number of them is compiled anew.
    """
    filled = [*trees, *[trees[0]] * (count - len(trees))]
    return jax.tree.map(lambda *values: jnp.stack(values), *filled)


def _over(function: Callable[..., Tree], *arguments: object) -> Tree:
    """A function of each of several arguments; of a single one without an axis more."""
    (count,) = {len(one) for one in jax.tree.leaves(arguments)}
    if count > 1:
        return jax.vmap(function)(*arguments)
    found = function(*jax.tree.map(lambda values: values[0], arguments))
    return jax.tree.map(lambda values: values[None], found)


@eqx.filter_jit
def _offsets(
    terms: tuple[AbstractTerm, ...], signals: Inexact[Array, "field channel ..."], draw: Draws
) -> list[Array]:
    return _over(lambda signal: [term.offset(signal, draw) for term in terms], signals)


@eqx.filter_jit
def _batch_offsets(
    terms: tuple[AbstractTerm, ...], signals: Inexact[Array, "field channel ..."], batch: Draws
) -> list[Array]:
    def offsets(signal: Fields, draws: Draws) -> list[Array]:
        return [_mean_offset(term, signal, draws) for term in terms]

    return _over(offsets, signals, batch)
