"""One-point statistics of fields: moments and quantiles of their values."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float, Inexact

from skysift.scattering.bands import AbstractBands, make_bands
from skysift.scattering.domain import AbstractDomain
from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics

_REACH = 3.0
"""Gaussian standard deviations of the outermost edges between quantiles."""


@dataclass(frozen=True)
class PdfShape:
    """What fixes the tables of one-point statistics.

    Args:
        channels: number of maps.
        scales: dyadic bands.
        quantiles: parts that the values are sorted into.
        regions: number of masks.
        origin: domain, in words.
    """

    channels: int
    scales: int
    quantiles: int
    regions: int
    origin: str

    def __post_init__(self) -> None:
        if self.quantiles < 2:
            raise ValueError(
                f"quantiles: expected 2 or more, got {self.quantiles}. Say quantiles=24."
            )

    @property
    def edges(self) -> Float[np.ndarray, " edge"]:
        """Shares of the values below each edge: even in Gaussian standard deviations."""
        inner = np.linspace(-_REACH, _REACH, self.quantiles - 1) if self.quantiles > 2 else [0.0]
        return np.concatenate([[0.0], scipy.special.ndtr(inner), [1.0]])


class OnePoint(AbstractStatistic):
    """Moments of the values of fields and of their dyadic bands, and means over quantiles.

    `moment` is the mean third and fourth power of the values about their mean, over powers of the
    standard deviation: skewness and kurtosis, 0 and 3 of a Gaussian. `scale_moment` has the same
    of each band, with the variance of the band as power 2. `quantile` is the mean of the values
    between two quantiles, about the mean of all and over the standard deviation: fields that agree
    in all of them have the same distribution up to its form within a quantile, whatever the
    reference; edges between quantiles are even in Gaussian standard deviations.

    The mean over a quantile is the difference of two expected shortfalls, each a convex,
    continuous function of the values (Rockafellar & Uryasev 2000, J. Risk 2, 21).

    Args:
        domain: of the maps.
        bands: dyadic bands, with the weights of the cells.
        shape: what fixes the tables.
    """

    domain: AbstractDomain
    bands: AbstractBands
    shape: PdfShape = eqx.field(static=True)

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return self.bands.cells

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        bands = self.bands
        values = bands.seen(fields, None)
        mean = bands.average(values, None)
        # Each region has a mean of its own.
        centred = values[:, None] - mean[..., None]
        weights = bands.weights(None).astype(values.dtype)

        def power(number: int) -> Array:
            return jnp.einsum("brcp,rp->brc", centred**number, weights)

        scales = []
        for scale in range(bands.scales):
            seen = bands.seen(fields, scale)
            scales.append(jnp.stack([bands.average(seen**n, scale) for n in (2, 3, 4)], axis=-1))
        parts = (
            mean,
            power(2),
            jnp.stack([power(3), power(4)], axis=-1),
            jnp.stack(scales, axis=-2),
            self._quantiles(centred, weights),
        )
        return tuple(one.reshape(len(one), -1) for one in parts)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        mean, variance, moment, scale_moment, quantile = moments
        deviation = jnp.sqrt(_positive(reference[1]))
        own = reference[3].reshape(len(reference[3]), -1, 3)[..., :1]
        band = jnp.sqrt(_positive(own))
        powers = scale_moment.reshape(len(scale_moment), -1, 3)
        powers = jnp.concatenate(
            [powers[..., :1], powers[..., 1:2] / band**3, powers[..., 2:] / band**4], axis=-1
        )
        return (
            mean,
            variance,
            moment / jnp.stack([deviation**3, deviation**4], axis=-1).reshape(len(deviation), -1),
            powers.reshape(len(powers), -1),
            quantile / jnp.repeat(deviation, self.shape.quantiles, axis=-1),
        )

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        power = np.asarray(reference[3])[..., ::3]
        mean2 = np.max(np.abs(np.asarray(reference[0])), axis=-1).reshape(-1, 1) ** 2
        tiny = 100.0 * np.finfo(power.dtype).eps ** 2 * mean2
        empty = np.argwhere(~(power.reshape(-1, power.shape[-1]) > tiny))
        if not empty.size:
            return ""
        table = self.layout[Order.SCALE_MOMENT]
        row = 3 * int(empty[0, 1])
        return f"at channel {table.column('channel')[row]}, scale {table.column('scale')[row]}"

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        shape = self.shape
        mean = np.asarray(reference[Order.MEAN]).reshape(shape.regions, -1).mean(axis=0)
        power = np.asarray(reference[Order.SCALE_MOMENT])[::3]
        levels = power.reshape(shape.regions, shape.channels, shape.scales).mean(axis=0)
        return mean, levels, np.zeros((shape.channels, 2))

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        return self.bands.power_windows()

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`; the bands leave no rest."""
        return np.zeros((2, *self.bands.power_windows()[1].shape))

    def masked(self, kept: Bool[np.ndarray, "..."]) -> OnePoint:
        """See `AbstractStatistic`."""
        cells = np.ones((1, *self.domain.cell_shape))
        if self.bands.cells is not None:
            cells = np.asarray(self.bands.cells)
        bands = make_bands(self.domain, self.shape.scales, cells * kept)
        return OnePoint(self.domain, bands, self.shape)

    def _quantiles(
        self, values: Float[Array, "field region channel cell"], weights: Array
    ) -> Float[Array, "field region channel quantile"]:
        edges = jnp.asarray(self.shape.edges, values.dtype)
        order = jnp.argsort(jax.lax.stop_gradient(values), axis=-1)
        ascending = jnp.take_along_axis(values, order, axis=-1)
        spread = jnp.broadcast_to(weights[None, :, None], values.shape)
        share = jnp.take_along_axis(spread, order, axis=-1)
        below = jnp.cumsum(share, axis=-1)
        below = jnp.pad(below / below[..., -1:], [(0, 0)] * 3 + [(1, 0)])
        sums = jnp.pad(jnp.cumsum(share * ascending, axis=-1), [(0, 0)] * 3 + [(1, 0)])
        # The quantile function is a staircase, its integral linear between the steps.
        integral = jnp.vectorize(
            lambda at, total: jnp.interp(edges, at, total), signature="(n),(n)->(e)"
        )(below, sums)
        return jnp.diff(integral, axis=-1) / jnp.diff(edges)


def _positive(power: Array) -> Array:
    """Power to divide by; where there is none moments are left as they are: `blind` tells of it."""
    return jnp.where(power > 0.0, power, 1.0)


@functools.lru_cache(maxsize=16)
def _layout(shape: PdfShape) -> Layout:
    def table(order: Order, axes: tuple[str, ...], *columns: range | tuple[int, ...]) -> Table:
        mesh = np.meshgrid(np.arange(shape.channels), *columns, indexing="ij")
        rows = np.stack(mesh, axis=-1).reshape(-1, len(mesh))
        return Table(order, ("region", "channel", *axes), by_region(rows, shape.regions))

    return Layout(
        (
            table(Order.MEAN, ()),
            table(Order.VARIANCE, ()),
            table(Order.MOMENT, ("power",), (3, 4)),
            table(Order.SCALE_MOMENT, ("scale", "power"), range(shape.scales), (2, 3, 4)),
            table(Order.QUANTILE, ("quantile",), range(shape.quantiles)),
        ),
        f"one-point statistics, {shape.origin}",
    )
