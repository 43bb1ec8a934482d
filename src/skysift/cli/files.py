"""Experiment files under the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclopts import App, Token
from cyclopts.argument import Argument, ArgumentCollection

from skysift.experiment.config import (
    BenchExperiment,
    PredictExperiment,
    ResampleExperiment,
    SeparateExperiment,
    SimulateExperiment,
    StatisticsExperiment,
    SynthesisExperiment,
    TrainExperiment,
    UnmixingExperiment,
)
from skysift.experiment.text import from_mapping, plain, read_mapping

_KINDS = {
    "simulate": SimulateExperiment,
    "separate": SeparateExperiment,
    "resample": ResampleExperiment,
    "scatter stats": StatisticsExperiment,
    "scatter synthesise": SynthesisExperiment,
    "scatter separate": UnmixingExperiment,
    "infer bench": BenchExperiment,
    "infer train": TrainExperiment,
    "infer predict": PredictExperiment,
}


_NAMED: dict[type, str] = {TrainExperiment: "file"}
"""Arguments that name the file of an experiment by their place."""


def fill_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the arguments that were not typed the values of `--experiment FILE`.

    Mappings are merged parameter by parameter, so that one patch or bound can be overridden.

    Args:
        app: the application.
        commands: names of the command that was typed.
        arguments: of the command; changed.

    Raises:
        ValueError: as `skysift.experiment.load` does.
    """
    by_name = {argument.name.removeprefix("--"): argument for argument in arguments}
    kind = _KINDS.get(" ".join(commands))
    if kind is None:
        return
    named = [by_name[name] for name in ("experiment", _NAMED.get(kind)) if name in by_name]
    given = [option for option in named if option.tokens]
    if not given:
        return
    if len(given) > 1:
        raise ValueError("experiment: expected one file, got two. Leave --experiment out.")
    path = given[0].tokens[-1].value
    mapping = read_mapping(path)
    values = plain(from_mapping(mapping, kind, path))
    for name in {key.replace("-", "_") for key in mapping} - {"kind"}:
        argument = by_name[name.replace("_", "-")]
        if isinstance(values[name], Mapping):
            _merge(argument, values[name], path)
        elif values[name] is not None and not argument.tokens:
            _append(argument, values[name], path)


def _merge(argument: Argument, values: Mapping[str, Any], path: str) -> None:
    typed = {token.keys[0].replace("-", "_") for token in argument.tokens if token.keys}
    for key, value in values.items():
        if key not in typed:
            _append(argument, value, path, (key,))


def _append(argument: Argument, value: Any, path: str, keys: tuple[str, ...] = ()) -> None:
    listed = value if isinstance(value, list) else [value]
    for index, one in enumerate(listed):
        text = one if isinstance(one, str) else repr(one)
        argument.append(
            Token(keyword=argument.name, value=text, source=path, index=index, keys=keys)
        )
