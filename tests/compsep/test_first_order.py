"""The first-order reference, and that it finds nothing better than the Newton method."""

import numpy as np
import pytest

from skysift.compsep.first_order import minimise_first_order
from skysift.compsep.newton import SolverOptions, minimise
from skysift.compsep.systems import system

from .problems import box_of, likelihood_of, start_of
from .test_newton import draw


@pytest.fixture(scope="module")
def problem():
    return draw()[0]


def newton(likelihood, start, low, high):
    solver = system(likelihood.structure, 1e9)
    return minimise(likelihood, solver, start, low, high, SolverOptions())


def test_reaches_the_minimum_slowly(problem):
    likelihood, box = likelihood_of(problem), box_of(problem)
    ours = newton(likelihood, start_of(problem), *box)
    objective = np.sum(ours.evaluation.objective)
    theta, history = minimise_first_order(likelihood, start_of(problem), *box, iterations=250)
    np.testing.assert_allclose(history[0], problem.objective(start_of(problem)), rtol=1e-9)
    assert history[5] > objective * (1 + 1e-6)
    np.testing.assert_allclose(min(history), objective, rtol=1e-6)
    np.testing.assert_allclose(theta, ours.theta, rtol=2e-2)


def test_finds_nothing_lower_than_the_newton_method(problem):
    likelihood, (low, high) = likelihood_of(problem), box_of(problem)
    high[12:18] = 20.5  # temp_dust
    start = np.clip(start_of(problem), low, high)
    ours = newton(likelihood, start, low, high)
    theta, history = minimise_first_order(likelihood, ours.theta, low, high, iterations=20)
    assert min(history) >= np.sum(ours.evaluation.objective) * (1 - 1e-9)
    assert np.all((theta >= low) & (theta <= high))
