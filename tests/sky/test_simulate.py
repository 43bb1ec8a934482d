from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.harmonic import CMBSpectra, PseudoOptions, spectra
from skysift.instrument import Channel, Instrument, TopHatBand
from skysift.sky import ModifiedBlackBody, SkyModel, ThermalSZ, simulate


def test_sky_is_the_sum_of_what_the_truth_says():
    sky = simulate("cr3d1s1", "LiteBIRD", nside=8, seed=3, stokes="IQU")
    expected = np.asarray(sky.noise.values).copy()
    for law in sky.truth.laws:
        for channel, nu in enumerate(sky.instrument.frequencies):
            scaling = np.asarray(law.sed(jnp.asarray(nu), sky.truth.of(law)))
            expected[channel] += scaling * np.asarray(sky.truth.components[law.name].values)
    np.testing.assert_allclose(sky.maps.values, expected, rtol=1e-9, atol=1e-9)
    assert sky.maps.channels == sky.instrument.names
    assert sky.truth.references == {"cmb": None, "dust": 353.0, "synchrotron": 23.0}


def test_same_seed_same_bits_and_independent_streams():
    one, two = (simulate("c1d1s1", nside=4, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.maps.values, two.maps.values)
    other = simulate("c1d1s1", nside=4, seed=8)
    assert not np.array_equal(one.truth.components["cmb"]["Q"], other.truth.components["cmb"]["Q"])
    assert not np.array_equal(one.noise.values, other.noise.values)
    alone = simulate("c1", nside=4, seed=7, noise_ratio=0.0, stokes="IQU")
    np.testing.assert_array_equal(
        alone.truth.components["cmb"]["Q"], one.truth.components["cmb"]["Q"]
    )
    np.testing.assert_array_equal(simulate("0", nside=4, seed=7).maps.values, one.noise.values)


def test_cmb_has_the_same_large_scales_at_any_nside_and_the_spectra_of_theory():
    fields = [
        simulate("cr100", "LiteBIRD", nside=nside, seed=1, noise_ratio=0.0).truth.components["cmb"]
        for nside in (8, 16)
    ]
    coarse, fine = (spectra(f, options=PseudoOptions(lmax=12)).values for f in fields)
    for name in ("EE", "BB"):
        np.testing.assert_allclose(coarse[name][:7], fine[name][:7], rtol=2e-2)
    count, measured = 60, np.zeros((2, 19))
    for seed in range(count):
        sky = simulate(
            "cr100", Instrument.of_frequencies([100.0]), nside=8, seed=seed, noise_ratio=0
        )
        powers = spectra(sky.maps, options=PseudoOptions(lmax=20)).values
        measured += np.stack([powers["EE"][0], powers["BB"][0]]) / count
    theory = CMBSpectra.packaged().cl(r=0.1, lmax=20)[1:3]
    ell = np.arange(2, 13)
    pull = (measured[:, :11] / theory[:, 2:13] - 1) / np.sqrt(2 / (2 * ell + 1) / count)
    assert np.max(np.abs(pull)) < 4.5


def test_finite_bands_change_the_foregrounds_and_not_the_cmb():
    wide = Instrument("wide", (Channel("353", TopHatBand(353.0, 100.0)),))
    narrow = Instrument.of_frequencies([353.0])
    cmb = [simulate("c1", band, nside=4, noise_ratio=0).maps.values for band in (wide, narrow)]
    np.testing.assert_allclose(cmb[0], cmb[1], rtol=1e-12)
    dust = [simulate("d1", band, nside=4, noise_ratio=0).maps.values for band in (wide, narrow)]
    assert not np.allclose(dust[0], dust[1], rtol=1e-3)


def test_truth_at_another_reference_is_the_emission_there():
    sky = simulate("c1d1s1", Instrument.of_frequencies([160.0]), nside=4, noise_ratio=0.0)
    at = sky.truth.at(SkyModel.parse("c+d+s+a", dust_nu0=160.0, synchrotron_nu0=160.0))
    total = sum(np.asarray(maps.values) for maps in at.values())
    np.testing.assert_allclose(total, np.asarray(sky.maps.values)[0], rtol=1e-10)
    assert not np.asarray(at["ame"].values).any()
    same = sky.truth.at(SkyModel((ModifiedBlackBody(reference=353.0),)))["dust"]
    np.testing.assert_array_equal(same.values, sky.truth.components["dust"].values)


def test_mask_keeps_cells_of_the_full_sky():
    # Emission of fewer cells is vectorised otherwise: the last bit is the processor's.
    same = partial(np.testing.assert_allclose, rtol=1e-13)
    mask = np.abs(Grid(4).lonlat()[1]) > 30
    whole, cut = simulate("c1d1s1", nside=4), simulate("c1d1s1", nside=4, mask=mask)
    same(cut.maps.values, np.asarray(whole.maps.values)[..., mask])
    np.testing.assert_array_equal(
        cut.truth.parameters["beta_dust"], whole.truth.parameters["beta_dust"][mask]
    )
    later = whole.masked(mask)
    same(later.maps.values, cut.maps.values)
    same(later.truth.components["dust"].values, cut.truth.components["dust"].values)
    assert cut.maps.grid == later.truth.components["cmb"].grid


def test_hits_reach_the_maps():
    hits = np.ones(192)
    hits[:10] = 0
    sky = simulate("c1", nside=4, hits=hits)
    assert np.isnan(np.asarray(sky.maps.values)[..., :10]).all()
    assert np.isfinite(np.asarray(sky.maps.values)[..., 10:]).all()


def test_above_nside_64():
    sky = simulate(
        "d1s1", Instrument.of_frequencies([100.0]), nside=128, noise_ratio=0, stokes="IQU"
    )
    assert sky.maps.values.shape == (1, 3, 196608)
    assert np.isfinite(np.asarray(sky.maps.values)).all()
    alone = simulate("d1", Instrument.of_frequencies([100.0]), nside=128, noise_ratio=0)
    np.testing.assert_array_equal(
        alone.truth.components["dust"]["U"], sky.truth.components["dust"]["U"]
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"sky": "d7"}, "sky: expected models of"),
        ({"sky": "c1", "stokes": "QV"}, "stokes: expected I, QU, IQU, got 'QV'"),
        ({"sky": "c1", "seed": -1}, "seed: expected a whole number"),
        ({"sky": "c1", "seed": 1.5}, "seed: expected a whole number"),
        ({"sky": "c1", "nside": 12}, "nside: expected a power of two"),
        ({"sky": "c1", "nside": 4, "mask": np.ones(48, bool)}, "mask: expected nside 4"),
        ({"sky": "c1", "nside": 4, "mask": np.zeros(192, bool)}, "at least one kept cell"),
        ({"sky": "c1", "instrument": "JWST"}, "instrument: expected one of"),
        (
            {"sky": "c1", "instrument": Instrument.of_frequencies([30.0]), "nside": 2},
            "depth_p of channel '30'",
        ),
        ({"sky": "c1", "nside": 2048, "mask": None, "noise_ratio": 0}, "lmax: expected 0 to 3071"),
    ],
)
def test_bad_input_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        simulate(**arguments)


def test_truth_that_cannot_be_compared_is_an_error():
    class Compton(ThermalSZ):
        name: str = "dust"

    truth = simulate("d1", nside=2, noise_ratio=0.0).truth
    with pytest.raises(ValueError, match=r"model: expected reference 353\.0 of dust"):
        truth.at(SkyModel((Compton(),)))
    with pytest.raises(ValueError, match="got an empty sky"):
        simulate("0", nside=2).truth.at(SkyModel.parse("c"))


@pytest.mark.parametrize(("stokes", "count"), [("QU", 7), ("IQU", 7), ("I", 9)])
def test_channels_that_do_not_measure_the_stokes_parameters_are_left_out(stokes, count):
    sim = simulate("c1d0s0", "Planck", nside=2, stokes=stokes)
    assert sim.maps.channels == sim.instrument.names == Instrument.preset("Planck").names[:count]
