"""Executors as written on the command line."""

from __future__ import annotations

import difflib
from pathlib import Path

from skysift.execute.cluster import Dask
from skysift.execute.processes import Processes
from skysift.execute.serial import Serial
from skysift.execute.site import Site
from skysift.execute.slurm import Slurm
from skysift.execute.tasks import AbstractExecutor

_FORMS = (
    "serial",
    "processes",
    "processes:4",
    "dask",
    "dask:4",
    "dask:tcp://host:8786",
    "slurm:site.yaml",
)


def parse_executor(text: str, *, site: str | Path | None = None) -> AbstractExecutor:
    """Read an executor as written on the command line.

    Args:
        text: `serial`, `processes`, `processes:4`, `dask`, `dask:4`, `dask:tcp://host:8786`,
            `slurm` (with `site`) or `slurm:site.yaml`.
        site: YAML file of a SLURM site, for `slurm`.

    Raises:
        ValueError: for anything else, and for a site that cannot be read.

    Examples:
        >>> parse_executor("processes:4")
        Processes(workers=4, retries=2)
        >>> parse_executor("proceses")
        Traceback (most recent call last):
        ...
        ValueError: executor: unknown executor 'proceses'. Did you mean 'processes'?
    """
    kind, colon, rest = text.strip().partition(":")
    kind = kind.lower()
    if site is not None and kind != "slurm":
        raise ValueError(
            f"site: expected an executor slurm to go with it, got {text!r}. Leave the site out."
        )
    match kind, rest:
        case "serial", "" if not colon:
            return Serial()
        case "processes", rest:
            return Processes(_workers(text, colon, rest))
        case "dask", rest if "://" in rest:
            return Dask(address=rest)
        case "dask", rest:
            return Dask(workers=_workers(text, colon, rest))
        case "slurm", rest:
            return Slurm(_site(rest, site))
    raise ValueError(f"executor: {_unknown(text, kind)}")


def _workers(text: str, colon: str, count: str) -> int | None:
    """A number of workers, none where none is written."""
    if not colon:
        return None
    if not (count.isascii() and count.isdigit()):
        raise ValueError(f"executor: expected one of {', '.join(_FORMS)}, got {text!r}.")
    return int(count)


def _site(written: str, given: str | Path | None) -> Site:
    if bool(written) == (given is not None):
        got = "two" if written else "none"
        raise ValueError(
            f"executor: expected one YAML file of the SLURM site, got {got}. Write slurm:site.yaml."
        )
    return Site.load(written or str(given))


def _unknown(text: str, kind: str) -> str:
    names = [form for form in _FORMS if ":" not in form] + ["slurm"]
    close = difflib.get_close_matches(kind, names, n=1)
    if close and close[0] != kind:
        return f"unknown executor {text!r}. Did you mean {close[0]!r}?"
    return f"expected one of {', '.join(_FORMS)}, got {text!r}."
