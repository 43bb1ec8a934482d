"""The page of scattering statistics: what they are, and how good maps made from them are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from skysift.report.scattering_figures import (
    OrderView,
    correlation_figure,
    history_figure,
    maps_figure,
    minkowski_figure,
    pairs_figure,
    scales_figure,
    spectrum_figure,
    structure_figure,
    triples_figure,
)
from skysift.report.scattering_view import CORRELATION, LARGE, ScatteringView, median
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
from skysift.scattering.morphology import MOMENTS

_OFFSETS = {
    "pdf": "PDF",
    "area": "V0",
    "length": "V1",
    "genus": "V2",
    "peaks": "peaks",
    "bispectrum_0": "bispectrum",
}


_COLUMNS = 6
"""Samples at most that have a column of their own in a table."""


def write_scattering_page(
    path: str | Path, views: Sequence[ScatteringView], *, origin: Origin = UNKNOWN
) -> Path:
    """Write the page.

    Args:
        path: of the HTML file.
        views: what it shows of each map of the example.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    view = views[0]
    made = view.samples > 0
    ended = (
        "Converged" if view.converged else "Not converged: raise --max-iterations or --tolerance"
    )
    sheet = Sheet(
        title="Synthesis" if made else "Scattering statistics",
        lead=f"{view.source} · {view.family} · {view.size}",
        verdict=ended if made else "Computed",
        good=view.converged,
        tiles=tuple(_tiles(views)),
        tables=tuple(_named(one, view) for view in views for one in _tables(view)),
        pictures=tuple(_all_pictures(views)),
        notes=tuple(note for view in views for note in _notes(view)),
        origin=origin,
        footer="Scales count from 0, the finest.",
    )
    return write_sheet(path, sheet)


def comparison(view: ScatteringView) -> Listing:
    """How far each map is from the example, in a row for each."""
    made = view.samples > 0
    columns = ["map", *(("ended", "objective") if made else ()), "spectrum", "spectrum / chance"]
    columns += [_OFFSETS[name] for name in _OFFSETS if name in view.curves]
    columns += ["correlation"] if made else []
    spectrum = view.curves["spectrum"]
    ratios = np.abs(spectrum.ratios()[:, LARGE:])
    against = [rms(row) for row in ratios / spectrum.chance[LARGE:]]
    far = {name: view.curves[name].offsets() for name in _OFFSETS if name in view.curves}
    correlation = view.curves[CORRELATION].values[:, :LARGE]
    rows = []
    for map in (*range(2, 2 + view.samples), 1):
        told = ("–", "–") if made else ()
        if map >= 2:
            descent = view.descents[map - 2]
            ended = f"{descent.status}, {descent.history.size}"
            told = (ended, number(descent.objective))
        rows.append(
            (
                "Gaussian" if map == 1 else view.names[map],
                *told,
                _percent(median(ratios[map])),
                _short(against[map]),
                *(_short(values[map]) for values in far.values()),
                *((_short(np.max(np.abs(correlation[map]))),) if made else ()),
            )
        )
    note = (
        "Spectrum: median difference to the example's "
        f"over all bands but the {LARGE} at the largest scales, where few modes count, and the "
        "rms difference over that of two maps of one law. PDF, Minkowski functionals V0 to V2, "
        "peaks and bispectrum: rms difference over the scatter of the example's parts; 1 is as "
        "far as they are from each other. The Gaussian field has the spectrum of the example and "
        "nothing else."
    )
    if made:
        note = (
            f"Ended: how, and after how many iterations. {note} Correlation: the largest of those "
            "few bands."
        )
    return Listing("comparison", "Against the example", tuple(columns), tuple(rows), note)


_S = TypeVar("_S", Listing, Picture)


def _named(one: _S, view: ScatteringView) -> _S:
    """A table or a picture of one map, told from those of the others."""
    if not view.title:
        return one
    key, title = f"{one.key}-{view.channel}", f"{one.title} · {view.title}"
    return dataclasses.replace(one, key=key, title=title)


def _short(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _tiles(views: Sequence[ScatteringView]) -> list[Tile]:
    view = views[0]
    masked = f"{view.missing:,} masked or missing" if view.missing else "none missing"
    seen = f"of {len(views)} maps seen together" if len(views) > 1 else "real numbers"
    tiles = [
        Tile("coefficients", f"{view.n_coefficients:,}", seen),
        Tile("cells", f"{view.maps[0].size:,}", masked),
    ]
    for one in views:
        of = f" of {one.title}" if one.title else ""
        skewness, kurtosis = (float(value) for value in one.curves["moments"].example[2:])
        tiles.append(Tile(f"skewness{of}", number(skewness), "0 of a Gaussian field"))
        tiles.append(Tile(f"kurtosis{of}", number(kurtosis), "excess, 0 of a Gaussian field"))
        if one.floor is not None:
            lowest = f"the samples' lowest value is {number(float(one.maps[2:].min()))}"
            tiles.append(Tile(f"floor{of}", f"{number(one.floor)} {one.unit}".strip(), lowest))
    if not view.samples:
        return tiles
    spectra = [np.abs(one.curves["spectrum"].ratios()[2:, LARGE:]) for one in views]
    lengths = np.stack([one.curves["length"].offsets() for one in views])
    worst = max(one.objective for one in view.descents)
    return [
        Tile("samples", str(view.samples), f"objective at most {number(worst)}"),
        *tiles,
        Tile("spectrum", _percent(median(np.stack(spectra))), "median difference over the bands"),
        Tile(
            "contours (V1)",
            number(float(np.mean(lengths[:, 2:]))),
            f"of the scatter of parts; Gaussian field {number(float(np.mean(lengths[:, 1])))}",
        ),
    ]


def _notes(view: ScatteringView) -> tuple[str, ...]:
    notes = []
    if view.torn:
        notes.append(
            f"Opposite edges of {view.title or 'the map'} do not join: the step across them is "
            f"{view.jump:.2g} times that between neighbours. The statistics see it as structure. "
            "Say --edges open."
        )
    return tuple(notes)


def _tables(view: ScatteringView) -> list[Listing]:
    tables = [comparison(view)]
    moments = view.curves["moments"]
    rows = []
    for index, name in enumerate(MOMENTS):
        rows.append(
            (
                name,
                *(
                    f"{round(float(value), 3) + 0.0:.3f}".replace("-", "−")
                    for value in (
                        moments.example[index],
                        moments.scatter[index],
                        moments.gaussian[index],
                        *moments.samples[:_COLUMNS, index],
                    )
                ),
            )
        )
    names = view.names[2 : 2 + _COLUMNS]
    columns = ("moment", "example", "scatter of parts", "Gaussian field", *names)
    note = "Mean and deviation in units of the example's; kurtosis is the excess over 3."
    tables.append(Listing("moments", "Moments of the values", columns, tuple(rows), note))
    return [*tables, _bands(view), *_summary(view)]


def _bands(view: ScatteringView) -> Listing:
    """The power spectrum band by band."""
    spectrum = view.curves["spectrum"]
    scale = "multipole" if view.sphere else "wave number"
    ratios, chance = spectrum.ratios(), spectrum.chance
    rows = tuple(
        (
            number(float(at)),
            number(float(spectrum.example[band])),
            _percent(chance[band]),
            *(_percent(value) for value in ratios[1 : 2 + _COLUMNS, band]),
        )
        for band, at in enumerate(spectrum.at)
    )
    columns = (scale, "variance", "chance", "Gaussian field", *view.names[2 : 2 + _COLUMNS])
    note = (
        "Relative differences to the variance of the example in each band; chance is that of two "
        "maps of one law, from the scatter of the parts. At the largest scales, where a wave is as "
        "long as the parts, the scatter is too low."
    )
    return Listing("bands", "Power spectrum", columns, rows, note)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1%}".replace("-", "−")


def _summary(view: ScatteringView) -> list[Listing]:
    """Coefficients that belong to no scale."""
    rows = []
    for order in OrderView.all(view.statistics):
        if order.scales or order.channels != (view.channel,):
            continue
        for index in range(order.values.shape[1]):
            named = [
                f"{axis} {values[index]}"
                for axis, values in order.axes.items()
                if np.ptp(order.axes[axis]) or len(values) == 1
            ]
            told = f"{order.name} ({', '.join(named)})" if order.values.shape[1] > 1 else order.name
            values = order.values[: 2 + _COLUMNS, index]
            rows.append((told, *(number(float(value)) for value in values)))
    if not rows:
        return []
    columns = ("coefficient", "example", "Gaussian field", *view.names[2 : 2 + _COLUMNS])
    note = (
        f"Of maps over {number(view.deviation)}, the deviation of the example. The rest is the "
        "power at scales that no wavelet covers: side 0 the finer, 1 the coarser."
    )
    if any(row[0].startswith("L ") for row in rows):
        note += (
            " L: covariances of the smoothed map (power 1) and of its absolute values (power 0)."
        )
    return [Listing("summary", "Beyond the scales", columns, tuple(rows), note)]


def _all_pictures(views: Sequence[ScatteringView]) -> list[Picture]:
    """Those of each map, then those of pairs of maps."""
    pictures = [_named(one, view) for view in views for one in _pictures(view)]
    first = views[0]
    if first.samples:
        pictures.insert(
            1,
            Picture.of(
                "objective",
                "Objective",
                "Mean squared difference of the statistics to the example's over their sampling "
                "variance. A plateau above the tolerance asks for more iterations.",
                history_figure(first),
            ),
        )
    pairs = [one for one in OrderView.all(first.statistics) if len(one.channels) > 1]
    for channels in dict.fromkeys(one.channels for one in pairs):
        orders = [one for one in pairs if one.channels == channels]
        titles = " and ".join(views[number].title for number in channels)
        for one in _orders(first, orders):
            key = f"{one.key}-{'-'.join(map(str, channels))}"
            pictures.append(dataclasses.replace(one, key=key, title=f"{one.title} · {titles}"))
    return pictures


def _pictures(view: ScatteringView) -> list[Picture]:
    more = max(view.samples - 4, 0)
    alike = "The samples should look like other parts of the same sky. " if view.samples else ""
    rest = f" {more} more samples are in the folder of the run." if more else ""
    pictures = [
        Picture.of(
            "maps",
            "Maps",
            f"All on one colour scale. {alike}The Gaussian field is what the power spectrum alone "
            f"makes.{rest}",
            maps_figure(view),
        )
    ]
    pictures += [
        Picture.of(
            "spectrum",
            "Power spectrum and values",
            "Variance in bands half an octave wide. At the largest scales few modes count: two "
            "maps of one law differ by as much as is shaded, and by more where a wave is as long "
            "as the parts of the map.",
            spectrum_figure(view),
        ),
        Picture.of(
            "minkowski",
            "Minkowski functionals",
            "Of the map smoothed to two cells. Shaded: the scatter of the parts of the example.",
            minkowski_figure(view),
        ),
        Picture.of(
            "structure",
            "Peaks and bispectrum",
            "A Gaussian field has no bispectrum. Triangles have two sides in the band and one in "
            "it or in a coarser one.",
            structure_figure(view),
        ),
    ]
    if view.samples:
        pictures += [
            Picture.of(
                "correlation",
                "Memory of the example",
                "Cell by cell. Samples near 1 at large scales have memorised the example: choose "
                "fewer scales. Where few modes count, chance alone gives large values.",
                correlation_figure(view),
            ),
        ]
    own = [one for one in OrderView.all(view.statistics) if one.channels == (view.channel,)]
    return [*pictures, *_orders(view, own)]


def _orders(view: ScatteringView, orders: Sequence[OrderView]) -> list[Picture]:
    """The statistics themselves."""
    single = [one for one in orders if one.scales == 1]
    pictures = []
    if single:
        names = ", ".join(one.name for one in single)
        pictures.append(
            Picture.of(
                "scales",
                f"Statistics of one scale: {names}",
                "With the amplitudes of the example, averaged over what is not shown; thin lines "
                "are the orientations of the example.",
                scales_figure(view, single),
            )
        )
    for order in orders:
        if order.scales == 2:
            caption = (
                "Averages over rotations, coarser scales up. Of a Gaussian field they vanish, but "
                "for chance."
                if order.name == "S3"
                else "Averages over rotations, coarser scales up."
            )
            figure = pairs_figure(view, order)
        elif order.scales == 3:
            caption = (
                "How the moduli at two finer scales vary together at a coarser one, averaged over "
                "orientations."
            )
            figure = triples_figure(view, order)
        else:
            continue
        pictures.append(Picture.of(order.name.lower(), order.name, caption, figure))
    return pictures
