import healpy as hp
import numpy as np
import pytest

import skysift as ss
from skysift.harmonic import (
    Bins,
    CMBSpectra,
    PseudoOptions,
    PseudoSpectra,
    Taper,
    apodised,
    gaussian_maps,
    spectra,
)
from skysift.maps import Maps, Stokes

NSIDE = 16
GRID = ss.Grid(NSIDE)
CL = CMBSpectra.packaged().cl(r=0.1, lmax=3 * NSIDE - 1)
MASK = ss.galactic_mask("GAL080", NSIDE)


def skies(count, stokes=Stokes.QU, cl=CL, nside=NSIDE, seed=0):
    generator = np.random.default_rng(seed)
    values = np.stack([gaussian_maps(cl, nside, stokes, generator) for _ in range(count)])
    return Maps(values, ss.Grid(nside), stokes)


def pulls(values, expected):
    error = values.std(axis=0, ddof=1) / np.sqrt(values.shape[0])
    return np.abs(values.mean(axis=0) - expected) / error


def test_the_full_sky_is_anafast():
    maps = skies(1, Stokes.IQU)
    powers = spectra(maps)
    expected = hp.anafast(maps.values[0], lmax=3 * NSIDE - 1, iter=3)
    for name, cl in zip(("TT", "EE", "BB", "TE", "EB", "TB"), expected, strict=True):
        scale = np.abs(cl[2 : 2 * NSIDE + 1])
        np.testing.assert_allclose(powers.values[name][0], cl[2 : 2 * NSIDE + 1], rtol=1e-9)
        assert scale.min() > 0
    np.testing.assert_allclose(powers.windows["BB"], np.eye(3 * NSIDE)[2 : 2 * NSIDE + 1])
    assert powers.fsky == 1.0


@pytest.mark.parametrize("purify", [True, False])
def test_a_cut_sky_is_unbiased(purify):
    estimator = PseudoSpectra.of(MASK, PseudoOptions(apodisation=8.0, purify=purify))
    powers = estimator(skies(120, Stokes.IQU))
    expected = powers.expected(CL)
    for name, values in powers.values.items():
        assert pulls(values, expected[name]).max() < 3.7, name


def test_undecoupled_spectra_are_positive_and_expect_what_they_are():
    estimator = PseudoSpectra.of(MASK, PseudoOptions(purify=False, decouple=False))
    powers = estimator(skies(120))
    assert powers.values["BB"].min() > 0
    expected = powers.expected(CL)
    for name in ("EE", "BB"):
        assert pulls(powers.values[name], expected[name]).max() < 3.7
    # Most of what is seen in B comes from E: an expectation without it would be far off.
    assert (powers.leakage["BB"] @ CL[1] > 0.1 * expected["BB"]).all()


def test_purification_keeps_e_out_of_b():
    only_e = CL.copy()
    only_e[2] = 0.0
    maps = skies(20, cl=only_e)
    pure, plain = (
        PseudoSpectra.of(MASK, PseudoOptions(apodisation=8.0, purify=purify))(maps).values["BB"]
        for purify in (True, False)
    )
    scatter = [np.sqrt(np.mean(values**2, axis=0)) for values in (pure, plain)]
    # At the highest multipoles the cells themselves mix E and B.
    assert (scatter[0][:4] < 0.02 * scatter[1][:4]).all()


def test_smoothing_brings_no_e_into_b_at_high_multipoles():
    nside = 32
    cl = CMBSpectra.packaged().cl(r=0.0, lmax=3 * nside - 1)
    only_e = cl * np.array([[0.0], [1.0], [0.0], [0.0]])
    lensing = cl * np.array([[0.0], [0.0], [1.0], [0.0]])
    mask = ss.galactic_mask("GAL080", nside)
    powers = PseudoSpectra.of(mask, PseudoOptions(lmax=2 * nside))(skies(4, cl=only_e, nside=nside))
    leaked = powers.values["BB"].mean(axis=0) / powers.expected(lensing)["BB"]
    assert (
        np.abs(leaked[powers.ell > 20]).max() < 0.03
    )  # of lensing; without iterating the smoothing, 0.1


@pytest.mark.parametrize("options", [PseudoOptions(), PseudoOptions(smoothing=0.0, iterations=0)])
def test_noise_bias_is_the_mean_over_noise(options):
    estimator = PseudoSpectra.of(MASK, options)
    draws = np.random.default_rng(3).standard_normal((150, 3, GRID.size))
    powers = estimator(Maps(draws, GRID, Stokes.IQU))
    expected = estimator.noise_bias(1.0) | estimator.noise_bias(1.0, polarised=False)
    for name, level in expected.items():
        assert pulls(powers.values[name], level).max() < 3.7, name
        assert powers.values[name].mean() == pytest.approx(level.mean(), rel=0.1)


def test_noise_that_varies_over_the_sky():
    sigma = 1.0 + (np.arange(GRID.size) > GRID.size // 3)
    estimator = PseudoSpectra.of(MASK, PseudoOptions(purify=False))
    draws = sigma * np.random.default_rng(3).standard_normal((150, 2, GRID.size))
    values = estimator(Maps(draws, GRID, Stokes.QU)).values["EE"]
    assert pulls(values, estimator.noise_bias(sigma**2)["EE"]).max() < 3.7


def test_cross_spectra_of_splits_have_no_noise_bias():
    sky = skies(100)
    noise = 3e-2 * np.random.default_rng(5).standard_normal((2, *sky.values.shape))
    splits = [sky.replace(sky.values + one) for one in noise]
    estimator = PseudoSpectra.of(MASK)
    crossed, auto = estimator(*splits), estimator(splits[0])
    expected = crossed.expected(CL)["BB"]
    assert pulls(crossed.values["BB"], expected).max() < 3.7
    assert pulls(auto.values["BB"], expected).max() > 10


def test_beam_smoothing_and_window_of_cells_are_taken_out():
    fwhm = 400.0
    alm_beam = hp.gauss_beam(np.radians(fwhm / 60), 3 * NSIDE - 1, pol=True)
    ell = np.arange(3 * NSIDE)
    window = np.exp([-ell / 90.0, -ell / 80.0])
    narrow = np.where(ell <= 24, CL, 0.0)  # what the cells hold exactly
    blurred = narrow.copy()
    blurred[0] *= (alm_beam[:, 0] * window[0]) ** 2
    blurred[1:3] *= (alm_beam[:, 1] * window[1]) ** 2
    blurred[3] *= alm_beam[:, 0] * alm_beam[:, 1] * window[0] * window[1]
    plain = PseudoOptions(lmax=24)
    freed = PseudoOptions(lmax=24, fwhm=fwhm, transfer=window)
    # The same random numbers with and without: what is taken out is what was put in.
    one, two = (skies(1, Stokes.IQU, cl=cl, seed=7) for cl in (narrow, blurred))
    expected, found = spectra(one, options=plain).values, spectra(two, options=freed).values
    for name in ("TT", "EE", "BB", "TE"):
        scale = np.sqrt(np.prod([expected[2 * letter] for letter in name], axis=0))
        assert (np.abs(found[name] - expected[name]) < 2e-3 * scale).all(), name


def test_any_ordering_and_missing_cells():
    maps = skies(2)
    nested = maps.reordered(ss.Ordering.NESTED)
    cut = maps.replace(np.where(MASK, maps.values, ss.UNSEEN))
    partial = maps.masked(MASK)
    expected = spectra(maps, MASK).values["EE"]
    for other in (
        spectra(nested, MASK),
        spectra(cut),
        spectra(partial),
        spectra(maps, other=cut),
        spectra(partial.reordered(ss.Ordering.NESTED)),
    ):
        np.testing.assert_allclose(other.values["EE"], expected, rtol=1e-12)


def test_tapers_rise_inside_the_mask():
    for taper in Taper:
        weight = apodised(MASK, 12.0, taper)
        assert weight[~MASK].max() == 0.0
        assert 0.99 < weight.max() <= 1.0
        assert 0.3 < weight[MASK].mean() < 1.0
    # A polar cap: distance to the edge is known.
    theta = hp.pix2ang(64, np.arange(12 * 64**2))[0]
    weight = apodised(theta < np.radians(40.0), 20.0, Taper.C2)
    x = np.sqrt((1 - np.cos(np.radians(40.0) - theta)) / (1 - np.cos(np.radians(20.0))))
    expected = 0.5 * (1 - np.cos(np.pi * np.minimum(x, 1)))
    inside = theta < np.radians(39.0)
    assert np.abs(weight - expected)[inside].max() < 0.08  # of a cell's width


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectra(skies(1), np.zeros(GRID.size, bool)), "mask: expected at least one"),
        (lambda: spectra(skies(1), np.ones(768, bool)), "maps: expected nside 8"),
        (lambda: spectra(skies(1), np.ones(100, bool)), "mask: expected a full sky"),
        (
            lambda: spectra(skies(1).masked(MASK), np.ones(GRID.size, bool)),
            "maps: expected a value",
        ),
        (lambda: spectra(skies(1), options=PseudoOptions(lmax=48)), "lmax: expected 2 to 47"),
        (
            lambda: spectra(skies(1), options=PseudoOptions(lmax=20, bins=Bins.each(2, 30))),
            "bins: expected multipoles up to lmax = 20",
        ),
        (
            lambda: spectra(skies(1), hp.pix2ang(NSIDE, np.arange(GRID.size))[0] < 0.1),
            "further than",
        ),
        (
            lambda: spectra(
                skies(1),
                hp.pix2ang(NSIDE, np.arange(GRID.size))[0] < 0.5,
                options=PseudoOptions(purify=False, apodisation=0.0, bins=Bins.each(2, 30)),
            ),
            "bins: expected bins that",
        ),
        (lambda: apodised(MASK, 200.0), "apodisation: expected an edge narrower"),
        (lambda: apodised(MASK, -1.0), "apodisation: expected degrees"),
        (
            lambda: spectra(skies(1), options=PseudoOptions(transfer=np.ones(10))),
            "transfer: expected values",
        ),
        (lambda: PseudoOptions(fwhm=-3.0), "fwhm: expected arcmin"),
        (lambda: PseudoOptions(iterations=-1), "iterations: expected 0"),
        (lambda: spectra(skies(1), other=skies(1, Stokes.I)), "other: expected Stokes"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
