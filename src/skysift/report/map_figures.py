"""Figures that are maps of the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from skysift.grid import Grid
from skysift.report.data import ReportData
from skysift.report.sky_plot import AbstractProjection, choose_projection, draw_sky
from skysift.report.style import (
    WIDTH,
    colour_bar,
    diverging,
    new_figure,
    sequential,
    shuffled_colours,
    styled,
    unit_text,
)
from skysift.report.views import ResidualView

SIGNED = mpl.colormaps["RdBu_r"]
VALUE = mpl.colormaps["viridis"]
ERROR = mpl.colormaps["magma"]
_SMALL_COLUMNS = 5


def parameter_maps(data: ReportData) -> Figure:
    """Estimate and standard deviation of each spectral parameter; its input first where known.

    Raises:
        ValueError: if nothing was fitted, or the cells have no place on the sphere.
    """
    _require(data.parameters, "parameters")
    truth = any(parameter.truth is not None for parameter in data.parameters)
    sky = Sky(data.grid, rows=len(data.parameters), columns=3 if truth else 2)
    with styled():
        figure, panels = sky.panels()
        for row, parameter in zip(panels, data.parameters, strict=True):
            known = (
                parameter.map if parameter.truth is None else np.r_[parameter.map, parameter.truth]
            )
            norm = sequential(known)
            columns = iter(row)
            if truth:
                axes = next(columns)
                if parameter.truth is None:
                    axes.set_visible(False)
                else:
                    sky.draw(axes, parameter.truth, VALUE, norm, parameter.title, "input")
            name = parameter.name
            sky.draw(
                next(columns), parameter.map, VALUE, norm, parameter.title, f"{name}, estimate"
            )
            error = parameter.error_map
            sky.draw(
                next(columns),
                error,
                ERROR,
                sequential(error),
                f"σ({parameter.name})" + (f" [{parameter.unit}]" if parameter.unit else ""),
                "standard deviation",
            )
    return figure


def patch_maps(data: ReportData) -> Figure:
    """Patches of each spectral parameter in shuffled colours.

    Raises:
        ValueError: if nothing was fitted, or the cells have no place on the sphere.
    """
    _require(data.parameters, "parameters")
    count = len(data.parameters)
    sky = Sky(data.grid, rows=math.ceil(count / 3), columns=min(count, 3), bars=False)
    with styled():
        figure, panels = sky.panels()
        for axes, parameter in zip(panels.flat, data.parameters, strict=False):
            size = parameter.values.size
            norm = Normalize(-0.5, size - 0.5)
            noun = "patch" if size == 1 else "patches"
            title = f"{parameter.name}: {size:,} {noun}"
            sky.draw(axes, parameter.labels, shuffled_colours(size), norm, None, title)
        _hide_rest(panels, count)
    return figure


def component_maps(data: ReportData) -> Figure:
    """Amplitude of each component per Stokes parameter, and the standard deviation.

    Raises:
        ValueError: if the cells have no place on the sphere.
    """
    letters = data.stokes.value
    sky = Sky(data.grid, rows=len(data.components), columns=len(letters) + 1)
    with styled():
        figure, panels = sky.panels()
        for row, component in zip(panels, data.components, strict=True):
            unit = f"[{unit_text(component.unit)}]"
            for axes, letter, values in zip(row[:-1], letters, component.values, strict=True):
                sky.draw(
                    axes, values, SIGNED, diverging(values), f"{letter} {unit}", component.title
                )
            polarised = [p or len(letters) == 1 for p in data.stokes.polarised]
            error = np.sqrt(np.mean(component.errors[polarised] ** 2, axis=0))
            of = "Q and U" if len(letters) > 1 else letters
            sky.draw(
                row[-1],
                error,
                ERROR,
                sequential(error),
                f"σ of {of} {unit}",
                f"{component.title}, standard deviation",
            )
    return figure


def chi2_map(data: ReportData) -> Figure:
    """chi2 per degree of freedom in each cell.

    Raises:
        ValueError: if the cells have no place on the sphere.
    """
    dof = data.effective_dof
    ratio = np.where(dof > 0, data.chi2 / np.where(dof > 0, dof, 1.0), np.nan)
    sky = Sky(data.grid, rows=1, columns=1)
    with styled():
        figure, panels = sky.panels()
        if data.weights_are_noise:
            spread = max(np.nanpercentile(np.abs(ratio - 1), 99), 1e-3)
            norm, colours = Normalize(1 - spread, 1 + spread), SIGNED
        else:
            norm, colours = sequential(ratio), VALUE
        sky.draw(panels[0, 0], ratio, colours, norm, "χ² / degrees of freedom", "")
    return figure


def residual_maps(data: ReportData, stokes: str | None = None) -> Figure:
    """Residual of every channel in units of its own rms, on one colour scale.

    Args:
        data: with residuals.
        stokes: which Stokes parameter; the first polarised one if left out.

    Raises:
        ValueError: without residuals, for a Stokes parameter that was not fitted, or if the cells
            have no place on the sphere.
    """
    view = _residuals(data)
    letters = data.stokes.value
    stokes = stokes or ("Q" if "Q" in letters else letters[0])
    if stokes not in letters:
        raise ValueError(f"stokes: expected one of {', '.join(letters)}, got {stokes!r}.")
    which = letters.index(stokes)
    count = len(view.channels)
    columns = min(_SMALL_COLUMNS, count)
    sky = Sky(data.grid, rows=math.ceil(count / columns), columns=columns, bars=False)
    norm = Normalize(-3, 3)
    with styled():
        figure, panels = sky.panels(extra=0.55)
        image = None
        for i, axes in zip(range(count), panels.flat, strict=False):
            rms = view.rms[i, which]
            scaled = view.values[i, which] / (rms if rms > 0 else 1.0)
            title = f"{view.channels[i]}: rms {_short(rms)} µK"
            image = draw_sky(axes, scaled, data.grid, sky.projection, SIGNED, norm, sky.width)
            axes.set_title(title, fontsize=8.5, pad=3)
        _hide_rest(panels, count)
        if image is not None:
            bar = figure.colorbar(
                image,
                ax=list(panels.flat),
                orientation="horizontal",
                shrink=0.4,
                aspect=40,
                pad=0.02,
                extend="both",
                extendfrac=0.025,
            )
            bar.set_label(f"{stokes} residual / rms of the channel", fontsize=8.5)
    return figure


def truth_maps(data: ReportData) -> Figure:
    """Recovered minus input amplitude of each component whose input is known.

    Raises:
        ValueError: if no input is known, or the cells have no place on the sphere.
    """
    known = [component for component in data.components if component.truth is not None]
    _require(known, "truth")
    letters = data.stokes.value
    sky = Sky(data.grid, rows=len(known), columns=len(letters))
    with styled():
        figure, panels = sky.panels()
        for row, component in zip(panels, known, strict=True):
            for i, (axes, letter) in enumerate(zip(row, letters, strict=True)):
                truth = component.truth
                difference = component.values[i] - (0.0 if truth is None else truth[i])
                label = f"{letter} [{unit_text(component.unit)}]"
                title = f"{component.title}, recovered − input"
                sky.draw(axes, difference, SIGNED, diverging(difference), label, title)
    return figure


class Sky:
    """A grid of panels of one projection, by default the one that shows the cells largest."""

    def __init__(
        self,
        grid: Grid,
        rows: int,
        columns: int,
        bars: bool = True,
        projection: AbstractProjection | None = None,
    ) -> None:
        grid.require_nside()
        self.grid = grid
        self.projection = choose_projection(grid) if projection is None else projection
        self._rows, self._columns = rows, columns
        self._panel = min(WIDTH / columns, 6.0)
        self._bar = 0.55 if bars else 0.0
        self.width = int(150 * self._panel)

    def panels(self, extra: float = 0.0) -> tuple[Figure, np.ndarray]:
        """An empty figure and its panels."""
        height = self._panel / self.projection.aspect + self._bar + 0.35
        # A single disc is square: it may be lower than wide panels would make it.
        height = min(height, 4.6)
        figure = new_figure(self._rows * height + extra)
        return figure, figure.subplots(self._rows, self._columns, squeeze=False)

    def draw(
        self,
        axes: Axes,
        values: Float[np.ndarray, " cell"],
        colours: Colormap,
        norm: Normalize,
        label: str | None,
        title: str,
    ) -> None:
        """Draw a map in a panel, with a colour bar if it has a label."""
        image = draw_sky(axes, values, self.grid, self.projection, colours, norm, self.width)
        axes.set_title(title, pad=5)
        if label is not None:
            colour_bar(axes, image, label, 0.72 if self._columns > 1 else 0.35)


def _hide_rest(panels: np.ndarray, used: int) -> None:
    for axes in panels.flat[used:]:
        axes.set_visible(False)


def _short(value: float) -> str:
    return f"{value:.3g}" if 1e-2 <= value < 1e4 else f"{value:.1e}"


def _residuals(data: ReportData) -> ResidualView:
    if data.residuals is None:
        raise ValueError(
            "residuals: expected the fitted maps, got none. Use ReportData.with_residuals."
        )
    return data.residuals


def _require(items: Sequence[object], name: str) -> None:
    if not items:
        raise ValueError(f"{name}: expected at least one to draw, got none.")
