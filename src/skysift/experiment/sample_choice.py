"""Which arrays of a file are values, and which are the coordinates that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from skysift.experiment.sample_files import listing
from skysift.maps import unseen_to_nan

if TYPE_CHECKING:
    import xarray as xr

_UNITS = {
    "lon": ("degrees_east", "degree_east", "degrees_e", "degree_e", "degreee", "degreese"),
    "lat": ("degrees_north", "degree_north", "degrees_n", "degree_n", "degreen", "degreesn"),
}
_DEGREES = ("", "1", "none", "°", "deg", "degree", "degrees", "decimal_degrees", "degrees_true")
_RADIANS = ("rad", "radian", "radians")
_STANDARD = {"lon": "longitude", "lat": "latitude"}
_NAMES = {
    "lon": ("lon", "longitude", "lons", "longitudes", "long", "nav_lon"),
    "lat": ("lat", "latitude", "lats", "latitudes", "nav_lat"),
}


def pick(arrays: Mapping[str, xr.DataArray], option: str, name: str) -> xr.DataArray:
    """Array of a name, of its last part, or a column of it.

    Args:
        arrays: of a file.
        option: that said the name, for messages.
        name: of an array, or `NAME:COLUMN`.

    Raises:
        ValueError: if there is none or more than one.
    """
    found = [full for full in arrays if f"/{full}".endswith(f"/{name}")]
    if name in arrays:
        found = [name]
    if len(found) == 1:
        return arrays[found[0]].rename(found[0])
    head, _, column = name.rpartition(":")
    if not found and head and column.isdecimal():
        table = pick(arrays, option, head)
        if table.ndim == 2 and int(column) < table.shape[1]:
            return table[:, int(column)].rename(name)
        raise ValueError(
            f"{option}: expected a column of a table, got {name!r} of an array of shape "
            f"{table.shape}. Columns count from 0."
        )
    what = f"one of {', '.join(found)}" if found else "the name of an array"
    raise ValueError(f"{option}: expected {what}, got {name!r}. {listing(arrays)}")


def coordinate(
    arrays: Mapping[str, xr.DataArray], value: xr.DataArray, key: str, given: str | None
) -> xr.DataArray:
    """Longitudes or latitudes that belong to a value.

    Args:
        arrays: of a file.
        value: that they are to fit.
        key: lon or lat.
        given: name that a user gave; else found by usual names, then CF attributes, next to the
            value first.

    Raises:
        ValueError: if there are none or more than one.
    """
    if given is not None:
        return pick(arrays, key, given)
    fitting = {n: a for n, a in arrays.items() if a.ndim and set(a.dims) <= set(value.dims)}
    named = [
        name for name in fitting if name.rpartition("/")[2].strip().lower() in _NAMES[key]
    ] or [name for name, array in fitting.items() if _says(array, key)]
    own = [name for name in named if name.rpartition("/")[2] in value.coords]
    closest = _nearest_group(str(value.name), own or named)
    if len(closest) != 1:
        got = f"several ({', '.join(closest)})" if closest else "none"
        raise ValueError(
            f"{key}: expected one array of {_STANDARD[key]}s that fits {value.name}, got {got}. "
            f"Name it with --{key}. {listing(arrays)}"
        )
    return arrays[closest[0]].rename(closest[0])


def _says(array: xr.DataArray, key: str) -> bool:
    """Whether CF attributes call an array longitude or latitude."""
    return (
        array.attrs.get("standard_name") == _STANDARD[key] or unit_of(array).lower() in _UNITS[key]
    )


def _nearest_group(name: str, found: list[str]) -> list[str]:
    """Those whose group has most in common with that of a name."""
    parts = name.split("/")

    def shared(other: str) -> int:
        equal = [a == b for a, b in zip(parts[:-1], other.split("/")[:-1], strict=False)]
        return equal.index(False) if False in equal else len(equal)

    most = max((shared(one) for one in found), default=0)
    return [one for one in found if shared(one) == most]


def sample_axes(value: xr.DataArray, lon: xr.DataArray, lat: xr.DataArray) -> tuple[str, ...]:
    """Axes of a value along which samples lie, in its order.

    Raises:
        ValueError: if the coordinates have others.
    """
    used = {*lon.dims, *lat.dims}
    ambiguous = {f"{dim}x" for dim in used} & {*value.dims} - used
    if ambiguous or not used or not used <= {*value.dims}:
        raise ValueError(
            f"value: expected one for each longitude and latitude, got {value.name} "
            f"{dict(value.sizes)}, {lon.name} {dict(lon.sizes)} and {lat.name} {dict(lat.sizes)}. "
            "Choose others with --lon and --lat"
            + (", or give NetCDF, whose axes have names." if ambiguous else ".")
        )
    return tuple(str(dim) for dim in value.dims if dim in used)


def unit_of(array: xr.DataArray) -> str:
    """Unit of an array as its file says it, empty if it does not; HDF-EOS writes it large."""
    unit = array.attrs.get("units", array.attrs.get("Units", ""))
    return (unit.decode() if isinstance(unit, bytes) else str(unit)).strip()


def degrees(array: xr.DataArray, key: str, fill: float | None) -> Float[np.ndarray, "..."]:
    """Longitudes or latitudes in degrees, NaN where missing.

    Args:
        array: in degrees, radians, or a unit that the file does not say and that is degrees then.
        key: lon or lat.
        fill: number that stands for a missing value.

    Raises:
        ValueError: for another unit.
    """
    values, unit = numbers(array, fill), unit_of(array).lower().replace(" ", "_")
    if unit in _RADIANS:
        return np.degrees(values)
    if unit not in (*_DEGREES, *_UNITS[key]):
        raise ValueError(
            f"{key}: expected degrees or radians, got {array.name} in {unit_of(array)!r}. Name "
            f"other {_STANDARD[key]}s with --{key}."
        )
    return values


def numbers(array: xr.DataArray, fill: float | None) -> Float[np.ndarray, "..."]:
    """Values as float64, NaN where missing.

    Args:
        array: of numbers.
        fill: number that stands for a missing value, besides UNSEEN.

    Raises:
        ValueError: if it holds something else.
    """
    if array.dtype.kind not in "iufb":
        raise ValueError(
            f"{array.name}: expected numbers, got {array.dtype}. Choose another array, or convert "
            "it to numbers first."
        )
    values = array.values
    if fill is None:
        return unseen_to_nan(values)
    missing = values == (values.dtype.type(fill) if values.dtype.kind == "f" else fill)
    return unseen_to_nan(np.where(missing, np.nan, values))
