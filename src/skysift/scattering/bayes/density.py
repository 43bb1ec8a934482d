"""Conditional densities learnt from pairs: mixtures of Gaussians that a network tells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

_HELD_OUT = 0.1


@dataclass(frozen=True)
class Training:
    """How a density is learnt.

    Args:
        components: Gaussians of a mixture.
        width: neurons in each of two hidden layers.
        epochs: passes through the pairs; the state that is best on held-out pairs is kept.
        batch: pairs in one step.
        learning_rate: of the first steps.
        members: networks, whose densities are averaged.

    Raises:
        ValueError: for numbers that make no sense.
    """

    components: int = 2
    width: int = 64
    epochs: int = 12
    batch: int = 256
    learning_rate: float = 1e-3
    members: int = 3

    def __post_init__(self) -> None:
        for name, usual in (
            ("components", 2),
            ("width", 64),
            ("epochs", 12),
            ("batch", 256),
            ("members", 3),
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}: expected 1 or more, got {getattr(self, name)}. Say {name}={usual}."
                )
        if not 0.0 < self.learning_rate < np.inf:
            raise ValueError(
                f"learning_rate: expected more than 0, got {self.learning_rate}. "
                "Say learning_rate=1e-3."
            )


class _Network(eqx.Module):
    """Mixture of Gaussians for what the linear regression leaves, in units of its scatter.

    The factors of the precisions are `diag(exp(-spread)) U` with U unit lower triangular: the
    observation moves weights, means and spreads; correlations are those of the component.
    """

    layers: eqx.nn.MLP
    mixing: Float[Array, "component entry"]
    components: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, seen: int, size: int, training: Training, key: PRNGKeyArray) -> None:
        count = training.components
        told = count * (2 * size + 1)
        layers = eqx.nn.MLP(seen, told, training.width, 2, jax.nn.silu, key=key, dtype=jnp.float32)
        # At first it is the regression; components differ by little, so that they can part.
        last = layers.layers[-1]
        self.layers = eqx.tree_at(
            lambda one: (one.layers[-1].weight, one.layers[-1].bias),
            layers,
            (0.05 * last.weight, 0.1 * jax.random.normal(key, (told,), jnp.float32)),
        )
        self.mixing = jnp.zeros((count, size * (size - 1) // 2), jnp.float32)
        self.components, self.size = count, size

    def parts(
        self, seen: Float[Array, " seen"]
    ) -> tuple[Float[Array, " c"], Float[Array, "c size"], Float[Array, "c size"]]:
        """Log weights, means and logarithms of the spreads."""
        count, size = self.components, self.size
        out = self.layers(seen)
        means, spreads = out[count:].reshape(2, count, size)
        return jax.nn.log_softmax(out[:count]), means, 3.0 * jnp.tanh(spreads / 3.0)

    @property
    def factors(self) -> Float[Array, "component size size"]:
        """Unit lower triangular U of each component."""
        lower = jnp.zeros((self.components, self.size, self.size), jnp.float32)
        rows, columns = np.tril_indices(self.size, -1)
        return lower.at[:, rows, columns].set(self.mixing) + jnp.eye(self.size, dtype=jnp.float32)

    def log_prob(
        self, left: Float[Array, "pair size"], seen: Float[Array, "pair seen"]
    ) -> Float[Array, " pair"]:
        """Log density of what the regression leaves."""
        logits, means, spreads = jax.vmap(self.parts)(seen)
        offsets = jnp.einsum("kij,nkj->nki", self.factors, left[:, None] - means)
        squares = jnp.sum((offsets * jnp.exp(-spreads)) ** 2, axis=-1)
        each = logits - 0.5 * squares - jnp.sum(spreads, axis=-1)
        return jax.nn.logsumexp(each, axis=-1) - 0.5 * self.size * math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Density:
    """Density of parameters given an observation, the average over networks.

    Mixture density networks (Bishop 1994) on what a linear regression of the parameters on the
    observation leaves: where the pairs are Gaussian nothing is to be learnt.

    Args:
        networks: stacked over the members.
        centre: mean of the observations; their `scale` is the standard deviation.
        scale: of each number of the observation.
        slope: of the regression on scaled observations; `offset` at their mean.
        offset: of the regression.
        root: lower triangular root of the covariance of what it leaves.
        held_out: mean log density of pairs that were not trained on, of each member.
    """

    networks: _Network
    centre: Float[np.ndarray, " seen"]
    scale: Float[np.ndarray, " seen"]
    slope: Float[np.ndarray, "seen size"]
    offset: Float[np.ndarray, " size"]
    root: Float[np.ndarray, "size size"]
    held_out: Float[np.ndarray, " member"]

    def log_prob(
        self, theta: Float[np.ndarray, "pair size"], seen: Float[np.ndarray, "pair seen"]
    ) -> Float[np.ndarray, " pair"]:
        """Log density of parameters, each given its observation."""
        left, scaled = self._left(theta, self._scaled(seen))
        each = np.asarray(_each(self.networks, jnp.asarray(left), jnp.asarray(scaled)), float)
        level = each.max(axis=0)
        mean = level + np.log(np.mean(np.exp(each - level), axis=0))
        return mean - np.sum(np.log(np.diag(self.root)))

    def sample(
        self, seen: Float[np.ndarray, " seen"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "sample size"]:
        """Parameters given one observation.

        Args:
            seen: the observation.
            count: number of draws.
            rng: random numbers.
        """
        scaled = self._scaled(seen)
        logits, means, spreads, factors = (
            np.asarray(one, float)
            for one in _mixtures(self.networks, jnp.asarray(scaled, jnp.float32))
        )
        weights = np.exp(logits).ravel()
        weights /= weights.sum()
        size = self.offset.size
        which = rng.choice(weights.size, count, p=weights)
        white = rng.standard_normal((count, size))
        left = np.empty((count, size))
        parts = zip(
            means.reshape(-1, size),
            spreads.reshape(-1, size),
            factors.reshape(-1, size, size),
            strict=True,
        )
        for number, (mean, spread, factor) in enumerate(parts):
            here = which == number
            scattered = (white[here] * np.exp(spread)).T
            left[here] = (
                mean
                + scipy.linalg.solve_triangular(factor, scattered, lower=True, unit_diagonal=True).T
            )
        return scaled @ self.slope + self.offset + left @ self.root.T

    def _scaled(self, seen: Float[np.ndarray, "... seen"]) -> Float[np.ndarray, "... seen"]:
        return (np.asarray(seen, dtype=float) - self.centre) / self.scale

    def _left(
        self, theta: Float[np.ndarray, "pair size"], scaled: Float[np.ndarray, "pair seen"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the regression leaves, and the observation, as the networks take them."""
        offsets = (theta - scaled @ self.slope - self.offset).T
        left = scipy.linalg.solve_triangular(self.root, offsets, lower=True).T
        return left.astype(np.float32), scaled.astype(np.float32)


def learn(
    theta: Float[np.ndarray, "pair size"],
    seen: Float[np.ndarray, "pair seen"],
    seed: np.random.SeedSequence,
    training: Training | None = None,
) -> Density:
    """The density of parameters given observations, from pairs of both.

    Maximum likelihood, which for pairs of the joint law of both gives the posterior for the law of
    the parameters as prior (Papamakarios & Murray 2016, arXiv:1605.06376). A tenth of the pairs is
    held out; each member keeps its state that is best for them.

    Args:
        theta: parameters.
        seen: observations.
        seed: of the networks and the order of the pairs.
        training: how; `None` for `Training()`.

    Raises:
        ValueError: for pairs that are not finite, do not match, or are fewer than twenty for each
            number of the observation.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.standard_normal((2000, 1))
        >>> seen = theta + rng.standard_normal((2000, 1))
        >>> training = Training(components=1, width=8, epochs=2, members=1)
        >>> found = learn(theta, seen, np.random.SeedSequence(0), training)
        >>> draws = found.sample(np.array([1.0]), 4000, rng)
        >>> bool(abs(draws.mean() - 0.5) < 0.1 and abs(draws.std() - np.sqrt(0.5)) < 0.1)
        True
    """
    training = training or Training()
    theta, seen = np.asarray(theta, dtype=float), np.asarray(seen, dtype=float)
    if theta.ndim != 2 or seen.ndim != 2 or len(theta) != len(seen):
        raise ValueError(
            f"pairs: expected parameters and observations of as many pairs, got {theta.shape} and "
            f"{seen.shape}. Give one row for each pair."
        )
    if not (np.all(np.isfinite(theta)) and np.all(np.isfinite(seen))):
        raise ValueError("pairs: expected finite numbers, got others. Leave those pairs out.")
    if len(theta) < 20 * (seen.shape[1] + 1):
        raise ValueError(
            f"pairs: expected {20 * (seen.shape[1] + 1)} or more for observations of "
            f"{seen.shape[1]} numbers, got {len(theta)}. Draw more."
        )
    centre, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = (seen - centre) / scale
    offset = theta.mean(axis=0)
    slope = np.linalg.lstsq(scaled, theta - offset, rcond=1e-6)[0]
    left = theta - offset - scaled @ slope
    root = np.linalg.cholesky(
        np.atleast_2d(np.cov(left, rowvar=False)) + 1e-9 * np.diag(theta.var(axis=0))
    )
    white = scipy.linalg.solve_triangular(root, left.T, lower=True).T
    networks, held_out = _trained(
        jnp.asarray(white, jnp.float32), jnp.asarray(scaled, jnp.float32), seed, training
    )
    return Density(networks, centre, scale, slope, offset, root, held_out)


def _trained(
    left: Float[Array, "pair size"],
    seen: Float[Array, "pair seen"],
    seed: np.random.SeedSequence,
    training: Training,
) -> tuple[_Network, np.ndarray]:
    """Networks of all members at their best, and log densities of the held-out pairs."""
    first, order = (jax.random.key(int(one)) for one in seed.generate_state(2, np.uint32))
    keys = jax.random.split(first, training.members)
    networks = eqx.filter_vmap(lambda key: _Network(seen.shape[1], left.shape[1], training, key))(
        keys
    )
    held = max(1, int(_HELD_OUT * len(left)))
    best, scores = _run(
        networks,
        (left[held:], seen[held:]),
        (left[:held], seen[:held]),
        jax.random.split(order, training.members),
        training,
    )
    return best, np.asarray(scores, dtype=float)


@eqx.filter_jit
def _run(
    networks: _Network,
    pairs: tuple[Array, Array],
    held: tuple[Array, Array],
    keys: PRNGKeyArray,
    training: Training,
) -> tuple[_Network, Array]:
    return eqx.filter_vmap(
        lambda network, key: _one(network, pairs, held, key, training),
        in_axes=(eqx.if_array(0), 0),
    )(networks, keys)


def _one(
    network: _Network,
    pairs: tuple[Array, Array],
    held: tuple[Array, Array],
    key: PRNGKeyArray,
    training: Training,
) -> tuple[_Network, Array]:
    """One member at its best."""
    count = len(pairs[0])
    batch = min(training.batch, count)
    steps = count // batch
    schedule = optax.cosine_decay_schedule(
        training.learning_rate, steps * training.epochs, alpha=0.02
    )
    optimiser = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))
    arrays, fixed = eqx.partition(network, eqx.is_inexact_array)

    def loss(values: _Network, rows: tuple[Array, Array]) -> Array:
        return -jnp.mean(eqx.combine(values, fixed).log_prob(*rows))

    def step(carry: tuple, rows: Array) -> tuple[tuple, None]:
        values, state = carry
        slope = jax.grad(loss)(values, (pairs[0][rows], pairs[1][rows]))
        updates, state = optimiser.update(slope, state)
        return (eqx.apply_updates(values, updates), state), None

    def epoch(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
        values, state, best, lowest = carry
        order = jax.random.permutation(key, count)[: steps * batch].reshape(steps, batch)
        (values, state), _ = jax.lax.scan(step, (values, state), order)
        found = loss(values, held)
        better = found < lowest
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), values, best)
        return (values, state, best, jnp.where(better, found, lowest)), None

    start = (arrays, optimiser.init(arrays), arrays, loss(arrays, held))
    (_, _, best, lowest), _ = jax.lax.scan(epoch, start, jax.random.split(key, training.epochs))
    return eqx.combine(best, fixed), -lowest


@eqx.filter_jit
def _each(networks: _Network, left: Array, seen: Array) -> Array:
    """Log densities of all members."""
    return eqx.filter_vmap(lambda one: one.log_prob(left, seen), in_axes=(eqx.if_array(0),))(
        networks
    )


@eqx.filter_jit
def _mixtures(networks: _Network, seen: Array) -> tuple[Array, Array, Array, Array]:
    """Log weights, means, spreads and factors of all members."""
    return eqx.filter_vmap(lambda one: (*one.parts(seen), one.factors), in_axes=(eqx.if_array(0),))(
        networks
    )
