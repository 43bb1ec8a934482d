"""Warm times of what a separation is made of: `make bench`.

Times with compilation, memory, and the comparison at length are written by `validation/`.
"""

import os

import numpy as np
import pytest

import skysift as ss
from problems import ReferenceProblem
from skysift.compsep.newton import Solution, SolverOptions, minimise
from skysift.compsep.problem import Problem, pose
from skysift.compsep.systems import system
from validation.reference_problems import run_peer

PEER_PYTHON = os.environ.get("SKYSIFT_PEER_PYTHON")


def solve(problem: Problem) -> Solution:
    """The parameters, without errors and components."""
    options = SolverOptions()
    solver = system(problem.likelihood.structure, options.memory)
    return minimise(problem.likelihood, solver, problem.start, problem.low, problem.high, options)


@pytest.mark.parametrize("name", ["ptep", "kmeans"])
def test_solve(benchmark, request, name):
    """Newton iterations to convergence."""
    reference: ReferenceProblem = request.getfixturevalue(name)
    posed = pose(reference.maps, **reference.arguments)
    solution = benchmark.pedantic(solve, (posed,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["iterations"] = len(solution.history) - 1
    assert solution.converged.all()


@pytest.mark.parametrize("name", ["ptep", "kmeans"])
def test_separate(benchmark, request, name):
    """From maps to components with errors."""
    reference: ReferenceProblem = request.getfixturevalue(name)
    fit = benchmark.pedantic(
        ss.separate, (reference.maps,), reference.arguments, rounds=3, warmup_rounds=1
    )
    assert fit.status.converged


def test_kernel(benchmark, kmeans):
    """One evaluation of objective, gradient and both Hessians."""
    posed = pose(kmeans.maps, **kmeans.arguments)
    benchmark.pedantic(posed.likelihood.evaluate, (posed.start,), rounds=10, warmup_rounds=1)
    if benchmark.enabled:
        per_cell = benchmark.stats.stats.min / posed.likelihood.cells
        benchmark.extra_info["microseconds_per_cell"] = 1e6 * per_cell


def test_kmeans_patches(benchmark):
    """1500 clusters of the 29 000 cells of KMEANS-64."""
    mask = ss.galactic_mask("GAL059", nside=64)
    patches = benchmark.pedantic(
        lambda: ss.Patches.kmeans(mask, seed=42, beta_dust=1500), rounds=3, warmup_rounds=1
    )
    assert patches.counts == {"beta_dust": 1500}


def test_simulate(benchmark):
    """Fifteen channels of c1d1s1 with noise at nside 64."""
    sim = benchmark.pedantic(
        ss.simulate, ("c1d1s1", "LiteBIRD", 64), {"seed": 0}, rounds=3, warmup_rounds=1
    )
    assert np.isfinite(sim.maps.values).all()


@pytest.mark.skipif(PEER_PYTHON is None, reason="SKYSIFT_PEER_PYTHON names no Python with furax-cs")
def test_peer(benchmark, ptep):
    """furax-cs on PTEP-64 for half a minute, in an environment of its own."""
    posed = pose(ptep.maps, **ptep.arguments)
    least = float(solve(posed).evaluation.objective.sum())
    found = benchmark.pedantic(run_peer, (ptep, posed, PEER_PYTHON, 30.0), rounds=1)
    benchmark.extra_info["objective_above_the_minimum"] = found["objective"] - least
    assert found["objective"] > least
