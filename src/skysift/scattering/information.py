"""What statistics of fields say about the parameters of a simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.scattering.layout import Layout
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics

Simulator = Callable[[Float[Array, " parameter"], PRNGKeyArray], Float[Array, "..."]]
"""From parameters and a random key to a map, in JAX operations that can be differentiated."""

_LARGEST_CONDITION = 1e12


@dataclass(frozen=True, eq=False)
class Fisher:
    """Information of statistics about parameters.

    Args:
        matrix: Fisher information, of a Gaussian likelihood whose covariance is fixed.
        parameters: at which it was found.
        mean: of the vector of statistics there.
        derivatives: of the mean by each parameter.
        precision: inverse covariance of the vector, freed from its bias by the number of draws.
        rank: number of independent combinations of the statistics that vary.
        layout: of the statistics.
    """

    matrix: Float[np.ndarray, "parameter parameter"]
    parameters: Float[np.ndarray, " parameter"]
    mean: Float[np.ndarray, " number"]
    derivatives: Float[np.ndarray, "parameter number"]
    precision: Float[np.ndarray, "number number"]
    rank: int
    layout: Layout

    @property
    def covariance(self) -> Float[np.ndarray, "parameter parameter"]:
        """Of the parameters: the inverse of the information."""
        return np.linalg.inv(self.matrix)

    @property
    def errors(self) -> Float[np.ndarray, " parameter"]:
        """Standard deviation of each parameter with the others unknown."""
        return np.sqrt(np.diag(self.covariance))

    def estimate(self, statistics: Statistics) -> Float[np.ndarray, "... parameter"]:
        """Parameters of a field by its compressed statistics: one Newton step.

        The statistics are projected on as many numbers as there are parameters, without loss of
        information near the parameters of this object (Heavens, Jimenez & Lahav 2000, MNRAS 317,
        965; Alsing & Wandelt 2018, MNRAS 476, L60). With `covariance` that is a Gaussian posterior
        for a flat prior.

        Raises:
            ValueError: for statistics of another configuration.
        """
        if statistics.layout != self.layout:
            raise ValueError(
                f"statistics: expected those of {self.layout.origin} ({self.mean.size} numbers), "
                f"got those of {statistics.layout.origin} ({statistics.n_coefficients} numbers). "
                "Compute them with the same operator."
            )
        vector = np.asarray(statistics.vector)
        score = (vector - self.mean) @ self.precision @ self.derivatives.T
        return self.parameters + np.linalg.solve(self.matrix, score[..., None])[..., 0]


def fisher(
    simulator: Simulator,
    parameters: Float[np.ndarray, " parameter"],
    statistic: AbstractStatistic,
    draws: int,
    seed: int = 0,
) -> Fisher:
    """Fisher information of statistics about the parameters of a simulator.

    Derivatives are those of the statistics of each draw by automatic differentiation through the
    simulator, averaged; the covariance is that of the draws, its inverse scaled by
    `(draws - rank - 2) / (draws - 1)` (Hartlap, Simon & Schneider 2007, A&A 464, 399).
    Combinations of statistics that do not vary, such as the mean of fields without one, are left
    out.

    Args:
        simulator: takes parameters and a random key to a map, in JAX operations that are smooth
            in the parameters: a fixed key must give fields that change little when they do.
        parameters: at which the information is wanted.
        statistic: whose numbers are used; its own amplitudes normalise each draw.
        draws: number of simulations, more than numbers in the statistics plus two.
        seed: of the draws.

    Returns:
        The information, with what it was made of.

    Raises:
        ValueError: for too few draws, maps of another shape than the statistics are for, maps that
            are not finite, and parameters that the statistics do not tell apart.

    Examples:
        >>> from skysift.scattering import PowerSpectrum
        >>> def noise(sigma, key):
        ...     return sigma[0] * jax.random.normal(key, (8, 8))
        >>> found = fisher(noise, np.array([2.0]), PowerSpectrum.plane((8, 8), bins=2), draws=400)
        >>> float(found.errors[0].round(1))
        0.2
    """
    parameters = np.asarray(parameters, dtype=float)
    numbers = statistic.layout.n_coefficients
    if parameters.ndim != 1 or not parameters.size or not np.all(np.isfinite(parameters)):
        raise ValueError(
            f"parameters: expected a row of finite numbers, got {parameters!r}. One for each "
            "parameter."
        )
    if draws <= numbers + 2:
        raise ValueError(
            f"draws: expected more than {numbers + 2} for the covariance of {numbers} numbers, got "
            f"{draws}. Draw more, or reduce the statistics (`Reduced`, `significant`)."
        )
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    at = jnp.asarray(parameters)
    keys = np.random.SeedSequence(seed).generate_state(draws, np.uint32)
    shape = jax.eval_shape(simulator, at, jax.random.key(0)).shape
    if tuple(shape) != statistic.domain.map_shape:
        raise ValueError(
            f"simulator: expected maps of shape {statistic.domain.map_shape}, got {tuple(shape)}. "
            "Make the statistics for the maps of the simulator."
        )
    found = [_pushed(simulator, statistic, at, jax.random.key(int(one))) for one in keys]
    vectors = np.stack([np.asarray(vector) for vector, _ in found])
    slopes = np.stack([np.asarray(slope) for _, slope in found])
    if not (np.all(np.isfinite(vectors)) and np.all(np.isfinite(slopes))):
        raise ValueError(
            "simulator: expected finite maps with finite derivatives, got others. Take parameters "
            "inside of their range."
        )
    derivatives = slopes.mean(axis=0)
    precision, rank = _precision(vectors)
    precision *= (draws - rank - 2) / (draws - 1)
    matrix = derivatives @ precision @ derivatives.T
    scale = np.sqrt(np.diag(matrix))
    if not np.all(scale > 0.0) or not (
        np.linalg.cond(matrix / np.outer(scale, scale)) < _LARGEST_CONDITION
    ):
        raise ValueError(
            "parameters: expected parameters that the statistics tell apart, got the information "
            f"{matrix.tolist()}, which has no inverse. Leave one out, or add statistics."
        )
    return Fisher(
        matrix, parameters, vectors.mean(axis=0), derivatives, precision, rank, statistic.layout
    )


@eqx.filter_jit
def _pushed(
    simulator: Simulator, statistic: AbstractStatistic, parameters: Array, key: PRNGKeyArray
) -> tuple[Float[Array, " number"], Float[Array, "parameter number"]]:
    """Statistics of one draw, and their derivatives by the parameters."""
    maps, push = jax.linearize(lambda values: simulator(values, key), parameters)
    changes = jnp.stack([push(one) for one in jnp.eye(parameters.size, dtype=parameters.dtype)])
    # Fields are linear in maps, by transforms that know their transposes only.
    fields = statistic.domain.fields(jnp.concatenate([maps[None], changes]))

    def vector(field: Array) -> Array:
        moments = statistic.moments(statistic.visible(field[None]))
        return Statistics(statistic.normalised(moments, moments), statistic.layout).vector[0]

    numbers, forward = jax.linearize(vector, fields[0])
    return numbers, jnp.stack([forward(one) for one in fields[1:]])


def _precision(
    vectors: Float[np.ndarray, "draw number"],
) -> tuple[Float[np.ndarray, "number number"], int]:
    """Inverse covariance of the numbers that vary, zero for combinations that do not, and rank."""
    vectors = vectors.astype(float)
    deviation = vectors.std(axis=0, ddof=1)
    size = np.sqrt(np.mean(vectors**2, axis=0))
    varies = deviation > 1e-6 * np.where(size > 1e-6 * size.max(), size, size.max())
    scale = np.where(varies, deviation, 1.0)
    offsets = (vectors - vectors.mean(axis=0)) / scale * varies
    values, axes = np.linalg.eigh(offsets.T @ offsets / (len(vectors) - 1))
    kept = values > 1e-9 * values.max()
    whitened = axes[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    return whitened @ whitened.T, int(kept.sum())
