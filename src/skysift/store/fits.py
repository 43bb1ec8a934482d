"""HEALPix maps in FITS files, as healpy, PySM, Planck and WMAP write them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Shaped

from skysift.files import atomic
from skysift.grid import UNSEEN, Grid
from skysift.healpix_file import read_tables
from skysift.healpix_table import AS_WRITTEN as AS_WRITTEN
from skysift.healpix_table import Frame as Frame
from skysift.healpix_table import MapFormat as MapFormat
from skysift.maps import Maps, nan_to_unseen

_ROW = 1024  # values in a table row of a full sky, as the HEALPix library and healpy write them


class Precision(enum.Enum):
    """Numbers in the files written."""

    SINGLE = "float32"
    DOUBLE = "float64"


@dataclass(frozen=True)
class Column:
    """One column of values on a grid's cells, with its unit as text (TUNIT)."""

    values: Shaped[np.ndarray, " cell"]
    unit: str = ""


def read_map(
    path: str | Path,
    expected: MapFormat = AS_WRITTEN,
    *,
    frequency: float | None = None,
) -> Maps:
    """The maps of a file with one HEALPix table; several channels are for `read_channels`.

    Args:
        path: FITS file.
        expected: what the caller says that it holds.
        frequency: [GHz], needed to convert uK_RJ and MJy/sr.

    Returns:
        Maps `(stokes, cell)` in uK_CMB, RING ordering, COSMO convention, NaN where missing; on the
        full sky, or on the cells that a partial file lists.

    Raises:
        ValueError: for a file that is missing, truncated, has several tables, or disagrees with
            `expected`.
    """
    tables = read_tables(path)
    if len(tables) > 1:
        raise ValueError(
            f"{path}: expected one HEALPix table, got {len(tables)}. Read a file of several "
            "channels with read_channels and an instrument."
        )
    return tables[0].maps(expected, frequency)


def write_map(
    path: str | Path,
    maps: Maps,
    *,
    frame: Frame = Frame.GALACTIC,
    precision: Precision = Precision.DOUBLE,
) -> None:
    """Write maps as healpy does: one table, or one table per channel where there are channels.

    A cut sky is written with explicit indexing, missing values as UNSEEN; the ordering is the
    maps'. The file appears under its name only when it is complete.

    Args:
        path: file to write; replaced when it exists.
        maps: `(stokes, cell)` or `(channel, stokes, cell)`.
        frame: for COORDSYS; values are not rotated.
        precision: of the numbers.

    Raises:
        ValueError: if the file cannot be written.
        OSError: if the disk is full.
    """
    values = np.asarray(maps.values)
    tables = []
    for index, channel in enumerate(maps.channels or ("MAPS",)):
        rows = values[index] if maps.channels else values
        columns = {
            f"{letter}_STOKES": Column(row, maps.unit.value)
            for letter, row in zip(maps.stokes.value, rows, strict=True)
        }
        tables.append(_table(columns, maps.grid, frame, precision, channel))
    _write(path, tables)


def write_columns(
    path: str | Path,
    columns: Mapping[str, Column],
    grid: Grid,
    *,
    frame: Frame = Frame.GALACTIC,
    precision: Precision = Precision.DOUBLE,
) -> None:
    """Write named values on a grid's cells as one HEALPix table.

    Args:
        path: file to write; replaced when it exists.
        columns: by name, for instance `{"BETA_DUST": Column(values)}`.
        grid: pixelisation of the values.
        frame: for COORDSYS.
        precision: of the numbers.

    Raises:
        ValueError: if a column has another length than the grid, or the file cannot be written.
        OSError: if the disk is full.
    """
    _write(path, [_table(columns, grid, frame, precision, "MAPS")])


def write_mask(path: str | Path, grid: Grid, *, frame: Frame = Frame.GALACTIC) -> None:
    """Write the kept cells of a grid as a full-sky map of ones and zeros.

    Raises:
        ValueError: if the file cannot be written.
    """
    full = Grid(grid.require_nside(), grid.ordering)
    column = Column(grid.mask.astype(np.float32))
    write_columns(path, {"MASK": column}, full, frame=frame, precision=Precision.SINGLE)


def _write(path: str | Path, tables: Sequence[fits.BinTableHDU]) -> None:
    with atomic(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(temporary, overwrite=True)


def _table(
    columns: Mapping[str, Column], grid: Grid, frame: Frame, precision: Precision, name: str
) -> fits.BinTableHDU:
    cut = grid.cells is not None
    letter = "E" if precision is Precision.SINGLE else "D"
    wide = not cut and grid.size > _ROW
    made = [fits.Column("PIXEL", "K", array=grid.index)] if cut else []
    for title, column in columns.items():
        values = nan_to_unseen(np.asarray(column.values, dtype=precision.value))
        if values.shape != (grid.size,):
            raise ValueError(
                f"{title}: expected shape ({grid.size},), got {values.shape}. Give one value for "
                "each cell of the grid."
            )
        shaped = values.reshape(-1, _ROW) if wide else values
        form = f"{_ROW}{letter}" if wide else letter
        made.append(fits.Column(title, form, unit=column.unit or None, array=shaped))
    hdu = fits.BinTableHDU.from_columns(made)
    for key, card in _cards(grid, frame, name).items():
        hdu.header[key] = card
    return hdu


def _cards(grid: Grid, frame: Frame, name: str) -> dict[str, tuple[str | int | float, str]]:
    cut = grid.cells is not None
    cards: dict[str, tuple[str | int | float, str]] = {
        "PIXTYPE": ("HEALPIX", "HEALPix pixelisation"),
        "ORDERING": (grid.ordering.value, "pixel numbering"),
        "COORDSYS": (frame.value, "G Galactic, C equatorial, E ecliptic"),
        "POLCCONV": ("COSMO", "sign convention of U"),
        "NSIDE": (grid.require_nside(), "resolution"),
        "INDXSCHM": ("EXPLICIT" if cut else "IMPLICIT", "cells listed or all in order"),
        "OBJECT": ("PARTIAL" if cut else "FULLSKY", "sky coverage"),
        "BAD_DATA": (UNSEEN, "value of missing data"),
        "EXTNAME": (name, "name of this table"),
    }
    if not cut:
        cards |= {"FIRSTPIX": (0, "first cell"), "LASTPIX": (grid.npix - 1, "last cell")}
    return cards
