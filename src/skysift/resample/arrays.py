"""Values in and out as the arrays that users have: NumPy, JAX, torch, Dask, xarray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.grid import UNSEEN

type_of_values = Any
"""Array of NumPy, JAX, torch, Dask or xarray, or what NumPy makes an array of."""


@dataclass(frozen=True)
class Axis:
    """Last axis of an array of values.

    Args:
        name: of the dimension in xarray.
        size: number of values.
        coordinates: for xarray, by name.
    """

    name: str
    size: int
    coordinates: Mapping[str, Any] = field(default_factory=dict)


def apply(
    function: Callable[[Any], Any],
    values: Any,
    source: Axis,
    target: Axis,
    dtype: np.dtype,
) -> Any:
    """Result of a function of NumPy or JAX arrays for other kinds of arrays, in the same kind.

    Args:
        function: from `(..., source)` to `(..., target)`; NumPy arrays come to it as `(row, size)`.
        values: `(..., source)`. Masked values become NaN. Dask arrays are worked on lazily, in
            chunks over all axes but the last.
        source: last axis of the values. In xarray it is the dimension of this name, else the last.
        target: last axis of the result.
        dtype: of the result.

    Raises:
        ValueError: for values of another size, or that are not real numbers.
    """
    library = type(values).__module__.partition(".")[0]
    if library == "xarray":
        return _apply_xarray(function, values, source, target, dtype)
    if library == "torch":
        return _apply_torch(function, values, source, target, dtype)
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.result_type(values, np.float32)), np.nan)
    elif library != "dask" and not isinstance(values, jax.Array):
        values = np.asarray(values)
    _check(values, source)
    if isinstance(values, jax.Array):
        return function(values)
    if library == "dask":
        chunks = (*values.chunks[:-1], (target.size,))
        return values.rechunk({values.ndim - 1: -1}).map_blocks(
            lambda block: apply(function, block, source, target, dtype), chunks=chunks, dtype=dtype
        )
    return function(values.reshape(-1, source.size)).reshape(*values.shape[:-1], target.size)


def namespace(values: np.ndarray | jax.Array) -> ModuleType:
    """`jax.numpy` for JAX arrays, else `numpy`."""
    return jnp if isinstance(values, jax.Array) else np


def without_unseen(values: Float[np.ndarray | jax.Array, "..."]) -> Any:
    """NaN where values are UNSEEN, within the rounding of single precision."""
    xp = namespace(values)
    return xp.where(xp.abs(values - UNSEEN) <= 1e-5 * abs(UNSEEN), np.nan, values)


def check_variance(variance: Any, samples: int) -> Float[np.ndarray, "..."]:
    """Noise variances, one for all samples or one for each.

    Raises:
        ValueError: for another shape, or values that are not positive.
    """
    variance = np.asarray(variance, dtype=float)
    if variance.shape not in ((), (samples,)):
        raise ValueError(
            f"noise_variance: expected one value or {samples}, one per sample, got shape "
            f"{variance.shape}."
        )
    bad = ~(variance > 0.0)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"noise_variance: expected positive values, got {variance.flat[first]} at index "
            f"{first}. Give samples that are to be left out an infinite variance."
        )
    return variance


def check_precision(dtype: np.dtype | type) -> np.dtype:
    """float32 or float64.

    Raises:
        ValueError: for another type.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {kind}.")
    return kind


def _check(values: Any, source: Axis) -> None:
    real = jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)
    if values.ndim < 1 or values.shape[-1] != source.size or not real:
        raise ValueError(
            f"{source.name}: expected real numbers of shape (..., {source.size}), the last axis "
            f"one value for each of the {source.name}, got {values.dtype} of shape "
            f"{tuple(values.shape)}. Move that axis to the end; treat real and imaginary parts "
            "one by one."
        )


def _apply_xarray(
    function: Callable[[Any], Any], values: Any, source: Axis, target: Axis, dtype: np.dtype
) -> Any:
    import xarray as xr

    if not isinstance(values, xr.DataArray):
        raise ValueError(
            f"{source.name}: expected a DataArray, got {type(values).__name__}. Use "
            "dataset.map(...), or choose one variable."
        )
    if not values.dims:
        _check(values, source)
    dimension = source.name if source.name in values.dims else values.dims[-1]
    result = xr.apply_ufunc(
        lambda data: apply(function, data, source, target, dtype),
        values,
        input_core_dims=[[dimension]],
        output_core_dims=[[target.name]],
        exclude_dims={dimension},
        dask="allowed",
        keep_attrs=True,
    )
    return result.assign_coords(target.coordinates)


def _apply_torch(
    function: Callable[[Any], Any], values: Any, source: Axis, target: Axis, dtype: np.dtype
) -> Any:
    if values.requires_grad:
        raise ValueError(
            f"{source.name}: expected a tensor without gradient, got one that requires it, which "
            "would be lost. Use JAX arrays, or values.detach()."
        )
    library = jnp if values.is_cuda else np
    result = apply(function, library.from_dlpack(values.contiguous()), source, target, dtype)
    return sys.modules["torch"].from_dlpack(result)
