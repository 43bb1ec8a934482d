import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from skysift import Grid
from skysift.inference import (
    GaussianSky,
    HarmonicLikelihood,
    PixelLikelihood,
    PolarisationPeaks,
    Protocol,
    RandomCaps,
    Shared,
    TemperaturePeak,
    TensorsAndDepth,
    cap,
    limits,
    t1,
    t2,
    t3,
    t4,
)

HALF = Shared(Grid.from_mask(cap(0.3, 4)))
CUT = GaussianSky(PolarisationPeaks(11), 4, region=HALF, noise=0.5)


def test_fisher_is_the_curvature_of_the_likelihood():
    likelihood, at = HarmonicLikelihood(TensorsAndDepth(47), 1e-6), jnp.array([0.003, 0.054])
    # The likelihood is linear in the spectra: its mean is that of the mean spectra.
    observed = (likelihood.theory(at) + likelihood.noise)[None]
    curvature = jax.jit(jax.hessian(lambda p: likelihood(observed, p[None, None])[0, 0]))(at)
    np.testing.assert_allclose(likelihood.fisher(np.asarray(at)), -curvature, rtol=1e-9)
    part = likelihood.fisher(np.asarray(at), fsky=0.1)
    np.testing.assert_allclose(part, -0.1 * curvature, rtol=1e-9)


def test_covariance_of_cells_is_the_sum_of_legendre_polynomials():
    simulator = GaussianSky(TemperaturePeak(7), 4, noise=2.0, region=HALF)
    likelihood = PixelLikelihood(simulator)
    cl = np.exp(-((np.arange(8) - 6.0) ** 2) / 50) + 1e-5
    vectors = HALF.grid.vectors()
    polynomial = scipy.special.eval_legendre(np.arange(8), (vectors @ vectors.T)[..., None])
    expected = polynomial @ (cl * (2 * np.arange(8) + 1) / (4 * np.pi)) + 4.0 * np.eye(len(vectors))
    np.testing.assert_allclose(likelihood.covariance(np.array([6.0])), expected, atol=1e-12)


def test_likelihood_of_cells_is_that_of_scipy():
    likelihood = PixelLikelihood(CUT)
    truth, observed = CUT.in_double().batch(jax.random.key(0), 2)
    values = likelihood.values(observed.values)
    points = np.array([[6.0, 9.0], [8.0, 9.0], *np.asarray(truth)])
    expected = [
        scipy.stats.multivariate_normal(cov=likelihood.covariance(point)).logpdf(values)
        for point in points
    ]
    constant = -0.5 * likelihood.size * np.log(2 * np.pi)
    np.testing.assert_allclose(likelihood(values, points) + constant, np.transpose(expected))


def test_fisher_of_cells_is_the_curvature_of_the_divergence():
    likelihood, at = PixelLikelihood(CUT), np.array([8.0, 12.0])
    root = np.linalg.inv(np.linalg.cholesky(likelihood.covariance(at)))

    def divergence(step: np.ndarray) -> float:
        # Of a Gaussian from another whose covariance is moved: half the Fisher matrix at first.
        values = np.linalg.eigvalsh(root @ likelihood.covariance(at + step) @ root.T)
        return float(0.5 * np.sum(values - 1.0 - np.log(values)))

    fisher = likelihood.fisher(at)
    for direction in np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]):
        both = divergence(0.01 * direction) + divergence(-0.01 * direction)
        assert both / 1e-4 == pytest.approx(direction @ fisher @ direction, rel=1e-3)


def test_full_sky_of_cells_knows_what_coefficients_know():
    # Low multipoles of many cells: the quadrature is all but exact.
    simulator = GaussianSky(PolarisationPeaks(6), 8, noise=0.3)
    at = np.array([5.5, 7.0])
    pixels = PixelLikelihood(simulator).fisher(at)
    np.testing.assert_allclose(pixels, limits.fisher(simulator, at), rtol=0.02, atol=1e-3)


def test_errors_of_the_full_sky_are_those_published():
    # Exact limits of an independent computation.
    for simulator, count, expected in ((t1(), 128, [0.53]), (t2(), 64, [0.537, 0.537])):
        found = limits.full_sky(simulator, count, seed=5)
        assert found.method is limits.Method.HARMONIC
        assert np.all(np.abs(found.error - expected) < 3.5 * found.uncertainty)
        assert found.posteriors is not None
        np.testing.assert_allclose(found.posteriors.scatter, 1.0, atol=0.3)


def test_posteriors_of_cells_are_as_wide_as_they_scatter():
    found = limits.limit(CUT, count=128)
    assert found.method is limits.Method.PIXELS
    assert found.posteriors is not None
    np.testing.assert_allclose(found.posteriors.scatter, 1.0, atol=0.2)
    # A wide posterior knows the prior as well, which a Fisher matrix does not.
    assert np.all(found.rmse < CUT.prior.deviation)


def test_posteriors_do_not_depend_on_the_nodes():
    coarse, fine = (limits.cut_sky(CUT, 20, spacing=parts) for parts in (15, 30))
    assert coarse.posteriors is not None
    assert fine.posteriors is not None
    off = np.abs(coarse.posteriors.means - fine.posteriors.means)
    assert np.all(off < 0.05 * fine.posteriors.deviations)


def test_narrow_posteriors_are_those_of_the_fisher_matrix():
    exact = limits.full_sky(t3(), count=384)
    expected = limits.fisher_limit(t3(), scaled=True, nodes=8)
    assert abs(exact.error[0] - expected.error[0]) < 4 * exact.uncertainty[0]
    assert expected.rmse[0] == pytest.approx(exact.rmse[0], rel=0.15)


def test_bounds_of_the_reference_follow_from_its_lensing():
    # Its spectra lack a quarter of the lensing power; the full sky times its part.
    for nside, fsky, depth, expected in (
        (16, 1.0, 0.0, (3.464e-4, 1.938e-3)),
        (16, 0.1, 6.0, (2.232e-3, 6.477e-3)),
        (128, 1.0, 6.0, (5.695e-4, 1.335e-3)),
    ):
        area = (depth * np.pi / 10800) ** 2
        likelihood = HarmonicLikelihood(TensorsAndDepth(3 * nside - 1, a_lens=0.72), area)
        matrix = likelihood.fisher(np.array([0.003, 0.054]), fsky)
        np.testing.assert_allclose(np.sqrt(np.diag(np.linalg.inv(matrix))), expected, rtol=0.006)
    sigma = np.sqrt(np.diag(np.linalg.inv(limits.fisher(t4(depth=6.0), np.array([0.003, 0.054])))))
    assert sigma[0] == pytest.approx(7.56e-4, rel=0.01)


def test_limits_fit_the_maps():
    large = limits.limit(t4(64, 0.1))
    assert large.method is limits.Method.FISHER_SCALED
    assert np.isinf(large.error[0])
    own = limits.fisher_limit(CUT, nodes=2)
    assert own.method is limits.Method.FISHER
    assert np.all(own.rmse > limits.fisher_limit(CUT, nodes=2, scaled=True).rmse)


def test_bad_limits_are_named():
    with pytest.raises(ValueError, match="simulator: expected the physical protocol"):
        limits.limit(t2(protocol=Protocol.AS_PUBLISHED))
    with pytest.raises(ValueError, match="simulator: expected one mask for all maps"):
        PixelLikelihood(GaussianSky(PolarisationPeaks(11), 4, region=RandomCaps(0.2)))
    with pytest.raises(ValueError, match="simulator: expected at most 4000 values"):
        PixelLikelihood(t2(1.0))
    with pytest.raises(ValueError, match="as there are modes"):
        PixelLikelihood(GaussianSky(PolarisationPeaks(11), 4))
    with pytest.raises(ValueError, match="got 1 sets outside"):
        limits.fisher(t3(), np.array([0.2]))
