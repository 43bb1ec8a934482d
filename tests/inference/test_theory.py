import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.harmonic import CMBSpectra
from skysift.inference import (
    DepthSpectra,
    OpticalDepth,
    Parameter,
    PolarisationPeaks,
    Prior,
    TemperaturePeak,
    TensorsAndDepth,
)

PLANCK_TAU = 0.0544


def test_peaks_are_those_of_the_formula():
    cl = PolarisationPeaks(47)(jnp.array([[6.5, 19.0]]))
    for row, at in zip(cl[0], (6.5, 19.0), strict=True):
        expected = [np.exp(-((ell - at) ** 2) / 50) + 1e-5 for ell in range(48)]
        np.testing.assert_allclose(row, expected, rtol=1e-12)
    np.testing.assert_allclose(TemperaturePeak(47)(jnp.array([19.0]))[0], cl[0, 1], rtol=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.01])
def test_spectra_at_the_tau_of_planck_are_those_of_its_own_run_of_camb(r):
    expected = CMBSpectra.packaged().cl(r=r, lmax=383)[1:3, 2:]
    found = TensorsAndDepth(383)(jnp.array([r, PLANCK_TAU]))[:, 2:]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_tensors_are_those_of_r_one_and_lensing_scales():
    scalar, tensor = jnp.split(DepthSpectra.packaged()(jnp.array(0.07), 47), 2)
    found = TensorsAndDepth(47, a_lens=0.5)(jnp.array([0.004, 0.07]))
    np.testing.assert_allclose(found[0], scalar[0] + 0.004 * tensor[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], 0.5 * scalar[1] + 0.004 * tensor[1], rtol=1e-12)
    np.testing.assert_allclose(OpticalDepth(47)(jnp.array([0.07])), scalar, rtol=1e-12)


def test_power_goes_as_depth_says():
    ee = OpticalDepth(300)(jnp.array([[0.04], [0.08]]))[:, 0]
    np.testing.assert_allclose(ee[1, 200:] / ee[0, 200:], np.exp(-0.08), rtol=2e-3)
    assert 3.0 < ee[1, 4] / ee[0, 4] < 5.0  # the bump goes as tau squared


def test_slope_is_the_finite_difference():
    theory = TensorsAndDepth(47)
    at, step = jnp.array([0.004, 0.05]), jnp.array([0.0, 1e-6])
    expected = (theory(at + step) - theory(at - step)) / 2e-6
    np.testing.assert_allclose(jax.jacfwd(theory)(at)[..., 1], expected, rtol=1e-6, atol=1e-12)


def test_precision_is_that_of_the_parameters():
    assert OpticalDepth(47)(jnp.array([0.05], jnp.float32)).dtype == jnp.float32


def test_bad_spectra_are_named():
    with pytest.raises(ValueError, match="lmax: expected 2 to 383"):
        OpticalDepth(500)
    with pytest.raises(ValueError, match="lmax: expected 2 or more"):
        TemperaturePeak(1)
    with pytest.raises(ValueError, match="a_lens: expected more than 0"):
        TensorsAndDepth(47, a_lens=float("nan"))


def test_prior_is_uniform_between_its_bounds():
    prior = Prior((Parameter("r", 0.0, 0.01), Parameter("tau", 0.03, 0.08)))
    draws = np.asarray(prior.sample(jax.random.key(0), 4000))
    assert prior.holds(draws).all()
    np.testing.assert_allclose(draws.std(axis=0), prior.deviation, rtol=0.03)
    np.testing.assert_allclose(draws.mean(axis=0), [0.005, 0.055], rtol=0.03)


def test_parameters_outside_the_prior_are_refused():
    prior = Prior((Parameter("r", 0.0, 0.01), Parameter("tau", 0.03, 0.08)))
    prior.check(np.array([[0.0, 0.08]], np.float32))
    assert prior.holds([[0.0, 0.09], [0.0, 0.05], [np.nan, 0.05]]).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"expected r 0 to 0.01, tau 0.03 to 0.08, got 1 sets"):
        prior.check(np.array([[0.0, 0.09], [0.0, 0.05]]))
    with pytest.raises(ValueError, match=r"expected shape \(..., 2\)"):
        prior.check(np.array([0.1]))
    with pytest.raises(ValueError, match="low below high"):
        Parameter("tau", 0.08, 0.03)
    with pytest.raises(ValueError, match="different names"):
        Prior((Parameter("tau", 0.0, 1.0), Parameter("tau", 0.0, 2.0)))
