"""Progress of statistics and syntheses on the terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from skysift.cli.common import number
from skysift.cli.interrupts import check


class ScatterProgress:
    """What is being made, with the objective, live on a terminal; else a line for each sample.

    Args:
        samples: number asked for.
        quiet: show nothing.
    """

    def __init__(self, samples: int, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._samples = samples
        self._task = self._bar.add_task("reading", total=samples or None)

    def __enter__(self) -> ScatterProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, stage: str) -> None:
        """Show what begins.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._bar.update(self._task, description=stage)

    def iterate(self, sample: int, iteration: int, objective: float) -> None:
        """Show an iteration.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        told = f"sample {sample}: iteration {iteration}, objective {objective:.3g}"
        self._bar.update(self._task, description=told)

    def end(self, sample: int, status: str, objective: float) -> None:
        """Show a sample that is there.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._bar.update(self._task, completed=sample + 1)
        if not self._console.is_terminal:
            told = f"{sample + 1}/{self._samples} samples: {status}, objective {number(objective)}"
            self._console.print(told, soft_wrap=True)
