import dataclasses

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import solve
from skysift.cosmology import bandpower_covariance, fit_r, leaked_power
from skysift.cosmology.measure import Form, RSettings, measure_r
from skysift.cosmology.recovered_noise import amplitude_sigma, parameter_scatter
from skysift.grid import Ordering
from skysift.harmonic import Bins, CMBSpectra, PseudoOptions, PseudoSpectra, gaussian_maps
from skysift.maps import Maps, Stokes

NSIDE, SIGMA = 16, 0.02
GRID = ss.Grid(NSIDE)
THEORY = CMBSpectra.packaged()
CL = THEORY.cl(r=0.05, lmax=3 * NSIDE - 1)
CAP = ss.galactic_mask("GAL080", NSIDE)


def sky(seed, nside=NSIDE):
    generator = np.random.default_rng(seed)
    values = gaussian_maps(CL, nside, Stokes.QU, generator)
    return Maps(values + SIGMA * generator.standard_normal(values.shape), GRID, Stokes.QU)


@pytest.fixture(scope="module")
def fit():
    """A separation with one free parameter."""
    sim = ss.simulate("cr10d0", "SO_SAT", 8, seed=1)
    model = ss.SkyModel(ss.SkyModel.parse("c+d").components, {"temp_dust": 20.0})
    return ss.separate(sim.maps, "SO_SAT", model)


def test_covariance_of_the_full_sky_is_that_of_independent_modes():
    options = PseudoOptions(bins=Bins.linear(2, 31, 5))
    estimator = PseudoSpectra.of(np.ones(GRID.npix, bool), options)
    found = bandpower_covariance(estimator, CL, SIGMA, count=300, seed=2)
    power = sky(0)
    expected = estimator(power).expected(CL)["BB"] + estimator.noise_bias(SIGMA**2)["BB"]
    error = np.sqrt(np.diag(found.matrix) / 300)
    assert np.all(np.abs(found.mean - expected) < 4 * error)
    ell = np.arange(2, 32)
    each = (CL[2] + SIGMA**2 * 4 * np.pi / GRID.npix)[2:32]
    weight = (2 * ell + 1).reshape(6, 5)
    variance = np.sum(weight * 2 * each.reshape(6, 5) ** 2, axis=1) / weight.sum(axis=1) ** 2
    np.testing.assert_allclose(np.diag(found.matrix), variance, rtol=4 * np.sqrt(2 / 300))
    scale = np.sqrt(np.diag(found.matrix))
    off = found.matrix / np.outer(scale, scale) - np.eye(6)
    assert np.abs(off).max() < 4 / np.sqrt(300)


def test_spectra_of_splits_have_no_noise_bias_but_its_scatter():
    options = PseudoOptions(bins=Bins.linear(2, 31, 5))
    estimator = PseudoSpectra.of(np.ones(GRID.npix, bool), options)
    none = np.zeros_like(CL)
    split = bandpower_covariance(estimator, none, 1.0, count=200, split=True)
    error = np.sqrt(np.diag(split.matrix) / 200)
    assert np.all(np.abs(split.mean) < 4 * error)
    one = bandpower_covariance(estimator, none, 1.0, count=200)
    # Var of an auto-spectrum is 2 N^2 / nu, of a cross-spectrum N^2 / nu.
    ratio = np.diag(split.matrix) / np.diag(one.matrix)
    np.testing.assert_allclose(ratio, 0.5, rtol=0.5)


def test_beam_and_transfer_are_in_the_simulations():
    bins = Bins.each(2, 9)
    everywhere = np.ones(GRID.npix, bool)
    plain = PseudoSpectra.of(everywhere, PseudoOptions(bins=bins))
    transfer = np.stack([np.linspace(1.0, end, 3 * NSIDE) for end in (0.5, 0.7)])
    options = PseudoOptions(bins=bins, fwhm=300.0, transfer=transfer)
    smooth = PseudoSpectra.of(everywhere, options)
    first = bandpower_covariance(plain, CL, 0.0, count=12)
    second = bandpower_covariance(smooth, CL, 0.0, count=12)
    np.testing.assert_allclose(second.mean, first.mean, rtol=0.01)
    leaked = leaked_power(smooth, CL, count=3)
    assert np.abs(leaked).max() < 0.01 * first.mean.min()


def test_leaked_power_is_what_the_windows_miss():
    options = PseudoOptions(bins=Bins.linear(2, 31, 5), apodisation=4.0)
    estimator = PseudoSpectra.of(CAP, options)
    leaked = leaked_power(estimator, CL, count=60)
    found = bandpower_covariance(estimator, CL, SIGMA, count=150, seed=5)
    windows = estimator(sky(0)).expected(CL)["BB"] + estimator.noise_bias(SIGMA**2)["BB"]
    error = np.sqrt(np.diag(found.matrix) / 150)
    assert np.all(np.abs(found.mean - windows - leaked) < 4 * error)
    assert np.any(leaked > error)
    full = PseudoSpectra.of(np.ones(GRID.npix, bool), options)
    assert np.abs(leaked_power(full, CL, count=2)).max() < 0.05 * leaked.max()


def test_r_of_a_full_sky_is_that_of_its_spectrum():
    result = measure_r(sky(1), SIGMA)
    estimator = PseudoSpectra.of(np.ones(GRID.npix, bool))
    bb = estimator(sky(1)).values["BB"]
    cl = np.concatenate([[0.0, 0.0], bb])
    direct = fit_r(cl, noise=SIGMA**2 * 4 * np.pi / GRID.npix, fsky=1.0)
    assert result.r == pytest.approx(direct.r, abs=0.02 * direct.sigma_plus)
    assert abs(result.r - 0.05) < 3 * result.sigma_plus


def test_order_of_cells_missing_values_and_intensity_do_not_matter():
    settings = RSettings(form=Form.FSKY, lmin=2)
    plain = measure_r(sky(2), SIGMA, mask=CAP, settings=settings)
    nested = measure_r(sky(2).reordered(Ordering.NESTED), SIGMA, mask=CAP, settings=settings)
    assert nested.r == pytest.approx(plain.r, abs=1e-9)
    cut = measure_r(sky(2).masked(CAP), SIGMA, settings=settings)
    assert cut.r == pytest.approx(plain.r, abs=1e-9)
    values = np.where(CAP, np.asarray(sky(2).values), np.nan)
    three = Maps(np.concatenate([np.ones((1, GRID.npix)), values]), GRID, Stokes.IQU)
    sigma = np.where(CAP, SIGMA, np.nan)
    assert measure_r(three, sigma, settings=settings).r == pytest.approx(plain.r, abs=1e-9)


@pytest.mark.parametrize("split", [False, True])
def test_cut_sky_takes_simulated_covariance(split):
    settings = RSettings(lmin=2, simulations=60)
    generator = np.random.default_rng(8)
    values = gaussian_maps(CL, NSIDE, Stokes.QU, generator)
    one, two = (
        Maps(values + SIGMA * generator.standard_normal(values.shape), GRID, Stokes.QU)
        for _ in range(2)
    )
    result = measure_r(one, SIGMA, other=two if split else None, mask=CAP, settings=settings)
    assert result.name == "Hamimeche-Lewis"
    assert abs(result.r - 0.05) < 3 * result.sigma_plus
    again = measure_r(one, SIGMA, other=two if split else None, mask=CAP, settings=settings)
    assert again.r == result.r
    other = dataclasses.replace(settings, seed=1)
    changed = measure_r(one, SIGMA, other=two if split else None, mask=CAP, settings=other)
    assert 0 < abs(changed.r - result.r) < 0.5 * result.sigma_plus


def test_noise_of_a_recovered_cmb(fit):
    sigma = amplitude_sigma(fit)
    assert sigma.shape == (2, fit.grid.npix)
    noise = ss.simulate("cr10d0", "SO_SAT", 8, seed=5).noise
    left = solve(fit.problem.held(fit.theta).with_maps(noise)).components["cmb"]
    pulls = np.asarray(left.values) / sigma
    assert pulls.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pulls.size))


def test_scatter_of_parameters_is_their_error_times_the_slope(fit):
    scatter = np.asarray(parameter_scatter(fit, count=120).values)
    step = 1e-4
    up, down = (
        np.asarray(solve(fit.problem.held(fit.theta + s)).components["cmb"].values)
        for s in (step, -step)
    )
    expected = np.abs(up - down) / (2 * step) * fit.errors["beta_dust"][0]
    np.testing.assert_allclose(scatter.std(axis=0), expected, rtol=5 / np.sqrt(240))
    two = parameter_scatter(fit, 2).values
    assert np.any(parameter_scatter(fit, 2, seed=1).values != two)


def test_scatter_of_parameters_that_are_held_is_none(fit):
    held = solve(fit.problem.held(fit.theta))
    assert np.abs(parameter_scatter(held, 2).values).max() < 1e-12


def test_bad_input_is_named(fit):
    intensity = Maps(np.zeros((1, GRID.npix)), GRID, Stokes.I)
    with pytest.raises(ValueError, match="cmb: expected Q and U, got I"):
        measure_r(intensity, SIGMA)
    with pytest.raises(ValueError, match="cmb: expected one map in uK_CMB"):
        measure_r(sky(0).replace(np.zeros((3, 2, GRID.npix))), SIGMA)
    with pytest.raises(ValueError, match="mask: expected cells with values of Q and U, got none"):
        measure_r(sky(0).replace(np.full((2, GRID.npix), np.nan)), SIGMA)
    with pytest.raises(ValueError, match="sigma: expected finite standard deviations"):
        measure_r(sky(0), np.where(CAP, SIGMA, np.nan))
    with pytest.raises(ValueError, match="sigma: expected finite standard deviations"):
        bandpower_covariance(PseudoSpectra.of(CAP), CL, -1.0)
    with pytest.raises(ValueError, match="count: expected more than"):
        bandpower_covariance(PseudoSpectra.of(CAP), CL, 1.0, count=5)
    dust = dataclasses.replace(fit, model=ss.SkyModel.parse("d"))
    with pytest.raises(ValueError, match="fit: expected a model with a CMB, got dust"):
        amplitude_sigma(dust)
    with pytest.raises(ValueError, match="fit: expected weights that are inverse noise variances"):
        parameter_scatter(dataclasses.replace(fit, calibrated=False))
