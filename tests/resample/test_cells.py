"""Cells on the ellipsoid: against healpy, healpix-geo and geodesics."""

import healpy as hp
import numpy as np
import pytest

from skysift.grid import UNSEEN
from skysift.resample import SPHERE, WGS84, cells_of, centres, decode_zuniq, encode_zuniq
from skysift.resample.cells import cell_side_m, distance_m, positions

from ..oracles.geodesic import vincenty_m

LEVELS = [0, 1, 5, 17, 29]


def special_points():
    """Poles, corners and edges of base cells, the date line, centres and corners of cells."""
    lon = [0.0, 77.0, -180.0, 180.0, 540.0, 45.0, 45.0, -45.0, 0.0, 90.0, 360.0, -1e-300]
    lat = [90.0, -90.0, 12.0, 12.0, 12.0, 41.8103148957786, 0.0, -41.8, 0.0, 60.0, 0.0, 5.0]
    corners = hp.vec2ang(np.moveaxis(hp.boundaries(4, np.arange(192)), 1, 2), lonlat=True)
    middle = hp.pix2ang(8, np.arange(768), lonlat=True)
    return (
        np.concatenate([part, corner, at])
        for part, corner, at in zip((lon, lat), corners, middle, strict=True)
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("nest", [True, False])
def test_on_a_sphere_cells_are_healpys(level, nest):
    lon, lat = special_points()
    expected = hp.ang2pix(1 << level, lon, lat, nest=nest, lonlat=True)
    np.testing.assert_array_equal(cells_of(lon, lat, level, "sphere", nest=nest), expected)


def test_on_wgs84_cells_are_those_of_healpix_geo():
    lon = np.array([-4.5, 179.99999, 12.3456789, -75.0, 0.0, 33.0, 200.0])
    lat = np.array([48.4, -16.5, 89.99999, -89.5, -90.0, 66.4435, 41.937])
    # healpix_geo.nested.lonlat_to_healpix(lon, lat, 29, ellipsoid="WGS84"), version 0.4.1
    expected = [
        970081297526572149,
        1784286627959305075,
        288230376151706448,
        3170570242854756238,
        2305843009213693952,
        259330422997715009,
        762701916972036360,
    ]
    assert cells_of(lon, lat, 29).tolist() == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("ellipsoid", [SPHERE, WGS84])
@pytest.mark.parametrize("nest", [True, False])
def test_cells_hold_their_centres(level, ellipsoid, nest):
    cells = np.random.default_rng(1).integers(0, 12 << (2 * level), 500)
    cells[:2] = 0, (12 << (2 * level)) - 1
    lon, lat = centres(cells, level, ellipsoid, nest=nest)
    np.testing.assert_array_equal(cells_of(lon, lat, level, ellipsoid, nest=nest), cells)


def test_longitudes_of_any_branch_are_the_same():
    lon, lat = np.linspace(-180, 180, 50, endpoint=False), np.linspace(-90, 90, 50)
    for turn in (-360.0, 360.0):
        np.testing.assert_array_equal(cells_of(lon + turn, lat, 6), cells_of(lon, lat, 6))


def test_cells_have_equal_areas_on_the_ellipsoid():
    number = np.arange(600_000)
    lat = (number + 0.5) / number.size * 180.0 - 90.0
    lon = 360.0 * (number * 0.6180339887498949 % 1.0)  # golden section: even, and no lattice
    sine = np.sin(np.radians(lat))
    area = np.cos(np.radians(lat)) / (1.0 - WGS84.eccentricity_squared * sine**2) ** 2

    def spread(ellipsoid):
        sums = np.bincount(cells_of(lon, lat, 1, ellipsoid), area, 48)
        return np.ptp(sums) / sums.mean()

    assert spread(WGS84) < 2e-3
    assert spread("sphere") > 5e-3  # geodetic latitudes taken as those of a sphere


@pytest.mark.parametrize("lat", [0.0, 45.0, 89.0])
@pytest.mark.parametrize("step", [1e-4, 0.01, 1.0])
def test_distances_are_those_of_geodesics(lat, step):
    for to in ((20.0 + step, lat), (20.0, lat - step), (20.0 - step, lat + 0.7 * step)):
        expected = vincenty_m(20.0, lat, *to, WGS84.semi_major_m, WGS84.inverse_flattening)
        ends = (WGS84.positions(*np.array(point)) for point in ((20.0, lat), to))
        assert float(distance_m(*ends)) == pytest.approx(expected, rel=2e-6, abs=1e-6)


def test_distances_keep_their_digits_between_the_finest_cells():
    """Adjacent cells of level 29, 12 mm apart, where arccos of a product is all rounding."""
    cell = cells_of(np.array([33.0]), np.array([52.0]), 29)
    near = hp.get_all_neighbours(1 << 29, cell, nest=True).ravel()
    distance = distance_m(positions(cell, 29), positions(near, 29))
    side = cell_side_m(29)
    edges = distance[[0, 2, 4, 6]]
    np.testing.assert_allclose(edges[:2], edges[2:], rtol=1e-3)  # opposite neighbours
    assert np.all((edges > 0.8 * side) & (edges < 1.3 * side))


def test_distance_of_antipodes_is_half_the_circumference():
    ends = SPHERE.positions(np.array([0.0, 180.0]), np.array([30.0, -30.0]))
    distance = distance_m(ends[:, 0], ends[:, 1], SPHERE)
    assert float(distance) == pytest.approx(np.pi * SPHERE.authalic_radius, rel=1e-7)


def test_zuniq_numbers_carry_the_level_and_keep_the_order():
    rng = np.random.default_rng(2)
    numbers = {}
    for level in range(30):
        cells = np.sort(rng.integers(0, 12 << (2 * level), 50))
        cells[[0, -1]] = 0, (12 << (2 * level)) - 1
        numbers[level] = encode_zuniq(cells, level)
        found, levels = decode_zuniq(numbers[level])
        np.testing.assert_array_equal(found, cells)
        assert set(levels) == {level}
        assert np.all(np.diff(numbers[level]) >= 0)
    # A cell's number lies between those of its children.
    children = encode_zuniq(np.array([[4 * 7, 4 * 7 + 1], [4 * 7 + 2, 4 * 7 + 3]]), 4)
    parent = encode_zuniq(np.array(7), 3)
    assert np.all(children[0] < parent)
    assert np.all(parent < children[1])


def test_points_of_level_29_come_back_within_millimetres():
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(-180, 180, 100), rng.uniform(-90, 90, 100)
    cells, levels = decode_zuniq(encode_zuniq(cells_of(lon, lat, 29), 29))
    assert np.all(levels == 29)
    away = distance_m(positions(cells, 29), WGS84.positions(lon, lat))
    assert np.all(away < 0.02)


@pytest.mark.parametrize("numbers", [[0], [-4], [2], [1 << 59, 3 << 60], [1.5]])
def test_what_is_not_zuniq_is_refused(numbers):
    with pytest.raises(ValueError, match="numbers: expected"):
        decode_zuniq(np.array(numbers))


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        ([0.0, np.nan, np.inf], [0.0, 1.0, 2.0], r"lon: .*got nan at index 1 \(2 such values\)"),
        ([0.0, 1.0], [0.0, np.nan], "lat: expected finite degrees, got nan at index 1"),
        ([0.0, 1.0, 2.0], [0.0, -90.5, 91.0], r"lat: expected degrees from -90.*-90.5 at index 1"),
        ([0.0, 1.0], [0.0], "lat: expected 2 values as lon has, got 1"),
        (
            [0.0, -9999.0],
            [0.0, 1.0],
            "lon: expected degrees from -720 to 720, got -9999.0 at index 1",
        ),
        ([UNSEEN], [0.0], "lon: expected degrees from -720 to 720.*modulo 360"),
        ([[0.0]], [[0.0]], r"lon: expected a vector.*shape \(1, 1\).*ravel"),
        (["a"], [0.0], "lon: expected a vector of real numbers"),
        ([1j], [0.0], "lon: expected a vector of real numbers"),
        (np.ma.masked_equal([0.0, 999.0], 999.0), [0.0, 0.0], "lon: .*got nan at index 1"),
    ],
)
def test_bad_coordinates_are_named(lon, lat, message):
    lon = lon if isinstance(lon, np.ma.MaskedArray) else np.array(lon)
    with pytest.raises(ValueError, match=message):
        cells_of(lon, np.array(lat), 3)


@pytest.mark.parametrize("level", [-1, 30, 2.0, True, "3"])
def test_levels_out_of_range_are_refused(level):
    with pytest.raises(ValueError, match=r"level: expected.*0 to 29, got"):
        cells_of(np.zeros(1), np.zeros(1), level)


@pytest.mark.parametrize("function", [centres, encode_zuniq])
def test_numbers_of_other_levels_are_refused(function):
    with pytest.raises(ValueError, match="cells: expected numbers from 0 to 47.*got 48 at index 1"):
        function(np.array([0, 48]), 1)
    with pytest.raises(ValueError, match="cells: expected integer cell numbers, got float64"):
        function(np.array([0.5]), 1)
    with pytest.raises(ValueError, match="cells: expected integer cell numbers.*Drop masked ones"):
        function(np.ma.masked_equal([0, 3], 3), 1)


def test_no_points_have_no_cells():
    assert cells_of(np.zeros(0), np.zeros(0), 3).size == 0
