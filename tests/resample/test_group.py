import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import UNSEEN
from skysift.resample.cells import cells_of
from skysift.resample.group import Reduce, group_by

FUNCTIONS = {
    Reduce.MEAN: np.mean,
    Reduce.SUM: np.sum,
    Reduce.PRODUCT: np.prod,
    Reduce.MIN: np.min,
    Reduce.MAX: np.max,
    Reduce.COUNT: np.size,
    Reduce.STD: np.std,
    Reduce.MEDIAN: np.median,
}


def points(count=700, seed=0):
    random = np.random.default_rng(seed)
    lon = random.uniform(-180, 180, count)
    return lon, np.degrees(np.arcsin(random.uniform(-1, 1, count))), random.normal(2, 1, count)


def slow(function, values, own, cells):
    """One cell after the other."""
    out = []
    for cell in cells:
        chosen = values[own == cell]
        chosen = chosen[np.isfinite(chosen)]
        out.append(function(chosen) if chosen.size or function is np.size else np.nan)
    return np.array(out, dtype=float)


@pytest.mark.parametrize("reduce", list(Reduce))
@pytest.mark.parametrize("nest", [True, False])
def test_agrees_with_numpy_cell_by_cell(reduce, nest):
    lon, lat, values = points()
    values = np.stack([values, values[::-1]])
    values[1, ::3] = np.nan
    values[1, 5] = np.inf
    own = cells_of(lon, lat, 2, nest=nest)
    values[0, own == own[0]] = np.nan
    groups = group_by(lon, lat, 2, reduce=reduce, nest=nest)
    found = groups.average(values)
    np.testing.assert_array_equal(groups.cell_ids, np.unique(own))
    for row, got in zip(values, found, strict=True):
        expected = slow(FUNCTIONS[reduce], row, own, groups.cell_ids)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_order_of_samples_does_not_matter():
    lon, lat, values = points()
    order = np.random.default_rng(1).permutation(lon.size)
    for reduce in Reduce:
        one = group_by(lon, lat, 3, reduce=reduce).average(values)
        other = group_by(lon[order], lat[order], 3, reduce=reduce).average(values[order])
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_standard_deviation_keeps_its_digits():
    values = 1e8 + np.array([0.0, 1.0, 2.0, 3.0])
    groups = group_by(np.zeros(4), np.zeros(4), 1, reduce=Reduce.STD)
    np.testing.assert_allclose(groups.average(values), np.std([0.0, 1.0, 2.0, 3.0]), rtol=1e-12)


def test_wanted_cells_come_as_wanted():
    lon, lat, values = points(50)
    own = cells_of(lon, lat, 3)
    wanted = np.unique(np.append(own[:5], [0, 767]))
    for reduce in Reduce:
        groups = group_by(lon, lat, 3, reduce=reduce, cells=wanted)
        expected = slow(FUNCTIONS[reduce], values, own, wanted)
        np.testing.assert_allclose(groups.average(values), expected, rtol=1e-12)
    assert np.isnan(groups.resample(np.ones(wanted.size))).sum() == np.sum(~np.isin(own, wanted))


def test_wanted_cells_without_samples():
    lon, lat, values = points(50)
    far = np.setdiff1d(np.arange(768), cells_of(lon, lat, 3))[:2]
    counts = group_by(lon, lat, 3, reduce="count", cells=far).average(values)
    np.testing.assert_array_equal(counts, 0.0)
    assert np.isnan(group_by(lon, lat, 3, reduce="sum", cells=far).average(values)).all()
    assert np.isnan(group_by(lon, lat, 3, reduce="median", cells=far).average(values)).all()


def test_samples_take_the_value_of_their_cell():
    lon, lat, values = points()
    groups = group_by(lon, lat, 4)
    cells = groups.average(values)
    own = cells_of(lon, lat, 4)
    np.testing.assert_array_equal(
        groups.resample(cells), cells[np.searchsorted(groups.cell_ids, own)]
    )


def test_level_29_groups_points():
    lon, lat, values = points(100)
    groups = group_by(np.tile(lon, 2), np.tile(lat, 2), 29, reduce="sum")
    assert groups.n_cells == 100
    assert groups.n_samples == 200
    total = groups.average(np.tile(values, 2))
    np.testing.assert_allclose(np.sort(total), np.sort(2.0 * values), rtol=1e-13)


def test_one_cell_and_one_sample():
    for reduce, expected in ((Reduce.STD, 0.0), (Reduce.COUNT, 1.0), (Reduce.MEDIAN, 5.0)):
        assert group_by([1.0], [1.0], 2, reduce=reduce).average([5.0]) == expected


def test_kinds_of_values():
    lon, lat, values = points(60)
    groups = group_by(lon, lat, 2, reduce="median")
    expected = groups.average(values)
    assert groups.average(np.arange(60)).dtype == float
    found = groups.average(jnp.asarray(values))
    assert isinstance(found, jnp.ndarray)
    np.testing.assert_array_equal(found, expected)
    masked = np.ma.masked_greater(values, 2.0)
    missing = np.where(values > 2.0, UNSEEN, values)
    np.testing.assert_array_equal(groups.average(masked), groups.average(missing))
    np.testing.assert_array_equal(groups.average(np.tile(values, (2, 3, 1)))[1, 2], expected)


def test_dask_stays_lazy():
    dask = pytest.importorskip("dask.array")
    lon, lat, values = points(60)
    groups = group_by(lon, lat, 2, reduce="median")
    rows = np.tile(values, (3, 1))
    lazy = groups.average(dask.from_array(rows, chunks=(2, 20)))
    assert lazy.chunks == ((2, 1), (groups.n_cells,))
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), groups.average(rows))


def test_errors():
    lon, lat, values = points(10)
    with pytest.raises(ValueError, match="reduce: expected one of 'mean', .*got 'mode'"):
        group_by(lon, lat, 2, reduce="mode")
    with pytest.raises(ValueError, match=r"samples: expected .*10"):
        group_by(lon, lat, 2).average(values[:9])
    with pytest.raises(ValueError, match="real numbers"):
        group_by(lon, lat, 2).average(values + 1j)
    with pytest.raises(ValueError, match="memory_mb: expected at least"):
        group_by(lon, lat, 2, memory_mb=1)
    with pytest.raises(ValueError, match="index 3"):
        group_by(np.where(np.arange(10) == 3, np.nan, lon), lat, 2)
