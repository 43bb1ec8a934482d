"""Sampling that preserves integrals: points that stand for areas, and footprints."""

from __future__ import annotations

import warnings

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering
from skysift.resample import arrays
from skysift.resample.cells import cell_side_m, cells_of
from skysift.resample.check import check_cells, check_level
from skysift.resample.ellipsoid import WGS84, Ellipsoid
from skysift.resample.files import cell_coordinate
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

    Raises:
        ValueError: for areas that are not positive, bad coordinates, or a wrong level.

    Examples:
        >>> s = conservative([10.0, 11.0], [0.1, 0.1], 0, areas=[1e6, 3e6])
        >>> cell_totals(s, [4.0, 8.0])
        array([28000000.])
    """
    cell = cells_of(lon, lat, level, ellipsoid)
    areas = np.broadcast_to(np.asarray(areas, dtype=float), np.shape(areas) or cell.shape)
    if areas.shape != cell.shape:
        raise ValueError(
            f"areas: expected one or {cell.size}, as there are samples, got shape {areas.shape}."
        )
    bad = np.flatnonzero(~((areas > 0.0) & np.isfinite(areas)))
    if bad.size:
        raise ValueError(
            f"areas: expected positive square metres, got {areas[bad[0]]} at index {bad[0]} "
            f"({bad.size} such values). Drop these samples."
        )
    links = np.arange(cell.size)
    return _assembled(links, cell, areas, cell.size, level, cells, Ellipsoid.of(ellipsoid), nest)


def footprints(
    lon: Float[np.ndarray, "sample corner"],
    lat: Float[np.ndarray, "sample corner"],
    level: int,
    *,
    edges: Edges = Edges.GREAT_CIRCLE,
    tolerance: float = 1e-5,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
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
        edges: what joins the corners. Great circles are those of the authalic sphere.
        tolerance: about the largest error of the area of a footprint, relative to it.
        cells: numbers of the wanted cells; those under the footprints when `None`.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.

    Raises:
        ValueError: for shapes that differ or have fewer than three corners, a latitude beyond the
            poles, no footprint that can be used, footprints of very different sizes, or a wrong
            level.

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
        raise ValueError(f"tolerance: expected a fraction such as 1e-5, got {tolerance}.")
    authalic = np.radians(ellipsoid.authalic_latitude(lat))
    found = overlaps(np.radians(lon), authalic, level, edges, tolerance)
    _report(found.defects)
    area = found.area * ellipsoid.authalic_radius**2
    return _assembled(found.footprint, found.cell, area, len(lon), level, cells, ellipsoid, nest)


def quadrilaterals(
    lon: Float[np.ndarray, "row column"], lat: Float[np.ndarray, "row column"]
) -> tuple[Float[np.ndarray, "sample 4"], Float[np.ndarray, "sample 4"]]:
    """Corners of the footprints between the nodes of a swath or a curvilinear grid.

    Args:
        lon: longitudes of the nodes, one more each way than there are footprints [degrees].
        lat: latitudes of the nodes [degrees].

    Returns:
        Longitudes and latitudes of four corners each, row by row.

    Raises:
        ValueError: for shapes that differ, or fewer than two nodes each way.

    Examples:
        >>> lon, lat = np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0])
        >>> quadrilaterals(lon, lat)[0]
        array([[0., 1., 1., 0.],
               [1., 2., 2., 1.]])
    """
    nodes = np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
    if nodes[0].ndim != 2 or nodes[0].shape != nodes[1].shape or min(nodes[0].shape) < 2:
        raise ValueError(
            "lon, lat: expected two arrays (row, column) of the same shape with two nodes or more "
            f"each way, got {nodes[0].shape} and {nodes[1].shape}."
        )
    lon_corners, lat_corners = (
        np.stack([n[:-1, :-1], n[:-1, 1:], n[1:, 1:], n[1:, :-1]], axis=-1).reshape(-1, 4)
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
    areas = np.zeros(sampling.n_samples)
    areas[np.asarray(sampling.order)] = sampling.support
    return areas


def cell_totals(sampling: Sampling, samples: arrays.type_of_values) -> arrays.type_of_values:
    """Integral of the samples over each cell [unit of the samples times m2].

    The totals of all cells add up to the sum of value times area of the samples. Divided by the
    area of a cell they are its mean value where it is covered whole; `Sampling.average` is the mean
    over the part that is covered.

    Args:
        sampling: a conservative one.
        samples: `(..., sample)`; NaN, UNSEEN and infinite values add nothing.

    Raises:
        ValueError: for a sampling that is not conservative, or another number of samples.
    """
    areas = sample_areas(sampling)

    def totals(values):
        xp = arrays.namespace(values)
        values = arrays.without_unseen(values)
        return sampling.adjoint(xp.where(xp.isfinite(values), values, 0.0) * areas)

    coordinate = cell_coordinate(sampling.grid, sampling.ellipsoid)
    source = arrays.Axis("samples", sampling.n_samples)
    target = arrays.Axis("cells", sampling.n_cells, coordinate)
    return arrays.apply(totals, samples, source, target, np.dtype(sampling.weights.dtype))


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
        raise ValueError(f"lat: expected shape {lon.shape} as lon has, got {lat.shape}.")
    if not len(lon):
        raise ValueError("lon: expected at least one footprint, got none.")
    beyond = np.argwhere(np.isfinite(lat) & (np.abs(lat) > 90.0))
    if beyond.size:
        first = tuple(beyond[0])
        raise ValueError(
            f"lat: expected degrees from -90 to 90, got {lat[first]} at footprint {first[0]}, "
            f"corner {first[1]} ({len(beyond)} such values). Use NaN for corners that are missing, "
            "or give lon and lat in this order."
        )
    return lon, lat


def _table(name: str, values: np.ndarray) -> Float[np.ndarray, "sample corner"]:
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(float), np.nan)
    table = np.asarray(values)
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: expected real numbers of shape (footprint, corner) with three corners or "
            f"more, got {table.dtype} of shape {table.shape}. For the nodes of a grid use "
            "quadrilaterals."
        )
    return table.astype(float, copy=False)


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


def _assembled(
    sample: Int[np.ndarray, " link"],
    cell: Int[np.ndarray, " link"],
    area: Float[np.ndarray, " link"],
    n_samples: int,
    level: int,
    cells: Int[np.ndarray, " cell"] | None,
    ellipsoid: Ellipsoid,
    nest: bool,
) -> Sampling:
    """Sampling of links sorted by sample, with NESTED cells."""
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
