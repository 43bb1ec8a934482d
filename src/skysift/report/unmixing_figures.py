"""Figures of a statistical separation: maps, spectra, losses, where it is deterministic."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from skysift.grid import Grid
from skysift.report.map_figures import ERROR, SIGNED, VALUE, Sky
from skysift.report.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RED,
    SERIES,
    colour_bar,
    diverging,
    new_figure,
    sequential,
    styled,
    unit_text,
)
from skysift.report.unmixing_view import DETERMINISTIC, UnmixingView

_SHOWN = 3
"""Further solutions at most that are drawn."""


def maps_figure(view: UnmixingView) -> Figure:
    """Data and signal on one colour scale, what is left and a draw on another."""
    left = view.left[0]
    value, signed = sequential(view.data), diverging(np.stack([left, view.draw]))
    panels: list[_Panel] = [
        ("data", view.data, VALUE, value),
        ("signal", view.signals[0], VALUE, value),
        ("contamination: data − signal", left, SIGNED, signed),
        ("a draw of the contamination", view.draw, SIGNED, signed),
    ]
    return _maps(view, panels)


def solutions_figure(view: UnmixingView) -> Figure:
    """Further solutions, and the standard deviation over all of them."""
    value = sequential(view.data)
    spread = view.signals.std(axis=0, ddof=1)
    panels: list[_Panel] = [
        (f"signal, solution {number}", one, VALUE, value)
        for number, one in enumerate(view.signals[1 : 1 + _SHOWN], 1)
    ]
    panels.append(("standard deviation of the solutions", spread, ERROR, sequential(spread)))
    return _maps(view, panels)


def spectra_figure(view: UnmixingView) -> Figure:
    """Variance in bands of all maps, with what should be one below."""
    spectra, at = view.spectra, view.spectra.at
    noise, scatter = spectra.contamination, spectra.draws.std(axis=0)
    with styled():
        figure = new_figure(5.4)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        low = np.maximum(noise - scatter, 0.1 * noise)
        top.fill_between(at, low, noise + scatter, color=ORANGE, alpha=0.25, lw=0)
        top.plot(at, noise, color=ORANGE, label="contamination: mean and scatter of the draws")
        top.plot(at, spectra.left[0], ":", color=ORANGE, label="what is left of the data")
        top.plot(at, spectra.data, "--", color=INK, lw=1.2, label="data")
        for number, one in enumerate(spectra.signals):
            label = "signal" if number == 0 else None
            width, size = (1.6, 4.5) if number == 0 else (0.7, 2.5)
            top.plot(at, one, "o-", color=BLUE, lw=width, ms=size, label=label)
        shown = np.concatenate([noise, spectra.data, spectra.signals[0]])
        # What is left at scales that are held fixed is rounding.
        edge = 0.2 * float(np.min(shown[shown > 0.0], initial=np.max(shown)))
        top.set(yscale="log", ylabel=f"variance in the band{_squared(view.unit)}")
        top.set_ylim(bottom=edge)
        top.legend()
        totals = spectra.totals / spectra.data
        mean, spread = totals.mean(axis=0), totals.std(axis=0)
        bottom.fill_between(at, mean - spread, mean + spread, color=BLUE, alpha=0.2, lw=0)
        bottom.plot(at, mean, color=BLUE, label="signal and draws / data")
        bottom.plot(at, spectra.left[0] / noise, ":", color=ORANGE, label="left / draws")
        bottom.axhline(1.0, color=INK, linewidth=0.8)
        bottom.set(ylabel="ratio", ylim=(0.0, 2.0))
        bottom.legend(ncols=2)
        _over_scales(bottom, view)
    return figure


def turning_figure(view: UnmixingView) -> Figure:
    """Expected correlation with the true signal, and the scale where it is one half."""
    spectra, at = view.spectra, view.spectra.at
    with styled():
        figure = new_figure(3.4)
        left, right = figure.subplots(1, 2)
        ratio = spectra.ratio
        left.plot(at, np.where((ratio > 0.0) & np.isfinite(ratio), ratio, np.nan), "o-", color=BLUE)
        left.axhline(1.0 / 3.0, color=GREY, linewidth=1.0, linestyle="--")
        left.text(at[0], 1.0 / 3.0, "1/3", va="bottom", fontsize=8.5, color=GREY)
        left.set(yscale="log", ylabel="signal / contamination")
        right.plot(at, spectra.correlation, "o-", color=BLUE, label="expected with the truth")
        if np.isfinite(spectra.agreement).any():
            right.plot(at, spectra.agreement, "s:", color=ORANGE, label="of two solutions")
        right.axhline(DETERMINISTIC, color=GREY, linewidth=1.0, linestyle="--")
        right.set(ylabel="correlation", ylim=(min(-0.05, _least(spectra.agreement)), 1.05))
        turn = spectra.transition
        for axes in (left, right):
            if 0.0 < turn < math.inf:
                axes.axvline(turn, color=RED, linewidth=1.0)
            _over_scales(axes, view)
        if 0.0 < turn < math.inf:
            where = left.get_xaxis_transform()
            place = {"ha": "right", "va": "top", "fontsize": 8.5, "color": RED}
            left.text(turn, 0.98, "statistical beyond  ", transform=where, **place)
        right.legend(loc="lower left")
    return figure


def losses_figure(view: UnmixingView) -> Figure:
    """Loss of each constraint at each step of each solution."""
    with styled():
        figure = new_figure(3.2)
        axes = figure.subplots()
        for number, course in enumerate(view.courses):
            for colour, (name, values) in zip(_colours(view), course.losses.items(), strict=True):
                axes.plot(
                    np.arange(values.size),
                    np.where(values > 0.0, values, np.nan),
                    "o-",
                    ms=3,
                    color=colour,
                    lw=1.6 if number == 0 else 0.7,
                    alpha=1.0 if number == 0 else 0.6,
                    label=name if number == 0 else None,
                )
        axes.axhline(1.0, color=GREY, linewidth=1.0, linestyle=":", label="true signal")
        if view.tolerance != 1.0:
            axes.axhline(
                view.tolerance, color=INK, linewidth=1.0, linestyle="--", label="tolerance"
            )
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(ncols=2 if len(view.courses[0].losses) > 4 else 1)
    return figure


_Panel = tuple[str, Float[np.ndarray, "..."], Colormap, Normalize]


def _maps(view: UnmixingView, drawn: list[_Panel]) -> Figure:
    """Maps in two columns."""
    rows = math.ceil(len(drawn) / 2)
    with styled():
        if view.sphere:
            sky = Sky(Grid(math.isqrt(view.data.size // 12)), rows, 2)
            figure, panels = sky.panels()
            for axes, (title, values, colours, norm) in zip(panels.flat, drawn, strict=False):
                sky.draw(axes, values, colours, norm, unit_text(view.unit), title)
        else:
            ratio = view.data.shape[0] / view.data.shape[1]
            figure = new_figure(rows * min(5.0 * ratio + 0.75, 5.0))
            panels = figure.subplots(rows, 2, squeeze=False)
            for axes, (title, values, colours, norm) in zip(panels.flat, drawn, strict=False):
                image = axes.imshow(values, cmap=colours, norm=norm, origin="lower")
                axes.set_title(title, pad=5)
                axes.set_axis_off()
                colour_bar(axes, image, unit_text(view.unit))
        for axes in panels.flat[len(drawn) :]:
            axes.set_visible(False)
    return figure


def _colours(view: UnmixingView) -> list[str]:
    names = list(view.courses[0].losses)
    return [SERIES[number % len(SERIES)] for number in range(len(names))]


def _least(values: Float[np.ndarray, " band"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.min()) - 0.05 if known.size else 0.0


def _squared(unit: str) -> str:
    shown = unit_text(unit) if unit.replace("_", "").isalnum() else f"({unit_text(unit)})"
    return f" [{shown}²]" if unit else ""


def _over_scales(axes: Axes, view: UnmixingView) -> None:
    """Scales along the axis."""
    axes.set(xscale="log", xlabel=view.scale)
    axes.xaxis.set_minor_formatter(NullFormatter())
