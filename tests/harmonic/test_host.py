from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from skysift.harmonic.host import AbstractHostMap, on_host


@dataclass(frozen=True)
class Matrix(AbstractHostMap):
    """Product with a matrix, given by its rows so that it can be hashed."""

    rows: tuple[tuple[float, ...], ...]

    def shape(self, shape):
        return (*shape[:-1], len(self.rows))

    def dtype(self, dtype):
        return dtype

    def evaluate(self, values):
        return (values @ np.array(self.rows).T).astype(values.dtype)

    def transpose(self):
        return Matrix(tuple(zip(*self.rows, strict=True)))


MATRIX = np.arange(6.0).reshape(2, 3) ** 2 + 1.0
HOST = Matrix(tuple(map(tuple, MATRIX.tolist())))
X = jnp.array([0.3, -1.2, 2.0])


def apply(x):
    return on_host(HOST, x)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_on_host_value(wrap):
    np.testing.assert_allclose(wrap(apply)(X), MATRIX @ np.asarray(X), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_on_host_keeps_type(dtype):
    assert apply(X.astype(dtype)).dtype == dtype


def test_on_host_jacobians():
    np.testing.assert_allclose(jax.jacfwd(apply)(X), MATRIX, rtol=1e-15)
    np.testing.assert_allclose(jax.jacrev(apply)(X), MATRIX, rtol=1e-15)


def test_on_host_jvp_and_vjp():
    tangent = jnp.array([1.0, 2.0, -1.0])
    value, change = jax.jvp(apply, (X,), (tangent,))
    np.testing.assert_allclose(value, apply(X))
    np.testing.assert_allclose(change, MATRIX @ np.asarray(tangent))
    cotangent = jnp.array([0.5, -2.0])
    np.testing.assert_allclose(
        jax.vjp(apply, X)[1](cotangent)[0], MATRIX.T @ np.asarray(cotangent), rtol=1e-15
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_on_host_vmap(axis):
    many = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    got = jax.vmap(apply, in_axes=axis)(many if axis == 0 else many.T)
    np.testing.assert_allclose(got, np.asarray(many) @ MATRIX.T, rtol=1e-14)


def test_on_host_vmap_of_gradient_under_jit():
    def objective(x):
        return jnp.sum(jnp.sin(apply(x)))

    many = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    got = jax.jit(jax.vmap(jax.grad(objective)))(many)
    expected = np.cos(np.asarray(many) @ MATRIX.T) @ MATRIX
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_on_host_second_derivatives():
    def objective(x):
        return jnp.sum(apply(x) ** 3)

    check_grads(lambda x: 1e-3 * objective(x), (X,), order=2)
    expected = MATRIX.T @ np.diag(6.0 * MATRIX @ np.asarray(X)) @ MATRIX
    np.testing.assert_allclose(jax.hessian(objective)(X), expected, rtol=1e-12)


def test_on_host_failure_is_told():
    @dataclass(frozen=True)
    class Broken(Matrix):
        def evaluate(self, values):
            raise RuntimeError("no such table")

    with pytest.raises(Exception, match="no such table"):
        on_host(Broken(HOST.rows), X).block_until_ready()
