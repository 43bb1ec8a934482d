"""How far the statistics of fields are from wanted ones, in units of their sampling variance."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.layout import Layout, Order
from skysift.scattering.statistic import AbstractStatistic, Moments, as_moments
from skysift.scattering.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Metric:
    """How differences between statistics are weighed.

    Args:
        deviation: standard deviation of each number of the vector, such as that over an ensemble
            (`Statistics.deviation`), and 0 for numbers to leave out; `None` for that over Gaussian
            fields of the powers of the target.
        emphasis: how much an order counts, 1 unless given: at 10 its mean squared difference has
            to be ten times smaller.
        within: largest deviation of the numbers of an order, as a part of the target: at 0.05
            numbers that scatter by more are wanted to 5 % all the same, such as the power in bins
            of few modes.
        least: smallest deviation of any number that varies, as a part of the target: at 0.03
            numbers that scatter by less are wanted to 3 % only. A descent to fields of few strong
            structures, which scatter more than Gaussian ones, is much shorter.

    Raises:
        ValueError: for deviations that are not finite or below 0, an emphasis below 0, or parts of
            the target that make no sense.
    """

    deviation: Float[np.ndarray, " number"] | None = None
    emphasis: Mapping[Order, float] = field(default_factory=dict)
    within: Mapping[Order, float] = field(default_factory=dict)
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.deviation is not None:
            given = np.asarray(self.deviation, dtype=float)
            if not np.all(np.isfinite(given)) or given.min(initial=0.0) < 0.0:
                raise ValueError(
                    "deviation: expected finite numbers of 0 or more, got others. Set those of "
                    "numbers that shall not count to 0."
                )
            object.__setattr__(self, "deviation", given)
        for order, emphasis in self.emphasis.items():
            if not 0.0 <= emphasis < np.inf:
                raise ValueError(
                    f"emphasis: expected 0 or more for {order.value}, got {emphasis}. Say 1."
                )
        for order, part in self.within.items():
            if not 0.0 < part < np.inf:
                raise ValueError(
                    f"within: expected more than 0 for {order.value}, got {part}. Say 0.05."
                )
        if not 0.0 <= self.least < np.inf:
            raise ValueError(f"least: expected 0 or more, got {self.least}. Say least=0.03.")

    def known(
        self,
        statistic: AbstractStatistic,
        target: Statistics,
        colour: Colour,
        seed: np.random.SeedSequence,
    ) -> Metric:
        """The same with the deviations to use, if need be those over Gaussian fields.

        Args:
            statistic: of the fields.
            target: wanted statistics.
            colour: of the Gaussian fields.
            seed: of them.

        Raises:
            ValueError: for deviations of other numbers than the statistics have, or orders that
                they do not have.
        """
        count = target.layout.n_coefficients
        if self.deviation is not None and self.deviation.shape != (count,):
            raise ValueError(
                f"deviation: expected shape ({count},), one for each number of the statistics, got "
                f"{self.deviation.shape}. Take `.deviation()` of an ensemble of their kind."
            )
        for name, orders in (("emphasis", self.emphasis), ("within", self.within)):
            for order in orders:
                if order not in target.layout.orders:
                    have = ", ".join(one.value for one in target.layout.orders)
                    raise ValueError(f"{name}: expected orders among {have}, got {order.value}.")
        deviation = self.deviation
        if deviation is None:
            deviation = sampling_deviation(statistic, target, colour, seed)
        parts = [
            np.full(table.numbers, self.within.get(table.order, np.inf))
            for table in target.layout.tables
        ]
        size = np.abs(np.asarray(target.vector, dtype=float))
        limit = np.where(
            size > 0.0, np.concatenate(parts) * np.where(size > 0.0, size, 1.0), np.inf
        )
        wanted = np.maximum(np.minimum(deviation, limit), self.least * size)
        return replace(self, deviation=np.where(deviation > 0.0, wanted, 0.0))

    def weights(self, layout: Layout) -> Float[np.ndarray, " number"]:
        """Of the difference in each number: squared and summed they make the objective.

        Every order counts as its emphasis says, and in it every number that varies alike: there
        are a hundred times more fourth moments than second ones, of which a mean over all numbers
        would not see that they are wrong.
        """
        if self.deviation is None:
            raise ValueError("deviation: expected numbers, got None. Call `known` first.")
        varies = self.deviation > 0.0
        share, orders = np.zeros(varies.size), 0
        for table, here in zip(layout.tables, layout.slices, strict=True):
            count = np.count_nonzero(varies[here])
            if count:
                orders += 1
                share[here] = self.emphasis.get(table.order, 1.0) / count
        root = np.sqrt(share / max(orders, 1))
        return np.where(varies, root / np.where(varies, self.deviation, 1.0), 0.0)


class AbstractObjective(eqx.Module):
    """What a sampler brings down: the sum of squares of differences."""

    @property
    @abc.abstractmethod
    def count(self) -> Float[Array, ""] | int:
        """How many numbers are compared."""

    @abc.abstractmethod
    def differences(
        self, unknowns: Float[Array, "field channel unknown"]
    ) -> Float[Array, "field number"]:
        """Differences of fields from what is wanted, weighed so that their squares add up."""

    def each(self, unknowns: Float[Array, "field channel unknown"]) -> Float[Array, " field"]:
        """Objective of each field by itself."""
        return jnp.sum(self.differences(unknowns) ** 2, axis=-1)

    def together(self, unknowns: Float[Array, "field channel unknown"]) -> Float[Array, ""]:
        """Objective of the average of the statistics of all fields: the mean field."""
        return jnp.sum(jnp.mean(self.differences(unknowns), axis=0) ** 2)


class Objective(AbstractObjective):
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

    @property
    def count(self) -> Float[Array, ""] | int:
        """See `AbstractObjective`."""
        return jnp.sum(self.weights > 0.0)

    def differences(
        self, unknowns: Float[Array, "field channel unknown"]
    ) -> Float[Array, "field number"]:
        """See `AbstractObjective`."""
        statistic = self.statistic
        fields = statistic.visible(self.colour.fields(unknowns))
        moments = statistic.normalised(statistic.moments(fields), self.target)
        vectors = Statistics(moments, statistic.layout).vector
        offset = vectors - self.wanted.astype(unknowns.dtype)
        return offset * self.weights.astype(unknowns.dtype)


def objective_of(
    statistic: AbstractStatistic, target: Statistics, colour: Colour, metric: Metric
) -> Objective:
    """The objective of a target.

    Args:
        statistic: that made the target.
        target: statistics of one field.
        colour: from unknowns to fields.
        metric: with deviations.
    """
    weights = jnp.asarray(metric.weights(target.layout))
    return Objective(statistic, as_moments(target), target.vector, weights, colour)


def sampling_deviation(
    statistic: AbstractStatistic,
    target: Statistics,
    colour: Colour,
    seed: np.random.SeedSequence,
    draws: int = 32,
) -> Float[np.ndarray, " number"]:
    """Standard deviation of each number over Gaussian fields of the colour of the target.

    Fields with more structure vary more: the deviations are a lower limit, and the objective in
    their units is strict. Of numbers that vary by rounding only, such as the mean of a periodic
    field, it is 0.

    Args:
        statistic: that made the target.
        target: statistics of one field.
        colour: of the Gaussian fields.
        seed: of the draws.
        draws: number of fields; 32 tell a deviation to an eighth of itself.
    """
    keys = [jax.random.key(int(one)) for one in seed.generate_state(draws, np.uint32)]
    dtype = np.asarray(target.vector).dtype
    vectors = np.stack(
        [
            np.asarray(draw_vector(statistic, colour, key, dtype.name, as_moments(target)))
            for key in keys
        ]
    )
    maps = np.asarray(statistic.domain.seen(colour.fields(colour.draw(keys[0], 1, dtype))))
    spread = maps.reshape(statistic.domain.channels, -1).std(axis=-1)
    return deviation_of(target.layout, vectors, spread)


def deviation_of(
    layout: Layout,
    vectors: Float[np.ndarray, "draw number"],
    spread: Float[np.ndarray, " channel"],
) -> Float[np.ndarray, " number"]:
    """Standard deviation of each number over draws, 0 for what varies by rounding only.

    Args:
        layout: of the numbers.
        vectors: numbers of each draw.
        spread: standard deviation of the map of each channel.
    """
    deviation = vectors.std(axis=0, ddof=1, dtype=float)
    rounding = 1e3 * np.finfo(vectors.dtype).eps * _sizes(layout, vectors, spread)
    return np.where(deviation > rounding, deviation, 0.0)


def _sizes(
    layout: Layout, vectors: Float[np.ndarray, "draw number"], spread: Float[np.ndarray, " channel"]
) -> Float[np.ndarray, " number"]:
    """What the rounding of each number is relative to."""
    size = np.sqrt(np.mean(np.square(vectors, dtype=float), axis=0))
    sizes = []
    for table, where in zip(layout.tables, layout.slices, strict=True):
        here = size[where]
        if table.complex:
            # The imaginary part of a product that is real is rounded as the real part is.
            here = np.tile(np.hypot(here[: table.size], here[table.size :]), 2)
        elif table.order in (Order.MEAN, Order.S0):
            here = np.hypot(here, spread[table.column("channel")])
        sizes.append(here)
    return np.concatenate(sizes)


@eqx.filter_jit
def draw_vector(
    statistic: AbstractStatistic, colour: Colour, key: Array, dtype: str, reference: Moments
) -> Float[Array, " number"]:
    """Statistics of one Gaussian field, with the amplitudes of a reference.

    Args:
        statistic: of the field.
        colour: of the field.
        key: of the random numbers.
        dtype: name of the type of the field.
        reference: moments that normalise those of the field.
    """
    fields = statistic.visible(colour.fields(colour.draw(key, 1, jnp.dtype(dtype))))
    moments = statistic.normalised(statistic.moments(fields), reference)
    return Statistics(moments, statistic.layout).vector[0]
