"""Multi-frequency maps: one file per channel, or one file with a table per channel."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps
from skysift.store.fits import AS_WRITTEN, Frame, MapFormat, Precision, write_map
from skysift.store.sky_table import read_tables

_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz")


def find_files(source: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """The FITS files that a folder, a glob pattern, a file or a list of these names.

    Args:
        source: for instance `"sky/maps"`, `"maps/*.fits"`, or a list of files.

    Returns:
        Files; those of a folder or pattern sorted by name, those of a list in its order.

    Raises:
        ValueError: if something is missing or holds no FITS file.
    """
    if not isinstance(source, (str, Path)):
        if not source:
            raise ValueError("maps: expected a folder or FITS files, got none.")
        return tuple(path for part in source for path in find_files(part))
    path = Path(source)
    if path.is_file():
        return (path,)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if _is_fits(file))
    elif re.search(r"[*?\[]", str(source)):
        root = Path(path.anchor) if path.is_absolute() else Path()
        found = sorted(
            root.glob(str(path.relative_to(path.anchor) if path.is_absolute() else path))
        )
    else:
        raise ValueError(f"maps: expected a folder or FITS file at {path}, got nothing there.")
    if not found:
        raise ValueError(f"maps: expected FITS files in {path}, got none.")
    return tuple(found)


def read_channels(
    source: str | Path | Sequence[str | Path],
    instrument: Instrument | None = None,
    expected: MapFormat = AS_WRITTEN,
) -> Maps:
    """Maps of all channels in uK_CMB, in the order of the instrument.

    Files of a folder are matched with channels by their names (`40.fits`, or one number in the
    name that is a channel's, such as `map_040.fits`); a list of files is taken in its order. Tables
    of one file are matched by EXTNAME, else taken in order. Where channels cover different cells
    the result covers all of them, NaN where a channel has none.

    Args:
        source: folder, glob pattern, file, or list of files.
        instrument: channel names and the frequencies that conversion from uK_RJ and MJy/sr needs.
            Without it, files are taken in order and named after themselves.
        expected: what the caller says that the files hold.

    Returns:
        Maps `(channel, stokes, cell)`, RING ordering, COSMO convention.

    Raises:
        ValueError: if the files are not as many as the channels, cannot be matched with them,
            differ in nside or Stokes parameters, or disagree with `expected`.
    """
    files = find_files(source)
    if len(files) == 1:
        return _read_tables(files[0], instrument, expected)
    listed = not isinstance(source, (str, Path)) and len(source) == len(files)
    names = [_stem(file) for file in files]
    if instrument is None:
        order, channels = list(range(len(files))), tuple(names)
    else:
        order, channels = _match(names, instrument, in_order=listed), instrument.names
    found = []
    for position, index in enumerate(order):
        frequency = None if instrument is None else float(instrument.frequencies[position])
        tables = read_tables(files[index])
        if len(tables) > 1:
            raise ValueError(
                f"{files[index]}: expected one HEALPix table in each of several files, got "
                f"{len(tables)}. Give one file with a table per channel, or a file per channel."
            )
        maps = tables[0].maps(expected, frequency)
        expected = dataclasses.replace(expected, stokes=maps.stokes, nside=maps.grid.nside)
        found.append(maps)
    return _stack(found, channels)


def write_channels(
    folder: str | Path,
    maps: Maps,
    *,
    frame: Frame = Frame.GALACTIC,
    precision: Precision = Precision.DOUBLE,
) -> list[Path]:
    """Write one file per channel, `<channel>.fits`, into a folder.

    Args:
        folder: made if missing.
        maps: with channels.
        frame: for COORDSYS.
        precision: of the numbers.

    Returns:
        The files in the order of the channels.

    Raises:
        ValueError: if the maps have no channels or the folder cannot be written.
        OSError: if the disk is full.
    """
    if not maps.channels:
        raise ValueError("maps: expected a channel axis with names, got none. Use write_map.")
    values = np.asarray(maps.values)
    files = []
    for name, rows in zip(maps.channels, values, strict=True):
        one = Maps(rows[None], maps.grid, maps.stokes, maps.unit, (name,))
        files.append(Path(folder) / f"{safe_name(name)}.fits")
        write_map(files[-1], one, frame=frame, precision=precision)
    return files


def safe_name(name: str) -> str:
    """A channel or component name as a file name.

    Examples:
        >>> safe_name("SAT 90/1")
        'SAT_90_1'
    """
    return re.sub(r"[^\w.+-]", "_", name)


def _read_tables(file: Path, instrument: Instrument | None, expected: MapFormat) -> Maps:
    tables = read_tables(file)
    names = [table.name for table in tables]
    if instrument is None:
        distinct = len(set(names)) == len(names) and all(names)
        channels = tuple(names if distinct else [str(i) for i in range(len(tables))])
        order = list(range(len(tables)))
        frequencies: list[float | None] = [None] * len(tables)
    else:
        channels, order = instrument.names, _match(names, instrument, in_order=True)
        frequencies = [float(frequency) for frequency in instrument.frequencies]
    found = []
    for index, frequency in zip(order, frequencies, strict=True):
        maps = tables[index].maps(expected, frequency)
        expected = dataclasses.replace(expected, stokes=maps.stokes, nside=maps.grid.nside)
        found.append(maps)
    return _stack(found, channels)


def _match(names: list[str], instrument: Instrument, *, in_order: bool) -> list[int]:
    """For each channel the position of its file or table."""
    if len(names) != len(instrument):
        raise ValueError(
            f"maps: expected {len(instrument)} channels of {instrument.name} "
            f"({', '.join(instrument.names)}), got {len(names)} maps ({', '.join(names)}). Give "
            "the instrument that made them, or all its maps."
        )
    wanted = [safe_name(name) for name in instrument.names]
    if set(names) == set(wanted):
        return [names.index(name) for name in wanted]
    if in_order:
        return list(range(len(names)))
    labels = [_numbers(name) for name in wanted]
    matches = [
        [i for i, name in enumerate(names) if label and label <= _numbers(name)] for label in labels
    ]
    chosen = [match[0] for match in matches if len(match) == 1]
    if len(set(chosen)) == len(wanted):
        return chosen
    raise ValueError(
        f"maps: expected file names that tell the channels {', '.join(instrument.names)} apart, "
        f"got {', '.join(names)}. Name the files <channel>.fits, or list them in the instrument's "
        "order."
    )


def _numbers(text: str) -> frozenset[float]:
    return frozenset(float(number) for number in re.findall(r"\d+(?:\.\d+)?", text))


def _stack(found: list[Maps], channels: tuple[str, ...]) -> Maps:
    stokes = found[0].stokes
    if all(maps.grid == found[0].grid for maps in found):
        grid, values = found[0].grid, np.stack([np.asarray(maps.values) for maps in found])
        return Maps(values, grid, stokes, channels=channels)
    nside = found[0].grid.require_nside()
    grid = Grid(nside, cells=np.unique(np.concatenate([maps.grid.index for maps in found])))
    values = np.full((len(found), len(stokes), grid.size), np.nan)
    for row, maps in zip(values, found, strict=True):
        row[:, maps.grid.positions(grid)] = np.asarray(maps.values)
    return Maps(values, grid, stokes, channels=channels)


def _is_fits(file: Path) -> bool:
    return file.is_file() and file.name.endswith(_SUFFIXES) and not file.name.startswith(".")


def _stem(file: Path) -> str:
    name = file.name
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name
