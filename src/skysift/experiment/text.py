"""Experiments from and to YAML, with errors that name the key and what was meant."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from skysift.experiment.config import (
    BenchExperiment,
    Experiment,
    PredictExperiment,
    ResampleExperiment,
    SeparateExperiment,
    SimulateExperiment,
    StatisticsExperiment,
    SynthesisExperiment,
    TrainExperiment,
    UnmixingExperiment,
)

_E = TypeVar(
    "_E",
    SimulateExperiment,
    SeparateExperiment,
    ResampleExperiment,
    StatisticsExperiment,
    SynthesisExperiment,
    UnmixingExperiment,
    BenchExperiment,
    TrainExperiment,
    PredictExperiment,
)


def load(path: str | Path, kind: type[_E]) -> _E:
    """Read an experiment from a YAML file.

    Args:
        path: file with the fields of `kind`, and perhaps `kind: separate`.
        kind: class of the experiment.

    Raises:
        ValueError: for a missing or malformed file, an unknown key (with the one that was probably
            meant), a value of the wrong type, or another kind of experiment.
    """
    return from_mapping(read_mapping(path), kind, str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The content of a YAML file that must be a mapping.

    Raises:
        ValueError: if it is missing, malformed or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"experiment: expected a YAML file at {path}, got none. Check the path.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: expected YAML, got a file that cannot be read: {reason}"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping such as `mask: GAL020`, got {content!r}.")
    return {str(key): value for key, value in content.items()}


def from_mapping(content: Mapping[str, Any], kind: type[_E], where: str = "experiment") -> _E:
    """An experiment from the content of a YAML file.

    Args:
        content: fields, and perhaps `kind`.
        kind: class of the experiment.
        where: name of the file for messages.

    Raises:
        ValueError: as `load`.

    Examples:
        >>> from_mapping({"maks": "GAL020"}, SeparateExperiment)
        Traceback (most recent call last):
        ...
        ValueError: experiment: unknown key 'maks'. Did you mean 'mask'?
    """
    said = content.get("kind", kind.kind)
    if said != kind.kind:
        raise ValueError(f"{where}: expected kind {kind.kind}, got {said!r}. Use skysift {said}.")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name == "kind":
            continue
        if name not in names:
            raise ValueError(f"{where}: {unknown('key', key, names)}")
        values[name] = _coerce(hints[name], value, f"{where}: {key}")
    return kind(**values)


def to_text(experiment: Experiment) -> str:
    """An experiment as YAML, all fields resolved; `load` gives it back."""
    content = {"kind": experiment.kind} | plain(experiment)
    return "".join(f"{key}: {_inline(value)}\n" for key, value in content.items())


def plain(experiment: Experiment) -> dict[str, Any]:
    """An experiment as numbers, texts, lists and mappings."""
    return {
        field.name: _plain(getattr(experiment, field.name))
        for field in dataclasses.fields(experiment)
    }


def unknown(what: str, got: str, known: Iterable[str]) -> str:
    """A message that names what was probably meant, or else what there is."""
    known = list(known)
    close = difflib.get_close_matches(got.replace("-", "_"), known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Expected one of {', '.join(known)}."
    return f"unknown {what} {got!r}. {hint}"


def _inline(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9)
    return text.removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """A YAML value as the type of its field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else _coerce(inner[0], value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping of parameters, got {value!r}.")
        return {
            str(key).replace("-", "_"): _coerce(arguments[1], one, f"{where}.{key}")
            for key, one in value.items()
        }
    if origin is tuple:
        return _coerce_tuple(arguments, value, where)
    return _coerce_one(hint, value, where)


def _coerce_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    endless = arguments[-1] is Ellipsis
    listed = [value] if endless and not isinstance(value, (list, tuple)) else value
    if not isinstance(listed, (list, tuple)) or not (endless or len(listed) == len(arguments)):
        count = "a list" if endless else f"{len(arguments)} values"
        raise ValueError(f"{where}: expected {count}, got {value!r}.")
    return tuple(_coerce(arguments[0], one, where) for one in listed)


def _coerce_one(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        names = {member.name.lower(): member for member in hint}
        if str(value).lower() not in names:
            raise ValueError(f"{where}: expected one of {', '.join(names)}, got {value!r}.")
        return names[str(value).lower()]
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and not isinstance(value, bool):
        # YAML 1.1 reads 1e-8, without a point, as text.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    kinds = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    raise ValueError(f"{where}: expected {kinds[hint]}, got {value!r}.")
