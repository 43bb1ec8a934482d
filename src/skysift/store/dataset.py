"""Results in NetCDF files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skysift.files import atomic

if TYPE_CHECKING:
    import xarray as xr

_SMALL = 1024  # values below which compression costs more than it saves


def write_dataset(path: str | Path, dataset: xr.Dataset) -> None:
    """Write a dataset as compressed NetCDF-4; the file appears only when it is complete.

    Args:
        path: file to write; replaced when it exists.
        dataset: numbers and texts, with attributes that are numbers or texts.

    Raises:
        ValueError: if the file cannot be written.
        OSError: if the disk is full.
    """
    encoding = {
        name: {"zlib": True, "complevel": 1, "shuffle": True}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "iuf" and variable.size > _SMALL
    }
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf", format="NETCDF4", encoding=encoding)


def read_dataset(path: str | Path) -> xr.Dataset:
    """Read a dataset into memory.

    Raises:
        ValueError: if the file is missing or damaged.
    """
    import xarray as xr

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"result: expected a NetCDF file at {path}, got none.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, EOFError, KeyError) as error:
        raise ValueError(
            f"result: expected a complete NetCDF file, got {path} that cannot be read ({error}). "
            "Run it again."
        ) from error
