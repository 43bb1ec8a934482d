"""Gaussian fields with the power that statistics have at each scale."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from skysift.scattering.domain import AbstractDomain
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics

_REFINEMENTS = 20

_SOFTNESS = 0.03
"""Width of a floor in standard deviations: smaller, and what is blank never feels a slope."""


class Floor(eqx.Module):
    """Below which fields on a flat grid do not go.

    Values below it become it, by way of `level + width log(1 + exp((value - level) / width))`:
    large parts are blank at no cost, where Gaussian modes would have to cancel each other.

    Args:
        level: of each channel, with axes that broadcast along the grid.
        width: over which values come down to it.
    """

    level: Float[Array, "channel ..."]
    width: Float[Array, "channel ..."]

    def above(self, fields: Float[Array, "... channel cell"]) -> Float[Array, "... channel cell"]:
        """Fields without what is below."""
        level, width = self.level.astype(fields.dtype), self.width.astype(fields.dtype)
        return level + width * jax.nn.softplus((fields - level) / width)


class Colour(eqx.Module):
    """What turns white unknowns into fields of given power and mean.

    Args:
        amplitude: of each mode `(channel, *modes)`, the root of its power.
        mean: of each channel.
        domain: of the fields.
        floor: below which they do not go: they are Gaussian without one only.
    """

    amplitude: Float[Array, "channel ..."]
    mean: Float[Array, " channel"]
    domain: AbstractDomain
    floor: Floor | None = None

    def fields(
        self, unknowns: Float[Array, "... channel unknown"]
    ) -> Inexact[Array, "... channel mode"]:
        """Fields of white unknowns."""
        white = self.domain.of_unknowns(unknowns)
        fields = self.domain.shifted(
            self.domain.filtered(white, self.amplitude.astype(unknowns.dtype)),
            self.mean.astype(unknowns.dtype),
        )
        return fields if self.floor is None else self.floor.above(fields)

    def draw(self, key: PRNGKeyArray, count: int, dtype: jnp.dtype) -> Float[Array, "..."]:
        """White unknowns `(count, channel, unknown)`; without a floor their fields are Gaussian.

        Args:
            key: of the random numbers.
            count: number of fields.
            dtype: of the numbers.
        """
        return jax.random.normal(key, (count, self.domain.channels, self.domain.size), dtype)


def floored(colour: Colour, level: Float[np.ndarray, " channel"]) -> Colour:
    """The same on a flat grid, with a floor.

    Args:
        colour: from the unknowns to fields.
        level: of the floor in each channel.
    """
    axes = tuple(range(1, colour.amplitude.ndim))
    spread = jnp.sqrt(jnp.sum(colour.amplitude**2, axis=axes, keepdims=True))
    floor = Floor(jnp.asarray(level).reshape(spread.shape), _SOFTNESS * spread)
    return Colour(colour.amplitude, colour.mean, colour.domain, floor)


def colour_of(statistic: AbstractStatistic, reference: Statistics) -> Colour:
    """The colour of Gaussian fields that have the powers of a reference at each scale.

    A power law between the centres of the scales, refined until its powers at the scales are those
    of the reference. Orientations are averaged: the spectrum is isotropic.

    Args:
        statistic: that made the reference.
        reference: statistics of one field.
    """
    mean, power, rest = statistic.powers(reference)
    windows, wavenumbers = statistic.power_windows()
    sides = statistic.rest_windows()
    whole = windows.sum(axis=0) + sides.sum(axis=0)
    centres = np.array([np.sum(one * wavenumbers) / np.sum(one) for one in windows])
    amplitudes = []
    for channel in range(statistic.domain.channels):
        level = power[channel] / windows.sum(axis=tuple(range(1, windows.ndim)))
        spectrum = np.zeros_like(wavenumbers)
        for _ in range(_REFINEMENTS):
            spectrum = _interpolated(wavenumbers, centres, level)
            # What no scale covers overlaps with the scales next to it: both are refined together.
            for window, wanted in zip(sides, rest[channel], strict=True):
                found = np.sum(window * spectrum)
                if found > 0.0:
                    mostly = window > 0.25 * whole
                    spectrum = np.where(mostly, spectrum * (wanted / found), spectrum)
            found = np.array([np.sum(one * spectrum) for one in windows])
            level = level * power[channel] / found
        amplitudes.append(np.sqrt(spectrum))
    return Colour(jnp.asarray(np.stack(amplitudes)), jnp.asarray(mean), statistic.domain)


def _interpolated(
    wavenumbers: Float[np.ndarray, "..."],
    centres: Float[np.ndarray, " scale"],
    level: Float[np.ndarray, " scale"],
) -> Float[np.ndarray, "..."]:
    """Power law between centres, continued with the slope at either end, zero at zero."""
    order = np.argsort(centres)
    x, y = np.log(centres[order]), np.log(level[order])
    at = np.log(np.where(wavenumbers > 0.0, wavenumbers, 1.0))
    values = np.interp(at, x, y)
    if len(x) > 1:
        low, high = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
        values = values + np.where(at < x[0], low * (at - x[0]), 0.0)
        values = values + np.where(at > x[-1], high * (at - x[-1]), 0.0)
    return np.where(wavenumbers > 0.0, np.exp(values), 0.0)
