"""The page of a comparison, and its pictures as files."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from skysift.report import compare_figures
from skysift.report.compare_data import ComparedRun, Comparison
from skysift.report.sheet import Listing, Origin, Picture, Sheet, Tile, number

COLUMNS = (
    "name",
    "run",
    "patches",
    "realisations",
    "r (68 %)",
    "CMB variance",
    "systematic",
    "objective",
    "χ²/dof",
)


def comparison_figures(comparison: Comparison) -> dict[str, tuple[str, str, Figure]]:
    """Title, caption and figure by name, those that the runs have something for."""
    runs = comparison.runs
    on_sphere = all(run.grid.nside is not None for run in runs)
    known = [run for run in runs if compare_figures.has_truth(run)]
    most = compare_figures.MOST_MAPS
    left_out = f" The first {most} of {len(known)} runs." if len(known) > most else ""
    plans: list[tuple[str, str, str, bool, Callable[[Comparison], Figure]]] = [
        (
            "spectra",
            "B-mode spectra",
            "Total, systematic and statistical residual, with the middle 68 % of the realisations; "
            "the paler, the more patches. More patches lower the systematic and raise the "
            "statistical residual. Of single separations only the recovered CMB is known.",
            any(run.spectra is not None or run.recovered is not None for run in runs),
            compare_figures.spectra,
        ),
        (
            "likelihood",
            "Tensor-to-scalar ratio",
            "Likelihoods of r; the paler, the more patches. Of a sky without tensors the best one "
            "has its maximum at zero and is narrow.",
            any(run.ratio is not None for run in runs),
            compare_figures.likelihoods,
        ),
        (
            "trends",
            "What the number of patches does",
            "Where bias and scatter balance is the number to take. The CMB variance is known "
            "without the truth: its minimum is a guide where r cannot be simulated.",
            True,
            compare_figures.trends,
        ),
        (
            "histograms",
            "Distribution of the estimates",
            "One count per patch, outliers in the first and last bin.",
            bool(comparison.parameters),
            compare_figures.parameter_histograms,
        ),
        (
            "maps",
            "Spectral parameters minus their input",
            "One colour scale for each parameter: what the patches cannot follow, and noise."
            + left_out,
            bool(known) and on_sphere,
            compare_figures.maps_minus_truth,
        ),
    ]
    return {
        key: (title, caption, draw(comparison))
        for key, title, caption, wanted, draw in plans
        if wanted
    }


def comparison_sheet(
    comparison: Comparison, figures: dict[str, tuple[str, str, Figure]], command: str = ""
) -> Sheet:
    """What stands on the page of a comparison.

    Args:
        comparison: the runs.
        figures: from `comparison_figures`.
        command: what was typed.
    """
    runs = comparison.runs
    lost = sum(not run.converged for run in runs)
    return Sheet(
        title="Comparison",
        lead=" · ".join(group.name for group in comparison.groups),
        verdict=f"{len(runs)} runs converged" if not lost else f"{lost} of {len(runs)} did not",
        good=not lost,
        tiles=tuple(_tiles(runs)),
        tables=(_table(comparison),),
        pictures=tuple(
            Picture.of(key, title, caption, figure)
            for key, (title, caption, figure) in figures.items()
        ),
        notes=comparison.notes,
        origin=Origin(command=command),
    )


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The cells of a table, one row for each run, with `COLUMNS`."""
    return [
        (group.name, run.path, f"{run.patches:,}", str(run.realisations), *_numbers(run))
        for group in comparison.groups
        for run in group.runs
    ]


def _numbers(run: ComparedRun) -> tuple[str, ...]:
    r = "–"
    if run.ratio is not None:
        ratio = run.ratio
        best, below, above = (
            number(float(np.mean(values)))
            for values in (ratio.r, ratio.sigma_minus, ratio.sigma_plus)
        )
        r = f"{best} −{below} +{above}"
    rest = (run.cmb_variance, run.systematic_rms, run.objective, run.reduced_chi2)
    return (r, *(number(value) for value in rest))


def _table(comparison: Comparison) -> Listing:
    note = (
        "Means over the realisations. CMB variance: recovered, over the cells, summed over Stokes "
        "[µK²]. Systematic: rms [µK]. A dash: the run has no such number."
    )
    return Listing("runs", "Runs", COLUMNS, tuple(comparison_rows(comparison)), note)


def _tiles(runs: tuple[ComparedRun, ...]) -> list[Tile]:
    tiles = []
    with_r = [run for run in runs if run.ratio is not None]
    if with_r:
        best = min(with_r, key=_upper)
        tiles.append(Tile("least 95 % limit of r", number(_upper(best)), best.path))
    with_cmb = [run for run in runs if math.isfinite(run.cmb_variance)]
    if with_cmb and len({run.grid.digest for run in with_cmb}) == 1:
        best = min(with_cmb, key=lambda run: run.cmb_variance)
        tiles.append(Tile("least CMB variance", number(best.cmb_variance), best.path))
    return tiles


def _upper(run: ComparedRun) -> float:
    return math.nan if run.ratio is None else float(np.mean(run.ratio.upper(0.95)))
