"""The page of a set of realisations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skysift.cosmology import Ensemble, ResidualSpectra, TensorRatio
from skysift.harmonic import CMBSpectra
from skysift.report.map_figures import ERROR, SIGNED, VALUE, Sky
from skysift.report.r_figures import likelihood
from skysift.report.sheet import (
    UNKNOWN,
    Listing,
    Origin,
    Picture,
    Sheet,
    Tile,
    number,
    rms,
    write_sheet,
)
from skysift.report.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RED,
    diverging,
    new_figure,
    sequential,
    styled,
)


@dataclass(frozen=True, eq=False)
class EnsembleView:
    """What the page of a set shows.

    Args:
        ensemble: the separations.
        spectra: of their residuals.
        ratio: what they do to r.
        truth: spectral parameters per cell that went in.
        title: sky, instrument and model, in one line.
    """

    ensemble: Ensemble
    spectra: ResidualSpectra
    ratio: TensorRatio
    truth: Mapping[str, Float[np.ndarray, " cell"]]
    title: str


def write_ensemble_page(
    path: str | Path,
    view: EnsembleView,
    *,
    origin: Origin = UNKNOWN,
) -> Path:
    """Write the page of a set of realisations.

    Args:
        path: of the HTML file.
        view: what it shows.
        origin: what it came of.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    ensemble = view.ensemble
    good = bool(ensemble.converged.all()) and not ensemble.failures
    ended = int(ensemble.converged.sum())
    total = len(ensemble) + len(ensemble.failures)
    sheet = Sheet(
        title="Realisations",
        lead=view.title,
        verdict=f"{ended} of {total} realisations converged",
        good=good,
        tiles=_tiles(view),
        tables=(_parameters(view), _residuals(view)),
        pictures=tuple(_pictures(view)),
        notes=tuple(f"Seed {seed} failed: {text}" for seed, text in ensemble.failures.items())
        + view.ratio.notes,
        origin=origin,
    )
    return write_sheet(path, sheet)


def _tiles(view: EnsembleView) -> tuple[Tile, ...]:
    ensemble, ratio = view.ensemble, view.ratio
    low, high = ratio.limits(0.95)
    free = sum(ensemble.patches.counts.values())
    return (
        Tile(
            "r",
            f"{number(float(ratio.r))} −{number(float(ratio.sigma_minus))} "
            f"+{number(float(ratio.sigma_plus))}",
            f"of a sky without tensors; 95 %: {number(float(low))} to {number(float(high))}",
        ),
        Tile("χ² / dof", number(float(np.mean(ensemble.reduced_chi2))), "mean"),
        Tile(
            "CMB variance",
            number(float(np.mean(ensemble.cmb_variance))),
            "recovered, over the cells, summed over Stokes [µK²]",
        ),
        Tile("seconds", number(float(np.median(ensemble.seconds))), "per realisation, median"),
        Tile("free parameters", f"{free:,}", ", ".join(ensemble.patches.parameters)),
        Tile("cells", f"{ensemble.grid.size:,}", f"{ensemble.grid.fsky:.1%} of the sky"),
    )


def _parameters(view: EnsembleView) -> Listing:
    ensemble = view.ensemble
    columns = ("parameter", "patches", "mean", "scatter of a patch", "median error", "input mean")
    rows = []
    for name, values in ensemble.parameters.items():
        errors = ensemble.errors[name]
        known = view.truth.get(name)
        scatter = np.std(values, axis=0, ddof=1) if len(ensemble) > 1 else np.full(1, np.nan)
        rows.append(
            (
                name,
                f"{values.shape[1]:,}",
                number(float(ensemble.patches.expand(name, values.mean(axis=0)).mean())),
                number(float(np.median(scatter))),
                number(float(np.nanmedian(errors))) if np.isfinite(errors).any() else "–",
                "–" if known is None else number(float(np.mean(known))),
            )
        )
    note = "Scatter over the realisations and error from the Hessian should agree."
    return Listing("parameters", "Spectral parameters", columns, tuple(rows), note)


def _residuals(view: EnsembleView) -> Listing:
    left = view.ensemble.residuals
    parts = {
        "total": left.total.values,
        "systematic": left.systematic.values,
        "statistical": left.statistical.values,
    }
    letters = view.ensemble.cmb.stokes.value
    rows = tuple(
        (name, *(number(rms(np.asarray(values)[..., i, :])) for i in range(len(letters))))
        for name, values in parts.items()
    )
    note = (
        "Total: recovered minus input CMB. Systematic: recovered from the noiseless foregrounds "
        "with the same weights and patches. Statistical: the difference of the two."
    )
    columns = ("residual", *(f"rms {letter} [µK_CMB]" for letter in letters))
    return Listing("residuals", "Residuals of the CMB", columns, rows, note)


def _pictures(view: EnsembleView) -> list[Picture]:
    plans: list[tuple[str, str, str, Callable[[], Figure]]] = [
        (
            "spectra",
            "B-mode spectra of the residuals",
            "The systematic residual should lie below the statistical one where tensors are "
            "looked for. Bands: the middle 68 % of the realisations.",
            lambda: residual_spectra_figure(view.spectra),
        ),
        (
            "r",
            "Tensor-to-scalar ratio",
            "Of a sky without tensors: what is left of the foregrounds moves the maximum away "
            "from zero.",
            lambda: likelihood(view.ratio),
        ),
        (
            "realisations",
            "Realisation by realisation",
            "No realisation should stand out.",
            lambda: realisations_figure(view.ensemble),
        ),
    ]
    if view.ensemble.grid.nside is not None:
        plans.insert(
            2,
            (
                "residual-maps",
                "Residual maps",
                "Left: systematic, where the patches cannot follow the sky. Right: rms over the "
                "realisations of the statistical residual.",
                lambda: residual_maps(view.ensemble),
            ),
        )
        if view.ensemble.parameters:
            plans.insert(
                3,
                (
                    "parameter-maps",
                    "Spectral parameters",
                    "Mean over the realisations, and scatter.",
                    lambda: parameter_maps(view),
                ),
            )
    return [Picture.of(key, title, caption, draw()) for key, title, caption, draw in plans]


def residual_spectra_figure(spectra: ResidualSpectra, theory: CMBSpectra | None = None) -> Figure:
    """BB of total, systematic and statistical residual over lensing and tensors.

    Args:
        spectra: of the residuals.
        theory: curves to compare with.
    """
    theory = theory or CMBSpectra.packaged()
    with styled():
        figure = new_figure(4.2)
        axes = figure.subplots()
        ell = spectra.total.ell
        _band(axes, ell, spectra.total.values["BB"], BLUE, "total")
        _band(axes, ell, spectra.statistical.values["BB"], ORANGE, "statistical")
        axes.plot(ell, spectra.systematic.values["BB"], "o-", color=RED, label="systematic")
        top = min(int(ell[-1]), theory.lmax)
        fine = np.arange(2, top + 1)
        lensing = theory.cl(r=0.0, lmax=top)[2, 2:]
        axes.plot(fine, lensing, "--", color=INK, lw=1.1, label="lensing")
        for r, dash in ((1e-2, "-."), (1e-3, ":")):
            tensor = theory.cl(r=r, lmax=top)[2, 2:] - lensing
            axes.plot(fine, tensor, dash, color=GREY, lw=1.1, label=f"tensors, r = {r:g}")
        axes.set(xscale="log", yscale="log", xlabel="multipole ℓ", ylabel=r"$C_\ell^{BB}$ [µK²]")
        positive = np.concatenate(
            [spectra.total.values["BB"].ravel(), spectra.systematic.values["BB"].ravel(), lensing]
        )
        positive = positive[positive > 0]
        if positive.size:
            axes.set_ylim(0.3 * np.percentile(positive, 1), 4 * positive.max())
        figure.legend(loc="outside upper center", ncols=6)
    return figure


def _band(
    axes: Axes,
    ell: Float[np.ndarray, " bin"],
    rows: Float[np.ndarray, "realisation bin"],
    colour: str,
    label: str,
) -> None:
    low, high = np.percentile(rows, [16, 84], axis=0)
    axes.plot(ell, rows.mean(axis=0), color=colour, label=f"{label}, mean")
    axes.fill_between(ell, low, high, color=colour, alpha=0.2, lw=0)


def residual_maps(ensemble: Ensemble) -> Figure:
    """Systematic residual, and rms of the statistical one, for each Stokes parameter."""
    left = ensemble.residuals
    letters = ensemble.cmb.stokes.value
    sky = Sky(ensemble.grid, rows=len(letters), columns=2)
    systematic = np.asarray(left.systematic.values)
    scatter = np.sqrt(np.mean(np.asarray(left.statistical.values) ** 2, axis=0))
    label = r"[µK$_\mathrm{CMB}$]"
    with styled():
        figure, panels = sky.panels()
        for row, letter, one, other in zip(panels, letters, systematic, scatter, strict=True):
            sky.draw(row[0], one, SIGNED, diverging(one), f"{letter} {label}", "systematic")
            title = "statistical, rms"
            sky.draw(row[1], other, ERROR, sequential(other), f"{letter} {label}", title)
    return figure


def parameter_maps(view: EnsembleView) -> Figure:
    """Mean and scatter of each spectral parameter; its input first where known."""
    ensemble = view.ensemble
    columns = 3 if view.truth else 2
    sky = Sky(ensemble.grid, rows=len(ensemble.parameters), columns=columns)
    with styled():
        figure, panels = sky.panels()
        for row, (name, values) in zip(panels, ensemble.parameters.items(), strict=True):
            mean = ensemble.patches.expand(name, values.mean(axis=0))
            scatter = ensemble.patches.expand(name, values.std(axis=0))
            known = view.truth.get(name)
            norm = sequential(mean if known is None else np.r_[mean, known])
            cells = iter(row)
            if columns == 3:
                axes = next(cells)
                if known is None:
                    axes.set_visible(False)
                else:
                    sky.draw(axes, known, VALUE, norm, name, "input")
            sky.draw(next(cells), mean, VALUE, norm, name, "mean")
            sky.draw(next(cells), scatter, ERROR, sequential(scatter), f"σ({name})", "scatter")
    return figure


def realisations_figure(ensemble: Ensemble) -> Figure:
    """Chi squared, CMB variance and iterations of each realisation."""
    rows = {
        "χ² / dof": ensemble.reduced_chi2,
        "CMB variance [µK²]": ensemble.cmb_variance,
        "iterations": ensemble.iterations,
    }
    with styled():
        figure = new_figure(2.6)
        for axes, (label, values) in zip(figure.subplots(1, 3), rows.items(), strict=True):
            good = ensemble.converged
            axes.plot(ensemble.seeds[good], values[good], "o", color=BLUE, ms=3)
            axes.plot(ensemble.seeds[~good], values[~good], "x", color=RED, ms=5)
            axes.set(xlabel="seed", ylabel=label)
    return figure
