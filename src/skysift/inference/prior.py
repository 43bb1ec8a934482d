"""Parameters that are looked for, and where they may be."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray


@dataclass(frozen=True)
class Parameter:
    """A number that maps depend on.

    Args:
        name: as in tables, for instance `tau`.
        low: least value.
        high: largest value.
        unit: of the values, empty for none.

    Raises:
        ValueError: for bounds that are not finite, or not in this order.
    """

    name: str
    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"{self.name}: expected finite bounds, low below high, got {self.low!r} and "
                f"{self.high!r}. Exchange them, or leave the parameter out."
            )


@dataclass(frozen=True)
class Prior:
    """Independent parameters, each uniform between its bounds.

    Args:
        parameters: in the order of the last axis of all arrays of them.

    Raises:
        ValueError: for no parameters, or two of one name.

    Examples:
        >>> prior = Prior((Parameter("tau", 0.03, 0.08),))
        >>> prior.sample(jax.random.key(0), 5).shape
        (5, 1)
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        if not self.parameters or len(set(self.names)) < len(self.names):
            raise ValueError(
                f"parameters: expected one or more of different names, got {self.names}. Name each "
                "once."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(one.name for one in self.parameters)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    @property
    def low(self) -> Float[np.ndarray, " parameter"]:
        """Least values."""
        return np.array([one.low for one in self.parameters])

    @property
    def high(self) -> Float[np.ndarray, " parameter"]:
        """Largest values."""
        return np.array([one.high for one in self.parameters])

    @property
    def deviation(self) -> Float[np.ndarray, " parameter"]:
        """Standard deviations."""
        return (self.high - self.low) / math.sqrt(12.0)

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "sample parameter"]:
        """Independent draws in double precision.

        Args:
            key: of the random numbers.
            count: how many.
        """
        return self.scaled_back(jax.random.uniform(key, (count, self.size), float))

    def scaled_back(self, unit: Float[Array, "... parameter"]) -> Float[Array, "... parameter"]:
        """Parameters of numbers between 0 and 1."""
        return jnp.asarray(self.low) + jnp.asarray(self.high - self.low) * unit

    def at(self, places: Any) -> Any:
        """Parameters of places, of which those from -1 to 1 fill the prior.

        Args:
            places: `(..., parameter)`, NumPy or JAX.
        """
        return self.low + 0.5 * (self.high - self.low) * (places + 1.0)

    def places(self, parameters: Any) -> Any:
        """The inverse of `at`.

        Args:
            parameters: `(..., parameter)`, NumPy or JAX, in their units.
        """
        return 2.0 * (parameters - self.low) / (self.high - self.low) - 1.0

    def grid(self, count: int) -> Float[np.ndarray, "place parameter"]:
        """Places in the middles of as many equal parts along each parameter.

        Args:
            count: of parts, 1 or more.
        """
        axis = (2.0 * np.arange(count) + 1.0) / count - 1.0
        return np.array(list(itertools.product(axis, repeat=self.size)))

    def holds(
        self, parameters: Float[np.ndarray | Array, "... parameter"]
    ) -> Bool[np.ndarray, "..."]:
        """Whether each set of parameters is finite and between the bounds, which belong to it."""
        values = np.asarray(parameters, dtype=float)
        # Single precision rounds bounds outwards.
        slack = 1e-6 * (self.high - self.low)
        return np.all((values >= self.low - slack) & (values <= self.high + slack), axis=-1)

    def relative(
        self, off: Float[np.ndarray, "map parameter"], truths: Float[np.ndarray, "map parameter"]
    ) -> Float[np.ndarray, "map parameter"]:
        """|off| / truth [%]; infinite for parameters that may be zero.

        Args:
            off: errors.
            truths: of the parameters.
        """
        safe = np.where(self.low > 0.0, truths, 1.0)
        return np.where(self.low > 0.0, 100.0 * np.abs(off) / safe, np.inf)

    def check(self, parameters: Float[np.ndarray | Array, "... parameter"]) -> None:
        """Refuse parameters that are not here.

        Raises:
            ValueError: for another number of parameters, or some outside the bounds or NaN.
        """
        shape = np.shape(parameters)
        if not shape or shape[-1] != self.size:
            raise ValueError(
                f"parameters: expected shape (..., {self.size}) of {', '.join(self.names)}, got "
                f"{shape}. Give a value of each."
            )
        inside = self.holds(parameters)
        if not inside.all():
            first = np.asarray(parameters, dtype=float)[~inside][0]
            bounds = ", ".join(f"{one.name} {one.low:g} to {one.high:g}" for one in self.parameters)
            raise ValueError(
                f"parameters: expected {bounds}, got {np.count_nonzero(~inside)} sets outside, the "
                f"first {first.tolist()}. Choose others, or a wider prior."
            )
