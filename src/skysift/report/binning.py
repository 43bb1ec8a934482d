"""The page of new patches by value: binned maps, and histograms with the edges of the bins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from skysift.grid import Grid
from skysift.report.map_figures import VALUE, Sky
from skysift.report.sheet import UNKNOWN, Listing, Origin, Picture, Sheet, Tile, number, write_sheet
from skysift.report.style import BLUE, INK, new_figure, sequential, shuffled_colours, styled


@dataclass(frozen=True, eq=False)
class BinnedParameter:
    """A spectral parameter and its new patches.

    Args:
        name: for instance `beta_dust`.
        values: as fitted, per cell.
        smoothed: what was binned, per cell.
        labels: new patch of each cell.
        edges: of the bins; `None` where the patches were kept.
    """

    name: str
    values: Float[np.ndarray, " cell"]
    smoothed: Float[np.ndarray, " cell"]
    labels: Int[np.ndarray, " cell"]
    edges: Float[np.ndarray, " edge"] | None

    @property
    def count(self) -> int:
        """Number of patches."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True, eq=False)
class BinningView:
    """What the page shows.

    Args:
        grid: the cells.
        parameters: in the order of the model.
        fwhm: of the smoothing, 0 for none [degrees].
        source: the runs.
    """

    grid: Grid
    parameters: tuple[BinnedParameter, ...]
    fwhm: float
    source: str


def write_binning_page(
    path: str | Path,
    view: BinningView,
    *,
    separate_command: str,
    origin: Origin = UNKNOWN,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write the page of new patches.

    Args:
        path: of the HTML file.
        view: what it shows.
        separate_command: how to separate in them.
        origin: what it came of.
        notes: warnings.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    new = [parameter for parameter in view.parameters if parameter.edges is not None]
    grid = view.grid
    sheet = Sheet(
        title="Patches by value",
        lead=view.source,
        verdict=", ".join(f"{p.count:,} patches of {p.name}" for p in new),
        good=True,
        soft=f"Separate with: {separate_command}",
        tiles=(
            *(Tile(f"patches of {p.name}", f"{p.count:,}", _remark(p)) for p in view.parameters),
            Tile("cells", f"{grid.size:,}", f"{grid.fsky:.1%} of the sky, nside {grid.nside}"),
        ),
        tables=(_table(view),),
        pictures=(
            Picture.of(
                "maps",
                "From values to patches",
                "Fitted values, what was binned, and the patches: cells of one colour share one "
                "value, also where they do not touch.",
                maps_figure(view),
            ),
            *(
                Picture.of(
                    f"histogram-{p.name}",
                    f"Distribution of {p.name}",
                    "Cells per value with the edges of the bins. Bins that hold few cells are "
                    "badly measured patches: take fewer bins, or smooth.",
                    histogram_figure(p),
                )
                for p in new
            ),
        ),
        notes=notes,
        origin=origin,
    )
    return write_sheet(path, sheet)


def maps_figure(view: BinningView) -> Figure:
    """Fitted values, binned values and patches of each parameter."""
    sky = Sky(view.grid, rows=len(view.parameters), columns=3)
    width = f", {view.fwhm:g}°" if view.fwhm else ""
    with styled():
        figure, panels = sky.panels()
        for row, one in zip(panels, view.parameters, strict=True):
            norm = sequential(one.values)
            sky.draw(row[0], one.values, VALUE, norm, one.name, "fitted")
            if one.edges is None or not view.fwhm:
                row[1].set_visible(False)
            else:
                sky.draw(row[1], one.smoothed, VALUE, norm, one.name, f"smoothed{width}")
            patches = Normalize(-0.5, one.count - 0.5)
            colours = VALUE if one.edges is not None else shuffled_colours(one.count)
            kept = "patches kept" if one.edges is None else "patches"
            title = f"{one.count:,} {kept}"
            sky.draw(row[2], one.labels.astype(float), colours, patches, "number of patch", title)
    return figure


def histogram_figure(parameter: BinnedParameter) -> Figure:
    """Cells per value, with the edges of the bins.

    Raises:
        ValueError: for a parameter that was not binned.
    """
    if parameter.edges is None:
        raise ValueError(f"parameter: expected one that was binned, got {parameter.name}.")
    with styled():
        figure = new_figure(2.8)
        axes = figure.subplots()
        edges = parameter.edges
        if edges[0] == edges[-1]:
            edges = edges[0] + np.array([-0.5, 0.5]) * max(abs(edges[0]), 1.0) * 1e-3
        wide = edges.size - 1
        bins = np.linspace(edges[0], edges[-1], wide * max(200 // wide, 1) + 1)
        counts, _ = np.histogram(parameter.smoothed, bins)
        axes.stairs(counts, bins, fill=True, color=BLUE, alpha=0.5)
        for edge in edges:
            axes.axvline(edge, color=INK, linewidth=0.6, alpha=0.6)
        axes.set(xlabel=parameter.name, ylabel="cells", xlim=(bins[0], bins[-1]))
    return figure


def _table(view: BinningView) -> Listing:
    columns = ("parameter", "bins", "patches", "bin width", "fewest cells", "median", "most")
    rows = []
    for one in view.parameters:
        sizes = np.bincount(one.labels)
        bins, width = "kept", "–"
        if one.edges is not None:
            bins, width = f"{one.edges.size - 1:,}", number(float(one.edges[1] - one.edges[0]))
        numbers = (f"{sizes.min():,}", f"{np.median(sizes):,.0f}", f"{sizes.max():,}")
        rows.append((one.name, bins, f"{one.count:,}", width, *numbers))
    note = "Cells per patch; empty bins make no patch."
    return Listing("patches", "Patches", columns, tuple(rows), note)


def _remark(parameter: BinnedParameter) -> str:
    if parameter.edges is None:
        return "kept"
    return f"of {parameter.edges.size - 1:,} bins"
