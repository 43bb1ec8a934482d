"""Damped least squares with dense matrices: slow, and right. Nothing here uses skysift."""

import numpy as np
from scipy.optimize import lsq_linear


def system(matrix, weight, damping, prior):
    """The normal matrix and the metric D; `prior` is a dense matrix, already scaled."""
    metric = np.abs(matrix).T @ (weight * np.abs(matrix).sum(axis=1))
    return matrix.T @ (weight[:, None] * matrix) + damping * np.diag(metric) + prior, metric


def least_damping(matrix, weight, part):
    """What is missing to some part that each cell has of its samples."""
    metric = np.abs(matrix).T @ (weight * np.abs(matrix).sum(axis=1))
    return np.maximum(part - (matrix**2).T @ weight / metric, 0.0)


def solve(matrix, values, weight, damping, prior=0.0):
    """Cells that minimise |A x - y|^2_W + damping |x - average|^2_D + x^T S x.

    The damping is one number, or one for each cell. Values and damping are relative to the
    weighted mean, which is kept.
    """
    normal, metric = system(matrix, weight, damping, prior)
    centre = np.sum(weight * values) / np.sum(weight)
    left = values - centre
    size = np.abs(matrix).T @ weight
    average = np.abs(matrix).T @ (weight * left) / np.where(size > 0, size, 1.0)
    right = matrix.T @ (weight * left) + damping * metric * average
    return centre + np.linalg.lstsq(normal, right, rcond=1e-13)[0]


def solve_within(matrix, values, damping, low, high):
    """The same for equal weights and non-negative matrices, between bounds, by SciPy."""
    metric = matrix.sum(axis=0)
    centre = values.mean()
    average = matrix.T @ (values - centre) / metric
    root = np.sqrt(damping * metric)
    stacked = np.concatenate([matrix, np.diag(root)])
    right = np.concatenate([values - centre, root * average])
    found = lsq_linear(stacked, right, (low - centre, high - centre), tol=1e-14, method="bvls")
    return centre + found.x


def influence(matrix, weight, damping):
    """H with W^(1/2) A x = H W^(1/2) y, for weights of the links that are not negative."""
    normal, metric = system(matrix, weight, damping, 0.0)
    root = np.sqrt(weight)[:, None]
    pulled = np.broadcast_to(1.0 + damping, metric.shape)[:, None] * (root * matrix).T
    return (root * matrix) @ np.linalg.solve(normal, pulled)


def covariance(matrix, weight, damping):
    """Posterior covariance: prior precision damping / (1 + damping) (D - A^T W A)."""
    normal, metric = system(matrix, weight, 0.0, 0.0)
    share = damping / (1.0 + damping)
    return np.linalg.inv(normal + share * (np.diag(metric) - normal))


def robust_gcv(matrix, values, weight, damping, robustness):
    """Lukas (2006), with exact traces."""
    influenced = influence(matrix, weight, damping)
    count = np.count_nonzero(weight)
    white = np.sqrt(weight) * (values - np.sum(weight * values) / weight.sum())
    misfit = np.sum((white - influenced @ white) ** 2)
    free = (count - np.trace(influenced)) / count
    through = np.sum(influenced**2) / count
    return misfit / count / free**2 * (robustness + (1.0 - robustness) * through)


def edges(vectors, limit):
    """Laplacian of the graph that joins directions nearer than a limit [rad], weights 1."""
    near = vectors @ vectors.T > np.cos(limit)
    np.fill_diagonal(near, False)
    return np.diag(near.sum(axis=1)) - near.astype(float)
