"""A run: a directory that appears under its name only when it is complete."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skysift.files import explained, require_space
from skysift.store.dataset import read_dataset
from skysift.store.manifest import Fact, Manifest

if TYPE_CHECKING:
    import xarray as xr

MANIFEST, EXPERIMENT, RESULT, TRUTH = "manifest.json", "experiment.yaml", "result.nc", "truth.nc"
MASK, REPORT, INSTRUMENT, MAPS = "mask.fits", "report.html", "instrument.yaml", "maps"
SPECTRA, RATIO = "spectra.nc", "r.nc"


@dataclass(frozen=True)
class Run:
    """A complete run on disk.

    Args:
        path: directory.
        manifest: its record.
    """

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: str | Path) -> Run:
        """The run in a directory.

        Raises:
            ValueError: if there is none, or it is not complete.
        """
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise ValueError(
                f"run: expected a directory with {MANIFEST}, got {path}. Name the directory that "
                "skysift simulate or skysift separate wrote with -o."
            )
        return Run(path, Manifest.from_json(file.read_text(), file))

    @staticmethod
    def is_run(path: str | Path) -> bool:
        """Whether a path is the directory of a run."""
        return (Path(path) / MANIFEST).is_file()

    @property
    def experiment_text(self) -> str:
        """The resolved experiment as YAML."""
        return (self.path / EXPERIMENT).read_text()

    def dataset(self, name: str = RESULT) -> xr.Dataset:
        """The result of a separation, or the truth of a simulation (`truth.nc`).

        Raises:
            ValueError: if the run has no such file.
        """
        return read_dataset(self.path / name)


@dataclass
class Draft:
    """A run being written, in a temporary directory beside its final one.

    Args:
        directory: to write products into.
        stages: seconds of each stage so far.
        inputs: hash of each input by name.
        summary: the results in a few numbers.
    """

    directory: Path
    stages: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Fact] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run."""
        start = time.perf_counter()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    def write_text(self, name: str, text: str) -> None:
        """Write a small file of the run."""
        (self.directory / name).write_text(text, encoding="utf-8")

    def manifest(self, head: Manifest) -> Manifest:
        """The record of the run as it stands, from its head."""
        return dataclasses.replace(
            head,
            inputs=dict(self.inputs),
            stages={name: round(seconds, 4) for name, seconds in self.stages.items()},
            summary=dict(self.summary),
        ).stamped()


def finished_run(path: str | Path, config_hash: str, *, overwrite: bool = False) -> Run | None:
    """The complete run of the same configuration in a directory, or `None` if it is to be made.

    Args:
        path: directory of the run.
        config_hash: of the configuration asked.
        overwrite: make it again in any case.

    Raises:
        ValueError: if the directory holds a run of another configuration and `overwrite` is false,
            or holds something that is no run.
    """
    path = _named(path)
    _recover(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not Run.is_run(path):
        raise ValueError(
            f"output: expected a new directory or an earlier run, got {path}, which holds "
            "something else. Choose another with -o; it is never overwritten."
        )
    if overwrite:
        return None
    run = Run.open(path)
    if run.manifest.config_hash != config_hash:
        raise ValueError(
            f"output: {path} holds a run of another configuration or other inputs "
            f"({run.manifest.config_hash[:12]}, asked {config_hash[:12]}). Choose another "
            "directory with -o, or replace it with --overwrite."
        )
    return run


def require_apart(path: str | Path, inputs: Iterable[str | Path]) -> None:
    """Check that a run would not replace what it is made from.

    Args:
        path: directory of the run.
        inputs: files that the run reads.

    Raises:
        ValueError: if one of them lies in the directory.
    """
    inside = [file for file in inputs if Path(file).resolve().is_relative_to(Path(path).resolve())]
    if inside:
        raise ValueError(
            f"output: expected a directory apart from the inputs, got {path}, which holds "
            f"{inside[0]}. Choose another with -o."
        )


@contextmanager
def drafted(path: str | Path, head: Manifest, *, need: int = 0) -> Iterator[Draft]:
    """Write a run: the directory gets its name when the block ends without an exception.

    What an earlier, killed process left is removed first. An existing run is replaced only at the
    end. After any exception nothing is left, and an existing run is as it was.

    Args:
        path: directory of the run.
        head: record without what is known only at the end.
        need: bytes that the run will take, checked against the free space first.

    Yields:
        The draft to write into.

    Raises:
        ValueError: if the directory cannot be written, or another process is writing it.
        OSError: ENOSPC if the disk is full.
    """
    path = _named(path)
    with explained(path, need or None):
        partial = _claim(path, need)
        try:
            with _locked(partial, path):
                draft = Draft(partial)
                yield draft
                _write_durably(partial / MANIFEST, draft.manifest(head).to_json())
                _put_in_place(partial, path)
        except _Busy as busy:
            raise ValueError(str(busy)) from None
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


class _Busy(Exception):
    """Another process is writing the run."""


def _named(path: str | Path) -> Path:
    """The path with a last name, so that there can be another beside it."""
    path = Path(path)
    return path if path.name not in ("", "..") else path.resolve()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _replaced(path: Path) -> Path:
    return path.with_name(f"{path.name}.replaced")


def _claim(path: Path, need: int) -> Path:
    """Make the temporary directory, after a check of the space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path, need)
    partial = _partial(path)
    partial.mkdir(exist_ok=True)
    return partial


@contextmanager
def _locked(partial: Path, path: Path) -> Iterator[None]:
    """Hold the temporary directory; the system lets go of it when the process dies."""
    handle = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _Busy(
                f"output: another process is writing {path}. Wait for it, or choose another "
                "directory with -o."
            ) from None
        except OSError:
            # Some network file systems have no locks for directories; work without.
            os.set_inheritable(handle, False)
        for left in partial.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        os.close(handle)


def _write_durably(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _put_in_place(partial: Path, path: Path) -> None:
    shutil.rmtree(_replaced(path), ignore_errors=True)
    if path.exists():
        path.replace(_replaced(path))
    partial.replace(path)
    shutil.rmtree(_replaced(path), ignore_errors=True)


def _recover(path: Path) -> None:
    """Undo a replacement that was interrupted between its two renames."""
    replaced = _replaced(path)
    if not replaced.is_dir():
        return
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        replaced.replace(path)
