"""Overlap of footprints and HEALPix cells by clipping on the sphere, one pair after the other."""

from __future__ import annotations

import itertools

import healpy as hp
import numpy as np


def spherical_area(polygon: np.ndarray) -> float:
    """Signed area of a polygon of unit vectors, as a fan of spherical triangles."""
    total = 0.0
    a = polygon[0]
    for b, c in itertools.pairwise(polygon[1:]):
        triple = np.dot(np.cross(b - a, c - a), a)
        total += 2.0 * np.arctan2(triple, 1.0 + a @ b + b @ c + c @ a)
    return total


def clipped(polygon: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Part of a polygon on the positive side of a great circle (Sutherland-Hodgman)."""
    out = []
    for here, there in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        s, t = here @ normal, there @ normal
        if s >= 0:
            out.append(here)
        if s * t < 0:
            point = here + s / (s - t) * (there - here)
            out.append(point / np.linalg.norm(point))
    return np.array(out)


def overlap(corners: np.ndarray, cell: int, level: int, step: int = 100) -> float:
    """Area common to a convex footprint of great circles and a NESTED cell [sr].

    The edges of the cell, which are no great circles, are chains of `step` arcs.
    """
    polygon = hp.boundaries(2**level, cell, step=step, nest=True).T
    if spherical_area(corners) < 0:
        corners = corners[::-1]
    for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.cross(here, there)
        if not np.any(normal):
            continue
        polygon = clipped(polygon, normal / np.linalg.norm(normal))
        if len(polygon) < 3:
            return 0.0
    return abs(spherical_area(polygon))
