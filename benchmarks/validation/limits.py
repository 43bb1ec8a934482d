"""How well can parameters of maps be known at all?

Posteriors of exact likelihoods and Fisher matrices for the tests T1 to T4 of networks, beside what
was published for them. Writes `limits.md`.

    python benchmarks/validation/limits.py --count 500
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from skysift.experiment.inference_config import BenchExperiment, Row
from skysift.experiment.inference_published import published
from skysift.inference import (
    HarmonicLikelihood,
    PixelLikelihood,
    TensorsAndDepth,
    limits,
    t1,
    t2,
    t3,
    t4,
)
from skysift.inference.limits import Limit, Method

ROOT = Path(__file__).parents[2]
FIDUCIAL = np.array([0.003, 0.054])
LENSING = 0.72
"""Part of the lensing power of B that is in the spectra of the published bounds."""
FINEST = 32
"""Of nside up to which bounds of cut skies are those of the cells as well."""
NETWORK, CELLS, CHAINS = "SpectralCNN", "NNhealpix", "MCMC"
HOW = {
    Method.HARMONIC: "full sky",
    Method.PIXELS: "cells",
    Method.FISHER: "Fisher, cells",
    Method.FISHER_SCALED: "Fisher, scaled",
}


def cell(found: Limit) -> str:
    """Error of each parameter in percent, with its standard error."""
    parts = [
        f"{error:.3f} ± {off:.3f}" if off else f"{error:.3f}"
        for error, off in zip(found.error, found.uncertainty, strict=True)
    ]
    return " / ".join(parts)


def scatter(found: Limit) -> str:
    """Scatter of the means in units of the deviations."""
    if found.posteriors is None:
        return "-"
    return " / ".join(f"{one:.2f}" for one in found.posteriors.scatter)


def row(name: str, found: Limit, experiment: BenchExperiment | None = None) -> str:
    """Line of a table, printed as well."""
    line = (
        f"| {name} | {HOW[found.method]} | {cell(found)} | {scatter(found)} | "
        f"{' | '.join(told(experiment))} |"
    )
    print(line, flush=True)
    return line


def told(experiment: BenchExperiment | None) -> tuple[str, str, str]:
    """Published errors of the network, of the one of cells and of chains; nothing for no test."""
    if experiment is None:
        return "", "", ""
    known = {one.name.split(",")[0]: one.values for one in published(experiment)}
    return tuple(
        " / ".join(f"{value:.2f}" if name == NETWORK else f"{value:.1f}" for value in values)
        if (values := tuple(dict.fromkeys(known.get(name, ()))))
        else "-"
        for name in (NETWORK, CELLS, CHAINS)
    )


def rows(count: int, seed: int) -> list[str]:
    """T1 to T3."""
    out = []
    for noise in (0.0, 5.0, 10.0, 15.0):
        found = limits.full_sky(t1(noise), 4 * count, seed)
        out.append(row(f"T1, noise {noise:g}", found, BenchExperiment(Row.T1, noise=noise)))
    for fsky in (1.0, 0.5, 0.2, 0.1, 0.05):
        simulator = t2(fsky)
        found = limits.limit(simulator, 4 * count if fsky == 1.0 else count, seed)
        out.append(row(f"T2, f_sky {fsky:g}", found, BenchExperiment(Row.T2, fsky=fsky)))
        if found.method is Method.PIXELS:
            again = limits.fisher_limit(simulator)
            out.append(row(f"T2, f_sky {fsky:g}", again))
    out.append(row("T3", limits.full_sky(t3(), 10 * count, seed), BenchExperiment(Row.T3)))
    return out


def bounds() -> tuple[list[str], float]:
    """T4, and how far published bounds are from ours with their lensing power."""
    out, off = [], 0.0
    for nside, fsky, depth in itertools.product((16, 32, 64, 128), (1.0, 0.1), (0.0, 6.0)):
        experiment = BenchExperiment(Row.T4, nside=nside, fsky=fsky, depth=depth)
        known = next((one.values for one in published(experiment)), None)
        # The bounds take the nominal part of the sky; a cap of cells has a little more or less.
        area = (depth * np.pi / 10800.0) ** 2
        own, theirs = (
            deviations(HarmonicLikelihood(TensorsAndDepth(3 * nside - 1, a_lens=part), area), fsky)
            for part in (1.0, LENSING)
        )
        line = f"| {nside} | {fsky:g} | {depth:g} | {own[0]:.3e} | {own[1]:.3e} | "
        if known is None:
            line += "- | - | - | - |"
        else:
            off = max(off, float(np.abs(theirs / known - 1.0).max()))
            line += f"{known[0]:.3e} | {known[1]:.3e} | {theirs[0]:.3e} | {theirs[1]:.3e} |"
        out.append(line)
        if fsky < 1.0 and nside <= FINEST:
            likelihood = PixelLikelihood(t4(nside=nside, fsky=fsky, depth=depth))
            cells = np.sqrt(np.diag(np.linalg.inv(likelihood.fisher(FIDUCIAL))))
            out.append(
                f"| {nside} | {fsky:g}, cells | {depth:g} | {cells[0]:.3e} | {cells[1]:.3e} |"
            )
            out[-1] += "  |" * 4
    return out, off


def deviations(likelihood: HarmonicLikelihood, fsky: float) -> np.ndarray:
    """Bounds on the deviations of r and tau at the fiducial values."""
    return np.sqrt(np.diag(np.linalg.inv(likelihood.fisher(FIDUCIAL, fsky))))


HEAD = """# Limits of inference

What no estimator can do better than, for the tests of networks on the sphere at nside 16
(`skysift.inference.t1` to `t4`). The error is the mean of |estimate - truth| / truth over skies
with parameters drawn from the prior; the estimate is the mean of the exact posterior. Where the
likelihood is right, means scatter about truths by the deviations of the posteriors: the ratio is
one.

- *full sky*: the likelihood of the spectra of all coefficients; exact without noise. With noise it
  takes the cells for the continuous sphere.
- *cells*: the likelihood of the values of Q and U in the cells that are seen, exact, at 961 nodes
  over the prior.
- *Fisher, cells*: a Gaussian of the covariance that the Fisher matrix of the cells says, averaged
  over the prior.

T2, two numbers: the peak of E and that of B. Published: SpectralCNN (torch-harmonics-healpix),
NNhealpix and MCMC (Krachmalnicoff & Tomasi 2019, arXiv:1902.04083). The maps of T2 and T3 of
SpectralCNN were drawn with the spectra in the wrong order (`Protocol.AS_PUBLISHED`): there E and B
tell the parameters without error, and its numbers cannot be compared with these limits, only with
estimators of such maps.

| test | limit from | error [%] | scatter / deviation | SpectralCNN | NNhealpix | MCMC |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""

MIDDLE = """

## T4

Fisher bounds on the standard deviations of r and tau at r = 0.003, tau = 0.054: all multipoles up
to 3 nside - 1 of EE and BB, the full sky times its part, which is not what its cells tell: in a
lower line. The part of the sky counts modes; of the largest structures, which tell tau, a cap sees
more than its part, and of B it sees less, as E leaks into it. Noise in uK arcmin.

| nside | f_sky | noise | sigma(r) | sigma(tau) | published, r | tau | with their lensing, r | tau |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    tests = rows(options.count, options.seed)
    table, off = bounds()
    tail = (
        "\n\nThe published bounds on r are lower, it seems because their spectra are those of CAMB "
        "for lmax = 500 without accuracy of the lensing potential, where B modes lack power. "
        f"With {LENSING} of the lensing power, one number for all, ours differ from theirs by at "
        f"most {100 * off:.1f} %. The bounds of this page have all of it.\n\n"
        f"{options.count} maps of each cut sky, {4 * options.count} of each full one "
        f"({10 * options.count} for T3); {time.perf_counter() - begun:.0f} s in all. Repeat with "
        f"`python benchmarks/validation/limits.py --count {options.count} --seed {options.seed}`.\n"
    )
    text = HEAD + "\n".join(tests) + MIDDLE + "\n".join(table) + tail
    (options.out / "limits.md").write_text(text)


if __name__ == "__main__":
    main()
