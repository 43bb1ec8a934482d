"""A hash of an experiment that changes when its settings or the content of its inputs do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skysift.experiment.config import (
    BenchExperiment,
    Experiment,
    PredictExperiment,
    ResampleExperiment,
    SeparateExperiment,
    SimulateExperiment,
    StatisticsExperiment,
    TrainExperiment,
    UnmixingExperiment,
)
from skysift.experiment.contaminations import files_of
from skysift.experiment.inference_problem import model_file, source_of
from skysift.experiment.sources import MapSource
from skysift.experiment.text import plain
from skysift.instrument import Instrument
from skysift.store.channels import find_files

_FITS = re.compile(r"\S.*?\.fits?(?:\.gz)?(?=\s*(?:[+-]|$))", re.IGNORECASE)


@dataclass(frozen=True)
class Fingerprint:
    """Hash of an experiment and of the content of its inputs.

    Args:
        config_hash: equal for equal settings, equal content of the inputs and one version of
            skysift; where the maps lie does not count.
        inputs: hash of each input file by name.
    """

    config_hash: str
    inputs: dict[str, str]

    @staticmethod
    def of(experiment: Experiment) -> Fingerprint:
        """Fingerprint of an experiment; reads its input files.

        Raises:
            ValueError: if an input is missing.
        """
        settings = plain(experiment)
        if isinstance(experiment, ResampleExperiment):
            return Fingerprint._of_samples(experiment, settings)
        if isinstance(experiment, StatisticsExperiment):
            return Fingerprint._of_field(experiment, settings)
        if isinstance(experiment, (BenchExperiment, TrainExperiment, PredictExperiment)):
            return Fingerprint._of_network(experiment, settings)
        if isinstance(experiment, SimulateExperiment):
            instrument, files = Instrument.of(experiment.instrument), []
        else:
            source = MapSource.of(experiment)
            instrument, files = source.instrument, list(source.files)
            settings["maps"] = len(files)
        files += [file for text in _texts(experiment) for file in _files_in(text)]
        inputs = {str(file): content_hash(file) for file in files}
        settings["instrument"] = repr(instrument)
        return Fingerprint._made(experiment.kind, settings, inputs)

    @staticmethod
    def _of_samples(experiment: ResampleExperiment, settings: dict[str, Any]) -> Fingerprint:
        if not experiment.file or not Path(experiment.file).exists():
            raise ValueError(
                f"file: expected a file with samples, got {experiment.file or 'none'}. Check the "
                "path."
            )
        settings["file"] = Path(experiment.file).suffix
        hashed = {experiment.file: content_hash(experiment.file)}
        return Fingerprint._made(experiment.kind, settings, hashed)

    @staticmethod
    def _of_field(experiment: StatisticsExperiment, settings: dict[str, Any]) -> Fingerprint:
        if not experiment.file:
            raise ValueError(
                "file: expected a file with a map, got none. Name it before the options: skysift "
                f"{experiment.kind} map.fits -o runs/map."
            )
        mask = () if experiment.mask is None else (experiment.mask,)
        hashed = {}
        for name, paths in (("file", experiment.file), ("mask", mask)):
            for path in paths:
                if not Path(path).is_file():
                    raise ValueError(
                        f"{name}: expected a file with a map at {path}, got none. Check the path."
                    )
                hashed[path] = content_hash(path)
            settings[name] = [f"{Path(path).suffix} {hashed[path]}" for path in paths]
        if isinstance(experiment, UnmixingExperiment):
            settings.pop("contamination")  # names files
            for name, paths in files_of(experiment).items():
                hashed |= {path: content_hash(path) for path in paths}
                settings[name] = [f"{Path(path).suffix} {hashed[path]}" for path in paths]
        return Fingerprint._made(experiment.kind, settings, hashed)

    @staticmethod
    def _of_network(
        experiment: BenchExperiment | TrainExperiment | PredictExperiment, settings: dict[str, Any]
    ) -> Fingerprint:
        named: dict[str, tuple[str | Path, ...]] = {}
        if isinstance(experiment, PredictExperiment):
            named["maps"] = experiment.maps
        if isinstance(experiment, (TrainExperiment, PredictExperiment)) and experiment.mask:
            named["mask"] = (experiment.mask,)
        if isinstance(experiment, TrainExperiment):
            source = source_of(experiment)
            named["source"] = () if source is None else (source,)
        elif experiment.model is not None:
            named["model"] = (model_file(experiment.model),)
        hashed = {}
        for name, paths in named.items():
            for path in paths:
                if not Path(path).is_file():
                    raise ValueError(
                        f"{name}: expected a file at {path}, got none. Check the path."
                    )
                hashed[str(path)] = content_hash(path)
            settings[name] = [f"{Path(path).suffix} {hashed[str(path)]}" for path in paths]
        return Fingerprint._made(experiment.kind, settings, hashed)

    @staticmethod
    def _made(kind: str, settings: dict[str, Any], inputs: dict[str, str]) -> Fingerprint:
        content = {
            "version": version("skysift"),
            "kind": kind,
            "settings": settings,
            "inputs": list(inputs.values()),
        }
        text = json.dumps(content, sort_keys=True)
        return Fingerprint(hashlib.sha256(text.encode()).hexdigest(), inputs)


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of the files in a folder."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path)} {content_hash(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _texts(experiment: SimulateExperiment | SeparateExperiment) -> Iterator[str]:
    """Settings that may name files."""
    if experiment.hits is not None:
        yield experiment.hits
    if isinstance(experiment, SeparateExperiment):
        yield experiment.mask
        yield from experiment.patches.values()
        yield from experiment.around.values()
        yield experiment.noise


def _files_in(text: str) -> Iterator[Path]:
    """Files that a setting such as `ALL-sources.fits` or `binned:50:beta.fits` names."""
    kind, _, rest = text.partition(":")
    if kind == "sigma" and rest:
        yield from find_files(rest)
        return
    for piece in [match.group() for match in _FITS.finditer(text)] or [text]:
        starts = [0, *(match.end() for match in re.finditer(r"[+:-]\s*", piece))]
        found = [Path(piece[start:]) for start in starts if Path(piece[start:]).is_file()]
        yield from found[:1]
