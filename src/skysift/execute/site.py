"""What a SLURM site wants to know of a job."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Site:
    """A SLURM site, and the jobs that run there as workers.

    Args:
        queue: partition; the site's default where left out.
        account: that pays; the user's default where left out.
        jobs: that are submitted.
        workers: processes per job, each with `cores / workers` of its cores.
        cores: per job.
        memory: per job, such as `16GB`.
        walltime: per job, as SLURM writes it: `01:30:00`. Tasks of a job that runs out of it are
            repeated in another.
        interface: network that nodes and this machine share, such as `ib0`; the default route where
            left out.
        python: interpreter on the nodes; this one where left out.
        prologue: shell lines before the workers start, such as `module load python`.
        directives: further options of sbatch, such as `--constraint=cpu`.
        skip: texts; lines of the job script's header that contain one are left out.
        logs: directory for what jobs print, on a file system that the nodes share.

    Raises:
        ValueError: for counts below one, cores that the workers cannot share, and a memory or wall
            time that SLURM would not read.
    """

    queue: str | None = None
    account: str | None = None
    jobs: int = 1
    workers: int = 1
    cores: int = 1
    memory: str = "4GB"
    walltime: str = "01:00:00"
    interface: str | None = None
    python: str | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    logs: str = "slurm-logs"

    def __post_init__(self) -> None:
        for name in ("jobs", "workers", "cores"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}.")
        if self.cores % self.workers:
            raise ValueError(
                f"workers: expected a divisor of the {self.cores} cores of a job, got "
                f"{self.workers}. Every worker has as many cores."
            )
        if not _MEMORY.fullmatch(self.memory):
            raise ValueError(f"memory: expected such as '16GB', got {self.memory!r}.")
        if not _WALLTIME.fullmatch(self.walltime):
            raise ValueError(
                f"walltime: expected hours:minutes:seconds such as '01:30:00', got "
                f"{self.walltime!r}. Put it in quotes: YAML reads 1:30:00 as a number."
            )

    @property
    def threads(self) -> int:
        """Cores of one worker."""
        return self.cores // self.workers

    @staticmethod
    def load(path: str | Path) -> Site:
        """Read a site from a YAML file with the fields of this class.

        Raises:
            ValueError: for a missing or malformed file, an unknown key (with the one that was
                probably meant), or a value of the wrong kind.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"site: expected a YAML file at {path}, got none. Check the path.")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{path}: expected YAML, got a file that cannot be read: {reason}"
            ) from None
        if not isinstance(content, Mapping):
            raise ValueError(f"{path}: expected a mapping such as `queue: debug`, got {content!r}.")
        try:
            return Site.of(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @staticmethod
    def of(content: Mapping[str, Any]) -> Site:
        """A site from the content of a YAML file.

        Raises:
            ValueError: as `load`.

        Examples:
            >>> Site.of({"queue": "debug", "wall-time": "00:10:00"})
            Traceback (most recent call last):
            ...
            ValueError: unknown key 'wall-time'. Did you mean 'walltime'?
        """
        hints = typing.get_type_hints(Site)
        known = [field.name for field in fields(Site)]
        values = {}
        for key, value in content.items():
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"Expected {', '.join(known)}."
                raise ValueError(f"unknown key {key!r}. {hint}")
            values[key] = _read(key, value, hints[key])
        return Site(**values)


_MEMORY = re.compile(r"\d+(\.\d+)?\s*[KMGT]i?B", re.IGNORECASE)
_WALLTIME = re.compile(r"(\d+-)?\d{1,3}:\d{2}(:\d{2})?")


def _read(key: str, value: Any, hint: Any) -> Any:
    """A YAML value as the type of its field."""
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError(f"{key}: expected a whole number, got {value!r}.")
    if hint == tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
            return tuple(listed)
        raise ValueError(f"{key}: expected a list of texts, got {value!r}.")
    if value is None and hint is not str:
        return None
    if isinstance(value, str):
        return value
    raise ValueError(f"{key}: expected text, got {value!r}. Put it in quotes.")
