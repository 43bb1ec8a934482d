"""How much memory an experiment will take.

Against the peak measured on a CPU (LiteBIRD, Q and U): simulations 0.49 GB for 0.48 GB at nside 64
and 1.14 for 1.06 at nside 256; separations 0.87 for 0.92 at nside 64 on a fifth of the sky, and 2.1
for 1.9 at nside 256 on the full sky. Syntheses in single precision: 1.61 GB for 1.38 (covariance)
and 1.61 (phase harmonics) on a plane of 512 x 512 cells, 0.99 for 0.98 at nside 64.
"""

from __future__ import annotations

from dataclasses import dataclass

from skysift.experiment.config import SimulateExperiment
from skysift.experiment.problem import Problem, channels_of_simulation

_SIMULATE = 450e6  # interpreter, JAX and packaged templates
_SEPARATE = 850e6  # the same with compiled code and the figures of the report
_SCATTER = 880e6  # the same with compiled statistics
_PER_CELL = 150  # numbers of an orientation, of its products, and of their gradients
_PER_CELL_OF_SPHERE = 480
_MEASURES = 50.0  # bands and levels
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
        """Peak memory of a simulation: sky, noise and one copy, and the truth.

        Raises:
            ValueError: for an experiment that cannot be done.
        """
        cells = 12 * experiment.nside**2
        channels, stokes = len(channels_of_simulation(experiment)), len(experiment.stokes)
        return Memory(
            {
                "program": _SIMULATE,
                "maps, noise and their sum": 3.0 * channels * stokes * cells * _NUMBER,
                "components and parameters": 10.0 * stokes * cells * _NUMBER,
            }
        )

    @staticmethod
    def of_scattering(size: int, channels: int, orientations: int | None, width: int) -> Memory:
        """Peak memory of scattering statistics, and of samples, which are made one by one.

        Args:
            size: cells of a map, with the margin of open edges.
            channels: maps that are seen together.
            orientations: of the wavelets; `None` on the sphere.
            width: bytes of a number.
        """
        numbers = _PER_CELL_OF_SPHERE if orientations is None else _PER_CELL * orientations
        return Memory(
            {
                "program": _SCATTER,
                "maps and their measures": _MEASURES * size * channels * _NUMBER,
                "wavelet coefficients and gradients": float(numbers * size * channels * width),
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
                "program": _SEPARATE,
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
