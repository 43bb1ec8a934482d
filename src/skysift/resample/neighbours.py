"""The HEALPix cells around samples, found by whole patches of the pixelisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

# Samples in a run, and at most as many pairs of a sample and a cell near it: what a run takes has a
# bound that does not depend on how far its samples reach.
_ROWS = 16384
_PAIRS = 49 * _ROWS

_MAX_PATCH_LEVEL = 4

# For each of the nine directions (S, SE, E, SW, centre, NE, W, NW, N) and each face the face next
# to it, or -1, and for the rows of faces (north, equator, south) how its axes lie: 1 flips x, 2
# flips y, 4 then exchanges them. From healpix_base.cc of HEALPix C++ (Gorski et al. 2005).
_FACE = np.array(
    [
        [8, 9, 10, 11, -1, -1, -1, -1, 10, 11, 8, 9],
        [5, 6, 7, 4, 8, 9, 10, 11, 9, 10, 11, 8],
        [-1, -1, -1, -1, 5, 6, 7, 4, -1, -1, -1, -1],
        [4, 5, 6, 7, 11, 8, 9, 10, 11, 8, 9, 10],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        [1, 2, 3, 0, 0, 1, 2, 3, 5, 6, 7, 4],
        [-1, -1, -1, -1, 7, 4, 5, 6, -1, -1, -1, -1],
        [3, 0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7],
        [2, 3, 0, 1, -1, -1, -1, -1, 0, 1, 2, 3],
    ]
)
_AXES = np.array(
    [
        [0, 0, 3],
        [0, 0, 6],
        [0, 0, 0],
        [0, 0, 5],
        [0, 0, 0],
        [5, 0, 0],
        [0, 0, 0],
        [6, 0, 0],
        [3, 0, 0],
    ]
)


@dataclass(frozen=True)
class Neighbourhood:
    """Cells around a run of samples.

    Args:
        rows: which samples.
        ids: sorted NESTED numbers of the cells around any of them, after a first -1 that stands
            for no cell.
        table: positions in `ids` of the cells of all patches.
        first: for each sample where its cells start in the table.
        steps: what to add to `first` for each of a sample's cells; in a square block of
            2 * rings + 1 cells, row by row, or all cells of the sphere at the coarsest levels.
    """

    rows: slice
    ids: Int[np.ndarray, " cell"]
    table: Int[np.ndarray, " entry"]
    first: Int[np.ndarray, " sample"]
    steps: Int[np.ndarray, " near"]

    def near(self) -> Int[np.ndarray, "sample near"]:
        """Positions in `ids` of the cells around each sample; 0 where there is none."""
        return self.table[self.first[:, None] + self.steps]


def rings_for(npt: int) -> int:
    """Rings of cells that hold the nearest `npt` cells of any point of the middle one."""
    return max(3, int(np.ceil(0.5 * (np.sqrt(npt) - 1.0))) + 2)


def neighbourhoods(
    own: Int[np.ndarray, " sample"], level: int, rings: int
) -> Iterator[Neighbourhood]:
    """Cells within some rings around the samples' own cells, for runs of samples.

    Args:
        own: sorted NESTED numbers of the cells that hold the samples.
        level: their HEALPix level.
        rings: how far to go in each direction.
    """
    whole = (1 << level) < rings
    near = 12 << (2 * level) if whole else (2 * rings + 1) ** 2
    step = min(max(_PAIRS // near, 1), _ROWS)
    for start in range(0, own.size, step):
        rows = slice(start, min(start + step, own.size))
        if whole:
            yield _whole_sphere(rows, level)
        else:
            yield _around(own[rows], rows, level, rings)


def place_in_face(
    cells: Int[np.ndarray, " cell"], nside: int
) -> tuple[Int[np.ndarray, " cell"], Int[np.ndarray, " cell"], Int[np.ndarray, " cell"]]:
    """Coordinates x and y in its base cell, and number of the base cell, of NESTED cells."""
    x, y, face = hp.pix2xyf(nside, cells, nest=True)
    return np.asarray(x), np.asarray(y), np.asarray(face)


def squared_chords(
    here: Float[np.ndarray, "3 sample"],
    where: Float[np.ndarray, "3 cell"],
    near: Int[np.ndarray, "sample near"],
) -> Float[np.ndarray, "sample near"]:
    """Squared straight distance from each sample to the cells near it."""
    total = np.zeros(near.shape)
    for sample, cell in zip(here, where, strict=True):
        difference = cell[near]
        difference -= sample[:, None]
        difference *= difference
        total += difference
    return total


def _whole_sphere(rows: slice, level: int) -> Neighbourhood:
    npix = 12 << (2 * level)
    every = np.arange(npix + 1)
    count = rows.stop - rows.start
    return Neighbourhood(rows, every - 1, every, np.ones(count, dtype=np.int64), every[:-1])


def _around(own: Int[np.ndarray, " sample"], rows: slice, level: int, rings: int) -> Neighbourhood:
    """Neighbourhood from patches: squares of cells with a margin of `rings` cells."""
    shift, patches = _patches(own, level, rings)
    side = 1 << shift
    width = side + 2 * rings
    nside = 1 << level
    x, y, face = place_in_face(patches, nside >> shift)
    reach = np.arange(-rings, side + rings)
    cells = _wrapped(
        (x[:, None, None] << shift) + reach,
        (y[:, None, None] << shift) + reach[:, None],
        face[:, None, None],
        nside,
    ).ravel()
    ids = sorted_unique(np.append(cells, -1))
    own_x, own_y, _ = place_in_face(own, nside)
    patch = np.searchsorted(patches, own >> (2 * shift))
    first = patch * width**2 + (own_y & (side - 1)) * width + (own_x & (side - 1))
    block = np.arange(2 * rings + 1)
    steps = (block[:, None] * width + block).ravel()
    return Neighbourhood(rows, ids, np.searchsorted(ids, cells), first, steps)


def _patches(
    own: Int[np.ndarray, " sample"], level: int, rings: int
) -> tuple[int, Int[np.ndarray, " patch"]]:
    """Size (as levels above the cells) and numbers of the patches that cost least."""
    best, chosen, cost = 0, own[:0], np.inf
    for shift in range(min(level, _MAX_PATCH_LEVEL) + 1):
        patches = _distinct(own >> (2 * shift))
        size = patches.size * ((1 << shift) + 2 * rings) ** 2
        if size < cost:
            best, chosen, cost = shift, patches, size
    return best, chosen


def _wrapped(
    x: Int[np.ndarray, "..."], y: Int[np.ndarray, "..."], face: Int[np.ndarray, "..."], nside: int
) -> Int[np.ndarray, "..."]:
    """NESTED number of a cell given by coordinates that may lie beyond its face; -1 for none."""
    x, y, face = np.broadcast_arrays(x, y, face)
    direction = 4 + (x >= nside) - (x < 0) + 3 * (y >= nside) - 3 * (y < 0.0)
    x, y = x & (nside - 1), y & (nside - 1)
    outside = direction != 4
    if not outside.any():
        return hp.xyf2pix(nside, x, y, face, nest=True)
    axes = _AXES[direction[outside], face[outside] >> 2]
    last = nside - 1
    flipped_x = np.where(axes & 1, last - x[outside], x[outside])
    flipped_y = np.where(axes & 2, last - y[outside], y[outside])
    swap = (axes & 4) > 0
    x[outside] = np.where(swap, flipped_y, flipped_x)
    y[outside] = np.where(swap, flipped_x, flipped_y)
    target = face.copy()
    target[outside] = _FACE[direction[outside], face[outside]]
    exists = target >= 0
    return np.where(exists, hp.xyf2pix(nside, x, y, np.maximum(target, 0), nest=True), -1)


def border(parent: int, levels: int) -> Int[np.ndarray, " cell"]:
    """NESTED cells some levels below a parent that touch its edges."""
    side = 1 << levels
    along, low = np.arange(side), np.zeros(side, dtype=int)
    high = low + side - 1
    x, y = np.concatenate([along, along, low, high]), np.concatenate([low, high, along, along])
    return np.unique((parent << 2 * levels) + hp.xyf2pix(side, x, y, 0 * x, nest=True))


def grown(cells: Int[np.ndarray, " cell"], level: int, rings: int) -> Int[np.ndarray, " cell"]:
    """NESTED cells and some rings of neighbours around them, sorted.

    Examples:
        >>> grown(np.array([0]), 1, 1).tolist()
        [0, 1, 2, 3, 17, 19, 22, 23, 35]
    """
    cells = np.unique(cells)
    edge = cells
    for _ in range(rings):
        near = np.unique(hp.get_all_neighbours(1 << level, edge, nest=True))
        edge = np.setdiff1d(near[near >= 0], cells, assume_unique=True)
        cells = np.union1d(cells, edge)
    return cells


def sorted_unique(values: Int[np.ndarray, " value"]) -> Int[np.ndarray, " value"]:
    """Sorted distinct values (faster than numpy.unique, which hashes integers)."""
    return _distinct(np.sort(values, axis=None))


def _distinct(ascending: Int[np.ndarray, " value"]) -> Int[np.ndarray, " value"]:
    new = np.ones(ascending.size, dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    return ascending[new]
