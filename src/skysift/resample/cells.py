"""HEALPix cells on an ellipsoid: numbers, centres, distances, level-29 points."""

from __future__ import annotations

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import masked_to_nan
from skysift.resample.check import MAX_LEVEL, check_coordinates, check_level, check_range
from skysift.resample.ellipsoid import WGS84, Ellipsoid


def cells_of(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    ellipsoid: Ellipsoid | str = WGS84,
    *,
    nest: bool = True,
) -> Int[np.ndarray, " sample"]:
    """Numbers of the cells that hold points.

    Args:
        lon: longitudes in any branch, from -720 to 720 [degrees].
        lat: geodetic latitudes [degrees].
        level: log2(nside), from 0 to 29.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.

    Raises:
        ValueError: for coordinates that are not finite or out of range, or a wrong level.

    Examples:
        >>> cells_of(np.array([0.0, 360.0]), np.array([90.0, 0.0]), 0)
        array([0, 4])
    """
    level = check_level(level)
    lon, lat = check_coordinates(lon, lat)
    theta, phi = sphere_angles(lon, lat, Ellipsoid.of(ellipsoid))
    return hp.ang2pix(1 << level, theta, phi, nest=nest)


def centres(
    cells: Int[np.ndarray, " cell"],
    level: int,
    ellipsoid: Ellipsoid | str = WGS84,
    *,
    nest: bool = True,
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Longitudes and geodetic latitudes of cell centres [degrees].

    Args:
        cells: numbers.
        level: log2(nside), from 0 to 29.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.

    Raises:
        ValueError: for a wrong level or numbers that are not of it.

    Examples:
        >>> lon, lat = centres(np.array([0]), 0, "sphere")
        >>> lon.round(6).tolist(), lat.round(6).tolist()
        ([45.0], [41.810315])
    """
    cells = masked_to_nan(cells)
    level = check_level(level)
    check_range(cells, level)
    lon, lat = hp.pix2ang(1 << level, cells, nest=nest, lonlat=True)
    return lon, Ellipsoid.of(ellipsoid).geodetic_latitude(lat)


def positions(
    cells: Int[np.ndarray, " cell"],
    level: int,
    ellipsoid: Ellipsoid | str = WGS84,
    *,
    nest: bool = True,
) -> Float[np.ndarray, "3 cell"]:
    """Cartesian positions of cell centres on the ellipsoid [m], in the arguments of `centres`."""
    ellipsoid = Ellipsoid.of(ellipsoid)
    return ellipsoid.positions(*centres(cells, level, ellipsoid, nest=nest))


def cell_side_m(level: int, ellipsoid: Ellipsoid | str = WGS84) -> float:
    """Square root of the area of a cell [m].

    Examples:
        >>> round(cell_side_m(10))
        6367
    """
    return hp.nside2resol(1 << check_level(level)) * Ellipsoid.of(ellipsoid).authalic_radius


def distance_m(
    first: Float[np.ndarray, "3 ..."],
    second: Float[np.ndarray, "3 ..."],
    ellipsoid: Ellipsoid | str = WGS84,
) -> Float[np.ndarray, "..."]:
    """Distance along the surface between Cartesian positions [m].

    The chord through the body, lengthened to the arc of the authalic sphere: it keeps its digits
    down to millimetres, where the arc cosine of a scalar product has lost them. On WGS84 it is the
    length of the geodesic to 2e-6 up to a degree.

    Args:
        first: from `Ellipsoid.positions` or `positions`.
        second: likewise.
        ellipsoid: figure on which they are.

    Examples:
        >>> ends = WGS84.positions(np.array([0.0, 0.0]), np.array([50.0, 51.0]))
        >>> round(float(distance_m(ends[:, 0], ends[:, 1])))
        111239
    """
    chord = np.sqrt(np.sum((first - second) ** 2, axis=0))
    return arc_m(chord, ellipsoid)


def arc_m(
    chord: Float[np.ndarray, "..."], ellipsoid: Ellipsoid | str = WGS84
) -> Float[np.ndarray, "..."]:
    """Length along the surface of a chord [m]."""
    diameter = 2.0 * Ellipsoid.of(ellipsoid).authalic_radius
    return diameter * np.arcsin(np.minimum(chord / diameter, 1.0))


def sphere_angles(
    lon: Float[np.ndarray, " sample"], lat: Float[np.ndarray, " sample"], ellipsoid: Ellipsoid
) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
    """Colatitude and longitude on the authalic sphere [rad]."""
    authalic = np.radians(ellipsoid.authalic_latitude(lat))
    return 0.5 * np.pi - authalic, np.radians(np.mod(lon, 360.0))


def encode_zuniq(cells: Int[np.ndarray, "..."], level: int) -> Int[np.ndarray, "..."]:
    """Numbers that carry the level and sort along the NESTED curve whatever the levels are.

    The bits of the NESTED number are followed by a one and by two zeros for each level up to 29.
    At level 29 they are points: 12 mm on the Earth.

    Args:
        cells: NESTED numbers of one level.
        level: HEALPix level.

    Raises:
        ValueError: for cells that are not of this level.

    References:
        `zuniq` of cdshealpix and healpix-geo.

    Examples:
        >>> encode_zuniq(np.array([0, 11]), 0).tolist()
        [288230376151711744, 6629298651489370112]
    """
    level = check_level(level)
    cells = masked_to_nan(cells)
    check_range(cells, level)
    return (2 * cells.astype(np.int64) + 1) << (2 * (MAX_LEVEL - level))


def decode_zuniq(
    numbers: Int[np.ndarray, "..."],
) -> tuple[Int[np.ndarray, "..."], Int[np.ndarray, "..."]]:
    """NESTED cell numbers and levels of zuniq numbers.

    Args:
        numbers: as `encode_zuniq` gives them, of any levels.

    Raises:
        ValueError: for numbers that are not zuniq.

    Examples:
        >>> decode_zuniq(encode_zuniq(np.array([5]), 3))
        (array([5]), array([3]))
    """
    numbers = masked_to_nan(numbers)
    if numbers.dtype.kind not in "iu":
        raise ValueError(
            f"numbers: expected integers, got {numbers.dtype}. Encode cells with encode_zuniq."
        )
    numbers = numbers.astype(np.int64)
    lowest = np.maximum(numbers & -numbers, 1)
    zeros = np.frexp(lowest.astype(np.float64))[1] - 1
    level = MAX_LEVEL - zeros // 2
    cells = numbers >> (zeros + 1)
    bad = (numbers <= 0) | (zeros % 2 == 1) | (level < 0)
    bad |= cells >= 12 * 4 ** np.maximum(level, 0).astype(np.int64)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"numbers: expected zuniq numbers, got {numbers.flat[first]} at index {first}. Encode "
            "cells with encode_zuniq."
        )
    return cells, level.astype(np.int64)
