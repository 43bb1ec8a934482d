"""Patches: the regions in which a spectral parameter is constant."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Int

from skysift.grid import Grid
from skysift.partitions import (
    AbstractPartition,
    Binned,
    KMeans,
    LabelMap,
    MultiResolution,
    PerCell,
    Uniform,
    parse_partition,
)

__all__ = [
    "AbstractPartition",
    "Binned",
    "KMeans",
    "LabelMap",
    "MultiResolution",
    "Patches",
    "PerCell",
    "Uniform",
    "parse_partition",
    "shuffled",
]

_Values = TypeVar("_Values", np.ndarray, jax.Array)


class Patches(eqx.Module):
    """For each spectral parameter the patch of each cell.

    Args:
        labels: one array per parameter, on the grid's kept cells; whole numbers, contiguous from 0.
        grid: the cells.

    Raises:
        ValueError: for labels of another shape, that are not whole numbers, negative, or with gaps.

    Examples:
        >>> patches = Patches.multires(Grid(4), beta_dust=4, temp_dust=1, beta_pl=0)
        >>> patches.counts
        {'beta_dust': 192, 'temp_dust': 12, 'beta_pl': 1}
        >>> patches.sizes("temp_dust")[:3]
        array([16, 16, 16])
    """

    labels: dict[str, Int[np.ndarray, " cell"]]
    grid: Grid = eqx.field(static=True)
    # Static, because under jit the labels are traced and their order of names is lost.
    _counts: tuple[tuple[str, int], ...] = eqx.field(static=True, init=False)

    def __post_init__(self) -> None:
        self._counts = tuple(
            (name, int(np.max(labels, initial=-1)) + 1) for name, labels in self.labels.items()
        )

    def __check_init__(self) -> None:
        for name, labels in self.labels.items():
            if labels.dtype.kind not in "iu" or labels.shape != (self.grid.size,):
                raise ValueError(
                    f"labels[{name!r}]: expected {self.grid.size} whole numbers, one per kept "
                    f"cell, got {labels.dtype} of shape {labels.shape}."
                )
            if labels.min() < 0 or labels.max() >= labels.size or not np.bincount(labels).all():
                raise ValueError(
                    f"labels[{name!r}]: expected contiguous numbers from 0, got negative ones or "
                    "gaps. Renumber with numpy.unique(labels, return_inverse=True)[1]."
                )

    @staticmethod
    def of(
        where: Grid | Bool[np.ndarray, " npix"],
        /,
        seed: int = 0,
        **partitions: AbstractPartition,
    ) -> Patches:
        """Patches from one partition per parameter.

        Args:
            where: grid, or a full-sky RING mask that is true where kept.
            seed: non-negative; each parameter draws from a stream of its own, that depends on the
                seed and its name alone.
            **partitions: partition of each parameter.

        Raises:
            ValueError: for a mask that keeps nothing or is no HEALPix sky, a negative seed, or a
                partition that does not suit the grid.

        Examples:
            >>> Patches.of(Grid(8), beta_dust=KMeans(20), temp_dust=Uniform()).counts
            {'beta_dust': 20, 'temp_dust': 1}
        """
        grid = where if isinstance(where, Grid) else Grid.from_mask(where)
        labels = {
            name: _contiguous(_labels(name, partition, grid, seed))
            for name, partition in partitions.items()
        }
        return Patches(labels, grid)

    @staticmethod
    def multires(where: Grid | Bool[np.ndarray, " npix"], /, **nsides: int) -> Patches:
        """Patches that are coarser HEALPix cells, numbered in NESTED order.

        Args:
            where: grid, or a full-sky RING mask that is true where kept.
            **nsides: nside of each parameter's patches, 0 for one patch.

        Raises:
            ValueError: for an nside that is no power of two or finer than the grid's.
        """
        partitions: dict[str, AbstractPartition] = {
            name: MultiResolution(nside) for name, nside in nsides.items()
        }
        return Patches.of(where, 0, **partitions)

    @staticmethod
    def kmeans(where: Grid | Bool[np.ndarray, " npix"], /, seed: int = 0, **counts: int) -> Patches:
        """Patches of about equal size by spherical k-means.

        Args:
            where: grid, or a full-sky RING mask that is true where kept.
            seed: the same seed gives the same patches.
            **counts: number of patches of each parameter.

        Raises:
            ValueError: for a count below one or above the number of cells.
        """
        partitions: dict[str, AbstractPartition] = {
            name: KMeans(count) for name, count in counts.items()
        }
        return Patches.of(where, seed, **partitions)

    @staticmethod
    def from_labels(
        where: Grid | Bool[np.ndarray, " npix"], /, **labels: Int[np.ndarray, " cell"]
    ) -> Patches:
        """Patches as the user numbers them.

        Args:
            where: grid, or a full-sky RING mask that is true where kept.
            **labels: for each parameter as `LabelMap` takes them.

        Raises:
            ValueError: as `LabelMap` does.
        """
        partitions: dict[str, AbstractPartition] = {
            name: LabelMap(values) for name, values in labels.items()
        }
        return Patches.of(where, 0, **partitions)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(name for name, _ in self._counts)

    @property
    def counts(self) -> dict[str, int]:
        """Number of patches of each parameter."""
        return dict(self._counts)

    def sizes(self, name: str) -> Int[np.ndarray, " patch"]:
        """Number of cells of each patch of a parameter."""
        return np.bincount(self._require(name))

    def expand(self, name: str, values: _Values) -> _Values:
        """Values on the cells from values on the patches.

        Args:
            name: parameter.
            values: one per patch.

        Raises:
            ValueError: for an unknown parameter or another number of values.
        """
        labels = self._require(name)
        if values.shape != (self.counts[name],):
            raise ValueError(
                f"values: expected one for each of the {self.counts[name]} patches of {name}, got "
                f"shape {values.shape}."
            )
        return values[labels]

    def restricted(self, grid: Grid) -> Patches:
        """The patches on a part of the cells, renumbered without those that are left empty.

        Raises:
            ValueError: if the grid has cells that the patches lack.
        """
        where = grid.positions(self.grid)
        labels = {name: _contiguous(labels[where]) for name, labels in self.labels.items()}
        return Patches(labels, grid)

    def _require(self, name: str) -> Int[np.ndarray, " cell"]:
        if name not in self.labels:
            raise ValueError(f"name: expected one of {self.parameters}, got {name!r}.")
        return self.labels[name]


def shuffled(labels: Int[np.ndarray, " cell"], seed: int = 0) -> Int[np.ndarray, " cell"]:
    """Labels with their numbers permuted, so that neighbouring patches differ in colour."""
    return np.random.default_rng(seed).permutation(int(np.max(labels)) + 1)[labels]


def _labels(
    name: str, partition: AbstractPartition, grid: Grid, seed: int
) -> Int[np.ndarray, " cell"]:
    """Raw labels of one parameter, with its name in what goes wrong."""
    if not isinstance(partition, AbstractPartition):
        raise ValueError(
            f"{name}: expected a partition such as KMeans(1500), got {partition!r}. "
            "Read text with parse_partition."
        )
    try:
        return partition.labels(grid, _stream(seed, name))
    except ValueError as error:
        raise ValueError(f"patches of {name}: {error}") from error


def _stream(seed: int, name: str) -> np.random.SeedSequence:
    """Random stream of a parameter: equal counts must not give two parameters the same patches."""
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed: expected a whole number from 0 on, got {seed!r}.")
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.SeedSequence(int(seed), spawn_key=tuple(digest[:8]))


def _contiguous(labels: Int[np.ndarray, " cell"]) -> Int[np.ndarray, " cell"]:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64, copy=False)
