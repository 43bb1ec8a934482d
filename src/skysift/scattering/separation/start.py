"""Where the signal of a separation starts."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.gaussian import Colour, colour_of
from skysift.scattering.separation.contamination import FEWEST, Draws
from skysift.scattering.separation.problem import Observation, projected
from skysift.scattering.separation.terms import Fields

_LEAST = 1e-4
"""Part of the power of the data that a filtered start keeps where there seems to be no signal: what
is below the scatter of the data is not taken away later."""
_SOME = 32
"""Draws from which the power of the contamination is told there."""
_TINY = 1e-6
"""Weight of a region far from its cells."""
_SLIGHT = 0.01
"""Part of the power of the data that the signal is taken to have at least."""
_MOST = 2.0
"""Deviations by which a power gives way to others at most."""
_HALVINGS = 30
"""Of the range of a number that is sought."""


class Begin(enum.Enum):
    """Where a signal starts: as the data, as the data with the power of the signal, as noise."""

    DATA = "data"
    FILTERED = "filtered"
    NOISE = "noise"


def changes(
    observation: Observation, draws: Draws, begin: Begin, modes: Float[np.ndarray, "..."]
) -> Colour:
    """From white unknowns to changes of the signal.

    The signal changes where the contamination is: what is known well stays as it is. From the data
    it has as far to go at each scale as the contamination is large. A filtered start is as far from
    the truth as a Gaussian signal S that is seen with a contamination N is from its Wiener filter,
    `S N / (S + N)`: steps as large as the contamination, where that is far above the signal, would
    move places of it that the data tell.

    Args:
        observation: the data.
        draws: of the contamination.
        begin: what the signal starts from.
        modes: which of them may change, as numbers from 0 to 1.

    Returns:
        Amplitudes of the changes `(channel, *modes)`, in the unit of the data.

    Raises:
        ValueError: for data or draws without structure, or that cannot have these statistics.
    """
    statistic = observation.statistic
    maps = np.asarray(statistic.domain.seen(draws.whole))
    if not maps.std() > 0.0:
        raise ValueError(
            "contamination: expected fields with structure, got constant ones. Give the draws "
            "themselves, not their mean."
        )
    try:
        reference = statistic(maps[:FEWEST]).mean()
    except ValueError as error:
        raise ValueError(str(error).replace("maps:", "contamination:", 1)) from error
    colour = colour_of(statistic, reference)
    amplitude = colour.amplitude * modes
    if begin is Begin.FILTERED:
        data = np.asarray(statistic.domain.seen(observation.whole))
        try:
            whole = colour_of(statistic, statistic(data)).amplitude ** 2
        except ValueError as error:
            raise ValueError(str(error).replace("maps:", "data:", 1)) from error
        part = 1.0 - colour.amplitude**2 / jnp.where(whole > 0.0, whole, jnp.inf)
        amplitude = amplitude * jnp.sqrt(jnp.maximum(part, _SLIGHT))
    return Colour(amplitude, jnp.zeros_like(colour.mean), colour.domain)


def origin(
    observation: Observation,
    draws: Draws,
    colour: Colour,
    begin: Begin,
    restart: int,
    key: Array,
) -> Fields:
    """Where a solution starts; modes that may not change are the data's.

    Args:
        observation: the data.
        draws: of the contamination.
        colour: of changes of the signal.
        begin: what to start from.
        restart: number of the solution; the later ones start from other fields: from each half of
            the data if they are in two, then from the data less a draw of its own each.
        key: of what is random.
    """
    domain, whole = observation.domain, observation.whole
    cells = tuple(range(-len(domain.cell_shape), 0))
    each = domain.seen(draws.whole).reshape(-1, domain.channels, *domain.cell_shape)
    start = domain.shifted(whole, -jnp.mean(each, axis=(0, *cells)))
    moving = np.asarray(colour.amplitude) > 0.0
    if begin is Begin.NOISE:
        noise = colour.fields(colour.draw(key, 1, jnp.real(whole).dtype)[0])
        return start - projected(domain, whole, moving) + noise
    if restart:
        halves = () if observation.halves is None else observation.halves
        more = restart - 1 - len(halves)
        other = draws.whole[more % draws.count] if more >= 0 else whole - halves[restart - 1]
        start = start - projected(domain, other, moving)
    return _filtered(observation, draws, colour, start) if begin is Begin.FILTERED else start


def starts(observation: Observation, draws: Draws) -> int:
    """How many solutions start from fields of their own, unless from noise.

    Args:
        observation: the data.
        draws: of the contamination.
    """
    return 1 + draws.count + (0 if observation.halves is None else len(observation.halves))


def _filtered(observation: Observation, draws: Draws, colour: Colour, start: Fields) -> Fields:
    """A start with the power of the data less that of the contamination, by octave and region.

    From the data the power comes down to it, and at low signal-to-noise the last hundredth of the
    way, which hardly changes a loss, is as much as the power of the signal. What is wrong by a
    factor in a region is mended by that factor there, which leaves a wall at the edge: from here
    there is little to mend, and the factors go over into each other within a wavelength.
    """
    domain, weights = observation.domain, observation.statistic.cells
    alone = replace(domain, channels=1)
    cells = np.ones((1, *domain.cell_shape)) if weights is None else np.asarray(weights)
    area = cells.reshape(len(cells), -1).sum(axis=-1)
    numbers = observation.statistic.power_windows()[1]

    def seen(fields: Fields, band: np.ndarray) -> np.ndarray:
        maps = np.asarray(domain.seen(projected(domain, fields, band)), dtype=float)
        return maps.reshape(domain.channels, *domain.cell_shape)

    def powers(fields: Fields, band: np.ndarray) -> np.ndarray:
        squares = seen(fields, band).reshape(domain.channels, -1) ** 2
        return squares @ (cells.reshape(len(cells), -1) / area[:, None]).T

    change = np.zeros((domain.channels, *domain.cell_shape))
    for length, band in _octaves(numbers):
        whole, here = powers(observation.whole, band), powers(start, band)
        each = np.stack([powers(one, band) for one in draws.whole[:_SOME]])
        dirt, share = each.mean(axis=0), area / area.sum()
        # The power of the data scatters more than that of the contamination, as it is larger.
        scatter = each.std(axis=0) * whole / np.where(dirt > 0.0, dirt, 1.0)
        wanted = np.stack(
            [_not_negative(*one, share) for one in zip(whole - dirt, scatter, strict=True)]
        )
        gain = np.sqrt(np.maximum(wanted, _LEAST * whole) / np.where(here > 0.0, here, 1.0))
        near = np.exp(-0.5 * (length * numbers) ** 2)
        soft = [projected(alone, alone.fields(jnp.asarray(one)), near) for one in cells]
        soft = np.maximum(np.stack([np.asarray(alone.seen(one)) for one in soft]), _TINY)
        change += seen(start, band) * (np.tensordot(gain, soft / soft.sum(axis=0), 1) - 1.0)
    added = domain.fields(jnp.asarray(change.reshape(domain.map_shape), jnp.real(start).dtype))
    return start + projected(domain, added, np.asarray(colour.amplitude) > 0.0)


def _octaves(
    numbers: Float[np.ndarray, "..."],
) -> Iterator[tuple[float, Float[np.ndarray, "..."]]]:
    """Of each octave of wave numbers the wavelength over 2 pi, and the part of each mode in it."""
    some = numbers > 0.0
    top = float(numbers.max())
    place = np.log2(top / np.where(some, numbers, top))
    count = int(place.max()) + 1
    for octave in range(count):
        # What is above the centre of the first or below that of the last is in it altogether.
        away = np.clip(np.abs(np.clip(place, 0.0, count - 1.0) - octave), 0.0, 1.0)
        yield 2.0**octave / top, np.where(some, np.cos(0.5 * np.pi * away) ** 2, 0.0)


def _not_negative(
    powers: Float[np.ndarray, " region"],
    deviation: Float[np.ndarray, " region"],
    area: Float[np.ndarray, " region"],
) -> Float[np.ndarray, " region"]:
    """Powers of 0 and more, with the mean over regions of given ones if that is possible.

    Negative ones set to 0 by themselves would leave more power than there is: the others give way,
    all by as many of their deviations, which leaves what is clear as it is.

    Args:
        powers: differences of powers.
        deviation: what they may be wrong by.
        area: of each region, adding to 1.
    """
    low, high = 0.0, _MOST
    for _ in range(_HALVINGS):
        part = 0.5 * (low + high)
        more = area @ np.maximum(powers - part * deviation, 0.0) > area @ powers
        low, high = (part, high) if more else (low, part)
    return np.maximum(powers - high * deviation, 0.0)
