"""Constraints of a statistical separation from a YAML list."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from skysift.experiment.config import Family
from skysift.experiment.fields import Field, read_fields, require_like
from skysift.experiment.text import unknown
from skysift.scattering.layout import Order, order_of
from skysift.scattering.separation.constraints import (
    Ancillary,
    Constraint,
    Halves,
    Independent,
    LargeScales,
    Positive,
    Remainder,
    Total,
)
from skysift.scattering.statistic import AbstractStatistic


class Part(enum.Enum):
    """Kinds of statistics that a constraint may be of, by their names in YAML."""

    COVARIANCE = "covariance"
    WST = "wst"
    WPH = "wph"
    SPECTRUM = "spectrum"
    PDF = "pdf"

    @staticmethod
    def of(family: Family) -> Part:
        """That of a family."""
        return Part[family.name]


@dataclass(frozen=True)
class Wanted:
    """One entry of the list.

    Args:
        kind: `total`, `remainder`, `halves`, `independent`, `ancillary`, `positive` or
            `large_scales`.
        weight: how much it counts beside the others.
        emphasis: how much an order of its statistics counts.
        statistics: kinds of them; those of the separation if empty.
        map: file of another map of the sky.
        field: which maps of that file.
        number: deviation of `positive` in the unit of the map; multipole or number of waves of
            `large_scales`.
    """

    kind: str
    weight: float = 1.0
    emphasis: Mapping[Order, float] = dataclasses.field(default_factory=dict)
    statistics: tuple[Part, ...] = ()
    map: str = ""
    field: tuple[str, ...] = ()
    number: float = 0.0


_STATISTICAL = ("weight", "emphasis", "statistics")
_KEYS = {
    "total": _STATISTICAL,
    "remainder": _STATISTICAL,
    "halves": _STATISTICAL,
    "independent": _STATISTICAL,
    "ancillary": (*_STATISTICAL, "map", "field"),
    "positive": ("weight", "deviation"),
    "large_scales": ("below",),
}
_NEEDED = {"ancillary": "map", "positive": "deviation", "large_scales": "below"}
_PLAIN = {
    "total": Total,
    "remainder": Remainder,
    "halves": Halves,
    "independent": Independent,
}
_EXAMPLE = "`- total: {weight: 2}`"

DEFAULT = (Wanted("total"),)
"""Constraints where none are given."""


def read_wanted(path: str | Path | None) -> tuple[Wanted, ...]:
    """Read the constraints of a separation.

    Args:
        path: YAML file with a list such as `- total` and `- remainder: {weight: 0.5}`; `None` for
            those of a separation that says nothing.

    Raises:
        ValueError: for a file that is missing or malformed, naming the entry, the key and what was
            probably meant.
    """
    if path is None:
        return DEFAULT
    if not Path(path).is_file():
        raise ValueError(
            f"constraints: expected a YAML file with a list at {path}, got none. Check the path."
        )
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"constraints: expected YAML, got {path} that cannot be read: {reason}"
        ) from None
    if not isinstance(content, list) or not content:
        raise ValueError(
            f"constraints: expected a list of entries such as {_EXAMPLE}, got {content!r} in "
            f"{path}."
        )
    return tuple(_entry(one, f"{path}, entry {number}") for number, one in enumerate(content, 1))


def _entry(content: Any, where: str) -> Wanted:
    if isinstance(content, str):
        content = {content: {}}
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(
            f"constraints: expected one constraint such as {_EXAMPLE} in {where}, got {content!r}."
        )
    ((kind, options),) = content.items()
    kind, options = str(kind).replace("-", "_").replace(" ", "_"), options or {}
    if kind not in _KEYS:
        raise ValueError(f"constraints: {unknown('constraint', kind, _KEYS)} See {where}.")
    if not isinstance(options, dict):
        raise ValueError(
            f"constraints: expected options of {kind} such as {{{_KEYS[kind][0]}: 1}}, got "
            f"{options!r} in {where}."
        )
    for key in options:
        if key not in _KEYS[kind]:
            raise ValueError(
                f"constraints: {unknown(f'option of {kind}', str(key), _KEYS[kind])} See {where}."
            )
    needed = _NEEDED.get(kind)
    if needed is not None and options.get(needed) is None:
        raise ValueError(f"constraints: expected {needed} of {kind}, got none in {where}.")
    here = f"{kind} in {where}"
    number = options.get("deviation", options.get("below", 0.0))
    return Wanted(
        kind,
        _positive(options.get("weight", 1.0), "weight", here),
        _emphasis(options.get("emphasis") or {}, here),
        tuple(_part(one, here) for one in _listed(options.get("statistics"))),
        str(options.get("map", "")),
        tuple(str(one) for one in _listed(options.get("field"))),
        _positive(number, needed or "", here) if needed not in (None, "map") else 0.0,
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _part(value: Any, where: str) -> Part:
    names = [part.value for part in Part]
    if value not in names:
        raise ValueError(f"constraints: {unknown('statistics', str(value), names)} See {where}.")
    return Part(value)


def _positive(value: Any, name: str, where: str) -> float:
    number = _number(value, name, where)
    if not 0.0 < number < np.inf:
        raise ValueError(f"constraints: expected {name} above 0 of {where}, got {value!r}.")
    return number


def _number(value: Any, name: str, where: str) -> float:
    try:
        # YAML 1.1 reads 1e-8, without a point, as text.
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"constraints: expected a number as {name} of {where}, got {value!r}."
        ) from None


def _emphasis(content: Any, where: str) -> dict[Order, float]:
    if not isinstance(content, dict):
        raise ValueError(
            f"constraints: expected emphasis such as {{bandpower: 10}} of {where}, got {content!r}."
        )
    found = {}
    for key, value in content.items():
        number = _number(value, f"emphasis of {key}", where)
        if not 0.0 <= number < np.inf:
            raise ValueError(
                f"constraints: expected emphasis of {key} of 0 or more in {where}, got {value!r}."
            )
        try:
            found[order_of(str(key))] = number
        except ValueError as error:
            raise ValueError(f"constraints: emphasis of {where}: {error}") from None
    return found


@dataclass(frozen=True, eq=False)
class Workshop:
    """What constraints are made with.

    Args:
        own: statistics of the data.
        channels: number of maps of the data.
        grid: field whose grid other maps must have.
        statistic: makes statistics of kinds for a number of maps; of those of the separation if
            there are no kinds.
        as_data: a map of another field as the data are seen: in units of its deviation, in their
            precision, with their margin.
        scale: deviation of each map of the data.
        waves: factor on the number of waves of the grid that a margin makes.
    """

    own: AbstractStatistic
    channels: int
    grid: Field
    statistic: Callable[[Sequence[Part], int], AbstractStatistic]
    as_data: Callable[[Field], Float[np.ndarray, "..."]]
    scale: Float[np.ndarray, " channel"]
    waves: float = 1.0

    def constraint(self, wanted: Wanted) -> Constraint:
        """A constraint with its statistics and maps.

        Raises:
            ValueError: for a map of another grid, an emphasis on what its statistics do not have,
                or positivity of several maps.
        """
        if wanted.kind == "large_scales":
            return LargeScales(wanted.number * self.waves)
        if wanted.kind == "positive":
            if self.channels > 1:
                raise ValueError(
                    f"constraints: expected one map for positive, got {self.channels}. Separate "
                    "the intensity by itself, or leave it out."
                )
            return Positive(wanted.number / float(self.scale[0]), wanted.weight)
        if wanted.kind == "ancillary":
            return self._ancillary(wanted)
        pairs = wanted.kind in ("halves", "independent")
        statistic = self._statistic(wanted, self.channels * (2 if pairs else 1))
        return _PLAIN[wanted.kind](statistic, wanted.weight, dict(wanted.emphasis))

    def _ancillary(self, wanted: Wanted) -> Ancillary:
        try:
            fields = read_fields((wanted.map,), wanted.field)
        except ValueError as error:
            raise ValueError(f"constraints: ancillary map: {error}") from None
        for one in fields:
            require_like(one, self.grid, "constraints: ancillary map", "the data")
        maps = np.stack([self.as_data(one) for one in fields])
        return Ancillary(
            self._statistic(wanted, self.channels + len(fields)),
            wanted.weight,
            dict(wanted.emphasis),
            map=maps[0] if len(fields) == 1 else maps,
            label=Path(wanted.map).stem,
        )

    def _statistic(self, wanted: Wanted, channels: int) -> AbstractStatistic:
        statistic = self.own
        if wanted.statistics or channels != self.channels:
            statistic = self.statistic(wanted.statistics, channels)
        for order in wanted.emphasis:
            if order not in statistic.layout.orders:
                have = ", ".join(one.value for one in statistic.layout.orders)
                raise ValueError(
                    f"constraints: expected emphasis of {wanted.kind} on one of {have}, got "
                    f"{order.value}. Correct it, or add statistics."
                )
        return statistic
