"""Links of samples to cells, and the assembly of a `Sampling` from them."""

from __future__ import annotations

from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.grid import Grid, Ordering
from skysift.resample.cells import cell_side_m, positions, sphere_angles
from skysift.resample.check import check_cells, check_level, check_samples
from skysift.resample.ellipsoid import Ellipsoid
from skysift.resample.neighbours import sorted_unique
from skysift.resample.sampling import Method, Sampling

_LEAST_PART = 0.5


@dataclass(frozen=True)
class Target:
    """The cells that samples are to be linked to, and how they are numbered.

    Args:
        level: HEALPix level.
        wanted: sorted NESTED numbers, or `None` for every cell of the sphere.
        ellipsoid: figure on which samples and cells are.
        nest: whether users see NESTED numbers, else RING.
    """

    level: int
    wanted: Int[np.ndarray, " cell"] | None
    ellipsoid: Ellipsoid
    nest: bool

    @staticmethod
    def of(
        level: int, cells: Int[np.ndarray, " cell"] | None, ellipsoid: Ellipsoid | str, nest: bool
    ) -> Target:
        """Target from what a user gives; `cells` are numbered as `nest` says.

        Raises:
            ValueError: for a wrong level, cells that are not of this level, or an ellipsoid that
                is not known.
        """
        level = check_level(level)
        wanted = None if cells is None else check_cells(cells, level)
        if wanted is not None and not nest:
            wanted = np.sort(hp.ring2nest(1 << level, wanted))
        return Target(level, wanted, Ellipsoid.of(ellipsoid), nest)

    def holds(self, cells: Int[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Whether NESTED cells are wanted; -1 is not."""
        if self.wanted is None:
            return cells >= 0
        where = np.minimum(np.searchsorted(self.wanted, cells), self.wanted.size - 1)
        return self.wanted[where] == cells

    @property
    def side_m(self) -> float:
        """Square root of the area of a cell [m]."""
        return cell_side_m(self.level, self.ellipsoid)

    def angles(
        self, points: Points
    ) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
        """Colatitudes and longitudes on the authalic sphere [rad]."""
        return sphere_angles(points.lon, points.lat, self.ellipsoid)

    def positions(self, cells: Int[np.ndarray, " cell"]) -> Float[np.ndarray, "3 cell"]:
        """Positions [m] of NESTED cells; infinite for -1."""
        where = np.full((3, cells.size), np.inf)
        real = cells >= 0
        where[:, real] = positions(cells[real], self.level, self.ellipsoid)
        return where


@dataclass(frozen=True)
class Points:
    """Samples in the order of the NESTED numbers of their cells.

    Args:
        lon: longitudes [degrees].
        lat: geodetic latitudes [degrees].
        own: NESTED number of the cell that holds each sample.
        order: the user's number of each sample.
    """

    lon: Float[np.ndarray, " sample"]
    lat: Float[np.ndarray, " sample"]
    own: Int[np.ndarray, " sample"]
    order: Int[np.ndarray, " sample"]

    @staticmethod
    def of(
        lon: Float[np.ndarray, " sample"], lat: Float[np.ndarray, " sample"], target: Target
    ) -> Points:
        """Points from what a user gives.

        Raises:
            ValueError: for no coordinates, or some that are not finite, out of range or of
                different lengths.
        """
        lon, lat = check_samples(lon, lat)
        theta, phi = sphere_angles(lon, lat, target.ellipsoid)
        own = hp.ang2pix(1 << target.level, theta, phi, nest=True)
        order = np.argsort(own, kind="stable").astype(np.int32)
        return Points(lon[order], lat[order], own[order], order)

    def taken(self, rows: Int[np.ndarray, " row"] | slice) -> Points:
        """Some of the points."""
        return Points(self.lon[rows], self.lat[rows], self.own[rows], self.order[rows])


@dataclass
class Links:
    """Cells and weights, before they are normalised, of every sample.

    Args:
        ids: sorted NESTED numbers; may begin with -1, which stands for no cell.
        index: positions in `ids`.
        weights: 0 where a link is not used.
    """

    ids: Int[np.ndarray, " cell"]
    index: Int[np.ndarray, "sample link"]
    weights: Float[np.ndarray, "sample link"]

    def assemble(self, points: Points, target: Target, method: Method) -> Sampling:
        """Sampling with the wanted cells, or all that have links, and rows that sum to 1."""
        total = self.weights.sum(axis=1)
        if target.wanted is not None:
            self.weights[~target.holds(self.ids)[self.index]] = 0.0
            self.weights[~target.holds(points.own)] = 0.0
        support = self.weights.sum(axis=1)
        covered = (support > 0.0) & (support >= _LEAST_PART * total)
        support = np.where(covered, support, 0.0)
        self.weights *= np.where(covered, 1.0 / np.where(covered, support, 1.0), 0.0)[:, None]
        self._point_unused_at_used()
        cells, index = self._numbered(target)
        ordering = Ordering.NESTED if target.nest else Ordering.RING
        grid = Grid(1 << target.level, ordering, cells)
        return Sampling(grid, index, self.weights, support, points.order, target.ellipsoid, method)

    def _point_unused_at_used(self) -> None:
        """Let links without weight repeat a used cell, so that no other cell's NaN gets in."""
        unused = self.weights == 0.0
        rows = np.flatnonzero(unused.any(axis=1))
        best = np.argmax(np.abs(self.weights[rows]), axis=1)
        self.index[rows] = np.where(unused[rows], self.index[rows, best][:, None], self.index[rows])

    def _numbered(
        self, target: Target
    ) -> tuple[Int[np.ndarray, " cell"], Int[np.ndarray, "sample link"]]:
        """Cells of the result and the positions of links in them."""
        if target.wanted is None:
            used = np.zeros(self.ids.size, dtype=bool)
            used[self.index[np.any(self.weights != 0.0, axis=1)]] = True
            cells = self.ids[used]
            place = np.cumsum(used) - 1
        else:
            cells = target.wanted
            place = np.searchsorted(cells, self.ids)
        if not target.nest:
            ring = hp.nest2ring(1 << target.level, cells)
            order = np.argsort(ring)
            rank = np.empty_like(order)
            rank[order] = np.arange(order.size)
            cells, place = ring[order], rank[np.minimum(place, rank.size - 1)]
        place = np.clip(place, 0, max(cells.size - 1, 0)).astype(np.int32)
        return cells, place[self.index]


def only_linked(
    ids: Int[np.ndarray, " cell"],
    index: Int[np.ndarray, "sample link"],
    others: Bool[np.ndarray, " cell"] | None = None,
) -> tuple[Bool[np.ndarray, " cell"], Int[np.ndarray, "sample link"]]:
    """Which cells are linked or among the others, and the links as positions in these."""
    keep = np.zeros(ids.size, dtype=bool) if others is None else others.copy()
    keep[index] = True
    return keep, (np.cumsum(keep, dtype=np.int32) - 1)[index]


def joined(
    runs: list[tuple[slice, Int[np.ndarray, " cell"]]], index: Int[np.ndarray, "sample link"]
) -> Int[np.ndarray, " cell"]:
    """Cells of all runs of samples; changes the links in place to positions in these."""
    ids = sorted_unique(np.concatenate([cells for _, cells in runs]))
    for rows, cells in runs:
        index[rows] = np.searchsorted(ids, cells).astype(np.int32)[index[rows]]
    return ids
