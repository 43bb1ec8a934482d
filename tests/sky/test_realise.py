import numpy as np
import pytest

import skysift as ss
from skysift.sky import Realisations, Vary


def test_a_seed_gives_what_simulate_gives():
    realisations = Realisations.of(ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=0), Vary.CMB)
    again, direct = realisations(7), ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=7)
    assert np.array_equal(again.noise.values, direct.noise.values)
    assert np.array_equal(again.truth.components["cmb"], direct.truth.components["cmb"])
    scale = np.abs(direct.maps.values).max()
    np.testing.assert_allclose(again.maps.values, direct.maps.values, rtol=0, atol=1e-14 * scale)


def test_noise_alone_varies_by_default():
    sim = ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=0)
    realisations = Realisations.of(sim)
    one, two = realisations(1), realisations(2)
    assert np.array_equal(one.truth.components["cmb"], sim.truth.components["cmb"])
    assert not np.array_equal(one.noise.values, two.noise.values)
    np.testing.assert_allclose(
        one.maps.values - one.noise.values, two.maps.values - two.noise.values, atol=1e-9
    )


def test_masked_sky_and_hits_and_intensity_are_kept():
    mask = ss.galactic_mask("GAL060", 8)
    hits = np.where(np.arange(768) < 500, 1.0, 2.0)
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=8, stokes="IQU", hits=hits, mask=mask)
    whole = ss.simulate("c1d0s0", "LiteBIRD", nside=8, stokes="IQU", hits=hits, seed=3)
    made = Realisations.of(sim, Vary.CMB, hits=hits)(3)
    expected = whole.maps.masked(mask)
    assert made.maps.grid == expected.grid
    np.testing.assert_allclose(made.maps.values, expected.values, rtol=1e-12, atol=1e-9)


def test_what_cannot_vary_is_refused():
    with pytest.raises(ValueError, match="vary: expected a sky with CMB"):
        Realisations.of(ss.simulate("d0s0", "LiteBIRD", nside=4), Vary.CMB)
    with pytest.raises(ValueError, match="empty sky"):
        Realisations.of(ss.simulate("0", "LiteBIRD", nside=4))
    with pytest.raises(ValueError, match="seed: expected a whole number"):
        Realisations.of(ss.simulate("c1", "LiteBIRD", nside=4))(-1)
