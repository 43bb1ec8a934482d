"""Angular power spectra in files."""

from __future__ import annotations

from pathlib import Path

import healpy as hp
import numpy as np
from jaxtyping import Float

from skysift.harmonic import Bandpowers
from skysift.store.dataset import read_dataset

_SPECTRA = (4, 6)  # TT, EE, BB, TE and perhaps EB, TB, as healpy orders them
_KNOWN = (
    "bandpowers (.nc), C_l^BB from l = 0 or TT, EE, BB, TE (EB, TB) as .npy, text or FITS, or text "
    "with the columns l and C_l^BB"
)


def read_bb(path: str | Path) -> Bandpowers | Float[np.ndarray, " ell"]:
    """BB bandpowers, or C_l^BB from l = 0 [uK_CMB^2], of a file.

    Args:
        path: NetCDF of `Bandpowers.to_dataset`; NumPy, text or FITS table of C_l.

    Returns:
        Bandpowers of a NetCDF file, else C_l; zero below the first multipole of a table that names
        multipoles.

    Raises:
        ValueError: for a file that is missing, damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: expected {_KNOWN}, got no such file. Check the path.")
    if path.suffix == ".nc":
        try:
            return Bandpowers.from_dataset(read_dataset(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    try:
        table = _table(path)
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected {_KNOWN}, got a file that says: {reason}") from error
    if table.ndim == 2 and table.shape[0] in _SPECTRA:
        return table[2]
    if table.ndim == 2 and table.shape[0] == 2:
        return _placed(path, *table)
    if table.ndim == 1:
        return table
    raise ValueError(f"{path}: expected {_KNOWN}, got a table of shape {table.shape}.")


def _table(path: Path) -> Float[np.ndarray, "..."]:
    """The table with one row per spectrum."""
    if path.suffix == ".npy":
        table = np.load(path, allow_pickle=False)
    elif path.suffix.lower() in (".fits", ".fit", ".gz"):
        table = hp.read_cl(str(path))
    else:
        table = np.loadtxt(path, comments="#", ndmin=2)
        table = table[:, 0] if table.shape[1] == 1 else table
    table = np.asarray(table, dtype=float)
    few = (2, *_SPECTRA)
    if table.ndim == 2 and table.shape[1] in few and table.shape[0] not in few:
        table = table.T
    return table[0] if table.ndim == 2 and table.shape[0] == 1 else table


def _placed(
    path: Path, ell: Float[np.ndarray, " row"], power: Float[np.ndarray, " row"]
) -> Float[np.ndarray, " ell"]:
    """C_l from l = 0 of a table that names its multipoles."""
    whole = np.all(ell == np.floor(ell)) and np.all(np.diff(ell) == 1) and ell[0] >= 0
    if not whole:
        raise ValueError(
            f"{path}: expected every multipole once and in order in the first column, got "
            f"{ell[0]:g} to {ell[-1]:g} with gaps. Binned power belongs into bandpowers (.nc), "
            "whose windows say what it is expected to be."
        )
    out = np.zeros(int(ell[-1]) + 1)
    out[ell.astype(int)] = power
    return out
