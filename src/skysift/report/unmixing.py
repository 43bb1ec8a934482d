"""The page of a statistical separation: signal, contamination, and how far they can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from skysift.report.sheet import (
    UNKNOWN,
    Listing,
    Origin,
    Picture,
    Sheet,
    Tile,
    number,
    rms,
    write_sheet,
)
from skysift.report.unmixing_figures import (
    losses_figure,
    maps_figure,
    solutions_figure,
    spectra_figure,
    turning_figure,
)
from skysift.report.unmixing_view import DETERMINISTIC, DIVERGED, UnmixingView


def write_unmixing_page(
    path: str | Path, views: Sequence[UnmixingView], *, origin: Origin = UNKNOWN
) -> Path:
    """Write the page.

    Args:
        path: of the HTML file.
        views: what it shows of each map of the data.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    view = views[0]
    sheet = Sheet(
        title="Statistical separation",
        lead=f"{view.source} · {view.family} · {view.size} · contamination {view.contamination}",
        verdict=_verdict(view),
        good=view.converged,
        tiles=tuple(_tiles(views)),
        tables=(losses(view), *(_named(_bands(one), one) for one in views)),
        pictures=tuple(_pictures(views)),
        notes=tuple(_notes(view)),
        origin=origin,
        footer="Cells that the data lack are left out of all maps and spectra.",
    )
    return write_sheet(path, sheet)


def _verdict(view: UnmixingView) -> str:
    if view.converged:
        return "Converged"
    diverged = any(one.status == DIVERGED for one in view.courses)
    if diverged or not all(one.worst <= view.satisfied for one in view.courses):
        return "Not all constraints are satisfied: see the losses"
    return f"Constraints are satisfied, but the losses did not come to {number(view.tolerance)}"


def losses(view: UnmixingView) -> Listing:
    """The loss of each constraint at the start and at the end of each solution."""
    courses = view.courses
    several = len(courses) > 1
    ends = [f"solution {one}" for one in range(len(courses))] if several else ["end"]
    rows, warn = [], set()
    for row, name in enumerate(courses[0].losses):
        last = [float(one.losses[name][one.best]) for one in courses]
        rows.append((name, number(float(courses[0].losses[name][0])), *map(number, last)))
        warn |= {(row, 2 + at) for at, value in enumerate(last) if not value <= view.satisfied}
    told = tuple(f"{one.status}, {_steps(one.steps)}" for one in courses)
    rows.append(("ended", "", *told))
    note = (
        "Mean squared offset of the statistics over their variance over the draws of the "
        "contamination, at the signal that was kept. Up to "
        f"{number(view.satisfied)} a constraint is satisfied: the true signal has a loss of 1. "
        f"The signal moves until all are at {number(view.tolerance)}, or no step gains any more."
    )
    columns = ("constraint", "start", *ends)
    return Listing("losses", "Constraints", columns, tuple(rows), note, frozenset(warn))


_S = TypeVar("_S", Listing, Picture)


def _named(one: _S, view: UnmixingView) -> _S:
    """A table or a picture of one map, told from those of the others."""
    if not view.title:
        return one
    key, title = f"{one.key}-{view.channel}", f"{one.title} · {view.title}"
    return dataclasses.replace(one, key=key, title=title)


def _tiles(views: Sequence[UnmixingView]) -> list[Tile]:
    view = views[0]
    steps = max(one.steps for one in view.courses)
    missing = f"{view.missing:,} masked or missing" if view.missing else "none missing"
    seen = f"of {len(views)} maps seen together" if len(views) > 1 else missing
    tiles = [
        Tile("solutions", str(len(view.courses)), f"{_steps(steps)} at most"),
        Tile(
            "largest loss",
            number(max(one.worst for one in view.courses)),
            f"satisfied up to {number(view.satisfied)}",
        ),
        Tile("draws", str(view.draws), "of the contamination"),
        Tile("cells", f"{view.data.size:,}", seen),
    ]
    for one in views:
        of = f" of {one.title}" if one.title else ""
        left = rms(one.left[0] - np.nanmean(one.left[0]))
        drawn = rms(one.draw - np.nanmean(one.draw))
        tiles.append(Tile(f"statistical from{of}", *_two(one.turning)))
        tiles.append(Tile(f"left{of}", number(left), f"deviation; {number(drawn)} of a draw"))
    return tiles


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def _two(turning: str) -> tuple[str, str]:
    """Scale of the transition and its remark."""
    first, _, rest = turning.partition(", ")
    remark = f"expected correlation with the truth {DETERMINISTIC:g}"
    return first, f"{rest}; {remark}" if rest else remark


def _notes(view: UnmixingView) -> list[str]:
    notes = []
    diverged = [number for number, one in enumerate(view.courses) if one.status == DIVERGED]
    if diverged:
        notes.append(
            f"Solution {', '.join(map(str, diverged))} diverged: the signal shown is the best "
            "before that. Look for a constraint that contradicts the others."
        )
    return notes


def _bands(view: UnmixingView) -> Listing:
    """Spectra band by band."""
    spectra = view.spectra
    agreement = bool(np.isfinite(spectra.agreement).any())
    totals = spectra.totals / spectra.data
    rows = tuple(
        (
            number(float(at)),
            number(float(spectra.data[band])),
            number(float(spectra.signals[0, band])),
            number(float(spectra.contamination[band])),
            number(float(spectra.left[0, band])),
            f"{totals[:, band].mean():.3f} ± {totals[:, band].std():.3f}",
            f"{spectra.ratio[band]:.3g}",
            f"{spectra.correlation[band]:.3f}",
            *((f"{spectra.agreement[band]:.3f}",) if agreement else ()),
        )
        for band, at in enumerate(spectra.at)
    )
    columns = (
        view.scale,
        "data",
        "signal",
        "draws",
        "left",
        "signal and draws / data",
        "signal / contamination",
        "correlation",
        *(("of solutions",) if agreement else ()),
    )
    note = (
        "Variance in bands half an octave wide. Correlation: expected between the data and the "
        "true signal, √(SNR / (1 + SNR)); SNR, in the column before, is the power of the data less "
        "that of the draws over the latter."
    )
    return Listing("bands", "Bands", columns, rows, note)


def _pictures(views: Sequence[UnmixingView]) -> list[Picture]:
    pictures = [_named(one, view) for view in views for one in _of_map(view)]
    pictures.insert(
        1,
        Picture.of(
            "losses",
            "Losses",
            "Of each constraint at each step, in the scatter over the draws of the contamination. "
            "All have to come below 1, the loss of the true signal."
            + (" Thin lines are further solutions." if len(views[0].courses) > 1 else ""),
            losses_figure(views[0]),
        ),
    )
    return pictures


def _of_map(view: UnmixingView) -> list[Picture]:
    several = len(view.courses) > 1
    pictures = [
        Picture.of(
            "maps",
            "Maps",
            "Data and signal on one colour scale. What is left of the data should look like the "
            "draw of the contamination; where it shows structure of the signal, something went "
            "with it.",
            maps_figure(view),
        ),
        Picture.of(
            "spectra",
            "Spectra",
            "Variance in bands half an octave wide. Signal and draws should together have the "
            "spectrum of the data, within the scatter of the draws, which is shaded. What is left "
            "of the data should be as strong as the draws: where it is weaker, the signal has kept "
            "some of the contamination that happened to be there. The constraint remainder asks "
            "for that.",
            spectra_figure(view),
        ),
        Picture.of(
            "transition",
            "Deterministic or statistical",
            "Where the signal is stronger than the contamination its structures are at their true "
            "places; where it is weaker only its statistics are right. The expected correlation "
            f"√(SNR / (1 + SNR)) is that of the data with the true signal, SNR from the power of "
            f"the data less that of the draws. It is {DETERMINISTIC:g} where the contamination has "
            "three times the power of the signal."
            + (" Solutions agree where the data say where things are." if several else ""),
            turning_figure(view),
        ),
    ]
    if several:
        more = max(len(view.signals) - 4, 0)
        rest = f" {more} more are in the folder of the run." if more else ""
        pictures.append(
            Picture.of(
                "solutions",
                "Solutions",
                "Structures that all solutions share are those that the data determine; the others "
                f"are examples.{rest}",
                solutions_figure(view),
            )
        )
    return pictures
