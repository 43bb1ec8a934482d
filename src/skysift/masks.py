"""Masks: Galactic ones by name, from files, and unions and differences of both."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import healpy as hp
import numpy as np
from jaxtyping import Bool

from skysift.healpix_file import read_column
from skysift.healpix_table import Frame, MapFormat

_NAME = re.compile(r"(?P<name>ALL|GAL(?P<percent>\d{3}))(?P<half>_[UL])?(?=\s*(?:[+-]|$))")
_PATH = re.compile(r"[^+\-\s].*?\.fits?(?:\.gz)?(?=\s*(?:[+-]|$))", re.IGNORECASE)
_OTHER = re.compile(r"[^+-]*")
_KNOWN = (
    "'ALL', 'GAL020' to 'GAL090' (any 'GALnnn', nnn = percent of the sky kept, 001 to 100), each "
    "also as '_U' (north) or '_L' (south), paths of FITS masks ending in .fits or .fits.gz, joined "
    "by '+' (union) and '-' (difference)"
)


def galactic_mask(
    expression: str, nside: int, *, frame: Frame = Frame.GALACTIC
) -> Bool[np.ndarray, " npix"]:
    """Mask from names, FITS files, unions and differences.

    `GALnnn` keeps the cleanest nnn percent of the sky: the cells where the thermal dust intensity
    at 353 GHz (PySM's d1), smoothed to 10 degrees FWHM, is lowest. The kept number of cells is
    nnn percent of 12 nside^2, rounded, at every nside. Names are cumulative, as Planck's are:
    `GAL040` holds all of `GAL020` (furax-cs means by `GAL040` the ring `GAL040-GAL020`). At nside
    64 the intersection over union with Planck's GAL020, GAL040 and GAL060 is 0.89, 0.94 and 0.99.

    Terms are joined left to right, without precedence: `A-B+C` is (A without B) with C. A `+` or
    `-` joins terms only after a name or after a path's `.fits` ending, so paths may contain both.

    Args:
        expression: for instance `GAL020`, `GAL040-GAL020`, `GAL020_U+GAL020_L`, `ALL-sources.fits`.
            `_U` keeps colatitudes below 90 degrees, `_L` the others, the equator included.
        nside: HEALPix resolution, a power of two.
        frame: coordinates of the mask; in others than Galactic ones there are only `ALL`, its
            halves and files.

    Returns:
        True where kept, RING ordering.

    Raises:
        ValueError: for an unknown name, a Galactic one in another frame, a malformed expression,
            an nside that is not a power of two, or a file that `read_mask` refuses.

    References:
        Planck Collaboration 2015 XI, arXiv:1507.02704 (the masks compared with); Thorne et al.
        2017, arXiv:1608.02841 (PySM and its dust model).

    Examples:
        >>> mask = galactic_mask("GAL020", nside=64)
        >>> int(mask.sum()), round(0.2 * mask.size)
        (9830, 9830)
        >>> bool(np.any(galactic_mask("GAL040-GAL020", nside=64) & mask))
        False
    """
    if not (isinstance(nside, (int, np.integer)) and hp.isnsideok(nside, nest=True)):
        raise ValueError(f"nside: expected a power of two such as 64, got {nside!r}.")
    text = expression.strip()
    kept, position = _term(text, 0, nside, frame)
    while position < len(text):
        operator = text[position]
        start = position + 1 + len(text[position + 1 :]) - len(text[position + 1 :].lstrip())
        other, position = _term(text, start, nside, frame)
        kept = kept | other if operator == "+" else kept & ~other
    return kept


def read_mask(
    path: Path | str, nside: int, *, field: int = 0, frame: Frame = Frame.GALACTIC
) -> Bool[np.ndarray, " npix"]:
    """Mask from a HEALPix FITS file, kept where the value is above one half.

    NaN and UNSEEN are not kept, nor are cells that a partial-sky file lacks.

    Args:
        path: file as healpy, Planck or WMAP write it; RING or NESTED as its header says.
        nside: resolution that the mask must have.
        field: which column to read, for files that hold several masks.
        frame: coordinates that the mask must have; a file that names none has these.

    Returns:
        True where kept, RING ordering.

    Raises:
        ValueError: if there is no such file, it cannot be read, its header does not state the
            ordering, or it is of another nside or in other coordinates.
    """
    try:
        values = read_column(path, field, MapFormat(nside=nside, frame=frame))
    except ValueError as error:
        raise ValueError(f"mask: {error}") from error
    return np.nan_to_num(values, nan=0.0) > 0.5


def _term(text: str, start: int, nside: int, frame: Frame) -> tuple[Bool[np.ndarray, " npix"], int]:
    """Mask of the term at a position of an expression, and where the operator after it stands."""
    for pattern, evaluate in _TERMS:
        match = pattern.match(text, start)
        if match is not None:
            rest = text[match.end() :]
            return evaluate(match, nside, frame), match.end() + len(rest) - len(rest.lstrip())
    other = _OTHER.match(text, start)
    term = "" if other is None else other.group().strip()
    raise ValueError(f"expression: expected {_KNOWN}, got {term!r} in {text!r}.")


def _named(match: re.Match[str], nside: int, frame: Frame) -> Bool[np.ndarray, " npix"]:
    if match["percent"] is not None and frame is not Frame.GALACTIC:
        raise ValueError(
            f"mask: expected a FITS mask in {frame.name.lower()} coordinates as the maps, got "
            f"{match.group()!r}, which is Galactic. Rotate it and give its file."
        )
    percent = 100 if match["percent"] is None else int(match["percent"])
    if not 1 <= percent <= 100:
        raise ValueError(f"expression: expected {_KNOWN}, got {match.group()!r}.")
    kept = _cleanest(percent / 100.0, nside)
    if match["half"] is None:
        return kept
    _, _, z = hp.pix2vec(nside, np.arange(kept.size))
    return kept & (z > 0.0 if match["half"] == "_U" else z <= 0.0)


def _from_path(match: re.Match[str], nside: int, frame: Frame) -> Bool[np.ndarray, " npix"]:
    return read_mask(match.group(), nside, frame=frame)


_TERMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], int, Frame], np.ndarray]], ...] = (
    (_NAME, _named),
    (_PATH, _from_path),
)


def _cleanest(fraction: float, nside: int) -> Bool[np.ndarray, " npix"]:
    """The given fraction of the sky with the least smooth dust intensity.

    The intensity is band limited and is synthesised on the cells, so that nothing is interpolated;
    cells of equal intensity are taken in order of their number.
    """
    kept = np.zeros(hp.nside2npix(nside), dtype=bool)
    count = round(fraction * kept.size)
    if count == kept.size:
        return ~kept
    with resources.files("skysift").joinpath("data/galactic_intensity.npz").open("rb") as file:
        alm = np.load(file)["alm"].astype(complex)
    intensity = hp.alm2map(alm, nside)
    kept[np.argsort(intensity, kind="stable")[:count]] = True
    return kept
