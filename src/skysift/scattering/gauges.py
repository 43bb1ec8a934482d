"""How fields on a flat grid and on the sphere are filtered, differentiated and searched."""

from __future__ import annotations

import abc
import functools
import itertools
import math
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from skysift.harmonic import SHT, multipoles
from skysift.scattering.domain import AbstractDomain, Flat, Sphere

_PER_OCTAVE = 2
_FWHM = 2.0  # of the smoothing before derivatives [cells]
_MARGIN = 3  # cells beside masked ones that a smoothed derivative sees them from
_SIDE = 3  # parts along each axis of a plane
_PARENTS = 2  # nside of the parts of a sphere


class AbstractGauge(abc.ABC):
    """What measures of a field need to know of where it lies.

    Values are of the cells of one map on one axis; those of masked cells are never looked at.
    """

    kept: Bool[np.ndarray, " cell"]

    @property
    @abc.abstractmethod
    def centres(self) -> Float[np.ndarray, " band"]:
        """Wave number [rad / cell] or multipole of each band, half an octave wide."""

    @property
    @abc.abstractmethod
    def parts(self) -> Int[np.ndarray, " cell"]:
        """Number of the part of the map that each cell lies in."""

    @abc.abstractmethod
    def bands(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "band cell"]:
        """The field in bands of wave numbers: their mean squares are its power spectrum."""

    @abc.abstractmethod
    def derivatives(
        self, values: Float[np.ndarray, " cell"]
    ) -> tuple[
        Float[np.ndarray, "2 cell"], Float[np.ndarray, "3 cell"], Float[np.ndarray, " cell"]
    ]:
        """Covariant first derivatives, second ones (11, 22, 12), and the field itself, smoothed.

        With a Gaussian two cells wide at half maximum: its derivatives then exist in the cells,
        and do not reach far.
        """

    @abc.abstractmethod
    def highest_beside(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """Highest value of the cells next to each cell."""

    @abc.abstractmethod
    def surrogate(
        self, values: Float[np.ndarray, " cell"], seed: np.random.SeedSequence
    ) -> Float[np.ndarray, " cell"]:
        """A Gaussian field with the power spectrum of a field, mode by mode or multipole."""

    @functools.cached_property
    def inner(self) -> Bool[np.ndarray, " cell"]:
        """Cells whose derivatives see no masked ones."""
        masked = (~self.kept).astype(float)
        for _ in range(_MARGIN if masked.any() else 0):
            masked = np.maximum(masked, self.highest_beside(masked))
        return masked == 0.0

    def filled(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """The values with the mean of the kept cells in the others."""
        return np.where(self.kept, values, np.mean(values[self.kept]))


@dataclass(frozen=True, eq=False)
class FlatGauge(AbstractGauge):
    """Of a periodic plane.

    Args:
        shape: cells along the two axes.
        kept: cells that are not masked, flat.
    """

    shape: tuple[int, int]
    kept: Bool[np.ndarray, " cell"]

    @property
    def centres(self) -> Float[np.ndarray, " band"]:
        """See `AbstractGauge`."""
        return np.array([self._wavenumbers[self._band == one].mean() for one in range(self._count)])

    @property
    def parts(self) -> Int[np.ndarray, " cell"]:
        """See `AbstractGauge`: ninths."""
        rows, columns = (np.arange(cells) * _SIDE // cells for cells in self.shape)
        return (rows[:, None] * _SIDE + columns).ravel()

    @functools.cached_property
    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        return np.meshgrid(
            2.0 * np.pi * np.fft.fftfreq(self.shape[0]),
            2.0 * np.pi * np.fft.rfftfreq(self.shape[1]),
            indexing="ij",
        )

    @functools.cached_property
    def _wavenumbers(self) -> Float[np.ndarray, "row column"]:
        return np.hypot(*self._vectors)

    @functools.cached_property
    def _band(self) -> Int[np.ndarray, "row column"]:
        """Band of each mode, -1 for the mean and for those in the corners of the band."""
        k = self._wavenumbers
        found = np.searchsorted(_edges(2.0 * np.pi / max(self.shape), np.pi), k, side="left")
        used = (k > 0.0) & (k <= np.pi * (1.0 + 1e-12))
        numbers, where = np.unique(found[used], return_inverse=True)
        band = np.full(k.shape, -1)
        band[used] = np.arange(numbers.size)[where]
        return band

    @property
    def _count(self) -> int:
        return int(self._band.max()) + 1

    def bands(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "band cell"]:
        """See `AbstractGauge`."""
        modes = self._modes((values - values[self.kept].mean()) * self.kept)
        return np.stack([self._cells(modes * (self._band == one)) for one in range(self._count)])

    def derivatives(
        self, values: Float[np.ndarray, " cell"]
    ) -> tuple[
        Float[np.ndarray, "2 cell"], Float[np.ndarray, "3 cell"], Float[np.ndarray, " cell"]
    ]:
        """See `AbstractGauge`."""
        x, y = self._vectors
        sigma = _FWHM / math.sqrt(8.0 * math.log(2.0))
        modes = self._modes(self.filled(values)) * np.exp(-0.5 * (sigma * self._wavenumbers) ** 2)
        # A Nyquist mode is its own negative and has no first derivative in the cells.
        odd_x, odd_y = (np.where(np.isclose(np.abs(k), np.pi), 0.0, k) for k in (x, y))
        first = np.stack([self._cells(1j * odd_x * modes), self._cells(1j * odd_y * modes)])
        second = np.stack(
            [
                self._cells(-(x**2) * modes),
                self._cells(-(y**2) * modes),
                self._cells(-odd_x * odd_y * modes),
            ]
        )
        return first, second, self._cells(modes)

    def highest_beside(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """See `AbstractGauge`."""
        import scipy.ndimage  # a tenth of a second that nothing else needs

        around = np.ones((3, 3), dtype=bool)
        around[1, 1] = False
        plane = values.reshape(self.shape)
        return scipy.ndimage.maximum_filter(plane, footprint=around, mode="wrap").ravel()

    def surrogate(
        self, values: Float[np.ndarray, " cell"], seed: np.random.SeedSequence
    ) -> Float[np.ndarray, " cell"]:
        """See `AbstractGauge`."""
        mean = values[self.kept].mean()
        power = np.abs(self._modes((values - mean) * self.kept)) / math.sqrt(self.kept.mean())
        # The phases of white noise are those of a real field, and its moduli make it Gaussian.
        white = np.random.default_rng(seed).standard_normal(values.size)
        return mean + self._cells(self._modes(white) * math.sqrt(values.size) * power)

    def _modes(self, values: Float[np.ndarray, " cell"]) -> Complex[np.ndarray, "row column"]:
        return np.fft.rfft2(values.reshape(self.shape), norm="forward")

    def _cells(self, modes: Complex[np.ndarray, "row column"]) -> Float[np.ndarray, " cell"]:
        return np.fft.irfft2(modes, s=self.shape, norm="forward").ravel()


@dataclass(frozen=True, eq=False)
class SphereGauge(AbstractGauge):
    """Of HEALPix maps of the full sky, RING.

    Args:
        sht: transform of the maps up to the multipole that counts.
        kept: cells that are not masked.
    """

    sht: SHT
    kept: Bool[np.ndarray, " cell"]

    @property
    def centres(self) -> Float[np.ndarray, " band"]:
        """See `AbstractGauge`."""
        edges = self._edges
        return np.array([0.5 * (a + 1 + b) for a, b in itertools.pairwise(edges)])

    @property
    def parts(self) -> Int[np.ndarray, " cell"]:
        """See `AbstractGauge`: cells of nside 2."""
        nested = hp.ring2nest(self.sht.nside, np.arange(self.kept.size))
        return nested // max(self.sht.nside // _PARENTS, 1) ** 2

    @functools.cached_property
    def _edges(self) -> Int[np.ndarray, " edge"]:
        return np.unique(np.r_[0, np.ceil(_edges(1.0, self.sht.lmax) - 1e-6).astype(int)])

    def bands(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "band cell"]:
        """See `AbstractGauge`."""
        alm = self.sht.analysis((values - values[self.kept].mean()) * self.kept)
        ell = multipoles(self.sht.lmax)[0]
        cuts = [(ell > a) & (ell <= b) for a, b in itertools.pairwise(self._edges)]
        return self.sht.synthesis(np.stack([alm * cut for cut in cuts]))

    def derivatives(
        self, values: Float[np.ndarray, " cell"]
    ) -> tuple[
        Float[np.ndarray, "2 cell"], Float[np.ndarray, "3 cell"], Float[np.ndarray, " cell"]
    ]:
        """See `AbstractGauge`: along colatitude and longitude [1/rad]."""
        lmax, nside = self.sht.lmax, self.sht.nside
        ell = np.arange(lmax + 1.0)
        window = hp.gauss_beam(_FWHM * hp.nside2resol(nside), lmax)
        alm = hp.almxfl(self.sht.analysis(self.filled(values)), window)
        scale = ell * (ell + 1.0)
        none = np.zeros_like(alm)
        # Gradient: the spin-1 field with coefficients sqrt(l (l + 1)) a_lm. Second derivatives:
        # trace and spin-2 part, whose E mode is minus the shear in the COSMO convention.
        spin1 = self.sht.synthesis(np.stack([hp.almxfl(alm, np.sqrt(scale)), none]), 1)
        shear = np.sqrt(scale * np.clip(scale - 2.0, 0.0, None))
        spin2 = self.sht.synthesis(np.stack([hp.almxfl(alm, shear), none]), 2)
        trace = self.sht.synthesis(hp.almxfl(alm, -scale))
        second = np.stack([0.5 * (trace - spin2[0]), 0.5 * (trace + spin2[0]), -0.5 * spin2[1]])
        return spin1, second, self.sht.synthesis(alm)

    @functools.cached_property
    def _neighbours(self) -> Int[np.ndarray, "8 cell"]:
        found = np.asarray(hp.get_all_neighbours(self.sht.nside, np.arange(self.kept.size)))
        return np.where(found < 0, found.max(axis=0), found)

    def highest_beside(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
        """See `AbstractGauge`."""
        return values[self._neighbours].max(axis=0)

    def surrogate(
        self, values: Float[np.ndarray, " cell"], seed: np.random.SeedSequence
    ) -> Float[np.ndarray, " cell"]:
        """See `AbstractGauge`."""
        mean = values[self.kept].mean()
        alm = self.sht.analysis((values - mean) * self.kept) / math.sqrt(self.kept.mean())
        spectrum = hp.alm2cl(alm)
        rng, m = np.random.default_rng(seed), multipoles(self.sht.lmax)[1]
        white = rng.standard_normal((2, alm.size)) * np.sqrt(0.5)
        drawn = np.where(m == 0, np.sqrt(2.0) * white[0], white[0] + 1j * white[1])
        return mean + self.sht.synthesis(hp.almxfl(drawn, np.sqrt(spectrum)))


def gauge_of(domain: AbstractDomain, kept: Bool[np.ndarray, "..."] | None = None) -> AbstractGauge:
    """The gauge of maps of one channel on a domain.

    Args:
        domain: a plane or the sphere.
        kept: cells that count; all by default.

    Raises:
        ValueError: for a domain of 1 or 3 axes, or when no cell is kept.
    """
    cells = domain.cell_shape
    kept = np.ones(cells, dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    if kept.shape != cells:
        raise ValueError(f"kept: expected shape {cells}, got {kept.shape}. Give one for each cell.")
    if not kept.any():
        raise ValueError("kept: expected at least one kept cell, got none. Choose a larger region.")
    if isinstance(domain, Sphere):
        return SphereGauge(domain.sht, kept)
    if isinstance(domain, Flat) and len(cells) == 2:
        return FlatGauge((cells[0], cells[1]), kept.ravel())
    raise ValueError(
        f"domain: expected a plane of two axes or the sphere, got a grid of shape {cells}. Measure "
        "its slices."
    )


def _edges(low: float, high: float) -> Float[np.ndarray, " edge"]:
    """Upper edges of bands half an octave wide, the last at the highest wave number."""
    count = math.ceil(_PER_OCTAVE * math.log2(high / low) + 1e-9)
    # A wave number on an edge must not fall to either side by rounding.
    return high * 2.0 ** (-np.arange(count, -1, -1) / _PER_OCTAVE) * (1.0 + 1e-12)
