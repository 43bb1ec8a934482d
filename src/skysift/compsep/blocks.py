"""Newton systems of many small blocks, as batches of dense Cholesky factors.

The devices that the calling thread may use take the batches in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from skysift.compsep.devices import take_turns, usable
from skysift.compsep.linear import BOUND_PASSES, AbstractSystem, Box, Step
from skysift.compsep.structure import Structure, SymmetricMatrix


@dataclass(frozen=True)
class _Bucket:
    """Blocks padded to one width: numbers, parameters (-1 for padding), off-diagonal entries."""

    blocks: Int[np.ndarray, " batch"]
    members: Int[np.ndarray, "batch width"]
    entry: Int[np.ndarray, " entry"]
    place: tuple[np.ndarray, np.ndarray, np.ndarray]

    def moving(self, free: Bool[np.ndarray, " parameter"]) -> _Bucket:
        """The blocks in which some parameter is free."""
        wanted = np.any((self.members >= 0) & free[self.members], axis=1)
        if wanted.all():
            return self
        slot, row, column = self.place
        kept = wanted[slot]
        renumbered = np.cumsum(wanted) - 1
        return _Bucket(
            self.blocks[wanted],
            self.members[wanted],
            self.entry[kept],
            (renumbered[slot[kept]], row[kept], column[kept]),
        )


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
        """Solve every block by itself."""
        change, positive = np.zeros(self.structure.size), np.ones(self.structure.blocks, bool)
        for whole in self.buckets:
            bucket = whole.moving(box.free)
            dense = _dense(bucket, matrix)
            vectors = [_spread(bucket, vector, 0) for vector in (gradient, box.low, box.high)]
            free = _spread(bucket, box.free, False)
            for part, (moved, good) in _solved(_bounded_solve, bucket, dense, *vectors, free):
                members = bucket.members[part]
                change[members[members >= 0]] = moved[members >= 0]
                positive[bucket.blocks[part]] = good
        return Step(change, positive)

    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        """Invert every block by itself."""
        diagonal = np.full(self.structure.size, np.nan)
        off = np.full(self.structure.rows.size, np.nan)
        for bucket in self.buckets:
            inverse = _inverses(bucket, matrix, free)
            used = bucket.members >= 0
            diagonal[bucket.members[used]] = np.einsum("bii->bi", inverse)[used]
            off[bucket.entry] = inverse[bucket.place]
        return SymmetricMatrix(self.structure, diagonal, off)

    def log_determinant(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " block"]:
        """Pivots of every block's factor."""
        out = np.zeros(self.structure.blocks)
        for bucket in self.buckets:
            dense, moving = _dense(bucket, matrix), _spread(bucket, free, False)
            for part, (values,) in _solved(_log_determinants, bucket, dense, moving):
                out[bucket.blocks[part]] = values
        return out

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
    """Few widths, so that few shapes are compiled; nested patches of three levels make up to 21."""
    return next((width for width in (8, 24, 48, 96) if size <= width), -(-size // 64) * 64)


def _batch(bucket: _Bucket) -> int:
    """How many blocks are solved at once, few where they are wide."""
    return 256 if bucket.members.shape[1] <= 24 else 32


def _batches(bucket: _Bucket) -> list[slice]:
    count, batch = bucket.blocks.size, _batch(bucket)
    return [slice(start, min(start + batch, count)) for start in range(0, count, batch)]


def _padded(batch: int, part: slice, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Part of the arrays, filled up with its first block to the compiled batch."""
    chosen = [array[part] for array in arrays]
    short = batch - chosen[0].shape[0]
    return tuple(
        np.concatenate([a, np.repeat(a[:1], short, axis=0)]) if short else a for a in chosen
    )


def _solved(
    function: Callable, bucket: _Bucket, *arrays: np.ndarray
) -> Iterator[tuple[slice, tuple[np.ndarray, ...]]]:
    """Results of a compiled function of arrays with a row per block, batch by batch."""
    batch = _batch(bucket)

    def solve(part: slice) -> tuple[slice, tuple[np.ndarray, ...]]:
        out = function(*_padded(batch, part, *arrays))
        return part, tuple(np.asarray(x)[: part.stop - part.start] for x in out)

    return take_turns(solve, _batches(bucket), usable())


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
    """Cholesky factor of the free part scaled to unit diagonal, and whether it is safely one."""
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
    """Steps of a batch of blocks; what crosses a bound is put on it and the rest solved again."""

    def solve(carry):
        free, change, positive, _, count = carry
        factor, scale, good = _scaled_factor(dense, free)
        positive = jnp.where(count == 0, good, positive)
        pushed = jnp.einsum("bij,bj->bi", dense, jnp.where(free, 0.0, change))
        right = jnp.where(free, -(gradient + pushed) / scale, 0.0)
        moved = jnp.where(free, _cholesky_solve(factor, right) / scale, change)
        crossing = free & ((moved < low) | (moved > high))
        moved = jnp.where(positive[:, None], jnp.clip(moved, low, high), 0.0)
        again = jnp.any(crossing & positive[:, None])
        return free & ~crossing, moved, positive, again, count + 1

    def unfinished(carry):
        return carry[3] & (carry[4] < BOUND_PASSES)

    start = (free, jnp.zeros_like(gradient), jnp.ones(free.shape[0], bool), jnp.array(True), 0)
    _, change, positive, _, _ = jax.lax.while_loop(unfinished, solve, start)
    return change, positive


def _inverses(
    bucket: _Bucket, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
) -> Float[np.ndarray, "batch width width"]:
    dense, moving = _dense(bucket, matrix), _spread(bucket, free, False)
    solved = _solved(_masked_inverse, bucket, dense, moving)
    return np.concatenate([inverse for _, (inverse,) in solved])


@jax.jit
def _masked_inverse(dense, free):
    factor, scale, good = _scaled_factor(dense, free)
    identity = jnp.broadcast_to(jnp.eye(dense.shape[-1]), dense.shape)
    half = jax.lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    inverse = jnp.einsum("bki,bkj->bij", half, half) / (scale[:, :, None] * scale[:, None, :])
    known = free[:, :, None] & free[:, None, :] & good[:, None, None]
    return (jnp.where(known, inverse, jnp.nan),)


@jax.jit
def _log_determinants(dense, free):
    factor, scale, good = _scaled_factor(dense, free)
    half = jnp.log(jnp.einsum("bii->bi", factor)) + jnp.where(free, jnp.log(scale), 0.0)
    return (jnp.where(good, 2.0 * jnp.sum(half, axis=-1), jnp.nan),)
