"""Smoothing of maps that cover part of the sky."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.harmonic.sht import SHT, multipoles


def smoothed(
    values: Float[np.ndarray, " cell"], grid: Grid, fwhm: float
) -> Float[np.ndarray, " cell"]:
    """Mean of the kept cells around each, weighted with a Gaussian of the angle.

    The map, zero outside the cells, is smoothed and divided by the smoothed mask: what lies
    outside pulls no value. A constant stays as it is.

    Args:
        values: on the grid's cells, finite.
        grid: HEALPix cells.
        fwhm: full width at half maximum of the Gaussian [degrees].

    Raises:
        ValueError: for values that do not fit or are missing, a width that is not positive, or
            cells without a place on the sphere.

    Examples:
        >>> grid = Grid.from_mask(np.arange(12 * 8**2) < 100)
        >>> bool(np.allclose(smoothed(np.full(100, 1.5), grid, fwhm=20.0), 1.5))
        True
    """
    if not (math.isfinite(fwhm) and fwhm > 0):
        raise ValueError(f"fwhm: expected degrees larger than zero, got {fwhm!r}.")
    if values.shape != (grid.size,) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"values: expected {grid.size} finite values, one per kept cell, got shape "
            f"{values.shape} with {np.sum(~np.isfinite(values))} missing. Leave those cells out."
        )
    nside = grid.require_nside()
    sht = SHT(nside, 3 * nside - 1)
    ell, _ = multipoles(sht.lmax)
    sigma = math.radians(fwhm) / math.sqrt(8 * math.log(2))
    beam = np.exp(-0.5 * ell * (ell + 1) * sigma**2)
    # Differences from the middle: the quadrature's error then scales with them.
    middle = 0.5 * (values.min() + values.max())
    maps = np.zeros((2, sht.npix))
    maps[:, grid.ring] = values - middle, np.ones(grid.size)
    total, weight = sht.synthesis(beam * sht.analysis(maps))[:, grid.ring]
    # The kernel is positive, its band limit is not: no mean may leave the range of the values.
    weight = np.maximum(weight, np.finfo(float).tiny)
    return np.clip(middle + total / weight, values.min(), values.max())
