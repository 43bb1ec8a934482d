"""Operators between samples and cells: nearest, bilinear, inverse distance, bicubic, Gaussian."""

from __future__ import annotations

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.resample.bicubic import bicubic_links
from skysift.resample.cells import arc_m
from skysift.resample.check import check_count, check_positive
from skysift.resample.ellipsoid import WGS84, Ellipsoid
from skysift.resample.links import Links, Points, Target
from skysift.resample.memory import Memory
from skysift.resample.neighbours import sorted_unique
from skysift.resample.sampling import Method, Sampling
from skysift.resample.search import nearest_cells


def nearest(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Every sample has the value of the cell that holds it.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: HEALPix level, log2(nside), from 0 to 29.
        cells: numbers of the cells wanted; by default those that hold a sample. Samples elsewhere
            are not covered.
        ellipsoid: figure on which the latitudes are, `"WGS84"`, `"sphere"` or another.
        nest: number the cells NESTED, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Returns:
        One link per sample. Its `average` is the mean of the samples in each cell.

    Raises:
        ValueError: for coordinates that are not finite or out of range, cells that are not of the
            level, or too little memory.

    Examples:
        >>> lon, lat = np.array([10.0, 11.0, -80.0]), np.array([0.0, 1.0, 60.0])
        >>> nearest(lon, lat, 2).cell_ids.tolist()
        [59, 70]
    """
    target = Target.of(level, cells, ellipsoid, nest)
    memory = Memory(memory_mb)
    memory.take(samples=np.size(lon), links=1, cells=np.size(lon))
    points = Points.of(lon, lat, target)
    ids = sorted_unique(points.own)
    index = np.searchsorted(ids, points.own)[:, None]
    return Links(ids, index, np.ones(index.shape)).assemble(points, target, Method.NEAREST)


def bilinear(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Interpolation between the four cells around a sample, on the two rings next to it.

    This is healpy's `get_interp_val`: linear in colatitude between the rings and linear in
    longitude along each. Its error is of second order in the size of the cells, except towards the
    poles, where rings have few cells.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: HEALPix level, log2(nside), from 0 to 29.
        cells: numbers of the cells wanted; by default all that are needed. A sample is covered
            when its own cell is wanted and those wanted have half of the weight; they then share
            the rest.
        ellipsoid: figure on which the latitudes are, `"WGS84"`, `"sphere"` or another.
        nest: number the cells NESTED, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Returns:
        Four links per sample.

    Raises:
        ValueError: for coordinates that are not finite or out of range, cells that are not of the
            level, or too little memory.

    Examples:
        >>> sampling = bilinear(np.array([10.0]), np.array([41.0]), 4)
        >>> sampling.index.shape, round(float(sampling.weights.sum()), 12)
        ((1, 4), 1.0)
    """
    target = Target.of(level, cells, ellipsoid, nest)
    memory = Memory(memory_mb)
    memory.take(samples=np.size(lon), links=4)
    points = Points.of(lon, lat, target)
    corners, weights = hp.get_interp_weights(1 << target.level, *target.angles(points), nest=True)
    ids = sorted_unique(corners)
    links = Links(ids, np.searchsorted(ids, corners.T), np.ascontiguousarray(weights.T))
    return links.assemble(points, target, Method.BILINEAR)


def bicubic(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Cubic convolution on the four by four cells around a sample.

    Keys' kernel along both axes of the lattice of cells, corrected so that linear functions on the
    tangent plane are exact everywhere. Its error is of third order within base cells and of second
    order along their edges. Some weights are negative.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: HEALPix level, log2(nside), from 1 to 29.
        cells: numbers of the cells wanted; by default all that are needed. A sample is covered
            when its own cell is wanted and those wanted have half of the weight; they then share
            the rest.
        ellipsoid: figure on which the latitudes are, `"WGS84"`, `"sphere"` or another.
        nest: number the cells NESTED, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Returns:
        Sixteen links per sample.

    Raises:
        ValueError: for coordinates that are not finite or out of range, cells that are not of the
            level, level 0, or too little memory.

    References:
        Keys 1981, IEEE Trans. Acoustics, Speech and Signal Processing 29, 1153.

    Examples:
        >>> sampling = bicubic(np.array([10.0]), np.array([41.0]), 4)
        >>> sampling.index.shape, round(float(sampling.weights.sum()), 12)
        ((1, 16), 1.0)
    """
    target = Target.of(level, cells, ellipsoid, nest)
    if target.level == 0:
        raise ValueError(
            "level: expected from 1 to 29 for bicubic, got 0, where there are no four by four "
            "cells around a point. Use bilinear."
        )
    memory = Memory(memory_mb)
    memory.take(samples=np.size(lon), links=16)
    points = Points.of(lon, lat, target)
    return bicubic_links(points, target, memory).assemble(points, target, Method.BICUBIC)


def inverse_distance(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    npt: int = 4,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Mean of the nearest cells, weighted with the inverse of their distance.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: HEALPix level, log2(nside), from 0 to 29.
        npt: number of cells per sample.
        cells: numbers of the cells wanted; by default all that are needed. A sample is covered
            when its own cell is wanted, and linked to the nearest that are.
        ellipsoid: figure on which the latitudes are, `"WGS84"`, `"sphere"` or another.
        nest: number the cells NESTED, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Returns:
        `npt` links per sample. A sample nearer to a centre than 1e-6 of a cell has its value.

    Raises:
        ValueError: for coordinates that are not finite or out of range, cells that are not of the
            level, an `npt` that is not positive, or too little memory.

    References:
        Shepard 1968, Proc. 23rd ACM National Conference, 517 (with power 1).

    Examples:
        >>> sampling = inverse_distance(np.array([10.0]), np.array([41.0]), 4, npt=6)
        >>> sampling.index.shape, round(float(sampling.weights.sum()), 12)
        ((1, 6), 1.0)
    """
    target = Target.of(level, cells, ellipsoid, nest)
    memory = Memory(memory_mb)
    memory.take(samples=np.size(lon), links=check_count("npt", npt))
    points = Points.of(lon, lat, target)
    least = 1e-6 * target.side_m

    def kernel(squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return 1.0 / np.maximum(arc_m(np.sqrt(squared), target.ellipsoid), least)

    links = nearest_cells(points, target, npt, kernel, 0.0, memory)
    return links.assemble(points, target, Method.INVERSE_DISTANCE)


def psf(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    npt: int = 9,
    sigma_m: float | None = None,
    threshold: float = 0.1,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Sampling:
    """Mean of the nearest cells, weighted with a Gaussian point spread function.

    The weight of a cell at distance d is exp(-2 d^2 / sigma_m^2), as healpix-resample defines it:
    the standard deviation of the Gaussian is sigma_m / 2, its full width at half maximum 1.18
    sigma_m. Distances are along the surface of the ellipsoid.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: HEALPix level, log2(nside), from 0 to 29.
        npt: number of cells per sample. Samples with fewer cells in reach have fewer.
        sigma_m: scale of the Gaussian [m]; by default the square root of the area of a cell.
        threshold: cells whose weights, summed over all samples around them, are less than this are
            left out.
        cells: numbers of the cells wanted; by default all that pass the threshold. A sample is
            covered when its own cell is wanted, and linked to the nearest that are.
        ellipsoid: figure on which the latitudes are, `"WGS84"`, `"sphere"` or another.
        nest: number the cells NESTED, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Returns:
        `npt` links per sample.

    Raises:
        ValueError: for coordinates that are not finite or out of range, cells that are not of the
            level, an `npt`, `sigma_m` or `threshold` that is not positive, no cell above the
            threshold, or too little memory.

    Examples:
        >>> lon, lat = np.meshgrid(np.linspace(-5, 5, 40), np.linspace(40, 50, 40))
        >>> sampling = psf(lon.ravel(), lat.ravel(), 5)
        >>> sampling.index.shape, bool(sampling.covered.all())
        ((1600, 9), True)
    """
    target = Target.of(level, cells, ellipsoid, nest)
    memory = Memory(memory_mb)
    memory.take(samples=np.size(lon), links=check_count("npt", npt))
    points = Points.of(lon, lat, target)
    sigma_m = target.side_m if sigma_m is None else check_positive("sigma_m", sigma_m)
    scale = -2.0 / sigma_m**2

    def kernel(squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.exp(scale * arc_m(np.sqrt(squared), target.ellipsoid) ** 2)

    check_positive("threshold", threshold, zero=True)
    links = nearest_cells(points, target, npt, kernel, threshold, memory)
    return links.assemble(points, target, Method.PSF)
