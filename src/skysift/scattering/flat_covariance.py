"""Scattering covariance of flat fields."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.scattering.bank import Bank, crop, crop_half, half_weights, modes, scale_windows
from skysift.scattering.covariance import AbstractCovariance, CovarianceShape
from skysift.scattering.domain import Flat
from skysift.scattering.pairs import pairs
from skysift.scattering.statistic import Moments, modulus
from skysift.scattering.weights import ScaleWeights, scale_weights


class FlatCovariance(AbstractCovariance):
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

    def masked(self, kept: Bool[np.ndarray, "..."]) -> FlatCovariance:
        """See `AbstractStatistic`."""
        cells = np.ones((1, *self.domain.shape)) if self.weights is None else self.weights.cells
        weights = scale_weights(self.bank, np.asarray(cells) * kept)
        return eqx.tree_at(lambda one: one.weights, self, weights, is_leaf=lambda x: x is None)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        return scale_windows(self.bank)

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        return np.asarray(self.bank.rest)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        axes = self.bank.sizes.axes
        weights = self.weights
        if weights is not None:
            fields = weights.filled(fields)
        cells = _flat(fields, axes)
        mean = _average(cells, None if weights is None else weights.flat(None))
        squares = _average(cells**2, None if weights is None else weights.flat(None))
        spectrum = modes(fields, axes)

        first, second, third, fourth = [], [], [], []
        moduli: list[Array] = []
        for scale in range(self.bank.sizes.scales):
            envelope = modulus(self.bank.coefficients(spectrum, scale))
            average = _average(
                _flat(envelope, axes), None if weights is None else weights.flat(scale)
            )
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
            mean.reshape(len(mean), -1),
            (squares - mean**2).reshape(len(mean), -1),
            self._rest(spectrum).reshape(len(mean), -1),
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
        # The mean is taken out first, so that the edge of a mask is no structure. Each region has
        # its own: the mean over all regions serves, as wavelets are blind to it.
        mean = jnp.mean(average, axis=1)
        kept = self.weights.any_region(scale)
        envelope = (envelope - mean.reshape(*mean.shape, *([1] * len(axes)))) * kept
        spectrum = modes(envelope, axes)
        return spectrum.reshape(len(spectrum), -1, *spectrum.shape[axes[0] :])

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
            weights = self.weights.flat(scale).astype(spectrum.real.dtype)
            return jnp.einsum("blnp,rp,blmp->brlnm", seen, weights, jnp.conj(seen))
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

    def _rest(self, spectrum: Array) -> Float[Array, "field region part"]:
        """Power of each channel above and below the scales of the wavelets."""
        axes = self.bank.sizes.axes
        windows = self.bank.rest.astype(spectrum.real.dtype)
        if self.weights is None:
            power = jnp.abs(jnp.expand_dims(spectrum, axes[0] - 1)) ** 2 * windows
            return jnp.sum(power, axis=axes).reshape(len(spectrum), 1, -1)
        seen = jnp.fft.ifftn(
            jnp.expand_dims(spectrum, axes[0] - 1) * jnp.sqrt(windows), axes=axes, norm="forward"
        )
        average = _average(_flat(jnp.real(seen) ** 2, axes), self.weights.flat(None))
        return average.reshape(*average.shape[:2], -1)


def _flat(values: Array, axes: tuple[int, ...]) -> Array:
    """Cells on one axis."""
    return values.reshape(*values.shape[: axes[0]], -1)


def _average(values: Float[Array, "field ... cell"], weights: Array | None) -> Array:
    """Averages over cells, with an axis for the region after that of the fields."""
    if weights is None:
        return jnp.mean(values, axis=-1)[:, None]
    return jnp.einsum("b...p,rp->br...", values, weights.astype(values.dtype))
