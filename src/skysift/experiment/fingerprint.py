"""A hash of an experiment that changes when its settings or the content of its inputs do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from skysift.experiment.config import Experiment, SeparateExperiment, SimulateExperiment
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
        if isinstance(experiment, SimulateExperiment):
            instrument, files = Instrument.of(experiment.instrument), []
        else:
            source = MapSource.of(experiment)
            instrument, files = source.instrument, list(source.files)
            settings["maps"] = len(files)
        files += [file for text in _texts(experiment) for file in _files_in(text)]
        inputs = {str(file): content_hash(file) for file in files}
        settings["instrument"] = repr(instrument)
        content = {
            "version": version("skysift"),
            "kind": experiment.kind,
            "settings": settings,
            "inputs": list(inputs.values()),
        }
        text = json.dumps(content, sort_keys=True)
        return Fingerprint(hashlib.sha256(text.encode()).hexdigest(), inputs)


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _texts(experiment: Experiment) -> Iterator[str]:
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
