"""Criteria against dense algebra, other data of the same sky, and what they cannot tell."""

import dataclasses
import math

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import GaussianPrior, SolverOptions, UnitWeights, pose, solve
from skysift.compsep.criteria import (
    cmb_variance,
    effective_parameters,
    evidence,
    fission,
    predictive,
    predictive_split,
)

PATCHES = {"beta_dust": 2, "temp_dust": 1, "beta_pl": 1}


@pytest.fixture(scope="module")
def sim():
    return ss.simulate("c1d0s0", "LiteBIRD", nside=8, seed=3)


def fitted(sim, priors=None, **options):
    patches = ss.Patches.multires(sim.maps.grid, **PATCHES)
    return ss.separate(
        sim.maps,
        "LiteBIRD",
        patches=patches,
        priors=priors,
        options=SolverOptions(**options),
    )


@pytest.fixture(scope="module")
def fit(sim):
    return fitted(sim)


def dense(matrix):
    out = np.diag(matrix.diagonal)
    out[matrix.structure.rows, matrix.structure.columns] = matrix.off
    out[matrix.structure.columns, matrix.structure.rows] = matrix.off
    return out


def test_variance_of_the_cmb(fit):
    values = np.asarray(fit.components["cmb"].values)
    assert cmb_variance(fit) == pytest.approx(values[0].var() + values[1].var())


def test_evidence_is_laplaces_integral(fit):
    free = fit.free
    hessian = dense(fit.information)[np.ix_(free, free)]
    width = (fit.problem.high - fit.problem.low)[free]
    log_volume = 0.5 * np.linalg.slogdet(2.0 * math.pi * np.linalg.inv(hessian))[1]
    expected = fit.objective - log_volume + np.sum(np.log(width))
    assert evidence(fit) == pytest.approx(expected, rel=1e-12)


def test_evidence_of_a_vague_gaussian_prior(sim, fit):
    """A wide Gaussian prior of height 1 / w at its centre is a uniform one of width w."""
    wide = {n: GaussianPrior(float(v.mean()), 1e4) for n, v in fit.parameters.items()}
    other = fitted(sim, priors=wide)
    height = {n: np.log(1e4 * math.sqrt(2.0 * math.pi)) * v.size for n, v in fit.parameters.items()}
    width = np.sum(np.log(fit.problem.high - fit.problem.low))
    assert fit.free.all()
    expected = evidence(fit) - width + sum(height.values())
    assert evidence(other) == pytest.approx(expected, abs=1e-3)


def test_effective_parameters_are_the_trace(sim):
    fit = fitted(sim, priors={"beta_dust": GaussianPrior(1.54, 0.02)})
    precision = fit.problem.likelihood.prior_precision
    hessian = dense(fit.information)
    expected = np.trace(np.linalg.solve(hessian, hessian - np.diag(precision)))
    assert effective_parameters(fit) == pytest.approx(expected, rel=1e-6)
    assert effective_parameters(fit) < fit.theta.size - 1


def test_predictive_is_the_misfit_of_other_data(fit):
    """Brute force: parameters of one noise realisation tried on the others."""
    sims = [ss.simulate("c1d0s0", "LiteBIRD", nside=8, seed=seed) for seed in range(40, 56)]
    fits = [solve(fit.problem.with_maps(sim.maps), start=fit.theta) for sim in sims]
    objectives = np.array(
        [
            [
                np.sum(fit.problem.with_maps(sim.maps).likelihood.evaluate(one.theta).objective)
                for sim in sims
            ]
            for one in fits
        ]
    )
    own = np.diag(objectives)
    other = objectives.sum(axis=0) - own
    excess = other / (len(sims) - 1) - own
    expected = np.mean([predictive(one) - one.objective for one in fits])
    # Less its optimism, the misfit of the same data; the scatter of the mean is below two.
    assert np.mean(excess) == pytest.approx(expected, abs=1.5 * float(np.std(excess)))
    assert expected == pytest.approx(fit.free.sum())


def test_halves_are_independent_and_as_noisy_as_they_say(fit):
    one, two = fission(fit.problem, np.random.default_rng(0))
    sigma = np.broadcast_to(fit.problem.likelihood.weights, one.likelihood.data.shape) ** -0.5
    added = (one.likelihood.data - two.likelihood.data) / (2.0 * sigma)
    assert np.std(added) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(
        one.likelihood.data + two.likelihood.data, 2 * fit.problem.likelihood.data
    )
    np.testing.assert_allclose(one.likelihood.weights, 0.5 * fit.problem.likelihood.weights)


def test_splits_prefer_what_is_true(sim):
    """One value per parameter on a sky that has one, against thousands."""
    coarse = fitted(sim)
    fine = solve(
        pose(sim.maps, "LiteBIRD", patches=ss.Patches.multires(sim.maps.grid, beta_dust=8))
    )
    assert predictive_split(coarse) < predictive_split(fine)
    assert predictive(coarse) < predictive(fine)
    assert evidence(coarse) < evidence(fine)


def test_splits_depend_on_the_seed_alone(fit):
    assert predictive_split(fit, seed=1) == predictive_split(fit, seed=1)
    assert predictive_split(fit, seed=1) != predictive_split(fit, seed=2)


@pytest.mark.parametrize("criterion", [evidence, predictive, predictive_split])
def test_unknown_noise_is_refused(sim, criterion):
    fit = ss.separate(sim.maps, "LiteBIRD", noise=UnitWeights())
    with pytest.raises(ValueError, match="inverse noise variances"):
        criterion(fit)


def test_what_cannot_be_told_is_refused(sim, fit):
    with pytest.raises(ValueError, match="splits: expected at least one"):
        predictive_split(fit, splits=0)
    bare = fitted(sim, priors={"beta_dust": GaussianPrior(1.54, 0.02)}, errors=False)
    with pytest.raises(ValueError, match="expected errors"):
        predictive(bare)
    without = ss.separate(sim.maps, "LiteBIRD", model="d+s")
    with pytest.raises(ValueError, match="component named cmb"):
        cmb_variance(without)


def test_an_indefinite_hessian_has_no_evidence(fit):
    flipped = dataclasses.replace(fit.information, diagonal=-fit.information.diagonal)
    assert evidence(dataclasses.replace(fit, information=flipped)) == math.inf
