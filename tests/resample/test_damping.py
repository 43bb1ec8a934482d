import numpy as np
import pytest

from skysift.resample.damping import ROBUSTNESS, TRIALS
from skysift.resample.inverse import fit
from skysift.resample.methods import psf
from skysift.resample.options import LEAST_PART

from ..oracles import damped
from ..oracles.resampling import dense


def swath(count, seed=0):
    """Samples of a swath across the date line."""
    random = np.random.default_rng(seed)
    lat = random.uniform(-20, 20, count)
    return 178.0 + random.uniform(-14, 14, count), lat


def structure(lon, lat, cell, seed=1):
    """Waves of a few thousand kilometres, and finer ones of 5 to 10 cells."""
    random = np.random.default_rng(seed)
    theta, phi = np.radians(90.0 - lat), np.radians(lon)
    points = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    lengths = np.concatenate([random.uniform(0.5, 2.0, 8), random.uniform(5, 10, 12) * cell])
    sizes = np.concatenate([np.full(8, 0.28), np.full(12, 0.12)])
    out = np.zeros(np.shape(lon))
    for length, size in zip(lengths, sizes, strict=True):
        axis = random.normal(size=3)
        phase = random.uniform(0, 2 * np.pi)
        out += size * np.sin(2 * np.pi / length * (axis / np.linalg.norm(axis)) @ points + phase)
    return out


def errors(level, noise, dampings):
    """Root mean square errors of the cells for some dampings."""
    lon, lat = swath(3000)
    sampling = psf(lon, lat, level=level, ellipsoid="sphere")
    cell = np.sqrt(np.pi / 3.0) / 2**level
    truth = structure(*sampling.grid.lonlat(), cell)
    values = structure(lon, lat, cell) + np.random.default_rng(4).normal(0, noise, lon.size)
    fits = [fit(sampling, values, damping=damping, max_iter=2000) for damping in dampings]
    return [np.sqrt(np.mean((cells.values - truth) ** 2)) for cells in fits], fits


@pytest.mark.parametrize(("level", "noise"), [(5, 0.05), (6, 0.05), (6, 0.3), (7, 0.1)])
def test_chooses_nearly_the_best_map(level, noise):
    tried = [None, 0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 30.0]
    (automatic, plain, *others), _ = errors(level, noise, tried)
    assert automatic < 1.1 * min(others)
    if level >= 6:
        assert automatic < 0.4 * plain


def test_damps_little_without_noise():
    (automatic, average), fits = errors(5, 0.0, [None, 30.0])
    assert fits[0].damping < 0.1
    assert automatic < 0.85 * average


def test_scores_agree_with_exact_traces():
    lon, lat = swath(500)
    sampling = psf(lon, lat, level=4)
    random = np.random.default_rng(0)
    values = structure(lon, lat, 0.06) + random.normal(0, 0.2, 500)
    variance = random.uniform(0.5, 2.0, 500)
    weight = 1.0 / variance
    weight[:20] = 0.0
    values[:20] = np.nan
    search = fit(sampling, values, noise_variance=variance).search
    matrix, filled = dense(sampling), np.nan_to_num(values)
    least = damped.least_damping(matrix, weight, LEAST_PART)
    assert np.count_nonzero(least) > 5
    strengths = [np.maximum(damping, least) for damping in search.tried]
    exact = np.array([damped.robust_gcv(matrix, filled, weight, d, ROBUSTNESS) for d in strengths])
    ratio = search.scores[:, 0] / exact
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=0.03)


def test_stops_after_two_rises_and_interpolates():
    _, (cells,) = errors(6, 0.05, [None])
    search = cells.search
    best = np.argmin(search.scores[:, 0])
    assert search.scores.shape == (best + 3, 1)
    np.testing.assert_array_equal(search.tried, TRIALS[: best + 3])
    assert TRIALS[best + 1] < cells.damping < TRIALS[best - 1]


def test_seed_changes_probes_only():
    lon, lat = swath(3000)
    sampling = psf(lon, lat, level=6)
    values = structure(lon, lat, 0.016) + np.random.default_rng(4).normal(0, 0.05, 3000)
    first, same, other = (fit(sampling, values, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, same.values)
    assert first.damping != other.damping
    np.testing.assert_allclose(first.damping, other.damping, rtol=0.2)


def test_unit_of_the_values_does_not_matter():
    lon, lat = swath(3000)
    sampling = psf(lon, lat, level=6)
    values = structure(lon, lat, 0.016) + np.random.default_rng(4).normal(0, 0.05, 3000)
    plain = fit(sampling, values, noise_variance=0.0025)
    scaled = fit(sampling, 1e-6 * values + 3e-4, noise_variance=0.0025e-12)
    np.testing.assert_allclose(scaled.damping, plain.damping, rtol=1e-6)
    np.testing.assert_allclose(1e6 * scaled.values - 300.0, plain.values, atol=1e-8)
