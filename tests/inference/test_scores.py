"""Scores at nodes, against the exact likelihood and traces by NumPy."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.inference.likelihood import PixelLikelihood, real_modes
from skysift.inference.model import Network
from skysift.inference.most_likely import MostLikely
from skysift.inference.near_scores import NearScores
from skysift.inference.regions import Shared, cap
from skysift.inference.scores import Scores
from skysift.inference.simulators import GaussianSky, Protocol, Split, t1, t2, t4
from skysift.inference.summaries import Filtered
from skysift.inference.theory import PolarisationPeaks


def sky(part=0.3):
    region = Shared(Grid.from_mask(cap(part, 4)))
    return GaussianSky(PolarisationPeaks(11), 4, noise=0.3, region=region).in_double()


def values(simulator, observed):
    seen = np.asarray(observed.values)[..., simulator.region.grid.ring]
    return seen.reshape(len(seen), -1)


def covariance(simulator, parameters):
    modes, ell = real_modes(simulator.sht, simulator.stokes, simulator.region.grid)
    spectra = np.asarray(simulator.theory(jnp.asarray(parameters)))
    scaled = (modes * spectra[:, ell]).reshape(len(modes), -1)
    return scaled @ modes.reshape(len(modes), -1).T + simulator.noise**2 * np.eye(len(modes))


def slopes(simulator, parameters, step=1e-4):
    """Derivatives of the covariance with places."""
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    moved = [np.diag(half * step)[number] for number in range(len(half))]
    return [
        (covariance(simulator, parameters + one) - covariance(simulator, parameters - one))
        / (2.0 * step)
        for one in moved
    ]


def test_scores_are_those_of_the_exact_likelihood():
    simulator = sky()
    node = np.array([7.0, 9.0])
    summary = Scores(simulator, (tuple(node),))
    _, observed = simulator.batch(Split.TEST.key(0), 3)
    likelihood = PixelLikelihood(simulator)
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    points = node + 1e-4 * half * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    logs = likelihood(likelihood.values(observed.values), points)
    expected = np.stack([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 3]], axis=-1) / 2e-4
    place = (node - simulator.prior.low) / half - 1.0
    found = np.asarray(summary.scores(observed))[:, 0] - np.asarray(summary.means(place))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        summary.information[0], half[:, None] * likelihood.fisher(node) * half, rtol=1e-6
    )


@pytest.mark.parametrize("part", [0.3, 0.05], ids=["few modes", "many modes"])
def test_means_of_scores_are_traces(part):
    simulator = sky(part)
    node, other = np.array([7.0, 9.0]), np.array([11.0, 6.0])
    summary = Scores(simulator, (tuple(node),))
    inverse = np.linalg.inv(covariance(simulator, node))
    squares = [0.5 * inverse @ slope @ inverse for slope in slopes(simulator, node)]
    place = 2.0 * (other - simulator.prior.low) / (simulator.prior.high - simulator.prior.low) - 1.0
    expected = [np.trace(one @ covariance(simulator, other)) for one in squares]
    np.testing.assert_allclose(summary.means(jnp.asarray(place))[0], expected, rtol=1e-5)
    _, observed = simulator.batch(Split.TEST.key(1), 2)
    seen = values(simulator, observed)
    forms = np.stack([np.einsum("nv,vw,nw->n", seen, one, seen) for one in squares], axis=1)
    np.testing.assert_allclose(summary.scores(observed)[:, 0], forms, rtol=1e-4)


def test_estimates_are_most_likely_parameters():
    simulator = sky()
    truths, observed = simulator.batch(Split.TEST.key(0), 60)
    summary = Scores.of(simulator)
    assert len(summary.nodes) == 16
    numbers = np.asarray(eqx.filter_jit(summary)(observed))
    assert numbers.shape == (60, summary.size)
    axis = np.linspace(-1.0, 1.0, 41)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    half = 0.5 * (simulator.prior.high - simulator.prior.low)
    likelihood = PixelLikelihood(simulator)
    logs = likelihood(
        likelihood.values(observed.values), simulator.prior.low + half * (places + 1.0)
    )
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    means = weights @ places
    at = np.asarray(truths - simulator.prior.low) / half - 1.0
    roots = np.zeros((60, 2, 2))
    rows, columns = np.tril_indices(2)
    roots[:, rows, columns] = numbers[:, 2:5]
    spreads = np.sqrt(np.einsum("npq,npq->np", roots, roots))
    inner = np.abs(at) < 0.7
    # As near to the truth as means of exact posteriors, but for what few modes and bounds do.
    assert np.sqrt(np.mean((numbers[:, :2] - at)[inner] ** 2)) < 1.2 * np.sqrt(
        np.mean((means - at)[inner] ** 2)
    )
    off = ((numbers[:, :2] - at) / spreads)[inner]
    assert 0.8 < np.sqrt(np.mean(off**2)) < 1.3


def test_spectra_that_vanish_have_scores():
    summary = Scores.of(t4(4, 0.3, 6.0))
    assert np.isfinite(summary.information).all()


def test_the_best_network_is_chosen():
    chosen = {
        Scores: (t2(0.3, nside=4), t1(noise=5.0, nside=4)),
        MostLikely: (t1(nside=4), t4(nside=32, depth=6.0)),
        NearScores: (t2(0.1, Protocol.AS_PUBLISHED, nside=4),),
        Filtered: (t2(0.3, nside=4, random_caps=True), t2(1.0, Protocol.AS_PUBLISHED, nside=4)),
    }
    for kind, simulators in chosen.items():
        for simulator in simulators:
            assert isinstance(Network.of(simulator).summary, kind)


def test_what_has_no_scores_is_refused():
    with pytest.raises(ValueError, match="sky: expected one mask for all maps"):
        Scores.of(t2(0.3, nside=4, random_caps=True))
    with pytest.raises(ValueError, match="sky: expected noise or a cut"):
        Scores.of(t2(nside=4))
    with pytest.raises(ValueError, match="sky: expected maps of at most 4000 values"):
        Scores.of(t2(0.5, nside=32))
    with pytest.raises(ValueError, match="nodes: expected filters of at most 1000 MB"):
        Scores.of(t2(0.5, nside=16), nodes=6)
    with pytest.raises(ValueError, match="parameters: expected l_peak_E"):
        Scores(sky(), ((2.0, 30.0),))
    with pytest.raises(ValueError, match="sky: expected the physical protocol"):
        Scores.of(t2(0.3, Protocol.AS_PUBLISHED, nside=4))
    with pytest.raises(ValueError, match="nodes: expected 1 or more"):
        Scores.of(sky(), nodes=0)
