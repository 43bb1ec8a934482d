"""Mixtures cut at a box, against SciPy and against what they draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from skysift.inference.mixture import Mixture

LOG_PROB = jax.jit(lambda mixture, places: mixture.log_prob(places))
MOMENTS = jax.jit(lambda mixture: mixture.moments())
SAMPLE = jax.jit(lambda mixture, key, count: mixture.sample(key, count), static_argnums=2)


def one(mean, spread, coupling=0.0):
    """A mixture of one component for one map."""
    means, spreads = (
        jnp.atleast_1d(jnp.asarray(mean, float)),
        jnp.atleast_1d(jnp.asarray(spread, float)),
    )
    matrix = jnp.zeros((means.size, means.size)).at[-1, 0].set(coupling * (means.size > 1))
    return Mixture(jnp.zeros((1, 1)), means[None, None], spreads[None, None], matrix[None, None])


TWO = Mixture(
    jnp.log(jnp.array([[0.3, 0.7]])),
    jnp.array([[[0.2, -1.1], [-0.4, 0.5]]]),
    jnp.array([[[0.3, 0.4], [0.2, 0.6]]]),
    jnp.zeros((1, 2, 2, 2)).at[0, :, 1, 0].set(jnp.array([0.8, -1.5])),
)


@pytest.mark.parametrize(("mean", "spread"), [(0.1, 0.2), (-1.3, 0.1), (1.5, 0.7), (0.0, 0.003)])
def test_cut_gaussians_are_those_of_scipy(mean, spread):
    law = scipy.stats.truncnorm((-1 - mean) / spread, (1 - mean) / spread, mean, spread)
    mixture = one(mean, spread)
    at = np.clip(np.linspace(law.ppf(1e-3), law.ppf(1 - 1e-3), 5), -1.0, 1.0)
    found = [float(LOG_PROB(mixture, jnp.array([[x]]))[0]) for x in at]
    np.testing.assert_allclose(found, law.logpdf(at), rtol=1e-8, atol=1e-8)
    centre, deviation = MOMENTS(mixture)
    np.testing.assert_allclose(centre[0, 0], law.mean(), atol=2e-3 * law.std())
    np.testing.assert_allclose(deviation[0, 0], law.std(), rtol=1e-2)


def test_densities_integrate_to_one_and_draws_follow_them():
    steps = np.linspace(-1.0, 1.0, 201)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    whole = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(grid), axis=0), TWO)
    density = np.exp(LOG_PROB(whole, jnp.asarray(grid))).reshape(201, 201)
    inner = scipy.integrate.simpson(density, x=steps, axis=1)
    np.testing.assert_allclose(scipy.integrate.simpson(inner, x=steps), 1.0, atol=1e-6)
    mean = scipy.integrate.simpson(inner * steps, x=steps)
    second = scipy.integrate.simpson(
        scipy.integrate.simpson(density * steps, x=steps, axis=1), x=steps
    )
    centre, deviation = MOMENTS(TWO)
    np.testing.assert_allclose(centre[0], [mean, second], atol=3e-3)
    draws = np.asarray(SAMPLE(TWO, jax.random.key(0), 20_000)[0])
    np.testing.assert_allclose(draws.mean(axis=0), centre[0], atol=0.02)
    np.testing.assert_allclose(draws.std(axis=0), deviation[0], atol=0.02)
    assert np.abs(draws).max() <= 1.0


def test_nothing_is_outside_the_box():
    assert float(LOG_PROB(one(0.0, 0.5), jnp.array([[1.001]]))[0]) == -np.inf


def test_far_means_pile_up_at_their_face():
    for side in (-1.0, 1.0):
        mixture = one(side * 3.0, 0.01)
        draws = np.asarray(SAMPLE(mixture, jax.random.key(1), 100))
        assert np.all(np.abs(draws - side) < 0.02)
        assert np.isfinite(LOG_PROB(mixture, jnp.array([[side * 0.99]]))[0])


def test_single_precision_has_finite_slopes():
    mixture = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32), one([3.0, -1.0], [1e-4, 2.0], 9.0)
    )
    slopes = jax.jit(jax.grad(lambda m: m.log_prob(jnp.zeros((1, 2), jnp.float32))[0]))(mixture)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
