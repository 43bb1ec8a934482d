"""Finer and coarser grids: what a map adds up to stays what it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering, masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.resample.check import check_choice, check_level

_MOST_CELLS = 2**31
"""Cells of a result: 16 GiB for each row of values."""


class Quantity(enum.Enum):
    """What the value of a cell is, which says what is conserved.

    `INTENSIVE`: a density such as a temperature; the mean of its parts. `EXTENSIVE`: an amount such
    as a number of photons; the sum of its parts.
    """

    INTENSIVE = "intensive"
    EXTENSIVE = "extensive"


@dataclass(frozen=True, eq=False)
class Regraded:
    """Values on a finer or coarser grid.

    Args:
        values: NaN where too little is known.
        grid: cells that hold a cell of the former grid, or are held by one.
        coverage: fraction of each cell for which there were values. The integral of an intensive
            field is the sum of value, coverage and area of a cell.
    """

    values: Float[np.ndarray, "... cell"]
    grid: Grid
    coverage: Float[np.ndarray, "... cell"]


def regrade(
    values: Float[np.ndarray, "... cell"],
    grid: Grid,
    level: int,
    *,
    quantity: Quantity | str = Quantity.INTENSIVE,
    min_coverage: float = 0.0,
) -> Regraded:
    """Values on the grid of another level, of the full or of a cut sky.

    A coarser cell has the mean (or sum) of those of its parts that have a value, a finer cell the
    value of the cell that holds it (or its share). Integrals, and sums of amounts, are conserved to
    rounding; going down again undoes going up.

    Args:
        values: one per cell of the grid; masked, NaN, infinite and UNSEEN are missing.
        grid: cells of the last axis.
        level: log2(nside) of the result.
        quantity: whether values are means (`"intensive"`) or amounts (`"extensive"`).
        min_coverage: coarser cells of which a smaller fraction is known become NaN. This gives up
            conservation.

    Raises:
        ValueError: for values of another size than the grid, a level out of range or with too
            many cells, an unknown quantity, or a fraction that is not between 0 and 1.

    Examples:
        >>> field = np.arange(48.0)
        >>> coarse = regrade(field, Grid(2, Ordering.NESTED), 0)
        >>> coarse.values[:3]
        array([1.5, 5.5, 9.5])
        >>> amounts = regrade(field, Grid(2, Ordering.NESTED), 0, quantity="extensive")
        >>> float(amounts.values.sum()), float(field.sum())
        (1128.0, 1128.0)
    """
    level = check_level(level)
    quantity = check_choice("quantity", Quantity, quantity)
    if not 0.0 <= min_coverage <= 1.0:
        raise ValueError(
            f"min_coverage: expected a fraction from 0 to 1, got {min_coverage}. Use 1 for cells "
            "that are known as a whole."
        )
    own = grid.level
    values = masked_to_nan(values)
    if values.dtype.kind not in "iufb":
        raise ValueError(
            f"values: expected real numbers, got {values.dtype}. Regrade real and imaginary parts "
            "on their own."
        )
    values = unseen_to_nan(values)
    if values.ndim == 0 or values.shape[-1] != grid.size:
        raise ValueError(
            f"values: expected {grid.size} cells along the last axis, as the grid has, got shape "
            f"{values.shape}. Move the axis of cells to the end."
        )
    steps = level - own
    if grid.size << 2 * max(steps, 0) > _MOST_CELLS:
        raise ValueError(
            f"level: expected one with at most {_MOST_CELLS:,} cells, got {level}, with "
            f"{grid.size << 2 * steps:,} for {grid.size:,} of level {own}. Choose a lower level, "
            "or fewer cells."
        )
    coarser = _coarser if steps < 0 else _finer
    cells, values, coverage = coarser(values, grid.nested, abs(steps), quantity)
    values = np.where(coverage < min_coverage, np.nan, values)
    return _on_grid(cells, values, coverage, level, grid.ordering)


def _coarser(
    values: Float[np.ndarray, "... cell"],
    nested: Int[np.ndarray, " cell"],
    steps: int,
    quantity: Quantity,
) -> tuple[
    Int[np.ndarray, " parent"], Float[np.ndarray, "... parent"], Float[np.ndarray, "... parent"]
]:
    """Parents, their values and how much of each is known."""
    order = np.argsort(nested, kind="stable")
    parents, starts = np.unique(nested[order] >> 2 * steps, return_index=True)
    values = values[..., order]
    known = np.isfinite(values)
    count = np.add.reduceat(known, starts, axis=-1, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0.0), starts, axis=-1)
    if quantity is Quantity.INTENSIVE:
        total = total / np.maximum(count, 1)
    return parents, np.where(count > 0, total, np.nan), count / 4.0**steps


def _finer(
    values: Float[np.ndarray, "... cell"],
    nested: Int[np.ndarray, " cell"],
    steps: int,
    quantity: Quantity,
) -> tuple[
    Int[np.ndarray, " child"], Float[np.ndarray, "... child"], Float[np.ndarray, "... child"]
]:
    """Children, their values and whether each is known."""
    share = 4**steps
    children = ((nested << 2 * steps)[:, None] + np.arange(share)).ravel()
    values = np.repeat(values, share, axis=-1)
    if quantity is Quantity.EXTENSIVE:
        values = values / share
    return children, values, np.isfinite(values).astype(float)


def _on_grid(
    nested: Int[np.ndarray, " cell"],
    values: Float[np.ndarray, "... cell"],
    coverage: Float[np.ndarray, "... cell"],
    level: int,
    ordering: Ordering,
) -> Regraded:
    """Cells in the order of a grid."""
    nside = 1 << level
    cells = nested if ordering is Ordering.NESTED else hp.nest2ring(nside, nested)
    order = np.argsort(cells)
    return Regraded(values[..., order], Grid(nside, ordering, cells[order]), coverage[..., order])
