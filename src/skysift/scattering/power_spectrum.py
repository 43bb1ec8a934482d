"""Binned power spectra of fields on the plane and on the sphere, as statistics."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact

from skysift.harmonic import Bins, apodised
from skysift.harmonic.coupling import Kernel, couplings
from skysift.harmonic.spectra import cross_cl
from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.plane.bank import modes, wavenumbers
from skysift.scattering.powered import own_coefficients
from skysift.scattering.sphere.bank import ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics
from skysift.scattering.weights import checked_weights

SpectrumT = TypeVar("SpectrumT", bound="AbstractPowerSpectrum")

_LARGEST_CONDITION = 1e6
_APODISATION = 4.0
"""Width of the edge of a mask on the sphere in sides of a cell, which its band limit can follow."""


@dataclass(frozen=True)
class SpectrumShape:
    """What fixes the tables of a power spectrum.

    Args:
        channels: number of maps seen together.
        edges: of the bins: wave numbers in radians per cell on a flat grid, or first multipoles.
        regions: number of masks.
        origin: domain, in words.
    """

    channels: int
    edges: tuple[float, ...]
    regions: int
    origin: str

    @property
    def count(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1


class Weighting(eqx.Module):
    """Weights of cells, and what undoes their effect on power spectra.

    Args:
        cells: `(region, *cell shape)` as given.
        places: what fields are multiplied by, where that is done.
        decoupling: of each region, from the power of the weighted field to bandpowers.
    """

    cells: Float[Array, "region ..."]
    places: Float[Array, "region place"]
    decoupling: Float[Array, "region bin bin"]

    def averages(self, values: Float[Array, "field channel place"], area: Array) -> Array:
        """Weighted averages `(field, region, channel)` over places of some area."""
        weights = self.places * area
        weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return jnp.einsum("bcp,rp->brc", values, weights.astype(values.dtype))


class AbstractPowerSpectrum(AbstractStatistic):
    """Mean and variance of fields, and their power in bins, of each channel and between channels.

    With weights the power is that of the weighted fields without their mean, freed from the
    coupling of modes by the weights (Hivon et al. 2002, ApJ 567, 2): unbiased for fields whose
    power is constant in each bin.
    """

    weights: eqx.AbstractVar[Weighting | None]
    shape: eqx.AbstractVar[SpectrumShape]

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return None if self.weights is None else self.weights.cells

    @abc.abstractmethod
    def bins_of_modes(self) -> tuple[Float[np.ndarray, "bin ..."], Float[np.ndarray, "..."]]:
        """For each bin the share of each mode in its power, and the wave number of each mode."""

    @abc.abstractmethod
    def weighting(self, cells: Float[np.ndarray, "region ..."]) -> Weighting:
        """Weights of the cells, with what undoes the coupling of bins."""

    def masked(self: SpectrumT, kept: Bool[np.ndarray, "..."]) -> SpectrumT:
        """See `AbstractStatistic`."""
        cells = np.ones((1, *self.domain.cell_shape)) if self.cells is None else self.cells
        weights = self.weighting(np.asarray(cells) * kept)
        return eqx.tree_at(lambda one: one.weights, self, weights, is_leaf=lambda one: one is None)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`; powers are what they are."""
        return moments

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        table = self.layout[Order.BANDPOWER]
        own = own_coefficients(table)
        power = np.asarray(reference[-1])[..., own].reshape(-1, own.sum())
        mean2 = np.max(np.abs(np.asarray(reference[0])), axis=-1).reshape(-1, 1) ** 2
        tiny = 100.0 * np.finfo(power.dtype).eps ** 2 * mean2
        empty = np.argwhere(~(np.abs(power) > tiny))
        if not empty.size:
            return ""
        row = table.take(np.flatnonzero(own))
        where = int(empty[0, 1])
        return f"at channel {row.column('channel')[where]}, bin {row.column('bin')[where]}"

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        shape = self.shape
        mean = np.asarray(reference[Order.MEAN]).reshape(shape.regions, -1).mean(axis=0)
        table = self.layout[Order.BANDPOWER]
        own = own_coefficients(table)
        power = np.asarray(reference[Order.BANDPOWER])[own]
        power = power.reshape(shape.regions, shape.channels, shape.count).mean(axis=0)
        # Freed from the coupling, the estimate of a faint bin may be negative.
        level = np.maximum(power, 1e-9 * power.max(axis=-1, keepdims=True))
        return mean, level, np.zeros((shape.channels, 2))

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`; the bins serve as scales."""
        return self.bins_of_modes()

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`; there is no rest."""
        return np.zeros((2, *self.bins_of_modes()[1].shape))

    def _power(self, seen: Complex[Array, "... channel mode"]) -> Float[Array, "... pair bin"]:
        """Power in bins of the modes of fields, of each pair of channels."""
        a, b = np.triu_indices(self.shape.channels)
        product = jnp.real(seen[..., a, :] * jnp.conj(seen[..., b, :]))
        share = self.bins_of_modes()[0].reshape(self.shape.count, -1)
        return product @ jnp.asarray(share.T, product.dtype)

    def _weighted(
        self,
        weights: Weighting,
        values: Float[Array, "field channel place"],
        area: Float[Array, " place"],
        seen: Callable[[Array], Complex[Array, "... mode"]],
    ) -> Moments:
        """Moments of values in places, and the power that is seen of them times the weights."""
        mean = weights.averages(values, area)
        square = weights.averages(values**2, area)
        places = weights.places.astype(values.dtype)[:, None]
        pseudo = self._power(seen((values[:, None] - mean[..., None]) * places))
        decoupling = weights.decoupling.astype(pseudo.dtype)
        return self._tables(mean, square, jnp.einsum("rdk,brpk->brpd", decoupling, pseudo))

    def _tables(self, mean: Array, square: Array, power: Array) -> Moments:
        """Moments of averages `(field, region, channel)` and power `(field, region, pair, bin)`."""
        variance = square - mean**2
        return tuple(one.reshape(len(one), -1) for one in (mean, variance, power))


class FlatPowerSpectrum(AbstractPowerSpectrum):
    """Power spectrum of fields on a flat grid; white noise of variance 1 has power 1.

    Args:
        domain: grid and channels.
        weights: of the cells, or `None` for periodic fields with equal weights.
        shape: what fixes the tables.
    """

    domain: Flat
    weights: Weighting | None
    shape: SpectrumShape = eqx.field(static=True)

    def bins_of_modes(self) -> tuple[Float[np.ndarray, "bin ..."], Float[np.ndarray, "..."]]:
        """See `AbstractPowerSpectrum`."""
        inside = _inside(self.domain.shape, self.shape.edges)
        counts = inside.sum(axis=tuple(range(1, inside.ndim)), keepdims=True)
        return inside * (self.domain.size / counts), wavenumbers(self.domain.shape)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        axes = tuple(range(-len(self.domain.shape), 0))
        cells = fields.reshape(*fields.shape[:2], -1)

        def seen(values: Array) -> Array:
            grids = values.reshape(*values.shape[:-1], *self.domain.shape)
            return modes(grids, axes).reshape(values.shape)

        if self.weights is not None:
            return self._weighted(self.weights, cells, jnp.ones(1), seen)
        mean = jnp.mean(cells, axis=-1)[:, None]
        square = jnp.mean(cells**2, axis=-1)[:, None]
        return self._tables(mean, square, self._power(seen(cells))[:, None])

    def weighting(self, cells: Float[np.ndarray, "region ..."]) -> Weighting:
        """See `AbstractPowerSpectrum`."""
        return flat_weighting(self.domain, self.shape.edges, cells)


class SpherePowerSpectrum(AbstractPowerSpectrum):
    """Power spectrum of fields on the sphere, C_l averaged over bins with 2 l + 1.

    Args:
        domain: maps and band limit.
        weights: of the sphere, or `None` for the full sky with equal weights.
        shape: what fixes the tables.
    """

    domain: Sphere
    weights: Weighting | None
    shape: SpectrumShape = eqx.field(static=True)

    def bins_of_modes(self) -> tuple[Float[np.ndarray, "bin ..."], Float[np.ndarray, "..."]]:
        """See `AbstractPowerSpectrum`."""
        lmax = self.domain.lmax
        ell = ell_of(lmax)
        matrix = _bins(self.shape.edges).matrix(lmax) / (2.0 * np.arange(lmax + 1) + 1.0)
        return matrix[:, ell] * multiplicity(lmax), ell.astype(float)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        lmax = self.domain.lmax
        if self.weights is not None:
            grid = _product_grid(lmax)

            def seen(values: Array) -> Array:
                alm = grid.analysis(values[..., None, :], (0,))[..., 0, :]
                return truncated(alm, grid.lmax, lmax)

            cells = grid.synthesis(truncated(fields, lmax, grid.lmax), (0,))[..., 0, :]
            return self._weighted(self.weights, cells, jnp.asarray(grid.weights), seen)
        mean = jnp.real(fields[..., 0]) / math.sqrt(4.0 * math.pi)
        measure = jnp.asarray(multiplicity(lmax) / (4.0 * np.pi), mean.dtype)
        square = jnp.abs(fields) ** 2 @ measure
        return self._tables(mean[:, None], square[:, None], self._power(fields)[:, None])

    def weighting(self, cells: Float[np.ndarray, "region cell"]) -> Weighting:
        """See `AbstractPowerSpectrum`."""
        return sphere_weighting(self.domain, self.shape.edges, cells)


def flat_weighting(
    domain: Flat, edges: tuple[float, ...], weights: Float[np.ndarray, "..."]
) -> Weighting:
    """Weights of a flat grid with what undoes the coupling of bins.

    Args:
        domain: of the maps.
        edges: of the bins (`SpectrumShape`).
        weights: of the cells, or of those of several regions; 0 on masked cells.

    Raises:
        ValueError: for weights that make no sense, or bins that they leave too little to tell
            apart.
    """
    cells = checked_weights(weights, domain.cell_shape)
    inside = _inside(domain.shape, edges).astype(float)
    counts = inside.reshape(len(inside), -1).sum(axis=-1)
    decoupling = np.stack(
        [_inverse(_flat_coupling(one, inside) / counts[:, None]) for one in cells]
    )
    return Weighting(
        jnp.asarray(cells), jnp.asarray(cells.reshape(len(cells), -1)), jnp.asarray(decoupling)
    )


def _flat_coupling(
    cells: Float[np.ndarray, "..."], inside: Float[np.ndarray, "bin ..."]
) -> Float[np.ndarray, "bin bin"]:
    """Power in each bin of the weighted field without its mean, for unit power in each bin.

    A mode at q has the amplitude `W(k - q) - W(k) W(-q) / W(0)` at k.
    """
    axes = tuple(range(cells.ndim))
    spectrum = np.fft.fftn(cells, norm="forward")
    square = np.abs(spectrum) ** 2

    def convolved(kernel: np.ndarray, values: np.ndarray) -> np.ndarray:
        # Kernels are W and |W|^2, whose transforms are known: products in the cells.
        return np.fft.fftn(np.fft.ifftn(kernel) * np.fft.ifftn(values)) * cells.size

    columns = []
    for one in inside:
        direct = np.real(convolved(square, one))
        # W(-q) is the conjugate of W(q).
        mixed = np.real(np.conj(spectrum) * convolved(spectrum, spectrum * one))
        apart = square * np.sum(square * one) / np.abs(spectrum.flat[0]) ** 2
        seen = direct - 2.0 * mixed / np.real(spectrum.flat[0]) + apart
        columns.append(np.sum(inside * seen, axis=tuple(axis + 1 for axis in axes)))
    return np.stack(columns, axis=-1)


def sphere_weighting(
    domain: Sphere, edges: tuple[float, ...], weights: Float[np.ndarray, "..."]
) -> Weighting:
    """Weights of the sphere with what undoes the coupling of bins; edges of masks are apodised.

    Args:
        domain: of the maps.
        edges: of the bins (`SpectrumShape`).
        weights: of the cells, or of those of several regions; 0 on masked cells.

    Raises:
        ValueError: for weights that make no sense, or bins that they leave too little to tell
            apart.
    """
    cells = checked_weights(weights, domain.cell_shape)
    kept = np.any(cells > 0.0, axis=0)
    width = 0.0 if kept.all() else _APODISATION * np.degrees(hp.nside2resol(domain.nside))
    alm = np.asarray(domain.sht.analysis(cells * apodised(kept, width)))
    grid = _product_grid(domain.lmax)
    places = grid.synthesis(truncated(jnp.asarray(alm), domain.lmax, grid.lmax), (0,))[:, 0]
    bins = _bins(edges)
    matrices = [_sphere_coupling(one, domain.lmax, grid, bins) for one in alm]
    decoupling = np.stack([_inverse(one) for one in matrices])
    return Weighting(jnp.asarray(cells), places, jnp.asarray(decoupling))


def _sphere_coupling(
    alm: Complex[np.ndarray, " alm"], lmax: int, grid: GaussLegendre, bins: Bins
) -> Float[np.ndarray, "bin bin"]:
    """Power in each bin of the weighted field without its mean, for unit power in each bin.

    The mean of the weighted field over that of the weights is correlated with it: of a field of
    covariance C it has the coefficients of `w (C * w) / int w`.
    """
    own = cross_cl(alm, alm, lmax)
    (coupling,) = couplings(own, lmax, lmax, [(Kernel.SCALAR, Kernel.SCALAR)])
    spread = bins.spread(lmax)
    seen = grid.synthesis(
        truncated(jnp.asarray(np.vstack([alm, alm * spread.T[:, ell_of(lmax)]])), lmax, grid.lmax),
        (0,),
    )
    product = truncated(grid.analysis(seen[1:] * seen[0], (0,))[:, 0], grid.lmax, lmax)
    area = np.sqrt(4.0 * np.pi) * alm[0].real
    mixed = cross_cl(np.asarray(product), alm, lmax).T / area
    apart = np.outer(own, (own * (2.0 * np.arange(lmax + 1) + 1.0)) @ spread) / area**2
    return bins.matrix(lmax) @ (coupling.even @ spread - 2.0 * mixed + apart)


def _inverse(matrix: Float[np.ndarray, "bin bin"]) -> Float[np.ndarray, "bin bin"]:
    condition = np.linalg.cond(matrix)
    if not condition < _LARGEST_CONDITION:
        raise ValueError(
            "bins: expected bins that the weighted cells can tell apart, got bins whose coupling "
            f"has no inverse (condition {condition:.1g}). Take fewer, or a larger region."
        )
    return np.linalg.inv(matrix)


def _product_grid(lmax: int) -> GaussLegendre:
    """Grid on which the product of two fields is analysed exactly up to the band of one."""
    return GaussLegendre((3 * lmax + 1) // 2)


def _bins(edges: tuple[float, ...]) -> Bins:
    return Bins(np.array(edges))


@functools.lru_cache(maxsize=16)
def _inside(shape: tuple[int, ...], edges: tuple[float, ...]) -> Bool[np.ndarray, "bin ..."]:
    """Which modes are in each bin; that of the mean is in none."""
    which = np.digitize(wavenumbers(shape), edges) - 1
    inside = which == np.arange(len(edges) - 1).reshape(-1, *([1] * len(shape)))
    inside[(slice(None), *([0] * len(shape)))] = False
    return inside


@functools.lru_cache(maxsize=16)
def _layout(shape: SpectrumShape) -> Layout:
    channels = np.arange(shape.channels)[:, None]
    pairs = np.stack(np.triu_indices(shape.channels), axis=-1)
    rows = np.column_stack(
        [np.repeat(pairs, shape.count, axis=0), np.tile(np.arange(shape.count), len(pairs))]
    )
    return Layout(
        (
            Table(Order.MEAN, ("region", "channel"), by_region(channels, shape.regions)),
            Table(Order.VARIANCE, ("region", "channel"), by_region(channels, shape.regions)),
            Table(
                Order.BANDPOWER,
                ("region", "channel", "channel2", "bin"),
                by_region(rows, shape.regions),
            ),
        ),
        f"power spectrum, {shape.origin}, bins {shape.edges}",
    )
