"""Weights of bicubic interpolation on the lattice of HEALPix cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from skysift.resample.lattice import project, quadrant_of, zone_of
from skysift.resample.links import Links, Points, Target, joined, only_linked
from skysift.resample.memory import Memory
from skysift.resample.neighbours import Neighbourhood, neighbourhoods, place_in_face

_RINGS = 2
_SIDE = 4


def bicubic_links(points: Points, target: Target, memory: Memory) -> Links:
    """Links of every sample to the four by four cells around it.

    The weights are products of the cubic convolution kernel (Keys 1981, IEEE Trans. ASSP 29, 1153,
    equation 15) in the two directions of the lattice. The lattice has kinks where base cells meet
    and lacks cells at eight of their corners; there, a small correction keeps linear functions on
    the tangent plane exact, as in moving least squares.
    """
    shape = (points.own.size, _SIDE**2)
    index, weights = np.zeros(shape, dtype=np.int32), np.zeros(shape)
    runs = []
    for hood in neighbourhoods(points.own, target.level, _RINGS):
        near, weights[hood.rows] = _block(points.taken(hood.rows), target, hood)
        keep, index[hood.rows] = only_linked(hood.ids, near)
        runs.append((hood.rows, hood.ids[keep]))
        memory.take(cells=runs[-1][1].size)
    return Links(joined(runs, index), index, weights)


def _block(
    points: Points, target: Target, hood: Neighbourhood
) -> tuple[Int[np.ndarray, "sample link"], Float[np.ndarray, "sample link"]]:
    """Positions in `hood.ids` and weights of the sixteen cells around each sample."""
    fractions = _fractions(points, target)
    start = (fractions >= 0.5).astype(np.int64)
    steps = start[..., None] + np.arange(_SIDE)
    away = fractions[..., None] - (steps - _RINGS + 0.5)
    column, row = steps
    chosen = row[:, :, None] * (2 * _RINGS + 1) + column[:, None, :]
    near = np.take_along_axis(hood.near(), chosen.reshape(len(chosen), -1), axis=1)
    exists = near > 0
    weights = np.where(exists, _product(_keys(away)), 0.0)
    window = np.where(exists, _product((1.0 - np.square(0.5 * away)) ** 2), 0.0)
    offsets = np.where(exists, _tangent_offsets(points, target, hood, near), 0.0)
    return near, _exact_for_linear(weights, window, offsets)


def _fractions(points: Points, target: Target) -> Float[np.ndarray, "2 sample"]:
    """Where in its cell a sample is, from 0 to 1 along each axis of the lattice."""
    nside = 1 << target.level
    theta, phi = target.angles(points)
    vectors = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    vectors = vectors.T
    plane = project(vectors, quadrant_of(vectors), zone_of(vectors), nside).T
    corner = np.stack(place_in_face(points.own, nside)[:2])
    return np.clip((plane - corner + 0.5) % nside - 0.5, 0.0, 1.0)


def _keys(away: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Cubic convolution kernel with a = -1/2."""
    u = np.abs(away)
    inner = (1.5 * u - 2.5) * u * u + 1.0
    outer = ((-0.5 * u + 2.5) * u - 4.0) * u + 2.0
    return np.where(u < 1.0, inner, np.where(u < 2.0, outer, 0.0))


def _product(factors: Float[np.ndarray, "2 sample 4"]) -> Float[np.ndarray, "sample 16"]:
    across, up = factors
    return (up[:, :, None] * across[:, None, :]).reshape(len(up), -1)


def _tangent_offsets(
    points: Points, target: Target, hood: Neighbourhood, near: Int[np.ndarray, "sample link"]
) -> Float[np.ndarray, "2 sample link"]:
    """Offsets of cells from their sample to the east and the north [cell sides]."""
    lon, lat = np.radians(points.lon), np.radians(points.lat)
    zero = np.zeros_like(lon)
    east = np.stack([-np.sin(lon), np.cos(lon), zero])
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    here = target.ellipsoid.positions(points.lon, points.lat)
    away = target.positions(hood.ids)[:, near] - here[:, :, None]
    with np.errstate(invalid="ignore"):  # cells that do not exist are infinitely far
        offsets = [np.sum(axis[:, :, None] * away, axis=0) for axis in (east, north)]
    return np.stack(offsets) / target.side_m


def _exact_for_linear(
    weights: Float[np.ndarray, "sample link"],
    window: Float[np.ndarray, "sample link"],
    offsets: Float[np.ndarray, "2 sample link"],
) -> Float[np.ndarray, "sample link"]:
    """Weights changed by window times a linear function so that constants and slopes are exact."""
    basis = np.stack([np.ones_like(weights), *offsets], axis=-1)
    moments = np.einsum("sl,slb,slc->sbc", window, basis, basis, optimize=True)
    lacking = np.array([1.0, 0.0, 0.0]) - np.einsum("sl,slb->sb", weights, basis)
    slope = np.linalg.solve(moments, lacking[:, :, None])[:, :, 0]
    return weights + window * np.einsum("slb,sb->sl", basis, slope)
