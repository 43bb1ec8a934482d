import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.harmonic import SHT, Backend, gaussian_alm, multipoles

NSIDE, LMAX = 4, 11
HERE = SHT(NSIDE, LMAX, threads=1)
INSIDE = SHT(NSIDE, LMAX, backend=Backend.LEGENDRE)


def coefficients(seed: int, spin: int, lmax: int = LMAX) -> np.ndarray:
    cl = np.ones((4, lmax + 1)) * np.array([[1.0], [1.0], [1.0], [0.0]])
    cl[1:3, :2] = 0.0
    alm = gaussian_alm(cl, np.random.default_rng(seed))
    return alm[1:] if spin else alm[0]


def pixels(seed: int, spin: int, npix: int = HERE.npix) -> np.ndarray:
    shape = (2, npix) if spin else (npix,)
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("spin", [0, 1, 2])
@pytest.mark.parametrize(("nside", "lmax"), [(1, 4), (2, 9), (4, 11)])
def test_transforms_are_duccs(nside, lmax, spin):
    inside, here = SHT(nside, lmax, backend=Backend.LEGENDRE), SHT(nside, lmax, threads=1)
    alm, maps = coefficients(0, spin, lmax), pixels(1, spin, here.npix)
    found = inside.synthesis(jnp.asarray(alm), spin)
    np.testing.assert_allclose(found, here.synthesis(alm, spin), atol=1e-12)
    found = inside.adjoint(jnp.asarray(maps), spin)
    np.testing.assert_allclose(found, here.adjoint(maps, spin), atol=1e-12)


def test_polarised_maps_are_healpys():
    alm = np.concatenate([coefficients(3, 0)[None], coefficients(4, 2)])
    expected = hp.alm2map(alm, NSIDE, lmax=LMAX)
    found = INSIDE.synthesis(jnp.asarray(alm[1:]), spin=2)
    np.testing.assert_allclose(found, expected[1:], atol=1e-12)
    back = INSIDE.analysis(jnp.asarray(expected[1:]), spin=2)
    np.testing.assert_allclose(back, hp.map2alm(expected, lmax=LMAX, iter=3)[1:], atol=1e-12)


@pytest.mark.parametrize("spin", [0, 2])
def test_adjoint_identity_in_single_precision(spin):
    alm = jnp.asarray(coefficients(0, spin), jnp.complex64)
    maps = jnp.asarray(pixels(1, spin), jnp.float32)
    back, seen = INSIDE.adjoint(maps, spin), INSIDE.synthesis(alm, spin)
    assert (back.dtype, seen.dtype) == (jnp.complex64, jnp.float32)
    weight = np.where(multipoles(LMAX)[1] == 0, 1.0, 2.0)
    left = float(jnp.sum(weight * jnp.real(jnp.conj(back) * alm)))
    assert left == pytest.approx(float(jnp.sum(maps * seen)), rel=1e-4)


@pytest.mark.parametrize("spin", [0, 2])
def test_derivatives_are_those_of_ducc(spin):
    alm, along = jnp.asarray(coefficients(6, spin)), jnp.asarray(coefficients(7, spin))
    maps = jnp.asarray(pixels(8, spin))

    def of_alm(x, sht):
        return jnp.sum(maps * sht.synthesis(x, spin) ** 3)

    def of_maps(m, sht):
        return jnp.sum(jnp.abs(sht.analysis(m, spin, iterations=1)) ** 2)

    for function, point in ((of_alm, alm), (of_maps, maps)):
        slope = jax.jit(jax.grad(function), static_argnums=1)
        np.testing.assert_allclose(slope(point, INSIDE), slope(point, HERE), rtol=1e-9, atol=1e-9)
    _, forward = jax.jvp(lambda x: of_alm(x, INSIDE), (alm,), (along,))
    back = jnp.sum(jnp.real(jax.grad(of_alm)(alm, INSIDE) * along))
    assert float(forward) == pytest.approx(float(back), rel=1e-12)


def test_batches_are_the_maps_one_by_one():
    maps = np.stack([[pixels(seed, 2) for seed in pair] for pair in ((0, 1, 2), (3, 4, 5))])
    each = np.stack([HERE.adjoint(pair, spin=2) for pair in maps])
    np.testing.assert_allclose(INSIDE.adjoint(jnp.asarray(maps), spin=2), each, atol=1e-12)
    batched = jax.vmap(lambda m: INSIDE.adjoint(m, spin=2), in_axes=1)(jnp.asarray(maps))
    np.testing.assert_allclose(batched, each.transpose(1, 0, 2, 3), atol=1e-12)


def test_least_squares_finds_what_a_map_was_made_of():
    alm = np.stack([coefficients(seed, 2) for seed in (0, 1)])
    maps = jnp.asarray(HERE.synthesis(alm, spin=2))

    def power(m):
        found = INSIDE.least_squares(m, spin=2)
        return jnp.sum(jnp.abs(found) ** 2), found

    (total, found), slope = jax.jit(jax.value_and_grad(power, has_aux=True))(maps)
    np.testing.assert_allclose(found, alm, atol=1e-8)
    assert np.abs(HERE.analysis(np.asarray(maps), spin=2) - alm).max() > 1e-3
    # The power is quadratic in the maps.
    assert float(jnp.sum(slope * maps)) == pytest.approx(2.0 * float(total), rel=1e-8)


def test_least_squares_refuses_what_cells_cannot_tell():
    with pytest.raises(ValueError, match="lmax: expected at most 11"):
        SHT(4, 12).least_squares(np.zeros(192))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="maps: expected shape"):
        INSIDE.adjoint(jnp.zeros((3, 192)), spin=2)
    with pytest.raises(ValueError, match="alm: expected shape"):
        INSIDE.synthesis(jnp.zeros(5, complex))
