import numpy as np
import pytest

from skysift.harmonic import CMBSpectra


def test_spectra_are_linear_in_r_and_a_lens_acts_on_bb():
    spectra = CMBSpectra.packaged()
    zero, one, some = (spectra.cl(r=r) for r in (0.0, 1.0, 0.3))
    np.testing.assert_allclose(some, 0.7 * zero + 0.3 * one, rtol=1e-12)
    delensed = spectra.cl(a_lens=0.25)
    np.testing.assert_allclose(delensed[2], 0.25 * zero[2], rtol=1e-12)
    np.testing.assert_array_equal(delensed[[0, 1, 3]], zero[[0, 1, 3]])


def test_levels_agree_with_the_spectra_of_litebird_sim():
    # C_l of litebird-sim 0.18.0 (Planck 2018, n_t = 0, pivot 0.05 / Mpc), at l = 2 and 80 [uK^2].
    tensor = CMBSpectra.packaged().tensor
    np.testing.assert_allclose(tensor[2, [2, 80]], [0.01574, 6.287e-5], rtol=0.008)
    scalar = CMBSpectra.packaged().lensed_scalar
    np.testing.assert_allclose(scalar[0, [2, 80, 500]], [1069, 2.057, 0.06137], rtol=2e-3)
    np.testing.assert_allclose(scalar[2, [2, 80, 500]], [1.913e-6, 1.983e-6, 1.548e-6], rtol=0.01)


def test_correlations_are_possible():
    cl = CMBSpectra.packaged().cl(r=0.1)
    assert np.all(cl[3] ** 2 <= cl[0] * cl[1])
    np.testing.assert_array_equal(cl[:, :2], 0.0)


def test_bad_input_is_named():
    spectra = CMBSpectra.packaged()
    with pytest.raises(ValueError, match="r: expected a number not below zero"):
        spectra.cl(r=-0.1)
    with pytest.raises(ValueError, match="lmax: expected 0 to 3071"):
        spectra.cl(lmax=5000)
    with pytest.raises(ValueError, match="tensor: expected the shape"):
        CMBSpectra(np.zeros((4, 5)), np.zeros((4, 6)))
