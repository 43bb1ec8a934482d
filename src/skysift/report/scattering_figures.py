"""Figures of scattering statistics, of maps made from them, and of what those look like."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter

from skysift.grid import Grid
from skysift.report.map_figures import SIGNED, VALUE, Sky
from skysift.report.scattering_view import CORRELATION, Curve, ScatteringView
from skysift.report.style import (
    BLUE,
    GREY,
    INK,
    RED,
    SERIES,
    colour_bar,
    diverging,
    new_figure,
    robust_range,
    sequential,
    styled,
)

if TYPE_CHECKING:
    import xarray as xr

_SHOWN = 6
_COLUMNS = 8
_FEW = 1e-12


@dataclass(frozen=True, eq=False)
class OrderView:
    """The coefficients of one order of a set of statistics.

    Args:
        name: of the order.
        values: of each map, real parts.
        axes: value of each named axis for each coefficient.
        complex: whether there are imaginary parts.
        channels: maps of the example that the coefficients are of.
    """

    name: str
    values: Float[np.ndarray, "map coefficient"]
    axes: dict[str, Int[np.ndarray, " coefficient"]]
    complex: bool
    channels: tuple[int, ...] = (0,)

    @staticmethod
    def all(dataset: xr.Dataset) -> list[OrderView]:
        """The orders of statistics, apart for each map of the example and for pairs of them."""
        orders = []
        for variable in map(str, dataset):
            name = variable.removesuffix("_real")
            if variable.endswith("_imag"):
                continue
            dimension = f"{name}_coefficient"
            axes = {
                str(key).removeprefix(f"{name}_"): array.values
                for key, array in dataset.coords.items()
                if array.dims == (dimension,)
            }
            values = np.atleast_2d(dataset[variable].values)
            whole = OrderView(name, values, axes, name != variable)
            orders += whole.apart()
        return orders

    def apart(self) -> list[OrderView]:
        """The coefficients of each map of the example, and of each pair."""
        named = [self.axes[one] for one in ("channel", "channel2", "channel3") if one in self.axes]
        if not named:
            return [self]
        columns = np.stack(named, axis=1)
        found, where = np.unique(columns, axis=0, return_inverse=True)
        return [
            replace(
                self,
                values=self.values[:, where.ravel() == number],
                axes={key: one[where.ravel() == number] for key, one in self.axes.items()},
                channels=tuple(dict.fromkeys(map(int, row))),
            )
            for number, row in enumerate(found)
        ]

    @property
    def scales(self) -> int:
        """How many scales a coefficient is of: 0 to 3."""
        return sum(name in self.axes for name in ("scale", "scale2", "scale3"))

    @property
    def here(self) -> Bool[np.ndarray, " coefficient"]:
        """Which have no shift between their factors."""
        everywhere = np.ones(self.values.shape[1], dtype=bool)
        return self.axes["shift"] == 0 if "shift" in self.axes else everywhere

    @property
    def even(self) -> Bool[np.ndarray, " coefficient"]:
        """Which of those are averages over all directions."""
        kept = self.here
        for name in ("harmonic", "harmonic2", "harmonic3"):
            if name in self.axes:
                kept = kept & (self.axes[name] == 0)
        return kept

    @property
    def kinds(self) -> tuple[Int[np.ndarray, " coefficient"], list[str]]:
        """What sets coefficients of the same scales apart, up to a rotation, with titles.

        The angle between orientations; the angular harmonic of the modulus.
        """
        own = self.axes
        for ending in ("2", ""):
            if f"harmonic{ending}" in own:
                part = own.get(f"part{ending}", np.zeros(self.values.shape[1], dtype=int))
                pairs = np.stack([own[f"harmonic{ending}"], part], axis=1)
                found, kind = np.unique(pairs, axis=0, return_inverse=True)
                return kind.ravel(), [_harmonic(int(one), int(parity)) for one, parity in found]
        if "turn" in own:
            numbers, kind = np.unique(own["turn"], return_inverse=True)
            return kind, [f"turn {one}" for one in numbers]
        if "orientation2" in own and "orientation" in own:
            count = int(max(own["orientation"].max(), own["orientation2"].max())) + 1
            turn = (own["orientation2"] - own["orientation"]) % count
            # A turn by as much either way is the same angle between two lines.
            folded = np.minimum(turn, count - turn)
            numbers, kind = np.unique(folded, return_inverse=True)
            return kind, [f"{180.0 * number / count:.3g}° apart" for number in numbers]
        return np.zeros(self.values.shape[1], dtype=int), ["mean"]

    def matrix(
        self, map: int | slice, rows: str, columns: str, chosen: np.ndarray
    ) -> Float[np.ndarray, "row column"]:
        """Averages of the chosen coefficients of a map over all but two axes."""
        return _matrix(self.values[map], self.axes[rows], self.axes[columns], chosen)


def scales_figure(view: ScatteringView, orders: list[OrderView]) -> Figure:
    """Orders of one scale: a line for each orientation of the example, marks for samples."""
    columns = min(len(orders), 3)
    rows = math.ceil(len(orders) / columns)
    with styled():
        figure = new_figure(2.9 * rows)
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, order in zip(panels.flat, orders, strict=False):
            _draw_scales(axes, view, order)
        for axes in panels.flat[len(orders) :]:
            axes.set_visible(False)
        panels.flat[0].legend(fontsize=7.5)
    return figure


def pairs_figure(view: ScatteringView, order: OrderView) -> Figure:
    """An order of two scales as matrices: a column for each kind, a row for each map."""
    kind, titles = order.kinds
    shown = titles[:_COLUMNS]
    rows = _rows(view)
    coarse, fine = "scale", "scale2"
    if np.any(order.axes["scale2"] > order.axes["scale"]):
        coarse, fine = fine, coarse
    with styled():
        figure = new_figure(0.5 + 1.75 * len(rows) * min(1.0, 5 / len(shown)) + 0.4)
        panels = figure.subplots(len(rows), len(shown), squeeze=False)
        drawn = [
            [
                order.matrix(row, coarse, fine, (kind == one) & order.here)
                for one in range(len(shown))
            ]
            for row in rows.values()
        ]
        image = _draw_matrices(panels, drawn, list(rows), shown)
        bar = figure.colorbar(image, ax=list(panels.flat), shrink=0.8, aspect=30, pad=0.02)
        bar.set_label(order.name + (", real part" if order.complex else ""), fontsize=8.5)
    return figure


def triples_figure(view: ScatteringView, order: OrderView) -> Figure:
    """An order of three scales: for each coarsest one, a matrix of the two finer ones."""
    scale = order.axes["scale"]
    numbers = np.unique(scale)[-_COLUMNS:]
    rows = _rows(view)
    with styled():
        figure = new_figure(0.5 + 1.75 * len(rows) * min(1.0, 5 / len(numbers)) + 0.4)
        panels = figure.subplots(len(rows), len(numbers), squeeze=False)
        drawn = [
            [order.matrix(row, "scale2", "scale3", order.even & (scale == one)) for one in numbers]
            for row in rows.values()
        ]
        titles = [f"at scale {one}" for one in numbers]
        image = _draw_matrices(panels, drawn, list(rows), titles)
        bar = figure.colorbar(image, ax=list(panels.flat), shrink=0.8, aspect=30, pad=0.02)
        bar.set_label(order.name + (", real part" if order.complex else ""), fontsize=8.5)
    return figure


def maps_figure(view: ScatteringView) -> Figure:
    """The example, the first samples, and a Gaussian field, on one colour scale."""
    numbers = [0, *range(2, min(len(view.maps), 2 + _SHOWN - 2)), 1]
    titles = [view.names[number] for number in numbers]
    titles[-1] = "Gaussian field"
    columns = 2 if view.sphere or len(numbers) < 3 else 3
    rows = math.ceil(len(numbers) / columns)
    norm = sequential(view.maps[0])
    with styled():
        if view.sphere:
            sky = Sky(Grid(math.isqrt(view.maps.shape[-1] // 12)), rows, columns)
            figure, panels = sky.panels()
            for axes, number, title in zip(panels.flat, numbers, titles, strict=False):
                sky.draw(axes, view.maps[number], VALUE, norm, view.unit, title)
        else:
            ratio = view.maps.shape[1] / view.maps.shape[2]
            width = 10.0 / columns
            figure = new_figure(rows * min(width * ratio + 0.75, 6.0))
            panels = figure.subplots(rows, columns, squeeze=False)
            for axes, number, title in zip(panels.flat, numbers, titles, strict=False):
                image = axes.imshow(view.maps[number], cmap=VALUE, norm=norm, origin="lower")
                axes.set_title(title, pad=5)
                axes.set_axis_off()
                colour_bar(axes, image, view.unit)
        for axes in panels.flat[len(numbers) :]:
            axes.set_visible(False)
    return figure


def history_figure(view: ScatteringView) -> Figure:
    """Objective of each sample at each iteration."""
    with styled():
        figure = new_figure(3.0)
        axes = figure.subplots()
        for number, one in enumerate(view.descents):
            colour = SERIES[number % len(SERIES)]
            steps = np.arange(1, one.history.size + 1)
            label = f"sample {number}: {one.status}" if number < len(SERIES) else None
            axes.plot(steps, one.history, color=colour, label=label)
        axes.axhline(1.0, color=GREY, linewidth=1.0, linestyle=":", label="scatter of one law")
        if view.tolerance is not None:
            axes.axhline(
                view.tolerance, color=INK, linewidth=1.0, linestyle="--", label="tolerance"
            )
        axes.set(xlabel="iteration", ylabel="objective", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


def spectrum_figure(view: ScatteringView) -> Figure:
    """Power in bands, its ratio to the example's, and the density of the values."""
    spectrum, pdf = view.curves["spectrum"], view.curves["pdf"]
    with styled():
        figure = new_figure(3.4)
        left, middle, right = figure.subplots(1, 3)
        _draw(left, spectrum)
        left.set(yscale="log", ylabel="variance in the band")
        _keep_positive(left, spectrum)
        ratio = Curve(spectrum.at, 1.0 + spectrum.ratios(), spectrum.chance, spectrum.parts)
        _draw(middle, ratio, "chance")
        middle.set(ylabel="variance / that of the example", ylim=(0.5, 1.5))
        middle.legend(handles=middle.get_legend_handles_labels()[0][:1], fontsize=7.5)
        _draw(right, pdf)
        right.set(yscale="log", xlabel=_LEVEL, ylabel="density")
        _keep_positive(right, pdf)
        for axes in (left, middle):
            _over_scales(axes, view)
        right.legend(fontsize=7.5)
    return figure


def minkowski_figure(view: ScatteringView) -> Figure:
    """Minkowski functionals at levels."""
    per = "radian" if view.sphere else "cell"
    labels = {
        "area": "V0: area above the level",
        "length": f"V1: length of the contour / 4 [1/{per}]",
        "genus": f"V2: genus [1/{per}²]",
    }
    with styled():
        figure = new_figure(3.2)
        for axes, (name, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
            _draw(axes, view.curves[name])
            axes.set(xlabel=_LEVEL, ylabel=label)
            axes.ticklabel_format(axis="y", scilimits=(-2, 3))
        figure.axes[0].legend(fontsize=7.5)
    return figure


def structure_figure(view: ScatteringView) -> Figure:
    """Peaks above thresholds, and bispectra."""
    bispectra = {name: one for name, one in view.curves.items() if name.startswith("bispectrum")}
    titles = {"0": "equilateral", "2": "1 octave squeezed", "4": "2 octaves squeezed"}
    with styled():
        figure = new_figure(3.2)
        panels = figure.subplots(1, 1 + len(bispectra))
        peaks = view.curves["peaks"]
        _draw(panels[0], peaks)
        panels[0].set(yscale="log", xlabel="threshold [deviations]", ylabel="peaks per cell")
        _keep_positive(panels[0], peaks)
        panels[0].legend(fontsize=7.5)
        for axes, (name, curve) in zip(panels[1:], bispectra.items(), strict=True):
            _draw(axes, curve)
            _over_scales(axes, view)
            axes.set_title(titles[name.rpartition("_")[2]])
        panels[1].set_ylabel("bispectrum / product of deviations")
    return figure


def correlation_figure(view: ScatteringView) -> Figure:
    """Correlation of the samples and of the Gaussian field with the example in each band."""
    curve = view.curves[CORRELATION]
    with styled():
        figure = new_figure(2.8)
        axes = figure.subplots()
        for number, values in enumerate(curve.samples):
            label = "samples" if number == 0 else None
            axes.plot(curve.at, values, "o-", color=BLUE, linewidth=0.8, label=label)
        axes.plot(curve.at, curve.gaussian, "--", color=GREY, label="independent Gaussian field")
        axes.axhline(0.0, color=INK, linewidth=0.7)
        axes.set(ylabel="correlation with the example", ylim=(-1.05, 1.05))
        _over_scales(axes, view)
        axes.legend()
    return figure


_LEVEL = "level [deviations of the example]"


def _over_scales(axes: Axes, view: ScatteringView) -> None:
    """Scales along the axis."""
    label = "multipole" if view.sphere else "wave number [rad / cell]"
    axes.set(xscale="log", xlabel=label)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _harmonic(harmonic: int, part: int) -> str:
    return f"harmonic {harmonic}" + (f", {('gradient', 'curl')[part]}" if harmonic else "")


def _rows(view: ScatteringView) -> dict[str, int | slice]:
    """Which maps a figure of matrices compares."""
    rows: dict[str, int | slice] = {"example": 0}
    if view.samples:
        rows["samples"] = slice(2, None)
    return rows | {"Gaussian": 1}


def _matrix(
    values: np.ndarray, rows: np.ndarray, columns: np.ndarray, chosen: np.ndarray
) -> Float[np.ndarray, "row column"]:
    values = np.atleast_2d(values).mean(axis=0)
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    where = rows[chosen] * shape[1] + columns[chosen]
    total = np.bincount(where, values[chosen], shape[0] * shape[1])
    count = np.bincount(where, minlength=shape[0] * shape[1])
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.reshape(shape)


def _draw_matrices(
    panels: np.ndarray,
    drawn: list[list[np.ndarray]],
    names: list[str],
    titles: list[str],
) -> AxesImage:
    """Matrices on one colour scale."""
    everything = np.concatenate([one.ravel() for row in drawn for one in row])
    signed = bool(np.nanmin(everything) < 0.0)
    norm = diverging(everything, 0.2) if signed else Normalize(*robust_range(everything, 0.2))
    images = []
    for row, matrices, name in zip(panels, drawn, names, strict=True):
        for axes, matrix, title in zip(row, matrices, titles, strict=True):
            colours = SIGNED if signed else VALUE
            shown = axes.imshow(matrix, cmap=colours, norm=norm, origin="lower", aspect="auto")
            images.append(shown)
            axes.grid(False)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5, integer=True))
            axes.tick_params(labelsize=7)
            if axes in panels[0]:
                axes.set_title(title, fontsize=8.5, pad=3)
            if axes in panels[-1]:
                axes.set_xlabel("finer scale", fontsize=8)
        row[0].set_ylabel(f"{name}\ncoarser scale", fontsize=8)
    return images[0]


def _draw_scales(axes: Axes, view: ScatteringView, order: OrderView) -> None:
    """Coefficients of one scale: averages, and the orientations of the example one by one."""
    scale = order.axes["scale"]
    everywhere = order.even
    numbers = np.unique(scale)

    def line(row: int | slice, chosen: np.ndarray) -> np.ndarray:
        values = _matrix(order.values[row], scale, np.zeros_like(scale), chosen)[:, 0]
        return values[numbers]

    turns = order.axes.get("orientation")
    for turn in () if turns is None else np.unique(turns):
        label = "orientations" if turn == 0 else None
        axes.plot(
            numbers,
            line(0, everywhere & (turns == turn)),
            color=RED,
            alpha=0.35,
            lw=0.8,
            label=label,
        )
    axes.plot(numbers, line(0, everywhere), color=RED, label="example")
    axes.plot(numbers, line(1, everywhere), "--", color=GREY, label="Gaussian field")
    for number in range(view.samples):
        label = "samples" if number == 0 else None
        axes.plot(numbers, line(2 + number, everywhere), "o", ms=3.5, color=BLUE, label=label)
    if order.name in ("S2", "S11", "power") and np.all(line(0, everywhere) > 0.0):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="scale, finest first", title=order.name)


def _draw(axes: Axes, curve: Curve, shaded: str = "its parts") -> None:
    """A measure of the example with the scatter of its parts, of samples and a Gaussian field."""
    low, high = curve.example - curve.scatter, curve.example + curve.scatter
    axes.fill_between(curve.at, low, high, color=RED, alpha=0.18, lw=0, label=shaded)
    axes.plot(curve.at, curve.example, color=RED, label="example")
    axes.plot(curve.at, curve.gaussian, "--", color=GREY, lw=1.2, label="Gaussian field")
    for number, values in enumerate(curve.samples):
        label = "samples" if number == 0 else None
        axes.plot(curve.at, values, color=BLUE, alpha=0.8, lw=0.9, marker=".", ms=3, label=label)


def _keep_positive(axes: Axes, curve: Curve) -> None:
    """Leave room on a logarithmic axis for what is above zero, and for little below it."""
    known = curve.values[np.isfinite(curve.values) & (curve.values > _FEW)]
    if known.size:
        top = float(known.max())
        bottom = float(max(known.min(), 1e-6 * top))
        axes.set_ylim(0.5 * bottom, 2.5 * top)
