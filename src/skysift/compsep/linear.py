"""Damped Newton steps within bounds: batched dense blocks, sparse factors, or conjugate gradients."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csc_array, csr_array
from scipy.sparse.linalg import LinearOperator, SuperLU, cg, splu

from skysift.compsep.structure import Structure, SymmetricMatrix

_LARGEST_DENSE = 96
_BOUND_PASSES = 8
_PROBES = 64
_BATCH = 1024


@dataclass(frozen=True)
class Box:
    """What a step may do: how far each parameter can move, and which are free to.

    Args:
        low: distance to the lower bound (not positive).
        high: distance to the upper bound (not negative).
        free: parameters that move.
    """

    low: Float[np.ndarray, " parameter"]
    high: Float[np.ndarray, " parameter"]
    free: Bool[np.ndarray, " parameter"]


@dataclass(frozen=True)
class Step:
    """A step and the blocks whose matrix was positive definite (the step is zero in the others)."""

    change: Float[np.ndarray, " parameter"]
    positive: Bool[np.ndarray, " block"]


class AbstractSystem(abc.ABC):
    """Solves with matrices of one structure."""

    @abc.abstractmethod
    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        """Minimise g x + x H x / 2 within the box, parameters that hit a bound staying there."""

    @abc.abstractmethod
    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        """Entries of the inverse where the matrix has entries, NaN for what is not free or positive."""


def system(structure: Structure, memory: float) -> AbstractSystem:
    """The solver that suits a structure.

    Args:
        structure: sparsity of the Hessian.
        memory: bytes that a sparse factor may take.

    Returns:
        Dense blocks when all are small; a sparse factor when its estimated fill (nested dissection on
        a surface: n log2 n) fits the memory; else conjugate gradients.
    """
    if structure.largest_block <= _LARGEST_DENSE:
        return DenseBlocks(structure)
    entries = structure.size + 2 * structure.rows.size
    if 16.0 * entries * math.log2(structure.size) <= memory:
        return SparseFactor(structure)
    return ConjugateGradient(structure)


@dataclass(frozen=True)
class _Bucket:
    """Blocks padded to one width: their numbers, parameters (-1 padding) and off-diagonal entries."""

    blocks: Int[np.ndarray, " batch"]
    members: Int[np.ndarray, "batch width"]
    entry: Int[np.ndarray, " entry"]
    place: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DenseBlocks(AbstractSystem):
    """Many small blocks, solved as batches of dense Cholesky factors."""

    structure: Structure

    @cached_property
    def buckets(self) -> list[_Bucket]:
        """Blocks grouped by size rounded up, so that few shapes are compiled."""
        structure = self.structure
        order = np.argsort(structure.block, kind="stable")
        sizes = np.bincount(structure.block, minlength=structure.blocks)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        place = np.empty(structure.size, np.intp)
        place[order] = np.arange(structure.size) - np.repeat(first, sizes)
        widths = np.array([_round_up(size) for size in range(sizes.max() + 1)])[sizes]
        buckets = []
        for width in np.unique(widths):
            blocks = np.flatnonzero(widths == width)
            slot = np.full(structure.blocks, -1)
            slot[blocks] = np.arange(blocks.size)
            members = np.full((blocks.size, width), -1)
            inside = np.flatnonzero(slot[structure.block] >= 0)
            members[slot[structure.block[inside]], place[inside]] = inside
            entry = np.flatnonzero(slot[structure.block[structure.rows]] >= 0)
            rows, columns = structure.rows[entry], structure.columns[entry]
            where = (slot[structure.block[rows]], place[rows], place[columns])
            buckets.append(_Bucket(blocks, members, entry, where))
        return buckets

    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        change, positive = np.zeros(self.structure.size), np.ones(self.structure.blocks, bool)
        for bucket in self.buckets:
            dense = _dense(bucket, matrix)
            vectors = [_spread(bucket, vector, 0) for vector in (gradient, box.low, box.high)]
            free = _spread(bucket, box.free, False)
            for part in _batches(bucket.blocks.size):
                moved, good = _bounded_solve(*_padded(part, dense, *vectors, free))
                count = min(part.stop, bucket.blocks.size) - part.start
                members = bucket.members[part]
                change[members[members >= 0]] = np.asarray(moved)[:count][members >= 0]
                positive[bucket.blocks[part]] = np.asarray(good)[:count]
        return Step(change, positive)

    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        diagonal = np.full(self.structure.size, np.nan)
        off = np.full(self.structure.rows.size, np.nan)
        for bucket in self.buckets:
            inverse = _inverses(bucket, matrix, free)
            used = bucket.members >= 0
            diagonal[bucket.members[used]] = np.einsum("bii->bi", inverse)[used]
            off[bucket.entry] = inverse[bucket.place]
        return SymmetricMatrix(self.structure, diagonal, off)

    def inverse(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"], otherwise: np.ndarray
    ) -> csr_array:
        """The whole inverse; a given diagonal in the blocks that are not positive definite."""
        rows, columns, values = [], [], []
        for bucket in self.buckets:
            inverse = _inverses(bucket, matrix, free)
            moving = _spread(bucket, free, False)
            pair = moving[:, :, None] & moving[:, None, :]
            good = ~np.any(np.isnan(inverse) & pair, axis=(1, 2))
            simple = np.einsum(
                "bi,ij->bij", _spread(bucket, otherwise, 0.0), np.eye(moving.shape[1])
            )
            chosen = np.where(good[:, None, None], inverse, simple)
            rows.append(np.broadcast_to(bucket.members[:, :, None], pair.shape)[pair])
            columns.append(np.broadcast_to(bucket.members[:, None, :], pair.shape)[pair])
            values.append(chosen[pair])
        where = (np.concatenate(rows), np.concatenate(columns))
        return csr_array((np.concatenate(values), where), shape=(self.structure.size,) * 2)


def _round_up(size: int) -> int:
    step = 4 if size <= 32 else 16
    return max(step, -(-size // step) * step)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]


def _padded(part: slice, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The batch, filled up with its first block to the compiled size."""
    chosen = [array[part] for array in arrays]
    short = _BATCH - chosen[0].shape[0]
    return tuple(
        np.concatenate([a, np.repeat(a[:1], short, axis=0)]) if short else a for a in chosen
    )


def _spread(bucket: _Bucket, vector: np.ndarray, fill: float | bool) -> np.ndarray:
    return np.where(bucket.members >= 0, vector[bucket.members], fill)


def _dense(bucket: _Bucket, matrix: SymmetricMatrix) -> Float[np.ndarray, "batch width width"]:
    batch, width = bucket.members.shape
    dense = np.zeros((batch, width, width))
    block, row, column = bucket.place
    dense[block, row, column] = matrix.off[bucket.entry]
    dense[block, column, row] = matrix.off[bucket.entry]
    np.einsum("bii->bi", dense)[:] = _spread(bucket, matrix.diagonal, 1.0)
    return dense


def _scaled_factor(dense, free):
    """Cholesky factor of the free part scaled to unit diagonal; NaN unless safely positive definite."""
    diagonal = jnp.einsum("bii->bi", dense)
    scale = jnp.where(free & (diagonal > 0), jnp.sqrt(jnp.abs(diagonal)), 1.0)
    scale = jnp.where(scale > 0, scale, 1.0)
    pair = free[:, :, None] & free[:, None, :]
    identity = jnp.eye(dense.shape[-1])
    unit = jnp.where(pair, dense / (scale[:, :, None] * scale[:, None, :]), identity)
    factor = jnp.linalg.cholesky(unit, symmetrize_input=False)
    pivots = jnp.einsum("bii->bi", factor)
    good = jnp.all(pivots > 1e-7, axis=-1)
    return factor, scale, good


def _cholesky_solve(factor, right):
    half = jax.lax.linalg.triangular_solve(factor, right[..., None], left_side=True, lower=True)
    return jax.lax.linalg.triangular_solve(
        factor, half, left_side=True, lower=True, transpose_a=True
    )[..., 0]


@jax.jit
def _bounded_solve(dense, gradient, low, high, free):
    """Steps of a batch of blocks; whoever crosses a bound is put on it and the rest solved again."""

    def solve(carry):
        free, change, _, count = carry
        factor, scale, good = _scaled_factor(dense, free)
        pushed = jnp.einsum("bij,bj->bi", dense, jnp.where(free, 0.0, change))
        right = jnp.where(free, -(gradient + pushed) / scale, 0.0)
        moved = jnp.where(free, _cholesky_solve(factor, right) / scale, change)
        crossing = free & ((moved < low) | (moved > high))
        moved = jnp.where(good[:, None], jnp.clip(moved, low, high), 0.0)
        return free & ~crossing, moved, jnp.any(crossing & good[:, None]), count + 1

    def unfinished(carry):
        return carry[2] & (carry[3] < _BOUND_PASSES)

    _, _, good = _scaled_factor(dense, free)
    start = (free, jnp.zeros_like(gradient), jnp.array(True), 0)
    _, change, _, _ = jax.lax.while_loop(unfinished, solve, start)
    return change, good


def _inverses(
    bucket: _Bucket, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
) -> Float[np.ndarray, "batch width width"]:
    dense, moving = _dense(bucket, matrix), _spread(bucket, free, False)
    batches = [
        _masked_inverse(*_padded(part, dense, moving)) for part in _batches(bucket.blocks.size)
    ]
    return np.concatenate([np.asarray(batch) for batch in batches])[: bucket.blocks.size]


@jax.jit
def _masked_inverse(dense, free):
    factor, scale, good = _scaled_factor(dense, free)
    identity = jnp.broadcast_to(jnp.eye(dense.shape[-1]), dense.shape)
    half = jax.lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    inverse = jnp.einsum("bki,bkj->bij", half, half) / (scale[:, :, None] * scale[:, None, :])
    known = free[:, :, None] & free[:, None, :] & good[:, None, None]
    return jnp.where(known, inverse, jnp.nan)


@dataclass(frozen=True)
class SparseFactor(AbstractSystem):
    """Blocks too large for dense algebra: one sparse factor of all of them."""

    structure: Structure

    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        sparse = _sparse(matrix)
        free, change = box.free.copy(), np.zeros(self.structure.size)
        positive = np.ones(self.structure.blocks, bool)
        for count in range(_BOUND_PASSES):
            inside = np.flatnonzero(free)
            if inside.size == 0:
                break
            right = -(gradient + sparse @ np.where(free, 0.0, change))[inside]
            scale = _scale(matrix.diagonal[inside])
            factor, pivots = _factor(sparse[inside][:, inside], scale)
            bad = np.unique(self.structure.block[inside[~(pivots > 1e-14)]])
            if bad.size:
                positive[bad] = False
                free[np.isin(self.structure.block, bad)] = False
                change[np.isin(self.structure.block, bad)] = 0.0
                continue
            change[inside] = factor.solve(right / scale) / scale
            crossing = free & ((change < box.low) | (change > box.high))
            change = np.clip(change, box.low, box.high)
            if not crossing.any():
                break
            free &= ~crossing
        return Step(np.where(positive[self.structure.block], change, 0.0), positive)

    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        structure = self.structure
        diagonal, off = np.full(structure.size, np.nan), np.full(structure.rows.size, np.nan)
        inside = np.flatnonzero(free)
        place = np.full(structure.size, -1)
        place[inside] = np.arange(inside.size)
        scale = _scale(matrix.diagonal[inside])
        factor, pivots = _factor(_sparse(matrix)[inside][:, inside], scale)
        if not np.all(pivots > 1e-14):
            return SymmetricMatrix(structure, diagonal, off)
        both = (place[structure.rows] >= 0) & (place[structure.columns] >= 0)
        wanted = np.flatnonzero(both)[np.argsort(place[structure.columns[both]], kind="stable")]
        row, column = place[structure.rows[wanted]], place[structure.columns[wanted]]
        for start in range(0, inside.size, _BATCH):
            stop = min(start + _BATCH, inside.size)
            unit = np.zeros((inside.size, stop - start))
            unit[np.arange(start, stop), np.arange(stop - start)] = 1.0 / scale[start:stop]
            solved = factor.solve(unit) / scale[:, None]
            diagonal[inside[start:stop]] = solved[np.arange(start, stop), np.arange(stop - start)]
            here = slice(*np.searchsorted(column, [start, stop]))
            off[wanted[here]] = solved[row[here], column[here] - start]
        return SymmetricMatrix(structure, diagonal, off)


def _scale(diagonal: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def _sparse(matrix: SymmetricMatrix) -> csc_array:
    structure = matrix.structure
    here = np.arange(structure.size)
    rows = np.concatenate([here, structure.rows, structure.columns])
    columns = np.concatenate([here, structure.columns, structure.rows])
    values = np.concatenate([matrix.diagonal, matrix.off, matrix.off])
    return csc_array((values, (rows, columns)), shape=(structure.size, structure.size))


def _factor(
    matrix: csc_array, scale: np.ndarray
) -> tuple[SuperLU, Float[np.ndarray, " parameter"]]:
    """Factor of the matrix scaled to unit diagonal, and the pivot of each parameter.

    Without row exchanges the pivots of a symmetric elimination have the signs of the eigenvalues
    (Sylvester's law of inertia). Where SuperLU exchanged rows after all, the pivots are NaN.
    """
    inverse = 1.0 / scale
    scaled = csc_array(matrix.multiply(inverse[:, None]).multiply(inverse[None, :]))
    options = {"SymmetricMode": True, "Equil": False}
    try:
        factor = splu(scaled, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError:  # exactly singular
        factor = splu(csc_array((np.ones(scale.size), (range(scale.size),) * 2)))
        return factor, np.full(scale.size, np.nan)
    pivots = factor.U.diagonal()[factor.perm_c]
    return factor, np.where(factor.perm_r == factor.perm_c, pivots, np.nan)


@dataclass(frozen=True)
class ConjugateGradient(AbstractSystem):
    """Systems whose sparse factor would not fit memory: conjugate gradients with block-Jacobi.

    A preconditioner block is a patch of one parameter with the finer patches that mostly lie in it.
    """

    structure: Structure

    @cached_property
    def _groups(self) -> DenseBlocks:
        """The structure with the entries between groups left out."""
        structure = self.structure
        counts = np.array(structure.counts)
        small = [k for k in range(counts.size) if structure.size <= _LARGEST_DENSE / 2 * counts[k]]
        pivot = min(small, key=lambda k: counts[k], default=int(np.argmax(counts)))
        starts = np.cumsum([0, *counts])
        group = np.arange(structure.size)
        cells = sum(np.bincount(e, minlength=structure.rows.size) for e in structure.entry.values())
        rising = np.argsort(cells, kind="stable")
        for fine, coarse in (
            (structure.rows, structure.columns),
            (structure.columns, structure.rows),
        ):
            inside = (coarse >= starts[pivot]) & (coarse < starts[pivot + 1])
            kind = np.searchsorted(starts, fine, side="right") - 1
            chosen = rising[(inside & (counts[kind] >= counts[pivot]))[rising]]
            group[fine[chosen]] = coarse[
                chosen
            ]  # of repeated assignments the last, the largest, stays
        kept = np.flatnonzero(group[structure.rows] == group[structure.columns])
        names, block = np.unique(group, return_inverse=True)
        return DenseBlocks(
            replace(
                structure,
                rows=structure.rows[kept],
                columns=structure.columns[kept],
                entry={},
                block=block,
                blocks=names.size,
            )
        )

    def _preconditioner(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> csr_array:
        """Inverse of the groups, the inverse diagonal where a group is not positive."""
        groups = self._groups
        structure = self.structure
        within = groups.structure.block[structure.rows] == groups.structure.block[structure.columns]
        inner = SymmetricMatrix(groups.structure, matrix.diagonal, matrix.off[within])
        simple = np.where(free & (matrix.diagonal > 0), 1.0 / _scale(matrix.diagonal) ** 2, 0.0)
        return groups.inverse(inner, free, simple)

    def _solve(
        self,
        sparse: csc_array,
        preconditioner: csr_array,
        right: Float[np.ndarray, " parameter"],
        free: Bool[np.ndarray, " parameter"],
    ) -> Float[np.ndarray, " parameter"]:
        inside = free.astype(float)

        def apply(vector: np.ndarray) -> np.ndarray:
            return inside * (sparse @ (inside * vector)) + (1.0 - inside) * vector

        shape = (free.size, free.size)
        solved, _ = cg(
            LinearOperator(shape, matvec=apply),
            inside * right,
            rtol=1e-10,
            maxiter=500,
            M=LinearOperator(shape, matvec=lambda v: preconditioner @ v + (1.0 - inside) * v),
        )
        return inside * solved

    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        sparse = _sparse(matrix)
        free, change = box.free & (matrix.diagonal > 0), np.zeros(self.structure.size)
        for _ in range(_BOUND_PASSES):
            held = np.where(free, 0.0, change)
            moved = self._solve(
                sparse, self._preconditioner(matrix, free), -(gradient + sparse @ held), free
            )
            change = held + moved
            crossing = free & ((change < box.low) | (change > box.high))
            change = np.clip(change, box.low, box.high)
            if not crossing.any():
                break
            free &= ~crossing
        positive = self.structure.per_block(change * (sparse @ change)) >= 0.0
        return Step(np.where(positive[self.structure.block], change, 0.0), positive)

    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        """Diagonal of the inverse by probing with random signs; the groups' inverse as control variate.

        Source: Bekas, Kokiopoulou & Saad 2007, Appl. Numer. Math. 57, 1214. Entries off the diagonal
        are not estimated (NaN).
        """
        sparse, preconditioner = _sparse(matrix), self._preconditioner(matrix, free)
        random = np.random.default_rng(0)
        diagonal = preconditioner.diagonal()
        for _ in range(_PROBES):
            sign = np.where(free, random.choice([-1.0, 1.0], free.size), 0.0)
            solved = self._solve(sparse, preconditioner, sign, free)
            diagonal += sign * (solved - preconditioner @ sign) / _PROBES
        known = free & (diagonal > 0)
        off = np.full(self.structure.rows.size, np.nan)
        return SymmetricMatrix(self.structure, np.where(known, diagonal, np.nan), off)
