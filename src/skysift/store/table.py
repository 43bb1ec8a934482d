"""A table of runs, from their manifests and experiments."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skysift.files import atomic
from skysift.store.manifest import Fact
from skysift.store.run import EXPERIMENT, MANIFEST, Run


@dataclass(frozen=True)
class RunsTable:
    """Runs below a folder, the oldest first.

    Args:
        runs: complete runs.
        damaged: what is wrong with the directories that could not be read.
        selected: names of the columns; by default those of every run, then what any summary has.
    """

    runs: tuple[Run, ...]
    damaged: tuple[str, ...]
    selected: tuple[str, ...] | None = None

    @staticmethod
    def of(folder: str | Path) -> RunsTable:
        """The runs in a folder and below; unfinished ones are not runs.

        Raises:
            ValueError: if the folder does not exist.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"folder: expected a directory, got {folder}.")
        runs, damaged = [], []
        for file in sorted(folder.rglob(MANIFEST)):
            if file.parent.suffix in (".partial", ".replaced"):
                continue
            try:
                runs.append(Run.open(file.parent))
            except ValueError as error:
                damaged.append(str(error))
        runs.sort(key=lambda run: (run.manifest.finished, str(run.path)))
        return RunsTable(tuple(runs), tuple(damaged))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        if self.selected is not None:
            return self.selected
        names = dict.fromkeys(name for run in self.runs for name in run.manifest.summary)
        return ("run", "kind", "finished", "seconds", *names)

    @functools.cached_property
    def known(self) -> tuple[str, ...]:
        """Everything that can be a column: also the settings of the experiments."""
        return tuple(dict.fromkeys((*self.columns, *(name for one in self._facts for name in one))))

    def rows(self) -> list[tuple[Fact, ...]]:
        """One row per run; `None` where a run has no such number."""
        return [tuple(facts.get(name) for name in self.columns) for facts in self._facts]

    def select(self, columns: Sequence[str]) -> RunsTable:
        """The table with these of the `known` columns."""
        return dataclasses.replace(self, selected=tuple(columns))

    def where(self, column: str, value: str) -> RunsTable:
        """The runs with a value in a column, as it is typed; empty for none."""
        pairs = zip(self.runs, self._facts, strict=True)
        kept = tuple(run for run, facts in pairs if _equals(facts.get(column), value))
        return dataclasses.replace(self, runs=kept)

    def sorted(self, column: str, descending: bool = False) -> RunsTable:
        """The table in the order of a column, runs without a value last."""
        pairs = list(zip(self._facts, self.runs, strict=True))
        there = [pair for pair in pairs if pair[0].get(column) is not None]
        there.sort(key=lambda pair: _order(pair[0][column]), reverse=descending)
        rest = [pair for pair in pairs if pair[0].get(column) is None]
        return dataclasses.replace(self, runs=tuple(run for _, run in [*there, *rest]))

    def write_parquet(self, path: str | Path) -> None:
        """Write the table as a Parquet file, each column of one type.

        Raises:
            ValueError: without pyarrow, or if the file cannot be written.
            OSError: if the disk is full.
        """
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError:
            raise ValueError(
                "parquet: expected the package pyarrow, got none. Install skysift[parquet], or "
                "take --csv."
            ) from None
        rows = self.rows()
        columns = {name: _one_type([row[i] for row in rows]) for i, name in enumerate(self.columns)}
        with atomic(path) as temporary:
            parquet.write_table(pyarrow.table(columns), temporary)

    @functools.cached_property
    def _facts(self) -> list[dict[str, Fact]]:
        return [_facts(run) for run in self.runs]


def _facts(run: Run) -> dict[str, Fact]:
    manifest = run.manifest
    results: dict[str, Fact] = {
        "run": str(run.path),
        "kind": manifest.kind,
        "finished": manifest.finished,
        "seconds": round(sum(manifest.stages.values()), 3),
    }
    return _settings(run) | results | manifest.summary


def _settings(run: Run) -> dict[str, Fact]:
    """The experiment, single parameters as `patches.beta_dust`; nothing if it cannot be read."""
    try:
        content = yaml.safe_load((run.path / EXPERIMENT).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return _flat(content) if isinstance(content, dict) else {}


def _flat(content: dict[Any, Any], prefix: str = "") -> dict[str, Fact]:
    out: dict[str, Fact] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            out[f"{prefix}{key}"] = ", ".join(map(str, value))
        else:
            out[f"{prefix}{key}"] = value
    return out


def _equals(fact: Fact, typed: str) -> bool:
    if fact is None:
        return typed == ""
    if isinstance(fact, bool):
        return typed.lower() == str(fact).lower()
    if isinstance(fact, (int, float)):
        try:
            return float(typed) == fact
        except ValueError:
            return False
    return typed == fact


def _order(fact: Fact) -> tuple[int, float, str]:
    """Numbers before texts, so that a column may hold both."""
    return (1, 0.0, fact) if isinstance(fact, str) else (0, float(fact or 0.0), "")


def _one_type(values: list[Fact]) -> list[Fact]:
    """Values of a column as one type: numbers as floats where they mix, else texts."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
