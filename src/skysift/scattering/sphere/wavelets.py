"""Wavelets of the sphere, as profiles in multipole and in direction."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class AbstractSphereWavelet(abc.ABC):
    """A family of directional wavelets of dyadic scales on the sphere.

    Args:
        order: largest harmonic of the directional profile: the larger, the narrower it can be.
    """

    order: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 16:
            raise ValueError(
                f"order: expected 1 to 16, got {self.order}. Say order=4 for wavelets 60 degrees "
                "wide in angle."
            )

    @abc.abstractmethod
    def radial(self, octaves: Float[np.ndarray, " ell"]) -> Float[np.ndarray, " ell"]:
        """Window of a scale.

        Args:
            octaves: `log2(l / l_j)` of multipoles, less than 1 from the centre `l_j` of the scale.
        """

    @abc.abstractmethod
    def angular(self) -> Float[np.ndarray, " harmonic"]:
        """Harmonics 0 to `order` of the profile `c_0 + 2 sum of c_n cos(n chi)` in direction."""


@dataclass(frozen=True)
class Steerable(AbstractSphereWavelet):
    """A cosine in octaves, whose squares add to 1, and a power of a cosine in direction.

    The window is `cos(pi/2 octaves)`, the directional profile `cos^(2 order)(chi / 2)` with
    `c_n = binomial(2 order, order + n)`, which has no opposite lobe (McEwen et al. 2018, Applied
    and Computational Harmonic Analysis 44, 59, on directional wavelets of the sphere).
    """

    def radial(self, octaves: Float[np.ndarray, " ell"]) -> Float[np.ndarray, " ell"]:
        """See `AbstractSphereWavelet`."""
        return np.cos(0.5 * np.pi * octaves)

    def angular(self) -> Float[np.ndarray, " harmonic"]:
        """See `AbstractSphereWavelet`."""
        order = self.order
        return np.array([float(math.comb(2 * order, order + n)) for n in range(order + 1)])
