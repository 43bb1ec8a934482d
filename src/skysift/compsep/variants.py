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


def over_patches(
    problem: Problem, name: str, centres: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, " patch"]:
    """Average of cell values in each patch."""
    labels = problem.patches.labels[name]
    return np.bincount(labels, centres) / np.bincount(labels)
