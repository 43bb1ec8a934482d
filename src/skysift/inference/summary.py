"""What a head sees of maps: numbers that a law gives or a network learns to give."""

from __future__ import annotations

import abc

import equinox as eqx
from jaxtyping import Array, Float

from skysift.inference.simulators import Observed


class AbstractSummary(eqx.Module):
    """Numbers of maps, from which a head tells the parameters."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many numbers there are of a map."""

    @property
    @abc.abstractmethod
    def learns(self) -> bool:
        """Whether its arrays are to be trained; numbers of a fixed one are computed only once."""

    @abc.abstractmethod
    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map.

        Args:
            observed: maps and masks.
        """


class AbstractEstimate(AbstractSummary):
    """Numbers that begin with an estimate.

    Places of the parameters first, where the box of the prior goes from -1 to 1, then the lower
    root of their covariance by rows, then residuals.
    """
