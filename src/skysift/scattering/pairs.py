"""Which coefficients a scattering covariance has: rows of a Gram matrix, and pairs of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from skysift.scattering.layout import Order, Table, by_region


@dataclass(frozen=True)
class Rows:
    """The fields whose products at one scale are taken: linear ones, then moduli of finer scales.

    Args:
        scales: number of scales.
        channels: number of maps seen together.
        modes: for each modulus of a scale, its kinds: orientations of the wavelet on a flat grid,
            parts of its angular harmonics on the sphere; a tuple of numbers that name each.
        mode_axes: names of those numbers.
        odd: of each mode whether it changes sign in a mirror; products of an odd and an even one
            vanish on average in a field without handedness and are left out.
        odd_channels: the same for the maps.
    """

    scales: int
    channels: int
    modes: tuple[tuple[int, ...], ...]
    mode_axes: tuple[str, ...]
    odd: tuple[bool, ...]
    odd_channels: tuple[bool, ...]

    def moduli(self, scale: int) -> Int[np.ndarray, "row column"]:
        """Scale, channel and mode number of each modulus that takes part at a scale."""
        rows = [
            (fine, channel, mode)
            for fine in range(scale + 1)
            for channel in range(self.channels)
            for mode in range(len(self.modes))
        ]
        return np.array(rows, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Positions in the Gram matrix of one scale.

    Args:
        power: of linear fields with each other, `(pair, 2)` of rows.
        third: of a linear field and a modulus.
        fourth: of two moduli, the first of the coarser scale.
    """

    power: Int[np.ndarray, "pair 2"]
    third: Int[np.ndarray, "pair 2"]
    fourth: Int[np.ndarray, "pair 2"]


@functools.lru_cache(maxsize=256)
def pairs(rows: Rows, scale: int) -> Pairs:
    """The pairs of rows that are coefficients at one scale."""
    moduli = rows.moduli(scale)
    first = rows.channels
    odd = np.array(rows.odd)[moduli[:, 2]]
    linear = np.array(rows.odd_channels)

    a, b = np.triu_indices(rows.channels)
    alike = linear[a] == linear[b]
    power = np.stack([a, b], axis=-1)[alike]

    a, b = np.meshgrid(np.arange(rows.channels), np.arange(len(moduli)), indexing="ij")
    alike = linear[a] == odd[b]
    third = np.stack([a, b + first], axis=-1)[alike]

    a, b = np.meshgrid(np.arange(len(moduli)), np.arange(len(moduli)), indexing="ij")
    finer = moduli[a, 0] > moduli[b, 0]
    same = (moduli[a, 0] == moduli[b, 0]) & (moduli[a, 1] >= moduli[b, 1])
    alike = odd[a] == odd[b]
    fourth = np.stack([a, b], axis=-1)[(finer | same) & alike] + first
    return Pairs(power, third, fourth)


def covariance_tables(
    rows: Rows, orientations: int | None, regions: int
) -> tuple[Table, Table, Table]:
    """Tables of the second, third and fourth moments of all scales, region by region.

    Args:
        rows: of the Gram matrices.
        orientations: of the wavelet common to both factors, or `None` when it is averaged over.
        regions: number of masks.
    """
    second, third, fourth = [], [], []
    common = range(orientations) if orientations is not None else range(1)
    for scale in range(rows.scales):
        moduli = rows.moduli(scale)
        pair = pairs(rows, scale)
        for orientation in common:
            turn = [orientation] if orientations is not None else []
            second += [[a, b, scale, *turn] for a, b in pair.power]
            for a, b in pair.third:
                fine, channel, mode = moduli[b - rows.channels]
                third.append([a, channel, scale, fine, *turn, *rows.modes[mode]])
            for a, b in pair.fourth:
                fine, channel, mode = moduli[a - rows.channels]
                finer, channel2, mode2 = moduli[b - rows.channels]
                kinds = (*turn, *rows.modes[mode], *rows.modes[mode2])
                fourth.append([channel, channel2, scale, fine, finer, *kinds])
    turn_axes = ("orientation",) if orientations is not None else ()
    once = tuple(f"{name}2" for name in rows.mode_axes)
    twice = tuple(f"{name}3" for name in rows.mode_axes)
    flat = orientations is not None
    return (
        _table(
            Order.S2,
            ("channel", "channel2", "scale", *turn_axes),
            second,
            regions,
            flat and rows.channels > 1,
        ),
        _table(
            Order.S3,
            ("channel", "channel2", "scale", "scale2", *turn_axes, *once),
            third,
            regions,
            flat,
        ),
        _table(
            Order.S4,
            ("channel2", "channel3", "scale", "scale2", "scale3", *turn_axes, *once, *twice),
            fourth,
            regions,
            flat,
        ),
    )


def _table(
    order: Order, axes: tuple[str, ...], index: list, regions: int, is_complex: bool
) -> Table:
    rows = np.array(index, dtype=np.int64).reshape(len(index), len(axes))
    return Table(order, ("region", *axes), by_region(rows, regions), is_complex)
