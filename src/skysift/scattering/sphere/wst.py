"""Wavelet scattering transform on the sphere, invariant under rotations."""

from __future__ import annotations

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank, truncated
from skysift.scattering.sphere.statistic import AbstractSphere
from skysift.scattering.sphere.weights import SphereWeights
from skysift.scattering.statistic import Moments, flattened, root
from skysift.scattering.wst import AbstractTransform, TransformShape


class SphereTransform(AbstractSphere, AbstractTransform):
    """Wavelet scattering transform of fields on the sphere, invariant under rotations.

    The modulus of the first layer is a function of place and direction. Its gradient and curl parts
    E and B of angular harmonic q (`SphereBank.harmonic_parts`) make the scalar field
    `E_0 + 2 sum over q of (cos(q D) E_q + sin(q D) B_q)`, which is the modulus in the directions
    at the angle D from the wave vector of each of its own modes; E and B are here of the phase that
    makes both positive for a modulus of the profile `cos(q (chi - D))`. The second layer is the
    average of the modulus of the wavelet coefficients of that field over places and directions,
    for the angles `D = turn pi / directions`. In fields without handedness D and -D are alike and
    are averaged.

    Args:
        domain: maps and band limit.
        bank: wavelets.
        weights: of the sphere at each scale, or `None` for the full sky with equal weights.
        shape: what fixes the tables.
    """

    domain: Sphere
    bank: SphereBank = eqx.field(static=True)
    weights: SphereWeights | None
    shape: TransformShape = eqx.field(static=True)

    def moments(self, fields: Inexact[Array, "field channel alm"]) -> Moments:
        """See `AbstractStatistic`."""
        bank = self.bank
        powers, first, second = [], [], []
        turned: list[Array] = []
        for scale in range(bank.scales):
            envelope = self._envelope(fields, scale)
            average = self.average(jnp.mean(envelope, axis=-2), scale)
            first.append(average)
            powers.append(self.average(jnp.mean(envelope**2, axis=-2), scale))
            second.append(self._second_layer(turned, scale) if turned else average[..., :0])
            centred = self.centred(envelope, average, scale)
            parts = bank.harmonic_parts(centred, scale)
            angles = jnp.asarray(_angles(bank), envelope.dtype)
            rows = jnp.einsum("dq,bcqk->bcdk", angles, parts)
            turned.append(truncated(rows, bank.grid(scale).lmax, bank.lmax))

        def joined(parts: list[Array]) -> Array:
            parts = [one.reshape(*one.shape[:2], -1) for one in parts]
            return flattened(jnp.concatenate(parts, axis=-1))

        return (*self.first(fields, powers), joined(powers), joined(first), joined(second))

    def _envelope(self, alm: Array, scale: int) -> Float[Array, "... direction cell"]:
        real, imaginary = self.coefficients(alm, scale)
        return root(real**2 + imaginary**2)

    def _second_layer(self, turned: list[Array], scale: int) -> Array:
        """Averages of the moduli of finer moduli, `(field, region, scale, channel, turn)`."""
        envelope = self._envelope(jnp.stack(turned, axis=1), scale)
        average = self.average(jnp.mean(envelope, axis=-2), scale, moduli=True)
        if self.shape.turns == self.bank.directions:
            return average
        # The angles D and -D stand at the two ends, but for 0 and, when there is, a right angle.
        turns = np.arange(self.shape.turns or 1)
        return 0.5 * (average[..., turns] + average[..., -turns])


@functools.lru_cache(maxsize=16)
def _angles(bank: SphereBank) -> Float[np.ndarray, "turn part"]:
    """Matrix from the parts of a modulus to the field that the second layer sees at each angle."""
    rows = []
    for turn in range(bank.directions):
        angle = turn * np.pi / bank.directions
        # Spins above 0 have their coefficients with the opposite sign by convention.
        row = [-1.0]
        for spin, part in bank.parts[1:]:
            row.append(-2.0 * np.sin(spin * angle) if part else 2.0 * np.cos(spin * angle))
        rows.append(row)
    return np.array(rows)
