import dataclasses

import healpy as hp
import numpy as np
import pytest
import xarray as xr

from skysift.instrument import Instrument
from skysift.maps import Stokes
from skysift.report.data import ReportData
from skysift.report.views import ParameterView


def test_a_dataset_gives_back_what_was_stored(example):
    data, stored = example.data, example.fit.dataset
    assert [p.name for p in data.parameters] == ["beta_dust", "temp_dust", "beta_pl"]
    assert [c.name for c in data.components] == ["cmb", "dust", "synchrotron"]
    assert data.components[1].title == "dust at 160 GHz"
    assert data.stokes is Stokes.QU
    assert data.grid == example.sim.maps.grid
    for parameter in data.parameters:
        np.testing.assert_array_equal(parameter.values, stored[parameter.name])
        np.testing.assert_array_equal(parameter.map, parameter.values[parameter.labels])
    np.testing.assert_array_equal(data.components[0].errors, stored["component_error"][0])
    assert data.parameters[1].unit == "K"
    assert data.parameters[1].at_bounds == 2
    assert data.status.reduction == pytest.approx(3e-7 / 4.2e5)
    assert data.history.wall_time == pytest.approx(0.63)


def test_a_dataset_survives_a_file(example, tmp_path):
    example.fit.dataset.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as stored:
        again = ReportData.from_dataset(stored.load())
    direct = ReportData.from_dataset(example.fit.to_dataset())
    assert again.status == direct.status
    assert again.grid == direct.grid
    assert [c.title for c in again.components] == [c.title for c in direct.components]
    for ours, theirs in zip(again.parameters, direct.parameters, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.errors, theirs.errors)


def test_nested_full_sky(example):
    """A full sky needs no cell numbers, and its ordering is kept."""
    stored = example.fit.dataset.isel(cell=np.arange(12)).drop_vars("cell")
    stored.attrs |= {"nside": 1, "ordering": "NESTED"}
    grid = ReportData.from_dataset(stored).grid
    assert grid.size == grid.npix == 12
    np.testing.assert_array_equal(grid.ring, hp.nest2ring(1, np.arange(12)))


def test_truth_is_that_of_the_fitted_cells(example):
    truth = example.sim.truth
    for parameter in example.data.parameters:
        np.testing.assert_array_equal(parameter.truth, truth.parameters[parameter.name])
    dust = truth.at(example.fit.model)["dust"]
    np.testing.assert_allclose(example.data.components[1].truth, np.asarray(dust.values))
    # The estimates were drawn around the patch means with the stated errors.
    pulls = np.concatenate([p.pulls for p in example.data.parameters])
    assert 0.8 < pulls.std() < 1.2


def test_patch_truth_is_the_mean_over_the_patch():
    view = ParameterView(
        "beta", "", np.zeros(2), np.ones(2), np.array([0, 1, 0]), 0, 0, np.array([1.0, 5.0, 3.0])
    )
    np.testing.assert_array_equal(view.patch_truth, [2.0, 5.0])
    np.testing.assert_array_equal(view.cells_per_patch, [2, 1])


def test_residual_rms_and_noise(example):
    view = example.data.residuals
    residual = np.asarray(example.sim.maps.values) - example.fit.predicted
    np.testing.assert_allclose(view.rms, np.sqrt(np.mean(residual**2, axis=-1)))
    depth = example.sim.instrument.depth((True, True))
    np.testing.assert_allclose(view.noise, depth / (hp.nside2resol(8) * 180 * 60 / np.pi))
    holes = view.values.copy()
    holes[0, :, :5] = np.nan
    holes[1] = np.nan
    rms = dataclasses.replace(view, values=holes).rms
    np.testing.assert_allclose(rms[0], np.sqrt(np.mean(residual[0, :, 5:] ** 2, axis=-1)))
    assert np.isnan(rms[1]).all()


def test_effective_dof_adds_up(example):
    data = example.data
    constrained = sum(np.isfinite(p.errors).sum() for p in data.parameters)
    assert data.effective_dof.sum() == pytest.approx(data.dof.sum() - constrained)
    assert data.weights_are_noise
    assert data.reduced_chi2 == pytest.approx(data.chi2.sum() / data.effective_dof.sum())


def test_unit_weights_are_noticed(example):
    assert not dataclasses.replace(example.data, chi2=1e-6 * example.data.chi2).weights_are_noise


def test_no_degrees_of_freedom(example):
    data = dataclasses.replace(example.data, dof=np.zeros_like(example.data.dof))
    assert np.isnan(data.reduced_chi2)
    assert not data.weights_are_noise


@pytest.mark.parametrize("name", ["chi2", "component_error", "beta_pl_error", "projected_gradient"])
def test_missing_variable(example, name):
    with pytest.raises(ValueError, match=f"expected the variable '{name}'"):
        ReportData.from_dataset(example.fit.dataset.drop_vars(name))


def test_missing_attribute(example):
    stored = example.fit.dataset.copy()
    del stored.attrs["converged"]
    with pytest.raises(ValueError, match="expected the attribute 'converged'"):
        ReportData.from_dataset(stored)


def test_counts_of_other_parameters(example):
    stored = example.fit.dataset.copy()
    stored.attrs["active_bounds"] = 3
    with pytest.raises(ValueError, match="active_bounds: expected a number for each of"):
        ReportData.from_dataset(stored)


def test_labels_of_another_result(example):
    stored = example.fit.dataset.copy()
    stored["beta_dust_patch"] = stored["beta_dust_patch"] + 1
    with pytest.raises(ValueError, match="beta_dust_patch: expected labels from 0"):
        ReportData.from_dataset(stored)


def test_dimensions_of_something_else(example):
    stored = example.fit.dataset.copy()
    stored["chi2"] = ("iteration", np.zeros(8))
    with pytest.raises(ValueError, match="chi2: expected dimensions"):
        ReportData.from_dataset(stored)


def test_residuals_of_another_instrument(example):
    residuals = example.fit.residuals(example.sim.maps)
    planck = Instrument.preset("Planck")
    with pytest.raises(ValueError, match=f"expected {len(planck)} channels as Planck"):
        example.data.with_residuals(residuals, planck)


def test_residuals_of_other_stokes(example):
    residuals = example.fit.residuals(example.sim.maps)
    only = type(residuals)(
        residuals.values[:, :1], residuals.grid, Stokes.I, channels=residuals.channels
    )
    with pytest.raises(ValueError, match="residuals: expected Stokes QU"):
        example.data.with_residuals(only, example.sim.instrument)


def test_residuals_without_the_cells(example):
    residuals = example.fit.residuals(example.sim.maps).masked(np.arange(768) < 10)
    with pytest.raises(ValueError, match="cells that the maps hold"):
        example.data.with_residuals(residuals, example.sim.instrument)
