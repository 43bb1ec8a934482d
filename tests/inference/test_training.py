"""Training finds a posterior that is known, stops and goes on, and says how it ended."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.inference import training
from skysift.inference.evaluate import evaluate
from skysift.inference.heads import Regression
from skysift.inference.model import Network
from skysift.inference.networks import AbstractNetwork, HarmonicNetwork, HarmonicShape, learnt
from skysift.inference.simulators import FunctionSimulator, Split, t1
from skysift.inference.spectral_cnn import SpectralCNN, SpectralShape
from skysift.inference.training import Plan, Progress, Status, train

from .averages import Average, exact, levels

PLAN = Plan(maps=10_000, validation=2000, epochs=6, batch=250, members=2)
NETWORK = Network(Average(), Regression(components=2, width=16, depth=2))
SIMULATOR = levels()


class Stopped(Exception):
    pass


def stopping(after):
    def report(progress: Progress):
        if progress.stage == "epochs" and progress.done == after:
            raise Stopped

    return report


@pytest.fixture(scope="module")
def result():
    return train(SIMULATOR, NETWORK, plan=PLAN)


def test_it_finds_the_posterior(result):
    parameters, observed = SIMULATOR.batch(Split.TEST.key(0), 500)
    post, law = result.model(observed.values), exact(observed.values)
    inside = law.std()
    assert np.sqrt(np.mean(((post.mean[:, 0] - law.mean()) / inside) ** 2)) < 0.1
    np.testing.assert_allclose(post.std[:, 0], inside, rtol=0.25)
    gap = np.mean(law.logpdf(np.asarray(parameters)[:, 0]) - post.log_prob(parameters))
    assert abs(gap) < 0.02
    assert len(result.history) == PLAN.epochs + 1
    assert result.history[-1].validation[0] < result.history[0].validation[0] + 1e-6
    assert result.status in (Status.CONVERGED, Status.EPOCH_LIMIT)


def test_posteriors_are_calibrated(result):
    found = evaluate(result.model, SIMULATOR, n=2000)
    error = np.sqrt(0.68 * 0.32 / 2000)
    assert abs(found.coverage(0.68)[0] - 0.68) < 4.0 * error
    assert found.rank_pvalue[0] > 1e-3
    assert all(abs(one.mean[0]) < 0.15 for one in found.biases)
    # The exact posterior means answer with 1 - variance / prior variance.
    law = exact(SIMULATOR.batch(Split.TEST.key(0), 500)[1].values)
    assert abs(found.slope[0] - (1.0 - np.mean(law.var()) / PRIOR_VARIANCE)) < 0.03


PRIOR_VARIANCE = 2.0**2 / 12.0


def test_gone_on_with_is_the_same_as_not_interrupted(result, tmp_path):
    for after in (2, 4):
        with pytest.raises(Stopped):
            train(SIMULATOR, NETWORK, plan=PLAN, folder=tmp_path, report=stopping(after))
    again = train(SIMULATOR, NETWORK, plan=PLAN, folder=tmp_path)
    assert again.history == result.history
    arrays = (
        jax.tree.leaves(eqx.filter(one.model.members, eqx.is_array)) for one in (again, result)
    )
    for one, other in zip(*arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="folder: expected the checkpoint of this training"):
        train(SIMULATOR, NETWORK, seed=1, plan=PLAN, folder=tmp_path)


def test_divergence_is_told_and_the_start_is_kept():
    plan = dataclasses.replace(PLAN, learning_rate=1e18, epochs=2, members=1, maps=1000)
    found = train(SIMULATOR, NETWORK, plan=plan)
    assert found.status is Status.DIVERGED
    post = found.model(SIMULATOR.batch(Split.TEST.key(0), 4)[1].values)
    assert np.all(np.isfinite(post.mean))


def test_history_says_when_it_is_over():
    def history(*losses):
        return tuple(
            training.Epoch(number, (loss,), (loss,), (0.0,)) for number, loss in enumerate(losses)
        )

    plan = dataclasses.replace(PLAN, epochs=4, patience=2, members=1)
    assert training._ended(history(1.0, 0.5), plan) is None
    assert training._ended(history(1.0, 0.5, 0.6, 0.6), plan) is Status.CONVERGED
    assert training._ended(history(1.0, 0.5, 0.4, 0.3, 0.2), plan) is Status.EPOCH_LIMIT
    assert training._ended(history(1.0, 0.5, 0.4, 0.3, 0.3), plan) is Status.CONVERGED
    assert training._ended(history(1.0, float("nan")), plan) is Status.DIVERGED


def test_maps_that_are_not_finite_are_refused():
    bad = FunctionSimulator(
        lambda p, key: jnp.full((1, 12), jnp.nan), SIMULATOR.prior, 1, SIMULATOR.stokes
    )
    with pytest.raises(ValueError, match="simulator: expected maps with finite numbers"):
        train(bad, NETWORK, plan=PLAN)


def test_networks_that_learn_do_so_each_by_itself():
    simulator = t1(nside=2)
    network = Network(HarmonicNetwork(HarmonicShape(2, simulator.stokes, (2,)), jax.random.key(0)))
    plan = Plan(maps=2000, validation=500, epochs=2, batch=100, members=2, learning_rate=1e-2)
    found = train(simulator, network, plan=plan)
    first, last = found.history[0].validation, found.history[-1].validation
    assert len(last) == 2
    assert all(after < before for before, after in zip(first, last, strict=True))
    assert last[0] != last[1]
    learned = eqx.filter(found.model.members.summary, learnt(network.summary))
    for leaf in jax.tree.leaves(learned):
        assert leaf.shape[0] == 2
        assert leaf.size == 0 or np.any(np.asarray(leaf[0]) != np.asarray(leaf[1]))


class Telling(AbstractNetwork):
    """A network that says how much of its training lies behind."""

    told: list = eqx.field(static=True)
    factor: jax.Array

    @property
    def size(self):
        return 1

    def __call__(self, observed):
        return self.factor * observed.values[:, 0].astype(jnp.float32).mean(axis=1, keepdims=True)

    def learning(self, observed, key, done=0.0):
        jax.debug.callback(lambda one: self.told.append(float(one)), done)
        return super().learning(observed, key, done)


def test_networks_are_told_how_much_of_the_training_lies_behind():
    told = []
    network = Network(Telling(told, jnp.ones((), jnp.float32)))
    train(SIMULATOR, network, plan=Plan(maps=400, validation=200, epochs=2, batch=200))
    assert sorted(set(told)) == [0.0, 0.25, 0.5, 0.75]


def test_a_network_by_muon_goes_on_as_if_not_interrupted(tmp_path):
    simulator = t1(nside=2)
    shape = SpectralShape(2, simulator.stokes, blocks=2, channels=2, numbers=4)
    network = Network(SpectralCNN(shape, jax.random.key(0)))
    plan = Plan(maps=400, validation=200, epochs=3, batch=100, learning_rate=1e-2)
    with pytest.raises(Stopped):
        train(simulator, network, plan=plan, folder=tmp_path, report=stopping(1))
    again = train(simulator, network, plan=plan, folder=tmp_path)
    whole = train(simulator, network, plan=plan)
    assert again.history == whole.history
    assert eqx.tree_equal(again.model.members, whole.model.members)


def test_networks_that_learn_need_maps_of_jax():
    stokes = SIMULATOR.stokes
    made = FunctionSimulator(
        lambda p, key: np.full((1, 48), p[0]), SIMULATOR.prior, 2, stokes, traced=False
    )
    network = Network(HarmonicNetwork(HarmonicShape(2, stokes, (2,)), jax.random.key(0)))
    with pytest.raises(ValueError, match="network: expected a fixed summary"):
        train(made, network, plan=PLAN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: expected more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected more than 0"),
        ({"weight_decay": -1.0}, "weight_decay: expected 0 or more"),
        ({"batch": 20_000}, "batch: expected at most the 10000 maps"),
    ],
)
def test_plans_that_make_no_sense(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAN, **values)
