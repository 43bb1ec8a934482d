import healpy as hp
import jax
import numpy as np
import pytest

from skysift.scattering import Covariance
from skysift.scattering.generative.gaussian import colour_of

from .fields import red_noise, red_sky


def powers(statistic, colour):
    """Power at each scale that fields of a colour have on average."""
    windows, _ = statistic.power_windows()
    spectrum = np.asarray(colour.amplitude) ** 2
    return np.array([[np.sum(one * window) for window in windows] for one in spectrum])


@pytest.mark.parametrize("slope", [0.0, 1.5])
def test_colour_has_the_powers_of_the_target(slope):
    statistic = Covariance.plane((32, 32), 3, 2, channels=2)
    x = red_noise((32, 32), slope=slope, batch=(2,)) * np.array([1.0, 1e-5])[:, None, None] + 3.0
    phi = statistic(x)
    mean, power, rest = statistic.powers(phi)
    colour = colour_of(statistic, phi)
    np.testing.assert_allclose(colour.mean, mean)
    # Setting the power that no scale covers moves that of the scales next to it a little.
    np.testing.assert_allclose(powers(statistic, colour), power, rtol=0.15)
    assert np.all(np.asarray(colour.amplitude)[:, 0, 0] == 0.0)
    sides = np.array(
        [[np.sum(w * a**2) for w in statistic.rest_windows()] for a in colour.amplitude]
    )
    np.testing.assert_allclose(sides, rest, rtol=0.6)


def test_colour_of_a_single_scale_is_white():
    statistic = Covariance.plane((16, 16), 1, 2)
    x = red_noise((16, 16), slope=0.0, skewed=False)
    colour = colour_of(statistic, statistic(x))
    spectrum = np.asarray(colour.amplitude)[0] ** 2 * 256.0
    assert np.all(np.abs(np.log(spectrum.ravel()[1:])) < 1.0)


def test_draws_have_the_powers_of_the_colour():
    statistic = Covariance.plane((32, 32), 2, 2)
    phi = statistic(red_noise((32, 32)) + 5.0)
    colour = colour_of(statistic, phi)
    fields = colour.fields(colour.draw(jax.random.key(0), 200, np.dtype(float)))
    found = statistic(statistic.domain.seen(fields))
    np.testing.assert_allclose(found["mean"], np.full((200, 1), phi["mean"][0]), rtol=1e-12)
    second = np.asarray(found["S2"]).reshape(200, 2, 2).mean(axis=2)
    error = second.std(axis=0, ddof=1) / np.sqrt(200.0)
    assert np.all(np.abs(second.mean(axis=0) - powers(statistic, colour)[0]) < 4.0 * error)


def test_colour_of_the_sphere():
    statistic = Covariance.sphere(8, 3)
    phi = statistic(red_sky(8, 16) + 2.0)
    mean, power, _ = statistic.powers(phi)
    colour = colour_of(statistic, phi)
    np.testing.assert_allclose(powers(statistic, colour), power, rtol=0.01)
    # All orders m of a multipole have one amplitude.
    ell, _ = hp.Alm.getlm(16)
    amplitude = np.asarray(colour.amplitude)[0]
    np.testing.assert_allclose(amplitude, amplitude[ell])
    maps = statistic.domain.seen(
        colour.fields(colour.draw(jax.random.key(1), 50, np.dtype(np.float32)))
    )
    assert maps.shape == (50, 768)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(np.asarray(maps).mean(axis=1), mean[0], rtol=1e-3)
    cl = np.mean([hp.anafast(one, lmax=16) for one in np.asarray(maps, float)], axis=0)[1:]
    expected = np.asarray(colour.amplitude)[0, 1:17] ** 2
    np.testing.assert_allclose(cl, expected, rtol=0.6)
    assert abs(np.mean(cl / expected) - 1.0) < 0.1
