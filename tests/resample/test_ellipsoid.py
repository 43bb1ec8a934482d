"""Ellipsoids: authalic latitude against areas by quadrature."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from skysift.resample import GRS80, SPHERE, WGS84, Ellipsoid

SATURN = Ellipsoid("Saturn", 60268000.0, 10.2)
FLAT = Ellipsoid("flat", 1.0, 2.0)


def area(ellipsoid, low, high):
    """Area of a zone per radian of longitude, from the radii of curvature."""
    e2 = ellipsoid.eccentricity_squared

    def ring(lat):
        return math.cos(lat) * (1.0 - e2) / (1.0 - e2 * math.sin(lat) ** 2) ** 2

    return ellipsoid.semi_major_m**2 * quad(ring, low, high, epsabs=0.0, epsrel=1e-13)[0]


@pytest.mark.parametrize("ellipsoid", [SPHERE, WGS84, GRS80, SATURN, FLAT])
def test_authalic_radius_gives_the_surface(ellipsoid):
    surface = 4.0 * math.pi * area(ellipsoid, 0.0, 0.5 * math.pi)
    assert 4.0 * math.pi * ellipsoid.authalic_radius**2 == pytest.approx(surface, rel=1e-13)


def test_sphere_has_the_surface_of_wgs84():
    assert WGS84.authalic_radius == pytest.approx(SPHERE.authalic_radius, rel=1e-15)
    assert GRS80.authalic_radius == pytest.approx(6371007.180, abs=1e-3)  # Moritz 2000


@pytest.mark.parametrize("ellipsoid", [WGS84, SATURN, FLAT])
@pytest.mark.parametrize("lat", [1e-9, 0.3, 27.0, 45.0, 80.0])
def test_authalic_latitude_divides_areas_as_on_a_sphere(ellipsoid, lat):
    wanted = area(ellipsoid, 0.0, math.radians(lat)) / ellipsoid.authalic_radius**2
    sine = math.sin(math.radians(float(ellipsoid.authalic_latitude(lat))))
    assert sine == pytest.approx(wanted, rel=1e-13)
    assert float(ellipsoid.authalic_latitude(-lat)) == -float(ellipsoid.authalic_latitude(lat))


@pytest.mark.parametrize("ellipsoid", [WGS84, SATURN])
@pytest.mark.parametrize("below", [1e-7, 1e-3, 1.0])
def test_authalic_latitude_keeps_its_digits_at_the_pole(ellipsoid, below):
    cap = area(ellipsoid, math.radians(90.0 - below), 0.5 * math.pi)
    colatitude = 2.0 * math.asin(math.sqrt(0.5 * cap) / ellipsoid.authalic_radius)
    found = 90.0 - float(ellipsoid.authalic_latitude(90.0 - below))
    assert found == pytest.approx(math.degrees(colatitude), abs=3e-14)


@pytest.mark.parametrize("ellipsoid", [SPHERE, WGS84, GRS80, SATURN, FLAT])
def test_series_agree_with_the_closed_form_and_with_each_other(ellipsoid):
    lat = np.linspace(-90.0, 90.0, 7001)
    authalic = ellipsoid.authalic_latitude(lat)
    exact = ellipsoid._exact_authalic(np.radians(lat))
    np.testing.assert_allclose(np.radians(authalic), exact, atol=1e-14)
    np.testing.assert_allclose(ellipsoid.geodetic_latitude(authalic), lat, atol=1e-12)
    np.testing.assert_allclose(authalic[[0, 3500, -1]], [-90.0, 0.0, 90.0], atol=1e-13)
    assert np.all(np.diff(authalic) > 0.0)


def test_latitudes_of_a_sphere_are_unchanged():
    lat = np.linspace(-90.0, 90.0, 101)
    np.testing.assert_allclose(SPHERE.authalic_latitude(lat), lat, rtol=1e-15)


def test_positions_lie_on_the_ellipsoid_with_the_normal_of_their_latitude():
    lon, lat = np.array([10.0, -170.0, 80.0]), np.array([0.0, 45.0, -89.9])
    x, y, z = WGS84.positions(lon, lat)
    polar = WGS84.semi_major_m * (1.0 - 1.0 / WGS84.inverse_flattening)
    np.testing.assert_allclose((x * x + y * y) / WGS84.semi_major_m**2 + (z / polar) ** 2, 1.0)
    slope = z / polar**2 / (np.hypot(x, y) / WGS84.semi_major_m**2)
    np.testing.assert_allclose(np.degrees(np.arctan(slope)), lat, rtol=1e-12)
    np.testing.assert_allclose(np.degrees(np.arctan2(y, x)), lon)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 300.0), "semi_major_m: expected a positive length"),
        ((math.nan, 300.0), "semi_major_m: expected a positive length"),
        ((6e6, 1.9), "inverse_flattening: expected at least 2.*math.inf"),
        ((6e6, math.nan), "inverse_flattening: expected at least 2"),
    ],
)
def test_impossible_figures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Ellipsoid("wrong", *arguments)


def test_ellipsoids_are_found_by_name():
    assert Ellipsoid.of("wgs84") is WGS84
    assert Ellipsoid.of("sphere") is SPHERE
    assert Ellipsoid.of(SATURN) is SATURN
    for wrong in ("mars", 6371000.0):
        with pytest.raises(ValueError, match=r"ellipsoid: expected 'WGS84'.*got"):
            Ellipsoid.of(wrong)
