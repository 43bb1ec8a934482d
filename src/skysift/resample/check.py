"""Checks of coordinates, levels and cell numbers at the door of the resampling engine."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import healpy as hp
import numpy as np
from jaxtyping import Float, Int

from skysift.grid import masked_to_nan

MAX_LEVEL = 29

MAX_LON = 720.0
"""Largest longitude [degrees]: two turns either way hold every branch; fill values lie beyond."""

Choice = TypeVar("Choice", bound=enum.Enum)


def check_choice(name: str, kind: type[Choice], value: Choice | str) -> Choice:
    """Member of an enumeration, from itself or its value.

    Raises:
        ValueError: for anything else.
    """
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(one.value) for one in kind)
        raise ValueError(
            f"{name}: expected one of {known}, got {value!r}. Choose one of them, as text or as "
            f"{kind.__name__}."
        ) from None


def check_level(level: int) -> int:
    """HEALPix level from 0 to 29.

    Raises:
        ValueError: for another one.
    """
    if isinstance(level, bool) or not isinstance(level, (int, np.integer)):
        raise ValueError(
            f"level: expected an integer from 0 to {MAX_LEVEL}, got {level!r}. The level is "
            "log2(nside): 6 for nside 64."
        )
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError(
            f"level: expected from 0 to {MAX_LEVEL}, got {level}. The level is log2(nside); cells "
            "are 58.6 degrees / 2**level wide."
        )
    return int(level)


def check_coordinates(
    lon: Float[np.ndarray, " sample"], lat: Float[np.ndarray, " sample"]
) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
    """Longitudes and latitudes [degrees] as float64 vectors.

    Raises:
        ValueError: for shapes that differ or are not one-dimensional, or the first value that is
            not finite, masked, or outside of -90 to 90 (latitude) or -720 to 720 (longitude).
    """
    vectors = _vector("lon", lon), _vector("lat", lat)
    if vectors[0].shape != vectors[1].shape:
        raise ValueError(
            f"lat: expected {vectors[0].size} values as lon has, got {vectors[1].size}. Give both "
            "coordinates of every sample."
        )
    for name, vector in zip(("lon", "lat"), vectors, strict=True):
        refuse(name, vector, ~np.isfinite(vector), "finite degrees", "Drop these samples.")
    check_angles(*vectors)
    return vectors


def check_samples(
    lon: Float[np.ndarray, " sample"], lat: Float[np.ndarray, " sample"]
) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
    """Coordinates as `check_coordinates` gives them, of at least one sample.

    Raises:
        ValueError: for coordinates that it refuses, or none.
    """
    lon, lat = check_coordinates(lon, lat)
    if not lon.size:
        raise ValueError("lon: expected at least one sample, got none. Check the selection.")
    return lon, lat


def check_angles(lon: Float[np.ndarray, "..."], lat: Float[np.ndarray, "..."]) -> None:
    """Refuse longitudes and latitudes that are no angles on the sphere; NaN pass.

    Raises:
        ValueError: naming the first.
    """
    for name, values, limit, fix in (
        ("lon", lon, MAX_LON, "take unwrapped longitudes modulo 360"),
        ("lat", lat, 90.0, "give lon and lat in this order"),
    ):
        expected = f"degrees from {-limit:g} to {limit:g}"
        refuse(name, values, np.abs(values) > limit, expected, f"Drop these samples, or {fix}.")


def check_cells(cells: Int[np.ndarray, " cell"], level: int) -> Int[np.ndarray, " cell"]:
    """Sorted, unique cell numbers of a level.

    Raises:
        ValueError: for numbers that are not integers or not on the sphere.
    """
    cells = masked_to_nan(cells)
    if cells.ndim != 1:
        raise ValueError(
            f"cells: expected a vector of cell numbers, got shape {cells.shape}. Use ravel()."
        )
    if not cells.size:
        raise ValueError(
            "cells: expected at least one cell number, got none. Leave out `cells` to use those "
            "that the samples reach."
        )
    check_range(cells, level)
    return np.unique(cells.astype(np.int64))


def check_range(cells: Int[np.ndarray, "..."], level: int) -> None:
    """Refuse numbers that are not cells of a level.

    Raises:
        ValueError: for numbers that are not integers or not on the sphere.
    """
    npix = hp.nside2npix(1 << level)
    if cells.dtype.kind not in "iu":
        raise ValueError(
            f"cells: expected integer cell numbers, got {cells.dtype}. Drop masked ones, convert "
            "others with astype(numpy.int64)."
        )
    refuse(
        "cells",
        cells,
        (cells < 0) | (cells >= npix),
        f"numbers from 0 to {npix - 1} of level {level}",
        "Check the level of the numbers.",
    )


def _vector(name: str, values: Any) -> Float[np.ndarray, " sample"]:
    vector = masked_to_nan(values)
    if vector.ndim != 1 or vector.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: expected a vector of real numbers, one per sample, got {vector.dtype} of "
            f"shape {vector.shape}. Flatten a swath with ravel()."
        )
    return vector.astype(np.float64, copy=False)


def refuse(name: str, values: np.ndarray, bad: np.ndarray, expected: str, fix: str) -> None:
    """Raise with the first bad value.

    Raises:
        ValueError: if there is one.
    """
    if bad.any():
        values, bad = np.atleast_1d(values, bad)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = first[0] if len(first) == 1 else first
        raise ValueError(
            f"{name}: expected {expected}, got {values[first]} at index {where} ({int(bad.sum())} "
            f"such values). {fix}"
        )


def check_count(name: str, count: int) -> int:
    """Positive integer.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(
            f"{name}: expected a positive integer such as 9, got {count!r}. Leave it out to have "
            "the default."
        )
    return int(count)


def check_positive(name: str, value: float, *, zero: bool = False) -> float:
    """Finite number above zero, or from zero on.

    Raises:
        ValueError: for anything else.
    """
    single = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    if not single or not np.isfinite(value) or value < 0.0 or (value == 0.0 and not zero):
        raise ValueError(
            f"{name}: expected a finite number {'from' if zero else 'above'} 0, got {value!r}. "
            "Leave it out to have the default."
        )
    return float(value)
