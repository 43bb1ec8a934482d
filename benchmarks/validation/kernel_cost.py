"""What one evaluation of the objective with gradient and both Hessians costs, and what bounds it.

XLA counts the floating-point operations, transcendental functions and bytes of the compiled kernel;
the machine's rates are measured beside it. Writes `kernel-cost.md` into the output folder.

    python benchmarks/validation/kernel_cost.py
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from problems import kmeans64
from skysift.compsep.kernel import Kernel
from skysift.compsep.problem import Problem, pose


def fastest(call: Callable[[], object], repeats: int = 50) -> float:
    """Shortest time of a call [s]."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return min(times)


def machine() -> dict[str, float]:
    """Exponentials and bytes copied by one core, matrix operations by all [1e9 per s]."""
    with jax.default_device(jax.devices("cpu")[0]):
        values = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1.0, 1 << 14))
        exponential = jax.jit(jnp.exp)
        exponential(values)
        exps = values.size / fastest(lambda: exponential(values), 500) / 1e9
    large = np.ones(1 << 24)
    target = np.empty_like(large)
    copied = 2 * large.nbytes / fastest(lambda: np.copyto(target, large), 10) / 1e9
    matrix = np.random.default_rng(0).normal(size=(1024, 1024))
    product = 2 * 1024**3 / fastest(lambda: matrix @ matrix, 10) / 1e9
    return {"exponentials": exps, "bytes": copied, "flops": product}


def measure(posed: Problem) -> dict[str, float]:
    """Counts per cell of the compiled kernel on one tile, and its time per cell [ns]."""
    likelihood = posed.likelihood
    tile = likelihood.stream.tile
    theta = jnp.asarray(posed.start[likelihood.structure.index[:, :tile]])
    data = jnp.asarray(likelihood.data[..., :tile])
    weights = jnp.asarray(likelihood.weights)
    compiled = jax.jit(Kernel.terms).lower(likelihood.kernel, theta, {}, data, weights).compile()
    cost = compiled.cost_analysis()
    seconds = fastest(lambda: compiled(likelihood.kernel, theta, {}, data, weights), 200)
    whole = fastest(lambda: likelihood.evaluate(posed.start).objective, 10)
    return {
        "tile": tile,
        "flops": cost["flops"] / tile,
        "transcendentals": cost.get("transcendentals", 0.0) / tile,
        "input bytes": (data.nbytes + theta.nbytes) / tile,
        "kernel_ns": 1e9 * seconds / tile,
        "evaluate_ns": 1e9 * whole / likelihood.cells,
        "cells": likelihood.cells,
    }


def page(cost: dict[str, float], rates: dict[str, float]) -> str:
    """The validation page."""
    bound = {
        "reading data and parameters once from memory": cost["input bytes"] / rates["bytes"],
        "transcendental functions, at the rate of exp": cost["transcendentals"]
        / rates["exponentials"],
        "other operations, at the rate of a matrix product on all cores": cost["flops"]
        / rates["flops"],
    }
    lines = ["# Cost of an evaluation", ""]
    lines += [f"Written by `benchmarks/validation/kernel_cost.py` on {platform.machine()}."]
    lines += [
        "Objective, gradient, Gauss-Newton matrix and exact Hessian of KMEANS-64: 15 channels,"
    ]
    lines += ["Q and U, three components, three free parameters. XLA counts per cell"]
    lines += [f"{cost['flops']:.0f} operations and {cost['transcendentals']:.0f} transcendental"]
    lines += [f"functions; a cell has {cost['input bytes']:.0f} bytes of data and parameters.", ""]
    lines += ["| | ns per cell |", "| --- | ---: |"]
    lines += [f"| bound: {name} | {value:.0f} |" for name, value in bound.items()]
    lines += [f"| kernel, one tile of {cost['tile']:.0f} cells | {cost['kernel_ns']:.0f} |"]
    lines += [
        f"| whole evaluation of {cost['cells']:.0f} cells, with gathering and summing over patches "
        f"| {cost['evaluate_ns']:.0f} |"
    ]
    limit = max(bound, key=lambda name: bound[name])
    share = bound[limit] / cost["kernel_ns"]
    lines += ["", f"The largest bound is {limit}; the kernel runs at {100 * share:.0f} % of it."]
    lines += ["Memory bandwidth does not limit it; what remains is the element-wise loops over"]
    lines += ["channels that XLA makes of the sums."]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/validation"))
    options = parser.parse_args()
    problem = kmeans64()
    cost, rates = measure(pose(problem.maps, **problem.arguments)), machine()
    print(cost, rates)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "kernel-cost.md").write_text(page(cost, rates))


if __name__ == "__main__":
    main()
