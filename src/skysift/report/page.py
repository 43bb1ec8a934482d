"""One self-contained HTML page about a separation."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from skysift.maps import Maps
from skysift.report.data import ReportData, SeparationLike
from skysift.report.pictures import pictures
from skysift.report.views import ParameterView
from skysift.sky.simulate import Truth

_PACKAGES = ("skysift", "jax", "equinox", "numpy", "scipy", "healpy", "ducc0")


@dataclass(frozen=True)
class Tile:
    """A number of the summary, with a remark under it."""

    label: str
    value: str
    remark: str = ""


def write_page(
    path: str | Path,
    fit: SeparationLike,
    *,
    maps: Maps | None = None,
    truth: Truth | None = None,
    experiment_text: str = "",
    command: str = "",
    manifest: Mapping[str, object] | None = None,
) -> Path:
    """Write the report of a separation.

    Args:
        path: of the HTML file.
        fit: the separation.
        maps: the maps that were fitted; residuals are shown only with them.
        truth: the sky that was put in; it is compared only with it.
        experiment_text: the experiment as YAML.
        command: what to type to repeat the run.
        manifest: facts about the run, shown as a table.

    Returns:
        The path.

    Raises:
        ValueError: if maps or truth lack cells of the fit.
        OSError: if the file cannot be written; then nothing is left behind.
    """
    data = ReportData.of(fit, maps, truth)
    return write_report(
        path, data, experiment_text=experiment_text, command=command, manifest=manifest
    )


def write_report(
    path: str | Path,
    data: ReportData,
    *,
    experiment_text: str = "",
    command: str = "",
    manifest: Mapping[str, object] | None = None,
) -> Path:
    """Write the report of a separation read back from a run; arguments as `write_page`.

    Returns:
        The path.

    Raises:
        OSError: if the file cannot be written; then nothing is left behind.
    """
    path = Path(path)
    html = render(data, experiment_text=experiment_text, command=command, manifest=manifest)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render(
    data: ReportData,
    *,
    experiment_text: str = "",
    command: str = "",
    manifest: Mapping[str, object] | None = None,
) -> str:
    """The page as HTML; it needs neither network nor scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skysift.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("style.css.j2").render()
    return environment.get_template("page.html.j2").render(
        style=Markup(style),
        data=data,
        status=data.status,
        tiles=tiles(data),
        parameters=[_parameter_row(parameter) for parameter in data.parameters],
        components=_component_rows(data),
        pictures=pictures(data),
        experiment_text=experiment_text.strip(),
        command=command.strip(),
        manifest=_flat(manifest or {}),
        versions=_versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
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
        Tile("χ² / dof", _number(data.reduced_chi2), remark),
        Tile(
            "iterations",
            str(status.iterations),
            f"gradient down to {status.reduction:.1e} of the start",
        ),
        Tile("solve time", "–" if math.isnan(seconds) else _duration(seconds)),
        Tile("cells", f"{data.grid.size:,}", where),
        Tile("free parameters", f"{free:,}", ", ".join(p.name for p in data.parameters)),
    ]


def _parameter_row(parameter: ParameterView) -> dict[str, str]:
    cells = parameter.map
    errors = parameter.errors[np.isfinite(parameter.errors)]
    row = {
        "name": parameter.title,
        "patches": f"{parameter.values.size:,}",
        "mean": _number(float(cells.mean())),
        "std": _number(float((cells - cells[0]).std())),  # exactly zero for one patch
        "range": f"{_number(float(cells.min()))} to {_number(float(cells.max()))}",
        "error": _number(float(np.median(errors))) if errors.size else "–",
        "at_bounds": f"{parameter.at_bounds:,}",
        "unconstrained": f"{parameter.unconstrained:,}",
        "truth": "",
        "difference": "",
    }
    if parameter.truth is not None:
        row["truth"] = _number(float(parameter.truth.mean()))
        row["difference"] = f"{float(np.mean(cells - parameter.truth)):+.2g}".replace("-", "−", 1)
    return row


def _component_rows(data: ReportData) -> list[dict[str, str]]:
    rows = []
    for component in data.components:
        for i, letter in enumerate(data.stokes.value):
            values, errors = component.values[i], component.errors[i]
            truth = component.truth
            rows.append(
                {
                    "name": component.title,
                    "stokes": letter,
                    "unit": component.unit.replace("uK", "µK"),
                    "rms": _number(_rms(values)),
                    "error": _number(float(np.nanmedian(errors)))
                    if np.isfinite(errors).any()
                    else "–",
                    "difference": "" if truth is None else _number(_rms(values - truth[i])),
                }
            )
    return rows


def _rms(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else math.nan


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
    return text.replace("-", "−", 1) if value < 0 else text


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _flat(manifest: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in manifest.items():
        if isinstance(value, Mapping):
            rows += _flat({str(k): v for k, v in value.items()}, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _versions() -> list[tuple[str, str]]:
    return [
        ("python", platform.python_version()),
        *((name, metadata.version(name)) for name in _PACKAGES),
    ]
