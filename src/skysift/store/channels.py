"""Multi-frequency maps: one file per channel, or one file with a table per channel."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skysift.grid import Grid
from skysift.healpix_file import read_tables
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.store.fits import AS_WRITTEN, Frame, MapFormat, Precision, write_map

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
    name that is a channel's, such as `map_040.fits`); so are a list of files and, by EXTNAME, the
    tables of one file, which are taken in their order only where the names do not tell. Where
    channels cover different cells the result covers all of them, NaN where a channel has none.
    Channels that do not measure the Stokes parameters (Planck's 545 and 857 polarisation) are left
    out, whether there are maps of them or not.

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
    listed = not isinstance(source, (str, Path)) and len(source) == len(files)
    tables = read_tables(files[0]) if len(files) == 1 else [_File(file) for file in files]
    names = [table.name for table in tables]
    if instrument is None:
        distinct = len(set(names)) == len(names) and all(names)
        channels = tuple(names if distinct else [str(i) for i in range(len(names))])
        order, frequencies = list(range(len(names))), [None] * len(names)
    else:
        made = _made_of(len(names), instrument, expected.stokes)
        order = _match(names, made, in_order=listed or len(files) == 1)
        channels, frequencies = made.names, [float(nu) for nu in made.frequencies]
    found: dict[str, Maps] = {}
    for channel, index, frequency in zip(channels, order, frequencies, strict=True):
        if instrument is not None and not _measures(instrument, channel, expected.stokes):
            continue
        maps = tables[index].maps(expected, frequency)
        expected = dataclasses.replace(expected, stokes=maps.stokes, nside=maps.grid.nside)
        found[channel] = maps
    return _stack(list(found.values()), tuple(found))


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
    if len({safe_name(name) for name in maps.channels}) < len(maps.channels):
        raise ValueError(
            f"maps: expected channels whose names differ as file names, got {maps.channels}. "
            "Rename some."
        )
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


@dataclass(frozen=True)
class _File:
    """A file with the maps of one channel, read only when they are asked for."""

    path: Path

    @property
    def name(self) -> str:
        return _stem(self.path)

    def maps(self, expected: MapFormat, frequency: float | None) -> Maps:
        tables = read_tables(self.path)
        if len(tables) > 1:
            raise ValueError(
                f"{self.path}: expected one HEALPix table in each of several files, got "
                f"{len(tables)}. Give one file with a table per channel, or a file per channel."
            )
        return tables[0].maps(expected, frequency)


def _made_of(count: int, instrument: Instrument, stokes: Stokes | None) -> Instrument:
    """The channels that so many maps are of: all, or those that measure the Stokes parameters."""
    measuring = instrument.measuring((stokes or Stokes.QU).polarised)
    return measuring if count == len(measuring) else instrument


def _measures(instrument: Instrument, channel: str, stokes: Stokes | None) -> bool:
    return stokes is None or channel in instrument.measuring(stokes.polarised).names


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
    # Before the order: a shell sorts map_100.fits before map_40.fits.
    labels = [_numbers(name) for name in wanted]
    matches = [
        [i for i, name in enumerate(names) if label and label <= _numbers(name)] for label in labels
    ]
    chosen = [match[0] for match in matches if len(match) == 1]
    if len(set(chosen)) == len(wanted):
        return chosen
    if in_order:
        return list(range(len(names)))
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
