import healpy as hp
import numpy as np
import pytest

from skysift.grid import Grid, Ordering
from skysift.harmonic import CMBSpectra, auto_spectra, cross_cl, gaussian_alm, gaussian_maps
from skysift.maps import Maps, Stokes

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


def test_auto_spectra_are_anafast_of_the_full_sky():
    cl = CMBSpectra.packaged().cl(r=0.1, lmax=32)
    iqu = gaussian_maps(cl, NSIDE, Stokes.IQU, np.random.default_rng(1))
    expected = hp.anafast(iqu, lmax=32, iter=3)
    spectra = auto_spectra(Maps(iqu, Grid(NSIDE), Stokes.IQU), lmax=32)
    assert list(spectra) == ["TT", "EE", "BB", "TE", "EB", "TB"]
    for row, values in zip(expected, spectra.values(), strict=True):
        np.testing.assert_allclose(values, row, rtol=1e-9, atol=1e-12 * np.abs(row).max())
    # healpy keeps the monopole and dipole of polarisation at zero, as they are.
    polarised = auto_spectra(Maps(iqu[1:], Grid(NSIDE), Stokes.QU), lmax=32)
    np.testing.assert_allclose(polarised["BB"], spectra["BB"])


def test_cut_sky_and_ordering():
    rng = np.random.default_rng(0)
    white = rng.standard_normal((2, 1, hp.nside2npix(NSIDE)))
    grid = Grid(NSIDE)
    whole = Maps(white, grid, Stokes.I, channels=("a", "b"))
    mask = np.abs(grid.lonlat()[1]) > 30
    cut = auto_spectra(whole.masked(mask), lmax=32)["TT"]
    assert cut.shape == (2, 33)
    level, modes = 4 * np.pi / white.shape[-1], 2 * np.arange(33) + 1
    np.testing.assert_allclose(np.average(cut, axis=1, weights=modes), level, rtol=0.15)
    nested = auto_spectra(whole.masked(mask).reordered(Ordering.NESTED), lmax=32)["TT"]
    np.testing.assert_allclose(nested, cut, rtol=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="cl: expected TT, EE, BB, TE"):
        gaussian_alm(np.ones((3, 5)), np.random.default_rng(0))
    impossible = np.ones((4, 5)) * [[1.0], [1.0], [1.0], [2.0]]
    with pytest.raises(ValueError, match="TE\\^2 <= TT"):
        gaussian_alm(impossible, np.random.default_rng(0))
    with pytest.raises(ValueError, match="cells with a place on the sphere"):
        auto_spectra(Maps(np.zeros((1, 5)), Grid.unstructured(5), Stokes.I))
