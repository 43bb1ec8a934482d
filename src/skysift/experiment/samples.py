"""Samples: values at longitudes and latitudes, chosen from what a file holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.experiment.sample_choice import (
    coordinate,
    degrees,
    numbers,
    pick,
    sample_axes,
    unit_of,
)
from skysift.experiment.sample_files import listing, opened
from skysift.resample import Edges
from skysift.resample.check import MAX_LON

if TYPE_CHECKING:
    import xarray as xr

_KEPT = ("long_name", "standard_name")


@dataclass(frozen=True)
class Wanted:
    """Which arrays of a file are the samples.

    A name may be that of an array, its last parts where it lies in a group, or `NAME:COLUMN` for a
    column of a table in one array.

    Args:
        values: names of the measured values.
        lon: name of the longitudes; found by CF attributes or common names by default.
        lat: name of the latitudes.
        corners: names of the longitudes and latitudes of the corners of footprints, as CF bounds:
            with an axis for the corners behind those of the samples, or two bounds for each
            longitude and latitude of a regular grid.
        sigma: name of the standard deviations of the values.
        area: name of the areas that the samples stand for [m2].
        fill: number that stands for a missing value, besides what the file itself declares.
    """

    values: tuple[str, ...]
    lon: str | None = None
    lat: str | None = None
    corners: tuple[str, str] | None = None
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
        return row_titles(self.name, self.axes, self.values.shape[:-1])


def row_titles(name: str, axes: tuple[str, ...], shape: tuple[int, ...]) -> list[str]:
    """Titles of the rows of a quantity with leading axes, in C order.

    Examples:
        >>> row_titles("tb", ("time",), (2,)), row_titles("tb", (), ())
        (['tb [time 0]', 'tb [time 1]'], ['tb'])
    """
    if not shape:
        return [name]
    return [
        f"{name} [{', '.join(f'{a} {i}' for a, i in zip(axes, at, strict=True))}]"
        for at in np.ndindex(*shape)
    ]


@dataclass(frozen=True, eq=False)
class Footprints:
    """What samples have seen.

    Args:
        lon: of the corners, in order around each footprint [degrees].
        lat: [degrees].
        edges: what joins them.
    """

    lon: Float[np.ndarray, "sample corner"]
    lat: Float[np.ndarray, "sample corner"]
    edges: Edges = Edges.GREAT_CIRCLE


@dataclass(frozen=True, eq=False)
class Samples:
    """Values at longitudes and latitudes.

    Args:
        lon: [degrees].
        lat: [degrees].
        fields: what was measured there.
        sigma: standard deviations of the values, or `None`.
        area: [m2], or `None`.
        footprints: or `None`.
        dropped: number of samples of the file that have no coordinates, or no value at all.
    """

    lon: Float[np.ndarray, " sample"]
    lat: Float[np.ndarray, " sample"]
    fields: tuple[SampledField, ...]
    sigma: Float[np.ndarray, " sample"] | None = None
    area: Float[np.ndarray, " sample"] | None = None
    footprints: Footprints | None = None
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

    def taken(self, chosen: Bool[np.ndarray, " sample"] | Int[np.ndarray, " part"]) -> Samples:
        """Some of the samples: those where a mask is true, or by their numbers."""
        seen = self.footprints
        return replace(
            self,
            lon=self.lon[chosen],
            lat=self.lat[chosen],
            fields=tuple(replace(one, values=one.values[..., chosen]) for one in self.fields),
            sigma=None if self.sigma is None else self.sigma[chosen],
            area=None if self.area is None else self.area[chosen],
            footprints=seen and replace(seen, lon=seen.lon[chosen], lat=seen.lat[chosen]),
        )


def read_samples(path: str | Path, wanted: Wanted) -> Samples:
    """Read samples; swaths and grids are flattened, further axes become rows of a batch.

    Args:
        path: NetCDF, HDF5, Zarr, Parquet, CSV or NPZ.
        wanted: what to read.

    Raises:
        ValueError: for names that are not there or not unique (with what the file holds), shapes
            that do not fit, arrays that are no numbers, coordinates beyond the poles or in other
            units than degrees and radians, weights that are not positive, or no sample with a
            value.
    """
    with opened(path) as arrays:
        if not wanted.values:
            raise ValueError(
                f"value: expected the name of what was measured, got none. {listing(arrays)} Say "
                "it with --value."
            )
        values = [pick(arrays, "value", name) for name in wanted.values]
        lon, lat = (_of_all(arrays, values, key, getattr(wanted, key)) for key in ("lon", "lat"))
        axes = sample_axes(values[0], lon, lat)
        layout = Layout({axis: values[0].sizes[axis] for axis in axes})
        sigma, area = (
            None
            if name is None
            else numbers(layout.spread(pick(arrays, key, name)), wanted.fill).ravel()
            for key, name in (("sigma", wanted.sigma), ("area", wanted.area))
        )
        samples = Samples(
            degrees(layout.spread(lon), "lon", wanted.fill).ravel(),
            degrees(layout.spread(lat), "lat", wanted.fill).ravel(),
            _named_apart([_field(one, axes, wanted) for one in values], values),
            sigma,
            area,
            _footprints(arrays, layout, wanted),
        )
    kept = _kept(samples)
    if not kept.any():
        raise ValueError(
            f"value: expected samples with coordinates and a value, got none among {samples.size} "
            f"in {path}. Check --lon, --lat and --fill."
        )
    _check(samples, kept, layout, wanted)
    return replace(samples.taken(kept), dropped=int(samples.size - kept.sum()))


@dataclass(frozen=True)
class Layout:
    """How samples lie in a file.

    Args:
        sizes: lengths of the axes along which they lie, in their order.
    """

    sizes: Mapping[str, int]

    def spread(self, array: xr.DataArray, *more: str) -> xr.DataArray:
        """An array with all axes of the samples, in their order, and some more behind them.

        Raises:
            ValueError: if it has others.
        """
        if not set(array.dims) <= {*self.sizes, *more}:
            raise ValueError(
                f"{array.name}: expected one number per sample ({', '.join(self.sizes)}), got axes "
                f"{', '.join(map(str, array.dims))}."
            )
        missing = {axis: size for axis, size in self.sizes.items() if axis not in array.dims}
        return array.expand_dims(missing).transpose(*self.sizes, *more)

    def place(self, sample: int) -> str:
        """Where a sample stands in the file, counted from 0."""
        if len(self.sizes) == 1:
            return f"sample {sample}"
        at = np.unravel_index(sample, tuple(self.sizes.values()))
        return ", ".join(f"{axis} {i}" for axis, i in zip(self.sizes, at, strict=True))


def _of_all(
    arrays: Mapping[str, xr.DataArray], values: list[xr.DataArray], key: str, given: str | None
) -> xr.DataArray:
    """Longitudes or latitudes that all values have."""
    found = [coordinate(arrays, value, key, given) for value in values]
    names = {str(one.name): str(value.name) for one, value in zip(found, values, strict=True)}
    if len(names) > 1:
        told = ", ".join(f"{name} of {value}" for name, value in names.items())
        raise ValueError(
            f"{key}: expected the same places for all values, got {told}. Resample them one by "
            f"one, or name what all have with --{key}."
        )
    return found[0]


def _named_apart(
    fields: list[SampledField], arrays: list[xr.DataArray]
) -> tuple[SampledField, ...]:
    """Fields whose names differ, with their groups where need be."""
    if len({one.name for one in fields}) < len(fields):
        full = [str(one.name).replace("/", "_") for one in arrays]
        fields = [replace(one, name=name) for one, name in zip(fields, full, strict=True)]
    twice = [one.name for one in fields if sum(one.name == other.name for other in fields) > 1]
    if twice:
        raise ValueError(
            f"value: expected each name once, got {twice[0]} {len(twice)} times. Leave out all "
            "but one."
        )
    return tuple(fields)


def _field(array: xr.DataArray, axes: tuple[str, ...], wanted: Wanted) -> SampledField:
    missing = [axis for axis in axes if axis not in array.dims]
    if missing:
        raise ValueError(
            f"value: expected {array.name} to have the axes {', '.join(axes)} of the samples, got "
            f"{dict(array.sizes)}. Resample it on its own."
        )
    leading = tuple(str(dim) for dim in array.dims if dim not in axes)
    values = numbers(array.transpose(*leading, *axes), wanted.fill)
    shape = tuple(array.sizes[axis] for axis in leading)
    coordinates = {
        axis: (axis, array.coords[axis].values, dict(array.coords[axis].attrs))
        for axis in leading
        if axis in array.coords
    }
    attributes = {key: str(array.attrs[key]) for key in _KEPT if key in array.attrs}
    if unit_of(array):
        attributes = {"units": unit_of(array)} | attributes
    name = str(array.name).rpartition("/")[2]
    samples = math.prod(array.sizes[axis] for axis in axes)
    return SampledField(name, values.reshape(*shape, samples), leading, coordinates, attributes)


def _footprints(
    arrays: Mapping[str, xr.DataArray], layout: Layout, wanted: Wanted
) -> Footprints | None:
    """Corners of footprints; two bounds of each coordinate are those of a regular grid."""
    if wanted.corners is None:
        return None
    lon, lat = (pick(arrays, "corners", name) for name in wanted.corners)
    more = [[str(dim) for dim in one.dims if dim not in layout.sizes] for one in (lon, lat)]
    sizes = {one.sizes[dim] for one, dims in zip((lon, lat), more, strict=True) for dim in dims}
    if any(len(dims) != 1 for dims in more) or len(sizes) != 1 or sizes == {1}:
        raise ValueError(
            "corners: expected longitudes and latitudes with the axes of the samples and one for "
            f"the corners, got {lon.name} {dict(lon.sizes)} and {lat.name} {dict(lat.sizes)}."
        )
    lons, lats = (
        degrees(layout.spread(one, *dims), key, wanted.fill).reshape(-1, *sizes)
        for one, dims, key in zip((lon, lat), more, ("lon", "lat"), strict=True)
    )
    if sizes == {2}:
        return Footprints(lons[:, [0, 1, 1, 0]], lats[:, [0, 0, 1, 1]], Edges.LONLAT)
    return Footprints(lons, lats)


def _kept(samples: Samples) -> Bool[np.ndarray, " sample"]:
    """Samples with coordinates and any value."""
    return (
        np.isfinite(samples.lon)
        & np.isfinite(samples.lat)
        & np.isfinite(samples.values).any(axis=0)
    )


def _check(
    samples: Samples, kept: Bool[np.ndarray, " sample"], layout: Layout, wanted: Wanted
) -> None:
    """Refuse coordinates and weights that cannot be, with their places in the file."""
    places = [("lon", samples.lon, MAX_LON), ("lat", samples.lat, 90.0)]
    if samples.footprints is not None:
        places += [("corners", one, MAX_LON) for one in samples.footprints.lon.T]
        places += [("corners", one, 90.0) for one in samples.footprints.lat.T]
    for key, values, limit in places:
        expected = f"degrees from -{limit:g} to {limit:g}"
        bad = kept & (np.abs(values) > limit)
        fill = "Where such a number stands for a missing value, say --fill {value:g}"
        fix = f"{fill}; else check --{key}."
        if key == "lat" and _exchanged(samples, kept, bad):
            fix = (
                "They fit as longitudes, and the longitudes as latitudes: exchange --lon and --lat."
            )
        _refuse(key, values, bad, layout, expected, fix)
    for key, what in (("sigma", "standard deviations"), ("area", "areas [m2]")):
        values = getattr(samples, key)
        if values is None:
            continue
        # What is missing in sigma leaves its sample out; an area has to be known.
        bad = ~(values > 0.0) & (np.isfinite(values) if key == "sigma" else True)
        expected = f"positive {what} in {getattr(wanted, key)}"
        fix = f"Mend them, or leave out --{key}."
        _refuse(key, values, kept & bad, layout, expected, fix)


def _exchanged(
    samples: Samples, kept: Bool[np.ndarray, " sample"], bad: Bool[np.ndarray, " sample"]
) -> bool:
    """Whether latitudes beyond the poles are longitudes, and not one number for missing ones."""
    beyond = samples.lat[bad]
    return (
        np.unique(beyond).size > 1
        and bool(np.all(np.abs(beyond) <= MAX_LON))
        and bool(np.all(np.abs(samples.lon[kept]) <= 90.0))
    )


def _refuse(
    key: str,
    values: Float[np.ndarray, " sample"],
    bad: Bool[np.ndarray, " sample"],
    layout: Layout,
    expected: str,
    fix: str,
) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{key}: expected {expected}, got {values[first]:g} at {layout.place(first)} of the "
            f"file ({int(bad.sum())} such values). {fix.format(value=values[first])}"
        )
