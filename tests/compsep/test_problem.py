import numpy as np
import pytest

import skysift as ss
from skysift.compsep import pose, solve

PATCHES = ss.Patches.multires(ss.Grid(4), beta_dust=2, temp_dust=1, beta_pl=1)


@pytest.fixture(scope="module")
def sims():
    return [ss.simulate("c1d1s1", "LiteBIRD", nside=4, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def fit(sims):
    return ss.separate(sims[0].maps, "LiteBIRD", patches=PATCHES)


def test_other_maps_give_what_a_new_problem_gives(sims, fit):
    again = solve(fit.problem.with_maps(sims[1].maps))
    fresh = ss.separate(sims[1].maps, "LiteBIRD", patches=PATCHES)
    assert np.array_equal(again.theta, fresh.theta)
    assert np.array_equal(again.components["cmb"].values, fresh.components["cmb"].values)


def test_maps_are_matched_by_channel_ordering_and_cell(sims, fit):
    mask = ss.galactic_mask("GAL060", 4)
    problem = pose(sims[0].maps.masked(mask), "LiteBIRD")
    maps = sims[1].maps
    names = tuple(reversed(maps.channels))
    turned = maps.replace(np.asarray(maps.values)[::-1], channels=names)
    turned = turned.reordered(ss.Ordering.NESTED)
    expected = problem.with_maps(maps).likelihood.data
    assert np.array_equal(problem.with_maps(turned).likelihood.data, expected)
    few = pose(
        ss.Maps(maps.values[:5], maps.grid, maps.stokes, channels=maps.channels[:5]), "LiteBIRD"
    )
    assert np.array_equal(few.with_maps(maps).likelihood.data, np.asarray(maps.values)[:5])


def test_held_parameters_make_the_recovery_linear(sims, fit):
    held = fit.problem.held(fit.theta)
    np.testing.assert_allclose(
        solve(held).components["cmb"].values, fit.components["cmb"].values, rtol=1e-12
    )
    one, two = sims[0].maps, sims[1].maps
    both = one.replace(np.asarray(one.values) + 2.0 * np.asarray(two.values))
    parts = [np.asarray(solve(held.with_maps(m)).components["dust"].values) for m in (one, two)]
    np.testing.assert_allclose(
        solve(held.with_maps(both)).components["dust"].values, parts[0] + 2.0 * parts[1], rtol=1e-9
    )


def test_maps_that_do_not_fit_are_refused(sims, fit):
    maps = sims[1].maps
    with pytest.raises(ValueError, match=r"maps: expected QU .* channels"):
        fit.problem.with_maps(ss.Maps(maps.values[:4], maps.grid, maps.stokes))
    with pytest.raises(ValueError, match="got I in"):
        fit.problem.with_maps(ss.simulate("c1", "LiteBIRD", nside=4, stokes="I").maps)
    values = np.array(maps.values)
    values[3, 0, 5] = ss.UNSEEN
    with pytest.raises(ValueError, match="wherever the problem has weights"):
        fit.problem.with_maps(maps.replace(values))
    with pytest.raises(ValueError, match="start: expected"):
        solve(fit.problem, start=np.zeros(3))


def test_missing_values_stay_missing(sims):
    values = np.array(sims[0].maps.values)
    values[3, :, 5] = np.nan
    holed = [
        sims[0].maps.replace(values),
        sims[1].maps.replace(np.where(np.isnan(values), np.nan, sims[1].maps.values)),
    ]
    problem = pose(holed[0], "LiteBIRD", patches=PATCHES)
    again, fresh = (
        solve(problem.with_maps(holed[1])),
        ss.separate(holed[1], "LiteBIRD", patches=PATCHES),
    )
    assert np.array_equal(again.theta, fresh.theta)
    whole = solve(problem.with_maps(sims[1].maps))
    assert np.array_equal(whole.theta, fresh.theta)
