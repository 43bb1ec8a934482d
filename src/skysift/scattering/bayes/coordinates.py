"""Statistics as vectors of parameters: logarithms of what is positive, the others as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from skysift.scattering.generative.objective import deviation_of
from skysift.scattering.layout import Layout, Order
from skysift.scattering.powered import own_coefficients
from skysift.scattering.statistics import Statistics

POWERS = (
    Order.VARIANCE,
    Order.REST,
    Order.POWER,
    Order.S2,
    Order.S11,
    Order.BANDPOWER,
)
"""Orders that are powers; the S2 of the scattering transform, a mean modulus, is positive too."""

_POSITIVE = (*POWERS, Order.S1)
_FLOOR = 1e-6


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Parameters of statistics: the numbers that vary, of some their logarithms.

    Args:
        layout: of the statistics.
        varies: which numbers are parameters.
        fixed: values of all numbers, for those that are none.
        floor: for each number the least value of which a logarithm is taken; 0 for those that are
            parameters as they are.
    """

    layout: Layout
    varies: Bool[np.ndarray, " number"]
    fixed: Float[np.ndarray, " number"]
    floor: Float[np.ndarray, " number"]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.varies.sum())

    @property
    def logarithmic(self) -> Bool[np.ndarray, " parameter"]:
        """Which parameters are logarithms."""
        return self.floor[self.varies] > 0.0

    @property
    def power(self) -> Bool[np.ndarray, " parameter"]:
        """Which of them are logarithms of powers, to which a contamination adds its own."""
        return numbers_of(self.layout, POWERS)[self.varies] & self.logarithmic

    def order(self) -> list[Order]:
        """Order of each parameter."""
        names = [table.order for table in self.layout.tables for _ in range(table.numbers)]
        return [names[row] for row in np.flatnonzero(self.varies)]

    def of(self, statistics: Statistics) -> Float[np.ndarray, "... parameter"]:
        """Parameters of statistics."""
        values = np.asarray(statistics.vector, dtype=float)[..., self.varies]
        floor = self.floor[self.varies]
        logs = np.log(np.maximum(values, np.where(floor > 0.0, floor, 1.0)))
        return np.where(floor > 0.0, logs, values)

    def statistics(self, parameters: Float[np.ndarray, "... parameter"]) -> Statistics:
        """Statistics of parameters."""
        values = np.where(
            self.logarithmic,
            np.exp(np.where(self.logarithmic, parameters, 0.0)),
            parameters,
        )
        vector = np.broadcast_to(self.fixed, (*values.shape[:-1], self.fixed.size)).copy()
        vector[..., self.varies] = values
        return Statistics.of_vector(vector, self.layout)


def coordinates_of(
    ensemble: Statistics, spread: Float[np.ndarray, " channel"], at: Statistics
) -> Coordinates:
    """Coordinates in which an ensemble varies.

    Args:
        ensemble: of fields.
        spread: standard deviation of the map of each channel, by which rounding is told.
        at: statistics whose values the numbers have that are no parameters.

    Raises:
        ValueError: when nothing varies.
    """
    vectors = np.asarray(ensemble.vector)
    layout = ensemble.layout
    varies = deviation_of(layout, vectors, spread) > 0.0
    if not varies.any():
        raise ValueError(
            "statistics: expected numbers that differ between fields, got none. Look at the data "
            "and the contamination."
        )
    typical = np.median(vectors, axis=0)
    positive = numbers_of(layout, _POSITIVE) & np.all(vectors > 0.0, axis=0)
    floor = np.where(positive, _FLOOR * typical, 0.0)
    return Coordinates(layout, varies, np.asarray(at.vector, dtype=float), floor)


def numbers_of(layout: Layout, orders: tuple[Order, ...]) -> Bool[np.ndarray, " number"]:
    """Which numbers of the vector are real parts of `own_coefficients` of some orders.

    Args:
        layout: of the vector.
        orders: that count.
    """
    parts = []
    for table in layout.tables:
        here = own_coefficients(table) if table.order in orders else np.zeros(table.size, bool)
        parts.append(here)
        if table.complex:
            parts.append(np.zeros(table.size, dtype=bool))
    return np.concatenate(parts)
