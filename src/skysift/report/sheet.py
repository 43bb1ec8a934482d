"""One self-contained HTML page: a verdict, numbers, tables, figures, how to repeat it."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import jinja2
import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.figure import Figure

from skysift.files import atomic
from skysift.report.style import png

_PACKAGES = ("skysift", "jax", "equinox", "numpy", "scipy", "healpy", "ducc0")


@dataclass(frozen=True)
class Tile:
    """A number of the summary, with a remark under it."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Listing:
    """A table.

    Args:
        key: anchor.
        title: heading.
        columns: headings of the columns.
        rows: cells as text.
        note: under the table.
        warn: cells to mark, as (row, column).
        prose: whether the cells are sentences rather than numbers, from the third column on.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    warn: frozenset[tuple[int, int]] = frozenset()
    prose: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Args:
        key: anchor.
        title: heading.
        caption: what to look for.
        data: PNG file, base64.
    """

    key: str
    title: str
    caption: str
    data: str

    @staticmethod
    def of(key: str, title: str, caption: str, figure: Figure) -> Picture:
        """A figure, drawn."""
        return Picture(key, title, caption, base64.b64encode(png(figure)).decode("ascii"))


@dataclass(frozen=True)
class Origin:
    """What a page came of, and how to make it again.

    Args:
        experiment: as YAML.
        command: what was typed.
        manifest: facts about the run, shown as a table.
    """

    experiment: str = ""
    command: str = ""
    manifest: Mapping[str, object] = field(default_factory=dict)


UNKNOWN = Origin()
"""Of a page that nobody need make again."""


@dataclass(frozen=True)
class Sheet:
    """What stands on a page.

    Args:
        title: heading.
        lead: what it is about, in one line.
        verdict: how it went.
        good: whether that is well.
        tiles: numbers.
        tables: in the order of the page.
        pictures: in the order of the page.
        soft: remarks below the verdict, in grey.
        notes: warnings below the verdict.
        origin: what it came of.
        footer: what holds for all maps.
    """

    title: str
    lead: str
    verdict: str
    good: bool
    tiles: tuple[Tile, ...] = ()
    tables: tuple[Listing, ...] = ()
    pictures: tuple[Picture, ...] = ()
    soft: str = ""
    notes: tuple[str, ...] = ()
    origin: Origin = UNKNOWN
    footer: str = "Maps are in Galactic coordinates, longitude growing to the left."


def render_sheet(sheet: Sheet) -> str:
    """The page as HTML; it needs neither network nor scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skysift.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("sheet.html.j2").render(
        style=Markup(environment.get_template("style.css.j2").render()),
        sheet=sheet,
        experiment_text=sheet.origin.experiment.strip(),
        command=sheet.origin.command.strip(),
        manifest=_flat(sheet.origin.manifest),
        versions=_versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def write_sheet(path: str | Path, sheet: Sheet) -> Path:
    """Write the page.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    html = render_sheet(sheet)
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return Path(path)


def number(value: float) -> str:
    """A number in four figures, as a page shows it."""
    if math.isnan(value):
        return "–"
    text = f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
    return text.replace("-", "−", 1) if value < 0 else text


def rms(values: Float[np.ndarray, "..."]) -> float:
    """Root mean square of the finite values, NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else math.nan


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
