"""How much each measurement counts: inverse noise variances."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.instrument import Instrument
from skysift.maps import Maps
from skysift.sky.noise import noise_sigma

Weights = Float[np.ndarray, "channel #stokes #cell"]


class AbstractNoise(abc.ABC):
    """What a fit takes the noise to be: white, of any variance per channel, Stokes and cell."""

    @property
    @abc.abstractmethod
    def calibrated(self) -> bool:
        """Whether the weights are inverse variances: errors and chi squared then mean something."""

    @abc.abstractmethod
    def weights(self, maps: Maps, instrument: Instrument) -> Weights:
        """Inverse variances [1 / uK_CMB^2] of maps (channel, stokes, cell); zero: not observed."""


@dataclass(frozen=True, eq=False)
class InstrumentDepth(AbstractNoise):
    """Noise of the instrument's depth.

    Args:
        noise_ratio: factor on the standard deviation, larger than zero. Noiseless maps are fitted
            with the weights of the noise that is not there, so leave it at one for them.
        hits: observation counts, full sky in the maps' ordering: the depth is that of the cell most
            often hit, the variance goes as one over the hits; cells without hits do not count.

    Raises:
        ValueError: for a noise ratio that is not a positive number.
    """

    noise_ratio: float = 1.0
    hits: Float[np.ndarray, " npix"] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_ratio) and self.noise_ratio > 0):
            raise ValueError(
                f"noise_ratio: expected a positive number, got {self.noise_ratio!r}. Noiseless "
                "maps still need weights: keep the instrument's (1.0), or ask for UnitWeights()."
            )

    @property
    def calibrated(self) -> bool:
        """Yes."""
        return True

    def weights(self, maps: Maps, instrument: Instrument) -> Weights:
        """From `depth / cell side`, and hits."""
        sigma = noise_sigma(
            instrument, maps.grid, maps.stokes, noise_ratio=self.noise_ratio, hits=self.hits
        )
        if self.hits is None:
            return _shared_stokes(sigma[..., :1] ** -2.0)
        return _shared_stokes(np.where(np.isnan(sigma), 0.0, sigma**-2.0))


@dataclass(frozen=True)
class UnitWeights(AbstractNoise):
    """Every measurement counts the same: a variance of 1 uK_CMB^2, and errors to match."""

    @property
    def calibrated(self) -> bool:
        """No."""
        return False

    def weights(self, maps: Maps, instrument: Instrument) -> Weights:
        """Ones."""
        return np.ones((len(instrument), 1, 1))


@dataclass(frozen=True, eq=False)
class InverseVariance(AbstractNoise):
    """Inverse variances given as an array.

    Args:
        values: [1 / uK_CMB^2], `(channel,)`, `(channel, stokes)`, or `(channel, stokes, cell)`
            where axes may have length one; zero where not observed.
    """

    values: Float[np.ndarray, "..."]

    @property
    def calibrated(self) -> bool:
        """Yes."""
        return True

    def weights(self, maps: Maps, instrument: Instrument) -> Weights:
        """The array, checked."""
        values = np.asarray(self.values, dtype=float)
        shape = np.shape(maps.values)
        full = (
            values.reshape(values.shape + (1,) * (3 - values.ndim)) if values.ndim <= 3 else values
        )
        if full.ndim != 3 or any(a not in (1, b) for a, b in zip(full.shape, shape, strict=True)):
            raise ValueError(
                f"weights: expected shape ({shape[0]},), ({shape[0]}, {shape[1]}) or {shape}, got "
                f"{values.shape}. Give one inverse variance per channel, Stokes parameter and cell."
            )
        if not np.all(np.isfinite(full)) or np.any(full < 0):
            raise ValueError(
                "weights: expected finite values not below zero, got others. "
                "Use zero for what was not observed."
            )
        return np.broadcast_to(full, (shape[0], *full.shape[1:]))


def _shared_stokes(weights: Weights) -> Weights:
    """One Stokes axis where all Stokes parameters weigh the same, so that they share a matrix."""
    same = weights.shape[1] > 1 and np.array_equal(
        weights, np.broadcast_to(weights[:, :1], weights.shape)
    )
    return weights[:, :1] if same else weights
