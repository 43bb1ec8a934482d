"""The sampling relation: adjoint, averages, kinds of arrays, files, bad input."""

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from skysift.grid import UNSEEN, Grid, Ordering
from skysift.resample import (
    Ellipsoid,
    Method,
    Sampling,
    bicubic,
    bilinear,
    cells_of,
    centres,
    conservative,
    inverse_distance,
    load,
    nearest,
    psf,
)
from skysift.resample import (
    sampling as module,
)
from skysift.resample.cells import positions

from ..oracles.resampling import dense

METHODS = [nearest, bilinear, bicubic, inverse_distance, psf]


def coordinates(count=400, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-60.0, 60.0, count), rng.uniform(-60.0, 90.0, count)


@pytest.fixture(scope="module")
def sampling():
    """Point spread function that leaves some samples out, in an order that is not its own."""
    lon, lat = coordinates()
    wanted = np.unique(cells_of(lon[:300], lat[:300], 3))
    return psf(lon, lat, 3, cells=wanted)


@pytest.fixture(scope="module")
def values(sampling):
    return np.random.default_rng(1).normal(size=(3, sampling.n_samples))


@pytest.fixture(scope="module")
def cells(sampling):
    return np.random.default_rng(2).normal(size=(3, sampling.n_cells))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("library", [np, jnp])
def test_adjoint_is_the_exact_transpose(method, library):
    relation = method(*coordinates(), 3)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, relation.n_cells)), rng.normal(size=(2, relation.n_samples))
    matrix = dense(relation)
    forward, adjoint = relation.forward(library.asarray(x)), relation.adjoint(library.asarray(y))
    np.testing.assert_allclose(forward, x @ matrix.T, atol=1e-14)
    np.testing.assert_allclose(adjoint, y @ matrix, atol=1e-13)
    left, right = np.sum(np.asarray(forward) * y), np.sum(x * np.asarray(adjoint))
    assert left == pytest.approx(right, rel=1e-12)


def test_what_is_not_covered_is_zero_in_the_operator_and_nan_for_users(sampling, cells):
    outside = ~sampling.covered
    assert 0 < outside.sum() < sampling.n_samples
    for kind in (np.asarray, jnp.asarray):
        assert np.all(np.asarray(sampling.forward(kind(cells)))[:, outside] == 0.0)
        resampled = np.asarray(sampling.resample(kind(cells)))
        assert np.isnan(resampled[:, outside]).all()
        assert np.isfinite(resampled[:, ~outside]).all()
    np.testing.assert_array_equal(sampling(cells), sampling.resample(cells))


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_samples_that_are_not_covered_reach_no_cell(sampling, values, kind):
    spoiled = np.where(sampling.covered, values, np.nan)
    found = np.asarray(sampling.adjoint(kind(spoiled)))
    np.testing.assert_allclose(found, sampling.adjoint(values), rtol=1e-12, atol=1e-14)


def test_average_is_the_weighted_mean_of_each_cell(sampling, values):
    matrix = dense(sampling)
    variance = np.random.default_rng(4).uniform(0.5, 2.0, sampling.n_samples)
    for given, weight in ((None, np.ones_like(variance)), (variance, 1.0 / variance)):
        with np.errstate(invalid="ignore"):
            expected = (values * weight) @ matrix / (weight @ matrix)
        np.testing.assert_allclose(sampling.average(values, given), expected, rtol=1e-12)
        np.testing.assert_allclose(
            sampling.average(jnp.asarray(values), given), expected, rtol=1e-12
        )


def batch_variance(sampling):
    return np.random.default_rng(8).uniform(0.5, 2.0, (3, sampling.n_samples))


def test_every_value_may_have_a_variance_of_its_own(sampling, values):
    variance = batch_variance(sampling)
    rows = zip(values, variance, strict=True)
    expected = np.stack([sampling.average(row, own) for row, own in rows])
    for kind in (np.asarray, jnp.asarray):
        np.testing.assert_allclose(sampling.average(kind(values), kind(variance)), expected, 1e-12)
    stacked = np.stack([values, 2.0 * values])
    np.testing.assert_allclose(sampling.average(stacked, variance)[1], 2.0 * expected, rtol=1e-12)
    named = xr.DataArray(values.T, dims=("obs", "time")).transpose("time", "obs")
    np.testing.assert_allclose(sampling.average(named, variance), expected, rtol=1e-12)
    for wrong in (variance[:2], np.stack([variance] * 2)):
        with pytest.raises(
            ValueError, match=r"noise_variance: expected a shape that broadcasts to"
        ):
            sampling.average(values, wrong)


def test_dask_takes_variances_in_the_chunks_of_the_values(sampling, values):
    dask = pytest.importorskip("dask.array")
    variance = batch_variance(sampling)
    lazy = dask.from_array(values, chunks=(2, 100))
    for given in (variance, variance[0], 2.0):
        found = sampling.average(lazy, given)
        assert found.chunks == ((2, 1), (sampling.n_cells,))
        expected = sampling.average(values, given)
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)


@pytest.mark.parametrize("rows", [1, 3])
def test_samples_of_masked_or_infinite_variance_are_left_out(sampling, values, rows):
    variance = batch_variance(sampling)[:rows].squeeze()
    bad = np.random.default_rng(9).random(variance.shape) < 0.3
    masked = np.ma.masked_array(np.where(bad, 1e-9, variance), mask=bad)
    expected = sampling.average(np.where(bad, np.nan, values[:rows]), variance)
    infinite = sampling.average(values[:rows], np.where(bad, np.inf, variance))
    np.testing.assert_array_equal(infinite, expected)
    np.testing.assert_array_equal(sampling.average(values[:rows], masked), expected)
    assert not np.allclose(expected, sampling.average(values[:rows], variance), equal_nan=True)


def test_average_of_the_nearest_is_the_mean_per_cell():
    lon, lat = coordinates()
    relation, samples = nearest(lon, lat, 2), np.random.default_rng(5).normal(size=400)
    own = cells_of(lon, lat, 2)
    means = [samples[own == cell].mean() for cell in relation.cell_ids]
    np.testing.assert_allclose(relation.average(samples), means, rtol=1e-13)
    counts = [np.sum(own == cell) for cell in relation.cell_ids]
    np.testing.assert_array_equal(relation.samples_per_cell, counts)


@pytest.mark.parametrize("missing", [np.nan, UNSEEN, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_missing_samples_are_left_out_of_averages(method, missing):
    """One row with gaps, one without: the same as averaging what is left."""
    lon, lat = coordinates()
    samples = np.random.default_rng(6).normal(300.0, 1.0, size=(2, 400))
    kept = np.random.default_rng(7).uniform(size=400) > 0.3
    gaps = np.array([np.where(kept, samples[0], missing), samples[1]])
    relation = method(lon, lat, 3)
    average = relation.average(gaps)
    matrix = np.abs(dense(relation))[kept]
    total = matrix.sum(axis=0)
    expected = samples[0, kept] @ matrix / np.where(total > 0.0, total, np.nan)
    np.testing.assert_allclose(average[0], expected, rtol=1e-12)
    np.testing.assert_array_equal(average[1], relation.average(samples[1]))
    masked = np.ma.masked_array(samples, mask=[~kept, np.zeros(400, bool)])
    np.testing.assert_array_equal(relation.average(masked), relation.average(gaps))


def test_missing_cells_reach_only_the_samples_that_need_them(sampling, cells):
    for missing in (np.nan, UNSEEN):
        gaps = cells[0].copy()
        gaps[10] = missing
        resampled = sampling.resample(gaps)
        touched = dense(sampling)[:, 10] != 0.0
        assert touched.any()
        assert np.isnan(resampled[touched]).all()
        np.testing.assert_array_equal(resampled[~touched], sampling.resample(cells[0])[~touched])


def test_no_nan_comes_through_links_without_weight():
    """Two isolated samples, each with fewer cells in reach than links."""
    relation = psf(np.array([0.0, 90.0]), np.array([10.0, 10.0]), 5)
    assert np.any(relation.weights == 0.0, axis=1).all()
    for sample in (0, 1):
        gaps = np.where(dense(relation)[sample] != 0.0, np.nan, 4.0)
        resampled = relation.resample(gaps)
        assert np.isnan(resampled[sample])
        assert resampled[1 - sample] == pytest.approx(4.0)


def test_values_may_be_integers_and_keep_their_digits(sampling):
    whole = np.arange(sampling.n_samples) + 2**40
    np.testing.assert_array_equal(sampling.average(whole), sampling.average(whole.astype(float)))
    np.testing.assert_array_equal(
        sampling.resample(np.arange(sampling.n_cells).tolist()),
        sampling.resample(np.arange(float(sampling.n_cells))),
    )


def test_single_precision_is_chosen_by_the_weights(sampling, values, cells):
    single = sampling.astype(np.float32)
    for kind in (np.asarray, jnp.asarray):
        for result in (single.forward(kind(cells)), single.adjoint(kind(values))):
            assert result.dtype == np.float32
        np.testing.assert_allclose(single.forward(kind(cells)), sampling.forward(cells), atol=1e-5)
        assert sampling.forward(kind(cells.astype(np.float32))).dtype == np.float64
    assert sampling.average(values.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_averages_of_single_precision_are_summed_in_double(kind):
    """Many warm samples in a cell, whose sum has too few digits in single precision."""
    single = nearest(np.zeros(20000), np.zeros(20000), 3).astype(np.float32)
    samples = np.random.default_rng(10).uniform(280.0, 280.1, 20000).astype(np.float32)
    found = single.average(kind(samples))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, samples.mean(dtype=np.float64), rtol=6e-8)


def test_any_number_of_axes_comes_before_the_last(sampling, values):
    stacked = np.stack([values, 2.0 * values])
    for kind in (np.asarray, jnp.asarray):
        result = sampling.average(kind(stacked))
        assert result.shape == (2, 3, sampling.n_cells)
        np.testing.assert_allclose(result[1, 2], 2.0 * sampling.average(values[2]), rtol=1e-12)


def test_jax_traces_and_differentiates(sampling, cells):
    x = jnp.asarray(cells[0])

    def power(values, relation):
        return jnp.sum(relation.forward(values) ** 2)

    expected = 2.0 * sampling.adjoint(sampling.forward(cells[0]))
    np.testing.assert_allclose(jax.grad(power)(x, sampling), expected, rtol=1e-10)
    np.testing.assert_allclose(jax.jit(jax.grad(power))(x, sampling), expected, rtol=1e-10)
    closed = jax.jit(sampling.resample)
    np.testing.assert_allclose(closed(x), sampling.resample(cells[0]), atol=1e-14)
    np.testing.assert_allclose(
        jax.jit(sampling.average)(sampling.forward(x)),
        sampling.average(sampling.forward(cells[0])),
        rtol=1e-12,
    )


@pytest.mark.parametrize("make", [psf, lambda *where: conservative(*where, areas=2e6)])
def test_samplings_are_arguments_of_jitted_functions(make):
    relation = make(*coordinates(), 3)
    x, y = np.arange(float(relation.n_cells)), np.arange(float(relation.n_samples))
    resampled = jax.jit(Sampling.resample)(relation, jnp.asarray(x))
    np.testing.assert_allclose(resampled, relation.resample(x), rtol=1e-12)
    averaged = jax.jit(Sampling.average)(relation, jnp.asarray(y))
    np.testing.assert_allclose(averaged, relation.average(y), rtol=1e-12)


def test_jax_differentiates_with_respect_to_the_weights(sampling, cells):
    x = jnp.asarray(cells[0])
    traced = jax.tree.map(jnp.asarray, sampling)
    slope = jax.grad(lambda relation: jnp.sum(relation.forward(x)), allow_int=True)(traced).weights
    np.testing.assert_allclose(slope, cells[0][sampling.index], rtol=1e-14)


def test_xarray_keeps_names_and_describes_cells_as_xdggs_does(sampling, values):
    data = xr.DataArray(
        values.T,
        dims=("obs", "time"),
        coords={"time": [10, 20, 30], "obs": np.arange(sampling.n_samples)},
        attrs={"units": "K"},
        name="tb",
    ).transpose("time", "obs")
    result = sampling.average(data)
    assert result.dims == ("time", "cells")
    assert (result.attrs["units"], result.name) == ("K", "tb")
    assert result.cell_ids.attrs["grid_name"] == "healpix"
    assert result.cell_ids.attrs["level"] == 3
    assert result.cell_ids.attrs["indexing_scheme"] == "nested"
    np.testing.assert_array_equal(result.cell_ids, sampling.cell_ids)
    np.testing.assert_array_equal(result, sampling.average(values))
    back = sampling.resample(result.transpose("cells", "time"))
    assert back.dims == ("time", "samples")
    np.testing.assert_array_equal(back, sampling.resample(result.values))


@pytest.mark.parametrize("nest", [True, False])
def test_xdggs_opens_results(nest):
    xdggs = pytest.importorskip("xdggs")
    relation = psf(*coordinates(), 3, nest=nest)
    result = relation.average(xr.DataArray(np.ones(400), dims="samples", name="tb"))
    opened = xdggs.decode(result.to_dataset()).dggs.cell_centers()
    lon, lat = centres(relation.cell_ids, 3, nest=nest)
    np.testing.assert_allclose(opened.latitude, lat, atol=1e-12)
    np.testing.assert_allclose((opened.longitude - lon + 180.0) % 360.0 - 180.0, 0.0, atol=1e-12)


def test_dask_stays_lazy_and_chunked_over_the_batch(sampling, values):
    dask = pytest.importorskip("dask.array")
    lazy = dask.from_array(values, chunks=(2, 100))
    result = sampling.average(lazy)
    assert isinstance(result, dask.Array)
    assert result.chunks == ((2, 1), (sampling.n_cells,))
    with_names = sampling.average(xr.DataArray(lazy, dims=("time", "samples")))
    assert isinstance(with_names.data, dask.Array)
    for computed in (
        result.compute(scheduler="synchronous"),
        with_names.compute(scheduler="synchronous").values,
    ):
        np.testing.assert_array_equal(computed, sampling.average(values))


def test_torch_comes_back_as_torch(sampling, values):
    torch = pytest.importorskip("torch")
    result = sampling.average(torch.from_numpy(values))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), sampling.average(values))
    with pytest.raises(ValueError, match="samples: expected a tensor without gradient"):
        sampling.adjoint(torch.from_numpy(values).requires_grad_())


def test_lineax_finds_the_transpose(sampling, values, cells):
    lineax = pytest.importorskip("lineax")
    operator = sampling.as_lineax()
    assert isinstance(operator, lineax.AbstractLinearOperator)
    np.testing.assert_allclose(operator.mv(jnp.asarray(cells[0])), sampling.forward(cells[0]))
    np.testing.assert_allclose(
        operator.T.mv(jnp.asarray(values[0])), sampling.adjoint(values[0]), atol=1e-13
    )


def test_missing_packages_are_named(sampling, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lineax", None)
    with pytest.raises(ImportError, match="lineax to be installed. Run: pip install lineax"):
        sampling.as_lineax()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="zarr to be installed for a.zarr"):
        sampling.save(tmp_path / "a.zarr")


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_saved_samplings_come_back(suffix, tmp_path, cells):
    if suffix == "zarr":
        pytest.importorskip("zarr")
    figure = Ellipsoid("Bessel", 6377397.155, 299.1528128)
    lon, lat = coordinates()
    path = tmp_path / "folder" / f"swath.{suffix}"
    for nest, precision in ((True, np.float64), (False, np.float32)):
        written = bilinear(lon, lat, 3, ellipsoid=figure, nest=nest).astype(precision)
        written.save(path)
        read = load(path)
        assert (read.grid, read.ellipsoid, read.method) == (written.grid, figure, Method.BILINEAR)
        for name in ("index", "weights", "support", "order"):
            assert getattr(read, name).dtype == getattr(written, name).dtype
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_finest_level_is_saved(tmp_path):
    written = nearest(*coordinates(), 29)
    written.save(tmp_path / "points.nc")
    assert load(tmp_path / "points.nc").grid == written.grid


def test_files_that_are_not_samplings_are_refused(sampling, tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .nc or .zarr"):
        sampling.save(tmp_path / "swath.npz")
    with pytest.raises(ValueError, match="path: expected a sampling at .* got nothing there"):
        load(tmp_path / "none.nc")
    xr.Dataset({"tb": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"path: expected a file that Sampling.save wrote.*'tb'"):
        load(tmp_path / "other.nc")
    (tmp_path / "broken.nc").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    with pytest.raises(ValueError, match="path: expected a complete sampling"):
        load(tmp_path / "broken.nc")


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        ("cell_ids", "level"),
        ("cell_ids", "indexing_scheme"),
        (None, "ellipsoid"),
        (None, "semi_major_m"),
        (None, "inverse_flattening"),
        (None, "method"),
    ],
)
def test_files_without_an_attribute_are_refused(sampling, tmp_path, holder, name):
    path = tmp_path / "swath.nc"
    sampling.save(path)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load()
    del (dataset[holder] if holder else dataset).attrs[name]
    dataset.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=rf"path: .*attribute '{name}'.*swath.nc.*Save the"):
        load(path)


def test_files_with_attributes_that_mean_nothing_are_refused(sampling, tmp_path):
    path = tmp_path / "swath.nc"
    for holder, name, value, message in (
        ("cell_ids", "indexing_scheme", "zuniq", "indexing_scheme: expected one of .*'ZUNIQ'"),
        ("cell_ids", "level", 40, "level: expected from 0 to 29"),
        (None, "method", "magic", "method: expected one of 'nearest', .*got 'magic'"),
    ):
        sampling.save(path)
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
        (dataset[holder] if holder else dataset).attrs[name] = value
        dataset.to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ValueError, match=message):
            load(path)
        sampling.save(path)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load()
    dataset.drop_vars("cell_ids").to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="path: expected a file that Sampling.save wrote"):
        load(path)


def test_failed_writes_leave_the_old_file(sampling, tmp_path, monkeypatch):
    path = tmp_path / "swath.nc"
    sampling.save(path)
    before = path.read_bytes()

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match=r"disk full while writing .*swath.nc"):
        sampling.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_more_links_than_a_matrix_holds_are_worked_on_in_blocks(
    sampling, values, cells, monkeypatch
):
    monkeypatch.setattr(module, "_MOST_LINKS", 1000)
    blocked = sampling.astype(np.float64)
    assert len(blocked.matrices) == 4
    np.testing.assert_array_equal(blocked.forward(cells), sampling.forward(cells))
    np.testing.assert_allclose(blocked.adjoint(values), sampling.adjoint(values), atol=1e-13)


def test_indices_are_32_bits_and_matrices_share_their_memory(sampling):
    assert sampling.index.dtype == sampling.order.dtype == np.int32
    ((_, matrix),) = sampling.matrices
    assert np.shares_memory(matrix.indices, sampling.index)
    assert np.shares_memory(matrix.data, sampling.weights)


def test_columns_can_be_normalised(sampling, values):
    columns = sampling.column_normalised()
    linked = sampling.samples_per_cell > 0
    np.testing.assert_allclose(columns.adjoint(np.ones(columns.n_samples))[linked], 1.0)
    np.testing.assert_allclose(
        columns.adjoint(values)[:, linked], sampling.average(values)[:, linked], rtol=1e-12
    )


def test_the_closest_sample_has_the_largest_weight():
    lon, lat = coordinates()
    relation = psf(lon, lat, 3, cells=np.arange(768))
    where, here = positions(relation.cell_ids, 3), relation.ellipsoid.positions(lon, lat)
    distance = np.linalg.norm(where[:, :, None] - here[:, None, :], axis=0)
    linked = dense(relation).T != 0.0
    expected = np.where(linked, distance, np.inf).argmin(axis=1)
    found = relation.closest_sample
    np.testing.assert_array_equal(found, np.where(linked.any(axis=1), expected, -1))
    twins = nearest(np.zeros(3), np.zeros(3), 3)
    assert twins.closest_sample.tolist() == [0]


def test_support_is_the_sum_of_weights_before_they_were_normalised():
    lon, lat = coordinates()
    relation = psf(lon, lat, 3)
    where, here = positions(relation.cell_ids, 3), relation.ellipsoid.positions(lon, lat)
    diameter = 2.0 * relation.ellipsoid.authalic_radius
    chord = np.linalg.norm(where[:, None, :] - here[:, :, None], axis=0)
    side = 0.5 * diameter * hp.nside2resol(8)
    gauss = np.exp(-2.0 * (diameter * np.arcsin(chord / diameter) / side) ** 2)
    gauss[dense(relation) == 0.0] = 0.0
    np.testing.assert_allclose(relation.by_sample(relation.support), gauss.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(dense(relation), gauss / gauss.sum(axis=1)[:, None], rtol=1e-9)


def test_names_of_healpix_resample(sampling, values):
    """`get_cell_ids`, and `fit_resample` as a fit and the values of its cells at the samples."""
    np.testing.assert_array_equal(sampling.get_cell_ids(), sampling.grid.cells)
    fitted, resampled = sampling.fit_resample(values, damping=0.1)
    np.testing.assert_array_equal(fitted.values, sampling.fit(values, damping=0.1).values)
    np.testing.assert_array_equal(resampled, sampling.resample(fitted.values))
    assert resampled.shape == values.shape
    assert np.isnan(resampled[:, ~sampling.covered]).all()
    residual = (values - resampled)[:, sampling.covered]
    assert np.mean(residual**2) < 0.9 * np.mean(values[:, sampling.covered] ** 2)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, xr.DataArray])
@pytest.mark.parametrize("shape", [(), (5,), (400, 3)])
def test_values_of_wrong_shapes_are_refused(sampling, kind, shape):
    with pytest.raises(ValueError, match=r"samples: expected real numbers of shape \(..., 400\)"):
        sampling.average(kind(np.zeros(shape)))
    with pytest.raises(ValueError, match=r"cells: expected real numbers of shape \(..., \d+\)"):
        sampling.resample(kind(np.zeros(shape)))


@pytest.mark.parametrize("values", [np.zeros(400, complex), np.full(400, "a"), np.zeros(400, bool)])
def test_values_that_are_not_real_numbers_are_refused(sampling, values):
    with pytest.raises(ValueError, match="samples: expected real numbers"):
        sampling.adjoint(values)


def test_a_dataset_is_refused(sampling, values):
    with pytest.raises(ValueError, match=r"samples: expected a DataArray.*dataset.map"):
        sampling.average(xr.Dataset({"tb": (("time", "samples"), values)}))


@pytest.mark.parametrize(
    ("variance", "message"),
    [
        (np.ones(5), "noise_variance: expected one value or 400, one per sample"),
        (0.0, "noise_variance: expected positive values, got 0.0 at index 0"),
        (np.r_[np.ones(399), np.nan], "noise_variance: .*got nan at index 399"),
    ],
)
def test_variances_that_are_none_are_refused(sampling, values, variance, message):
    with pytest.raises(ValueError, match=message):
        sampling.average(values, variance)


def test_other_precisions_are_refused(sampling):
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got float16"):
        sampling.astype(np.float16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.ones((2, 2))}, r"weights: expected shape \(sample, link\)"),
        ({"index": np.zeros(2, np.int32), "weights": np.ones(2)}, "weights: expected shape"),
        ({"support": np.ones(3)}, "support: expected 2 values"),
        ({"order": np.arange(3)}, "order: expected 2 values"),
        ({"index": np.array([[0], [5]])}, "index: expected positions from 0 to 4"),
        ({"index": np.array([[-1], [0]])}, "index: expected positions from 0 to 4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    fields = {
        "grid": Grid(4, Ordering.NESTED, np.arange(5)),
        "index": np.zeros((2, 1), np.int32),
        "weights": np.ones((2, 1)),
        "support": np.ones(2),
        "order": np.arange(2),
    }
    assert Sampling(**fields).n_samples == 2
    with pytest.raises(ValueError, match=message):
        Sampling(**{**fields, **changes})
