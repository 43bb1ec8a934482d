"""A satellite-like swath of noisy samples of a field with fine structure, of any length.

A whisk-broom radiometer on a sun-synchronous orbit: 16 detectors, 1000 pixels over 3060 km, lines
2.4 km apart below the satellite, footprints that grow and overlap towards the edges. It crosses
the date line and, from some millions of samples on, a pole. Cells of HEALPix level 11 have 1 to 4
samples. SWATH-1M is the first million. The module needs only NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 11
NOISE = 0.05
_RADIUS, _ALTITUDE, _HALF_WIDTH = 6371.0, 830.0, 1530.0  # km
_PIXELS, _DETECTORS, _SPACING = 1000, 16, 2.4  # of lines, km
_INCLINATION, _FIRST_PHASE, _NODE = np.radians([98.7, 20.0, 178.0])
_TURN = 0.07  # of the Earth during one orbit, in orbits
SIDE = np.sqrt(4.0 * np.pi / (12 * 4**LEVEL)) * _RADIUS  # of a cell [km]

Array = NDArray[np.float64]


def directions(samples: int) -> Array:
    """Unit vectors (samples, 3), in the order in which they are taken."""
    line, pixel = np.divmod(np.arange(samples), _PIXELS)
    scan, detector = np.divmod(line, _DETECTORS)
    ground = _HALF_WIDTH / _RADIUS
    widest = np.arctan2(_RADIUS * np.sin(ground), _RADIUS + _ALTITUDE - _RADIUS * np.cos(ground))
    angle = widest * (2.0 * (pixel + 0.5) / _PIXELS - 1.0)
    across = np.arcsin((1.0 + _ALTITUDE / _RADIUS) * np.sin(angle)) - angle
    slant = _RADIUS * np.sin(across) / np.sin(angle)
    along = (detector - 0.5 * (_DETECTORS - 1)) * _SPACING * slant / _ALTITUDE / _RADIUS
    phase = _FIRST_PHASE + scan * _DETECTORS * _SPACING / _RADIUS
    node = _NODE - _TURN * phase
    tilt = np.cos(_INCLINATION), np.sin(_INCLINATION)
    below, ahead = (
        _turned(c, s * tilt[0], s * tilt[1], node)
        for c, s in ((np.cos(phase), np.sin(phase)), (-np.sin(phase), np.cos(phase)))
    )
    points = np.cos(across)[:, None] * below + np.tan(along)[:, None] * ahead
    points += np.sin(across)[:, None] * np.cross(below, ahead)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _turned(x: Array, y: Array, z: Array, node: Array) -> Array:
    return np.stack(
        [x * np.cos(node) - y * np.sin(node), x * np.sin(node) + y * np.cos(node), z], axis=1
    )


def coordinates(points: Array) -> tuple[Array, Array]:
    """Longitudes and latitudes [degrees] on the sphere."""
    lon = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    return lon, np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))


@dataclass(frozen=True)
class Field:
    """Sum of plane waves: 8 of 3000 to 12000 km, and 12 of 5 to 10 cells with an rms of 0.3.

    Args:
        seed: of directions, lengths and phases.
    """

    seed: int = 4

    def __call__(self, points: Array, width: float = 0.0) -> Array:
        """The field, or as seen with a Gaussian of standard deviation `width` [km]."""
        rng = np.random.default_rng(self.seed)
        lengths = np.concatenate([rng.uniform(3e3, 12e3, 8), rng.uniform(5, 10, 12) * SIDE])
        heights = np.repeat([0.15, 0.3 * np.sqrt(2.0 / 12.0)], [8, 12])
        total = np.zeros(len(points))
        for length, height in zip(lengths, heights, strict=True):
            normal = rng.normal(size=3)
            up = points @ (normal / np.linalg.norm(normal))
            number = 2.0 * np.pi / length
            wave = np.sin(number * _RADIUS * up + rng.uniform(0.0, 2.0 * np.pi))
            # only the part of the wave vector along the surface is smoothed
            wave *= np.exp(-0.5 * (width * number) ** 2 * (1.0 - up**2))
            total += height * wave
        return total


def observe(points: Array, rows: int, seed: int = 1) -> NDArray[np.float32]:
    """Values (rows, samples): the field seen with the default beam of `psf`, and noise."""
    rng = np.random.default_rng(seed)
    seen = Field()(points, 0.5 * SIDE).astype(np.float32)
    values = rng.standard_normal((rows, len(points)), dtype=np.float32)
    values *= np.float32(NOISE)
    values += seen
    return values
