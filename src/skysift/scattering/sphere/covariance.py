"""Scattering covariance on the sphere, invariant under rotations."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from skysift.scattering.covariance import AbstractCovariance, CovarianceShape
from skysift.scattering.domain import Sphere
from skysift.scattering.pairs import pairs
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.moduli import Window
from skysift.scattering.sphere.statistic import AbstractSphere
from skysift.scattering.sphere.weights import SphereWeights
from skysift.scattering.statistic import Moments, root


class SphereCovariance(AbstractSphere, AbstractCovariance):
    """Scattering covariance of fields on the sphere, invariant under rotations.

    The moduli of wavelet coefficients are functions of place and direction; their angular
    harmonics are spin fields. The products of the fields and of the gradient and curl parts of
    these harmonics in the band of a coarser scale, averaged over the sphere, are the angular
    Fourier coefficients of the third and fourth moments with the common direction averaged out.
    Without weights they are sums over harmonic coefficients: one Gram matrix for each scale.

    Args:
        domain: maps and band limit.
        bank: wavelets.
        weights: of the sphere at each scale, or `None` for the full sky with equal weights.
        shape: what fixes the tables.
    """

    domain: Sphere
    bank: SphereBank = eqx.field(static=True)
    weights: SphereWeights | None
    shape: CovarianceShape = eqx.field(static=True)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        bank = self.bank
        powers, first, second, third, fourth = [], [], [], [], []
        rows = [(self.everywhere(fields), bank.lmax)]
        for scale in range(bank.scales):
            real, imaginary = self.coefficients(fields, scale)
            envelope = root(real**2 + imaginary**2)
            average = self.average(jnp.mean(envelope, axis=-2), scale)
            first.append(average.reshape(*average.shape[:2], -1))
            rows.append((self.parts(envelope, average, scale), bank.grid(scale).lmax))
            gram = self.gram(rows, scale, Window.POWER)
            if self.weights is not None:
                power = self.band_power(fields, scale)
                channels = fields.shape[1]
                gram = gram.at[..., :channels, :channels].set(power)
                powers.append(jnp.diagonal(power, axis1=-2, axis2=-1))
            pair = pairs(self.shape.rows, scale)
            for found, one in ((second, pair.power), (third, pair.third), (fourth, pair.fourth)):
                found.append(gram[..., one[:, 0], one[:, 1]])

        def joined(parts: list[Array]) -> Array:
            values = jnp.concatenate(parts, axis=-1)
            return values.reshape(len(values), -1)

        return (
            *self.first(fields, powers),
            *(joined(parts) for parts in (first, second, third, fourth)),
        )
