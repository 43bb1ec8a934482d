"""Places of parameters, and the covariance that the prior leaves."""

import jax.numpy as jnp
import numpy as np

from skysift.inference.prior import Parameter, Prior
from skysift.inference.summary import covariance_root

PRIOR = Prior((Parameter("r", 0.0, 0.01), Parameter("tau", 0.03, 0.08)))


def test_places_fill_the_prior():
    np.testing.assert_allclose(
        PRIOR.at(np.array([[-1.0, -1.0], [1.0, 1.0]])), [PRIOR.low, PRIOR.high]
    )
    drawn = np.random.default_rng(0).uniform(PRIOR.low, PRIOR.high, (5, 2))
    np.testing.assert_allclose(PRIOR.at(PRIOR.places(drawn)), drawn)
    np.testing.assert_allclose(PRIOR.grid(2), [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])


def test_covariances_have_the_information_and_that_of_the_prior():
    information = np.array([[40.0, 12.0], [12.0, 9.0]])
    root = np.asarray(covariance_root(jnp.asarray(information)))
    assert root[0, 1] == 0.0
    np.testing.assert_allclose(np.linalg.inv(root @ root.T), information + 3.0 * np.eye(2))
    # Places are uniform from -1 to 1.
    alone = np.asarray(covariance_root(jnp.zeros((1, 1))))
    np.testing.assert_allclose(alone, np.linspace(-1.0, 1.0, 100_001).std(), rtol=1e-4)
