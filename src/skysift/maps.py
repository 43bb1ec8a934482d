"""Sky maps: values with their grid, Stokes parameters, unit and channel names."""

from __future__ import annotations

import enum

import equinox as eqx
import healpy as hp
import jax
import numpy as np
from jaxtyping import Bool, Float

from skysift.grid import UNSEEN, Grid, Ordering, is_unseen, masked_to_nan
from skysift.units import Unit

type_of_values = Float[jax.Array | np.ndarray, "*channel stokes cell"]


class Stokes(enum.Enum):
    """Which Stokes parameters a map holds, in this order, COSMO polarisation convention."""

    I = "I"  # noqa: E741
    QU = "QU"
    IQU = "IQU"

    def __len__(self) -> int:
        return len(self.value)

    @property
    def polarised(self) -> tuple[bool, ...]:
        """For each Stokes parameter whether it is linear polarisation."""
        return tuple(letter != "I" for letter in self.value)


class Maps(eqx.Module):
    """Values on a HEALPix grid.

    Args:
        values: `(channel..., stokes, cell)`; missing values are NaN (UNSEEN becomes NaN at the
            door).
        grid: pixelisation of the last axis.
        stokes: meaning of the axis before it.
        unit: unit of the values.
        channels: names along the first axis, empty where there is no channel axis.

    Raises:
        ValueError: if the shape disagrees with grid, stokes or channels.

    Examples:
        >>> maps = Maps(np.zeros((2, 12)), Grid(1), Stokes.QU)
        >>> maps["Q"].shape
        (12,)
    """

    values: type_of_values
    grid: Grid = eqx.field(static=True)
    stokes: Stokes = eqx.field(static=True)
    unit: Unit = eqx.field(static=True, default=Unit.UK_CMB)
    channels: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self) -> None:
        shape = getattr(self.values, "shape", None)
        if shape is None:  # a pytree placeholder inside a jax transformation
            return
        if len(shape) < 2 or shape[-2:] != (len(self.stokes), self.grid.size):
            raise ValueError(
                f"values: expected shape (..., {len(self.stokes)}, {self.grid.size}) for Stokes "
                f"{self.stokes.value} on {self.grid.size} cells, got {shape}. The last axis is "
                "the cell, "
                "the one before it the Stokes parameter."
            )
        if self.channels and (len(shape) < 3 or shape[-3] != len(self.channels)):
            raise ValueError(
                f"values: expected {len(self.channels)} channels {self.channels}, got shape "
                f"{shape}."
            )

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __getitem__(self, name: str) -> Float[jax.Array | np.ndarray, "..."]:
        """Values of one channel (by name) or of one Stokes parameter (`I`, `Q` or `U`).

        Raises:
            KeyError: if there is neither such a channel nor such a Stokes parameter.
        """
        if name in self.channels:
            return self.values[..., self.channels.index(name), :, :]
        if len(name) == 1 and name in self.stokes.value:
            return self.values[..., self.stokes.value.index(name), :]
        raise KeyError(
            f"{name!r}: expected a channel of {self.channels} or a Stokes parameter of "
            f"{self.stokes.value!r}."
        )

    @staticmethod
    def from_healpix(
        values: Float[np.ndarray, "*channel stokes npix"],
        stokes: Stokes = Stokes.QU,
        *,
        ordering: Ordering = Ordering.RING,
        unit: Unit = Unit.UK_CMB,
        channels: tuple[str, ...] = (),
    ) -> Maps:
        """Maps from full-sky HEALPix arrays; UNSEEN becomes NaN.

        Raises:
            ValueError: if the last axis is no full HEALPix sky.
        """
        values = np.asarray(values, dtype=float)
        if not hp.isnpixok(values.shape[-1]):
            raise ValueError(
                f"values: expected a last axis of 12 nside^2 cells, got {values.shape[-1]}. "
                "For a cut sky give Maps a Grid with cells."
            )
        grid = Grid(hp.npix2nside(values.shape[-1]), ordering)
        return Maps(unseen_to_nan(values), grid, stokes, unit, channels)

    def masked(self, mask: Bool[np.ndarray, " npix"]) -> Maps:
        """The maps on the cells that a full-sky mask keeps.

        Args:
            mask: true where kept, full sky, RING ordering whatever the maps' ordering is.

        Raises:
            ValueError: for a mask of another nside or one that keeps nothing.
        """
        mask = np.asarray(mask)
        if self.grid.ordering is Ordering.NESTED and mask.size == self.grid.npix:
            mask = hp.reorder(mask, r2n=True)
        return self.on(self.grid.restricted(mask))

    def on(self, grid: Grid) -> Maps:
        """The maps on a grid that holds a subset of their cells."""
        if grid == self.grid:
            return self
        return self.replace(self.values[..., grid.positions(self.grid)], grid=grid)

    def reordered(self, ordering: Ordering) -> Maps:
        """The same maps with cells numbered the other way."""
        if ordering is self.grid.ordering:
            return self
        cells = self.grid.nested if ordering is Ordering.NESTED else self.grid.ring
        order = np.argsort(cells)
        grid = Grid(self.grid.nside, ordering, cells[order])
        return self.replace(self.values[..., order], grid=grid)

    def replace(
        self,
        values: type_of_values,
        *,
        grid: Grid | None = None,
        unit: Unit | None = None,
        channels: tuple[str, ...] | None = None,
    ) -> Maps:
        """Maps with other values, everything not named as here."""
        return Maps(
            values,
            self.grid if grid is None else grid,
            self.stokes,
            self.unit if unit is None else unit,
            self.channels if channels is None else channels,
        )

    def full(self) -> Float[np.ndarray, "*channel stokes npix"]:
        """Full-sky arrays as healpy expects them: UNSEEN outside the grid and where missing."""
        return nan_to_unseen(self.grid.full(np.asarray(self.values)))


def unseen_to_nan(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """NaN where values are missing: masked, UNSEEN in single precision or double, or infinite."""
    values = np.asarray(masked_to_nan(values), dtype=float)
    missing = ~np.isfinite(values) | is_unseen(values)
    return np.where(missing, np.nan, values) if missing.any() else values


def nan_to_unseen(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """UNSEEN where values are NaN."""
    values = np.asarray(values)
    return np.where(np.isnan(values), UNSEEN, values)
