"""Tasks in jobs of a SLURM cluster, by way of dask-jobqueue."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skysift.execute.cluster import Place, TaskQueue, require
from skysift.execute.site import Site
from skysift.execute.tasks import AbstractExecutor, OnOutcome, Outcome, check_counts, portable
from skysift.execute.threads import Threads

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster

# Lines of a job's log that an error shows.
_LOG_LINES = 5

# Reasons for which a job waits for ever (squeue's manual, "Job reason codes").
_HOPELESS = {
    "AccountNotAllowed",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
}


@dataclass(frozen=True)
class Slurm(AbstractExecutor):
    """Runs tasks in jobs that it submits to SLURM, and cancels when they are not needed any more.

    This process stays where the jobs can reach it, on a login node or in a job of its own. Jobs
    that run out of wall time are replaced.

    Args:
        site: the cluster, and what to ask it for.
        retries: how often a task is tried again after its worker died, and how often each job is
            replaced by another before any task is done.
        interval: seconds between questions to SLURM whether the jobs live.

    Raises:
        ValueError: for a negative number of retries.
    """

    site: Site
    retries: int = 2
    interval: float = 15.0

    def __post_init__(self) -> None:
        check_counts(None, self.retries)

    def run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        on_outcome: OnOutcome | None = None,
    ) -> list[Outcome]:
        """Call a function once for each item; see `AbstractExecutor.run`.

        Raises:
            ValueError: for a function that other processes cannot import, without Dask, and if
                SLURM is not here or refuses the jobs.
        """
        require("distributed", "dask_jobqueue")
        work = portable(function)
        if not items:
            return []
        from distributed import Client

        with _cluster(self.site) as cluster, Client(cluster) as client:
            _rehearse(cluster)
            jobs = min(self.site.jobs, -(-len(items) // self.site.workers))
            crew = _Jobs(cluster, jobs, self)

            def hear(outcome: Outcome) -> None:
                crew.fruitless = 0
                if on_outcome is not None:
                    on_outcome(outcome)

            place = Place(self.site.workers, self.site.cores)
            return TaskQueue(client, place, self.retries, crew).run(work, items, hear)


@contextlib.contextmanager
def _cluster(site: Site) -> Iterator[SLURMCluster]:
    """A scheduler in this process, and jobs as its workers."""
    # Importing it lets Ctrl-C leave without a KeyboardInterrupt (dask_jobqueue/runner.py).
    handler = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster

    signal.signal(signal.SIGINT, handler)
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise ValueError(
                f"executor: expected SLURM on this machine, got no {program}. Run this on a node "
                "of the cluster, or choose another executor."
            )
    environment = Threads(site.threads).environment()
    cluster = SLURMCluster(
        queue=site.queue,
        account=site.account,
        # Dask counts tasks at a time, SLURM cores.
        cores=site.workers,
        processes=site.workers,
        job_cpu=site.cores,
        memory=site.memory,
        walltime=site.walltime,
        interface=site.interface,
        python=shlex.quote(site.python) if site.python else None,
        job_name="skysift",
        job_script_prologue=[
            *(f"export {name}={value}" for name, value in environment.items()),
            *site.prologue,
        ],
        job_extra_directives=list(site.directives),
        job_directives_skip=list(site.skip),
        log_directory=site.logs,
        # SLURM watches the memory. Dask would pause a worker that uses most of its share.
        worker_extra_args=["--memory-limit", "0"],
        scheduler_options={"dashboard": False, "dashboard_address": ":0", "allowed_failures": 0},
        silence_logs="critical",
    )
    with cluster:
        yield cluster


def _rehearse(cluster: SLURMCluster) -> None:
    """Ask SLURM whether it would take a job.

    Raises:
        ValueError: if it would not, with its words.
    """
    answer = _slurm("sbatch", "--test-only", script=cluster.job_script())
    if answer.returncode != 0:
        words = " ".join(answer.stderr.split())
        raise ValueError(
            f"site: expected a job that SLURM takes, got: {words}. Check queue, account, cores, "
            "memory, walltime and directives."
        )


class _Jobs:
    """Keeps the jobs of a cluster alive, until that is no use.

    Args:
        cluster: whose workers they are.
        count: of jobs.
        plan: how patient to be.
    """

    def __init__(self, cluster: SLURMCluster, count: int, plan: Slurm) -> None:
        self.cluster = cluster
        self.count = count
        self.plan = plan
        # Jobs that ended since a task was done.
        self.fruitless = 0
        self.next = time.monotonic() + plan.interval
        cluster.scale(jobs=count)

    def __call__(self, workers: int) -> str | None:
        """Replace jobs that ended; a text says why that is no use any more."""
        if workers == self.count * self.plan.site.workers or time.monotonic() < self.next:
            return None
        self.next = time.monotonic() + self.plan.interval
        queue = self._queue()
        if queue is None:
            return None
        hopeless = sorted({reason for _, reason in queue.values()} & _HOPELESS)
        if hopeless:
            return f"SLURM will not start the jobs as the site describes them: {hopeless[0]}."
        living = {job_id for job_id, (state, _) in queue.items() if state != "COMPLETING"}
        ended = {
            name: job
            for name, job in list(self.cluster.workers.items())
            if job.job_id not in living
        }
        self.fruitless += len(ended)
        if self.fruitless > self.count * self.plan.retries and not workers:
            return f"Jobs end before a task is done: {self.fruitless} so far.{self._log(ended)}"
        for name in ended:
            self.cluster.workers.pop(name, None)
        self.cluster.scale(jobs=self.count)
        return None

    def _queue(self) -> dict[str, tuple[str, str]] | None:
        """State and reason of this run's jobs in the queue, None where SLURM does not answer."""
        answer = _slurm("squeue", "--noheader", "--format=%i|%T|%r", f"--user={getpass.getuser()}")
        if answer.returncode != 0:
            return None
        own = {job.job_id for job in list(self.cluster.workers.values())}
        rows = (line.split("|", 2) for line in answer.stdout.splitlines())
        return {job_id: (state, reason) for job_id, state, reason in rows if job_id in own}

    def _log(self, ended: dict[str, Any]) -> str:
        """The end of what the last job that ended printed."""
        for job in reversed(list(ended.values())):
            paths = sorted(Path(self.plan.site.logs).glob(f"skysift-{job.job_id}.err"))
            lines = [
                line for path in paths for line in path.read_text(errors="replace").splitlines()
            ]
            if lines:
                return "\n".join([f" The end of {paths[-1]}:", *lines[-_LOG_LINES:]])
        return f" They left nothing in {self.plan.site.logs}."


def _slurm(*command: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """Ask SLURM."""
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False)
