"""Scattering covariance on the sphere, invariant under rotations."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from skysift.scattering.covariance import AbstractCovariance, CovarianceShape
from skysift.scattering.domain import Sphere
from skysift.scattering.pairs import pairs
from skysift.scattering.sphere.bank import SphereBank
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
        first, second, third, fourth = [], [], [], []
        moduli: list[tuple[Array, int]] = []
        for scale in range(bank.scales):
            real, imaginary = bank.coefficients(fields, scale)
            envelope = root(real**2 + imaginary**2)
            mean = jnp.mean(envelope, axis=-2)
            average = self.average(mean, scale)
            first.append(average.reshape(*average.shape[:2], -1))
            envelope = self.centred(envelope, average, scale)
            parts = bank.harmonic_parts(envelope, scale)
            moduli.append((parts.reshape(len(parts), -1, parts.shape[-1]), bank.grid(scale).lmax))
            power = bank.window(scale) ** 2
            gram = self.gram([(fields, bank.lmax), *moduli], scale, power, fields.shape[1])
            pair = pairs(self.shape.rows, scale)
            for found, rows in ((second, pair.power), (third, pair.third), (fourth, pair.fourth)):
                found.append(gram[..., rows[:, 0], rows[:, 1]])

        def joined(parts: list[Array]) -> Array:
            values = jnp.concatenate(parts, axis=-1)
            return values.reshape(len(values), -1)

        return (
            *self.first(fields),
            *(joined(parts) for parts in (first, second, third, fourth)),
        )
