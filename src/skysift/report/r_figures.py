"""Figures of a measurement of the tensor-to-scalar ratio."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skysift.cosmology import TensorRatio
from skysift.report.style import BLUE, GREY, INK, RED, SERIES, new_figure, styled

_POINTS = 60  # more bins than this are averaged for the eye


def likelihood(result: TensorRatio, truth: float | None = None) -> Figure:
    """Posterior of r with the intervals that hold 68 and 95 % of it.

    Args:
        result: of one realisation.
        truth: value that went in, where it is known.

    Raises:
        ValueError: for several realisations.
    """
    _require_one(result)
    with styled():
        figure = new_figure(3.6)
        axes = figure.subplots()
        for level, shade in ((0.95, 0.15), (0.68, 0.3)):
            low, high = (float(end) for end in result.limits(level))
            inside = np.linspace(low, high, 200)
            curve = np.interp(inside, result.grid, result.likelihood)
            axes.fill_between(inside, curve, color=BLUE, alpha=shade, lw=0, label=f"{level:.0%}")
        axes.plot(result.grid, result.likelihood, color=BLUE)
        axes.axvline(float(result.r), color=INK, linewidth=1.0, label=f"maximum {result.r:.5f}")
        if truth is not None:
            axes.axvline(truth, color=RED, linestyle="--", label=f"input {truth:g}")
        shown = result.grid[result.likelihood > 3e-4]
        axes.set(
            xlabel="tensor-to-scalar ratio r",
            ylabel="likelihood / maximum",
            xlim=(shown[0], shown[-1]),
            ylim=(0.0, 1.06),
        )
        axes.legend(loc="upper right")
    return figure


def spectrum(result: TensorRatio) -> Figure:
    """Observed BB power with its expected scatter, and the parts of the best fit.

    Raises:
        ValueError: for several realisations.
    """
    _require_one(result)
    power = result.power
    best = np.asarray(result.model)
    r, a_lens = float(result.r), float(result.a_lens)
    with styled():
        figure = new_figure(4.2)
        axes = figure.subplots()
        _points(axes, power.ell, power.observed, best, power.dof)
        axes.plot(power.ell, best, color=INK, label="best fit", zorder=3)
        parts = {
            f"tensors, r = {r:.5f}": r * power.tensor,
            f"lensing, A = {a_lens:.3g}": a_lens * power.lensing,
            "noise": power.noise,
        }
        for (label, part), colour in zip(parts.items(), SERIES[1:], strict=False):
            if np.any(part > 0):
                axes.plot(power.ell, np.where(part > 0, part, np.nan), color=colour, label=label)
        axes.set(xscale="log", yscale="log", xlabel="multipole ℓ", ylabel=r"$C_\ell^{BB}$ [µK²]")
        floor = min(float(np.min(power.observed)), float(np.min(best)))
        axes.set_ylim(bottom=0.03 * floor)
        axes.legend(ncols=2)
    return figure


def _points(
    axes: Axes,
    ell: Float[np.ndarray, " bin"],
    observed: Float[np.ndarray, " bin"],
    best: Float[np.ndarray, " bin"],
    dof: Float[np.ndarray, " bin"],
) -> None:
    """Observed power; where there are many multipoles, means over bins of them."""
    if ell.size <= _POINTS:
        which = np.arange(ell.size)
    else:
        edges = np.unique(np.round(np.geomspace(ell[0], ell[-1] + 1, 30)))
        which = np.digitize(ell, edges) - 1
        axes.plot(ell, observed, ".", color=GREY, markersize=2.5, alpha=0.6)
    weight = np.bincount(which, dof)
    kept = weight > 0

    def mean(values: Float[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
        return np.bincount(which, dof * values)[kept] / weight[kept]

    scatter = np.sqrt(2.0 / weight[kept]) * mean(best)
    axes.errorbar(
        mean(ell), mean(observed), scatter, fmt="o", color=BLUE, elinewidth=1.0, label="observed"
    )


def _require_one(result: TensorRatio) -> None:
    if np.ndim(result.r) != 0:
        raise ValueError(
            f"result: expected one realisation to draw, got {np.shape(result.r)}. Fit one of them."
        )
