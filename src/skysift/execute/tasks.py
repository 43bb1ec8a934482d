"""What all executors share: a task, how it is attempted, and what came of it."""

from __future__ import annotations

import abc
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from skysift.execute.threads import single_threaded_blas

OnOutcome = Callable[["Outcome"], None]

# Calls of a traceback that an outcome keeps: the one that failed and those that led to it.
_FRAMES = 6


@dataclass(frozen=True)
class Report:
    """What a worker says about one attempt.

    Args:
        value: what the function returned, None where it failed.
        error: the exception and the end of its traceback, None where there was none.
        seconds: that the attempt took.
        worker: host and process that ran it.
    """

    value: Any
    error: str | None
    seconds: float
    worker: str

    def unpacked(self) -> Report:
        """This report with the value that `call_pickled` returned, as an object."""
        return self if self.error else replace(self, value=pickle.loads(self.value))


@dataclass(frozen=True)
class Outcome:
    """What came of one task.

    Args:
        index: of its item.
        value: what the function returned, None where it failed.
        error: what went wrong, None where nothing did.
        attempts: how often it was tried; more than once where workers died.
        seconds: of the last attempt; zero where its worker did not live to say.
        worker: host and process of the last attempt, empty where none is known.
    """

    index: int
    value: Any
    error: str | None
    attempts: int
    seconds: float
    worker: str

    @property
    def succeeded(self) -> bool:
        """Whether the function returned."""
        return self.error is None

    @staticmethod
    def reported(index: int, report: Report, attempts: int) -> Outcome:
        """The outcome of a task whose worker lived to report it."""
        return Outcome(index, report.value, report.error, attempts, report.seconds, report.worker)

    @staticmethod
    def lost(index: int, error: str, attempts: int, worker: str = "") -> Outcome:
        """The outcome of a task that nobody could report."""
        return Outcome(index, None, error, attempts, 0.0, worker)


class AbstractExecutor(abc.ABC):
    """Runs independent tasks, here or elsewhere.

    A function that raises is not tried again: with the same item it would raise again. A worker
    that dies (memory, node, wall time) loses its own task only, which another worker repeats. Each
    task therefore writes its files so that a second writing does no harm: to a temporary name,
    renamed when complete.
    """

    @abc.abstractmethod
    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Call a function once for each item.

        Args:
            function: called as `function(item)`. Other processes must be able to import it: a `def`
                at module level, or `functools.partial` of one.
            items: one per task; small, as they travel to the workers.
            on_outcome: called in this thread as soon as a task is done, in the order in which they
                finish.

        Returns:
            One outcome per item, in the order of the items. A task that failed is in its outcome
            and stops no other.
        """


def attempt(function: Callable[[Any], Any], item: Any) -> Report:
    """Call a function, in a worker or here, and report what came of it."""
    began = time.perf_counter()
    value, error = None, None
    try:
        with single_threaded_blas():
            value = function(item)
    except (Exception, SystemExit) as failure:
        error = describe(failure)
    return Report(
        value, error, time.perf_counter() - began, f"{socket.gethostname()}:{os.getpid()}"
    )


def call_pickled(parcel: tuple[bytes, bytes]) -> bytes:
    """Call a function with an item, both pickled, and pickle what it returns.

    What cannot be pickled or imported is then an error of the task, not of its worker.
    """
    function, item = map(pickle.loads, parcel)
    return pickle.dumps(function(item))


def describe(failure: BaseException) -> str:
    """An exception in words: what it says, then the end of its traceback."""
    message = "".join(traceback.format_exception_only(failure)).strip()
    frames = [
        frame for frame in traceback.extract_tb(failure.__traceback__) if frame.filename != __file__
    ]
    return "\n".join([message, "".join(traceback.format_list(frames[-_FRAMES:])).rstrip()]).strip()


def portable(function: Callable[[Any], Any]) -> bytes:
    """A function as other processes will get it.

    Raises:
        ValueError: for one that they could not import.
    """
    try:
        return pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "function: expected one that other processes can import, got "
            f"{getattr(function, '__qualname__', function)!r} ({error}). Define it with def at the "
            "top level of a module."
        ) from None


def check_counts(workers: int | None, retries: int) -> None:
    """Refuse numbers of workers and retries that make no sense.

    Raises:
        ValueError: for fewer than one worker or a negative number of retries.
    """
    if workers is not None and workers < 1:
        raise ValueError(
            f"workers: expected at least 1, got {workers}. Leave it out for all cores."
        )
    if retries < 0:
        raise ValueError(f"retries: expected 0 or more, got {retries}. 0 tries every task once.")
