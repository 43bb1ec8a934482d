"""Scattering covariance: what is the same on a flat grid and on the sphere."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from skysift.scattering.layout import Layout, Order
from skysift.scattering.pairs import Rows, covariance_tables
from skysift.scattering.powered import AbstractPowered, first_tables, power_positions, scale_table
from skysift.scattering.statistic import Moments


@dataclass(frozen=True)
class CovarianceShape:
    """What fixes the tables of a scattering covariance.

    Args:
        rows: fields and moduli of the Gram matrices.
        orientations: of the wavelets when each has its own coefficients, else `None`.
        regions: number of masks.
        origin: domain and wavelets, in words.
    """

    rows: Rows
    orientations: int | None
    regions: int
    origin: str


class AbstractCovariance(AbstractPowered):
    """Scattering covariance of fields: moments up to the fourth between scales.

    `S1 = <|I*psi|>`, `S2 = <|I*psi|^2>`, `S3 = <(I*psi_1) conj(|I*psi_2|*psi_1)>`,
    `S4 = <(|I*psi_2|*psi_1) conj(|I*psi_3|*psi_1)>` with scale 1 the coarsest of the three
    (Morel et al. 2023, arXiv:2204.10177; Cheng et al. 2024, PNAS Nexus 3, 103). Normalised by the
    powers: `S1 / sqrt(S2)`, `S3 / sqrt(S2_1 S2_2)`, `S4 / sqrt(S2_2 S2_3)`.
    """

    shape: eqx.AbstractVar[CovarianceShape]

    mean_order: ClassVar[Order] = Order.MEAN
    power_order: ClassVar[Order] = Order.S2

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        return over_amplitudes(self.layout, self.own_power(reference), moments)

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        return self.powerless(reference)


def over_amplitudes(
    layout: Layout, power: Float[Array, "field power"], moments: Moments
) -> Moments:
    """Moments of a scattering covariance over the roots of the powers of their factors.

    Args:
        layout: of the moments.
        power: of each channel with itself, in the order of `own_powers`.
        moments: not normalised.
    """
    # Zero power leaves the moment as it is: `blind` tells of it.
    amplitude = jnp.sqrt(jnp.where(power > 0.0, power, 1.0))
    divide = {
        order: functools.reduce(operator.mul, [amplitude[..., one] for one in factors])
        for order, factors in _amplitudes(layout).items()
    }
    return tuple(
        values / divide[table.order] if table.order in divide else values
        for table, values in zip(layout.tables, moments, strict=True)
    )


@functools.lru_cache(maxsize=64)
def _layout(shape: CovarianceShape) -> Layout:
    rows, regions = shape.rows, shape.regions
    return Layout(
        (
            *first_tables(Order.MEAN, rows.channels, regions),
            scale_table(Order.S1, rows.channels, rows.scales, shape.orientations, regions),
            *covariance_tables(rows, shape.orientations, regions),
        ),
        f"scattering covariance, {shape.origin}",
    )


@functools.lru_cache(maxsize=64)
def _amplitudes(layout: Layout) -> dict[Order, tuple[Int[np.ndarray, " coefficient"], ...]]:
    """For each order the positions, among the powers, of what its coefficients are divided by."""
    factors = {Order.S1: ("",), Order.S3: ("", "2"), Order.S4: ("2", "3")}
    return {
        order: tuple(power_positions(layout, Order.S2, order, number) for number in numbers)
        for order, numbers in factors.items()
    }
