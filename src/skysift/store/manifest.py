"""The record of a run: what was done, with what, and how it went."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import jax

_LIBRARIES = ("jax", "jaxlib", "equinox", "numpy", "scipy", "healpy", "astropy", "ducc0", "xarray")

Fact = str | int | float | bool | None
"""What a summary of a run may hold."""


@dataclass(frozen=True)
class Manifest:
    """The record of a complete run.

    Args:
        kind: `simulate` or `separate`.
        config_hash: of the resolved experiment and the content of its inputs.
        command: what to type to repeat the run.
        seed: of the run's random numbers.
        inputs: hash of each input by name.
        stages: seconds of each stage.
        summary: the results in a few numbers, for tables of runs.
        version: of skysift.
        commit: of the source, when it runs from a checkout.
        libraries: versions.
        devices: that JAX computed on.
        finished: time in ISO 8601, UTC.
        status: `complete`; nothing else is ever written under the run's name.
    """

    kind: str
    config_hash: str
    command: str = ""
    seed: int | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    summary: dict[str, Fact] = field(default_factory=dict)
    version: str = ""
    commit: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    finished: str = ""
    status: str = "complete"

    def stamped(self) -> Manifest:
        """The same with version, commit, libraries, devices and time of now."""
        return dataclasses.replace(
            self,
            version=metadata.version("skysift"),
            commit=source_commit(),
            libraries={"python": platform.python_version()}
            | {name: metadata.version(name) for name in _LIBRARIES},
            devices=tuple(f"{d.platform}:{d.device_kind}" for d in jax.devices()),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def facts(self) -> dict[str, object]:
        """What a reader of a report wants to know of the run."""
        facts: dict[str, object] = {"finished": self.finished, "version": self.version}
        if self.commit is not None:
            facts["commit"] = self.commit
        devices = ", ".join(self.devices)
        return facts | {"seed": self.seed, "devices": devices, "seconds": dict(self.stages)}

    def to_json(self) -> str:
        """Text of `manifest.json`; the commit is left out where there is none."""
        content = dataclasses.asdict(self)
        if self.commit is None:
            del content["commit"]
        return json.dumps(content, indent=2) + "\n"

    @staticmethod
    def from_json(text: str, where: str | Path) -> Manifest:
        """Read `manifest.json`.

        Raises:
            ValueError: if it is damaged or of a version that wrote other keys.
        """
        try:
            content = json.loads(text)
            content["devices"] = tuple(content.get("devices", ()))
            manifest = Manifest(**content)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{where}: expected the manifest of a run, got {error}.") from None
        if manifest.status != "complete":
            raise ValueError(f"{where}: expected a complete run, got {manifest.status!r}.")
        return manifest


def source_commit() -> str | None:
    """Commit of the checkout that skysift runs from, with `-dirty` for changed files, if any."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    describe = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
