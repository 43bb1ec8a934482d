import numpy as np
import pytest

from skysift.scattering import BumpSteerable, Morlet
from skysift.scattering.plane.wavelets import directions

from ..oracles.scattering import bump, morlet

K = np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 2))


@pytest.mark.parametrize("orientations", [1, 4, 7])
@pytest.mark.parametrize(("wavelet", "profile"), [(BumpSteerable(), bump), (Morlet(), morlet)])
def test_wavelets_oracle(wavelet, profile, orientations):
    for direction in directions(2, orientations):
        for scale in (0, 2):
            got = wavelet(K, scale, direction, orientations)
            np.testing.assert_allclose(got, profile(K, scale, direction, orientations), atol=1e-13)


@pytest.mark.parametrize("wavelet", [BumpSteerable(), Morlet()])
def test_wavelets_are_dilated_and_blind_to_constants(wavelet):
    direction = directions(2, 4)[1]
    np.testing.assert_allclose(
        wavelet(K, 1, direction, 4), wavelet(2.0 * K, 0, direction, 4), atol=1e-14
    )
    assert abs(wavelet(np.zeros((1, 2)), 0, direction, 4)[0]) < 1e-15


def test_bump_is_analytic_and_of_one_band():
    direction = directions(2, 4)[3]
    values = BumpSteerable()(K, 1, direction, 4)
    outside = (K @ direction <= 0.0) | (np.linalg.norm(K, axis=1) >= 0.85 * np.pi)
    assert np.all(values[outside] == 0.0)
    assert np.any(values[~outside] > 0.5)


@pytest.mark.parametrize(("dimensions", "orientations"), [(1, 1), (2, 5), (3, 3), (3, 10)])
def test_directions_are_unit_vectors_of_a_half_space(dimensions, orientations):
    axes = directions(dimensions, orientations)
    assert axes.shape == (orientations, dimensions)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1.0, rtol=1e-14)
    opposite = axes @ axes.T + 2.0 * np.eye(orientations)
    assert opposite.min() > -1.0 + 1e-6


@pytest.mark.parametrize(("dimensions", "orientations"), [(1, 2), (2, 0)])
def test_directions_refuse(dimensions, orientations):
    with pytest.raises(ValueError, match="orientations: expected 1"):
        directions(dimensions, orientations)
