"""Figures of networks: how good a model is, and what it says of maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skysift.report.inference_view import EvaluationView, PredictionView, example_grid
from skysift.report.map_figures import SIGNED, Sky
from skysift.report.style import (
    BLUE,
    GREY,
    INK,
    RED,
    SERIES,
    diverging,
    new_figure,
    styled,
    unit_text,
)

if TYPE_CHECKING:
    import xarray as xr

_POINTS = 400
"""Maps of which bars are drawn."""
_BINS = 20
_CHANCE = 0.99


def predicted_figure(view: EvaluationView) -> Figure:
    """Estimates against truths with bars, and their errors over the deviations below."""
    names = view.names
    with styled():
        figure = new_figure(5.6)
        panels = figure.subplots(
            2, len(names), squeeze=False, sharex="col", gridspec_kw={"height_ratios": (3, 1)}
        )
        for place, name in enumerate(names):
            truths, means, deviations = (
                view.figure(key)[:_POINTS, place] for key in ("truths", "means", "deviations")
            )
            low, high = view.low[place], view.high[place]
            upper, lower = panels[:, place]
            upper.errorbar(
                truths,
                means,
                deviations,
                fmt="o",
                color=BLUE,
                markersize=2.5,
                elinewidth=0.6,
                alpha=0.55,
            )
            upper.plot((low, high), (low, high), color=INK, linewidth=1.0)
            upper.set(xlim=(low, high), ylim=(low, high), ylabel=f"{name}, predicted")
            off = (means - truths) / deviations
            lower.axhspan(-1.0, 1.0, color=BLUE, alpha=0.12, linewidth=0)
            lower.axhline(0.0, color=INK, linewidth=0.8)
            lower.plot(truths, np.clip(off, -4.0, 4.0), "o", color=BLUE, markersize=2, alpha=0.55)
            lower.set(ylim=(-4.2, 4.2), xlabel=f"{name}, true", ylabel="error / deviation")
    return figure


def calibration_figure(view: EvaluationView) -> Figure:
    """Ranks of the truths, and how often intervals hold them."""
    levels = np.linspace(0.02, 0.98, 49)
    tail = 0.5 * (1.0 - _CHANCE)
    with styled():
        figure = new_figure(3.6)
        left, right = figure.subplots(1, 2)
        bins = min(_BINS, max(4, view.maps // 20))
        chance = scipy.stats.binom(view.maps, 1.0 / bins)
        ends = (chance.ppf(tail), chance.ppf(1.0 - tail))
        left.axhspan(*ends, color=GREY, alpha=0.25, linewidth=0)
        left.axhline(view.maps / bins, color=INK, linewidth=0.8)
        held = view.coverage(levels)
        spread = scipy.stats.binom(view.maps, levels)
        right.fill_between(
            levels,
            spread.ppf(tail) / view.maps,
            spread.ppf(1.0 - tail) / view.maps,
            color=GREY,
            alpha=0.25,
            linewidth=0,
        )
        right.plot((0.0, 1.0), (0.0, 1.0), color=INK, linewidth=0.8)
        highest = ends[1]
        for place, name in enumerate(view.names):
            colour = SERIES[place % len(SERIES)]
            counts, edges = np.histogram(view.figure("ranks")[:, place], bins, (0.0, 1.0))
            left.stairs(counts, edges, color=colour, linewidth=1.6, label=name)
            right.plot(levels, held[:, place], color=colour, label=name)
            highest = max(highest, counts.max())
        left.set(xlim=(0, 1), ylim=(0, 1.15 * highest), xlabel="rank of the truth", ylabel="maps")
        right.set(
            xlim=(0, 1), ylim=(0, 1), xlabel="level of the interval", ylabel="holds the truth"
        )
        right.legend(loc="upper left")
    return figure


def history_figure(view: EvaluationView) -> Figure:
    """Losses and errors after each epoch."""
    training, validation = view.figure("training_loss"), view.figure("validation_loss")
    epochs = np.arange(len(validation))
    spread = (view.high - view.low) / math.sqrt(12.0)
    with styled():
        figure = new_figure(3.2)
        left, right = figure.subplots(1, 2)
        for member in range(validation.shape[1]):
            told = member == 0
            # The first is the start, of which there is no training.
            left.plot(
                epochs[1:],
                training[1:, member],
                color=GREY,
                label="training" if told else None,
            )
            left.plot(
                epochs, validation[:, member], color=BLUE, label="validation" if told else None
            )
        left.set(xlabel="epoch", ylabel="loss [nats]")
        left.legend()
        for place, name in enumerate(view.names):
            colour = SERIES[place % len(SERIES)]
            right.plot(
                epochs,
                view.figure("validation_rmse")[:, place] / spread[place],
                color=colour,
                label=name,
            )
            if view.has_limit:
                limit = view.figure("limit_rmse")[place] / spread[place]
                right.axhline(limit, color=colour, linestyle="--", linewidth=1.0)
        right.set(xlabel="epoch", ylabel="rms error / deviation of the prior")
        right.legend()
        for axes in (left, right):
            axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def example_figure(dataset: xr.Dataset) -> Figure:
    """A map, one panel for each Stokes parameter."""
    array = dataset["example"]
    unit = unit_text(str(array.attrs.get("units", "")))
    grid, values = example_grid(array.values)
    letters = [str(one) for one in dataset["stokes"].values]
    sky = Sky(grid, rows=1, columns=len(letters))
    with styled():
        figure, panels = sky.panels()
        norm = diverging(values)
        for axes, letter, row in zip(panels.flat, letters, values, strict=True):
            label = f"{letter} [{unit}]" if unit else letter
            sky.draw(axes, row, SIGNED, norm, label, "")
    return figure


def example_posterior(view: EvaluationView) -> Figure:
    """Densities of the parameters of the example, with the truths."""
    draws, truths = view.figure("example_draws"), view.figure("example_truth")
    with styled():
        figure = new_figure(2.6)
        panels = figure.subplots(1, len(view.names), squeeze=False)[0]
        for place, (axes, name) in enumerate(zip(panels, view.names, strict=True)):
            ends = (float(view.low[place]), float(view.high[place]))
            density(axes, draws[:, place], ends, float(truths[place]))
            axes.set_xlabel(name)
    return figure


def posterior_figure(view: PredictionView) -> Figure:
    """Densities of the parameters of the first maps: a row for each map."""
    draws = view.dataset["draws"].values
    with styled():
        figure = new_figure(1.35 * len(draws) + 0.6)
        panels = figure.subplots(len(draws), len(view.names), squeeze=False, sharex="col")
        for row, some in enumerate(draws):
            for place, name in enumerate(view.names):
                axes = panels[row, place]
                low, high = (float(view.dataset[key][place]) for key in ("low", "high"))
                density(axes, some[:, place], (low, high))
                axes.axvline(some[:, place].mean(), color=INK, linewidth=1.0)
                if row == len(draws) - 1:
                    axes.set_xlabel(name)
            panels[row, 0].set_ylabel(view.titles[row], fontsize=8)
    return figure


def density(
    axes: Axes,
    draws: Float[np.ndarray, " draw"],
    prior: tuple[float, float],
    truth: float | None = None,
) -> None:
    """The density of draws over the prior, with its central intervals.

    Args:
        axes: to draw in.
        draws: of the posterior.
        prior: its bounds.
        truth: where it is known.
    """
    low, high = prior
    at = np.linspace(low, high, 400)
    # Mirrored at the bounds, beyond which there is nothing.
    mirrored = np.concatenate([draws, 2.0 * low - draws, 2.0 * high - draws])
    width = 1.06 * min(draws.std(), 0.3 * (high - low)) * draws.size**-0.2
    values = np.zeros_like(at)
    for one in np.array_split(mirrored, 30):
        values += np.exp(-0.5 * ((at[:, None] - one) / width) ** 2).sum(axis=1)
    values /= values.max()
    for level, shade in ((0.95, 0.15), (0.68, 0.3)):
        first, last = np.quantile(draws, (0.5 - 0.5 * level, 0.5 + 0.5 * level))
        inside = (at >= first) & (at <= last)
        axes.fill_between(at[inside], values[inside], color=BLUE, alpha=shade, linewidth=0)
    axes.plot(at, values, color=BLUE)
    if truth is not None:
        axes.axvline(truth, color=RED, linestyle="--", linewidth=1.2)
    axes.set(xlim=(low, high), ylim=(0.0, 1.08), yticks=())
