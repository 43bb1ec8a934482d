"""Heads before they learn: what linear algebra tells already."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.inference.heads import Refinement, Regression, Scoring, _basis, _powers
from skysift.inference.likelihood import HarmonicLikelihood
from skysift.inference.theory import PolarisationPeaks

likelihood_of = eqx.filter_jit(lambda theory, powers, at: HarmonicLikelihood(theory)(powers, at))
drawn = eqx.filter_jit(lambda theory, at, key: HarmonicLikelihood(theory).draw(at, key))


def spectra(theory, count, seed):
    """Places and logarithms of spectra of full skies without noise."""
    first, second = jax.random.split(jax.random.key(seed))
    parameters = theory.prior.sample(first, count)
    powers = drawn(theory, parameters, second)
    half = 0.5 * (theory.prior.high - theory.prior.low)
    places = np.asarray((parameters - theory.prior.low) / half - 1.0)
    return places, np.log(np.asarray(powers[..., 2:])).reshape(count, -1), powers


def quiet(head):
    """The head without what is left to learn."""
    layers = head.last.layers.layers
    weights = [layers[-1].weight, layers[-1].bias]
    return eqx.tree_at(
        lambda h: (h.last.layers.layers[-1].weight, h.last.layers.layers[-1].bias),
        head,
        [jnp.zeros_like(one) for one in weights],
    )


def test_scoring_is_maximum_likelihood_on_the_full_sky():
    theory = PolarisationPeaks(23)
    places, numbers, _ = spectra(theory, 10_000, 0)
    head = Scoring(components=1, width=4).head(
        numbers.shape[1], theory.prior.size, jax.random.key(0)
    )
    head = quiet(head.piloted(numbers, places))
    at, seen, powers = spectra(theory, 100, 1)
    mixture = eqx.filter_jit(lambda one, x: one(x))(head, jnp.asarray(seen))
    half = 0.5 * (theory.prior.high - theory.prior.low)
    steps = np.linspace(-1.0, 1.0, 301)
    # Fields have a parameter each: the others stay where they are.
    for number in range(theory.prior.size):
        points = np.repeat(at[:, None], steps.size, axis=1)
        points[..., number] = steps
        logs = likelihood_of(theory, powers, jnp.asarray(theory.prior.low + half * (1 + points)))
        weights = np.exp(np.asarray(logs) - np.asarray(logs).max(axis=1, keepdims=True))
        mean = (weights @ steps) / weights.sum(axis=1)
        spread = np.sqrt((weights @ steps**2) / weights.sum(axis=1) - mean**2)
        inner = np.abs(at[:, number]) < 0.8
        found = np.asarray(mixture.means[:, 0, number])
        off = ((found - mean) / spread)[inner]
        assert np.sqrt(np.mean(off**2)) < 0.35
        ratio = np.asarray(mixture.spreads[:, 0, number])[inner] / spread[inner]
        assert abs(np.median(ratio) - 1.0) < 0.15


def test_regression_is_that_of_linear_algebra():
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((4000, 3)) * [1.0, 10.0, 0.0] + 5.0
    noise = rng.standard_normal((4000, 2)) * [0.1, 0.2]
    noise[:, 1] += noise[:, 0]
    places = np.clip((seen - 5.0) @ np.array([[0.1, 0.05], [0.01, -0.02], [0, 0]]) + noise, -1, 1)
    head = Regression(components=1, width=4).head(3, 2, jax.random.key(0))
    mixture = quiet(head.piloted(seen, places))(jnp.asarray(seen[:5]))
    expected = (seen[:5] - 5.0) @ np.array([[0.1, 0.05], [0.01, -0.02], [0, 0]])
    np.testing.assert_allclose(mixture.means[:, 0], expected, atol=0.02)
    # Deviation of the first, and of the second given the first, which moves it by as much.
    np.testing.assert_allclose(mixture.spreads[0, 0], [0.1, 0.2], rtol=0.05)
    np.testing.assert_allclose(mixture.coupling[0, 0, 1, 0], 1.0, rtol=0.1)


def test_refinement_begins_with_what_estimates_miss():
    rng = np.random.default_rng(0)
    places = rng.uniform(-0.5, 0.5, (4000, 2))
    root = np.array([[0.1, 0.0], [0.05, 0.2]])
    # Half a deviation too high, twice as uncertain as they say.
    at = places + (0.5 + 2.0 * rng.standard_normal((4000, 2))) @ root.T
    rows, columns = np.tril_indices(2)
    told = [at, np.tile(root[rows, columns], (4000, 1)), rng.standard_normal((4000, 3))]
    numbers = np.concatenate(told, axis=1)
    head = Refinement(components=1, width=4).head(8, 2, jax.random.key(0))
    mixture = quiet(head.piloted(numbers, places))(jnp.asarray(numbers[:5]))
    np.testing.assert_allclose(mixture.means[:, 0], at[:5] - root @ [0.5, 0.5], atol=0.02)
    np.testing.assert_allclose(mixture.spreads[0, 0], 2.0 * np.diag(root), rtol=0.05)
    np.testing.assert_allclose(mixture.coupling[0, 0, 1, 0], 0.05 / 0.1, rtol=0.2)
    with pytest.raises(ValueError, match="expected 5 or more"):
        Refinement().head(4, 2, jax.random.key(0))


def test_slopes_of_the_basis_are_those_of_jax():
    at = jnp.array([-0.9, 1.0])
    found, slopes = jax.jit(lambda at: (_basis(at), jax.jacfwd(lambda x: _basis(x)[0])(at)))(at)
    assert found.shape == (3, len(_powers(2)))
    np.testing.assert_allclose(found[1:], slopes.T, rtol=1e-9, atol=1e-9)
    x = 0.3
    np.testing.assert_allclose(
        _basis(jnp.array([x]))[0], np.cos(np.arange(21) * np.arccos(x)), atol=1e-12
    )


def test_too_few_maps_and_numbers_that_are_not_finite_are_refused():
    head = Regression().head(3, 1, jax.random.key(0))
    with pytest.raises(ValueError, match="expected those of 8 maps or more"):
        head.piloted(np.zeros((5, 3)), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="expected finite numbers"):
        head.piloted(np.full((50, 3), np.nan), np.zeros((50, 1)))
    with pytest.raises(ValueError, match="width: expected 1 or more"):
        Scoring(width=0)
