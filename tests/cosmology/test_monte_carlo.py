import dataclasses

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import pose
from skysift.cosmology import Ensemble, monte_carlo, residuals
from skysift.sky import Realisations, Vary

MASK = ss.galactic_mask("GAL060", 8)
PATCHES = ss.Patches.kmeans(MASK, beta_dust=6, temp_dust=3, beta_pl=3)


@pytest.fixture(scope="module")
def sky():
    return ss.simulate("c1d1s1", "LiteBIRD", nside=8).masked(MASK)


@pytest.fixture(scope="module")
def problem(sky):
    return pose(sky.maps, "LiteBIRD", patches=PATCHES)


@pytest.fixture(scope="module")
def ensemble(sky, problem):
    return monte_carlo(problem, Realisations.of(sky, Vary.CMB), [4, 2, 9])


def test_rows_are_single_separations(ensemble):
    assert ensemble.seeds.tolist() == [2, 4, 9]
    assert ensemble.converged.all()
    for row, seed in enumerate(ensemble.seeds):
        sim = ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=int(seed)).masked(MASK)
        fit = ss.separate(sim.maps, "LiteBIRD", patches=PATCHES)
        for name, values in fit.parameters.items():
            np.testing.assert_allclose(ensemble.parameters[name][row], values, rtol=1e-6)
            np.testing.assert_allclose(ensemble.errors[name][row], fit.errors[name], rtol=1e-5)
        left = residuals(fit, sim)
        own = ensemble.residuals
        np.testing.assert_allclose(own.total.values[row], left.total.values, atol=1e-7)
        np.testing.assert_allclose(own.systematic.values, left.systematic.values, atol=1e-7)
        assert ensemble.reduced_chi2[row] == pytest.approx(fit.reduced_chi2)
        variance = np.var(np.asarray(fit.components["cmb"].values), axis=-1).sum()
        assert ensemble.cmb_variance[row] == pytest.approx(variance, rel=1e-7)


def test_datasets_give_the_ensemble_back(ensemble):
    told = dataclasses.replace(ensemble, failures={3: "mask: none: left"})
    again = Ensemble.from_dataset(told.to_dataset())
    assert again.failures == {3: "mask: none: left"}
    assert again.grid == ensemble.grid
    assert again.patches.counts == ensemble.patches.counts
    assert np.array_equal(again.cmb.values, ensemble.cmb.values)
    assert np.array_equal(again.parameters["beta_dust"], ensemble.parameters["beta_dust"])


def test_parts_join_to_the_whole(ensemble, sky, problem):
    part = monte_carlo(problem, Realisations.of(sky, Vary.CMB), [4])
    rest = monte_carlo(problem, Realisations.of(sky, Vary.CMB), [9, 2])
    joined = Ensemble.joined([part, rest])
    assert np.array_equal(joined.seeds, ensemble.seeds)
    assert np.array_equal(joined.cmb.values, ensemble.cmb.values)
    with pytest.raises(ValueError, match="seed once"):
        Ensemble.joined([part, part])
    with pytest.raises(ValueError, match="at least one realisation"):
        Ensemble.joined([], {4: "no data"})


def test_a_failing_realisation_does_not_lose_the_others(sky, problem):
    class Faulty(Realisations):
        def __call__(self, seed):
            if seed == 1:
                raise ValueError("maps: expected values, got none.")
            return super().__call__(seed)

    good = Realisations.of(sky)
    faulty = Faulty(good.truth, good.instrument, good.sky)
    seen = []
    ensemble = monte_carlo(problem, faulty, range(3), seen.append)
    assert ensemble.seeds.tolist() == [0, 2]
    assert ensemble.failures == {1: "maps: expected values, got none."}
    assert [int(part.seeds[0]) for part in seen] == [0, 2]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_come_once(seeds, sky, problem):
    with pytest.raises(ValueError, match="seeds: expected at least one and each once"):
        monte_carlo(problem, Realisations.of(sky), seeds)
