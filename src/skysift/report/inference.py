"""The pages of networks: how good a model is, and what it says of maps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from skysift.report.inference_figures import (
    calibration_figure,
    example_figure,
    example_posterior,
    history_figure,
    posterior_figure,
    predicted_figure,
)
from skysift.report.inference_view import LEVEL, EvaluationView, PredictionView, Published
from skysift.report.sheet import (
    UNKNOWN,
    Listing,
    Origin,
    Picture,
    Sheet,
    Tile,
    number,
    write_sheet,
)

_UNLIKELY = 1e-3
"""Probability of ranks as uneven as seen, below which they are told of."""
_FAR = 4.0
"""Standard errors of a bias, above which it is told of."""
_ROWS = 200
"""Maps of which a page shows the posterior in a table."""


def write_evaluation_page(
    path: str | Path, view: EvaluationView, *, origin: Origin = UNKNOWN
) -> Path:
    """Write the page of a model that was tested.

    Args:
        path: of the HTML file.
        view: what it shows.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    sheet = Sheet(
        title="Parameters of maps",
        lead=f"{view.title} · {view.network}",
        verdict=_verdict(view),
        good=view.converged,
        soft=view.status,
        tiles=tuple(_tiles(view)),
        tables=tables(view),
        pictures=tuple(_pictures(view)),
        notes=notes(view),
        origin=origin,
        footer="",
    )
    return write_sheet(path, sheet)


def tables(view: EvaluationView) -> tuple[Listing, ...]:
    """How good the model is, in numbers."""
    return (errors(view), calibration(view), fiducials(view))


def notes(view: EvaluationView) -> tuple[str, ...]:
    """What is wrong, as far as the tests tell."""
    told = []
    held = view.coverage(np.array([LEVEL]))[0]
    for place in view.miscalibrated:
        kind = "too narrow" if held[place] < LEVEL else "too wide"
        told.append(
            f"Posteriors of {view.names[place]} are {kind}: intervals of 68 % hold the truth in "
            f"{held[place]:.1%} of {view.maps:,} maps. Train on more maps, or with more members."
        )
    if any(one.other for one in view.published):
        told.append(
            "Some published figures, which the tables mark, are of other maps. The polarised maps "
            "of torch-harmonics-healpix were drawn from spectra in the wrong order (protocol "
            "as-published), so that E and B together tell the parameters almost without error; "
            "those of Krachmalnicoff & Tomasi were not."
        )
    return tuple(told)


def errors(view: EvaluationView) -> Listing:
    """Errors over the prior, beside what can be known and what was published."""
    rows = [("this model", *_with_errors(view, "error"))]
    if view.has_limit:
        rows.append(("limit", *_with_errors(view, "limit")))
        ratios = view.error() / view.error("limit")
        rows.append(("this model / limit", *(f"{one:.3f}" for one in ratios)))
    for one in view.published:
        if not one.at:
            rows.append((_of(one), *(f"{value:g}" for value in one.values)))
    named = zip(view.names, view.relative, strict=True)
    columns = ("estimate", *(f"{name} {'[%]' if percent else '(rms)'}" for name, percent in named))
    relative, roots = "|estimate − truth| / truth with its standard error", "root mean square error"
    means = [f"mean of {relative}"] if view.relative.any() else []
    means += [] if view.relative.all() else [roots]
    note = f"{', or '.join(means)}, over {view.maps:,} maps with parameters drawn from the prior."
    note = note[0].upper() + note[1:]
    if view.has_limit:
        note += (
            f" Limit: the error of the best estimator there can be ({view.method}), of other maps "
            "of the same law, so that ratios below 1 are chance."
        )
    return Listing("errors", "Errors", columns, tuple(rows), note)


def calibration(view: EvaluationView) -> Listing:
    """Whether posteriors are as wide as errors are large."""
    rows, warn = [], set()
    for place, name in enumerate(view.names):
        values = {key: float(view.figure(key)[place]) for key in _COLUMNS}
        rows.append(
            (
                name,
                number(values["rmse"]),
                number(float(np.sqrt(np.mean(view.figure("deviations")[:, place] ** 2)))),
                f"{values['slope']:.3f}",
                f"{values['coverage_0.68']:.1%}",
                f"{values['coverage_0.95']:.1%}",
                f"{values['rank_pvalue']:.2g}",
            )
        )
        if place in view.miscalibrated:
            warn.add((place, 4))
        if values["rank_pvalue"] < _UNLIKELY:
            warn.add((place, 6))
    columns = (
        "parameter",
        "rms error",
        "rms deviation told",
        "response",
        "in 68 %",
        "in 95 %",
        "ranks p",
    )
    note = (
        "Where posteriors are right, the deviations that they tell are as large as the errors. "
        "Response: slope of the means against the truths, 0 of an estimator that says the same of "
        "every map, near 1 where maps tell much more than the prior. In 68 %: part of the maps "
        "whose interval holds the truth. Ranks p: probability of ranks at least as uneven, of "
        "right posteriors."
    )
    return Listing("calibration", "Calibration", columns, tuple(rows), note, frozenset(warn))


_COLUMNS = ("rmse", "slope", "coverage_0.68", "coverage_0.95", "rank_pvalue")


def fiducials(view: EvaluationView) -> Listing:
    """Bias and scatter of many maps of the same parameters."""
    bounds = {one.at: one for one in view.published if one.at}
    known = "fisher_deviation" in view.dataset
    columns = ["at", "parameter", "bias", "bias / its error", "rms error"]
    columns += ["Fisher bound"] if known else []
    columns += [_of(one) for one in bounds.values()]
    rows, warn = [], set()
    for point, truth in enumerate(view.figure("truth") if "truth" in view.dataset else ()):
        for place, name in enumerate(view.names):
            bias, error, rmse = (
                float(view.figure(key)[point, place])
                for key in ("bias", "bias_uncertainty", "fiducial_rmse")
            )
            at = ", ".join(f"{value:g}" for value in np.round(truth, 6)) if place == 0 else ""
            if abs(bias) > _FAR * error:
                warn.add((len(rows), 3))
            row = [at, name, _signed(bias), _signed(bias / error, 2), number(rmse)]
            if known:
                row.append(number(float(view.figure("fisher_deviation")[point, place])))
            for where, one in bounds.items():
                row.append(f"{one.values[place]:g}" if np.allclose(where, truth) else "")
            rows.append(tuple(row))
    note = (
        "Estimates are means of posteriors, which the prior pulls to its middle: near its ends, "
        "and where maps tell little, a bias is no mistake, and errors may be below the bound."
    )
    if known:
        note += (
            " Fisher bound: standard deviation of an estimator without bias, of the full sky, over "
            "the root of the part that is seen."
        )
    titles = tuple(columns)
    return Listing("fiducials", "At fiducials", titles, tuple(rows), note, frozenset(warn))


def write_prediction_page(
    path: str | Path, view: PredictionView, *, origin: Origin = UNKNOWN
) -> Path:
    """Write the page of posteriors of maps.

    Args:
        path: of the HTML file.
        view: what it shows.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    count, cut = len(view.titles), int(view.at_bounds.any(axis=1).sum())
    listing = posteriors(view, most=_ROWS)
    shown = view.dataset.sizes["shown"]
    told = f" of the first {shown} maps" if shown < count else ""
    drawn = (
        f"Densities{told} over the prior; dark: the interval of 68 %, light: of 95 %. The line is "
        "the mean."
    )
    pictures = [Picture.of("posteriors", "Posteriors", drawn, posterior_figure(view))]
    caption = f"The first map: {view.titles[0]}."
    pictures.append(Picture.of("map", "Map", caption, example_figure(view.dataset)))
    sheet = Sheet(
        title="Parameters of maps",
        lead=f"{count:,} map{'s' if count > 1 else ''} · {view.model} · {view.family}",
        verdict="Predicted",
        good=True,
        tiles=tuple(_predicted_tiles(view)),
        tables=(listing,),
        pictures=tuple(pictures),
        notes=(_cut_note(cut, count),) if cut else (),
        origin=origin,
        footer="",
    )
    return write_sheet(path, sheet)


def posteriors(view: PredictionView, most: int | None = None) -> Listing:
    """Means, deviations and intervals of each map.

    Args:
        view: of the posteriors.
        most: maps that have a row; `None` for all.
    """
    columns = ["map"]
    for name in view.names:
        columns += [name, "deviation", "68 % interval", "at a bound"]
    low, high = view.interval(LEVEL)
    mean, deviation = view.dataset["mean"].values, view.dataset["std"].values
    rows, warn = [], set()
    for place, title in enumerate(view.titles[:most]):
        row = [title]
        for one in range(len(view.names)):
            cut = bool(view.at_bounds[place, one])
            row += [number(float(mean[place, one])), number(float(deviation[place, one]))]
            row += [f"{number(low[place, one])} to {number(high[place, one])}"]
            row += ["yes" if cut else ""]
            if cut:
                warn.add((len(rows), 4 * one + 4))
        rows.append(tuple(row))
    note = "The mean is the estimate of least mean square error."
    if len(rows) < len(view.titles):
        note += f" {len(view.titles) - len(rows):,} more maps are in posteriors.csv."
    return Listing("table", "Parameters", tuple(columns), tuple(rows), note, frozenset(warn))


def _cut_note(cut: int, count: int) -> str:
    return (
        f"The prior cuts the posteriors of {cut:,} of {count:,} maps: the truth may be outside of "
        "what the model was trained on, or little is known near a bound."
    )


def _predicted_tiles(view: PredictionView) -> list[Tile]:
    tiles = [Tile("maps", f"{len(view.titles):,}", view.family)]
    for place, name in enumerate(view.names):
        mean = view.dataset["mean"].values[:, place]
        deviation = view.dataset["std"].values[:, place]
        if len(mean) == 1:
            told = f"{number(float(mean[0]))} ± {number(float(deviation[0]))}"
            tiles.append(Tile(name, told, "mean and deviation"))
        else:
            remark = f"scatter {number(float(mean.std(ddof=1)))}, "
            remark += f"median deviation told {number(float(np.median(deviation)))}"
            tiles.append(Tile(f"mean {name}", number(float(mean.mean())), remark))
    return tiles


def _verdict(view: EvaluationView) -> str:
    if not view.status:
        return "Tested"
    return "Converged" if view.converged else "Not converged: raise --epochs"


def _tiles(view: EvaluationView) -> list[Tile]:
    tiles = []
    limits = view.error("limit") if view.has_limit else np.full(len(view.names), np.nan)
    rows = zip(view.names, view.error(), limits, view.relative, strict=True)
    for name, value, limit, relative in rows:
        told, bound = (f"{one:.3g} %" if relative else number(float(one)) for one in (value, limit))
        known = f"{value / limit:.3f} times the limit, {bound}"
        remark = known if view.has_limit else "limit not computed"
        tiles.append(Tile(f"error of {name}", told, remark))
    for place, name in enumerate(view.names):
        held = float(view.figure("coverage_0.68")[place])
        tiles.append(Tile(f"{name} in 68 %", f"{held:.1%}", f"of {view.maps:,} maps"))
    weights = int(view.dataset.attrs["weights"])
    trained = f"{view.epochs} epochs" if view.status else "trained before"
    return [*tiles, Tile("learnt numbers", f"{weights:,}", trained)]


def _pictures(view: EvaluationView) -> list[Picture]:
    plans = [
        (
            "predicted",
            "Predicted against true",
            "Means of posteriors with their deviations, of maps that training has not seen. Below: "
            "errors over the deviations told, of which 68 % should be in the shade.",
            predicted_figure(view),
        ),
        (
            "ranks",
            "Ranks and coverage",
            "Left: ranks of the truths among draws of their posteriors. Of right posteriors they "
            "are even: a heap in the middle says that posteriors are too wide, heaps at both ends "
            "too narrow, a slope that they are biased. Right: intervals that hold the truth less "
            "often than they should are below the diagonal. Shaded: chance, 99 %.",
            calibration_figure(view),
        ),
    ]
    if "validation_loss" in view.dataset:
        caption = (
            "Left: minus the logarithm of the density at the truth, where the prior is a box from "
            "−1 to 1. Training far below validation is overfitting: take more maps. Right: errors "
            "of validation maps over the deviation of the prior"
        )
        caption += "; dashed: the limit." if view.has_limit else "."
        plans.append(("training", "Training", caption, history_figure(view)))
    plans.append(
        ("example", "An example", "A map as the network sees it.", example_figure(view.dataset))
    )
    caption = (
        "Densities over the prior; dark: the interval of 68 %, light: of 95 %. Dashed: the truth."
    )
    plans.append(("posterior", "Posterior of the example", caption, example_posterior(view)))
    return [Picture.of(*plan) for plan in plans]


def _with_errors(view: EvaluationView, of: str) -> list[str]:
    """Errors of each parameter, relative ones with their standard errors."""
    told = []
    rows = zip(view.error(of), view.figure(f"{of}_uncertainty"), view.relative, strict=True)
    for value, error, relative in rows:
        digits = max(1, 2 - math.floor(math.log10(value))) if value > 0.0 else 2
        uncertain = f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error else "")
        told.append(uncertain if relative else number(float(value)))
    return told


def _of(one: Published) -> str:
    return f"{one.name} (of other maps)" if one.other else one.name


def _signed(value: float, digits: int | None = None) -> str:
    text = f"{value:+.2g}" if digits is None else f"{value:+.{digits}f}"
    return text.replace("-", "−")
