"""Wavelet scattering transform of flat fields."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from skysift.scattering.domain import Flat
from skysift.scattering.plane.bank import Bank, crop, modes
from skysift.scattering.plane.statistic import AbstractFlat
from skysift.scattering.plane.weights import ScaleWeights
from skysift.scattering.statistic import Moments, flattened, modulus
from skysift.scattering.wst import AbstractTransform, TransformShape


class FlatTransform(AbstractFlat, AbstractTransform):
    """Wavelet scattering transform of fields on a flat grid of 1, 2 or 3 axes.

    Each scale is evaluated on a grid of twice its own band, the second layer on that of the coarser
    of the two scales.

    The values are those of `scattering_coef` of the package scattering_transform of Cheng et al.
    (2020, MNRAS 499, 5902), before it takes logarithms, with `Morlet()` and its orientation
    `n - 1` modulo L for ours n, at the scales from 2 (the finer two of that package are folded at
    the band limit); in that package `S2` is not divided by `S1`.

    Args:
        domain: grid and channels.
        bank: wavelets.
        weights: of the cells at each scale, or `None` for periodic fields with equal weights.
        shape: what fixes the tables.
    """

    domain: Flat
    bank: Bank
    weights: ScaleWeights | None
    shape: TransformShape = eqx.field(static=True)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        sizes = self.bank.sizes
        spectrum = modes(fields, sizes.axes)
        powers, first, second = [], [], []
        moduli: list[Array] = []
        for scale in range(sizes.scales):
            envelope = modulus(self.bank.coefficients(spectrum, scale))
            average = self.average(envelope, scale)
            first.append(average)
            powers.append(self.average(envelope**2, scale))
            second.append(self._second_layer(moduli, scale) if moduli else average[..., :0, :0])
            moduli.append(self.centred_modes(envelope, average, scale))

        def joined(parts: list[Array]) -> Array:
            parts = [one.reshape(*one.shape[:2], -1) for one in parts]
            return flattened(jnp.concatenate(parts, axis=-1))

        return (*self.first(fields, spectrum), joined(powers), joined(first), joined(second))

    def _second_layer(self, moduli: list[Array], scale: int) -> Array:
        """Averages of the moduli of finer moduli, `(field, region, coefficient)`."""
        sizes = self.bank.sizes
        grid = sizes.grid(scale)
        rows = jnp.concatenate([crop(one, grid, sizes.axes) for one in moduli], axis=1)
        envelope = modulus(self.bank.coefficients(rows, scale))
        return self.average(envelope, scale, moduli=True)
