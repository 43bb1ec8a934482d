"""Several processes that JAX knows of, each with its share of the work."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

# Seconds that a process waits at the end for those that have more to do: a week.
_END_TIMEOUT = 7 * 24 * 3600


@dataclass(frozen=True)
class Share:
    """Which of several processes this is, and so which items are its own.

    Args:
        index: of this process, from 0.
        count: of all processes.

    Raises:
        ValueError: for an index that is not below the count.

    Examples:
        >>> Share(1, 3).of(["a", "b", "c", "d", "e"])
        ['b', 'e']
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"share: expected an index from 0 to {self.count - 1}, got {self.index}. Number "
                "the processes from 0."
            )

    def of(self, items: Sequence[_T]) -> list[_T]:
        """Every `count`-th item: the shares of all processes together are all items, once."""
        return list(items[self.index :: self.count])


@contextmanager
def distributed(
    address: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    timeout: float = 300.0,
) -> Iterator[Share]:
    """Join the processes of one job in the block, with `jax.distributed`.

    To be entered before anything is computed. What SLURM or MPI started needs no arguments. In the
    block JAX sees the devices of all processes; what is not sharded explicitly runs on this
    process's own. Leaving the block waits for the other processes: afterwards all have done their
    share. A process that fails or is killed ends the others too, within about five minutes.

    Args:
        address: `host:port` of process 0, the same in every process.
        count: of processes.
        index: of this process, from 0.
        timeout: seconds to wait for the others at the beginning.

    Yields:
        The share of this process.

    Raises:
        ValueError: if an argument is missing where nothing says it.
        RuntimeError: if something was computed before, or the others do not come in time.
    """
    import jax
    from jax._src.distributed import global_state

    # With it a SIGTERM, by which SLURM ends a job, would be noted and do nothing.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(address, count, index, initialization_timeout=round(timeout))
    except ValueError as error:
        raise ValueError(
            "distributed: expected address, count and index of the processes, or to be started by "
            f"SLURM or MPI, got address {address!r}, count {count}, index {index} ({error})."
        ) from None
    try:
        yield Share(jax.process_index(), jax.process_count())
        # What is public waits five minutes at most (shutdown), or half a one (collectives).
        if global_state.client is not None:
            global_state.client.wait_at_barrier("skysift", 1000 * _END_TIMEOUT)
    except BaseException:
        # Now: the end without the other processes takes long, and may abort this one.
        _LOG.error("this process leaves the others with an error", exc_info=True)
        raise
    finally:
        jax.distributed.shutdown()
