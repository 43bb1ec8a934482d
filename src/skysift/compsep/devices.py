"""Several devices of one host: which of them a thread uses, and work that they take in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import LifoQueue
from typing import TYPE_CHECKING, TypeVar

import jax

if TYPE_CHECKING:
    from jaxlib._jax import Device  # type checkers take jax.Device for a variable

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable(among: tuple[Device, ...] | None = None) -> tuple[Device, ...]:
    """Devices that the calling thread may use.

    Args:
        among: these, by default all that this process has of the default platform.

    Returns:
        The one of `jax.default_device` alone where that is set.
    """
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        return tuple(jax.local_devices()) if among is None else among
    return (jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen,)


def take_turns(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    devices: tuple[Device, ...],
    threads: int = 1,
) -> Iterator[Result]:
    """Apply a function to items on whichever device is free, in the order of the items.

    Args:
        function: of an item. It runs under `jax.default_device`, in a thread of its own unless
            there is nothing but one thread of the device that the caller uses anyway.
        items: independent of each other.
        devices: that take them.
        threads: per device.
    """
    if threads == 1 and devices == usable() and len(devices) == 1:
        yield from map(function, items)
        return
    # The device used last is taken first: it has compiled.
    free: LifoQueue[Device] = LifoQueue()
    for device in threads * devices[::-1]:
        free.put(device)

    def work(item: Item) -> Result:
        device = free.get()
        try:
            with jax.default_device(device):
                return function(item)
        finally:
            free.put(device)

    with ThreadPoolExecutor(threads * len(devices)) as pool:
        yield from pool.map(work, items)


def over_devices(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    devices: Sequence[Device] | None = None,
) -> list[Result]:
    """Apply a function to independent items, one on each device at a time.

    Each item is taken in a thread under `jax.default_device`: separations in it use one device
    alone. JAX compiles anew for each device. Where there is one device the items are taken one
    after the other, as they would be without this function.

    Args:
        function: of one item, called from several threads at a time.
        items: independent of each other, for instance seeds.
        devices: by default those that the calling thread may use.

    Returns:
        Results in the order of the items.

    Raises:
        ValueError: for no devices, or one that comes twice.
        Exception: the first that an item raised, in the order of the items, after all have ended.

    Examples:
        >>> over_devices(lambda seed: seed**2, range(4))
        [0, 1, 4, 9]
    """
    chosen = usable() if devices is None else tuple(devices)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"devices: expected at least one and each once, got {list(chosen)}. Leave devices out "
            "for all of them."
        )

    def attempt(item: Item) -> tuple[list[Result], list[Exception]]:
        try:
            return [function(item)], []
        except Exception as error:
            return [], [error]

    outcomes = list(take_turns(attempt, items, chosen))
    for _, errors in outcomes:
        for error in errors:
            raise error
    return [result for results, _ in outcomes for result in results]
