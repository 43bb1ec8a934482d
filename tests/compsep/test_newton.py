"""The projected Newton method against SciPy's optimisers."""

import dataclasses

import numpy as np
import pytest

from skysift.compsep.likelihood import Stream
from skysift.compsep.newton import Iteration, SolverOptions, minimise
from skysift.compsep.sparse import ConjugateGradient, SparseFactor
from skysift.compsep.systems import system

from .problems import box_of, draw_problem, likelihood_of, start_of

CELLS = 24
LABELS = {
    "beta_dust": np.arange(CELLS) // 2,
    "temp_dust": np.arange(CELLS) // 4,
    "beta_pl": np.arange(CELLS) // 8,
}
OPTIONS = SolverOptions()


def draw(**options):
    return draw_problem("c+d+s", LABELS, cells=CELLS, **options)


def solve(problem, start=None, *, low=None, high=None, solver=None, stream=None, options=OPTIONS):
    likelihood = likelihood_of(problem) if stream is None else likelihood_of(problem, stream)
    bounds = box_of(problem)
    return minimise(
        likelihood,
        (solver or (lambda structure: system(structure, 1e9)))(likelihood.structure),
        start_of(problem) if start is None else start,
        bounds[0] if low is None else low,
        bounds[1] if high is None else high,
        options,
    )


def cost(solution):
    return float(np.sum(solution.evaluation.objective))


def spread(problem, beta_dust, temp_dust, beta_pl):
    values = zip(problem.counts, (beta_dust, temp_dust, beta_pl), strict=True)
    return np.concatenate([np.full(count, value) for count, value in values])


@pytest.fixture(scope="module")
def problem():
    return draw()[0]


@pytest.fixture(scope="module")
def solution(problem):
    return solve(problem)


def test_minimum_is_that_of_least_squares(problem, solution):
    reference = problem.least_squares(start_of(problem), *box_of(problem))
    assert solution.converged.all()
    assert solution.free.all()
    assert cost(solution) <= reference.cost * (1 + 1e-12)
    np.testing.assert_allclose(cost(solution), problem.objective(solution.theta), rtol=1e-10)
    np.testing.assert_allclose(solution.theta, reference.x, rtol=1e-5)


def test_gradient_vanishes_and_is_that_of_complex_steps(problem, solution):
    first, last = solution.history[0], solution.history[-1]
    assert last.projected_gradient < 1e-9 * first.projected_gradient
    assert np.linalg.norm(problem.gradient(solution.theta)) < 1e-8 * first.projected_gradient
    elsewhere = solution.theta * 1.02
    evaluation = likelihood_of(problem).evaluate(elsewhere)
    np.testing.assert_allclose(evaluation.gradient, problem.gradient(elsewhere), rtol=1e-7)


def test_assembled_hessian_is_the_derivative_of_the_gradient(problem, solution):
    likelihood = likelihood_of(problem)
    evaluation = likelihood.evaluate(solution.theta)
    random = np.random.default_rng(0)
    direction = random.normal(size=solution.theta.size) / np.sqrt(evaluation.hessian.diagonal)
    up, down = (
        likelihood.evaluate(solution.theta + sign * 1e-3 * direction).gradient for sign in (1, -1)
    )
    shown = evaluation.hessian @ direction
    np.testing.assert_allclose(shown, (up - down) / 2e-3, atol=1e-5 * np.abs(shown).max())


@pytest.mark.parametrize("start", [(0.6, 11.0, -6.0), (2.9, 39.0, -0.6), (0.5, 40.0, -7.0)])
def test_far_starts_reach_the_same_minimum(problem, solution, start):
    far = solve(problem, spread(problem, *start))
    assert far.converged.all()
    np.testing.assert_allclose(cost(far), cost(solution), rtol=1e-11)
    np.testing.assert_allclose(far.theta, solution.theta, rtol=1e-6)


def test_objective_never_rises(problem):
    history = solve(problem, spread(problem, 0.6, 11.0, -6.0)).history
    objective = np.array([state.objective for state in history])
    assert np.all(np.diff(objective) <= 1e-12 * objective[:-1])
    assert [state.number for state in history] == list(range(len(history)))


def test_bounds_hold_as_in_least_squares(problem):
    low, high = box_of(problem)
    parts = np.cumsum(problem.counts)
    high[parts[0] : parts[1]] = 20.5
    low[parts[1] :] = -3.1
    start = np.clip(start_of(problem), low, high)
    ours = solve(problem, start, low=low, high=high)
    reference = problem.least_squares(np.clip(start, low + 1e-3, high - 1e-3), low, high)
    held = (ours.theta == low) | (ours.theta == high)
    assert ours.converged.all()
    assert held.any()
    assert not held.all()
    np.testing.assert_array_equal(ours.free, ~held)
    assert cost(ours) <= reference.cost * (1 + 1e-10)
    np.testing.assert_allclose(ours.theta, reference.x, rtol=1e-4)
    # At a bound the objective must fall outwards.
    outward = np.where(ours.theta == high, -1.0, 1.0) * ours.evaluation.gradient
    assert np.all(outward[held] >= 0.0)


def test_a_start_at_a_bound_leaves_it(problem, solution):
    low, high = box_of(problem)
    again = solve(problem, high, low=low, high=high)
    np.testing.assert_allclose(again.theta, solution.theta, rtol=1e-6)


def test_parameters_without_information_are_left_and_do_not_disturb(problem, solution):
    weights = problem.weights.copy()
    weights[..., 16:] = 0.0
    blind = dataclasses.replace(
        problem, weights=weights, data=np.where(weights > 0, problem.data, 0.0)
    )
    ours = solve(blind)
    parts = problem.split(np.arange(ours.theta.size))
    lost = np.concatenate([parts["beta_dust"][8:], parts["temp_dust"][4:], parts["beta_pl"][2:]])
    seen = np.setdiff1d(np.arange(ours.theta.size), lost)
    assert ours.converged.all()
    np.testing.assert_array_equal(np.flatnonzero(~ours.free), np.sort(lost))
    np.testing.assert_array_equal(ours.theta[lost], start_of(problem)[lost])
    np.testing.assert_allclose(ours.theta[seen], solution.theta[seen], rtol=1e-7)


def test_a_component_that_is_not_there_leaves_the_rest_alone():
    """Noise alone where synchrotron should be: beta_pl means nothing, yet the fit ends."""
    problem, _ = draw(seed=4)
    noise = dataclasses.replace(
        problem, data=0.3 * np.random.default_rng(1).normal(size=problem.data.shape)
    )
    ours = solve(noise)
    assert ours.converged.all()
    assert np.all(np.isfinite(ours.theta))


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_units_do_not_matter(problem, solution, factor):
    """Maps in K take the same steps as maps in uK."""
    scaled = dataclasses.replace(
        problem, data=problem.data * factor, weights=problem.weights / factor**2
    )
    ours = solve(scaled)
    np.testing.assert_allclose(ours.theta, solution.theta, rtol=1e-9)
    assert len(ours.history) == len(solution.history)


def test_scaled_weights_do_not_matter(problem, solution):
    ours = solve(dataclasses.replace(problem, weights=problem.weights * 1e-8))
    np.testing.assert_allclose(ours.theta, solution.theta, rtol=1e-8)
    assert abs(len(ours.history) - len(solution.history)) <= 1


def test_chunks_and_threads_do_not_matter(problem, solution):
    ours = solve(problem, stream=Stream(chunk=16, tile=16, threads=2))
    np.testing.assert_allclose(ours.theta, solution.theta, rtol=1e-9)
    np.testing.assert_allclose(cost(ours), cost(solution), rtol=1e-12)


def test_blocks_are_what_they_are_alone(problem, solution):
    """A block solved with others takes the value that it takes by itself."""
    for block in range(3):
        cells = slice(8 * block, 8 * block + 8)
        labels = {
            name: np.unique(label[cells], return_inverse=True)[1] for name, label in LABELS.items()
        }
        alone = dataclasses.replace(
            problem,
            data=problem.data[..., cells],
            weights=problem.weights[..., cells],
            labels=labels,
        )
        ours = solve(alone)
        assert ours.converged.size == 1
        mine = solution.evaluation.hessian.structure.block == block
        np.testing.assert_allclose(ours.theta, solution.theta[mine], rtol=1e-8)


@pytest.mark.parametrize("solver", [SparseFactor, ConjugateGradient])
def test_solvers_agree(problem, solution, solver):
    ours = solve(problem, solver=solver)
    assert ours.converged.all()
    np.testing.assert_allclose(ours.theta, solution.theta, rtol=1e-7)


def test_patches_that_overlap():
    random = np.random.default_rng(8)
    labels = {name: random.permutation(label) for name, label in LABELS.items()}
    problem, _ = draw_problem("c+d+s", labels, cells=CELLS, seed=8)
    ours = solve(problem)
    reference = problem.least_squares(start_of(problem), *box_of(problem))
    assert ours.converged.all()
    assert cost(ours) <= reference.cost * (1 + 1e-11)


def test_priors_are_added(problem):
    priors = {"beta_dust": (1.5, 0.02), "temp_dust": (20.0, 0.5)}
    held = dataclasses.replace(problem, priors=priors)
    ours = solve(held)
    reference = held.least_squares(start_of(problem), *box_of(problem))
    np.testing.assert_allclose(ours.theta, reference.x, rtol=1e-5)
    np.testing.assert_allclose(cost(ours), held.objective(ours.theta), rtol=1e-10)
    assert cost(ours) <= reference.cost * (1 + 1e-11)


def test_giving_up_is_reported(problem):
    ours = solve(problem, options=SolverOptions(max_iterations=2))
    assert len(ours.history) == 3
    assert not ours.converged.any()


def test_progress_is_called_with_every_iteration(problem):
    seen: list[Iteration] = []
    likelihood = likelihood_of(problem)
    ours = minimise(
        likelihood,
        system(likelihood.structure, 1e9),
        start_of(problem),
        *box_of(problem),
        OPTIONS,
        seen.append,
    )
    assert tuple(seen) == ours.history
    assert seen[-1].done == seen[-1].blocks == 3


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1e-9])
def test_tolerance_must_be_a_fraction(tolerance):
    with pytest.raises(ValueError, match="tolerance: expected between 0 and 1"):
        SolverOptions(tolerance=tolerance)


def test_iterations_must_be_positive():
    with pytest.raises(ValueError, match="max_iterations: expected at least 1"):
        SolverOptions(max_iterations=0)
