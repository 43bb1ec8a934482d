"""Whether a posterior says how sure it may be: where truths are among its draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.scattering.bayes.coordinates import Coordinates


@dataclass(frozen=True, eq=False)
class Coverage:
    """Ranks of the truths of mock data among draws of their posteriors.

    Args:
        ranks: part of the draws that are below the truth, uniform for a posterior that is right.
        truths: parameters.
        means: of the draws.
        coordinates: what the parameters are.
    """

    ranks: Float[np.ndarray, "mock parameter"]
    truths: Float[np.ndarray, "mock parameter"]
    means: Float[np.ndarray, "mock parameter"]
    coordinates: Coordinates

    def covered(self, level: float = 0.68) -> Float[np.ndarray, " parameter"]:
        """Part of the mocks for which the central interval of each parameter holds the truth.

        Args:
            level: of the interval.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        return self._held(level).mean(axis=0)

    def mean(self, level: float = 0.68) -> tuple[float, float]:
        """The same averaged over the parameters, and its standard error.

        Args:
            level: of the interval.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        each = self._held(level).mean(axis=1)
        # The parameters of one mock go together; mocks do not.
        return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))

    def _held(self, level: float) -> np.ndarray:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level: expected between 0 and 1, got {level}. Say level=0.68.")
        return np.abs(self.ranks - 0.5) <= 0.5 * level


def ranks_of(
    truths: Float[np.ndarray, "mock parameter"],
    draws: Callable[[int, np.random.Generator], Float[np.ndarray, "draw parameter"]],
    coordinates: Coordinates,
    rng: np.random.Generator,
) -> Coverage:
    """Ranks of truths.

    Args:
        truths: parameters of each mock.
        draws: of the posterior of a mock, by its number.
        coordinates: what the parameters are.
        rng: of the draws.
    """
    ranks, means = [], []
    for number, truth in enumerate(truths):
        found = draws(number, rng)
        ranks.append(np.mean(found < truth, axis=0))
        means.append(found.mean(axis=0))
    return Coverage(np.stack(ranks), truths, np.stack(means), coordinates)
