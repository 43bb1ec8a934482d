"""Recover a signal of unknown statistics from data and the statistics of its contamination."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.scattering.domain import AbstractDomain, precision_of
from skysift.scattering.regrid import coarsened, regridded
from skysift.scattering.separation.constraints import Constraint, Total
from skysift.scattering.separation.contamination import AbstractContamination, Draws, Ensemble
from skysift.scattering.separation.descent import Descent, Losses, Solver, State, Status
from skysift.scattering.separation.problem import Observation, free, observe, terms_of
from skysift.scattering.separation.start import Begin, changes, origin, starts
from skysift.scattering.separation.terms import AbstractTerm, Fields
from skysift.scattering.statistic import AbstractStatistic


@dataclass(frozen=True, eq=False)
class Separated:
    """Signal and contamination of an observation.

    Args:
        maps: signals `(restart, *map shape)`, each a solution, in the units of the data.
        data: map of the data, the mean of its halves; NaN where not known. On the sphere of the
            multipoles of the statistics.
        statuses: how each solution ended.
        histories: for each solution the loss of each constraint before each step, and at the end.
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
        """Loss of each constraint before each step, and at the end, of the first solution."""
        return self.histories[0]

    @property
    def spread(self) -> Float[np.ndarray, "..."]:
        """Standard deviation of the solutions in each cell.

        Raises:
            ValueError: for a single solution.
        """
        if len(self.maps) < 2:
            raise ValueError(
                "restarts: expected 2 or more solutions for their spread, got 1. Separate with "
                "restarts=8."
            )
        return self.maps.std(axis=0, ddof=1)


@dataclass(frozen=True, eq=False)
class Coarse:
    """What a signal has to satisfy with fewer cells, before it does with all.

    Args:
        statistics: of the data on a coarser grid (`coarsened`).
        constraints: there; fixed large scales as well, if the signal has them.
    """

    statistics: AbstractStatistic
    constraints: Sequence[Constraint] = (Total(),)


def separate(
    data: Float[np.ndarray, "..."],
    contamination: AbstractContamination | Float[np.ndarray, "draw ..."],
    statistics: AbstractStatistic,
    constraints: Sequence[Constraint] = (Total(),),
    seed: int = 0,
    *,
    descent: Descent | None = None,
    coarser: Sequence[Coarse] = (),
    begin: Begin = Begin.DATA,
    draws: int = 100,
    restarts: int = 1,
    report: Callable[[State], None] | None = None,
    resume: Sequence[State] = (),
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
        coarser: coarser grids, the fewest cells first, on which the signal is moved before: at a
            small part of the cost.
        begin: where the signal starts.
        draws: of the contamination, at most.
        restarts: number of solutions. Of data in two halves the second and third start from these,
            and all later ones from the data less another draw of the contamination each: their
            spread is that over splits of the data and over contaminations. The sampler may move
            some at once (`LBFGS(batch=8)`), which takes a GPU hardly longer than one.
        report: called with the state of each solution before each step on the grid of the data,
            and at its end.
        resume: the last state that was reported of each solution, from which it goes on; those
            without one are made anew.

    Raises:
        ValueError: for data, contamination and constraints that do not fit together, or numbers
            that make no sense; for more solutions than have a draw of their own to start from; for
            a state of other data, draws or constraints, whose losses are not those here.

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
    dtype = precision_of(np.asarray(data))
    drawn, order = np.random.SeedSequence(seed).spawn(2)
    observation = observe(data, statistics, dtype)
    domain = observation.domain
    fields = contamination.draws(
        domain, draws, drawn, dtype, observation.kept, observation.statistic.cells
    )
    most = starts(observation, fields)
    if begin is not Begin.NOISE and restarts > most:
        raise ValueError(
            f"restarts: expected {most} or fewer with {fields.count} draws, got {restarts}: the "
            "others would begin as some before. Take more draws, or begin from noise."
        )
    report = report or (lambda state: None)
    solver = _solver(observation, fields, constraints, descent, begin, report)
    before: list[tuple[AbstractDomain, Solver]] = []
    for one in coarser:
        small = one.statistics.domain
        seen = observe(coarsened(data, domain, small), one.statistics, dtype)
        there = coarse_draws(fields, domain, seen)
        quiet = _solver(seen, there, one.constraints, descent, begin, lambda state: None)
        before.append((small, quiet))
    if isinstance(resume, State):
        raise ValueError("resume: expected a sequence of states, got one. Say resume=[state].")
    for state in resume:
        _require_own(state, restarts, observation, solver.terms)
        solver.require_own(state)
    known = {state.restart: state for state in resume}
    keys = [
        [jax.random.key(int(one)) for one in stream.generate_state(2 + len(before), np.uint32)]
        for stream in order.spawn(restarts)
    ]
    solutions: list[State] = []
    for first in range(0, restarts, descent.sampler.batch):
        some = range(first, min(first + descent.sampler.batch, restarts))
        new = [one for one in some if one not in known]
        begun = [
            origin(observation, fields, solver.colour, begin, one, keys[one][0]) for one in new
        ]
        for level, (small, coarse) in enumerate(before if new else []):
            there = [regridded(one, domain, small) for one in begun]
            ends = coarse.run(_states(new, there), [keys[one][2 + level] for one in new])
            begun = [
                one + regridded(end.signal[0] - at, small, domain)
                for one, end, at in zip(begun, ends, there, strict=True)
            ]
        ready = known | dict(zip(new, _states(new, begun), strict=True))
        solutions += solver.run([ready[one] for one in some], [keys[one][1] for one in some])
    maps = np.stack([np.asarray(domain.seen(one.signal[0])) for one in solutions])
    statuses = tuple(one.status for one in solutions if one.status is not None)
    missed = sum(status is not Status.CONVERGED for status in statuses)
    if missed:
        worst = max(max(one.losses[-1].values()) for one in solutions)
        diverged = Status.DIVERGED in statuses
        advice = (
            "It diverged, and the best signal before that is given: take another sampler or batch"
            if diverged
            else "Allow more steps"
        )
        warnings.warn(
            f"separate: {missed} of {len(solutions)} solutions did not reach the tolerance "
            f"{descent.tolerance} (the largest loss is {worst:.3g}). {advice} "
            "(descent=Descent(...)), or look at which constraint cannot be satisfied.",
            stacklevel=2,
        )
    whole = np.asarray(domain.seen(observation.whole))
    return Separated(
        maps,
        np.where(np.broadcast_to(observation.kept, whole.shape), whole, np.nan),
        statuses,
        tuple(_history(one.losses) for one in solutions),
        fields.count,
    )


def coarse_draws(draws: Draws, domain: AbstractDomain, seen: Observation) -> Draws:
    """Draws on a coarser grid, as the data are seen there (`coarsened`).

    Args:
        draws: of the contamination.
        domain: where they are.
        seen: the data on the coarser grid.
    """
    return jax.tree.map(
        lambda values: seen.statistic.visible(regridded(values, domain, seen.domain)), draws
    )


def _solver(
    observation: Observation,
    draws: Draws,
    constraints: Sequence[Constraint],
    descent: Descent,
    begin: Begin,
    report: Callable[[State], None],
) -> Solver:
    """What moves signals on one grid."""
    terms = terms_of(constraints, observation, draws)
    colour = changes(observation, draws, begin, free(constraints, observation.domain))
    return Solver(descent, terms, draws, colour, report)


def _states(restarts: Sequence[int], fields: Sequence[Fields]) -> list[State]:
    """Solutions that have not moved yet."""
    return [State(one, 0, (here, here), ()) for one, here in zip(restarts, fields, strict=True)]


def _history(losses: Sequence[Losses]) -> dict[str, Float[np.ndarray, " step"]]:
    return {name: np.array([one[name] for one in losses]) for name in losses[0]}


def _require_own(
    state: State, restarts: int, observation: Observation, terms: Sequence[AbstractTerm]
) -> None:
    """Refuse a state of other data or constraints."""
    if state.restart >= restarts:
        raise ValueError(
            f"resume: expected a state of one of {restarts} solutions, got one of number "
            f"{state.restart}, counted from 0. Say restarts={state.restart + 1} or more."
        )
    names = {term.name for term in terms}
    for losses in state.losses:
        if set(losses) != names:
            raise ValueError(
                f"resume: expected a state with losses of {sorted(names)}, got {sorted(losses)}. "
                "Separate with the constraints of the state, or begin anew."
            )
    whole = observation.whole
    for fields in state.signal:
        if fields.shape != whole.shape or jnp.asarray(fields).dtype != whole.dtype:
            raise ValueError(
                f"resume: expected a state with fields {whole.shape} of {whole.dtype}, as the "
                f"data, got {fields.shape} of {fields.dtype}. Separate the data of the state, or "
                "begin anew."
            )
