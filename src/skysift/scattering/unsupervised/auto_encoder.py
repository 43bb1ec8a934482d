"""Variational auto-encoder whose latent numbers are a mixture of Gaussians, one for each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from skysift.scattering.unsupervised.mixture import GaussianMixture, Shape
from skysift.scattering.unsupervised.model import (
    AbstractDensity,
    AbstractModel,
    Fit,
    require_at_least,
)

_LOG_2PI = float(np.log(2.0 * np.pi))


class LatentClasses(eqx.Module):
    """Density of latent numbers: a Gaussian with a diagonal covariance for each class.

    Args:
        logits: logarithms of the shares of the classes, but for a constant.
        means: of each class.
        log_deviations: logarithms of the standard deviations of each class.
    """

    logits: Float[Array, " class"]
    means: Float[Array, "class latent"]
    log_deviations: Float[Array, "class latent"]

    def joint(self, latent: Float[Array, " latent"]) -> Float[Array, " class"]:
        """Logarithm of the density of latent numbers together with each class."""
        each = jax.vmap(log_normal, in_axes=(None, 0, 0))
        return jax.nn.log_softmax(self.logits) + each(latent, self.means, self.log_deviations)


class EncodedDensity(AbstractDensity):
    """Components of fields from latent numbers, and the other way round.

    `p(x) = sum_c p(c) int p(z | c) p(x | z) dz`, with the decoder's Gaussian `p(x | z)`; the
    encoder's Gaussian `q(z | x)` tells where the integrand is.

    Args:
        encoder: from components to mean and logarithm of deviation of the latent numbers.
        decoder: from latent numbers to the mean of the components.
        log_noise: logarithm of the deviation of each component from that mean.
        prior: of the latent numbers.
        draws: latent numbers drawn for each field.
    """

    encoder: eqx.nn.MLP
    decoder: eqx.nn.MLP
    log_noise: Float[Array, " component"]
    prior: LatentClasses
    draws: int = eqx.field(static=True)

    def encode(
        self, field: Float[Array, " component"]
    ) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """Mean of `q(z | x)`, and the logarithms of its deviations."""
        mean, log_deviation = jnp.split(self.encoder(field), 2)
        return mean, log_deviation

    def weighted(
        self,
        field: Float[Array, " component"],
        noise: Float[Array, " latent"],
        share: float | Float[Array, ""] = 1.0,
    ) -> Float[Array, " class"]:
        """`log p(x, z, c) / q(z | x)` of a draw z from q, one number for each class.

        The sum over classes is the evidence lower bound when its logarithm is averaged over draws
        (Kingma & Welling 2014, arXiv:1312.6114), and the logarithm of its average comes closer to
        the evidence (Burda et al. 2016, arXiv:1509.00519).

        Args:
            field: components x.
            noise: white, that makes the draw.
            share: weight of `p(z, c) / q(z | x)`, less than 1 early in a training.
        """
        mean, log_deviation = self.encode(field)
        latent = mean + jnp.exp(log_deviation) * noise
        likelihood = log_normal(field, self.decoder(latent), self.log_noise)
        proposal = log_normal(latent, mean, log_deviation)
        return likelihood + share * (self.prior.joint(latent) - proposal)

    def bound(
        self,
        fields: Float[Array, "field component"],
        noise: Float[Array, "field latent"],
        share: float | Float[Array, ""] = 1.0,
    ) -> Float[Array, ""]:
        """Evidence lower bound (ELBO) per field, from one draw of the latent numbers of each.

        Args:
            fields: components of each.
            noise: standard normal numbers.
            share: see `weighted`; 1 for the bound itself.
        """
        each = jax.vmap(self.weighted, in_axes=(0, 0, None))(fields, noise, share)
        return jnp.mean(logsumexp(each, axis=-1))

    def joint(
        self, components: Float[np.ndarray, "field component"]
    ) -> Float[np.ndarray, "field class"]:
        """See `AbstractDensity`; by importance sampling, with the same draws at every call."""
        shape = (self.draws, self.prior.means.shape[1])
        noise = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
        return np.asarray(_joint(self, jnp.asarray(components), noise))

    @property
    def classes(self) -> int:
        """See `AbstractDensity`."""
        return len(self.prior.logits)

    @property
    def parameters(self) -> int:
        """See `AbstractDensity`; the networks do not depend on the number of classes."""
        count, latent = self.prior.means.shape
        return 2 * count * latent + count - 1


@eqx.filter_jit
def _joint(
    density: EncodedDensity,
    components: Float[Array, "field component"],
    noise: Float[Array, "draw latent"],
) -> Float[Array, "field class"]:
    def one(field: Float[Array, " component"]) -> Float[Array, " class"]:
        each = jax.vmap(density.weighted, in_axes=(None, 0))(field, noise)
        return logsumexp(each, axis=0) - jnp.log(len(noise))

    return jax.lax.map(one, components)


@dataclass(frozen=True)
class AutoEncoder(AbstractModel):
    """A variational auto-encoder with a mixture of Gaussians over its latent numbers.

    It is trained with all classes alike first, with the weight of the latent density growing from
    0 to 1. The latent numbers of all fields then give the classes to start with, and all is
    trained together (Jiang et al. 2017, IJCAI, arXiv:1611.05148). Siahkoohi et al. (2023,
    arXiv:2305.16189) separate by such auto-encoders of scattering statistics.

    Args:
        latent: number of latent numbers.
        width: of the hidden layers.
        depth: number of hidden layers; 0 for linear networks.
        steps: of training, half of them with all classes alike.
        batch: fields in one step.
        rate: of learning, which falls to zero along a cosine in each half.
        starts: number of trainings, of which the one of the highest evidence is taken.
        draws: latent numbers drawn for each field when classes are told.

    Raises:
        ValueError: for numbers that make no sense.
    """

    latent: int = 3
    width: int = 16
    depth: int = 1
    steps: int = 2000
    batch: int = 128
    rate: float = 3e-3
    starts: int = 3
    draws: int = 128

    def __post_init__(self) -> None:
        for name, least, usual in (
            ("latent", 1, 3),
            ("width", 1, 16),
            ("depth", 0, 1),
            ("steps", 2, 2000),
            ("batch", 1, 128),
            ("starts", 1, 3),
            ("draws", 1, 128),
        ):
            require_at_least(name, getattr(self, name), least, usual)
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"rate: expected between 0 and 1, got {self.rate}. Say rate=3e-3.")

    def fit(
        self,
        components: Float[np.ndarray, "field component"],
        classes: int,
        seed: np.random.SeedSequence,
    ) -> Fit[EncodedDensity]:
        """See `AbstractModel`."""
        fields = jnp.asarray(components)
        found = [self._train(fields, classes, one) for one in seed.spawn(self.starts)]
        best = max(found, key=lambda one: one[0])
        density = best[1]
        order = np.argsort(-np.asarray(density.prior.logits), kind="stable")
        ordered = jax.tree.map(lambda values: values[order], density.prior)
        return Fit(eqx.tree_at(lambda one: one.prior, density, ordered), best[2])

    def blank(self, components: int, classes: int) -> EncodedDensity:
        """See `AbstractModel`."""
        return self._made(components, classes, jax.random.key(0))

    def _made(self, components: int, classes: int, key: PRNGKeyArray) -> EncodedDensity:
        """Untrained: small random networks, one and the same class."""
        encoding, decoding = jax.random.split(key)
        shape = (self.width, self.depth, jax.nn.tanh)
        prior = LatentClasses(
            jnp.zeros(classes), jnp.zeros((classes, self.latent)), jnp.zeros((classes, self.latent))
        )
        return EncodedDensity(
            eqx.nn.MLP(components, 2 * self.latent, *shape, key=encoding),
            eqx.nn.MLP(self.latent, components, *shape, key=decoding),
            jnp.zeros(components),
            prior,
            self.draws,
        )

    def _train(
        self, fields: Float[Array, "field component"], classes: int, seed: np.random.SeedSequence
    ) -> tuple[float, EncodedDensity, Float[np.ndarray, " iteration"]]:
        """Evidence, density and history of one training."""
        networks, mixing, early, late = seed.spawn(4)
        key = jax.random.key(int(networks.generate_state(1, np.uint32)[0]))
        density = self._made(fields.shape[1], classes, key)
        density, first = _trained(
            self, density, fields, self._chances(fields, early), jnp.asarray(0.5)
        )
        latent, log_deviation = jax.vmap(density.encode)(fields)
        # Latent numbers are known within the deviations of q, which a class has at least.
        spread = np.mean(np.exp(2.0 * np.asarray(log_deviation)), axis=0)
        mixture = GaussianMixture(Shape.DIAGONAL).fit(np.asarray(latent), classes, mixing).density
        variances = np.diagonal(mixture.covariances, axis1=1, axis2=2) + spread
        prior = LatentClasses(
            jnp.log(jnp.asarray(mixture.shares)),
            jnp.asarray(mixture.means),
            jnp.asarray(0.5 * np.log(variances)),
        )
        density = eqx.tree_at(lambda one: one.prior, density, prior)
        density, second = _trained(
            self, density, fields, self._chances(fields, late), jnp.asarray(0.0)
        )
        evidence = float(logsumexp(density.joint(np.asarray(fields)), axis=1).mean())
        return evidence, density, np.concatenate([first, second])

    def _chances(
        self, fields: Float[Array, "field component"], seed: np.random.SeedSequence
    ) -> _Chances:
        """What half of a training draws."""
        rng = np.random.default_rng(seed)
        shape = (self.steps // 2, min(self.batch, len(fields)))
        chosen = rng.integers(len(fields), size=shape)
        return _Chances(
            jnp.asarray(chosen), jnp.asarray(rng.standard_normal((*shape, self.latent)))
        )


class _Chances(NamedTuple):
    """Fields and white noise of each step."""

    chosen: Int[Array, "step batch"]
    noise: Float[Array, "step batch latent"]


@eqx.filter_jit
def _trained(
    settings: AutoEncoder,
    density: EncodedDensity,
    fields: Float[Array, "field component"],
    chances: _Chances,
    ramp: Float[Array, ""],
) -> tuple[EncodedDensity, Float[Array, " step"]]:
    """Half of a training: Adam with clipped gradients, and the bound of each random batch.

    The weight of the latent density grows to 1 over a part of the steps, the ramp.
    """
    steps = len(chances.chosen)
    schedule = optax.cosine_decay_schedule(settings.rate, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))
    parts, fixed = eqx.partition(density, eqx.is_inexact_array)
    shares = jnp.minimum(1.0, jnp.arange(1, steps + 1) / jnp.maximum(ramp * steps, 1.0))

    def loss(parts, chosen, noise, share):
        return -eqx.combine(parts, fixed).bound(fields[chosen], noise, share)

    def step(state, each):
        parts, moments = state
        value, slope = jax.value_and_grad(loss)(parts, *each)
        moves, moments = optimiser.update(slope, moments, parts)
        return (optax.apply_updates(parts, moves), moments), -value

    each = (chances.chosen, chances.noise, shares)
    start = (parts, optimiser.init(parts))
    (found, _), history = jax.lax.scan(step, start, each)
    return cast(EncodedDensity, eqx.combine(found, fixed)), history


def log_normal(
    values: Float[Array, " number"],
    mean: Float[Array, " number"],
    log_deviation: Float[Array, " number"],
) -> Float[Array, ""]:
    """Logarithm of a Gaussian density of independent numbers.

    Args:
        values: where.
        mean: of each.
        log_deviation: logarithm of the standard deviation of each.
    """
    offsets = (values - mean) * jnp.exp(-log_deviation)
    return -0.5 * jnp.sum(offsets**2 + _LOG_2PI) - jnp.sum(log_deviation)
