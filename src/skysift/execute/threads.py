"""How many threads the libraries of a worker use, and on which cores.

Two things matter. Workers that each use every core slow each other down. And sums depend on the
order of their terms: OpenBLAS gives other last bits with another number of threads (products,
Cholesky factors from about 100 rows on), so every executor limits it to one, and the same task
gives the same bits whoever runs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Threads:
    """Threads of one worker.

    Args:
        count: threads for XLA and ducc0.
        cores: that the worker is bound to; empty where the operating system cannot.
    """

    count: int
    cores: tuple[int, ...] = ()

    def environment(self) -> dict[str, str]:
        """Variables that libraries read when they are loaded."""
        return {
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "DUCC0_NUM_THREADS": str(self.count),
            # The size of XLA's pool on the CPU.
            "NPROC": str(self.count),
        }

    @contextmanager
    def inherited(self) -> Iterator[None]:
        """Let the processes that are started in the block have these threads from the beginning.

        Later would be too late: libraries size their pools when they are loaded.
        """
        variables = self.environment()
        before = {name: os.environ.get(name) for name in variables}
        cores = available_cores()
        os.environ.update(variables)
        bind(self.cores)
        try:
            yield
        finally:
            bind(cores)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def available_cores() -> tuple[int, ...]:
    """Cores that this process may use, which on a cluster are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def bind(cores: tuple[int, ...]) -> None:
    """Bind the calling thread, and what it starts, to cores; where the system can, and to any."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def share_cores(workers: int, cores: tuple[int, ...] | None = None) -> list[Threads]:
    """Cores divided evenly among workers, by default those of this process.

    Examples:
        >>> share_cores(2, cores=(4, 5, 6, 7, 8))
        [Threads(count=2, cores=(4, 5)), Threads(count=2, cores=(6, 7))]
    """
    cores = available_cores() if cores is None else cores
    count = max(1, len(cores) // workers)
    return [
        Threads(count, tuple(cores[(index * count + i) % len(cores)] for i in range(count)))
        for index in range(workers)
    ]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """One thread for the BLAS and OpenMP libraries that are loaded, whatever they began with."""
    with threadpool_limits(1):
        yield
