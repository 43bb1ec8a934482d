r"""EE and BB of the lowest multipoles, by quadratic maximum likelihood.

Maps are modes of the sky and noise, $d = Y a + n$, with covariance $C = Y S Y^T + N$. The estimate
$\hat C = F^{-1} (y - b)$ takes

$$y_b = \frac12 \sum_{i \in b} x_i^2, \quad x = Y^T C^{-1} d, \quad
  F_{b b'} = \frac12 \sum_{i \in b,\, j \in b'} G_{ij}^2, \quad G = Y^T C^{-1} Y$$

and has the least variance of all unbiased quadratic ones where S is the spectrum of the sky
(Tegmark 1997, PRD 55, 5895; Tegmark & de Oliveira-Costa 2001, PRD 64, 063001). With
$M = Y^T N^{-1} Y$ all of it is in the space of modes: $G = (1 + M S)^{-1} M$,
$x = (1 + M S)^{-1} Y^T N^{-1} d$, and the noise has $\langle x x^T \rangle = G (1 + S M)^{-1}$.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import healpy as hp
import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int

from skysift.grid import Grid
from skysift.harmonic.bandpowers import Bandpowers, Bins
from skysift.harmonic.pseudo import filled, gaussian_response
from skysift.harmonic.sht import SHT, multipoles
from skysift.maps import Maps, Stokes

_MOST = 12000  # modes: a matrix of them has 1.2 GB
_BATCH = 256


@dataclass(frozen=True, eq=False)
class QuadraticSpectra:
    """Estimator of EE and BB of low multipoles for one mask, to be applied to many maps.

    E and B are told apart as well as the sky allows, without apodisation: for coarse maps, nside 16
    or so, and multipoles of the reionisation bump, where purified pseudo-spectra lose most. Maps
    must hold no multipoles above lmax, so degrade them in harmonic space.

    Args:
        mask: the cells that are used, full sky, RING.
        bins: the bins.
        variance: of the noise in each cell [uK^2], full sky, RING.
        ell: multipole of each mode, E before B.
        shrink: `(1 + M S)^-1`.
        square: squares of G, summed over the modes of each multipole, E before B.
        noise: expected x^2 of noise, summed over the modes of each multipole.
        beam: of the maps, by multipole.

    Examples:
        >>> from skysift.harmonic import Bins, CMBSpectra
        >>> cl = CMBSpectra.packaged().cl(r=0.01, lmax=11)
        >>> estimator = QuadraticSpectra.of(np.arange(192) < 150, cl, 0.1, Bins.linear(2, 7, 2))
        >>> estimator.covariance.shape
        (6, 6)
    """

    mask: Bool[np.ndarray, " npix"]
    bins: Bins
    variance: Float[np.ndarray, " npix"]
    ell: Int[np.ndarray, " mode"]
    shrink: Float[np.ndarray, "mode mode"]
    square: Float[np.ndarray, "ell2 ell2"]
    noise: Float[np.ndarray, " ell2"]
    beam: Float[np.ndarray, " ell"]

    @staticmethod
    def of(
        where: Grid | Bool[np.ndarray, " npix"],
        cl: Float[np.ndarray, "4 ell"],
        sigma: float | Float[np.ndarray, " npix"],
        bins: Bins | None = None,
        fwhm: float = 0.0,
    ) -> QuadraticSpectra:
        """The estimator for a mask.

        Args:
            where: grid of the cells to use, or a full-sky RING mask that is true where kept.
            cl: rows TT, EE, BB, TE of the sky that it is best for, from l = 0 to the largest
                multipole in the maps, at most 3 nside - 1 [uK^2]. Another leaves it unbiased.
            sigma: standard deviation of the noise of Q and U in each cell [uK], one number or a
                full-sky RING map, above zero in the mask. For maps without noise take a little.
            bins: by default each multipole from 2 to 2 nside or to the last.
            fwhm: of the beam that the maps were smoothed with [arcmin]; the spectra are without it.

        Raises:
            ValueError: for a mask without cells, spectra or noise that do not fit, more modes than
                memory holds, or bins that the sky cannot tell apart.
        """
        grid = where if isinstance(where, Grid) else Grid.from_mask(np.asarray(where))
        nside = grid.require_nside()
        cl = np.asarray(cl, dtype=float)
        fits = cl.ndim == 2 and cl.shape[0] == 4 and 3 <= cl.shape[1] <= 3 * nside
        if not fits or not np.all(np.isfinite(cl)) or np.any(cl[1:3] < 0):
            raise ValueError(
                "cl: expected finite TT, EE, BB, TE from l = 0 to at most "
                f"{3 * nside - 1} with EE and BB not below zero, got shape {cl.shape}."
            )
        lmax = cl.shape[1] - 1
        bins = Bins.each(2, min(lmax, 2 * nside)) if bins is None else bins
        if bins.lmax > lmax or bins.edges[0] < 2:
            raise ValueError(
                f"bins: expected multipoles 2 to {lmax} as cl has, got {bins.edges[0]} to "
                f"{bins.lmax}."
            )
        if not (math.isfinite(fwhm) and fwhm >= 0):
            raise ValueError(
                f"fwhm: expected arcmin from 0 on, got {fwhm!r}. Leave it out for none."
            )
        mask = np.zeros(grid.npix, dtype=bool)
        mask[grid.ring] = True
        sigma = np.broadcast_to(np.asarray(sigma, dtype=float), mask.shape)
        if not np.all(np.isfinite(sigma[mask]) & (sigma[mask] > 0)):
            raise ValueError(
                "sigma: expected finite standard deviations above zero on all cells of the mask, "
                "got others. For maps without noise take a hundredth of the signal."
            )
        variance = np.where(mask, sigma**2, np.inf)
        ell = _ell(lmax)
        if ell.size > _MOST:
            raise ValueError(
                f"cl: expected at most {_MOST} modes, got {ell.size} to lmax = {lmax}. Degrade the "
                "maps to nside 16."
            )
        beam = gaussian_response(fwhm, np.arange(lmax + 1))[1]
        seen = _gram(SHT(nside, lmax), variance) * beam[ell] * beam[ell][:, None]
        sky = np.concatenate([np.repeat(cl[row], _counts(lmax)) for row in (1, 2)])
        shrink = scipy.linalg.inv(np.eye(ell.size) + seen * sky, overwrite_a=True)
        response = shrink @ seen
        noise = np.einsum("ij,ij->i", response, shrink)  # diagonal of G (1 + M S)^-T
        starts = np.concatenate([[0], np.cumsum(np.tile(_counts(lmax)[2:], 2))[:-1]])
        square = np.add.reduceat(np.add.reduceat(response**2, starts, axis=0), starts, axis=1)
        estimator = QuadraticSpectra(
            mask, bins, variance, ell, shrink, square, np.add.reduceat(noise, starts), beam
        )
        condition = np.linalg.cond(estimator.fisher)
        if not condition < 1e12:
            raise ValueError(
                f"bins: expected bins that {mask.mean():.1%} of the sky can tell apart, got bins "
                f"whose Fisher matrix has condition {condition:.1g}. Take wider ones."
            )
        return estimator

    def __call__(self, maps: Maps, other: Maps | None = None) -> Bandpowers:
        """EE and BB of maps, freed from the noise, or of maps with others.

        Args:
            maps: `(..., stokes, cell)` with Q and U in each kept cell, any ordering.
            other: to cross with, of the same shape and noise level; no noise bias is then taken
                off. The maps themselves by default.

        Raises:
            ValueError: for maps without Q and U, of another nside, without some of the kept cells,
                or missing values there.
        """
        one = self._filtered(maps)
        two = one if other is None else self._filtered(other)
        if one.shape != two.shape:
            raise ValueError(
                f"other: expected shape (..., mode) {one.shape} as the maps give, got {two.shape}. "
                "Give as many maps as there are."
            )
        starts = np.flatnonzero(np.diff(self.ell, prepend=-1))
        power = np.add.reduceat(one * two, starts, axis=-1)
        if other is None:
            power = power - self.noise
        values = np.linalg.solve(self.fisher, 0.5 * self._binning @ power[..., None])[..., 0]
        rows = np.linalg.solve(self.fisher, 0.5 * self._binning @ self.square)
        count, size = self.bins.count, starts.size // 2
        windows = np.pad(rows.reshape(2, count, 2, size), ((0, 0), (0, 0), (0, 0), (2, 0)))
        return Bandpowers(
            {"EE": values[..., :count], "BB": values[..., count:]},
            {"EE": windows[0, :, 0], "BB": windows[1, :, 1]},
            {"EE": windows[0, :, 1], "BB": windows[1, :, 0]},
            self.bins,
            float(self.mask.mean()),
        )

    @property
    def fisher(self) -> Float[np.ndarray, "bin2 bin2"]:
        """Fisher matrix of the bandpowers, EE before BB [uK^-4]."""
        return 0.5 * self._binning @ self.square @ self._binning.T

    @property
    def covariance(self) -> Float[np.ndarray, "bin2 bin2"]:
        """Covariance of the bandpowers, EE before BB, of a sky with the spectra given [uK^4]."""
        return np.linalg.inv(self.fisher)

    @property
    def _binning(self) -> Float[np.ndarray, "bin2 ell2"]:
        spread = self.bins.spread(int(self.ell[-1]))[2:].T
        return np.kron(np.eye(2), spread)

    def _filtered(self, maps: Maps) -> Float[np.ndarray, "... mode"]:
        if maps.stokes is Stokes.I:
            raise ValueError("maps: expected Q and U, got I. Take pseudo-spectra for TT.")
        qu = filled(maps, self.mask)[..., -2:, :] / self.variance
        ell = self.ell
        modes = _modes(SHT(hp.npix2nside(self.mask.size), int(ell[-1])), qu) * self.beam[ell]
        return modes @ self.shrink.T


def _counts(lmax: int) -> Int[np.ndarray, " ell"]:
    """Number of modes of a field at each multipole; polarisation has none below 2."""
    ell = np.arange(lmax + 1)
    return np.where(ell < 2, 0, 2 * ell + 1)


def _ell(lmax: int) -> Int[np.ndarray, " mode"]:
    return np.tile(np.repeat(np.arange(lmax + 1), _counts(lmax)), 2)


def _places(lmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Packed coefficient of each real mode of a field, and whether it is the imaginary part."""
    ell, m = multipoles(lmax)
    which = np.concatenate([np.arange(ell.size), np.flatnonzero(m > 0)])
    imaginary = np.arange(which.size) >= ell.size
    order = np.argsort(ell[which], kind="stable")
    order = order[ell[which][order] >= 2]
    return which[order], imaginary[order]


def _modes(sht: SHT, qu: Float[np.ndarray, "... 2 npix"]) -> Float[np.ndarray, "... mode"]:
    """`Y^T` of maps: modes are the real and imaginary parts, times the root of 2 where m > 0."""
    which, imaginary = _places(sht.lmax)
    alm = sht.adjoint(qu, spin=2)[..., which]
    scale = np.where(multipoles(sht.lmax)[1][which] > 0, np.sqrt(2.0), 1.0)
    parts = np.where(imaginary, np.imag(alm), np.real(alm)) * scale
    return parts.reshape(*parts.shape[:-2], -1)


def _gram(sht: SHT, variance: Float[np.ndarray, " npix"]) -> Float[np.ndarray, "mode mode"]:
    """`Y^T N^-1 Y`."""
    which, imaginary = _places(sht.lmax)
    scale = np.where(multipoles(sht.lmax)[1][which] > 0, np.sqrt(0.5), 1.0)
    unit = np.where(imaginary, 1j, 1.0) * scale
    out = np.empty((2 * which.size, 2 * which.size))
    for start in range(0, out.shape[0], _BATCH):
        number = np.arange(start, min(start + _BATCH, out.shape[0]))
        field, mode = np.divmod(number, which.size)
        alm = np.zeros((number.size, 2, sht.size), dtype=complex)
        alm[np.arange(number.size), field, which[mode]] = unit[mode]
        out[number] = _modes(sht, sht.synthesis(alm, spin=2) / variance)
    return out
