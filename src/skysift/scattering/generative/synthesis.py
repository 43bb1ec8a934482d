"""New fields from the statistics of an example: maximum-entropy microcanonical models."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.scattering.domain import Flat
from skysift.scattering.generative.gaussian import Colour, colour_of, floored
from skysift.scattering.generative.levels import Level, refined, require_finer
from skysift.scattering.generative.objective import Metric, objective_of
from skysift.scattering.generative.samplers import (
    LBFGS,
    AbstractSampler,
    Found,
    Report,
    Status,
    Task,
)
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
    coarser: Sequence[Level] = (),
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
        coarser: what the fields are to have with fewer cells, the fewest first: they are made there
            before, at a small part of the cost, and begin with their large structures.
        sampler: how to get from the start to the target; `None` for `LBFGS()`.
        start: what the fields are at first.
        tolerance: objective to stop at, on each grid; 1 is the scatter of fields of the same law.
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
    levels = (*coarser, Level(target, statistic, metric))
    require_finer(levels)
    if samples < 1:
        raise ValueError(f"samples: expected 1 or more, got {samples}. Say samples=1.")
    if not tolerance > 0.0:
        raise ValueError(
            f"tolerance: expected more than 0, got {tolerance}. Say tolerance=0.05, a twentieth of "
            "the sampling variance."
        )
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    way = _Way(samples, start, floor, sampler or LBFGS(), tolerance, report or (lambda *_: None))
    made: _Made | None = None
    for level, streams in zip(levels, _streams(seed, len(levels)), strict=True):
        made = way.made(level, streams, made)
    assert made is not None
    found, domain = made.found, statistic.domain
    maps = domain.seen(made.colour.fields(jnp.asarray(found.unknowns)))
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
        made.metric,
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """Fields on one grid."""

    colour: Colour
    metric: Metric
    found: Found


@dataclass(frozen=True, eq=False)
class _Way:
    """What is the same on all grids; `synthesise` says what each is."""

    samples: int
    start: Start
    floor: float | Sequence[float] | np.ndarray | None
    sampler: AbstractSampler
    tolerance: float
    report: Report

    def made(self, level: Level, streams: Streams, earlier: _Made | None) -> _Made:
        """Fields on the grid of a level, with the structures of those on a coarser one."""
        statistic, target = level.statistic, level.target
        dtype = jnp.dtype(np.asarray(target.vector).dtype)
        noise, spread, way = streams
        colour = colour_of(statistic, target)
        metric = (level.metric or Metric()).known(statistic, target, colour, spread)
        if self.start is Start.WHITE:
            colour = _whitened(colour)
        if self.floor is not None:
            colour = floored(colour, _floor_levels(self.floor, colour))
        begun = colour.draw(_key(noise), self.samples, dtype)
        if earlier is not None:
            unknowns = jnp.asarray(earlier.found.unknowns, dtype)
            begun = refined(unknowns, earlier.colour, colour, begun)
        objective = objective_of(statistic, target, colour, metric)
        task = Task(objective, begun, _key(way), self.tolerance, self.report)
        found = self.sampler.run(task)
        unknowns = np.asarray(found.unknowns, dtype)
        return _Made(colour, metric, replace(found, unknowns=unknowns))


Streams = tuple[np.random.SeedSequence, ...]


def _streams(seed: int, levels: int) -> list[Streams]:
    """Of noise, deviations and samplers: those of the finest grid are the same without others."""
    finest = np.random.SeedSequence(seed).spawn(3)
    coarser = [one.spawn(levels - 1) for one in finest]
    return [*zip(*coarser, strict=True), tuple(finest)]


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
