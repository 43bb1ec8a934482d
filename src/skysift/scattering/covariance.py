"""Scattering covariance: what is the same on a flat grid and on the sphere."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from skysift.scattering.layout import Layout, Order, Table, by_region
from skysift.scattering.pairs import Rows, covariance_tables
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics


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


@dataclass(frozen=True, eq=False)
class _Amplitudes:
    """For each coefficient the positions, among the powers, of what it is divided by."""

    power: Int[np.ndarray, " power"]
    first: Int[np.ndarray, " coefficient"]
    third: tuple[Int[np.ndarray, " coefficient"], Int[np.ndarray, " coefficient"]]
    fourth: tuple[Int[np.ndarray, " coefficient"], Int[np.ndarray, " coefficient"]]


class AbstractCovariance(AbstractStatistic):
    """Scattering covariance of fields: moments up to the fourth between scales.

    `S1 = <|I*psi|>`, `S2 = <|I*psi|^2>`, `S3 = <(I*psi_1) conj(|I*psi_2|*psi_1)>`,
    `S4 = <(|I*psi_2|*psi_1) conj(|I*psi_3|*psi_1)>` with scale 1 the coarsest of the three
    (Morel et al. 2023, arXiv:2204.10177; Cheng et al. 2024, PNAS Nexus 3, 103). Normalised by the
    powers: `S1 / sqrt(S2)`, `S3 / sqrt(S2_1 S2_2)`, `S4 / sqrt(S2_2 S2_3)`.
    """

    shape: eqx.AbstractVar[CovarianceShape]

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        where = _amplitudes(self.shape)
        power = jnp.real(self._of(reference, Order.S2))[..., where.power]
        # Zero power leaves the moment as it is: `blind` tells of it.
        amplitude = jnp.sqrt(jnp.where(power > 0.0, power, 1.0))
        divide = {
            Order.S1: amplitude[..., where.first],
            Order.S3: amplitude[..., where.third[0]] * amplitude[..., where.third[1]],
            Order.S4: amplitude[..., where.fourth[0]] * amplitude[..., where.fourth[1]],
        }
        return tuple(
            values / divide[table.order] if table.order in divide else values
            for table, values in zip(self.layout.tables, moments, strict=True)
        )

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        where = _amplitudes(self.shape)
        table = self.layout[Order.S2].take(where.power)
        power = np.real(np.asarray(reference[Order.S2]))[where.power]
        rows = self.shape.rows
        levels = np.array(
            [
                [
                    power[(table.column("channel") == c) & (table.column("scale") == j)].mean()
                    for j in range(rows.scales)
                ]
                for c in range(rows.channels)
            ]
        )
        regions = self.shape.regions
        mean = np.asarray(reference[Order.MEAN]).reshape(regions, -1).mean(axis=0)
        rest = np.asarray(reference[Order.REST]).reshape(regions, rows.channels, 2).mean(axis=0)
        return mean, levels, rest

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        where = _amplitudes(self.shape)
        power = np.real(np.asarray(self._of(reference, Order.S2)))[..., where.power]
        mean2 = np.max(np.abs(np.asarray(self._of(reference, Order.MEAN)))) ** 2
        tiny = 100.0 * np.finfo(power.dtype).eps ** 2 * mean2
        empty = np.argwhere(~(power.reshape(-1, power.shape[-1]) > tiny))
        if not empty.size:
            return ""
        table = self.layout[Order.S2]
        row = table.index[where.power[empty[0, -1]]]
        named = dict(zip(table.axes, row.tolist(), strict=True))
        named.pop("channel2")
        return "at " + ", ".join(f"{axis} {value}" for axis, value in named.items())

    def _of(self, moments: Moments, order: Order) -> Array:
        return moments[self.layout.orders.index(order)]


@functools.lru_cache(maxsize=64)
def _layout(shape: CovarianceShape) -> Layout:
    rows, regions = shape.rows, shape.regions
    channels = [[channel] for channel in range(rows.channels)]
    turns = range(shape.orientations) if shape.orientations is not None else None
    axes = ("channel", "scale") if turns is None else ("channel", "scale", "orientation")
    first = [
        [channel, scale, *turn]
        for scale in range(rows.scales)
        for channel in range(rows.channels)
        for turn in ([[]] if turns is None else [[orientation] for orientation in turns])
    ]
    rest = [[channel, side] for channel in range(rows.channels) for side in (0, 1)]

    def table(order: Order, names: tuple[str, ...], index: list) -> Table:
        return Table(order, ("region", *names), by_region(np.array(index), regions))

    return Layout(
        (
            table(Order.MEAN, ("channel",), channels),
            table(Order.VARIANCE, ("channel",), channels),
            table(Order.REST, ("channel", "side"), rest),
            table(Order.S1, axes, first),
            *covariance_tables(rows, shape.orientations, regions),
        ),
        f"scattering covariance, {shape.origin}",
    )


@functools.lru_cache(maxsize=64)
def _amplitudes(shape: CovarianceShape) -> _Amplitudes:
    layout = _layout(shape)
    second = layout[Order.S2]
    own = np.flatnonzero(second.column("channel") == second.column("channel2"))
    oriented = shape.orientations is not None
    names = ("region", "channel", "scale", *(("orientation",) if oriented else ()))
    position = {
        tuple(row): where
        for where, row in enumerate(np.stack([second.column(n) for n in names], -1)[own].tolist())
    }

    def find(order: Order, channel: str, scale: str, orientation: str) -> np.ndarray:
        table = layout[order]
        wanted = ("region", channel, scale, *((orientation,) if oriented else ()))
        rows = np.stack([table.column(name) for name in wanted], axis=-1)
        return np.array([position[tuple(row)] for row in rows.tolist()], dtype=np.int64)

    return _Amplitudes(
        own,
        find(Order.S1, "channel", "scale", "orientation"),
        (
            find(Order.S3, "channel", "scale", "orientation"),
            find(Order.S3, "channel2", "scale2", "orientation2"),
        ),
        (
            find(Order.S4, "channel2", "scale2", "orientation2"),
            find(Order.S4, "channel3", "scale3", "orientation3"),
        ),
    )
