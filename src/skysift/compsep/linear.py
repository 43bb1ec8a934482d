"""What a linear system of a Newton step is: a bounded step, the determinant, the inverse."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from skysift.compsep.structure import SymmetricMatrix

BOUND_PASSES = 8
"""How often a step is solved again after parameters hit a bound."""


@dataclass(frozen=True)
class Box:
    """What a step may do: how far each parameter can move, and which are free to.

    Args:
        low: distance to the lower bound (not positive).
        high: distance to the upper bound (not negative).
        free: parameters that move.
    """

    low: Float[np.ndarray, " parameter"]
    high: Float[np.ndarray, " parameter"]
    free: Bool[np.ndarray, " parameter"]


@dataclass(frozen=True)
class Step:
    """A step and the blocks whose matrix was positive definite (the step is zero in the others)."""

    change: Float[np.ndarray, " parameter"]
    positive: Bool[np.ndarray, " block"]


class AbstractSystem(abc.ABC):
    """Solves with matrices of one structure."""

    @abc.abstractmethod
    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        """Minimise g x + x H x / 2 within the box, parameters that hit a bound staying there."""

    @abc.abstractmethod
    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        """Entries of the inverse where the matrix has entries; NaN where not free or positive."""

    @abc.abstractmethod
    def log_determinant(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " block"]:
        """Natural logarithm of the determinant of each block's free part; NaN unless positive."""
