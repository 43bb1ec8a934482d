"""Are kinds of patches found without labels, and with the right statistics?

Mixtures of patches of three kinds are sorted by a mixture of Gaussians and by a variational
auto-encoder, which are not told the kinds. Each class found is synthesised, and one is separated
from another by its class. Patches of the HI sky are sorted in the same way. Writes `phases.md`,
`.json` and two pictures.

    python benchmarks/validation/phases.py --data DATA

DATA is told of in `phases_case.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
import phases_case as case
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from skysift import scattering

ROOT = Path(__file__).parents[2]
SCALES = 3
MODELS = {
    "Gaussian mixture": scattering.GaussianMixture(),
    "auto-encoder": scattering.AutoEncoder(),
}
MIXTURES = {
    "dust, CIB, noise": (("dust", "CIB", "noise"), 0.0),
    "the same with noise of 0.5": (("dust", "CIB", "noise"), 0.5),
    "dust, extinction, CIB": (("dust", "extinction", "CIB"), 0.0),
}
SHOWN = "dust, CIB, noise"
TRIED = range(1, 7)
COMPONENTS = (3, 4, 6, 8, 10)
CONTAMINANT = 0.7
"""Standard deviation of the contaminating patch over that of the signal."""
DRAWS = 12
SKY_NSIDE, SKY_SIZE, SKY_SCALES = 8, 32, 2


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches of several kinds with their statistics.

    Args:
        maps: all of them.
        truth: number of the kind of each.
        statistics: of each.
        independent: for each kind the number that would not overlap.
    """

    maps: np.ndarray
    truth: np.ndarray
    statistics: scattering.Statistics
    independent: tuple[float, ...]

    def vectors(self, number: int) -> np.ndarray:
        """Statistics of the patches of a kind."""
        return np.asarray(self.statistics.vector)[self.truth == number]


def gathered(kinds: list[case.Kind], test: bool, noise: float, st) -> Patches:
    """Patches to learn from, or to test with."""
    sets = [one.test if test else one.train for one in kinds]
    maps = np.concatenate([case.standard(one) for one in sets])
    if noise:
        maps = case.noisy(maps, noise, seed=2 + test)
    truth = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    return Patches(maps, truth, st(maps), tuple(one.independent[test] for one in kinds))


def matching(truth: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The class of each kind, by the permutation that agrees best."""
    table = np.zeros((count, count))
    np.add.at(table, (truth, labels), 1)
    return linear_sum_assignment(-table)[1]


def sort_out(train: Patches, test: Patches, model) -> tuple[dict, scattering.Classes, np.ndarray]:
    """Classes of a mixture, and how right they are."""
    count = int(train.truth.max()) + 1
    begun = time.perf_counter()
    classes = scattering.classify(train.statistics, count, seed=0, model=model)
    seconds = time.perf_counter() - begun
    which = matching(train.truth, classes.labels, count)
    other = classes.assign(test.statistics).argmax(axis=1)
    offsets = [offset(train, test, classes, kind, which[kind]) for kind in range(count)]
    result = {
        "seconds": seconds,
        "accuracy": float(np.mean(classes.labels == which[train.truth])),
        "accuracy_held_out": float(np.mean(other == which[test.truth])),
        "score": classes.score,
        "offset": {
            key: float(np.sqrt(np.mean([one[key] for one in offsets]))) for key in offsets[0]
        },
        "deviation": float(np.mean([one["deviation"] for one in offsets])),
        "confusion": [
            [int(np.sum((test.truth == kind) & (other == of))) for of in which]
            for kind in range(count)
        ],
    }
    return result, classes, which


def held_out(train: Patches, test: Patches, components: int) -> float:
    """Accuracy of a Gaussian mixture of some principal components."""
    count = int(train.truth.max()) + 1
    classes = scattering.classify(train.statistics, count, components=components)
    which = matching(train.truth, classes.labels, count)
    return float(np.mean(classes.assign(test.statistics).argmax(axis=1) == which[test.truth]))


def offset(
    train: Patches, test: Patches, classes: scattering.Classes, kind: int, which: int
) -> dict[str, float]:
    """Mean squares of what the statistics of a class are off those of its kind.

    In standard errors of the kind's mean over patches that would not overlap, in the scatter of its
    patches, and from the mean of the held-out patches in the errors of both. Numbers that do not
    vary are left out.
    """
    own, other = train.vectors(kind), test.vectors(kind)
    found = np.asarray(classes.mean(which).vector)
    scatter = own.std(axis=0, ddof=1)
    varies = classes.features.kept & (scatter > 1e-4 * np.abs(own).max(axis=0))
    own, other, found, scatter = own[:, varies], other[:, varies], found[varies], scatter[varies]
    error = scatter / np.sqrt(train.independent[kind])
    both = np.hypot(error, other.std(axis=0, ddof=1) / np.sqrt(test.independent[kind]))
    off = found - own.mean(axis=0)
    return {
        "errors": float(np.mean((off / error) ** 2)),
        "scatter": float(np.mean((off / scatter) ** 2)),
        "held_out": float(np.mean(((found - other.mean(axis=0)) / both) ** 2)),
        "deviation": float(np.median(classes.deviation(which)[varies] / scatter)),
    }


def synthesised(classes: scattering.Classes, which: int, st, samples: int):
    """Maps of a class."""
    with warnings.catch_warnings():
        # The page tells the objective.
        warnings.simplefilter("ignore", UserWarning)
        return scattering.synthesise(
            classes.mean(which),
            st,
            samples,
            seed=which,
            sampler=scattering.LBFGS(max_iter=100),
        )


def separated(
    test: Patches, kinds: tuple[int, int], contamination: np.ndarray, scatter: np.ndarray, st
) -> dict:
    """A patch of one kind recovered from its sum with one of another.

    Args:
        test: held-out patches.
        kinds: of the signal and of the contamination.
        contamination: maps of the class of the contamination.
        scatter: of the statistics of the signal's class; 0 where they do not vary.
        st: the statistics.
    """
    signal, other = (
        test.maps[np.flatnonzero(test.truth == kind)[number]]
        for kind, number in zip(kinds, (9, 3), strict=True)
    )
    data = signal + CONTAMINANT * other
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = scattering.separate(
            data,
            scattering.Ensemble(CONTAMINANT * contamination),
            st,
            [scattering.Total(), scattering.Remainder()],
            seed=0,
            begin=scattering.Begin.FILTERED,
        )
    seconds = time.perf_counter() - begun
    reference = st(signal)
    varies = scatter > 0.0

    def offset(maps: np.ndarray) -> float:
        """Rms of the statistics from those of the signal, over their scatter."""
        numbers = np.asarray(st(maps, reference=reference).vector - reference.vector)
        return float(np.sqrt(np.mean((numbers[varies] / scatter[varies]) ** 2)))

    return {
        "seconds": seconds,
        "status": found.status.value,
        "correlation": [correlation(one, signal) for one in (data, found.map)],
        "rms": [residual(one, signal) for one in (data, found.map)],
        "contamination": correlation(found.contamination, other),
        "statistics": [offset(one) for one in (data, found.map)],
        "maps": (data, signal, found.map, found.contamination),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of the cells that count."""
    inner = (slice(case.FRAME, -case.FRAME),) * 2
    return float(np.corrcoef(one[inner].ravel(), other[inner].ravel())[0, 1])


def residual(one: np.ndarray, other: np.ndarray) -> float:
    """Rms difference but for the mean, of the cells that count."""
    inner = (slice(case.FRAME, -case.FRAME),) * 2
    return float(np.std((one - other)[inner]))


def sky(data: Path) -> dict:
    """Patches of the HI sky, without labels."""
    patches, centres = case.sky_patches(data, SKY_NSIDE, SKY_SIZE)
    maps = case.standard(patches)
    statistics = case.statistic(SKY_SIZE, SKY_SCALES)(maps)
    found = {}
    for name, model in MODELS.items():
        found[name] = scattering.classify(statistics, 3, seed=0, model=model)
    first, second = found.values()
    which = matching(first.labels, second.labels, 3)
    density = patches.mean(axis=(1, 2))
    latitude = np.degrees(np.arcsin(np.abs(centres[:, 2])))
    return {
        "patches": len(maps),
        "agreement": float(np.mean(which[first.labels] == second.labels)),
        "classes": [
            {
                "share": float(first.shares[one]),
                "latitude": float(np.median(latitude[first.labels == one])),
                "density": float(np.median(density[first.labels == one])),
                "s1": float(np.asarray(first.mean(one)["S1"])[0]),
            }
            for one in range(3)
        ],
        "maps": [maps[examples(first, one, 4)] for one in range(3)],
        "labels": first.labels,
    }


def examples(classes: scattering.Classes, which: int, count: int) -> np.ndarray:
    """Surest patches of a class, spread over those that there are."""
    sure = np.flatnonzero(classes.probabilities[:, which] > 0.95)
    return sure[np.linspace(0, len(sure) - 1, count).astype(int)]


def show(axes, values: np.ndarray, title: str) -> None:
    """One patch."""
    low, high = np.percentile(values, [0.5, 99.5])
    axes.imshow(values, vmin=low, vmax=high, cmap="inferno", origin="lower")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def mixture_picture(
    train: Patches,
    classes: scattering.Classes,
    which: np.ndarray,
    twins: list[np.ndarray],
    separation: dict,
    path: Path,
) -> None:
    """Patches of each class, syntheses, and a separation."""
    names = MIXTURES[SHOWN][0]
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    grid = figure.subplots(4, 5)
    for row, name, one, maps in zip(grid[:3], names, which, twins, strict=True):
        shown = train.maps[examples(classes, one, 3)]
        for axes, values in zip(row, [*shown, *maps[:2]], strict=True):
            show(axes, values, f"class of {name}")
        for axes in row[3:]:
            axes.set_title("synthesis", fontsize=9)
    titles = ("dust and CIB", "true dust", "separated dust", "separated CIB")
    for axes, values, title in zip(grid[3], separation["maps"], titles, strict=False):
        show(axes, values, title)
    grid[3, 4].set_axis_off()
    figure.savefig(path, dpi=90)


def sky_picture(found: dict, path: Path) -> None:
    """Patches of each class, and where they are."""
    figure = Figure(figsize=(9, 8.6), layout="constrained")
    grid = figure.add_gridspec(4, 4, height_ratios=(1, 1, 1, 1.9))
    for row, maps in enumerate(found["maps"]):
        for column, values in enumerate(maps):
            show(figure.add_subplot(grid[row, column]), values, f"class {row + 1}")
    axes = figure.add_subplot(grid[3, :], projection="mollweide")
    theta, phi = hp.pix2ang(SKY_NSIDE, np.arange(found["labels"].size))
    longitude = -((phi + np.pi) % (2.0 * np.pi) - np.pi)
    for one in range(3):
        own = found["labels"] == one
        axes.plot(longitude[own], np.pi / 2 - theta[own], "o", ms=5, label=f"class {one + 1}")
    axes.set_xticklabels([])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=90)


def page(results: dict) -> str:
    """The validation page."""
    lines = ["# Classes of patches", ""]
    lines += [f"Written by `benchmarks/validation/phases.py` on {platform.machine()},"]
    lines += [f"cores: {len(os.sched_getaffinity(0))}, in {results['seconds'] / 60:.1f} minutes."]
    lines += [f"Patches of {case.SIZE} x {case.SIZE} cells are sorted without labels by"]
    lines += ["`skysift.scattering.classify`: dust of two magnetohydrodynamic simulations, Planck"]
    lines += ["CIB, 2MASS extinction of Perseus and white noise. Each patch is divided by its"]
    lines += ["standard deviation, so that structure tells them apart and not strength; the"]
    lines += ["statistics do not change in quarter turns and mirrors of a patch. The patches held"]
    lines += ["out are of the other simulation, and of the other half of the sky's images: they"]
    lines += ["share no cell with those learnt from.", "", "## Accuracy", ""]
    lines += ["Part of the patches that are in the class of their kind, by the permutation of"]
    lines += ["classes that agrees best with the patches learnt from."]
    lines += [""]
    lines += ["| mixture | patches | model | seconds | learnt from | held out |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: |"]
    for name, mixture in results["mixtures"].items():
        for model, one in mixture["models"].items():
            patches = " + ".join(map(str, mixture["patches"]))
            lines += [
                f"| {name} | {patches} | {model} | {one['seconds']:.1f} | "
                f"{one['accuracy']:.3f} | {one['accuracy_held_out']:.3f} |"
            ]
    counts = {name: one["chosen"] for name, one in results["mixtures"].items()}
    lines += ["", f"With the number of classes not given but chosen from {TRIED[0]} to {TRIED[-1]}"]
    lines += ["by the Bayesian information criterion of the Gaussian mixture:"]
    lines += ["; ".join(f"{count} for {name}" for name, count in counts.items()) + ".", ""]
    lines += ["The number of principal components that the Gaussian mixture sees matters: a"]
    lines += ["covariance of many cannot be told from few patches. The default of `classify` was"]
    lines += ["chosen by these numbers, so that those held out are not blind to it. With"]
    lines += [f"{', '.join(map(str, COMPONENTS))} components:", ""]
    lines += ["| mixture |" + "".join(f" {one} |" for one in COMPONENTS)]
    lines += ["| --- |" + " ---: |" * len(COMPONENTS)]
    for name, mixture in results["mixtures"].items():
        lines += [f"| {name} |" + "".join(f" {one:.3f} |" for one in mixture["components"])]
    lines += [""]
    lines += ["## Statistics of the classes", ""]
    lines += [
        "Root mean square over all numbers and classes of the mean statistics of a class less"
    ]
    lines += ["those of its kind: in standard errors, of as many patches as would not overlap; in"]
    lines += ["the scatter of the patches of the kind; and from the mean of the patches held out,"]
    lines += ["in the errors of both. 1 is what sampling does. Deviation: of the statistics in the"]
    lines += ["class over that in the kind, median over the numbers.", ""]
    lines += ["| mixture | model | standard errors | scatter | held out | deviation |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for name, mixture in results["mixtures"].items():
        for model, one in mixture["models"].items():
            off = one["offset"]
            lines += [
                f"| {name} | {model} | {off['errors']:.2f} | {off['scatter']:.2f} | "
                f"{off['held_out']:.2f} | {one['deviation']:.2f} |"
            ]
    lines += ["", "## Synthesis and separation", ""]
    lines += [f"From the classes of the Gaussian mixture of {SHOWN}, with their mean statistics as"]
    lines += [
        "target. Objective: 1 is the scatter of Gaussian fields. Offset: rms over the numbers"
    ]
    lines += ["of the statistics of the maps less the target, in the scatter of the class.", ""]
    lines += ["| class | maps | seconds | largest objective | offset |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for name, one in results["syntheses"].items():
        lines += [
            f"| {name} | {one['maps']} | {one['seconds']:.0f} | {one['objective']:.2g} | "
            f"{one['offset']:.2f} |"
        ]
    one = results["separation"]
    lines += [
        "",
        f"A held-out patch of dust plus one of CIB of {CONTAMINANT} times its deviation is",
    ]
    lines += ["separated with the maps synthesised of the class of CIB as contamination:"]
    lines += ["`Total` and `Remainder`"]
    lines += [
        f"({one['status']}, {one['seconds']:.0f} s). Statistics: rms offset from those of the"
    ]
    lines += ["true dust, in the scatter of its class.", ""]
    lines += ["| | the sum | separated |", "| --- | ---: | ---: |"]
    for key, shown in (
        ("correlation", "correlation with the true dust"),
        ("rms", "rms residual, in deviations of the dust"),
        ("statistics", "statistics"),
    ):
        lines += [f"| {shown} | {one[key][0]:.3f} | {one[key][1]:.3f} |"]
    lines += ["", f"What is left correlates with the true CIB by {one['contamination']:.2f}.", ""]
    lines += ["![Classes, syntheses and a separation](phases.png)", "", "## The HI sky", ""]
    found = results["sky"]
    lines += [
        f"{found['patches']} tangent planes of {SKY_SIZE} x {SKY_SIZE} cells of 0.9 degrees of"
    ]
    lines += ["log N(HI), HI4PI, divided by their standard deviations, without labels. Neighbours"]
    lines += [f"overlap. The two models agree on {100 * found['agreement']:.0f} % of the patches:"]
    lines += ["nothing but a demonstration, the classes depend on the model."]
    lines += [
        "",
        "| class | share | median latitude [deg] | median log N(HI) | S1 at the finest scale |",
    ]
    lines += ["| ---: | ---: | ---: | ---: | ---: |"]
    for number, one in enumerate(found["classes"], 1):
        lines += [
            f"| {number} | {one['share']:.2f} | {one['latitude']:.0f} | {one['density']:.2f} | "
            f"{one['s1']:.3f} |"
        ]
    lines += ["", "![Classes of the HI sky](phases-sky.png)", ""]
    lines += ["Repeat with `python benchmarks/validation/phases.py --data DATA`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Sort all mixtures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the fields")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs/validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    kinds = case.kinds(options.data)
    st = case.statistic(case.SIZE, SCALES)
    results: dict = {"mixtures": {}}
    for name, (members, noise) in MIXTURES.items():
        train, test = (
            gathered([kinds[one] for one in members], testing, noise, st)
            for testing in (False, True)
        )
        models = {}
        for model, settings in MODELS.items():
            models[model], classes, which = sort_out(train, test, settings)
            print(name, model, models[model], flush=True)
            if name == SHOWN and isinstance(settings, scattering.GaussianMixture):
                shown = (train, test, classes, which)
        chosen = scattering.classify(train.statistics, TRIED, seed=0).count
        results["mixtures"][name] = {
            "patches": np.bincount(train.truth).tolist(),
            "models": models,
            "chosen": chosen,
            "components": [held_out(train, test, one) for one in COMPONENTS],
        }
    train, test, classes, which = shown
    results["syntheses"], twins = {}, []
    for name, one in zip(MIXTURES[SHOWN][0], which, strict=True):
        started = time.perf_counter()
        twin = synthesised(classes, one, st, DRAWS if name == "CIB" else 2)
        deviation = classes.deviation(one)
        varies = classes.features.kept & (deviation > 0.0)
        off = np.asarray(twin.statistics.vector) - np.asarray(twin.target.vector)
        results["syntheses"][name] = {
            "maps": len(twin.maps),
            "seconds": time.perf_counter() - started,
            "objective": float(twin.objective.max()),
            "offset": float(np.sqrt(np.mean((off / deviation)[:, varies] ** 2))),
        }
        print(name, results["syntheses"][name], flush=True)
        twins.append(twin.maps)
    scatter = np.where(classes.features.kept, classes.deviation(which[0]), 0.0)
    separation = separated(test, (0, 1), twins[1], scatter, st)
    print({key: value for key, value in separation.items() if key != "maps"}, flush=True)
    found = sky(options.data)
    mixture_picture(train, classes, which, twins, separation, options.out / "phases.png")
    sky_picture(found, options.out / "phases-sky.png")
    results["separation"] = {key: value for key, value in separation.items() if key != "maps"}
    results["sky"] = {key: found[key] for key in ("patches", "agreement", "classes")}
    results["seconds"] = time.perf_counter() - begun
    (options.out / "phases.md").write_text(page(results))
    (options.out / "phases.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
