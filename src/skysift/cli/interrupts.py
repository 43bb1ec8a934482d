"""Ctrl-C that is never lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Handler of SIGINT that remembers it.

    Python drops a KeyboardInterrupt that is raised in a callback of the garbage collector or of a
    compiled library. Here it is raised again at the next call of `check`.
    """

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal and raise as Python does."""
        self.seen = True
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Remember interrupts in the block; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, Interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check() -> None:
    """Raise again an interrupt that was dropped.

    Raises:
        KeyboardInterrupt: if there was one.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interrupt) and handler.seen:
        raise KeyboardInterrupt
