import warnings

import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from skysift.grid import UNSEEN, Grid, Ordering
from skysift.resample import inverse
from skysift.resample.inverse import NotConverged, Status, fit
from skysift.resample.methods import bicubic, bilinear, nearest, psf
from skysift.resample.priors import graph_laplacian
from skysift.resample.uncertainty import free_samples

from ..oracles import damped
from ..oracles.resampling import dense


def places(count=600, seed=0, size=30.0):
    random = np.random.default_rng(seed)
    return random.uniform(-size, size, count), random.uniform(-size, size, count)


def field(lon, lat):
    return 280.0 + np.sin(np.radians(4 * lon)) * np.cos(np.radians(5 * lat))


@pytest.fixture(scope="module")
def sampling():
    return psf(*places(), level=4)


@pytest.fixture(scope="module")
def matrix(sampling):
    return dense(sampling)


@pytest.fixture(scope="module")
def values():
    return field(*places()) + np.random.default_rng(1).normal(0, 0.1, 600)


def variances(seed=2):
    return np.random.default_rng(seed).uniform(0.5, 4.0, 600)


@pytest.mark.parametrize("damping", [1e-3, 0.1, 3.0])
@pytest.mark.parametrize("method", [psf, bilinear, bicubic, nearest])
def test_agrees_with_dense_solution(method, damping, values):
    sampling = method(*places(), level=4)
    variance = variances()
    cells = fit(
        sampling, values, damping=damping, noise_variance=variance, tol=1e-10, max_iter=2000
    )
    matrix = dense(sampling)
    expected = damped.solve(matrix, values, 1.0 / variance, damping)
    assert cells.status is Status.CONVERGED
    # In the metric of the fit: what a cell of weight 1e-7 has, rounding decides.
    weight = np.sqrt(np.abs(matrix).T @ (1.0 / variance))
    np.testing.assert_allclose(weight * (cells.values - expected), 0.0, atol=2e-7)
    held = weight > 0.1
    assert held.mean() > 0.5
    np.testing.assert_allclose(cells.values[held], expected[held], atol=2e-7)


@pytest.mark.parametrize("method", [psf, bilinear, bicubic])
def test_cells_with_small_parts_are_damped_more(method, values):
    sampling = method(*places(), level=4)
    matrix, weight = dense(sampling), 1.0 / variances()
    least = damped.least_damping(matrix, weight, 0.2)
    assert 0.02 < np.mean(least > 0.0) < 0.6
    options = {"noise_variance": variances(), "tol": 1e-10, "max_iter": 2000}
    for damping in (0.0, 0.05):
        cells = fit(sampling, values, damping=damping, least_part=0.2, **options)
        strength = np.maximum(damping, least)
        expected = damped.solve(matrix, values, weight, strength)
        metric = np.sqrt(np.abs(matrix).T @ weight)
        np.testing.assert_allclose(metric * (cells.values - expected), 0.0, atol=2e-7)
    normal, _ = damped.system(matrix, weight, strength, 0.0)
    exact = (1.0 + strength) * np.diag(np.linalg.inv(normal))
    np.testing.assert_allclose(cells.variance(probes=128).values, exact, rtol=0.1)
    constant = fit(sampling, np.full(600, 300.0), least_part=0.5)
    np.testing.assert_allclose(constant.values, 300.0, rtol=1e-14)


def test_cells_beyond_the_edge_stay_near_the_samples():
    random = np.random.default_rng(5)
    lon, lat = random.uniform(-8, 8, 30_000), random.uniform(-8, 8, 30_000)
    coast = np.where(np.sin(np.radians(70 * lon)) * np.cos(np.radians(90 * lat)) > 0, 280.0, 200.0)
    sampling = psf(lon, lat, level=5)
    part = damped.least_damping(dense(sampling), np.ones(lon.size), 0.1)
    assert 5 < np.count_nonzero(part) < 0.5 * sampling.n_cells
    free = fit(sampling, coast, damping=1e-3)
    kept = fit(sampling, coast, damping=1e-3, least_part=0.1)
    beyond = [np.max(np.abs(one.values - 240.0)) - 40.0 for one in (free, kept)]
    assert beyond[1] < 0.2 * beyond[0]
    off = [np.std(sampling.resample(one.values) - coast) for one in (free, kept)]
    assert off[1] < 1.05 * off[0]
    assert fit(sampling, coast).options.required_part == 0.1


def test_smoothness_agrees_with_dense_solution(sampling, matrix, values):
    laplacian = graph_laplacian(sampling.grid).toarray()
    weight = np.ones(values.size)
    prior = 0.7 * laplacian
    cells = fit(sampling, values, damping=0.01, smoothness=0.7, tol=1e-10, max_iter=1000)
    expected = damped.solve(matrix, values, weight, 0.01, prior)
    np.testing.assert_allclose(cells.values, expected, atol=1e-7)


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_weights_of_healpix_resample_give_its_solution(sampling, matrix, values, damping):
    # Its M and MT have columns that sum to 1, from weights g that are not normalised by row.
    support = np.empty(600)
    support[sampling.order] = sampling.support
    raw = matrix * support[:, None]
    forth, back = raw / raw.sum(axis=0), (raw / support[:, None]).T
    reference = values @ forth
    operator = (back @ forth).T + damping * np.eye(sampling.n_cells)
    change = np.linalg.solve(operator, (values - reference @ back) @ forth)
    cells = fit(
        sampling, values, damping=damping, noise_variance=1.0 / support, tol=1e-10, max_iter=2000
    )
    np.testing.assert_allclose(cells.values, reference + change, atol=1e-7)


def test_misfit_is_that_of_the_cells(sampling, values):
    variance = variances()
    for options in ({"damping": 0.1}, {"damping": 0.1, "smoothness": 0.5}):
        cells = fit(sampling, values, noise_variance=variance, **options)
        direct = np.sum((sampling.resample(cells.values) - values) ** 2 / variance)
        np.testing.assert_allclose(cells.misfit, direct, rtol=1e-9)


@pytest.mark.parametrize("nest", [True, False])
def test_recovers_cells_from_samples_without_noise(nest):
    sampling = psf(*places(4000), level=4, nest=nest)
    truth = field(*sampling.grid.lonlat())
    samples = sampling.resample(truth)
    cells = fit(sampling, samples, damping=0.0, tol=1e-12, max_iter=2000)
    np.testing.assert_allclose(cells.values, truth, atol=1e-5)
    automatic = fit(sampling, samples, least_part=0.0, max_iter=2000)
    assert automatic.damping < 0.01
    off = [np.std(cells - truth) for cells in (automatic.values, sampling.average(samples))]
    assert off[0] < 0.2 * off[1]


@pytest.mark.parametrize("damping", [None, 0.0, 1e-3, 10.0])
@pytest.mark.parametrize("method", [psf, bilinear, bicubic, nearest])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_are_exact(method, damping, dtype):
    sampling = method(*places(), level=4).astype(dtype)
    constant = np.full(600, 300.0)
    constant[[5, 17]] = np.nan
    cells = fit(sampling, constant, damping=damping)
    assert cells.values.dtype == dtype
    assert cells.iterations == 0
    np.testing.assert_allclose(cells.values[np.isfinite(cells.values)], 300.0, rtol=1e-14)


def test_missing_values_are_left_out_and_counted(sampling, values):
    broken = values.copy()
    broken[[3, 50, 51]] = np.nan, np.inf, UNSEEN
    kept = np.isfinite(broken) & (broken > UNSEEN)
    cells = fit(sampling, broken, damping=0.05, tol=1e-10)
    expected = fit(
        sampling, values, damping=0.05, tol=1e-10, noise_variance=np.where(kept, 1.0, np.inf)
    )
    assert (cells.used, cells.excluded) == (597, 3)
    assert (expected.used, expected.excluded) == (597, 0)
    np.testing.assert_allclose(cells.values, expected.values, atol=1e-9)
    masked = fit(sampling, np.ma.array(values, mask=~kept), damping=0.05, tol=1e-10)
    np.testing.assert_allclose(masked.values, cells.values, atol=1e-12)
    unknown = np.ma.array(np.ones(600), mask=~kept)
    weighed = fit(sampling, values, damping=0.05, tol=1e-10, noise_variance=unknown)
    np.testing.assert_allclose(weighed.values, cells.values, atol=1e-9)
    assert weighed.used == 597


def test_missing_values_are_as_if_never_taken():
    lon, lat = places(2000)
    values = field(lon, lat)
    cells = psf(lon, lat, level=4).cell_ids
    kept = np.random.default_rng(0).uniform(size=2000) > 0.05
    whole = psf(lon, lat, level=4, cells=cells, threshold=0.0)
    part = psf(lon[kept], lat[kept], level=4, cells=cells, threshold=0.0)
    first = fit(whole, np.where(kept, values, np.nan), damping=0.01, tol=1e-10)
    second = fit(part, values[kept], damping=0.01, tol=1e-10)
    np.testing.assert_array_equal(whole.cell_ids, part.cell_ids)
    np.testing.assert_allclose(first.values, second.values, atol=1e-8)


def test_rows_do_not_see_each_other(sampling, values):
    holes = np.where(np.arange(600) % 7 == 0, np.nan, values)
    rows = np.stack([values, 1e6 * (values - 280.0), holes, np.full(600, np.nan), values**2])
    together = fit(sampling, rows)
    for row, alone in enumerate(rows):
        single = fit(sampling, alone)
        scale = np.nanmax(np.abs(alone)) if row != 3 else 1.0
        np.testing.assert_allclose(together.values[row] / scale, single.values / scale, atol=1e-12)
        np.testing.assert_allclose(together.damping[row], single.damping, rtol=1e-6)
        steps = np.count_nonzero(np.diff(together.history[:, row]))
        assert steps == single.iterations
    assert together.statuses[3] is Status.NO_SAMPLES
    assert np.all(np.isnan(together.values[3]))
    assert together.excluded.tolist() == [0, 0, 86, 600, 0]


def test_leading_axes_are_kept(sampling, values):
    cube = np.stack([values, 2 * values, values + 1, values]).reshape(2, 2, 600)
    cells = fit(sampling, cube, damping=0.1)
    assert cells.values.shape == (2, 2, sampling.n_cells)
    assert cells.damping.shape == cells.used.shape == (2, 2)
    single = fit(sampling, cube[1, 0], damping=0.1)
    np.testing.assert_allclose(cells.values[1, 0], single.values, atol=1e-12)


def test_gives_the_kind_of_array_that_came_in(sampling, values):
    rows = np.stack([values, values**2])
    plain = fit(sampling, rows, damping=0.1).values
    jaxed = fit(sampling, jnp.asarray(rows), damping=0.1)
    assert isinstance(jaxed.values, jax.Array)
    np.testing.assert_array_equal(np.asarray(jaxed.values), plain)
    assert jaxed.variance(probes=2).values.shape == plain.shape
    named = xr.DataArray(rows.T, dims=("obs", "time"), coords={"time": [3, 4]})
    array = fit(sampling, named.rename(obs="samples"), damping=0.1).values
    assert isinstance(array, xr.DataArray)
    np.testing.assert_array_equal(array.transpose("time", "cells"), plain)
    np.testing.assert_array_equal(array.time, [3, 4])
    lazy = fit(sampling, da.from_array(rows, chunks=(1, 300)), damping=0.1).values
    np.testing.assert_array_equal(lazy, plain)


def test_integers_are_values(sampling):
    whole = np.arange(600) % 50
    cells = fit(sampling, whole, damping=0.1)
    np.testing.assert_array_equal(cells.values, fit(sampling, whole * 1.0, damping=0.1).values)


def test_history_falls_to_the_tolerance(sampling, values):
    cells = fit(sampling, values, damping=0.01, tol=1e-5)
    assert cells.history[0, 0] == pytest.approx(1.0)
    assert cells.history[-1, 0] <= 1e-5 < cells.history[-2, 0]
    seen = []
    fit(sampling, values, damping=0.01, tol=1e-5, progress=lambda *step: seen.append(step[0]))
    assert seen == list(range(1, cells.iterations + 1))


def test_starts_from_a_guess(sampling, values):
    cells = fit(sampling, values, damping=0.01, tol=1e-8)
    again = fit(sampling, values, damping=0.01, tol=1e-6, initial=cells.values)
    assert again.iterations == 0
    rough = np.where(np.arange(sampling.n_cells) % 2, cells.values, np.nan)
    third = fit(sampling, values, damping=0.01, tol=1e-8, initial=rough)
    np.testing.assert_allclose(third.values, cells.values, atol=1e-6)
    unseen = np.where(np.isnan(rough), UNSEEN, rough)
    fourth = fit(sampling, values, damping=0.01, tol=1e-8, initial=unseen)
    np.testing.assert_array_equal(fourth.values, third.values)


def test_bounds_agree_with_scipy(sampling, matrix, values):
    bounds = (279.7, 280.5)
    rows = np.stack([values, 2.0 * values - 280.0, np.full(600, 280.1)])
    cells = fit(sampling, rows, damping=0.05, bounds=bounds, tol=1e-10, max_iter=2000)
    for row, found in zip(rows, cells.values, strict=True):
        expected = damped.solve_within(matrix, row, 0.05, *bounds)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert cells.status is Status.CONVERGED
    at_bound = np.isin(cells.values[1], bounds)
    assert 0.2 < at_bound.mean() < 0.9
    misfit = np.sum((sampling.resample(cells.values) - rows) ** 2, axis=1)
    np.testing.assert_allclose(cells.misfit, misfit, rtol=1e-9, atol=1e-9)


def test_bounds_cost_about_as_much_as_none():
    random = np.random.default_rng(5)
    lon, lat = random.uniform(-20, 20, 20_000), random.uniform(-20, 20, 20_000)
    sampling = psf(lon, lat, level=5)
    coast = np.where(np.sin(np.radians(50 * lon)) * np.cos(np.radians(60 * lat)) > 0, 280.0, 200.0)
    free = fit(sampling, coast, damping=1e-4)
    bounds = 210.0, 270.0
    cells = fit(sampling, coast, damping=1e-4, bounds=bounds)
    assert np.mean(np.isin(cells.values, bounds)) > 0.3
    assert cells.iterations < 1.3 * free.iterations
    assert cells.status is Status.CONVERGED


def test_bounds_that_do_not_matter_change_nothing(sampling, values):
    free = fit(sampling, values, damping=0.1, tol=1e-10)
    wide = fit(sampling, values, damping=0.1, tol=1e-10, bounds=(0.0, np.inf))
    np.testing.assert_allclose(wide.values, free.values, atol=1e-9)


def test_says_that_it_did_not_converge(sampling, values):
    with pytest.warns(NotConverged, match="1 of 2 rows did not converge in 3 iterations"):
        cells = fit(sampling, np.stack([values * 0.0, values]), damping=0.0, max_iter=3)
    assert cells.statuses == (Status.CONVERGED, Status.ITERATION_LIMIT)
    assert cells.status is Status.ITERATION_LIMIT


def test_smoothness_fills_cells_without_samples():
    grid = Grid(16, Ordering.NESTED, np.arange(256))
    lon, lat = grid.lonlat()
    gap = np.hypot(lon - 45.0, lat - 20.0) < 8.0
    sampling = nearest(lon[~gap], lat[~gap], level=4, cells=grid.index, ellipsoid="sphere")
    values = 1.0 + 0.02 * lat[~gap]
    plain = fit(sampling, values, damping=0.1)
    np.testing.assert_array_equal(np.isnan(plain.values), gap)
    filled = fit(sampling, values, damping=0.1, smoothness=0.01, max_iter=1000)
    np.testing.assert_allclose(filled.values[gap], (1.0 + 0.02 * lat)[gap], atol=0.02)


def test_each_row_has_its_noise(sampling, values):
    variance = np.stack([np.full(600, 1e-4), variances(), 1e4 * variances(3)])
    rows = np.stack([values, values**2, values])
    together = fit(sampling, rows, noise_variance=variance, smoothness=0.2)
    found = together.variance(probes=8).values
    for row in range(3):
        alone = fit(sampling, rows[row], noise_variance=variance[row], smoothness=0.2)
        np.testing.assert_allclose(together.values[row], alone.values, rtol=1e-10)
        np.testing.assert_allclose(together.misfit[row], alone.misfit, rtol=1e-6)
        np.testing.assert_allclose(found[row], alone.variance(probes=8).values, rtol=1e-3)


def test_islands_without_samples_stay_empty():
    sampling = nearest([45.0], [5.0], level=2, cells=np.array([0, 1, 150]))
    cells = fit(sampling, [7.0], smoothness=0.1)
    np.testing.assert_allclose(cells.values, [7.0, 7.0, np.nan])


def test_one_sample_and_duplicates():
    for count in (1, 40):
        sampling = psf(np.full(count, 12.0), np.full(count, 34.0), level=6)
        cells = fit(sampling, np.arange(count) + 5.0)
        np.testing.assert_allclose(cells.values, np.mean(np.arange(count) + 5.0))
        assert cells.status is Status.CONVERGED
    assert np.all(np.isnan(fit(psf([0.0], [0.0], level=6), [5.0]).variance().values))


@pytest.mark.parametrize("damping", [0.1, 2.0])
def test_variance_agrees_with_dense_inverse(sampling, matrix, values, damping):
    variance = variances()
    cells = fit(sampling, values, damping=damping, noise_variance=variance)
    exact = np.diag(damped.covariance(matrix, 1.0 / variance, damping))
    found = cells.variance()
    np.testing.assert_allclose(found.values, exact, rtol=0.1)
    wide = cells.variance(probes=8)
    off = np.abs(wide.values - exact)
    assert 0.3 < np.sqrt(np.mean(off**2) / np.mean(wide.error**2)) < 3.0
    repeated = cells.variance(probes=8)
    np.testing.assert_array_equal(repeated.values, wide.values)
    assert not np.array_equal(cells.variance(probes=8, seed=5).values, wide.values)


def test_variance_finds_the_noise(sampling, matrix):
    rows = 280.0 + np.random.default_rng(0).normal(0, 0.3, (3, 600))
    cells = fit(sampling, rows, damping=1.0)
    exact = 0.09 * np.diag(damped.covariance(matrix, np.ones(600), 1.0))
    assert cells.variance().values.shape == (3, sampling.n_cells)
    np.testing.assert_allclose(cells.variance().values.mean(0), exact, rtol=0.2)


def test_variance_with_smoothness(sampling, matrix, values):
    cells = fit(sampling, values, damping=0.1, smoothness=0.5, noise_variance=0.01)
    prior = 0.5 * graph_laplacian(sampling.grid).toarray()
    normal, _ = damped.system(matrix, np.ones(600), 0.1, prior)
    exact = 1.1 * 0.01 * np.diag(np.linalg.inv(normal))
    np.testing.assert_allclose(cells.variance(probes=128).values, exact, rtol=0.1)


def test_variance_predicts_the_scatter_of_plain_least_squares():
    sampling = psf(*places(3000, size=15.0), level=4)
    random = np.random.default_rng(3)
    rows = random.normal(0, 0.2, (150, 3000))
    cells = fit(sampling, rows, damping=0.0, noise_variance=0.04, max_iter=2000, tol=1e-4)
    expected = cells.variance(probes=128).values[0]
    np.testing.assert_allclose(np.mean(cells.values.var(axis=0) / expected), 1.0, atol=0.05)


def test_rows_with_the_same_weights_share_probes(sampling, values, monkeypatch):
    solved = []
    monkeypatch.setattr(
        inverse, "free_samples", lambda *given: solved.append(1) or free_samples(*given)
    )
    holes = np.where(np.arange(600) % 7 == 0, np.nan, values)
    rows = np.stack([values, 2.0 * values, holes, values, holes])
    cells = fit(sampling, rows, damping=[0.1, 0.1, 0.1, 0.2, 0.1])
    found = cells.variance(probes=2).values
    assert len(solved) == 3
    np.testing.assert_allclose(found[1], 4.0 * found[0], rtol=1e-9)
    np.testing.assert_array_equal(found[2], found[4])


def test_effective_samples():
    lon, lat = places()
    counted = nearest(lon, lat, level=4)
    cells = fit(counted, np.ones((2, 600)))
    np.testing.assert_allclose(cells.effective_samples[1], counted.samples_per_cell)
    spread = fit(psf(lon, lat, level=4), np.ones(600))
    assert np.all(spread.effective_samples <= spread.sampling.samples_per_cell + 1e-9)
    precise = np.where(np.arange(600) == 0, 1e-9, 1.0)
    one = fit(counted, np.ones(600), noise_variance=precise).effective_samples
    assert one[counted.index[list(counted.order).index(0), 0]] == pytest.approx(1.0, abs=1e-6)


def test_single_precision_follows_double(sampling, values):
    single = fit(sampling.astype(np.float32), values, damping=0.1)
    double = fit(sampling, values, damping=0.1)
    np.testing.assert_allclose(single.values, double.values, rtol=3e-7, atol=3e-5)


def test_samples_without_cells_do_not_count(values):
    lon, lat = places()
    cells = psf(lon, lat, level=4).cell_ids
    part = psf(lon, lat, level=4, cells=cells[::3])
    fitted = fit(part, values, damping=0.1)
    assert fitted.used == np.count_nonzero(part.covered) < 600
    wrong = np.where(part.covered, values, 1e9)
    np.testing.assert_array_equal(fit(part, wrong, damping=0.1).values, fitted.values)


def test_bad_values_are_refused(sampling, values):
    with pytest.raises(ValueError, match="samples: expected real numbers of shape"):
        fit(sampling, values[:-1])
    with pytest.raises(ValueError, match="got complex128"):
        fit(sampling, values + 1j)
    with pytest.raises(ValueError, match="samples: expected at least one value"):
        fit(sampling, np.zeros((0, 600)))
    with pytest.raises(ValueError, match="damping: expected one value, or one for each of 1 rows"):
        fit(sampling, values, damping=[0.1, 0.2])
    for bad in (-1.0, 0.0, np.nan):
        with pytest.raises(ValueError, match=r"noise_variance: expected positive values.*index 2"):
            fit(sampling, values, noise_variance=np.where(np.arange(600) == 2, bad, 1.0))
    with pytest.raises(ValueError, match="noise_variance: expected one row or 1"):
        fit(sampling, values, noise_variance=np.ones((3, 600)))
    with pytest.raises(ValueError, match="only infinite"):
        fit(sampling, values, noise_variance=np.inf)
    with pytest.raises(ValueError, match="initial: expected real numbers"):
        fit(sampling, values, initial=np.ones(3))
    with pytest.raises(ValueError, match="initial: expected one row or 1"):
        fit(sampling, values, initial=np.ones((2, sampling.n_cells)))
    cells = fit(sampling, values, damping=1.0)
    for bad in (1, 2.5, True):
        with pytest.raises(
            ValueError, match=f"probes: expected a whole number from 2 on, got {bad}"
        ):
            cells.variance(probes=bad)
    with pytest.raises(ValueError, match="seed: expected a whole number from 0 on, got -1"):
        cells.variance(seed=-1)


def test_no_warning_when_all_is_well(sampling, values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(sampling, values)
