import dataclasses
import math

import numpy as np
import pytest

import skysift as ss
from skysift.compsep.perturb import (
    cell_pulls,
    gradient_error,
    nearby,
    newton_distance,
    position,
    profiles,
    rounding,
    slopes,
    surface,
)
from skysift.patches import KMeans, Patches


@pytest.fixture(scope="module")
def fit():
    sim = ss.simulate("c1d0s0", "SO_SAT", nside=4, seed=2)
    patches = Patches.of(sim.maps.grid, beta_dust=KMeans(3), beta_pl=KMeans(2))
    model = ss.SkyModel.parse("c+d+s")
    model = type(model)(model.components, {"temp_dust": np.asarray(20.0)})
    return ss.separate(sim.maps, "SO_SAT", model, patches)


def dense_objective(problem, theta):
    """The profiled objective by normal equations in each cell."""
    likelihood = problem.likelihood
    columns = likelihood.kernel.columns(
        np.asarray(theta)[likelihood.structure.index], likelihood.fixed
    )
    mixing = np.stack([np.broadcast_to(c, likelihood.data[:, 0].shape) for c in columns])
    weights = np.broadcast_to(likelihood.weights, likelihood.data.shape)
    total = 0.0
    for cell in range(likelihood.cells):
        for letter in range(likelihood.data.shape[1]):
            root = np.sqrt(weights[:, letter, cell])
            matrix, data = mixing[:, :, cell].T, likelihood.data[:, letter, cell]
            best = np.linalg.lstsq(root[:, None] * matrix, root * data, rcond=None)[0]
            total += 0.5 * np.sum((root * (data - matrix @ best)) ** 2)
    return total


def test_profiles_follow_the_objective_of_other_algebra(fit):
    lines = profiles(fit.problem, fit.theta, scales=(1e-2, 1e-3), steps=2)
    assert [(line.moved, line.scale) for line in lines] == [
        (moved, scale) for moved in ("all", "beta_dust", "beta_pl") for scale in (1e-2, 1e-3)
    ]
    line = lines[2]
    base = dense_objective(fit.problem, fit.theta)
    for step, rise in zip(line.steps, line.rise, strict=True):
        moved = fit.theta + step * line.scale * np.r_[np.ones(3), np.zeros(2)]
        assert rise == pytest.approx(dense_objective(fit.problem, moved) - base, abs=1e-6 * base)


def test_a_solution_is_lowest_and_flattest(fit):
    for line in profiles(fit.problem, fit.theta, scales=(1e-2, 1e-3), steps=3):
        assert np.all(line.rise[line.steps != 0] > 0)
        for kind, norms in line.gradient.items():
            if line.moved in ("all", kind):
                assert np.argmin(norms) == 3


def test_a_moved_point_is_not(fit):
    moved = fit.theta + np.r_[0.02, np.zeros(4)]
    line = profiles(fit.problem, moved, scales=(1e-2,), steps=3)[1]
    assert line.moved == "beta_dust"
    assert line.rise.min() < 0


def test_only_the_chosen_patches_move_and_bounds_hold(fit):
    problem = dataclasses.replace(fit.problem, high=np.minimum(fit.problem.high, fit.theta))
    chosen = {"beta_dust": np.array([1]), "beta_pl": np.array([], int)}
    lines = profiles(problem, fit.theta, scales=(1e-2,), steps=1, patches=chosen)
    assert [line.moved for line in lines] == ["all", "beta_dust"]
    down = fit.theta - np.r_[0.0, 0.01, np.zeros(3)]
    expected = dense_objective(problem, down) - dense_objective(problem, fit.theta)
    assert lines[0].rise[0] == pytest.approx(expected, rel=1e-6)
    assert lines[0].rise[2] == 0.0


def test_surface_is_the_objective_and_near_its_centre_the_hessian(fit):
    pair = ("beta_dust", 0), ("beta_pl", 1)
    area = surface(fit.problem, fit.theta, pair, points=5)
    assert area.names == ("beta_dust:0", "beta_pl:1")
    assert area.rise[2, 2] == pytest.approx(0.0, abs=1e-9)
    point = fit.theta.copy()
    point[[position(fit.problem, *one) for one in pair]] = area.first[4], area.second[1]
    expected = dense_objective(fit.problem, point) - dense_objective(fit.problem, fit.theta)
    assert area.rise[4, 1] == pytest.approx(expected, rel=1e-6)
    near = surface(fit.problem, fit.theta, pair, points=5, reach=0.05)
    np.testing.assert_allclose(near.rise, near.quadratic, rtol=0.01, atol=1e-9)


def test_predicted_distance_is_the_rise_that_is_left(fit):
    assert newton_distance(fit.problem, fit.theta, fit.free) < 1e-6
    moved = fit.theta + 0.1 * np.concatenate(list(fit.errors.values()))
    left = fit.problem.likelihood.evaluate(moved).objective.sum() - fit.objective
    predicted = newton_distance(fit.problem, moved, fit.free)
    assert 0.5 * predicted**2 == pytest.approx(left, rel=0.02)


def test_a_saddle_has_no_distance(fit):
    start = np.r_[np.full(3, 2.9), np.full(2, -0.6)]
    assert newton_distance(fit.problem, start, fit.free) == math.inf


def test_gradient_error_is_small_and_sees_a_wrong_gradient(fit, monkeypatch):
    assert gradient_error(fit.problem, fit.theta) < 1e-7
    likelihood = type(fit.problem.likelihood)
    evaluate = likelihood.evaluate

    def wrong(self, theta, blocks=None):
        here = evaluate(self, theta, blocks)
        return dataclasses.replace(here, gradient=1.001 * here.gradient)

    monkeypatch.setattr(likelihood, "evaluate", wrong)
    assert gradient_error(fit.problem, fit.theta) > 1e-5


def test_rounding_is_between_noise_and_objective(fit):
    assert 0 < rounding(fit.problem, fit.objective) < 1e-6 * fit.objective


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: profiles(p, t, scales=(0.0,), steps=1), "scales: expected positive"),
        (lambda p, t: profiles(p, t, scales=(math.nan,), steps=1), "scales: expected positive"),
        (lambda p, t: profiles(p, t, scales=(1.0,), steps=0), "steps: expected at least one"),
        (
            lambda p, t: profiles(
                p, t, (1.0,), 1, {n: np.array([], int) for n in ("beta_dust", "beta_pl")}
            ),
            "patches: expected at least one parameter to move",
        ),
        (lambda p, t: position(p, "beta_dsut", 0), "parameter: expected one that is fitted"),
        (lambda p, t: position(p, "beta_pl", 2), "patch: expected a number from 0 to 1 of beta_pl"),
        (
            lambda p, t: surface(p, t, (("beta_pl", 0), ("beta_pl", 0))),
            "pair: expected two different",
        ),
        (
            lambda p, t: surface(p, t, (("beta_pl", 0), ("beta_pl", 1)), points=4),
            "points: expected an odd number",
        ),
    ],
)
def test_wrong_input(fit, call, message):
    with pytest.raises(ValueError, match=message):
        call(fit.problem, fit.theta)


def test_slopes_are_rounding_at_the_solution_and_newton_steps_beside_it(fit):
    problem, theta = fit.problem, fit.theta
    at_solution = slopes(problem, theta)
    assert list(at_solution) == ["beta_dust", "beta_pl"]
    assert max(np.abs(values).max() for values in at_solution.values()) < 1e-6
    patch, step = 1, 1e-4
    moved = theta.copy()
    moved[patch] += step
    beside = slopes(problem, moved)["beta_dust"]
    curvature = problem.likelihood.evaluate(theta).hessian.diagonal[patch]
    inside = problem.patches.labels["beta_dust"] == patch
    unit = np.sqrt(problem.likelihood.evaluate(moved).gauss_newton.diagonal[patch])
    np.testing.assert_allclose(beside[inside], step * curvature / unit, rtol=1e-2)
    np.testing.assert_allclose(beside[~inside], 0.0, atol=1e-6)


def test_slopes_leave_out_what_pushes_against_a_bound(fit):
    theta = fit.theta + 0.1
    problem = dataclasses.replace(fit.problem, low=theta)
    assert np.all(problem.likelihood.evaluate(theta).gradient[:3] > 0)
    np.testing.assert_array_equal(slopes(problem, theta)["beta_dust"], 0.0)


def test_pulls_of_cells_cancel_over_a_patch_and_have_unit_scatter(fit):
    problem, theta = fit.problem, fit.theta
    terms = problem.likelihood.cell_terms(theta)
    diagonal = {"beta_dust": 0, "beta_pl": 2}
    for row, (name, pulls) in enumerate(cell_pulls(problem, theta).items()):
        curvature = np.asarray(terms.gauss_newton)[diagonal[name]]
        asked = pulls * np.sqrt(curvature)
        np.testing.assert_allclose(asked, -np.asarray(terms.gradient)[row])
        total = np.bincount(problem.patches.labels[name], asked)
        size = np.bincount(problem.patches.labels[name], np.abs(asked))
        assert np.all(np.abs(total) < 1e-6 * size)
        assert 0.75 < np.std(pulls) < 1.25


def test_a_point_nearby_is_half_a_standard_deviation_away_and_within_bounds(fit):
    problem, theta = fit.problem, fit.theta
    point = nearby(problem, theta, seed=1)
    rise = float(np.sum(problem.likelihood.evaluate(point).objective)) - fit.objective
    assert 0.01 < rise < 0.5 * theta.size
    np.testing.assert_array_equal(point, nearby(problem, theta, seed=1))
    assert np.any(point != nearby(problem, theta, seed=2))
    bounded = nearby(dataclasses.replace(problem, low=theta), theta, seed=1)
    np.testing.assert_array_equal(bounded, np.maximum(point, theta))
