"""Footprints on the sphere: how much of each lies in which HEALPix cell."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.resample import lattice
from skysift.resample.check import check_choice
from skysift.resample.lattice import CAP_EDGE, Loops, expand
from skysift.resample.memory import Memory

_BLOCK = 200_000
_MOST = 2**31
_SAFE_COSINE = 1e-2
_NEGLIGIBLE = 1e-12
_LONGEST = np.pi / 8.0


class Edges(enum.Enum):
    """What joins two corners of a footprint, the shorter way round."""

    GREAT_CIRCLE = "great circle"
    LONLAT = "straight in longitude and latitude"


class Defect(enum.IntEnum):
    """Why a footprint is left out."""

    NONE = 0
    NOT_FINITE = 1
    TOO_WIDE = 2
    NO_AREA = 3
    CROSSES_ITSELF = 4

    def describe(self) -> str:
        """What is wrong, as the end of a sentence about footprints."""
        return {
            Defect.NONE: "as they should be",
            Defect.NOT_FINITE: "with a corner that is not finite",
            Defect.TOO_WIDE: "wider than a hemisphere, or around a pole with edges in latitude",
            Defect.NO_AREA: "without area",
            Defect.CROSSES_ITSELF: "with edges that cross",
        }[self]


@dataclass(frozen=True)
class Overlaps:
    """Areas that footprints and cells have in common.

    Args:
        footprint: number of the footprint of each link, ascending.
        cell: NESTED number of the cell of each link, ascending within a footprint.
        area: what the two have in common [sr]; positive.
        defects: for each footprint why it has no links.
    """

    footprint: Int[np.ndarray, " link"]
    cell: Int[np.ndarray, " link"]
    area: Float[np.ndarray, " link"]
    defects: Int[np.ndarray, " footprint"]


def overlaps(
    lon: Float[np.ndarray, "footprint corner"],
    lat: Float[np.ndarray, "footprint corner"],
    level: int,
    edges: Edges | str = Edges.GREAT_CIRCLE,
    tolerance: float = 1e-5,
    memory: Memory | None = None,
) -> Overlaps:
    """Areas that polygons on the sphere have in common with HEALPix cells.

    The work is done in the HEALPix plane, where cells are squares and areas those on the sphere:
    cell edges are exact, and what is approximated are the edges of footprints, which become chains
    of lines that are straight in that plane. Meridians are straight there, and parallels in each
    quarter of the sphere, so that cells of a regular grid in longitude and latitude (`LONLAT`) are
    exact. Footprints that share an edge share the approximation: they tile the sphere without gap
    or overlap, and the links of a footprint add up to its area, to rounding.

    Args:
        lon: longitudes of the corners in order around the footprint, either way [rad].
        lat: authalic latitudes, from -pi/2 to pi/2 [rad].
        level: nside is 2**level.
        edges: what joins the corners.
        tolerance: about the largest error of the area of a footprint, relative to it, that great
            circles replaced by chains cause. The cost grows with its inverse cubic root.
        memory: account on which the overlaps are booked.

    Returns:
        Overlaps. Footprints with a `Defect` have no links. Concave ones are fine, and corners may
        be repeated, which makes triangles of quadrilaterals.

    Raises:
        ValueError: for footprints over more cells than an index of 32 bits can count, unknown
            edges, or if memory is short.

    References:
        Gorski et al. 2005, ApJ 622, 759, section 5 (cells are squares of equal area in the plane).

    Examples:
        >>> corner_lon = np.radians([[10.0, 20.0, 20.0, 10.0]])
        >>> corner_lat = np.radians([[-5.0, -5.0, 5.0, 5.0]])
        >>> found = overlaps(corner_lon, corner_lat, 2, Edges.LONLAT)
        >>> exact = np.radians(10.0) * 2.0 * np.sin(np.radians(5.0))
        >>> bool(abs(found.area.sum() / exact - 1.0) < 1e-14)
        True
    """
    edges = check_choice("edges", Edges, edges)
    missing = np.logical_not(np.isfinite(lon) & np.isfinite(lat))
    lon, lat = np.where(missing, np.nan, lon), np.where(missing, np.nan, lat)
    corners = _vectors(lon, lat)
    defects = _defects(lon, lat, corners, edges)
    good = np.flatnonzero(defects == Defect.NONE)
    side = np.sqrt(np.pi / 3.0) / 2**level
    length = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1).sum(axis=1)
    cost = (8.0 * lon.shape[1] + length / side + (length / side) ** 2 / 8.0)[good]
    if cost.sum() > _MOST:
        raise ValueError(
            f"level: expected footprints over fewer than {_MOST} cells, got one as large as "
            f"{cost.max():.3g}, {cost.sum():.3g} in all. Use a lower level, or part of the "
            "footprints."
        )
    block = (np.cumsum(cost) // _BLOCK).astype(np.int64)
    parts = []
    for chosen in np.split(good, np.flatnonzero(np.diff(block)) + 1):
        loops = _chains(lon[chosen], lat[chosen], corners[chosen], edges, tolerance)
        footprint, cell, area = _in_cells(loops, level, edges)
        if memory is not None:
            memory.take(overlaps=area.size)
        parts.append((chosen[footprint], cell, area))
    footprint, cell, area = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Overlaps(footprint, cell, area, defects)


def _vectors(
    lon: Float[np.ndarray, "..."], lat: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "... 3"]:
    """Unit vectors."""
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _wrapped(angle: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Angle between -pi and pi."""
    return angle - 2.0 * np.pi * np.rint(angle / (2.0 * np.pi))


def _defects(
    lon: Float[np.ndarray, "footprint corner"],
    lat: Float[np.ndarray, "footprint corner"],
    corners: Float[np.ndarray, "footprint corner 3"],
    edges: Edges,
) -> Int[np.ndarray, " footprint"]:
    """First defect of each footprint, found in a plane in which its edges are straight."""
    finite = np.all(np.isfinite(corners), axis=(1, 2))
    if edges is Edges.GREAT_CIRCLE:
        flat, narrow = _gnomonic(np.where(finite[:, None, None], corners, 0.0))
    else:
        step, _ = _steps(lon, lat)
        narrow = np.abs(step.sum(axis=1)) < 1.0
        east = np.cumsum(np.roll(step, 1, axis=1), axis=1) - step[:, -1:]
        flat = np.stack([east, lat - lat[:, :1]], axis=-1)
    usable = finite & narrow
    flat = np.where(usable[:, None, None], flat, 0.0)
    after = np.roll(flat, -1, axis=1)
    area = 0.5 * np.abs(_cross(flat, after).sum(axis=1))
    length = np.linalg.norm(after - flat, axis=-1).max(axis=1)
    # Rounding of coordinates of order one moves corners by 1e-16.
    least = length * (1e-10 * length + 1e-15)
    crossed = _crosses_itself(flat, least)
    defects = np.zeros(len(lon), dtype=np.int64)
    for defect, found in (
        (Defect.CROSSES_ITSELF, crossed),
        (Defect.NO_AREA, (area <= least) & ~crossed),
        (Defect.TOO_WIDE, ~narrow),
        (Defect.NOT_FINITE, ~finite),
    ):
        defects[found] = defect
    return defects


def _gnomonic(
    corners: Float[np.ndarray, "footprint corner 3"],
) -> tuple[Float[np.ndarray, "footprint corner 2"], Float[np.ndarray, " footprint"]]:
    """Corners seen from the centre of the sphere, and whether all are on the near side."""
    middle = corners.sum(axis=1)
    size = np.linalg.norm(middle, axis=-1, keepdims=True)
    middle = np.divide(middle, size, out=np.zeros_like(middle), where=size > _SAFE_COSINE)
    depth = np.einsum("fcx,fx->fc", corners, middle)
    narrow = (depth > _SAFE_COSINE).all(axis=1)
    # An axis far from the middle, so that the basis is well defined.
    axis = np.eye(3)[np.argmin(np.abs(middle), axis=-1)]
    east = np.cross(middle, axis)
    east /= np.maximum(np.linalg.norm(east, axis=-1, keepdims=True), _NEGLIGIBLE)
    north = np.cross(middle, east)
    seen = np.stack([np.einsum("fcx,fx->fc", corners, side) for side in (east, north)], axis=-1)
    return seen / np.where(narrow[:, None], depth, 1.0)[..., None], narrow


def _cross(
    first: Float[np.ndarray, "... 2"], second: Float[np.ndarray, "... 2"]
) -> Float[np.ndarray, "..."]:
    """Cross product in the plane."""
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _crosses_itself(
    flat: Float[np.ndarray, "footprint corner 2"], least: Float[np.ndarray, " footprint"]
) -> Bool[np.ndarray, " footprint"]:
    """Whether two edges without a common corner cross, by more than an area that is rounding."""

    def side(start, stop, point):
        area = _cross(stop - start, point - start)
        return np.where(np.abs(area) > least, np.sign(area), 0.0)

    count = flat.shape[1]
    found = np.zeros(len(flat), dtype=bool)
    for one in range(count):
        for other in range(one + 2, count - (one == 0)):
            a, b = flat[:, one], flat[:, one + 1]
            c, d = flat[:, other], flat[:, (other + 1) % count]
            found |= (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return found


def _pieces(
    lon: Float[np.ndarray, "footprint corner"],
    lat: Float[np.ndarray, "footprint corner"],
    corners: Float[np.ndarray, "footprint corner 3"],
    edges: Edges,
    tolerance: float,
) -> Int[np.ndarray, " edge"]:
    """How many pieces, of two lines each, stand for each edge.

    An edge of length l and curvature k in the plane encloses k l^3 / 12 over its chord. The
    curvature is of order one, and near a pole of the inverse distance to it. Within one part of the
    plane pieces are corrected, and the error falls with the fourth power of their number, with the
    third where the curvature changes fast. Where an edge crosses a seam it falls with the second.
    """
    chord = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=-1)
    colatitude = np.pi / 2.0 - np.abs(lat)
    nearest = np.minimum(colatitude, np.roll(colatitude, -1, axis=1)) - chord
    bend = chord + chord / np.maximum(nearest, chord + 1e-300)
    least = np.ones_like(chord)
    if edges is Edges.LONLAT:
        east, north = _steps(lon, lat)
        # Meridians and parallels are straight already.
        bend[np.minimum(np.abs(east), np.abs(north)) < _NEGLIGIBLE] = 0.0
        least = np.abs(east) / _LONGEST
    place = _place_of(corners.reshape(-1, 3)).reshape(chord.shape)
    power = np.where(place == np.roll(place, -1, axis=1), 1.0 / 3.0, 1.0 / 2.0)
    pieces = np.maximum((bend / (12.0 * tolerance)) ** power / 2.0, np.maximum(least, 1.0))
    return np.ceil(pieces).astype(np.int64).ravel()


def _steps(
    lon: Float[np.ndarray, "footprint corner"], lat: Float[np.ndarray, "footprint corner"]
) -> tuple[Float[np.ndarray, "footprint corner"], Float[np.ndarray, "footprint corner"]]:
    """Differences of longitude and latitude along each edge, the shorter way round."""
    return _wrapped(np.roll(lon, -1, axis=1) - lon), np.roll(lat, -1, axis=1) - lat


def _chains(
    lon: Float[np.ndarray, "footprint corner"],
    lat: Float[np.ndarray, "footprint corner"],
    corners: Float[np.ndarray, "footprint corner 3"],
    edges: Edges,
    tolerance: float,
) -> Loops:
    """Corners with the points between them. An edge has the same points from either end."""
    count = 2 * _pieces(lon, lat, corners, edges, tolerance)
    edge, step = expand(np.zeros_like(count), count)
    back, ahead = (count[edge] - step) / count[edge], step / count[edge]
    if edges is Edges.GREAT_CIRCLE:
        start, stop = corners.reshape(-1, 3), np.roll(corners, -1, axis=1).reshape(-1, 3)
        angle = 2.0 * np.arcsin(np.minimum(np.linalg.norm(stop - start, axis=-1) / 2.0, 1.0))
        # sin(t a) / sin(a), and its limit for edges of no length.
        from_start, from_stop = (
            np.where(angle[edge] > 0, np.sin(part * angle[edge]), part) for part in (back, ahead)
        )
        points = from_start[:, None] * start[edge] + from_stop[:, None] * stop[edge]
        points = lattice.on_sphere(points, keep_height=False)
    else:
        east, north = (part.ravel()[edge] for part in _steps(lon, lat))
        points = _vectors(lon.ravel()[edge] + ahead * east, lat.ravel()[edge] + ahead * north)
    loops = Loops(points, edge // corners.shape[1])
    odd = np.flatnonzero(step % 2)
    before, after = points[odd - 1], points[loops.following()[odd]]
    points[odd] = lattice.on_sphere(
        points[odd] + _outward(before, points[odd], after), keep_height=False
    )
    return loops


def _outward(
    before: Float[np.ndarray, "piece 3"],
    middle: Float[np.ndarray, "piece 3"],
    after: Float[np.ndarray, "piece 3"],
) -> Float[np.ndarray, "piece 3"]:
    """How far the middles of pieces are moved to give two lines the area under the edge.

    A parabola of height h over a chord of length L encloses 2 h L / 3, two lines h L / 2: a third
    of the height is missing. Areas are those on the sphere, so that it is enough to know h L in the
    plane (Simpson's rule). Pieces across a seam of the plane are left as they are.
    """
    quadrant, zone = lattice.quadrant_of(middle), lattice.zone_of(middle)
    begin, centre, end = (
        lattice.project(points, quadrant, zone, 1) for points in (before, middle, after)
    )
    missing = _cross(centre - begin, end - begin) * np.pi / 9.0
    normal = np.cross(after, before)
    squared = np.einsum("px,px->p", normal, normal)
    within = (_place_of(before) == _place_of(after)) & (squared > 0)
    scale = np.divide(missing, squared, out=np.zeros_like(missing), where=within)
    return scale[:, None] * normal


def _place_of(vectors: Float[np.ndarray, "vertex 3"]) -> Int[np.ndarray, " vertex"]:
    """Quadrant and zone as one number from 0 to 11."""
    return 3 * lattice.quadrant_of(vectors) + lattice.zone_of(vectors) + 1


def _in_cells(
    loops: Loops, level: int, edges: Edges
) -> tuple[Int[np.ndarray, " link"], Int[np.ndarray, " link"], Float[np.ndarray, " link"]]:
    """Footprint, cell and common area [sr] of each link, sorted by footprint and cell."""
    nside = 2**level
    count = int(loops.owner[-1]) + 1 if loops.owner.size else 0
    places = _places(loops, count, edges)
    plane = lattice.project(places.points, places.owner % 12 // 3, places.owner % 3 - 1, nside)
    found = lattice.coverage(Loops(plane, places.owner))
    cell = lattice.cell_numbers(
        found.column, found.row, found.owner % 12 // 3, found.owner % 3 - 1, nside
    )
    footprint, fraction = found.owner // 12, found.fraction
    order = np.lexsort((cell, footprint))
    footprint, cell, fraction = footprint[order], cell[order], fraction[order]
    # A footprint across zones may meet a cell once in each.
    head = np.flatnonzero((np.diff(footprint, prepend=-1) != 0) | (np.diff(cell, prepend=-1) != 0))
    fraction = np.add.reduceat(fraction, head) if head.size else fraction
    footprint, cell = footprint[head], cell[head]
    total = np.bincount(footprint, fraction, minlength=count)
    fraction = fraction * np.sign(total)[footprint]
    keep = fraction > _NEGLIGIBLE * np.abs(total)[footprint]
    area = np.pi / 3.0 / nside**2
    return footprint[keep], cell[keep], fraction[keep] * area


def _places(loops: Loops, count: int, edges: Edges) -> Loops:
    """Loops cut at the seams of the plane: owner 12 f + 3 quadrant + zone + 1 for footprint f."""
    place = _place_of(loops.points)
    low, high = np.full(count, 12), np.full(count, -1)
    np.minimum.at(low, loops.owner, place)
    np.maximum.at(high, loops.owner, place)
    whole = (low == high)[loops.owner]
    parts = [Loops(loops.points[whole], 12 * loops.owner[whole] + place[whole])]
    rest = Loops(loops.points[~whole], loops.owner[~whole])
    keep_height = edges is Edges.LONLAT
    for northward, half in zip((True, False), _split(rest, 1, 0.0, keep_height), strict=True):
        for eastward, quarter in zip((True, False), _split(half, 0, 0.0, keep_height), strict=True):
            quadrant = (0 if eastward else 1) if northward else (3 if eastward else 2)
            top, below = _split(quarter, 2, CAP_EDGE, keep_height=True)
            belt, bottom = _split(below, 2, -CAP_EDGE, keep_height=True)
            for zone, part in ((1, top), (0, belt), (-1, bottom)):
                parts.append(Loops(part.points, 12 * part.owner + 3 * quadrant + zone + 1))
    points = np.concatenate([part.points for part in parts])
    owner = np.concatenate([part.owner for part in parts])
    order = np.argsort(owner, kind="stable")
    return Loops(points[order], owner[order])


def _split(loops: Loops, axis: int, height: float, keep_height: bool) -> tuple[Loops, Loops]:
    """Loops on either side of the plane at this height of an axis, the upper one first."""
    return lattice.split(loops, loops.points[:, axis] - height, keep_height)
