"""Is the tensor-to-scalar ratio that went in the one that comes out, with honest intervals?

Skies with foregrounds and noise are simulated and separated again and again, and r is measured of
each recovered CMB. Writes `tensor-ratio.md` and `tensor-ratio.png`.

    python benchmarks/validation/tensor_ratio.py --realisations 200
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import skysift as ss
from skysift.compsep import Separation, solve
from skysift.cosmology import (
    Ensemble,
    HamimecheLewis,
    TensorRatio,
    bandpower_covariance,
    fit_r,
    leaked_power,
    monte_carlo,
    residuals,
)
from skysift.cosmology.recovered_noise import amplitude_sigma, parameter_scatter
from skysift.harmonic import Bins, CMBSpectra, PseudoOptions, PseudoSpectra, gaussian_maps
from skysift.report.style import BLUE, INK, RED, styled
from skysift.sky import Realisations, Vary

ROOT = Path(__file__).parents[2]
NSIDE, LMAX = 64, 128
INPUTS = {"cr0": 0.0, "cr3": 0.003, "cr10": 0.01}
THEORY = CMBSpectra.packaged()


@dataclass(frozen=True)
class Region:
    """Where r is measured.

    Args:
        title: for table and figure.
        mask: expression.
        lmin: smallest multipole.
        estimator: of the spectra.
    """

    title: str
    mask: str
    lmin: int
    estimator: PseudoSpectra

    @staticmethod
    def full() -> Region:
        """The full sky, every multipole by itself."""
        options = PseudoOptions(lmax=LMAX, bins=Bins.each(2, LMAX))
        everywhere = ss.galactic_mask("ALL", NSIDE)
        return Region("full sky", "ALL", 2, PseudoSpectra.of(everywhere, options))

    @staticmethod
    def cut() -> Region:
        """The cleanest 60 %, in bins of four multipoles."""
        mask = ss.galactic_mask("GAL060", NSIDE)
        options = PseudoOptions(lmax=LMAX, bins=Bins.linear(2, LMAX, 4))
        return Region("GAL060", "GAL060", 14, PseudoSpectra.of(mask, options))


@dataclass(frozen=True)
class Outcome:
    """r of all realisations of one sky in one region, by likelihood."""

    region: Region
    sky: str
    truth: float
    fits: dict[str, TensorRatio]
    seconds: float


@dataclass(frozen=True)
class Cleaned:
    """What separations of one region leave in the CMB.

    Args:
        ensemble: of foregrounds and the noise of each seed.
        fit: one of them in full.
        sigma: standard deviation of the white noise of the recovered CMB [uK_CMB].
        scatter: BB power that errors of the spectral parameters add in each bin [uK_CMB^2].
    """

    ensemble: Ensemble
    fit: Separation
    sigma: float
    scatter: np.ndarray

    @staticmethod
    def of(region: Region, seeds: range) -> Cleaned:
        """Separate, and stop unless all realisations converge."""
        mask = ss.galactic_mask(region.mask, NSIDE)
        sim = ss.simulate("cr0d0s0", "LiteBIRD", NSIDE, seed=seeds[0])
        fit = ss.separate(sim.maps.masked(mask), "LiteBIRD", model="c+d+s")
        ensemble = monte_carlo(fit.problem, Realisations.of(sim, Vary.CMB), seeds)
        if ensemble.failures or not ensemble.converged.all():
            raise SystemExit(f"{region.title}: not all realisations converged")
        scatter = region.estimator(parameter_scatter(fit, 100)).values["BB"].mean(axis=0)
        return Cleaned(ensemble, fit, float(amplitude_sigma(fit).mean()), scatter)


def check_independence(cleaned: Cleaned, sky: str) -> None:
    """Stop unless a separation leaves the same in the CMB whatever the CMB is."""
    fit, ensemble = cleaned.fit, cleaned.ensemble
    seed = int(ensemble.seeds[0])
    sim = ss.simulate(f"{sky}d0s0", "LiteBIRD", NSIDE, seed=seed)
    one = residuals(solve(fit.problem.with_maps(sim.maps), start=fit.theta), sim).total
    apart = np.abs(np.asarray(one.values) - np.asarray(ensemble.residuals.total.values)[0]).max()
    if apart > 1e-6:
        raise SystemExit(f"{sky}: what is left in the CMB depends on it by {apart:.2g} uK")


def run(region: Region, cleaned: Cleaned, sky: str, seed: int, simulations: int) -> Outcome:
    """Measure r of the CMB skies of one r, with what the separations left in them."""
    begun = time.perf_counter()
    check_independence(cleaned, sky)
    ensemble, sigma, scatter = cleaned.ensemble, cleaned.sigma, cleaned.scatter
    r, estimator, grid = INPUTS[sky], region.estimator, ensemble.grid
    cl = THEORY.cl(r, lmax=3 * NSIDE - 1)
    powers = []
    streams = np.random.SeedSequence(seed).spawn(len(ensemble))
    for stream, left in zip(streams, ensemble.residuals.total.values, strict=True):
        cmb = gaussian_maps(cl, NSIDE, ss.Stokes.QU, np.random.default_rng(stream))
        powers.append(estimator(ss.Maps(cmb[:, grid.ring] + left, grid, ss.Stokes.QU)))
    observed = dataclasses.replace(
        powers[0], values={"BB": np.array([power.values["BB"] for power in powers])}
    )
    noise = estimator.noise_bias(sigma**2)["BB"] + scatter
    fits = {"f_sky": fit_r(observed, noise=noise, lmin=region.lmin)}
    if region.mask != "ALL":
        # Simulations of its own for each case: an unlucky covariance does not count three times.
        covariance = bandpower_covariance(estimator, cl, sigma, simulations, seed=seed + 1000)
        noise = noise + leaked_power(estimator, cl, simulations // 3, seed=seed + 2000)
        fits["Hamimeche-Lewis"] = fit_r(
            observed,
            noise=noise,
            lmin=region.lmin,
            likelihood=HamimecheLewis(covariance.shifted(scatter)),
        )
    return Outcome(region, sky, r, fits, time.perf_counter() - begun)


def bias(fit: TensorRatio, truth: float) -> float:
    """Mean of r above the truth, in its standard errors."""
    return float((fit.r.mean() - truth) / (fit.r.std(ddof=1) / np.sqrt(fit.r.size)))


def covered(fit: TensorRatio, truth: float, level: float) -> float:
    """Share of the intervals that hold the truth [%]."""
    low, high = fit.limits(level)
    return 100.0 * float(np.mean((low <= truth) & (truth <= high)))


def table(outcomes: list[Outcome]) -> str:
    """All numbers in Markdown."""
    lines = [
        "| sky | region | likelihood | l from | r in | mean of r | bias / standard error | "
        "scatter of r | mean error - / + | 68 % covers | 95 % covers |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        for name, fit in outcome.fits.items():
            low, high = fit.limits(0.68)
            lines.append(
                f"| {outcome.sky}d0s0 | {outcome.region.title} | {name} | {outcome.region.lmin} | "
                f"{outcome.truth:g} | {fit.r.mean():.6f} | {bias(fit, outcome.truth):+.2f} | "
                f"{fit.r.std(ddof=1):.6f} | {(fit.r - low).mean():.6f} / "
                f"{(high - fit.r).mean():.6f} | {covered(fit, outcome.truth, 0.68):.1f} % | "
                f"{covered(fit, outcome.truth, 0.95):.1f} % |"
            )
    return "\n".join(lines)


def figure(outcomes: list[Outcome]) -> Figure:
    """For each sky and region a histogram of r, and some r with their intervals."""
    regions = list(dict.fromkeys(outcome.region.title for outcome in outcomes))
    skies = list(dict.fromkeys(outcome.sky for outcome in outcomes))
    with styled():
        picture = Figure(figsize=(14.0, 3.2 * len(skies)), layout="constrained")
        axes = picture.subplots(len(skies), 2 * len(regions), squeeze=False)
        for outcome in outcomes:
            row, column = skies.index(outcome.sky), 2 * regions.index(outcome.region.title)
            # The last likelihood is the one that suits the region.
            fit = list(outcome.fits.values())[-1]
            _histogram(axes[row, column], fit, outcome)
            _intervals(axes[row, column + 1], fit, outcome)
    return picture


def _histogram(axis: Axes, fit: TensorRatio, outcome: Outcome) -> None:
    """Values of r, their mean and what went in."""
    axis.hist(1e3 * fit.r, bins=24, color=BLUE, alpha=0.5)
    axis.axvline(1e3 * outcome.truth, color=RED, label=f"input {1e3 * outcome.truth:g}")
    off = f"mean {bias(fit, outcome.truth):+.2f} s.e."
    axis.axvline(1e3 * fit.r.mean(), color=INK, linestyle="--", linewidth=1.2, label=off)
    axis.set(title=f"{outcome.sky}d0s0, {outcome.region.title}", xlabel="1000 r")
    axis.set_ylim(top=1.35 * axis.get_ylim()[1])
    axis.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")


def _intervals(axis: Axes, fit: TensorRatio, outcome: Outcome, count: int = 50) -> None:
    """Intervals of 68 % of the first realisations, those that miss in red."""
    low, high = fit.limits(0.68)
    hit = (low <= outcome.truth) & (outcome.truth <= high)
    for held, colour in ((True, BLUE), (False, RED)):
        at = np.flatnonzero(hit[:count] == held)
        error = 1e3 * np.stack([fit.r - low, high - fit.r])[:, at]
        axis.errorbar(at, 1e3 * fit.r[at], error, fmt="o", ms=2.5, lw=0.9, color=colour)
    axis.axhline(1e3 * outcome.truth, color=INK, linewidth=1.0)
    share = covered(fit, outcome.truth, 0.68)
    axis.set(title=f"{share:.1f} % of intervals hold it", xlabel="realisation", ylabel="1000 r")


HEAD = f"""# Tensor-to-scalar ratio

Skies with dust and synchrotron (`d0s0`) and a CMB of known r are observed by LiteBIRD at nside
{NSIDE}, again and again with other noise, and separated (`c+d+s`, one value per spectral
parameter). What a separation leaves in the CMB does not depend on the CMB, whose spectrum is known
(the script checks it): each noise realisation is separated once, and what it leaves is added to a
CMB of its own for each r. r is measured of the BB power of each recovered CMB up to l = {LMAX},
with the lensing amplitude held at 1. The mean of r should be the r that went in, within two
standard errors, and the intervals of 68 % and 95 % should hold it as often as that.

On the full sky every multipole counts by itself, and the likelihood is the Wishart. On `GAL060`
power is purified and in bins of four multipoles, and the likelihood is that of Hamimeche & Lewis:
the covariance of the bandpowers and what E leaves in B come from simulations, other ones for each
sky. The likelihood is taken of independent combinations of the bandpowers, and covariances between
bins so far apart that chance explains them are left out ([why](../r.md#likelihoods)). Beside it
stands the f_sky-scaled Wishart, which takes the scatter from the mask and the leakage from the
windows: it does not know what E leaves in B beyond them. Multipoles below 14 are left out on
`GAL060`: they hold more noise and leakage than B modes.

The noise of the recovered CMB is white, of the amplitudes' covariance; the scatter that errors of
the spectral parameters make is added to it. The three skies of a region have the same noise, so
that the three means of r are not wholly independent; the two regions share neither noise nor CMB.

![r of all realisations](tensor-ratio.png)

Of each sky and region: r of all realisations, and the 68 % intervals of the first 50, red where
they miss the r that went in.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--realisations", type=int, default=200)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    begun, outcomes = time.perf_counter(), []
    for place, region in enumerate((Region.full(), Region.cut())):
        # Other noise in each region, and other skies in each case: they do not share their luck.
        first = options.seed + place * options.realisations
        cleaned = Cleaned.of(region, range(first, first + options.realisations))
        for sky in INPUTS:
            seed = options.seed + 1000 + len(outcomes)
            outcomes.append(run(region, cleaned, sky, seed, options.simulations))
            print(table(outcomes[-1:]), f"{outcomes[-1].seconds:.0f} s", flush=True)
    tail = (
        f"\n\n{options.realisations} realisations of each sky and region, {options.simulations} "
        f"simulations for each covariance; {time.perf_counter() - begun:.0f} s in all. Repeat with "
        f"`python benchmarks/validation/tensor_ratio.py --realisations {options.realisations} "
        f"--simulations {options.simulations} --seed {options.seed}`.\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tensor-ratio.md").write_text(HEAD + table(outcomes) + tail)
    figure(outcomes).savefig(options.out / "tensor-ratio.png", dpi=110)


if __name__ == "__main__":
    main()
