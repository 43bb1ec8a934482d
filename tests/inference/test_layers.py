import functools

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from skysift.harmonic import SHT, multipoles
from skysift.inference.layers import (
    Fields,
    Gains,
    HarmonicConvolution,
    HarmonicFilter,
    ParityActivation,
    ParityFilter,
    Transform,
    analysed,
    cross_powers,
    powers,
)
from skysift.maps import Stokes

NSIDE, LMAX = 4, 8
EXACT = Transform(SHT(NSIDE, LMAX, threads=1), iterations=None)
QUADRATURE = Transform(EXACT.sht, iterations=1)
ELL, M = multipoles(LMAX)


def coefficients(seed: int, channels: int, lowest: int = 0) -> np.ndarray:
    """Random, of real fields, `(channel, alm)`."""
    parts = np.random.default_rng(seed).standard_normal((2, channels, ELL.size))
    alm = parts[0] + 1j * np.where(M > 0, parts[1], 0.0)
    return np.where(lowest > ELL, 0.0, alm)


def rotated(alm: np.ndarray) -> np.ndarray:
    """About axes that are not those of the poles."""
    out = np.array(alm)
    for one in out.reshape(-1, ELL.size):
        hp.rotate_alm(one, 0.7, 1.1, -0.4, lmax=LMAX)
    return out


def broken(kind: Gains, spin: int) -> float:
    """How far a convolution of a rotated sky is from the rotated convolution."""
    layer = HarmonicConvolution(EXACT, 2, 3, key=jax.random.key(0), spin=spin, kind=kind)
    alm = coefficients(0, 4 if spin else 2, spin).reshape(2, *([2] if spin else []), -1)

    @jax.jit
    def convolved(one):
        return EXACT.analysis(layer(EXACT.synthesis(one, spin)[None]), spin)[0]

    def through(one: np.ndarray) -> np.ndarray:
        return np.asarray(convolved(one))

    expected = rotated(through(alm))
    return float(np.abs(through(rotated(alm)) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("spin", [0, 2])
def test_convolutions_commute_with_rotations(spin):
    assert broken(Gains.DEGREE, spin) < 1e-8


@pytest.mark.parametrize("spin", [0, 2])
def test_gains_of_each_coefficient_do_not_commute_with_rotations(spin):
    assert broken(Gains.COEFFICIENT, spin) > 0.3


@pytest.mark.parametrize("kind", list(Gains))
@pytest.mark.parametrize("field", [0, 1])
def test_e_does_not_leak_into_b_nor_b_into_e(field, kind):
    layer = HarmonicConvolution(EXACT, 1, 2, key=jax.random.key(1), spin=2, kind=kind)
    alm = np.zeros((1, 1, 2, ELL.size), complex)
    alm[0, 0, field] = coefficients(1, 1, 2)[0]
    through = jax.jit(lambda x: EXACT.analysis(layer(EXACT.synthesis(x, 2)), 2))
    made = through(jnp.asarray(alm))
    assert float(abs(made[:, :, field]).max()) > 0.1
    assert float(abs(made[:, :, 1 - field]).max()) < 1e-8


def test_a_convolution_multiplies_by_its_gains():
    layer = HarmonicConvolution(EXACT, 2, 1, key=jax.random.key(2))
    alm = coefficients(2, 2)
    gains = np.asarray(layer.filters[0].gains[0, 0], float)
    expected = sum(hp.almxfl(one, gain) for one, gain in zip(alm, gains, strict=True))
    found = jax.jit(functools.partial(layer))(EXACT.sht.synthesis(alm)[None])[0, 0]
    np.testing.assert_allclose(found, hp.alm2map(expected, NSIDE, lmax=LMAX), atol=1e-7)


def test_complex_gains_multiply_and_keep_maps_real():
    alm = jnp.asarray(coefficients(3, 1))
    one = HarmonicFilter(LMAX, 1, 1, key=jax.random.key(3), kind=Gains.COEFFICIENT)
    gains = np.asarray(one.gains[0, 0, 0] + 1j * np.where(M > 0, one.gains[1, 0, 0], 0.0))
    np.testing.assert_allclose(one(alm)[0], gains * alm[0], rtol=1e-6)


@pytest.mark.parametrize("kind", list(Gains))
def test_first_gains_keep_the_variance_of_white_channels(kind):
    one = HarmonicFilter(20, 30, 40, key=jax.random.key(4), kind=kind)
    ell, m = multipoles(20)
    parts = np.random.default_rng(4).standard_normal((2, 30, ell.size)) / np.sqrt(2.0)
    alm = np.where(m > 0, parts[0] + 1j * parts[1], np.sqrt(2.0) * parts[0])
    variance = float(jnp.mean(abs(one(jnp.asarray(alm))[:, m > 0]) ** 2))
    assert variance == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(("transform", "spin"), [(EXACT, 2), (QUADRATURE, 0)])
def test_derivatives_of_a_convolution(transform, spin):
    layer = HarmonicConvolution(transform, 1, 2, key=jax.random.key(5), spin=spin)
    shape = (1, 1, 2, 192) if spin else (1, 1, 192)
    maps = jax.random.normal(jax.random.key(6), shape, float)
    check_grads(jax.jit(functools.partial(layer)), (maps,), order=1, modes=["rev"], eps=1e-3)


def test_derivatives_by_gains():
    one = HarmonicFilter(LMAX, 2, 1, key=jax.random.key(7), kind=Gains.COEFFICIENT)
    alm, along = jnp.asarray(coefficients(8, 2)), jax.random.normal(jax.random.key(8), (1, 45))

    def total(gains):
        made = eqx.tree_at(lambda f: f.gains, one, gains)(alm)
        return jnp.sum(jnp.abs(along * made) ** 2)

    gains = jnp.asarray(one.gains, float)
    check_grads(jax.jit(total), (gains,), order=1, modes=["rev"], eps=1e-4)


def test_the_transpose_of_a_convolution_is_its_derivative():
    layer = HarmonicConvolution(QUADRATURE, 2, 3, key=jax.random.key(9))
    x = jax.random.normal(jax.random.key(10), (1, 2, 192), float)
    made, back = jax.vjp(jax.jit(functools.partial(layer)), x)
    y = jax.random.normal(jax.random.key(11), made.shape, float)
    assert float(jnp.sum(made * y)) == pytest.approx(float(jnp.sum(x * back(y)[0])), rel=1e-10)


def reflected(maps: Fields) -> Fields:
    """The sky seen at the opposite point; pseudoscalars change their sign."""
    vectors = np.stack(hp.pix2vec(NSIDE, np.arange(192)))
    opposite = hp.vec2pix(NSIDE, *-vectors)
    return Fields(maps.even[..., opposite], -maps.odd[..., opposite])


def test_reflections_turn_pseudoscalars_over():
    keys = jax.random.split(jax.random.key(12), 2)
    maps = Fields(*(jax.random.normal(key, (1, 2, 192), float) for key in keys))
    one = ParityFilter(LMAX, (2, 2), (3, 2), key=keys[0], cut=6)
    activation = ParityActivation((3, 2))

    @jax.jit
    def through(given: Fields) -> Fields:
        alm = one(given.like(EXACT.analysis(given.all)))
        inner = Transform(SHT(NSIDE, 6, threads=1))
        return activation(alm.like(inner.synthesis(alm.all)))

    found, expected = through(reflected(maps)), reflected(through(maps))
    assert found.counts == activation.outputs == (5, 4)
    np.testing.assert_allclose(found.even, expected.even, atol=1e-7)
    np.testing.assert_allclose(found.odd, expected.odd, atol=1e-7)
    assert float(abs(found.odd).max()) > 0.1


def test_pseudoscalars_come_from_pseudoscalars_alone():
    maps = Fields(jnp.ones((1, 2, 12)), jnp.zeros((1, 2, 12)))
    assert float(abs(ParityActivation((2, 2))(maps).odd).max()) == 0.0
    one = ParityFilter(2, (1, 0), (3, 2), key=jax.random.key(0))
    made = jax.jit(lambda x: one(Fields(x, x[:, :0])))(jnp.ones((1, 1, 6), complex))
    assert made.counts == (3, 0)


@pytest.mark.parametrize("stokes", list(Stokes))
def test_skies_are_told_apart_into_scalars_and_pseudoscalars(stokes):
    alm = np.concatenate([coefficients(13, 1), coefficients(14, 2, 2)])
    maps = hp.alm2map(alm, NSIDE, lmax=LMAX)
    rows = {Stokes.I: [0], Stokes.QU: [1, 2], Stokes.IQU: [0, 1, 2]}[stokes]
    found = analysed(Transform(EXACT.sht, iterations=12), maps[rows][None], stokes)
    np.testing.assert_allclose(found.all[0], alm[rows], atol=1e-8)
    assert found.counts == ((len(rows), 0) if stokes is Stokes.I else (len(rows) - 1, 1))


def test_powers_are_healpys():
    first, second = coefficients(15, 2), coefficients(16, 2)
    expected = hp.alm2cl(first[0], second[0], lmax=LMAX)
    np.testing.assert_allclose(cross_powers(first, second, LMAX)[0], expected, rtol=1e-10)
    np.testing.assert_allclose(powers(first, LMAX)[1], hp.alm2cl(first[1]), rtol=1e-10)


def test_rotations_leave_powers():
    alm = coefficients(17, 1)
    np.testing.assert_allclose(powers(rotated(alm), LMAX), powers(alm, LMAX), rtol=1e-10)


def test_one_map_is_as_many():
    layer = HarmonicConvolution(QUADRATURE, 1, 2, key=jax.random.key(18))
    maps = jax.random.normal(jax.random.key(19), (3, 1, 192), jnp.float32)
    made = layer(maps)
    assert made.dtype == jnp.float32
    np.testing.assert_allclose(layer(maps[1:2])[0], made[1], atol=1e-5)


def test_what_does_not_fit_is_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="spin: expected 0, or 2"):
        HarmonicConvolution(EXACT, 1, 1, key=key, spin=1)
    with pytest.raises(ValueError, match="iterations: expected 0 or more"):
        Transform(EXACT.sht, iterations=-1)
    with pytest.raises(ValueError, match="alm: expected shape"):
        HarmonicFilter(LMAX, 2, 1, key=key)(jnp.ones((1, 3, 45), complex))
    with pytest.raises(ValueError, match="cut: expected at most lmax"):
        ParityFilter(LMAX, (1, 0), (1, 0), key=key, cut=9)
    with pytest.raises(ValueError, match="Check nside and Stokes"):
        analysed(EXACT, jnp.ones((1, 2, 192)), Stokes.I)
