"""Progress of statistics and syntheses on the terminal."""

from __future__ import annotations

from rich.progress import TimeElapsedColumn

from skysift.cli.common import number
from skysift.cli.interrupts import check
from skysift.cli.progress import LiveBar


class ScatterProgress(LiveBar):
    """What is being made, with the objective, live on a terminal; else a line for each sample.

    Args:
        samples: number asked for.
        quiet: show nothing.
    """

    def __init__(self, samples: int, *, quiet: bool = False) -> None:
        super().__init__("reading", samples or None, clock=TimeElapsedColumn(), quiet=quiet)
        self._samples = samples

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
        told = f"{sample + 1}/{self._samples} samples: {status}, objective {number(objective)}"
        self._tell(told)
