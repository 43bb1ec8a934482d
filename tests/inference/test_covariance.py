"""Covariances from correlation functions, against the modes of the transforms."""

import numpy as np
import pytest

from skysift.grid import Grid
from skysift.harmonic import SHT
from skysift.inference.covariance import covariances, fisher_of_cells
from skysift.inference.likelihood import PixelLikelihood, real_modes
from skysift.inference.regions import FullSky, Shared, cap
from skysift.inference.simulators import GaussianSky, Protocol
from skysift.inference.theory import PolarisationPeaks
from skysift.maps import Stokes

LMAX = 11
GRID = Grid.from_mask(cap(0.3, 4))


@pytest.mark.parametrize(("stokes", "field"), [(Stokes.I, 0), (Stokes.QU, 0), (Stokes.QU, 1)])
def test_covariances_are_those_of_the_modes(stokes, field):
    spectra = np.random.default_rng(1).uniform(0.5, 1.5, (2, LMAX + 1))
    spectra[:, :2] *= stokes is Stokes.I
    modes, ell = real_modes(SHT(4, LMAX), stokes, GRID)
    expected = [(modes[:, field] * one[ell]) @ modes[:, field].T for one in spectra]
    found = covariances(GRID, stokes, field, spectra)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-7 * np.max(expected))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_fisher_matrix_is_that_of_the_modes(noise):
    sky = GaussianSky(PolarisationPeaks(LMAX), 4, noise=noise, region=Shared(GRID))
    at = np.array([7.0, 9.0])
    np.testing.assert_allclose(fisher_of_cells(sky, at), PixelLikelihood(sky).fisher(at), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "at", "message"),
    [
        ({"region": FullSky()}, (7.0, 9.0), "sky: expected one mask"),
        ({"protocol": Protocol.AS_PUBLISHED}, (7.0, 9.0), "sky: expected the physical protocol"),
        ({}, (7.0, 30.0), "30"),
    ],
)
def test_fisher_matrices_that_are_refused(changes, at, message):
    sky = GaussianSky(PolarisationPeaks(LMAX), 4, **({"region": Shared(GRID)} | changes))
    with pytest.raises(ValueError, match=message):
        fisher_of_cells(sky, np.array(at))
