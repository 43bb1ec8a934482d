import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering.sphere.gauss_legendre import GaussLegendre

from ..oracles.scattering import Legendre, unpacked

LMAX = 7
GRID = GaussLegendre(LMAX)
SPINS = (0, 1, 2, 4)


def coefficients(seed=0, lmax=LMAX, leading=()):
    """Random coefficients of real fields, packed."""
    rng = np.random.default_rng(seed)
    size = GaussLegendre(lmax).size
    alm = rng.standard_normal((*leading, size)) + 1j * rng.standard_normal((*leading, size))
    alm[..., : lmax + 1] = alm[..., : lmax + 1].real
    return alm


def test_directions_and_weights():
    theta, phi = GRID.directions()
    assert theta.shape == phi.shape == GRID.weights.shape == (GRID.npix,)
    assert np.all(np.diff(theta) >= 0.0)
    np.testing.assert_allclose(GRID.weights.sum(), 1.0, rtol=1e-14)
    # Exact to degree 2 lmax: the average of cos^n over the sphere is 1 / (n + 1) for even n.
    for power in range(0, 2 * LMAX + 1, 2):
        average = np.sum(GRID.weights * np.cos(theta) ** power)
        np.testing.assert_allclose(average, 1.0 / (power + 1), rtol=1e-13)


@pytest.mark.parametrize("spin", SPINS)
def test_synthesis_oracle(spin):
    alm = coefficients()
    oracle = Legendre(LMAX)
    # For spin > 0 coefficients are minus the gradient part.
    sign = -1.0 if spin else 1.0
    expected = sign * oracle.synthesis(unpacked(alm, LMAX), spin)
    got = np.asarray(GRID.synthesis(alm, (spin,)))
    np.testing.assert_allclose(got[0], expected.real, atol=1e-12)
    if spin:
        np.testing.assert_allclose(got[1], expected.imag, atol=1e-12)


def test_analysis_inverts_synthesis():
    alm = coefficients(leading=(2,))
    back = np.asarray(GRID.analysis(GRID.synthesis(alm, SPINS), SPINS))
    assert back.shape == (2, 7, GRID.size)
    ell = np.concatenate([np.arange(m, LMAX + 1) for m in range(LMAX + 1)])
    for spin, gradient in zip(SPINS, (0, 1, 3, 5), strict=True):
        np.testing.assert_allclose(back[:, gradient], alm * (ell >= spin), atol=1e-12)
        if spin:
            np.testing.assert_allclose(back[:, gradient + 1], 0.0, atol=1e-12)


def test_synthesis_derivative_is_adjoint():
    alm = coefficients(1)
    field = jnp.asarray(np.random.default_rng(2).standard_normal((7, GRID.npix)))
    pulled = jax.vjp(lambda a: GRID.synthesis(a, SPINS), jnp.asarray(alm))[1](field)[0]
    # JAX's cotangent is the conjugate of the gradient, and m > 0 counts twice already.
    right = np.sum(np.real(np.asarray(pulled) * alm))
    left = np.sum(np.asarray(field) * np.asarray(GRID.synthesis(alm, SPINS)))
    np.testing.assert_allclose(left, right, rtol=1e-13)


def test_analysis_derivative_is_adjoint():
    rng = np.random.default_rng(3)
    fields = jnp.asarray(rng.standard_normal((7, GRID.npix)))
    shape = (7, GRID.size)
    cotangent = jnp.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    value, pull = jax.vjp(lambda x: GRID.analysis(x, SPINS), fields)
    left = np.sum(np.real(np.asarray(cotangent) * np.asarray(value)))
    right = np.sum(np.asarray(pull(cotangent)[0]) * np.asarray(fields))
    np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("spins", [(0,), (0, 2)])
def test_gradient_finite_difference(spins):
    alm = jnp.asarray(coefficients(4))

    def objective(a):
        fields = jnp.exp(0.3 * GRID.synthesis(a, spins))
        back = GRID.analysis(fields, spins)
        return jnp.sum(jnp.abs(back) ** 2)

    step = jnp.asarray(coefficients(5))
    expected = (objective(alm + 1e-6 * step) - objective(alm - 1e-6 * step)) / 2e-6
    got = jax.jvp(objective, (alm,), (step,))[1]
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    reverse = jnp.sum(jnp.real(jax.grad(objective)(alm) * step))
    np.testing.assert_allclose(reverse, expected, rtol=1e-7)


def test_single_precision_and_batch():
    alm = coefficients(6, leading=(3, 2))
    double = np.asarray(GRID.synthesis(alm, SPINS))
    single = np.asarray(GRID.synthesis(alm.astype(np.complex64), SPINS))
    assert single.dtype == np.float32
    assert double.shape == (3, 2, 7, GRID.npix)
    np.testing.assert_allclose(single, double, atol=2e-5)
    np.testing.assert_allclose(double[2, 1], GRID.synthesis(alm[2, 1], SPINS), rtol=1e-13)
    mapped = jax.vmap(lambda a: GRID.analysis(GRID.synthesis(a, SPINS), SPINS))(alm)
    assert mapped.shape == (3, 2, 7, GRID.size)
    back = GRID.analysis(jnp.asarray(single), SPINS)
    assert back.dtype == np.complex64
    np.testing.assert_allclose(back[..., 0, :], alm, atol=2e-5)
