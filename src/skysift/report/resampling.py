"""The page of samples brought onto cells: where they lie, how well they are explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skysift.report.resample_figures import CellMap, Scale, counts_figure, residuals_figure
from skysift.report.resample_view import HeldOut, ResampleView
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
from skysift.resample.cells import cell_side_m

_SHOWN = 6
_ROOM = 0.1  # of the range of the samples, that sharpened maxima may leave it by


def write_resample_page(
    path: str | Path,
    view: ResampleView,
    *,
    origin: Origin = UNKNOWN,
) -> Path:
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
    fitted = view.damping is not None
    ended = "Converged" if view.converged else "Not converged: raise --max-iterations or --damping"
    sheet = Sheet(
        title="Resampling",
        lead=f"{Path(view.source).name} · level {view.level} · {view.name}",
        verdict=ended if fitted else "Averaged",
        good=view.converged,
        tiles=tuple(_tiles(view)),
        tables=tuple(_tables(view)),
        pictures=tuple(_pictures(view)),
        notes=_notes(view),
        origin=origin,
        footer="Maps are seen from outside, longitude growing to the right.",
    )
    return write_sheet(path, sheet)


def held_out_table(held: HeldOut, rows: tuple[str, ...]) -> Listing:
    """Methods by how well they predict samples that were left out."""
    made = tuple(
        (one.name, f"{one.predicted:,}", *(number(value) for value in one.rms))
        for one in held.predictions
    )
    note = (
        f"{held.values:,} values were left out and predicted from the others; the rms of the "
        f"differences is over the {held.compared:,} that every method predicts."
    )
    columns = ("method", "predicted", *(f"rms, {row}" for row in rows))
    return Listing("held-out", "Samples left out", columns, made, note)


def _tiles(view: ResampleView) -> list[Tile]:
    counts, level = view.counts, view.level
    dropped = "" if not view.dropped else f"{view.dropped:,} without place or value left out"
    known = int(np.isfinite(view.values).any(axis=0).sum())
    side = cell_side_m(level, view.ellipsoid) / 1e3
    tiles = [
        Tile("samples", f"{view.samples:,}", dropped or f"{view.covered:.2%} covered by cells"),
        Tile("cells", f"{known:,}", f"with a value, {known / view.grid.npix:.3%} of the sphere"),
        Tile("level", str(level), f"cells {number(side)} km wide"),
        Tile(
            "samples per cell",
            number(float(np.median(counts))),
            f"median, {counts.min():,} to {counts.max():,}",
        ),
    ]
    if view.residuals is not None:
        unit = f" {view.units[0]}" if view.units[0] else ""
        tiles.append(
            Tile("residual", number(float(view.residuals.rms[0])) + unit, f"rms of {view.rows[0]}")
        )
    if view.damping is not None:
        remark = f"of {view.rows[0]}; {view.iterations} iterations"
        tiles.append(Tile("damping", number(float(view.damping[0])), remark))
    return tiles


def _notes(view: ResampleView) -> tuple[str, ...]:
    """What a user should know about fits that overshoot."""
    if view.damping is None:
        return ()
    beyond = 0
    for values, (low, high) in zip(view.values, view.ranges, strict=True):
        room = _ROOM * (high - low)
        beyond += int(np.sum((values < low - room) | (values > high + room)))
    if not beyond:
        return ()
    return (
        f"{beyond:,} of {np.isfinite(view.values).sum():,} cells lie far outside the range of "
        "the samples: few samples hold them, as at the edges of a swath. Choose --smoothness 0.1, "
        "--bounds, or a lower level where that matters.",
    )


def _tables(view: ResampleView) -> list[Listing]:
    columns = ["value", "unit", "cells", "mean", "std", "smallest", "largest"]
    if view.errors is not None:
        columns.append("median error")
    if view.residuals is not None:
        columns.append("rms of residuals")
    if view.damping is not None:
        columns += ["damping", "status"]
    rows = []
    for index, (title, unit, values) in enumerate(
        zip(view.rows, view.units, view.values, strict=True)
    ):
        known = values[np.isfinite(values)]
        known = known if known.size else np.array([np.nan])
        numbers = (known.mean(), known.std(), known.min(), known.max())
        row = [title, unit, f"{np.isfinite(values).sum():,}", *(number(float(v)) for v in numbers)]
        if view.errors is not None:
            row.append(number(float(np.nanmedian(view.errors[index]))))
        if view.residuals is not None:
            row.append(number(float(view.residuals.rms[index])))
        if view.damping is not None:
            row += [number(float(view.damping[index])), view.statuses[index]]
        rows.append(tuple(row))
    tables = [Listing("cells", "Cells", tuple(columns), tuple(rows))]
    if view.held_out is not None:
        tables.append(held_out_table(view.held_out, view.rows))
    return tables


def _pictures(view: ResampleView) -> list[Picture]:
    drawn = CellMap(view.grid)
    shown = slice(0, _SHOWN)
    titles = list(view.rows[shown])
    labels = [f"[{unit}]" if unit else "" for unit in view.units[shown]]
    more = len(view.rows) - len(titles)
    rest = f" {more} more rows are in the file." if more > 0 else ""
    pictures = [
        Picture.of(
            "map",
            "Map",
            f"Values of the cells, colours over 98% of them.{drawn.note}{rest}",
            drawn.draw(list(view.values[shown]), labels, titles),
        )
    ]
    if view.errors is not None:
        pictures.append(
            Picture.of(
                "errors",
                "Standard deviation",
                "Large where few samples reach a cell.",
                drawn.draw(list(view.errors[shown]), labels, titles),
            )
        )
    counts = view.counts
    pictures += [
        Picture.of(
            "coverage",
            "Coverage",
            "Samples linked to each cell. Cells with few are noisy; a lower level or more damping "
            "helps.",
            drawn.draw(
                [np.where(counts > 0, counts, np.nan)],
                ["samples per cell"],
                ["coverage"],
                Scale.FROM_ZERO,
            ),
        ),
        Picture.of(
            "samples-per-cell",
            "Samples per cell",
            "The last bar holds all that are larger.",
            counts_figure(counts),
        ),
    ]
    if view.residuals is None:
        return pictures
    local = view.residuals.local[shown]
    return [
        *pictures,
        Picture.of(
            "residuals",
            "Residuals at the samples",
            "Samples minus the cells at their places; the outermost bars hold the outliers. A "
            "shifted or lopsided peak asks for a finer level or another method.",
            residuals_figure(view.residuals, tuple(titles), view.units[shown]),
        ),
        Picture.of(
            "residual-map",
            "Residuals on the sphere",
            "Their rms around each cell. Coasts and fronts show what cells of this size cannot "
            "follow; stripes along the swath are the instrument's.",
            drawn.draw(list(local), labels, titles, Scale.FROM_ZERO),
        ),
    ]
