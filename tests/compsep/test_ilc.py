"""Internal linear combinations against plain NumPy, and what they must keep and remove."""

import numpy as np
import pytest

from skysift.compsep.ilc import internal_linear_combination
from skysift.compsep.weights import UnitWeights
from skysift.grid import UNSEEN, Grid
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.patches import Patches
from skysift.sky.cmb import CMB
from skysift.sky.dust import ModifiedBlackBody
from skysift.sky.freefree import FreeFreePowerLaw
from skysift.sky.noise import noise_sigma, white_noise
from skysift.sky.simulate import simulate
from skysift.sky.synchrotron import PowerLaw
from skysift.units import Unit

from ..oracles.spectral import dust, synchrotron

LITEBIRD = Instrument.preset("LiteBIRD")
NU = LITEBIRD.frequencies


@pytest.fixture(scope="module")
def sim():
    return simulate("c1d0s0", LITEBIRD, 8, seed=2)


@pytest.fixture(scope="module")
def labels():
    return Patches.multires(Grid(8), p=1).labels["p"]


def slow_weights(data, spectra):
    """The textbook formula, `data` (channel, sample)."""
    inverse = np.linalg.inv(np.cov(data))
    return (inverse @ spectra @ np.linalg.inv(spectra.T @ inverse @ spectra))[:, 0]


def test_weights_are_those_of_the_formula(sim, labels):
    found = internal_linear_combination(sim.maps, "LiteBIRD", labels, pool_stokes=False)
    values = np.asarray(sim.maps.values)
    for patch in range(12):
        cells = labels == patch
        for x in range(2):
            expected = slow_weights(values[:, x][:, cells], np.ones((15, 1)))
            np.testing.assert_allclose(found.weights[patch, x], expected, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(
                found.maps.values[x, cells], expected @ values[:, x][:, cells], rtol=1e-6, atol=1e-9
            )


def test_pooled_covariance_is_the_mean_over_stokes(sim):
    found = internal_linear_combination(sim.maps, LITEBIRD)
    values = np.asarray(sim.maps.values)
    covariance = 0.5 * (np.cov(values[:, 0]) + np.cov(values[:, 1]))
    expected = np.linalg.solve(covariance, np.ones(15))
    expected /= expected.sum()
    np.testing.assert_allclose(found.weights[0], [expected, expected], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("component", [CMB(), ModifiedBlackBody(), PowerLaw()])
def test_the_component_passes_unchanged(sim, labels, component):
    values = {"beta_dust": 1.6, "beta_pl": -3.1}
    mine = {p.name: values.get(p.name, p.default) for p in component.parameters}
    given = {name: value for name, value in values.items() if name in mine}
    found = internal_linear_combination(sim.maps, LITEBIRD, labels, component, values=given)
    spectrum = {
        "cmb": np.ones(15),
        "dust": dust(NU, 1.6, 20.0),
        "synchrotron": synchrotron(NU, -3.1),
    }[component.name]
    np.testing.assert_allclose(found.weights @ spectrum, 1.0, rtol=1e-9)
    sky = np.random.default_rng(0).normal(size=(2, 768))
    passed = found.apply(Maps(spectrum[:, None, None] * sky, Grid(8), Stokes.QU))
    np.testing.assert_allclose(passed.values, sky, rtol=1e-8)


def test_what_is_to_be_removed_is(sim, labels):
    found = internal_linear_combination(
        sim.maps, LITEBIRD, labels, remove=[ModifiedBlackBody(), PowerLaw()]
    )
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1.0, rtol=1e-9)
    for spectrum in (dust(NU, 1.54, 20.0), synchrotron(NU, -3.0)):
        leak = found.weights @ spectrum
        assert np.all(np.abs(leak) < 1e-9 * np.abs(found.weights * spectrum).sum(axis=-1))
    left = found.maps.values - sim.truth.components["cmb"].values - found.apply(sim.noise).values
    assert np.abs(left).max() < 1e-8
    stacked = np.stack([np.ones(15), dust(NU, 1.54, 20.0), synchrotron(NU, -3.0)], axis=1)
    values = np.asarray(sim.maps.values)[..., labels == 0]
    covariance = 0.5 * (np.cov(values[:, 0]) + np.cov(values[:, 1]))
    inverse = np.linalg.inv(covariance)
    expected = (inverse @ stacked @ np.linalg.inv(stacked.T @ inverse @ stacked))[:, 0]
    np.testing.assert_allclose(found.weights[0, 0], expected, rtol=1e-5, atol=1e-8)


def test_noise_alone_gets_weights_of_inverse_variance():
    noise = white_noise(LITEBIRD, Grid(32), Stokes.QU, np.random.SeedSequence(0))
    found = internal_linear_combination(noise, LITEBIRD)
    precision = noise_sigma(LITEBIRD, Grid(32), Stokes.QU)[:, 0, 0] ** -2.0
    best = precision / precision.sum()
    np.testing.assert_allclose(found.weights[0, 0], best, atol=0.02)
    np.testing.assert_allclose(found.errors.values, precision.sum() ** -0.5, rtol=0.01)
    spread = found.maps.values.std() / found.errors.values.mean()
    assert abs(spread - 1) < 5 / np.sqrt(2 * 24576)


def test_errors_are_those_of_the_noise(sim, labels):
    found = internal_linear_combination(sim.maps, LITEBIRD, labels)
    pulls = found.apply(sim.noise).values / found.errors.values
    assert abs(pulls.std() - 1) < 5 / np.sqrt(2 * pulls.size)
    flat = internal_linear_combination(sim.maps, LITEBIRD, labels, noise=UnitWeights())
    expected = np.sqrt(np.sum(flat.weights**2, axis=-1))[labels].T
    np.testing.assert_allclose(flat.errors.values, expected)


def test_foregrounds_are_reduced(sim, labels):
    """A constant spectrum over the sky: what is left is far below any channel, more so by patch."""
    truth = sim.truth.components["cmb"].values
    best_channel = np.min(np.std(np.asarray(sim.maps.values) - truth, axis=(1, 2)))
    whole = internal_linear_combination(sim.maps, LITEBIRD)
    assert np.std(whole.maps.values - truth) < 0.5 * best_channel


def test_names_decide_the_channels(sim):
    order = np.arange(15)[::-1]
    names = tuple(LITEBIRD.names[i] for i in order)
    flipped = Maps(sim.maps.values[order], sim.maps.grid, Stokes.QU, channels=names)
    one = internal_linear_combination(sim.maps, LITEBIRD)
    two = internal_linear_combination(flipped, LITEBIRD)
    assert two.instrument.names == names
    np.testing.assert_allclose(one.maps.values, two.maps.values, rtol=1e-7, atol=1e-9)
    with pytest.raises(ValueError, match=r"maps: expected channels .* Reorder them"):
        one.apply(flipped)


def test_too_few_cells(sim):
    labels = Patches.multires(Grid(8), p=4).labels["p"]
    with pytest.raises(
        ValueError,
        match=r"labels: expected at least 9 cells in each patch .* 15 channels, got 4 in patch 0",
    ):
        internal_linear_combination(sim.maps, LITEBIRD, labels)
    coarse = Patches.multires(Grid(8), p=2).labels["p"]
    assert internal_linear_combination(sim.maps, LITEBIRD, coarse).weights.shape == (48, 2, 15)
    uneven = (np.arange(768) < 15).astype(int)
    with pytest.raises(ValueError, match=r"at least 16 cells .* 15 channels, got 15 in patch 1"):
        internal_linear_combination(sim.maps, LITEBIRD, uneven, pool_stokes=False)


def test_noiseless_maps_have_a_singular_covariance():
    clean = simulate("c1d0s0", LITEBIRD, 8, noise_ratio=0.0)
    with pytest.raises(
        ValueError, match=r"got a singular covariance in patch 0. Leave .*add noise"
    ):
        internal_linear_combination(clean.maps, LITEBIRD)


@pytest.mark.parametrize("missing", [np.nan, UNSEEN])
def test_missing_values(sim, missing):
    values = np.array(sim.maps.values)
    values[3, 0, :5] = missing
    with pytest.raises(
        ValueError, match=r"expected every channel in every cell, got 5 cells .*Mask"
    ):
        internal_linear_combination(sim.maps.replace(values), LITEBIRD)


def test_other_faults(sim):
    def refused(match, maps=sim.maps, **options):
        with pytest.raises(ValueError, match=match):
            internal_linear_combination(maps, LITEBIRD, **options)

    refused("maps: expected uK_CMB, got uK_RJ", sim.maps.replace(sim.maps.values, unit=Unit.UK_RJ))
    refused("labels: expected contiguous", labels=np.arange(768) * 2)
    refused("values: expected parameters .*none.*, got 'beta_dst'", values={"beta_dst": 1.0})
    refused(
        "remove: expected components with different spectra, got cmb, synchrotron, freefree",
        remove=[PowerLaw(), FreeFreePowerLaw()],
        values={"beta_pl": -2.5, "beta_ff": -2.5},
    )
    with pytest.raises(ValueError, match=r"maps: expected shape \(15, 2, 768\)"):
        internal_linear_combination(sim.maps, LITEBIRD).apply(sim.maps.masked(np.arange(768) < 300))
