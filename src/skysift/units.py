"""Temperature and brightness units of sky maps, and the factors between them.

Inside skysift a map is in `uK_CMB` (thermodynamic microkelvin). Other units are converted at the
door: `Unit.parse` reads what FITS headers say, `conversion` gives the factor at a frequency.
"""

from __future__ import annotations

import enum
import re

import jax.numpy as jnp
import scipy.constants as const
from jaxtyping import Array, Float

T_CMB = 2.7255
"""Temperature of the CMB monopole [K] (Fixsen 2009, ApJ 707, 916)."""

H_OVER_K_GHZ = const.h * 1e9 / const.k
"""h / k_B for frequencies in GHz [K / GHz]."""


class Unit(enum.Enum):
    """Unit of a sky map."""

    UK_CMB = "uK_CMB"
    UK_RJ = "uK_RJ"
    MJY_SR = "MJy/sr"
    COMPTON_Y = "1e-6 y"
    NONE = ""

    @staticmethod
    def parse(text: str) -> tuple[Unit, float]:
        """Read a unit as FITS headers and people write it.

        Args:
            text: for instance `K_CMB`, `uK_RJ`, `mK,thermodynamic`, `MJy/sr`, `KCMB`, `uK`.

        Returns:
            The unit and the factor by which to multiply values to be in it. A plain temperature
            (`mK`, `uK`) is read as thermodynamic, as WMAP and Planck maps are.

        Raises:
            ValueError: if the text names no unit of a sky map.

        Examples:
            >>> Unit.parse("K_CMB")
            (<Unit.UK_CMB: 'uK_CMB'>, 1000000.0)
        """
        plain = text.strip().replace("µ", "u").replace("μ", "u")
        match = re.fullmatch(
            r"(?P<prefix>micro|milli|u|m|n|k|M)?(?P<base>Jy/sr|K)[\s_,]*\(?(?P<kind>[A-Za-z]*)\)?",
            plain,
        )
        if match is None:
            raise _unknown(text)
        scale = _PREFIX[match["prefix"] or ""]
        if match["base"] == "Jy/sr":
            if match["kind"]:
                raise _unknown(text)
            return Unit.MJY_SR, scale * 1e-6
        kind = match["kind"].lower()
        if kind in ("", "cmb", "thermo", "thermodynamic"):
            return Unit.UK_CMB, _tidy(scale * 1e6)
        if kind in ("rj", "antenna", "rayleigh", "brightness"):
            return Unit.UK_RJ, _tidy(scale * 1e6)
        raise _unknown(text)


_PREFIX = {
    "": 1.0,
    "M": 1e6,
    "k": 1e3,
    "m": 1e-3,
    "milli": 1e-3,
    "u": 1e-6,
    "micro": 1e-6,
    "n": 1e-9,
}


def _tidy(factor: float) -> float:
    return float(f"{factor:.12g}")


def _unknown(text: str) -> ValueError:
    return ValueError(
        f"unit: expected a temperature or brightness such as 'uK_CMB', 'K_CMB', 'mK', 'uK_RJ' or "
        f"'MJy/sr', got {text!r}. Give the unit explicitly (unit=Unit.UK_CMB) if the file is wrong."
    )


def rj_to_cmb(frequency: Float[Array, "..."]) -> Float[Array, "..."]:
    """Thermodynamic temperature per Rayleigh-Jeans temperature, g = (e^x - 1)^2 / (x^2 e^x).

    Args:
        frequency: [GHz].
    """
    x = H_OVER_K_GHZ / T_CMB * frequency
    return (jnp.expm1(x) / x) ** 2 * jnp.exp(-x)


def conversion(source: Unit, target: Unit, frequency: Float[Array, "..."]) -> Float[Array, "..."]:
    """Factor that takes a value at one frequency from one unit to another.

    Args:
        source: unit of the values.
        target: unit wanted.
        frequency: [GHz].

    Returns:
        Factor of the shape of `frequency`: `values[target] = values[source] * factor`.

    Raises:
        ValueError: if either is not a unit of brightness.

    Examples:
        >>> float(conversion(Unit.UK_RJ, Unit.UK_CMB, 100.0).round(3))
        1.287
    """
    return _uk_rj_per(source, jnp.asarray(frequency)) / _uk_rj_per(target, jnp.asarray(frequency))


def _uk_rj_per(unit: Unit, frequency: Float[Array, "..."]) -> Float[Array, "..."]:
    if unit is Unit.UK_RJ:
        return jnp.ones_like(frequency, dtype=float)
    if unit is Unit.UK_CMB:
        return 1.0 / rj_to_cmb(frequency)
    if unit is Unit.MJY_SR:
        # I = 2 k nu^2 T / c^2, with 1 MJy/sr = 1e-20 W / m^2 / Hz / sr and T in 1e-6 K.
        return 1e-20 * const.c**2 / (2.0 * const.k * (frequency * 1e9) ** 2) * 1e6
    raise ValueError(
        f"unit: expected uK_CMB, uK_RJ or MJy/sr, got {unit.value!r}, which has no brightness at a "
        "frequency. Convert the map before it enters."
    )
