"""Do the error bars of a separation cover the truth as often as they say?

Noise realisations of one sky whose spectral parameters are constant in the patches that are fitted,
so that nothing but noise separates estimate and truth. Writes `coverage.md` and `coverage.png`.

    python benchmarks/validation/noise_coverage.py --realisations 200
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import skysift as ss
from skysift.report.style import BLUE, INK, SERIES, styled
from skysift.sky.noise import white_noise

ROOT = Path(__file__).parents[2]
TRUTH = {"beta_dust": 1.54, "temp_dust": 20.0, "beta_pl": -3.0}
SYMBOLS = {"beta_dust": r"$\beta_d$", "temp_dust": "$T_d$", "beta_pl": r"$\beta_s$"}


@dataclass(frozen=True)
class Case:
    """What is fitted.

    Args:
        title: for table and figure.
        nside: of the maps.
        patches: nside of each parameter's patches.
        noise_ratio: factor on LiteBIRD's noise.
    """

    title: str
    nside: int
    patches: dict[str, int]
    noise_ratio: float


GAUSSIAN = Case("errors small", 16, {"beta_dust": 2, "temp_dust": 1, "beta_pl": 1}, 1.0)
FINE = Case("finer patches", 16, {"beta_dust": 4, "temp_dust": 2, "beta_pl": 2}, 1.0)
NOISY = Case("noise dominates", 16, {"beta_dust": 8, "temp_dust": 4, "beta_pl": 4}, 4.0)


@dataclass(frozen=True)
class Outcome:
    """Pulls (realisation, patch) per parameter and of the CMB, NaN where there is no error.

    `apart` are those of beta_dust in patches whose temp_dust is not at a bound.
    """

    case: Case
    pulls: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    cmb: np.ndarray
    apart: np.ndarray
    reduced_chi2: np.ndarray
    dof: float
    converged: np.ndarray
    at_bound: dict[str, float]
    seconds: float


def run(case: Case, realisations: int, seed: int = 0) -> Outcome:
    """Fit noise realisations of one sky."""
    litebird = ss.Instrument.preset("LiteBIRD")
    sky = ss.simulate("c1d0s0", litebird, case.nside, noise_ratio=0.0, seed=seed)
    cmb = np.asarray(sky.truth.components["cmb"].values)
    patches = ss.Patches.multires(sky.maps.grid, **case.patches)
    weights = ss.InstrumentDepth(noise_ratio=case.noise_ratio)
    fits, cmb_pulls = [], []
    begun = time.perf_counter()
    for number in range(realisations):
        noise = white_noise(
            litebird,
            sky.maps.grid,
            sky.maps.stokes,
            np.random.SeedSequence(seed + 1, spawn_key=(number,)),
            noise_ratio=case.noise_ratio,
        )
        maps = sky.maps.replace(np.asarray(sky.maps.values) + np.asarray(noise.values))
        fit = ss.separate(maps, litebird, patches=patches, noise=weights)
        fits.append(fit)
        shift = np.asarray(fit.components["cmb"].values) - cmb
        cmb_pulls.append((shift / fit.component_errors["cmb"].values)[:, ::7].ravel())
    pulls = {
        name: np.stack([(f.parameters[name] - true) / f.errors[name] for f in fits])
        for name, true in TRUTH.items()
    }
    parent = np.zeros(patches.counts["beta_dust"], int)
    parent[patches.labels["beta_dust"]] = patches.labels["temp_dust"]
    return Outcome(
        case,
        pulls,
        {name: np.stack([f.errors[name] for f in fits]) for name in TRUTH},
        np.stack(cmb_pulls),
        pulls["beta_dust"][np.isfinite(pulls["temp_dust"])[:, parent]],
        np.array([f.reduced_chi2 for f in fits]),
        float(np.sum(fits[0].dof) - fits[0].free.sum()),
        np.array([f.status.converged for f in fits]),
        {n: float(np.mean([f.status.active_bounds[n] for f in fits])) for n in TRUTH},
        time.perf_counter() - begun,
    )


def covered(pulls: np.ndarray, width: float) -> float:
    """Share of intervals of a half width that hold the truth [%]; no interval is a miss."""
    return 100.0 * float(np.mean(np.abs(pulls) < width))


# Half widths of the central 68 % and 95 % of a Gaussian.
HALF_WIDTHS = {68: 0.994458, 95: 1.959964}


def table(outcome: Outcome) -> str:
    """Coverage of one case in Markdown."""
    case = outcome.case
    lines = [
        f"### {case.title.capitalize()}",
        "",
        f"nside {case.nside}, full sky, LiteBIRD noise times {case.noise_ratio:g}, patches at "
        + ", ".join(f"nside {nside} ({name})" for name, nside in case.patches.items())
        + f"; {len(outcome.converged)} realisations in {outcome.seconds:.0f} s, "
        f"{int(outcome.converged.sum())} converged.",
        "",
        "| | patches | median error | at a bound | 68 % covers | 95 % covers | pull mean | "
        "pull std |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = {**outcome.pulls, "cmb map": outcome.cmb}
    if outcome.at_bound["temp_dust"] > 0:
        rows["beta_dust, temp_dust not at a bound"] = outcome.apart
    for name, pulls in rows.items():
        known = pulls[np.isfinite(pulls)]
        parameter = name in TRUTH
        error = f"{np.nanmedian(outcome.errors[name]):.3g}" if parameter else ""
        bound = f"{outcome.at_bound[name]:.1f}" if parameter else ""
        lines.append(
            f"| {name} | {pulls.shape[1] if parameter else ''} | {error} | {bound} | "
            f"{covered(pulls, HALF_WIDTHS[68]):.1f} % | {covered(pulls, HALF_WIDTHS[95]):.1f} % | "
            f"{known.mean():+.3f} | {known.std():.3f} |"
        )
    mean, error = outcome.reduced_chi2.mean(), np.sqrt(2 / outcome.dof / outcome.converged.size)
    lines += [
        "",
        f"Chi squared per degree of freedom {mean:.5f}, expected 1 within {error:.5f} "
        f"({(mean - 1) / error:+.1f} standard errors); its scatter "
        f"{outcome.reduced_chi2.std():.5f}, expected {np.sqrt(2 / outcome.dof):.5f}.",
        "",
    ]
    return "\n".join(lines)


def figure(outcomes: list[Outcome]) -> Figure:
    """Histograms of pulls against the unit Gaussian."""
    grid = np.linspace(-4.5, 4.5, 200)
    gauss = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    with styled():
        picture = Figure(figsize=(10, 2.6 * len(outcomes) + 0.4), layout="constrained")
        axes = picture.subplots(len(outcomes), 4, sharex=True, sharey=True, squeeze=False)
        for row, outcome in zip(axes, outcomes, strict=True):
            columns = {**outcome.pulls, "cmb": outcome.cmb}
            for axis, (name, pulls), colour in zip(row, columns.items(), SERIES, strict=False):
                known = pulls[np.isfinite(pulls)]
                axis.hist(known, bins=61, range=(-4.5, 4.5), density=True, color=colour, alpha=0.55)
                axis.plot(grid, gauss, color=INK, linewidth=1.2)
                axis.set_title(f"{SYMBOLS.get(name, 'CMB map')}, {outcome.case.title}")
                shares = [f"{covered(pulls, width):.1f} %" for width in HALF_WIDTHS.values()]
                axis.annotate(
                    "\n".join(shares),
                    (0.97, 0.93),
                    xycoords="axes fraction",
                    ha="right",
                    va="top",
                    color=BLUE,
                )
            row[0].set_ylabel("density")
        for axis in axes[-1]:
            axis.set_xlabel("(estimate - truth) / error")
    return picture


HEAD = """# Coverage of the error bars

A sky with constant spectral parameters (`c1d0s0`) is observed again and again with other noise and
separated. Intervals of 68 % and 95 % should hold the truth as often as that, and the pulls,
(estimate - truth) / error, should be a unit Gaussian.

In the first two cases errors are small enough for the objective to be a parabola. In the third
they are not: the 95 % intervals of single patches hold the truth less often than they should. Most
of the misses of beta_dust are where temp_dust ended at a bound: what is at a bound has no error and
counts as known, which makes the errors of parameters that share its cells too small. Error bars of
the CMB and chi squared stay right. A parameter at a bound counts as a miss itself. Larger patches
or a prior bring such a fit back to where its error bars hold; `status.active_bounds` says when.

![Pulls](coverage.png)

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--realisations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    outcomes = []
    for case in (GAUSSIAN, FINE, NOISY):
        outcomes.append(run(case, options.realisations, options.seed))
        print(table(outcomes[-1]))
    repeat = (
        f"Repeat with `python benchmarks/validation/noise_coverage.py --seed {options.seed}`.\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "coverage.md").write_text(
        HEAD + "\n".join(table(outcome) for outcome in outcomes) + "\n" + repeat
    )
    figure(outcomes).savefig(options.out / "coverage.png", dpi=110)


if __name__ == "__main__":
    main()
