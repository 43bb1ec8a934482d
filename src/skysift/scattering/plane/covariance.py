"""Scattering covariance of flat fields."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from skysift.scattering.covariance import AbstractCovariance, CovarianceShape
from skysift.scattering.domain import Flat
from skysift.scattering.pairs import pairs
from skysift.scattering.plane.bank import Bank, crop, crop_half, half_weights, modes
from skysift.scattering.plane.statistic import AbstractFlat
from skysift.scattering.plane.weights import ScaleWeights
from skysift.scattering.statistic import Moments, modulus


class FlatCovariance(AbstractFlat, AbstractCovariance):
    """Scattering covariance of fields on a flat grid of 1, 2 or 3 axes.

    Each scale is evaluated on a grid of twice its own band. With all cells alike, the third and
    fourth moments are sums over Fourier modes: a Gram matrix for each scale and orientation, and
    no transform of the second layer (Cheng et al. 2024). With weights the second layer is
    evaluated in the cells, so that a mask does not mix scales.

    Args:
        domain: grid and channels.
        bank: wavelets.
        weights: of the cells at each scale, or `None` for periodic fields with equal weights.
        shape: what fixes the tables.
    """

    domain: Flat
    bank: Bank
    weights: ScaleWeights | None
    shape: CovarianceShape = eqx.field(static=True)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        axes = self.bank.sizes.axes
        spectrum = modes(fields, axes)
        first, second, third, fourth = [], [], [], []
        moduli: list[Array] = []
        for scale in range(self.bank.sizes.scales):
            envelope = modulus(self.bank.coefficients(spectrum, scale))
            average = self.average(envelope, scale)
            first.append(average.reshape(*average.shape[:2], -1))
            moduli.append(self._modulus_modes(envelope, average, scale))
            gram = self._gram(spectrum, moduli, scale)
            pair = pairs(self.shape.rows, scale)
            for found, rows in ((second, pair.power), (third, pair.third), (fourth, pair.fourth)):
                values = gram[..., rows[:, 0], rows[:, 1]]
                found.append(values.reshape(*values.shape[:2], -1))

        def joined(parts: list[Array]) -> Array:
            values = jnp.concatenate(parts, axis=-1)
            return values.reshape(len(values), -1)

        powers = joined(second)
        return (
            *self.first(fields, spectrum),
            joined(first),
            powers if self.shape.rows.channels > 1 else jnp.real(powers),
            joined(third),
            joined(fourth),
        )

    def _modulus_modes(self, envelope: Array, average: Array, scale: int) -> Array:
        """Modes of the moduli of one scale, `(field, channel and orientation, ...)`."""
        axes = self.bank.sizes.axes
        if self.weights is None:
            spectrum = jnp.fft.rfftn(envelope, axes=axes, norm="forward")
            return spectrum.reshape(len(spectrum), -1, *spectrum.shape[axes[0] :])
        return self.centred_modes(envelope, average, scale)

    def _gram(self, spectrum: Array, moduli: list[Array], scale: int) -> Array:
        """Mean products of all rows seen through the wavelets of one scale.

        Returns:
            `(field, region, orientation, row, row)`.
        """
        axes = self.bank.sizes.axes
        grid = self.bank.sizes.grid(scale)
        filters = self.bank.filters[scale].astype(spectrum.real.dtype)
        if self.weights is not None:
            rows = jnp.concatenate([crop(one, grid, axes) for one in (spectrum, *moduli)], axis=1)
            seen = jnp.fft.ifftn(
                rows[:, None] * filters[None, :, None], axes=axes, norm="forward"
            ).reshape(len(rows), filters.shape[0], rows.shape[1], -1)
            first = spectrum.shape[1]
            powers = self._products(seen[:, :, :first], scale, False)
            return self._products(seen, scale, True).at[..., :first, :first].set(powers)
        half = crop(spectrum, grid, axes)[..., : grid[-1] // 2 + 1]
        rows = jnp.concatenate([half, *(crop_half(one, grid, axes) for one in moduli)], axis=1)
        rows = rows.reshape(*rows.shape[:2], -1)
        even, odd = half_weights(filters, grid)
        even, odd = even.reshape(len(even), -1), odd.reshape(len(odd), -1)
        real, imaginary = jnp.real(rows), jnp.imag(rows)
        part = jnp.einsum("blnk,bmk->blnm", imaginary[:, None] * odd[:, None], real)
        gram = jax.lax.complex(
            jnp.einsum("blnk,bmk->blnm", real[:, None] * even[:, None], real)
            + jnp.einsum("blnk,bmk->blnm", imaginary[:, None] * even[:, None], imaginary),
            part - jnp.swapaxes(part, -1, -2),
        )
        return gram[:, None]

    def _products(self, seen: Array, scale: int, moduli: bool) -> Array:
        """Weighted mean products of rows `(field, orientation, row, cell)` at a scale."""
        assert self.weights is not None
        weights = self.weights.flat(scale, moduli).astype(seen.real.dtype)
        return jnp.einsum("blnp,rp,blmp->brlnm", seen, weights, jnp.conj(seen))
