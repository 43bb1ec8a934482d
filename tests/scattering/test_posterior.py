"""Posteriors of the statistics of signals: of maps with noise, by their spectra."""

import dataclasses
import warnings

import healpy as hp
import numpy as np
import pytest

from skysift import scattering
from skysift.scattering import (
    Covariance,
    Making,
    Plan,
    PowerSpectrum,
    Reduced,
    Search,
    Training,
    WhiteNoise,
)
from skysift.scattering.bayes.coordinates import coordinates_of
from skysift.scattering.layout import Order

from .fields import red_noise

SHAPE = (16, 16)
STATISTIC = PowerSpectrum.plane(SHAPE, bins=4)
SIGNAL = red_noise(SHAPE, seed=4, slope=1.0, skewed=False)
NOISE = 0.4
DATA = SIGNAL + NOISE * np.random.default_rng(7).standard_normal(SHAPE)
TRAINING = Training(width=32, epochs=20, learning_rate=3e-3, members=1)
SEARCH = Search(
    plan=Plan(fields=64, pairs=4096, training=TRAINING),
    making=Making(max_iter=20),
)
ROUGH = dataclasses.replace(SEARCH, plan=dataclasses.replace(SEARCH.plan, fields=16))


def inferred(**options):
    """The test's posterior, or one that differs from it in some options."""
    data, noise = options.pop("data", DATA), options.pop("contamination", WhiteNoise(NOISE))
    statistic = options.pop("statistic", STATISTIC)
    options = {"rounds": 2, "seed": 1, "search": SEARCH, **options}
    return scattering.posterior(data, noise, statistic, **options)


@pytest.fixture(scope="module")
def found():
    return inferred()


def test_the_truth_is_within(found):
    low, high = (one["bandpower"] for one in found.interval(0.999))
    truth = np.asarray(STATISTIC(SIGNAL)["bandpower"])
    assert np.all((low < truth) & (truth < high))
    mean = np.asarray(found.mean["bandpower"])
    data = np.asarray(STATISTIC(DATA)["bandpower"])
    scale = found.whitening.deviation[found.forward.coordinates.power][-4:]
    off = [np.sum((np.log(one / truth) / scale) ** 2) for one in (mean, data)]
    assert off[0] < 0.5 * off[1]
    assert found.misfit < 2.0


def test_data_tell_more_than_the_prior(found):
    draws, prior = (
        np.log(np.asarray(one["bandpower"])) for one in (found.sample(500), found.prior(500))
    )
    assert np.all(draws.std(axis=0) < 0.8 * prior.std(axis=0))
    # Where noise drowns the signal its power is known less.
    loud = 3.0 * np.random.default_rng(7).standard_normal(SHAPE)
    drowned = inferred(data=SIGNAL + loud, contamination=WhiteNoise(3.0), rounds=1)
    wide = np.log(np.asarray(drowned.sample(500)["bandpower"])).std(axis=0)
    assert wide[-1] > 2.0 * draws.std(axis=0)[-1]


def test_mocks_are_covered(found):
    coverage = found.coverage(60, seed=3)
    mean, error = coverage.mean(0.68)
    assert abs(mean - 0.68) < 0.08 + 2.0 * error
    assert coverage.covered().shape == (found.forward.coordinates.size,)
    again = found.coverage(signals=np.stack([SIGNAL] * 12))
    assert again.ranks.shape[0] == 12


def test_mocks_are_seen_with_the_contamination_given(found):
    """Of the strength that was learnt they are covered, of three times that they are not."""
    fresh, strong = (
        found.coverage(40, seed=3, contamination=WhiteNoise(rms)).mean(0.68)
        for rms in (NOISE, 3.0 * NOISE)
    )
    assert abs(fresh[0] - 0.68) < 0.08 + 2.0 * fresh[1]
    assert strong[0] < 0.4


def test_maps_have_statistics_of_draws(found):
    maps = found.maps(6, seed=2)
    there = np.log(np.asarray(STATISTIC(maps)["bandpower"]))
    draws = np.log(np.asarray(found.sample(6, seed=2)["bandpower"]))
    assert np.mean((there - draws) ** 2) < 0.3 * np.mean((there - np.roll(draws, 1, axis=0)) ** 2)
    placed = found.maps(2, seed=2, signal=SIGNAL)
    assert all(np.corrcoef(one.ravel(), SIGNAL.ravel())[0, 1] > 0.8 for one in placed)
    assert all(abs(np.corrcoef(one.ravel(), SIGNAL.ravel())[0, 1]) < 0.5 for one in maps)
    there = np.log(np.asarray(STATISTIC(placed)["bandpower"]))
    np.testing.assert_allclose(there, draws[:2], atol=0.3)


def test_same_seed_same_draws():
    found, again, other = (inferred(seed=seed, search=ROUGH) for seed in (1, 1, 2))
    np.testing.assert_array_equal(again.sample(4).vector, found.sample(4).vector)
    np.testing.assert_array_equal(found.sample(4).vector, found.sample(4).vector)
    assert np.max(np.abs(other.sample(4).vector - found.sample(4).vector)) > 1e-6
    assert np.max(np.abs(found.sample(4, 1).vector - found.sample(4).vector)) > 1e-6


def test_the_same_density_serves_other_data(found):
    brighter = found.given(1.3 * DATA)
    ratio = np.asarray(brighter.mean["bandpower"] / found.mean["bandpower"])
    assert 1.4 < ratio[1] < 2.2
    np.testing.assert_array_equal(found.given(DATA).mean.vector, found.mean.vector)


def test_a_mask_and_a_given_centre():
    data = np.where(np.arange(16) < 3, np.nan, DATA)
    reports = []
    found = inferred(
        data=data,
        rounds=1,
        around=STATISTIC(SIGNAL),
        search=ROUGH,
        report=lambda *told: reports.append(told),
    )
    assert np.isfinite(found.mean.vector).all()
    assert [one[0] for one in reports] == [1]
    assert 0.0 < reports[0][1] < 1.0
    for same in (data, np.where(np.isnan(data), hp.UNSEEN, data), np.nan_to_num(data)):
        np.testing.assert_allclose(found.given(same).mean.vector, found.mean.vector, rtol=1e-9)
    lacking = np.where(np.arange(16) < 5, hp.UNSEEN, DATA)
    with pytest.raises(ValueError, match="data: .* with 32 unknown cells where the first data are"):
        found.given(lacking)
    with pytest.raises(ValueError, match="signals: expected one finite map .* 32 unknown cells"):
        found.coverage(signals=np.stack([lacking] * 10))
    assert np.isfinite(found.maps(1, signal=data)).all()


def test_reduced_covariances_have_coordinates():
    statistic = Reduced(Covariance.plane(SHAPE, 2, 2))
    phi = statistic(red_noise(SHAPE, batch=(20,)))
    to = coordinates_of(phi, np.ones(1), phi.mean())
    back = to.statistics(to.of(phi))
    varies = to.varies
    np.testing.assert_allclose(
        np.asarray(back.vector)[:, varies], np.asarray(phi.vector)[:, varies], rtol=1e-9
    )
    logs = {order for order, log in zip(to.order(), to.logarithmic, strict=True) if log}
    assert logs == {Order.VARIANCE, Order.REST, Order.S1, Order.S2}


def test_data_with_less_than_the_contamination_are_told():
    with pytest.warns(UserWarning, match="posterior: the data are off what its draws predict"):
        inferred(data=0.02 * DATA, around=STATISTIC(SIGNAL), rounds=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds: expected 1 or more, got 0"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"contamination": np.ones((3, *SHAPE))}, "contamination: expected 8 draws or more"),
        ({"data": np.zeros((8, 8))}, "maps: expected shape"),
        ({"data": np.full(SHAPE, np.nan)}, "data: expected cells with finite values"),
        ({"around": Covariance.plane(SHAPE, 2, 2)(DATA)}, "around: expected the statistics of"),
        ({"around": STATISTIC(np.stack([DATA, DATA]))}, "around: expected the statistics of"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        inferred(**options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.sample(0), "count: expected 1 or more, got 0"),
        (lambda one: one.sample(1, -1), "seed: expected 0 or more, got -1"),
        (lambda one: one.interval(1.0), "level: expected between 0 and 1, got 1.0"),
        (lambda one: one.maps(1, signal=np.ones((2, *SHAPE))), "signal: expected one finite map"),
        (lambda one: one.coverage(9), "mocks: expected 10 signals or more, got 9"),
        (lambda one: one.coverage(10, -1), "seed: expected 0 or more, got -1"),
        (lambda one: one.coverage(signals=np.ones((3, *SHAPE))), "mocks: expected 10 signals"),
        (
            lambda one: one.coverage(10, contamination=np.ones((9, 8, 8))),
            "contamination: expected maps",
        ),
        (lambda one: one.given(np.full(SHAPE, np.nan)), "data: expected one finite map"),
        (lambda one: Search(breadth=0.0), "breadth: expected more than 0, got 0.0"),
        (lambda one: Making(max_iter=0), "max_iter: expected 1 or more, got 0"),
        (lambda one: Making(tolerance=0.0), "tolerance: expected more than 0, got 0.0"),
    ],
)
def test_numbers_are_checked(found, call, message):
    with pytest.raises(ValueError, match=message):
        call(found)
