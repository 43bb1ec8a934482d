import healpy as hp
import numpy as np
import pytest

from skysift.harmonic import CMBSpectra, cross_cl, gaussian_alm, gaussian_maps
from skysift.maps import Stokes

NSIDE = 16


def test_low_multipoles_do_not_depend_on_lmax():
    cl = CMBSpectra.packaged().cl(r=0.1)
    low = gaussian_alm(cl[:, :11], np.random.default_rng(2))
    high = gaussian_alm(cl[:, :31], np.random.default_rng(2))
    for ell in range(11):
        for m in range(ell + 1):
            here, there = hp.Alm.getidx(10, ell, m), hp.Alm.getidx(30, ell, m)
            np.testing.assert_array_equal(low[:, here], high[:, there])


def test_realisations_have_the_spectra_asked():
    cl = CMBSpectra.packaged().cl(r=0.2, lmax=40)
    rng, count = np.random.default_rng(3), 400
    measured = np.zeros((4, 41))
    for _ in range(count):
        t, e, b = gaussian_alm(cl, rng)
        pairs = ((t, t), (e, e), (b, b), (t, e))
        measured += np.stack([cross_cl(x, y, 40) for x, y in pairs]) / count
    ell = np.arange(2, 41)
    spread = np.sqrt(2 / (2 * ell + 1) / count)
    for row in range(3):
        assert np.max(np.abs(measured[row, 2:] / cl[row, 2:] - 1) / spread) < 4.5
    te_spread = np.sqrt((cl[3] ** 2 + cl[0] * cl[1])[2:] / (2 * ell + 1) / count)
    assert np.max(np.abs(measured[3, 2:] - cl[3, 2:]) / te_spread) < 4.5


def test_polarisation_is_the_same_with_and_without_intensity():
    cl = CMBSpectra.packaged().cl(lmax=20)
    iqu = gaussian_maps(cl, NSIDE, Stokes.IQU, np.random.default_rng(1))
    qu = gaussian_maps(cl, NSIDE, Stokes.QU, np.random.default_rng(1))
    np.testing.assert_array_equal(iqu[1:], qu)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="cl: expected TT, EE, BB, TE"):
        gaussian_alm(np.ones((3, 5)), np.random.default_rng(0))
    impossible = np.ones((4, 5)) * [[1.0], [1.0], [1.0], [2.0]]
    with pytest.raises(ValueError, match="TE\\^2 <= TT"):
        gaussian_alm(impossible, np.random.default_rng(0))
