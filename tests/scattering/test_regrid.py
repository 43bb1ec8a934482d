import healpy as hp
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from skysift.scattering import coarsened
from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.regrid import regridded

from .fields import red_noise, red_sky


def flat(shape, channels=1):
    return Flat(shape=shape, channels=channels)


def sphere(nside):
    return Sphere(nside=nside, lmax=2 * nside, channels=1, iterations=3)


@pytest.mark.parametrize("shape", [(32,), (24, 36), (16, 20, 12), (27, 45)])
def test_flat_maps_keep_the_modes_of_the_coarser_grid(shape):
    ratio = 3 if shape[0] % 2 else 2
    coarse = tuple(cells // ratio for cells in shape)
    x = np.random.default_rng(0).standard_normal((2, *shape))
    found = coarsened(x, flat(shape, 2), flat(coarse, 2))
    expected = x
    for axis, cells in enumerate(coarse, start=1):
        # SciPy keeps half of the Nyquist mode, which has no place on a finer grid.
        expected = scipy.signal.resample(expected, cells, axis=axis)
        modes = np.fft.fft(expected, axis=axis)
        if cells % 2 == 0:
            np.moveaxis(modes, axis, 0)[cells // 2] = 0.0
        expected = np.fft.ifft(modes, axis=axis).real
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_flat_and_back():
    small, large = flat((12, 10), 1), flat((36, 30), 1)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((1, 36, 30)))
    coarse = regridded(x, large, small)
    fine = regridded(coarse, small, large)
    np.testing.assert_allclose(regridded(fine, large, small), coarse, atol=1e-12)
    np.testing.assert_allclose(fine[:, ::3, ::3], coarse, atol=1e-12)


def test_sphere_maps_keep_their_multipoles():
    x = red_sky(16, 32)
    found = coarsened(x, sphere(16), sphere(8))
    alm = hp.map2alm(x - x.mean(), lmax=32, iter=3)
    expected = hp.alm2map(hp.resize_alm(alm, 32, 32, 16, 16), 8, lmax=16) + x.mean()
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(x).max())


def test_unknown_cells_stay_unknown():
    large, small = flat((16, 16), 1), flat((8, 8), 1)
    x = red_noise((16, 16)) + 5.0
    x[5, 9] = np.nan
    found = coarsened(x, large, small)
    # Cells 4 and 6 of the first axis, 8 and 10 of the second, have parts of the unknown one.
    unknown = np.zeros((8, 8), bool)
    unknown[2:4, 4:6] = True
    np.testing.assert_array_equal(np.isnan(found), unknown)
    # What is unknown does not count, whatever is there, and the mean is kept.
    x[5, 9] = hp.UNSEEN
    np.testing.assert_array_equal(coarsened(x, large, small), found)
    np.testing.assert_allclose(np.nanmean(found), np.nanmean(np.where(x > 0, x, np.nan)), rtol=0.05)

    sky = red_sky(8, 16).astype(np.float32)
    sky[100] = np.inf
    found = coarsened(sky, sphere(8), sphere(4))
    expected = hp.nest2ring(4, hp.ring2nest(8, 100) // 4)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [expected])
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "other",
    [flat((16, 16), 1), flat((8, 4), 1), flat((6, 6), 1), flat((8, 8), 2), sphere(4)],
    ids=lambda one: f"{one.words}, {one.channels}",
)
def test_domains_that_are_not_coarser(other):
    with pytest.raises(ValueError, match="coarser: expected 1 channels on a flat grid"):
        coarsened(np.zeros((16, 16)), flat((16, 16), 1), other)


def test_bad_maps():
    large, small = flat((16, 16), 1), flat((8, 8), 1)
    with pytest.raises(ValueError, match="maps: expected shape"):
        coarsened(np.zeros((8, 8)), large, small)
    with pytest.raises(ValueError, match="maps: expected cells that are known"):
        coarsened(np.full((16, 16), np.nan), large, small)
    with pytest.raises(ValueError, match="coarser: expected 1 channels on a sphere nside 8"):
        coarsened(np.zeros(768), sphere(8), sphere(16))
