"""Conjugate gradients for many right-hand sides, each of which stops by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.resample.normal import NormalSystem

_RUN = 256
_FEW = 8
_PART = 1 << 15  # numbers in a part of an array
_CROWDED = 0.75  # share of active columns below which the others are taken out

Columns = Float[np.ndarray, "cell row"]


@dataclass(frozen=True)
class Stop:
    """When a column is done.

    Args:
        target: norm of the residual, in the metric of the preconditioner, that is small enough.
        max_iter: iterations after which all columns give up.
    """

    target: Float[np.ndarray, " row"]
    max_iter: int


@dataclass(frozen=True)
class Path:
    """How conjugate gradients went.

    Args:
        converged: whether each column reached its target.
        residuals: norms before the first and after each iteration; of a column that is done the
            last one is repeated.
    """

    converged: Bool[np.ndarray, " row"]
    residuals: Float[np.ndarray, "iteration row"]


Progress = Callable[[int, Float[np.ndarray, " row"]], None]


def conjugate_gradients(
    system: NormalSystem,
    solution: Columns,
    residual: Columns,
    stop: Stop,
    progress: Progress | None = None,
) -> Path:
    """Solve systems that share a product (Hestenes & Stiefel 1952, J. Res. NBS 49, 409).

    Nothing is exchanged between the columns: each has its own step lengths and its own end, and
    columns that are done leave the product.

    Args:
        system: the matrices.
        solution: a first guess, overwritten with the solution.
        residual: right-hand side minus matrix times first guess, overwritten with that of the
            solution.
        stop: when to stop.
        progress: called after each iteration with its number and the residual norms.
    """
    rows = np.arange(solution.shape[1])
    moving = _Moving.of(system, solution, residual)
    norms = np.sqrt(moving.energy)
    history = [norms]
    while len(history) <= stop.max_iter:
        active = norms[rows] > stop.target[rows]
        if not active.any():
            break
        if active.mean() <= _CROWDED:
            moving.write(solution, residual, rows)
            kept = np.flatnonzero(active)
            moving, system, rows = moving.select(kept), system.select(kept), rows[kept]
            active = active[kept]
        moving.step(system, active)
        norms = norms.copy()
        norms[rows] = np.sqrt(moving.energy)
        history.append(norms)
        if progress is not None:
            progress(len(history) - 1, norms)
    moving.write(solution, residual, rows)
    return Path(norms <= stop.target, np.array(history))


@dataclass
class _Moving:
    """The columns that are not done yet.

    Sums run over parts of the cells that stay in the cache: an iteration reads each array about
    twice, which for many columns costs as much as the product.
    """

    solution: Columns
    residual: Columns
    direction: Columns
    energy: Float[np.ndarray, " row"]

    @staticmethod
    def of(system: NormalSystem, solution: Columns, residual: Columns) -> _Moving:
        direction = times(residual, system.preconditioner)
        return _Moving(solution, residual, direction, dot(residual, direction))

    def step(self, system: NormalSystem, active: Bool[np.ndarray, " row"]) -> None:
        """One iteration, in place; columns that are not active stay where they are."""
        solution, residual, direction = self.solution, self.residual, self.direction
        parts, scale = _parts(solution), system.preconditioner
        image = system.product(direction)
        curvature = np.zeros(active.size)
        for part in parts:
            image[part] += times(direction[part], system.pull[part])
            curvature += _dot(direction[part], image[part])
        moves = active & (curvature > 0.0)
        length = np.where(moves, self.energy, 0.0) / np.where(moves, curvature, 1.0)
        length = length.astype(solution.dtype)
        energy = np.zeros(active.size)
        for part in parts:
            solution[part] += _scaled(direction[part], length)
            residual[part] -= _scaled(image[part], length)
            energy += _dot(residual[part], times(residual[part], scale[part]))
        ratio = np.where(moves, energy, 0.0) / np.where(moves, self.energy, 1.0)
        ratio = ratio.astype(solution.dtype)
        for part in parts:
            forward = _scaled(direction[part], ratio)
            forward += times(residual[part], scale[part])
            direction[part] = forward
        self.energy = np.where(moves, energy, self.energy)

    def select(self, kept: Int[np.ndarray, " kept"]) -> _Moving:
        """Copies of some columns."""
        return _Moving(
            np.ascontiguousarray(self.solution[:, kept]),
            np.ascontiguousarray(self.residual[:, kept]),
            np.ascontiguousarray(self.direction[:, kept]),
            self.energy[kept],
        )

    def write(self, solution: Columns, residual: Columns, rows: Int[np.ndarray, " kept"]) -> None:
        """Put the columns where they came from."""
        if self.solution is not solution:
            solution[:, rows] = self.solution
            residual[:, rows] = self.residual


def dot(first: Columns, second: Columns) -> Float[np.ndarray, " row"]:
    """Scalar product of each pair of columns, in double precision between parts of the cells."""
    total = np.zeros(first.shape[1])
    for part in _parts(first):
        total += _dot(first[part], second[part])
    return total


def times(columns: Columns, factor: Float[np.ndarray, "cell column"]) -> Columns:
    """Columns times one factor for each cell, or for each cell and row."""
    if 1 < columns.shape[1] < _FEW and factor.shape[1] == 1:
        out = np.empty_like(columns)
        for row in range(columns.shape[1]):
            np.multiply(columns[:, row], factor[:, 0], out=out[:, row])
        return out
    return columns * factor


def _parts(columns: Columns) -> list[slice]:
    """Cells that stay in the cache, whole runs but for the last part."""
    cells, rows = columns.shape
    length = max(_PART // max(rows, 1) // _RUN, 1) * _RUN
    whole = cells // _RUN * _RUN
    edges = [*range(0, whole, length), whole, cells]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def _dot(first: Columns, second: Columns) -> Float[np.ndarray, " row"]:
    cells, rows = first.shape
    run = _RUN if cells % _RUN == 0 else cells
    sums = np.einsum("ij,ij->j", first.reshape(-1, run * rows), second.reshape(-1, run * rows))
    return sums.reshape(run, rows).sum(axis=0, dtype=float)


def _scaled(columns: Columns, factor: Float[np.ndarray, " row"]) -> Columns:
    """Columns times one factor each, in rows of some length: NumPy is slow at short ones."""
    cells, rows = columns.shape
    if rows >= _FEW:
        return columns * factor
    run = _RUN if cells % _RUN == 0 else cells
    return (columns.reshape(-1, run * rows) * np.tile(factor, run)).reshape(cells, rows)
