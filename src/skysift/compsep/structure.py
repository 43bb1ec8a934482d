"""Which cells share which parameters: the sparsity of the patch Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

IntArray = Int[np.ndarray, "..."]


@dataclass(frozen=True)
class Structure:
    """Index arithmetic between cells, patch parameters and Hessian entries.

    All patch parameters stand in one vector, one spectral parameter after the other. The Hessian
    has the diagonal, and an entry for every two patches of different parameters that share a cell;
    two patches of one parameter never do. Blocks are sets of parameters that no shared cell
    connects: the problem splits into one per block. Nested patches make many small blocks.

    Args:
        counts: number of patches of each parameter.
        index: parameter vector position, per spectral parameter and cell.
        rows: position of the first parameter of each off-diagonal entry.
        columns: position of the second.
        entry: off-diagonal entry that each cell adds to, per pair of spectral parameters (k > m).
        block: block of each patch parameter.
        cell_block: block of each cell.
        blocks: number of blocks.
    """

    counts: tuple[int, ...]
    index: Int[np.ndarray, "free cell"]
    rows: Int[np.ndarray, " entry"]
    columns: Int[np.ndarray, " entry"]
    entry: dict[tuple[int, int], Int[np.ndarray, " cell"]]
    block: Int[np.ndarray, " parameter"]
    cell_block: Int[np.ndarray, " cell"]
    blocks: int

    @staticmethod
    def of(labels: Int[np.ndarray, "free cell"], counts: tuple[int, ...]) -> Structure:
        """The structure of label maps, each contiguous from zero."""
        free, cells = labels.shape
        offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
        index = labels.astype(np.intp) + offset[:-1, None]
        rows, columns, entry, total = [], [], {}, 0
        for k in range(free):
            for m in range(k):
                key = labels[k].astype(np.int64) * counts[m] + labels[m]
                pairs, inverse = np.unique(key, return_inverse=True)
                rows.append(offset[k] + pairs // counts[m])
                columns.append(offset[m] + pairs % counts[m])
                entry[k, m] = inverse.astype(np.intp) + total
                total += pairs.size
        row = np.concatenate([*rows, np.zeros(0, np.intp)]).astype(np.intp)
        column = np.concatenate([*columns, np.zeros(0, np.intp)]).astype(np.intp)
        size = int(offset[-1])
        if free == 0:
            return Structure(
                counts, index, row, column, entry, np.zeros(0, np.intp), np.zeros(cells, np.intp), 1
            )
        graph = coo_array((np.ones(row.size, np.int8), (row, column)), shape=(size, size))
        blocks, block = connected_components(graph, directed=False)
        return Structure(
            counts,
            index,
            row,
            column,
            entry,
            block.astype(np.intp),
            block[index[0]].astype(np.intp),
            blocks,
        )

    @property
    def size(self) -> int:
        """Number of patch parameters."""
        return self.block.size

    @property
    def largest_block(self) -> int:
        """Number of parameters in the largest block."""
        return int(np.bincount(self.block).max(initial=0))

    def gather(self, per_cell: Float[np.ndarray, "free cell"]) -> Float[np.ndarray, " parameter"]:
        """Sum of cell values over each patch."""
        total = [
            np.bincount(index - start, values, count)
            for index, values, count, start in zip(
                self.index, per_cell, self.counts, np.cumsum([0, *self.counts])[:-1], strict=True
            )
        ]
        return np.concatenate([*total, np.zeros(0)])

    def per_block(
        self, per_parameter: Float[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " block"]:
        """Sum of parameter values over each block."""
        return np.bincount(self.block, per_parameter, self.blocks)

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        """The parameter vector cut into one array per spectral parameter."""
        return np.split(vector, np.cumsum(self.counts)[:-1]) if self.counts else []


@dataclass(frozen=True)
class SymmetricMatrix:
    """A symmetric matrix with the sparsity of a structure.

    Args:
        structure: where the entries stand.
        diagonal: entries on the diagonal.
        off: entries below it, for `structure.rows` and `structure.columns`.
    """

    structure: Structure
    diagonal: Float[np.ndarray, " parameter"]
    off: Float[np.ndarray, " entry"]

    def __matmul__(
        self, vector: Float[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " parameter"]:
        rows, columns, size = self.structure.rows, self.structure.columns, self.structure.size
        return (
            self.diagonal * vector
            + np.bincount(rows, self.off * vector[columns], size)
            + np.bincount(columns, self.off * vector[rows], size)
        )

    def plus_diagonal(self, diagonal: Float[np.ndarray, " parameter"]) -> SymmetricMatrix:
        """This matrix with something added on the diagonal."""
        return SymmetricMatrix(self.structure, self.diagonal + diagonal, self.off)

    def where(self, chosen: np.ndarray, other: SymmetricMatrix) -> SymmetricMatrix:
        """This matrix in the chosen blocks, the other elsewhere."""
        block = self.structure.block
        return SymmetricMatrix(
            self.structure,
            np.where(chosen[block], self.diagonal, other.diagonal),
            np.where(chosen[block[self.structure.rows]], self.off, other.off),
        )
