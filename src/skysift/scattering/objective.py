"""How far the statistics of fields are from wanted ones, in units of their sampling variance."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.gaussian import Colour
from skysift.scattering.statistic import AbstractStatistic, Moments, as_moments
from skysift.scattering.statistics import Statistics


class Objective(eqx.Module):
    """Mean squared difference between statistics and wanted ones over their sampling variances.

    At 1 the statistics differ as those of two fields of the same law do; what is sought is well
    below.

    Args:
        statistic: whose values are wanted.
        target: wanted moments, normalised, of one field.
        wanted: their vector.
        weights: of each number, the inverse of its sampling variance, adding to 1 over the
            numbers; zero for what does not vary.
        colour: from the unknowns to fields.
    """

    statistic: AbstractStatistic
    target: Moments
    wanted: Float[Array, " number"]
    weights: Float[Array, " number"]
    colour: Colour

    def vectors(
        self, unknowns: Float[Array, "field channel unknown"]
    ) -> Float[Array, "field number"]:
        """Statistics of fields, with the amplitudes of the target."""
        statistic = self.statistic
        moments = statistic.normalised(statistic.moments(self.colour.fields(unknowns)), self.target)
        return Statistics(moments, statistic.layout).vector

    def each(self, unknowns: Float[Array, "field channel unknown"]) -> Float[Array, " field"]:
        """Objective of each field by itself."""
        offset = self.vectors(unknowns) - self.wanted.astype(unknowns.dtype)
        return offset**2 @ self.weights.astype(unknowns.dtype)

    def together(self, unknowns: Float[Array, "field channel unknown"]) -> Float[Array, ""]:
        """Objective of the average of the statistics of all fields: the mean field."""
        offset = jnp.mean(self.vectors(unknowns), axis=0) - self.wanted.astype(unknowns.dtype)
        return offset**2 @ self.weights.astype(unknowns.dtype)


def objective_of(
    statistic: AbstractStatistic,
    target: Statistics,
    colour: Colour,
    deviation: Float[np.ndarray, " number"],
) -> Objective:
    """The objective of a target.

    Args:
        statistic: that made the target.
        target: statistics of one field.
        colour: from unknowns to fields.
        deviation: standard deviation of each number of the vector.
    """
    # What does not vary among fields of the colour, such as the mean of a periodic one, is right
    # from the start or out of reach.
    scale = np.max(deviation) if deviation.size else 0.0
    varies = deviation > 1e-9 * scale
    weights = np.where(varies, 1.0 / np.where(varies, deviation, 1.0) ** 2, 0.0) / varies.sum()
    return Objective(statistic, as_moments(target), target.vector, jnp.asarray(weights), colour)


def sampling_deviation(
    statistic: AbstractStatistic,
    target: Statistics,
    colour: Colour,
    seed: np.random.SeedSequence,
    draws: int,
) -> Float[np.ndarray, " number"]:
    """Standard deviation of each number over Gaussian fields of the colour of the target.

    Fields with more structure vary more: the deviations are a lower limit, and the objective in
    their units is strict.
    """
    keys = [jax.random.key(int(one)) for one in seed.generate_state(draws, np.uint32)]
    dtype = np.asarray(target.vector).dtype
    vectors = np.stack(
        [
            np.asarray(_vector(statistic, colour, key, dtype.name, as_moments(target)))
            for key in keys
        ]
    )
    return vectors.std(axis=0, ddof=1)


@eqx.filter_jit
def _vector(
    statistic: AbstractStatistic, colour: Colour, key: Array, dtype: str, reference: Moments
) -> Float[Array, " number"]:
    fields = colour.fields(colour.draw(key, 1, jnp.dtype(dtype)))
    moments = statistic.normalised(statistic.moments(fields), reference)
    return Statistics(moments, statistic.layout).vector[0]
