"""Time and memory of full-sky separations up to nside 512, and the cost per cell.

Each size runs in a process of its own, so that the peak memory is its own. Writes `full-sky.md`,
`.json` and `.png` into the output folder.

    python benchmarks/validation/full_sky.py --nsides 64 128 256 512
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import matplotlib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure

import skysift as ss
from problems import full

matplotlib.use("Agg")


def measure(nside: int) -> dict:
    """Simulate, separate, and say what it took."""
    begun = time.perf_counter()
    problem = full(nside)
    simulated = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit = ss.separate(problem.maps, **problem.arguments, progress=_show)
    done = time.perf_counter()
    return {
        "nside": nside,
        "cells": problem.maps.grid.size,
        "parameters": sum(fit.patches.counts.values()),
        "seconds_simulate": simulated - begun,
        "seconds_solve": fit.history[-1].seconds,
        "seconds_separate": done - simulated,
        "iterations": fit.status.iterations,
        "converged": fit.status.converged,
        "gradient_ratio": fit.status.projected_gradient_norm / fit.status.initial_gradient_norm,
        "reduced_chi2": fit.reduced_chi2,
        "memory_simulate_GB": before * 1024 / 1e9,
        "memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "active_bounds": fit.status.active_bounds,
        "unconstrained": fit.status.unconstrained,
    }


def _show(state: ss.compsep.Iteration) -> None:
    print(
        f"  {state.number:3d}  objective {state.objective:.10g}  |g| {state.projected_gradient:.2e}"
        f"  {state.done}/{state.blocks} blocks  {state.seconds:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def page(results: list[dict]) -> str:
    """The validation page."""
    lines = ["# Full sky up to nside 512", ""]
    lines += [f"Written by `benchmarks/validation/full_sky.py` on {platform.machine()},"]
    lines += [f"{os.cpu_count()} cores: the packaged sky c1d1s1 with LiteBIRD noise, no mask,"]
    lines += ["patches at nside / 2 (beta_dust), / 4 (temp_dust) and / 8 (beta_pl).", ""]
    lines += ["| nside | cells | parameters | iterations | converged | gradient / initial "]
    lines[-1] += "| solve [s] | separate [s] | us per cell and iteration | peak memory [GB] |"
    lines += ["|" + " --- |" * 10]
    for r in results:
        cost = 1e6 * r["seconds_solve"] / r["cells"] / max(r["iterations"], 1)
        lines.append(
            f"| {r['nside']} | {r['cells']} | {r['parameters']} | {r['iterations']} "
            f"| {r['converged']} "
            f"| {r['gradient_ratio']:.1e} | {r['seconds_solve']:.1f} | {r['seconds_separate']:.1f} "
            f"| {cost:.2f} | {r['memory_GB']:.1f} |"
        )
    return "\n".join([*lines, "", "![Cost per cell](full-sky.png)", ""])


def picture(results: list[dict], path: Path) -> None:
    """Time per cell and memory against the number of cells."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    cells = [r["cells"] for r in results]
    whole = [1e6 * r["seconds_separate"] / r["cells"] for r in results]
    left.semilogx(cells, whole, "o-", label="with compilation and errors")
    left.semilogx(
        cells, [1e6 * r["seconds_solve"] / r["cells"] for r in results], "s--", label="solve"
    )
    left.set(ylabel="time per cell [us]", title="Cost per cell", ylim=(0, None))
    left.legend()
    right.semilogx(cells, [r["memory_GB"] for r in results], "o-", color="C1")
    right.set(ylabel="peak memory [GB]", title="Memory, with the simulation", ylim=(0, None))
    for axes in (left, right):
        axes.set_xlabel("nside (full sky)")
        axes.set_xticks(cells, [str(r["nside"]) for r in results])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure every size in its own process, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nsides", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--single", type=int, help="measure one nside and print JSON")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measure(options.single)))
        return
    results = []
    for nside in options.nsides:
        command = [sys.executable, __file__, "--single", str(nside)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(run.stdout.splitlines()[-1]))
        print(results[-1])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "full-sky.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "full-sky.md").write_text(page(results))
    picture(results, options.out / "full-sky.png")


if __name__ == "__main__":
    main()
