"""Covariances of the values of Gaussian skies, from correlation functions."""

from __future__ import annotations

from collections.abc import Iterator

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Complex, Float, Int

from skysift.grid import Grid
from skysift.harmonic.correlation import correlations
from skysift.inference.regions import Shared
from skysift.inference.simulators import GaussianSky, Protocol
from skysift.maps import Stokes

_ANGLES = 2**18
"""Intervals of the table of a correlation function, which is linear in each: at l = 400 wrong by
3e-6 of the power there."""
_PAIRS = 2_000_000
"""Pairs of cells that are looked at together."""


def covariances(
    grid: Grid,
    stokes: Stokes,
    field: int,
    spectra: Float[np.ndarray, "part ell"],
) -> Float[np.ndarray, "part value value"]:
    """Covariances of the values of cells, those of Q before those of U, for spectra of one field.

    Along the great circle of two cells Q and U are independent, with half the sum and half the
    difference of two correlation functions (Zaldarriaga & Seljak 1997, PRD 55, 1830, section IV).

    Args:
        grid: the cells.
        stokes: I, or Q and U.
        field: 0 for T and for E, 1 for B.
        spectra: from l = 0.

    Examples:
        >>> flat = np.ones((1, 9))
        >>> found = covariances(Grid(1), Stokes.I, 0, flat)
        >>> found.shape, round(float(found[0, 0, 0] * 4.0 * np.pi), 9)
        ((1, 12, 12), 81.0)
    """
    tables = _tables(stokes, field, spectra)
    fields = len(stokes)
    size = fields * grid.size
    out = np.empty((len(spectra), size, size))
    for rows, angle, turns in _pairs(grid):
        place = angle * (_ANGLES / np.pi)
        lower = np.minimum(place.astype(np.int64), _ANGLES - 1)
        share = (place - lower)[..., None]
        which = (np.arange(fields)[:, None] * grid.size + rows).reshape(-1)
        for part in range(len(spectra)):
            one = tables[:, :, part]
            seen = one[lower] * (1.0 - share) + one[lower + 1] * share
            if stokes is Stokes.I:
                block = seen[..., 0]
            else:
                along, across = seen[..., 0] * turns[0], seen[..., 1] * turns[1]
                block = 0.5 * np.block(
                    [
                        [(along + across).real, (across - along).imag],
                        [(across + along).imag, (along - across).real],
                    ]
                )
            out[part, which] = block
    return out


def _tables(
    stokes: Stokes, field: int, spectra: Float[np.ndarray, "part ell"]
) -> Float[np.ndarray, "angle function part"]:
    """Correlation functions of P and P*, and of P and P, at equal distances."""
    cosine = np.cos(np.linspace(0.0, np.pi, _ANGLES + 1))
    if stokes is Stokes.I:
        found = correlations(spectra, (0, 0), cosine)[None]
    else:
        sign = -1.0 if field else 1.0
        found = np.stack([correlations(spectra, (2, n), cosine) for n in (2, -2)])
        found[1] *= sign
    return np.ascontiguousarray(np.moveaxis(found, -1, 0))


def _pairs(
    grid: Grid,
) -> Iterator[
    tuple[
        Int[np.ndarray, " some"], Float[np.ndarray, "some cell"], Complex[np.ndarray, "2 some cell"]
    ]
]:
    """Some cells, their angles to all, and the turns of P P* and of P P of these."""
    theta, phi = hp.pix2ang(grid.nside, grid.ring)
    sine, cosine = np.sin(theta), np.cos(theta)
    place = np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine])
    south = np.stack([cosine * np.cos(phi), cosine * np.sin(phi), -sine])
    frame = (south + 1j * np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)])).T
    for some in np.array_split(np.arange(phi.size), -(-(phi.size**2) // _PAIRS)):
        away = frame[some] @ place
        back = (frame @ place[:, some]).T
        size = np.abs(away)
        angle = np.arctan2(size, place[:, some].T @ place)
        # Where two cells are one there is no direction, and Q and U are alike.
        apart = size > 1e-12
        squares = np.where(apart, size, 1.0) ** 2
        first = np.where(apart, away**2 / squares, 1.0)
        second = np.where(apart, back**2 / squares, 1.0)
        yield some, angle, np.stack([first * np.conj(second), first * second])


def fisher_of_cells(
    sky: GaussianSky, parameters: Float[np.ndarray, " parameter"]
) -> Float[np.ndarray, "parameter parameter"]:
    """Fisher matrix of the values of a cut sky, half the trace of S^-1 dS S^-1 dS.

    That of `PixelLikelihood`, of as many values as a few matrices of them fit into memory: no modes
    are stored.

    Args:
        sky: law of the maps, with one mask for all.
        parameters: where.

    Raises:
        ValueError: for another mask in each map or none, E and B as published, or parameters
            outside the prior.
    """
    if not isinstance(sky.region, Shared):
        raise ValueError(
            "sky: expected one mask for all maps, got another in each, or none. Take limits.fisher."
        )
    if sky.protocol is not Protocol.PHYSICAL:
        raise ValueError(
            "sky: expected the physical protocol, got AS_PUBLISHED, whose E and B together tell "
            "the parameters without error. There is no limit to compute."
        )
    sky.prior.check(parameters)
    at = jnp.asarray(parameters, float)
    told = np.concatenate([sky.theory(at)[..., None], jax.jacfwd(sky.theory)(at)], axis=-1)
    parts = covariances(sky.region.grid, sky.stokes, 0, told[0].T)
    for field in range(1, len(told)):
        parts += covariances(sky.region.grid, sky.stokes, field, told[field].T)
    law, *changes = parts
    # Rounding counts as noise too.
    law[np.diag_indices_from(law)] += sky.noise**2 + 1e-12 * law.diagonal().max()
    root = scipy.linalg.cholesky(law, lower=True, overwrite_a=True, check_finite=False)
    white = []
    for change in changes:
        half = scipy.linalg.solve_triangular(root, change, lower=True, check_finite=False)
        white.append(scipy.linalg.solve_triangular(root, half.T, lower=True, check_finite=False))
    return np.array([[0.5 * np.sum(one * other) for other in white] for one in white])
