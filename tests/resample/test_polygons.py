import healpy as hp
import numpy as np
import pytest

from skysift.resample.lattice import Loops, coverage
from skysift.resample.polygons import Defect, Edges, overlaps

from ..oracles.overlap import overlap, spherical_area

CELL = np.pi / 3.0


def vectors(lon, lat):
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def angles(points):
    return np.arctan2(points[..., 1], points[..., 0]), np.arctan2(
        points[..., 2], np.hypot(points[..., 0], points[..., 1])
    )


def regular_grid(rows, columns, start=-3.0):
    lon = start + np.linspace(0.0, 2.0 * np.pi, columns + 1)
    lat = np.linspace(-np.pi / 2.0, np.pi / 2.0, rows + 1)
    west, south = np.meshgrid(lon[:-1], lat[:-1])
    east, north = np.meshgrid(lon[1:], lat[1:])
    corner_lon = np.stack([west, east, east, west], axis=-1).reshape(-1, 4)
    return corner_lon, np.stack([south, south, north, north], axis=-1).reshape(-1, 4)


def turned(lon, lat, seed):
    """Footprints turned so that poles and seams lie anywhere in them."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return angles(vectors(lon, lat) @ rotation)


def around(lon, lat, size, seed, count=1):
    """Convex quadrilaterals of great circles about points."""
    random = np.random.default_rng(seed)
    middle = vectors(np.full(count, lon), np.full(count, lat))
    east = np.cross(middle, random.normal(size=(count, 3)))
    east /= np.linalg.norm(east, axis=-1, keepdims=True)
    north = np.cross(middle, east)
    shift = (
        size
        * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        * random.uniform(0.35, 0.65, (count, 4, 2))
    )
    points = middle[:, None] + shift[..., :1] * east[:, None] + shift[..., 1:] * north[:, None]
    return angles(points)


def areas(found):
    """Area of each footprint [sr]."""
    return np.bincount(found.footprint, found.area, minlength=found.defects.size)


@pytest.mark.parametrize(("rows", "columns", "level"), [(18, 36, 3), (7, 11, 4), (45, 90, 1)])
def test_regular_grid_is_exact(rows, columns, level):
    lon, lat = regular_grid(rows, columns)
    found = overlaps(lon, lat, level, Edges.LONLAT)
    exact = (lon[:, 1] - lon[:, 0]) * (np.sin(lat[:, 2]) - np.sin(lat[:, 0]))
    np.testing.assert_allclose(areas(found), exact, rtol=1e-12)
    covered = np.bincount(found.cell, found.area, minlength=12 * 4**level)
    np.testing.assert_allclose(covered, CELL / 4**level, rtol=1e-13)
    assert np.all(found.defects == Defect.NONE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [0, 2, 4])
def test_footprints_that_tile_the_sphere_cover_every_cell_once(seed, level):
    lon, lat = turned(*regular_grid(9, 14), seed)
    found = overlaps(lon, lat, level)
    covered = np.bincount(found.cell, found.area, minlength=12 * 4**level)
    np.testing.assert_allclose(covered, CELL / 4**level, rtol=1e-12)
    assert found.area.sum() == pytest.approx(4.0 * np.pi, rel=1e-14)


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        (0.3, 0.4),
        (1.0, np.pi / 2.0),
        (2.0, -np.pi / 2.0 + 0.02),
        (np.pi, 0.1),
        (np.pi / 2.0, np.arcsin(2.0 / 3.0)),
        (-np.pi / 4.0, 0.0),
        (np.pi, -1.0),
        (np.pi / 4.0, -np.arcsin(2.0 / 3.0)),
    ],
    ids=["belt", "pole", "near pole", "date line", "corner", "corner 2", "seam", "cap"],
)
@pytest.mark.parametrize("size", [0.03, 0.3])
def test_agrees_with_clipping_on_the_sphere(lon, lat, size):
    level = 3
    corner_lon, corner_lat = around(lon, lat, size, seed=5)
    found = overlaps(corner_lon, corner_lat, level, tolerance=1e-6)
    corners = vectors(corner_lon[0], corner_lat[0])
    middle = corners.sum(axis=0)
    near = hp.query_disc(2**level, middle, 2.0 * size, inclusive=True, nest=True)
    expected = np.array([overlap(corners, cell, level) for cell in near])
    ours = np.zeros(12 * 4**level)
    ours[found.cell] = found.area
    assert np.count_nonzero(expected) > 0
    np.testing.assert_allclose(ours[near], expected, atol=2e-5 * size**2)
    assert ours.sum() == pytest.approx(ours[near].sum())


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("size", [0.01, 0.1])
def test_area_is_within_the_tolerance(size, tolerance):
    random = np.random.default_rng(3)
    places = zip(random.uniform(0, 6.28, 200), np.arcsin(random.uniform(-1, 1, 200)), strict=True)
    quads = [around(*place, size, seed) for seed, place in enumerate(places)]
    lon, lat = (np.concatenate(part) for part in zip(*quads, strict=True))
    exact = np.abs([spherical_area(corners) for corners in vectors(lon, lat)])
    found = areas(overlaps(lon, lat, 5, tolerance=tolerance)) / exact - 1.0
    assert np.abs(found).max() < 3.0 * tolerance
    assert np.abs(found).max() > 1e-9


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("lat", [0.0, 0.7, 1.4, 1.52])
def test_edges_that_are_slanted_in_latitude(lat, tolerance):
    random = np.random.default_rng(2)
    lon = random.uniform(0, 6.28, (50, 1)) + np.array([0.0, 0.05, 0.06, 0.01])
    lat = lat + np.array([0.0, 0.01, 0.04, 0.03]) + np.zeros((50, 1))
    found = overlaps(lon, lat, 5, Edges.LONLAT, tolerance)
    # Green's theorem: the area is the integral of -sin(latitude) over longitude.
    east, after = np.diff(lon, axis=1, append=lon[:, :1]), np.roll(lat, -1, axis=1)
    exact = np.abs(np.sum(east * (np.cos(after) - np.cos(lat)) / (after - lat), axis=1))
    error = np.abs(areas(found) / exact - 1.0)
    assert error.max() < 3.0 * tolerance


@pytest.mark.parametrize("edges", list(Edges))
def test_skewed_nodes_tile_what_they_enclose(edges):
    along, across = np.meshgrid(np.arange(31.0), np.arange(41.0), indexing="ij")
    lat = np.radians(35.0 + 0.8 * along + 0.3 * across)
    lon = np.radians(170.0 + 1.1 * across - 0.5 * along)
    parts = [
        np.stack([n[:-1, :-1], n[:-1, 1:], n[1:, 1:], n[1:, :-1]], axis=-1).reshape(-1, 4)
        for n in (lon, lat)
    ]
    found = overlaps(*parts, 5, edges)
    covered = np.bincount(found.cell, found.area) / (CELL / 4**5)
    assert covered.max() < 1.0 + 1e-12
    assert np.count_nonzero(np.abs(covered - 1.0) < 1e-12) > 100


def test_direction_and_first_corner_do_not_matter():
    lon, lat = around(0.8, 0.7, 0.2, seed=1)
    one = overlaps(lon, lat, 4)
    for order in ([3, 2, 1, 0], [2, 3, 0, 1]):
        other = overlaps(lon[:, order], lat[:, order], 4)
        np.testing.assert_array_equal(other.cell, one.cell)
        np.testing.assert_allclose(other.area, one.area, rtol=1e-9, atol=1e-16)


def test_turns_of_longitude_do_not_matter():
    lon, lat = around(np.pi, 0.2, 0.2, seed=1)
    one, other = overlaps(lon, lat, 4), overlaps(lon + 2.0 * np.pi * np.arange(4), lat, 4)
    np.testing.assert_array_equal(other.cell, one.cell)
    np.testing.assert_allclose(other.area, one.area, rtol=1e-8, atol=1e-16)


def test_repeated_corner_makes_a_triangle():
    lon, lat = around(0.8, 1.5, 0.2, seed=2)
    triangle = overlaps(lon[:, :3], lat[:, :3], 4)
    repeated = overlaps(lon[:, [0, 1, 2, 2]], lat[:, [0, 1, 2, 2]], 4)
    np.testing.assert_array_equal(triangle.cell, repeated.cell)
    np.testing.assert_allclose(triangle.area, repeated.area, rtol=1e-12)


@pytest.mark.parametrize(("lon", "lat"), [(0.4, 0.1), (0.2, 1.56), (np.pi / 2.0, 0.73)])
def test_concave_footprint_is_the_sum_of_its_triangles(lon, lat):
    level = 5
    corner_lon, corner_lat = around(lon, lat, 0.2, seed=9)
    points = vectors(corner_lon[0], corner_lat[0])
    dent = 0.7 * points[0] + 0.15 * (points[1] + points[3])
    points = np.stack([points[0], points[1], dent, points[3]])
    corner_lon, corner_lat = (part[None] for part in angles(points))
    whole = overlaps(corner_lon, corner_lat, level)
    assert whole.defects[0] == Defect.NONE
    total = np.bincount(whole.cell, whole.area, minlength=12 * 4**level)
    parts = np.zeros_like(total)
    for triangle in ([0, 1, 2], [0, 2, 3]):
        part = overlaps(corner_lon[:, triangle], corner_lat[:, triangle], level)
        parts += np.bincount(part.cell, part.area, minlength=12 * 4**level)
    np.testing.assert_allclose(total, parts, atol=1e-15)


def test_footprint_around_the_pole_reaches_all_four_base_cells():
    lon = np.radians([[10.0, 130.0, 250.0]])
    found = overlaps(lon, np.full((1, 3), np.radians(80.0)), 0)
    np.testing.assert_array_equal(found.cell, [0, 1, 2, 3])


def test_lonlat_footprints_at_the_pole_end_there():
    lon = np.radians([[0.0, 45.0, 45.0, 0.0]])
    lat = np.radians([[70.0, 70.0, 90.0, 90.0]])
    found = overlaps(lon, lat, 0, Edges.LONLAT)
    assert areas(found)[0] == pytest.approx(np.pi / 4.0 * (1.0 - np.sin(lat[0, 0])), rel=1e-13)
    np.testing.assert_array_equal(found.cell, [0])


def test_small_footprints_at_high_levels():
    size = 3e-8
    lon, lat = around(1.0, 0.3, size, seed=4, count=20)
    found = overlaps(lon, lat, 25)
    exact = np.abs([spherical_area(corners) for corners in vectors(lon, lat)])
    np.testing.assert_allclose(areas(found), exact, rtol=1e-6)
    assert found.cell.size > 20
    middle = np.array(hp.pix2vec(2**25, found.cell, nest=True)).T
    assert np.linalg.norm(middle - vectors(1.0, 0.3), axis=1).max() < 2.0 * size


def test_footprint_within_one_cell_has_one_link():
    lon, lat = hp.pix2ang(4, 77, nest=True, lonlat=True)
    found = overlaps(*around(np.radians(lon), np.radians(lat), 1e-4, seed=0), 2)
    np.testing.assert_array_equal(found.cell, [77])


def defective():
    """Good, not finite, crossing, without area, wider than a hemisphere."""
    lon = [[0, 10, 10, 0], [0, np.nan, 10, 0], [0, 10, 0, 10], [0, 5, 10, 5], [0, 120, 240, 240]]
    lat = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 0, 0]]
    return np.radians(np.array(lon, float)), np.radians(np.array(lat, float))


@pytest.mark.parametrize("edges", list(Edges))
def test_defects_are_found_and_left_out(edges):
    found = overlaps(*defective(), 3, edges)
    assert [Defect(one) for one in found.defects] == [
        Defect.NONE,
        Defect.NOT_FINITE,
        Defect.CROSSES_ITSELF,
        Defect.NO_AREA,
        Defect.TOO_WIDE,
    ]
    assert set(found.footprint) == {0}
    assert areas(found)[0] > 0
    np.testing.assert_array_equal(areas(found)[1:], 0.0)


def test_infinite_corners_are_not_finite():
    lon = np.array([[0.0, np.inf, 0.1, 0.0]])
    lat = np.array([[0.0, 0.0, 0.1, 0.1]])
    for edges in Edges:
        assert overlaps(lon, lat, 3, edges).defects[0] == Defect.NOT_FINITE


def test_only_defective_footprints_have_no_links():
    lon, lat = defective()
    found = overlaps(lon[1:], lat[1:], 3)
    assert found.footprint.size == found.cell.size == found.area.size == 0


def test_too_many_cells_are_an_error():
    with pytest.raises(ValueError, match="level: expected footprints over fewer than 2147483648"):
        overlaps(*around(1.0, 0.3, 0.5, seed=0), 20)


def test_blocks_do_not_matter(monkeypatch):
    lon, lat = turned(*regular_grid(9, 14), 1)
    one = overlaps(lon, lat, 5)
    monkeypatch.setattr("skysift.resample.polygons._BLOCK", 1000)
    other = overlaps(lon, lat, 5)
    np.testing.assert_array_equal(one.footprint, other.footprint)
    np.testing.assert_array_equal(one.cell, other.cell)
    np.testing.assert_allclose(one.area, other.area, atol=1e-17)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_coverage_of_the_plane(shift):
    # A triangle with its right angle at (0, 0) and legs of 3 and 2.
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 2.0]]) + shift
    found = coverage(Loops(points, np.zeros(3, dtype=np.int64)))
    image = np.zeros((3, 4))
    image[found.row - int(shift), found.column - int(shift)] = found.fraction
    expected = [[1.0, 11 / 12, 1 / 3], [2 / 3, 1 / 12, 0.0]]
    np.testing.assert_allclose(image[:2, :3], expected, atol=1e-12)
    np.testing.assert_array_equal(image[2], 0.0)
    np.testing.assert_array_equal(image[:, 3], 0.0)


def test_coverage_fills_what_edges_enclose():
    points = np.array([[0.5, 0.5], [100.5, 0.5], [100.5, 50.5], [0.5, 50.5]])
    found = coverage(Loops(points, np.zeros(4, dtype=np.int64)))
    assert found.fraction.size == 101 * 51
    assert np.count_nonzero(found.fraction == 1.0) == 99 * 49
    assert found.fraction.sum() == pytest.approx(5000.0, rel=1e-14)


def test_edges_may_be_named_but_not_made_up():
    lon, lat = around(0.3, 1.2, 0.3, seed=1)
    for edges in Edges:
        named, meant = overlaps(lon, lat, 4, edges.value), overlaps(lon, lat, 4, edges)
        np.testing.assert_array_equal(named.area, meant.area)
    with pytest.raises(
        ValueError, match=r"edges: expected one of 'great circle', .*got 'geodesic'"
    ):
        overlaps(lon, lat, 4, "geodesic")
