"""A^T W A in one pass over the links, compiled."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

_PARTS = 2
"""Runs of samples, each of which adds to an array of its own: always as many, so that sums do not
depend on the number of cores."""


def normal_product(
    index: Int[np.ndarray, " link"],
    data: Float[np.ndarray, " link"],
    degree: int,
    weight: Float[np.ndarray, " sample"],
    cells: Float[np.ndarray, " cell"],
) -> Float[np.ndarray, " cell"]:
    """A^T W A times cells, reading each link once.

    Args:
        index: cell of each link, sample by sample.
        data: A, the weight of each link.
        degree: number of links of each sample.
        weight: W, in the precision of the links.
        cells: in the precision of the links.
    """
    kernel = _kernel(degree)
    out = np.zeros((_PARTS, cells.size), cells.dtype)
    edges = [part * weight.size // _PARTS for part in range(_PARTS + 1)]

    def run(part: int) -> None:
        kernel(index, data, weight, cells, out[part], edges[part], edges[part + 1])

    list(_workers(os.getpid()).map(run, range(_PARTS)))
    for other in out[1:]:
        out[0] += other
    return out[0]


@functools.lru_cache(maxsize=1)
def _workers(process: int) -> ThreadPoolExecutor:
    """Threads of this process; the kernels leave the interpreter free."""
    return ThreadPoolExecutor(_PARTS, thread_name_prefix="skysift-links")


@functools.cache
def _kernel(degree: int) -> Callable[..., None]:
    """The product of a run of samples; with the degree known its loops are unrolled."""
    # It takes half a second to import: only who fits needs it.
    import numba

    @numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
    def product(index, data, weight, cells, out, start, stop):
        for sample in range(start, stop):
            first = sample * degree
            value = data[first] * cells[np.uint32(index[first])]
            for link in range(1, degree):
                value += data[first + link] * cells[np.uint32(index[first + link])]
            value *= weight[sample]
            for link in range(degree):
                out[np.uint32(index[first + link])] += data[first + link] * value

    return product
