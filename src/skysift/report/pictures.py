"""Which figures a report shows, in what order, and what to look for in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from skysift.harmonic import CMBSpectra
from skysift.report import chart_figures, map_figures
from skysift.report.data import ReportData
from skysift.report.sheet import Picture
from skysift.report.spectra import cmb_spectra


@dataclass(frozen=True)
class _Plan:
    key: str
    title: str
    caption: str
    wanted: bool
    draw: Callable[[], Figure]


def pictures(data: ReportData) -> list[Picture]:
    """All figures that the data allow, in the order of the page."""
    return [
        Picture.of(plan.key, plan.title, plan.caption, plan.draw())
        for plan in (*_results(data), *_comparisons(data), *_checks(data))
        if plan.wanted
    ]


def _results(data: ReportData) -> list[_Plan]:
    on_sphere, fitted = data.grid.nside is not None, bool(data.parameters)
    curves = cmb_spectra(data, CMBSpectra.packaged())
    return [
        _Plan(
            "parameter-maps",
            "Spectral parameters",
            "Look for estimates that follow the sky smoothly and stay away from their bounds. "
            "Grey: outside the mask; in the map of standard deviations also patches at a bound or "
            "without information.",
            on_sphere and fitted,
            lambda: map_figures.parameter_maps(data),
        ),
        _Plan(
            "parameter-histograms",
            "Distribution of the estimates",
            "One count per patch; the first and the last bin hold the outliers. A heap at an edge "
            "means patches too small for the noise, or a bound that is too tight.",
            fitted,
            lambda: chart_figures.parameter_histograms(data),
        ),
        _Plan(
            "patches",
            "Patches",
            "Cells of one colour share one value. Colours are shuffled and carry no meaning.",
            on_sphere and fitted,
            lambda: map_figures.patch_maps(data),
        ),
        _Plan(
            "components",
            "Components",
            "Recovered amplitudes, and their standard deviation. The CMB should look like a "
            "Gaussian field, with nothing of the Galaxy or of the patch outlines in it.",
            on_sphere,
            lambda: map_figures.component_maps(data),
        ),
        _Plan(
            "spectra",
            "Spectra of the recovered CMB",
            "Bandpowers, freed from the effect of the mask where it is large enough; B modes "
            "purified of E. Where noise dominates some are negative, which the logarithm hides.",
            bool(curves),
            lambda: chart_figures.spectra(curves),
        ),
    ]


def _comparisons(data: ReportData) -> list[_Plan]:
    on_sphere = data.grid.nside is not None
    return [
        _Plan(
            "truth-components",
            "Recovered minus input",
            "Difference maps on their own colour scales. Structure that looks like the Galaxy or "
            "the patches is a systematic residual; noise is not.",
            on_sphere and any(c.truth is not None for c in data.components),
            lambda: map_figures.truth_maps(data),
        ),
        _Plan(
            "truth-parameters",
            "Spectral parameters against their input",
            "Above: estimate against the mean input of the patch; the line is equality. Below, "
            "where the errors have a scale: difference over error, with a standard normal.",
            any(p.truth is not None for p in data.parameters),
            lambda: chart_figures.truth_comparison(data),
        ),
    ]


def _checks(data: ReportData) -> list[_Plan]:
    on_sphere, residuals = data.grid.nside is not None, data.residuals is not None
    chi2 = (
        "The bars should follow the line, the distribution expected of noise (degrees of freedom "
        "less the share of each spectral parameter). A tail to the right is misfit."
        if data.weights_are_noise
        else "No expected distribution is drawn: the weights are no inverse noise variances, or "
        "the maps have less noise than the weights say."
    )
    return [
        _Plan(
            "residual-levels",
            "Residual level per channel",
            "The rms of maps minus model. Where the weights are the noise it lies somewhat below "
            "the instrument's noise, because the fit absorbs part of it; above means that the "
            "model misses something.",
            residuals,
            lambda: chart_figures.residual_levels(data),
        ),
        _Plan(
            "residual-maps",
            "Residual maps",
            "Each channel in units of its own rms: white noise if all is well, Galactic structure "
            "if an emission law is wrong.",
            residuals and on_sphere,
            lambda: map_figures.residual_maps(data),
        ),
        _Plan(
            "chi2",
            "χ² of the cells",
            chi2,
            True,
            lambda: chart_figures.chi2_histogram(data),
        ),
        _Plan(
            "chi2-map",
            "Where the fit is good",
            "χ² over degrees of freedom per cell: no structure should be seen.",
            on_sphere,
            lambda: map_figures.chi2_map(data),
        ),
        _Plan(
            "convergence",
            "Convergence",
            "Both curves should fall steeply to the end; a plateau far above rounding means that "
            "the solver stopped early.",
            data.history.objective.size > 0,
            lambda: chart_figures.convergence(data),
        ),
    ]
