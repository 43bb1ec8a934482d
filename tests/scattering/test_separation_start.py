"""Where separations start: the power of the signal in every octave and region, without walls."""

import healpy as hp
import jax
import numpy as np
import pytest

from skysift.scattering import Begin, Ensemble, LargeScales, PowerSpectrum
from skysift.scattering.separation.problem import free, observe
from skysift.scattering.separation.start import _not_negative, _octaves, changes, origin
from skysift.scattering.sphere.bank import ell_of

from .fields import red_noise, red_sky

SHAPE = (64, 64)
HALVES = np.zeros((2, *SHAPE))
HALVES[0, :, :32], HALVES[1, :, 32:] = 1.0, 1.0


def started(statistic, data, noise, constraints=(), restart=0, begin=Begin.FILTERED):
    """Map of a start."""
    observation = observe(data, statistic, np.dtype(float))
    domain = observation.domain
    draws = Ensemble(noise).draws(
        domain, len(noise), np.random.SeedSequence(0), np.dtype(float), observation.kept
    )
    colour = changes(observation, draws, begin, free(constraints, domain))
    fields = origin(observation, draws, colour, begin, restart, jax.random.key(0))
    return np.asarray(domain.seen(fields))


def fine(maps, low):
    """Maps of the modes from a wave number on."""
    numbers = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 2, indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(maps) * (numbers >= low)).real


@pytest.fixture(scope="module")
def uneven():
    """A signal four times as strong in one half, with noise stronger than the other half."""
    signal = red_noise(SHAPE, seed=3, slope=1.0) * np.where(HALVES[0] > 0.0, 4.0, 1.0)
    noise = 2.0 * np.random.default_rng(1).standard_normal((41, *SHAPE))
    statistic = PowerSpectrum.plane(SHAPE, 6, weights=HALVES)
    return signal, signal + noise[0], noise[1:], statistic


def test_solutions_start_from_halves_and_then_from_the_data_less_draws():
    signal = red_noise(SHAPE, seed=3)
    noise = 0.3 * np.random.default_rng(1).standard_normal((10, 2, *SHAPE))
    noise -= noise.mean(axis=(-2, -1), keepdims=True)
    data = signal + noise[0]
    statistic = PowerSpectrum.plane(SHAPE, 6)
    large = (LargeScales(4.0),)
    found = [
        started(statistic, data, noise[1:], large, restart, Begin.DATA) for restart in range(5)
    ]
    whole = data.mean(axis=0)
    drawn = noise[1:].mean(axis=1)
    wanted = [whole, *data, whole - drawn[0], whole - drawn[1]]
    for start, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(fine(start, 5), fine(one, 5), atol=1e-10)
        np.testing.assert_allclose(start - fine(start, 4), whole - fine(whole, 4), atol=1e-10)


def test_changes_are_as_large_as_what_is_not_known():
    """The contamination at first; the error of a Wiener filter from a filtered start."""
    signal, noise = red_noise(SHAPE, seed=3, slope=2.0), 0.5
    drawn = noise * np.random.default_rng(1).standard_normal((41, *SHAPE))
    statistic = PowerSpectrum.plane(SHAPE, 8)
    observation = observe(signal + drawn[0], statistic, np.dtype(float))
    domain = observation.domain
    draws = Ensemble(drawn[1:]).draws(
        domain, 40, np.random.SeedSequence(0), np.dtype(float), observation.kept
    )
    data, filtered = (
        np.asarray(changes(observation, draws, begin, free((), domain)).amplitude)[0] ** 2
        for begin in (Begin.DATA, Begin.FILTERED)
    )
    number = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 2, indexing="ij"))
    power = np.abs(np.fft.fft2(signal)) ** 2 / signal.size
    for low in (4, 8, 16):
        ring = (number >= low) & (number < 2 * low)
        np.testing.assert_allclose(data[ring].mean() / data[0, 20], 1.0, rtol=0.1)
        known = power[ring].mean() / (power[ring].mean() + noise**2)
        np.testing.assert_allclose(np.mean(filtered[ring] / data[ring]), known, rtol=0.15)
    assert known < 0.5


def test_each_region_has_its_own_power(uneven):
    signal, data, noise, statistic = uneven
    start = started(statistic, data, noise)
    for region in HALVES > 0.0:
        true, there, noisy = (np.var(fine(one, 8)[region]) for one in (signal, start, data))
        assert abs(there - true) < 0.25 * (noisy - true)


def test_one_region_has_a_single_filter(uneven):
    signal, data, noise, _ = uneven
    start = started(PowerSpectrum.plane(SHAPE, 6), data, noise)
    weak = HALVES[1] > 0.0
    assert np.var(fine(start, 8)[weak]) > 2.0 * np.var(fine(signal, 8)[weak])


def test_there_is_no_wall_between_regions():
    # A smooth field, so that a step shows; in one half it is as strong as the noise alone would be.
    wave = np.sin(8.0 * np.arange(64) * 2.0 * np.pi / 64)
    signal = wave[:, None] + np.zeros(SHAPE)
    noise = 2.0 * np.random.default_rng(2).standard_normal((21, *SHAPE))
    noise *= np.where(HALVES[1] > 0.0, 1.0, 0.01)
    start = started(PowerSpectrum.plane(SHAPE, 6, weights=HALVES), signal, noise)
    assert np.std(start[:, 48]) < 0.3 * np.std(start[:, 16])
    steps = np.abs(np.diff(start, axis=1)).max(axis=0)
    assert steps.max() < 0.5 * np.abs(start).max()


def test_fixed_large_scales_and_the_mean_are_the_data(uneven):
    _, data, noise, statistic = uneven
    start = started(statistic, data, noise, (LargeScales(4.0),))
    change = np.fft.fft2(start - data + noise.mean(), norm="forward")
    numbers = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 2, indexing="ij"))
    low = (numbers <= 4.0) & (numbers > 0.0)
    np.testing.assert_allclose(change[low], 0.0, atol=1e-12)
    assert np.abs(change[numbers > 8.0]).max() > 1e-3
    np.testing.assert_allclose(start.mean(), data.mean() - noise.mean(), atol=1e-10)


@pytest.mark.parametrize("fill", [np.nan, 3.0])
def test_the_mean_of_the_contamination_is_that_of_the_cells_that_count(fill):
    hole = HALVES[1] > 0.0
    noise = 3.0 + 0.1 * np.random.default_rng(1).standard_normal((9, *SHAPE))
    signal = red_noise(SHAPE, seed=3)
    data = np.where(hole, np.nan, signal + noise[0])
    statistic = PowerSpectrum.plane(SHAPE, 6)
    start = started(statistic, data, np.where(hole, fill, noise[1:]), (LargeScales(4.0),))
    np.testing.assert_allclose(np.mean((start - signal)[~hole]), 0.0, atol=0.05)


def test_a_later_start_differs_and_has_the_power_too(uneven):
    signal, data, noise, statistic = uneven
    first, later = (started(statistic, data, noise, restart=one) for one in (0, 1))
    assert np.std(first - later) > 0.1 * np.std(first)
    true = np.var(fine(signal, 8))
    assert np.var(fine(later, 8)) == pytest.approx(np.var(fine(first, 8)), rel=0.1)
    assert np.var(fine(later, 8)) == pytest.approx(true, rel=0.4)


def test_several_channels_on_the_sphere():
    nside, lmax = 16, 32
    z = hp.pix2vec(nside, np.arange(12 * nside**2))[2]
    regions = np.stack([z > 0.0, z <= 0.0]).astype(float)
    statistic = PowerSpectrum.sphere(nside, lmax, 6, channels=2, weights=regions)
    domain = statistic.domain
    rng = np.random.default_rng(4)
    sky = np.stack([red_sky(nside, lmax, seed) for seed in (5, 6)]) * (1.0 + 3.0 * regions[0])
    noise = np.std(sky) * rng.standard_normal((25, *sky.shape))
    start = started(statistic, sky + noise[0], noise[1:])

    def high(maps):
        fields = domain.fields(maps)
        return np.asarray(domain.seen(fields * (ell_of(lmax) >= 8)))

    maps = [high(one) for one in (sky, start, sky + noise[0])]
    for channel in range(2):
        for region in regions > 0.0:
            true, there, noisy = (np.var(one[channel][region]) for one in maps)
            assert abs(there - true) < 0.3 * (noisy - true)


def test_octaves_add_to_one_and_are_where_they_should_be():
    numbers = np.array([0.0, 1.0, 1.5, 2.0, 3.0, 7.0, 8.0])
    parts = list(_octaves(numbers))
    np.testing.assert_allclose(sum(band for _, band in parts), [0.0, *[1.0] * 6])
    np.testing.assert_allclose([length for length, _ in parts], [1 / 8, 1 / 4, 1 / 2, 1.0])
    assert parts[0][1][-1] == parts[2][1][3] == parts[3][1][1] == 1.0
    np.testing.assert_allclose(parts[0][1][:4], 0.0, atol=1e-15)


def test_powers_below_zero_take_from_the_others():
    rng, area = np.random.default_rng(5), np.full(4, 0.25)
    signal = np.array([0.0, 0.0, 0.0, 10.0])
    powers = signal + rng.standard_normal((4000, 4))
    found = np.array([_not_negative(one, np.ones(4), area) for one in powers])
    assert np.all(found >= 0.0)
    # By themselves the three without power would add 0.3 to the mean.
    assert np.mean(np.maximum(powers, 0.0) @ area) - 2.5 > 0.25
    assert abs(np.mean(found @ area) - 2.5) < 0.05
    assert np.all(found[:, 3] > powers[:, 3] - 2.0 - 1e-9)
    np.testing.assert_allclose(
        _not_negative(np.array([2.0, 1.0]), np.ones(2), np.full(2, 0.5)), [2.0, 1.0], atol=1e-8
    )


def test_what_is_clear_stays_when_another_region_has_less_than_nothing():
    powers, deviation = np.array([5.0, -9.0]), np.array([0.1, 10.0])
    found = _not_negative(powers, deviation, np.full(2, 0.5))
    np.testing.assert_allclose(found, [4.8, 0.0], atol=1e-8)
