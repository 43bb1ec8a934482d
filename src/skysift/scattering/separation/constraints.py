"""What a separated signal has to satisfy."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from skysift.scattering.layout import Order
from skysift.scattering.statistic import AbstractStatistic


@dataclass(frozen=True, eq=False)
class AbstractConstraint(abc.ABC):
    """One thing that a signal s, or what is left of the data d without it, has to satisfy.

    Args:
        statistic: to compare; `None` for that of the separation.
        weight: how much the constraint counts beside the others.
        emphasis: how much an order of the statistics counts beside the others, 1 unless given.
    """

    statistic: AbstractStatistic | None = None
    weight: float = 1.0
    emphasis: Mapping[Order, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Under which its loss is told."""


def _require_weight(weight: float) -> None:
    if not 0.0 < weight < np.inf:
        raise ValueError(f"weight: expected more than 0, got {weight}. Leave the constraint out.")


@dataclass(frozen=True, eq=False)
class Total(AbstractConstraint):
    """Signal plus contamination look like the data: `<Phi(s + c_i)> = Phi(d)`.

    Régaldo-Saint Blancard et al. (2021, A&A 649, L18); with the statistics of regions, a local
    constraint in each of them.
    """

    @property
    def name(self) -> str:
        """See `AbstractConstraint`."""
        return "total"


@dataclass(frozen=True, eq=False)
class Remainder(AbstractConstraint):
    """What is left of the data looks like the contamination: `Phi(d - s) = <Phi(c_i)>`.

    Auclair et al. (2024, A&A 681, A1).
    """

    @property
    def name(self) -> str:
        """See `AbstractConstraint`."""
        return "remainder"


@dataclass(frozen=True, eq=False)
class Halves(AbstractConstraint):
    """Two observations with contaminations of their own: `<Phi(s + c1_i, s + c2_i)> = Phi(d1, d2)`.

    Delouis et al. (2022, A&A 668, A122). Needs a statistic of twice the channels.
    """

    @property
    def name(self) -> str:
        """See `AbstractConstraint`."""
        return "halves"


@dataclass(frozen=True, eq=False)
class Ancillary(AbstractConstraint):
    """Signal and another map T belong together: `<Phi(s + c_i, T)> = Phi(d, T)`.

    Delouis et al. (2022, A&A 668, A122). Needs a statistic of the channels of both.

    Args:
        map: the other map, on the grid of the data, with an axis for its channels if several.
        label: told with the loss.
    """

    map: Float[np.ndarray, "..."] | None = None
    label: str = "ancillary"

    def __post_init__(self) -> None:
        _require_weight(self.weight)
        if self.map is None:
            raise ValueError("map: expected another map of the sky, got None. Give it.")

    @property
    def name(self) -> str:
        """See `AbstractConstraint`."""
        return self.label


@dataclass(frozen=True, eq=False)
class Independent(AbstractConstraint):
    """Signal and contamination do not know of each other: `<Phi(s + c_i, s)> = Phi(d, s)`.

    Needs a statistic of twice the channels.
    """

    @property
    def name(self) -> str:
        """See `AbstractConstraint`."""
        return "independent"


@dataclass(frozen=True, eq=False)
class Positive:
    """The signal is not negative.

    Args:
        deviation: what negative values may be, rms over all cells, in the units of the map.
        weight: how much the constraint counts beside the others.
    """

    deviation: float
    weight: float = 1.0

    name = "positive"

    def __post_init__(self) -> None:
        _require_weight(self.weight)
        if not 0.0 < self.deviation < np.inf:
            raise ValueError(
                f"deviation: expected more than 0, got {self.deviation}. Say the noise of a cell."
            )


@dataclass(frozen=True, eq=False)
class LargeScales:
    """The signal is the data at the largest scales, exactly.

    Args:
        below: multipole on the sphere, number of waves across the longest side of a flat grid.
    """

    below: float

    name = "large scales"

    def __post_init__(self) -> None:
        if not 0.0 < self.below < np.inf:
            raise ValueError(
                f"below: expected more than 0, got {self.below}. Leave the constraint out."
            )


Constraint = AbstractConstraint | Positive | LargeScales
