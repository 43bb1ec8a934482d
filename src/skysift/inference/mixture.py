"""Mixtures of Gaussians that are cut at the faces of a box."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

_FAR = 8.0
"""Deviations that a mean may be outside of the box; beyond, one density is as good as another."""
_LATTICE = 1024
_CHUNK = 64


class Mixture(eqx.Module):
    """Densities in the box from -1 to 1 in each coordinate, one for each map.

    A component gives one coordinate after the other: each, given those before, is a Gaussian cut at
    -1 and 1. So densities are normalised for any number of coordinates, and far from the faces a
    component is a Gaussian with any covariance.

    Args:
        logits: logarithms of the weights, up to a constant.
        means: of the Gaussians before they are cut.
        spreads: deviations of each coordinate given those before.
        coupling: how far each mean moves with coordinates before; those on and above the diagonal
            are not looked at.
    """

    logits: Float[Array, "map component"]
    means: Float[Array, "map component coordinate"]
    spreads: Float[Array, "map component coordinate"]
    coupling: Float[Array, "map component coordinate coordinate"]

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.means.shape[-1]

    def log_prob(self, places: Float[Array, "map coordinate"]) -> Float[Array, " map"]:
        """Logarithm of the density, -inf outside the box.

        Args:
            places: one for each map.
        """
        total = jax.nn.log_softmax(self.logits)
        inside = jnp.clip(places, -1.0, 1.0)[:, None]
        for number in range(self.size):
            mean, spread = self._given(inside, number), self.spreads[..., number]
            low, high = (-1.0 - mean) / spread, (1.0 - mean) / spread
            square = ((inside[..., number] - mean) / spread) ** 2
            total = total - 0.5 * square - jnp.log(spread) - _log_mass(low, high)
        total = jax.nn.logsumexp(total, axis=-1) - 0.5 * self.size * math.log(2.0 * math.pi)
        return jnp.where(jnp.all(jnp.abs(places) <= 1.0, axis=-1), total, -jnp.inf)

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "map sample coordinate"]:
        """Independent draws.

        Args:
            key: of the random numbers.
            count: how many of each map.
        """
        first, second = jax.random.split(key)
        maps = len(self.logits)
        which = jax.random.categorical(first, self.logits, axis=-1, shape=(count, maps)).T
        uniform = jax.random.uniform(second, (maps, count, self.size), self.means.dtype)
        chosen = Mixture(
            self.logits,
            *(
                jnp.take_along_axis(one, which.reshape(*which.shape, *[1] * (one.ndim - 2)), axis=1)
                for one in (self.means, self.spreads, self.coupling)
            ),
        )
        return chosen._places(uniform)

    def moments(
        self,
    ) -> tuple[Float[Array, "map coordinate"], Float[Array, "map coordinate"]]:
        """Means and standard deviations, from a lattice of 1024 quantiles in each component."""
        ratio = _plastic(self.size)
        steps = 0.5 + jnp.arange(_LATTICE)[:, None] * ratio ** -jnp.arange(1.0, self.size + 1)
        lattice = (steps % 1.0).astype(self.means.dtype)
        if self.size == 1:
            lattice = (jnp.arange(_LATTICE, dtype=self.means.dtype)[:, None] + 0.5) / _LATTICE

        def one(single: Mixture) -> tuple[Array, Array]:
            alone = jax.tree.map(lambda leaf: leaf[None], single)
            weights = jax.nn.softmax(single.logits)[:, None, None] / _LATTICE
            parts = [
                jax.tree.map(lambda leaf, at=at: leaf[:, at : at + 1], alone)._places(lattice[None])
                for at in range(single.logits.size)
            ]
            places = jnp.concatenate(parts)
            mean = jnp.sum(weights * places, axis=(0, 1))
            return mean, jnp.sqrt(jnp.sum(weights * (places - mean) ** 2, axis=(0, 1)))

        return jax.lax.map(one, self, batch_size=min(_CHUNK, len(self.logits)))

    def _given(self, places: Array, number: int) -> Array:
        """Mean of a coordinate where those before are; places have an axis of components."""
        before = places[..., :number] - self.means[..., :number]
        mean = self.means[..., number] + jnp.sum(
            self.coupling[..., number, :number] * before, axis=-1
        )
        room = 1.0 + _FAR * self.spreads[..., number]
        return jnp.clip(mean, -room, room)

    def _places(self, uniform: Array) -> Array:
        """Where the components, or the only one, reach these parts of the mass, in order."""
        places = jnp.zeros_like(uniform + self.means)
        for number in range(self.size):
            mean, spread = self._given(places, number), self.spreads[..., number]
            low, high = (-1.0 - mean) / spread, (1.0 - mean) / spread
            # Quantiles are precise below the mean: intervals above are mirrored.
            above = low + high > 0.0
            low, high = jnp.where(above, -high, low), jnp.where(above, -low, high)
            part = jnp.where(above, 1.0 - uniform[..., number], uniform[..., number])
            mass = ndtr(low) + part * (ndtr(high) - ndtr(low))
            at = jnp.where(above, -1.0, 1.0) * ndtri(mass)
            places = places.at[..., number].set(jnp.clip(mean + spread * at, -1.0, 1.0))
        return places


def _log_mass(low: Float[Array, "..."], high: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithm of the mass of a normal law between two numbers."""
    above = low + high > 0.0
    low, high = jnp.where(above, -high, low), jnp.where(above, -low, high)
    top = log_ndtr(high)
    return top + jnp.log1p(-jnp.exp(log_ndtr(low) - top))


def _plastic(size: int) -> float:
    """Root of x^(size + 1) = x + 1: its powers make even lattices (Roberts 2018)."""
    root = 1.5
    for _ in range(40):
        root = (1.0 + root) ** (1.0 / (size + 1))
    return root
