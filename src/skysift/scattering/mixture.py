"""Several kinds of statistics as one."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.scattering.domain import AbstractDomain
from skysift.scattering.layout import Layout, Order
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics

_SHARED = (Order.MEAN, Order.VARIANCE)
"""Orders that mean the same in all kinds of statistics."""


class Mixture(AbstractStatistic):
    """All statistics of several kinds, of fields on one domain.

    Mean and variance are kept once. The first kind says what power Gaussian fields need: list
    first what covers all scales best. In a synthesis every order counts alike, and in
    it each number by its own sampling variance.

    Args:
        parts: the kinds of statistics, of the same domain and with the same weights.

    Raises:
        ValueError: for no statistics, several domains or weights, or an order that two of them
            have.

    Examples:
        >>> from skysift.scattering import Covariance, Pdf
        >>> one = Covariance.plane((16, 16), scales=2, orientations=2)
        >>> st = Mixture((one, Pdf.plane((16, 16), scales=2, quantiles=4)))
        >>> phi = st(np.random.default_rng(0).standard_normal((16, 16)))
        >>> phi.n_coefficients, phi["quantile"].shape
        (112, (4,))
    """

    domain: AbstractDomain
    parts: tuple[AbstractStatistic, ...]

    def __init__(self, parts: Sequence[AbstractStatistic]) -> None:
        if not parts:
            raise ValueError("parts: expected one kind of statistics or more, got none.")
        self.parts = tuple(parts)
        self.domain = parts[0].domain
        for part in self.parts[1:]:
            if part.domain != self.domain:
                raise ValueError(
                    f"parts: expected statistics of one domain, got {self.domain} and "
                    f"{part.domain}. Make all of them for the same maps."
                )
            if not _alike(part.cells, self.cells):
                raise ValueError(
                    "parts: expected statistics with the same weights, got different ones. Give "
                    "all of them the same."
                )
        seen: dict[Order, AbstractStatistic] = {}
        for part in self.parts:
            for table in part.layout.tables:
                order = table.order
                if order not in seen:
                    seen[order] = part
                    continue
                if order not in _SHARED:
                    raise ValueError(
                        f"parts: expected each order once, got {order.value} of "
                        f"{seen[order].layout.origin} and of {part.layout.origin}. Leave one out."
                    )

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _joined(tuple(part.layout for part in self.parts))

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return self.parts[0].cells

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        return self._once([part.moments(fields) for part in self.parts])

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        return self._once(
            [
                part.normalised(self._of(part, moments), self._of(part, reference))
                for part in self.parts
            ]
        )

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        told = (part.blind(self._of(part, reference)) for part in self.parts)
        return next((one for one in told if one), "")

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        first = self.parts[0]
        return first.powers(Statistics(self._of(first, reference.values), first.layout))

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        return self.parts[0].power_windows()

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        return self.parts[0].rest_windows()

    def masked(self, kept: Bool[np.ndarray, "..."]) -> Mixture:
        """See `AbstractStatistic`."""
        return Mixture(tuple(part.masked(kept) for part in self.parts))

    def _once(self, many: list[Moments]) -> Moments:
        """Moments of all parts, those of a shared order from the first that has it."""
        found: dict[Order, Array] = {}
        for part, moments in zip(self.parts, many, strict=True):
            for order, values in zip(part.layout.orders, moments, strict=True):
                found.setdefault(order, values)
        return tuple(found.values())

    def _of(self, part: AbstractStatistic, moments: Moments) -> Moments:
        """The moments of one part."""
        found = dict(zip(self.layout.orders, moments, strict=True))
        return tuple(found[order] for order in part.layout.orders)


def _alike(one: Array | None, two: Array | None) -> bool:
    if one is None or two is None:
        return one is two
    return np.array_equal(one, two)


@functools.lru_cache(maxsize=32)
def _joined(layouts: tuple[Layout, ...]) -> Layout:
    tables = {}
    for layout in layouts:
        for table in layout.tables:
            tables.setdefault(table.order, table)
    return Layout(tuple(tables.values()), " with ".join(layout.origin for layout in layouts))
