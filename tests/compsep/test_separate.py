"""Whole separations of small skies."""

import dataclasses

import healpy as hp
import numpy as np
import pytest
import xarray as xr

from skysift.compsep.newton import SolverOptions
from skysift.compsep.problem import GaussianPrior, pose
from skysift.compsep.separate import separate, separate_arrays
from skysift.compsep.weights import InstrumentDepth, InverseVariance, UnitWeights
from skysift.grid import UNSEEN, Grid, Ordering
from skysift.instrument import Instrument, TopHatBand
from skysift.maps import Maps, Stokes
from skysift.masks import galactic_mask
from skysift.patches import Patches
from skysift.sky.model import SkyModel, band_spectrum
from skysift.sky.noise import noise_sigma
from skysift.sky.simulate import simulate

from ..oracles.spectral import SpectralProblem

LITEBIRD = Instrument.preset("LiteBIRD")
TRUTH_OF = {
    "cmb": {},
    "dust": {"beta_dust": 1.54, "temp_dust": 20.0},
    "synchrotron": {"beta_pl": -3.0},
}
TRUTH = TRUTH_OF["dust"] | TRUTH_OF["synchrotron"]


@pytest.fixture(scope="module")
def clean():
    return simulate("c1d0s0", LITEBIRD, 4, noise_ratio=0.0, seed=1)


@pytest.fixture(scope="module")
def noisy():
    return simulate("c1d0s0", LITEBIRD, 4, seed=1)


@pytest.fixture(scope="module")
def patches():
    return Patches.multires(Grid(4), beta_dust=2, temp_dust=1, beta_pl=1)


@pytest.fixture(scope="module")
def fit(noisy, patches):
    return separate(noisy.maps, LITEBIRD, patches=patches)


def same(one, two, rtol=1e-7):
    """Two fits of the same cells."""
    np.testing.assert_allclose(one.objective, two.objective, rtol=1e-11)
    for name in one.parameters:
        np.testing.assert_allclose(one.parameters[name], two.parameters[name], rtol=rtol)
        np.testing.assert_allclose(one.errors[name], two.errors[name], rtol=1e-6)
    for name in one.components:
        np.testing.assert_allclose(
            one.components[name].values, two.components[name].values, rtol=1e-5, atol=1e-9
        )


def per_cell(fit, name):
    return fit.patches.expand(name, fit.parameters[name])


def test_noiseless_sky_is_recovered(clean, patches):
    far = {"beta_dust": 1.2, "temp_dust": 15.0, "beta_pl": -2.5}
    fit = separate(clean.maps, "LiteBIRD", patches=patches, start=far)
    assert fit.status.converged
    for name, value in TRUTH.items():
        np.testing.assert_allclose(fit.parameters[name], value, rtol=1e-8)
    for name, maps in clean.truth.at(fit.model).items():
        scale = np.abs(maps.values).max()
        np.testing.assert_allclose(fit.components[name].values, maps.values, atol=1e-8 * scale)
    np.testing.assert_allclose(fit.predicted().values, clean.maps.values, atol=1e-7)


def test_one_value_for_the_whole_sky_is_the_default(noisy):
    fit = separate(noisy.maps, LITEBIRD)
    assert fit.patches.counts == {"beta_dust": 1, "temp_dust": 1, "beta_pl": 1}
    for name, value in TRUTH.items():
        assert abs(fit.parameters[name][0] - value) < 4 * fit.errors[name][0]
    some = separate(noisy.maps, LITEBIRD, patches=Patches.multires(Grid(4), beta_dust=1))
    assert some.patches.counts == {"beta_dust": 12, "temp_dust": 1, "beta_pl": 1}
    assert some.objective < fit.objective


def test_against_the_oracle():
    """Objective, parameters, errors, chi squared of a sky of 48 cells."""
    sim = simulate("c1d1s1", LITEBIRD, 2, seed=3)
    patches = Patches.multires(Grid(2), beta_dust=1, temp_dust=0, beta_pl=0)
    fit = separate(sim.maps, LITEBIRD, patches=patches)
    weights = np.broadcast_to(
        noise_sigma(LITEBIRD, sim.maps.grid, Stokes.QU) ** -2.0, sim.maps.values.shape
    )
    oracle = SpectralProblem(
        "c+d+s", LITEBIRD.frequencies, np.asarray(sim.maps.values), weights, patches.labels
    )
    theta = np.concatenate(list(fit.parameters.values()))
    reference = oracle.least_squares(
        np.concatenate([np.full(12, 1.54), [20.0], [-3.0]]),
        np.concatenate([np.full(12, 0.5), [10.0], [-7.0]]),
        np.concatenate([np.full(12, 3.0), [40.0], [-0.5]]),
    )
    np.testing.assert_allclose(fit.objective, oracle.objective(theta), rtol=1e-10)
    assert fit.objective <= reference.cost * (1 + 1e-12)
    np.testing.assert_allclose(theta, reference.x, rtol=1e-4)
    # Near the minimum the least-squares Jacobian gives the errors but for terms in the residual.
    sigma = np.sqrt(np.diag(np.linalg.inv(reference.jac.T @ reference.jac)))
    np.testing.assert_allclose(np.concatenate(list(fit.errors.values())), sigma, rtol=0.15)
    np.testing.assert_allclose(2 * fit.objective, fit.chi2.sum(), rtol=1e-12)
    np.testing.assert_array_equal(fit.dof, 2 * (15 - 3))


def test_per_pixel_patches_in_noise_converge():
    """Every cell its own parameters, most of them below the noise: the Hessian is indefinite."""
    sim = simulate("c1d1s1", LITEBIRD, 8, noise_ratio=10.0, seed=2)
    patches = Patches.multires(Grid(8), beta_dust=8, temp_dust=8, beta_pl=8)
    fit = separate(sim.maps, LITEBIRD, patches=patches, noise=InstrumentDepth(noise_ratio=10.0))
    assert fit.status.converged, fit.status.message
    assert sum(fit.status.unconstrained.values()) + sum(fit.status.active_bounds.values()) > 100
    for parameter in fit.model.free:
        values, errors = fit.parameters[parameter.name], fit.errors[parameter.name]
        low, high = parameter.bounds
        assert np.all((values >= low) & (values <= high))
        held = (values == low) | (values == high)
        np.testing.assert_array_equal(np.isnan(errors), held)
        assert fit.status.active_bounds[parameter.name] == held.sum()
    # The noise of the weights is right, whatever the parameters are worth.
    assert abs(fit.reduced_chi2 - 1) < 0.1


def test_nested_maps_give_the_same(noisy, patches, fit):
    nested = noisy.maps.reordered(Ordering.NESTED)
    other = separate(nested, LITEBIRD, patches=patches)
    same(fit, other)
    by_nested = separate(
        nested, LITEBIRD, patches=Patches.multires(nested.grid, beta_dust=2, temp_dust=1, beta_pl=1)
    )
    np.testing.assert_allclose(
        hp.reorder(by_nested.parameter_map("beta_dust"), n2r=True),
        fit.parameter_map("beta_dust"),
        rtol=1e-7,
    )


def test_a_cut_sky_is_the_same_cells(noisy):
    """With a patch of its own for each cell, a cell does not know what else was observed."""
    mask = galactic_mask("GAL040", 4)
    own = Patches.multires(Grid(4), beta_dust=4, temp_dust=4, beta_pl=4)
    whole = separate(noisy.maps, LITEBIRD, patches=own)
    by_maps = separate(noisy.maps.masked(mask), LITEBIRD, patches=own)
    by_patches = separate(noisy.maps, LITEBIRD, patches=own.restricted(Grid.from_mask(mask)))
    for cut in (by_maps, by_patches):
        assert cut.grid.size == mask.sum()
        np.testing.assert_allclose(
            cut.components["cmb"].values, whole.components["cmb"].values[:, mask], rtol=1e-6
        )
        shown = cut.parameter_map("beta_dust")
        np.testing.assert_array_equal(shown == UNSEEN, ~mask)
        np.testing.assert_allclose(shown[mask], whole.parameter_map("beta_dust")[mask], rtol=1e-6)
        np.testing.assert_array_equal(cut.error_map("beta_dust")[~mask], UNSEEN)


def test_channels_are_matched_by_name(noisy, patches, fit):
    order = np.random.default_rng(0).permutation(15)
    names = tuple(LITEBIRD.names[i] for i in order)
    shuffled = Maps(noisy.maps.values[order], noisy.maps.grid, Stokes.QU, channels=names)
    other = separate(shuffled, LITEBIRD, patches=patches)
    same(fit, other)
    assert other.instrument.names == names
    assert other.predicted().channels == names


def test_a_part_of_the_channels_may_be_given(noisy):
    names = LITEBIRD.names[::2]
    some = Maps(noisy.maps.values[::2], noisy.maps.grid, Stokes.QU, channels=names)
    for problem in (
        pose(some, LITEBIRD),
        pose(Maps(some.values, some.grid, Stokes.QU), LITEBIRD.select(names)),
    ):
        measured = problem.measurements
        assert measured.instrument.names == names
        sigma = noise_sigma(LITEBIRD, some.grid, Stokes.QU)[::2, 0, 0]
        np.testing.assert_allclose(measured.weights[:, 0, 0], sigma**-2.0)
        np.testing.assert_array_equal(measured.dof, 2 * (8 - 3))


def test_temperature_and_polarisation_together():
    sim = simulate("c1d0s0", LITEBIRD, 4, seed=5, stokes="IQU")
    fit = separate(sim.maps, LITEBIRD)
    polarised = separate(
        Maps(sim.maps.values[:, 1:], sim.maps.grid, Stokes.QU, channels=LITEBIRD.names), LITEBIRD
    )
    assert fit.components["dust"].values.shape == (3, 192)
    np.testing.assert_array_equal(fit.dof, 3 * 12)
    assert fit.covariance.shape == (3, 3, 3, 192)
    for name, value in TRUTH.items():
        assert fit.errors[name][0] < polarised.errors[name][0]
        assert abs(fit.parameters[name][0] - value) < 4 * fit.errors[name][0]


def test_arrays_give_what_maps_give(noisy, patches, fit):
    sigma = noise_sigma(LITEBIRD, noisy.maps.grid, Stokes.QU)
    arrays = separate_arrays(
        np.asarray(noisy.maps.values),
        LITEBIRD.frequencies,
        sigma[:, 0, 0] ** -2.0,
        labels=patches.labels,
    )
    same(fit, arrays)
    assert arrays.grid.nside is None


def test_arrays_have_unit_weights_unless_told(noisy, patches):
    arrays = separate_arrays(np.asarray(noisy.maps.values), LITEBIRD.frequencies)
    maps = separate(noisy.maps, LITEBIRD, noise=UnitWeights())
    same(arrays, maps)
    assert not arrays.calibrated


def test_weights_follow_their_cells(noisy):
    """Hits, missing channels, known parameters and inverse variances all belong to the maps' cells,
    however the patches number them."""
    random = np.random.default_rng(7)
    hits = random.uniform(0.5, 2.0, 192)
    temperature = random.uniform(19.0, 21.0, 192)
    values = np.array(noisy.maps.values)
    values[4, 1, 20] = np.nan
    values[7, :, 30:40] = UNSEEN
    ring = Maps(values, noisy.maps.grid, Stokes.QU, channels=LITEBIRD.names)
    model = SkyModel.parse("c+d+s").components
    own = Patches.multires(Grid(4), beta_dust=1, beta_pl=0)
    expected = separate(
        ring,
        LITEBIRD,
        SkyModel(model, {"temp_dust": temperature}),
        own,
        noise=InstrumentDepth(hits=hits),
    )
    nested = ring.reordered(Ordering.NESTED)
    order = hp.nest2ring(4, np.arange(192))
    known = SkyModel(model, {"temp_dust": temperature[order]})
    sigma = noise_sigma(LITEBIRD, ring.grid, Stokes.QU, hits=hits)[..., order]
    for noise in (InstrumentDepth(hits=hits[order]), InverseVariance(sigma**-2.0)):
        same(expected, separate(nested, LITEBIRD, known, own, noise=noise))
    cut = own.restricted(Grid.from_mask(galactic_mask("GAL060", 4)))
    one = separate(ring, LITEBIRD, expected.model, cut, noise=InstrumentDepth(hits=hits))
    two = separate(nested, LITEBIRD, known, cut, noise=InverseVariance(sigma**-2.0))
    same(one, two)
    np.testing.assert_allclose(one.predicted().values, two.predicted().values, atol=1e-6)


def test_missing_channels_are_left_out(noisy):
    """NaN and UNSEEN are no data: as if the weight were zero, with fewer degrees of freedom."""
    values = np.array(noisy.maps.values)
    values[4, 0, 20] = np.nan
    values[7, :, 30:40] = UNSEEN
    values[:, :, 50] = np.nan
    values[2:, 1, 60] = np.inf
    fit = separate(Maps(values, Grid(4), Stokes.QU, channels=LITEBIRD.names), LITEBIRD)
    weights = np.repeat(noise_sigma(LITEBIRD, Grid(4), Stokes.QU)[:, :, :1] ** -2.0, 192, axis=2)
    missing = ~np.isfinite(values) | (values == UNSEEN)
    by_weight = separate(
        noisy.maps, LITEBIRD, noise=InverseVariance(np.where(missing, 0.0, weights))
    )
    same(fit, by_weight)
    assert fit.dof[20] == 23
    np.testing.assert_array_equal(fit.dof[30:40], 22)
    assert np.isnan(fit.dof[50])
    assert np.isnan(fit.chi2[50])
    assert fit.dof[60] == 12  # U has two channels left for three components
    cmb = fit.components["cmb"].values
    np.testing.assert_array_equal(np.argwhere(np.isnan(cmb)), [[0, 50], [1, 50], [1, 60]])


def test_fixed_parameters_are_not_fitted(noisy):
    # Weights and temperature per cell only because that is already compiled.
    weights = noise_sigma(LITEBIRD, Grid(4), Stokes.QU) ** -2.0
    weights[0, 0, 0] *= 1.0 + 1e-12
    known = SkyModel(SkyModel.parse("c+d+s").components, {"temp_dust": np.full(192, 20.0)})
    fit = separate(noisy.maps, LITEBIRD, known, noise=InverseVariance(weights))
    free = separate(noisy.maps, LITEBIRD)
    assert list(fit.parameters) == ["beta_dust", "beta_pl"]
    assert fit.objective > free.objective
    assert fit.errors["beta_dust"][0] < free.errors["beta_dust"][0]
    held = separate(noisy.maps, LITEBIRD, bounds={"temp_dust": (20.0, 20.0 + 1e-9)})
    np.testing.assert_allclose(fit.objective, held.objective, rtol=1e-9)
    np.testing.assert_allclose(fit.parameters["beta_dust"], held.parameters["beta_dust"], rtol=1e-6)
    assert fit.residuals(noisy.maps).values.std() > 0


def test_everything_fixed_is_a_linear_fit(noisy):
    fit = separate(noisy.maps, LITEBIRD, SkyModel(SkyModel.parse("c+d+s").components, TRUTH))
    assert fit.status.converged
    assert fit.parameters == {}
    sigma = noise_sigma(LITEBIRD, noisy.maps.grid, Stokes.QU)[:, 0, 0]
    columns = fit.covariance[:, :, 0, 0]
    matrix = np.concatenate(
        [
            np.asarray(band_spectrum(law, LITEBIRD, TRUTH_OF[law.name]))
            for law in fit.model.components
        ],
        axis=1,
    )
    np.testing.assert_allclose(
        columns, np.linalg.inv(matrix.T @ (matrix / sigma[:, None] ** 2)), rtol=1e-9
    )
    np.testing.assert_allclose(
        fit.component_errors["cmb"].values, np.sqrt(columns[0, 0]), rtol=1e-12
    )


def test_priors_pull_as_a_quadratic(noisy, patches, fit):
    """A prior adds its precision to the Hessian, and the estimate is the weighted mean."""
    sigma = 1e-3
    prior = GaussianPrior(1.6, sigma)
    held = separate(noisy.maps, LITEBIRD, patches=patches, priors={"beta_dust": prior})
    problem = pose(noisy.maps, LITEBIRD, patches=patches)
    theta = np.concatenate(list(held.parameters.values()))
    evaluation = problem.likelihood.evaluate(theta)
    pull = np.concatenate([(held.parameters["beta_dust"] - 1.6) / sigma**2, np.zeros(24)])
    np.testing.assert_allclose(evaluation.gradient, -pull, atol=1e-5 * np.abs(pull).max())
    np.testing.assert_allclose(
        held.objective,
        evaluation.objective.sum()
        + 0.5 * np.sum((held.parameters["beta_dust"] - 1.6) ** 2) / sigma**2,
        rtol=1e-10,
    )
    assert np.all(held.errors["beta_dust"] < sigma)
    assert np.all(held.errors["beta_dust"] < fit.errors["beta_dust"])


def test_covariance_of_the_patches(fit):
    covariance = fit.patch_covariance()
    errors = np.concatenate(list(fit.errors.values()))
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), errors, rtol=1e-8)
    structure = fit.information.structure
    dense = np.diag(fit.information.diagonal)
    dense[structure.rows, structure.columns] = fit.information.off
    dense += np.tril(dense, -1).T
    np.testing.assert_allclose(dense @ covariance, np.eye(errors.size), atol=1e-7)


def test_errors_may_be_left_out(noisy, patches, fit):
    quick = separate(noisy.maps, LITEBIRD, patches=patches, options=SolverOptions(errors=False))
    np.testing.assert_array_equal(quick.parameters["beta_dust"], fit.parameters["beta_dust"])
    assert np.isnan(quick.errors["beta_dust"]).all()


def test_errors_are_the_scatter_of_noise_realisations():
    """Sixteen cells of one set of parameters, observed three hundred times."""
    cells, count = 16, 300
    sim = simulate("c1d0s0", LITEBIRD, 4, noise_ratio=0.0, seed=1)
    bright = np.argsort(-np.abs(sim.truth.components["dust"]["Q"]))[:cells]
    sky = np.asarray(sim.maps.values)[..., bright]
    sigma = noise_sigma(LITEBIRD, sim.maps.grid, Stokes.QU)[:, :, :1]
    random = np.random.default_rng(0)
    data = np.tile(sky, count) + sigma * random.standard_normal((15, 2, cells * count))
    labels = dict.fromkeys(TRUTH, np.repeat(np.arange(count), cells))
    fit = separate_arrays(data, LITEBIRD.frequencies, sigma[:, 0, 0] ** -2.0, labels=labels)
    assert fit.status.converged
    for name, value in TRUTH.items():
        pulls = (fit.parameters[name] - value) / fit.errors[name]
        assert abs(pulls.mean()) < 4 / np.sqrt(count)
        assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * count)
    truth = sim.truth.at(fit.model)
    for name, maps in truth.items():
        expected = np.tile(np.asarray(maps.values)[:, bright], count)
        pulls = (fit.components[name].values - expected) / fit.component_errors[name].values
        by_cell = pulls.reshape(2, count, cells).std(axis=1)
        assert np.all(np.abs(by_cell - 1) < 5 / np.sqrt(2 * count))
    spread = fit.chi2.sum() / (fit.dof.sum() - 3 * count) - 1
    assert abs(spread) < 4 * np.sqrt(2 / fit.dof.sum())


def test_components_are_worse_known_than_with_known_spectra(fit):
    for k, name in enumerate(fit.model.names):
        given = np.sqrt(fit.covariance[k, k])
        assert np.all(fit.component_errors[name].values >= given)
        assert np.any(fit.component_errors[name].values > 1.0001 * given)


def test_residuals_are_the_maps_without_the_prediction(noisy, fit):
    left = fit.residuals(noisy.maps)
    sigma = noise_sigma(LITEBIRD, noisy.maps.grid, Stokes.QU)
    np.testing.assert_allclose(np.sum((left.values / sigma) ** 2, axis=(0, 1)), fit.chi2, rtol=1e-8)
    np.testing.assert_allclose(left.values + fit.predicted().values, noisy.maps.values, atol=1e-9)
    flipped = Maps(noisy.maps.values[::-1], Grid(4), Stokes.QU, channels=LITEBIRD.names[::-1])
    again = fit.residuals(flipped.reordered(Ordering.NESTED))
    assert again.channels == LITEBIRD.names
    np.testing.assert_array_equal(again.values, left.values)
    with pytest.raises(
        ValueError, match="maps: expected the 15 channels of the fit .* got 3. Give"
    ):
        fit.residuals(Maps(noisy.maps.values[:3], Grid(4), Stokes.QU))


def test_bands_of_finite_width():
    channels = [
        dataclasses.replace(
            channel, band=TopHatBand(channel.band.centre, 0.3 * channel.band.centre)
        )
        for channel in LITEBIRD.channels
    ]
    wide = Instrument("wide", tuple(channels))
    sim = simulate("c1d0s0", wide, 4, noise_ratio=0.0, seed=1)
    fit = separate(sim.maps, wide)
    biased = separate(sim.maps, LITEBIRD)
    for name, value in TRUTH.items():
        np.testing.assert_allclose(fit.parameters[name], value, rtol=1e-8)
        assert abs(biased.parameters[name][0] / value - 1) > 1e-4


def test_status_and_history(fit):
    status = fit.status
    assert status.converged
    assert status.message == "converged"
    assert status.iterations == len(fit.history) - 1
    assert status.projected_gradient_norm < 1e-8 * status.initial_gradient_norm
    assert status.active_bounds == dict.fromkeys(TRUTH, 0)
    assert fit.history[-1].objective == pytest.approx(fit.objective, rel=1e-12)


def test_dataset_survives_netcdf(fit, tmp_path):
    data = fit.to_dataset()
    path = tmp_path / "fit.nc"
    data.to_netcdf(path, engine="h5netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load().drop_attrs(), data.drop_attrs())
        assert stored.attrs["objective"] == fit.objective
        assert stored.attrs["nside"] == 4
        assert stored["temp_dust"].attrs["units"] == "K"
        np.testing.assert_array_equal(stored["beta_dust"], fit.parameters["beta_dust"])
        np.testing.assert_array_equal(
            stored["component_amplitude"].sel(component="dust"), fit.components["dust"].values
        )


def test_asking_for_what_was_not_fitted(fit):
    with pytest.raises(ValueError, match=r"expected one of .*beta_dust.* got 'beta_ff'"):
        fit.parameter_map("beta_ff")
    with pytest.raises(ValueError, match=r"expected one of .*beta_dust.* got 'beta_ff'"):
        fit.error_map("beta_ff")
