"""Priors centred on a fit in larger patches, and scales learnt one after the other."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import GaussianPrior, SolverOptions, UnitWeights, pose, solve
from skysift.compsep.criteria import fission
from skysift.compsep.hierarchy import Hierarchy
from skysift.compsep.separate import centred
from skysift.compsep.variants import over_patches, with_centres, with_patches, with_priors
from skysift.sky import Realisations

PRIORS = {"beta_dust": GaussianPrior(1.2, 0.01), "beta_pl": GaussianPrior(-2.5, 0.02)}


@pytest.fixture(scope="module")
def sims():
    return [ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=seed) for seed in (0, 1)]


def fine(maps, **nsides):
    sizes = {"beta_dust": 8, "temp_dust": 2, "beta_pl": 4} | nsides
    return pose(maps, "LiteBIRD", patches=ss.Patches.multires(maps.grid, **sizes), priors=PRIORS)


def larger(grid):
    return ss.Patches.multires(grid, beta_dust=2, beta_pl=1)


def by_hand(problem, around):
    """Two separations, one after the other."""
    sizes = {**problem.patches.labels, **around.labels}
    names = ("beta_dust", "temp_dust", "beta_pl")
    coarse = with_patches(problem, ss.Patches({n: sizes[n] for n in names}, problem.maps.grid))
    first = solve(coarse)
    centres = {n: first.patches.expand(n, first.parameters[n]) for n in around.parameters}
    return solve(with_priors(problem, PRIORS, centres))


def test_it_is_two_separations_whatever_the_maps(sims):
    problem = fine(sims[0].maps)
    around = larger(problem.maps.grid)
    both = with_centres(problem, around)
    for sim in sims:
        found = solve(both.with_maps(sim.maps))
        expected = by_hand(problem.with_maps(sim.maps), around)
        assert found.status.converged
        np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-9)
        assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    assert not np.allclose(solve(both).theta, solve(problem).theta, rtol=1e-4)


def test_no_bias_where_the_larger_patches_are_true():
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=8, noise_ratio=0.0, seed=0)
    fit = solve(with_centres(fine(sim.maps), larger(sim.maps.grid)))
    np.testing.assert_allclose(fit.parameters["beta_dust"], 1.54, atol=1e-7)
    np.testing.assert_allclose(fit.parameters["beta_pl"], -3.0, atol=1e-7)


def test_separate_takes_larger_patches(sims):
    maps = sims[0].maps
    sizes = ss.Patches.multires(maps.grid, beta_dust=8, temp_dust=2, beta_pl=4)
    fit = ss.separate(maps, "LiteBIRD", patches=sizes, priors=PRIORS, around=larger(maps.grid))
    expected = solve(with_centres(fine(maps), larger(maps.grid)))
    assert np.array_equal(fit.theta, expected.theta)
    assert np.array_equal(
        centred(fit.problem).likelihood.prior_mean, fit.problem.likelihood.prior_mean
    )


def test_a_narrow_prior_follows_the_larger_patches(sims):
    problem = fine(sims[0].maps)
    tight = {n: dataclasses.replace(p, sigma=1e-7) for n, p in PRIORS.items()}
    both = with_centres(with_priors(problem, tight), larger(problem.maps.grid))
    fit, coarse = solve(both), solve(both.coarse)
    for name in PRIORS:
        cells = coarse.patches.expand(name, coarse.parameters[name])
        expected = over_patches(problem, name, cells)
        np.testing.assert_allclose(fit.parameters[name], expected, atol=1e-6)


def test_other_parameters_keep_their_priors(sims):
    problem = fine(sims[0].maps)
    both = with_centres(problem, ss.Patches.multires(problem.maps.grid, beta_dust=2))
    counts, split = both.coarse.patches.counts, both.coarse.likelihood.structure.split
    assert counts == {"beta_dust": 48, "temp_dust": 48, "beta_pl": 192}
    precision = split(both.coarse.likelihood.prior_precision)
    assert [float(p.max()) for p in precision] == pytest.approx([0.0, 0.0, 0.02**-2])
    mean = centred(both).likelihood.structure.split(centred(both).likelihood.prior_mean)
    assert np.all(mean[2] == -2.5)
    assert mean[0][0] != 1.2


def test_halves_and_held_problems_take_the_larger_patches_along(sims):
    both = with_centres(fine(sims[0].maps), larger(sims[0].maps.grid))
    one, two = fission(both, np.random.default_rng(0))
    middle = 0.5 * (one.coarse.likelihood.data + two.coarse.likelihood.data)
    np.testing.assert_allclose(middle, both.likelihood.data, atol=1e-9)
    assert np.array_equal(one.coarse.likelihood.data, one.likelihood.data)
    assert both.held(both.start).coarse is None


def test_doubt_about_the_larger_patches_is_told(sims):
    both = with_centres(fine(sims[0].maps), larger(sims[0].maps.grid))
    hasty = dataclasses.replace(both.coarse, options=SolverOptions(max_iterations=1))
    fit = solve(dataclasses.replace(both, coarse=hasty))
    assert not fit.status.converged
    assert "centred on" in fit.status.message


def test_larger_patches_need_a_prior(sims):
    maps = sims[0].maps
    with pytest.raises(
        ValueError, match="around: expected parameters that have a prior.*temp_dust"
    ):
        with_centres(fine(maps), ss.Patches.multires(maps.grid, temp_dust=1))
    with pytest.raises(ValueError, match="around"):
        ss.separate(maps, "LiteBIRD", around=larger(maps.grid))


@pytest.fixture(scope="module")
def sim():
    return ss.simulate("c1d1s1", "LiteBIRD", nside=16, seed=0, noise_ratio=0.2)


@pytest.fixture(scope="module")
def known(sim):
    return Hierarchy.learn(pose(sim.maps.masked(ss.galactic_mask("GAL060", 16)), "LiteBIRD"))


def test_scales_hold_the_scatter_of_the_sky(sim, known):
    counts = [level.patches.counts for level in known.levels]
    assert counts[0]["beta_dust"] < counts[-1]["beta_dust"] == counts[-1]["temp_dust"]
    grid = known.fit.problem.maps.grid
    true = np.asarray(sim.truth.parameters["beta_dust"])[grid.index]
    drawn = known.fit.patches.expand("beta_dust", known.fit.parameters["beta_dust"])
    assert 0.5 < np.std(drawn) / np.std(true) < 2.0
    # Scatter falls from scale to scale; parameters that have their smallest patches are held.
    widths = [priors["beta_dust"].sigma for priors in known.priors]
    first, *rest = (np.array(pair) for pair in pairwise(widths))
    assert first[1] <= np.sqrt(0.5) * first[0]
    finer = [a["beta_dust"] < b["beta_dust"] for a, b in pairwise(counts)]
    assert finer == [True, True, True, False, False]
    assert all(0.7 * before <= after <= before for before, after in rest[:2])
    assert widths[-1] == widths[-2] < 0.1 * widths[-3]


def test_draws_are_skies_that_the_data_allow(sim, known):
    truth = np.asarray(Realisations.of(sim).foregrounds.on(known.fit.problem.maps.grid).values)
    one, again, other = (np.asarray(known.draw(seed).values) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    weights = np.broadcast_to(known.fit.problem.likelihood.weights, one.shape)
    misfit = np.mean((one - truth) ** 2 * weights)
    # Foregrounds are known to about the noise of the maps, far better than their size.
    assert misfit < 3.0
    assert np.mean(truth**2 * weights) > 100.0


def test_unknown_noise_teaches_nothing(sim):
    with pytest.raises(ValueError, match="inverse noise variances"):
        Hierarchy.learn(pose(sim.maps, "LiteBIRD", noise=UnitWeights()))
