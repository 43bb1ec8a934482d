"""Do patches chosen from the data leave as little in r as the best of a grid that knows the truth?

A sky, by default c1d1s1, is observed by LiteBIRD at nside 64 and separated on GAL060 with patches
chosen in different ways. Writes `patch-choice.md`, `patch-choice.json` and `patch-choice.png`; an
interrupted run goes on from its state file.

    python benchmarks/validation/patch_choice.py --realisations 100
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import skysift as ss
from skysift.compsep import GaussianPrior, Problem, pose
from skysift.compsep.choose import PatchChoice, Trial
from skysift.compsep.variants import with_centres, with_patches, with_priors
from skysift.cosmology.analysis import ResidualSpectra, residual_spectra
from skysift.cosmology.forecast import Forecast
from skysift.cosmology.monte_carlo import MonteCarlo
from skysift.cosmology.residuals import Residuals
from skysift.experiment.choosing import Method, chosen_patches
from skysift.harmonic import Bandpowers
from skysift.report.style import BLUE, GREY, INK, RED, styled
from skysift.sky import Realisations

ROOT = Path(__file__).parents[2]
NSIDE, SKY, MASK, INSTRUMENT = 64, "c1d1s1", "GAL060", "LiteBIRD"
FIRST = 1000
NAMES = ("beta_dust", "temp_dust", "beta_pl")
GRID = {
    "beta_dust": (1500, 6000, 10000, 20000, 29491),
    "temp_dust": (20, 100, 500, 2000),
    "beta_pl": (20, 100, 500, 1500),
}
METHODS = {"automatic": Method.FORECAST, "adaptive": Method.ADAPTIVE}
TITLES = {
    "global": "one value for all cells",
    "ptep": "multi-resolution, nside 64, 32, 16",
    "kmeans": "k-means 1500, 500, 500",
    "automatic": "automatic: nested cells around larger ones",
    "adaptive": "adaptive: cells around larger ones of equal information",
    "truth": "parameters held at the truth",
}


class Bench:
    """What all rows share."""

    def __init__(self, sky: str, state: Path) -> None:
        self.sky, self.mask = sky, ss.galactic_mask(MASK, NSIDE)
        self.sim = ss.simulate(sky, INSTRUMENT, NSIDE, seed=0)
        self.realisations = Realisations.of(self.sim)
        self.problem = pose(self.sim.maps.masked(self.mask), INSTRUMENT, "c+d+s")
        self.path = state
        self.state = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def save(self) -> None:
        """Write what there is, so that an interrupted run goes on."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.state, indent=1))
        partial.replace(self.path)

    def kmeans(self, counts: tuple[int, ...]) -> Problem:
        """k-means patches."""
        named = dict(zip(NAMES, counts, strict=True))
        return with_patches(self.problem, ss.Patches.kmeans(self.mask, seed=42, **named))

    def nested(self, nsides: tuple[int, ...]) -> Problem:
        """HEALPix cells as patches."""
        named = dict(zip(NAMES, nsides, strict=True))
        return with_patches(self.problem, ss.Patches.multires(self.mask, **named))

    def truth(self) -> Problem:
        """Spectral parameters held at the truth of each cell."""
        problem = self.nested((NSIDE,) * 3)
        true = self.sim.truth.parameters
        cells = [np.asarray(true[name])[problem.maps.grid.index] for name in NAMES]
        labels = [problem.patches.labels[name] for name in NAMES]
        theta = [c[np.argsort(label)] for c, label in zip(cells, labels, strict=True)]
        return problem.held(np.concatenate(theta))


def choose(bench: Bench, name: str) -> dict:
    """The automatic or the adaptive choice, from the maps of seed 0 alone."""
    begun = time.perf_counter()

    def show(trial: Trial) -> None:
        counts = [list(trial.counts.values()), list(trial.around.values())]
        print(f"  {name}", *counts, trial.relax, f"{trial.score:.2e}", flush=True)

    found = chosen_patches(bench.problem, METHODS[name], seed=0, on_trial=show)
    return {**record(found), "seconds": time.perf_counter() - begun}


def record(found: PatchChoice) -> dict:
    """A choice as JSON."""
    around = {} if found.around is None else found.around.labels
    return {
        "labels": {n: np.asarray(v).tolist() for n, v in found.patches.labels.items()},
        "around": {n: np.asarray(v).tolist() for n, v in around.items()},
        "priors": {n: [p.mean, p.sigma] for n, p in found.priors.items()},
        "trials": [dataclasses.asdict(trial) for trial in found.table],
        "best": dataclasses.asdict(found.best),
    }


def chosen(bench: Bench, name: str) -> Problem:
    """The problem of a recorded choice."""
    told, grid = bench.state["choices"][name], bench.problem.maps.grid
    labels = {n: np.asarray(v) for n, v in told["labels"].items()}
    problem = with_patches(bench.problem, ss.Patches(labels, grid))
    problem = with_priors(problem, {n: GaussianPrior(*p) for n, p in told["priors"].items()})
    around = {n: np.asarray(v) for n, v in told["around"].items()}
    return with_centres(problem, ss.Patches(around, grid)) if around else problem


def search_grid(bench: Bench) -> None:
    """Score every combination of the grid with the true foregrounds and other noise."""
    scores = bench.state.setdefault("grid", {})
    truth = bench.realisations.foregrounds.on(bench.problem.maps.grid)
    known = Forecast(bench.problem.maps.replace(np.asarray(truth.values)), seeds=(7,))
    for counts in itertools.product(*GRID.values()):
        key = ",".join(map(str, counts))
        if key in scores:
            continue
        outlook = known.outlook(bench.kmeans(counts))
        scores[key] = [outlook.r, outlook.sigma, outlook.converged]
        print("  grid", key, f"{outlook.score:.2e}", flush=True)
        bench.save()


def best_of_grid(bench: Bench, number: int = 4) -> list[tuple[int, ...]]:
    """The combinations of smallest |r| + sigma."""
    scores = bench.state["grid"]
    order = sorted(scores, key=lambda key: abs(scores[key][0]) + scores[key][1])
    return [tuple(int(c) for c in key.split(",")) for key in order[:number]]


def rows(bench: Bench) -> dict[str, Problem]:
    """All problems that are compared."""
    found = {
        "global": with_patches(bench.problem, ss.Patches({}, bench.problem.maps.grid)),
        "ptep": bench.nested((64, 32, 16)),
        "kmeans": bench.kmeans((1500, 500, 500)),
        "automatic": chosen(bench, "automatic"),
        "adaptive": chosen(bench, "adaptive"),
        "truth": bench.truth(),
    }
    for counts in best_of_grid(bench):
        found["grid " + ",".join(map(str, counts))] = bench.kmeans(counts)
    return found


def extend(bench: Bench, name: str, problem: Problem, seeds: list[int]) -> None:
    """Separate more realisations of one row."""
    row = bench.state.setdefault("rows", {}).setdefault(
        name, {"seeds": [], "total": [], "statistical": [], "rms": [], "seconds": [], "good": []}
    )
    left = [seed for seed in seeds if seed not in row["seeds"]]
    if not left:
        return
    options = dataclasses.replace(problem.options, errors=False)
    shared = MonteCarlo.of(dataclasses.replace(problem, options=options), bench.realisations)
    floor = shared.floor.components["cmb"]
    row["systematic"] = power(residual_spectra(Residuals(floor, floor)).systematic)
    row["systematic_rms"] = rms(np.asarray(floor.values))
    row["counts"] = list(problem.patches.counts.values())
    row["around"] = [] if problem.coarse is None else list(problem.coarse.patches.counts.values())
    row["floor"] = bool(shared.floor.status.converged)
    for seed in left:
        one = shared.realisation(seed)
        spectra = residual_spectra(one.residuals)
        row["total"].append(power(spectra.total))
        row["statistical"].append(power(spectra.statistical))
        row["rms"].append(rms(np.asarray(one.residuals.statistical.values)))
        row["seconds"].append(float(one.seconds[0]))
        row["good"].append(bool(one.converged[0]))
        row["seeds"].append(seed)
    bench.save()
    print(name, len(row["seeds"]), "realisations", f"{np.mean(row['seconds']):.2f} s", flush=True)


def power(bandpowers: Bandpowers) -> list[float]:
    """BB of one map."""
    return np.squeeze(bandpowers.values["BB"]).tolist()


def rms(values: np.ndarray) -> float:
    """Root mean square over cells and Stokes parameters."""
    return float(np.sqrt(np.nanmean(values**2)))


def ratio(bench: Bench, row: dict) -> tuple[float, float, float]:
    """The ratio and its errors."""
    some = bench.sim.truth.components["cmb"].on(bench.problem.maps.grid)
    like = residual_spectra(Residuals(some, some)).total

    def of(values: list) -> Bandpowers:
        return dataclasses.replace(like, values={"BB": np.atleast_2d(values)})

    spectra = ResidualSpectra(of(row["total"]), of(row["systematic"]), of(row["statistical"]))
    fit = spectra.tensor_ratio()
    return float(fit.r), float(fit.sigma_minus), float(fit.sigma_plus)


def table(bench: Bench) -> str:
    """All rows in Markdown, best first."""
    lines = [
        "| patches | counts | realisations | systematic rms [uK] | statistical rms [uK] | r | "
        "sigma- | sigma+ | |r| + sigma+ | seconds each | all converged |".replace(
            "| |r| +", "| abs(r) +"
        ),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    scored = {name: ratio(bench, row) for name, row in bench.state["rows"].items()}
    for name in sorted(scored, key=lambda n: abs(scored[n][0]) + scored[n][2]):
        row, (r, minus, plus) = bench.state["rows"][name], scored[name]
        title = TITLES.get(name, "k-means, of the best of the grid")
        counts = ", ".join(map(str, row["counts"])) or "none"
        if row["around"]:
            counts += f" around {', '.join(map(str, row['around']))}"
        lines.append(
            f"| {title} | {counts} | {len(row['seeds'])} | {row['systematic_rms']:.4f} | "
            f"{np.mean(row['rms']):.4f} | {r:+.2e} | {minus:.2e} | {plus:.2e} | "
            f"{abs(r) + plus:.2e} | {np.mean(row['seconds']):.2f} | "
            f"{'yes' if row['floor'] and all(row['good']) else 'no'} |"
        )
    return "\n".join(lines)


def figure(bench: Bench) -> Figure:
    """|r| and |r| + sigma+ of all rows, and the scores of the grid by number of patches."""
    scored = {name: ratio(bench, row) for name, row in bench.state["rows"].items()}
    order = sorted(scored, key=lambda n: abs(scored[n][0]) + scored[n][2])
    with styled():
        picture = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = picture.subplots(1, 2)
        bias = np.array([1e3 * abs(scored[n][0]) for n in order])
        score = bias + [1e3 * scored[n][2] for n in order]
        left.hlines(order, bias, score, color=GREY, lw=1.5)
        left.plot(bias, order, "o", color=RED, label="|r|")
        left.plot(score, order, "o", color=BLUE, label="|r| + sigma+")
        left.set(xlabel="1000 r", xscale="log", xlim=(0.05, 2.0 * score.max()))
        left.invert_yaxis()
        left.legend(loc="upper right")
        grid = bench.state["grid"]
        total = [sum(map(int, key.split(","))) for key in grid]
        right.plot(total, [1e3 * (abs(s[0]) + s[1]) for s in grid.values()], "o", ms=3, color=INK)
        right.set(
            xscale="log",
            xlabel="patches in all",
            ylabel="1000 (|r| + sigma+)",
            title="k-means grid, true foregrounds, forecast",
        )
        right.xaxis.set_minor_formatter(NullFormatter())
    return picture


HEAD = """# Choice of patches

Sky {sky}, nside {nside}, {mask}, {instrument} noise. Patches are chosen in different ways, and r is
measured of the residuals of many noise realisations as the component-separation papers do
([Realisations](../realisations.md)): the observation is lensing and the mean total residual, the
model tensors, lensing and the mean statistical residual. The best choice has the smallest
|r| + sigma+.

The automatic and the adaptive choice see the maps of one realisation (seed 0) that is not among
those of the table. They take the smallest score that `Forecast` expects ([Patches](../patches.md)).
The grid of k-means counts ({grid} combinations) knows the true foregrounds: each combination is
scored with them and one noise realisation, and the best four are in the table.

![r of all choices](patch-choice{suffix}.png)

"""


def write(bench: Bench, out: Path) -> None:
    """The page and its picture."""
    told = [
        f"- {name}: width of the priors {c['best']['relax']:g} times that learnt, forecast "
        f"{c['best']['score']:.2e}, {len(c['trials'])} trials in {c['seconds']:.0f} s."
        for name, c in bench.state["choices"].items()
    ]
    suffix = "" if bench.sky == SKY else f"-{bench.sky}"
    head = HEAD.format(
        sky=bench.sky,
        nside=NSIDE,
        mask=MASK,
        instrument=INSTRUMENT,
        grid=" x ".join(str(len(counts)) for counts in GRID.values()),
        suffix=suffix,
    )
    tail = (
        "\n\nCounts are those of "
        + ", ".join(NAMES)
        + ".\n\nWhat was chosen:\n\n"
        + "\n".join(told)
        + f"\n\nRepeat with `python benchmarks/validation/patch_choice.py --sky {bench.sky}`.\n"
    )
    (out / f"patch-choice{suffix}.md").write_text(head + table(bench) + tail)
    numbers = {
        "grid": bench.state["grid"],
        "choices": {
            n: {**c, "labels": None, "around": None} for n, c in bench.state["choices"].items()
        },
        "rows": {
            n: {
                "counts": row["counts"],
                "around": row["around"],
                "realisations": len(row["seeds"]),
                "r": ratio(bench, row),
            }
            for n, row in bench.state["rows"].items()
        },
    }
    (out / f"patch-choice{suffix}.json").write_text(json.dumps(numbers, indent=1))
    figure(bench).savefig(out / f"patch-choice{suffix}.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sky", default=SKY)
    parser.add_argument("--realisations", type=int, default=100)
    parser.add_argument("--step", type=int, default=20)
    parser.add_argument("--state", type=Path, default=Path("patch-choice.state.json"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.sky, options.state)
    choices = bench.state.setdefault("choices", {})
    for name in METHODS:
        if name not in choices:
            choices[name] = choose(bench, name)
            bench.save()
    search_grid(bench)
    problems = rows(bench)
    for stop in range(options.step, options.realisations + options.step, options.step):
        for name, problem in problems.items():
            last = min(stop, options.realisations)
            extend(bench, name, problem, list(range(FIRST, FIRST + last)))
        write(bench, options.out)
        print(table(bench), flush=True)


if __name__ == "__main__":
    main()
