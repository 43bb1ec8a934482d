"""Spherical k-means: groups of neighbouring directions of about equal size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

_TOLERANCE = 1e-5
_MAX_ITERATIONS = 100
_GROWTH = 1.2
_CANDIDATES = 64


def spherical_kmeans(
    vectors: Float[np.ndarray, "cell 3"], count: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, " cell"], Float[np.ndarray, "cluster 3"]]:
    """Clusters of unit vectors: every vector belongs to the nearest centroid, none is empty.

    Lloyd iterations with a k-d tree over the centroids (the nearest by chord is the nearest by
    angle), from k-means++ seeds. They stop when the mean angle to the centroid changes by less than
    1e-5 of itself, or after 100.

    Args:
        vectors: distinct unit vectors.
        count: number of clusters.
        generator: source of the seeds; the same state gives the same clusters.

    Returns:
        Labels from 0 to count - 1, each of which occurs, and unit centroids.

    Raises:
        ValueError: for fewer than one cluster, or more clusters than vectors.

    References:
        Arthur & Vassilvitskii 2007 (k-means++); Dhillon & Modha 2001, Machine Learning 42, 143
        (spherical k-means).

    Examples:
        >>> vectors = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1]], dtype=float)
        >>> labels, _ = spherical_kmeans(vectors, 2, np.random.default_rng(0))
        >>> bool(labels[0] == labels[1] != labels[2])
        True
    """
    if count < 1 or count > len(vectors):
        raise ValueError(
            f"count: expected from 1 to {len(vectors)} clusters, as many as there are cells, got "
            f"{count}. Ask for fewer clusters or use a larger mask."
        )
    centroids = vectors[_seeds(vectors, count, generator)]
    centroids, labels, angle = _assign(vectors, centroids)
    for _ in range(_MAX_ITERATIONS):
        previous = angle
        centroids, labels, angle = _assign(vectors, _means(vectors, labels, centroids))
        if abs(previous - angle) <= _TOLERANCE * previous:
            break
    return labels, centroids


def _seeds(
    vectors: Float[np.ndarray, "cell 3"], count: int, generator: np.random.Generator
) -> Int[np.ndarray, " cluster"]:
    """k-means++ seeds: drawn in turn, in proportion to the squared distance to the nearest so far.

    The draw is by rejection under an upper bound of the distance, and only cells within that bound
    of a new seed can get nearer to one: the cost is about n log(count) instead of n count.
    """
    tree = KDTree(vectors)
    seeds = np.empty(count, dtype=np.int64)
    seeds[0] = generator.integers(len(vectors))
    squared = _squared_distance(vectors, vectors[seeds[0]])
    bound, refresh = squared.max(), 2
    for number in range(1, count):
        if number >= refresh:
            bound, refresh = squared.max(), int(np.ceil(_GROWTH * refresh))
        seed = _draw(squared, bound, generator)
        near = np.asarray(tree.query_ball_point(vectors[seed], np.sqrt(bound) * (1.0 + 1e-12)))
        squared[near] = np.minimum(squared[near], _squared_distance(vectors[near], vectors[seed]))
        seeds[number] = seed
    return seeds


def _draw(squared: Float[np.ndarray, " cell"], bound: float, generator: np.random.Generator) -> int:
    """A cell with probability proportional to its squared distance."""
    candidates = generator.integers(squared.size, size=_CANDIDATES)
    accepted = np.flatnonzero(generator.random(_CANDIDATES) * bound < squared[candidates])
    if accepted.size:
        return int(candidates[accepted[0]])
    # A few far cells among many near ones: rejection would take long, the exact draw is O(n).
    cumulative = np.cumsum(squared)
    return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))


def _assign(
    vectors: Float[np.ndarray, "cell 3"], centroids: Float[np.ndarray, "cluster 3"]
) -> tuple[Float[np.ndarray, "cluster 3"], Int[np.ndarray, " cell"], float]:
    """Nearest centroids, and the mean angle to them [rad].

    Empty clusters move to the cells that are farthest from their centroid, where they own at least
    that cell from then on, so that the repair ends.
    """
    while True:
        chord, nearest = KDTree(centroids).query(vectors)
        labels = np.asarray(nearest, dtype=np.int64)
        empty = np.flatnonzero(np.bincount(labels, minlength=len(centroids)) == 0)
        if empty.size == 0:
            return centroids, labels, float(np.mean(2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))))
        centroids = centroids.copy()
        centroids[empty] = vectors[np.argsort(-chord, kind="stable")[: empty.size]]


def _means(
    vectors: Float[np.ndarray, "cell 3"],
    labels: Int[np.ndarray, " cell"],
    centroids: Float[np.ndarray, "cluster 3"],
) -> Float[np.ndarray, "cluster 3"]:
    """Mean directions of the clusters; one without a mean direction keeps its centroid."""
    sums = [np.bincount(labels, axis, minlength=len(centroids)) for axis in vectors.T]
    means = np.stack(sums, axis=-1) / np.bincount(labels, minlength=len(centroids))[:, None]
    length = np.linalg.norm(means, axis=-1, keepdims=True)
    return np.where(length > 1e-9, means / np.maximum(length, 1e-9), centroids)


def _squared_distance(
    vectors: Float[np.ndarray, "cell 3"], centre: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " cell"]:
    difference = vectors - centre
    return np.einsum("ci,ci->c", difference, difference)
