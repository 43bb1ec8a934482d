"""Few numbers of unit variance from the statistics of many fields."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from skysift.scattering.layout import Layout, Order
from skysift.scattering.statistics import Statistics

_POWERS = frozenset(
    (Order.VARIANCE, Order.REST, Order.POWER, Order.S2, Order.S11, Order.LOW, Order.BANDPOWER)
)
"""Orders whose numbers, where positive, vary by factors rather than by amounts."""

_CONSTANT = 1e-4
"""Range over the largest magnitude up to which a number is constant but for rounding."""

_RANK = 1e-6
"""Deviation of a component over that of the first, up to which it is rounding."""


@dataclass(frozen=True, eq=False)
class Features:
    """From statistics to their principal components.

    Powers are taken to logarithms, numbers that are the same in all fields left out, the others
    divided by their standard deviation. Of these the components of largest variance are kept and
    scaled to unit variance.

    Args:
        layout: of the statistics.
        kept: which numbers of the vector vary.
        logarithmic: which of those kept are taken to logarithms.
        centre: mean of those kept.
        basis: takes the offset from the mean to the components.
        explained: part of the variance that the components have.
    """

    layout: Layout
    kept: Bool[np.ndarray, " number"]
    logarithmic: Bool[np.ndarray, " kept"]
    centre: Float[np.ndarray, " kept"]
    basis: Float[np.ndarray, "kept component"]
    explained: float

    @property
    def components(self) -> int:
        """Number of components."""
        return self.basis.shape[1]

    def __call__(self, statistics: Statistics) -> Float[np.ndarray, "field component"]:
        """Components of the statistics of fields.

        Raises:
            ValueError: for statistics of another configuration, of no batch of fields, that are
                not finite, or without power where those of the other fields have some.
        """
        if statistics.layout != self.layout:
            raise ValueError(
                f"statistics: expected those of {self.layout.origin} ({self.kept.size} numbers), "
                f"got those of {statistics.layout.origin} ({statistics.n_coefficients} numbers). "
                "Compute them with the same operator."
            )
        values = vectors_of(statistics)[:, self.kept]
        powerless = np.any(values[:, self.logarithmic] <= 0.0, axis=1)
        if powerless.any():
            raise ValueError(
                f"statistics: expected positive powers, got others in {powerless.sum()} fields "
                f"(the first is {np.flatnonzero(powerless)[0]}). Leave those fields out."
            )
        return (_logarithms(values, self.logarithmic) - self.centre) @ self.basis


def features_of(statistics: Statistics, components: int) -> Features:
    """The principal components of the statistics of fields.

    Raises:
        ValueError: for statistics of no batch, that are not finite, or all the same.
    """
    if components < 1:
        raise ValueError(f"components: expected 1 or more, got {components}. Say components=6.")
    values = vectors_of(statistics)
    if len(values) < 2:
        raise ValueError(
            "statistics: expected those of several fields, got those of one. Give maps with a "
            "leading axis."
        )
    kept = np.ptp(values, axis=0) > _CONSTANT * _magnitudes(statistics, values)
    if not kept.any():
        raise ValueError(
            f"statistics: expected fields that differ, got {len(values)} with the same numbers. "
            "Give different maps."
        )
    values = values[:, kept]
    logarithmic = _is_one_of(statistics.layout, _POWERS)[kept] & np.all(values > 0.0, axis=0)
    values = _logarithms(values, logarithmic)
    centre, deviation = values.mean(axis=0), values.std(axis=0)
    _, singular, rows = np.linalg.svd((values - centre) / deviation, full_matrices=False)
    rank = int(np.sum(singular > _RANK * singular[0]))
    count = min(components, rank)
    # The sign of a component is free: the largest entry is made positive.
    largest = np.abs(rows[:count]).argmax(axis=1)
    signs = np.sign(rows[np.arange(count), largest])
    spread = singular[:count] / np.sqrt(len(values))
    basis = (rows[:count] * (signs / spread)[:, None]).T / deviation[:, None]
    explained = float(np.sum(singular[:count] ** 2) / np.sum(singular**2))
    return Features(statistics.layout, kept, logarithmic, centre, basis, explained)


def vectors_of(statistics: Statistics) -> Float[np.ndarray, "field number"]:
    """Vectors of the statistics of a batch of fields, in double precision.

    Raises:
        ValueError: for statistics of no batch, or that are not finite.
    """
    if len(statistics.batch) != 1:
        raise ValueError(
            "statistics: expected those of fields along one axis, got a batch of shape "
            f"{statistics.batch}. Give maps (field, *map shape), or `stack` the statistics."
        )
    values = np.asarray(statistics.vector, dtype=float)
    broken = ~np.all(np.isfinite(values), axis=1)
    if broken.any():
        raise ValueError(
            f"statistics: expected finite numbers, got others in {broken.sum()} of {len(values)} "
            f"fields (the first is {np.flatnonzero(broken)[0]}). Leave those fields out."
        )
    return values


def _magnitudes(
    statistics: Statistics, values: Float[np.ndarray, "field number"]
) -> Float[np.ndarray, " number"]:
    """Largest magnitude of each number; a mean is rounding below that of the deviations."""
    largest = np.abs(values).max(axis=0)
    if {Order.MEAN, Order.VARIANCE} <= set(statistics.layout.orders):
        deviation = np.sqrt(np.max(np.asarray(statistics[Order.VARIANCE])))
        means = _is_one_of(statistics.layout, {Order.MEAN})
        largest[means] = np.maximum(largest[means], deviation)
    return largest


def _is_one_of(layout: Layout, orders: Set[Order]) -> Bool[np.ndarray, " number"]:
    return np.concatenate([np.full(one.numbers, one.order in orders) for one in layout.tables])


def _logarithms(
    values: Float[np.ndarray, "field kept"], logarithmic: Bool[np.ndarray, " kept"]
) -> Float[np.ndarray, "field kept"]:
    result = values.copy()
    result[:, logarithmic] = np.log(values[:, logarithmic])
    return result
