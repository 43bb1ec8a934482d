import healpy as hp
import numpy as np
import pytest

from skysift.grid import UNSEEN, Grid, Ordering
from skysift.resample.regrade import Quantity, regrade

ORDERINGS = list(Ordering)


def field(grid, seed=0):
    return np.random.default_rng(seed).normal(2.0, 1.0, grid.size)


def cut_sky(nside, ordering, seed=3):
    kept = np.random.default_rng(seed).random(12 * nside**2) < 0.6
    return Grid(nside, ordering, np.flatnonzero(kept))


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("level", [0, 2, 3, 5])
@pytest.mark.parametrize("power", [0, -2])
def test_agrees_with_healpy_on_the_full_sky(ordering, level, power):
    grid = Grid(8, ordering)
    quantity = Quantity.INTENSIVE if power == 0 else Quantity.EXTENSIVE
    found = regrade(field(grid), grid, level, quantity=quantity)
    name = ordering.value
    expected = hp.ud_grade(field(grid), 2**level, order_in=name, order_out=name, power=power)
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)
    assert found.grid == Grid(2**level, ordering)


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("level", [0, 2, 3, 5])
def test_integral_is_preserved_on_a_cut_sky(ordering, level):
    grid = cut_sky(8, ordering)
    values = field(grid)
    values[::7] = np.nan
    values[1] = UNSEEN
    known = np.where(np.isfinite(values) & (values != UNSEEN), values, 0.0)
    mean = regrade(values, grid, level)
    area = 4.0 ** (3 - level)
    assert np.nansum(mean.values * mean.coverage) * area == pytest.approx(known.sum(), rel=1e-12)
    total = regrade(values, grid, level, quantity=Quantity.EXTENSIVE)
    assert np.nansum(total.values) == pytest.approx(known.sum(), rel=1e-12)


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("quantity", list(Quantity))
def test_down_undoes_up(ordering, quantity):
    grid = cut_sky(4, ordering)
    values = field(grid)
    values[5] = np.nan
    up = regrade(values, grid, 5, quantity=quantity)
    assert up.values.shape == (grid.size * 64,)
    down = regrade(up.values, up.grid, 2, quantity=quantity)
    assert down.grid == grid
    np.testing.assert_allclose(down.values, values, rtol=1e-13)
    np.testing.assert_array_equal(down.coverage, np.isfinite(values))


def test_constants_stay_constant():
    grid = cut_sky(8, Ordering.NESTED)
    for level in range(6):
        np.testing.assert_allclose(regrade(np.full(grid.size, 300.0), grid, level).values, 300.0)


def test_missing_children_are_left_out():
    values = np.array([1.0, np.nan, 3.0, np.inf] + 44 * [np.nan])
    found = regrade(values, Grid(2, Ordering.NESTED), 0)
    np.testing.assert_array_equal(found.values, [2.0] + 11 * [np.nan])
    np.testing.assert_array_equal(found.coverage, [0.5] + 11 * [0.0])
    found = regrade(values, Grid(2, Ordering.NESTED), 0, min_coverage=0.75)
    assert np.isnan(found.values).all()


def test_masked_cells_are_missing():
    values = np.ma.masked_equal(np.arange(48), 3)
    found = regrade(values, Grid(2, Ordering.NESTED), 0)
    np.testing.assert_array_equal(found.values[:2], [1.0, 5.5])
    np.testing.assert_array_equal(found.coverage[:2], [0.75, 1.0])


@pytest.mark.parametrize("quantity", list(Quantity))
def test_quantities_may_be_named(quantity):
    grid = Grid(2, Ordering.NESTED)
    named, meant = (
        regrade(np.arange(48.0), grid, 0, quantity=q) for q in (quantity.value, quantity)
    )
    np.testing.assert_array_equal(named.values, meant.values)


def test_rows_do_not_meet():
    grid = cut_sky(8, Ordering.RING)
    values = np.stack([field(grid, 1), field(grid, 2)])[:, None]
    values[0, 0, ::2] = np.nan
    for level in (1, 4):
        both = regrade(values, grid, level)
        assert both.values.shape == (2, 1, both.grid.size)
        for row in range(2):
            one = regrade(values[row, 0], grid, level)
            np.testing.assert_array_equal(one.values, both.values[row, 0])
            np.testing.assert_array_equal(one.coverage, both.coverage[row, 0])


def test_high_levels():
    cells = np.array([5, 2**40, 12 * 4**29 - 1])
    grid = Grid(2**29, Ordering.NESTED, cells)
    found = regrade([1.0, 2.0, 3.0], grid, 27)
    np.testing.assert_array_equal(found.grid.index, cells >> 4)
    np.testing.assert_array_equal(found.values, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(found.coverage, 1.0 / 16.0)


def test_integers_become_real_numbers():
    np.testing.assert_array_equal(
        regrade(np.arange(48), Grid(2, Ordering.NESTED), 0).values, np.arange(1.5, 48, 4)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(47)}, r"values: expected 48 cells .*\(47,\)"),
        ({"values": np.float64(3.0)}, "values: expected 48 cells"),
        ({"values": np.zeros(48, complex)}, "real numbers, got complex128"),
        ({"level": 30}, "level: expected from 0 to 29"),
        ({"level": 1.5}, "level: expected an integer"),
        ({"min_coverage": 1.5}, "min_coverage: expected a fraction"),
        ({"quantity": "sum"}, "quantity: expected one of 'intensive', 'extensive', got 'sum'"),
        ({"grid": Grid.unstructured(48)}, "place on the sphere"),
    ],
)
def test_errors(change, message):
    options = {"values": np.zeros(48), "grid": Grid(2), "level": 0} | change
    with pytest.raises(ValueError, match=message):
        regrade(**options)
