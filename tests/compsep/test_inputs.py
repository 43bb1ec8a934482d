"""Maps, channels and cells that do not belong together, and units of what comes out."""

import numpy as np
import pytest

from skysift.compsep.problem import pose
from skysift.compsep.separate import separate, separate_arrays
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.patches import Patches
from skysift.sky.model import SkyModel
from skysift.sky.simulate import simulate
from skysift.units import Unit

SIM = simulate("c1d0s0", "LiteBIRD", 2, seed=1)


def test_amplitudes_have_the_unit_of_their_law():
    fit = separate(SIM.maps, "LiteBIRD", "y+d+s+c")
    assert fit.components["sz"].unit is Unit.COMPTON_Y
    assert fit.component_errors["sz"].unit is Unit.COMPTON_Y
    assert fit.components["dust"].unit is Unit.UK_CMB
    assert fit.residuals(SIM.maps).unit is fit.predicted().unit is Unit.UK_CMB
    assert fit.to_dataset()["component"].attrs["units"] == ["1e-6 y", "uK_CMB", "uK_CMB", "uK_CMB"]


def test_names_of_another_instrument_are_never_taken_in_order():
    six = SIM.maps.replace(SIM.maps.values[:6], channels=SIM.maps.channels[:6])
    with pytest.raises(ValueError, match="maps: expected channels of SO_SAT .*got '40'"):
        pose(six, "SO_SAT")


@pytest.mark.parametrize("named", [True, False])
def test_planck_is_fitted_in_the_channels_that_measure_polarisation(named):
    sim = simulate("c1d0s0", "Planck", 2, seed=1)
    maps = sim.maps if named else sim.maps.replace(sim.maps.values, channels=())
    problem = pose(maps, "Planck")
    assert problem.measurements.instrument.names == Instrument.preset("Planck").names[:7]


def test_patches_and_maps_that_only_overlap():
    patches = Patches.multires(np.arange(48) > 10, beta_dust=2)
    with pytest.raises(ValueError, match="got 19 shared by 30 of the maps and 37 of the patches"):
        pose(SIM.maps.masked(np.arange(48) < 30), "LiteBIRD", patches=patches)


def test_arrays_where_objects_are_due():
    with pytest.raises(ValueError, match=r"expected Maps, got ndarray.*separate_arrays"):
        pose(np.asarray(SIM.maps.values), "LiteBIRD")
    with pytest.raises(ValueError, match="noise: expected InstrumentDepth"):
        pose(SIM.maps, "LiteBIRD", noise=1.0)


def test_one_missing_stokes_parameter_leaves_the_other():
    values = np.array(SIM.maps.values)
    values[:13, 1, 5] = np.nan  # two channels are left for three components
    fit = separate(SIM.maps.replace(values), "LiteBIRD")
    assert np.isnan(fit.components["cmb"]["U"][5])
    assert np.isfinite(fit.components["cmb"]["Q"]).all()
    assert fit.dof[5] == 12
    assert Stokes.QU is fit.components["cmb"].stokes
    assert isinstance(fit.components["cmb"], Maps)


def test_as_many_amplitudes_as_data_leave_no_degree_of_freedom():
    three = SIM.maps.replace(SIM.maps.values[:3], channels=SIM.maps.channels[:3])
    model = SkyModel(SkyModel.parse("c+d+s").components, {"temp_dust": np.array(20.0)})
    assert np.isnan(separate(three, "LiteBIRD", model).reduced_chi2)


def test_as_many_channels_as_components_leave_nothing_to_learn_spectra_from():
    data = np.random.default_rng(0).normal(size=(3, 2, 6))
    fit = separate_arrays(data, [30.0, 100.0, 300.0])
    assert fit.status.converged
    assert fit.status.unconstrained == {"beta_dust": 1, "temp_dust": 1, "beta_pl": 1}
    assert fit.parameters["beta_dust"].item() == 1.54
    np.testing.assert_allclose(fit.predicted().values, data, rtol=1e-10)
