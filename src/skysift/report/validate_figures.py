"""Figures of a validation: the objective around a solution, and pulls."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from skysift.compsep.perturb import Profile, Surface
from skysift.grid import Grid
from skysift.report.data import ReportData
from skysift.report.map_figures import SIGNED, Sky
from skysift.report.style import INK, RED, SERIES, diverging, new_figure, styled

LEVELS = tuple(0.5 * float(stats.chi2.ppf(p, 2)) for p in (0.6827, 0.9545, 0.9973))
"""Rise of the objective that encloses 68, 95 and 99.7 % of two Gaussian parameters."""


@dataclass(frozen=True, eq=False)
class GradientMaps:
    """The gradient on the cells, in standard deviations of what it is the gradient by.

    Args:
        title: where it was taken.
        values: of each spectral parameter.
    """

    title: str
    values: Mapping[str, Float[np.ndarray, " cell"]]


def perturbed(profiles: Sequence[Profile]) -> Figure:
    """Objective above the solution's, and gradient norm of each kind, over the steps.

    One row for each set of parameters that is moved, one curve for each scale.

    Args:
        profiles: at least one.

    Raises:
        ValueError: without profiles.
    """
    if not profiles:
        raise ValueError("profiles: expected at least one to draw, got none.")
    moved = list(dict.fromkeys(profile.moved for profile in profiles))
    kinds = list(profiles[0].gradient)
    with styled():
        figure = new_figure(2.1 * len(moved) + 0.5)
        panels = figure.subplots(len(moved), 1 + len(kinds), squeeze=False, sharex=True)
        for row, name in zip(panels, moved, strict=True):
            lines = [profile for profile in profiles if profile.moved == name]
            _rise(row[0], lines)
            for axes, kind in zip(row[1:], kinds, strict=True):
                _norms(axes, lines, kind)
            what = "all parameters" if name == "all" else name
            row[0].set_ylabel(f"{what} moved\nobjective − solution")
        for axes, kind in zip(panels[0, 1:], kinds, strict=True):
            axes.set_title(f"‖gradient‖ of {kind}")
        panels[0, 0].set_title("objective")
        for axes in panels.flat:
            axes.axvline(0, color=RED, linestyle="--", linewidth=0.9)
        for axes in panels[-1]:
            axes.set_xlabel("steps")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def contour(surface: Surface) -> Figure:
    """Objective over two patch parameters, with what the Hessian predicts.

    Args:
        surface: of the objective.
    """
    with styled():
        figure = new_figure(4.6)
        axes = figure.subplots()
        top = max(2.0 * LEVELS[-1], float(np.nanmin([surface.rise.max(), 60.0])))
        shades = axes.contourf(
            surface.first,
            surface.second,
            np.minimum(surface.rise, top).T,
            levels=np.linspace(min(float(surface.rise.min()), 0.0), top, 25),
            cmap=mpl.colormaps["viridis_r"],
            extend="max",
        )
        for values, style, colour in (
            (surface.rise, "solid", INK),
            (surface.quadratic, "dashed", RED),
        ):
            axes.contour(
                surface.first,
                surface.second,
                values.T,
                levels=LEVELS,
                colors=colour,
                linestyles=style,
                linewidths=1.1,
            )
        axes.plot(*surface.centre, "+", color=RED, markersize=11, mew=1.8)
        axes.set(xlabel=surface.names[0], ylabel=surface.names[1])
        axes.grid(visible=False)
        figure.colorbar(shades, ax=axes, label="objective − solution", pad=0.02)
    return figure


def gradient_maps(grid: Grid, maps: Sequence[GradientMaps]) -> Figure:
    """The gradient of each spectral parameter on the sky; one column for each place.

    Args:
        grid: the cells.
        maps: at least one.

    Raises:
        ValueError: without maps, or if the cells have no place on the sphere.
    """
    if not maps:
        raise ValueError("maps: expected at least one to draw, got none.")
    names = list(maps[0].values)
    sky = Sky(grid, rows=len(names), columns=len(maps))
    with styled():
        figure, panels = sky.panels()
        for row, name in zip(panels, names, strict=True):
            for axes, one in zip(row, maps, strict=True):
                values = one.values[name]
                sky.draw(axes, values, SIGNED, diverging(values), f"{name} [σ]", one.title)
    return figure


def component_pulls(data: ReportData) -> Figure:
    """Recovered minus input amplitude over its error, per component and Stokes parameter.

    Args:
        data: with a truth.

    Raises:
        ValueError: if no component's input is known.
    """
    known = [component for component in data.components if component.truth is not None]
    if not known:
        raise ValueError("truth: expected at least one component's input, got none.")
    edges = np.linspace(-5, 5, 61)
    middle, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    with styled():
        figure = new_figure(2.9)
        panels = figure.subplots(1, len(known), squeeze=False)[0]
        for axes, component in zip(panels, known, strict=True):
            assert component.truth is not None
            pulls = (component.values - component.truth) / component.errors
            for row, letter, colour in zip(pulls, data.stokes.value, SERIES, strict=False):
                finite = row[np.isfinite(row)]
                counts, _ = np.histogram(np.clip(finite, -5, 5), edges)
                label = f"{letter}, rms {np.sqrt(np.mean(finite**2)):.2f}"
                axes.stairs(counts / max(finite.size, 1) / width, edges, color=colour, label=label)
            axes.plot(middle, stats.norm.pdf(middle), color=INK, linewidth=1.1)
            axes.set(title=component.title, xlabel="(recovered − input) / error", xlim=(-5, 5))
            axes.legend()
        panels[0].set_ylabel("density of cells")
    return figure


def _rise(axes: Axes, lines: Sequence[Profile]) -> None:
    """Scales differ by orders of magnitude: logarithmic, but a fall is seen below zero."""
    for line, colour in zip(lines, itertools.cycle(SERIES), strict=False):
        axes.plot(line.steps, line.rise, "o-", color=colour, label=f"step {line.scale:g}", ms=3)
    sizes = np.abs(np.concatenate([line.rise for line in lines]))
    least = sizes[sizes > 1e-9 * sizes.max(initial=0.0)].min(initial=1.0)
    axes.set_yscale("symlog", linthresh=least)


def _norms(axes: Axes, lines: Sequence[Profile], kind: str) -> None:
    for line, colour in zip(lines, itertools.cycle(SERIES), strict=False):
        norms = line.gradient[kind]
        axes.plot(line.steps, np.where(norms > 0, norms, np.nan), "o-", color=colour, ms=3)
        if np.any(norms > 0):
            axes.set_yscale("log")
