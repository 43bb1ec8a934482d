"""From wanted statistics of a signal to signals that have them, and to data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.scattering.bayes.coordinates import Coordinates
from skysift.scattering.bayes.emulator import Simulated
from skysift.scattering.domain import AbstractDomain
from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.generative.objective import AbstractObjective, Metric, Objective
from skysift.scattering.generative.samplers import LBFGS, Task
from skysift.scattering.generative.synthesis import synthesise
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics

_CHUNK = 32


@dataclass(frozen=True)
class Making:
    """How signals are made of statistics.

    Args:
        max_iter: iterations of the descent at most.
        tolerance: objective at which to stop; 1 is the scatter of Gaussian fields of one law. The
            statistics that count are those that a signal has in the end.
    """

    max_iter: int = 40
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if self.max_iter < 1:
            raise ValueError(f"max_iter: expected 1 or more, got {self.max_iter}. Say max_iter=40.")
        if not self.tolerance > 0.0:
            raise ValueError(
                f"tolerance: expected more than 0, got {self.tolerance}. Say tolerance=0.1."
            )


@dataclass(frozen=True, eq=False)
class Whitening:
    """Between parameters of statistics and those in which the prior is a unit Gaussian.

    Args:
        mean: of the prior.
        root: lower triangular root of its covariance.
    """

    mean: Float[np.ndarray, " parameter"]
    root: Float[np.ndarray, "parameter parameter"]

    @property
    def deviation(self) -> Float[np.ndarray, " parameter"]:
        """Of the prior."""
        return np.sqrt(np.sum(self.root**2, axis=1))

    def scaled(self, seen: Float[np.ndarray, "... parameter"]) -> Float[np.ndarray, "..."]:
        """Parameters of data in standard deviations of the prior."""
        return (seen - self.mean) / self.deviation

    def white(self, mu: Float[np.ndarray, "... parameter"]) -> Float[np.ndarray, "... parameter"]:
        """White parameters."""
        return np.linalg.solve(self.root, (mu - self.mean)[..., None])[..., 0]

    def coloured(
        self, theta: Float[np.ndarray, "... parameter"]
    ) -> Float[np.ndarray, "... parameter"]:
        """Parameters of white ones."""
        return self.mean + theta @ self.root.T


@dataclass(frozen=True, eq=False)
class Forward:
    """Signals with given statistics, and what is seen of them.

    Args:
        statistic: of data and signals.
        coordinates: of both.
        metric: by which signals are made.
        contamination: draws of it `(draw, *map shape)`.
        making: of signals.
        draws: contaminations that each signal is seen with.
    """

    statistic: AbstractStatistic
    coordinates: Coordinates
    metric: Metric
    contamination: Float[np.ndarray, "draw ..."]
    making: Making
    draws: int

    @property
    def domain(self) -> AbstractDomain:
        """Of the maps."""
        return self.statistic.domain

    def signals(
        self, mu: Float[np.ndarray, "field parameter"], seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "field ..."]:
        """One field for each set of parameters."""
        sampler = LBFGS(max_iter=self.making.max_iter)
        maps = []
        for one, stream in zip(mu, seed.generate_state(len(mu), np.uint32), strict=True):
            with warnings.catch_warnings():
                # No field may have these statistics; what counts are those of the one found.
                warnings.simplefilter("ignore", UserWarning)
                found = synthesise(
                    self.coordinates.statistics(one),
                    self.statistic,
                    1,
                    int(stream),
                    metric=self.metric,
                    sampler=sampler,
                    tolerance=self.making.tolerance,
                )
            maps.append(found.maps[0])
        return np.stack(maps)

    def parameters(self, maps: Float[np.ndarray, "field ..."]) -> Float[np.ndarray, "field ..."]:
        """Parameters of maps, a few at a time so that memory does not grow."""
        return self.coordinates.of(statistics_of_maps(self.statistic, maps))

    def seen(
        self, signals: Float[np.ndarray, "field ..."], seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "field draw parameter"]:
        """Parameters of signals with several contaminations each."""
        rng = np.random.default_rng(seed)
        which = rng.integers(len(self.contamination), size=(len(signals), self.draws))
        maps = signals[:, None] + self.contamination[which]
        flat = self.parameters(maps.reshape(-1, *signals.shape[1:]))
        return flat.reshape(len(signals), self.draws, -1)

    def simulated(
        self,
        mu: Float[np.ndarray, "field parameter"],
        whitening: Whitening,
        seed: np.random.SeedSequence,
    ) -> Simulated:
        """Statistics that signals had in the end, and those of data.

        Args:
            mu: parameters that signals are to have.
            whitening: of the parameters.
            seed: of signals and contaminations.
        """
        made, added = seed.spawn(2)
        signals = self.signals(mu, made)
        mu, seen = self.parameters(signals), self.seen(signals, added)
        return Simulated(whitening.white(mu), whitening.scaled(seen))


def statistics_of_maps(
    statistic: AbstractStatistic, maps: Float[np.ndarray, "field ..."]
) -> Statistics:
    """Statistics of many maps, a few at a time so that memory does not grow."""
    count = len(maps)
    # The last few are filled up: every shape is compiled anew.
    padded = maps[np.minimum(np.arange(-(-count // _CHUNK) * _CHUNK), count - 1)]
    parts = [statistic(padded[n : n + _CHUNK]) for n in range(0, len(padded), _CHUNK)]
    values = tuple(
        jnp.concatenate(one)[:count] for one in zip(*(one.values for one in parts), strict=True)
    )
    return Statistics(values, parts[0].layout, parts[0].masked)


class Moved(AbstractObjective):
    """A given field moved as little as it takes to have wanted statistics.

    The mean square of the white unknowns counts like the mean squared offset of the statistics.

    Args:
        objective: of the statistics.
        origin: the field.
    """

    objective: Objective
    origin: jax.Array

    @property
    def count(self) -> jax.Array | int:
        """See `AbstractObjective`."""
        return self.objective.count

    def differences(self, unknowns: jax.Array) -> jax.Array:
        """See `AbstractObjective`."""
        objective = self.objective
        statistic = objective.statistic
        fields = statistic.visible(self.origin + objective.colour.fields(unknowns))
        moments = statistic.normalised(statistic.moments(fields), objective.target)
        offset = Statistics(moments, statistic.layout).vector - objective.wanted
        steps = unknowns.reshape(len(unknowns), -1) / np.sqrt(unknowns[0].size)
        return jnp.concatenate([offset * objective.weights, steps], axis=-1)


def moved(
    objective: Objective, origin: Float[np.ndarray, "..."], making: Making
) -> Float[np.ndarray, "..."]:
    """A map moved until its statistics are those of an objective.

    A step is as large as the powers of the wanted statistics at each scale are: its square counts
    in units of those.

    Args:
        objective: wanted statistics.
        origin: the map.
        making: how far.
    """
    domain = objective.colour.domain
    field = domain.fields(jnp.asarray(origin))
    still = jnp.zeros((1, domain.channels, domain.size), jnp.real(field).dtype)
    zero = jnp.zeros_like(objective.colour.mean)
    around = replace(objective, colour=Colour(objective.colour.amplitude, zero, domain))
    task = Task(Moved(around, field), still, jax.random.key(0), making.tolerance, lambda *_: None)
    found = LBFGS(max_iter=making.max_iter).run(task)
    steps = around.colour.fields(jnp.asarray(found.unknowns, still.dtype))[0]
    return np.asarray(domain.seen(field + steps))
