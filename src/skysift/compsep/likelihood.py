"""The profiled spectral objective over patches: value, gradient and Hessian."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from skysift.compsep.devices import take_turns, usable
from skysift.compsep.kernel import CellAmplitudes, CellTerms, Kernel
from skysift.compsep.structure import Structure, SymmetricMatrix

if TYPE_CHECKING:
    from jaxlib._jax import Device

Result = TypeVar("Result")


@dataclass(frozen=True)
class Evaluation:
    """The objective at one point.

    Args:
        objective: one value per block.
        gradient: per patch parameter.
        hessian: exact.
        gauss_newton: without the terms in the residual; never negative.
    """

    objective: Float[np.ndarray, " block"]
    gradient: Float[np.ndarray, " parameter"]
    hessian: SymmetricMatrix
    gauss_newton: SymmetricMatrix

    def where(self, chosen: np.ndarray, other: Evaluation) -> Evaluation:
        """This evaluation in the chosen blocks, the other elsewhere."""
        block = self.hessian.structure.block
        return Evaluation(
            np.where(chosen, self.objective, other.objective),
            np.where(chosen[block], self.gradient, other.gradient),
            self.hessian.where(chosen, other.hessian),
            self.gauss_newton.where(chosen, other.gauss_newton),
        )


_GRAIN = 1024
"""Cells that several devices divide a small problem by, however large their tiles are."""


def _cores() -> int:
    """Cores this process may use, which on a cluster are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Stream:
    """How cells pass through the kernel.

    A tile is what one step of the compiled loop works on (on a CPU its arrays should fit the
    cache), a chunk what one call takes, on one device. Arrays never exist for all cells and
    channels at once but as data. Each chunk is computed by the same program on whichever device:
    their number and speed change no digit.

    Args:
        chunk: cells, a multiple of the tile.
        tile: cells.
        threads: of each device, that prepare chunks and wait for them.
        devices: that take the chunks; by default, and under `jax.default_device` always, those that
            the thread may use that evaluates.
    """

    chunk: int
    tile: int
    threads: int
    devices: tuple[Device, ...] | None = None

    @staticmethod
    def default() -> Stream:
        """Sizes measured to be good on the backend in use."""
        if usable()[0].platform == "cpu":
            # Devices that share the cores (--xla_force_host_platform_device_count).
            sharing = len(jax.local_devices(backend="cpu"))
            return Stream(chunk=4096, tile=1024, threads=max(1, _cores() // sharing))
        return Stream(chunk=1 << 18, tile=1 << 18, threads=1)

    def spread(self, cells: int) -> Stream:
        """This stream on the devices in use, its chunks small enough that cells reach all."""
        devices = usable(self.devices)
        if len(devices) == 1:
            return replace(self, devices=devices)
        share = -(-cells // len(devices))
        grain = self.tile if share > self.tile else min(self.tile, _GRAIN)
        chunk = min(self.chunk, -(-share // grain) * grain)
        return replace(self, chunk=chunk, tile=min(self.tile, chunk), devices=devices)

    def chunks(self, cells: int) -> Iterator[slice]:
        """Slices of at most a chunk."""
        return (
            slice(start, min(start + self.chunk, cells)) for start in range(0, cells, self.chunk)
        )


@dataclass(frozen=True)
class Likelihood:
    """Data, weights and patches of a fit.

    Args:
        kernel: emission laws in the channels.
        data: maps [uK_CMB], zero where missing.
        weights: inverse variances, zero where missing; axes of length one are shared.
        fixed: parameters that are not fitted, one number or one per cell.
        structure: patches of the free parameters.
        prior_mean: centre of the Gaussian prior of each patch parameter.
        prior_precision: inverse variance of the prior, zero for none.
        stream: chunk sizes.
    """

    kernel: Kernel
    data: Float[np.ndarray, "channel stokes cell"]
    weights: Float[np.ndarray, "channel #stokes #cell"]
    fixed: dict[str, Float[np.ndarray, "#cell"]]
    structure: Structure
    prior_mean: Float[np.ndarray, " parameter"]
    prior_precision: Float[np.ndarray, " parameter"]
    stream: Stream

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.data.shape[-1]

    def evaluate(
        self, theta: Float[np.ndarray, " parameter"], blocks: np.ndarray | None = None
    ) -> Evaluation:
        """Objective and derivatives; zeros in the blocks left out.

        Args:
            theta: patch parameters.
            blocks: which blocks are wanted, all by default.
        """
        wanted = (
            None
            if blocks is None or blocks.all()
            else np.flatnonzero(blocks[self.structure.cell_block])
        )
        return self._assemble(theta, self._values(theta, wanted), wanted, blocks)

    def cell_terms(self, theta: Float[np.ndarray, " parameter"]) -> CellTerms:
        """Objective, gradient and Hessians of each cell by itself, priors left out.

        Args:
            theta: patch parameters.
        """
        free = len(self.structure.counts)
        triangle = free * (free + 1) // 2
        values = jnp.asarray(self._values(theta, None))
        gradient, hessian, gauss_newton = jnp.split(values[1:], np.cumsum([free, triangle]), axis=0)
        return CellTerms(values[0], gradient, hessian, gauss_newton)

    def _values(
        self, theta: np.ndarray, wanted: Int[np.ndarray, " cell"] | None
    ) -> Float[np.ndarray, "term cell"]:
        """Terms of the wanted cells, all by default, as `_assemble` takes them."""
        free = len(self.structure.counts)
        cells = self.cells if wanted is None else wanted.size
        values = np.empty((1 + free + free * (free + 1), cells))

        def keep(part: slice, terms: jax.Array) -> None:
            values[:, part] = np.asarray(terms)[:, : part.stop - part.start]

        for _ in self._stream(_terms, keep, theta, wanted):
            pass
        return values

    def amplitudes(
        self, theta: Float[np.ndarray, " parameter"]
    ) -> Iterator[tuple[slice, CellAmplitudes]]:
        """Amplitudes of each cell, a chunk at a time."""

        def keep(part: slice, out: CellAmplitudes) -> tuple[slice, CellAmplitudes]:
            size = part.stop - part.start
            return part, jax.tree.map(lambda x: np.asarray(x)[..., :size], out)

        yield from self._stream(_amplitudes, keep, theta)

    def _stream(
        self,
        function: Callable,
        keep: Callable[[slice, Any], Result],
        theta: np.ndarray,
        wanted: np.ndarray | None = None,
    ) -> Iterator[Result]:
        """What is kept of a compiled function of the wanted cells, in order, chunk by chunk."""
        cells = self.cells if wanted is None else wanted.size
        stream = self.stream.spread(self.cells)
        assert stream.devices is not None

        def work(part: slice) -> Result:
            where = part if wanted is None else wanted[part]
            inputs = self._inputs(theta, where, stream.chunk)
            return keep(part, function(self.kernel, *inputs, stream.tile))

        yield from take_turns(work, stream.chunks(cells), stream.devices, stream.threads)

    def _inputs(
        self, theta: np.ndarray, where: slice | Int[np.ndarray, " cell"], chunk: int
    ) -> tuple:
        """Arrays of the chosen cells, padded to a chunk with the first of them and no data."""
        index = self.structure.index[:, where]
        pad = chunk - index.shape[-1]
        data = self.data[..., where]

        def shared(array: np.ndarray) -> np.ndarray:
            if array.shape[-1] == 1:
                return array
            part = array[..., where]
            return (
                np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, pad)], mode="edge") if pad else part
            )

        if pad:
            index = np.pad(index, ((0, 0), (0, pad)), mode="edge")
            data = np.pad(data, ((0, 0), (0, 0), (0, pad)))
        fixed = {name: shared(value) for name, value in self.fixed.items()}
        return theta[index], fixed, data, shared(self.weights)

    def _assemble(
        self,
        theta: np.ndarray,
        values: Float[np.ndarray, "term cell"],
        wanted: np.ndarray | None,
        blocks: np.ndarray | None,
    ) -> Evaluation:
        structure = self.structure
        free = len(structure.counts)
        here = slice(None) if wanted is None else wanted
        triangle = [(k, m) for k in range(free) for m in range(k + 1)]
        starts = np.cumsum([0, *structure.counts])
        kept = np.ones(structure.size) if blocks is None else blocks[structure.block].astype(float)

        def total(terms: np.ndarray, k: int) -> np.ndarray:
            return np.bincount(structure.index[k, here] - starts[k], terms, structure.counts[k])

        def matrix(rows: Float[np.ndarray, "triangle cell"]) -> SymmetricMatrix:
            diagonal = [total(row, k) for (k, m), row in zip(triangle, rows, strict=True) if k == m]
            off = np.zeros(structure.rows.size)
            for (k, m), row in zip(triangle, rows, strict=True):
                if k != m:
                    off += np.bincount(structure.entry[k, m][here], row, off.size)
            diagonal = np.concatenate([*diagonal, np.zeros(0)])
            return SymmetricMatrix(structure, diagonal + kept * self.prior_precision, off)

        offset = theta - self.prior_mean
        prior = kept * self.prior_precision * offset
        gradient = [total(values[1 + k], k) for k in range(free)]
        objective = np.bincount(structure.cell_block[here], values[0], structure.blocks)
        if free:
            objective += structure.per_block(0.5 * prior * offset)
        split = 1 + free + len(triangle)
        return Evaluation(
            objective,
            np.concatenate([*gradient, np.zeros(0)]) + prior,
            matrix(values[1 + free : split]),
            matrix(values[split:]),
        )


def _tiled(function: Callable, tile: int, kernel: Kernel, theta, fixed, data, weights):
    """Apply a cell function tile by tile and put the tiles side by side again."""
    count = data.shape[-1] // tile

    def cut(array):
        if array.shape[-1] == 1:
            return jnp.broadcast_to(array, (count, *array.shape))
        return jnp.moveaxis(array.reshape(*array.shape[:-1], count, tile), -2, 0)

    parts = jax.tree.map(cut, (theta, fixed, data, weights))
    out = jax.lax.map(lambda part: function(kernel, *part), parts)
    return jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], count * x.shape[-1]), out
    )


def _stacked_terms(kernel: Kernel, theta, fixed, data, weights) -> Float[jax.Array, "term cell"]:
    terms: CellTerms = kernel.terms(theta, fixed, data, weights)
    return jnp.concatenate(
        [terms.objective[None], terms.gradient, terms.hessian, terms.gauss_newton]
    )


@jax.jit(static_argnums=5)
def _terms(kernel, theta, fixed, data, weights, tile):
    return _tiled(_stacked_terms, tile, kernel, theta, fixed, data, weights)


@jax.jit(static_argnums=5)
def _amplitudes(kernel, theta, fixed, data, weights, tile):
    def cells(kernel, theta, fixed, data, weights):
        return kernel.amplitudes(theta, fixed, data, weights)

    return _tiled(cells, tile, kernel, theta, fixed, data, weights)
