"""Problems made of another: the same maps and weights with other patches or priors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from skysift.compsep.problem import GaussianPrior, Problem
from skysift.compsep.structure import Structure
from skysift.patches import Patches, Uniform


def with_patches(problem: Problem, patches: Patches) -> Problem:
    """The same problem with other patches; starts are averages, and there are no priors.

    Args:
        problem: whose parameters have the same bounds in all patches.
        patches: on the same cells; one patch for parameters left out.

    Raises:
        ValueError: for patches on other cells, or of parameters that are not free.
    """
    names = [parameter.name for parameter in problem.model.free]
    unknown = set(patches.parameters) - set(names)
    if patches.grid != problem.maps.grid or unknown:
        raise ValueError(
            f"patches: expected patches of {', '.join(names)} on the {problem.maps.grid.size} "
            f"cells of the problem, got {', '.join(patches.parameters)} on {patches.grid.size} "
            "cells. Make them for the grid of the fit."
        )
    given = {n: patches.labels[n] for n in names if n in patches.labels}
    rest = [n for n in names if n not in given]
    whole = Patches.of(patches.grid, 0, **dict.fromkeys(rest, Uniform()))
    patches = Patches({n: {**given, **whole.labels}[n] for n in names}, patches.grid)
    labels = np.stack([patches.labels[n] for n in names])
    structure = Structure.of(labels, tuple(patches.counts[n] for n in names))
    split = problem.likelihood.structure.split

    def spread(vector: np.ndarray) -> Float[np.ndarray, " parameter"]:
        parts = [np.full(c, p.mean()) for c, p in zip(structure.counts, split(vector), strict=True)]
        return np.concatenate(parts)

    none = np.zeros(structure.size)
    likelihood = dataclasses.replace(
        problem.likelihood, structure=structure, prior_mean=none, prior_precision=none
    )
    return dataclasses.replace(
        problem,
        likelihood=likelihood,
        start=spread(problem.start),
        low=spread(problem.low),
        high=spread(problem.high),
        patches=patches,
        coarse=None,
    )


def with_priors(
    problem: Problem,
    priors: Mapping[str, GaussianPrior],
    centres: Mapping[str, Float[np.ndarray, " cell"]] | None = None,
) -> Problem:
    """The same problem with other priors; parameters left out keep theirs.

    Args:
        problem: any.
        priors: `{name: GaussianPrior}`.
        centres: value in each cell that a prior is centred on, in place of its mean; a patch takes
            the average of its cells.

    Raises:
        ValueError: for names that are no free parameters.
    """
    names = [parameter.name for parameter in problem.model.free]
    unknown = set(priors) - set(names)
    if unknown:
        raise ValueError(
            f"priors: expected free parameters of the model ({', '.join(names)}), got "
            f"{sorted(unknown)[0]!r}."
        )
    structure = problem.likelihood.structure
    mean = structure.split(problem.likelihood.prior_mean.copy())
    precision = structure.split(problem.likelihood.prior_precision.copy())
    for k, name in enumerate(names):
        if name in priors:
            mean[k][:], precision[k][:] = priors[name].mean, priors[name].sigma ** -2
            if centres and name in centres:
                mean[k][:] = over_patches(problem, name, centres[name])
    empty = [np.zeros(0)]
    likelihood = dataclasses.replace(
        problem.likelihood,
        prior_mean=np.concatenate(mean + empty),
        prior_precision=np.concatenate(precision + empty),
    )
    return dataclasses.replace(problem, likelihood=likelihood)


def with_centres(problem: Problem, around: Patches) -> Problem:
    """The same problem with priors centred on what larger patches have.

    Before the problem is solved, for whatever maps are in it, the parameters are fitted in the
    larger patches without priors; a patch's prior is centred on the average of that fit over its
    cells. So a parameter can follow the sky on large scales, and is held to that where a small
    patch tells nothing.

    Args:
        problem: with priors on the parameters that larger patches are given for.
        around: the larger patches, on cells that hold those of the problem. The other parameters
            keep their patches and priors.

    Raises:
        ValueError: for patches of parameters without prior, or that lack cells of the problem.
    """
    names = [parameter.name for parameter in problem.model.free]
    precision = problem.likelihood.structure.split(problem.likelihood.prior_precision)
    bare = [n for n, p in zip(names, precision, strict=True) if not p.size or not np.all(p > 0)]
    wrong = [n for n in around.parameters if n not in names or n in bare]
    if wrong:
        raise ValueError(
            f"around: expected parameters that have a prior, got {wrong[0]!r}, which has none. "
            "Give it a prior too, whose width says how far patches may be from the larger ones."
        )
    grid = problem.maps.grid
    around = around if around.grid == grid else around.restricted(grid)
    labels = {n: {**problem.patches.labels, **around.labels}[n] for n in names}
    coarse = with_patches(problem, Patches(labels, grid))
    mean = problem.likelihood.structure.split(problem.likelihood.prior_mean)
    kept = {
        name: GaussianPrior(float(m[0]), float(p[0] ** -0.5))
        for name, m, p in zip(names, mean, precision, strict=True)
        if name not in around.labels and name not in bare
    }
    options = dataclasses.replace(problem.options, errors=False)
    return dataclasses.replace(
        problem, coarse=dataclasses.replace(with_priors(coarse, kept), options=options)
    )


def over_patches(
    problem: Problem, name: str, centres: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " patch"]:
    """Average of cell values in each patch."""
    labels = problem.patches.labels[name]
    return np.bincount(labels, centres) / np.bincount(labels)
