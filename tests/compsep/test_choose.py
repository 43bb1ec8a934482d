"""Choosing patches: a known answer, brute force over all, and what cannot be chosen from."""

import math

import numpy as np
import pytest

import skysift as ss
from skysift.compsep import GaussianPrior, pose, solve
from skysift.compsep.choose import (
    NO_PRIOR,
    Candidate,
    choose_among,
    choose_patches,
    kmeans_ladder,
    nested_ladder,
)
from skysift.compsep.criteria import predictive
from skysift.compsep.variants import with_patches, with_priors
from skysift.patches import KMeans, MultiResolution, Uniform

NSIDES = (0, 1, 2, 4, 8)


@pytest.fixture(scope="module")
def problem():
    sim = ss.simulate("c1d1s1", "LiteBIRD", nside=8, seed=1, noise_ratio=0.3)
    return pose(sim.maps, "LiteBIRD")


def nested(problem, nside):
    return ss.Patches.multires(problem.maps.grid, beta_dust=nside)


def test_best_of_a_ladder_is_the_best_of_all(problem):
    scores = [predictive(solve(with_patches(problem, nested(problem, n)))) for n in NSIDES]
    ladder = {"beta_dust": nested_ladder(problem.maps.grid)[1:]}
    choice = choose_patches(problem, predictive, ladder)
    assert choice.best.score == pytest.approx(min(scores[1:]), rel=1e-9)
    assert choice.counts == {"beta_dust": choice.counts["beta_dust"], "temp_dust": 1, "beta_pl": 1}
    assert choice.best.score == min(trial.score for trial in choice.table)
    among = choose_among(problem, predictive, [Candidate(nested(problem, n)) for n in NSIDES])
    assert among.best.score == pytest.approx(min(scores), rel=1e-9)


def test_priors_are_widened(problem):
    prior = {"beta_dust": GaussianPrior(1.54, 0.02)}
    choice = choose_among(
        problem,
        predictive,
        [Candidate(nested(problem, 8))],
        priors=prior,
        relax=(0.5, 1.0, 2.0, NO_PRIOR),
    )
    fits = {
        factor: solve(
            with_priors(
                with_patches(problem, nested(problem, 8)),
                {} if math.isinf(factor) else {"beta_dust": GaussianPrior(1.54, 0.02 * factor)},
            )
        )
        for factor in (0.5, 1.0, 2.0, NO_PRIOR)
    }
    scores = {factor: predictive(fit) for factor, fit in fits.items()}
    assert choice.best.relax == min(scores, key=scores.__getitem__)
    assert choice.best.score == pytest.approx(min(scores.values()), rel=1e-6)


def test_larger_patches_are_tried(problem):
    prior = {"beta_dust": GaussianPrior(1.54, 0.02)}
    ladder = {"beta_dust": nested_ladder(problem.maps.grid)}
    choice = choose_patches(
        problem, predictive, ladder, priors=prior, relax=(1.0,), coarser=(0, 1, 2)
    )
    centred = [trial for trial in choice.table if trial.around]
    assert centred
    assert all(t.around["beta_dust"] < max(t.counts["beta_dust"], 2) for t in centred)
    counts = {} if choice.around is None else choice.around.counts
    assert counts == choice.best.around


def test_uniform_sky_needs_one_patch():
    sim = ss.simulate("c1d0s0", "LiteBIRD", nside=8, seed=0)
    choice = choose_patches(pose(sim.maps, "LiteBIRD"), predictive)
    assert choice.counts == {"beta_dust": 1, "temp_dust": 1, "beta_pl": 1}


def test_the_same_seed_chooses_the_same(problem):
    ladder = {"beta_dust": kmeans_ladder(problem.maps.grid, 3.0)}
    one, two = (choose_patches(problem, predictive, ladder, seed=3) for _ in range(2))
    assert one.table == two.table
    assert np.array_equal(one.patches.labels["beta_dust"], two.patches.labels["beta_dust"])


def test_ladders():
    grid = ss.Grid(4)
    expected = [Uniform(), MultiResolution(1), MultiResolution(2), MultiResolution(4)]
    assert nested_ladder(grid) == expected
    assert kmeans_ladder(grid, 4.0) == [Uniform(), KMeans(10), KMeans(40), KMeans(160), KMeans(192)]
    with pytest.raises(ValueError, match="factor: expected more than 1"):
        kmeans_ladder(grid, 1.0)


def test_what_cannot_be_chosen_from_is_refused(problem):
    with pytest.raises(ValueError, match="candidates: expected at least one"):
        choose_among(problem, predictive, [])
    with pytest.raises(ValueError, match="ladders: expected at least one partition"):
        choose_patches(problem, predictive, {"beta_dust": []})
    with pytest.raises(ValueError, match="ladders: expected at least one partition"):
        choose_patches(problem, predictive, {"nothing": [Uniform()]})
    with pytest.raises(ValueError, match="as many as there are cells"):
        choose_patches(problem, predictive, {"beta_dust": [KMeans(10_000)]})
    with pytest.raises(ValueError, match="separation converges"):
        choose_among(problem, lambda _: math.inf, [Candidate(nested(problem, 1))])
