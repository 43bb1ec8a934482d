"""Time and certify PTEP-64 and KMEANS-64, beside furax-cs in the same run.

Writes `reference-problems.md`, `.json` and `.png` into the output folder. The peer runs in an
environment of its own (`benchmarks/peers/requirements-furax-cs.txt`), whose Python is given with
`--peer-python`; without it only skysift is measured.

    python benchmarks/validation/reference_problems.py --peer-python PEER/bin/python --seconds 300
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
from pathlib import Path

import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure

import skysift as ss
from problems import ReferenceProblem, kmeans64, ptep64
from skysift.compsep.first_order import minimise_first_order
from skysift.compsep.problem import Problem, pose

matplotlib.use("Agg")
PEER_SOLVERS = {"PTEP-64": ("optax_lbfgs", True), "KMEANS-64": ("ADABK0", False)}


def measure(problem: ReferenceProblem, repeats: int) -> tuple[ss.Separation, dict]:
    """Cold and warm times of a fit, its certificate and its errors against the truth."""
    begun = time.perf_counter()
    fit = ss.separate(problem.maps, **problem.arguments)
    cold = time.perf_counter() - begun
    total, solve = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        fit = ss.separate(problem.maps, **problem.arguments)
        total.append(time.perf_counter() - begun)
        solve.append(fit.history[-1].seconds)
    cells = {name: fit.patches.expand(name, fit.parameters[name]) for name in fit.parameters}
    cmb = np.asarray(problem.simulation.truth.components["cmb"].values)[:, problem.maps.grid.index]
    status = fit.status
    return fit, {
        "cells": problem.maps.grid.size,
        "parameters": sum(fit.patches.counts.values()),
        "converged": status.converged,
        "iterations": status.iterations,
        "gradient_ratio": status.projected_gradient_norm / status.initial_gradient_norm,
        "objective": fit.objective,
        "seconds_cold": cold,
        "seconds_warm": min(total),
        "seconds_solve_warm": min(solve),
        "seconds_solve_warm_median": float(np.median(solve)),
        "mean": {name: float(np.mean(values)) for name, values in cells.items()},
        "std": {name: float(np.std(values)) for name, values in cells.items()},
        "true_mean": {name: float(np.mean(problem.truth(name))) for name in cells},
        "cmb_rms": float(np.sqrt(np.mean((fit.components["cmb"].values - cmb) ** 2))),
        "history": [(state.seconds, state.objective) for state in fit.history],
    }


def first_order_check(posed: Problem, fit: ss.Separation) -> float:
    """How far L-BFGS, started from our solution, gets below it, relative to the objective."""
    start = np.concatenate([fit.parameters[name] for name in fit.parameters])
    theta, _ = minimise_first_order(
        posed.likelihood, start, posed.low, posed.high, iterations=30, tolerance=0.0
    )
    return 1.0 - float(posed.likelihood.evaluate(theta).objective.sum()) / fit.objective


def run_peer(problem: ReferenceProblem, posed: Problem, python: str, seconds: float) -> dict:
    """Run furax-cs on the same numbers for a while and evaluate what it found exactly."""
    solver, precondition = PEER_SOLVERS[problem.name]
    names = ("beta_dust", "temp_dust", "beta_pl")
    arguments = problem.arguments
    dust, synchrotron = problem.model.components[1], problem.model.components[2]
    weights = np.broadcast_to(posed.measurements.weights, (len(posed.measurements.data), 1, 1))
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "problem.npz", Path(folder) / "found.npz"
        np.savez(
            given,
            data=posed.measurements.data,
            frequencies=posed.measurements.instrument.frequencies,
            variance=1.0 / weights[:, 0, 0],
            **{f"labels_{name}": np.asarray(problem.patches.labels[name]) for name in names},
            start=[arguments["start"][name] for name in names],
            lower=[arguments["bounds"][name][0] for name in names],
            upper=[arguments["bounds"][name][1] for name in names],
            dust_nu0=dust.reference,
            synchrotron_nu0=synchrotron.reference,
        )
        script = Path(__file__).resolve().parents[1] / "peers/furax_cs_fit.py"
        command = [python, str(script), str(given), str(found)]
        command += ["--solver", solver, "--seconds", str(seconds)]
        command += ["--precondition"] if precondition else []
        subprocess.run(command, check=True, capture_output=True)
        with np.load(found) as result:
            theta = np.concatenate([result[name] for name in names])
            times, nll = result["times"], result["nll"]
    square = float(np.sum(posed.measurements.weights * posed.measurements.data**2))
    return {
        "solver": solver,
        "seconds": float(times[-1]),
        "evaluations": len(times),
        "objective": float(posed.likelihood.evaluate(theta).objective.sum()),
        "history": [(float(t), 0.5 * (float(v) + square)) for t, v in zip(times, nll, strict=True)],
        "mean_temp_dust": float(np.mean(theta[posed.likelihood.structure.index[1]])),
    }


def picture(results: dict, path: Path) -> None:
    """Objective above the minimum against wall time."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (name, result) in zip(figure.subplots(1, len(results)), results.items(), strict=True):
        least = result["objective"]
        for label, history, colour in (
            ("skysift (warm)", result["history"], "C0"),
            ("furax-cs", result.get("peer", {}).get("history", []), "C3"),
        ):
            if not history:
                continue
            times, values = np.array(history).T
            gap = np.minimum.accumulate(np.maximum(values - least, 1e-10))
            axes.loglog(np.maximum(times, 1e-2), gap, "o-", ms=3, color=colour, label=label)
        axes.set(title=name, xlabel="wall time [s]", ylabel="objective above the minimum")
        axes.legend()
    figure.savefig(path, dpi=130)


def page(results: dict, peer_seconds: float | None) -> str:
    """The validation page."""
    rows = [
        ("cells", "cells", "{:d}"),
        ("patch parameters", "parameters", "{:d}"),
        ("converged", "converged", "{}"),
        ("iterations", "iterations", "{:d}"),
        ("projected gradient / initial", "gradient_ratio", "{:.1e}"),
        ("objective", "objective", "{:.9g}"),
        ("solve, warm, best [s]", "seconds_solve_warm", "{:.2f}"),
        ("solve, warm, median [s]", "seconds_solve_warm_median", "{:.2f}"),
        ("whole `separate` with errors, warm [s]", "seconds_warm", "{:.2f}"),
        ("whole `separate`, first call with compilation [s]", "seconds_cold", "{:.1f}"),
        ("CMB residual rms [uK]", "cmb_rms", "{:.4f}"),
        ("L-BFGS from our solution gets lower by (relative)", "first_order_gain", "{:.1e}"),
    ]
    names = list(results)
    lines = ["# Reference problems", ""]
    lines += [f"Written by `benchmarks/validation/reference_problems.py` on {platform.machine()},"]
    lines += [f"{os.cpu_count()} cores. PTEP-64 is noiseless with unit weights on the packaged sky"]
    lines += ["c1d1s1 and the mask GAL020; KMEANS-64 has LiteBIRD noise on GAL059.", ""]
    lines += ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for label, key, form in rows:
        lines.append(
            f"| {label} | " + " | ".join(form.format(results[n][key]) for n in names) + " |"
        )
    for parameter in ("beta_dust", "temp_dust", "beta_pl"):
        cells = [
            f"{results[n]['mean'][parameter]:.4f} ± {results[n]['std'][parameter]:.4f} "
            f"(true mean {results[n]['true_mean'][parameter]:.4f})"
            for n in names
        ]
        lines.append(f"| {parameter}, mean ± scatter over cells | " + " | ".join(cells) + " |")
    if peer_seconds is not None:
        lines += [
            "",
            "## Beside furax-cs 0.1.1",
            "",
            "The same arrays, in the same run, on the CPU.",
        ]
        lines += ["What furax-cs found is evaluated with the exact objective.", ""]
        lines += ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
        peer = [results[n]["peer"] for n in names]
        ours = [results[n] for n in names]
        table = {
            "solver": [p["solver"] for p in peer],
            "first evaluation, compiled, after [s]": [f"{p['history'][0][0]:.1f}" for p in peer],
            "stopped after [s]": [f"{p['seconds']:.0f}" for p in peer],
            "likelihood evaluations": [str(p["evaluations"]) for p in peer],
            "objective above ours": [
                f"{p['objective'] - o['objective']:.4g}" for p, o in zip(peer, ours, strict=True)
            ],
            "mean temp_dust [K]": [f"{p['mean_temp_dust']:.2f}" for p in peer],
            "its time / our warm solve": [
                f"> {p['seconds'] / o['seconds_solve_warm_median']:.0f} (not converged)"
                for p, o in zip(peer, ours, strict=True)
            ],
        }
        lines += [f"| {label} | " + " | ".join(cells) + " |" for label, cells in table.items()]
    return "\n".join([*lines, "", "![Objective against time](reference-problems.png)", ""])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of the environment with furax-cs")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of the peer")
    parser.add_argument("--repeats", type=int, default=7, help="warm repetitions")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    results = {}
    for make in (ptep64, kmeans64):
        problem = make()
        posed = pose(problem.maps, **problem.arguments)
        fit, result = measure(problem, options.repeats)
        result["first_order_gain"] = first_order_check(posed, fit)
        if options.peer_python:
            result["peer"] = run_peer(problem, posed, options.peer_python, options.seconds)
        results[problem.name] = result
        print(problem.name, {k: v for k, v in result.items() if k not in ("history", "peer")})
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "reference-problems.json").write_text(json.dumps(results, indent=1) + "\n")
    text = page(results, options.seconds if options.peer_python else None)
    (options.out / "reference-problems.md").write_text(text)
    picture(results, options.out / "reference-problems.png")


if __name__ == "__main__":
    main()
