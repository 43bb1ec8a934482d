"""Newton systems too connected for small blocks: sparse factors and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csc_array, csr_array, diags_array
from scipy.sparse.linalg import SuperLU, cg, splu

from skysift.compsep.blocks import DenseBlocks
from skysift.compsep.linear import BOUND_PASSES, AbstractSystem, Box, Step
from skysift.compsep.structure import Structure, SymmetricMatrix

_COLUMNS = 1024
_LARGEST_DENSE = 8000
_GROUP = 48
_PROBES = 64


@dataclass(frozen=True)
class SparseFactor(AbstractSystem):
    """Blocks too large for dense algebra: one sparse factor of all of them."""

    structure: Structure

    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        """Factor what is free; blocks with a negative pivot get no step."""
        sparse = _sparse(matrix)
        free, change = box.free.copy(), np.zeros(self.structure.size)
        positive = np.ones(self.structure.blocks, bool)
        for _ in range(BOUND_PASSES):
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

    def log_determinant(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " block"]:
        """Pivots of the factor of what is free."""
        inside = np.flatnonzero(free)
        if inside.size == 0:
            return np.zeros(self.structure.blocks)
        scale = _scale(matrix.diagonal[inside])
        _, pivots = _factor(_sparse(matrix)[inside][:, inside], scale)
        positive = pivots > 1e-14
        logs = np.log(np.where(positive, pivots, np.nan)) + 2.0 * np.log(scale)
        return np.bincount(self.structure.block[inside], logs, self.structure.blocks)

    def inverse_entries(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> SymmetricMatrix:
        """Eliminate the parameter with most patches, a diagonal block, and invert the rest.

        With A = [[D, B], [B^T, C]] the inverse of C - B^T D^-1 B gives all entries wanted, a batch
        of columns at a time; the diagonal of the eliminated part follows from A A^-1 = 1.
        """
        structure = self.structure
        diagonal, off = np.full(structure.size, np.nan), np.full(structure.rows.size, np.nan)
        kind = np.repeat(np.arange(len(structure.counts)), structure.counts)
        eliminated = kind == np.argmax(np.bincount(kind[free], minlength=1))
        one, two = np.flatnonzero(free & eliminated), np.flatnonzero(free & ~eliminated)
        inner, scale = matrix.diagonal[one], _scale(matrix.diagonal[two])
        if np.any(inner <= 0):
            return SymmetricMatrix(structure, diagonal, off)
        whole = _sparse(matrix)
        coupling = csr_array(whole[one][:, two] @ diags_array(1.0 / scale))
        rest = diags_array(1.0 / scale) @ whole[two][:, two] @ diags_array(1.0 / scale)
        solve = _positive_solver(rest - coupling.T @ diags_array(1.0 / inner) @ coupling)
        if solve is None:
            return SymmetricMatrix(structure, diagonal, off)

        where = np.full(structure.size, -1)  # rows of the batches below, then those of `two`
        where[one], where[two] = np.arange(one.size), one.size + np.arange(two.size)
        fine = np.where(eliminated[structure.rows], structure.rows, structure.columns)
        coarse = np.where(eliminated[structure.rows], structure.columns, structure.rows)
        known = np.flatnonzero((where[fine] >= 0) & (where[coarse] >= 0))
        wanted = known[np.argsort(where[coarse[known]], kind="stable")]
        row, column = where[fine[wanted]], where[coarse[wanted]] - one.size
        links = coupling.tocoo()
        explained = np.zeros(one.size)
        for start in range(0, two.size, _COLUMNS):
            stop = min(start + _COLUMNS, two.size)
            below = solve(np.eye(two.size, stop - start, -start))
            above = -(coupling @ below) / inner[:, None]
            batch = np.concatenate([above, below / scale[:, None]]) / scale[start:stop]
            diagonal[two[start:stop]] = np.diagonal(batch[one.size + start :])
            here = slice(*np.searchsorted(column, [start, stop]))
            off[wanted[here]] = batch[row[here], column[here] - start]
            mine = (links.col >= start) & (links.col < stop)
            pulled = links.data[mine] * above[links.row[mine], links.col[mine] - start]
            explained += np.bincount(links.row[mine], pulled, one.size)
        diagonal[one] = (1.0 - explained) / inner
        return SymmetricMatrix(structure, diagonal, off)


def _positive_solver(
    matrix: csc_array,
) -> Callable[[Float[np.ndarray, "row column"]], Float[np.ndarray, "row column"]] | None:
    """Solver of a scaled symmetric matrix, dense if small; `None` unless positive definite."""
    size = matrix.diagonal().size
    if size > _LARGEST_DENSE:
        factor, pivots = _factor(csc_array(matrix), np.ones(size))
        return factor.solve if np.all(pivots > 1e-14) else None
    try:
        dense = cho_factor(matrix.toarray())
    except LinAlgError:
        return None
    return lambda right: cho_solve(dense, right)


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
        small = [k for k in range(counts.size) if structure.size <= _GROUP * counts[k]]
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
        inside = diags_array(free.astype(float))
        outside = diags_array((~free).astype(float))
        solved, _ = cg(
            inside @ sparse @ inside + outside,
            inside @ right,
            rtol=1e-10,
            maxiter=500,
            M=preconditioner + outside,
        )
        return inside @ solved

    def step(
        self, matrix: SymmetricMatrix, gradient: Float[np.ndarray, " parameter"], box: Box
    ) -> Step:
        """Iterate on what is free; blocks of negative curvature get no step."""
        sparse = _sparse(matrix)
        free, change = box.free & (matrix.diagonal > 0), np.zeros(self.structure.size)
        for _ in range(BOUND_PASSES):
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
        """Diagonal of the inverse, probed with random signs; entries off it stay unknown (NaN).

        The groups' inverse serves as control variate. Source: Bekas, Kokiopoulou & Saad 2007, Appl.
        Numer. Math. 57, 1214.
        """
        sparse, preconditioner = _sparse(matrix), self._preconditioner(matrix, free)
        random = np.random.default_rng(0)
        diagonal, scale = preconditioner.diagonal(), _scale(matrix.diagonal)
        for _ in range(_PROBES):
            # In units of each parameter's error, or the noise of one would drown another.
            probe = np.where(free, scale * random.choice([-1.0, 1.0], free.size), 0.0)
            solved = self._solve(sparse, preconditioner, probe, free)
            diagonal += probe * (solved - preconditioner @ probe) / (scale**2 * _PROBES)
        known = free & (diagonal > 0)
        off = np.full(self.structure.rows.size, np.nan)
        return SymmetricMatrix(self.structure, np.where(known, diagonal, np.nan), off)

    def log_determinant(
        self, matrix: SymmetricMatrix, free: Bool[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " block"]:
        """Not by iteration: a determinant needs the factor.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"memory: expected enough for the factor of {self.structure.size} patch parameters, "
            "got less. Raise SolverOptions.memory, or choose patches by a criterion other than "
            "the evidence."
        )
