"""The patches, and priors, that a criterion likes best.

Each spectral parameter has a ladder of partitions from coarse to fine, and the priors that the data
suggest (`skysift.compsep.learn_scatter`) are widened by factors, up to none. They may be centred on
a fit in larger patches. One step at a time is taken along each ladder in turn, while the criterion
falls: a coordinate search, which tries some tens of the thousands of combinations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skysift.compsep.problem import GaussianPrior, Problem
from skysift.compsep.result import Separation
from skysift.compsep.separate import solve
from skysift.compsep.variants import with_centres, with_patches, with_priors
from skysift.grid import Grid
from skysift.patches import AbstractPartition, KMeans, MultiResolution, Patches, Uniform

Criterion = Callable[[Separation], float]
"""Score of a separation, smallest for the best."""

NO_PRIOR = math.inf
"""Factor on the width of the priors that stands for none."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Patches to try.

    Args:
        patches: of the spectral parameters.
        around: larger patches that priors are centred on (`with_centres`), `None` for the priors'
            own means.
    """

    patches: Patches
    around: Patches | None = None


@dataclass(frozen=True)
class Trial:
    """One combination that was tried.

    Args:
        counts: number of patches of each parameter.
        around: number of larger patches that the priors are centred on, empty for none.
        relax: factor on the width of the priors, infinite for none.
        score: of the criterion.
        converged: whether the separation did.
    """

    counts: dict[str, int]
    around: dict[str, int]
    relax: float
    score: float
    converged: bool

    @property
    def total(self) -> int:
        """Number of patches of all parameters together."""
        return sum(self.counts.values())


@dataclass(frozen=True, eq=False)
class PatchChoice:
    """The best of what was tried.

    Args:
        fit: separation with the patches and priors chosen.
        priors: chosen, empty for none.
        table: all that was tried, in that order.
        best: the one chosen.
    """

    fit: Separation
    priors: dict[str, GaussianPrior]
    table: tuple[Trial, ...]
    best: Trial

    @property
    def patches(self) -> Patches:
        """The patches."""
        return self.fit.patches

    @property
    def around(self) -> Patches | None:
        """The larger patches that the priors are centred on, if they are."""
        coarse = self.fit.problem.coarse
        return None if coarse is None else _only(coarse.patches, self.priors)

    @property
    def counts(self) -> dict[str, int]:
        """Number of patches of each parameter."""
        return self.patches.counts

    @property
    def problem(self) -> Problem:
        """The problem with the patches and priors chosen."""
        return self.fit.problem


def nested_ladder(grid: Grid) -> list[AbstractPartition]:
    """One patch, then HEALPix cells of nside 1 to the grid's."""
    nside = grid.require_nside()
    return [Uniform(), *(MultiResolution(1 << k) for k in range(nside.bit_length()))]


def kmeans_ladder(grid: Grid, factor: float = 2.0) -> list[AbstractPartition]:
    """One patch, then k-means patches of counts that grow by a factor, up to one per cell.

    Raises:
        ValueError: for a factor that does not grow.
    """
    if not factor > 1:
        raise ValueError(f"factor: expected more than 1, got {factor}. The default is 2.")
    counts, count = [], 10.0
    while count < grid.size:
        counts.append(round(count))
        count *= factor
    return [Uniform(), *(KMeans(count) for count in counts), KMeans(grid.size)]


def choose_patches(
    problem: Problem,
    criterion: Criterion,
    ladders: Mapping[str, Sequence[AbstractPartition]] | None = None,
    *,
    priors: Mapping[str, GaussianPrior] | None = None,
    relax: Sequence[float] = (NO_PRIOR,),
    coarser: Sequence[int] = (0,),
    seed: int = 42,
    on_trial: Callable[[Trial], None] | None = None,
) -> PatchChoice:
    """Choose the patches of each spectral parameter by a criterion.

    Args:
        problem: whose maps decide; its own patches and priors are ignored.
        criterion: for instance `cmb_variance`, `evidence`, `predictive` or a
            `skysift.cosmology.Forecast`.
        ladders: partitions of each parameter from coarse to fine; `nested_ladder` by default.
        priors: to widen; without, there are none.
        relax: factors on their widths, from tight to wide, `NO_PRIOR` for none.
        coarser: how many rungs of its ladder up the patches are that a prior is centred on, 0 for
            its own mean.
        seed: of k-means patches.
        on_trial: called after each trial.

    Raises:
        ValueError: for an empty ladder, unknown parameters, partitions that do not suit the cells,
            or if nothing that was tried converges.

    Examples:
        >>> import skysift as ss
        >>> from skysift.compsep.criteria import predictive
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4, seed=0)
        >>> choose_patches(ss.separate(sim.maps, "LiteBIRD").problem, predictive).counts
        {'beta_dust': 1, 'temp_dust': 1, 'beta_pl': 1}
    """
    names = [parameter.name for parameter in problem.model.free]
    given = (
        {name: nested_ladder(problem.maps.grid) for name in names} if ladders is None else ladders
    )
    unknown = set(given) - set(names)
    empty = not all(len(ladder) for ladder in [*given.values(), relax, coarser])
    if unknown or empty or min(coarser) < 0:
        raise ValueError(
            f"ladders: expected at least one partition for any of {', '.join(names)}, one factor "
            "in relax and one number not below zero in coarser, got "
            f"{dict(given)}, {tuple(relax)} and {tuple(coarser)}."
        )
    rungs = {name: list(given.get(name, [Uniform()])) for name in names}

    def patches(at: Sequence[int], back: int) -> Patches:
        parts = {n: rungs[n][max(i - back, 0)] for n, i in zip(names, at, strict=True)}
        return Patches.of(problem.maps.grid, seed, **parts)

    def build(at: tuple[int, ...]) -> tuple[Candidate, float]:
        *rung, back, factor = at
        around = patches(rung, coarser[back]) if coarser[back] else None
        return Candidate(patches(rung, 0), around), float(relax[factor])

    search = _Search(problem, criterion, build, priors or {}, on_trial)
    return search.descend([*(len(rungs[name]) for name in names), len(coarser), len(relax)])


def choose_among(
    problem: Problem,
    criterion: Criterion,
    candidates: Sequence[Candidate],
    *,
    priors: Mapping[str, GaussianPrior] | None = None,
    relax: Sequence[float] = (NO_PRIOR,),
    on_trial: Callable[[Trial], None] | None = None,
) -> PatchChoice:
    """Choose among given patches, from coarse to fine, and widths of the priors.

    Args:
        problem: as `choose_patches`.
        criterion: as `choose_patches`.
        candidates: to choose from; neighbours should be alike.
        priors: as `choose_patches`.
        relax: as `choose_patches`.
        on_trial: as `choose_patches`.

    Raises:
        ValueError: for no candidates, or as `choose_patches`.
    """
    if not len(candidates) or not len(relax):
        raise ValueError(
            "candidates: expected at least one choice of patches and one factor in relax, got "
            "none. For instance [Candidate(Patches.kmeans(mask, beta_dust=100))]."
        )

    def build(at: tuple[int, ...]) -> tuple[Candidate, float]:
        return candidates[at[0]], float(relax[at[1]])

    search = _Search(problem, criterion, build, priors or {}, on_trial)
    return search.descend([len(candidates), len(relax)])


class _Search:
    """A coordinate search that remembers what it has tried."""

    def __init__(
        self,
        problem: Problem,
        criterion: Criterion,
        build: Callable[[tuple[int, ...]], tuple[Candidate, float]],
        priors: Mapping[str, GaussianPrior],
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        self.problem, self.criterion, self.build = problem, criterion, build
        self.priors, self.on_trial = dict(priors), on_trial
        self.tried: dict[tuple[int, ...], Trial] = {}
        self.best: tuple[Trial, Separation, dict[str, GaussianPrior]] | None = None

    def descend(self, lengths: Sequence[int]) -> PatchChoice:
        """Step along each axis in turn while the score falls, from the middle of all."""
        at = [length // 2 for length in lengths]
        self.score(tuple(at))
        moving = True
        while moving:
            moving = False
            for axis, length in enumerate(lengths):
                for step in (1, -1):
                    while 0 <= at[axis] + step < length:
                        there = [*at[:axis], at[axis] + step, *at[axis + 1 :]]
                        if not self.score(tuple(there)) < self.score(tuple(at)):
                            break
                        at, moving = there, True
        if self.best is None:
            raise ValueError(
                f"ladders: expected some patches whose separation converges, got {len(self.tried)} "
                "that do not. Offer fewer patches, or priors."
            )
        trial, fit, priors = self.best
        return PatchChoice(fit, priors, tuple(self.tried.values()), trial)

    def score(self, at: tuple[int, ...]) -> float:
        """Score of one combination; infinite if its separation does not converge."""
        if at in self.tried:
            return self.tried[at].score
        candidate, factor = self.build(at)
        priors = (
            {}
            if math.isinf(factor)
            else {n: dataclasses.replace(p, sigma=factor * p.sigma) for n, p in self.priors.items()}
        )
        problem = with_priors(with_patches(self.problem, candidate.patches), priors)
        if candidate.around is not None and priors:
            problem = with_centres(problem, _only(candidate.around, priors))
        fit = solve(problem, start=self._start(problem))
        score = float(self.criterion(fit)) if fit.status.converged else math.inf
        coarse = problem.coarse
        around = {} if coarse is None else _only(coarse.patches, priors).counts
        trial = Trial(fit.patches.counts, around, factor, score, fit.status.converged)
        self.tried[at] = trial
        if np.isfinite(score) and (self.best is None or score < self.best[0].score):
            self.best = (trial, fit, priors)
        if self.on_trial is not None:
            self.on_trial(trial)
        return score

    def _start(self, problem: Problem) -> np.ndarray:
        """Averages over the patches of the best values so far."""
        if self.best is None:
            return problem.start
        fit, start = self.best[1], []
        for name, labels in problem.patches.labels.items():
            cells = fit.patches.expand(name, fit.parameters[name])
            start.append(np.bincount(labels, cells) / np.bincount(labels))
        return np.concatenate(start)


def _only(patches: Patches, names: Iterable[str]) -> Patches:
    """The patches of some parameters."""
    return Patches({name: patches.labels[name] for name in names}, patches.grid)
