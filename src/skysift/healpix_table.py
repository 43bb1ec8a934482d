"""What the header of a HEALPix table says, checked against what the caller says."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.grid import Grid, Ordering
from skysift.maps import Maps, Stokes, unseen_to_nan
from skysift.units import Unit, conversion

_NAMES = {
    "I": ("I_STOKES", "TEMPERATURE", "INTENSITY", "I", "T", "SIGNAL", "STOKES_I"),
    "Q": ("Q_STOKES", "Q_POLARISATION", "Q_POLARIZATION", "Q", "STOKES_Q"),
    "U": ("U_STOKES", "U_POLARISATION", "U_POLARIZATION", "U", "STOKES_U"),
}
_ANONYMOUS = re.compile(r"(COLUMN|COL|UNKNOWN|MAP)?_?\d*")
_CELL_NAMES = ("PIXEL", "PIX", "INDEX", "HPXPIXEL")


class Frame(enum.Enum):
    """Coordinate system of a map, by the letter that FITS headers use (COORDSYS)."""

    GALACTIC = "G"
    EQUATORIAL = "C"
    ECLIPTIC = "E"

    @staticmethod
    def parse(text: str) -> Frame:
        """Read a COORDSYS card.

        Raises:
            ValueError: if it names no known system.

        Examples:
            >>> Frame.parse("GALACTIC"), Frame.parse("EQUATORIAL")
            (<Frame.GALACTIC: 'G'>, <Frame.EQUATORIAL: 'C'>)
        """
        plain = text.strip().upper()
        if plain.startswith(("EQ", "C", "Q")):
            return Frame.EQUATORIAL
        for frame in (Frame.GALACTIC, Frame.ECLIPTIC):
            if plain.startswith(frame.value):
                return frame
        raise ValueError(f"COORDSYS: expected G, C or E, got {text!r}. Correct the header.")


@dataclass(frozen=True)
class MapFormat:
    """What the caller says that files hold; `None` leaves it to the header.

    A file that disagrees is an error, never a map silently read in another way.

    Args:
        stokes: Stokes parameters to read; by default those of the file.
        unit: for columns without a readable TUNIT, for instance `"K_CMB"`.
        ordering: for files without ORDERING.
        nside: resolution that the files must have.
        frame: coordinate system that the files must have; a file that names none has this one.
    """

    stokes: Stokes | None = None
    unit: str | None = None
    ordering: Ordering | None = None
    nside: int | None = None
    frame: Frame = Frame.GALACTIC


AS_WRITTEN = MapFormat()
"""Whatever the header says."""


@dataclass(frozen=True)
class SkyTable:
    """One HEALPix table of a FITS file: header cards, column units and values as stored.

    Args:
        where: file and table for messages.
        header: cards by keyword.
        units: TUNIT of each column by name, in order.
        columns: values of each column by name.
    """

    where: str
    header: dict[str, str | int | float | bool]
    units: dict[str, str]
    columns: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """EXTNAME."""
        return self._text("EXTNAME")

    def _text(self, key: str) -> str:
        return str(self.header.get(key, "")).strip()

    @property
    def named_stokes(self) -> dict[str, str]:
        """Column name of each Stokes parameter that the table names."""
        upper = {name.strip().upper(): name for name in self.units}
        return {
            letter: upper[found[0]]
            for letter, names in _NAMES.items()
            if (found := [name for name in names if name in upper])
        }

    @property
    def explicit(self) -> bool:
        """Whether the first column lists the cells (a partial sky).

        Raises:
            ValueError: if the header contradicts itself or there is no such column.
        """
        scheme, extent = self._text("INDXSCHM").upper(), self._text("OBJECT").upper()
        if (scheme, extent) in (("IMPLICIT", "PARTIAL"), ("EXPLICIT", "FULLSKY")):
            raise ValueError(
                f"{self.where}: INDXSCHM {scheme} contradicts OBJECT {extent}. Correct the header."
            )
        explicit = scheme == "EXPLICIT" or (not scheme and extent == "PARTIAL")
        first = next(iter(self.units))
        if explicit and first.strip().upper() not in _CELL_NAMES:
            raise ValueError(
                f"{self.where}: expected the column PIXEL first in a partial file, got {first}."
            )
        return explicit

    @property
    def iau(self) -> bool:
        """Whether U has the sign of the IAU convention.

        Raises:
            ValueError: if POLCCONV is neither COSMO nor IAU.
        """
        text = self._text("POLCCONV").upper() or "COSMO"
        if text not in ("COSMO", "IAU"):
            raise ValueError(
                f"{self.where}: expected POLCCONV COSMO or IAU, got {text!r}. Correct the header."
            )
        return text == "IAU"

    def ordering(self, said: Ordering | None) -> Ordering:
        """Numbering of the cells.

        Raises:
            ValueError: if the header does not say and the caller neither, or the two disagree.
        """
        text = self._text("ORDERING").upper()
        if not text:
            if said is None:
                raise ValueError(
                    f"{self.where}: expected ORDERING in the header, got none. Say it with "
                    "ordering (RING or NESTED)."
                )
            return said
        if text not in ("RING", "NESTED", "NEST"):
            raise ValueError(f"{self.where}: expected ORDERING RING or NESTED, got {text!r}.")
        own = Ordering.RING if text == "RING" else Ordering.NESTED
        if said is not None and said is not own:
            raise ValueError(
                f"{self.where}: expected ordering {said.value} as asked, got {own.value} in the "
                "header. Leave ordering out to read what the header says, or correct the header."
            )
        return own

    def require_frame(self, frame: Frame) -> None:
        """Check that a named coordinate system is the one expected.

        Raises:
            ValueError: if it is another.
        """
        text = self._text("COORDSYS")
        if text and (own := Frame.parse(text)) is not frame:
            raise ValueError(
                f"{self.where}: expected coordinates {frame.value} ({frame.name.lower()}), got "
                f"{own.value} ({own.name.lower()}) in the header. Rotate the map (healpy.Rotator), "
                f"or say frame {own.value} to work in those coordinates."
            )

    def nside(self, expected: int | None) -> int:
        """Resolution.

        Raises:
            ValueError: if the header has none or a wrong one, or it is not as expected.
        """
        size = next(iter(self.columns.values())).size
        text = self._text("NSIDE")
        if not text and (self.explicit or not hp.isnpixok(size)):
            raise ValueError(f"{self.where}: expected NSIDE in the header, got none. Write it.")
        nside = int(text) if text else int(hp.npix2nside(size))
        if not self.explicit and size != 12 * nside**2:
            raise ValueError(
                f"{self.where}: expected {12 * nside**2} cells for NSIDE {nside}, got {size}. The "
                "file is damaged or its header is wrong."
            )
        if expected is not None and nside != expected:
            raise ValueError(
                f"{self.where}: expected nside {expected}, got {nside}. Regrade it first "
                "(healpy.ud_grade for masks, harmonic space with a common beam for maps)."
            )
        return nside

    def stokes_columns(self, stokes: Stokes | None) -> tuple[Stokes, list[str]]:
        """The Stokes parameters asked, or those there are, and their columns.

        Raises:
            ValueError: if the column names do not tell.
        """
        named = self.named_stokes
        names = list(self.units)[int(self.explicit) :]
        if stokes is None:
            letters = "".join(letter for letter in "IQU" if letter in named)
            if letters not in {one.value for one in Stokes}:
                raise ValueError(
                    f"{self.where}: expected columns of I, Q and U such as I_STOKES or "
                    f"Q_POLARISATION, got {', '.join(names)}. Say what they are with stokes."
                )
            stokes = Stokes(letters)
        if all(letter in named for letter in stokes.value):
            return stokes, [named[letter] for letter in stokes.value]
        anonymous = all(_ANONYMOUS.fullmatch(name.strip().upper()) for name in names)
        if anonymous and len(names) == len(stokes):
            return stokes, names
        raise ValueError(
            f"{self.where}: expected columns for Stokes {stokes.value}, got {', '.join(names)}. "
            "Read the Stokes parameters that the file holds."
        )

    def factor(self, column: str, said: str | None, frequency: float | None) -> float:
        """Factor from the unit of a column to uK_CMB.

        Raises:
            ValueError: for no unit, an unknown one, another than said, or one that needs a
                frequency.
        """
        unit, scale = self._unit(column, said)
        if unit is Unit.UK_CMB:
            return scale
        if frequency is None:
            raise ValueError(
                f"{self.where}, column {column}: expected a frequency to convert {unit.value} to "
                "uK_CMB, got none. Give the instrument or the frequency."
            )
        return scale * float(conversion(unit, Unit.UK_CMB, jnp.asarray(frequency)))

    def _unit(self, column: str, said: str | None) -> tuple[Unit, float]:
        text, here = self.units[column].strip(), f"{self.where}, column {column}"
        wanted = None if said is None else Unit.parse(said)
        if not text:
            if wanted is None:
                raise ValueError(
                    f"{here}: expected a unit (TUNIT), got none. Say it, for instance unit "
                    "'uK_CMB'."
                )
            return wanted
        try:
            own = Unit.parse(text)
        except ValueError as error:
            if wanted is None:
                raise ValueError(f"{here}: {error}") from None
            return wanted
        if wanted is not None and own != wanted:
            raise ValueError(
                f"{here}: expected unit {said!r} as asked, got {text!r} in the header. Leave unit "
                "out to read what the header says, or correct the header."
            )
        return own

    def values(self, column: str) -> Float[np.ndarray, " row"]:
        """Values of a column, NaN where missing (NaN, UNSEEN or BAD_DATA)."""
        values = np.asarray(self.columns[column], dtype=np.float64)
        bad = self.header.get("BAD_DATA")
        if isinstance(bad, float):
            values = np.where(values == np.float64(np.float32(bad)), np.nan, values)
        return unseen_to_nan(values)

    def on_grid(
        self, values: Float[np.ndarray, "row cell"], ordering: Ordering, nside: int
    ) -> tuple[Grid, Float[np.ndarray, "row cell"]]:
        """Grid of the table, and rows of values sorted as its cells are.

        Raises:
            ValueError: if a partial file lists cells twice or beyond the sphere.
        """
        if not self.explicit:
            return Grid(nside, ordering), values
        cells = np.asarray(self.columns[next(iter(self.units))], dtype=np.int64)
        order = np.argsort(cells)
        repeated = bool(np.any(np.diff(cells[order]) == 0))
        if cells.size == 0 or repeated or cells.min() < 0 or cells.max() >= 12 * nside**2:
            raise ValueError(
                f"{self.where}: expected different cells from 0 to {12 * nside**2 - 1} in PIXEL, "
                f"got {cells.size} cells{', some repeated' if repeated else ''}."
            )
        return Grid(nside, ordering, cells[order]), values[:, order]

    def maps(self, expected: MapFormat, frequency: float | None = None) -> Maps:
        """The table as maps in uK_CMB, RING ordering, COSMO convention, NaN where missing.

        Args:
            expected: what the caller says that it holds.
            frequency: [GHz], needed to convert uK_RJ and MJy/sr.

        Returns:
            Maps `(stokes, cell)` on the full sky, or on the cells that a partial table lists.

        Raises:
            ValueError: if the header is unusable or disagrees with `expected`.
        """
        ordering, nside = self.ordering(expected.ordering), self.nside(expected.nside)
        self.require_frame(expected.frame)
        stokes, names = self.stokes_columns(expected.stokes)
        rows = [self.values(name) * self.factor(name, expected.unit, frequency) for name in names]
        values = np.stack(rows)
        if "U" in stokes.value and self.iau:
            values[stokes.value.index("U")] *= -1.0
        grid, values = self.on_grid(values, ordering, nside)
        return Maps(values, grid, stokes).reordered(Ordering.RING)

    def column(self, field: int, expected: MapFormat) -> Float[np.ndarray, " npix"]:
        """One column as it is, whatever it holds: full sky, RING ordering, NaN where missing.

        Args:
            field: number of the column, from 0; the cells of a partial sky do not count.
            expected: what the caller says that the file holds.

        Raises:
            ValueError: if there is no such column, or the header is unusable or disagrees.
        """
        ordering, nside = self.ordering(expected.ordering), self.nside(expected.nside)
        self.require_frame(expected.frame)
        names = list(self.units)[int(self.explicit) :]
        if not 0 <= field < len(names):
            raise ValueError(
                f"{self.where}: expected column {field}, got {len(names)} columns "
                f"({', '.join(names)}), counted from 0."
            )
        grid, values = self.on_grid(self.values(names[field])[None], ordering, nside)
        full = np.full(12 * nside**2, np.nan)
        full[grid.ring] = values[0]
        return full
