"""Densities, emulators and rounds against a linear Gaussian law, whose posterior is known."""

import numpy as np
import pytest
from scipy import stats

from skysift.scattering.bayes.calibration import ranks_of
from skysift.scattering.bayes.density import Training, learn
from skysift.scattering.bayes.emulator import Simulated, emulate
from skysift.scattering.bayes.rounds import Plan, infer

SIZE = 3
RNG = np.random.default_rng(11)
SLOPE = np.eye(SIZE) + 0.4 * RNG.standard_normal((SIZE, SIZE))
SCATTER = np.diag([0.2, 0.6, 1.5])
TRAINING = Training(width=16, epochs=6, members=2)
PLAN = Plan(fields=80, draws=6, pairs=4096, training=TRAINING)
SEED = np.random.SeedSequence(5)


def simulate(theta, seed):
    noise = np.random.default_rng(seed).standard_normal((len(theta), PLAN.draws, SIZE))
    return Simulated(theta, (theta @ SLOPE.T)[:, None] + noise @ SCATTER)


def exact(seen):
    """Mean and covariance of the posterior."""
    precision = np.linalg.inv(SCATTER @ SCATTER)
    covariance = np.linalg.inv(np.eye(SIZE) + SLOPE.T @ precision @ SLOPE)
    return covariance @ SLOPE.T @ precision @ seen, covariance


def run(rounds=2, seed=SEED, **options):
    options = {"baseline": lambda theta: theta, **options}
    seed = np.random.SeedSequence(seed.entropy)
    return infer(simulate, OBSERVED, rounds, PLAN, seed, **options)


OBSERVED = np.array([0.8, -1.0, 0.5])


@pytest.fixture(scope="module")
def found():
    return run()


@pytest.mark.parametrize("shift", [0.0, -1.2])
def test_posterior_of_a_linear_gaussian_law(found, shift):
    """Of the observation, and of another one."""
    seen = OBSERVED + shift
    draws = found.sample(8000, np.random.default_rng(0), seen)
    mean, covariance = exact(seen)
    sigma = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / sigma, 0.0, atol=0.25)
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, np.cov(draws, rowvar=False))
    white = np.linalg.solve(root, white.T)
    np.testing.assert_allclose(white, np.eye(SIZE), atol=0.3)


def test_density_of_the_posterior(found):
    theta = np.random.default_rng(1).standard_normal((50, SIZE))
    seen = simulate(theta, 3).seen[:, 0]
    log = found.density.log_prob(theta, seen)
    wanted = [
        stats.multivariate_normal(*exact(y)).logpdf(x) for x, y in zip(theta, seen, strict=True)
    ]
    np.testing.assert_allclose(log, wanted, atol=1.0)
    np.testing.assert_allclose(np.mean(log - wanted), 0.0, atol=0.15)


def test_intervals_cover(found):
    theta = np.random.default_rng(2).standard_normal((400, SIZE))
    seen = simulate(theta, 4).seen[:, 0]
    coverage = ranks_of(
        theta,
        lambda number, rng: found.sample(300, rng, seen[number]),
        None,
        np.random.default_rng(3),
    )
    for level in (0.68, 0.95):
        mean, error = coverage.mean(level)
        assert abs(mean - level) < 0.05
        assert 0.005 < error < 0.03
    # A posterior that is too sure is told.
    narrow = ranks_of(
        theta,
        lambda number, rng: (
            0.3 * (one := found.sample(300, rng, seen[number])) + 0.7 * one.mean(axis=0)
        ),
        None,
        np.random.default_rng(3),
    )
    assert narrow.mean(0.68)[0] < 0.4


def test_same_seed_same_draws(found):
    again, other = run(), run(seed=np.random.SeedSequence(6))
    draws = [one.sample(5, np.random.default_rng(0)) for one in (found, again, other)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.max(np.abs(draws[0] - draws[2])) > 1e-3


def test_rounds_simulate_where_the_posterior_is(found):
    assert len(found.simulated.theta) == PLAN.fields * 3 // 2
    late = found.simulated.theta[PLAN.fields :]
    mean, covariance = exact(OBSERVED)
    np.testing.assert_allclose(late.mean(axis=0), mean, atol=0.6)
    assert np.all(late.std(axis=0) < 2.0 * np.sqrt(np.diag(covariance)))
    assert len(found.widths) == 2


def test_emulator_is_the_law_of_the_simulations():
    theta = np.random.default_rng(4).standard_normal((200, SIZE))
    emulator = emulate(simulate(theta, 5), np.zeros_like)
    here = np.random.default_rng(5).standard_normal((40, SIZE))
    expected = here @ SLOPE.T
    sigma = np.diag(SCATTER)
    np.testing.assert_allclose((emulator.expected(here) - expected) / sigma, 0.0, atol=0.3)
    at = np.repeat(here[:1], 4000, axis=0)
    draws = emulator.sample(at, np.random.default_rng(6))
    np.testing.assert_allclose(draws.std(axis=0), sigma, rtol=0.2)


def test_emulator_knows_curvature_and_uneven_scatter():
    theta = np.random.default_rng(8).uniform(-2.0, 2.0, (300, 1))
    noise = np.random.default_rng(9).standard_normal((300, 8, 1))
    seen = (theta**2)[:, None] + np.exp(0.5 * theta)[:, None] * noise
    emulator = emulate(Simulated(theta, seen), lambda theta: theta)
    ends = np.array([[-1.5], [1.5]])
    np.testing.assert_allclose(emulator.expected(ends), ends**2, atol=0.3)
    draws = emulator.sample(np.repeat(ends, 3000, axis=0), np.random.default_rng(1))
    ratio = draws[3000:].std() / draws[:3000].std()
    np.testing.assert_allclose(ratio, np.exp(1.5), rtol=0.25)


def test_density_of_two_lumps():
    """The sign of the parameter is not seen."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((6000, 1))
    seen = np.abs(theta) + 0.05 * rng.standard_normal((6000, 1))
    training = Training(components=4, width=32, epochs=100, learning_rate=3e-3, members=1)
    draws = learn(theta, seen, SEED, training).sample(np.array([1.0]), 2000, rng)
    assert 0.3 < np.mean(draws > 0.0) < 0.7
    np.testing.assert_allclose(np.median(np.abs(draws)), 1.0, atol=0.15)
    assert np.mean(np.abs(draws) < 0.5) < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(rounds=0), "rounds: expected 1 or more, got 0"),
        (
            lambda: infer(
                simulate, np.array([np.nan] * 3), 1, PLAN, SEED, baseline=lambda one: one
            ),
            "observed: expected finite numbers",
        ),
        (lambda: Plan(fields=3), "fields: expected 16 or more, got 3"),
        (lambda: Plan(pairs=3), "pairs: expected 256 or more, got 3"),
        (lambda: Training(members=0), "members: expected 1 or more, got 0"),
        (lambda: Training(learning_rate=-1.0), "learning_rate: expected more than 0"),
        (
            lambda: learn(np.zeros((9, 1)), np.zeros((9, 1)), SEED),
            "pairs: expected 40 or more",
        ),
        (lambda: learn(np.zeros((9, 1)), np.zeros((8, 1)), SEED), "pairs: expected parameters"),
        (
            lambda: learn(np.full((90, 1), np.nan), np.zeros((90, 1)), SEED),
            "pairs: expected finite numbers",
        ),
        (
            lambda: emulate(Simulated(np.zeros((3, 1)), np.zeros((3, 2, 1))), lambda one: one),
            "fields: expected 16 or more, got 3",
        ),
        (
            lambda: emulate(
                Simulated(np.full((20, 1), np.inf), np.zeros((20, 2, 1))), lambda one: one
            ),
            "simulations: expected finite numbers",
        ),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
