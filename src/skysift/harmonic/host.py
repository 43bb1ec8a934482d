"""Linear maps as JAX operations with every derivative, in NumPy on the host or in JAX itself."""

from __future__ import annotations

import abc
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class AbstractHostMap(abc.ABC):
    """A linear map along the last axes of arrays with any leading axes, computed in NumPy.

    Subclasses are frozen and hashable: they are static parameters of a compiled function.
    """

    @property
    def traced(self) -> bool:
        """Whether `evaluate` is written in JAX, to be compiled into what calls it."""
        return False

    @abc.abstractmethod
    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result for the shape of an argument."""

    @abc.abstractmethod
    def dtype(self, dtype: np.dtype) -> np.dtype:
        """Type of the result for the type of an argument."""

    @abc.abstractmethod
    def evaluate(self, values: Any) -> Any:
        """The map of one array, with `traced` of JAX; leading axes are independent."""

    @abc.abstractmethod
    def transpose(self) -> AbstractHostMap:
        """The transpose, without conjugation, as JAX transposes."""


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...


_host_p = Primitive("skysift_host_map")


def on_host(host: AbstractHostMap, values: jax.Array) -> jax.Array:
    """Apply a host map inside JAX: it may be traced, batched, differentiated both ways.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Double(AbstractHostMap):
        ...     def shape(self, shape): return shape
        ...     def dtype(self, dtype): return dtype
        ...     def evaluate(self, values): return 2 * values
        ...     def transpose(self): return self
        >>> float(jax.grad(lambda x: on_host(Double(), x)[0])(jnp.ones(1))[0])
        2.0
    """
    return _host_p.bind(values, host=host)


def _abstract(values: _Shaped, *, host: AbstractHostMap) -> ShapedArray:
    return ShapedArray(host.shape(values.shape), host.dtype(np.dtype(values.dtype)))


def _evaluate(values: jax.Array, *, host: AbstractHostMap) -> jax.Array:
    if host.traced:
        return _compiled(values, host)
    return jnp.asarray(host.evaluate(np.asarray(values)))


@functools.partial(jax.jit, static_argnums=1)
def _compiled(values: jax.Array, host: AbstractHostMap) -> jax.Array:
    return host.evaluate(values)


def _lower(ctx: Any, values: Any, *, host: AbstractHostMap) -> Any:
    if host.traced:
        return mlir.lower_fun(host.evaluate, multiple_results=False)(ctx, values)
    # Not `jax.pure_callback`: it puts the arguments on a device again before it calls, which waits
    # for the one thread that is calling where a process has a single core.
    result, _, _ = mlir.emit_python_callback(
        ctx,
        lambda given: (host.evaluate(np.asarray(given)),),
        None,
        [values],
        ctx.avals_in,
        ctx.avals_out,
        has_side_effect=False,
        returns_token=False,
    )
    return result


def _batched(values: tuple, axes: tuple, *, host: AbstractHostMap) -> tuple:
    return on_host(host, jnp.moveaxis(values[0], axes[0], 0)), 0


def _transposed(cotangent: jax.Array, _: jax.Array, *, host: AbstractHostMap) -> list:
    if isinstance(cotangent, ad.Zero):
        return [cotangent]
    return [on_host(host.transpose(), cotangent)]


_host_p.def_impl(_evaluate)
_host_p.def_abstract_eval(_abstract)
mlir.register_lowering(_host_p, _lower)
ad.deflinear2(_host_p, _transposed)
batching.primitive_batchers[_host_p] = _batched
