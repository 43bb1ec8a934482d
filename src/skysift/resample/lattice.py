"""The HEALPix plane, where every cell is a unit square and areas are those on the sphere."""

from __future__ import annotations

from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float, Int

CAP_EDGE = 2.0 / 3.0
"""|z| where the polar caps of the projection begin."""


@dataclass(frozen=True)
class Loops:
    """Closed loops of vertices, one after the other.

    Args:
        points: vertices, on the sphere (unit vectors) or in the plane.
        owner: loop of each vertex, ascending; the last vertex of a loop is joined to its first.
    """

    points: Float[np.ndarray, "vertex axis"]
    owner: Int[np.ndarray, " vertex"]

    def following(self) -> Int[np.ndarray, " vertex"]:
        """Where the next vertex of the same loop stands."""
        if self.owner.size == 0:
            return np.zeros(0, dtype=np.int64)
        starts = np.flatnonzero(np.diff(self.owner, prepend=self.owner[0] - 1))
        following = np.arange(1, self.owner.size + 1)
        following[np.append(starts[1:], self.owner.size) - 1] = starts
        return following


@dataclass(frozen=True)
class Coverage:
    """How much of which cell each loop covers.

    Args:
        owner: loop of each link, ascending.
        row, column: square of the lattice of each link.
        fraction: signed part of the square that is covered; negative in loops that run clockwise.
    """

    owner: Int[np.ndarray, " link"]
    row: Int[np.ndarray, " link"]
    column: Int[np.ndarray, " link"]
    fraction: Float[np.ndarray, " link"]


def quadrant_of(vectors: Float[np.ndarray, "vertex 3"]) -> Int[np.ndarray, " vertex"]:
    """Quarter of the sphere, by longitude, from 0 to 3."""
    x, y = vectors[:, 0], vectors[:, 1]
    return np.where(y >= 0, np.where(x >= 0, 0, 1), np.where(x < 0, 2, 3))


def zone_of(vectors: Float[np.ndarray, "vertex 3"]) -> Int[np.ndarray, " vertex"]:
    """1 in the northern cap, 0 in the belt, -1 in the southern cap."""
    z = vectors[:, 2]
    return np.sign(z).astype(np.int64) * (np.abs(z) > CAP_EDGE)


def project(
    vectors: Float[np.ndarray, "vertex 3"],
    quadrant: Int[np.ndarray, " vertex"],
    zone: Int[np.ndarray, " vertex"],
    nside: int,
) -> Float[np.ndarray, "vertex 2"]:
    """Column and row, as real numbers, in the lattice whose unit squares are the cells.

    The lattice is the HEALPix projection turned by 45 degrees. It is continuous within one quarter
    and zone; points on an edge may be projected as part of either side.

    References:
        Calabretta & Roukema 2007, MNRAS 381, 865, section 2 (H = 4, K = 3).
    """
    x, y, z = vectors.T
    turned_x = np.choose(quadrant, [x, y, -x, -y])
    turned_y = np.choose(quadrant, [y, -x, -y, x])
    across = np.arctan2(turned_y, turned_x) / (np.pi / 2.0)
    # 1 - |z| without the cancellation near the poles.
    sigma = np.sqrt(3.0 * (x * x + y * y) / (1.0 + np.abs(z)))
    in_cap = zone != 0
    abscissa = quadrant + np.where(in_cap, 0.5 + (across - 0.5) * sigma, across)
    ordinate = np.where(in_cap, zone * (1.0 - 0.5 * sigma), 0.75 * z)
    return nside * np.stack([abscissa + ordinate - 0.5, ordinate - abscissa + 0.5], axis=-1)


def cell_numbers(
    column: Int[np.ndarray, " link"],
    row: Int[np.ndarray, " link"],
    quadrant: Int[np.ndarray, " link"],
    zone: Int[np.ndarray, " link"],
    nside: int,
) -> Int[np.ndarray, " link"]:
    """NESTED numbers of squares of the lattice.

    A square that rounding has put across the edge of its quarter is moved back.
    """
    in_cap, southern = zone != 0, (zone < 0).astype(np.int64)
    # Within a cap the base cell is known; in the belt it is one of three kinds.
    across = np.where(in_cap, quadrant - southern, column // nside)
    up = np.where(in_cap, -quadrant - southern, np.clip(row // nside, -2 - across, -across))
    column = np.clip(column - across * nside, 0, nside - 1)
    row = np.clip(row - up * nside, 0, nside - 1)
    kind = -(across + up)
    base = (-up - (kind == 2)) % 4 + 4 * kind
    return np.asarray(hp.xyf2pix(nside, column, row, base, nest=True), dtype=np.int64)


def coverage(loops: Loops) -> Coverage:
    """Exact area of each loop in each unit square.

    Green's theorem: the part of square (i, j) that a loop covers is the integral of min(max(u - i,
    0), 1) dv over its edges in row j. An edge adds to the squares it crosses and to all squares on
    one side of it in its row. Summed over squares this is the area of the loop, whatever its shape.
    """
    # Whole numbers are taken off first: what is left has no rounding that grows with nside.
    following = loops.following()
    first = np.flatnonzero(np.diff(loops.owner, prepend=-1))
    sizes = np.diff(np.append(first, loops.owner.size))
    origin = np.floor(loops.points[first])
    local = loops.points - np.repeat(origin, sizes, axis=0)
    segment, begin, end = _cut_at_integers(local, local[following])
    rise = end[:, 1] - begin[:, 1]
    middle = 0.5 * (begin + end)
    square = np.floor(middle).astype(np.int64)
    beyond = (middle[:, 0] - square[:, 0] - 1.0) * rise
    rank = np.repeat(np.arange(first.size), sizes)[segment]
    found = _filled(rank, square[:, 1], square[:, 0], beyond, rise)
    whole = origin.astype(np.int64)[found.owner]
    return Coverage(
        owner=loops.owner[first][found.owner],
        row=found.row + whole[:, 1],
        column=found.column + whole[:, 0],
        fraction=found.fraction,
    )


def _cut_at_integers(
    begin: Float[np.ndarray, "segment 2"], end: Float[np.ndarray, "segment 2"]
) -> tuple[Int[np.ndarray, " piece"], Float[np.ndarray, "piece 2"], Float[np.ndarray, "piece 2"]]:
    """Segments cut where they cross the lattice, in order along each."""
    segments = [np.arange(len(begin))]
    times = [np.zeros(len(begin))]
    for axis in range(2):
        low = np.floor(np.minimum(begin[:, axis], end[:, axis])).astype(np.int64) + 1
        high = np.floor(np.maximum(begin[:, axis], end[:, axis])).astype(np.int64)
        which, line = expand(low, high - low + 1)
        start, length = begin[which, axis], end[which, axis] - begin[which, axis]
        segments.append(which)
        times.append(np.clip((line - start) / length, 0.0, 1.0))
    segment, time = np.concatenate(segments), np.concatenate(times)
    order = np.lexsort((time, segment))
    segment, time = segment[order], time[order]
    point = begin[segment] + time[:, None] * (end - begin)[segment]
    last = np.append(segment[1:] != segment[:-1], True)
    point_after = np.append(point[1:], point[:1], axis=0)
    return segment, point, np.where(last[:, None], end[segment], point_after)


def _filled(
    owner: Int[np.ndarray, " piece"],
    row: Int[np.ndarray, " piece"],
    column: Int[np.ndarray, " piece"],
    own: Float[np.ndarray, " piece"],
    rise: Float[np.ndarray, " piece"],
) -> Coverage:
    """Coverage from what each piece adds to its own square and to those beyond it in the row."""
    low_row, low_column = row.min(initial=0), column.min(initial=0)
    columns = int(column.max(initial=0) - low_column + 1)
    rows = int(row.max(initial=0) - low_row + 1)
    line = owner * rows + (row - low_row)
    keys, inverse = np.unique(line * columns + (column - low_column), return_inverse=True)
    own = np.bincount(inverse, own, minlength=keys.size)
    rise = np.bincount(inverse, rise, minlength=keys.size)
    line = keys // columns
    # The rises of a row add up to zero; starting each row anew keeps rounding out of the next.
    total = np.cumsum(rise)
    head = np.flatnonzero(np.diff(line, prepend=-1))
    total -= np.repeat((total - rise)[head], np.diff(np.append(head, keys.size)))
    # Squares between two that edges cross are inside or outside as a whole.
    winding = np.rint(total)
    gap = np.where(np.diff(line, append=-1) == 0, np.diff(keys, append=0) - 1, 0)
    left, inner = expand(keys + 1, np.where(winding == 0, 0, gap))
    key = np.concatenate([keys, inner])
    fraction = np.concatenate([own - (total - rise), -winding[left]])
    order = np.argsort(key, kind="stable")
    key, fraction = key[order], fraction[order]
    line = key // columns
    return Coverage(line // rows, line % rows + low_row, key % columns + low_column, fraction)


def expand(
    start: Int[np.ndarray, " item"], count: Int[np.ndarray, " item"]
) -> tuple[Int[np.ndarray, " member"], Int[np.ndarray, " member"]]:
    """Runs of whole numbers: which item each belongs to, and the numbers."""
    count = np.maximum(count, 0)
    item = np.repeat(np.arange(count.size), count)
    return item, start[item] + np.arange(item.size) - (np.cumsum(count) - count)[item]


def split(
    loops: Loops, distance: Float[np.ndarray, " vertex"], keep_height: bool
) -> tuple[Loops, Loops]:
    """Loops on the sphere cut by a plane: the parts where `distance` is positive and negative.

    A loop that is cut gets an edge along the cut, passed back and forth where it is not convex.

    Args:
        loops: vertices are unit vectors.
        distance: signed distance of each vertex from the plane.
        keep_height: whether cuts keep their height z (planes of one latitude), or follow the great
            circle (planes through the axis).
    """
    following = loops.following()
    after = distance[following]
    crossing = np.sign(distance) * np.sign(after) < 0
    where = np.flatnonzero(crossing)
    time = distance[where] / (distance[where] - after[where])
    start, stop = loops.points[where], loops.points[following[where]]
    cut = np.full_like(loops.points, np.nan)
    cut[where] = on_sphere(start + time[:, None] * (stop - start), keep_height)
    above, below = (_side(loops, keep, cut, crossing) for keep in (distance >= 0, distance <= 0))
    return above, below


def on_sphere(
    points: Float[np.ndarray, "point 3"], keep_height: bool
) -> Float[np.ndarray, "point 3"]:
    """Points of chords moved to the unit sphere, at the same height z or towards the centre."""
    if not keep_height:
        return points / np.linalg.norm(points, axis=-1, keepdims=True)
    radius = np.hypot(points[:, 0], points[:, 1])
    wanted = np.sqrt(np.maximum(1.0 - points[:, 2] ** 2, 0.0))
    scale = np.divide(wanted, radius, out=np.zeros_like(radius), where=radius > 0)
    return np.stack([points[:, 0] * scale, points[:, 1] * scale, points[:, 2]], axis=-1)


def _side(
    loops: Loops,
    keep: Bool[np.ndarray, " vertex"],
    cut: Float[np.ndarray, "vertex 3"],
    crossing: Bool[np.ndarray, " vertex"],
) -> Loops:
    """Kept vertices with the cuts between them, in order."""
    wanted = np.stack([keep, crossing], axis=1).ravel()
    points = np.stack([loops.points, cut], axis=1).reshape(-1, 3)[wanted]
    return Loops(points, np.repeat(loops.owner, 2)[wanted])
