import numpy as np
import pytest

import skysift as ss
from skysift.compsep import solve
from skysift.cosmology import residuals

MASK = ss.galactic_mask("GAL060", 8)


def fitted(sky="c1d1s1", patches=None, **options):
    sim = ss.simulate(sky, "LiteBIRD", nside=8, **options).masked(MASK)
    return sim, ss.separate(sim.maps, "LiteBIRD", patches=patches)


def test_total_splits_into_what_foregrounds_and_noise_leave():
    patches = ss.Patches.kmeans(MASK, beta_dust=4, temp_dust=2, beta_pl=2)
    sim, fit = fitted(patches=patches)
    left = residuals(fit, sim)
    total = np.asarray(left.total.values)
    truth = np.asarray(sim.truth.components["cmb"].values)
    np.testing.assert_allclose(total, fit.components["cmb"].values - truth, atol=1e-12)
    np.testing.assert_allclose(left.statistical.values + left.systematic.values, total, atol=1e-12)
    # The recovery is linear for held parameters: the total is that of foregrounds and of noise.
    held = fit.problem.held(fit.theta)
    parts = [sim.noise, sim.maps.replace(sim.maps.values - sim.noise.values - truth)]
    recovered = [np.asarray(solve(held.with_maps(p)).components["cmb"].values) for p in parts]
    np.testing.assert_allclose(sum(recovered), total, atol=1e-9)


def test_systematic_is_the_separation_of_the_noiseless_foregrounds():
    patches = ss.Patches.kmeans(MASK, beta_dust=4, temp_dust=2, beta_pl=2)
    sim, fit = fitted(patches=patches)
    quiet = ss.simulate("d1s1", "LiteBIRD", nside=8, noise_ratio=0.0).masked(MASK)
    alone = ss.separate(quiet.maps, "LiteBIRD", patches=patches)
    systematic = np.asarray(residuals(fit, sim).systematic.values)
    assert np.abs(systematic).max() > 1e-3
    np.testing.assert_allclose(systematic, alone.components["cmb"].values, atol=1e-6)


def test_a_model_that_fits_leaves_nothing_systematic():
    sim, fit = fitted("c1d0s0")
    left = residuals(fit, sim)
    assert np.abs(left.systematic.values).max() < 1e-6 * np.abs(left.total.values).max()


def test_the_truth_alone_will_do_on_a_larger_grid():
    sim, fit = fitted("c1d0s0")
    whole = ss.simulate("c1d0s0", "LiteBIRD", nside=8)
    one, two = residuals(fit, sim), residuals(fit, whole.truth)
    assert np.array_equal(one.total.values, two.total.values)


def test_what_is_missing_is_said():
    sim, fit = fitted("c1d0s0")
    with pytest.raises(ValueError, match=r"sim: .*Residuals need what went in"):
        residuals(fit, sim.maps)
    with pytest.raises(ValueError, match="sim: expected a sky with CMB"):
        residuals(fit, ss.simulate("d0s0", "LiteBIRD", nside=8))
    without = ss.separate(sim.maps, "LiteBIRD", "d+s")
    with pytest.raises(ValueError, match="fit: expected a model with a CMB"):
        residuals(without, sim)
