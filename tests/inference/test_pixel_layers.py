import functools

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from skysift.inference.pixel_layers import (
    HierarchicalConvolution,
    MaskedInput,
    Pooling,
    Unseen,
    extended,
    neighbours,
    nested,
    pooled,
    ring,
)

NSIDE, NPIX = 4, 192
continued = jax.jit(extended)


def values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def mask(seed: int, count: int, part: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, NPIX)) < part


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_neighbours_are_healpys(nside):
    npix = 12 * nside**2
    cells = np.arange(float(npix))
    found = np.asarray(neighbours(jnp.asarray(cells), nside))
    expected = hp.get_all_neighbours(nside, np.arange(npix), nest=True)
    known = expected >= 0
    np.testing.assert_array_equal(found[0], cells)
    np.testing.assert_array_equal(found[1:][known], expected[known])
    direction, cell = np.nonzero(~known)
    assert direction.size >= 8
    beside = 0.5 * (expected[direction - 1, cell] + expected[(direction + 1) % 8, cell])
    np.testing.assert_array_equal(found[1:][~known], beside)
    assert (beside >= 0).all()


def test_a_convolution_is_a_sum_over_neighbours():
    layer = HierarchicalConvolution(NSIDE, 2, 3, key=jax.random.key(0))
    maps = values(0, 2, 2, NPIX)
    around = hp.get_all_neighbours(NSIDE, np.arange(NPIX), nest=True)
    weights = np.asarray(layer.weights, float)
    found = np.asarray(layer(jnp.asarray(maps)))
    for cell in np.flatnonzero((around >= 0).all(axis=0))[::17]:
        near = maps[:, :, [cell, *around[:, cell]]]
        expected = np.einsum("oik,nik->no", weights, near)
        np.testing.assert_allclose(found[:, :, cell], expected, rtol=1e-10)


def test_a_constant_stays_constant():
    layer = HierarchicalConvolution(NSIDE, 1, 2, key=jax.random.key(1))
    found = np.asarray(layer(jnp.ones((1, 1, NPIX))))
    np.testing.assert_allclose(found, found[..., :1] * np.ones(NPIX), rtol=1e-12)


def test_derivatives_of_a_convolution():
    layer = HierarchicalConvolution(2, 1, 1, key=jax.random.key(2))
    check_grads(layer, (jnp.asarray(values(2, 1, 1, 48)),), order=1, modes=["rev"], eps=1e-4)


def test_pooling_is_a_mean_or_the_largest_of_children():
    maps = values(3, NPIX)
    expected = hp.ud_grade(maps, 2, order_in="NESTED", order_out="NESTED")
    np.testing.assert_allclose(pooled(jnp.asarray(maps)), expected, rtol=1e-12)
    largest = pooled(jnp.asarray(maps), Pooling.LARGEST)
    assert float(largest[5]) == maps[20:24].max()


def test_orders_are_healpys():
    maps = values(4, 2, NPIX)
    expected = hp.reorder(maps, r2n=True)
    np.testing.assert_array_equal(nested(jnp.asarray(maps), NSIDE), expected)
    np.testing.assert_array_equal(ring(jnp.asarray(expected), NSIDE), maps)


def test_a_continuation_keeps_what_is_seen_and_stays_between_it():
    maps, seen = values(5, 3, 1, NPIX), mask(5, 3, 0.2)
    found = np.asarray(continued(maps, seen))
    for made, given, kept in zip(found[:, 0], maps[:, 0], seen, strict=True):
        np.testing.assert_array_equal(made[kept], given[kept])
        assert given[kept].min() - 1e-12 <= made.min() <= made.max() <= given[kept].max() + 1e-12


def test_a_continuation_of_a_gradient_is_smoother_than_the_mean():
    z = hp.pix2vec(NSIDE, np.arange(NPIX))[2]
    hole = np.asarray(hp.query_disc(NSIDE, hp.ang2vec(0.9, 1.0), 0.35))
    seen = np.ones((1, NPIX), bool)
    seen[0, hole] = False
    found = np.asarray(continued(z[None, None], seen))[0, 0]
    assert hole.size > 4
    assert np.abs(found - z)[hole].max() < 0.3 * np.abs(z[seen[0]].mean() - z[hole]).max()


def test_a_continuation_is_linear_and_nothing_seen_gives_zero():
    one, other, seen = values(6, 1, 1, NPIX), values(7, 1, 1, NPIX), mask(6, 1)
    both = continued(one + 2.0 * other, seen)
    parts = continued(one, seen) + 2.0 * continued(other, seen)
    np.testing.assert_allclose(both, parts, atol=1e-12)
    assert float(abs(continued(one, np.zeros_like(seen))).max()) == 0.0


@pytest.mark.parametrize("unseen", list(Unseen))
def test_nothing_unseen_gets_through(unseen):
    maps, seen = values(8, 2, 2, NPIX), mask(8, 2)
    layer = MaskedInput(unseen, channel=True)
    hidden = np.where(seen[:, None], maps, np.nan)
    joined = jax.jit(functools.partial(layer))
    found = joined(hidden, seen)
    np.testing.assert_array_equal(found, joined(maps, seen))
    np.testing.assert_array_equal(found[:, 2], seen)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(layer(x, jnp.asarray(seen)) ** 2)))(hidden)
    assert np.isfinite(slope).all()
    assert float(abs(slope[0, 0, ~seen[0]]).max()) == 0.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="nside: expected a power of two"):
        HierarchicalConvolution(3, 1, 1, key=jax.random.key(0))
    with pytest.raises(ValueError, match="maps: expected shape"):
        HierarchicalConvolution(4, 1, 1, key=jax.random.key(0))(jnp.ones((1, 1, 48)))
    with pytest.raises(ValueError, match="mask: expected booleans of shape"):
        MaskedInput()(jnp.ones((2, 1, 48)), jnp.ones((2, 48)))
    with pytest.raises(ValueError, match="mask: expected booleans of shape"):
        MaskedInput()(jnp.ones((2, 1, 48)), jnp.ones(48, bool))
