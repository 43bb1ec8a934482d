import numpy as np
import pytest

import skysift as ss
from skysift.cosmology import Residuals, ResidualSpectra, residual_spectra
from skysift.harmonic import CMBSpectra, PseudoOptions, PseudoSpectra, gaussian_maps
from skysift.maps import Maps, Stokes

NSIDE = 16
THEORY = CMBSpectra.packaged()
MASK = ss.galactic_mask("GAL080", NSIDE)


def left(tensors: float, noise: float, count: int, masked: bool = True) -> Residuals:
    """Residuals whose systematic part has the spectrum of tensors."""
    rng = np.random.default_rng(0)
    grid = ss.Grid(NSIDE)
    cl = tensors * THEORY.tensor[:, : 3 * NSIDE]
    systematic = Maps(gaussian_maps(cl, NSIDE, Stokes.QU, rng), grid, Stokes.QU)
    scatter = noise * rng.standard_normal((count, 2, grid.size))
    total = systematic.replace(systematic.values + scatter)
    if masked:
        systematic, total = systematic.masked(MASK), total.masked(MASK)
    return Residuals(total, systematic)


def test_the_full_sky_gives_the_spectra_of_the_maps():
    residuals = left(0.01, 0.01, 3, masked=False)
    spectra = residual_spectra(residuals)
    direct = PseudoSpectra.of(residuals.total.grid)
    for part in ("total", "systematic", "statistical"):
        expected = direct(getattr(residuals, part)).values["BB"]
        found = getattr(spectra, part).values["BB"]
        np.testing.assert_allclose(np.squeeze(found), np.squeeze(expected), rtol=1e-9)


def test_power_that_looks_like_tensors_is_the_bias_of_r():
    biased = residual_spectra(left(0.05, 1e-3, 20)).tensor_ratio()
    clean = residual_spectra(left(0.0, 1e-3, 20)).tensor_ratio()
    assert abs(clean.r) < 0.2 * clean.sigma_plus
    # One sky of tensors has cosmic variance, and E power on the cut sky is about a tenth of B.
    assert biased.r == pytest.approx(0.05, rel=0.4)


def test_noise_widens_the_interval_and_does_not_move_it():
    quiet = residual_spectra(left(0.0, 1e-3, 40)).tensor_ratio()
    loud = residual_spectra(left(0.0, 3e-2, 40)).tensor_ratio()
    assert loud.sigma_plus > 2 * quiet.sigma_plus
    assert abs(loud.r) < 0.3 * loud.sigma_plus


def test_lensing_is_that_of_b_modes_alone():
    spectra = residual_spectra(left(0.0, 1e-3, 5))
    expected = spectra.total.expected(THEORY.cl(lmax=3 * NSIDE - 1))["BB"]
    bins = spectra.total.bins
    np.testing.assert_allclose(
        expected, bins.matrix(3 * NSIDE - 1) @ THEORY.cl(lmax=3 * NSIDE - 1)[2]
    )


def test_datasets_give_the_spectra_back():
    spectra = residual_spectra(left(0.01, 1e-2, 3))
    again = ResidualSpectra.from_dataset(spectra.to_dataset())
    for part in ("total", "systematic", "statistical"):
        one, two = getattr(spectra, part), getattr(again, part)
        assert np.array_equal(one.values["BB"], two.values["BB"])
        assert np.array_equal(one.windows["BB"], two.windows["BB"])
        assert one.fsky == two.fsky
    assert again.tensor_ratio().r == spectra.tensor_ratio().r


def test_another_estimator_and_masks_that_do_not_fit():
    residuals = left(0.01, 1e-2, 3)
    pure = residual_spectra(residuals, PseudoSpectra.of(MASK, PseudoOptions(apodisation=8.0)))
    assert "BB" in pure.total.leakage
    with pytest.raises(ValueError, match="maps: expected a value"):
        residual_spectra(residuals, PseudoSpectra.of(ss.Grid(NSIDE)))
