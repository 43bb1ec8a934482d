"""The report of a real separation, from the fit and from its dataset."""

import numpy as np
import pytest

from skysift import Patches, galactic_mask, separate, simulate
from skysift.report.data import ReportData
from skysift.report.page import tiles


@pytest.fixture(scope="module")
def separation():
    mask = galactic_mask("GAL040", nside=8)
    sim = simulate("c1d1s1", "LiteBIRD", 8, seed=3).masked(mask)
    patches = Patches.multires(mask, beta_dust=4, temp_dust=0, beta_pl=0)
    return separate(sim.maps, "LiteBIRD", model="c+d+s", patches=patches), sim


def test_a_separation_and_its_dataset_give_the_same(separation):
    fit, sim = separation
    direct, stored = (
        ReportData.of(fit, sim.maps, sim.truth),
        ReportData.from_dataset(fit.to_dataset()),
    )
    assert direct.grid == stored.grid == fit.grid
    assert direct.status == stored.status
    for ours, theirs in zip(direct.parameters, stored.parameters, strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert direct.reduced_chi2 == pytest.approx(fit.reduced_chi2)
    assert direct.residuals.values.shape == sim.maps.values.shape
    assert direct.components[0].reference is None
    assert direct.components[1].reference == 160.0
    assert direct.parameters[1].unit == "K"


def test_numbers_of_the_page_are_those_of_the_fit(separation):
    fit, sim = separation
    data = ReportData.of(fit, sim.maps)
    values = {tile.label: tile.value for tile in tiles(data)}
    assert float(values["objective"]) == pytest.approx(fit.objective, rel=1e-9)
    assert int(values["iterations"]) == fit.status.iterations
    for parameter in data.parameters:
        np.testing.assert_array_equal(
            fit.grid.full(parameter.map), fit.parameter_map(parameter.name)
        )
        assert parameter.at_bounds == fit.status.active_bounds[parameter.name]
        assert parameter.unconstrained == fit.status.unconstrained[parameter.name]
    residual = np.asarray(fit.residuals(sim.maps).values)
    np.testing.assert_allclose(data.residuals.rms, np.sqrt(np.mean(residual**2, axis=-1)))
