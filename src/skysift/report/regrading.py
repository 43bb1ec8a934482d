"""The page of cells brought onto another level: what became of them, and what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.report.resample_figures import CellMap, Scale
from skysift.report.sheet import (
    UNKNOWN,
    Listing,
    Origin,
    Picture,
    Sheet,
    Tile,
    number,
    write_sheet,
)
from skysift.resample import Quantity

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class RegradeView:
    """What the page shows.

    Args:
        source: file of the former cells.
        former_level: of the former cells.
        former_size: their number.
        grid: the cells.
        quantity: whether values are means or amounts.
        rows: a title for each row of values.
        units: of the rows.
        values: of the cells.
        coverage: part of each cell for which there were values.
        totals: integral of each row over the sphere before and after; of amounts their sum.
    """

    source: str
    former_level: int
    former_size: int
    grid: Grid
    quantity: Quantity
    rows: tuple[str, ...]
    units: tuple[str, ...]
    values: Float[np.ndarray, "row cell"]
    coverage: Float[np.ndarray, "row cell"]
    totals: Float[np.ndarray, "row 2"]

    @property
    def levels(self) -> tuple[int, int]:
        """Of the former cells and of the cells."""
        return self.former_level, self.grid.level

    @property
    def change(self) -> Float[np.ndarray, " row"]:
        """Relative change of the total of each row; 0 of what adds up to nothing."""
        before, after = self.totals.T
        scale = np.where(before == 0.0, 1.0, np.abs(before))
        return (after - before) / scale


def write_regrade_page(path: str | Path, view: RegradeView, *, origin: Origin = UNKNOWN) -> Path:
    """Write the page.

    Args:
        path: of the HTML file.
        view: what it shows.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    former, now = view.levels
    sheet = Sheet(
        title="Regrading",
        lead=f"{Path(view.source).name} · level {former} to {now} · {view.quantity.value}",
        verdict="Coarser" if now < former else "Finer" if now > former else "Unchanged",
        good=True,
        tiles=(
            Tile("former cells", f"{view.former_size:,}", f"of level {former}"),
            Tile("cells", f"{view.grid.size:,}", f"of level {now}"),
            Tile(
                "coverage", f"{view.coverage.mean():.2%}", "of the cells' areas with former values"
            ),
            Tile("total", f"{np.abs(view.change).max():.1e}", "largest relative change of a row"),
        ),
        tables=(_table(view),),
        pictures=_pictures(view),
        origin=origin,
        footer="Maps are seen from outside, longitude growing to the right.",
    )
    return write_sheet(path, sheet)


def _table(view: RegradeView) -> Listing:
    columns = ("value", "unit", "cells", "mean", "std", "smallest", "largest", "before", "after")
    rows = []
    for row, (title, unit) in enumerate(zip(view.rows, view.units, strict=True)):
        known = view.values[row][np.isfinite(view.values[row])]
        spread = (known.mean(), known.std(), known.min(), known.max()) if known.size else (np.nan,)
        numbers = [*spread, *[np.nan] * (4 - len(spread)), *view.totals[row]]
        rows.append((title, unit, f"{known.size:,}", *(number(float(one)) for one in numbers)))
    what = "integral over the sphere [unit sr]"
    if view.quantity is Quantity.EXTENSIVE:
        what = "sum"
    note = (
        f"Before and after: {what}. Values that coarser cells leave out for their coverage are "
        "missing from it."
    )
    return Listing("cells", "Cells", columns, tuple(rows), note)


def _pictures(view: RegradeView) -> tuple[Picture, ...]:
    drawn = CellMap(view.grid)
    shown = slice(0, _SHOWN)
    titles = list(view.rows[shown])
    labels = [f"[{unit}]" if unit else "" for unit in view.units[shown]]
    more = len(view.rows) - len(titles)
    rest = f" {more} more rows are in the file." if more > 0 else ""
    caption = f"Values of the cells, colours over 98% of them.{drawn.note}{rest}"
    figure = drawn.draw(list(view.values[shown]), labels, titles)
    pictures = [Picture.of("map", "Map", caption, figure)]
    if view.levels[1] < view.levels[0]:
        covered = [np.where(one > 0.0, one, np.nan) for one in view.coverage[shown]]
        figure = drawn.draw(covered, ["part"] * len(covered), titles, Scale.FROM_ZERO)
        caption = "Part of each cell for which there were values; low at edges."
        pictures.append(Picture.of("coverage", "Coverage", caption, figure))
    return tuple(pictures)
