"""Wavelet banks of flat fields: each scale on the coarsest grid that holds it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from skysift.scattering.plane.wavelets import AbstractWavelet, directions

_SMALLEST = 16
"""Cells on a side below which no grid is coarsened further: what remains costs nothing."""


@dataclass(frozen=True)
class BankShape:
    """Sizes of a bank of wavelets.

    Args:
        shape: of the field, in cells along 1, 2 or 3 axes.
        scales: number of dyadic scales, from 1.
        orientations: number of directions of a half space.
        oversampling: of the grids of the scales beyond twice the band of the wavelets. Moduli have
            no band limit: their averages over the grid are those over the cells of the field to
            about 1e-3 with 1, and the same with `2^scales`.
    """

    shape: tuple[int, ...]
    scales: int
    orientations: int
    oversampling: int = 1

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= 3 or min(self.shape) < 8:
            raise ValueError(
                f"shape: expected 1 to 3 axes of 8 cells or more, got {self.shape}. "
                "Leave the batch and the channels out of the shape."
            )
        most = int(math.log2(min(self.shape))) - 1
        if not 1 <= self.scales <= most:
            raise ValueError(
                f"scales: expected 1 to {most} for a field of {self.shape} cells (the largest "
                f"wavelet would not fit twice), got {self.scales}. Say scales={most}."
            )
        if self.oversampling < 1:
            raise ValueError(
                f"oversampling: expected 1 or more, got {self.oversampling}. Say oversampling=1."
            )

    def grid(self, scale: int) -> tuple[int, ...]:
        """Cells along each axis of the grid of one scale: twice the band of its wavelets."""
        return tuple(
            min(cells, max(_SMALLEST, 2 * math.ceil(self.oversampling * cells / 2**scale)))
            for cells in self.shape
        )

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of a field, counted from the last."""
        return tuple(range(-len(self.shape), 0))


class Bank(eqx.Module):
    """Directional wavelets of a flat, periodic field in Fourier space.

    Args:
        filters: of each scale `(orientation, *grid of the scale)`, in the order of `numpy.fft`.
        rest: power windows `(2, *shape)` of the wave vectors that no wavelet covers: those above
            the finest scale, in the corners of the band, and those below the coarsest.
        sizes: of the field and of the bank.
    """

    filters: tuple[Float[Array, "orientation ..."], ...]
    rest: Float[Array, "side ..."]
    sizes: BankShape = eqx.field(static=True)

    def coefficients(self, modes: Complex[Array, "..."], scale: int) -> Complex[Array, "..."]:
        """Wavelet coefficients of fields with these Fourier modes, an axis for the orientation.

        Args:
            modes: `(..., *shape)` as `modes` gives them.
            scale: of the wavelets.

        Returns:
            `(..., orientation, *grid of the scale)`.
        """
        sizes = self.sizes
        axes = sizes.axes
        cut = crop(modes, sizes.grid(scale), axes)
        filters = self.filters[scale].astype(cut.real.dtype)
        return jnp.fft.ifftn(jnp.expand_dims(cut, axes[0] - 1) * filters, axes=axes, norm="forward")


def make_bank(sizes: BankShape, wavelet: AbstractWavelet) -> Bank:
    """The bank of one wavelet.

    The Nyquist modes of the grid of each scale are left out: they are their own negatives, and so
    belong to no direction.
    """
    axes = directions(len(sizes.shape), sizes.orientations)
    filters = []
    total = np.zeros(sizes.shape)
    for scale in range(sizes.scales):
        grid = sizes.grid(scale)
        wavevectors, nyquist = _wavevectors(sizes.shape, grid)
        bank = np.stack(
            [
                np.where(nyquist, 0.0, wavelet(wavevectors, scale, axis, axes.shape[0]))
                for axis in axes
            ]
        )
        filters.append(bank)
        total[_corner(sizes.shape, grid)] += np.sum(bank**2, axis=0)
    total = 0.5 * (total + _reflected(total))
    k = wavenumbers(sizes.shape)
    uncovered = np.clip(1.0 - total / np.max(total), 0.0, 1.0) * (k > 0.0)
    # The middle of the band, by wave number: a gap between two scales counts as neither.
    fine = k > np.pi / math.sqrt(2.0)
    coarse = k < np.pi / 2.0**sizes.scales
    rest = np.stack([uncovered * fine, uncovered * coarse])
    return Bank(tuple(jnp.asarray(one) for one in filters), jnp.asarray(rest), sizes)


def scale_windows(
    bank: Bank,
) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
    """Squared wavelets of each scale, averaged over orientations and opposite wave vectors.

    Returns:
        Windows `(scale, *shape)`, and the wave number of each mode in radians per cell. The sum of
        the windows, times the orientations, is the Littlewood-Paley partition: where it is flat
        every mode counts alike; where it is zero the statistics are blind.
    """
    shape = bank.sizes.shape
    windows = np.zeros((bank.sizes.scales, *shape))
    for window, filters, scale in zip(windows, bank.filters, range(len(windows)), strict=True):
        window[_corner(shape, bank.sizes.grid(scale))] = np.mean(np.asarray(filters) ** 2, axis=0)
        window[:] = 0.5 * (window + _reflected(window))
    return windows, wavenumbers(shape)


def wavenumbers(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Wave number of each mode in radians per cell, in the order of `numpy.fft`."""
    return np.linalg.norm(_wavevectors(shape, shape)[0], axis=-1)


def modes(maps: Float[Array, "..."], axes: tuple[int, ...]) -> Complex[Array, "..."]:
    """Fourier modes of real fields; their squared moduli add to the mean square."""
    return jnp.fft.fftn(maps, axes=axes, norm="forward")


def crop(values: Array, grid: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The lowest modes of full Fourier axes: those of a coarser grid.

    Args:
        values: modes in the order of `numpy.fft`.
        grid: cells of the coarser grid.
        axes: of the modes, one for each axis of the grid.
    """
    for axis, cells in zip(axes, grid, strict=True):
        values = _crop_axis(values, cells, axis)
    return values


def crop_half(values: Array, grid: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The lowest modes where the last axis holds the half that `rfft` gives.

    Args:
        values: modes in the order of `numpy.fft.rfftn`.
        grid: cells of the coarser grid.
        axes: of the modes, one for each axis of the grid.
    """
    for axis, cells in zip(axes[:-1], grid[:-1], strict=True):
        values = _crop_axis(values, cells, axis)
    return values[..., : grid[-1] // 2 + 1]


def _crop_axis(values: Array, cells: int, axis: int) -> Array:
    have = values.shape[axis]
    if cells == have:
        return values
    upper = cells // 2
    lead = [slice(None)] * values.ndim
    low, high = list(lead), list(lead)
    low[axis], high[axis] = slice(0, cells - upper), slice(have - upper, have)
    return jnp.concatenate([values[tuple(low)], values[tuple(high)]], axis=axis)


def pad(values: Array, grid: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The modes of a coarser grid among those of a finer one, which has no others.

    Args:
        values: modes in the order of `numpy.fft`.
        grid: cells of the finer grid.
        axes: of the modes, one for each axis of the grid.
    """
    for axis, cells in zip(axes, grid, strict=True):
        have = values.shape[axis]
        if cells == have:
            continue
        upper = have // 2
        values = jnp.moveaxis(values, axis, -1)
        zeros = jnp.zeros((*values.shape[:-1], cells - have), values.dtype)
        values = jnp.concatenate(
            [values[..., : have - upper], zeros, values[..., have - upper :]], axis=-1
        )
        values = jnp.moveaxis(values, -1, axis)
    return values


def half_weights(
    filters: Float[Array, "orientation ..."], grid: tuple[int, ...]
) -> tuple[Float[Array, "orientation ..."], Float[Array, "orientation ..."]]:
    """Weights of the half of the modes that `rfft` keeps, for sums over all of them.

    The sum over all modes of `|psi|^2 X conj(Y)` of two real fields is, over the kept half, the
    first weight times the real part and i times the second times the imaginary part.
    """
    axes = tuple(range(1, filters.ndim))
    power = filters**2
    mirrored = jnp.roll(jnp.flip(power, axes), 1, axes)
    half = (..., slice(0, grid[-1] // 2 + 1))
    # On the first column, and the last of an even axis, a mode and its negative are both kept.
    doubled = np.full(grid[-1] // 2 + 1, 1.0)
    doubled[0] = 0.5
    if grid[-1] % 2 == 0:
        doubled[-1] = 0.5
    weight = jnp.asarray(doubled, filters.dtype)
    return (power + mirrored)[half] * weight, (power - mirrored)[half] * weight


@functools.lru_cache(maxsize=32)
def _wavevectors(
    shape: tuple[int, ...], grid: tuple[int, ...]
) -> tuple[Float[np.ndarray, "... axis"], np.ndarray]:
    """Wave vectors of a grid in radians per cell of the field, and which are Nyquist modes."""
    numbers = [np.fft.fftfreq(cells, 1.0 / cells) for cells in grid]
    mesh = np.meshgrid(*numbers, indexing="ij")
    nyquist = np.zeros(grid, dtype=bool)
    for number, cells in zip(mesh, grid, strict=True):
        nyquist |= 2 * np.abs(number) == cells
    scaled = [2.0 * np.pi * number / cells for number, cells in zip(mesh, shape, strict=True)]
    return np.stack(scaled, axis=-1), nyquist


def _corner(shape: tuple[int, ...], grid: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Where the modes of a coarser grid lie among those of the field."""
    numbers = [np.fft.fftfreq(cells, 1.0 / cells).astype(int) for cells in grid]
    return np.ix_(*[number % cells for number, cells in zip(numbers, shape, strict=True)])


def _reflected(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    axes = tuple(range(values.ndim))
    return np.roll(np.flip(values, axes), 1, axes)
