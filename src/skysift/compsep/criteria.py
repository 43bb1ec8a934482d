"""How good a choice of patches is, told from the fit alone; the smallest score is the best.

With the objective F (half the squared residuals, priors' pull included), its Hessian H over the
free patch parameters, and patches that hold n of them:

- `cmb_variance`: variance of the recovered CMB. What foregrounds and noise leave adds to it.
- `evidence`: minus the log probability of the data, in Laplace's approximation,
  F + 1/2 log det H - n/2 log 2 pi - log prior density.
- `predictive`: expected misfit of other data with the same noise, F + n_eff, with
  n_eff = sum (1 - prior precision x variance), the number of parameters that the data determine.
- `predictive_split`: the same by experiment. With e of the noise's covariance, d + e and d - e have
  independent noise (data fission: Leiner et al. 2025, JASA 120, 135): parameters are fitted to one
  and tried on the other.

`evidence` and `predictive` weigh all errors alike. For the tensor-to-scalar ratio foregrounds left
on large scales weigh more than noise: `skysift.cosmology.Forecast` computes that.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from skysift.compsep.problem import Problem
from skysift.compsep.result import Separation
from skysift.compsep.separate import solve
from skysift.compsep.systems import system


def cmb_variance(fit: Separation) -> float:
    """Variance over the cells of the recovered CMB, summed over Stokes parameters [uK_CMB^2].

    Args:
        fit: with a component named `cmb`.

    Raises:
        ValueError: for a model without CMB.

    Examples:
        >>> import skysift as ss
        >>> fit = ss.separate(ss.simulate("c1d0s0", "LiteBIRD", nside=4).maps, "LiteBIRD")
        >>> cmb_variance(fit) > 0.0
        True

    References:
        The criterion of furax-cs.
    """
    if "cmb" not in fit.components:
        raise ValueError(
            f"fit: expected a component named cmb, got {', '.join(fit.components)}. Separate "
            "with c in the model."
        )
    values = np.asarray(fit.components["cmb"].values)
    return float(np.sum(np.nanvar(values, axis=-1)))


def evidence(fit: Separation) -> float:
    """Minus the log evidence, up to what all choices of patches share.

    The prior of a patch parameter is its Gaussian if it has one, else uniform within the bounds.
    Parameters at a bound count with the width of the uniform prior only.

    Args:
        fit: of calibrated weights.

    Returns:
        Infinite if the Hessian is not positive definite.

    Raises:
        ValueError: for weights that are no inverse noise variances.
    """
    _require_calibrated(fit)
    problem, free = fit.problem, fit.free
    precision = problem.likelihood.prior_precision
    solver = system(problem.likelihood.structure, problem.options.memory)
    log_det = float(np.sum(solver.log_determinant(fit.information, free)))
    if not math.isfinite(log_det):
        return math.inf
    gaussian = precision > 0
    width = np.log(problem.high - problem.low)
    spread = np.where(
        gaussian, 0.5 * np.log(2.0 * math.pi / np.where(gaussian, precision, 1.0)), width
    )
    occam = 0.5 * log_det - 0.5 * np.sum(free) * math.log(2.0 * math.pi)
    return fit.objective + occam + float(np.sum(spread[free]))


def effective_parameters(fit: Separation) -> float:
    """Number of patch parameters that the data determine, those that follow a prior left out.

    Args:
        fit: with errors.

    Raises:
        ValueError: for a fit with priors but without errors.
    """
    precision, free = fit.problem.likelihood.prior_precision, fit.free
    if not np.any(precision > 0):
        return float(np.sum(free))
    variance = np.concatenate([*fit.errors.values(), np.zeros(0)]) ** 2
    if not np.any(np.isfinite(variance[free])):
        raise ValueError(
            "fit: expected errors of the parameters, got none. Separate with "
            "SolverOptions(errors=True)."
        )
    known = free & np.isfinite(variance)
    return float(np.sum(np.clip(1.0 - (precision * variance)[known], 0.0, 1.0)))


def predictive(fit: Separation) -> float:
    """Expected misfit of other data with the same noise: F without priors + effective parameters.

    Args:
        fit: of calibrated weights; with errors if it has priors.

    Raises:
        ValueError: for weights that are no inverse noise variances, or errors that are missing.

    References:
        Akaike 1974, IEEE TAC 19, 716.
    """
    _require_calibrated(fit)
    return 0.5 * float(np.nansum(fit.chi2)) + effective_parameters(fit)


def predictive_split(fit: Separation, seed: int = 0, splits: int = 1) -> float:
    """The misfit that parameters fitted to one half of the data have in the other.

    The weights of a half are those of twice the noise variance. What is compared is the objective
    of the second half with its own amplitudes, at the spectral parameters of the first.

    Args:
        fit: of calibrated weights.
        seed: of the split.
        splits: number of splits that are averaged, each used both ways.

    Raises:
        ValueError: for weights that are no inverse noise variances, or fewer than one split.
    """
    _require_calibrated(fit)
    if splits < 1:
        raise ValueError(f"splits: expected at least one, got {splits}. Leave it out for one.")
    streams = np.random.SeedSequence(seed).spawn(splits)
    scores = []
    for stream in streams:
        halves = fission(fit.problem, np.random.default_rng(stream))
        for fitted, tried in (halves, halves[::-1]):
            theta = solve(fitted, start=fit.theta).theta
            bare = np.zeros(theta.size)
            likelihood = dataclasses.replace(tried.likelihood, prior_precision=bare)
            scores.append(float(np.sum(likelihood.evaluate(theta).objective)))
    return float(np.mean(scores))


def noise_of(
    problem: Problem, generator: np.random.Generator
) -> Float[np.ndarray, "channel stokes cell"]:
    """Noise as the weights of a problem say, zero where it has none [uK_CMB].

    Raises:
        ValueError: for weights that are no inverse noise variances.
    """
    if not problem.measurements.calibrated:
        raise ValueError(
            "fit: expected weights that are inverse noise variances, got others. Separate with the "
            "instrument's depth or with noise maps."
        )
    likelihood = problem.likelihood
    weights = np.broadcast_to(likelihood.weights, likelihood.data.shape)
    sigma = np.where(weights > 0, 1.0 / np.sqrt(np.where(weights > 0, weights, 1.0)), 0.0)
    return sigma * generator.standard_normal(weights.shape)


def fission(problem: Problem, generator: np.random.Generator) -> tuple[Problem, Problem]:
    """Two problems whose data have independent noise of twice the variance and the same sky.

    Args:
        problem: of calibrated weights.
        generator: of the noise that is added to one and taken from the other.
    """
    noise = noise_of(problem, generator)

    def half(whole: Problem, sign: float) -> Problem:
        likelihood = whole.likelihood
        data = likelihood.data + sign * noise
        changed = dataclasses.replace(likelihood, data=data, weights=0.5 * likelihood.weights)
        return dataclasses.replace(
            whole,
            likelihood=changed,
            options=dataclasses.replace(whole.options, errors=False),
            coarse=None if whole.coarse is None else half(whole.coarse, sign),
        )

    return half(problem, 1.0), half(problem, -1.0)


def _require_calibrated(fit: Separation) -> None:
    if not fit.calibrated:
        raise ValueError(
            "fit: expected weights that are inverse noise variances, got others. Separate with the "
            "instrument's depth or with noise maps."
        )
