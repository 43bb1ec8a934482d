"""Resampling operators as dense matrices, from all pairs of samples and cells: slow, and right."""

import healpy as hp
import numpy as np


def unit_vectors(lon, lat):
    """Unit vectors of directions in degrees."""
    return np.asarray(hp.ang2vec(lon, lat, lonlat=True)).reshape(-1, 3)


def angles_to_cells(lon, lat, nside):
    """Angle [rad] from every sample to every NESTED cell of a sphere."""
    centres = np.stack(hp.pix2vec(nside, np.arange(12 * nside**2), nest=True), axis=-1)
    samples = unit_vectors(lon, lat)
    chord = np.linalg.norm(samples[:, None, :] - centres[None, :, :], axis=2)
    return 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))


def psf_matrix(lon, lat, nside, npt, scale, threshold):
    """Rows over all NESTED cells of the Gaussian operator; angles and scale in radians."""
    angle = angles_to_cells(lon, lat, nside)
    gaussian = np.exp(-2.0 * (angle / scale) ** 2)
    kept = gaussian.sum(axis=0) >= threshold
    matrix = np.zeros_like(gaussian)
    for sample in range(len(angle)):
        nearest = [cell for cell in np.argsort(angle[sample]) if kept[cell]][:npt]
        matrix[sample, nearest] = gaussian[sample, nearest]
    return matrix / matrix.sum(axis=1, keepdims=True)


def inverse_distance_matrix(lon, lat, nside, npt):
    """Rows over all NESTED cells of inverse distance weighting."""
    angle = angles_to_cells(lon, lat, nside)
    matrix = np.zeros_like(angle)
    for sample in range(len(angle)):
        nearest = np.argsort(angle[sample])[:npt]
        matrix[sample, nearest] = 1.0 / angle[sample, nearest]
    return matrix / matrix.sum(axis=1, keepdims=True)


def dense(sampling):
    """A sampling as a dense matrix, rows in the user's order, columns over `cell_ids`."""
    matrix = np.zeros((sampling.n_samples, sampling.n_cells))
    for row in range(sampling.n_samples):
        for position, weight in zip(sampling.index[row], sampling.weights[row], strict=True):
            matrix[sampling.order[row], position] += weight
    return matrix
