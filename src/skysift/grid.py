"""The HEALPix pixelisation a map lives on."""

from __future__ import annotations

import enum
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import healpy as hp
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

UNSEEN = hp.UNSEEN


def is_unseen(values: Float[np.ndarray | jax.Array, "..."]) -> Bool[np.ndarray | jax.Array, "..."]:
    """Whether values are UNSEEN, within the rounding of single precision."""
    return abs(values - UNSEEN) <= 1e-5 * abs(UNSEEN)


def masked_to_nan(values: Any) -> np.ndarray:
    """NumPy array of values, which become real numbers with NaN where some are masked."""
    if np.ma.is_masked(values) and values.dtype.kind in "biuf":
        return np.ma.filled(values.astype(np.result_type(values, np.float32)), np.nan)
    return np.asarray(values)


class Ordering(enum.Enum):
    """Numbering of the HEALPix cells."""

    RING = "RING"
    NESTED = "NESTED"


@dataclass(frozen=True, eq=False)
class Grid:
    """HEALPix pixelisation, of the full sky or of a cut sky.

    Grids are equal when nside, ordering and kept cells are; the comparison and the hash use a
    digest computed once, so that a grid of a million cells is cheap as a static field under
    `jax.jit`.

    Args:
        nside: HEALPix resolution, a power of two; `None` for values without a place on the sphere
            (then `cells` says how many there are and there are no directions).
        ordering: numbering of the cells.
        cells: sorted numbers of the kept cells, or `None` for the full sky.

    Raises:
        ValueError: for an nside that is not a power of two, or cells that are not sorted, unique
            and inside the sphere.

    Examples:
        >>> grid = Grid(64)
        >>> grid.size, round(grid.resolution, 2)
        (49152, 54.97)
    """

    nside: int | None
    ordering: Ordering = Ordering.RING
    cells: Int[np.ndarray, " cell"] | None = None

    def __post_init__(self) -> None:
        if self.nside is not None and not (
            isinstance(self.nside, (int, np.integer)) and hp.isnsideok(self.nside, nest=True)
        ):
            raise ValueError(
                f"nside: expected a power of two such as 64, got {self.nside!r}. Regrade the maps "
                "first."
            )
        if self.cells is None:
            if self.nside is None:
                raise ValueError(
                    "cells: expected an array when nside is None, got None. Give one of the two."
                )
            return
        cells = np.array(self.cells, dtype=np.int64)
        upper = cells.size if self.nside is None else hp.nside2npix(self.nside)
        if cells.ndim != 1 or (
            cells.size and (cells[0] < 0 or cells[-1] >= upper or np.any(np.diff(cells) <= 0))
        ):
            raise ValueError(
                f"cells: expected sorted, unique numbers from 0 to {upper - 1}, got shape "
                f"{cells.shape}"
                " with others. Use numpy.unique, or Grid.from_mask."
            )
        if self.nside is not None and cells.size == upper:
            object.__setattr__(self, "cells", None)
            return
        cells.flags.writeable = False
        object.__setattr__(self, "cells", cells)

    @staticmethod
    def from_mask(mask: Bool[np.ndarray, " npix"], ordering: Ordering = Ordering.RING) -> Grid:
        """Grid of the cells where a full-sky mask is true.

        Raises:
            ValueError: if the mask is no full HEALPix sky or keeps nothing.
        """
        mask = np.asarray(mask)
        if mask.ndim != 1 or not hp.isnpixok(mask.size):
            raise ValueError(
                f"mask: expected a full sky of 12 nside^2 cells, got shape {mask.shape}. "
                "Fill the cells that are missing with False."
            )
        if mask.dtype != np.bool_:
            raise ValueError(
                f"mask: expected booleans, got {mask.dtype}. Threshold it, for instance mask > 0.5."
            )
        cells = np.flatnonzero(mask)
        if cells.size == 0:
            raise ValueError(
                "mask: expected at least one kept cell, got none. Choose a larger region."
            )
        return Grid(hp.npix2nside(mask.size), ordering, cells)

    @staticmethod
    def unstructured(size: int) -> Grid:
        """Cells without a place on the sphere, for arrays that are no HEALPix map."""
        return Grid(None, Ordering.RING, np.arange(size))

    @functools.cached_property
    def digest(self) -> str:
        """Short hash of what the grid is."""
        head = f"{self.nside}/{self.ordering.value}/".encode()
        kept = b"full" if self.cells is None else self.cells.tobytes()
        return hashlib.sha256(head + kept).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.digest == other.digest

    @property
    def level(self) -> int:
        """HEALPix level, log2(nside)."""
        return int(self.require_nside()).bit_length() - 1

    @property
    def npix(self) -> int:
        """Number of cells of the full sphere at this nside."""
        return hp.nside2npix(self.require_nside())

    @property
    def size(self) -> int:
        """Number of kept cells."""
        return self.npix if self.cells is None else self.cells.size

    @property
    def fsky(self) -> float:
        """Fraction of the sphere that is kept."""
        return self.size / self.npix

    @property
    def resolution(self) -> float:
        """Square root of the cell area [arcmin]."""
        return float(hp.nside2resol(self.require_nside(), arcmin=True))

    @functools.cached_property
    def index(self) -> Int[np.ndarray, " cell"]:
        """Numbers of the kept cells in this grid's ordering."""
        return np.arange(self.npix) if self.cells is None else self.cells

    @functools.cached_property
    def ring(self) -> Int[np.ndarray, " cell"]:
        """Numbers of the kept cells in RING ordering."""
        if self.ordering is Ordering.RING:
            return self.index
        return hp.nest2ring(self.require_nside(), self.index)

    @functools.cached_property
    def nested(self) -> Int[np.ndarray, " cell"]:
        """Numbers of the kept cells in NESTED ordering."""
        if self.ordering is Ordering.NESTED:
            return self.index
        return hp.ring2nest(self.require_nside(), self.index)

    @property
    def mask(self) -> Bool[np.ndarray, " npix"]:
        """Full-sky mask of the kept cells, in this grid's ordering."""
        mask = np.zeros(self.npix, dtype=bool)
        mask[self.index] = True
        return mask

    def vectors(self) -> Float[np.ndarray, "cell 3"]:
        """Unit vectors of the cell centres."""
        return np.stack(hp.pix2vec(self.require_nside(), self.ring), axis=-1)

    def lonlat(self) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
        """Longitude and latitude of the cell centres [degrees]."""
        lon, lat = hp.pix2ang(self.require_nside(), self.ring, lonlat=True)
        return lon, lat

    def parents(self, nside: int) -> Int[np.ndarray, " cell"]:
        """NESTED number of the coarser cell that holds each kept cell.

        Raises:
            ValueError: if `nside` is finer than the grid's.
        """
        own = self.require_nside()
        if not hp.isnsideok(nside, nest=True) or nside > own:
            raise ValueError(
                f"nside: expected a power of two up to the maps' {own}, got {nside}. "
                f"Use nside={own} for one value per cell."
            )
        return self.nested // (own // nside) ** 2

    def restricted(self, mask: Bool[np.ndarray, " npix"]) -> Grid:
        """The kept cells that a full-sky mask in this grid's ordering keeps too.

        Raises:
            ValueError: if the mask is of another nside, or nothing is left.
        """
        other = Grid.from_mask(mask, self.ordering)
        if other.nside != self.nside:
            raise ValueError(
                f"mask: expected nside {self.nside} ({self.npix} cells) as the maps have, got "
                "nside "
                f"{other.nside}. Make the mask at nside {self.nside}."
            )
        return Grid.from_mask(self.mask & np.asarray(mask), self.ordering)

    def positions(self, within: Grid) -> Int[np.ndarray, " cell"]:
        """Where this grid's cells stand in the arrays of a larger grid.

        Raises:
            ValueError: if this grid has cells that the larger one lacks, or another nside or
                ordering.
        """
        if (self.nside, self.ordering) != (within.nside, within.ordering):
            raise ValueError(
                f"grid: expected nside {within.nside} {within.ordering.value}, got nside "
                f"{self.nside} "
                f"{self.ordering.value}. Reorder or regrade one of the two."
            )
        where = np.searchsorted(within.index, self.index)
        inside = where < within.size
        if not inside.all() or np.any(within.index[where] != self.index):
            raise ValueError(
                "grid: expected cells that the maps hold, got others. Restrict it to the maps' "
                "cells."
            )
        return where

    def full(self, values: Float[np.ndarray, "... cell"]) -> Float[np.ndarray, "... npix"]:
        """Values of the kept cells on the full sphere, UNSEEN elsewhere, this grid's ordering."""
        values = np.asarray(values)
        if self.cells is None or self.nside is None:
            return values
        out = np.full((*values.shape[:-1], self.npix), UNSEEN, dtype=float)
        out[..., self.index] = values
        return out

    def require_nside(self) -> int:
        """The nside.

        Raises:
            ValueError: if the cells have no place on the sphere.
        """
        if self.nside is None:
            raise ValueError(
                "grid: expected cells with a place on the sphere, got bare arrays without nside. "
                "Put the values in Maps with a Grid."
            )
        return self.nside
