"""New fields from the statistics of an example: maximum-entropy microcanonical models."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.scattering.domain import Flat
from skysift.scattering.generative.gaussian import Colour, colour_of, floored
from skysift.scattering.generative.objective import Metric, objective_of
from skysift.scattering.generative.samplers import LBFGS, AbstractSampler, Report, Status, Task
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics


class Start(enum.Enum):
    """What the unknowns of a synthesis are white noise of."""

    GAUSSIAN = "gaussian"
    WHITE = "white"


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Fields with the statistics of a target.

    Args:
        maps: `(sample, *map shape)`.
        status: how each sample ended.
        history: objective of each sample at each iteration, 1 where it differs from the target as
            two fields of the same law do.
        statistics: of the samples, with the amplitudes of the target.
        target: wanted statistics.
        metric: how differences were weighed.
    """

    maps: Float[np.ndarray, "sample ..."]
    status: tuple[Status, ...]
    history: tuple[Float[np.ndarray, " iteration"], ...]
    statistics: Statistics
    target: Statistics
    metric: Metric

    @property
    def objective(self) -> Float[np.ndarray, " sample"]:
        """Objective of each sample: the lowest that a descent found, or that of the last draw."""
        return np.array(
            [
                one[-1] if status is Status.SAMPLED else one.min()
                for status, one in zip(self.status, self.history, strict=True)
            ]
        )


def synthesise(
    target: Statistics,
    statistic: AbstractStatistic,
    samples: int = 1,
    seed: int = 0,
    *,
    metric: Metric | None = None,
    sampler: AbstractSampler | None = None,
    start: Start = Start.GAUSSIAN,
    tolerance: float = 0.05,
    floor: float | Sequence[float] | np.ndarray | None = None,
    report: Report | None = None,
) -> Synthesis:
    """New fields with the statistics of a target.

    The fields start as white noise, or as Gaussian fields with the powers of the target at each
    scale, and are moved until their statistics are those of the target within a fraction of the
    sampling variance. In either case the unknowns are white: the descent does not have to find
    the spectrum of the field.

    Args:
        target: statistics of one field, or the mean over an ensemble (`Statistics.mean`).
        statistic: the operator that made them.
        samples: number of fields.
        seed: of the noise; the same seed gives the same fields.
        metric: how differences are weighed; `None` for sampling deviations of Gaussian fields, and
            every order of statistics alike.
        sampler: how to get from the start to the target; `None` for `LBFGS()`.
        start: what the fields are at first.
        tolerance: objective to stop at; 1 is the scatter of fields of the same law.
        floor: lowest value of fields on a flat grid, one for all channels or one for each, such as
            0 for an intensity of which parts of the example are blank; `None` for none.
        report: called with the number of the field, of the iteration, and the objective.

    Returns:
        The fields, with a status for each.

    Raises:
        ValueError: for a target of several fields, statistics of another configuration, or numbers
            that make no sense.

    Warns:
        UserWarning: when a field did not reach the tolerance.

    Examples:
        >>> from skysift.scattering import Covariance
        >>> st = Covariance.plane(shape=(16, 16), scales=2, orientations=2)
        >>> phi = st(np.random.default_rng(0).standard_normal((16, 16)))
        >>> twin = synthesise(phi, st, samples=2, seed=0, tolerance=0.5)
        >>> twin.maps.shape, twin.status[0].value
        ((2, 16, 16), 'converged')
    """
    _require_one(target)
    statistic.require(target)
    if samples < 1:
        raise ValueError(f"samples: expected 1 or more, got {samples}. Say samples=1.")
    if not tolerance > 0.0:
        raise ValueError(
            f"tolerance: expected more than 0, got {tolerance}. Say tolerance=0.05, a twentieth of "
            "the sampling variance."
        )
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    noise, spread, way = np.random.SeedSequence(seed).spawn(3)
    dtype = jnp.dtype(np.asarray(target.vector).dtype)
    colour = colour_of(statistic, target)
    metric = (metric or Metric()).known(statistic, target, colour, spread)
    if start is Start.WHITE:
        colour = _whitened(colour)
    if floor is not None:
        colour = floored(colour, _floor_levels(floor, colour))
    objective = objective_of(statistic, target, colour, metric)
    begun = colour.draw(_key(noise), samples, dtype)
    task = Task(objective, begun, _key(way), tolerance, report or (lambda *_: None))
    found = (sampler or LBFGS()).run(task)
    maps = statistic.domain.seen(colour.fields(jnp.asarray(found.unknowns, dtype)))
    missed = sum(one in (Status.STALLED, Status.ITERATION_LIMIT) for one in found.status)
    if missed:
        worst = max(float(one.min()) for one in found.history)
        warnings.warn(
            f"synthesise: {missed} of {samples} fields did not reach the tolerance {tolerance} "
            f"(the furthest ended at {worst:.3g}). Allow more iterations "
            f"(sampler=LBFGS(max_iter=...)), or a larger tolerance.",
            stacklevel=2,
        )
    return Synthesis(
        np.asarray(maps),
        found.status,
        found.history,
        statistic(np.asarray(maps), reference=target),
        target,
        metric,
    )


def _require_one(target: Statistics) -> None:
    if target.batch:
        raise ValueError(
            f"target: expected the statistics of one field, got those of {target.batch}. Take one "
            "map, or the mean over an ensemble with `.mean()`."
        )


def _floor_levels(
    floor: float | Sequence[float] | np.ndarray, colour: Colour
) -> Float[np.ndarray, " channel"]:
    """The floor of each channel."""
    domain = colour.domain
    if not isinstance(domain, Flat):
        raise ValueError(
            f"floor: expected None on the sphere, where fields are multipoles, got {floor}. Make "
            "the statistics of the logarithm of the map."
        )
    levels = np.asarray(floor, dtype=float)
    if levels.shape not in ((), (domain.channels,)) or not np.all(np.isfinite(levels)):
        raise ValueError(
            f"floor: expected a finite number or one for each of {domain.channels} channels, got "
            f"{floor}. Say the lowest value of the map."
        )
    levels = np.broadcast_to(levels, (domain.channels,))
    mean = np.asarray(colour.mean)
    for channel in np.flatnonzero(levels >= mean):
        raise ValueError(
            f"floor: expected less than the mean of the target, {mean[channel]:.4g} in channel "
            f"{channel}, got {levels[channel]:.4g}. Say the lowest value of the map."
        )
    return levels


def _whitened(colour: Colour) -> Colour:
    """White noise of the same variance."""
    power = jnp.asarray(colour.amplitude) ** 2
    axes = tuple(range(1, power.ndim))
    level = jnp.sqrt(jnp.sum(power, axis=axes) / jnp.sum(power > 0.0, axis=axes))
    flat = jnp.where(power > 0.0, level.reshape(-1, *([1] * (power.ndim - 1))), 0.0)
    return Colour(flat, colour.mean, colour.domain)


def _key(seed: np.random.SeedSequence) -> jax.Array:
    return jax.random.key(int(seed.generate_state(1, np.uint32)[0]))
