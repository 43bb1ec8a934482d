import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.harmonic import SHT, gaussian_alm, multipoles

NSIDE, LMAX = 8, 20


def coefficients(seed: int, spin: int) -> np.ndarray:
    cl = np.ones((4, LMAX + 1)) * np.array([[1.0], [1.0], [1.0], [0.0]])
    cl[1:3, :2] = 0.0
    alm = gaussian_alm(cl, np.random.default_rng(seed))
    return alm[1:] if spin else alm[0]


def product(first: np.ndarray, second: np.ndarray) -> float:
    m = multipoles(LMAX)[1]
    return float(np.sum(np.where(m == 0, 1, 2) * np.real(np.conj(first) * second)))


@pytest.mark.parametrize("spin", [0, 1, 2])
def test_adjoint_identity(spin):
    sht, rng = SHT(NSIDE, LMAX, threads=1), np.random.default_rng(1)
    alm = coefficients(0, spin)
    maps = rng.standard_normal((*alm.shape[:-1], sht.npix))
    left, right = product(sht.adjoint(maps, spin), alm), np.sum(maps * sht.synthesis(alm, spin))
    assert left == pytest.approx(right, rel=1e-12)


def test_synthesis_and_analysis_are_healpys():
    sht = SHT(NSIDE, LMAX, threads=1)
    alm = np.concatenate([coefficients(3, 0)[None], coefficients(4, 2)])
    expected = hp.alm2map(alm, NSIDE, lmax=LMAX)
    maps = np.concatenate([sht.synthesis(alm[:1]), sht.synthesis(alm[1:], spin=2)])
    np.testing.assert_allclose(maps, expected, atol=1e-11)
    back = hp.map2alm(expected, lmax=LMAX, iter=3)
    np.testing.assert_allclose(sht.analysis(maps[0]), back[0], atol=1e-12)
    np.testing.assert_allclose(sht.analysis(maps[1:], spin=2), back[1:], atol=1e-12)


def test_spin_one_is_healpys():
    sht, alm = SHT(NSIDE, LMAX, threads=1), coefficients(4, 1)
    alm[:, np.equal(multipoles(LMAX)[0], 0)] = 0.0
    expected = np.stack(hp.alm2map_spin(list(alm), NSIDE, 1, LMAX))
    np.testing.assert_allclose(sht.synthesis(alm, spin=1), expected, atol=1e-11)


def test_multipoles_are_healpys():
    np.testing.assert_array_equal(multipoles(LMAX), hp.Alm.getlm(LMAX))


@pytest.mark.parametrize("spin", [0, 1, 2])
def test_gradients_match_finite_differences(spin):
    sht, rng = SHT(NSIDE, LMAX, threads=1), np.random.default_rng(5)
    alm, along = jnp.asarray(coefficients(6, spin)), jnp.asarray(coefficients(7, spin))
    weight = jnp.asarray(rng.standard_normal((*alm.shape[:-1], sht.npix)))

    def of_alm(x):
        return jnp.sum(weight * sht.synthesis(x, spin) ** 3)

    def of_maps(m):
        return jnp.sum(jnp.abs(sht.analysis(m, spin, iterations=1)) ** 2)

    step = 1e-4
    for function, point, direction in (
        (of_alm, alm, along),
        (of_maps, sht.synthesis(alm, spin), weight),
    ):
        slope = (function(point + step * direction) - function(point - step * direction)) / step / 2
        # JAX gives the conjugate of the steepest direction of a real function.
        exact = jnp.sum(jnp.real(jax.jit(jax.grad(function))(point) * direction))
        assert float(exact) == pytest.approx(float(slope), rel=1e-7)


def test_batches_are_the_maps_one_by_one():
    sht = SHT(NSIDE, LMAX, threads=1)
    alm = np.stack([coefficients(seed, 2) for seed in range(3)])
    each = np.stack([sht.synthesis(a, spin=2) for a in alm])
    np.testing.assert_allclose(sht.synthesis(alm, spin=2), each, atol=1e-12)
    batched = jax.vmap(lambda a: sht.synthesis(a, spin=2))(jnp.asarray(alm))
    np.testing.assert_allclose(batched, each, atol=1e-12)


def test_single_precision_stays_single():
    sht = SHT(NSIDE, LMAX, threads=1)
    alm = coefficients(0, 0).astype(np.complex64)
    assert sht.synthesis(alm).dtype == np.float32
    gradient = jax.grad(lambda a: jnp.sum(sht.synthesis(a) ** 2))(jnp.asarray(alm))
    assert gradient.dtype == jnp.complex64


def test_bad_input_is_named():
    sht = SHT(NSIDE, LMAX)
    with pytest.raises(ValueError, match="nside: expected a power of two"):
        SHT(12, 20)
    with pytest.raises(ValueError, match="lmax: expected 0 or more"):
        SHT(8, -1)
    with pytest.raises(ValueError, match="spin: expected 0, 1 or 2"):
        sht.synthesis(np.zeros(sht.size, complex), spin=3)
    with pytest.raises(ValueError, match=r"maps: expected shape \(\.\.\., 2, 768\)"):
        sht.adjoint(np.zeros((3, 768)), spin=2)
    with pytest.raises(ValueError, match="alm: expected shape"):
        sht.synthesis(np.zeros(5, complex))
