"""What a head sees of maps: numbers that a law gives or a network learns to give."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from skysift.inference.simulators import Observed

PRIOR_INFORMATION = 3.0
"""The inverse of the variance of places: they are uniform from -1 to 1."""


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


def covariance_root(
    information: Float[Array, "parameter parameter"],
) -> Float[Array, "parameter parameter"]:
    """Lower root of the covariance of places that have this information.

    The prior counts like a Gaussian of its width, where maps say nothing.

    Args:
        information: Fisher matrix of places, in the box from -1 to 1.
    """
    unit = jnp.eye(len(information), dtype=information.dtype)
    total = information + PRIOR_INFORMATION * unit
    upper = jnp.linalg.cholesky(total[::-1, ::-1])[::-1, ::-1]
    return jax.scipy.linalg.solve_triangular(upper, unit).T


class AbstractEstimate(AbstractSummary):
    """Numbers that begin with an estimate.

    Places of the parameters first, where the box of the prior goes from -1 to 1, then the lower
    root of their covariance by rows, then residuals.
    """

    @property
    def learns(self) -> bool:
        """No."""
        return False
