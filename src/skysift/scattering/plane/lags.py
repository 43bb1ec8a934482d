"""Mean products of flat fields shifted against one another."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact, Int

from skysift.scattering.plane.wavelets import directions


def lag_vectors(
    dimensions: int, orientations: int, lags: list[tuple[int, int]], angles: int
) -> Int[np.ndarray, "orientation lag axis"]:
    """Shifts in whole cells for each orientation of a wavelet.

    Args:
        dimensions: of the field.
        orientations: number of directions of the wavelets.
        lags: number of the distance (`2^number` cells, 0 for none) and of the angle of each.
        angles: over half a turn, back from the direction of the wavelet; forth and back along it
            on a line and in space.
    """
    axes = directions(dimensions, orientations)
    vectors = np.zeros((orientations, len(lags), dimensions))
    for turn, axis in enumerate(axes):
        for lag, (step, angle) in enumerate(lags):
            alpha = angle * math.pi / angles
            if dimensions == 2:
                theta = math.atan2(axis[0], axis[1]) - alpha
                way = np.array([math.sin(theta), math.cos(theta)])
            else:
                way = axis * math.cos(alpha)
            vectors[turn, lag] = way * 2.0**step if step else 0.0
    return np.rint(vectors).astype(np.int64)


def mode_sums(
    first: Complex[Array, "field turn a ..."],
    second: Complex[Array, "field turn b ..."],
    lags: Int[np.ndarray, "turn lag axis"] | None,
    shape: tuple[int, ...],
) -> Complex[Array, "field region turn a b lag"]:
    """Sums over modes of all products of one field and another, conjugated, of the same turn.

    Args:
        first: modes of fields, which are the shifted ones.
        second: modes on the same grid.
        lags: in cells of the field; `None` for no shift at all.
        shape: cells of the field along each axis.
    """
    grid = first.shape[3:]
    if lags is None:
        a, b = (one.reshape(*one.shape[:3], -1) for one in (first, second))
        return jnp.einsum("blnk,blmk->blnm", a, jnp.conj(b))[:, None, ..., None]
    turns = []
    for turn, wanted in enumerate(lags):
        products = first[:, turn, :, None] * jnp.conj(second[:, turn, None])
        products = products.reshape(*products.shape[:3], -1)
        phases = _phases(wanted, grid, shape, first.dtype)
        turns.append(products @ phases.reshape(len(wanted), -1).T)
    return jnp.stack(turns, axis=1)[:, None]


def cell_sums(
    first: Inexact[Array, "field turn a ..."],
    second: Inexact[Array, "field turn b ..."],
    weights: Float[Array, "region ..."] | None,
    *,
    centred: bool,
) -> Inexact[Array, "field region turn a b lag"]:
    """Averages over cells of all products of one field and another, conjugated, without a shift.

    Args:
        first: values of fields.
        second: values on the same grid.
        weights: of the cells in each region, adding to 1; `None` for all alike.
        centred: whether to take the product of the averages out.
    """
    a, b = (one.reshape(*one.shape[:3], -1) for one in (first, jnp.conj(second)))
    if weights is None:
        weights = jnp.full((1, a.shape[-1]), 1.0 / a.shape[-1])
    weights = weights.reshape(len(weights), -1).astype(first.real.dtype)
    found = jnp.einsum("blnx,rx,blmx->brlnm", a, weights, b)
    if centred:
        means = [jnp.einsum("blnx,rx->brln", one, weights) for one in (a, b)]
        found = found - means[0][..., None] * means[1][..., None, :]
    return found[..., None]


def lagged_cell_sums(
    first: Complex[Array, "field turn a ..."],
    second: Complex[Array, "field turn b ..."],
    lags: Int[np.ndarray, "turn lag axis"],
    shape: tuple[int, ...],
    weights: Float[Array, "region ..."],
    *,
    centred: bool,
) -> Complex[Array, "field region turn a b lag"]:
    """The same as `cell_sums` of fields given by their modes, with shifts of the first.

    A pair of cells counts by the product of their weights; where there is none the sum is zero.

    Args:
        first: modes of fields.
        second: modes on the same grid.
        lags: shifts of each turn, in cells of the fields.
        shape: cells of the fields along each axis.
        weights: of the cells of the grid in each region.
        centred: whether to take the product of the averages out.
    """
    grid = first.shape[3:]
    axes = tuple(range(-len(grid), 0))
    values = jnp.fft.ifftn(second, axes=axes, norm="forward")
    turns = []
    for turn, wanted in enumerate(lags):
        found = []
        for lag in wanted:
            phases = _phases(lag[None], grid, shape, first.dtype)[0]
            moved = jnp.fft.ifftn(first[:, turn] * phases, axes=axes, norm="forward")
            pairs = weights * _moved(weights, lag, shape)
            total = jnp.sum(pairs, axis=axes, keepdims=True)
            pairs = pairs / jnp.where(total > 0.0, total, 1.0)
            one = cell_sums(moved[:, None], values[:, turn, None], pairs, centred=centred)
            found.append(one[:, :, 0])
        turns.append(jnp.concatenate(found, axis=-1))
    return jnp.stack(turns, axis=2)


def _phases(
    lags: Int[np.ndarray, "lag axis"],
    grid: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> Complex[Array, "lag ..."]:
    """What the modes of a field are multiplied by when it is seen from a place further on."""
    phases = jnp.ones((len(lags), *([1] * len(grid))), dtype)
    for axis, (cells, size) in enumerate(zip(grid, shape, strict=True)):
        numbers = np.fft.fftfreq(cells, 1.0 / cells)
        wave = np.exp(2j * np.pi * np.outer(lags[:, axis], numbers) / size)
        across = [len(lags), *([1] * len(grid))]
        across[axis + 1] = cells
        phases = phases * jnp.asarray(wave.reshape(across), dtype)
    return phases


def _moved(
    weights: Float[Array, "region ..."], lag: Int[np.ndarray, " axis"], shape: tuple[int, ...]
) -> Float[Array, "region ..."]:
    """Weights seen from a place further on, between the cells of the grid by straight lines."""
    for axis, (step, size) in enumerate(zip(lag.tolist(), shape, strict=True), start=1):
        exact = step * weights.shape[axis] / size
        whole = math.floor(exact)
        part = exact - whole
        near = jnp.roll(weights, -whole, axis)
        weights = near if part == 0.0 else (1.0 - part) * near + part * jnp.roll(near, -1, axis)
    return weights
