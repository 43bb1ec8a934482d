"""Figures that are charts: convergence, chi2, spectra, histograms, residual levels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from scipy import stats

from skysift.report.data import ReportData
from skysift.report.spectra import Spectrum, binned
from skysift.report.style import (
    BLUE,
    INK,
    ORANGE,
    RED,
    SERIES,
    new_figure,
    robust_range,
    styled,
    unit_text,
)
from skysift.report.views import ParameterView

_BINS = 50


def convergence(data: ReportData) -> Figure:
    """Objective above its final value, and norm of the projected gradient, per iteration.

    Raises:
        ValueError: without a history.
    """
    history = data.history
    if history.objective.size == 0:
        raise ValueError("history: expected at least one iteration, got none.")
    above = history.objective - min(float(np.min(history.objective)), data.status.objective)
    with styled():
        figure = new_figure(3.1)
        left, right = figure.subplots(1, 2)
        _log_line(left, above, "objective − final", BLUE)
        _log_line(right, history.projected_gradient, "‖projected gradient‖", RED)
        for axes in (left, right):
            axes.set_xlabel("iteration")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(-0.3, max(history.objective.size - 0.7, 0.7))
    return figure


def chi2_histogram(data: ReportData) -> Figure:
    """chi2 of the cells with the distribution that the noise should give.

    Outliers are counted in the first and the last bin, so that the bars add up to the cells.

    Raises:
        ValueError: if no cell has a finite chi2.
    """
    chi2 = data.chi2[np.isfinite(data.chi2)]
    if chi2.size == 0:
        raise ValueError("chi2: expected finite values, got none.")
    dof = data.effective_dof[np.isfinite(data.chi2)]
    low, high = robust_range(chi2, 0.2)
    if data.weights_are_noise:
        low, high = _expected_range(dof, low, high)
    edges = np.linspace(low, high, _BINS + 1)
    with styled():
        figure = new_figure(3.3)
        axes = figure.subplots()
        counts, _ = np.histogram(np.clip(chi2, low, high), edges)
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.45, label=f"{chi2.size:,} cells")
        if data.weights_are_noise:
            x = np.linspace(low, high, 400)
            expected = _expected_counts(x, dof) * (edges[1] - edges[0])
            axes.plot(x, expected, color=INK, label=f"expected, mean {dof[dof > 0].mean():.2f}")
        axes.axvline(chi2.mean(), color=RED, linestyle="--", label=f"mean {_tick(chi2.mean())}")
        axes.set(xlabel="χ² of a cell", ylabel="cells", xlim=(low, high))
        axes.ticklabel_format(axis="x", scilimits=(-3, 5), useMathText=True)
        axes.legend()
    return figure


def parameter_histograms(data: ReportData) -> Figure:
    """Estimates of the patches, with the mean input of the same patches where known.

    Raises:
        ValueError: if nothing was fitted.
    """
    with styled():
        figure, panels = _panels(data.parameters, 2.9)
        for axes, parameter in zip(panels[0], data.parameters, strict=True):
            truth = parameter.patch_truth
            known = parameter.values if truth is None else np.r_[parameter.values, truth]
            low, high = robust_range(known, 0.2)
            bins = np.linspace(low, high, 40)
            clipped = np.clip(parameter.values, low, high)
            counts, _ = np.histogram(clipped, bins)
            axes.stairs(counts, bins, fill=True, color=BLUE, alpha=0.5, label="estimate")
            if truth is not None:
                counts, _ = np.histogram(np.clip(truth, low, high), bins)
                axes.stairs(counts, bins, color=ORANGE, linewidth=1.6, label="input")
            axes.axvline(
                float(parameter.map.mean()), color=RED, linestyle="--", label="mean over cells"
            )
            axes.set(xlabel=parameter.title, ylabel="patches", xlim=(low, high))
            axes.margins(y=0.12)
        _shared_legend(figure, panels[0, 0])
    return figure


def residual_levels(data: ReportData) -> Figure:
    """Residual rms per channel against the instrument's noise per cell, and their ratio.

    Raises:
        ValueError: without residuals.
    """
    view = data.residuals
    if view is None:
        raise ValueError(
            "residuals: expected the fitted maps, got none. Use ReportData.with_residuals."
        )
    order = np.argsort(view.frequencies, kind="stable")
    nu, rms, noise = view.frequencies[order], view.rms[order], view.noise[order]
    ratio = rms / noise
    # Maps without noise leave nothing to compare with the instrument's.
    compare = np.isfinite(ratio).any() and float(np.nanmax(ratio)) > 0.1
    with styled():
        figure = new_figure(3.3)
        panels = figure.subplots(1, 2 if compare else 1, squeeze=False)[0]
        _levels(panels[0], data.stokes.value, nu, rms, noise)
        if compare:
            for i in range(len(data.stokes)):
                panels[1].plot(nu, ratio[:, i], "o", color=SERIES[i], fillstyle="none")
            panels[1].axhline(1.0, color=INK, linewidth=0.9)
            panels[1].set_ylabel("residual rms / instrument noise")
            panels[1].set_ylim(0.0, max(1.1 * float(np.nanmax(ratio)), 1.15))
        for axes in panels:
            _frequency_axis(axes, nu)
    return figure


def spectra(curves: Sequence[Spectrum]) -> Figure:
    """EE and BB of each curve: measured ones binned, theory as lines.

    Args:
        curves: measured first.

    Raises:
        ValueError: without curves.
    """
    if not curves:
        raise ValueError("curves: expected at least one spectrum, got none.")
    with styled():
        figure = new_figure(3.9)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, kind in zip(panels, ("EE", "BB"), strict=True):
            colours, dashes = itertools.cycle(SERIES), itertools.cycle(("--", ":", "-."))
            for order, curve in enumerate(curves):
                cl = curve.ee if kind == "EE" else curve.bb
                if curve.is_theory:
                    dash = next(dashes)
                    axes.plot(
                        curve.ell, cl, color=INK, linestyle=dash, linewidth=1.2, label=curve.name
                    )
                    continue
                # The first curve has markers and lies on top: curves of a good fit coincide.
                marker, width = ("o", 1.0) if order == 0 else ("", 2.2)
                axes.plot(
                    *binned(curve.ell, cl),
                    marker=marker,
                    markersize=3.5,
                    linewidth=width,
                    color=next(colours),
                    label=curve.name,
                    zorder=3.0 - 0.1 * order,
                )
            axes.set(xscale="log", yscale="log", xlabel="multipole ℓ", title=kind)
        panels[0].set_ylabel(r"$C_\ell$ [µK²]")
        _shared_legend(figure, panels[0])
    return figure


def truth_comparison(data: ReportData) -> Figure:
    """Estimate against mean input of each patch, and the pulls against a standard normal.

    Raises:
        ValueError: if no parameter's input is known.
    """
    known = [parameter for parameter in data.parameters if parameter.truth is not None]
    with styled():
        rows = 2 if data.weights_are_noise else 1
        figure, panels = _panels(known, 2.9 * rows, rows)
        for column, parameter in enumerate(known):
            _scatter(panels[0, column], parameter)
            if rows == 2:
                _pull_histogram(panels[1, column], parameter)
    return figure


def _levels(axes: Axes, letters: str, nu: np.ndarray, rms: np.ndarray, noise: np.ndarray) -> None:
    groups: dict[bytes, str] = {}
    for i, letter in enumerate(letters):
        label = f"{letter} residual"
        axes.plot(nu, rms[:, i], "o", color=SERIES[i], fillstyle="none", label=label)
        if np.isfinite(noise[:, i]).any():
            key = noise[:, i].tobytes()
            groups[key] = f"{groups[key]}, {letter}" if key in groups else letter
    for key, group in groups.items():
        label = f"noise of {group}"
        axes.plot(nu, np.frombuffer(key), "_", color=INK, markersize=13, label=label)
    axes.set(yscale="log", ylabel=f"rms [{unit_text('uK_CMB')}]")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend()


def _scatter(axes: Axes, parameter: ParameterView) -> None:
    truth = parameter.patch_truth
    if truth is None:
        return
    across, up = robust_range(truth, 0.5), robust_range(parameter.values, 0.5)
    if truth.size > 2000:
        axes.hist2d(
            truth,
            parameter.values,
            bins=70,
            range=(across, up),
            cmap="Blues",
            norm=LogNorm(vmin=0.5),
            rasterized=True,
        )
    else:
        axes.plot(truth, parameter.values, "o", color=BLUE, markersize=3, alpha=0.45, mew=0)
        axes.set(xlim=_widened(across), ylim=_widened(up))
    axes.axline((across[0], across[0]), slope=1, color=INK, linewidth=0.9)
    axes.set(xlabel=f"input {parameter.title}, patch mean", ylabel="estimate", title=parameter.name)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _pull_histogram(axes: Axes, parameter: ParameterView) -> None:
    pulls = parameter.pulls
    if pulls is None or pulls.size == 0:
        axes.set_visible(False)
        return
    edges = np.linspace(-5, 5, 41)
    counts, _ = np.histogram(np.clip(pulls, -5, 5), edges)
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.5)
    x = np.linspace(-5, 5, 200)
    axes.plot(x, stats.norm.pdf(x) * pulls.size * (edges[1] - edges[0]), color=INK)
    inside = float(np.mean(np.abs(pulls) < 1))
    axes.set(xlabel="(estimate − input) / error", ylabel="patches", xlim=(-5, 5))
    axes.text(
        0.03, 0.96, f"{inside:.0%} within 1σ\n(68% expected)", transform=axes.transAxes, va="top"
    )
    axes.margins(y=0.12)


def _panels(
    parameters: Sequence[ParameterView], height: float, rows: int = 1
) -> tuple[Figure, np.ndarray]:
    if not parameters:
        raise ValueError("parameters: expected at least one to draw, got none.")
    figure = new_figure(height)
    return figure, figure.subplots(rows, len(parameters), squeeze=False)


def _log_line(axes: Axes, values: Float[np.ndarray, " iteration"], label: str, colour: str) -> None:
    positive = np.where(values > 0, values, np.nan)
    axes.plot(np.arange(values.size), positive, "o-", color=colour)
    axes.set_ylabel(label)
    if np.isfinite(positive).any():
        axes.set_yscale("log")


def _expected_range(dof: np.ndarray, low: float, high: float) -> tuple[float, float]:
    used = dof[dof > 0]
    return (
        min(low, float(stats.chi2.ppf(1e-3, used.min()))),
        max(high, float(stats.chi2.ppf(1 - 1e-3, used.max()))),
    )


def _expected_counts(x: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Cells per unit of chi2: the density of each number of degrees of freedom, whole or not."""
    values, counts = np.unique(np.round(dof[dof > 0], 1), return_counts=True)
    return counts @ stats.chi2.pdf(x[None, :], values[:, None])


def _frequency_axis(axes: Axes, frequencies: np.ndarray) -> None:
    axes.set(xscale="log", xlabel="frequency [GHz]")
    low, high = frequencies.min(), frequencies.max()
    decade = 10.0 ** math.floor(math.log10(low))
    ticks = [f * d for d in (decade, 10 * decade, 100 * decade) for f in (1, 2, 3, 5, 7)]
    axes.set_xlim(low / 1.12, high * 1.12)
    axes.set_xticks([tick for tick in ticks if low / 1.1 <= tick <= high * 1.1])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _shared_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5))


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    room = 0.05 * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room


def _tick(value: float) -> str:
    return f"{value:.2f}" if 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"
