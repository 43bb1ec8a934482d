"""Operators between samples and cells: against healpy and dense matrices from all pairs."""

import re
import tracemalloc

import healpy as hp
import numpy as np
import pytest
from scipy.spatial import KDTree

from skysift.resample import (
    SPHERE,
    WGS84,
    bicubic,
    bilinear,
    cells_of,
    centres,
    inverse_distance,
    nearest,
    psf,
)
from skysift.resample.cells import cell_side_m, positions

from ..oracles.resampling import dense, inverse_distance_matrix, psf_matrix

METHODS = [nearest, bilinear, bicubic, inverse_distance, psf]


def globe(count, seed=0, *, special=True):
    """Directions spread evenly over the sphere, with the poles and the date line."""
    rng = np.random.default_rng(seed)
    lon = rng.uniform(-180.0, 180.0, count)
    lat = np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, count)))
    if special:
        lon[:4], lat[:4] = [0.0, 123.0, 180.0, -180.0], [90.0, -90.0, 7.0, 7.0]
    return lon, lat


def smooth(vectors):
    x, y, z = vectors
    return np.sin(2.0 * x) * np.cos(3.0 * y) + z * z


def errors(method, level, lon, lat, function, **options):
    """Interpolated minus true values of a function of unit vectors."""
    sampling = method(lon, lat, level, ellipsoid="sphere", **options)
    radius = SPHERE.authalic_radius
    cells = function(positions(sampling.cell_ids, level, SPHERE) / radius)
    return sampling.resample(cells) - function(SPHERE.positions(lon, lat) / radius)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ellipsoid", ["sphere", "WGS84"])
@pytest.mark.parametrize("nest", [True, False])
@pytest.mark.parametrize("level", [1, 4, 29])
def test_constants_are_reproduced(method, ellipsoid, nest, level):
    sampling = method(*globe(300), level, ellipsoid=ellipsoid, nest=nest)
    np.testing.assert_allclose(sampling.resample(np.full(sampling.n_cells, 300.0)), 300.0, 1e-14)
    np.testing.assert_allclose(sampling.average(np.full(300, 300.0)), 300.0, rtol=1e-12)
    assert sampling.covered.all()


@pytest.mark.parametrize("nest", [True, False])
@pytest.mark.parametrize("level", [0, 3, 29])
def test_nearest_is_the_cell_that_holds_the_sample(nest, level):
    lon, lat = globe(500)
    sampling = nearest(lon, lat, level, nest=nest)
    own = cells_of(lon, lat, level, nest=nest)
    np.testing.assert_array_equal(sampling.cell_ids, np.unique(own))
    np.testing.assert_array_equal(
        sampling.resample(np.arange(float(sampling.n_cells))),
        np.searchsorted(sampling.cell_ids, own),
    )


@pytest.mark.parametrize("nest", [True, False])
@pytest.mark.parametrize("level", [0, 1, 5])
def test_bilinear_is_healpys_interpolation(nest, level):
    lon, lat = globe(400)
    full = np.random.default_rng(1).normal(size=12 << (2 * level))
    sampling = bilinear(lon, lat, level, ellipsoid="sphere", nest=nest)
    expected = hp.get_interp_val(full, lon, lat, nest=nest, lonlat=True)
    np.testing.assert_allclose(sampling.resample(full[sampling.cell_ids]), expected, atol=1e-13)


def test_bilinear_on_wgs84_is_healpys_interpolation_in_authalic_latitude():
    lon, lat = globe(400)
    full = np.random.default_rng(1).normal(size=12 << 8)
    sampling = bilinear(lon, lat, 4)
    expected = hp.get_interp_val(full, lon, WGS84.authalic_latitude(lat), nest=True, lonlat=True)
    np.testing.assert_allclose(sampling.resample(full[sampling.cell_ids]), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "factor"), [(nearest, 2.0), (bilinear, 4.0), (bicubic, 4.6), (inverse_distance, 1.9)]
)
def test_errors_fall_with_the_order_of_the_method(method, factor):
    """Halving the cells divides the error by 2, 4 and (away from the kinks) 8."""
    lon, lat = globe(4000)
    rms = [np.sqrt(np.mean(errors(method, level, lon, lat, smooth) ** 2)) for level in (4, 5, 6)]
    assert rms[0] / rms[1] > 0.95 * factor
    assert rms[1] / rms[2] > 0.95 * factor


def test_bicubic_is_of_third_order_within_base_cells():
    rng = np.random.default_rng(5)
    lon, lat = rng.uniform(20.0, 70.0, 2000), rng.uniform(-10.0, 10.0, 2000)
    rms = [np.sqrt(np.mean(errors(bicubic, level, lon, lat, smooth) ** 2)) for level in (5, 6, 7)]
    assert rms[0] / rms[1] > 7.0
    assert rms[1] / rms[2] > 7.0


@pytest.mark.parametrize("method", [bilinear, bicubic])
def test_linear_fields_are_reproduced_to_second_order(method):
    """Where inverse distance weighting is wrong by a tenth of a cell."""
    lon, lat = globe(3000)
    lat *= 0.7  # bilinear is of lower order near the poles

    def field(vectors):
        return vectors[0] - 0.3 * vectors[1] + 0.5 * vectors[2]

    cell = hp.nside2resol(64)
    assert np.abs(errors(method, 6, lon, lat, field)).max() < 0.6 * cell**2
    assert np.abs(errors(inverse_distance, 6, lon, lat, field)).max() > 0.1 * cell


def test_bicubic_is_exact_for_planes_where_three_base_cells_meet():
    """Linear functions on the tangent plane of the samples, around a corner without fourth cell."""
    corner = 41.8103148957786
    rng = np.random.default_rng(6)
    lon, lat = 90.0 + rng.uniform(-1, 1, 200), corner + rng.uniform(-1, 1, 200)
    sampling = bicubic(lon, lat, 6, ellipsoid="sphere")
    assert np.any(np.count_nonzero(sampling.weights, axis=1) == 12)
    where = positions(sampling.cell_ids, 6, SPHERE)[:, sampling.index]
    east, north = np.radians(lon[sampling.order]), np.radians(lat[sampling.order])
    axis = np.stack([-np.sin(east), np.cos(east), 0.0 * east])
    np.testing.assert_allclose(
        np.sum(np.einsum("is,isl->sl", axis, where) * sampling.weights, axis=1), 0.0, atol=1e-6
    )
    axis = np.stack([-np.sin(north) * np.cos(east), -np.sin(north) * np.sin(east), np.cos(north)])
    np.testing.assert_allclose(
        np.sum(np.einsum("is,isl->sl", axis, where) * sampling.weights, axis=1), 0.0, atol=1e-6
    )


def test_psf_is_the_dense_operator():
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(160.0, 200.0, 900), rng.uniform(60.0, 90.0, 900)
    nside = 16
    scale = hp.nside2resol(nside)
    sampling = psf(lon, lat, 4, ellipsoid="sphere")
    expected = psf_matrix(lon, lat, nside, 9, scale, 0.1)
    linked = expected.any(axis=0)
    np.testing.assert_array_equal(sampling.cell_ids, np.flatnonzero(linked))
    np.testing.assert_allclose(dense(sampling), expected[:, linked], atol=1e-12)


@pytest.mark.parametrize(("npt", "sigma", "threshold"), [(4, 0.7, 0.5), (16, 1.5, 0.01)])
def test_psf_options_mean_what_they_say(npt, sigma, threshold):
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(-30.0, 30.0, 700), rng.uniform(-70.0, -35.0, 700)
    scale = sigma * cell_side_m(4, SPHERE)
    sampling = psf(lon, lat, 4, npt=npt, sigma_m=scale, threshold=threshold, ellipsoid="sphere")
    expected = psf_matrix(lon, lat, 16, npt, scale / SPHERE.authalic_radius, threshold)
    linked = expected.any(axis=0)
    np.testing.assert_array_equal(sampling.cell_ids, np.flatnonzero(linked))
    np.testing.assert_allclose(dense(sampling), expected[:, linked], atol=1e-12)


def test_inverse_distance_is_the_dense_operator():
    lon, lat = globe(300, special=False)
    sampling = inverse_distance(lon, lat, 3, npt=5, ellipsoid="sphere")
    expected = inverse_distance_matrix(lon, lat, 8, 5)
    np.testing.assert_allclose(dense(sampling), expected[:, sampling.cell_ids], atol=1e-9)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("npt", [4, 9, 16])
def test_links_go_to_the_nearest_cells_everywhere(level, npt):
    """Around poles, edges and corners of base cells too, where blocks of cells are distorted."""
    rng = np.random.default_rng(level)
    lon, lat = globe(6000, seed=level)
    corner, cap = slice(1000, 2000), slice(2000, 3000)
    lon[corner] = 90.0 * rng.integers(0, 4, 1000) + rng.normal(0.0, 2.0, 1000)
    lat[corner] = 41.81 * rng.choice([-1, 1], 1000) + rng.normal(0.0, 2.0, 1000)
    lat[cap] = (90.0 - rng.uniform(0, 8, 1000)) * rng.choice([-1, 1], 1000)
    sampling = inverse_distance(lon, lat, level, npt=npt)
    count = min(npt, 12 << (2 * level))
    every = positions(np.arange(12 << (2 * level)), level)
    where = positions(sampling.cell_ids, level)[:, sampling.index]
    here = WGS84.positions(lon, lat)
    found = np.linalg.norm(where - here[:, sampling.order, None], axis=0)
    expected = KDTree(every.T).query(here.T, k=count)[0][sampling.order]
    np.testing.assert_allclose(np.sort(found, axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_samples_and_branch_of_longitudes_do_not_matter(method):
    lon, lat = globe(500, special=False)  # cells equally far could be chosen either way
    shuffled = np.random.default_rng(4).permutation(500)
    one = method(lon, lat, 4)
    cells = np.random.default_rng(5).normal(size=one.n_cells)
    for turn in (-360.0, 360.0):
        other = method(lon[shuffled] + turn, lat[shuffled], 4)
        np.testing.assert_array_equal(one.cell_ids, other.cell_ids)
        np.testing.assert_allclose(other.resample(cells), one.resample(cells)[shuffled], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_ring_and_nested_are_the_same_operator(method):
    lon, lat = globe(400)
    wanted = np.arange(100, 1500)
    for cells in (None, wanted):
        ring = method(lon, lat, 4, cells=cells, nest=False)
        nested = method(
            lon, lat, 4, cells=None if cells is None else hp.ring2nest(16, cells), nest=True
        )
        np.testing.assert_array_equal(np.sort(hp.nest2ring(16, nested.cell_ids)), ring.cell_ids)
        full = np.random.default_rng(6).normal(size=3072)
        np.testing.assert_allclose(
            ring.resample(full[ring.cell_ids]),
            nested.resample(full[hp.nest2ring(16, nested.cell_ids)]),
            atol=1e-13,
        )


@pytest.mark.parametrize("method", METHODS)
def test_only_wanted_cells_are_linked_and_samples_outside_are_not_covered(method):
    lon, lat = globe(800)
    wanted = np.flatnonzero(np.asarray(hp.pix2vec(8, np.arange(768), nest=True))[2] > 0.3)
    sampling = method(lon, lat, 3, cells=wanted[::-1])
    np.testing.assert_array_equal(sampling.cell_ids, wanted)
    inside = np.isin(cells_of(lon, lat, 3), wanted)
    assert not sampling.covered[~inside].any()
    assert sampling.covered[inside].mean() > 0.9
    values = sampling.resample(np.full(wanted.size, 2.0))
    np.testing.assert_allclose(values[sampling.covered], 2.0, rtol=1e-14)
    assert np.isnan(values[~sampling.covered]).all()
    deep = hp.query_disc(8, [0, 0, 1], 0.5, nest=True)
    whole, part = method(lon, lat, 3), sampling
    far = np.isin(cells_of(lon, lat, 3), deep)
    full = np.random.default_rng(7).normal(size=768)
    np.testing.assert_allclose(
        part.resample(full[wanted])[far], whole.resample(full[whole.cell_ids])[far], atol=1e-12
    )


def test_samples_on_centres_have_the_value_of_their_cell():
    lon, lat = centres(np.arange(192), 2)
    for method in (nearest, bicubic):
        sampling = method(lon, lat, 2)
        np.testing.assert_allclose(sampling.resample(np.arange(192.0)), np.arange(192.0), atol=1e-9)
    sampling = inverse_distance(lon, lat, 2)
    np.testing.assert_allclose(sampling.resample(np.arange(192.0)), np.arange(192.0), atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_one_sample_and_many_at_one_place_work(method):
    for count in (1, 5000):
        sampling = method(np.full(count, 33.0), np.full(count, -12.0), 7)
        assert sampling.n_samples == count
        np.testing.assert_allclose(sampling.average(np.full(count, 7.0)), 7.0, rtol=1e-12)


def test_an_isolated_sample_supports_cells_within_the_threshold():
    sampling = psf(np.array([15.0]), np.array([50.0]), 8)
    away = np.linalg.norm(positions(sampling.cell_ids, 8).T - WGS84.positions(15.0, 50.0), axis=1)
    assert np.all(np.exp(-2.0 * (away / cell_side_m(8)) ** 2) >= 0.1)
    assert 1 < sampling.n_cells < 9


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_refused(method):
    lon, lat = np.zeros(3), np.zeros(3)
    for arguments, message in (
        ((np.zeros(0), np.zeros(0), 3), "lon: expected at least one sample"),
        ((lon, np.array([0.0, np.nan, 0.0]), 3), "lat: .*nan at index 1"),
        ((lon, lat + 91.0, 3), "lat: .*91.0 at index 0"),
        ((lon + 1e6, lat, 3), r"lon: expected degrees from -720 to 720, got 1000000.0 at index 0"),
        ((lon, lat, 30), "level: expected from 0 to 29, got 30"),
    ):
        with pytest.raises(ValueError, match=message):
            method(*arguments)
    for cells, message in (
        ([0, 768], "cells: expected numbers from 0 to 767 of level 3, got 768 at index 1"),
        ([-1], "cells: expected numbers from 0"),
        ([0.5], "cells: expected integer cell numbers, got float64"),
        ([[1, 2]], r"cells: expected a vector of cell numbers, got shape \(1, 2\)"),
        (np.zeros(0, dtype=int), "cells: expected at least one"),
    ):
        with pytest.raises(ValueError, match=message):
            method(lon, lat, 3, cells=np.array(cells))
    with pytest.raises(ValueError, match="ellipsoid: expected"):
        method(lon, lat, 3, ellipsoid="flat earth")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (psf, {"npt": 0}, "npt: expected a positive integer"),
        (inverse_distance, {"npt": 2.5}, "npt: expected a positive integer"),
        (psf, {"sigma_m": -1.0}, "sigma_m: expected a finite number above 0, got -1.0"),
        (psf, {"sigma_m": 0.0}, "sigma_m: expected a finite number above 0"),
        (psf, {"sigma_m": np.ones(2)}, "sigma_m: expected a finite number above 0, got array"),
        (psf, {"sigma_m": "wide"}, "sigma_m: expected a finite number above 0, got 'wide'"),
        (psf, {"sigma_m": np.nan}, "sigma_m: expected"),
        (psf, {"threshold": -0.1}, "threshold: expected a finite number from 0"),
        (psf, {"threshold": 50.0}, "threshold: expected cells with summed weights.*at most"),
    ],
)
def test_bad_options_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(np.zeros(3), np.zeros(3), 3, **options)


def test_bicubic_needs_more_than_the_base_cells():
    with pytest.raises(ValueError, match=r"level: expected from 1.*Use bilinear"):
        bicubic(np.zeros(1), np.zeros(1), 0)


@pytest.mark.parametrize("method", METHODS)
def test_memory_that_is_given_is_enough_and_less_is_refused(method):
    """The worst case for its size: every sample alone with its cells."""
    lon, lat = globe(20000)
    with pytest.raises(ValueError, match=r"memory_mb: expected at least (\d+), got 10.*Regions"):
        method(lon, lat, 14, memory_mb=10)
    with pytest.raises(ValueError, match="memory_mb: expected a finite number above 0"):
        method(lon, lat, 14, memory_mb=0)
    limit = 256
    tracemalloc.start()
    try:
        method(lon, lat, 14, memory_mb=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit * 2**20


@pytest.mark.parametrize("method", [psf, inverse_distance])
def test_memory_is_enough_for_many_links_per_sample(method):
    """The least memory that is not refused, where hundreds of cells near each sample are sorted."""
    lon, lat = globe(1500)
    limit, peak = 1, np.inf
    while not np.isfinite(peak):
        tracemalloc.start()
        try:
            method(lon, lat, 9, npt=400, memory_mb=limit)
            peak = tracemalloc.get_traced_memory()[1]
        except ValueError as refused:
            limit = int(re.search(r"at least (\d+)", str(refused))[1])
        finally:
            tracemalloc.stop()
    assert peak < limit * 2**20


def test_cells_found_are_booked_as_they_come():
    """Isolated samples have many cells around them, which nobody knows beforehand."""
    lon, lat = globe(60000)
    assert psf(lon, lat, 3, memory_mb=170).n_samples == 60000
    with pytest.raises(ValueError, match="memory_mb: expected at least 1[789]"):
        psf(lon, lat, 14, memory_mb=170)
