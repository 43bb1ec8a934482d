"""Wavelet phase harmonics: what is the same on a flat grid and on the sphere."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.powered import (
    AbstractPowered,
    first_tables,
    named,
    own_powers,
    power_positions,
    scale_table,
)
from skysift.scattering.statistic import Moments

_LINEAR, _MODULUS = "linear", "modulus"

_FACTORS: dict[Order, tuple[tuple[str, str], tuple[str, str]]] = {
    Order.S11: ((_LINEAR, ""), (_LINEAR, "2")),
    Order.S00: ((_MODULUS, ""), (_MODULUS, "2")),
    Order.S01: ((_MODULUS, ""), (_LINEAR, "2")),
    Order.C01: ((_MODULUS, ""), (_LINEAR, "2")),
    Order.C00: ((_MODULUS, ""), (_MODULUS, "2")),
    Order.PHASE: ((_LINEAR, ""), (_LINEAR, "2")),
}
"""What the two factors of each class are, and how the names of their axes end."""


class AbstractPhases(AbstractPowered):
    """Wavelet phase harmonics: covariances of wavelet coefficients with their phase multiplied.

    With `[z]^p = |z| exp(i p arg z)`, so that `[z]^0` is the modulus and `[z]^1 = z`, and `W_n` the
    coefficients of wavelet n, the moments are `Cov([W_1(x + tau)]^p1, [W_2(x)]^p2)`
    (Mallat, Zhang & Rochette 2020, Information and Inference 9, 721; Allys et al. 2020, PRD 102,
    103506; Regaldo-Saint Blancard et al. 2021, A&A 649, L18), in classes:

    - `S11`: one wavelet, p = 1 and 1: the power;
    - `S00`: one wavelet, 0 and 0: the variance of the modulus;
    - `S01`: one wavelet, 0 and 1;
    - `C01`: modulus of a finer wavelet, and a coarser one, 0 and 1;
    - `Cphase`: a finer wavelet, and a coarser one of the same orientation whose phase is multiplied
      by the ratio of the scales, 1 and 2^(j2 - j1);
    - `C00`: moduli of a finer and a coarser wavelet, 0 and 0.

    The first factor is the finer, that with `channel`, `scale`; the second that with `channel2`,
    `scale2`. `S1`, the means of the moduli, and the moments of the map itself stand beside them.
    Without a shift and of one channel `S11` is in the squared unit of the map, and `S1` in the unit
    of the map. All else is divided by the standard deviations of both factors in the reference:
    `sqrt(S11)` of a wavelet, `sqrt(S11 - S1^2)` of a modulus.
    """

    mean_order: ClassVar[Order] = Order.MEAN
    power_order: ClassVar[Order] = Order.S11

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        power = self.own_power(reference)
        variance = power - self.of(reference, Order.S1) ** 2
        # Nothing to divide by leaves the moment as it is: `blind` tells of it.
        deviation = {
            kind: jnp.sqrt(jnp.where(square > 0.0, square, 1.0))
            for kind, square in ((_LINEAR, power), (_MODULUS, variance))
        }
        values = []
        for table, one in zip(self.layout.tables, moments, strict=True):
            if table.order not in _FACTORS:
                values.append(one)
                continue
            kinds = [kind for kind, _ in _FACTORS[table.order]]
            a, b = _positions(self.layout, table.order)
            divisor = deviation[kinds[0]][..., a] * deviation[kinds[1]][..., b]
            if table.order is self.power_order:
                divisor = divisor.at[..., own_powers(self.layout, self.power_order)].set(1.0)
            values.append(one / divisor)
        return tuple(values)

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        powerless = self.powerless(reference)
        if powerless:
            return powerless
        own = self.layout[Order.S11].take(own_powers(self.layout, Order.S11))
        power = np.asarray(self.own_power(reference))
        variance = power - np.asarray(self.of(reference, Order.S1)) ** 2
        still = np.argwhere(~(variance > 100.0 * np.finfo(power.dtype).eps * power))
        if still.size:
            return f"in the modulus at {named(own, int(still[0, -1]))}"
        # Where no pair of cells is left their product is exactly zero.
        table = self.layout[Order.S11]
        own_rows = np.flatnonzero(table.column("channel") == table.column("channel2"))
        lost = np.argwhere(np.asarray(self.of(reference, Order.S11))[..., own_rows] == 0.0)
        if lost.size:
            row = named(table, int(own_rows[lost[0, -1]]))
            return f"in pairs of cells away from the mask at {row}"
        return ""


@dataclass(frozen=True)
class Class:
    """Coefficients of one class of moments.

    Args:
        order: of the class.
        axes: names of the numbers of a row.
        rows: of one region.
        complex: whether the moments are complex.
    """

    order: Order
    axes: tuple[str, ...]
    rows: list[tuple[int, ...]]
    complex: bool

    def table(self, regions: int) -> Table:
        """The rows in every region."""
        index = np.array(self.rows, dtype=np.int64).reshape(len(self.rows), len(self.axes))
        return Table(self.order, ("region", *self.axes), by_region(index, regions), self.complex)


def phase_layout(
    channels: int,
    scales: int,
    orientations: int | None,
    regions: int,
    classes: list[Class],
    origin: str,
) -> Layout:
    """Layout of wavelet phase harmonics of some classes.

    Args:
        channels: number of maps seen together.
        scales: of the wavelets.
        orientations: of the wavelets; `None` where they are averaged over.
        regions: number of masks.
        classes: with their rows.
        origin: domain and wavelets, in words.
    """
    return Layout(
        (
            *first_tables(Order.MEAN, channels, regions),
            scale_table(Order.S1, channels, scales, orientations, regions),
            *(one.table(regions) for one in classes),
        ),
        f"wavelet phase harmonics, {origin}",
    )


@functools.lru_cache(maxsize=256)
def _positions(layout: Layout, order: Order) -> tuple[Int[np.ndarray, " coefficient"], ...]:
    """For each coefficient the positions of its two factors among the powers."""
    return tuple(power_positions(layout, Order.S11, order, number) for _, number in _FACTORS[order])


def unit(values: Complex[Array, "..."], modulus: Float[Array, "..."]) -> Complex[Array, "..."]:
    """Values over their modulus, zero where they are zero."""
    nonzero = modulus > 0.0
    inverse = jnp.where(nonzero, 1.0 / jnp.where(nonzero, modulus, 1.0), 0.0)
    return values * jax.lax.complex(inverse, jnp.zeros_like(inverse))
