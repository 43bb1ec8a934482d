"""Reading HEALPix tables from FITS files, for maps, masks, hits and labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from skysift.healpix_table import AS_WRITTEN, MapFormat, SkyTable


def read_tables(path: str | Path) -> list[SkyTable]:
    """The HEALPix tables of a file that hold a Stokes parameter, in order.

    Tables of weights, beams or spectra, which Planck and WMAP files also carry, are left out. When
    no table names its columns as Stokes parameters, all HEALPix tables are returned.

    Raises:
        ValueError: if the file is missing, damaged, or has no HEALPix table.
    """
    tables = _all_tables(path)
    return [table for table in tables if table.named_stokes] or tables


def read_column(
    path: str | Path, field: int = 0, expected: MapFormat = AS_WRITTEN
) -> Float[np.ndarray, " npix"]:
    """One column of the first HEALPix table of a file: a mask, hits, labels.

    Args:
        path: file as healpy, Planck or WMAP write it, full or partial sky.
        field: number of the column, from 0.
        expected: what the caller says that it holds; the unit does not count.

    Returns:
        Values as in the file on the full sky, RING ordering, NaN where missing.

    Raises:
        ValueError: if there is no such file or column, the file is damaged, its header does not
            state the ordering, or it disagrees with `expected`.
    """
    return _all_tables(path)[0].column(field, expected)


def _all_tables(path: str | Path) -> list[SkyTable]:
    with _opened(path) as hdus:
        found = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        tables = [_table(hdu, str(path)) for hdu in found if _is_healpix(hdu)]
    if not tables:
        raise ValueError(
            f"{path}: expected a HEALPix table (PIXTYPE, ORDERING or NSIDE in its header), got "
            "none. Write it with healpy.write_map."
        )
    return tables


@contextmanager
def _opened(path: str | Path) -> Iterator[fits.HDUList]:
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: expected a FITS file, got {what}. Check the path.")
    try:
        # astropy only warns of a truncated file; raising from the warning would leak its handle.
        with warnings.catch_warnings(record=True) as caught, path.open("rb") as stream:
            warnings.simplefilter("always")
            with fits.open(stream, memmap=False, lazy_load_hdus=False) as hdus:
                yield hdus
        for warning in caught:
            if "truncated" in str(warning.message):
                raise OSError(warning.message)
    except (OSError, EOFError, TypeError, ValueError) as error:
        reason = str(error).replace("\n", " ")
        raise ValueError(
            f"{path}: expected a complete FITS file, got one that cannot be read ({reason}). It is "
            "truncated or not FITS; copy or download it again."
        ) from error


def _is_healpix(hdu: fits.BinTableHDU) -> bool:
    pixtype = str(hdu.header.get("PIXTYPE", "")).strip().upper()
    return pixtype == "HEALPIX" or "NSIDE" in hdu.header or "ORDERING" in hdu.header


def _table(hdu: fits.BinTableHDU, path: str) -> SkyTable:
    header = {
        key: value
        for key, value in hdu.header.items()
        if isinstance(value, (str, int, float, bool))
    }
    count = int(header["TFIELDS"])
    names = [str(header.get(f"TTYPE{i}", f"COLUMN_{i}")) for i in range(1, count + 1)]
    units = [str(header.get(f"TUNIT{i}", "")) for i in range(1, count + 1)]
    extension = str(header.get("EXTNAME", "")).strip()
    where = f"{path}[{extension}]" if extension not in ("", "xtension") else path
    data = hdu.data
    columns = {name: np.array(data.field(i)).ravel() for i, name in enumerate(names)}
    return SkyTable(where, header, dict(zip(names, units, strict=True)), columns)
