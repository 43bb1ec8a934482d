"""Priors learnt from the data: how much a spectral parameter varies from patch to patch.

With a Gaussian prior of mean m and width sigma on every patch of a parameter, the evidence of the
data in Laplace's approximation is largest where (MacKay 1992, Neural Computation 4, 415)

    m = mean over patches of theta,    sigma^2 = sum (theta - m)^2 / gamma,
    gamma = sum (1 - var(theta) / sigma^2),

with the posterior values theta and their marginal variances. gamma counts the patches that the data
determine; the others follow the prior.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from skysift.compsep.problem import GaussianPrior, Problem
from skysift.compsep.result import Separation
from skysift.compsep.separate import solve
from skysift.compsep.variants import over_patches, with_patches, with_priors
from skysift.patches import Patches

_TOLERANCE = 0.02
_LEAST = 1e-3


def learn_priors(
    fit: Separation,
    relax: float = 1.0,
    max_iterations: int = 12,
    centres: Mapping[str, Float[np.ndarray, " cell"]] | None = None,
) -> dict[str, GaussianPrior]:
    """Prior of each spectral parameter under which the data are most probable.

    Args:
        fit: with many patches, of calibrated weights, with errors. A parameter with fewer than
            three patches keeps no prior.
        relax: factor on the widths. The evidence minimises the error of all parameters together;
            what is left of foregrounds on large scales is less with wider priors.
        max_iterations: fixed-point steps, one separation each; they end when no width changes by
            more than 2 %.
        centres: as `with_priors` takes them; the widths are then those about them.

    Raises:
        ValueError: for weights that are no inverse noise variances, or a factor that is not
            positive.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4, seed=1)
        >>> patches = ss.Patches.multires(sim.maps.grid, beta_dust=2)
        >>> prior = learn_priors(ss.separate(sim.maps, "LiteBIRD", patches=patches))["beta_dust"]
        >>> abs(prior.mean - 1.54) < 0.01, prior.sigma < 0.01
        (True, True)
    """
    if not fit.calibrated:
        raise ValueError(
            "fit: expected weights that are inverse noise variances, got others. Separate with the "
            "instrument's depth or with noise maps."
        )
    if not relax > 0:
        raise ValueError(f"relax: expected a positive factor, got {relax}. Leave it out for 1.")
    problem = dataclasses.replace(
        fit.problem, options=dataclasses.replace(fit.problem.options, errors=True)
    )
    names = [name for name, values in fit.parameters.items() if values.size >= 3]
    widths = _widths(problem)
    middle = {n: over_patches(problem, n, c) for n, c in (centres or {}).items()}
    priors = {name: _first(fit, name, widths[name]) for name in names}
    current = fit
    for _ in range(max_iterations):
        current = solve(with_priors(problem, priors, centres), start=current.theta)
        learnt = {
            name: _step(current, name, priors[name], widths[name], middle.get(name))
            for name in names
        }
        change = [abs(np.log(learnt[name].sigma / priors[name].sigma)) for name in names]
        priors = learnt
        if not names or max(change) < _TOLERANCE:
            break
    return {n: dataclasses.replace(p, sigma=relax * p.sigma) for n, p in priors.items()}


def falling_patches(problem: Problem, nside: int | None = None) -> Patches:
    """Nested patches, twice as large from parameter to parameter in the model's order.

    Emission laws with two parameters are nearly degenerate in a cell: that the second varies on
    larger scales keeps the scatter of both apart.

    Args:
        problem: on HEALPix cells.
        nside: of the first parameter's patches, by default cells; those of the others stop at
            cells too.

    Raises:
        ValueError: for cells that are not HEALPix.
    """
    grid = problem.maps.grid
    nside = grid.require_nside() if nside is None else nside
    names = [parameter.name for parameter in problem.model.free]
    finest = grid.require_nside()
    sizes = {n: min(max(nside >> k, 1), finest) for k, n in enumerate(names)}
    return Patches.multires(grid, **sizes)


def vague_priors(problem: Problem) -> dict[str, GaussianPrior]:
    """Priors at the start values and a tenth as wide as the bounds, to begin with."""
    split = problem.likelihood.structure.split
    names = [parameter.name for parameter in problem.model.free]
    each = zip(names, split(problem.start), split(problem.low), split(problem.high), strict=True)
    return {n: GaussianPrior(float(s[0]), 0.1 * float(b[0] - a[0])) for n, s, a, b in each}


def learn_scatter(problem: Problem) -> dict[str, GaussianPrior]:
    """How the spectral parameters of a sky vary, from its maps alone: `learn_priors` made easy.

    Args:
        problem: of calibrated weights, on HEALPix cells; its own patches and priors are ignored.

    Raises:
        ValueError: as `learn_priors`, and for cells that are not HEALPix.
    """
    fine = with_patches(problem, falling_patches(problem))
    return learn_priors(solve(with_priors(fine, vague_priors(fine))))


def _widths(problem: Problem) -> dict[str, float]:
    """Width of the bounds of each parameter."""
    split = problem.likelihood.structure.split(problem.high - problem.low)
    names = [parameter.name for parameter in problem.model.free]
    return {name: float(part[0]) for name, part in zip(names, split, strict=True)}


def _known(
    fit: Separation, name: str
) -> tuple[Float[np.ndarray, " known"], Float[np.ndarray, " known"], Bool[np.ndarray, " patch"]]:
    """Values and variances of the patches that have both, and which those are."""
    values, error = fit.parameters[name], fit.errors[name]
    good = np.isfinite(error) & (error > 0)
    return values[good], error[good] ** 2, good


def _first(fit: Separation, name: str, width: float) -> GaussianPrior:
    """Moments of what is well known, weighted by the inverse variance."""
    values, variance, _ = _known(fit, name)
    if values.size == 0:
        return GaussianPrior(float(np.mean(fit.parameters[name])), width)
    weight = 1.0 / (variance + np.median(variance))
    mean = float(np.average(values, weights=weight))
    scatter = float(np.average((values - mean) ** 2, weights=weight))
    return GaussianPrior(mean, float(np.clip(np.sqrt(scatter), _LEAST * width, width)))


def _step(
    fit: Separation,
    name: str,
    prior: GaussianPrior,
    width: float,
    middle: Float[np.ndarray, " patch"] | None,
) -> GaussianPrior:
    values, variance, good = _known(fit, name)
    if values.size == 0:
        return prior
    determined = np.sum(np.clip(1.0 - variance / prior.sigma**2, 0.0, 1.0))
    mean = float(values.mean())
    away = values - (mean if middle is None else middle[good])
    square = float(np.sum(away**2)) / max(float(determined), 1e-3 * values.size)
    return GaussianPrior(mean, float(np.clip(np.sqrt(square), _LEAST * width, width)))
