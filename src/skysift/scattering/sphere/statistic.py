"""What all statistics of fields on the sphere have in common: masks, windows and first moments."""

from __future__ import annotations

import math
from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.places import AbstractPlaces
from skysift.scattering.sphere.response import masked_weights
from skysift.scattering.sphere.weights import SphereWeights
from skysift.scattering.statistic import AbstractStatistic, flattened

SphereT = TypeVar("SphereT", bound="AbstractSphere")


class AbstractSphere(AbstractPlaces, AbstractStatistic):
    """Statistics of fields on the sphere; fields are harmonic coefficients."""

    domain: eqx.AbstractVar[Sphere]
    bank: eqx.AbstractVar[SphereBank]
    weights: eqx.AbstractVar[SphereWeights | None]

    @property
    def cells(self) -> Float[Array, "region cell"] | None:
        """See `AbstractStatistic`."""
        return None if self.weights is None else self.weights.cells

    def masked(self: SphereT, kept: Bool[np.ndarray, "..."]) -> SphereT:
        """See `AbstractStatistic`."""
        cells = np.ones((1, *self.domain.cell_shape))
        if self.weights is not None:
            cells = np.asarray(self.weights.cells)
        weights = masked_weights(self.bank, self.domain, cells * kept)
        return eqx.tree_at(lambda one: one.weights, self, weights, is_leaf=lambda one: one is None)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        ell = ell_of(self.bank.lmax)
        measure = multiplicity(self.bank.lmax) / (4.0 * np.pi)
        windows = [self.bank.window(scale) ** 2 for scale in range(self.bank.scales)]
        return np.stack([window[ell] * measure for window in windows]), ell.astype(float)

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        measure = multiplicity(self.bank.lmax) / (4.0 * np.pi)
        return self.bank.rest()[:, ell_of(self.bank.lmax)] * measure

    def first(
        self, fields: Complex[Array, "field channel alm"], powers: list[Float[Array, "..."]]
    ) -> tuple[Array, Array, Array]:
        """Mean, variance and power at other scales of each channel, `(field, coefficient)`.

        Args:
            fields: as `visible` gives them.
            powers: of each scale, `(field, region, channel)`.
        """
        if self.weights is None:
            found = self._whole(fields)
        else:
            found = self._cut(self.weights, fields, jnp.stack(powers, axis=-1))
        mean, variance, rest = map(flattened, found)
        return mean, variance, rest

    def _whole(self, fields: Array) -> tuple[Array, Array, Array]:
        """The same on the full sky, `(field, channel)` and `(field, channel, side)`."""
        mean = jnp.real(fields[..., 0]) / math.sqrt(4.0 * math.pi)
        measure = multiplicity(self.bank.lmax) / (4.0 * np.pi)
        windows = np.stack([np.ones_like(measure), *self.bank.rest()[:, ell_of(self.bank.lmax)]])
        windows = jnp.asarray(windows * measure, mean.dtype)
        power = jnp.einsum("bck,sk->bcs", jnp.abs(fields) ** 2, windows)
        return mean, power[..., 0] - mean**2, power[..., 1:]

    def _cut(
        self,
        weights: SphereWeights,
        fields: Array,
        powers: Float[Array, "field region channel scale"],
    ) -> tuple[Array, Array, Array]:
        """The same region by region, of what the power at each scale lets expect of the full sky.

        Power that the mean of a region has taken is added again, and what there is of the scales in
        the power outside of them is taken away.
        """
        values = weights.values(fields)
        share = weights.fields.astype(values.dtype)
        mean = jnp.einsum("bcp,rp->brc", values, share)
        centred = values[:, None] - mean[..., None]
        variance = jnp.einsum("brcp,rp->brc", centred**2, share)
        grid = GaussLegendre(self.bank.lmax)
        taken = centred * weights.rest.taper.astype(values.dtype)[:, None]
        alm = grid.analysis(taken[..., None, :], (0,))[..., 0, :]
        window = self.bank.rest()[1, ell_of(self.bank.lmax)] * multiplicity(self.bank.lmax)
        coarse = jnp.abs(alm) ** 2 @ jnp.asarray(window / (4.0 * np.pi), values.dtype)
        rest, lost = weights.rest.solved(coarse, powers)
        sides = jnp.stack([jnp.zeros_like(rest), rest], axis=-1)
        return mean, variance + lost, sides
