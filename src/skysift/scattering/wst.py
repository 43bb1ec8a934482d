"""Wavelet scattering transform: what is the same on a flat grid and on the sphere."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.powered import AbstractPowered, first_tables, power_positions, scale_table
from skysift.scattering.statistic import Moments


@dataclass(frozen=True)
class TransformShape:
    """What fixes the tables of a wavelet scattering transform.

    Args:
        channels: number of maps seen together, each for itself.
        scales: number of scales.
        orientations: of the wavelets when each has its own coefficients, else `None`.
        turns: number of angles between the directions of the two layers, when only these have
            coefficients of their own, else `None`.
        regions: number of masks.
        origin: domain and wavelets, in words.
    """

    channels: int
    scales: int
    orientations: int | None
    turns: int | None
    regions: int
    origin: str


class AbstractTransform(AbstractPowered):
    """Wavelet scattering transform: averages of moduli of wavelet coefficients, in two layers.

    `S0 = <I>`, `S1 = <|I*psi_1|>`, `S2 = <||I*psi_1|*psi_2|>` where the second wavelet is of a
    coarser scale (Bruna & Mallat 2013, IEEE PAMI 35, 1872; Allys et al. 2019, A&A 629, A115).
    `S0` and `S1` are in the unit of the map, `S2` is normalised by `S1` of the first layer; their
    logarithms are those of the literature. Beside them stand the power of each wavelet, so that
    `S1^2 / power` is the sparsity of its coefficients, the variance, and the power of what no
    wavelet covers. In a scattering transform channels do not see one another.
    """

    shape: eqx.AbstractVar[TransformShape]

    mean_order: ClassVar[Order] = Order.S0
    power_order: ClassVar[Order] = Order.POWER

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        first = self.of(reference, Order.S1)[..., _first_layer(self.layout)]
        # No first layer leaves the second as it is: `blind` tells of it.
        amplitude = jnp.where(first > 0.0, first, 1.0)
        return tuple(
            values / amplitude if table.order is Order.S2 else values
            for table, values in zip(self.layout.tables, moments, strict=True)
        )

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        return self.powerless(reference)


@functools.lru_cache(maxsize=64)
def _layout(shape: TransformShape) -> Layout:
    sizes = (shape.channels, shape.scales, shape.orientations, shape.regions)
    return Layout(
        (
            *first_tables(Order.S0, shape.channels, shape.regions),
            scale_table(Order.POWER, *sizes),
            scale_table(Order.S1, *sizes),
            _second_layer(shape),
        ),
        f"wavelet scattering transform, {shape.origin}",
    )


def _second_layer(shape: TransformShape) -> Table:
    kinds = (
        [(turn,) for turn in range(shape.turns or 1)]
        if shape.orientations is None
        else [(a, b) for a in range(shape.orientations) for b in range(shape.orientations)]
    )
    rows = [
        (channel, fine, coarse, *kind)
        for coarse in range(shape.scales)
        for fine in range(coarse)
        for channel in range(shape.channels)
        for kind in kinds
    ]
    names = ("turn",) if shape.orientations is None else ("orientation", "orientation2")
    axes = ("channel", "scale", "scale2", *names)
    index = np.array(rows, dtype=np.int64).reshape(len(rows), len(axes))
    return Table(Order.S2, ("region", *axes), by_region(index, shape.regions))


@functools.lru_cache(maxsize=64)
def _first_layer(layout: Layout) -> Int[np.ndarray, " coefficient"]:
    """For each coefficient of the second layer the position of that of the first."""
    return power_positions(layout, Order.POWER, Order.S2)
