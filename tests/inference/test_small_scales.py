"""Powers of bands of masked maps, against healpy and against simulated maps."""

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.inference.regions import Shared, cap
from skysift.inference.simulators import GaussianSky, Split
from skysift.inference.small_scales import Bands, SmallScales
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


def test_powers_are_healpys():
    sky = SKIES["QU"]
    maps = np.asarray(sky.batch(Split.TEST.key(0), 2)[1].values, float)
    bands = Bands.above(sky, 6)
    ell = np.arange(24)
    for one, found in zip(maps, bands.powers(jnp.asarray(maps, jnp.float32)), strict=True):
        cl = hp.alm2cl(hp.map2alm([0.0 * one[0], *one], lmax=23, iter=0))[1]
        for low, high, power in zip(bands.edges[:-1], bands.edges[1:], found, strict=True):
            inside = (ell >= low) & (ell < high)
            expected = np.average(cl[inside], weights=2 * ell[inside] + 1)
            assert power == pytest.approx(expected, rel=1e-4)


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
