"""Wavelets of flat fields, as profiles in Fourier space."""

from __future__ import annotations

import abc
import math

import equinox as eqx
import numpy as np
from jaxtyping import Float


class AbstractWavelet(eqx.Module):
    """A family of directional wavelets of dyadic scales, given in Fourier space."""

    @abc.abstractmethod
    def __call__(
        self,
        wavevectors: Float[np.ndarray, "... axis"],
        scale: int,
        direction: Float[np.ndarray, " axis"],
        orientations: int,
    ) -> Float[np.ndarray, "..."]:
        """Fourier transform of the wavelet of one scale and one direction.

        Args:
            wavevectors: in radians per cell.
            scale: 0 for the finest; each further one is twice as large.
            direction: unit vector along which the wavelet oscillates.
            orientations: number of directions of the family, which sets the angular width.
        """


class BumpSteerable(AbstractWavelet):
    """Bump-steerable wavelets: compact in radius, a power of a cosine in angle.

    `exp(-(k - xi)^2 / (xi^2 - (k - xi)^2))` within an octave and more around
    `xi = centre / 2^scale`, times `cos^(orientations - 1)` of the angle to the direction, in the
    half plane of the direction: the field of coefficients is analytic and its modulus is an
    envelope (Mallat, Zhang & Rochette 2020, Information and Inference 9, 721; Allys et al. 2020,
    PRD 102, 103506).

    Args:
        centre: wave number of the finest scale, radians per cell.
    """

    centre: float = eqx.field(static=True, default=0.85 * math.pi)

    def __call__(
        self,
        wavevectors: Float[np.ndarray, "... axis"],
        scale: int,
        direction: Float[np.ndarray, " axis"],
        orientations: int,
    ) -> Float[np.ndarray, "..."]:
        """See `AbstractWavelet`."""
        xi = self.centre / 2.0**scale
        k = np.linalg.norm(wavevectors, axis=-1)
        inside = (k > 0.0) & (k < 2.0 * xi)
        offset = np.where(inside, k - xi, 0.0) ** 2
        radial = np.where(inside, np.exp(-offset / (xi**2 - offset)), 0.0)
        cosine = (wavevectors @ direction) / np.where(k > 0.0, k, 1.0)
        if orientations == 1:
            # The half space, as of fields on a line; what lies on its edge belongs to both halves.
            angular = np.heaviside(cosine, math.sqrt(0.5))
        else:
            angular = np.clip(cosine, 0.0, 1.0) ** (orientations - 1)
        order = orientations - 1
        # Of Mallat et al. (2020): the squares of all wavelets of the plane add to about 1.
        scaling = (
            2.0**order
            / 1.29
            * math.factorial(order)
            / math.sqrt(orientations * math.factorial(2 * order))
        )
        return scaling * radial * angular


class Morlet(AbstractWavelet):
    """Morlet wavelets: a Gaussian around `centre / 2^scale`, made to vanish at zero.

    With the defaults those of Cheng et al. (2020, MNRAS 499, 5902): in the field, a Gaussian of
    width `width 2^scale` along the oscillation and `width 2^scale / slant` across it.

    Args:
        centre: wave number of the finest scale, radians per cell.
        width: standard deviation of the finest scale, cells.
        slant: ratio of the widths along and across; `None` for 4 / orientations.
    """

    centre: float = eqx.field(static=True, default=0.75 * math.pi)
    width: float = eqx.field(static=True, default=0.8)
    slant: float | None = eqx.field(static=True, default=None)

    def __call__(
        self,
        wavevectors: Float[np.ndarray, "... axis"],
        scale: int,
        direction: Float[np.ndarray, " axis"],
        orientations: int,
    ) -> Float[np.ndarray, "..."]:
        """See `AbstractWavelet`."""
        slant = 4.0 / orientations if self.slant is None else self.slant
        xi, sigma = self.centre / 2.0**scale, self.width * 2.0**scale
        along = wavevectors @ direction
        across2 = np.maximum(np.sum(wavevectors**2, axis=-1) - along**2, 0.0) / slant**2

        def gaussian(offset: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
            return np.exp(-0.5 * sigma**2 * (offset**2 + across2))

        return gaussian(along - xi) - math.exp(-0.5 * (sigma * xi) ** 2) * gaussian(along)


def directions(dimensions: int, orientations: int) -> Float[np.ndarray, "orientation axis"]:
    """Directions of a half space, as even as there are.

    On a line one; on the plane angles `pi n / orientations` from the last axis; in space a spiral
    of equal areas (the axes themselves for 3).

    Raises:
        ValueError: for a number of orientations that the dimension does not have.
    """
    if orientations < 1 or (dimensions == 1 and orientations != 1):
        raise ValueError(
            f"orientations: expected {'1 for fields on a line' if dimensions == 1 else '1 or more'}"
            f", got {orientations}. Say orientations=1 or more."
        )
    if dimensions == 1:
        return np.ones((1, 1))
    if dimensions == 2:
        angle = np.arange(orientations) * np.pi / orientations
        return np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    if orientations == 3:
        return np.eye(3)
    height = (np.arange(orientations) + 0.5) / orientations
    turn = np.arange(orientations) * np.pi * (3.0 - math.sqrt(5.0))
    radius = np.sqrt(1.0 - height**2)
    return np.stack([height, radius * np.sin(turn), radius * np.cos(turn)], axis=-1)
