"""How much memory an experiment will take."""

from __future__ import annotations

from dataclasses import dataclass

from skysift.experiment.config import SimulateExperiment
from skysift.experiment.problem import Problem
from skysift.instrument import Instrument

_BASE = 600e6  # interpreter, JAX, compiled code and packaged templates
_NUMBER = 8


@dataclass(frozen=True)
class Memory:
    """Bytes by what takes them.

    Args:
        parts: bytes by description.
    """

    parts: dict[str, float]

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.parts.values())

    @staticmethod
    def of_simulation(experiment: SimulateExperiment) -> Memory:
        """Peak memory of a simulation: sky, noise and one copy, and the truth."""
        cells = 12 * experiment.nside**2
        instrument, stokes = Instrument.of(experiment.instrument), len(experiment.stokes)
        return Memory(
            {
                "program": _BASE,
                "maps, noise and their sum": 3.0 * len(instrument) * stokes * cells * _NUMBER,
                "components and parameters": 10.0 * stokes * cells * _NUMBER,
            }
        )

    @staticmethod
    def of_separation(problem: Problem) -> Memory:
        """Peak memory of a separation."""
        channels, stokes, cells = problem.maps.values.shape
        full = problem.maps.grid.npix
        free = sum(problem.patches.counts.values())
        components = len(problem.model.components)
        return Memory(
            {
                "program": _BASE,
                "maps as read": 1.0 * channels * stokes * full * _NUMBER,
                "maps, weights and residuals": 3.0 * channels * stokes * cells * _NUMBER,
                "amplitudes and covariance": components
                * (2 + components)
                * stokes
                * cells
                * _NUMBER,
                "patches and Hessian": 12.0 * len(problem.patches.counts) * cells * _NUMBER
                + 60.0 * free * _NUMBER,
            }
        )
