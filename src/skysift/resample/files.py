"""Samplings in NetCDF and Zarr, with the cells described as xdggs does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skysift.files import atomic
from skysift.grid import Grid, Ordering
from skysift.resample.check import check_choice, check_level
from skysift.resample.ellipsoid import Ellipsoid

if TYPE_CHECKING:
    import xarray as xr

    from skysift.resample.sampling import Sampling

_KIND = "skysift sampling"
_ARRAYS = {
    "index": ("samples", "links"),
    "weights": ("samples", "links"),
    "support": ("samples",),
    "order": ("samples",),
}


def cell_coordinate(grid: Grid, ellipsoid: Ellipsoid) -> dict[str, Any]:
    """Coordinate of the cells of a grid for xarray, with the attributes that xdggs reads."""
    attributes = {
        "grid_name": "healpix",
        "level": grid.level,
        "indexing_scheme": grid.ordering.value.lower(),
        "ellipsoid": ellipsoid.name,
    }
    return {"cell_ids": ("cells", grid.index, attributes)}


def write(sampling: Sampling, path: str | Path) -> None:
    """Write a sampling; the file or folder appears, or is replaced, when it is complete.

    Raises:
        ValueError: for a suffix other than .nc and .zarr, or if nothing can be written there.
        DiskFull: if the disk is full; what was there is kept.
        ImportError: if zarr is needed and not installed.
    """
    import xarray as xr

    path = Path(path)
    dataset = xr.Dataset(
        {name: (dims, np.asarray(getattr(sampling, name))) for name, dims in _ARRAYS.items()},
        coords=cell_coordinate(sampling.grid, sampling.ellipsoid),
        attrs={
            "kind": _KIND,
            "method": sampling.method.value,
            "ellipsoid": sampling.ellipsoid.name,
            "semi_major_m": sampling.ellipsoid.semi_major_m,
            "inverse_flattening": sampling.ellipsoid.inverse_flattening,
        },
    )
    zarr = _is_zarr(path)
    with atomic(path) as temporary:
        if zarr:
            dataset.to_zarr(temporary, mode="w", zarr_format=3, consolidated=False)
        else:
            dataset.to_netcdf(temporary, engine="h5netcdf")


def read(path: str | Path) -> dict[str, Any]:
    """Fields of a sampling by name.

    Raises:
        ValueError: if the file is missing, damaged or something else.
        ImportError: if zarr is needed and not installed.
    """
    path = Path(path)
    zarr = _is_zarr(path)
    if not path.exists():
        raise ValueError(f"path: expected a sampling at {path}, got nothing there. Check the name.")
    import xarray as xr

    try:
        options: dict[str, Any] = {"engine": "h5netcdf"}
        if zarr:
            options = {"engine": "zarr", "consolidated": False}
        with xr.open_dataset(path, **options) as opened:
            dataset = opened.load()
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"path: expected a complete sampling, got {path} that cannot be read ({error}). "
            "Save it again."
        ) from error
    if dataset.attrs.get("kind") != _KIND or not {*_ARRAYS, "cell_ids"} <= set(dataset.variables):
        raise ValueError(
            f"path: expected a file that Sampling.save wrote, got {path} with "
            f"{sorted(map(str, dataset.variables))}. Save a sampling there, or choose another file."
        )
    return _fields(dataset, path)


def _fields(dataset: xr.Dataset, path: Path) -> dict[str, Any]:
    cells = dataset["cell_ids"]
    scheme = _attribute(cells, "indexing_scheme", path)
    return {
        **{name: dataset[name].values for name in _ARRAYS},
        "grid": Grid(
            1 << check_level(int(_attribute(cells, "level", path))),
            check_choice("indexing_scheme", Ordering, scheme.upper()),
            cells.values,
        ),
        "ellipsoid": Ellipsoid(
            _attribute(dataset, "ellipsoid", path),
            float(_attribute(dataset, "semi_major_m", path)),
            float(_attribute(dataset, "inverse_flattening", path)),
        ),
        "method": _attribute(dataset, "method", path),
    }


def _attribute(holder: xr.Dataset | xr.DataArray, name: str, path: Path) -> Any:
    if name not in holder.attrs:
        raise ValueError(
            f"path: expected the attribute {name!r} that Sampling.save writes, got {path} without "
            "it. Save the sampling again, or copy files without dropping attributes."
        )
    return holder.attrs[name]


def _is_zarr(path: Path) -> bool:
    if path.suffix == ".nc":
        return False
    if path.suffix != ".zarr":
        raise ValueError(
            f"path: expected a name that ends in .nc or .zarr, got {path.name}. Choose one of them."
        )
    if importlib.util.find_spec("zarr") is None:
        raise ImportError(
            f"path: expected zarr to be installed for {path.name}. Run: pip install zarr, or save "
            "as .nc."
        )
    return True
