"""Sets of runs: which realisations, and which combinations of a sweep."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from skysift.experiment.config import SeparateExperiment
from skysift.experiment.text import from_mapping, plain, unknown

_RANGE = re.compile(r"(\d+)(?::(\d+))?")
_MAPPINGS = ("patches", "bounds", "start", "priors", "around", "fixed")
_NOT_SWEPT = ("maps", "sweep")


@dataclass(frozen=True)
class Variant:
    """One combination of a sweep.

    Args:
        experiment: what is run.
        values: what distinguishes it, by the key that was swept.
    """

    experiment: SeparateExperiment
    values: Mapping[str, str]

    @property
    def title(self) -> str:
        """The values, for people."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds of realisations.

    Args:
        text: ranges without their end, or single numbers, joined by commas.

    Raises:
        ValueError: for other text, an empty range, or ranges that overlap.

    Examples:
        >>> parse_seeds("0:3,10")
        (0, 1, 2, 10)
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"seeds: expected ranges such as 0:100 or 0:10,20, got {part.strip()!r} in "
                f"{text!r}."
            )
        first = int(match[1])
        last = first + 1 if match[2] is None else int(match[2])
        if last <= first:
            raise ValueError(
                f"seeds: expected a range with a larger end, got {part.strip()!r}. The end does "
                "not belong to it: 0:100 is a hundred."
            )
        twice = set(seeds) & set(range(first, last))
        if twice:
            raise ValueError(
                f"seeds: expected each once, got {min(twice)} twice in {text!r}. Give ranges that "
                "do not overlap."
            )
        seeds += range(first, last)
    return tuple(seeds)


def variants(experiment: SeparateExperiment) -> list[Variant]:
    """Every combination of what an experiment sweeps, in the order given; itself without a sweep.

    Raises:
        ValueError: for a key that is no part of the experiment, one that is swept twice, no values,
            or a value that does not suit the key.

    Examples:
        >>> swept = SeparateExperiment(("sky",), sweep=("patches.beta_dust=kmeans:5,10",))
        >>> [variant.experiment.patches["beta_dust"] for variant in variants(swept)]
        ['kmeans:5', 'kmeans:10']
    """
    axes: dict[str, list[str]] = {}
    for text in experiment.sweep:
        key, values = _axis(text)
        if key in axes:
            raise ValueError(f"sweep: expected each key once, got {key!r} twice. Join the values.")
        axes[key] = values
    base = plain(dataclasses.replace(experiment, sweep=()))
    return [
        _variant(base, dict(zip(axes, combination, strict=True)))
        for combination in itertools.product(*axes.values())
    ]


def _axis(text: str) -> tuple[str, list[str]]:
    """Key and values of `patches.beta_dust=kmeans:50,100`; bare numbers repeat the last word."""
    key, equals, listed = text.partition("=")
    key = key.strip().replace("-", "_")
    values = [value.strip() for value in listed.split(",")]
    if not equals or not all(values):
        raise ValueError(
            f"sweep: expected KEY=VALUE,VALUE, got {text!r}. For instance "
            "patches.beta_dust=kmeans:50,100."
        )
    _check_key(key)
    word = ""
    for place, value in enumerate(values):
        if re.fullmatch(r"\d+", value) and word:
            values[place] = f"{word}:{value}"
        elif re.fullmatch(r"[a-z]+:\d+", value):
            word = value.partition(":")[0]
        else:
            word = ""
    if len(set(values)) < len(values):
        raise ValueError(f"sweep: expected each value once, got {listed!r} for {key}.")
    return key, values


def _check_key(key: str) -> None:
    fields = [f.name for f in dataclasses.fields(SeparateExperiment) if f.name not in _NOT_SWEPT]
    name, dot, inner = key.partition(".")
    if name not in fields:
        raise ValueError(f"sweep: {unknown('key', key, fields)}")
    if (name in _MAPPINGS) != bool(dot and inner):
        example = f"{name}.beta_dust" if name in _MAPPINGS else name
        raise ValueError(f"sweep: expected a key such as {example!r}, got {key!r}.")


def _variant(base: Mapping[str, Any], values: Mapping[str, str]) -> Variant:
    content = {key: dict(v) if isinstance(v, Mapping) else v for key, v in base.items()}
    for key, text in values.items():
        name, _, inner = key.partition(".")
        value = _value(content[name] if not inner else None, text)
        if inner:
            content[name][inner] = value
        else:
            content[name] = value
    return Variant(from_mapping(content, SeparateExperiment, "sweep"), dict(values))


def _value(present: Any, text: str) -> Any:
    """A value as YAML would hold it: words apart by spaces are a list."""
    words: Iterable[str] = text.split()
    parsed = [_number(word, keep=isinstance(present, str)) for word in words]
    return parsed[0] if len(parsed) == 1 else parsed


def _number(word: str, *, keep: bool) -> str | int | float:
    if keep:
        return word
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
