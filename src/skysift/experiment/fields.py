"""Fields: one map on a plane or on the sphere, read from a file and written like it."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits
from jaxtyping import Float

from skysift.experiment.sample_choice import pick
from skysift.experiment.sample_files import listing, opened
from skysift.experiment.text import unknown
from skysift.grid import Grid
from skysift.healpix_file import read_tables
from skysift.healpix_table import Frame, MapFormat
from skysift.maps import unseen_to_nan
from skysift.store.files import atomic
from skysift.store.fits import Column, Precision, write_columns

_FITS = (".fits", ".fit", ".fts")


class Form(enum.Enum):
    """Kinds of files that a field is written to, by their endings."""

    NUMPY = "npy"
    FITS = "fits"


@dataclass(frozen=True, eq=False)
class Field:
    """One map.

    Args:
        values: `(row, column)` on a plane, `(cell,)` HEALPix RING on the sphere; NaN where missing.
        name: of the quantity, as far as the file has one.
        unit: as the file says it.
        form: of files like the one that it is from.
        frame: coordinates on the sphere, as far as the file says.
    """

    values: Float[np.ndarray, "..."]
    name: str = ""
    unit: str = ""
    form: Form = Form.NUMPY
    frame: Frame | None = None

    @property
    def nside(self) -> int | None:
        """Of a map of the sphere."""
        return int(hp.npix2nside(self.values.size)) if self.values.ndim == 1 else None

    @property
    def missing(self) -> int:
        """Number of cells that are not finite."""
        return int(np.sum(~np.isfinite(self.values)))

    @property
    def size(self) -> str:
        """Of the grid, in words."""
        if self.nside is not None:
            return f"nside {self.nside}"
        return " × ".join(map(str, self.values.shape))

    def without(self, mask: Field) -> Field:
        """The field with NaN where a mask is zero or missing.

        Raises:
            ValueError: for a mask of another grid, or in other coordinates.
        """
        if mask.values.shape != self.values.shape:
            raise ValueError(
                f"mask: expected the grid of the field, {self.size}, got {mask.size}. Regrade it."
            )
        if None not in (self.frame, mask.frame) and self.frame is not mask.frame:
            frames = [str(one.frame and one.frame.name.lower()) for one in (self, mask)]
            raise ValueError(
                f"mask: expected {frames[0]} coordinates as the field has, got {frames[1]}. Rotate "
                "it (healpy.Rotator), or correct COORDSYS."
            )
        kept = np.isfinite(mask.values) & (mask.values != 0.0)
        return dataclasses.replace(self, values=np.where(kept, self.values, np.nan))


def read_field(path: str | Path, name: str | None = None) -> Field:
    """Read one map.

    Args:
        path: FITS image or HEALPix table, .npy, .npz, NetCDF or HDF5. Axes of length 1 do not
            count. One axis of 12 nside^2 numbers is a HEALPix map, RING.
        name: of the quantity where a file has several: I, Q or U, a column or its number, an
            extension, a variable.

    Raises:
        ValueError: for a file that is missing or damaged, a name that is not there, or an array
            that is neither a plane nor a sphere.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"file: expected a file with a map at {path}, got none. Check the path.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if any(suffix in _FITS for suffix in suffixes[-2:]):
        return _of_fits(path, name)
    if suffixes[-1:] == [".npy"]:
        return _checked(Field(_load(path)), path)
    with opened(path) as arrays:
        names = [one for one, array in arrays.items() if array.squeeze().ndim == 2]
        name = names[0] if name is None and len(names) == 1 else name
        if name is None:
            raise ValueError(
                f"field: expected the name of a map, got none. {listing(arrays)} Say it with "
                "--field."
            )
        array = pick(arrays, "field", name)
        unit = str(array.attrs.get("units", ""))
        return _checked(Field(_numbers(array.values, path), str(array.name), unit), path)


def write_field(folder: Path, stem: str, field: Field) -> Path:
    """Write a map as the file that it is like: .npy, a FITS image or a HEALPix table.

    Returns:
        The path.

    Raises:
        ValueError: if it cannot be written.
        OSError: if the disk is full.
    """
    path = folder / f"{stem}.{field.form.value}"
    single = field.values.dtype == np.float32
    if field.form is Form.NUMPY:
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, field.values)
    elif field.nside is not None:
        precision = Precision.SINGLE if single else Precision.DOUBLE
        name = field.name.upper() or "MAP"
        columns = {name: Column(field.values, field.unit)}
        frame = field.frame or Frame.GALACTIC
        write_columns(path, columns, Grid(field.nside), frame=frame, precision=precision)
    else:
        hdu = fits.PrimaryHDU(field.values)
        if field.unit:
            hdu.header["BUNIT"] = field.unit
        with atomic(path) as temporary:
            hdu.writeto(temporary)
    return path


def _load(path: Path) -> np.ndarray:
    try:
        return _numbers(np.load(path, allow_pickle=False), path)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"file: expected an array of numbers, got {path} that cannot be read ({error})."
        ) from error


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Real numbers, NaN where UNSEEN, without axes of length 1."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"expected real numbers, got {values.dtype} in {path}")
    return unseen_to_nan(np.squeeze(values).astype(float))


def _checked(field: Field, path: Path) -> Field:
    """A field that is a plane or a sphere and has something in it."""
    values = field.values
    plane = values.ndim == 2
    sphere = values.ndim == 1 and values.size >= 12 and hp.isnpixok(values.size)
    if sphere:
        sphere = bool(math.log2(hp.npix2nside(values.size)).is_integer())
    if not plane and not sphere:
        raise ValueError(
            f"field: expected a map of two axes, or of 12 nside^2 cells of the sphere, got shape "
            f"{values.shape} in {path}. Take one map out of it with --field, or save one."
        )
    if not np.isfinite(values).any():
        raise ValueError(f"field: expected finite numbers, got none in {path}. Check the file.")
    return field


def _of_fits(path: Path, name: str | None) -> Field:
    try:
        with fits.open(path, memmap=False) as hdus:
            images = {}
            for number, hdu in enumerate(hdus):
                picture = isinstance(hdu, (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU))
                if picture and hdu.data is not None:
                    header = {key: str(value) for key, value in hdu.header.items()}
                    images[str(hdu.name) or str(number)] = (np.asarray(hdu.data), header)
    except (OSError, EOFError, TypeError) as error:
        raise ValueError(
            f"file: expected a complete FITS file, got {path} that cannot be read ({error})."
        ) from error
    if not images:
        return _checked(_of_table(path, name), path)
    wanted = next(iter(images)) if name is None else name.upper()
    if wanted not in images:
        raise ValueError(f"field: {unknown('image', name or '', images)}")
    data, header = images[wanted]
    values = _numbers(data, path)
    title = "" if wanted == "PRIMARY" else wanted
    return _checked(Field(values, title, header.get("BUNIT", "").strip(), Form.FITS), path)


def _of_table(path: Path, name: str | None) -> Field:
    """A column of a HEALPix table: the first, or by Stokes parameter, name or number."""
    table = read_tables(path)[0]
    columns = list(table.units)[int(table.explicit) :]
    wanted = columns[0] if name is None else name
    if wanted.isdigit() and int(wanted) < len(columns):
        wanted = columns[int(wanted)]
    found = table.named_stokes.get(wanted.upper(), wanted)
    by_name = {column.upper(): column for column in columns}
    if found.upper() not in by_name:
        raise ValueError(f"field: {unknown('column', wanted, columns)}")
    title = by_name[found.upper()]
    said = str(table.header.get("COORDSYS", "")).strip()
    frame = Frame.parse(said) if said else None
    expected = MapFormat(frame=frame or Frame.GALACTIC)
    values = table.column(columns.index(title), expected)
    return Field(
        unseen_to_nan(np.asarray(values, dtype=float)),
        title,
        table.units[title].strip(),
        Form.FITS,
        frame,
    )
