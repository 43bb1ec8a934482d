"""Figures of the Earth: authalic latitude, in which HEALPix cells have equal areas."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_HALVINGS = 56
_NODES = 256
_NEGLIGIBLE = 1e-16


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid of revolution, flattened at the poles.

    HEALPix divides a sphere into cells of equal area. On an ellipsoid the cells have equal areas
    when the division is made in authalic latitude, which is how the DGGS community (healpix-geo)
    defines HEALPix on WGS84.

    Args:
        name: as it appears in files.
        semi_major_m: equatorial radius [m].
        inverse_flattening: 1 / f = a / (a - b); infinite for a sphere.

    Raises:
        ValueError: for a radius that is not positive, or an inverse flattening below 2.

    References:
        Snyder 1987, USGS Professional Paper 1395, equations 3-11 and 3-12 (authalic latitude);
        Karney 2024, Survey Review 56, 165 (Fourier series of auxiliary latitudes).

    Examples:
        >>> round(WGS84.authalic_radius, 1)
        6371007.2
        >>> float(np.round(WGS84.authalic_latitude(45.0), 4))
        44.8717
    """

    name: str
    semi_major_m: float
    inverse_flattening: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.semi_major_m) and self.semi_major_m > 0.0):
            raise ValueError(
                f"semi_major_m: expected a positive length in metres, got {self.semi_major_m}. The "
                "Earth has 6378137."
            )
        if not self.inverse_flattening >= 2.0:
            raise ValueError(
                "inverse_flattening: expected at least 2, as 298.257 for the Earth, got "
                f"{self.inverse_flattening}. Use math.inf for a sphere."
            )

    @staticmethod
    def of(ellipsoid: Ellipsoid | str) -> Ellipsoid:
        """An ellipsoid by name (`"WGS84"`, `"GRS80"`, `"sphere"`, any case), or itself.

        Raises:
            ValueError: for a name that is not known.
        """
        if isinstance(ellipsoid, Ellipsoid):
            return ellipsoid
        for known in (SPHERE, WGS84, GRS80):
            if isinstance(ellipsoid, str) and ellipsoid.lower() == known.name.lower():
                return known
        raise ValueError(
            f"ellipsoid: expected 'WGS84', 'GRS80', 'sphere' or an Ellipsoid, got {ellipsoid!r}. "
            "Describe another figure as Ellipsoid(name, semi_major_m, inverse_flattening)."
        )

    @property
    def eccentricity_squared(self) -> float:
        """Square of the first eccentricity, f (2 - f)."""
        flattening = 1.0 / self.inverse_flattening
        return flattening * (2.0 - flattening)

    @functools.cached_property
    def authalic_radius(self) -> float:
        """Radius of the sphere with the same surface [m]."""
        return self.semi_major_m * math.sqrt(0.5 * float(self._area_function(np.array(1.0))))

    def authalic_latitude(self, lat: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Authalic latitude [degrees] of geodetic latitude [degrees]."""
        return np.degrees(_series(self._to_authalic, np.radians(lat)))

    def geodetic_latitude(self, authalic: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Geodetic latitude [degrees] of authalic latitude [degrees]."""
        return np.degrees(_series(self._to_geodetic, np.radians(authalic)))

    def positions(
        self, lon: Float[np.ndarray, "..."], lat: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "3 ..."]:
        """Cartesian positions on the surface [m], from geodetic coordinates [degrees]."""
        lon, lat = np.radians(lon), np.radians(lat)
        sine = np.sin(lat)
        normal = self.semi_major_m / np.sqrt(1.0 - self.eccentricity_squared * sine * sine)
        across = normal * np.cos(lat)
        return np.stack(
            [
                across * np.cos(lon),
                across * np.sin(lon),
                normal * (1.0 - self.eccentricity_squared) * sine,
            ]
        )

    @functools.cached_property
    def _to_authalic(self) -> Float[np.ndarray, " term"]:
        return _coefficients(self._exact_authalic)

    @functools.cached_property
    def _to_geodetic(self) -> Float[np.ndarray, " term"]:
        return _coefficients(self._exact_geodetic)

    def _area_function(self, sine: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Area between the equator and a latitude, over pi a^2 (Snyder 3-12)."""
        e2 = self.eccentricity_squared
        return (1.0 - e2) * (sine / (1.0 - e2 * sine * sine) + _artanh_over(e2, sine))

    def _exact_authalic(self, lat: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Closed form [rad]; the cosine comes from products that keep their digits at the poles."""
        sine = np.sin(lat)
        below = 2.0 * np.sin(0.5 * (0.5 * np.pi - lat)) ** 2  # 1 - sine
        above = 2.0 * np.sin(0.5 * (0.5 * np.pi + lat)) ** 2  # 1 + sine
        cosine = np.sqrt(self._to_pole(sine, below) * self._to_pole(-sine, above))
        return np.arctan2(self._area_function(sine), cosine)

    def _to_pole(
        self, sine: Float[np.ndarray, "..."], rest: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """Area between a latitude and the pole, with rest = 1 - sine."""
        e2 = self.eccentricity_squared
        return rest * (1.0 + e2 * sine) / (1.0 - e2 * sine * sine) + (1.0 - e2) * _artanh_over(
            e2, rest / (1.0 - e2 * sine)
        )

    def _exact_geodetic(self, authalic: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Inverse of the closed form by bisection [rad]."""
        low, high = np.full_like(authalic, -0.5 * np.pi), np.full_like(authalic, 0.5 * np.pi)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            beyond = self._exact_authalic(middle) > authalic
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return 0.5 * (low + high)


SPHERE = Ellipsoid("sphere", 6371007.180918474)
"""Sphere with the surface of WGS84."""

WGS84 = Ellipsoid("WGS84", 6378137.0, 298.257223563)
"""World Geodetic System 1984."""

GRS80 = Ellipsoid("GRS80", 6378137.0, 298.257222101)
"""Geodetic Reference System 1980."""


def _artanh_over(e2: float, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """artanh(e x) / e, also for e = 0."""
    eccentricity = math.sqrt(e2)
    return np.arctanh(eccentricity * x) / eccentricity if eccentricity > 0.0 else x


def _coefficients(function) -> Float[np.ndarray, " term"]:
    """Sine series of function(x) - x, which is odd and has period pi, to rounding."""
    x = np.pi * (np.arange(_NODES) / _NODES - 0.5)
    spectrum = -2.0 * np.fft.rfft(np.fft.ifftshift(function(x) - x)).imag[1:] / _NODES
    return spectrum[: np.argmax(np.abs(spectrum) < _NEGLIGIBLE)]


def _series(
    coefficients: Float[np.ndarray, " term"], x: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Sum of x and coefficients times sin(2 k x), by Clenshaw's recurrence."""
    if not coefficients.size:
        return x
    twice_cosine = 2.0 * np.cos(2.0 * x)
    now, before = np.zeros_like(x), np.zeros_like(x)
    for coefficient in coefficients[::-1]:
        now, before = coefficient + twice_cosine * now - before, now
    return x + now * np.sin(2.0 * x)
