"""Noise of a recovered CMB: what its likelihood of r has to know."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from skysift.compsep import Separation, solve
from skysift.cosmology.residuals import CMB
from skysift.maps import Maps


def amplitude_sigma(fit: Separation) -> Float[np.ndarray, "stokes cell"]:
    """Standard deviation of the recovered CMB by noise alone, spectral parameters held [uK_CMB].

    It is white: noise is independent between cells, and amplitudes are fitted cell by cell.

    Args:
        fit: with a CMB, weighted by the noise.

    Raises:
        ValueError: for a model without CMB, or weights that are no inverse noise variances.
    """
    place = _cmb_place(fit)
    variance = np.asarray(fit.covariance[place, place])
    shape = np.shape(fit.components[CMB].values)
    return np.sqrt(np.broadcast_to(variance, shape))


def parameter_scatter(fit: Separation, count: int = 30, seed: int = 0) -> Maps:
    """How the recovered CMB changes as its spectral parameters scatter by their errors.

    Spectral parameters are drawn from their covariance and the maps are separated with them: the
    statistical residual of Stompor, Errard & Poletti 2016 (PRD 94, 083526, eq. 21) beyond first
    order. Its power adds to that of the noise, with which it does not correlate: parameters follow
    the part of the noise that no amplitude takes up.

    Args:
        fit: with a CMB, weighted by the noise.
        count: number of draws.
        seed: of the draws.

    Returns:
        Differences `(draw, stokes, cell)` [uK_CMB].

    Raises:
        ValueError: for a model without CMB, or weights that are no inverse noise variances.

    Examples:
        >>> import skysift as ss
        >>> fit = ss.separate(ss.simulate("c1d0s0", "LiteBIRD", nside=4).maps, "LiteBIRD")
        >>> parameter_scatter(fit, count=3).values.shape
        (3, 2, 192)
    """
    _cmb_place(fit)
    free = np.asarray(fit.free)
    root = np.zeros((free.size, free.size))
    if free.any():
        covariance = fit.patch_covariance()[np.ix_(free, free)]
        root[np.ix_(free, free)] = np.linalg.cholesky(covariance)
    cmb = fit.components[CMB]
    middle = np.asarray(cmb.values)
    generator = np.random.default_rng(seed)
    low, high = fit.problem.low, fit.problem.high
    changes = []
    for _ in range(count):
        drawn = fit.theta + root @ generator.standard_normal(free.size)
        held = fit.problem.held(np.clip(drawn, low, high))
        changes.append(np.asarray(solve(held).components[CMB].values) - middle)
    return cmb.replace(np.reshape(changes, (count, *middle.shape)))


def _cmb_place(fit: Separation) -> int:
    if CMB not in fit.model.names:
        raise ValueError(
            f"fit: expected a model with a CMB, got {'+'.join(fit.model.names)}. Separate with c "
            "in the model."
        )
    if not fit.calibrated:
        raise ValueError(
            "fit: expected weights that are inverse noise variances, got others. Separate with "
            "the noise of the instrument (InstrumentDepth) to know that of the CMB."
        )
    return fit.model.names.index(CMB)
