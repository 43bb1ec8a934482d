"""What all statistics of flat fields have in common: averages, masks and windows."""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from skysift.scattering.domain import Flat
from skysift.scattering.plane.bank import Bank, modes, scale_windows
from skysift.scattering.plane.weights import ScaleWeights, scale_weights
from skysift.scattering.statistic import AbstractStatistic, flattened

FlatT = TypeVar("FlatT", bound="AbstractFlat")


class AbstractFlat(AbstractStatistic):
    """Statistics of fields on a flat grid of 1, 2 or 3 axes."""

    domain: eqx.AbstractVar[Flat]
    bank: eqx.AbstractVar[Bank]
    weights: eqx.AbstractVar[ScaleWeights | None]

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return None if self.weights is None else self.weights.cells

    def masked(self: FlatT, kept: Bool[np.ndarray, "..."]) -> FlatT:
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

    def average(
        self, values: Float[Array, "..."], scale: int | None, *, moduli: bool = False
    ) -> Array:
        """Averages over the cells of a scale, or of the field itself.

        Args:
            values: `(field, ..., *grid)`.
            scale: of the weights, or `None` for those of the field.
            moduli: whether what the wavelets of the scale have seen are moduli.

        Returns:
            `(field, region, ...)`.
        """
        values = values.reshape(*values.shape[: self.bank.sizes.axes[0]], -1)
        if self.weights is None:
            return jnp.mean(values, axis=-1)[:, None]
        weights = self.weights.flat(scale, moduli).astype(values.dtype)
        return jnp.einsum("b...p,rp->br...", values, weights)

    def first(self, fields: Array, spectrum: Array) -> tuple[Array, Array, Array]:
        """Mean, variance and power at other scales of each channel, `(field, coefficient)`."""
        mean = self.average(fields, None)
        squares = self.average(fields**2, None)
        return flattened(mean), flattened(squares - mean**2), flattened(self._rest(spectrum))

    def centred_modes(
        self, envelope: Float[Array, "..."], average: Array, scale: int
    ) -> Complex[Array, "..."]:
        """Fourier modes of moduli of a scale less their means, which are no structure of a mask.

        Args:
            envelope: `(field, channel, orientation, *grid)`.
            average: their means `(field, region, channel, orientation)`.
            scale: of the wavelets.

        Returns:
            `(field, channel and orientation, *grid)`.
        """
        axes = self.bank.sizes.axes
        # Each region has its own mean: that over all regions serves, as wavelets are blind to it.
        mean = jnp.mean(average, axis=1)
        envelope = envelope - mean.reshape(*mean.shape, *([1] * len(axes)))
        if self.weights is not None:
            envelope = envelope * self.weights.any_region(scale).astype(envelope.dtype)
        spectrum = modes(envelope, axes)
        return spectrum.reshape(len(spectrum), -1, *spectrum.shape[axes[0] :])

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
        power = jnp.real(seen) ** 2
        # The finest modes near a mask see its edge, as the wavelets of the finest scale do.
        sides = [self.average(power[:, :, side], scale) for side, scale in enumerate((0, None))]
        return jnp.stack(sides, axis=-1).reshape(*sides[0].shape[:2], -1)
