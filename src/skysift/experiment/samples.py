"""Samples: values at longitudes and latitudes, chosen from what a file holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from skysift.experiment.sample_files import listing, opened
from skysift.grid import UNSEEN

if TYPE_CHECKING:
    import xarray as xr

_UNITS = {
    "lon": ("degrees_east", "degree_east", "degrees_e", "degree_e", "degreee", "degreese"),
    "lat": ("degrees_north", "degree_north", "degrees_n", "degree_n", "degreen", "degreesn"),
}
_STANDARD = {"lon": "longitude", "lat": "latitude"}
_NAMES = {
    "lon": ("lon", "longitude", "lons", "longitudes", "long", "nav_lon"),
    "lat": ("lat", "latitude", "lats", "latitudes", "nav_lat"),
}
_KEPT = ("units", "long_name", "standard_name")


@dataclass(frozen=True)
class Wanted:
    """Which arrays of a file are the samples.

    A name may be that of an array, its last parts where it lies in a group, or `NAME:COLUMN` for a
    column of a table in one array.

    Args:
        values: names of the measured values.
        lon: name of the longitudes; found by CF attributes or common names by default.
        lat: name of the latitudes.
        sigma: name of the standard deviations of the values.
        area: name of the areas that the samples stand for [m2].
        fill: number that stands for a missing value, besides what the file itself declares.
    """

    values: tuple[str, ...]
    lon: str | None = None
    lat: str | None = None
    sigma: str | None = None
    area: str | None = None
    fill: float | None = None


@dataclass(frozen=True, eq=False)
class SampledField:
    """One measured quantity.

    Args:
        name: of the array in the file.
        values: NaN where missing.
        axes: names of the leading axes, such as time.
        coordinates: of the leading axes, by name.
        attributes: units and long name, as far as the file has them.
    """

    name: str
    values: Float[np.ndarray, "*row sample"]
    axes: tuple[str, ...] = ()
    coordinates: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Unit as the file says it, or nothing."""
        return self.attributes.get("units", "")

    @property
    def rows(self) -> list[str]:
        """A title for each row of values, in C order."""
        shape = self.values.shape[:-1]
        if not shape:
            return [self.name]
        return [
            f"{self.name} [{', '.join(f'{a} {i}' for a, i in zip(self.axes, at, strict=True))}]"
            for at in np.ndindex(*shape)
        ]


@dataclass(frozen=True, eq=False)
class Samples:
    """Values at longitudes and latitudes.

    Args:
        lon: [degrees].
        lat: [degrees].
        fields: what was measured there.
        sigma: standard deviations of the values, or `None`.
        area: [m2], or `None`.
        dropped: number of samples of the file that have no coordinates, or no value at all.
    """

    lon: Float[np.ndarray, " sample"]
    lat: Float[np.ndarray, " sample"]
    fields: tuple[SampledField, ...]
    sigma: Float[np.ndarray, " sample"] | None = None
    area: Float[np.ndarray, " sample"] | None = None
    dropped: int = 0

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.lon.size

    @property
    def values(self) -> Float[np.ndarray, "row sample"]:
        """All rows of all fields."""
        return np.concatenate([one.values.reshape(-1, self.size) for one in self.fields])

    @property
    def rows(self) -> list[str]:
        """A title for each of them."""
        return [title for one in self.fields for title in one.rows]


def read_samples(path: str | Path, wanted: Wanted) -> Samples:
    """Read samples; swaths and grids are flattened, further axes become rows of a batch.

    Args:
        path: NetCDF, HDF5, Zarr, Parquet, CSV or NPZ.
        wanted: what to read.

    Raises:
        ValueError: for names that are not there or not unique (with what the file holds), shapes
            that do not fit, arrays that are no numbers, or no sample with a value.
    """
    with opened(path) as arrays:
        if not wanted.values:
            raise ValueError(
                f"value: expected the name of what was measured, got none. {listing(arrays)} Say "
                "it with --value."
            )
        values = [_pick(arrays, "value", name) for name in wanted.values]
        lon, lat = (_coordinate(arrays, values[0], key, given) for key, given in _axes_of(wanted))
        axes = _sample_axes(values[0], lon, lat)
        lon_values, lat_values = (_at_samples(one, values[0], axes, wanted) for one in (lon, lat))
        fields = [_field(one, axes, wanted) for one in values]
        if len({one.name for one in fields}) < len(fields):
            full = [str(one.name).replace("/", "_") for one in values]
            fields = [replace(one, name=name) for one, name in zip(fields, full, strict=True)]
        extra = [
            None if name is None else _at_samples(_pick(arrays, key, name), values[0], axes, wanted)
            for key, name in (("sigma", wanted.sigma), ("area", wanted.area))
        ]
    size = lon_values.size
    kept = np.isfinite(lon_values) & np.isfinite(lat_values)
    known = [np.isfinite(one.values).reshape(-1, size).any(axis=0) for one in fields]
    kept &= np.any(known, axis=0)
    if not kept.any():
        raise ValueError(
            f"value: expected samples with coordinates and a value, got none among {size} in "
            f"{path}. Check --lon, --lat and --fill."
        )
    return Samples(
        lon_values[kept],
        lat_values[kept],
        tuple(replace(one, values=one.values[..., kept]) for one in fields),
        *(None if one is None else one[kept] for one in extra),
        dropped=int(size - kept.sum()),
    )


def _axes_of(wanted: Wanted) -> tuple[tuple[str, str | None], ...]:
    return ("lon", wanted.lon), ("lat", wanted.lat)


def _pick(arrays: Mapping[str, xr.DataArray], option: str, name: str) -> xr.DataArray:
    """Array of a name, of its last part, or a column of it."""
    found = [full for full in arrays if f"/{full}".endswith(f"/{name}")]
    if name in arrays:
        found = [name]
    if len(found) == 1:
        return arrays[found[0]].rename(found[0])
    head, _, column = name.rpartition(":")
    if not found and head and column.isdecimal():
        table = _pick(arrays, option, head)
        if table.ndim == 2 and int(column) < table.shape[1]:
            return table[:, int(column)].rename(name)
        raise ValueError(
            f"{option}: expected a column of a table, got {name!r} of an array of shape "
            f"{table.shape}. Columns count from 0."
        )
    what = f"one of {', '.join(found)}" if found else "the name of an array"
    raise ValueError(f"{option}: expected {what}, got {name!r}. {listing(arrays)}")


def _coordinate(
    arrays: Mapping[str, xr.DataArray], value: xr.DataArray, key: str, given: str | None
) -> xr.DataArray:
    """Longitudes or latitudes that belong to a value."""
    if given is not None:
        return _pick(arrays, key, given)
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
    unit = str(array.attrs.get("units", "")).lower()
    return array.attrs.get("standard_name") == _STANDARD[key] or unit in _UNITS[key]


def _nearest_group(name: str, found: list[str]) -> list[str]:
    """Those whose group has most in common with that of a name."""
    parts = name.split("/")

    def shared(other: str) -> int:
        equal = [a == b for a, b in zip(parts[:-1], other.split("/")[:-1], strict=False)]
        return equal.index(False) if False in equal else len(equal)

    most = max((shared(one) for one in found), default=0)
    return [one for one in found if shared(one) == most]


def _sample_axes(value: xr.DataArray, lon: xr.DataArray, lat: xr.DataArray) -> tuple[str, ...]:
    """Axes of a value along which samples lie, in its order."""
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


def _at_samples(
    array: xr.DataArray, value: xr.DataArray, axes: tuple[str, ...], wanted: Wanted
) -> Float[np.ndarray, " sample"]:
    """A coordinate for each sample."""
    if not set(array.dims) <= set(axes):
        raise ValueError(
            f"{array.name}: expected one number per sample ({', '.join(axes)}), got axes "
            f"{', '.join(map(str, array.dims))}."
        )
    missing = {axis: value.sizes[axis] for axis in axes if axis not in array.dims}
    return _numbers(array.expand_dims(missing).transpose(*axes), wanted.fill).ravel()


def _field(array: xr.DataArray, axes: tuple[str, ...], wanted: Wanted) -> SampledField:
    missing = [axis for axis in axes if axis not in array.dims]
    if missing:
        raise ValueError(
            f"value: expected {array.name} to have the axes {', '.join(axes)} of the samples, got "
            f"{dict(array.sizes)}. Resample it on its own."
        )
    leading = tuple(str(dim) for dim in array.dims if dim not in axes)
    values = _numbers(array.transpose(*leading, *axes), wanted.fill)
    shape = tuple(array.sizes[axis] for axis in leading)
    coordinates = {
        axis: (axis, array.coords[axis].values, dict(array.coords[axis].attrs))
        for axis in leading
        if axis in array.coords
    }
    attributes = {key: str(array.attrs[key]) for key in _KEPT if key in array.attrs}
    if "Units" in array.attrs:  # HDF-EOS
        units = array.attrs["Units"]
        attributes.setdefault("units", units.decode() if isinstance(units, bytes) else str(units))
    name = str(array.name).rpartition("/")[2]
    samples = math.prod(array.sizes[axis] for axis in axes)
    return SampledField(name, values.reshape(*shape, samples), leading, coordinates, attributes)


def _numbers(array: xr.DataArray, fill: float | None) -> Float[np.ndarray, "..."]:
    """Values as float64, NaN where missing."""
    if array.dtype.kind not in "iufb":
        raise ValueError(
            f"{array.name}: expected numbers, got {array.dtype}. Choose another array, or convert "
            "it to numbers first."
        )
    values = array.values
    missing = np.zeros(values.shape, dtype=bool)
    if fill is not None:
        missing = values == (values.dtype.type(fill) if values.dtype.kind == "f" else fill)
    values = values.astype(np.float64)
    # UNSEEN is what HEALPix files say for missing; it is in single precision there.
    unseen = np.abs(values - UNSEEN) <= 1e-5 * abs(UNSEEN)
    values[missing | unseen | ~np.isfinite(values)] = np.nan
    return values
