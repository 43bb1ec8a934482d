"""Fits in bounded memory, one parent cell after the other, that join without seams.

What a sample says reaches the cells it is linked to at once, and through them others, weaker with
every ring. So around the cells of a parent cell lies a halo, with its samples and its cells, which
is fitted too and then thrown away.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import healpy as hp
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from skysift.grid import Grid, Ordering
from skysift.resample.arrays import check_variance
from skysift.resample.cells import cells_of
from skysift.resample.check import check_cells, check_level, check_samples
from skysift.resample.ellipsoid import WGS84, Ellipsoid
from skysift.resample.inverse import CellFit, Given, NotConverged, Status, fit_given
from skysift.resample.methods import psf
from skysift.resample.neighbours import border, grown
from skysift.resample.observations import as_rows, harmonic_mean
from skysift.resample.options import FitOptions, check_bounds, check_whole
from skysift.resample.sampling import Sampling
from skysift.resample.search import Unsupported

_SEARCHED = 5

NO_CELLS = (
    "threshold: expected cells that enough samples support, got none in any region. Lower the "
    "threshold, or raise sigma_m."
)
"""What is said where no region has a cell."""

# Bytes that a region needs at most: at all, for the links of each sample, and for each of its rows
# of values; as measured with nine links per sample and up to three cells per sample.
_FIXED_BYTES = 50e6
_LINK_BYTES = 1500
_ROW_BYTES = 300


class MakeSampling(Protocol):
    """A method such as `psf`, with `functools.partial` for its own options."""

    def __call__(
        self,
        lon: Float[np.ndarray, " sample"],
        lat: Float[np.ndarray, " sample"],
        level: int,
        *,
        ellipsoid: Ellipsoid | str,
        nest: bool,
    ) -> Sampling:
        """The relation between samples and cells."""
        ...


@dataclass(frozen=True, eq=False)
class Region:
    """Samples in and around a parent cell.

    Args:
        parent: NESTED number of the parent cell.
        samples: which samples, ascending.
        sampling: their relation to cells, of which some lie outside of the parent.
        inside: positions of the cells inside the parent.
    """

    parent: int
    samples: Int[np.ndarray, " sample"]
    sampling: Sampling
    inside: Int[np.ndarray, " cell"]


@dataclass(frozen=True, eq=False)
class JoinedFit:
    """Cells of many regions.

    Args:
        values: of the cells, in the order of the grid; NaN where no sample says anything.
        grid: the cells.
        damping: of each row of values, the same in all regions.
        status: the iteration limit if any region reached it.
        failed: parents of regions that did.
    """

    values: Float[np.ndarray, "*row cell"]
    grid: Grid
    damping: Float[np.ndarray, "*row"]
    status: Status
    failed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Regions:
    """Samples divided by parent cells, each with a halo.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: of the cells.
        parent_level: of the parent cells.
        halo: rings of cells around a parent whose samples and cells are fitted too.
        method: how samples and cells are related.
        ellipsoid: figure on which the latitudes are.
        nest: number the cells NESTED, else RING.

    Raises:
        ValueError: for no samples, coordinates or levels out of range, or a halo that is not
            positive.

    Examples:
        >>> lon, lat = np.meshgrid(np.arange(0.0, 40.0, 2.0), np.arange(0.0, 40.0, 2.0))
        >>> regions = Regions(lon.ravel(), lat.ravel(), level=5, parent_level=1)
        >>> joined = regions.fit(np.full(400, 280.0), damping=0.1)
        >>> joined.grid.size == joined.values.size, bool(np.allclose(joined.values, 280.0))
        (True, True)
    """

    lon: Float[np.ndarray, " sample"]
    lat: Float[np.ndarray, " sample"]
    level: int
    parent_level: int
    halo: int = 8
    method: MakeSampling = psf
    ellipsoid: Ellipsoid | str = WGS84
    nest: bool = True

    def __post_init__(self) -> None:
        check_level(self.level)
        check_samples(self.lon, self.lat)
        check_whole("parent_level", self.parent_level, "Try 3.")
        check_whole("halo", self.halo, "Try 8.")
        if not 0 <= self.parent_level <= self.level:
            raise ValueError(
                f"parent_level: expected from 0 to the level {self.level}, got "
                f"{self.parent_level}. Parents 4 to 8 levels coarser than the cells work well."
            )
        if self.halo < 1:
            raise ValueError(f"halo: expected at least one ring, got {self.halo}. Try 8.")

    @staticmethod
    def within(
        memory: float,
        lon: Float[np.ndarray, " sample"],
        lat: Float[np.ndarray, " sample"],
        level: int,
        *,
        rows: int = 1,
        **fields: Any,
    ) -> Regions:
        """Samples divided by the coarsest parent cells whose regions fit a memory.

        Args:
            memory: for a region with its fit, beyond coordinates and values [bytes].
            lon: longitudes in any branch [degrees].
            lat: geodetic latitudes [degrees].
            level: of the cells.
            rows: of values that are fitted together.
            **fields: other fields of `Regions`, without `parent_level`.

        Raises:
            ValueError: if not even the finest parents fit.
        """
        regions = Regions(lon, lat, level, 0, **fields)
        own, _ = regions._sorted
        need = 0.0
        # Parents smaller than the halo would not make the regions much smaller.
        for parent_level in range(max(level - (regions.halo - 1).bit_length(), 0) + 1):
            regions = replace(regions, parent_level=parent_level)
            occupied = np.unique(regions._parents_of(own))
            most = max(np.diff(regions._runs(own, int(p))).sum() for p in occupied)
            need = _FIXED_BYTES + float(most) * (_LINK_BYTES + rows * _ROW_BYTES)
            if need <= memory:
                return regions
        raise ValueError(
            f"memory: expected at least {need:.0f} bytes, which a parent as small as its halo of "
            f"{regions.halo} rings needs, got {memory:.0f}. Use a smaller halo or fewer rows."
        )

    @functools.cached_property
    def parents(self) -> Int[np.ndarray, " parent"]:
        """NESTED numbers of the parents that samples are in or near, along the NESTED curve."""
        occupied = np.unique(self._parents_of(self._sorted[0]))
        rings = -(-self.halo // (1 << (self.level - self.parent_level)))
        return grown(occupied, self.parent_level, rings)

    def region(self, parent: int) -> Region | None:
        """The region of one parent, `None` if no cell inside has samples, or enough of them.

        Raises:
            ValueError: for a number that is no parent cell.
        """
        npix = hp.nside2npix(1 << self.parent_level)
        if not 0 <= parent < npix:
            raise ValueError(f"parent: expected a number from 0 to {npix - 1}, got {parent}.")
        samples = self._around(parent)
        if not samples.size:
            return None
        where = np.asarray(self.lon)[samples], np.asarray(self.lat)[samples]
        try:
            sampling = self.method(*where, self.level, ellipsoid=self.ellipsoid, nest=self.nest)
        except Unsupported:  # here; elsewhere there may be more samples
            return None
        inside = np.flatnonzero(self._parents_of(sampling.grid.nested) == parent)
        return Region(parent, samples, sampling, inside) if inside.size else None

    def __iter__(self) -> Iterator[Region]:
        """Regions one after the other; each is built when it is asked for."""
        for parent in self.parents:
            region = self.region(int(parent))
            if region is not None:
                yield region

    def fit(
        self,
        samples: Float[ArrayLike, "*row sample"],
        *,
        noise_variance: Float[ArrayLike, "*row sample"] | float | None = None,
        bounds: tuple[float, float] | None = None,
        cells: Int[np.ndarray, " cell"] | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> JoinedFit:
        """Fit one region after the other and join them.

        Differs from one fit of all samples by what reaches through the halo, which falls with
        every ring, the faster the stronger the damping is. A damping that is left out is chosen in
        the regions with most samples and then the same everywhere: others would show as seams.

        Args:
            samples: values, `(N,)` or `(..., N)`; see `skysift.resample.inverse.fit`.
            noise_variance: of the samples.
            bounds: lowest and highest value that a cell may have.
            cells: numbers of the cells wanted, which the result then has, sorted; only parents
                that hold some are worked on. By default all cells that have samples.
            progress: called after each parent with how many are done and how many there are.
            **options: fields of `FitOptions`.

        Raises:
            ValueError: for values of a wrong shape or kind, options out of range, or no cell above
                the threshold.

        Warns:
            NotConverged: if regions are not done after `max_iter` iterations.
        """
        chosen = FitOptions(**options)
        values = as_rows("samples", samples, np.size(self.lon))
        variance = None
        if noise_variance is not None:
            variance = check_variance(noise_variance, np.size(self.lon))
        work = _Work(values, variance, check_bounds(bounds), chosen)
        if chosen.damping is None:
            work = work.damped_alike(self._densest())
        parents = self.parents
        if cells is not None:
            cells = check_cells(cells, self.level)
            parents = np.intersect1d(parents, self._parents_of(self._nested(cells)))
        parts = [np.empty((*values.shape[:-1], 0), np.float32)]
        found, failed = [np.empty(0, np.int64)], []
        for done, parent in enumerate(parents, start=1):
            region = self.region(int(parent))
            if region is not None:
                part = work.fit(region)
                parts.append(np.asarray(part.values)[..., region.inside])
                found.append(region.sampling.grid.index[region.inside])
                if part.status is Status.ITERATION_LIMIT:
                    failed.append(region.parent)
            if progress is not None:
                progress(done, parents.size)
        if cells is None and len(found) == 1:
            raise Unsupported(NO_CELLS)
        if failed:
            warnings.warn(
                f"fit: {len(failed)} of {len(parts) - 1} regions did not converge in "
                f"{chosen.max_iter} iterations, the first is that of parent {failed[0]}. Raise "
                "max_iter or tol, or leave out damping to have it chosen.",
                NotConverged,
                stacklevel=2,
            )
        grid, joined = self._joined(np.concatenate(found), np.concatenate(parts, axis=-1), cells)
        status = Status.CONVERGED if np.isfinite(joined).any() else Status.NO_SAMPLES
        return JoinedFit(
            values=joined,
            grid=grid,
            damping=np.broadcast_to(np.asarray(work.options.damping), values.shape[:-1]),
            status=Status.ITERATION_LIMIT if failed else status,
            failed=tuple(failed),
        )

    @functools.cached_property
    def _sorted(self) -> tuple[Int[np.ndarray, " sample"], Int[np.ndarray, " sample"]]:
        """NESTED cells of the samples along the NESTED curve, and which samples they are."""
        own = cells_of(self.lon, self.lat, self.level, self.ellipsoid)
        order = np.argsort(own, kind="stable")
        return own[order], order

    def _around(self, parent: int) -> Int[np.ndarray, " sample"]:
        """Samples in a parent and its halo."""
        own, order = self._sorted
        runs = self._runs(own, parent)
        return np.sort(np.concatenate([order[first:last] for first, last in runs]))

    def _runs(self, own: Int[np.ndarray, " sample"], parent: int) -> Int[np.ndarray, "run 2"]:
        """Where the samples of a parent and its halo begin and end along the NESTED curve."""
        # Cells about as wide as the halo: one ring of them covers it.
        level = max(self.parent_level, self.level - (self.halo - 1).bit_length())
        rings = -(-self.halo // (1 << (self.level - level)))
        near = grown(border(parent, level - self.parent_level), level, rings)
        near = near[near >> 2 * (level - self.parent_level) != parent]
        edges = np.stack([near, near + 1], axis=1) << 2 * (self.level - level)
        whole = np.array([[parent, parent + 1]]) << 2 * (self.level - self.parent_level)
        return np.searchsorted(own, np.concatenate([edges, whole]))

    def _densest(self) -> Iterator[Region]:
        """Regions of the parents that hold most samples."""
        held, counts = np.unique(self._parents_of(self._sorted[0]), return_counts=True)
        for parent in held[np.argsort(-counts, kind="stable")[:_SEARCHED]]:
            region = self.region(int(parent))
            if region is not None:
                yield region

    def _joined(
        self,
        found: Int[np.ndarray, " cell"],
        values: Float[np.ndarray, "*row cell"],
        wanted: Int[np.ndarray, " wanted"] | None,
    ) -> tuple[Grid, Float[np.ndarray, "*row wanted"]]:
        """Values in the order of a grid: of what was found, or of the cells wanted."""
        cells = np.sort(found) if wanted is None else wanted
        _, here, there = np.intersect1d(cells, found, return_indices=True)
        out = np.full((*values.shape[:-1], cells.size), np.nan, values.dtype)
        out[..., here] = values[..., there]
        ordering = Ordering.NESTED if self.nest else Ordering.RING
        return Grid(1 << self.level, ordering, cells), out

    def _nested(self, cells: Int[np.ndarray, " cell"]) -> Int[np.ndarray, " cell"]:
        return cells if self.nest else hp.ring2nest(1 << self.level, cells)

    def _parents_of(self, nested: Int[np.ndarray, " cell"]) -> Int[np.ndarray, " cell"]:
        return nested >> 2 * (self.level - self.parent_level)


@dataclass(frozen=True, eq=False)
class _Work:
    """What is fitted in every region, in the same way."""

    values: Float[np.ndarray, "*row sample"]
    variance: Float[np.ndarray, "*row sample"] | None
    bounds: tuple[float, float] | None
    options: FitOptions

    def damped_alike(self, regions: Iterator[Region]) -> _Work:
        """With one damping for each row, the geometric mean of those chosen in some regions."""
        logarithms = np.zeros((2, *self.values.shape[:-1]))
        for region in regions:
            found = self.fit(region)
            known = found.used > 0
            logarithms += np.where(known, np.log(found.damping), 0.0), known
        damping = np.exp(logarithms[0] / np.maximum(logarithms[1], 1.0))
        return replace(
            self,
            options=replace(self.options, damping=damping, least_part=self.options.required_part),
        )

    def fit(self, region: Region) -> CellFit:
        """Fit of one region."""
        variance = self.variance
        if variance is not None and variance.ndim:
            variance = variance[..., region.samples]
        given = Given(self.options, variance, self.bounds, reference_variance=self.reference)
        return fit_given(region.sampling, self.values[..., region.samples], given)

    @functools.cached_property
    def reference(self) -> Float[np.ndarray, " row"] | None:
        """Harmonic mean of the noise variances, so that the smoothness is the same everywhere."""
        if self.variance is None:
            return None
        variance = np.atleast_1d(self.variance)
        return harmonic_mean(variance.reshape(-1, variance.shape[-1]))
