"""Scores around the most likely node, against dense matrices and simulated maps."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.inference import codec
from skysift.inference.likelihood import real_modes
from skysift.inference.near_scores import NearScores
from skysift.inference.regions import Shared, cap
from skysift.inference.simulators import GaussianSky, Protocol, Split, t2
from skysift.inference.theory import PolarisationPeaks
from skysift.inference.training import Plan, train

SHARED = Shared(Grid.from_mask(cap(0.3, 4)))
NODES = 5
PLACE = np.array([0.1, -0.3])
seen_of = eqx.filter_jit(lambda summary, observed: summary.seen(observed))
told_of = eqx.filter_jit(lambda summary, observed: summary(observed))


def sky(protocol=Protocol.AS_PUBLISHED, noise=0.0):
    return GaussianSky(PolarisationPeaks(11), 4, noise=noise, region=SHARED, protocol=protocol)


@pytest.fixture(scope="module")
def summary():
    return NearScores(sky(), NODES)


@pytest.fixture(scope="module")
def observed():
    """Maps of one place, in double precision."""
    simulator = sky().in_double()
    at = np.broadcast_to(simulator.prior.at(PLACE), (4000, 2))
    return simulator.simulate(jnp.asarray(at), Split.TEST.key(0))


def covariance(simulator, parameters):
    """Of the values, by the roots of each multipole."""
    modes, ell = real_modes(simulator.sht, simulator.stokes, SHARED.grid)
    roots = np.asarray(simulator.roots(jnp.asarray(parameters)))[..., ell]
    white = np.einsum("vfm,fwm->vwm", modes, roots).reshape(len(modes), -1)
    return white @ white.T + simulator.noise**2 * np.eye(len(modes))


def slopes(simulator, parameters, step=1e-5):
    """Derivatives of the covariance with places."""
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    return [
        (covariance(simulator, parameters + one) - covariance(simulator, parameters - one))
        / (2.0 * step)
        for one in np.diag(half * step)
    ]


def white_noise(simulator, smoothing):
    """Smoothing times the largest variance, on average over the prior."""
    points = simulator.prior.at(simulator.prior.grid(10))
    return smoothing * np.mean([covariance(simulator, one).diagonal() for one in points], 0).max()


@pytest.mark.parametrize(
    ("protocol", "noise"), [(Protocol.PHYSICAL, 0.3), (Protocol.AS_PUBLISHED, 2.0)]
)
def test_forms_are_those_of_the_smooth_likelihood(protocol, noise):
    simulator = sky(protocol, noise)
    summary = NearScores(simulator, NODES, smoothing=0.01)
    basis = np.asarray(summary.basis, float)
    _, some = simulator.batch(Split.TEST.key(0), 3)
    values = np.asarray(some.values)[..., SHARED.grid.ring].reshape(3, -1) @ basis
    logs, scores = (np.asarray(one) for one in seen_of(summary, some))
    other = simulator.prior.at(PLACE)
    means = np.asarray(summary.means(jnp.asarray(PLACE)))
    white = white_noise(simulator, 0.01) * np.eye(basis.shape[1])
    for number in (0, 12, 23):
        node = simulator.prior.at(simulator.prior.grid(NODES))[number]
        smooth = basis.T @ covariance(simulator, node) @ basis + white
        expected = -0.5 * np.einsum("nv,vw,nw->n", values, np.linalg.inv(smooth), values)
        expected -= 0.5 * np.linalg.slogdet(smooth)[1]
        np.testing.assert_allclose(logs[:, number], expected, rtol=1e-4)
        for place, slope in enumerate(slopes(simulator, node)):
            form = np.linalg.solve(smooth, np.linalg.solve(smooth, basis.T @ slope @ basis).T) / 2
            seen = np.einsum("nv,vw,nw->n", values, form, values)
            np.testing.assert_allclose(scores[:, number, place], seen, rtol=1e-3, atol=1e-3)
            mean = np.trace(form @ basis.T @ covariance(simulator, other) @ basis)
            np.testing.assert_allclose(means[number, place], mean, rtol=1e-4)


def test_means_of_scores_are_those_of_maps(summary, observed):
    _, scores = (np.asarray(one) for one in seen_of(summary, observed))
    off = scores.mean(axis=0) - np.asarray(summary.means(jnp.asarray(PLACE)))
    assert np.all(np.abs(off) < 4.5 * scores.std(axis=0) / np.sqrt(len(scores)))


def test_information_is_slope_over_deviation(summary):
    number = 12
    simulator = sky().in_double()
    node = simulator.prior.at(simulator.prior.grid(NODES))[number]
    maps = simulator.simulate(jnp.asarray(np.tile(node, (4000, 1))), Split.TEST.key(1))
    scores = np.asarray(seen_of(summary, maps)[1])[:, number]
    step = 1e-4 * np.eye(2)
    place = simulator.prior.places(node)
    means = [[np.asarray(summary.means(place + s * one))[number] for s in (1, -1)] for one in step]
    slope = np.array([(up - down) / 2e-4 for up, down in means]).T
    np.testing.assert_allclose(summary.expected.gains[number], slope, rtol=1e-4)
    found = slope.T @ np.linalg.solve(np.cov(scores.T), slope)
    np.testing.assert_allclose(summary.expected.information[number], found, rtol=0.1)


@pytest.fixture(scope="module")
def finer():
    return NearScores(sky(), 10)


def test_estimates_close_in_on_parameters(finer):
    """Nearer than nodes, and as near as they say."""
    truths, observed = finer.sky.batch(Split.TEST.key(0), 300)
    numbers = np.asarray(told_of(finer, observed), float)
    assert numbers.shape == (300, finer.size)
    off = np.abs(numbers[:, :2] - finer.sky.prior.places(np.asarray(truths)))
    assert np.median(off) < 0.25 * 2.0 / finer.nodes
    spreads = np.stack([numbers[:, 2], np.hypot(numbers[:, 3], numbers[:, 4])], axis=1)
    assert 0.4 < np.median(off / spreads) < 1.5


def test_trained_networks_know_published_maps_well(finer):
    plan = Plan(maps=2000, validation=500, epochs=4, pilot=2000, batch=100)
    model = train(finer.sky, finer, 0, plan).model
    truths, observed = finer.sky.batch(Split.TEST.key(5), 300)
    post, truths = model.posterior(observed), np.asarray(truths)
    assert np.all(np.mean(np.abs(post.mean - truths), axis=0) < 0.3)
    inside = np.mean(np.abs(post.mean - truths) < post.std, axis=0)
    assert np.all(np.abs(inside - 0.7) < 0.1)


def test_summaries_come_back_from_files(summary):
    again = codec.decode(codec.encode(summary))
    assert (again.nodes, again.smoothing) == (NODES, summary.smoothing)
    np.testing.assert_array_equal(again.filters.forms, summary.filters.forms)


def test_what_has_no_such_scores_is_refused():
    wrong = Protocol.AS_PUBLISHED
    with pytest.raises(ValueError, match="sky: expected one mask for all maps"):
        NearScores(t2(0.3, wrong, nside=4, random_caps=True))
    with pytest.raises(ValueError, match="sky: expected noise or a cut"):
        NearScores(t2(1.0, wrong, nside=4))
    with pytest.raises(ValueError, match="sky: expected maps of at most 4000 values"):
        NearScores(t2(0.5, wrong, nside=32))
    with pytest.raises(ValueError, match="nodes: expected 5 or more"):
        NearScores(sky(), 4)
    with pytest.raises(ValueError, match="smoothing: expected more than 0"):
        NearScores(sky(), smoothing=0.0)
