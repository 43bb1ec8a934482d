"""Figures of a comparison of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from skysift.harmonic import CMBSpectra
from skysift.report.compare_data import ComparedRun, Comparison
from skysift.report.map_figures import SIGNED, Sky
from skysift.report.style import GREY, INK, SERIES, diverging, new_figure, robust_range, styled

MOST_MAPS = 8
"""Runs whose maps are drawn; more are left out."""

RESIDUALS = ("total", "systematic", "statistical")
"""Residuals of the CMB, by where they come from."""

PARTS = (*RESIDUALS, "recovered CMB")
"""Spectra that runs may have, by the title of their panel."""

_PALEST = 0.6  # share of white in the colour of a group's run with the most patches


def spectra(comparison: Comparison, theory: CMBSpectra | None = None) -> Figure:
    """BB of the residuals and, of single separations, of the recovered CMB, over the theory.

    Args:
        comparison: of runs, of which some have spectra.
        theory: curves to compare with: lensing, and tensors.

    Raises:
        ValueError: if no run has spectra.
    """
    drawn = _having(comparison, lambda run: bool(_powers(run)), "spectra")
    theory = theory or CMBSpectra.packaged()
    every = [_powers(one.run) for one in drawn]
    parts = [part for part in PARTS if any(part in powers for powers in every)]
    with styled():
        figure = new_figure(4.0)
        panels = figure.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
        for one, powers in zip(drawn, every, strict=True):
            for axes, part in zip(panels, parts, strict=True):
                if part in powers:
                    _curve(axes, *powers[part], one)
        curves = [power for powers in every for power in powers.values()]
        top = min(int(max(ell[-1] for ell, _ in curves)), theory.lmax)
        fine = np.arange(2, top + 1)
        lensing = theory.cl(r=0.0, lmax=top)[2, 2:]
        tensors = theory.cl(r=1e-3, lmax=top)[2, 2:] - lensing
        for axes, part in zip(panels, parts, strict=True):
            axes.plot(fine, lensing, "--", color=INK, lw=1.1, label="lensing")
            axes.plot(fine, tensors, ":", color=GREY, lw=1.3, label="tensors, r = 0.001")
            axes.set(xscale="log", yscale="log", xlabel="multipole ℓ", title=part)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        panels[0].set_ylabel(r"$C_\ell^{BB}$ [µK²]")
        means = np.concatenate([rows.mean(axis=0) for _, rows in curves])
        means = np.r_[means[means > 0], lensing]
        panels[0].set_ylim(0.3 * means.min(), 3 * means.max())
        _legend(figure, list(panels))
    return figure


def likelihoods(comparison: Comparison) -> Figure:
    """Likelihood of r of each run.

    Raises:
        ValueError: if no run has one.
    """
    drawn = _having(comparison, lambda run: run.ratio is not None, "r")
    with styled():
        figure = new_figure(3.6)
        axes = figure.subplots()
        low, high = np.inf, -np.inf
        for one in drawn:
            assert one.run.ratio is not None
            ratio, label = one.run.ratio, one.label
            for grid, curve in zip(
                np.atleast_2d(ratio.grid), np.atleast_2d(ratio.likelihood), strict=True
            ):
                axes.plot(grid, curve, color=one.colour, label=label)
                label, shown = None, grid[curve > 1e-3]
                low, high = min(low, shown[0]), max(high, shown[-1])
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.set(
            xlabel="tensor-to-scalar ratio r",
            ylabel="likelihood / maximum",
            xlim=(min(low, 0.0), high),
            ylim=(0.0, 1.06),
        )
        _legend(figure, [axes])
    return figure


def trends(comparison: Comparison) -> Figure:
    """r, CMB variance and objective against the number of patches, and r against variance."""
    colours = _colours(comparison)
    with styled():
        figure = new_figure(6.2)
        panels = figure.subplots(2, 2)
        for group in comparison.groups:
            colour = colours[group.name]
            runs = group.by_patches
            patches = np.array([run.patches for run in runs], dtype=float)
            variance = np.array([run.cmb_variance for run in runs])
            objective = np.array([run.objective for run in runs])
            r, below, above = np.array([_r(run) for run in runs]).T
            style = {"color": colour, "marker": "o", "linewidth": 1.0, "label": group.name}
            panels[0, 0].errorbar(patches, r, [below, above], capsize=2, **style)
            panels[0, 1].plot(patches, variance, **style)
            panels[1, 0].plot(patches, objective, **style)
            panels[1, 1].errorbar(
                variance, r, [below, above], capsize=2, **(style | {"linestyle": ""})
            )
        for axes in panels.flat[:3]:
            axes.set_xlabel("patches of all parameters")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panels[0, 0].set(ylabel="r", title="r with its 68 % interval")
        panels[0, 1].set(ylabel="µK²", title="variance of the recovered CMB")
        panels[1, 0].set(ylabel="½ χ²", title="objective")
        panels[1, 1].set(xlabel="CMB variance [µK²]", ylabel="r", title="r against variance")
        has_r = any(run.ratio is not None for run in comparison.runs)
        has_cmb = any(np.isfinite(run.cmb_variance) for run in comparison.runs)
        there = (has_r, has_cmb, True, has_r and has_cmb)
        for axes, known in zip(panels.flat, there, strict=True):
            if not known:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "not in these runs", ha="center", transform=axes.transAxes)
        _legend(figure, [panels[0, 1]])
    return figure


def parameter_histograms(comparison: Comparison) -> Figure:
    """Estimates of the patches of each spectral parameter, per group.

    Raises:
        ValueError: if nothing was fitted.
    """
    names = comparison.parameters
    if not names:
        raise ValueError("parameters: expected at least one to draw, got none.")
    colours = _colours(comparison)
    with styled():
        figure = new_figure(3.1)
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            everything = np.concatenate(
                [run.parameters[name].values for run in comparison.runs if name in run.parameters]
            )
            low, high = robust_range(everything, 0.2)
            edges = np.linspace(low, high, 31)
            for group in comparison.groups:
                mine = [run.parameters[name].values for run in group.runs if name in run.parameters]
                if not mine:
                    continue
                counts, _ = np.histogram(np.clip(np.concatenate(mine), low, high), edges)
                share = counts / counts.sum()
                axes.stairs(
                    share, edges, color=colours[group.name], linewidth=1.5, label=group.name
                )
            axes.set(xlabel=name, xlim=(low, high))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_ylabel("share of the patches")
        _legend(figure, list(panels))
    return figure


def maps_minus_truth(comparison: Comparison) -> Figure:
    """Spectral parameters minus their input, a row for each of the first runs that have one.

    Raises:
        ValueError: if no input is known, or the cells have no place on the sphere.
    """
    drawn = _having(comparison, has_truth, "a known input")[:MOST_MAPS]
    rows = [(one.group, one.run) for one in drawn]
    names = [n for n in comparison.parameters if any(n in run.parameters for _, run in rows)]
    # One projection for all rows, that of the largest sky.
    widest = max((run.grid for _, run in rows), key=lambda grid: grid.fsky)
    sky = Sky(widest, rows=len(rows), columns=len(names))
    differences = [
        {n: p.map - p.truth for n, p in run.parameters.items() if p.truth is not None}
        for _, run in rows
    ]
    with styled():
        figure, panels = sky.panels()
        for column, name in zip(panels.T, names, strict=True):
            shown = [one[name] for one in differences if name in one]
            norm = diverging(np.concatenate(shown))
            for axes, (group, run), one in zip(column, rows, differences, strict=True):
                if name not in one:
                    axes.set_visible(False)
                    continue
                title = f"{group}: {run.parameters[name].values.size:,} patches"
                here = Sky(run.grid, rows=len(rows), columns=len(names))
                here.projection = sky.projection
                here.draw(axes, one[name], SIGNED, norm, f"{name} − input", title)
    return figure


def has_truth(run: ComparedRun) -> bool:
    """Whether the input of any spectral parameter is known."""
    return any(parameter.truth is not None for parameter in run.parameters.values())


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A run in a figure.

    Args:
        group: that it belongs to.
        run: the run.
        colour: its group's, the paler the more patches.
        first: whether it is the first of its group, which stands in the legend.
    """

    group: str
    run: ComparedRun
    colour: str
    first: bool

    @property
    def label(self) -> str | None:
        """What the legend says, if anything."""
        return self.group if self.first else None


def _having(
    comparison: Comparison, wanted: Callable[[ComparedRun], bool], what: str
) -> list[_Drawn]:
    """The runs that have something; colours do not depend on what that is."""
    drawn: list[_Drawn] = []
    for group in comparison.groups:
        colour = np.array(to_rgb(_colours(comparison)[group.name]))
        whites, first = np.linspace(0.0, _PALEST, len(group.runs)), True
        for run, white in zip(group.by_patches, whites, strict=True):
            if wanted(run):
                shade = to_hex((1 - white) * colour + white)
                drawn.append(_Drawn(group.name, run, shade, first))
                first = False
    if not drawn:
        raise ValueError(f"comparison: expected a run with {what}, got none.")
    return drawn


def _colours(comparison: Comparison) -> dict[str, str]:
    """Colour of each group, the same in all figures."""
    names = [group.name for group in comparison.groups]
    if len(names) <= len(SERIES):
        return dict(zip(names, SERIES, strict=False))
    places = np.linspace(0, 0.92, len(names))
    return {n: to_hex(mpl.colormaps["viridis"](x)) for n, x in zip(names, places, strict=True)}


def _powers(run: ComparedRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Multipoles and BB, one row per realisation, by part."""
    powers = {}
    if run.spectra is not None:
        for part in RESIDUALS:
            power = getattr(run.spectra, part)
            powers[part] = power.ell, np.atleast_2d(power.values["BB"])
    if run.recovered is not None:
        powers[PARTS[-1]] = run.recovered.ell, run.recovered.bb[None]
    return powers


def _curve(
    axes: Axes,
    ell: Float[np.ndarray, " bin"],
    rows: Float[np.ndarray, "realisation bin"],
    one: _Drawn,
) -> None:
    """Mean over the realisations, with the middle 68 % of them."""
    axes.plot(ell, rows.mean(axis=0), color=one.colour, label=one.label)
    if rows.shape[0] > 1:
        low, high = np.percentile(rows, [16, 84], axis=0)
        axes.fill_between(ell, low, high, color=one.colour, alpha=0.15, lw=0)


def _r(run: ComparedRun) -> tuple[float, float, float]:
    """Best r with its errors; of many their mean; NaN without."""
    if run.ratio is None:
        return np.nan, np.nan, np.nan
    ratio = run.ratio
    numbers = (ratio.r, ratio.sigma_minus, ratio.sigma_plus)
    one, below, above = (float(np.mean(values)) for values in numbers)
    return one, below, above


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One for all panels, each name once."""
    entries = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    columns = min(len(entries), 4)
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)
