"""Do patches chosen from the data leave as little in r as the best of a grid that knows the truth?

The sky c1d1s1 is observed by LiteBIRD at nside 64 and separated on GAL060 with patches chosen in
different ways. Writes `patch-choice.md`, `patch-choice.json` and `patch-choice.png`. An interrupted
run goes on from its state file.

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

import skysift as ss
from skysift.compsep import GaussianPrior, Problem, pose, solve
from skysift.compsep.adaptive import informed_patches
from skysift.compsep.choose import NO_PRIOR, PatchChoice, Trial, choose_among, choose_patches
from skysift.compsep.shrinkage import learn_scatter
from skysift.compsep.variants import with_patches, with_priors
from skysift.cosmology import fit_r
from skysift.cosmology.forecast import Forecast
from skysift.cosmology.monte_carlo import MonteCarlo
from skysift.harmonic import Bins, CMBSpectra, PseudoOptions, PseudoSpectra
from skysift.report.style import BLUE, INK, RED, styled
from skysift.sky import Realisations

ROOT = Path(__file__).parents[2]
NSIDE, SKY, MASK, INSTRUMENT = 64, "c1d1s1", "GAL060", "LiteBIRD"
FIRST = 1000
# Said in full: rows of an interrupted run must be of one estimator.
ESTIMATOR = PseudoOptions(
    lmax=128, bins=Bins.linear(2, 128, 4), apodisation=4.0, purify=True, smoothing=120.0
)
NAMES = ("beta_dust", "temp_dust", "beta_pl")
GRID = {
    "beta_dust": (1500, 3000, 6000, 10000, 20000),
    "temp_dust": (20, 100, 500, 2000),
    "beta_pl": (20, 100, 500, 1500),
}
RELAX = (4.0, 8.0, 16.0, 32.0, 64.0, NO_PRIOR)
ERRORS = (0.5, 1.0, 2.0, 4.0, 8.0)
TITLES = {
    "global": "one value for all cells",
    "ptep": "multi-resolution, nside 64, 32, 16",
    "kmeans": "k-means 1500, 500, 500",
    "automatic": "automatic: nested ladders and learnt priors",
    "adaptive": "adaptive: cells of equal information and learnt priors",
    "truth": "parameters held at the truth",
}


class Bench:
    """What all rows share."""

    def __init__(self, seed: int, state: Path) -> None:
        self.mask = ss.galactic_mask(MASK, NSIDE)
        self.sim = ss.simulate(SKY, INSTRUMENT, NSIDE, seed=seed)
        self.realisations = Realisations.of(self.sim)
        self.problem = pose(self.sim.maps.masked(self.mask), INSTRUMENT, "c+d+s")
        self.estimator = PseudoSpectra.of(self.problem.maps.grid, ESTIMATOR)
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
    """The automatic or the adaptive choice, from the maps of the first seed alone."""
    begun = time.perf_counter()
    criterion = Forecast.of(bench.problem)
    priors = learn_scatter(bench.problem)

    def show(trial: Trial) -> None:
        print(
            f"  {name}", list(trial.counts.values()), trial.relax, f"{trial.score:.2e}", flush=True
        )

    if name == "automatic":
        found = choose_patches(bench.problem, criterion, priors=priors, relax=RELAX, on_trial=show)
    else:
        large = bench.nested((NSIDE // 8,) * 3)
        fit = solve(with_priors(large, priors))
        sizes = [
            informed_patches(fit, {n: factor * p.sigma for n, p in priors.items()})
            for factor in ERRORS
        ]
        found = choose_among(
            bench.problem, criterion, sizes, priors=priors, relax=RELAX, on_trial=show
        )
    return {**record(found), "seconds": time.perf_counter() - begun}


def record(found: PatchChoice) -> dict:
    """A choice as JSON."""
    return {
        "labels": {n: np.asarray(v).tolist() for n, v in found.patches.labels.items()},
        "priors": {n: [p.mean, p.sigma] for n, p in found.priors.items()},
        "trials": [dataclasses.asdict(trial) for trial in found.table],
        "score": found.best.score,
        "relax": found.best.relax,
    }


def chosen(bench: Bench, name: str) -> Problem:
    """The problem of a recorded choice."""
    told = bench.state["choices"][name]
    labels = {n: np.asarray(v) for n, v in told["labels"].items()}
    problem = with_patches(bench.problem, ss.Patches(labels, bench.problem.maps.grid))
    return with_priors(problem, {n: GaussianPrior(*p) for n, p in told["priors"].items()})


def search_grid(bench: Bench) -> None:
    """Score every combination of the grid with the true foregrounds and other noise."""
    scores = bench.state.setdefault("grid", {})
    known = Forecast.of(bench.problem)
    values = np.asarray(bench.realisations.foregrounds.on(bench.problem.maps.grid).values)
    known = dataclasses.replace(known, foregrounds=known.foregrounds.replace(values), seeds=(7,))
    for counts in itertools.product(*GRID.values()):
        key = ",".join(map(str, counts))
        if key in scores:
            continue
        outlook = known.outlook(bench.kmeans(counts))
        scores[key] = [outlook.r, outlook.sigma, outlook.converged]
        print("  grid", key, f"{outlook.score:.2e}", flush=True)
        bench.save()


def best_of_grid(bench: Bench, number: int = 3) -> list[tuple[int, ...]]:
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
    row["systematic"] = np.squeeze(bench.estimator(floor).values["BB"]).tolist()
    row["systematic_rms"] = rms(np.asarray(floor.values))
    row["counts"] = list(problem.patches.counts.values())
    row["floor"] = bool(shared.floor.status.converged)
    for seed in left:
        one = shared.realisation(seed)
        for part in ("total", "statistical"):
            power = bench.estimator(getattr(one.residuals, part)).values["BB"]
            row[part].append(np.squeeze(power).tolist())
        row["rms"].append(rms(np.asarray(one.residuals.statistical.values)))
        row["seconds"].append(float(one.seconds[0]))
        row["good"].append(bool(one.converged[0]))
        row["seeds"].append(seed)
    bench.save()
    print(name, len(row["seeds"]), "realisations", f"{np.mean(row['seconds']):.2f} s", flush=True)


def rms(values: np.ndarray) -> float:
    """Root mean square over cells and Stokes parameters."""
    return float(np.sqrt(np.nanmean(values**2)))


def ratio(bench: Bench, row: dict) -> tuple[float, float, float]:
    """The ratio and its errors; power below zero, which few realisations give, counts as none."""
    theory = CMBSpectra.packaged()
    like = bench.estimator(bench.sim.truth.components["cmb"].on(bench.problem.maps.grid))
    lensing = like.expected(theory.cl(r=0.0, lmax=like.windows["BB"].shape[-1] - 1))["BB"]
    noise = np.maximum(np.mean(row["statistical"], axis=0), 0.0)
    observed = np.maximum(np.mean(row["total"], axis=0), -0.5 * lensing) + lensing
    fit = fit_r(dataclasses.replace(like, values={"BB": observed}), theory, noise=noise)
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
        lines.append(
            f"| {title} | {counts} | {len(row['seeds'])} | {row['systematic_rms']:.4f} | "
            f"{np.mean(row['rms']):.4f} | {r:+.2e} | {minus:.2e} | {plus:.2e} | "
            f"{abs(r) + plus:.2e} | {np.mean(row['seconds']):.2f} | "
            f"{'yes' if row['floor'] and all(row['good']) else 'no'} |"
        )
    return "\n".join(lines)


def figure(bench: Bench) -> Figure:
    """|r| + sigma+ of all rows, and the scores of the grid by number of patches."""
    scored = {name: ratio(bench, row) for name, row in bench.state["rows"].items()}
    order = sorted(scored, key=lambda n: abs(scored[n][0]) + scored[n][2])
    with styled():
        picture = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = picture.subplots(1, 2)
        bias = [1e3 * abs(scored[n][0]) for n in order]
        left.barh(order, bias, color=RED, label="|r|")
        left.barh(order, [1e3 * scored[n][2] for n in order], left=bias, color=BLUE, label="sigma+")
        left.set(xlabel="1000 (|r| + sigma+)", xscale="log")
        left.invert_yaxis()
        left.legend(loc="lower right")
        grid = bench.state["grid"]
        total = [sum(map(int, key.split(","))) for key in grid]
        right.plot(total, [1e3 * (abs(s[0]) + s[1]) for s in grid.values()], "o", ms=3, color=INK)
        right.set(
            xscale="log",
            yscale="log",
            xlabel="patches in all",
            ylabel="1000 (|r| + sigma)",
            title="k-means grid, true foregrounds, forecast",
        )
    return picture


HEAD = f"""# Choice of patches

{SKY}, nside {NSIDE}, {MASK}, {INSTRUMENT} noise. Patches are chosen in different ways, and r is
measured of the residuals of many noise realisations: the observation is lensing and the mean total
residual, the model tensors, lensing and the mean statistical residual. The best choice has the
smallest |r| + sigma+.

The automatic and the adaptive choice see the maps of one realisation (seed 0) that is not among
those of the table. They take the smallest score that `Forecast` expects ([Patches](../patches.md)).
The grid of k-means counts ({" x ".join(str(len(c)) for c in GRID.values())} combinations) knows the
true foregrounds: each combination is scored with them and one noise realisation, and the best three
are in the table.

![r of all choices](patch-choice.png)

"""


def write(bench: Bench, out: Path) -> None:
    """The page and its picture."""
    told = [
        f"- {name}: relax {c['relax']:g}, forecast {c['score']:.2e}, {len(c['trials'])} trials in "
        f"{c['seconds']:.0f} s."
        for name, c in bench.state["choices"].items()
    ]
    tail = (
        "\n\nWhat was chosen:\n\n" + "\n".join(told) + "\n\nRepeat with `python "
        "benchmarks/validation/patch_choice.py`.\n"
    )
    (out / "patch-choice.md").write_text(HEAD + table(bench) + tail)
    numbers = {
        "grid": bench.state["grid"],
        "choices": {n: {**c, "labels": None} for n, c in bench.state["choices"].items()},
        "rows": {
            n: {"counts": row["counts"], "realisations": len(row["seeds"]), "r": ratio(bench, row)}
            for n, row in bench.state["rows"].items()
        },
    }
    (out / "patch-choice.json").write_text(json.dumps(numbers, indent=1))
    figure(bench).savefig(out / "patch-choice.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--realisations", type=int, default=100)
    parser.add_argument("--step", type=int, default=20)
    parser.add_argument("--state", type=Path, default=Path("patch-choice.state.json"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(0, options.state)
    choices = bench.state.setdefault("choices", {})
    for name in ("automatic", "adaptive"):
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
