"""Arrays by name from the files that observers have: NetCDF, HDF5, Zarr, Parquet, CSV, NPZ."""

from __future__ import annotations

import importlib.util
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

_HDF5, _CLASSIC = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02")
_SHOWN = 40

# Times stay numbers: a unit such as "days" must not turn a measured value into a duration.
_DECODE: dict[str, Any] = {"decode_times": False, "decode_timedelta": False, "cache": False}


@contextmanager
def opened(path: str | Path) -> Iterator[dict[str, xr.DataArray]]:
    """The arrays of a file by name; those in groups as `group/name`.

    NetCDF, HDF5 and Zarr are read when asked for, with fill values as NaN, scale and offset
    applied. Axes without names (NPZ, HDF5 without dimension scales) are named after their lengths.

    Args:
        path: file, or folder of a Zarr store.

    Raises:
        ValueError: if it is missing, damaged, of another format, or its reader is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"file: expected a file with samples at {path}, got nothing there.")
    try:
        if path.is_dir():
            yield from _groups(path, "zarr", {})
        else:
            yield from _file(path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def listing(arrays: Mapping[str, xr.DataArray]) -> str:
    """What a file holds, for messages."""
    told = [
        f"{name} ({', '.join(_length(dim, size) for dim, size in array.sizes.items())})"
        for name, array in arrays.items()
    ]
    rest = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return f"The file holds {', '.join(told[:_SHOWN]) or 'nothing'}{rest}."


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"file: expected a complete file, got {path} that cannot be read ({error}). Fetch or "
        "write it again."
    )


def _file(path: Path) -> Iterator[dict[str, xr.DataArray]]:
    with path.open("rb") as stream:
        head = stream.read(8)
    suffix = path.suffix.lower()
    if head == _HDF5:
        yield from _groups(path, "h5netcdf", {"phony_dims": "sort"})
    elif head[:4] in _CLASSIC:
        yield from _groups(path, "scipy", {})
    elif suffix == ".npz":
        yield _npz(path)
    elif suffix in (".csv", ".tsv", ".parquet"):
        yield _table(path, suffix)
    else:
        raise ValueError(
            f"file: expected NetCDF, HDF5, Zarr, Parquet (.parquet), CSV (.csv, .tsv) or NumPy "
            f"(.npz), got {path}. Convert it to one of them."
        )


def _groups(path: Path, engine: str, options: dict[str, Any]) -> Iterator[dict[str, xr.DataArray]]:
    import xarray as xr

    if engine == "zarr" and importlib.util.find_spec("zarr") is None:
        raise ValueError(
            f"file: expected zarr to be installed for {path}. Run: pip install zarr, or give "
            "NetCDF."
        )
    try:
        if engine == "scipy":  # its files have no groups
            groups = {"/": xr.open_dataset(path, engine=engine, **_DECODE)}
        else:
            groups = xr.open_groups(path, engine=engine, **_DECODE, **options)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        yield _named(groups)
    finally:
        for dataset in groups.values():
            dataset.close()


def _named(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.DataArray]:
    found = {}
    for group, dataset in groups.items():
        for name in dataset.variables:
            array = dataset[name]
            if any(str(dim).startswith("phony_dim") for dim in array.dims):
                array = array.rename(dict(zip(array.dims, _axes(array.shape), strict=True)))
            found[f"{group.strip('/')}/{name}".lstrip("/")] = array
    return found


def _npz(path: Path) -> dict[str, xr.DataArray]:
    import xarray as xr

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"file: expected arrays of numbers, got {path} that cannot be read ({error})."
        ) from error
    return {name: xr.DataArray(array, dims=_axes(array.shape)) for name, array in arrays.items()}


def _table(path: Path, suffix: str) -> dict[str, xr.DataArray]:
    import pandas as pd
    import xarray as xr

    if suffix == ".parquet":
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(
                f"file: expected pyarrow to be installed for {path}. Run: pip install "
                "skysift[parquet]."
            )
        try:
            frame = pd.read_parquet(path)
        except ValueError as error:  # pyarrow's are, too
            raise _damaged(path, error) from error
    else:
        try:
            frame = pd.read_csv(path, sep="," if suffix == ".csv" else "\t", comment="#")
        except pd.errors.ParserError as error:
            raise ValueError(f"file: expected a table, got {path} ({error}).") from error
        except pd.errors.EmptyDataError as error:
            raise ValueError(f"file: expected a table with a header, got {path}.") from error
    return {
        str(name).strip(): xr.DataArray(frame[name].to_numpy(), dims=("row",)) for name in frame
    }


def _length(dim: object, size: int) -> str:
    return str(size) if str(dim).rstrip("x") == f"axis{size}" else f"{dim}: {size}"


def _axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of axes that have none: their lengths, with x where a length comes again."""
    return tuple(f"axis{size}{'x' * shape[:i].count(size)}" for i, size in enumerate(shape))
