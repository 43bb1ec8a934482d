"""The grid that statistics see: cells of a file, and a margin where edges are open."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float

from skysift.experiment.config import Edges, Family, StatisticsExperiment
from skysift.experiment.fields import Field
from skysift.experiment.text import plain
from skysift.scattering.companions import Pdf, PowerSpectrum
from skysift.scattering.domain import AbstractDomain
from skysift.scattering.families import WPH, WST, Covariance
from skysift.scattering.statistic import AbstractStatistic

_FAMILIES = {Family.COVARIANCE: Covariance, Family.WST: WST, Family.WPH: WPH}


@dataclass(frozen=True)
class Canvas:
    """What statistics see of maps of one grid.

    Args:
        cells: shape of a map in a file.
        shape: of what statistics see: the same, with a margin where edges are open.
        nside: of a map of the sphere.
        scales: number of dyadic scales; `None` for as many as the sphere has.
        orientations: of the wavelets on a plane.
        lmax: largest multipole on the sphere; `None` for 2 nside.
    """

    cells: tuple[int, ...]
    shape: tuple[int, ...]
    nside: int | None
    scales: int | None
    orientations: int
    lmax: int | None

    @staticmethod
    def of(experiment: StatisticsExperiment, field: Field, multiple: int = 1) -> Canvas:
        """The canvas of an experiment for maps like a field.

        Args:
            experiment: what to do.
            field: a map.
            multiple: what the cells along an axis with a margin are to be a multiple of.

        Raises:
            ValueError: for settings that the grid of the field does not have.
        """
        cells = field.values.shape
        orientations, lmax = experiment.orientations, experiment.lmax
        if field.nside is not None:
            _refuse(experiment, "edges", "orientations")
            return Canvas(cells, cells, field.nside, experiment.scales, orientations, lmax)
        _refuse(experiment, "lmax")
        scales = experiment.scales
        scales = _fitting(min(cells), experiment.edges) if scales is None else scales
        shape = cells
        if experiment.edges is Edges.OPEN:
            wide = 2 ** max(scales, 0)
            sizes = [scipy.fft.next_fast_len(math.ceil((size + wide) / multiple)) for size in cells]
            shape = tuple((multiple * np.array(sizes, dtype=int)).tolist())
        return Canvas(cells, shape, None, scales, orientations, lmax)

    def coarser(self, halvings: int) -> Canvas:
        """The canvas of the same maps with half the cells along an axis, and that several times.

        Raises:
            ValueError: for more than there can be.
        """
        if halvings > self._halvings:
            most = self._halvings + 1
            grid = f"nside {self.nside}" if self.nside is not None else f"{self.shape} cells"
            raise ValueError(
                f"levels: expected 1 to {most} for {self._scales} scales on {grid}, got "
                f"{halvings + 1}. Say --levels {most}."
            )
        factor = 2**halvings
        scales = None if self.scales is None else self.scales - halvings
        if self.nside is not None:
            nside = self.nside // factor
            lmax = None if self.lmax is None else self.lmax // factor
            cells = (12 * nside**2,)
            return Canvas(cells, cells, nside, scales, self.orientations, lmax)
        cells = tuple(math.ceil(size / factor) for size in self.cells)
        shape = tuple(size // factor for size in self.shape)
        return Canvas(cells, shape, None, scales, self.orientations, None)

    @property
    def _scales(self) -> int:
        if self.scales is not None or self.nside is None:
            return self.scales or 0
        return int(math.log2(self.lmax or 2 * self.nside))

    @property
    def _halvings(self) -> int:
        """How often the cells can be halved, with a scale left."""
        if self.nside is not None:
            smallest, evens = min(2 * self.nside, self.lmax or 2 * self.nside) // 4, self.nside
        else:
            smallest, evens = min(self.shape) // 8, math.gcd(*self.shape)
        even = (evens & -evens).bit_length() - 1
        return max(0, min(even, int(math.log2(max(smallest, 1))), self._scales - 1))

    def framed(
        self, values: Float[np.ndarray, "..."], margin: float = np.nan
    ) -> Float[np.ndarray, "..."]:
        """Maps `(..., *cells)` with their margin."""
        pads = [(0, size - own) for size, own in zip(self.shape, self.cells, strict=True)]
        none = [(0, 0)] * (values.ndim - len(pads))
        return np.pad(values, [*none, *pads], constant_values=margin)

    def cut(self, maps: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Maps without their margin."""
        return maps[(..., *(slice(0, size) for size in self.cells))]

    def domain(self, channels: int = 1) -> AbstractDomain:
        """Where maps that are seen together are."""
        return self.spectrum(2, channels).domain

    def statistic(
        self,
        family: Family,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
    ) -> AbstractStatistic:
        """Scattering statistics of maps that are seen together.

        Args:
            family: kind of them.
            channels: number of maps.
            weights: of the cells with the margin, or of several regions.
        """
        kind = _FAMILIES[family]
        if self.nside is not None:
            return kind.sphere(
                self.nside, self.scales, lmax=self.lmax, channels=channels, weights=weights
            )
        scales = 0 if self.scales is None else self.scales
        return kind.plane(self.shape, scales, self.orientations, channels=channels, weights=weights)

    def spectrum(
        self, bins: int, channels: int = 1, weights: Float[np.ndarray, "..."] | None = None
    ) -> AbstractStatistic:
        """Power spectrum of the same maps in bins; arguments as `statistic`."""
        if self.nside is not None:
            return PowerSpectrum.sphere(
                self.nside, self.lmax, bins, channels=channels, weights=weights
            )
        return PowerSpectrum.plane(self.shape, bins, channels=channels, weights=weights)

    def pdf(
        self, channels: int = 1, weights: Float[np.ndarray, "..."] | None = None
    ) -> AbstractStatistic:
        """Distribution of the values of the same maps; arguments as `statistic`."""
        if self.nside is not None:
            return Pdf.sphere(
                self.nside, self.lmax, self.scales, channels=channels, weights=weights
            )
        return Pdf.plane(self.shape, self.scales, channels=channels, weights=weights)


def _fitting(cells: int, edges: Edges) -> int:
    """Scales of which the largest wavelet fits twice; half as large where it must stay inside."""
    return max(1, int(math.log2(cells)) - (1 if edges is Edges.PERIODIC else 2))


def _refuse(experiment: StatisticsExperiment, *names: str) -> None:
    """Refuse settings that the grid of the file does not have."""
    where = "a plane" if names == ("lmax",) else "the sphere"
    for name in names:
        if getattr(experiment, name) != getattr(StatisticsExperiment, name):
            raise ValueError(
                f"{name}: expected none on {where}, got {plain(experiment)[name]}. Leave it out."
            )
