"""One self-contained HTML page about a separation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from skysift.maps import Maps
from skysift.report.data import ReportData, SeparationLike
from skysift.report.pictures import pictures
from skysift.report.sheet import UNKNOWN, Listing, Origin, Sheet, Tile, number, rms, write_sheet
from skysift.report.views import ParameterView
from skysift.sky.simulate import Truth


def write_page(
    path: str | Path,
    fit: SeparationLike,
    *,
    maps: Maps | None = None,
    truth: Truth | None = None,
    origin: Origin = UNKNOWN,
) -> Path:
    """Write the report of a separation.

    Args:
        path: of the HTML file.
        fit: the separation.
        maps: the maps that were fitted; residuals are shown only with them.
        truth: the sky that was put in; it is compared only with it.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if maps or truth lack cells of the fit, or nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    data = ReportData.of(fit, maps, truth)
    return write_report(path, data, origin)


def write_report(
    path: str | Path,
    data: ReportData,
    origin: Origin = UNKNOWN,
) -> Path:
    """Write the report of a separation read back from a run; arguments as `write_page`.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    return write_sheet(path, sheet_of(data, origin))


def sheet_of(
    data: ReportData,
    origin: Origin = UNKNOWN,
) -> Sheet:
    """What stands on the page of a separation."""
    status = data.status
    return Sheet(
        title="Component separation",
        lead=f"{data.model} · {data.instrument} · Stokes {data.stokes.value}",
        verdict="Converged" if status.converged else "Not converged",
        good=status.converged,
        tiles=tuple(tiles(data)),
        tables=(_parameter_table(data), _component_table(data)),
        pictures=tuple(pictures(data)),
        soft="" if status.message == "converged" else status.message,
        notes=_notes(data),
        origin=origin,
    )


def tiles(data: ReportData) -> list[Tile]:
    """The summary in numbers."""
    status, dof = data.status, float(data.effective_dof.sum())
    free = sum(parameter.values.size for parameter in data.parameters)
    remark = f"{np.nansum(data.chi2):,.6g} / {dof:,.0f} degrees of freedom"
    if data.weights_are_noise:
        remark += f", {(np.nansum(data.chi2) - dof) / math.sqrt(2 * dof):+.1f}\N{NO-BREAK SPACE}σ"
    seconds = data.history.wall_time
    where = "bare cells"
    if data.grid.nside is not None:
        where = f"{data.grid.fsky:.1%} of the sky, nside {data.grid.nside}"
    return [
        Tile(
            "objective", f"{status.objective:.10g}", "½ χ², amplitudes and parameters at their best"
        ),
        Tile("χ² / dof", number(data.reduced_chi2), remark),
        Tile(
            "iterations",
            str(status.iterations),
            f"gradient down to {status.reduction:.1e} of the start",
        ),
        Tile("solve time", "–" if math.isnan(seconds) else _duration(seconds)),
        Tile("cells", f"{data.grid.size:,}", where),
        Tile("free parameters", f"{free:,}", ", ".join(p.name for p in data.parameters)),
    ]


def _notes(data: ReportData) -> tuple[str, ...]:
    if not data.calibrated:
        return (
            "The weights are no inverse noise variances: errors and χ² below hold only in "
            "proportion to each other. Only patches without any information count as "
            "unconstrained.",
        )
    if not data.weights_are_noise:
        return (
            "χ² is far below the degrees of freedom: the maps have less noise than the weights "
            "say. The errors below are those that the noise of the weights would give.",
        )
    return ()


def _parameter_table(data: ReportData) -> Listing:
    columns = (
        "parameter",
        "patches",
        "mean",
        "std",
        "range",
        "median error",
        "at a bound",
        "unconstrained",
    )
    if data.has_truth:
        columns = (*columns, "input mean", "mean difference")
    note = "Every spectral parameter was held fixed."
    if data.parameters:
        note = (
            "Mean, standard deviation and range over the cells; the error is the median over the "
            "patches that have one. Patches at a bound have none."
        )
    flags = [(p.at_bounds > 0, p.unconstrained > 0) for p in data.parameters]
    return Listing(
        "parameters",
        "Spectral parameters",
        columns,
        tuple(_parameter_row(p, data.has_truth) for p in data.parameters),
        note,
        frozenset((row, 6 + i) for row, pair in enumerate(flags) for i in (0, 1) if pair[i]),
    )


def _parameter_row(parameter: ParameterView, has_truth: bool) -> tuple[str, ...]:
    cells = parameter.map
    errors = parameter.errors[np.isfinite(parameter.errors)]
    row = (
        parameter.title,
        f"{parameter.values.size:,}",
        number(float(cells.mean())),
        number(float((cells - cells[0]).std())),  # exactly zero for one patch
        f"{number(float(cells.min()))} to {number(float(cells.max()))}",
        number(float(np.median(errors))) if errors.size else "–",
        f"{parameter.at_bounds:,}",
        f"{parameter.unconstrained:,}",
    )
    if not has_truth:
        return row
    if parameter.truth is None:
        return (*row, "", "")
    difference = f"{float(np.mean(cells - parameter.truth)):+.2g}".replace("-", "−", 1)
    return (*row, number(float(parameter.truth.mean())), difference)


def _component_table(data: ReportData) -> Listing:
    columns = ("component", "Stokes", "unit", "rms", "median error of a cell")
    if data.has_truth:
        columns = (*columns, "rms of recovered − input")
    rows = []
    for component in data.components:
        for i, letter in enumerate(data.stokes.value):
            values, errors, truth = component.values[i], component.errors[i], component.truth
            error = number(float(np.nanmedian(errors))) if np.isfinite(errors).any() else "–"
            unit = component.unit.replace("uK", "µK")
            row = (component.title, letter, unit, number(rms(values)), error)
            if data.has_truth:
                row = (*row, "–" if truth is None else number(rms(values - truth[i])))
            rows.append(row)
    return Listing("amplitudes", "Components", columns, tuple(rows))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
