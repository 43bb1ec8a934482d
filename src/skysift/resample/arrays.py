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

from skysift.grid import is_unseen, masked_to_nan
from skysift.resample.check import refuse

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
    function: Callable[..., Any],
    values: Any,
    source: Axis,
    target: Axis,
    dtype: np.dtype,
    variance: Float[np.ndarray, "..."] | None = None,
) -> Any:
    """Result of a function of NumPy or JAX arrays for other kinds of arrays, in the same kind.

    Args:
        function: from `(..., source)` to `(..., target)`; NumPy arrays come to it as `(row, size)`.
        values: `(..., source)`. Masked values become NaN. Dask arrays are worked on lazily, in
            chunks over all axes but the last.
        source: last axis of the values. In xarray it is the dimension of this name, else the last.
        target: last axis of the result.
        dtype: of the result.
        variance: of the values, which the function then takes second; `(source,)`, or a shape
            that broadcasts to that of the values, in xarray with the source moved to the end.

    Raises:
        ValueError: for values or variances of another size, or that are not real numbers.
    """
    library = type(values).__module__.partition(".")[0]
    if library == "xarray":
        return _apply_xarray(function, values, source, target, dtype, variance)
    if library == "torch":
        return _apply_torch(function, values, source, target, dtype, variance)
    if library != "dask" and not isinstance(values, jax.Array):
        values = masked_to_nan(values)
    _check(values, source)
    beside = () if variance is None else (_fitted(variance, values.shape),)
    if isinstance(values, jax.Array):
        return function(values, *beside)
    if library == "dask":
        return _apply_dask(function, values, source, target, dtype, *beside)
    beside = [one if one.ndim < 2 else one.reshape(-1, source.size) for one in beside]
    rows = function(values.reshape(-1, source.size), *beside)
    return rows.reshape(*values.shape[:-1], target.size)


def namespace(values: np.ndarray | jax.Array) -> ModuleType:
    """`jax.numpy` for JAX arrays, else `numpy`."""
    return jnp if isinstance(values, jax.Array) else np


def without_unseen(values: Float[np.ndarray | jax.Array, "..."]) -> Any:
    """NaN where values are UNSEEN."""
    return namespace(values).where(is_unseen(values), np.nan, values)


def check_variance(variance: Any, samples: int) -> Float[np.ndarray, "..."]:
    """Noise variances, infinite where masked.

    Args:
        variance: one for all values, one for each sample `(sample,)`, or one for each value
            `(..., sample)`.
        samples: their number.

    Raises:
        ValueError: for another shape, or variances that are not positive real numbers.
    """
    given = np.asarray(variance)
    if given.dtype.kind not in "iuf" or given.shape[-1:] not in ((), (samples,)):
        raise ValueError(
            f"noise_variance: expected one value or {samples}, one per sample along the last axis, "
            f"got {given.dtype} of shape {given.shape}. Leave it out if samples are equally good."
        )
    found = np.where(np.ma.getmask(variance), np.inf, given.astype(float))
    fix = "Give samples that are to be left out an infinite variance."
    refuse("noise_variance", found, ~(found > 0.0), "positive values", fix)
    return found


def check_precision(dtype: np.dtype | type) -> np.dtype:
    """float32 or float64.

    Raises:
        ValueError: for another type.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(
            f"dtype: expected float32 or float64, got {kind}. Use float64 unless memory is short."
        )
    return kind


def _fitted(variance: Float[np.ndarray, "..."], shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Variances of the shape of the values, or as they are where one serves all rows."""
    if variance.ndim < 2:
        return variance
    try:
        return np.broadcast_to(variance, shape)
    except ValueError as error:
        raise ValueError(
            f"noise_variance: expected a shape that broadcasts to {tuple(shape)} of the samples, "
            f"got {variance.shape}. Give one variance per sample, or one per value."
        ) from error


def _check(values: Any, source: Axis) -> None:
    real = jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)
    if values.ndim < 1 or values.shape[-1] != source.size or not real:
        raise ValueError(
            f"{source.name}: expected real numbers of shape (..., {source.size}), the last axis "
            f"one value for each of the {source.name}, got {values.dtype} of shape "
            f"{tuple(values.shape)}. Move that axis to the end; treat real and imaginary parts "
            "one by one."
        )


def _apply_dask(
    function: Callable[..., Any],
    values: Any,
    source: Axis,
    target: Axis,
    dtype: np.dtype,
    *beside: Float[np.ndarray, "..."],
) -> Any:
    import dask.array as da

    whole = values.rechunk({values.ndim - 1: -1})
    parts = [one if one.ndim < 2 else da.from_array(one, whole.chunks) for one in beside]
    return da.map_blocks(
        lambda block, *its: apply(function, block, source, target, dtype, *its),
        whole,
        *parts,
        chunks=(*whole.chunks[:-1], (target.size,)),
        dtype=dtype,
    )


def _apply_xarray(
    function: Callable[..., Any],
    values: Any,
    source: Axis,
    target: Axis,
    dtype: np.dtype,
    variance: Float[np.ndarray, "..."] | None,
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
        lambda data: apply(function, data, source, target, dtype, variance),
        values,
        input_core_dims=[[dimension]],
        output_core_dims=[[target.name]],
        exclude_dims={dimension},
        dask="allowed",
        keep_attrs=True,
    )
    return result.assign_coords(target.coordinates)


def _apply_torch(
    function: Callable[..., Any],
    values: Any,
    source: Axis,
    target: Axis,
    dtype: np.dtype,
    variance: Float[np.ndarray, "..."] | None,
) -> Any:
    if values.requires_grad:
        raise ValueError(
            f"{source.name}: expected a tensor without gradient, got one that requires it, which "
            "would be lost. Use JAX arrays, or values.detach()."
        )
    library = jnp if values.is_cuda else np
    plain = library.from_dlpack(values.contiguous())
    result = apply(function, plain, source, target, dtype, variance)
    return sys.modules["torch"].from_dlpack(result)
