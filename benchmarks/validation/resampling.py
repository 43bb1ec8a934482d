"""Time, memory and error of resampling SWATH-1M, beside healpix-resample in the same run.

Writes `resampling.md`, `.json` and `.png` into the output folder. Every case is measured in a
process of its own; the peer runs in an environment of its own
(`benchmarks/peers/requirements-healpix-resample.txt`), whose Python is given with
`--peer-python`. Without it only skysift is measured.

    taskset -c 0,1 python benchmarks/validation/resampling.py --peer-python PEER/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import healpy as hp
import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure

import swath
from skysift import resample

matplotlib.use("Agg")
PEER = Path(__file__).resolve().parents[1] / "peers/healpix_resample_fit.py"
DAMPING, TOLERANCE, LINKS = 0.1, 1e-3, 9
SIZES = (100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Case:
    """What one process does.

    Args:
        samples: number of samples of the swath.
        rows: number of rows of values that are fitted together.
        damping: of the fit; `None` for the defaults of the package.
    """

    samples: int
    rows: int
    damping: float | None = DAMPING

    @property
    def name(self) -> str:
        """Key of the results."""
        return f"{self.samples} x {self.rows}{'' if self.damping else ', defaults'}"


SWATH_1M = Case(1_000_000, 1)


def run(case: Case, folder: Path, command: list[str], repeats: int) -> dict:
    """Measure a case several times; the shortest times and the smallest peak count."""
    found = []
    out = folder / "out.npz"
    words = [*command, str(folder), str(out), "--rows", str(case.rows), "--level"]
    words += [str(swath.LEVEL), "--tol", str(TOLERANCE)]
    words += [] if case.damping is None else ["--damping", str(case.damping)]
    for _ in range(repeats):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        with np.load(out) as arrays:
            found.append(dict(arrays))
    last = found[-1]
    truth = truth_at(last["cell_ids"])
    error = {
        name: float(np.sqrt(np.nanmean((last[name] - truth) ** 2)))
        for name in ("cells", "average")
        if name in last
    }
    least = min(found, key=lambda one: one["memory"][-1])["memory"]
    return {
        **asdict(case),
        "n_cells": int(last["cell_ids"].size),
        "construct": float(min(one["construct"][0] for one in found)),
        "construct_cpu": float(min(one["construct"][1] for one in found)),
        "iteration": float(min(one["iterations"].min() for one in found)),
        "iteration_median": float(np.median([one["iterations"] for one in found])),
        "n_iterations": int(last["iterations"].size),
        "fit": float(min(one["fit"] for one in found)),
        "damping_found": float(np.median(last.get("damping", np.nan))),
        "memory": [float(value) for value in least],
        "error": error,
    }


def truth_at(cells: np.ndarray) -> np.ndarray:
    """The field at the centres of NESTED cells."""
    points = np.stack(hp.pix2vec(1 << swath.LEVEL, cells, nest=True), axis=1)
    return swath.Field()(points)


def bandwidth(repeats: int = 20) -> float:
    """Bytes per second that a copy of large arrays reads and writes."""
    source = np.ones(1 << 25)
    target = np.empty_like(source)
    return 2 * source.nbytes / fastest(lambda: np.copyto(target, source), repeats)


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Shortest time of a call [s]."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def least_bytes(one: dict) -> int:
    """What an iteration of conjugate gradients has to move at least, in single precision.

    It reads each link once, four bytes of index and four of weight. Solution, residual, direction
    and image are read and written once, and the two diagonals read.
    """
    return 8 * LINKS * one["samples"] + 4 * one["n_cells"] * (8 * one["rows"] + 2)


def prepare(samples: int, folder: Path) -> None:
    """Write the inputs of all cases with this number of samples."""
    points = swath.directions(samples)
    for name, values in zip(("lon", "lat"), swath.coordinates(points), strict=True):
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "values.npy", swath.observe(points, 16))


def picture(results: dict, path: Path) -> None:
    """A piece of the swath, and what N samples cost."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    points = swath.directions(SIZES[0])
    lon, lat = swath.coordinates(points)
    values = swath.observe(points, 1)[0]
    fit = resample.psf(lon, lat, swath.LEVEL, ellipsoid="sphere").fit(values)
    ids = fit.sampling.cell_ids
    cell_lon, cell_lat = hp.pix2ang(1 << swath.LEVEL, ids, nest=True, lonlat=True)
    middle = SIZES[0] // 2 + 250
    for axes, title, x, y, shown in (
        (upper[0], "samples", lon, lat, values),
        (upper[1], "cells, fitted", cell_lon, cell_lat, fit.values),
        (upper[2], "fitted minus true", cell_lon, cell_lat, fit.values - truth_at(ids)),
    ):
        offset = (x - lon[middle] + 180.0) % 360.0 - 180.0
        near = (np.abs(offset) < 1.2) & (np.abs(y - lat[middle]) < 0.8)
        drawn = axes.scatter(
            lon[middle] + offset[near], y[near], c=shown[near], s=9, vmin=-1, vmax=1, cmap="RdBu_r"
        )
        axes.set(title=title, xlabel="longitude [deg]", ylabel="latitude [deg]")
    figure.colorbar(drawn, ax=upper, shrink=0.8)
    for axes, title, unit, cost in (
        (lower[0], "construction", "s", lambda one: one["construct"]),
        (lower[1], "iteration", "s", lambda one: one["iteration"]),
        (lower[2], "peak memory", "MiB", lambda one: one["memory"][-1]),
    ):
        for who, colour in (("skysift", "C0"), ("healpix-resample", "C3")):
            for rows, style in ((1, "o-"), (16, "s--")):
                names = [Case(samples, rows).name for samples in SIZES]
                found = [results[who][name] for name in names if name in results[who]]
                axes.loglog(
                    [one["samples"] for one in found],
                    [cost(one) for one in found],
                    style,
                    color=colour,
                    label=f"{who}, B = {rows}",
                )
        axes.set(title=title, xlabel="samples", ylabel=f"[{unit}]")
    handles, labels = lower[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=130)


def page(results: dict) -> str:
    """The validation page."""
    ours, rate = results["skysift"], results["bandwidth"]
    main = ours[SWATH_1M.name]
    lines = ["# Resampling", ""]
    lines += [f"Written by `benchmarks/validation/resampling.py` on {platform.machine()},"]
    lines += [f"{len(os.sched_getaffinity(0))} cores shared with other work, so that ratios count"]
    lines += ["and not seconds. Every case is a process of its own. SWATH-1M is a million samples"]
    lines += ["of a whisk-broom swath across the date line: plane waves, the finest of 5 to 10"]
    lines += [f"cells, seen with the beam of `psf`, and noise of {swath.NOISE}. Level"]
    lines += [f"{swath.LEVEL}, 9 links a sample, {main['n_cells']} cells, single precision."]
    lines += [f"Fits have a damping of {DAMPING} and end at a residual of {TOLERANCE:g}.", ""]
    peer = results["healpix-resample"]
    if SWATH_1M.name in peer:
        lines += _beside(ours, peer)
    lines += ["## Cost", ""]
    lines += ["Shortest times. The bound of an iteration is the time to read each link once and"]
    lines += ["to move the vectors of conjugate gradients once, at the rate of a copy of large"]
    lines += [f"arrays, {rate / 1e9:.1f} GB/s. The error is the rms at all centres of cells.", ""]
    lines += ["| | samples | B | construction [s] | iteration [ms] | share of the bound | fit [s]"]
    lines[-1] += " | iterations | peak memory [MiB] | error |"
    lines += ["| --- |" + " ---: |" * 9]
    for who in ("skysift", "healpix-resample"):
        for one in results[who].values():
            if one["damping"] is None:
                continue
            share = least_bytes(one) / rate / one["iteration"]
            lines += [
                f"| {who} | {one['samples']:.0e} | {one['rows']} | {one['construct']:.2f} | "
                f"{1e3 * one['iteration']:.2f} | {100 * share:.1f} % | {one['fit']:.2f} | "
                f"{one['n_iterations']} | {one['memory'][-1]:.0f} | {one['error']['cells']:.4f} |"
            ]
    lines += ["", "## Default settings", ""]
    lines += ["healpix-resample does not damp and ends after 100 iterations; skysift chooses the"]
    lines += ["damping, and the variances of the samples are equal. The average needs no fit.", ""]
    lines += ["| | samples | damping | fit [s] | error | error of the average |"]
    lines += ["| --- |" + " ---: |" * 5]
    for who in ("skysift", "healpix-resample"):
        for one in results[who].values():
            if one["damping"] is None:
                damping = 0.0 if who != "skysift" else one["damping_found"]
                average = one["error"].get("average")
                lines += [
                    f"| {who} | {one['samples']:.0e} | {damping:.2g} | {one['fit']:.2f} | "
                    f"{one['error']['cells']:.4f} | {f'{average:.4f}' if average else ''} |"
                ]
    lines += ["", "![Swath, fit and cost](resampling.png)", ""]
    lines += ["Repeat with `python benchmarks/validation/resampling.py`.", ""]
    return "\n".join(lines)


def _beside(ours: dict, peer: dict) -> list[str]:
    """The table of ratios."""
    lines = ["## Beside healpix-resample", ""]
    lines += ["The same samples, operator, weights, first guess and stopping rule; the figure of"]
    lines += ["the Earth is a sphere for both, as the peer's distances know no other. Of many rows"]
    lines += ["the peer compares each with the norm of all, and so ends a little earlier.", ""]
    names = [name for name in peer if name in ours and peer[name]["damping"] is not None]
    lines += ["| the peer's / ours | " + " | ".join(f"N x B = {name}" for name in names) + " |"]
    lines += ["| --- |" + " ---: |" * len(names)]
    for label, value in (
        ("time of construction", lambda one: one["construct"]),
        ("CPU time of construction", lambda one: one["construct_cpu"]),
        ("time of an iteration", lambda one: one["iteration"]),
        ("median time of an iteration", lambda one: one["iteration_median"]),
        ("peak memory of the process", lambda one: one["memory"][-1]),
    ):
        ratios = [f"{value(peer[name]) / value(ours[name]):.1f}" for name in names]
        lines += [f"| {label} | " + " | ".join(ratios) + " |"]
    ratios = [f"{peer[n]['error']['cells'] / ours[n]['error']['cells']:.5f}" for n in names]
    lines += ["| error | " + " | ".join(ratios) + " |"]
    return [*lines, ""]


def cases(samples: int) -> list[tuple[str, Case]]:
    """Package and case; the peer where its memory allows, with its defaults where it is quick."""
    ours, peer = "skysift", "healpix-resample"
    found = []
    for case in (Case(samples, 1), Case(samples, 16)):
        found += [(ours, case)] + [(peer, case)] * (samples < SIZES[-1])
    default = Case(samples, 1, None)
    found += [(ours, default)] * (samples < SIZES[-1]) + [(peer, default)] * (samples == SIZES[0])
    return found


def main() -> None:
    """Measure all cases, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of the environment with healpix-resample")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="most samples")
    parser.add_argument("--repeats", type=int, default=3, help="of cases of skysift below 1e7")
    parser.add_argument("--resume", action="store_true", help="keep cases that are stored")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "resampling.json"
    results: dict = {"bandwidth": bandwidth(), "skysift": {}, "healpix-resample": {}}
    if options.resume:
        results = json.loads(stored.read_text())
    case_of_ours = Path(__file__).resolve().parent / "resampling_case.py"
    commands = {"skysift": [sys.executable, str(case_of_ours)]}
    if options.peer_python:
        commands["healpix-resample"] = [options.peer_python, "-W", "ignore", str(PEER)]
    for samples in (size for size in SIZES if size <= options.largest):
        wanted = [(who, case) for who, case in cases(samples) if who in commands]
        wanted = [(who, case) for who, case in wanted if case.name not in results[who]]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as name:
            prepare(samples, Path(name))
            for who, case in wanted:
                once = who != "skysift" or samples == SIZES[-1]
                repeats = 1 if once else options.repeats
                results[who][case.name] = run(case, Path(name), commands[who], repeats)
                results["bandwidth"] = max(results["bandwidth"], bandwidth())
                stored.write_text(json.dumps(results, indent=1) + "\n")
                print(who, case.name, flush=True)
    (options.out / "resampling.md").write_text(page(results))
    picture(results, options.out / "resampling.png")


if __name__ == "__main__":
    main()
