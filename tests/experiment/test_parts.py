"""Samples brought onto cells parent by parent."""

import numpy as np
import pytest

from skysift.experiment import parts as module
from skysift.experiment.cell_values import CellValues
from skysift.experiment.config import ResampleExperiment
from skysift.experiment.parts import Parts
from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import SampledField, Samples
from skysift.resample import Status


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(4)
    lon, lat = rng.uniform(20.0, 70.0, 4000), rng.uniform(-25.0, 25.0, 4000)
    one = np.sin(np.radians(7.0 * lon)) + 0.1 * rng.standard_normal(lon.size)
    two = np.where(lon < 25.0, np.nan, 3.0 * one)
    fields = SampledField("a", one), SampledField("b", two)
    return Samples(lon, lat, fields, sigma=rng.uniform(0.1, 0.3, lon.size))


def recipe(**settings):
    made = {"level": 4, "method": "psf"} | settings
    return Recipe.of(ResampleExperiment(**made))


@pytest.mark.parametrize(
    "settings",
    [
        {"damping": 0.2},
        {"damping": 0.2, "ring": True, "smoothness": 0.1},
        {"damping": 0.2, "errors": True, "sigma": "s"},
        {"method": "bilinear", "estimate": "average"},
        {"method": "nearest"},
        {"method": "group_by:median"},
        {"method": "group_by:count"},
    ],
)
def test_parts_join_to_the_whole(samples, settings):
    if settings.get("estimate"):
        settings = settings | {"estimate": module.Estimate.AVERAGE}
    whole_recipe = recipe(**settings)
    whole = CellValues.of(whole_recipe, samples, whole_recipe.relation(samples))
    joined = Parts.of(recipe(parent_level=1, **settings), samples).cells()
    assert joined.grid == whole.grid
    exact = "damping" not in settings
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if exact else {"atol": 2e-3}
    np.testing.assert_allclose(joined.values, whole.values, **tolerance)
    np.testing.assert_array_equal(joined.counts, whole.counts)
    np.testing.assert_array_equal(joined.covered, whole.covered)
    assert joined.converged
    assert (joined.residuals is None) == (whole.residuals is None)
    if joined.residuals is not None:
        np.testing.assert_allclose(joined.residuals, whole.residuals, **tolerance)
        np.testing.assert_allclose(joined.local, whole.local, **tolerance)
    if settings.get("errors"):
        np.testing.assert_allclose(joined.errors, whole.errors, rtol=0.5)


def test_the_damping_is_the_same_in_all_parts(samples):
    joined = Parts.of(recipe(parent_level=1), samples).cells()
    assert joined.damping is not None
    assert joined.damping.shape == (2,)
    assert joined.statuses == (Status.CONVERGED, Status.CONVERGED)
    given = Parts.of(recipe(parent_level=1), samples).shared()["damping"]
    np.testing.assert_array_equal(joined.damping, given)


def test_parts_that_are_done_are_kept_and_not_done_again(samples, tmp_path, monkeypatch):
    made = recipe(parent_level=1)
    expected = Parts.of(made, samples).cells()
    worked = []
    make = CellValues.of

    def counted(*args, **options):
        worked.append(1)
        return make(*args, **options)

    def stop(done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.CellValues, "of", staticmethod(counted))
    with pytest.raises(KeyboardInterrupt):
        Parts.of(made, samples).cells(tmp_path, stop)
    first = len(worked)
    kept = sorted(tmp_path.glob("parent-*.nc"))
    assert len(kept) == first > 0
    found = Parts.of(made, samples).cells(tmp_path)
    assert len(worked) - first == len(list(tmp_path.glob("parent-*.nc"))) - first > 0
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.residuals, expected.residuals)
    assert found.grid == expected.grid
    assert found.statuses == expected.statuses


def test_parents_are_made_to_fit_the_memory(samples):
    small = Parts.of(recipe(level=7, memory_mb=50.0), samples)
    large = Parts.of(recipe(level=7, memory_mb=5000.0), samples)
    assert large.regions.parent_level == 0
    assert small.regions.parent_level > 0
    with pytest.raises(ValueError, match="memory_mb: expected more than 1 MiB"):
        Parts.of(recipe(level=7, memory_mb=1.0), samples)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "conservative", "parent_level": 1}, "parent_level: expected none with conser"),
        ({"parent_level": 1, "memory_mb": 10.0}, "parent_level: expected none with memory_mb"),
        ({"memory_mb": 0.0}, "memory_mb: expected a number"),
        ({"parent_level": 1, "errors": True}, "errors: expected --sigma"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        recipe(**settings)


def test_parents_out_of_range_are_refused(samples):
    with pytest.raises(ValueError, match="parent_level: expected from 0 to the level 4, got 5"):
        Parts.of(recipe(parent_level=5), samples)


@pytest.mark.parametrize(("npt", "halo"), [(None, 8), (4, 8), (9, 8), (64, 22)])
def test_the_halo_is_wide_where_links_reach_far(samples, npt, halo):
    assert Parts.of(recipe(parent_level=1, npt=npt), samples).regions.halo == halo


def test_a_threshold_that_no_cell_reaches_is_told(samples):
    with pytest.raises(ValueError, match="threshold: expected"):
        Parts.of(recipe(parent_level=1, threshold=1e6, damping=1.0), samples).cells()


def test_cells_at_the_edge_are_damped_as_much_as_is_said(samples):
    wide = recipe(damping=0.0, least_part=0.3)
    given = wide.given(samples).options
    assert (given.damping, given.required_part) == (0.0, 0.3)
    assert recipe(damping=0.0).given(samples).options.required_part == 0.0
