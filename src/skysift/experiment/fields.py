"""Fields: maps on a plane or on the sphere, read from files and written like them."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import healpy as hp
import numpy as np
from astropy.io import fits
from jaxtyping import Float

from skysift.experiment.sample_choice import pick
from skysift.experiment.sample_files import listing, opened
from skysift.experiment.text import unknown
from skysift.files import atomic
from skysift.grid import Grid
from skysift.healpix_file import read_tables
from skysift.healpix_table import Frame, MapFormat
from skysift.maps import unseen_to_nan
from skysift.store.fits import Column, Precision, write_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

FITS = (".fits", ".fit", ".fts")
"""Endings of FITS files."""

_PACKED = (".gz", ".bz2", ".xz", ".z", ".zip")


_FEWEST = 12
"""Rows of a plane at least where its columns are as many as the cells of a sphere."""

_SAY = "Say it with --field."


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
        """The field with NaN where a mask of 0 and 1 is zero or missing.

        Raises:
            ValueError: for a mask of another grid, or in other coordinates.
        """
        require_like(mask, self, "mask", "the field")
        kept = np.isfinite(mask.values) & (mask.values != 0.0)
        if not np.any(kept & np.isfinite(self.values)):
            raise ValueError(
                "mask: expected at least one kept cell that the field has, got none. Choose a "
                "larger region."
            )
        return dataclasses.replace(self, values=np.where(kept, self.values, np.nan))


def require_like(field: Field, other: Field, name: str, whose: str) -> None:
    """Refuse a field of another grid or in other coordinates than a second one.

    Args:
        field: to look at.
        other: what it should be like.
        name: of the field, as messages begin.
        whose: the other, in words.

    Raises:
        ValueError: naming what differs.
    """
    if field.values.shape != other.values.shape:
        raise ValueError(
            f"{name}: expected the grid of {whose}, {other.size}, got {field.size}. Regrade it."
        )
    if None not in (field.frame, other.frame) and field.frame is not other.frame:
        frames = [str(one.frame and one.frame.name.lower()) for one in (other, field)]
        raise ValueError(
            f"{name}: expected {frames[0]} coordinates like {whose}, got {frames[1]}. Rotate "
            "it (healpy.Rotator), or correct COORDSYS."
        )


def titles_of(fields: Sequence[Field]) -> tuple[str, ...]:
    """Names of maps that are seen together; numbered where their files do not name them.

    Empty for a single one.
    """
    if len(fields) == 1:
        return ("",)
    names = tuple(field.name for field in fields)
    if all(names) and len(set(names)) == len(names):
        return names
    return tuple(f"{name or 'map'} {number}" for number, name in enumerate(names))


def read_fields(paths: Sequence[str], names: Sequence[str] = ()) -> tuple[Field, ...]:
    """Read maps that are seen together: those of the names from each file in turn.

    A cell that is missing in one of them is missing in all.

    Args:
        paths: files, as `read_field` takes them.
        names: of the maps in each file; none where a file has one.

    Raises:
        ValueError: as `read_field`, or for maps of different grids.
    """
    if not paths:
        raise ValueError("file: expected a file with a map, got none. Name one: map.fits.")
    found = [read_field(path, name) for path in paths for name in names or (None,)]
    first = found[0]
    for one in found[1:]:
        if one.values.shape != first.values.shape:
            raise ValueError(
                f"file: expected maps of one grid, {first.size} as the first, got {one.size}. "
                "Regrade them."
            )
        require_like(one, first, "file", "the first map")
    kept = np.all([np.isfinite(one.values) for one in found], axis=0)
    if not kept.any():
        raise ValueError(
            f"file: expected cells that all {len(found)} maps have, got none. Choose other maps."
        )
    return tuple(
        dataclasses.replace(one, values=np.where(kept, one.values, np.nan)) for one in found
    )


def read_mask(path: str | Path) -> Field:
    """Read a mask: a file with one map, of which the cells that are 0 or missing do not count.

    Raises:
        ValueError: as `read_field`.
    """
    try:
        return read_field(path)
    except ValueError as error:
        reason = str(error).removeprefix("file: ").removeprefix("field: ")
        raise ValueError(f"mask: {reason.replace(_SAY, 'Save the mask by itself.')}") from None


def read_field(path: str | Path, name: str | None = None) -> Field:
    """Read one map.

    Args:
        path: FITS image or HEALPix table, .npy, .npz, NetCDF or HDF5. Axes of length 1 do not
            count. One axis of 12 nside^2 numbers is a HEALPix map, RING.
        name: of the quantity where a file has several: I, Q or U, a column or its number, an
            extension or its number, a variable, a number along the first axis of a .npy.

    Raises:
        ValueError: for a file that is missing or damaged, a name that is not there, or an array
            that is neither a plane nor a sphere.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"file: expected a file with a map at {path}, got none. Check the path.")
    ending = ending_of(path)
    if ending in FITS:
        return _of_fits(path, name)
    if ending == ".npy":
        return _checked(Field(_numbers(_row(_load(path), name, path), path)), path)
    with opened(path) as arrays:
        if name is None:
            name = _only(arrays)
        array = pick(arrays, "field", name)
        unit = str(array.attrs.get("units", ""))
        return _checked(Field(_numbers(array.values, path), str(array.name), unit), path)


def ending_of(path: str | Path) -> str:
    """What the name of a file says that it is, whether packed or not.

    Examples:
        >>> ending_of("sky.FITS.gz")
        '.fits'
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return next((one for one in reversed(suffixes) if one not in _PACKED), "")


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
        return np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(
            f"file: expected an array of numbers, got {path} that cannot be read ({error})."
        ) from error


def _row(values: np.ndarray, name: str | None, path: Path) -> np.ndarray:
    """The map of a number along the first axis."""
    if name is None:
        return values
    if values.ndim < 2 or not name.isdecimal() or int(name) >= len(values):
        known = f"0 to {len(values) - 1}" if values.ndim > 1 else "no name"
        raise ValueError(
            f"field: expected {known} for the map in {path}, of shape {values.shape}, got {name!r}."
            " Arrays of .npy files have no names."
        )
    return values[int(name)]


def _only(arrays: Mapping[str, xr.DataArray]) -> str:
    """The name of the one array that is a plane, or else a sphere."""
    shapes = {name: array.squeeze().shape for name, array in arrays.items()}
    planes = [name for name, shape in shapes.items() if len(shape) == 2]
    spheres = [name for name, shape in shapes.items() if _is_sphere(shape)]
    for names in (planes, spheres):
        if len(names) == 1:
            return names[0]
        if names:
            break
    raise ValueError(f"field: expected the name of a map, got none. {listing(arrays)} {_SAY}")


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Real numbers, NaN where UNSEEN, without axes of length 1."""
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"field: expected real numbers, got {values.dtype} in {path}. Save the real and the "
            "imaginary part as two maps."
        )
    return unseen_to_nan(np.squeeze(values).astype(float))


def _is_sphere(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of a HEALPix map."""
    if len(shape) != 1 or shape[0] < 12 or not hp.isnpixok(shape[0]):
        return False
    return math.log2(hp.npix2nside(shape[0])).is_integer()


def _checked(field: Field, path: Path) -> Field:
    """A field that is a plane or a sphere and has something in it."""
    values = field.values
    if values.ndim == 2 and _is_sphere(values.shape[1:]) and len(values) < _FEWEST:
        raise ValueError(
            f"field: expected one map, got {len(values)} maps of the sphere, shape {values.shape} "
            f"in {path}. Take one of them out of it with --field 0."
        )
    if values.ndim != 2 and not _is_sphere(values.shape):
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
            images, numbers = {}, {}
            for number, hdu in enumerate(hdus):
                picture = isinstance(hdu, (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU))
                if picture and hdu.data is not None:
                    header = {key: str(value) for key, value in hdu.header.items()}
                    # Extensions may share a name, or have none.
                    title = str(hdu.name)
                    title = str(number) if not title or title in images else title
                    images[title] = (np.asarray(hdu.data), header)
                    numbers[str(number)] = title
    except (OSError, EOFError, TypeError) as error:
        raise ValueError(
            f"file: expected a complete FITS file, got {path} that cannot be read ({error})."
        ) from error
    if not images:
        return _checked(_of_table(path, name), path)
    wanted = next(iter(images)) if name is None else numbers.get(name, name.upper())
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
