"""How long does a set of realisations take, and do all of them converge?

A hundred noise realisations of KMEANS-64 (real templates c1d1s1, nside 64, 59 % of the sky,
LiteBIRD noise, 1500, 500 and 500 k-means patches), and with `--peer-python` furax-cs on one of
them. Writes `realisations.md`.

    python benchmarks/validation/realisations.py --peer-python PEER/bin/python --seconds 120
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from reference_problems import run_peer

import skysift as ss
from skysift.compsep import pose
from skysift.cosmology import Ensemble, MonteCarlo, residual_spectra

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from problems import kmeans64  # noqa: E402


def main() -> None:
    """Run the set and the peer, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realisations", type=int, default=100)
    parser.add_argument("--peer-python", help="Python of the environment with furax-cs")
    parser.add_argument("--seconds", type=float, default=120.0, help="time limit of the peer")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/validation/realisations.md")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    reference = kmeans64()
    begun = time.perf_counter()
    posed = pose(reference.maps, **reference.arguments)
    sky = ss.Realisations.of(reference.simulation.masked(ss.galactic_mask("GAL059", 64)))
    shared = MonteCarlo.of(posed, sky)
    prepared = time.perf_counter() - begun
    parts = [shared.realisation(seed) for seed in range(options.realisations)]
    solved = time.perf_counter() - begun
    ensemble = Ensemble.joined(parts)
    ratio = residual_spectra(ensemble.residuals).tensor_ratio()
    total = time.perf_counter() - begun
    left = ensemble.residuals
    lines = [
        "# A set of realisations",
        "",
        f"{len(ensemble)} noise realisations of KMEANS-64 in one process:",
        f"{int(ensemble.converged.sum())} converged. {total:.0f} s in all: {prepared:.1f} s to",
        "pose the problem, compile and separate the noiseless foregrounds,",
        f"{solved - prepared:.0f} s for the realisations, the rest for",
        "residuals, their spectra and r.",
        "",
        "| | |",
        "| --- | ---: |",
        f"| seconds per realisation, median | {np.median(ensemble.seconds):.2f} |",
        f"| Newton iterations, median and largest | {np.median(ensemble.iterations):.0f}, "
        f"{ensemble.iterations.max()} |",
        f"| chi squared per degree of freedom | {ensemble.reduced_chi2.mean():.5f} |",
        f"| systematic residual, rms | {_rms(left.systematic.values):.4f} uK |",
        f"| statistical residual, rms | {_rms(left.statistical.values):.4f} uK |",
        f"| r of a sky without tensors | {ratio.r:.2e} -{ratio.sigma_minus:.1e} "
        f"+{ratio.sigma_plus:.1e} |",
        "",
    ]
    if options.peer_python:
        seed = 0
        problem = posed.with_maps(sky(seed).maps)
        peer = run_peer(reference, problem, options.peer_python, options.seconds)
        mine = float(ensemble.objective[list(ensemble.seeds).index(seed)])
        ratio_of_times = peer["seconds"] / float(np.median(ensemble.seconds))
        lines += [
            f"furax-cs ({peer['solver']}) on the realisation of seed {seed}, in the same run:",
            f"stopped after {peer['seconds']:.0f} s, not converged, with an objective",
            f"{peer['objective'] - mine:.4g} above ours; a realisation of ours takes",
            f"{ratio_of_times:.0f} times less.",
            "",
        ]
    lines += ["Repeat with `python benchmarks/validation/realisations.py`.", ""]
    options.output.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _rms(values: object) -> float:
    return float(np.sqrt(np.mean(np.asarray(values, dtype=float) ** 2)))


if __name__ == "__main__":
    main()
