"""B modes of a weighted sky that no E mode can make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import healpy as hp
import numpy as np
from jaxtyping import Complex, Float

from skysift.harmonic.sht import SHT, ArrayT, multipoles

_TURN = np.array([[1], [-1]], np.int8)


@dataclass(frozen=True, eq=False)
class Purification:
    """What takes the E modes that weights mix into B out again (Smith 2006, PRD 74, 083002).

    Weights have to be smooth: what counts are their derivatives, by the cells.

    Args:
        weight: of each cell, zero where nothing is seen, full sky, RING.

    Examples:
        >>> from skysift.harmonic.apodise import apodised
        >>> weight = apodised(hp.pix2ang(32, np.arange(12288))[0] < 1.0, 8.0)
        >>> sht, alm = SHT(32, 48), np.zeros((2, 1225), complex)
        >>> alm[0] = np.random.default_rng(0).standard_normal(1225)  # of E
        >>> qu = sht.synthesis(alm, spin=2)
        >>> mixed = sht.analysis(weight * qu, spin=2)[1]
        >>> pure = mixed + Purification(weight)(sht, qu)
        >>> bool(np.linalg.norm(pure) < 0.02 * np.linalg.norm(mixed))
        True
    """

    weight: Float[np.ndarray, " npix"]

    def __call__(
        self, sht: SHT, qu: Float[ArrayT, "... 2 npix"], iterations: int = 0
    ) -> Complex[ArrayT, "... alm"]:
        """What to add to the B modes of weight times Q and U.

        Args:
            sht: of the analysis.
            qu: maps, finite where the weight is zero, full sky, RING.
            iterations: of the analysis, as in healpy.

        Returns:
            Coefficients `(..., alm)` in the unit of the maps.
        """
        ell, _ = multipoles(sht.lmax)
        once, twice = (_times(window.astype(qu.dtype), qu) for window in self.windows)
        first, second = (factor[ell].astype(qu.dtype) for factor in _factors(sht.lmax))
        vector = sht.analysis(once, spin=1, iterations=iterations)[..., 1, :]
        scalar = sht.analysis(twice[..., 1, :], iterations=iterations)
        return scalar * second - vector * first

    @cached_property
    def windows(self) -> tuple[Float[np.ndarray, "2 npix"], Float[np.ndarray, "2 npix"]]:
        """The first and second spin-raised derivative of the weights."""
        nside = hp.npix2nside(self.weight.size)
        sht = SHT(nside, 3 * nside - 1)
        ell, _ = multipoles(sht.lmax)
        alm = sht.analysis(self.weight)
        once = alm * np.sqrt(ell * (ell + 1.0))
        twice = alm * np.sqrt(np.maximum((ell + 2.0) * (ell + 1.0) * ell * (ell - 1.0), 0.0))
        one, two = (
            sht.synthesis(np.stack([a, np.zeros_like(a)]), spin)
            for spin, a in ((1, once), (2, twice))
        )
        return one, two

    def noise(
        self, lmax: int, variance: float | Float[np.ndarray, " npix"]
    ) -> Float[np.ndarray, " ell"]:
        """Power that white noise has in purified B modes, by the sums over cells.

        Args:
            lmax: largest multipole.
            variance: of each cell and Stokes parameter, one number or a full-sky RING map, in the
                unit of the maps squared.

        Returns:
            Power of each multipole, weights and all, in the same unit.
        """
        area = 4.0 * np.pi / self.weight.size
        # Transforms of different spin of one noise map are independent: d^l_ss'(0) vanishes.
        one, two = (np.sum(window**2, axis=0) for window in self.windows)
        first, second = (factor**2 for factor in _factors(lmax))
        return area * (
            np.mean(self.weight**2 * variance)
            + np.mean(one * variance) * first
            + np.mean(two * variance) * second
        )


def _factors(lmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of spin-1 and scalar transform in a purified coefficient, zero below l = 2."""
    ell = np.arange(lmax + 1.0)
    first, second = np.zeros(lmax + 1), np.zeros(lmax + 1)
    l2 = ell[2:]
    first[2:] = 2.0 / np.sqrt((l2 + 2.0) * (l2 - 1.0))
    second[2:] = 1.0 / np.sqrt((l2 + 2.0) * (l2 + 1.0) * l2 * (l2 - 1.0))
    return first, second


def _times(
    window: Float[np.ndarray, "2 npix"], qu: Float[ArrayT, "... 2 npix"]
) -> Float[ArrayT, "... 2 npix"]:
    """Conjugate of a spin-raised window times Q + i U, as real and imaginary part."""
    return window[0] * qu + window[1] * (_TURN * qu[..., ::-1, :])
