"""Smooth edges for masks."""

from __future__ import annotations

import enum

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from skysift.harmonic.sht import SHT, multipoles


class Taper(enum.Enum):
    """Shape of the edge of an apodised mask.

    C1 and C2 rise from zero at the edge to one at the given distance (Grain, Tristram & Stompor
    2009, PRD 79, 123515); C2, a cosine, has a continuous derivative at both ends. SMOOTH takes the
    distance off the mask and smooths what is left with a Gaussian of that FWHM: its derivatives are
    smooth also where the distances to two edges meet, which is what purification needs.
    """

    C1 = "C1"
    C2 = "C2"
    SMOOTH = "smooth"


def apodised(
    mask: Bool[np.ndarray, " npix"], width: float, taper: Taper = Taper.SMOOTH
) -> Float[np.ndarray, " npix"]:
    """A mask whose edge rises smoothly inside of it.

    Args:
        mask: true where kept, full sky, RING.
        width: distance over which it rises to one, or FWHM of the smoothing [degrees]; 0 for a
            sharp edge.
        taper: shape of the edge.

    Returns:
        Weights from 0 to 1, zero outside.

    Raises:
        ValueError: for a width that is negative or not finite, or one that leaves no cell with more
            than a tenth of the full weight.

    Examples:
        >>> mask = hp.pix2ang(16, np.arange(3072))[0] < 1.0
        >>> weight = apodised(mask, 10.0)
        >>> bool(weight[0] > 0.99), bool(0 <= weight[mask].min() < 0.1)
        (True, True)
    """
    if not (np.isfinite(width) and width >= 0):
        raise ValueError(
            f"apodisation: expected degrees from 0 on, got {width!r}. For instance 4, or 0 for a "
            "sharp edge."
        )
    mask = np.asarray(mask, dtype=bool)
    if width == 0 or mask.all():
        return mask.astype(float)
    distance = np.zeros(mask.size)
    distance[mask] = distance_to_edge(mask)
    if taper is Taper.SMOOTH:
        weight = np.where(mask, _smoothed(distance > np.radians(width), np.radians(width)), 0.0)
    else:
        # The relation of Grain et al. is between chords: x^2 = (1 - cos d) / (1 - cos width).
        x = np.sqrt((1.0 - np.cos(distance)) / (1.0 - np.cos(min(np.radians(width), np.pi))))
        x = np.minimum(x, 1.0)
        c1 = x - np.sin(2.0 * np.pi * x) / (2.0 * np.pi)
        weight = c1 if taper is Taper.C1 else 0.5 * (1.0 - np.cos(np.pi * x))
    if weight.max() < 0.1:
        raise ValueError(
            f"apodisation: expected an edge narrower than the mask, got {width} degrees, which "
            f"leave at most {weight.max():.2g} of the weight. Take fewer."
        )
    return weight


def _smoothed(core: Bool[np.ndarray, " npix"], fwhm: float) -> Float[np.ndarray, " npix"]:
    sht = SHT(hp.npix2nside(core.size), 3 * hp.npix2nside(core.size) - 1)
    ell, _ = multipoles(sht.lmax)
    beam = np.exp(-0.5 * ell * (ell + 1) * fwhm**2 / (8.0 * np.log(2.0)))
    return np.clip(sht.synthesis(sht.analysis(core.astype(float)) * beam), 0.0, 1.0)


def distance_to_edge(mask: Bool[np.ndarray, " npix"]) -> Float[np.ndarray, " kept"]:
    """Angle from each kept cell to the nearest cell that is not [radians]."""
    nside = hp.npix2nside(mask.size)
    outside = np.flatnonzero(~mask)
    # Only cells at the border can be nearest to a kept one.
    around = hp.get_all_neighbours(nside, outside)
    border = outside[np.any((around >= 0) & mask[around], axis=0)]
    tree = KDTree(np.stack(hp.pix2vec(nside, border), axis=-1))
    chord, _ = tree.query(np.stack(hp.pix2vec(nside, np.flatnonzero(mask)), axis=-1), workers=-1)
    return 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))
