"""Powers of bands of masked maps, against healpy and against simulated maps."""

import itertools
import math

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.harmonic import multipoles
from skysift.inference.regions import Shared, cap
from skysift.inference.simulators import GaussianSky, Split, t4
from skysift.inference.small_scales import Bands, SmallScales, tapered
from skysift.inference.theory import PolarisationPeaks, TemperaturePeak

SHARED = Shared(Grid.from_mask(cap(0.3, 8)))
SKIES = {
    "QU": GaussianSky(PolarisationPeaks(23), 8, noise=0.5, region=SHARED),
    "I": GaussianSky(TemperaturePeak(23), 8, noise=0.5, region=SHARED),
}
PLACES = {"QU": np.array([0.6, -0.3]), "I": np.array([0.6])}


@pytest.fixture(scope="module", params=["QU", "I"])
def known(request):
    """A sky, its small scales, a place, and the powers of maps of it."""
    sky, place = SKIES[request.param], PLACES[request.param]
    small = SmallScales.above(sky, 8)
    at = jnp.broadcast_to(sky.prior.at(jnp.asarray(place)), (4000, place.size))
    maps = sky.simulate(at, Split.TEST.key(3)).values.astype(jnp.float32)
    return sky, small, place, np.asarray(small.bands.powers(maps), float)


def bands_of(spectrum, edges):
    """Means over the modes of a spectrum."""
    ell = np.arange(len(spectrum))
    inside = [(ell >= low) & (ell < high) for low, high in itertools.pairwise(edges)]
    return [np.average(spectrum[some], weights=2 * ell[some] + 1) for some in inside]


def test_powers_are_healpys():
    sky = SKIES["QU"]
    maps = np.asarray(sky.batch(Split.TEST.key(0), 2)[1].values, float)
    bands = Bands.above(sky, 6)
    found = np.asarray(bands.powers(jnp.asarray(maps, jnp.float32)))
    assert found.shape == (2, bands.count)
    for one, powers in zip(maps, found, strict=True):
        cl = hp.alm2cl(hp.map2alm([0.0 * one[0], *one], lmax=23, iter=0))[1]
        expected = bands_of(cl, bands.edges)
        np.testing.assert_allclose(powers[: len(expected)], expected, rtol=1e-4)


def test_powers_of_b_are_healpys():
    """B of W P with what weights mix taken out (Smith 2006), step by step."""
    sky = SKIES["QU"]
    bands = Bands.above(sky, 6)
    assert 0 < bands.pure < len(bands.edges) - 1
    (one,) = np.asarray(sky.batch(Split.TEST.key(0), 1)[1].values, float)
    weight = tapered(bands.grid)
    lmax, ell = 23, hp.Alm.getlm(23)[0]
    alm = hp.map2alm(weight, lmax=lmax, iter=3)
    nothing = np.zeros_like(alm)

    def b_of(values, spin):
        if spin == 0:
            return hp.map2alm(values.imag, lmax=lmax, iter=0)
        return hp.map2alm_spin([values.real, values.imag], spin, lmax)[1]

    polarisation = one[0] + 1j * one[1]
    found = b_of(weight * polarisation, 2)
    low = np.maximum(ell, 2)
    for spin, size, factor in (
        (1, ell * (ell + 1.0), -2.0 / np.sqrt((low + 2.0) * (low - 1.0))),
        (
            2,
            (ell + 2.0) * (ell + 1.0) * ell * (ell - 1.0),
            1.0 / np.sqrt((low + 2.0) * (low + 1.0) * low * (low - 1.0)),
        ),
    ):
        raised = alm * np.sqrt(np.maximum(size, 0.0))
        window = np.array(hp.alm2map_spin([raised, nothing], 8, spin, lmax))
        product = (window[0] - 1j * window[1]) * polarisation
        found = found + np.where(ell < 2, 0.0, factor) * b_of(product, 2 - spin)
    expected = bands_of(hp.alm2cl(found), bands.edges_pure)
    powers = bands.powers(jnp.asarray(one[None], jnp.float32))[0, -bands.pure :]
    np.testing.assert_allclose(powers, expected, rtol=1e-3)


def test_e_modes_make_no_power_of_b():
    sky = t4(nside=32, fsky=0.3)
    bands = Bands.above(sky, 30)
    parameters = jnp.asarray([0.003, 0.05])
    ell = multipoles(sky.theory.lmax)[0]
    roots = np.sqrt(np.asarray(sky.theory(parameters)))[:, ell]
    white = np.random.default_rng(0).standard_normal((20, 2, 2, ell.size))
    alm = roots * (white[:, 0] + 1j * white[:, 1]) / math.sqrt(2.0)
    seen = tapered(bands.grid) > 0.0
    both, alone = (
        bands.powers(jnp.asarray(sky.sht.synthesis(some, spin=2) * seen, jnp.float32)).mean(axis=0)
        for some in (alm, alm * np.array([[1.0], [0.0]]))
    )
    assert bands.pure >= 3
    of_b = slice(-bands.pure, None)
    # More in the last bands, where cells sample E modes as B.
    assert np.all(alone[of_b] < 0.3 * both[of_b])
    assert alone[-bands.pure] < 0.04 * both[-bands.pure]


def test_small_parts_of_the_sky_and_temperature_have_no_bands_of_b():
    assert Bands.above(SKIES["I"], 6).pure == 0
    small = Shared(Grid.from_mask(cap(0.05, 8)))
    bands = Bands.above(GaussianSky(PolarisationPeaks(23), 8, region=small), 6)
    assert bands.pure == 0
    assert bands.count == len(bands.edges) - 1 > 0


def test_mean_powers_are_those_of_maps(known):
    sky, small, place, powers = known
    expected = small.expected(np.asarray(sky.theory(sky.prior.at(jnp.asarray(place)))))
    # What sets the powers right is known from 200 maps.
    error = powers.std(axis=0) * np.sqrt(1.0 / 4000.0 + 1.0 / 200.0)
    assert np.all(np.abs(powers.mean(axis=0) - expected) < 4.0 * error)
    plain = np.asarray(sky.theory(sky.prior.at(jnp.zeros(place.size))))
    assert not np.allclose(small.expected(plain), expected, rtol=0.1)


def test_estimates_of_bands_scatter_as_their_information_says(known):
    sky, small, place, powers = known

    def law(at):
        return sky.theory(sky.prior.at(at))

    at = jnp.asarray(place)
    spectra, slopes = np.asarray(law(at)), np.asarray(jax.jacfwd(law)(at))
    weights, information = small.law(spectra, slopes)
    scores = (powers - small.expected(spectra)) @ weights.T
    root = np.linalg.inv(np.linalg.cholesky(information))
    found = root @ np.cov(scores.T, ddof=1).reshape(information.shape) @ root.T
    np.testing.assert_allclose(found, np.eye(place.size), atol=0.3)


def test_there_may_be_no_bands():
    small = SmallScales.above(SKIES["QU"], 22)
    maps = jnp.zeros((3, 2, 768), jnp.float32)
    assert small.bands.powers(maps).shape == (3, 0)
    weights, information = small.law(np.ones((2, 24)), np.ones((2, 24, 2)))
    assert weights.shape == (2, 0)
    np.testing.assert_array_equal(information, np.zeros((2, 2)))
