"""Progress of trainings on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skysift.cli.common import number
from skysift.cli.interrupts import check
from skysift.cli.progress import LiveBar

if TYPE_CHECKING:
    from skysift.inference.training import Epoch, Progress


class InferProgress(LiveBar):
    """Maps and epochs that are done, with loss and errors: live on a terminal, else in lines.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__("reading", None, quiet=quiet)
        self._stage = ""

    def begin(self, stage: str) -> None:
        """Show what begins.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._stage = stage
        self._bar.remove_task(self._task)  # a total that is known cannot be forgotten
        self._task = self._bar.add_task(stage, total=None)

    def update(self, progress: Progress) -> None:
        """Show maps that are drawn, or an epoch that is done.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        if progress.stage != self._stage:
            self.begin(progress.stage)
        told = progress.stage
        if progress.epoch is not None:
            told = f"{told}: {_told(progress.epoch)}"
            self._tell(f"epoch {progress.done}/{progress.total}: {_told(progress.epoch)}")
        self._bar.update(
            self._task, description=told, completed=progress.done, total=progress.total
        )


def _told(epoch: Epoch) -> str:
    loss = number(sum(epoch.validation) / len(epoch.validation))
    errors = ", ".join(number(one) for one in epoch.error)
    return f"validation loss {loss}, rms error {errors}"
