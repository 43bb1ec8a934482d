import functools
import tracemalloc

import healpy as hp
import numpy as np
import pytest

from skysift.resample.inverse import NotConverged, Status, fit
from skysift.resample.methods import bilinear, nearest, psf
from skysift.resample.options import LEAST_PART
from skysift.resample.regional import Regions, grown


def places(count=3000, seed=0):
    """Around a corner of twelve base cells and the date line."""
    random = np.random.default_rng(seed)
    return random.uniform(165, 195, count), random.uniform(25, 55, count)


def field(lon, lat):
    return np.sin(np.radians(7 * lon)) * np.cos(np.radians(9 * lat))


@pytest.fixture(scope="module")
def values():
    lon, lat = places()
    return 3.0 + field(lon, lat) + np.random.default_rng(1).normal(0, 0.1, lon.size)


@pytest.mark.parametrize(("damping", "allowed"), [(0.1, 1e-4), (0.01, 2e-3)])
@pytest.mark.parametrize("parent_level", [2, 3])
def test_joins_without_seams(values, damping, allowed, parent_level):
    lon, lat = places()
    sampling = psf(lon, lat, level=6)
    whole = fit(sampling, values, damping=damping, tol=1e-9, max_iter=2000)
    joined = Regions(lon, lat, 6, parent_level).fit(
        values, damping=damping, tol=1e-9, max_iter=2000
    )
    np.testing.assert_array_equal(joined.grid.index, sampling.cell_ids)
    seam = np.sqrt(np.mean((joined.values - whole.values) ** 2))
    assert seam < allowed
    assert joined.status is Status.CONVERGED


def test_seams_fall_with_the_halo(values):
    lon, lat = places()
    sampling = psf(lon, lat, level=6)
    whole = fit(sampling, values, damping=0.03, tol=1e-10, max_iter=2000).values
    seams = []
    for halo in (1, 4, 8, 16):
        joined = Regions(lon, lat, 6, 3, halo=halo).fit(
            values, damping=0.03, tol=1e-10, max_iter=2000
        )
        _, here, there = np.intersect1d(joined.grid.index, sampling.cell_ids, return_indices=True)
        seams.append(np.sqrt(np.mean((joined.values[here] - whole[there]) ** 2)))
    assert seams[2] < 0.1 * seams[1]
    assert seams[3] < 0.05 * seams[2]


@pytest.mark.parametrize("method", [bilinear, functools.partial(psf, npt=4)])
@pytest.mark.parametrize("nest", [True, False])
def test_other_methods_and_orderings(values, method, nest):
    lon, lat = places()
    rows = np.stack([values, np.where(np.arange(3000) % 5 == 0, np.nan, values**2)])
    variance = np.random.default_rng(0).uniform(0.5, 2.0, 3000)
    options = {"damping": [0.3, 0.5], "smoothness": 0.1, "tol": 1e-9, "bounds": (2.2, 14.0)}
    regions = Regions(lon, lat, 5, 2, method=method, nest=nest, ellipsoid="sphere")
    joined = regions.fit(rows, noise_variance=variance, **options)
    sampling = method(lon, lat, 5, ellipsoid="sphere", nest=nest)
    whole = fit(sampling, rows, noise_variance=variance, **options)
    assert joined.grid == sampling.grid
    np.testing.assert_allclose(joined.values, whole.values, atol=1e-3)
    np.testing.assert_array_equal(joined.damping, [0.3, 0.5])


def test_one_damping_is_chosen_for_all_regions(values):
    lon, lat = places()
    west = np.where(lon < 180.0, values, np.nan)
    rows = np.stack([values, field(lon, lat), west])
    joined = Regions(lon, lat, 5, 2).fit(rows)
    whole = fit(psf(lon, lat, level=5), rows)
    assert joined.damping.shape == (3,)
    np.testing.assert_allclose(np.log(joined.damping / whole.damping), 0.0, atol=np.log(3))
    again = fit(psf(lon, lat, level=5), rows, damping=joined.damping, least_part=LEAST_PART)
    np.testing.assert_array_equal(np.isnan(joined.values), np.isnan(again.values))
    assert np.sqrt(np.nanmean((joined.values - again.values) ** 2)) < 2e-3


@pytest.mark.parametrize("nest", [True, False])
def test_wanted_cells_are_as_in_the_whole(values, nest):
    lon, lat = places()
    sampling = psf(lon, lat, level=6, nest=nest)
    whole = fit(sampling, values, damping=0.1, tol=1e-9)
    wanted = np.append(sampling.cell_ids[200:900:3], 3)
    seen = []
    regions = Regions(lon, lat, 6, 3, nest=nest)
    part = regions.fit(
        values, damping=0.1, tol=1e-9, cells=wanted, progress=lambda *step: seen.append(step)
    )
    assert seen[-1][0] < regions.parents.size
    np.testing.assert_array_equal(part.grid.index, np.sort(wanted))
    _, here, there = np.intersect1d(wanted, sampling.cell_ids, return_indices=True)
    order = np.searchsorted(part.grid.index, wanted[here])
    np.testing.assert_allclose(part.values[order], whole.values[there], atol=1e-3)
    assert np.isnan(part.values[part.grid.index == 3])
    empty = regions.fit(values, damping=0.1, cells=np.array([3]))
    assert empty.status is Status.NO_SAMPLES


def test_regions_hold_what_is_near():
    lon, lat = places(500)
    regions = Regions(lon, lat, 6, 3, halo=5, method=nearest, ellipsoid="sphere")
    own = hp.ang2pix(64, lon, lat, nest=True, lonlat=True)
    seen = np.zeros(500, dtype=int)
    for region in regions:
        inside = own >> 6 == region.parent
        seen += inside
        near = grown((region.parent << 6) + np.arange(64), 6, 5)
        assert np.all(np.isin(np.flatnonzero(np.isin(own, near)), region.samples))
        np.testing.assert_array_equal(
            region.sampling.cell_ids[region.inside], np.unique(own[inside])
        )
    np.testing.assert_array_equal(seen, 1)


def test_memory_is_respected():
    random = np.random.default_rng(0)
    lon, lat = random.uniform(0, 30, 12_000), random.uniform(-30, 0, 12_000)
    rows = np.stack([field(lon, lat), lat])
    regions = Regions.within(58e6, lon, lat, 7, rows=2)
    assert 0 < regions.parent_level < 7
    coarser = Regions(lon, lat, 7, regions.parent_level - 1)
    assert max(r.samples.size for r in coarser) > 1.5 * max(r.samples.size for r in regions)
    tracemalloc.start()
    regions.fit(rows, damping=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 58e6
    with pytest.raises(ValueError, match="memory: expected at least .* bytes, which a parent"):
        Regions.within(1e6, lon, lat, 7)


def test_a_parent_without_cells_has_no_region():
    regions = Regions(*places(10), level=6, parent_level=2)
    assert regions.region(150) is None
    with pytest.raises(ValueError, match="parent: expected a number from 0 to 191, got 192"):
        regions.region(192)


def test_progress_and_parents_as_small_as_cells():
    seen = []
    lon, lat = places(60)
    regions = Regions(lon, lat, 4, 4, halo=2, method=nearest)
    joined = regions.fit(field(lon, lat), damping=1.0, progress=lambda *step: seen.append(step))
    assert seen == [(i + 1, regions.parents.size) for i in range(regions.parents.size)]
    whole = nearest(lon, lat, level=4)
    np.testing.assert_allclose(joined.values, whole.average(field(lon, lat)), atol=1e-9)


def test_says_once_what_did_not_converge(values):
    with pytest.warns(NotConverged, match="regions did not converge in 2 iterations") as warned:
        joined = Regions(*places(), level=6, parent_level=2).fit(values, damping=0.0, max_iter=2)
    assert len(warned) == 1
    assert joined.status is Status.ITERATION_LIMIT
    assert set(joined.failed) <= set(Regions(*places(), level=6, parent_level=2).parents)


def test_samples_without_values_have_no_cells():
    lon, lat = places(50)
    joined = Regions(lon, lat, 5, 2).fit(np.full(50, np.nan))
    assert joined.status is Status.NO_SAMPLES
    assert np.all(np.isnan(joined.values))


def test_bad_regions_are_refused(values):
    lon, lat = places()
    with pytest.raises(ValueError, match="parent_level: expected from 0 to the level 5, got 6"):
        Regions(lon, lat, 5, 6)
    with pytest.raises(ValueError, match="halo: expected at least one ring, got 0"):
        Regions(lon, lat, 5, 2, halo=0)
    with pytest.raises(ValueError, match="parent_level: expected a whole number, got 1.0"):
        Regions(lon, lat, 5, 1.0)
    with pytest.raises(ValueError, match="halo: expected a whole number, got 2.5"):
        Regions(lon, lat, 5, 2, halo=2.5)
    with pytest.raises(ValueError, match=r"bounds: expected .* got \(0,\)"):
        Regions(lon, lat, 5, 2).fit(values, bounds=(0,))
    with pytest.raises(ValueError, match="lat: expected"):
        Regions(lon, lat[:-1], 5, 2)
    with pytest.raises(ValueError, match="samples: expected real numbers"):
        Regions(lon, lat, 5, 2).fit(values[:-1])
    with pytest.raises(ValueError, match="level: expected"):
        Regions(lon, lat, 30, 2)


def test_regions_below_the_threshold_are_left_out():
    rng = np.random.default_rng(3)
    lon, lat = np.append(rng.uniform(0, 20, 4000), 80.0), np.append(rng.uniform(0, 20, 4000), 0.0)
    method = functools.partial(psf, threshold=3.0)
    joined = Regions(lon, lat, 5, 2, method=method).fit(field(lon, lat), damping=1.0)
    whole = psf(lon, lat, 5, threshold=3.0)
    np.testing.assert_array_equal(joined.grid.index, whole.cell_ids)
    with pytest.raises(ValueError, match="threshold: expected cells that enough samples support"):
        Regions(lon[-3:], lat[-3:], 5, 2, method=method).fit(np.ones(3), damping=1.0)


def test_no_samples_are_refused():
    none = np.zeros(0)
    with pytest.raises(ValueError, match="lon: expected at least one sample"):
        Regions(none, none, 5, 2)
    with pytest.raises(ValueError, match="lon: expected at least one sample"):
        Regions.within(1e9, none, none, 5)
