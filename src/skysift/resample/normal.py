"""Normal equations of samples that cells explain, for many rows of values at once.

Arrays are laid out [cell, row] and [sample, row]: the sparse products then read their links once
for all rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from skysift.resample.kernels import normal_product
from skysift.resample.sampling import Sampling

_TOGETHER = 1 << 18

CROWDED = 6.0
"""Samples per cell from which on A^T W A is worth its own matrix.

A cell shares samples with about four times as many cells as a sample has links: the matrix has 4 P
numbers for each cell, where products with A and A^T read 2 P times the samples per cell. To make it
costs as much as some tens of these products.
"""


@dataclass(frozen=True, eq=False)
class LinkMatrix:
    """The matrix A of a sampling, samples in the order in which they are stored.

    Args:
        blocks: rows and the matrix of these rows; views of what the sampling holds.
        n_cells: number of columns.
    """

    blocks: tuple[tuple[slice, csr_array], ...]
    n_cells: int

    @staticmethod
    def of(sampling: Sampling) -> LinkMatrix:
        """Matrix of a sampling."""
        return LinkMatrix(sampling.matrices, sampling.n_cells)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the weights, in which everything is computed."""
        return self.blocks[0][1].dtype

    def __matmul__(self, cells: Float[np.ndarray, "cell row"]) -> Float[np.ndarray, "sample row"]:
        if len(self.blocks) == 1:
            return self.blocks[0][1] @ cells
        return np.concatenate([matrix @ cells for _, matrix in self.blocks])

    def back(self, samples: Float[np.ndarray, "sample row"]) -> Float[np.ndarray, "cell row"]:
        """A^T times samples; the transpose shares the memory of the matrix and is as fast."""
        (rows, matrix), *others = self.blocks
        total = matrix.T @ samples[rows]
        for rows, matrix in others:
            total += matrix.T @ samples[rows]
        return total

    def normal(
        self, weight: Float[np.ndarray, "sample 1"], cells: Float[np.ndarray, "cell 1"]
    ) -> Float[np.ndarray, "cell 1"]:
        """A^T W A times one column, in one pass; of many columns scipy's two are as fast."""
        total = np.zeros(self.n_cells, self.dtype)
        for rows, matrix in self.blocks:
            links = matrix.indices, matrix.data, self.degree
            total += normal_product(*links, weight[rows, 0], cells[:, 0])
        return total[:, None]

    @functools.cached_property
    def degree(self) -> int:
        """Number of links of each sample, 0 where it is not the same for all."""
        counts = {
            int(extreme)
            for _, matrix in self.blocks
            for extreme in (np.diff(matrix.indptr).min(), np.diff(matrix.indptr).max())
        }
        return counts.pop() if len(counts) == 1 else 0

    def mapped(self, function: Callable[[np.ndarray], np.ndarray]) -> LinkMatrix:
        """The same links with a function of the weights."""
        blocks = []
        for rows, matrix in self.blocks:
            parts = function(matrix.data), matrix.indices, matrix.indptr
            blocks.append((rows, csr_array(parts, shape=matrix.shape)))
        return LinkMatrix(tuple(blocks), self.n_cells)

    @functools.cached_property
    def magnitude(self) -> LinkMatrix:
        """Absolute weights: the same object if none is negative."""
        signed = any(np.any(matrix.data < 0.0) for _, matrix in self.blocks)
        return self.mapped(np.abs) if signed else self

    @functools.cached_property
    def row_sum(self) -> Float[np.ndarray, "sample 1"]:
        """Sum of the weights of each sample."""
        return self @ np.ones((self.n_cells, 1), self.dtype)

    def gram(self, weight: Float[np.ndarray, " sample"]) -> csr_array:
        """A^T W A. Samples come in parts, so that it takes little memory besides."""
        total = csr_array((self.n_cells, self.n_cells), dtype=self.dtype)
        for rows, matrix in self.blocks:
            own = weight[rows]
            for start in range(0, own.size, _TOGETHER):
                some = slice(start, start + _TOGETHER)
                part = matrix[some]
                weighed = part.copy()
                weighed.data *= np.repeat(own[some], np.diff(part.indptr))
                total = total + part.T.tocsr() @ weighed
        return total


@dataclass(frozen=True, eq=False)
class NormalSystem:
    """A^T W A + damping D + smoothness L for each row of values.

    D = |A|^T W |A| 1 bounds A^T W A from above (for weights that are not negative the two agree on
    constants): in its metric the eigenvalues lie between 0 and 1, and the damping has no unit.

    What samples of a cell have from elsewhere, structure finer than cells or noise that they share,
    comes into the cell divided by its part in them, sum_i W_i A_ik^2 / D_k; a third inside of a
    swath, but a few hundredths beyond its edge. The damping of a cell can be at least what is
    missing to some part: such errors are then not magnified more than by one over that part.

    Args:
        links: the matrix A.
        weight: W, one column for all rows or one for each.
        scale: D, in columns as the weight; 0 in cells without a sample.
        damping: for each row, or one for all.
        least: least damping of each cell, in columns as the weight, or `None`.
        laplacian: L, the smoothness prior, or `None`.
        smoothness: strength of the prior.
        gram: A^T W A as one matrix where that is quicker, else `None`.
        held: cells that are not to move, or `None`.
    """

    links: LinkMatrix
    weight: Float[np.ndarray, "sample column"]
    scale: Float[np.ndarray, "cell column"]
    damping: Float[np.ndarray, " row"]
    least: Float[np.ndarray, "cell column"] | None
    laplacian: csr_array | None
    smoothness: float
    gram: csr_array | None = None
    held: Bool[np.ndarray, "cell row"] | None = None

    @staticmethod
    def of(
        links: LinkMatrix,
        weight: Float[np.ndarray, "sample column"],
        laplacian: csr_array | None,
        smoothness: float,
        least_part: float = 0.0,
    ) -> NormalSystem:
        """The system of some weights, not damped but where cells have less than a part."""
        scale = links.magnitude.back(weight * links.magnitude.row_sum)
        least = None
        if least_part:
            own = links.mapped(np.square).back(weight)
            part = np.divide(own, scale, out=np.full_like(own, np.inf), where=scale > 0.0)
            least = np.maximum(links.dtype.type(least_part) - part, 0.0)
        none = np.zeros(1, links.dtype)
        return NormalSystem(links, weight, scale, none, least, laplacian, smoothness)

    @functools.cached_property
    def preconditioner(self) -> Float[np.ndarray, "cell column"]:
        """1 / (D + smoothness diag L), 0 in cells that are held or of which nothing is known."""
        diagonal = self.scale
        if self.laplacian is not None:
            diagonal = diagonal + self.smoothness * self.laplacian.diagonal()[:, None]
        inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0.0)
        return inverse if self.held is None else np.where(self.held, inverse.dtype.type(0), inverse)

    @functools.cached_property
    def pull(self) -> Float[np.ndarray, "cell column"]:
        """Damping times D, in one column where the rows agree."""
        return self.cell_damping * self.scale

    @property
    def cell_damping(self) -> Float[np.ndarray, "cell column"]:
        """Damping of each cell."""
        same = np.all(self.damping == self.damping[0])
        damping = self.damping[None, :1] if same else self.damping[None]
        return damping if self.least is None else np.maximum(damping, self.least)

    def product(self, columns: Float[np.ndarray, "cell row"]) -> Float[np.ndarray, "cell row"]:
        """The matrix times columns, without the damping."""
        if self.gram is not None:
            out = self.gram @ columns
        elif columns.shape[1] == 1 and self.links.degree:
            out = self.links.normal(self.weight, columns)
        else:
            samples = self.links @ columns
            if self.weighted:
                samples *= self.weight
            out = self.links.back(samples)
        if self.laplacian is not None:
            out += self.roughness(columns)
        return out

    @functools.cached_property
    def weighted(self) -> bool:
        """Whether samples that cells explain differ in their weight."""
        return not np.array_equal(self.weight, self.links.magnitude.row_sum > 0.0)

    def roughness(self, columns: Float[np.ndarray, "cell row"]) -> Float[np.ndarray, "cell row"]:
        """The prior's part of the matrix times columns."""
        if self.laplacian is None:
            return np.zeros_like(columns)
        out: np.ndarray = self.laplacian @ columns
        out *= self.smoothness
        return out

    def select(self, rows: Int[np.ndarray, " kept"]) -> NormalSystem:
        """The systems of some rows."""
        damping = self.damping if self.damping.size == 1 else self.damping[rows]
        held = None if self.held is None else np.ascontiguousarray(self.held[:, rows])
        if self.weight.shape[1] == 1:
            return replace(self, damping=damping, held=held)
        return replace(
            self,
            held=held,
            weight=np.ascontiguousarray(self.weight[:, rows]),
            scale=np.ascontiguousarray(self.scale[:, rows]),
            least=None if self.least is None else np.ascontiguousarray(self.least[:, rows]),
            damping=damping,
        )

    def prepared(self) -> NormalSystem:
        """The same system, ready for many products."""
        samples, columns = self.weight.shape
        if self.gram is not None or columns > 1 or samples < CROWDED * self.links.n_cells:
            return self
        return replace(self, gram=self.links.gram(self.weight[:, 0]))

    def holding(self, held: Bool[np.ndarray, "cell row"]) -> NormalSystem:
        """The same system for steps that leave some cells where they are."""
        return replace(self, held=held)

    def damped(self, damping: Float[np.ndarray, " row"]) -> NormalSystem:
        """The same system with another damping."""
        return replace(self, damping=damping.astype(self.links.dtype))

    def back_projection(
        self, samples: Float[np.ndarray, "sample row"]
    ) -> Float[np.ndarray, "cell row"]:
        """A^T W y."""
        return self.links.back(self.weight * samples)

    def average(self, samples: Float[np.ndarray, "sample row"]) -> Float[np.ndarray, "cell row"]:
        """Weighted mean of the samples of each cell, 0 in cells without any."""
        total = self.links.magnitude.back(self.weight * np.abs(self.links.row_sum))
        value = self.links.magnitude.back(self.weight * samples)
        return np.divide(value, total, out=np.zeros_like(value), where=total > 0.0)
