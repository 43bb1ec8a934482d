from dataclasses import dataclass

import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import Covariance
from skysift.scattering.sphere.bank import SphereBank, multiplicity, truncated
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet, Steerable

from .fields import red_alm, red_sky


@dataclass(frozen=True)
class Narrow(AbstractSphereWavelet):
    """Half an octave wide, along one direction and its opposite alike."""

    order: int = 2

    def radial(self, octaves):
        return np.where(np.abs(octaves) < 0.25, 1.0, 0.0)

    def angular(self):
        return np.array([0.5, 0.0, 0.25])


@dataclass(frozen=True)
class Twice(Steerable):
    """Seen with twice the power."""

    def radial(self, octaves):
        return np.sqrt(2.0) * super().radial(octaves)


def test_windows_are_a_partition():
    bank = SphereBank(64, 6)
    total = sum(bank.window(scale) ** 2 for scale in range(6)) + bank.rest().sum(axis=0)
    np.testing.assert_allclose(total[1:], 1.0, atol=1e-14)
    assert total[0] == 0.0
    for scale in range(6):
        assert np.all(bank.window(scale)[bank.band(scale) + 1 :] == 0.0)
        np.testing.assert_allclose(bank.window(scale)[64 // 2**scale], 1.0)


def test_directional_profile_of_a_plane_wave():
    # Y_ll is a wave along the equator, of both signs: the wavelet sees either with cos^8 of half
    # the angle between it and the wave.
    lmax = 64
    bank = SphereBank(lmax, 2)
    alm = np.zeros((lmax + 1) * (lmax + 2) // 2, complex)
    alm[32 * (2 * lmax + 1 - 32) // 2 + 32] = 1.0
    real, imaginary = bank.coefficients(jnp.asarray(alm), 1)
    theta, _ = bank.grid(1).directions()
    equator = np.abs(theta - np.pi / 2) < np.abs(theta - np.pi / 2).min() + 1e-6
    envelope = np.hypot(real, imaginary)[:, equator].mean(axis=1)
    chi = np.arange(6) * np.pi / 6
    expected = np.maximum(np.cos(chi / 2) ** 8, np.sin(chi / 2) ** 8)
    np.testing.assert_allclose(envelope / envelope[0], expected, atol=0.025)


def test_power_of_the_coefficients():
    bank = SphereBank(16, 2, Steerable(2), directions=6)
    alm = red_alm(16) * (np.concatenate([np.arange(m, 17) for m in range(17)]) >= 2)
    for scale in range(2):
        real, imaginary = bank.coefficients(jnp.asarray(alm), scale)
        found = np.mean(real**2 + imaginary**2, axis=0) @ bank.grid(scale).weights
        ell = np.concatenate([np.arange(m, 17) for m in range(17)])
        power = multiplicity(16) * np.abs(alm * bank.window(scale)[ell]) ** 2
        np.testing.assert_allclose(found, power.sum() / (4.0 * np.pi), rtol=1e-12)


def test_truncated():
    alm = red_alm(6)
    wider = truncated(jnp.asarray(alm), 6, 9)
    np.testing.assert_array_equal(truncated(wider, 9, 6), alm)
    assert np.count_nonzero(wider) == np.count_nonzero(alm)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"scales": 7}, "scales"),
        ({"scales": 0}, "scales"),
        ({"wavelet": Twice()}, "wavelet"),
        ({"directions": 4}, "directions"),
        ({"harmonics": 3}, "harmonics"),
        ({"harmonics": 6}, "harmonics"),
    ],
)
def test_sphere_bank_refuses(changes, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        SphereBank(**{"lmax": 64, "scales": 3, **changes})


def test_wavelets_of_ones_own():
    lmax = 32
    bank = SphereBank(lmax, 3, Narrow(), directions=4, harmonics=2)
    ell = np.arange(lmax + 1)
    np.testing.assert_array_equal(np.flatnonzero(bank.window(1)), ell[14:20][ell[14:20] > 13.4])
    # What lies between the scales is in the rest, on either side.
    total = sum(bank.window(scale) ** 2 for scale in range(3)) + bank.rest().sum(axis=0)
    np.testing.assert_allclose(total[1:], 1.0)
    alm = red_alm(lmax, seed=1)
    real, imaginary = bank.coefficients(jnp.asarray(alm), 1)
    # cos^2 of the angle is the same for opposite directions: the coefficients are real.
    np.testing.assert_allclose(imaginary, 0.0, atol=1e-12)
    seen = hp.almxfl(alm, bank.window(1))
    grid = bank.grid(1)
    power = np.sum(np.asarray(real) ** 2 * grid.weights, axis=-1).mean()
    np.testing.assert_allclose(power, np.sum(np.abs(seen) ** 2 * multiplicity(lmax)) / (4 * np.pi))


def test_statistics_with_wavelets_of_ones_own():
    statistic = Covariance.sphere(8, 3, wavelet=Narrow(), directions=4, harmonics=2)
    assert "Narrow(order=2)" in statistic.layout.origin
    found = statistic(red_sky(8, 16))
    power = statistic.power_windows()[0] @ np.abs(hp.map2alm(red_sky(8, 16), lmax=16, iter=3)) ** 2
    np.testing.assert_allclose(found["S2"], power, rtol=1e-3)


@pytest.mark.parametrize("order", [0, 17])
def test_order_of_wavelets(order):
    with pytest.raises(ValueError, match="order: expected 1 to 16"):
        Steerable(order)
