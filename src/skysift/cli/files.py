"""Experiment files under the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclopts import App, Token
from cyclopts.argument import Argument, ArgumentCollection

from skysift.experiment.config import (
    ResampleExperiment,
    SeparateExperiment,
    SimulateExperiment,
    StatisticsExperiment,
    SynthesisExperiment,
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
}


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
    option = by_name.get("experiment")
    kind = _KINDS.get(" ".join(commands))
    if option is None or kind is None or not option.tokens:
        return
    path = option.tokens[-1].value
    mapping = read_mapping(path)
    values = plain(from_mapping(mapping, kind, path))
    given = {key.replace("-", "_") for key in mapping} - {"kind"}
    for name in given:
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
