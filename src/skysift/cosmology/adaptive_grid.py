"""Grids that find a posterior by themselves: widened until they hold it, narrowed to resolve it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

DROP = 12.5
"""A grid ends where the logarithm of the density is this far below its maximum: 5 sigma."""

_MOST = 200  # rounds; each narrows or widens by a factor of two or more
_NARROW = 0.6  # share of a grid that must matter

Density = Callable[
    [Float[np.ndarray, "realisation x"], Float[np.ndarray, "realisation y"]],
    Float[np.ndarray, "realisation x y"],
]


@dataclass(frozen=True, eq=False)
class Axis:
    """Range of one parameter, per realisation.

    Args:
        low: lower ends.
        high: upper ends, the same as the lower ones for a parameter that is held.
        bound: least value that is possible.
    """

    low: Float[np.ndarray, " realisation"]
    high: Float[np.ndarray, " realisation"]
    bound: float = -np.inf

    @property
    def held(self) -> bool:
        """Whether the parameter has one value."""
        return bool(np.all(self.low == self.high))

    def points(self, count: int) -> Float[np.ndarray, "realisation point"]:
        """Evenly spaced values; one for a parameter that is held."""
        steps = np.zeros(1) if self.held else np.linspace(0.0, 1.0, count)
        return self.low[:, None] + (self.high - self.low)[:, None] * steps

    def adapted(
        self, profile: Float[np.ndarray, "realisation point"]
    ) -> tuple[Axis, Bool[np.ndarray, " realisation"]]:
        """The axis that a profile on its points asks for, and whether it will do as it is.

        Args:
            profile: logarithm of the density over its maximum, greatest over all else.
        """
        count = profile.shape[1]
        if count == 1:
            return self, np.ones(profile.shape[0], dtype=bool)
        x, rows = self.points(count), np.arange(profile.shape[0])
        inside = profile > -DROP
        first, last = inside.argmax(axis=1), count - 1 - inside[:, ::-1].argmax(axis=1)
        width = self.high - self.low
        open_below = inside[:, 0] & (self.low > self.bound)
        open_above = inside[:, -1]
        low = np.where(
            open_below,
            np.maximum(self.low - width, self.bound),
            x[rows, np.maximum(first - 1, 0)],
        )
        high = np.where(open_above, self.high + width, x[rows, np.minimum(last + 1, count - 1)])
        resolved = (last - first + 2) > _NARROW * (count - 1)
        enough = ~open_below & ~open_above & resolved
        return (
            dataclasses.replace(
                self,
                low=np.where(enough, self.low, low),
                high=np.where(enough, self.high, high),
            ),
            enough,
        )


def adapt(density: Density, x: Axis, y: Axis, counts: tuple[int, int]) -> tuple[Axis, Axis]:
    """Axes that reach down to `DROP` below the maximum on all sides, and not much further.

    Args:
        density: logarithm of a density with one maximum, on the product of two axes.
        x: where to start.
        y: where to start.
        counts: points of each axis to look at.

    Raises:
        ValueError: if the density does not fall off.
    """
    for _ in range(_MOST):
        values = density(x.points(counts[0]), y.points(counts[1]))
        values = values - values.max(axis=(1, 2), keepdims=True)
        x, x_enough = x.adapted(values.max(axis=2))
        y, y_enough = y.adapted(values.max(axis=1))
        if np.all(x_enough & y_enough):
            return x, y
    raise ValueError(
        "observed: expected power that limits the parameters, got a likelihood that does not fall "
        "off. Take more multipoles."
    )
