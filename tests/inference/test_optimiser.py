import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skysift.inference.networks import Matrices
from skysift.inference.optimiser import optimiser


class Layer(eqx.Module):
    gains: Matrices
    weight: jax.Array
    bias: jax.Array


def layer(key: int, scale: float = 1.0) -> Layer:
    keys = jax.random.split(jax.random.key(key), 3)
    shapes = (3, 2, 4, 16), (5, 5), (5,)
    gains, weight, bias = (
        scale * jax.random.normal(one, shape, jnp.float32)
        for one, shape in zip(keys, shapes, strict=True)
    )
    return Layer(Matrices(gains), weight, bias)


def steps(decay: float, slopes: list[Layer]) -> list[Layer]:
    """What is added in each step, at the same values."""
    method, values = optimiser(10, 1e-2, decay), layer(0)
    state, found = method.init(values), []
    for slope in slopes:
        update, state = method.update(slope, state, values)
        found.append(update)
    return found


def lengths(step: Matrices) -> np.ndarray:
    """Singular values of each matrix."""
    return np.linalg.svd(np.asarray(step.array), compute_uv=False)


def test_matrices_move_by_orthogonal_steps_as_long_as_those_of_adam():
    first, _, peak = steps(0.0, [layer(1, 1e-3)] * 3)
    # equal but for five iterations of Newton and Schulz
    assert (lengths(peak.gains).std(axis=-1) < 0.25 * lengths(peak.gains).mean(axis=-1)).all()
    assert jnp.sqrt(jnp.mean(peak.gains.array**2)) == pytest.approx(1e-2, rel=0.3)
    assert jnp.sqrt(jnp.mean(peak.weight**2)) == pytest.approx(1e-2, rel=0.05)
    # the rate rises from a 25th
    assert float(jnp.abs(first.bias).max()) == pytest.approx(4e-4, rel=0.05)
    assert float(jnp.sum(peak.gains.array * layer(1).gains.array)) < 0.0


def test_only_weights_of_layers_shrink():
    slopes = [layer(1, 1e-3)]
    (plain,), (shrunk,) = steps(0.0, slopes), steps(10.0, slopes)
    np.testing.assert_array_equal(shrunk.gains.array, plain.gains.array)
    np.testing.assert_array_equal(shrunk.bias, plain.bias)
    np.testing.assert_allclose(shrunk.weight - plain.weight, -4e-3 * layer(0).weight, rtol=1e-3)


def test_large_slopes_are_cut():
    (small,), (large,) = steps(0.0, [layer(1, 1e3)]), steps(0.0, [layer(1, 1e5)])
    for one, other in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-7)
    assert optax.global_norm(small) < 1.0
