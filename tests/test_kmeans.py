"""Spherical k-means against brute force."""

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.stats import chisquare

from skysift import kmeans
from skysift.grid import Grid
from skysift.kmeans import spherical_kmeans
from skysift.masks import galactic_mask


def mean_angle(vectors, labels, centroids):
    cosine = np.einsum("ci,ci->c", vectors, centroids[labels])
    return np.mean(np.arccos(np.clip(cosine, -1, 1)))


@pytest.fixture(scope="module")
def vectors():
    return Grid.from_mask(galactic_mask("GAL060", 16)).vectors()


@pytest.mark.parametrize("count", [1, 2, 30, 300])
def test_every_cell_belongs_to_its_nearest_centroid(vectors, count):
    labels, centroids = spherical_kmeans(vectors, count, np.random.default_rng(1))
    cosines = vectors @ centroids.T
    assert centroids.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1.0, rtol=1e-12)
    own = np.take_along_axis(cosines, labels[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(own, cosines.max(axis=1), atol=1e-12)
    assert np.all(np.bincount(labels, minlength=count) > 0)


def test_centroids_are_nearly_the_mean_directions(vectors):
    labels, centroids = spherical_kmeans(vectors, 20, np.random.default_rng(2))
    means = np.stack([vectors[labels == k].mean(axis=0) for k in range(20)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.degrees(np.linalg.norm(means - centroids, axis=1)).max() < 1.0


def test_as_good_as_an_independent_implementation(vectors):
    labels, centroids = spherical_kmeans(vectors, 60, np.random.default_rng(3))
    others = []
    for seed in range(5):
        centres, theirs = kmeans2(vectors, 60, iter=100, minit="++", seed=seed)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        others.append(mean_angle(vectors, theirs, centres))
    assert mean_angle(vectors, labels, centroids) < 1.03 * np.mean(others)


def test_separate_groups_are_found():
    generator = np.random.default_rng(4)
    centres = np.eye(3)
    vectors = np.repeat(centres, 50, axis=0) + 0.05 * generator.normal(size=(150, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, _ = spherical_kmeans(vectors, 3, generator)
    assert [len(set(group)) for group in labels.reshape(3, 50)] == [1, 1, 1]
    assert len(set(labels[::50])) == 3


def test_empty_clusters_are_repaired(vectors):
    # Five centroids on one spot: the tree gives all cells of that spot to one of them.
    centroids = np.concatenate([np.repeat(vectors[:1], 5, axis=0), vectors[500:501]])
    repaired, labels, _ = kmeans._assign(vectors, centroids)
    assert np.all(np.bincount(labels, minlength=6) > 0)
    cosines = vectors @ repaired.T
    own = np.take_along_axis(cosines, labels[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(own, cosines.max(axis=1), atol=1e-12)


def test_antipodal_cells_keep_their_centroid():
    vectors = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    _, centroids = spherical_kmeans(vectors, 1, np.random.default_rng(0))
    assert np.isfinite(centroids).all()


def test_as_many_clusters_as_cells():
    vectors = Grid(2).vectors()
    labels, _ = spherical_kmeans(vectors, 48, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(labels), np.arange(48))


def test_seeds_follow_the_squared_distance():
    # Second seed of k-means++ given the first, on four cells: the law is known exactly.
    vectors = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [-1, 0, 0]], dtype=float)
    squared = ((vectors[:, None] - vectors) ** 2).sum(axis=-1)
    expected = (squared / squared.sum(axis=1, keepdims=True)).ravel() / 4
    found = np.zeros((4, 4))
    for seed in range(4000):
        first, second = kmeans._seeds(vectors, 2, np.random.default_rng(seed))
        found[first, second] += 1
    assert np.all(np.diag(found) == 0)
    drawn = expected > 0
    assert chisquare(found.ravel()[drawn], 4000 * expected[drawn]).pvalue > 1e-3


def test_seeding_keeps_the_exact_distances(vectors, monkeypatch):
    draw = kmeans._draw
    counts = []

    def checked(squared, bound, generator):
        seeds = np.flatnonzero(squared == 0)
        counts.append(seeds.size)
        exact = ((vectors[:, None] - vectors[seeds]) ** 2).sum(axis=-1).min(axis=1)
        np.testing.assert_allclose(squared, exact, atol=1e-12)
        assert exact.max() <= bound * (1 + 1e-12)
        return draw(squared, bound, generator)

    monkeypatch.setattr(kmeans, "_draw", checked)
    kmeans._seeds(vectors, 80, np.random.default_rng(6))
    assert counts == list(range(1, 80))


def test_the_exact_draw_follows_the_squared_distance():
    # One far cell among 10000 near ones: nearly every draw exhausts the rejection.
    squared = np.full(10001, 1e-9)
    squared[-1] = 1e-5
    generator = np.random.default_rng(5)
    draws = np.array([kmeans._draw(squared, 1.0, generator) for _ in range(600)])
    assert abs(np.mean(draws == 10000) - 0.5) < 0.08


def test_seeds_are_spread_as_slow_seeding_spreads_them(vectors):
    def farthest(seeds):
        return np.arccos(np.clip((vectors @ vectors[seeds].T).max(axis=1), -1, 1)).mean()

    def slow(generator):
        seeds = [generator.integers(len(vectors))]
        while len(seeds) < 50:
            squared = ((vectors[:, None] - vectors[seeds]) ** 2).sum(axis=-1).min(axis=1)
            seeds.append(generator.choice(len(vectors), p=squared / squared.sum()))
        return seeds

    fast = [farthest(kmeans._seeds(vectors, 50, np.random.default_rng(s))) for s in range(12)]
    reference = [farthest(slow(np.random.default_rng(s))) for s in range(12)]
    error = np.hypot(np.std(fast), np.std(reference)) / np.sqrt(12)
    assert abs(np.mean(fast) - np.mean(reference)) < 4 * error


@pytest.mark.parametrize("count", [0, -1, 49])
def test_impossible_counts(count):
    with pytest.raises(ValueError, match="count: expected from 1 to 48 clusters"):
        spherical_kmeans(Grid(2).vectors(), count, np.random.default_rng(0))
