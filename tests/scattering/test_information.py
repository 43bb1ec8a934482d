import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering.companions import PowerSpectrum
from skysift.scattering.families import Covariance
from skysift.scattering.information import fisher

SHAPE = (12, 12)
K = np.hypot(np.fft.fftfreq(12)[:, None], np.fft.fftfreq(12)) * 2 * np.pi


def simulator(parameters, key):
    """A Gaussian field of power A k^-g."""
    amplitude, slope = parameters
    shape = jnp.where(K > 0, jnp.where(K > 0, K, 1.0) ** (-0.5 * slope), 0.0)
    white = jax.random.normal(key, SHAPE)
    return jnp.fft.ifft2(jnp.sqrt(amplitude) * shape * jnp.fft.fft2(white)).real


@pytest.fixture(scope="module")
def statistic():
    return PowerSpectrum.plane(SHAPE, bins=5)


@pytest.fixture(scope="module")
def found(statistic):
    return fisher(simulator, np.array([2.0, 1.5]), statistic, draws=500, seed=1)


def test_information_of_power_is_that_of_its_modes(statistic, found):
    inside = statistic.bins_of_modes()[0] > 0
    power = 2.0 * np.where(K > 0, np.where(K > 0, K, 1.0) ** -1.5, 0.0)
    slopes = np.stack([power / 2.0, -np.log(np.where(K > 0, K, 1.0)) * power])
    counts = inside.sum(axis=(1, 2))
    derivatives = np.einsum("bij,pij->pb", inside, slopes) / counts
    # Modes k and -k are one: that is the factor 2. Modes that are their own negatives vary alike.
    variance = 2.0 * np.einsum("bij,ij->b", inside, power**2) / counts**2
    expected = derivatives / variance @ derivatives.T
    assert np.allclose(found.derivatives[:, -5:], derivatives, rtol=0.1, atol=0.05)
    assert np.allclose(found.matrix, expected, rtol=0.15)
    assert np.allclose(found.errors, np.sqrt(np.diag(np.linalg.inv(expected))), rtol=0.1)


def test_what_does_not_vary_by_itself_is_left_out(found):
    # The mean is zero, and the variance is the sum of all powers.
    assert found.rank == 5


def test_estimates_scatter_as_the_information_says(statistic, found):
    keys = [jax.random.key(seed) for seed in range(10_000, 10_200)]
    draw = jax.jit(simulator)
    maps = np.stack([np.asarray(draw(jnp.array([2.0, 1.5]), key)) for key in keys])
    estimates = found.estimate(statistic(maps))
    assert np.all(np.abs(estimates.mean(axis=0) - [2.0, 1.5]) < 4 * found.errors / np.sqrt(200))
    assert np.allclose(estimates.std(axis=0), found.errors, rtol=0.25)


def test_derivatives_are_differences_with_the_same_noise(statistic):
    at, step = np.array([2.0, 1.5]), np.array([1e-4, 0.0])
    found = fisher(simulator, at, statistic, draws=12, seed=2)
    ahead = fisher(simulator, at + step, statistic, draws=12, seed=2)
    behind = fisher(simulator, at - step, statistic, draws=12, seed=2)
    assert np.allclose(found.derivatives[0], (ahead.mean - behind.mean) / 2e-4, rtol=1e-6)


def test_transforms_of_the_sphere_are_differentiated():
    statistic = PowerSpectrum.sphere(nside=4, lmax=6, bins=2)
    found = fisher(
        lambda p, key: p[0] * jax.random.normal(key, (192,)), np.array([3.0]), statistic, draws=10
    )
    mean = found.mean
    assert np.allclose(found.derivatives[0][1:], 2.0 * mean[1:] / 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "parameters", "draws", "message"),
    [
        (simulator, [2.0, 1.5], 9, "draws: expected more than 9 .* reduce the statistics"),
        (simulator, [[2.0]], 12, "parameters: expected a row"),
        (simulator, [-1.0, 1.0], 12, "simulator: expected finite maps"),
        (lambda p, key: jnp.ones((3, 3)), [1.0], 12, "simulator: expected maps of shape"),
        (
            lambda p, key: (p[0] + p[1]) * jax.random.normal(key, SHAPE),
            [1.0, 1.0],
            12,
            "parameters: expected parameters that the statistics tell apart",
        ),
    ],
)
def test_bad_input_is_refused(statistic, make, parameters, draws, message):
    with pytest.raises(ValueError, match=message):
        fisher(make, np.array(parameters), statistic, draws)


def test_statistics_of_another_size_are_not_compressed(found):
    other = Covariance.plane(SHAPE, scales=1, orientations=1)
    with pytest.raises(ValueError, match="statistics: expected those of power spectrum"):
        found.estimate(other(np.random.default_rng(0).standard_normal(SHAPE)))
