"""Patches that follow the data: small where the sky is bright, large where there is little to see.

`informed_patches` sizes cells by information: the error of a patch is the same everywhere.
`adaptive_patches` splits cells by evidence: where the data show that a parameter varies. Splitting
a patch into children c, with summed gradients g_c and curvatures h_c at the best fit, lowers the
objective by about

    sum_c g_c^2 / (2 h_c),

the gain of one Newton step of the children with all else held (Schur complements of other patches'
parameters left out: they are larger, and follow in the next round). Noise alone gives half a unit
per parameter added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.compsep.kernel import CellTerms
from skysift.compsep.problem import Problem
from skysift.compsep.result import Separation
from skysift.compsep.separate import solve
from skysift.compsep.variants import with_patches
from skysift.grid import Grid
from skysift.patches import Patches

NOISE_GAIN = 0.5
"""What noise alone lowers the objective by for each parameter added."""


@dataclass(frozen=True)
class Tree:
    """Nested HEALPix cells of different sizes that cover a grid.

    Args:
        grid: its cells are the finest.
        order: log2 of the nside of the patch each cell is in; -1 for one patch of all cells.
    """

    grid: Grid
    order: Int[np.ndarray, " cell"]

    @staticmethod
    def whole(grid: Grid) -> Tree:
        """One patch of all cells."""
        return Tree(grid, np.full(grid.size, -1))

    @property
    def finest(self) -> int:
        """Order of the grid."""
        return int(math.log2(self.grid.require_nside()))

    def names(self, deeper: int = 0) -> Int[np.ndarray, " cell"]:
        """A number per patch, or per child some levels below it."""
        order = np.minimum(self.order + deeper, self.finest)
        shift = 2 * (self.finest - np.maximum(order, 0))
        number = np.where(order < 0, 0, self.grid.nested >> shift)
        return number + (order + 1).astype(np.int64) * 12 * 4**self.finest

    def labels(self) -> Int[np.ndarray, " cell"]:
        """Patch of each cell, contiguous from zero."""
        return np.unique(self.names(), return_inverse=True)[1].astype(np.int64)

    def split(self, chosen: Bool[np.ndarray, " cell"]) -> Tree:
        """The tree with the patches of the chosen cells one level finer."""
        return Tree(
            self.grid, np.where(chosen, np.minimum(self.order + 1, self.finest), self.order)
        )

    def gain(
        self,
        gradient: Float[np.ndarray, " cell"],
        curvature: Float[np.ndarray, " cell"],
        lookahead: int,
    ) -> Float[np.ndarray, " patch"]:
        """Fall of the objective per parameter added, of the best split up to some levels down."""
        labels = self.labels()
        best = np.zeros(int(labels.max()) + 1)
        for deeper in range(1, lookahead + 1):
            _, first, child = np.unique(self.names(deeper), return_index=True, return_inverse=True)
            g, h = np.bincount(child, gradient), np.bincount(child, curvature)
            fall = np.where(h > 0, g**2 / (2.0 * np.where(h > 0, h, 1.0)), 0.0)
            parent = labels[first]
            added = np.bincount(parent, minlength=best.size) - 1
            total = np.bincount(parent, fall, best.size)
            best = np.maximum(best, np.where(added > 0, total / np.maximum(added, 1), 0.0))
        return best


def curvatures(terms: CellTerms) -> Float[np.ndarray, "free cell"]:
    """Gauss-Newton curvature of each parameter in each cell, the others held."""
    free = terms.gradient.shape[0]
    diagonal = [k * (k + 1) // 2 + k for k in range(free)]
    return np.asarray(terms.gauss_newton)[diagonal]


def adaptive_patches(
    problem: Problem,
    threshold: float = 2.0,
    lookahead: int = 3,
    max_rounds: int = 24,
) -> Separation:
    """Split patches where the data show that a parameter varies.

    Starts with one patch per parameter. In each round every patch, in which splitting one parameter
    lowers the objective by more than the threshold per parameter added, is split into its four
    NESTED children, in the parameter that gains most; then all is fitted again. It ends when
    nothing is split.

    Args:
        problem: of calibrated weights, on HEALPix cells; its own patches and priors are ignored.
        threshold: least gain per parameter added. 0.5 is noise, 1 minimises the expected error of
            prediction (Akaike), and more asks for more certainty.
        lookahead: levels of children that are looked at: variation may average out in the first.
        max_rounds: of splitting.

    Returns:
        The separation with the patches found: `fit.patches`.

    Raises:
        ValueError: for a threshold that noise exceeds, weights that are no inverse noise variances,
            or cells that are not HEALPix.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4, seed=0)
        >>> adaptive_patches(ss.separate(sim.maps, "LiteBIRD").problem).patches.counts
        {'beta_dust': 1, 'temp_dust': 1, 'beta_pl': 1}
    """
    if not threshold > NOISE_GAIN:
        raise ValueError(
            f"threshold: expected more than {NOISE_GAIN}, what noise gains, got {threshold}. Take "
            "1 or 2."
        )
    _require_calibrated(problem)
    names = [parameter.name for parameter in problem.model.free]
    grid = problem.maps.grid
    trees = {name: Tree.whole(grid) for name in names}
    fit = solve(with_patches(problem, _patches(trees, grid)))
    for _ in range(max_rounds):
        split = _wanted(fit, trees, threshold, lookahead)
        if not any(chosen.any() for chosen in split.values()):
            break
        trees = {name: tree.split(split[name]) for name, tree in trees.items()}
        fit = _again(fit, _patches(trees, grid))
    return fit


def informed_patches(fit: Separation, errors: Mapping[str, float]) -> Patches:
    """The finest nested cells in which each parameter is known to a given error.

    Args:
        fit: any separation of the maps, whose curvature is used; of calibrated weights.
        errors: standard deviation wanted for each parameter, the others held; one patch for
            parameters left out.

    Raises:
        ValueError: for unknown parameters, errors that are not positive, weights that are no
            inverse noise variances, or cells that are not HEALPix.

    Examples:
        >>> import skysift as ss
        >>> fit = ss.separate(ss.simulate("c1d0s0", "LiteBIRD", nside=4).maps, "LiteBIRD")
        >>> counts = informed_patches(fit, {"beta_dust": 0.05, "beta_pl": 0.05}).counts
        >>> counts["beta_dust"] > counts["beta_pl"] >= counts["temp_dust"] == 1
        True
    """
    _require_calibrated(fit.problem)
    names = [parameter.name for parameter in fit.model.free]
    for name, error in errors.items():
        if name not in names or not error > 0:
            raise ValueError(
                f"errors: expected a positive number for any of {', '.join(names)}, got "
                f"{name!r}: {error}."
            )
    curvature = curvatures(fit.problem.likelihood.cell_terms(fit.theta))
    trees = {name: Tree.whole(fit.grid) for name in names}
    for k, name in enumerate(names):
        if name not in errors:
            continue
        for _ in range(trees[name].finest + 1):
            tree = trees[name]
            labels, children = tree.labels(), tree.split(np.ones(fit.grid.size, bool)).labels()
            count = np.bincount(labels[np.unique(children, return_index=True)[1]])
            known = np.bincount(labels, curvature[k]) / count
            trees[name] = tree.split((known > errors[name] ** -2)[labels])
    return _patches(trees, fit.grid)


def _require_calibrated(problem: Problem) -> None:
    if not problem.measurements.calibrated:
        raise ValueError(
            "problem: expected weights that are inverse noise variances, got others. Separate with "
            "the instrument's depth or with noise maps."
        )


def _patches(trees: Mapping[str, Tree], grid: Grid) -> Patches:
    return Patches({name: tree.labels() for name, tree in trees.items()}, grid)


def _wanted(
    fit: Separation, trees: Mapping[str, Tree], threshold: float, lookahead: int
) -> dict[str, Bool[np.ndarray, " cell"]]:
    """Cells whose patch is to be split, per parameter."""
    terms = fit.problem.likelihood.cell_terms(fit.theta)
    gradient, curvature = np.asarray(terms.gradient), curvatures(terms)
    gains = np.stack(
        [
            tree.gain(gradient[k], curvature[k], lookahead)[fit.patches.labels[name]]
            for k, (name, tree) in enumerate(trees.items())
        ]
    )
    best = gains.max(axis=0)
    chosen = {}
    for k, name in enumerate(trees):
        labels = fit.patches.labels[name]
        leading = np.bincount(labels, gains[k] >= best) / np.bincount(labels)
        chosen[name] = (gains[k] > threshold) & (leading > 0.5)[labels]
    return chosen


def _again(fit: Separation, patches: Patches) -> Separation:
    """The separation with patches that lie in those of an earlier fit, started from its values."""
    start = []
    for name, labels in patches.labels.items():
        first = np.unique(labels, return_index=True)[1]
        start.append(fit.parameters[name][fit.patches.labels[name][first]])
    return solve(with_patches(fit.problem, patches), start=np.concatenate(start))
