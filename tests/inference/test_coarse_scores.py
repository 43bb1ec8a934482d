"""Scores of large scales, against dense matrices and simulated maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.grid import Grid
from skysift.inference import coarse_scores, codec, scores
from skysift.inference.coarse_scores import CoarseScores
from skysift.inference.likelihood import PixelLikelihood
from skysift.inference.model import Network
from skysift.inference.regions import FullSky, RandomCaps, Shared, cap
from skysift.inference.simulators import GaussianSky, Observed, Protocol, Split, t2, t4
from skysift.inference.small_scales import SmallScales
from skysift.inference.theory import PolarisationPeaks
from skysift.maps import Stokes

SHARED = Shared(Grid.from_mask(cap(0.3, 8)))
PLACE = np.array([0.1, -0.3])
scores_of = eqx.filter_jit(lambda summary, observed: summary.scores(observed))
told_of = eqx.filter_jit(lambda summary, observed: summary(observed))


def sky(region=SHARED, protocol=Protocol.PHYSICAL):
    return GaussianSky(PolarisationPeaks(23), 8, noise=0.5, region=region, protocol=protocol)


@pytest.fixture(scope="module")
def summary():
    return CoarseScores(sky(), lmax=12, nodes=4)


@pytest.fixture(scope="module")
def observed(summary):
    """Maps of one place."""
    at = np.broadcast_to(summary.sky.prior.at(PLACE), (2000, 2))
    return summary.sky.simulate(jnp.asarray(at), Split.TEST.key(0))


def dense(summary, parameters, step=1e-4):
    """Inverse of the covariance of the numbers, its derivatives with places, and Fisher matrix."""
    likelihood, basis = PixelLikelihood(summary.sky), np.asarray(summary.basis, float)
    half = 0.5 * (summary.sky.prior.high - summary.sky.prior.low)

    def law(parameters):
        return basis @ likelihood.covariance(parameters) @ basis.T

    inverse = np.linalg.inv(law(parameters))
    changes = [
        (law(parameters + one) - law(parameters - one)) / (2.0 * step)
        for one in np.diag(half * step)
    ]
    fisher = [[0.5 * np.trace(inverse @ a @ inverse @ b) for b in changes] for a in changes]
    return inverse, changes, np.array(fisher)


def information_of_bands(summary, place):
    """What the bands of small scales add."""

    def law(place):
        return summary.sky.theory(summary.sky.prior.at(place))

    spectra, slopes = law(jnp.asarray(place)), jax.jacfwd(law)(jnp.asarray(place))
    small = SmallScales.above(summary.sky, summary.lmax)
    return small.law(np.asarray(spectra), np.asarray(slopes))[1]


def test_basis_is_orthonormal_and_has_the_large_scales(summary):
    basis = np.asarray(summary.basis, float)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-5)
    likelihood = PixelLikelihood(summary.sky)

    def kept(some):
        modes = likelihood.modes[..., some]
        return np.sum(np.tensordot(basis, modes, 1) ** 2) / np.sum(modes**2)

    assert kept(likelihood.ell <= 9) > 0.97
    assert kept(likelihood.ell >= 20) < 0.1


def test_scores_are_those_of_the_exact_likelihood_of_the_combinations(summary, observed):
    number = 6
    inverse, changes, fisher = dense(summary, summary.sky.prior.at(summary.places[number]))
    values = np.asarray(observed.values[:5], float)[..., SHARED.grid.ring].reshape(5, -1)
    seen = values @ np.asarray(summary.basis, float).T @ inverse
    expected = [0.5 * np.einsum("ni,ij,nj->n", seen, one, seen) for one in changes]
    of_bands = summary.bands.powers(observed.values[:5]) @ summary.weights[number].T
    found = scores_of(summary, observed)[:5, number] - of_bands
    np.testing.assert_allclose(found, np.transpose(expected), rtol=2e-3, atol=1e-2)
    own = summary.information[number] - information_of_bands(summary, summary.places[number])
    np.testing.assert_allclose(own, fisher, rtol=1e-3, atol=1e-2)


def test_means_of_scores_are_those_of_maps(summary, observed):
    found = np.asarray(scores_of(summary, observed))
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    away = (found.mean(axis=0) - np.asarray(summary.means(jnp.asarray(PLACE)))) / error
    assert np.max(np.abs(away)) < 4.5


def test_estimates_are_unbiased_and_scatter_as_the_information_says(summary, observed):
    told = np.asarray(told_of(summary, observed))
    assert told.shape == (2000, summary.size)
    away = told[:, :2] - PLACE
    scatter = away.std(axis=0, ddof=1)
    assert np.all(np.abs(away.mean(axis=0)) < 4.0 * scatter / np.sqrt(2000.0) + 0.05 * scatter)
    fisher = dense(summary, summary.sky.prior.at(PLACE))[2]
    alone = np.sqrt(np.diag(np.linalg.inv(fisher)))
    bound = np.sqrt(np.diag(np.linalg.inv(fisher + information_of_bands(summary, PLACE))))
    np.testing.assert_allclose(scatter, bound, rtol=0.15)
    assert scatter[0] < 0.7 * alone[0]


def test_files_keep_it(summary, observed):
    few = Observed(observed.values[:3], observed.mask[:3])
    again = codec.decode(codec.encode(summary))
    np.testing.assert_allclose(told_of(again, few), told_of(summary, few), rtol=1e-6)


def test_where_it_is_taken(monkeypatch):
    assert coarse_scores.suits(t4(64, 0.1))
    assert not coarse_scores.suits(t4(64, 0.1, protocol=Protocol.AS_PUBLISHED))
    assert not coarse_scores.suits(t4(64))
    assert not coarse_scores.suits(t2(0.1, nside=256))
    monkeypatch.setattr(scores, "suits", lambda _: False)
    monkeypatch.setattr(coarse_scores, "_NUMBERS", 60)
    chosen = Network.of(sky()).summary
    assert isinstance(chosen, CoarseScores)
    assert chosen.lmax < 23
    assert len(chosen.basis) <= 60


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"region": FullSky()}, {}, "sky: expected one mask"),
        ({"region": RandomCaps(0.3)}, {}, "sky: expected one mask"),
        ({"protocol": Protocol.AS_PUBLISHED}, {}, "sky: expected the physical protocol"),
        ({}, {"lmax": 24}, "lmax: expected 2 to 23"),
        ({}, {"lmax": 4, "nodes": 0}, "nodes: expected 1 or more"),
    ],
)
def test_refused(changes, options, message):
    with pytest.raises(ValueError, match=message):
        CoarseScores(sky(**changes), **options)


class ThreeFields(PolarisationPeaks):
    """As if it were of I, Q and U."""

    @property
    def stokes(self):
        return Stokes.IQU


def test_temperature_with_polarisation_is_refused():
    together = GaussianSky(ThreeFields(23), 8, region=SHARED)
    assert not coarse_scores.suits(together)
    with pytest.raises(ValueError, match="sky: expected I, or Q and U, got IQU"):
        CoarseScores(together)


def test_too_many_values_are_refused(monkeypatch):
    monkeypatch.setattr(coarse_scores, "_MOST_VALUES", 100)
    with pytest.raises(ValueError, match="sky: expected maps of at most 100 values"):
        CoarseScores(sky())
