"""Most likely parameters of full skies, against the likelihood on a grid."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.inference.likelihood import HarmonicLikelihood
from skysift.inference.most_likely import MostLikely
from skysift.inference.simulators import Protocol, Split, t1, t2, t3

COUNT = 40
told_of = eqx.filter_jit(lambda summary, observed: summary(observed))


def numbers_and_powers(simulator):
    truths, observed = simulator.batch(Split.TEST.key(0), COUNT)
    summary = MostLikely(simulator)
    numbers = np.asarray(told_of(summary, observed))
    assert numbers.shape == (COUNT, summary.size)
    powers = np.exp(summary.powers(observed)).reshape(COUNT, len(simulator.stokes), -1)
    low = simulator.theory.lmax + 1 - powers.shape[-1]
    return truths, numbers, np.pad(powers, [(0, 0), (0, 0), (low, 0)])


@pytest.mark.parametrize("make", [t1, t2, t3])
def test_no_place_of_a_grid_is_more_likely(make):
    simulator = make(nside=4)
    _, numbers, powers = numbers_and_powers(simulator)
    size = simulator.prior.size
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    likelihood = eqx.filter_jit(HarmonicLikelihood.of(simulator))
    axis = np.linspace(-1.0, 1.0, 201 if size == 1 else 41)
    places = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), axis=-1).reshape(-1, size)

    def logs(at):
        """With the prior that the steps count with."""
        points = jnp.asarray(simulator.prior.low + half * (at + 1.0))
        return np.asarray(likelihood(jnp.asarray(powers), points))

    best = logs(np.broadcast_to(places, (COUNT, *places.shape))).max(axis=1)
    found = logs(numbers[:, None, :size].astype(float))[:, 0]
    inner = np.all(np.abs(numbers[:, :size]) < 0.9, axis=1)
    assert inner.sum() > 10
    # The prior pulls by less than a tenth of a unit of the logarithm.
    assert np.all(found[inner] > best[inner] - 0.1)


def test_covariances_are_those_of_the_fisher_matrix():
    simulator = t2(nside=4)
    _, numbers, _ = numbers_and_powers(simulator)
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    likelihood = HarmonicLikelihood.of(simulator)
    for one in numbers[:5]:
        parameters = simulator.prior.low + half * (one[:2] + 1.0)
        matrix = half[:, None] * likelihood.fisher(parameters) * half + 3.0 * np.eye(2)
        root = np.array([[one[2], 0.0], [one[3], one[4]]])
        np.testing.assert_allclose(root @ root.T, np.linalg.inv(matrix), rtol=1e-3)


def test_powers_that_do_not_fit_stand_out():
    simulator = t1(nside=4)
    _, observed = simulator.batch(Split.TEST.key(1), 100)
    summary = MostLikely(simulator)
    spare = np.asarray(told_of(summary, observed))[:, -1]
    assert abs(spare.mean()) < 1.0
    white = eqx.tree_at(lambda one: one.values, observed, jnp.ones_like(observed.values))
    assert np.all(np.abs(np.asarray(told_of(summary, white))[:, -1]) > 5.0 * spare.std())


def test_cut_skies_are_refused():
    with pytest.raises(ValueError, match="sky: expected a full sky"):
        MostLikely(t2(0.3, nside=4))
    with pytest.raises(ValueError, match="as_published"):
        MostLikely(t2(1.0, Protocol.AS_PUBLISHED, nside=4))
