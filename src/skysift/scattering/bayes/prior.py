"""A broad prior around what the statistics of the data say of a signal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.scattering.bayes.coordinates import (
    POWERS,
    coordinates_of,
    numbers_of,
)
from skysift.scattering.bayes.forward import Whitening, statistics_of_maps
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import Metric, deviation_of
from skysift.scattering.layout import Order
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics

_GAUSSIAN = 64
_LEFT = 0.05
"""Part of the power that a guess of the signal keeps where the contamination has all of it."""


_FARTHER = 0.7
"""Of how much farther from Gaussian fields than the data a signal is, mean and deviation."""


def guess_of(
    statistic: AbstractStatistic, observed: Statistics, contamination: Statistics
) -> Statistics:
    """Statistics of the data without the power of the contamination.

    Args:
        statistic: of both.
        observed: of the data.
        contamination: of its draws, with the amplitudes of the data.
    """
    values = np.asarray(observed.vector, dtype=float)
    added = np.asarray(contamination.vector, dtype=float).mean(axis=0)
    powers = numbers_of(statistic.layout, POWERS)
    left = np.where(powers, np.maximum(values - added, _LEFT * values), values)
    return Statistics.of_vector(left, statistic.layout)


class Around:
    """Where a prior is, and how far it goes: statistics to make its signals of.

    Of the statistics mu of the guess, and of Gaussian fields g of its colour: wanted are
    `mu + breadth (a + b + k o)`. a has the covariance of Phi(g) and the variances of Phi(g + c). b
    is independent; its deviation is, for powers, what the power of the contamination leaves
    unknown, for the others the rms over each order of o. o is how far, beyond the powers, the data
    are from Phi(g + c), and k a number of mean and deviation about one: as contamination makes
    data more Gaussian, the signal is likely further from Gaussian fields the same way.

    Args:
        statistic: of data and signals.
        observed: statistics of the data.
        guess: of those of the signal.
        contamination: maps of it; `seen` their statistics with the amplitudes of the data.
        seen: see there.
        seed: of the Gaussian fields.
    """

    def __init__(
        self,
        statistic: AbstractStatistic,
        observed: Statistics,
        guess: Statistics,
        contamination: Float[np.ndarray, "draw ..."],
        seen: Statistics,
        seed: np.random.SeedSequence,
    ) -> None:
        domain = statistic.domain
        dtype = contamination.dtype
        colour = colour_of(statistic, guess)
        key = jax.random.key(int(seed.generate_state(1, np.uint32)[0]))
        unknowns = colour.draw(key, _GAUSSIAN, jnp.dtype(dtype))
        maps = np.stack([np.asarray(domain.seen(colour.fields(one))) for one in unknowns])
        dirty = maps + contamination[np.arange(_GAUSSIAN) % len(contamination)]
        clean_numbers = statistics_of_maps(statistic, maps)
        numbers = statistics_of_maps(statistic, dirty)
        # A deviation of the target's amplitudes, as in syntheses.
        fixed = statistic(maps, reference=guess)
        spread = maps.reshape(len(maps), domain.channels, -1).std(axis=(0, 2))
        deviation = deviation_of(statistic.layout, np.asarray(fixed.vector), spread)
        # The variance is the sum of the powers: wanted apart from them, it is what no field has.
        variance = numbers_of(statistic.layout, (Order.VARIANCE,))
        self.metric = Metric(np.where(variance, 0.0, deviation))
        both = np.concatenate([np.asarray(one.vector) for one in (clean_numbers, numbers)])
        both = np.concatenate([both, np.asarray(observed.vector)[None]])
        ensemble = Statistics.of_vector(both, statistic.layout)
        self.coordinates = coordinates_of(ensemble, spread, guess)
        self._fill(clean_numbers, numbers, observed, guess, seen)

    def _fill(
        self,
        clean: Statistics,
        dirty: Statistics,
        observed: Statistics,
        guess: Statistics,
        seen: Statistics,
    ) -> None:
        to = self.coordinates
        inner, outer, data = to.of(clean), to.of(dirty), to.of(observed)
        self.centre = to.of(guess)
        self.root = np.linalg.cholesky(shrunk(inner) + np.diag(outer.var(axis=0) + 1e-12))
        orders = np.array([one.value for one in to.order()])
        offset = data - outer.mean(axis=0)
        rms = np.array([np.sqrt(np.mean(offset[orders == one] ** 2)) for one in orders])
        powers = np.asarray(seen.vector, dtype=float)[:, to.varies]
        self.noise = np.maximum(powers.mean(axis=0), 0.0)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            unknown = np.clip(powers.std(axis=0) / np.exp(self.centre), 0.0, 0.5)
        unknown = unknown + 0.25 * np.maximum(data - self.centre, 0.0)
        self.extra = np.where(to.power, unknown, rms)
        self.offset = np.where(to.power, 0.0, offset)

    def wanted(
        self, count: int, breadth: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "field parameter"]:
        """Parameters to make the first signals of.

        Args:
            count: number of signals.
            breadth: factor of the distance from the centre.
            rng: random numbers.
        """
        shape = (count, self.centre.size)
        along, apart = rng.standard_normal((2, *shape))
        farther = _FARTHER * (1.0 + rng.standard_normal((count, 1)))
        steps = along @ self.root.T + apart * self.extra + farther * self.offset
        return self.centre + breadth * steps


def whitening_of(had: Float[np.ndarray, "field parameter"]) -> Whitening:
    """The Gaussian prior of parameters that signals had.

    What was wanted may be what no field has: the prior is of what was found instead.
    """
    covariance = shrunk(had)
    scale = np.sqrt(np.diag(covariance))
    ridge = 1e-6 * np.diag(scale**2)
    return Whitening(had.mean(axis=0), np.linalg.cholesky(covariance + ridge))


def shrunk(values: Float[np.ndarray, "field parameter"]) -> Float[np.ndarray, "p p"]:
    """Covariance, shrunk as if as many uncorrelated fields were seen as there are parameters."""
    count, size = values.shape
    covariance = np.cov(values, rowvar=False).reshape(size, size)
    share = size / (size + count)
    return (1.0 - share) * covariance + share * np.diag(np.diag(covariance))
