"""A table of runs, from their manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skysift.store.manifest import Fact
from skysift.store.run import MANIFEST, Run


@dataclass(frozen=True)
class RunsTable:
    """Runs below a folder, the oldest first.

    Args:
        runs: complete runs.
        damaged: what is wrong with the directories that could not be read.
    """

    runs: tuple[Run, ...]
    damaged: tuple[str, ...]

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
        """Names of the columns: those of every run, then what any summary has."""
        names = dict.fromkeys(name for run in self.runs for name in run.manifest.summary)
        return ("run", "kind", "finished", "seconds", *names)

    def rows(self) -> list[tuple[Fact, ...]]:
        """One row per run; `None` where a run has no such number."""
        return [tuple(_facts(run).get(name) for name in self.columns) for run in self.runs]


def _facts(run: Run) -> dict[str, Fact]:
    manifest = run.manifest
    return {
        "run": str(run.path),
        "kind": manifest.kind,
        "finished": manifest.finished,
        "seconds": round(sum(manifest.stages.values()), 3),
    } | manifest.summary
