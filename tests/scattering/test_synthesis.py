import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from skysift.scattering import (
    HMC,
    LBFGS,
    Adam,
    Covariance,
    Level,
    MeanField,
    Start,
    coarsened,
    synthesise,
)
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.levels import refined
from skysift.scattering.generative.samplers import Status

from .fields import red_noise, red_sky


@pytest.fixture(scope="module")
def statistic():
    return Covariance.plane((16, 16), 2, 2)


@pytest.fixture(scope="module")
def target(statistic):
    return statistic(red_noise((16, 16)) + 2.0)


def distance(twin):
    """Mean squared difference over sampling variances, every order alike, per field."""
    vary = twin.metric.deviation > 0.0
    offset = np.asarray(twin.statistics.vector - twin.target.vector)
    squares = (offset / np.where(vary, twin.metric.deviation, 1.0)) ** 2
    orders = [
        squares[:, here][:, vary[here]].mean(axis=1)
        for here in twin.target.layout.slices
        if vary[here].any()
    ]
    return np.mean(orders, axis=0)


def test_synthesis_has_the_statistics_of_the_target(statistic, target):
    reports = []
    twin = synthesise(target, statistic, samples=2, seed=3, report=lambda *one: reports.append(one))
    assert twin.maps.shape == (2, 16, 16)
    assert twin.status == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(distance(twin), twin.objective, rtol=1e-6)
    assert np.all(twin.objective <= 0.05)
    assert twin.history[0][0] > 5.0 * twin.objective[0]
    assert len(reports) == sum(len(one) for one in twin.history)
    np.testing.assert_allclose(twin.maps.mean(axis=(1, 2)), target["mean"][0], rtol=1e-9)
    np.testing.assert_allclose(twin.maps.var(axis=(1, 2)), target["variance"][0], rtol=0.2)
    # Samples are no copies: of one another or of the example.
    fields = np.stack([*twin.maps, red_noise((16, 16))]).reshape(3, -1)
    assert np.abs(np.corrcoef(fields)[np.triu_indices(3, 1)]).max() < 0.7


def test_same_seed_same_bits(statistic, target):
    maps = [synthesise(target, statistic, seed=seed).maps for seed in (1, 1, 2)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0.1


def test_gaussian_fields_stay_gaussian():
    shape = (32, 32)
    statistic = Covariance.plane(shape, 3, 2)
    x = red_noise(shape, skewed=False, batch=(60,))
    twin = synthesise(statistic(x).mean(), statistic, samples=6, seed=0)
    assert set(twin.status) == {Status.CONVERGED}
    for moment in (stats.skew, stats.kurtosis):
        ensemble = moment(x.reshape(60, -1), axis=1)
        found = moment(twin.maps.reshape(6, -1), axis=1)
        error = ensemble.std() / np.sqrt(6.0)
        assert abs(found.mean() - ensemble.mean()) < 4.0 * error
        assert np.all(np.abs(found - ensemble.mean()) < 4.0 * ensemble.std())
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    ours, theirs = (np.mean(np.abs(np.fft.fft2(maps)) ** 2, axis=0) for maps in (twin.maps, x))
    for low, high in ((0.06, 0.12), (0.12, 0.24), (0.24, 0.42)):
        band = (k >= low) & (k < high)
        np.testing.assert_allclose(ours[band].sum(), theirs[band].sum(), rtol=0.15)


@pytest.mark.parametrize(
    "sampler",
    [MeanField(), Adam(max_iter=60, learning_rate=0.1), HMC(draws=60)],
    ids=lambda one: type(one).__name__,
)
def test_samplers(statistic, target, sampler):
    twin = synthesise(target, statistic, samples=3, seed=0, sampler=sampler, tolerance=0.5)
    if isinstance(sampler, MeanField):
        assert set(twin.status) == {Status.CONVERGED}
        assert twin.objective[0] <= 0.5 / 3.0
        # Each field keeps a scatter of its own.
        assert np.all(distance(twin) > twin.objective[0])
        return
    np.testing.assert_allclose(distance(twin), twin.objective, rtol=1e-5)
    if isinstance(sampler, HMC):
        assert set(twin.status) == {Status.SAMPLED}
        assert 0.2 < np.mean([one[-15:].mean() for one in twin.history]) < 1.5
    else:
        assert np.all(twin.objective < 0.5 * np.array([one[0] for one in twin.history]))


def test_white_start(statistic, target):
    twin = synthesise(target, statistic, seed=0, start=Start.WHITE, tolerance=0.2)
    assert twin.status == (Status.CONVERGED,)
    colour = synthesise(target, statistic, seed=0, tolerance=0.2)
    assert twin.history[0][0] > colour.history[0][0]


def test_missed_target_is_told(statistic, target):
    with pytest.warns(UserWarning, match="1 of 1 fields did not reach the tolerance 0.0001"):
        twin = synthesise(target, statistic, tolerance=1e-4, sampler=LBFGS(max_iter=3))
    assert twin.status == (Status.ITERATION_LIMIT,)


def test_floor_keeps_blank_parts_blank(statistic):
    x = np.maximum(red_noise((16, 16)), 0.3) - 1.3
    target = statistic(x)
    twin = synthesise(target, statistic, samples=2, seed=0, floor=-1.0, tolerance=0.3)
    assert twin.status == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(distance(twin), twin.objective, rtol=1e-6)
    assert twin.maps.min() >= -1.0
    spread = x.std()
    blank = np.mean(twin.maps < -1.0 + 0.1 * spread, axis=(1, 2))
    np.testing.assert_allclose(blank, np.mean(x < -1.0 + 0.1 * spread), atol=0.15)
    # Without a floor there are values below, and few that are blank.
    free = synthesise(target, statistic, samples=2, seed=0, tolerance=0.3)
    assert np.all(free.maps.min(axis=(1, 2)) < -1.0 - 0.1 * spread)
    assert np.mean(np.abs(free.maps + 1.0) < 0.1 * spread) < 0.5 * blank.mean()


def test_floor_of_each_channel():
    statistic = Covariance.plane((16, 16), 1, 2, channels=2)
    x = red_noise((16, 16), batch=(2,)) * np.array([1.0, 1e3])[:, None, None]
    floor = x.min(axis=(1, 2))
    twin = synthesise(statistic(x), statistic, seed=0, floor=floor, tolerance=0.5)
    assert twin.status == (Status.CONVERGED,)
    assert np.all(twin.maps[0].min(axis=(1, 2)) >= floor)


def test_a_floor_far_below_changes_nothing(statistic, target):
    maps = [
        synthesise(target, statistic, seed=0, floor=floor, tolerance=0.5).maps
        for floor in (None, -1e3)
    ]
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-6)


def test_two_channels_with_a_mask():
    weights = np.ones((16, 16))
    weights[2:5, 3:6] = 0.0
    statistic = Covariance.plane((16, 16), 1, 2, channels=2, weights=weights)
    x = red_noise((16, 16), batch=(2,))
    x[1] = 0.7 * x[0] + 0.3 * x[1]
    target = statistic(x)
    twin = synthesise(target, statistic, seed=0, tolerance=0.1)
    assert twin.status == (Status.CONVERGED,)
    assert twin.maps.shape == (1, 2, 16, 16)
    table = target.layout["S2"]
    cross = table.column("channel") != table.column("channel2")
    wanted, found = np.asarray(target["S2"]), np.asarray(twin.statistics["S2"])[0]
    assert np.all(np.abs(wanted[cross].real) > 0.0)
    scale = np.abs(wanted[cross]).max()
    np.testing.assert_allclose(found[cross], wanted[cross], rtol=0.0, atol=0.2 * scale)


def test_sphere_in_single_precision():
    statistic = Covariance.sphere(8, 2)
    target = statistic(red_sky(8, 16).astype(np.float32))
    twin = synthesise(target, statistic, seed=0, tolerance=0.1)
    assert twin.status == (Status.CONVERGED,)
    assert twin.maps.dtype == np.float32
    assert twin.maps.shape == (1, 768)
    alm = hp.map2alm(twin.maps[0].astype(float), lmax=16)
    np.testing.assert_allclose(statistic(hp.alm2map(alm, 8, lmax=16))["S2"], target["S2"], rtol=0.1)


def test_bad_input_is_refused(statistic, target):
    other = Covariance.plane((16, 16), 1, 2)
    many = statistic(red_noise((16, 16), batch=(2,)))
    for given, changes, message in (
        (other(red_noise((16, 16))), {}, "reference: expected statistics of"),
        (many, {}, r"target: expected the statistics of one field, got those of \(2,\)"),
        (target, {"samples": 0}, "samples: expected 1 or more"),
        (target, {"tolerance": 0.0}, "tolerance: expected more than 0"),
        (target, {"seed": -1}, "seed: expected 0 or more"),
        (target, {"floor": np.nan}, "floor: expected a finite number or one for each of 1"),
        (target, {"floor": [0.0, 1.0]}, "floor: expected a finite number or one for each of 1"),
        (target, {"floor": 1e3}, "floor: expected less than the mean of the target"),
    ):
        with pytest.raises(ValueError, match=message):
            synthesise(given, statistic, **changes)


def test_floor_on_the_sphere_is_refused():
    statistic = Covariance.sphere(8, 2)
    with pytest.raises(ValueError, match="floor: expected None on the sphere"):
        synthesise(statistic(red_sky(8, 16)), statistic, floor=0.0)


def coarse_level(x, statistic, small):
    domain = small.domain
    return Level(small(coarsened(x, statistic.domain, domain)), small)


def test_coarser_fields_first():
    statistic, small = Covariance.plane((32, 32), 3, 2), Covariance.plane((16, 16), 2, 2)
    x = red_noise((32, 32)) + 2.0
    target = statistic(x)
    begun = {}
    for coarser in ((), (coarse_level(x, statistic, small),)):
        twin = synthesise(target, statistic, seed=1, coarser=coarser, tolerance=0.1)
        assert twin.status == (Status.CONVERGED,)
        np.testing.assert_allclose(distance(twin), twin.objective, rtol=1e-6)
        begun[len(coarser)] = twin.history[0][0]
    again = synthesise(target, statistic, seed=1, coarser=coarser, tolerance=0.1)
    np.testing.assert_array_equal(again.maps, twin.maps)
    # The large scales, which are most of the numbers, are there from the start.
    assert begun[1] < 0.7 * begun[0]


def test_large_structures_are_those_of_the_coarser_fields():
    statistic, small = Covariance.plane((32, 32), 3, 2), Covariance.plane((16, 16), 2, 2)
    x = red_noise((32, 32)) + 2.0
    level = coarse_level(x, statistic, small)
    fine, coarse = colour_of(statistic, statistic(x)), colour_of(small, level.target)
    rng = np.random.default_rng(0)
    unknowns, fresh = rng.standard_normal((2, 1, 256)), rng.standard_normal((2, 1, 1024))
    found = refined(jnp.asarray(unknowns), coarse, fine, jnp.asarray(fresh))
    assert found.shape == fresh.shape
    large = np.fft.fft2(np.asarray(coarse.fields(jnp.asarray(unknowns))), norm="forward")
    modes = np.fft.fft2(np.asarray(fine.fields(found)), norm="forward")
    plain = np.fft.fft2(np.asarray(fine.fields(jnp.asarray(fresh))), norm="forward")
    n = np.fft.fftfreq(32, 1 / 32).astype(int)
    inside = (np.abs(n)[:, None] < 8) & (np.abs(n) < 8)
    for y, row in zip(n, inside, strict=True):
        for z, shared in zip(n, row, strict=True):
            if shared:
                there = np.s_[..., y, z]
                np.testing.assert_allclose(modes[there], large[there], atol=1e-12)
    np.testing.assert_allclose(modes[..., ~inside], plain[..., ~inside], atol=1e-12)


def test_coarser_skies_first():
    statistic, small = Covariance.sphere(8, 3), Covariance.sphere(4, 2)
    x = red_sky(8, 16)
    target = statistic(x)
    level = coarse_level(x, statistic, small)
    twin = synthesise(target, statistic, seed=1, coarser=(level,), tolerance=0.3)
    assert twin.status == (Status.CONVERGED,)
    plain = synthesise(target, statistic, seed=1, tolerance=1e9)
    assert twin.history[0][0] < 0.8 * plain.history[0][0]


def test_coarser_grids_that_are_not(statistic, target):
    fine = Level(target, statistic)
    with pytest.raises(ValueError, match="coarser: expected 1 channels on a flat grid"):
        synthesise(target, statistic, coarser=(fine,))
    small = Covariance.plane((8, 8), 1, 2)
    single = small(red_noise((8, 8)).astype(np.float32))
    with pytest.raises(ValueError, match="coarser: expected statistics in float64, got float32"):
        synthesise(target, statistic, coarser=(Level(single, small),))
    with pytest.raises(ValueError, match="target: expected the statistics of one field"):
        Level(small(red_noise((8, 8), batch=(2,))), small)
