import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysift import UNSEEN, Grid, Ordering
from skysift.grid import is_unseen, masked_to_nan


def test_resolution_and_directions_are_healpy_s():
    grid = Grid(8)
    assert grid.size == 768
    assert grid.resolution == pytest.approx(hp.nside2resol(8, arcmin=True))
    np.testing.assert_allclose(grid.vectors(), np.stack(hp.pix2vec(8, np.arange(768)), -1))
    lon, lat = grid.lonlat()
    np.testing.assert_allclose(hp.ang2pix(8, lon, lat, lonlat=True), np.arange(768))


@given(seed=st.integers(0, 2**32 - 1), nested=st.booleans())
def test_cut_sky_numbers_are_the_same_cells_either_way(seed, nested):
    cells = np.flatnonzero(np.random.default_rng(seed).random(768) < 0.3)
    grid = Grid(8, Ordering.NESTED if nested else Ordering.RING, cells)
    np.testing.assert_array_equal(hp.nest2ring(8, grid.nested), grid.ring)
    np.testing.assert_array_equal(grid.nested if nested else grid.ring, cells)
    np.testing.assert_array_equal(np.flatnonzero(grid.mask), cells)


def test_hash_and_equality_follow_the_cells():
    full = Grid(4, cells=np.arange(192))
    assert full == Grid(4)
    assert hash(full) == hash(Grid(4))
    assert Grid(4) != Grid(8)
    assert Grid(4) != Grid(4, Ordering.NESTED)
    assert Grid(4, cells=np.arange(5)) != Grid(4, cells=np.arange(6))
    assert {Grid(4): 1}[full] == 1


def test_cells_cannot_be_changed_behind_the_digest():
    grid = Grid(4, cells=np.arange(5))
    with pytest.raises(ValueError, match="read-only"):
        grid.cells[0] = 3


def test_a_grid_does_not_share_memory_with_what_the_caller_changes_later():
    cells = np.arange(5)
    grid = Grid(4, cells=cells)
    cells[:] = 100
    np.testing.assert_array_equal(grid.index, np.arange(5))


@pytest.mark.parametrize("nside", [1, 2, 4, 8])
def test_parents_hold_their_children(nside):
    grid = Grid(8, cells=np.arange(0, 768, 7))
    lon, lat = grid.lonlat()
    expected = hp.ang2pix(nside, lon, lat, nest=True, lonlat=True)
    np.testing.assert_array_equal(grid.parents(nside), expected)


def test_full_puts_unseen_where_nothing_is_kept():
    grid = Grid(1, cells=np.array([2, 5]))
    full = grid.full(np.array([[1.0, 2.0]]))
    assert full.shape == (1, 12)
    assert full[0, 2] == 1.0
    assert full[0, 5] == 2.0
    assert np.sum(full == UNSEEN) == 10


def test_positions_find_cells_in_a_larger_grid():
    large, small = Grid(2, cells=np.array([1, 4, 9, 20])), Grid(2, cells=np.array([4, 20]))
    np.testing.assert_array_equal(small.positions(large), [1, 3])
    with pytest.raises(ValueError, match="Restrict it to the maps' cells"):
        large.positions(small)
    with pytest.raises(ValueError, match="expected nside 2 NESTED, got nside 2 RING"):
        small.positions(Grid(2, Ordering.NESTED))


def test_restricted_keeps_what_both_keep():
    grid = Grid(1, cells=np.array([0, 3, 7]))
    mask = np.zeros(12, bool)
    mask[[3, 4, 7]] = True
    np.testing.assert_array_equal(grid.restricted(mask).index, [3, 7])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(3), "nside: expected a power of two"),
        (lambda: Grid(0), "nside: expected a power of two"),
        (lambda: Grid(2, cells=np.array([3, 2])), "cells: expected sorted, unique"),
        (lambda: Grid(2, cells=np.array([2, 2])), "cells: expected sorted, unique"),
        (lambda: Grid(2, cells=np.array([-1, 2])), "cells: expected sorted, unique"),
        (lambda: Grid(2, cells=np.array([0, 48])), "numbers from 0 to 47"),
        (lambda: Grid.from_mask(np.zeros(48, bool)), "mask: expected at least one kept cell"),
        (lambda: Grid.from_mask(np.ones(47, bool)), "mask: expected a full sky"),
        (lambda: Grid.from_mask(np.ones(48)), "mask: expected booleans, got float64"),
        (lambda: Grid(2).restricted(np.ones(12, bool)), "mask: expected nside 2"),
        (lambda: Grid(2).parents(4), "nside: expected a power of two up to the maps' 2, got 4"),
        (lambda: Grid.unstructured(5).vectors(), "grid: expected cells with a place on the sphere"),
    ],
)
def test_bad_grids_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("level", [0, 5, 29])
def test_the_level_is_the_power_of_two_of_nside(level):
    for nside in (1 << level, np.int64(1 << level)):
        assert Grid(nside, cells=np.arange(3)).level == level
    with pytest.raises(ValueError, match="place on the sphere"):
        _ = Grid.unstructured(4).level


def test_unseen_is_known_in_single_precision_and_by_jax():
    values = np.array([UNSEEN, 0.0, np.nan, np.inf, -1.6e30, 1.001 * UNSEEN])
    for array in (values, values.astype(np.float32), jnp.asarray(values)):
        np.testing.assert_array_equal(is_unseen(array), [True] + 5 * [False])


def test_masked_values_become_nan_and_others_stay_what_they_are():
    whole = np.array([1, 2, 3], np.int16)
    assert masked_to_nan(np.ma.array(whole)).dtype == np.int16
    assert masked_to_nan(whole) is whole
    found = masked_to_nan(np.ma.array(whole, mask=[False, True, False]))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, [1.0, np.nan, 3.0])
    assert masked_to_nan(np.ma.array(whole.astype(np.int64), mask=True)).dtype == np.float64
