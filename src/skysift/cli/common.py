"""What the commands share: options, exit codes, tables, and setting up the machine."""

from __future__ import annotations

import enum
import logging
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from skysift.execute import AbstractExecutor
    from skysift.instrument import Instrument


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code."""

    code: int = 0


class Device(enum.Enum):
    """What to compute on."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How to run, which changes no result.

    Args:
        experiment: YAML file with any of these settings; what is typed overrides it.
        output: directory of the run.
        overwrite: replace a run of another configuration.
        dry_run: print the resolved experiment and the memory it will take, and stop.
        device: auto takes a GPU where there is one.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """

    experiment: Path | None = None
    output: Annotated[Path | None, Parameter(alias="-o")] = None
    overwrite: Annotated[bool, Parameter(negative="")] = False
    dry_run: Annotated[bool, Parameter(negative="")] = False
    device: Device = Device.AUTO
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False

    def require_output(self) -> Path:
        """The directory of the run.

        Raises:
            ValueError: if none was given.
        """
        if self.output is None:
            raise ValueError("output: expected a directory for the run, got none. Say it with -o.")
        return self.output

    def set_up(self) -> None:
        """Choose the device and the level of logging, before anything is computed.

        Raises:
            ValueError: if a GPU is asked for and JAX finds none.
        """
        import jax

        handler = logging.StreamHandler()
        # Of the handler too: some libraries set the level of their own loggers.
        handler.setLevel(logging.INFO if self.debug else logging.WARNING)
        logging.basicConfig(level=handler.level, handlers=[handler])
        platform = {Device.CPU: "cpu", Device.GPU: "cuda"}.get(self.device)
        if platform is None:
            return
        jax.config.update("jax_platforms", platform)
        if self.device is Device.GPU:
            try:
                jax.devices()
            except (RuntimeError, AssertionError):  # JAX raises the latter without a plugin
                raise ValueError(
                    "device: expected a GPU that JAX can use, got none. Leave --device out, or "
                    "install skysift[cuda]."
                ) from None
        os.environ["JAX_PLATFORMS"] = platform  # for the processes that tasks run in

    def say(self, *lines: object) -> None:
        """Print results, unless quiet."""
        if not self.quiet:
            for line in lines:
                show(line)


@Parameter(name="*")
@dataclass(frozen=True)
class Execution:
    """Where the tasks of a set run, which changes no result.

    Args:
        executor: serial, processes, processes:N, dask, dask:N, dask:tcp://HOST:PORT or slurm.
        site: YAML file with the settings of a SLURM site: queue, account, memory, walltime.
        distributed: this is one of many processes of jax.distributed, which share the tasks.
    """

    executor_: Annotated[str, Parameter(name="--executor")] = "serial"
    site: Path | None = None
    distributed: Annotated[bool, Parameter(negative="")] = False

    def executor(self) -> AbstractExecutor:
        """What runs the tasks.

        Raises:
            ValueError: for an unknown executor, or a site that is missing or not understood.
        """
        from skysift.execute import parse_executor

        return parse_executor(self.executor_, site=self.site)


def show(result: object) -> None:
    """Print a result: tables as wide as they need to be where no terminal sets a width."""
    console = Console()
    if isinstance(result, Table) and not console.is_terminal:
        console = Console(width=natural_width(result))
    console.print(result, markup=False, highlight=False, soft_wrap=isinstance(result, str))


def warn(message: str) -> None:
    """Print what went wrong without ending the command, also when quiet."""
    Console(stderr=True).print(message, style="bold red", markup=False, soft_wrap=True)


def natural_width(table: Table) -> int:
    """Characters that a table takes where nothing limits it."""
    console = Console()
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def typed_command() -> str:
    """What was typed, to repeat the run."""
    return shlex.join(["skysift", *sys.argv[1:]])


def memory_table(parts: dict[str, float]) -> Table:
    """Memory that an experiment will take, by what takes it."""
    table = Table(title="memory", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, size in parts.items():
        table.add_row(name, _gigabytes(size))
    table.add_section()
    table.add_row("in all, about", _gigabytes(sum(parts.values())), style="bold")
    return table


def channels_line(instrument: Instrument) -> str:
    """The channels in use, by name."""
    names = ", ".join(instrument.names)
    return f"{len(instrument)} channels of {instrument.name} ({names})"


def number(value: float) -> str:
    """A number in four figures."""
    return "–" if value != value else f"{value:.4g}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
