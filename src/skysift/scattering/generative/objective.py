"""How far the statistics of fields are from wanted ones, in units of their sampling variance."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.layout import Layout, Order
from skysift.scattering.statistic import AbstractStatistic, Moments, as_moments
from skysift.scattering.statistics import Statistics


class Objective(eqx.Module):
    """Mean squared difference between statistics and wanted ones over their sampling variances.

    The mean is over the numbers of each order of statistics, and then over the orders. At 1 the
    statistics differ as those of two fields of the same law do; what is sought is well below.

    Args:
        statistic: whose values are wanted.
        target: wanted moments, normalised, of one field.
        wanted: their vector.
        weights: of the difference in each number, the inverse of its sampling deviation over the
            root of how many count like it; zero for what does not vary.
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
        return jnp.sum((offset * self.weights.astype(unknowns.dtype)) ** 2, axis=-1)

    def together(self, unknowns: Float[Array, "field channel unknown"]) -> Float[Array, ""]:
        """Objective of the average of the statistics of all fields: the mean field."""
        offset = jnp.mean(self.vectors(unknowns), axis=0) - self.wanted.astype(unknowns.dtype)
        return jnp.sum((offset * self.weights.astype(unknowns.dtype)) ** 2)


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
        deviation: standard deviation of each number of the vector; 0 for what does not vary, which
            is right from the start or out of reach.
    """
    varies = deviation > 0.0
    weights = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    weights /= np.sqrt(_counts(target.layout, varies))
    return Objective(statistic, as_moments(target), target.vector, jnp.asarray(weights), colour)


def _counts(layout: Layout, varies: Bool[np.ndarray, " number"]) -> Float[np.ndarray, " number"]:
    """Numbers of each order that vary, times the orders that do.

    Every order counts alike: there are a hundred times more fourth moments than second ones, of
    which a mean over all numbers would not see that they are wrong.
    """
    counts, start = np.ones(varies.size), 0
    for table in layout.tables:
        here = slice(start, start + table.size * (2 if table.complex else 1))
        counts[here] = max(varies[here].sum(), 1)
        start = here.stop
    return counts * np.sum(np.where(varies, 1.0 / counts, 0.0))


def sampling_deviation(
    statistic: AbstractStatistic,
    target: Statistics,
    colour: Colour,
    seed: np.random.SeedSequence,
    draws: int,
) -> Float[np.ndarray, " number"]:
    """Standard deviation of each number over Gaussian fields of the colour of the target.

    Fields with more structure vary more: the deviations are a lower limit, and the objective in
    their units is strict. Of numbers that vary by rounding only, such as the mean of a periodic
    field, it is 0.
    """
    keys = [jax.random.key(int(one)) for one in seed.generate_state(draws, np.uint32)]
    dtype = np.asarray(target.vector).dtype
    vectors = np.stack(
        [
            np.asarray(draw_vector(statistic, colour, key, dtype.name, as_moments(target)))
            for key in keys
        ]
    )
    deviation = vectors.std(axis=0, ddof=1, dtype=float)
    maps = np.asarray(statistic.domain.seen(colour.fields(colour.draw(keys[0], 1, dtype))))
    spread = maps.reshape(statistic.domain.channels, -1).std(axis=-1)
    rounding = 1e3 * np.finfo(dtype).eps * _sizes(target.layout, vectors, spread)
    return np.where(deviation > rounding, deviation, 0.0)


def _sizes(
    layout: Layout, vectors: Float[np.ndarray, "draw number"], spread: Float[np.ndarray, " channel"]
) -> Float[np.ndarray, " number"]:
    """What the rounding of each number is relative to."""
    size = np.sqrt(np.mean(np.square(vectors, dtype=float), axis=0))
    sizes, start = [], 0
    for table in layout.tables:
        here = size[start : start + table.size]
        start += table.size
        if table.complex:
            # The imaginary part of a product that is real is rounded as the real part is.
            here = np.hypot(here, size[start : start + table.size])
            start += table.size
            sizes.append(here)
        elif table.order in (Order.MEAN, Order.S0):
            here = np.hypot(here, spread[table.column("channel")])
        sizes.append(here)
    return np.concatenate(sizes)


@eqx.filter_jit
def draw_vector(
    statistic: AbstractStatistic, colour: Colour, key: Array, dtype: str, reference: Moments
) -> Float[Array, " number"]:
    """Statistics of one Gaussian field, with the amplitudes of a reference."""
    fields = colour.fields(colour.draw(key, 1, jnp.dtype(dtype)))
    moments = statistic.normalised(statistic.moments(fields), reference)
    return Statistics(moments, statistic.layout).vector[0]
