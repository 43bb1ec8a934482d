"""Statistics that hold the power at each scale: what to normalise by, and Gaussian fields."""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Bool, Int

from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics


class AbstractPowered(AbstractStatistic):
    """Statistics one of whose orders is the power of each channel at each scale.

    Normalising leaves that order as it is, with the mean and the power at the other scales.
    """

    mean_order: ClassVar[Order]
    power_order: ClassVar[Order]

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        own = own_powers(self.layout, self.power_order)
        table = self.layout[self.power_order].take(own)
        power = np.real(np.asarray(reference[self.power_order]))[own]
        channels = self.domain.channels
        scales = int(table.column("scale").max()) + 1
        levels = np.array(
            [
                [
                    power[(table.column("channel") == c) & (table.column("scale") == j)].mean()
                    for j in range(scales)
                ]
                for c in range(channels)
            ]
        )
        mean = np.asarray(reference[self.mean_order]).reshape(-1, channels).mean(axis=0)
        rest = np.asarray(reference[Order.REST]).reshape(-1, channels, 2).mean(axis=0)
        return mean, levels, rest

    def powerless(self, reference: Moments) -> str:
        """Where moments have no power to normalise by, in words; empty when they have it."""
        table = self.layout[self.power_order].take(own_powers(self.layout, self.power_order))
        power = np.asarray(self.own_power(reference))
        mean = np.abs(np.asarray(self.of(reference, self.mean_order)))
        mean2 = np.max(mean, axis=-1, keepdims=True) ** 2
        tiny = 100.0 * np.finfo(power.dtype).eps ** 2 * mean2
        empty = np.argwhere(~(power.reshape(-1, power.shape[-1]) > tiny.reshape(-1, 1)))
        return "at " + named(table, int(empty[0, -1])) if empty.size else ""

    def own_power(self, moments: Moments) -> Array:
        """Power of each channel with itself, in the order of `own_powers`."""
        power = self.of(moments, self.power_order)[..., own_powers(self.layout, self.power_order)]
        return power.real

    def of(self, moments: Moments, order: Order) -> Array:
        """The moments of one order."""
        return moments[self.layout.orders.index(order)]


def first_tables(mean: Order, channels: int, regions: int) -> tuple[Table, Table, Table]:
    """Tables of the mean, the variance and the power at other scales of each channel.

    Args:
        mean: order of the mean.
        channels: number of maps seen together.
        regions: number of masks.
    """
    each = np.arange(channels)[:, None]
    sides = np.array([[channel, side] for channel in range(channels) for side in (0, 1)])
    return (
        Table(mean, ("region", "channel"), by_region(each, regions)),
        Table(Order.VARIANCE, ("region", "channel"), by_region(each, regions)),
        Table(Order.REST, ("region", "channel", "side"), by_region(sides, regions)),
    )


def scale_table(
    order: Order, channels: int, scales: int, orientations: int | None, regions: int
) -> Table:
    """Table of an order with one number for each wavelet and channel, the scale outermost.

    Args:
        order: of the numbers.
        channels: number of maps seen together.
        scales: of the wavelets.
        orientations: of the wavelets; `None` for one number for all of them.
        regions: number of masks.
    """
    if orientations is None:
        index = np.indices((scales, channels)).reshape(2, -1)[[1, 0]]
        return Table(order, ("region", "channel", "scale"), by_region(index.T, regions))
    index = np.indices((scales, channels, orientations)).reshape(3, -1)[[1, 0, 2]]
    axes = ("region", "channel", "scale", "orientation")
    return Table(order, axes, by_region(index.T, regions))


@functools.lru_cache(maxsize=64)
def own_powers(layout: Layout, order: Order) -> Int[np.ndarray, " power"]:
    """Rows of the table of an order that are `own_coefficients`."""
    return np.flatnonzero(own_coefficients(layout[order]))


def own_coefficients(table: Table) -> Bool[np.ndarray, " coefficient"]:
    """Which coefficients are of one channel with itself, over all angles, without a shift."""
    kept = np.ones(table.size, dtype=bool)
    if "channel2" in table.axes:
        kept &= table.column("channel") == table.column("channel2")
    for axis in ("frequency", "shift"):
        if axis in table.axes:
            kept &= table.column(axis) == 0
    return kept


def power_positions(
    layout: Layout, power: Order, order: Order, number: str = ""
) -> Int[np.ndarray, " coefficient"]:
    """For each coefficient of an order the position, in `own_powers`, of one of its factors.

    Args:
        layout: of all tables.
        power: order of the powers.
        order: of the coefficients.
        number: of the factor, as in the names of its axes: the channel is `channel`, `channel2` or
            `channel3`, and so on.
    """
    powers = layout[power].take(own_powers(layout, power))
    oriented = "orientation" in powers.axes
    names = ("channel", "scale", *(("orientation",) if oriented else ()))
    position = {row: where for where, row in enumerate(_columns(powers, ("region", *names)))}
    table = layout[order]
    given = [f"{name}{number}" for name in names]
    # A factor shares with the first what it has no axis of its own for.
    axes = [one if one in table.axes else name for one, name in zip(given, names, strict=True)]
    rows = _columns(table, ("region", *axes))
    return np.array([position[row] for row in rows], dtype=np.int64)


def _columns(table: Table, names: tuple[str, ...]) -> list[tuple[int, ...]]:
    rows = np.stack([table.column(name) for name in names], axis=-1)
    return [tuple(row) for row in rows.tolist()]


def named(table: Table, row: int) -> str:
    """A coefficient by the values of its axes."""
    values = dict(zip(table.axes, table.index[row].tolist(), strict=True))
    shown = [axis for axis in values if axis in ("region", "channel", "scale", "orientation")]
    return ", ".join(f"{axis} {values[axis]}" for axis in shown)
