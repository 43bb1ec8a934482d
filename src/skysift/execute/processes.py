"""Tasks in processes of this machine."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, cast

from skysift.execute.tasks import (
    AbstractExecutor,
    OnOutcome,
    Outcome,
    Report,
    attempt,
    call_pickled,
    check_counts,
    portable,
)
from skysift.execute.threads import Threads, available_cores, share_cores

# Seconds that an idle worker gets to leave by itself.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Processes(AbstractExecutor):
    """Runs tasks in processes of this machine, each bound to its share of the cores.

    A script that uses it needs `if __name__ == "__main__":`, because the processes import it.

    Args:
        workers: processes, by default one per core.
        retries: how often a task is tried again after its worker died.

    Raises:
        ValueError: for fewer than one worker or a negative number of retries.

    Examples:
        >>> [outcome.value for outcome in Processes(1).run(abs, [-1, 2])]
        [1, 2]
    """

    workers: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        check_counts(self.workers, self.retries)

    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Call a function once for each item; see `AbstractExecutor.run`.

        Raises:
            ValueError: for a function that other processes cannot import.
            ChildProcessError: if the processes cannot start.
        """
        outcomes: dict[int, Outcome] = {}
        tasks = deque(_Task(index, item) for index, item in enumerate(items))
        with _Crew(portable(function), tasks, self) as crew:
            while len(outcomes) < len(items):
                crew.assign()
                for outcome in crew.listen():
                    outcomes[outcome.index] = outcome
                    if on_outcome is not None:
                        on_outcome(outcome)
        return [outcomes[index] for index in range(len(items))]


@dataclass
class _Task:
    index: int
    item: Any
    attempts: int = 0


class _Worker:
    """A process, the pipe to it, and what it is doing."""

    def __init__(self, work: bytes, threads: Threads) -> None:
        spawn = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would break
        self.threads = threads
        self.task: _Task | None = None
        self.ready = False
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, work), daemon=True)
        with threads.inherited():
            self.process.start()
        # With the only other end in the process, its death ends the pipe.
        theirs.close()

    def give(self, task: _Task) -> None:
        self.task = task
        task.attempts += 1
        with suppress(OSError):  # it died idle: the end of the pipe says so
            self.pipe.send_bytes(pickle.dumps(task.item))


class _Crew:
    """The workers of one run; leaving it ends them all."""

    def __init__(self, work: bytes, tasks: deque[_Task], plan: Processes) -> None:
        count = min(plan.workers or len(available_cores()), len(tasks))
        self.work = work
        self.tasks = tasks
        self.retries = plan.retries
        self.stillborn = 0
        self.workers: list[_Worker] = []
        self.slots = share_cores(count) if count else []

    def __enter__(self) -> _Crew:
        self.workers += [_Worker(self.work, threads) for threads in self.slots]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self.workers:
            if kind is not None:
                worker.process.kill()
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join(_PATIENCE)
            worker.process.kill()
            worker.process.join()

    def assign(self) -> None:
        """Give tasks to those who have none."""
        for worker in self.workers:
            if self.tasks and worker.ready and worker.task is None:
                worker.give(self.tasks.popleft())

    def listen(self) -> Iterator[Outcome]:
        """Wait until somebody says something or dies, and pass on what became of tasks."""
        workers = {worker.pipe: worker for worker in self.workers}
        for pipe in connection.wait(list(workers)):
            worker = workers[cast(Connection, pipe)]
            try:
                report: Report | None = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            if worker.task is None or report is None:
                worker.ready = True
                continue
            yield Outcome.reported(worker.task.index, report.unpacked(), worker.task.attempts)
            worker.task = None

    def _bury(self, worker: _Worker) -> Iterator[Outcome]:
        """Take a dead worker's task back, and hire another while there are tasks."""
        worker.process.join()
        self.workers.remove(worker)
        cause, task = _cause(worker.process), worker.task
        if not worker.ready:
            self.stillborn += 1
            if self.stillborn > self.retries:
                raise ChildProcessError(
                    f"workers: expected processes that start, got one that {cause}. What it "
                    "printed says why; a script needs its calls below `if __name__ == "
                    "'__main__':`."
                )
        if task is not None and task.attempts > self.retries:
            who = f"{socket.gethostname()}:{worker.process.pid}"
            error = f"Its worker {cause}, {task.attempts} times out of {task.attempts}."
            yield Outcome.lost(task.index, error, task.attempts, who)
        elif task is not None:
            self.tasks.append(task)
        if self.tasks:
            self.workers.append(_Worker(self.work, worker.threads))


def _cause(process: BaseProcess) -> str:
    """How a process ended."""
    code = process.exitcode or 0
    if code >= 0:
        return f"left with exit code {code}"
    name = signal.Signals(-code).name
    memory = ", as happens when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


def _serve(pipe: Connection, work: bytes) -> None:
    """What a worker does: tasks, until the pipe ends."""
    # Ctrl-C reaches all processes of a terminal; the one that hands out tasks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            pipe.send(attempt(call_pickled, (work, pipe.recv_bytes())))
