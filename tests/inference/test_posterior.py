"""Posteriors over a prior: units, bounds and flags."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from skysift.inference.mixture import Mixture
from skysift.inference.posterior import Posterior
from skysift.inference.prior import Parameter, Prior

PRIOR = Prior((Parameter("r", 0.0, 0.01), Parameter("tau", 0.03, 0.08)))
MEANS = jnp.array([[[-0.2, 0.5]], [[-1.2, 0.0]]])
POSTERIOR = Posterior(
    PRIOR,
    Mixture(jnp.zeros((2, 1)), MEANS, jnp.full((2, 1, 2), 0.1), jnp.zeros((2, 1, 2, 2))),
)


def test_it_is_in_units_of_the_parameters():
    np.testing.assert_allclose(POSTERIOR.mean[0], [0.004, 0.0675], rtol=1e-3)
    np.testing.assert_allclose(POSTERIOR.std[0], [0.0005, 0.0025], rtol=0.02)
    draws = POSTERIOR.sample(3, 4000)
    assert draws.shape == (2, 4000, 2)
    assert PRIOR.holds(draws).all()
    np.testing.assert_array_equal(draws, POSTERIOR.sample(jax.random.key(3), 4000))
    np.testing.assert_allclose(draws[0].mean(axis=0), POSTERIOR.mean[0], rtol=0.01)
    laws = scipy.stats.norm(0.004, 0.0005), scipy.stats.norm(0.0675, 0.0025)
    expected = laws[0].logpdf(0.0043) + laws[1].logpdf(0.066)
    np.testing.assert_allclose(POSTERIOR.log_prob([0.0043, 0.066])[0], expected, rtol=1e-5)


def test_nothing_outside_of_the_prior_and_a_flag_at_its_bound():
    np.testing.assert_array_equal(POSTERIOR.at_bounds, [[False, False], [True, False]])
    assert np.all(POSTERIOR.log_prob([-0.001, 0.05]) == -np.inf)


def test_data_sets_have_names():
    data = POSTERIOR.to_dataset()
    assert float(data["mean"].sel(parameter="tau")[0]) == POSTERIOR.mean[0, 1]
    assert data["quantile"].sel(level=0.5).shape == (2, 2)


def test_bad_questions():
    with pytest.raises(ValueError, match=r"theta: expected numbers of shape \(2, 2\)"):
        POSTERIOR.log_prob([0.1])
    with pytest.raises(ValueError, match="with NaN"):
        POSTERIOR.log_prob([np.nan, 0.05])
    with pytest.raises(ValueError, match="n: expected 1 or more"):
        POSTERIOR.sample(0, 0)
