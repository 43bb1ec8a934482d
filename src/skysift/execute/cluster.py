"""Tasks on Dask: a cluster of this machine's processes, or a scheduler that runs already."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from skysift.execute.tasks import (
    AbstractExecutor,
    OnOutcome,
    Outcome,
    Report,
    attempt,
    call_pickled,
    check_counts,
    describe,
    portable,
)
from skysift.execute.threads import Threads, available_cores, bind, share_cores

if TYPE_CHECKING:
    from distributed import Client, Future

# Seconds between looks at who works, where nothing happens.
_POLL = 0.5

_DISCONNECTED = "The connection to the cluster was lost."


@dataclass(frozen=True)
class Dask(AbstractExecutor):
    """Runs tasks on Dask.

    Args:
        address: of a scheduler that runs, such as `tcp://host:8786`; without one, a cluster of
            processes of this machine is started, and ended with the run. What `retries` says holds
            for that; a scheduler that runs has a setting of its own (`allowed-failures`). Start its
            workers with `--nthreads 1`.
        workers: processes of this machine, by default one per core.
        retries: how often a task is tried again after its worker died.
        timeout: seconds to wait for a scheduler that runs, and for a worker while there is none.

    Raises:
        ValueError: for an address together with workers, fewer than one worker, or a negative
            number of retries.
    """

    address: str | None = None
    workers: int | None = None
    retries: int = 2
    timeout: float = 30.0

    def __post_init__(self) -> None:
        check_counts(self.workers, self.retries)
        if self.address is not None and self.workers is not None:
            raise ValueError(
                f"workers: expected none with a scheduler that runs ({self.address}), got "
                f"{self.workers}. Leave one of them out."
            )

    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Call a function once for each item; see `AbstractExecutor.run`.

        Raises:
            ValueError: for a function that other processes cannot import, and without Dask.
            ConnectionError: if the scheduler does not answer.
        """
        require("distributed")
        work = portable(function)
        if not items:
            return []
        with contextlib.ExitStack() as stack:
            if self.address is None:
                count = min(self.workers or len(available_cores()), len(items))
                place = Place(count, len(available_cores()))
                client = stack.enter_context(_local(count))
            else:
                place = None
                client = stack.enter_context(_connected(self.address, self.timeout))
            tasks = TaskQueue(client, place, self.retries, _Patience(self.timeout))
            return tasks.run(work, items, on_outcome)


@dataclass(frozen=True)
class Place:
    """What workers share: a machine, or a job on one.

    Args:
        workers: processes.
        cores: that they may use together.
    """

    workers: int
    cores: int

    def settle(self, name: str | int) -> None:
        """Bind this thread to the share of the worker of that name, if nobody else has the cores.

        Where a site lets jobs see cores that are not theirs, the system moves threads better.
        """
        if not hasattr(os, "sched_getaffinity"):
            return
        # Of the main thread: the one that runs tasks may be bound already.
        cores = tuple(sorted(os.sched_getaffinity(os.getpid())))
        if len(cores) == self.cores:
            index = int(str(name).rpartition("-")[2]) if self.workers > 1 else 0
            bind(share_cores(self.workers, cores)[index].cores)


def require(*packages: str) -> None:
    """Check that packages are installed.

    Raises:
        ValueError: if one is not.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"executor: expected the package {missing[0]}, got none. Install it with: pip install "
            "'skysift[dask]'"
        )


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Client]:
    """A cluster of processes of this machine."""
    from distributed import Client, LocalCluster

    with (
        Threads(share_cores(workers)[0].count).inherited(),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0, "dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def _connected(address: str, timeout: float) -> Iterator[Client]:
    """A client of a scheduler that runs."""
    from distributed import Client

    try:
        # As a default client one that cannot connect would stay behind, and xarray use its locks.
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"executor: expected a Dask scheduler at {address}, got no answer in {timeout:g} s "
            f"({error}). Start one with: dask scheduler"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"executor: expected an address such as tcp://host:8786, got {address!r} ({error})."
        ) from None
    with client:
        yield client


class _Patience:
    """Gives up when there has been no worker for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def __call__(self, workers: int) -> str | None:
        if workers:
            self.last = time.monotonic()
        if time.monotonic() - self.last > self.seconds:
            return f"The cluster has had no worker for {self.seconds:g} s."
        return None


@dataclass
class _Task:
    index: int
    item: Any
    attempts: int = 0


class TaskQueue:
    """Hands tasks to a cluster, one to each worker.

    The cluster never holds more tasks than workers: when a worker dies, no other task was waiting
    behind the one it ran.

    Args:
        client: of the cluster.
        place: of the workers, None where that is not known.
        retries: how often a task is tried again after its worker died.
        watch: called with the number of workers now and then; a text says why to give up.
    """

    def __init__(
        self,
        client: Client,
        place: Place | None,
        retries: int,
        watch: Callable[[int], str | None],
    ) -> None:
        self.client = client
        self.place = place
        self.retries = retries
        self.watch = watch
        self.done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.running: dict[Future, _Task] = {}
        self.waiting: deque[_Task] = deque()
        self.name = f"skysift-{uuid.uuid4().hex[:8]}"

    def run(
        self,
        work: bytes,
        items: Sequence[Any],
        on_outcome: OnOutcome | None,
    ) -> list[Outcome]:
        """Call a `portable` function; what the cluster did not do before it went has an error."""
        self.waiting.extend(_Task(index, item) for index, item in enumerate(items))
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < len(items):
            for outcome in self._step(work):
                outcomes[outcome.index] = outcome
                if on_outcome is not None:
                    on_outcome(outcome)
        return [outcomes[index] for index in range(len(items))]

    def _step(self, work: bytes) -> Iterator[Outcome]:
        """Hand out what there are workers for, and wait a moment for what is done."""
        workers = self._workers()
        reason = _DISCONNECTED if workers is None else self.watch(workers)
        if reason is not None:
            yield from self._give_up(reason)
            return
        while self.waiting and len(self.running) < (workers or 0):
            self._submit(work, self.waiting.popleft())
        try:
            future = self.done.get(timeout=_POLL)
        except queue.Empty:
            return
        if future.cancelled():
            yield from self._give_up(_DISCONNECTED)
            return
        task = self.running.pop(future)
        outcome = self._settle(future, task)
        if outcome is None:
            self.waiting.append(task)
        else:
            yield outcome

    def _workers(self) -> int | None:
        """Tasks that the cluster can run at a time, None where it does not answer."""
        if self.client.status != "running":
            return None
        try:
            return sum(cast(dict[str, int], self.client.nthreads()).values())
        except (OSError, TimeoutError):
            return None

    def _submit(self, work: bytes, task: _Task) -> None:
        task.attempts += 1
        parcel = (work, pickle.dumps(task.item))
        future = self.client.submit(
            _attempt,
            self.place,
            parcel,
            key=f"{self.name}-{task.index}-{task.attempts}",
            pure=False,
        )
        self.running[future] = task
        future.add_done_callback(self.done.put)

    def _settle(self, future: Future, task: _Task) -> Outcome | None:
        """What came of a task, None where it is to be tried again."""
        from distributed import KilledWorker

        try:
            report: Report = future.result()
        except KilledWorker as death:
            task.attempts += death.allowed_failures
            if task.attempts <= self.retries:
                return None
            error = f"Its worker died, {task.attempts} times out of {task.attempts}."
            return Outcome.lost(task.index, error, task.attempts, str(death.last_worker.address))
        except Exception as failure:
            return Outcome.lost(task.index, describe(failure), task.attempts)
        finally:
            future.release()
        return Outcome.reported(task.index, report.unpacked(), task.attempts)

    def _give_up(self, reason: str) -> Iterator[Outcome]:
        """Outcomes of all that is not done."""
        for task in [*self.running.values(), *self.waiting]:
            yield Outcome.lost(task.index, f"{reason} The task is not done.", task.attempts)
        self.running.clear()
        self.waiting.clear()


def _attempt(place: Place | None, parcel: tuple[bytes, bytes]) -> Report:
    """What a worker of the cluster does."""
    from distributed import get_worker

    if place is not None:
        place.settle(get_worker().name)
    return attempt(call_pickled, parcel)
