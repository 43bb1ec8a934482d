"""Partitions: the ways to divide the cells of a grid into patches."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import final

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering
from skysift.healpix_file import read_column
from skysift.healpix_table import Frame, MapFormat
from skysift.kmeans import spherical_kmeans
from skysift.maps import unseen_to_nan


class AbstractPartition(abc.ABC):
    """A way to divide the cells of a grid into patches."""

    @abc.abstractmethod
    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """Integers that are equal where cells share a patch; they may have gaps.

        Args:
            grid: cells to divide.
            seed: source of random numbers, for the partitions that draw any.
        """


@final
@dataclass(frozen=True)
class MultiResolution(AbstractPartition):
    """Patches are the cells of a coarser HEALPix grid.

    Args:
        nside: of the coarser grid; 0 for one patch.

    Raises:
        ValueError: if it is neither 0 nor a power of two; if it is finer than the grid.
    """

    nside: int

    def __post_init__(self) -> None:
        whole = isinstance(self.nside, (int, np.integer)) and not isinstance(self.nside, bool)
        if not whole or not (self.nside == 0 or hp.isnsideok(self.nside, nest=True)):
            raise ValueError(
                f"nside: expected a power of two, or 0 for one patch, got {self.nside!r}."
            )

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """NESTED number of the coarser cell."""
        return np.zeros(grid.size, dtype=np.int64) if self.nside == 0 else grid.parents(self.nside)


@final
@dataclass(frozen=True)
class KMeans(AbstractPartition):
    """Patches of about equal size and round shape, by spherical k-means.

    Args:
        count: number of patches.

    Raises:
        ValueError: if it is no positive whole number; if the grid has fewer cells.
    """

    count: int

    def __post_init__(self) -> None:
        _require_positive("count", self.count)

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """Cluster of each cell; the same in RING and NESTED ordering."""
        order = np.argsort(grid.ring)
        labels = np.empty(grid.size, dtype=np.int64)
        clusters, _ = spherical_kmeans(
            grid.vectors()[order], self.count, np.random.default_rng(seed)
        )
        labels[order] = clusters
        return labels


@final
@dataclass(frozen=True, eq=False)
class LabelMap(AbstractPartition):
    """Patches as the user numbers them.

    Args:
        values: whole numbers, contiguous from 0, on the grid's cells or on the full sky. On the
            full sky, cells outside the grid may be missing (NaN, UNSEEN or negative), and labels
            that do not occur on the grid are dropped, the others renumbered in the same order.
        ordering: of a full-sky array; `None` if it is the grid's.

    Raises:
        ValueError: for another shape, values that are not whole, missing or negative on the grid,
            or gaps.
    """

    values: Int[np.ndarray, " cell"] | Float[np.ndarray, " cell"]
    ordering: Ordering | None = None

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """The labels of the grid's cells."""
        fix = "Renumber with numpy.unique(labels, return_inverse=True)[1]."
        everywhere = np.asarray(self.values)
        if everywhere.dtype.kind not in "iuf":
            raise ValueError(f"labels: expected whole numbers, got {everywhere.dtype}.")
        here = _on_cells("labels", everywhere, self.ordering, grid)
        if np.isnan(here).any():
            raise ValueError(
                f"labels: expected a label on each kept cell, got {np.isnan(here).sum()} missing "
                "(NaN or UNSEEN). Leave those cells out of the mask."
            )
        if np.any(here != np.floor(here)):
            raise ValueError(f"labels: expected whole numbers, got fractions. {fix}")
        if here.min() < 0:
            raise ValueError(
                f"labels: expected numbers from 0 on, got {here.min():.0f} on a kept cell. {fix}"
            )
        known = unseen_to_nan(everywhere)
        used = np.unique(known[np.isfinite(known) & (known >= 0)])
        if used[-1] != used.size - 1:
            raise ValueError(
                f"labels: expected contiguous numbers from 0 to {used.size - 1}, got {used.size} "
                f"different numbers from {used[0]:.0f} to {used[-1]:.0f}. {fix}"
            )
        return here.astype(np.int64)


@final
@dataclass(frozen=True, eq=False)
class Binned(AbstractPartition):
    """Patches of similar value: equal-width bins of a map, such as an earlier fit's parameter.

    Args:
        values: on the grid's cells or on the full sky.
        bins: number of bins between the least and the largest value on the grid; the largest
            belongs to the last bin, and empty bins are dropped.
        ordering: of a full-sky array; `None` if it is the grid's.

    Raises:
        ValueError: for no positive number of bins, another shape, or missing values on the grid.
    """

    values: Float[np.ndarray, " cell"]
    bins: int
    ordering: Ordering | None = None

    def __post_init__(self) -> None:
        _require_positive("bins", self.bins)

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """Number of the bin."""
        values = _on_cells("values", np.asarray(self.values), self.ordering, grid)
        if np.isnan(values).any():
            raise ValueError(
                f"values: expected a value on each kept cell, got {np.isnan(values).sum()} missing "
                "(NaN or UNSEEN). Leave those cells out of the mask, or fill them."
            )
        low, high = values.min(), values.max()
        if low == high:
            return np.zeros(grid.size, dtype=np.int64)
        place = np.floor((values - low) / (high - low) * self.bins).astype(np.int64)
        return np.minimum(place, self.bins - 1)


@final
@dataclass(frozen=True)
class PerCell(AbstractPartition):
    """Each cell is a patch."""

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """Position of each cell."""
        return np.arange(grid.size)


@final
@dataclass(frozen=True)
class Uniform(AbstractPartition):
    """One patch holds all cells."""

    def labels(self, grid: Grid, seed: np.random.SeedSequence) -> Int[np.ndarray, " cell"]:
        """Zeros."""
        return np.zeros(grid.size, dtype=np.int64)


def parse_partition(text: str, *, frame: Frame = Frame.GALACTIC) -> AbstractPartition:
    """Read a partition as written on the command line.

    Args:
        text: `nside:64`, `kmeans:1500`, `uniform`, `cell`, `file:labels.fits` (or `.npy`), or
            `binned:50:map.fits` (or `.npy`). Files are read at once. They hold the full sky, in
            RING ordering where the file does not say; a `.npy` may hold the grid's cells instead.
        frame: coordinates that FITS files must have; one that names none has these.

    Raises:
        ValueError: for anything else, or a file that cannot be read.

    Examples:
        >>> parse_partition("kmeans:1500")
        KMeans(count=1500)
    """
    kind, _, rest = text.strip().partition(":")
    match kind, rest:
        case "uniform", "":
            return Uniform()
        case "cell", "":
            return PerCell()
        case "nside", rest:
            return MultiResolution(_whole(text, rest))
        case "kmeans", rest:
            return KMeans(_whole(text, rest))
        case "file", rest if rest:
            return LabelMap(_read(rest, frame), Ordering.RING)
        case "binned", rest if ":" in rest:
            bins, _, path = rest.partition(":")
            return Binned(_read(path, frame), _whole(text, bins), Ordering.RING)
    raise ValueError(
        f"partition: expected 'nside:64', 'kmeans:1500', 'uniform', 'cell', 'file:labels.fits' or "
        f"'binned:50:map.fits', got {text!r}."
    )


def _whole(text: str, number: str) -> int:
    try:
        return int(number)
    except ValueError:
        raise ValueError(
            f"partition: expected a whole number as in 'kmeans:1500', got {number!r} in {text!r}."
        ) from None


def _read(name: str, frame: Frame) -> Float[np.ndarray, " cell"]:
    """Values of a file: the first column of a HEALPix FITS map as full-sky RING, or an array."""
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"partition: expected a FITS or npy file, got {name!r}, where there is none."
        )
    if path.suffix != ".npy":
        return read_column(path, expected=MapFormat(frame=frame))
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"partition: could not read {name!r}: {error}. Write it again with numpy.save."
        ) from error


def _require_positive(name: str, number: int) -> None:
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    if not whole or number < 1:
        raise ValueError(f"{name}: expected a positive whole number, got {number!r}.")


def _on_cells(
    name: str, values: Float[np.ndarray, " any"], ordering: Ordering | None, grid: Grid
) -> Float[np.ndarray, " cell"]:
    """Values on the grid's cells, NaN where missing, from those or from the full sky.

    Raises:
        ValueError: for an array of neither size.
    """
    full = None if grid.nside is None else grid.npix
    if values.shape == (full,):
        other = ordering is not None and ordering is not grid.ordering
        values = values[_cells(grid, ordering) if other else grid.index]
    elif values.shape != (grid.size,):
        raise ValueError(
            f"{name}: expected {grid.size} values on the kept cells"
            + ("" if full is None else f", or {full} on the full sky")
            + f", got shape {values.shape}. Regrade or cut them to the grid of the maps."
        )
    return unseen_to_nan(values)


def _cells(grid: Grid, ordering: Ordering | None) -> Int[np.ndarray, " cell"]:
    return grid.ring if ordering is Ordering.RING else grid.nested
