"""Reading one column of a HEALPix FITS file, for masks and labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits
from jaxtyping import Float


def read_column(path: Path, field: int = 0) -> Float[np.ndarray, " npix"]:
    """One column of a HEALPix FITS file on the full sky, in RING ordering.

    Args:
        path: file as healpy writes it, full or partial sky, RING or NESTED as its header says.
        field: number of the column, from 0.

    Returns:
        Values as in the file; UNSEEN where a partial sky has none.

    Raises:
        ValueError: if there is no such file, it cannot be read or is incomplete, or its header does
            not state the ordering.
    """
    if not path.is_file():
        raise ValueError(
            f"path: expected a HEALPix FITS file, got {str(path)!r}, where there is none."
        )
    try:
        with warnings.catch_warnings():
            # astropy only warns about a truncated file, and may then read what is left.
            warnings.filterwarnings("error", message=".*truncated")
            # Opened here because healpy and astropy leave the file open when they fail.
            with path.open("rb") as stream, fits.open(stream, memmap=False) as tables:
                values, header = hp.read_map(tables, field=field, h=True, dtype=None)
    except Exception as error:
        # healpy and astropy have no exception of their own for a damaged file.
        raise ValueError(
            f"path: expected a HEALPix FITS map with column {field}, could not read {str(path)!r}: "
            f"{error}. Check that the file is complete and holds a HEALPix table."
        ) from error
    ordering = str(dict(header).get("ORDERING", "")).strip().upper()
    if ordering not in ("RING", "NESTED", "NEST"):
        raise ValueError(
            f"path: expected ORDERING = RING or NESTED in the header of {str(path)!r}, got "
            f"{ordering!r}. Write the file again with healpy.write_map, which states it."
        )
    return np.asarray(values, dtype=float)
