"""What masks leave of coefficients and moduli, against Gaussian fields that made no part of it."""

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import Covariance
from skysift.scattering.sphere import response
from skysift.scattering.sphere.moduli import Window
from skysift.scattering.sphere.weights import sphere_weights

from .fields import red_alm, without_equator

NSIDE, LMAX = 16, 24


@pytest.fixture(scope="module")
def masked():
    return Covariance.sphere(NSIDE, 2, lmax=LMAX, weights=without_equator(NSIDE))


@pytest.fixture(scope="module")
def fields(masked):
    whole = jnp.asarray(red_alm(LMAX, 1, batch=(60,)))[:, None]
    return whole, masked.domain.visible(masked.domain.seen(whole), masked.cells)


def powers(statistic, fields, scale):
    """Mean squared coefficients with the weights of a scale, field by field."""
    real, imaginary = statistic.coefficients(fields, scale)
    share = np.asarray(statistic.weights.scales[scale][0])
    return np.mean(np.asarray(real**2 + imaginary**2), axis=(1, 2)) @ share


@pytest.mark.parametrize("scale", [0, 1])
def test_gains_give_the_power_of_the_same_places_without_a_mask(masked, fields, scale):
    alike = tuple(map(jnp.ones_like, masked.weights.gains))
    plain = eqx.tree_at(lambda one: one.weights.gains, masked, alike)
    expected = powers(plain, fields[0], scale)
    change = powers(masked, fields[1], scale) - expected
    error = change.std(ddof=1) / np.sqrt(len(change))
    assert abs(change.mean()) < 4.0 * error + 1e-3 * expected.mean()
    lost = expected - powers(plain, fields[1], scale)
    assert lost.mean() > 4.0 * lost.std(ddof=1) / np.sqrt(len(lost))


def test_responses_are_near_one_and_bands_below_a_spin_have_none(masked):
    for window in Window:
        for scale, found in enumerate(masked.weights.responses[window]):
            assert found.shape == (1, scale + 1, len(masked.bank.parts))
            assert np.all(np.abs(np.asarray(found) - 1.0) < 0.1)


def test_what_draws_cannot_tell_from_one_is_one():
    rng = np.random.default_rng(3)
    expected = jnp.asarray(rng.uniform(1.0, 2.0, (40, 1, 1, 3)))
    noise = rng.standard_normal(expected.shape)
    noise -= noise.mean(axis=0)
    clear = np.asarray(response._response(0.9 * expected + 1e-3 * noise, expected))
    np.testing.assert_allclose(clear, 0.9, rtol=1e-4)
    none = expected.at[..., 1].set(0.0)
    some = np.asarray(response._response(1.001 * none + noise * (none > 0.0), none))
    np.testing.assert_array_equal(some, 1.0)


def test_uneven_weights_without_a_mask_take_nothing():
    bank, domain = (getattr(Covariance.sphere(8, 2), name) for name in ("bank", "domain"))
    theta, _ = hp.pix2ang(8, np.arange(768))
    cells = 1.0 + 0.5 * np.cos(theta)
    found = response.masked_weights(bank, domain, cells)
    assert eqx.tree_equal(found, sphere_weights(bank, domain, cells))
    for gain in found.gains:
        np.testing.assert_array_equal(gain, 1.0)
