import re
import sys
import tracemalloc

import healpy as hp
import numpy as np
import pytest

from skysift.grid import UNSEEN
from skysift.resample.cells import cell_side_m, cells_of
from skysift.resample.conservative import (
    cell_coverage,
    cell_totals,
    conservative,
    footprints,
    quadrilaterals,
    sample_areas,
)
from skysift.resample.ellipsoid import SPHERE, WGS84
from skysift.resample.methods import nearest
from skysift.resample.polygons import Edges


def swath(rows=12, columns=9, size=0.7, lon=179.0, lat=60.0):
    """Nodes of a skewed swath across the date line."""
    along, across = np.meshgrid(np.arange(rows + 1.0), np.arange(columns + 1.0), indexing="ij")
    node_lat = lat + size * (0.8 * along + 0.1 * across)
    node_lon = lon + size * (across - 0.3 * along) / np.cos(np.radians(node_lat))
    return quadrilaterals(node_lon, node_lat)


def globe(rows=20, columns=30):
    lon, lat = np.meshgrid(np.linspace(-180, 180, columns + 1), np.linspace(-90, 90, rows + 1))
    return quadrilaterals(lon, lat)


def field(count, seed=0):
    return np.random.default_rng(seed).normal(3.0, 1.0, count)


@pytest.mark.parametrize("ellipsoid", ["sphere", "WGS84"])
@pytest.mark.parametrize("level", [0, 3, 6])
def test_integral_is_preserved_by_footprints(level, ellipsoid):
    s = footprints(*swath(), level, ellipsoid=ellipsoid)
    values = field(s.n_samples)
    expected = np.sum(values * sample_areas(s))
    assert cell_totals(s, values).sum() == pytest.approx(expected, rel=1e-12)
    cell_area = cell_side_m(level, ellipsoid) ** 2
    integral = np.sum(s.average(values) * cell_coverage(s) * cell_area)
    assert integral == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("edges", list(Edges))
@pytest.mark.parametrize("level", [1, 4])
def test_integral_over_the_whole_sphere(level, edges):
    s = footprints(*globe(), level, edges=edges)
    values = field(s.n_samples)
    np.testing.assert_allclose(cell_coverage(s), 1.0, rtol=1e-12)
    cell_area = cell_side_m(level) ** 2
    total = np.sum(s.average(values)) * cell_area
    assert total == pytest.approx(np.sum(values * sample_areas(s)), rel=1e-12)
    assert sample_areas(s).sum() == pytest.approx(4.0 * np.pi * WGS84.authalic_radius**2)


def test_footprints_from_cells_and_back_preserve_the_integral():
    s = footprints(*globe(), 3)
    cells = field(s.n_cells)
    total = np.sum(s.resample(cells) * sample_areas(s))
    assert total == pytest.approx(cells.sum() * cell_side_m(3) ** 2, rel=1e-12)


def test_areas_on_the_ellipsoid_are_those_of_its_zones():
    rows, columns = 20, 30
    s = footprints(*globe(rows, columns), 2, edges=Edges.LONLAT)
    e2 = WGS84.eccentricity_squared
    e = np.sqrt(e2)
    sine = np.sin(np.radians(np.linspace(-90, 90, rows + 1)))
    # Snyder 1987, equation 3-12: area from the equator.
    q = (1.0 - e2) * (sine / (1.0 - e2 * sine**2) + np.arctanh(e * sine) / e)
    expected = np.pi * WGS84.semi_major_m**2 * np.diff(q) / columns
    np.testing.assert_allclose(sample_areas(s).reshape(rows, columns).T[0], expected, rtol=1e-10)


@pytest.mark.parametrize("nest", [True, False])
def test_constants_are_reproduced(nest):
    s = footprints(*swath(), 5, nest=nest)
    np.testing.assert_allclose(s.average(np.full(s.n_samples, 300.0)), 300.0, rtol=1e-14)
    np.testing.assert_allclose(s.resample(np.full(s.n_cells, 300.0)), 300.0, rtol=1e-14)
    np.testing.assert_allclose(s.weights.sum(axis=1), 1.0, rtol=1e-14)


def test_ring_and_nested_agree():
    lon, lat = swath()
    one, other = (footprints(lon, lat, 5, nest=nest) for nest in (True, False))
    values = field(one.n_samples)
    ring = hp.nest2ring(32, one.cell_ids)
    order = np.argsort(ring)
    np.testing.assert_array_equal(ring[order], other.cell_ids)
    np.testing.assert_allclose(
        cell_totals(one, values)[order], cell_totals(other, values), rtol=1e-12
    )


def test_samples_keep_the_order_of_the_user():
    lon, lat = swath()
    values = field(len(lon))
    shuffled = np.random.default_rng(1).permutation(len(lon))
    one, other = footprints(lon, lat, 5), footprints(lon[shuffled], lat[shuffled], 5)
    np.testing.assert_allclose(sample_areas(one)[shuffled], sample_areas(other))
    np.testing.assert_allclose(cell_totals(one, values), cell_totals(other, values[shuffled]))
    cells = field(one.n_cells)
    np.testing.assert_allclose(one.resample(cells)[shuffled], other.resample(cells))


def test_only_the_part_in_the_wanted_cells_counts():
    lon, lat = swath()
    whole = footprints(lon, lat, 4)
    wanted = whole.cell_ids[::3]
    s = footprints(lon, lat, 4, cells=wanted)
    values = field(s.n_samples)
    np.testing.assert_array_equal(s.cell_ids, wanted)
    np.testing.assert_allclose(cell_totals(s, values), cell_totals(whole, values)[::3], rtol=1e-12)
    np.testing.assert_array_equal(s.covered, sample_areas(s) > 0)
    assert 0 < np.count_nonzero(s.covered) < s.n_samples
    inside = np.isclose(sample_areas(s), sample_areas(whole), rtol=1e-12)
    assert inside.any()
    values = np.where(inside, values, 0.0)
    expected = np.sum(values * sample_areas(whole))
    assert cell_totals(s, values).sum() == pytest.approx(expected, rel=1e-12)


def test_wanted_cells_without_footprints_are_missing():
    far = cells_of([0.0], [-80.0], 4)
    s = footprints(*swath(), 4, cells=far)
    assert not s.covered.any()
    np.testing.assert_array_equal(cell_coverage(s), 0.0)
    assert np.isnan(s.average(np.ones(s.n_samples))).all()
    assert np.isnan(s.resample(np.ones(1))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, UNSEEN])
def test_missing_values_are_left_out(bad):
    s = footprints(*swath(), 4)
    values = np.full((2, s.n_samples), 7.0)
    values[1, ::4] = bad
    means = s.average(values)
    np.testing.assert_allclose(means[0], 7.0)
    np.testing.assert_allclose(means[1][np.isfinite(means[1])], 7.0)
    assert np.isfinite(means[1]).any()
    kept = np.delete(np.arange(s.n_samples), np.arange(0, s.n_samples, 4))
    expected = 7.0 * sample_areas(s)[kept].sum()
    assert cell_totals(s, values)[1].sum() == pytest.approx(expected, rel=1e-12)


def test_a_missing_cell_reaches_only_the_samples_over_it():
    s = footprints(*swath(), 5)
    cells = np.ones(s.n_cells)
    cells[3] = np.nan
    over = np.zeros(s.n_samples, dtype=bool)
    over[s.order] = ((s.index == 3) & (s.weights > 0)).any(axis=1)
    np.testing.assert_array_equal(np.isnan(s.resample(cells)), over)
    assert 0 < over.sum() < s.n_samples


def test_adjoint_is_exact():
    s = footprints(*swath(), 5)
    cells, samples = field(s.n_cells, 1), field(s.n_samples, 2)
    assert np.dot(s.forward(cells), samples) == pytest.approx(
        np.dot(cells, s.adjoint(samples)), rel=1e-13
    )


def test_defective_footprints_are_left_out_and_counted():
    lon, lat = (part.copy() for part in swath())
    lon[3, 1] = np.nan
    lat[5] = lat[5, 0]
    lon[5] = lon[5, 0]
    lon[7, [0, 1]], lat[7, [0, 1]] = lon[7, [1, 0]], lat[7, [1, 0]]
    with pytest.warns(UserWarning, match=r"left out 3 of 108 footprints: 1 with a corner") as seen:
        s = footprints(lon, lat, 5)
    assert "1 without area (the first at index 5)" in str(seen[0].message)
    assert "1 with edges that cross (the first at index 7)" in str(seen[0].message)
    np.testing.assert_array_equal(np.flatnonzero(~s.covered), [3, 5, 7])
    values = field(s.n_samples)
    good = np.delete(np.arange(s.n_samples), [3, 5, 7])
    same = footprints(lon[good], lat[good], 5)
    np.testing.assert_allclose(cell_totals(s, values), cell_totals(same, values[good]))
    assert np.isnan(s.resample(np.ones(s.n_cells))[[3, 5, 7]]).all()


def test_masked_corners_are_missing():
    lon, lat = swath()
    masked = np.ma.masked_equal(lon, lon[2, 2])
    with pytest.warns(UserWarning, match="corner that is not finite"):
        s = footprints(masked, lat, 5)
    np.testing.assert_array_equal(~s.covered, masked.mask.any(axis=1))


def test_no_usable_footprint_is_an_error():
    with pytest.raises(ValueError, match="none that can be used: 1 without area"):
        footprints([[0.0, 1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]], 3)


@pytest.mark.parametrize(
    ("lon", "lat", "message"),
    [
        (np.zeros(4), np.zeros(4), r"lon: expected real numbers of shape \(footprint, corner\)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "three corners or more"),
        (np.zeros((3, 4)), np.zeros((3, 3)), r"lat: expected shape \(3, 4\)"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "at least one footprint"),
        (np.zeros((2, 4)), np.array([[0, 0, 0, 0], [0, 0, 91, 0]]), r"lat: .*91.* \(1, 2\)"),
        (np.full((2, 4), UNSEEN), np.zeros((2, 4)), r"lon: expected degrees from -720 to 720, got"),
        (np.zeros((2, 4), complex), np.zeros((2, 4)), "real numbers"),
    ],
)
def test_bad_corners(lon, lat, message):
    with pytest.raises(ValueError, match=message):
        footprints(lon, lat, 3)


def test_edges_may_be_named_but_not_made_up():
    lon, lat = swath(size=3.0, lat=70.0, rows=4, columns=4)
    named, straight = (sample_areas(footprints(lon, lat, 3, edges=e)) for e in Edges)
    assert np.abs(named / straight - 1.0).max() > 1e-4
    for edges, areas in zip(Edges, (named, straight), strict=True):
        found = sample_areas(footprints(lon, lat, 3, edges=edges.value))
        np.testing.assert_array_equal(found, areas)
    with pytest.raises(
        ValueError, match=r"edges: expected one of 'great circle', .*got 'straight'"
    ):
        footprints(lon, lat, 3, edges="straight")


def test_masked_nodes_are_missing():
    lon, lat = np.meshgrid(np.arange(4.0), np.arange(3.0))
    masked = np.ma.masked_where(lon == 3.0, lon)
    corners = quadrilaterals(masked, lat)[0]
    np.testing.assert_array_equal(np.isnan(corners).any(axis=1), [False, False, True] * 2)
    assert quadrilaterals(lon.astype(int), lat)[0].dtype == float


def test_bad_options():
    lon, lat = swath()
    with pytest.raises(ValueError, match="level: expected"):
        footprints(lon, lat, 30)
    with pytest.raises(ValueError, match="tolerance: expected"):
        footprints(lon, lat, 3, tolerance=0.0)
    with pytest.raises(ValueError, match="conservative one, got nearest"):
        sample_areas(nearest([0.0], [0.0], 1))
    s = footprints(lon, lat, 3)
    with pytest.raises(ValueError, match=f"{s.n_samples}"):
        cell_totals(s, np.ones(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda memory: footprints(*globe(), 7, memory_mb=memory),
        lambda memory: conservative(np.zeros(200000), np.zeros(200000), 7, 1e6, memory_mb=memory),
    ],
)
def test_memory_that_is_given_is_enough_and_less_is_refused(make):
    with pytest.raises(ValueError, match="memory_mb: expected at least"):
        make(1)
    with pytest.raises(ValueError, match="memory_mb: expected a finite number above 0"):
        make(-1)
    limit, peak = 1, np.inf
    while not np.isfinite(peak):
        tracemalloc.start()
        try:
            make(limit)
            peak = tracemalloc.get_traced_memory()[1]
        except ValueError as refused:
            limit = int(re.search(r"at least (\d+)", str(refused))[1])
        finally:
            tracemalloc.stop()
    assert peak < limit * 2**20


def test_one_huge_footprint_among_many_is_an_error(monkeypatch):
    monkeypatch.setattr(sys.modules["skysift.resample.conservative"], "_ROOM", 1000)
    lon, lat = swath()
    lon = np.vstack([lon, [[0.0, 60.0, 60.0, 0.0]]])
    lat = np.vstack([lat, [[-30.0, -30.0, 30.0, 30.0]]])
    with pytest.raises(ValueError, match="sample 108 over .* cells where the mean is"):
        footprints(lon, lat, 5)


def test_points_with_areas_preserve_the_integral():
    random = np.random.default_rng(0)
    lon, lat = random.uniform(-180, 540, 500), np.degrees(np.arcsin(random.uniform(-1, 1, 500)))
    areas, values = random.uniform(1e6, 1e9, 500), field(500)
    s = conservative(lon, lat, 2, areas)
    totals = cell_totals(s, values)
    assert totals.sum() == pytest.approx(np.sum(areas * values), rel=1e-12)
    cell = cells_of(lon, lat, 2)
    for position in (0, 7, s.n_cells - 1):
        chosen = cell == s.cell_ids[position]
        expected = np.average(values[chosen], weights=areas[chosen])
        assert s.average(values)[position] == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(s.average(np.full(500, 2.5)), 2.5, rtol=1e-15)


def test_totals_of_single_precision_are_summed_in_double():
    areas, values = np.full(20000, 1e6), np.random.default_rng(2).uniform(280.0, 280.1, 20000)
    single = conservative(np.zeros(20000), np.zeros(20000), 2, areas).astype(np.float32)
    total = cell_totals(single, values)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, np.sum(areas * values), rtol=6e-8)


def test_one_area_for_all_points():
    s = conservative([0.0, 0.0, 90.0], [1.0, 1.0, 0.0], 1, areas=2.0, ellipsoid=SPHERE)
    np.testing.assert_array_equal(sample_areas(s), 2.0)
    np.testing.assert_allclose(np.sort(cell_totals(s, [1.0, 2.0, 4.0])), [6.0, 8.0])


@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ([1.0, -1.0], "-1.0 at index 1"),
        ([0.0, 1.0], "0.0 at index 0"),
        ([1.0, np.nan], "nan at index 1"),
        ([1.0, 2.0, 3.0], r"one or 2.*shape \(3,\)"),
        (-1.0, "positive square metres"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "nan at index 1"),
        (["1", "2"], "one or 2 real numbers"),
    ],
)
def test_bad_areas(areas, message):
    with pytest.raises(ValueError, match=message):
        conservative([0.0, 1.0], [0.0, 1.0], 2, areas)


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="lon: expected at least one sample, got none. Check"):
        conservative([], [], 3, areas=1.0)


def test_quadrilaterals_wants_nodes():
    with pytest.raises(ValueError, match="real numbers"):
        quadrilaterals(np.full((2, 2), "a"), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="two nodes or more"):
        quadrilaterals(np.zeros((1, 5)), np.zeros((1, 5)))
    with pytest.raises(ValueError, match="same shape"):
        quadrilaterals(np.zeros((2, 5)), np.zeros((2, 4)))
