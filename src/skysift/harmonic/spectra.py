"""Gaussian fields of given power spectra, and spectra of coefficients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

from skysift.harmonic.sht import SHT, multipoles
from skysift.maps import Stokes


def gaussian_alm(
    cl: Float[np.ndarray, "4 ell"], generator: np.random.Generator
) -> Complex[np.ndarray, "3 alm"]:
    """Coefficients of Gaussian fields T, E, B with given spectra.

    Numbers are drawn in the order of l, so that a larger lmax leaves the coefficients of low l as
    they are: the same generator state gives the same sky at any resolution.

    Args:
        cl: rows TT, EE, BB, TE from l = 0 [uK^2].
        generator: of random numbers; it advances.

    Returns:
        T, E and B coefficients, packed m-major.

    Raises:
        ValueError: for a shape other than `(4, lmax + 1)`, or spectra that no field can have.

    Examples:
        >>> cl = np.ones((4, 9)) * [[1.0], [1.0], [1.0], [0.5]]
        >>> gaussian_alm(cl, np.random.default_rng(0)).shape
        (3, 45)
    """
    cl = np.asarray(cl, dtype=float)
    if cl.ndim != 2 or cl.shape[0] != 4:
        raise ValueError(f"cl: expected TT, EE, BB, TE of shape (4, lmax + 1), got {cl.shape}.")
    tt, ee, bb, te = cl
    if not np.all(np.isfinite(cl)) or np.any(cl[:3] < 0) or np.any(te**2 > tt * ee * (1 + 1e-6)):
        raise ValueError(
            "cl: expected finite TT, EE, BB >= 0 with TE^2 <= TT * EE, got others. "
            "Rows are TT, EE, BB, TE."
        )
    correlated = np.divide(te, np.sqrt(tt), out=np.zeros_like(te), where=tt > 0)
    own = np.sqrt(np.maximum(ee - correlated**2, 0.0))
    ell, m = multipoles(cl.shape[1] - 1)
    normal = generator.standard_normal((ell.size, 3, 2))[ell * (ell + 1) // 2 + m]
    # A coefficient of m > 0 has variance C_l shared by its two parts; one of m = 0 is real.
    real_only = m == 0
    unit = np.where(
        real_only, normal[..., 0].T, (normal[..., 0] + 1j * normal[..., 1]).T / np.sqrt(2)
    )
    t, e, b = unit
    return np.stack(
        [np.sqrt(tt)[ell] * t, correlated[ell] * t + own[ell] * e, np.sqrt(bb)[ell] * b]
    )


def gaussian_maps(
    cl: Float[np.ndarray, "4 ell"], nside: int, stokes: Stokes, generator: np.random.Generator
) -> Float[np.ndarray, "stokes cell"]:
    """A Gaussian sky of given spectra, RING, without beam or pixel window.

    Args:
        cl: rows TT, EE, BB, TE from l = 0 [uK^2]; its length sets the band limit.
        nside: resolution.
        stokes: which maps; Q and U are the same with and without I.
        generator: of random numbers; it advances.

    Returns:
        Maps in the unit of the square root of `cl`.
    """
    alm = gaussian_alm(cl, generator)
    sht = SHT(nside, cl.shape[1] - 1)
    parts = []
    if "I" in stokes.value:
        parts.append(sht.synthesis(alm[:1]))
    if "Q" in stokes.value:
        parts.append(sht.synthesis(alm[1:], spin=2))
    return np.concatenate(parts)


def cross_cl(
    first: Complex[np.ndarray, "... alm"], second: Complex[np.ndarray, "... alm"], lmax: int
) -> Float[np.ndarray, "... ell"]:
    """Mean over m of the product of two sets of coefficients, at each l."""
    ell, m = multipoles(lmax)
    product = np.real(first * np.conj(second)) * np.where(m == 0, 1.0, 2.0)
    flat = product.reshape(-1, ell.size)
    sums = np.stack([np.bincount(ell, row, lmax + 1) for row in flat])
    return (sums / (2 * np.arange(lmax + 1) + 1)).reshape(*product.shape[:-1], lmax + 1)
