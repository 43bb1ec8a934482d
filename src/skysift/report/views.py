"""Parts of a report's data: plain arrays on the fitted cells."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class ParameterView:
    """A fitted spectral parameter.

    Args:
        name: for instance `beta_dust`.
        unit: empty for a pure number.
        values: estimate per patch.
        errors: standard deviation per patch, NaN at a bound or where unconstrained.
        labels: patch of each cell.
        at_bounds: number of patches whose estimate stands at a bound.
        unconstrained: number of patches about which the data say nothing.
        truth: input value per cell, if known.
    """

    name: str
    unit: str
    values: Float[np.ndarray, " patch"]
    errors: Float[np.ndarray, " patch"]
    labels: Int[np.ndarray, " cell"]
    at_bounds: int
    unconstrained: int
    truth: Float[np.ndarray, " cell"] | None = None

    def __post_init__(self) -> None:
        size = self.values.shape
        if self.values.ndim != 1 or self.errors.shape != size:
            raise ValueError(
                f"{self.name}: expected one value and one error per patch, got shapes {size} and "
                f"{self.errors.shape}."
            )
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < size[0]:
            raise ValueError(
                f"{self.name}_patch: expected labels from 0 to {size[0] - 1}, got "
                f"{self.labels.min()} to {self.labels.max()}. The labels belong to another result."
            )

    @property
    def title(self) -> str:
        """Name with unit, for axes."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def map(self) -> Float[np.ndarray, " cell"]:
        """Estimate of each cell."""
        return self.values[self.labels]

    @property
    def error_map(self) -> Float[np.ndarray, " cell"]:
        """Standard deviation of each cell's estimate."""
        return self.errors[self.labels]

    @property
    def cells_per_patch(self) -> Int[np.ndarray, " patch"]:
        """Number of cells of each patch."""
        return np.bincount(self.labels, minlength=self.values.size)

    @property
    def patch_truth(self) -> Float[np.ndarray, " patch"] | None:
        """Mean of the input value over each patch, if known."""
        if self.truth is None:
            return None
        total = np.bincount(self.labels, self.truth, minlength=self.values.size)
        return total / np.maximum(self.cells_per_patch, 1)

    @property
    def pulls(self) -> Float[np.ndarray, " patch"] | None:
        """(estimate - mean input) / error of the patches that have an error."""
        truth = self.patch_truth
        if truth is None:
            return None
        has_error = np.isfinite(self.errors) & (self.errors > 0)
        return (self.values - truth)[has_error] / self.errors[has_error]


@dataclass(frozen=True, eq=False)
class ComponentView:
    """Recovered amplitude maps of one component.

    Args:
        name: for instance `cmb`.
        unit: of the amplitude.
        reference: frequency at which the amplitude is the emission [GHz], or `None`.
        values: amplitude per Stokes parameter and cell.
        errors: its standard deviation.
        truth: input amplitude in the same unit at the same frequency, if known.
    """

    name: str
    unit: str
    reference: float | None
    values: Float[np.ndarray, "stokes cell"]
    errors: Float[np.ndarray, "stokes cell"]
    truth: Float[np.ndarray, "stokes cell"] | None = None

    @property
    def title(self) -> str:
        """Name with the frequency at which the amplitude counts."""
        name = self.name.upper() if self.name == "cmb" else self.name
        return f"{name} at {self.reference:g} GHz" if self.reference else name


@dataclass(frozen=True, eq=False)
class ResidualView:
    """Maps minus the fitted model in each channel.

    Args:
        channels: names.
        frequencies: [GHz].
        values: residual, NaN where the channel was not used [uK_CMB].
        noise: standard deviation of white noise of the instrument's depth in a cell [uK_CMB]; NaN
            where the instrument states no depth.
    """

    channels: tuple[str, ...]
    frequencies: Float[np.ndarray, " channel"]
    values: Float[np.ndarray, "channel stokes cell"]
    noise: Float[np.ndarray, "channel stokes"]

    @functools.cached_property
    def rms(self) -> Float[np.ndarray, "channel stokes"]:
        """Root mean square over the cells with data; NaN for a channel without."""
        # One channel at a time: the values of all may fill a good part of the memory.
        return np.stack([_rms(channel) for channel in self.values])


@dataclass(frozen=True, eq=False)
class HistoryView:
    """Convergence: one number per iteration, the first being the start.

    Args:
        objective: half the sum of squared weighted residuals.
        projected_gradient: its norm.
        seconds: time since the start of the solve.
    """

    objective: Float[np.ndarray, " iteration"]
    projected_gradient: Float[np.ndarray, " iteration"]
    seconds: Float[np.ndarray, " iteration"]

    @property
    def wall_time(self) -> float:
        """Seconds from the first to the last iteration; NaN without history."""
        return float(self.seconds[-1]) if self.seconds.size else math.nan


@dataclass(frozen=True)
class StatusView:
    """How the solver ended."""

    converged: bool
    objective: float
    projected_gradient_norm: float
    initial_gradient_norm: float
    iterations: int
    message: str

    @property
    def reduction(self) -> float:
        """Projected gradient over the gradient at the start."""
        start = self.initial_gradient_norm
        return self.projected_gradient_norm / start if start > 0 else self.projected_gradient_norm


def _rms(values: Float[np.ndarray, "stokes cell"]) -> Float[np.ndarray, " stokes"]:
    seen = np.isfinite(values)
    count = seen.sum(axis=-1)
    total = np.sum(np.where(seen, values, 0.0) ** 2, axis=-1)
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan)
