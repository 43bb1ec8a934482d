"""Instruments: frequency channels with their band, beam and noise depth."""

from __future__ import annotations

import abc
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from skysift.units import H_OVER_K_GHZ, T_CMB

_NODES = 7


class AbstractBand(abc.ABC):
    """Response of a channel to frequency, reduced to few nodes of a Gauss quadrature."""

    @property
    @abc.abstractmethod
    def centre(self) -> float:
        """Nominal frequency [GHz]."""

    @abc.abstractmethod
    def response(self) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
        """Frequencies [GHz] and weights of the response to spectral brightness [W/m2/Hz/sr]."""

    def nodes(self) -> tuple[Float[np.ndarray, " node"], Float[np.ndarray, " node"]]:
        """Frequencies [GHz] and weights with sum(w * s(nu)) the band average of a uK_CMB spectrum.

        A band measures brightness, so the weights carry dB/dT at T_CMB and sum to one: the CMB has
        amplitude one in every channel (Planck 2013 IX, arXiv:1303.5070, eq. 4).
        """
        frequency, weight = self.response()
        x = H_OVER_K_GHZ * frequency / T_CMB
        weight = weight * frequency**4 * np.exp(x) / np.expm1(x) ** 2
        return frequency, weight / weight.sum()


@dataclass(frozen=True)
class DeltaBand(AbstractBand):
    """A single frequency [GHz]."""

    frequency: float

    def __post_init__(self) -> None:
        _check_positive("frequency", self.frequency, "GHz")

    @property
    def centre(self) -> float:
        """The frequency [GHz]."""
        return self.frequency

    def response(self) -> tuple[np.ndarray, np.ndarray]:
        """One node of weight one."""
        return np.array([self.frequency]), np.ones(1)


@dataclass(frozen=True)
class TopHatBand(AbstractBand):
    """Constant response from `frequency - width / 2` to `frequency + width / 2` [GHz]."""

    frequency: float
    width: float

    def __post_init__(self) -> None:
        _check_positive("frequency", self.frequency, "GHz")
        _check_positive("width", self.width, "GHz")
        if self.width >= 2 * self.frequency:
            raise ValueError(
                f"width: expected less than twice the frequency {self.frequency} GHz, got "
                f"{self.width}."
            )

    @property
    def centre(self) -> float:
        """Middle of the band [GHz]."""
        return self.frequency

    def response(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Legendre nodes: exact to rounding for spectra as smooth as the sky's."""
        node, weight = np.polynomial.legendre.leggauss(_NODES)
        return self.frequency + 0.5 * self.width * node, weight


@dataclass(frozen=True)
class TabulatedBand(AbstractBand):
    """Response tabulated at frequencies [GHz], integrated by the trapezoidal rule as PySM does."""

    frequencies: tuple[float, ...]
    transmission: tuple[float, ...]

    def __post_init__(self) -> None:
        nu, weight = np.asarray(self.frequencies), np.asarray(self.transmission)
        if nu.ndim != 1 or nu.size < 2 or weight.shape != nu.shape:
            raise ValueError(
                "transmission: expected one value for each of at least two frequencies, got "
                "shapes "
                f"{nu.shape} and {weight.shape}."
            )
        if not np.all(np.isfinite(nu)) or nu[0] <= 0 or np.any(np.diff(nu) <= 0):
            raise ValueError("frequencies: expected positive and increasing [GHz]. Sort the table.")
        if not np.all(np.isfinite(weight)) or np.any(weight < 0) or not np.any(weight > 0):
            raise ValueError("transmission: expected non-negative values, some of them positive.")

    @property
    def centre(self) -> float:
        """Mean frequency of the response [GHz]."""
        frequency, weight = self._trapezoid()
        return float(np.sum(frequency * weight) / np.sum(weight))

    def response(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss quadrature of the trapezoidal sum over the table, with at most seven nodes."""
        frequency, weight = self._trapezoid()
        keep = weight > 0
        return _gauss(frequency[keep], weight[keep], _NODES)

    def _trapezoid(self) -> tuple[np.ndarray, np.ndarray]:
        frequency = np.asarray(self.frequencies, dtype=float)
        step = np.zeros_like(frequency)
        step[:-1] += 0.5 * np.diff(frequency)
        step[1:] += 0.5 * np.diff(frequency)
        return frequency, step * np.asarray(self.transmission)


def _gauss(x: np.ndarray, weight: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes of a discrete measure by the Lanczos process (Golub & Welsch 1969)."""
    if x.size <= count:
        return x, weight
    centre, scale = x.mean(), np.ptp(x)
    basis = np.zeros((count + 1, x.size))
    basis[0] = np.sqrt(weight / weight.sum())
    diagonal, off = np.zeros(count), np.zeros(count)
    for k in range(count):
        vector = (x - centre) / scale * basis[k]
        diagonal[k] = basis[k] @ vector
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            vector -= basis[: k + 1].T @ (basis[: k + 1] @ vector)
        off[k] = np.linalg.norm(vector)
        basis[k + 1] = vector / off[k]
    jacobi = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    node, vectors = np.linalg.eigh(jacobi)
    return centre + scale * node, weight.sum() * vectors[0] ** 2


def _check_positive(name: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a positive number of {unit}, got {value!r}.")


@dataclass(frozen=True)
class Channel:
    """One frequency channel.

    Args:
        name: for instance `"140"`.
        band: response to frequency.
        fwhm: beam full width at half maximum [arcmin].
        depth_i: white-noise depth in intensity [uK_CMB arcmin]; NaN where it does not measure it.
        depth_p: white-noise depth in each of Q and U [uK_CMB arcmin]; NaN where unpolarised.

    Raises:
        ValueError: for a depth or beam that is zero or negative.
    """

    name: str
    band: AbstractBand
    fwhm: float = math.nan
    depth_i: float = math.nan
    depth_p: float = math.nan

    def __post_init__(self) -> None:
        for name, unit in (("fwhm", "arcmin"), ("depth_i", "uK arcmin"), ("depth_p", "uK arcmin")):
            value = getattr(self, name)
            if not math.isnan(value):
                _check_positive(f"{name} of channel {self.name}", value, unit)


@dataclass(frozen=True)
class Instrument:
    """A set of channels, hashable and static under jit.

    Args:
        name: for tables and plots.
        channels: in the order of the maps.
        reference: where the numbers come from.

    Examples:
        >>> litebird = Instrument.preset("LiteBIRD")
        >>> len(litebird), litebird.channels[0].name
        (15, '40')
    """

    name: str
    channels: tuple[Channel, ...]
    reference: str = ""

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names:
            raise ValueError(
                "channels: expected at least one, got none. No channel may measure the Stokes "
                "parameters asked: choose others, or give depths."
            )
        if len(set(names)) < len(names):
            raise ValueError(
                f"channels: expected different names, got {names}. Name them (`name` in YAML)."
            )

    def __len__(self) -> int:
        return len(self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names in order."""
        return tuple(channel.name for channel in self.channels)

    @property
    def frequencies(self) -> Float[np.ndarray, " channel"]:
        """Nominal frequencies [GHz]."""
        return np.array([channel.band.centre for channel in self.channels])

    def select(self, names: Sequence[str]) -> Instrument:
        """The instrument with some of its channels, in the order asked.

        Raises:
            ValueError: for a name that is no channel.
        """
        known = dict(zip(self.names, self.channels, strict=True))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"channels: expected some of {', '.join(known)}, got {unknown[0]!r} for "
                f"{self.name}."
            )
        return replace(self, channels=tuple(known[name] for name in names))

    def measuring(self, polarised: tuple[bool, ...]) -> Instrument:
        """The channels that measure all of some Stokes parameters, for `Stokes.polarised` flags.

        Those with a depth for each; all channels where none has.
        """
        known = np.isfinite(self.depth(polarised)).all(axis=1)
        if known.all() or not known.any():
            return self
        return self.select([self.names[index] for index in np.flatnonzero(known)])

    def depth(self, polarised: tuple[bool, ...]) -> Float[np.ndarray, "channel stokes"]:
        """Noise depth per Stokes parameter [uK_CMB arcmin], for `Stokes.polarised` flags."""
        return np.array([[c.depth_p if p else c.depth_i for p in polarised] for c in self.channels])

    def quadrature(
        self,
    ) -> tuple[Float[np.ndarray, "channel node"], Float[np.ndarray, "channel node"]]:
        """Band nodes [GHz] and weights of all channels, short ones padded with weight zero."""
        nodes = [channel.band.nodes() for channel in self.channels]
        width = max(frequency.size for frequency, _ in nodes)
        nu = np.stack([np.pad(f, (0, width - f.size), mode="edge") for f, _ in nodes])
        weight = np.stack([np.pad(w, (0, width - w.size)) for _, w in nodes])
        return nu, weight

    @staticmethod
    def of_frequencies(frequencies: Sequence[float]) -> Instrument:
        """Delta bands at frequencies [GHz] without beams or depths."""
        names = [f"{frequency:g}" for frequency in frequencies]
        unique = [f"{n}#{names[:i].count(n)}" if n in names[:i] else n for i, n in enumerate(names)]
        bands = [DeltaBand(float(frequency)) for frequency in frequencies]
        return Instrument(
            "arrays", tuple(Channel(n, b) for n, b in zip(unique, bands, strict=True))
        )

    @staticmethod
    def preset(name: str) -> Instrument:
        """A packaged instrument: LiteBIRD, Planck, SO_SAT, SO_LAT or PICO.

        Raises:
            ValueError: if there is none of that name.
        """
        table = yaml.safe_load((resources.files("skysift") / "data/instruments.yaml").read_text())
        known = {key.lower().replace("_", ""): key for key in table}
        key = known.get(name.lower().replace("_", "").replace("-", ""))
        if key is None:
            raise ValueError(
                f"instrument: expected one of {', '.join(table)} or a YAML file, got {name!r}."
            )
        return _from_table(key, table[key], where=f"packaged instrument {key}")

    @staticmethod
    def from_yaml(path: str | Path) -> Instrument:
        """An instrument from a YAML file of the form described in the documentation.

        Raises:
            ValueError: for a file that cannot be read, a missing or unknown key, lists of different
                lengths, or what are no numbers.
        """
        path = Path(path)
        try:
            table = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"instrument: expected a YAML file at {path}, could not read it: {reason}."
            ) from error
        if not isinstance(table, dict):
            raise ValueError(
                f"{path}: expected a YAML mapping with `frequency`, got {type(table).__name__}."
            )
        if len(table) == 1 and isinstance(next(iter(table.values())), dict):
            name, table = next(iter(table.items()))
        else:
            name = path.stem
        return _from_table(name, table, where=str(path))

    @staticmethod
    def of(instrument: Instrument | str | Path) -> Instrument:
        """An instrument from itself, the name of a packaged one, or the path of a YAML file."""
        if isinstance(instrument, Instrument):
            return instrument
        if str(instrument).endswith((".yaml", ".yml")):
            return Instrument.from_yaml(instrument)
        return Instrument.preset(str(instrument))


_COLUMNS = ("frequency", "depth_p", "depth_i", "fwhm", "bandwidth", "bandpass", "name")


def _from_table(name: str, table: dict, where: str) -> Instrument:
    _check_keys(table, where)
    given = [key for key in _COLUMNS if key in table]
    channels = []
    for row in zip(*(table[key] for key in given), strict=True):
        entries = dict(zip(given, row, strict=True))
        try:
            channels.append(_channel(entries))
        except (ValueError, TypeError, KeyError) as error:
            reason = str(error).rstrip(".")
            raise ValueError(
                f"{where}: cannot make channel {len(channels) + 1} of {entries}: {reason}. What "
                "there is not is .nan or null."
            ) from error
    try:
        return Instrument(name, tuple(channels), table.get("reference", ""))
    except ValueError as error:
        raise ValueError(f"{where}: {error} Tell them apart with a list `name`.") from error


def _check_keys(table: dict, where: str) -> None:
    unknown = set(table) - {*_COLUMNS, "reference", "note"}
    if unknown:
        key = sorted(map(str, unknown))[0]
        close = difflib.get_close_matches(key, _COLUMNS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{where}: unknown key {key!r}; expected {', '.join(_COLUMNS)}, reference or "
            f"note.{hint}"
        )
    if "frequency" not in table and "bandpass" not in table:
        raise ValueError(f"{where}: expected a list `frequency` [GHz] or `bandpass`, got neither.")
    for key in _COLUMNS:
        if key in table and not (isinstance(table[key], list) and table[key]):
            raise ValueError(
                f"{where}: expected a list with an entry per channel for {key}, got {table[key]!r}."
            )
    lengths = {key: len(table[key]) for key in _COLUMNS if key in table}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: expected lists of one length, got {lengths}.")


def _channel(entries: dict[str, Any]) -> Channel:
    """A channel from its column of the table; what is null is as if it were not there."""
    known = {key: value for key, value in entries.items() if value is not None}
    band = _band(known.get("frequency"), known.get("bandwidth"), known.get("bandpass"))
    name = str(known.get("name", f"{band.centre:g}"))
    fwhm, depth_i, depth_p = (
        float(known.get(key, math.nan)) for key in ("fwhm", "depth_i", "depth_p")
    )
    return Channel(name, band, fwhm, depth_i, depth_p)


def _band(frequency: Any, bandwidth: Any, bandpass: Any) -> AbstractBand:
    if bandpass is not None:
        return TabulatedBand(tuple(bandpass["frequency"]), tuple(bandpass["transmission"]))
    if bandwidth is not None:
        return TopHatBand(float(frequency), float(bandwidth) * float(frequency))
    return DeltaBand(float(frequency))
