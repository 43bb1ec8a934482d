"""Cells in files: NetCDF or Zarr as xdggs reads them, and HEALPix FITS tables."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.fits import Column, Frame, write_columns

if TYPE_CHECKING:
    import xarray as xr

CELLS, MAP = "cells.nc", "cells.fits"
"""Files of the cells."""

MAX_FITS_LEVEL = 12
"""Finest level of which a FITS map is written; few programs read finer ones."""

_TAKEN = ("PIXEL", "SAMPLES")


def asks_zarr(output: Path) -> bool:
    """Whether the directory of a run is to be a Zarr store itself.

    Raises:
        ValueError: if zarr is not installed.
    """
    if output.suffix != ".zarr":
        return False
    if importlib.util.find_spec("zarr") is None:
        raise ValueError(
            f"output: expected zarr to be installed for {output}. Run: pip install zarr, or choose "
            "a directory without .zarr for NetCDF."
        )
    return True


def write_cells(folder: Path, dataset: xr.Dataset, *, zarr: bool) -> None:
    """Write cells as `cells.nc`, or as a Zarr store among the other files of a run.

    Consolidated metadata keep readers from taking those files for arrays; the store is made apart
    because the writer would.
    """
    if not zarr:
        write_dataset(folder / CELLS, dataset)
        return
    apart = folder / "store.partial"
    dataset.to_zarr(apart, mode="w", zarr_format=2, consolidated=True)
    for part in apart.iterdir():
        part.replace(folder / part.name)
    apart.rmdir()


def read_cells(folder: Path) -> xr.Dataset:
    """Cells that `write_cells` wrote.

    Raises:
        ValueError: if they are missing or damaged, or zarr is not installed.
    """
    if (folder / CELLS).is_file() or not asks_zarr(folder):
        return read_dataset(folder / CELLS)
    import xarray as xr

    with xr.open_zarr(folder, consolidated=True) as dataset:
        return dataset.load()


def write_fits(
    folder: Path,
    rows: Mapping[str, tuple[Float[np.ndarray, " cell"], str]],
    grid: Grid,
    counts: Int[np.ndarray, " cell"] | None = None,
    frame: Frame = Frame.EQUATORIAL,
) -> None:
    """Write rows of cells as `cells.fits`, unless their level is too fine for it.

    Args:
        folder: of the run.
        rows: values and unit by title.
        grid: the cells.
        counts: samples linked to each cell, if that is known.
        frame: coordinates of the cells.
    """
    if grid.require_nside() > 1 << MAX_FITS_LEVEL:
        return
    names = column_names(tuple(rows))
    columns = {
        name: Column(values, unit.encode("ascii", "ignore").decode())
        for name, (values, unit) in zip(names, rows.values(), strict=True)
    }
    if counts is not None:
        columns["SAMPLES"] = Column(counts.astype(float))
    write_columns(folder / MAP, columns, grid, frame=frame)


def column_names(titles: tuple[str, ...]) -> list[str]:
    """Names of FITS columns, which are of plain capital letters, for titles of rows.

    Examples:
        >>> column_names(("tb [time 0]", "Température", "温度", "samples"))
        ['TB_TIME_0', 'TEMPERATURE', 'VALUE', 'SAMPLES_2']
    """
    names: list[str] = []
    for title in titles:
        plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().upper()
        stem = re.sub(r"[^A-Z0-9]+", "_", plain).strip("_") or "VALUE"
        name, number = stem, 1
        while name in (*_TAKEN, *names):
            number += 1
            name = f"{stem}_{number}"
        names.append(name)
    return names
