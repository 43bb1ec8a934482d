"""Sampling that preserves integrals: points that stand for areas, and footprints."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering, masked_to_nan
from skysift.resample import arrays
from skysift.resample.cells import cell_side_m, cells_of
from skysift.resample.check import check_angles, check_cells, check_level, check_samples, refuse
from skysift.resample.ellipsoid import WGS84, Ellipsoid
from skysift.resample.memory import Memory
from skysift.resample.polygons import Defect, Edges, overlaps
from skysift.resample.sampling import Method, Sampling

_ROOM = 2**26
_WASTE = 16


def conservative(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    areas: Float[np.ndarray, " sample"] | float,
    *,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Points that stand for areas, each with its whole area in the cell that holds it.

    `Sampling.average` weighs the samples of a cell with their areas, `cell_totals` adds up what
    they hold.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: log2(nside), from 0 to 29.
        areas: area that each sample stands for, or one for all [m2].
        cells: numbers of the wanted cells; those that hold samples when `None`.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Raises:
        ValueError: for no samples, areas that are not positive, bad coordinates, a wrong level, or
            too little memory.

    Examples:
        >>> s = conservative([10.0, 11.0], [0.1, 0.1], 0, areas=[1e6, 3e6])
        >>> cell_totals(s, [4.0, 8.0])
        array([28000000.])
    """
    memory = Memory(memory_mb)
    memory.take(overlaps=np.size(lon))
    cell = cells_of(*check_samples(lon, lat), level, ellipsoid)
    given = masked_to_nan(areas)
    if given.shape not in ((), cell.shape) or given.dtype.kind not in "iuf":
        raise ValueError(
            f"areas: expected one or {cell.size} real numbers, as there are samples, got "
            f"{given.dtype} of shape {given.shape}. Give one area for all, or one per sample."
        )
    areas = np.broadcast_to(given.astype(float), cell.shape)
    bad = ~((areas > 0.0) & np.isfinite(areas))
    refuse("areas", areas, bad, "positive square metres", "Drop these samples.")
    links = np.arange(cell.size)
    found = _Parts(links, cell, areas, cell.size)
    return _assembled(found, level, cells, Ellipsoid.of(ellipsoid), nest, memory)


def footprints(
    lon: Float[np.ndarray, "sample corner"],
    lat: Float[np.ndarray, "sample corner"],
    level: int,
    *,
    edges: Edges | str = Edges.GREAT_CIRCLE,
    tolerance: float = 1e-5,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Footprints of samples, shared out among the cells by the areas they have in common.

    A sample is the mean of the cells under its footprint; a cell is the mean of the footprints over
    it. Weights come from `skysift.resample.polygons.overlaps`, which says what is exact and what is
    approximated. Footprints that tile the sphere cover every cell exactly once.

    Footprints with a corner that is not finite, without area, with edges that cross, or wider than
    a hemisphere are left out: they are not `covered`, and a warning counts them. Of a footprint
    that reaches beyond the wanted cells the part within counts.

    Args:
        lon: longitudes of the corners in order around each footprint, in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: log2(nside), from 0 to 29.
        edges: what joins the corners, or its value: `"great circle"` (of the authalic sphere) or
            `"straight in longitude and latitude"`.
        tolerance: about the largest error of the area of a footprint, relative to it.
        cells: numbers of the wanted cells; those under the footprints when `None`.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Raises:
        ValueError: for shapes that differ or have fewer than three corners, a latitude beyond the
            poles or a longitude beyond two turns, unknown edges, no footprint that can be used,
            footprints of very different sizes, a wrong level, or too little memory.

    References:
        Jones 1999, Mon. Weather Rev. 127, 2204 (first-order conservative remapping).

    Examples:
        >>> s = footprints([[0.0, 2.0, 2.0, 0.0]], [[0.0, 0.0, 2.0, 2.0]], 4)
        >>> total = cell_totals(s, [5.0]).sum()
        >>> bool(abs(total - 5.0 * sample_areas(s)[0]) < 1e-12 * total)
        True
    """
    level, ellipsoid = check_level(level), Ellipsoid.of(ellipsoid)
    lon, lat = _checked_corners(lon, lat)
    if not 0.0 < tolerance < 1.0:
        raise ValueError(
            f"tolerance: expected a fraction between 0 and 1 such as 1e-5, got {tolerance}. "
            "Smaller ones are more exact and slower."
        )
    authalic = np.radians(ellipsoid.authalic_latitude(lat))
    memory = Memory(memory_mb)
    found = overlaps(np.radians(lon), authalic, level, edges, tolerance, memory)
    _report(found.defects)
    area = found.area * ellipsoid.authalic_radius**2
    parts = _Parts(found.footprint, found.cell, area, len(lon))
    return _assembled(parts, level, cells, ellipsoid, nest, memory)


def quadrilaterals(
    lon: Float[np.ndarray, "row column"], lat: Float[np.ndarray, "row column"]
) -> tuple[Float[np.ndarray, "sample 4"], Float[np.ndarray, "sample 4"]]:
    """Corners of the footprints between the nodes of a swath or a curvilinear grid.

    Args:
        lon: longitudes of the nodes, one more each way than there are footprints [degrees].
        lat: latitudes of the nodes [degrees].

    Returns:
        Longitudes and latitudes of four corners each, row by row; NaN where masked.

    Raises:
        ValueError: for shapes that differ, or fewer than two nodes each way.

    Examples:
        >>> lon, lat = np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0])
        >>> quadrilaterals(lon, lat)[0]
        array([[0., 1., 1., 0.],
               [1., 2., 2., 1.]])
    """
    nodes = masked_to_nan(lon), masked_to_nan(lat)
    first, second = nodes
    real = first.dtype.kind in "iuf" and second.dtype.kind in "iuf"
    if not real or first.ndim != 2 or first.shape != second.shape or min(first.shape) < 2:
        raise ValueError(
            "lon, lat: expected two arrays (row, column) of real numbers of the same shape with "
            f"two nodes or more each way, got {first.dtype} of shape {first.shape} and "
            f"{second.dtype} of shape {second.shape}. Give the corners of single footprints to "
            "footprints."
        )
    lon_corners, lat_corners = (
        np.stack([n[:-1, :-1], n[:-1, 1:], n[1:, 1:], n[1:, :-1]], axis=-1)
        .reshape(-1, 4)
        .astype(float)
        for n in nodes
    )
    return lon_corners, lat_corners


def sample_areas(sampling: Sampling) -> Float[np.ndarray, " sample"]:
    """Area that each sample has within the cells [m2], 0 where it is left out.

    Raises:
        ValueError: for a sampling that is not conservative.
    """
    if sampling.method is not Method.CONSERVATIVE:
        raise ValueError(
            f"sampling: expected a conservative one, got {sampling.method.value}. Its weights are "
            "no areas; build it with conservative or footprints."
        )
    return np.asarray(sampling.by_sample(sampling.support))


def cell_totals(sampling: Sampling, samples: arrays.type_of_values) -> arrays.type_of_values:
    """Integral of the samples over each cell [unit of the samples times m2].

    The totals of all cells add up to the sum of value times area of the samples. Divided by the
    area of a cell they are its mean value where it is covered whole; `Sampling.average` is the mean
    over the part that is covered.

    Args:
        sampling: a conservative one.
        samples: `(..., sample)`; NaN, UNSEEN and infinite values add nothing. They are summed in
            double precision.

    Raises:
        ValueError: for a sampling that is not conservative, or another number of samples.
    """
    areas = sample_areas(sampling)
    double = sampling if sampling.weights.dtype == float else sampling.astype(float)

    def totals(values):
        xp = arrays.namespace(values)
        values = arrays.without_unseen(values.astype(float))
        found = double.adjoint(xp.where(xp.isfinite(values), values, 0.0) * areas)
        return found.astype(sampling.weights.dtype)

    return arrays.apply(
        totals, samples, sampling.sample_axis, sampling.cell_axis, sampling.weights.dtype
    )


def cell_coverage(sampling: Sampling) -> Float[np.ndarray, " cell"]:
    """How often the samples cover each cell: 1 where footprints tile it.

    Raises:
        ValueError: for a sampling that is not conservative.
    """
    covered = cell_totals(sampling, np.ones(sampling.n_samples))
    return covered / cell_side_m(sampling.level, sampling.ellipsoid) ** 2


def _checked_corners(
    lon: Float[np.ndarray, "sample corner"], lat: Float[np.ndarray, "sample corner"]
) -> tuple[Float[np.ndarray, "sample corner"], Float[np.ndarray, "sample corner"]]:
    """Corners as float64, NaN where masked or not finite."""
    lon, lat = _table("lon", lon), _table("lat", lat)
    if lon.shape != lat.shape:
        raise ValueError(
            f"lat: expected shape {lon.shape} as lon has, got {lat.shape}. Give both coordinates "
            "of every corner."
        )
    if not len(lon):
        raise ValueError("lon: expected at least one footprint, got none. Check the selection.")
    check_angles(lon, lat)
    return lon, lat


def _table(name: str, values: np.ndarray) -> Float[np.ndarray, "sample corner"]:
    table = masked_to_nan(values)
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: expected real numbers of shape (footprint, corner) with three corners or "
            f"more, got {table.dtype} of shape {table.shape}. For the nodes of a grid use "
            "quadrilaterals."
        )
    return np.where(np.isfinite(table), table, np.nan).astype(float, copy=False)


def _report(defects: Int[np.ndarray, " sample"]) -> None:
    """Warn about footprints that are left out; raise if none is left."""
    left_out = [
        f"{np.count_nonzero(defects == defect)} {defect.describe()} "
        f"(the first at index {np.argmax(defects == defect)})"
        for defect in Defect
        if defect is not Defect.NONE and np.any(defects == defect)
    ]
    if not left_out:
        return
    text = ", ".join(left_out)
    if np.all(defects != Defect.NONE):
        raise ValueError(
            f"lon, lat: expected footprints on the sphere, got none that can be used: {text}. Give "
            "the corners of each in order around it."
        )
    count = np.count_nonzero(defects != Defect.NONE)
    warnings.warn(f"left out {count} of {defects.size} footprints: {text}", stacklevel=3)


@dataclass(frozen=True)
class _Parts:
    """Links sorted by sample, with NESTED cells."""

    sample: Int[np.ndarray, " link"]
    cell: Int[np.ndarray, " link"]
    area: Float[np.ndarray, " link"]
    n_samples: int


def _assembled(
    parts: _Parts,
    level: int,
    cells: Int[np.ndarray, " cell"] | None,
    ellipsoid: Ellipsoid,
    nest: bool,
    memory: Memory,
) -> Sampling:
    """Sampling of the wanted cells, or of all that have links."""
    sample, cell, area, n_samples = parts.sample, parts.cell, parts.area, parts.n_samples
    nside = 1 << level
    numbers = cell if nest else hp.nest2ring(nside, cell)
    if cells is None:
        used, position = np.unique(numbers, return_inverse=True)
    else:
        used = check_cells(cells, level)
        position = np.minimum(np.searchsorted(used, numbers), used.size - 1)
        wanted = used[position] == numbers
        sample, cell, area, position = (part[wanted] for part in (sample, cell, area, position))
    degree = np.bincount(sample, minlength=n_samples)
    widest = int(degree.max(initial=1))
    if n_samples * widest > max(_WASTE * sample.size, _ROOM):
        raise ValueError(
            f"lon, lat: expected footprints of similar sizes, got sample {np.argmax(degree)} over "
            f"{widest} cells where the mean is {degree.mean():.1f}. Resample large ones on their "
            "own, or at a lower level."
        )
    memory.take(samples=n_samples, links=widest)
    first = np.cumsum(degree) - degree
    home = np.full(n_samples, 12 * nside**2)
    home[degree > 0] = cell[first[degree > 0]]
    order = np.argsort(home, kind="stable")
    row = np.empty(n_samples, dtype=np.int64)
    row[order] = np.arange(n_samples)
    home_of = np.zeros(n_samples, dtype=np.int32)
    home_of[row[degree > 0]] = position[first[degree > 0]]
    # Links that are not used repeat one that is: no other cell's NaN gets in.
    index = np.repeat(home_of[:, None], widest, axis=1)
    weights = np.zeros((n_samples, widest))
    place = row[sample], np.arange(sample.size) - first[sample]
    support = np.bincount(row[sample], area, minlength=n_samples)
    index[place] = position
    weights[place] = area / support[row[sample]]
    ordering = Ordering.NESTED if nest else Ordering.RING
    return Sampling(
        grid=Grid(nside, ordering, used),
        index=index,
        weights=weights,
        support=support,
        order=order.astype(np.int32),
        ellipsoid=ellipsoid,
        method=Method.CONSERVATIVE,
    )
