"""Forecasts against what happens to the true sky, and what they refuse."""

import dataclasses

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import UnitWeights, pose
from skysift.compsep.criteria import noise_of
from skysift.compsep.variants import with_patches
from skysift.cosmology.forecast import Forecast
from skysift.sky import Realisations


@pytest.fixture(scope="module")
def sim():
    return ss.simulate("c1d1s1", "LiteBIRD", nside=16, seed=0)


@pytest.fixture(scope="module")
def problem(sim):
    return pose(sim.maps.masked(ss.galactic_mask("GAL060", 16)), "LiteBIRD")


@pytest.fixture(scope="module")
def forecast(problem):
    return Forecast.of(problem, seed=1)


def nested(problem, nside):
    patches = ss.Patches.multires(problem.maps.grid, beta_dust=nside, temp_dust=nside // 4)
    return with_patches(problem, patches)


def test_residuals_are_those_of_the_true_sky(sim, problem, forecast):
    grid = problem.maps.grid
    truth = np.asarray(Realisations.of(sim).foregrounds.on(grid).values)
    known = dataclasses.replace(forecast, foregrounds=forecast.foregrounds.replace(truth))
    expected = [known.outlook(nested(problem, nside)) for nside in (0, 4, 16)]
    found = [forecast.outlook(nested(problem, nside)) for nside in (0, 4, 16)]
    assert all(outlook.converged for outlook in found)
    for one, two in zip(found[:2], expected[:2], strict=True):
        assert one.systematic == pytest.approx(two.systematic, rel=0.4)
    for one, two in zip(found, expected, strict=True):
        assert one.statistical == pytest.approx(two.statistical, rel=0.2)
    assert found[0].r > found[1].r
    assert found[0].statistical < found[1].statistical < found[2].statistical


def test_stand_in_is_as_bright_as_the_foregrounds(sim, problem, forecast):
    truth = np.asarray(Realisations.of(sim).foregrounds.on(problem.maps.grid).values)
    found = np.asarray(forecast.foregrounds.values)
    assert found.shape == truth.shape
    bright = np.argmax(truth.std(axis=(1, 2)))
    assert np.corrcoef(found[bright].ravel(), truth[bright].ravel())[0, 1] > 0.99


def test_score_is_infinite_without_convergence(problem, forecast):
    options = dataclasses.replace(problem.options, max_iterations=1, tolerance=1e-12)
    fit = ss.compsep.solve(problem)
    hasty = dataclasses.replace(fit.problem, options=options)
    assert forecast(dataclasses.replace(fit, problem=hasty)) == np.inf
    assert np.isfinite(forecast(fit))


def test_noise_is_that_of_the_weights(problem):
    noise = noise_of(problem, np.random.default_rng(0))
    scaled = noise * np.sqrt(problem.likelihood.weights)
    assert np.std(scaled) == pytest.approx(1.0, abs=0.01)


def test_unknown_noise_is_refused(problem):
    unit = pose(problem.maps, "LiteBIRD", noise=UnitWeights())
    with pytest.raises(ValueError, match="inverse noise variances"):
        Forecast.of(unit)
