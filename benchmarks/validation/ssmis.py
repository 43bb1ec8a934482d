"""How well is an orbit of SSMIS brought onto cells, level by level?

Every tenth sample, drawn at random, is left out and predicted from the others by fits and by plain
averages. Writes `ssmis.md` and `ssmis.png`. The orbit is an NPZ file with an array `data` of
(longitude, latitude, brightness temperature), -1e10 where missing.

    python benchmarks/validation/ssmis.py --swath ssmis_swath.npz
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from skysift import resample
from skysift.experiment.cell_values import CellValues
from skysift.experiment.config import Estimate, ResampleExperiment
from skysift.experiment.held_out import left_out, predict
from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import Samples, Wanted, read_samples
from skysift.report.resample_figures import CellMap, Scale
from skysift.report.sheet import rms

ROOT = Path(__file__).parents[2]
WANTED = Wanted(("data:2",), lon="data:0", lat="data:1", fill=-1e10)
METHODS = {
    "psf, fit": ("psf", Estimate.FIT),
    "bilinear, fit": ("bilinear", Estimate.FIT),
    "bilinear, average": ("bilinear", Estimate.AVERAGE),
    "nearest, average": ("nearest", Estimate.AVERAGE),
}
SHOWN_LEVEL = 8
EVERY = 10


@dataclass(frozen=True)
class Outcome:
    """What came of one level.

    Args:
        level: of the cells.
        whole: cells of all samples, by psf and fit.
        seconds: that the relation and its cells took.
        residuals: samples minus predictions, for each method.
        prediction_seconds: for each method.
    """

    level: int
    whole: CellValues
    seconds: tuple[float, float]
    residuals: dict[str, np.ndarray]
    prediction_seconds: dict[str, float]

    @property
    def compared(self) -> np.ndarray:
        """Samples that all methods predict."""
        return np.all([np.isfinite(one) for one in self.residuals.values()], axis=0)

    def rms(self, method: str) -> float:
        """Of the residuals where all methods have one [K]."""
        return float(np.sqrt(np.mean(self.residuals[method][self.compared] ** 2)))


def run(samples: Samples, level: int, seed: int) -> Outcome:
    """Bring the orbit onto cells of one level."""
    settings = {"level": level, "hold_out": EVERY, "seed": seed}
    recipes = {
        name: Recipe.of(ResampleExperiment(method=method, estimate=estimate, **settings))
        for name, (method, estimate) in METHODS.items()
    }
    recipe = recipes["psf, fit"]
    begun = time.perf_counter()
    relation = recipe.relation(samples)
    built = time.perf_counter()
    whole = CellValues.of(recipe, samples, relation)
    ended = time.perf_counter()
    left = left_out(recipe, samples.size)
    train, test = samples.taken(~left), samples.taken(left)
    residuals, seconds = {}, {}
    for name, one in recipes.items():
        start = time.perf_counter()
        residuals[name] = (test.values - predict(one, train, test))[0]
        seconds[name] = time.perf_counter() - start
    return Outcome(level, whole, (built - begun, ended - built), residuals, seconds)


def picture(samples: Samples, outcome: Outcome, seed: int) -> Figure:
    """The map, and the mean residual of the samples left out in each cell."""
    recipe = Recipe.of(ResampleExperiment(level=outcome.level, hold_out=EVERY, seed=seed))
    test = samples.taken(left_out(recipe, samples.size))
    grid = outcome.whole.grid
    groups = resample.group_by(test.lon, test.lat, outcome.level, cells=grid.index)
    drawn = CellMap(grid)
    return drawn.draw(
        [outcome.whole.values[0], groups.average(outcome.residuals["psf, fit"])],
        ["[K]", "sample − prediction [K]"],
        [f"level {outcome.level}, psf, fit", "samples left out"],
        Scale.RANGE,
        Scale.SIGNED,
    )


def page(samples: Samples, outcomes: list[Outcome], seed: int) -> str:
    """The validation page."""
    lines = ["# An orbit of SSMIS", ""]
    lines += [f"Written by `benchmarks/validation/ssmis.py` on {platform.machine()},"]
    cores = len(os.sched_getaffinity(0))
    lines += [f"{cores} core{'s' * (cores > 1)} shared with other work. {samples.size:,}"]
    lines += ["brightness temperatures of one orbit of a conical scanner, "]
    lines[-1] += f"{samples.dropped:,} others are missing."
    lines += [f"Every {EVERY}th, drawn at random, is left out, predicted from the others with all"]
    lines += ["settings at their defaults, and compared; the rms is over those that every method"]
    lines += ["predicts.", "", "## Samples left out", ""]
    for title, told in (
        ("Rms of sample minus prediction [K]:", lambda one, name: f"{one.rms(name):.3f}"),
        (
            "Share of the samples that a method predicts:",
            lambda one, name: f"{np.isfinite(one.residuals[name]).mean():.2%}",
        ),
        (
            "Seconds for the relation, the cells and the predictions:",
            lambda one, name: f"{one.prediction_seconds[name]:.2f}",
        ),
    ):
        lines += [title, "", "| level | " + " | ".join(METHODS) + " |"]
        lines += ["| --- |" + " ---: |" * len(METHODS)]
        for one in outcomes:
            lines += [f"| {one.level} | " + " | ".join(told(one, n) for n in METHODS) + " |"]
        lines += [""]
    lines += ["## Cells of all samples", "", "By `psf` and fit.", ""]
    lines += ["| level | cells | of the sphere | samples a cell | damping | iterations | residual"]
    lines[-1] += " [K] | cells beyond the samples | relation [s] | fit [s] |"
    lines += ["| --- |" + " ---: |" * 9]
    low, high = samples.values.min(), samples.values.max()
    for one in outcomes:
        whole = one.whole
        beyond = int(np.sum((whole.values < low) | (whole.values > high)))
        lines += [
            f"| {one.level} | {whole.grid.size:,} | {whole.grid.fsky:.2%} | "
            f"{np.median(whole.counts):.0f} | {whole.damping[0]:.3g} | {whole.iterations} | "
            f"{rms(whole.residuals):.3f} | {beyond:,} | {one.seconds[0]:.2f} | "
            f"{one.seconds[1]:.2f} |"
        ]
    lines += ["", "Cells beyond the samples are lower than the lowest of them, or higher than the"]
    lines += ["highest; the median cell is linked to the samples told.", ""]
    lines += [f"![Level {SHOWN_LEVEL}](ssmis.png)", ""]
    lines += [f"Level {SHOWN_LEVEL}: the map, and the mean residual of the samples left out in"]
    lines += ["each cell, both averaged in the cells that the picture can show.", ""]
    lines += ["Repeat with", ""]
    lines += [
        f"    python benchmarks/validation/ssmis.py --swath ssmis_swath.npz --seed {seed}",
        "",
    ]
    lines += ["The file has an array `data` of longitude, latitude and brightness temperature."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try all levels, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swath", type=Path, required=True, help="NPZ file of the orbit")
    parser.add_argument("--levels", type=int, nargs="+", default=[6, 7, 8, 9])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    samples = read_samples(options.swath, WANTED)
    outcomes = []
    for level in options.levels:
        outcomes.append(run(samples, level, options.seed))
        numbers = {name: round(outcomes[-1].rms(name), 3) for name in METHODS}
        print(level, numbers, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ssmis.md").write_text(page(samples, outcomes, options.seed))
    shown = min(outcomes, key=lambda one: abs(one.level - SHOWN_LEVEL))
    picture(samples, shown, options.seed).savefig(options.out / "ssmis.png", dpi=110)


if __name__ == "__main__":
    main()
