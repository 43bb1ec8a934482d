import numpy as np
import pytest

from skysift.cosmology.covariance import BandpowerCovariance
from skysift.cosmology.likelihoods import HamimecheLewis

BINS, DOF = 24, 40.0
APART = np.abs(np.subtract.outer(np.arange(BINS), np.arange(BINS)))
# Bandpowers freed from the coupling of neighbours, which leaves them anticorrelated.
DECOUPLED = np.where(APART == 0, 1.0, np.where(APART == 1, -0.1, 0.0))
DECOUPLED /= DECOUPLED.sum(axis=1, keepdims=True)


def drawn(mixing, count, seed):
    """Bandpowers of mean one from independent modes."""
    modes = np.random.default_rng(seed).chisquare(DOF, (count, BINS)) / DOF
    return modes @ mixing.T


def exact(mixing):
    return BandpowerCovariance(np.ones(BINS), 2.0 / DOF * mixing @ mixing.T)


def amplitudes(log_likelihood, observed):
    """Where a likelihood of many spectra is greatest, for a model that is one times this."""
    grid = np.linspace(0.8, 1.2, 161)
    model = grid[:, None] * np.ones(BINS)
    values = np.concatenate(
        [log_likelihood(part[:, None], model) for part in np.split(observed, 10)]
    )
    rows, at = np.arange(values.shape[0]), np.clip(values.argmax(axis=1), 1, 159)
    low, mid, high = (values[rows, at + step] for step in (-1, 0, 1))
    return grid[at] + 0.5 * (grid[1] - grid[0]) * (low - high) / (low - 2.0 * mid + high)


def test_whitening_makes_bandpowers_independent_each_near_its_bin():
    covariance = exact(DECOUPLED)
    unit = covariance.whitening @ covariance.matrix @ covariance.whitening.T
    np.testing.assert_allclose(unit, np.eye(BINS), atol=1e-12)
    inverse = covariance.whitening.T @ covariance.whitening
    np.testing.assert_allclose(inverse, np.linalg.inv(covariance.matrix), rtol=1e-10, atol=1e-9)
    scaled = covariance.whitening * np.sqrt(np.diag(covariance.matrix))
    np.testing.assert_allclose(scaled, scaled.T, atol=1e-13)
    off = np.abs(scaled - np.diag(np.diag(scaled)))
    assert np.all(off.max(axis=1) < 0.2 * np.diag(scaled))


def test_whitening_follows_the_units_of_each_bin():
    units = np.geomspace(1e-7, 1e3, BINS)
    samples = drawn(DECOUPLED, 300, 0)
    plain = BandpowerCovariance.of_samples(samples)
    other = BandpowerCovariance.of_samples(samples * units)
    assert other.reach == plain.reach
    np.testing.assert_allclose(other.whitening * units, plain.whitening, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("tie", "reach"),
    [
        (np.eye(BINS), 0),
        (DECOUPLED, 1),
        # A sky cut alike in north and south ties every other multipole only.
        (np.where(APART == 2, -0.15, np.eye(BINS)), 2),
    ],
)
def test_reach_is_how_far_bins_are_tied(tie, reach):
    for seed in range(5):
        covariance = BandpowerCovariance.of_samples(drawn(tie, 150, seed))
        assert covariance.reach == reach


def test_nothing_becomes_more_certain_than_it_is_estimated_to_be():
    # Neighbours so alike that their sums' differences are almost without scatter.
    tie = np.where(APART == 1, 0.45, np.eye(BINS))
    reaches = set()
    for seed in range(5):
        covariance = BandpowerCovariance.of_samples(drawn(tie, 300, seed))
        scale = np.sqrt(np.diag(covariance.matrix))
        most = np.linalg.norm(covariance.whitening * scale, 2)
        raw = np.linalg.eigvalsh(covariance.matrix / np.outer(scale, scale))[0]
        assert most <= raw**-0.5
        reaches.add(covariance.reach)
    # Bins two apart share a neighbour; a band of two is not always well conditioned.
    assert min(reaches) >= 2
    assert max(reaches) > 2


def test_all_of_an_exact_covariance_counts():
    assert exact(DECOUPLED).reach == BINS - 1
    full = 0.02 * np.ones((BINS, BINS)) + np.eye(BINS)
    whitening = BandpowerCovariance(np.ones(BINS), full).whitening
    np.testing.assert_allclose(whitening.T @ whitening, np.linalg.inv(full), atol=1e-12)


def test_leaving_out_noise_of_far_bins_costs_no_precision():
    truth, template = exact(DECOUPLED).matrix, np.linspace(3.0, 0.2, BINS)

    def variance(weights):
        return weights @ truth @ weights / (weights @ template) ** 2

    best = variance(np.linalg.solve(truth, template))
    estimates = [BandpowerCovariance.of_samples(drawn(DECOUPLED, 120, s)) for s in range(40)]
    kept = [variance(e.whitening.T @ e.whitening @ template) / best for e in estimates]
    raw = [variance(np.linalg.solve(e.matrix, template)) / best for e in estimates]
    # What an estimated matrix of b bins adds: b / n (Dodelson & Schneider 2013, PRD 88, 063537).
    assert np.mean(raw) == pytest.approx(1 + BINS / (120 - BINS), abs=0.06)
    assert np.mean(kept) < 1.06


@pytest.mark.parametrize("mixing", [np.eye(BINS), DECOUPLED, np.tril(np.full((BINS, BINS), 0.3))])
def test_inverse_of_an_estimated_covariance_is_unbiased(mixing):
    mixing = mixing + 0.7 * np.eye(BINS) * (mixing[1, 0] == 0.3)
    truth = np.linalg.inv(mixing @ mixing.T)
    generator = np.random.default_rng(1)
    traces, tied = [], []
    for _ in range(60):
        samples = generator.normal(size=(200, BINS)) @ mixing.T
        covariance = BandpowerCovariance.of_samples(samples)
        traces.append(np.sum(covariance.whitening**2))
        tied.append(min(2 * covariance.reach + 1, BINS))
    error = np.std(traces) / np.sqrt(len(traces))
    assert abs(np.mean(traces) - np.trace(truth)) < 4 * error
    factor = 199 / (200 - np.array(tied) - 2)
    assert np.mean(traces * factor) > np.trace(truth) + 4 * error


@pytest.mark.parametrize("mixing", [DECOUPLED, DECOUPLED.T @ DECOUPLED, np.eye(BINS)])
def test_amplitude_of_correlated_bandpowers_is_unbiased(mixing):
    mixing = mixing / mixing.sum(axis=1, keepdims=True)
    observed = drawn(mixing, 4000, 5)
    estimated = BandpowerCovariance.of_samples(drawn(mixing, 300, 6))
    for covariance in (exact(mixing), estimated):
        found = amplitudes(HamimecheLewis(covariance).log_likelihood, observed)
        error = found.std() / np.sqrt(found.size)
        assert abs(found.mean() - 1.0) < 3 * error


def test_amplitude_is_biased_without_independent_bandpowers():
    observed, inverse = drawn(DECOUPLED, 4000, 5), np.linalg.inv(exact(DECOUPLED).matrix)

    def log_likelihood(observed, model):
        x = observed / model
        g = np.sign(x - 1.0) * np.sqrt(2.0 * (x - np.log(x) - 1.0))
        return -0.5 * np.sum((g @ inverse) * g, axis=-1)

    found = amplitudes(log_likelihood, observed)
    error = found.std() / np.sqrt(found.size)
    assert found.mean() - 1.0 < -4 * error


def test_errors_of_correlated_bandpowers_are_their_scatter():
    observed = drawn(DECOUPLED, 4000, 5)
    covariance = BandpowerCovariance.of_samples(drawn(DECOUPLED, 500, 8))
    likelihood = HamimecheLewis(covariance)
    scatter = amplitudes(likelihood.log_likelihood, observed).std()
    step, one = 1e-3, np.ones(BINS)
    curvature = likelihood.log_likelihood(one, np.stack([one - step, one + step])).sum() / step**2
    assert 1.0 / np.sqrt(-curvature) == pytest.approx(scatter, rel=0.05)
    alone = BandpowerCovariance(one, np.diag(np.diag(covariance.matrix)))
    curvature = HamimecheLewis(alone).log_likelihood(one, np.array([one - step, one + step])).sum()
    assert 1.0 / np.sqrt(-curvature / step**2) > 1.15 * scatter


def test_power_that_is_not_positive_when_made_independent_is_named():
    tied = np.array([[1.0, 0.6], [0.6, 1.0]])
    steep = HamimecheLewis(BandpowerCovariance(np.array([0.2, 20.0]), tied))
    with pytest.raises(ValueError, match="covariance: expected bandpowers that stay positive"):
        steep.log_likelihood(np.ones(2), np.ones(2))
    flat = HamimecheLewis(BandpowerCovariance(np.array([5.0, 5.0]), tied))
    with pytest.raises(ValueError, match="observed: expected bandpowers that stay positive"):
        flat.log_likelihood(np.array([0.2, 9.0]), np.ones(2))
    assert flat.log_likelihood(np.array([4.0, 5.0]), np.array([0.2, 9.0])) == -np.inf
    assert np.isfinite(flat.log_likelihood(np.array([4.0, 5.0]), np.array([4.0, 9.0])))
