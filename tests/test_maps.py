import healpy as hp
import jax
import numpy as np
import pytest

from skysift import UNSEEN, Grid, Maps, Ordering, Stokes, Unit
from skysift.maps import unseen_to_nan


def ramp(nside=2, channels=("30", "100"), stokes=Stokes.QU):
    grid = Grid(nside)
    shape = (len(channels), len(stokes), grid.size)
    return Maps(
        np.arange(np.prod(shape), dtype=float).reshape(shape), grid, stokes, channels=channels
    )


def test_channels_and_stokes_are_found_by_name():
    maps = ramp()
    np.testing.assert_array_equal(maps["100"], maps.values[1])
    np.testing.assert_array_equal(maps["U"], maps.values[:, 1])
    with pytest.raises(KeyError, match="expected a channel of"):
        maps["217"]
    with pytest.raises(KeyError, match="Stokes parameter of 'QU'"):
        maps["I"]


def test_masked_keeps_the_cells_of_the_mask():
    maps = ramp()
    mask = np.zeros(48, bool)
    mask[[3, 40]] = True
    cut = maps.masked(mask)
    np.testing.assert_array_equal(cut.values, maps.values[..., [3, 40]])
    np.testing.assert_array_equal(cut.full()[..., mask], cut.values)
    assert np.all(cut.full()[..., ~mask] == UNSEEN)


def test_reordering_is_healpy_s_and_undone_by_reordering_back():
    maps = ramp()
    nested = maps.reordered(Ordering.NESTED)
    np.testing.assert_array_equal(nested.values[0, 0], hp.reorder(maps.values[0, 0], r2n=True))
    back = nested.reordered(Ordering.RING)
    np.testing.assert_array_equal(back.values, maps.values)
    assert back.grid == maps.grid


def test_a_ring_mask_cuts_the_same_sky_from_nested_maps():
    maps = ramp()
    mask = np.random.default_rng(0).random(48) < 0.4
    nested = maps.reordered(Ordering.NESTED).masked(mask)
    np.testing.assert_array_equal(nested.reordered(Ordering.RING).values, maps.masked(mask).values)


def test_unseen_becomes_nan_at_the_door_and_unseen_again_outside():
    values = np.ones((2, 48))
    values[0, 3] = UNSEEN
    values[1, 5] = np.float32(UNSEEN)
    values[1, 6] = np.inf
    maps = Maps.from_healpix(values)
    assert np.isnan(maps.values).sum() == 3
    assert np.sum(maps.full() == UNSEEN) == 3


def test_maps_pass_through_jit_with_the_grid_static():
    doubled = jax.jit(lambda maps: maps.replace(2 * maps.values))(ramp())
    np.testing.assert_array_equal(doubled.values, 2 * ramp().values)
    assert doubled.grid == Grid(2)
    assert doubled.channels == ("30", "100")


def test_numpy_sees_the_values():
    np.testing.assert_array_equal(np.asarray(ramp()), ramp().values)
    assert ramp().unit is Unit.UK_CMB


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Maps(np.zeros((2, 47)), Grid(2), Stokes.QU), r"\(..., 2, 48\) for Stokes QU"),
        (lambda: Maps(np.zeros((3, 48)), Grid(2), Stokes.QU), r"got \(3, 48\)"),
        (lambda: Maps(np.zeros(48), Grid(2), Stokes.I), "expected shape"),
        (
            lambda: Maps(np.zeros((1, 2, 48)), Grid(2), Stokes.QU, channels=("a", "b")),
            "expected 2 channels",
        ),
        (lambda: Maps.from_healpix(np.zeros((2, 50))), "expected a last axis of 12 nside"),
        (lambda: ramp().masked(np.ones(12, bool)), "mask: expected nside 2"),
        (lambda: ramp().masked(np.zeros(48, bool)), "mask: expected at least one kept cell"),
    ],
)
def test_bad_maps_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_masked_values_are_missing():
    values = np.ma.masked_equal([3.0, -5.0, UNSEEN], -5.0)
    np.testing.assert_array_equal(unseen_to_nan(values), [3.0, np.nan, np.nan])
