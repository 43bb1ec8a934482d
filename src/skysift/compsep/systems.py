"""Which linear solver suits a problem."""

from __future__ import annotations

import math

from skysift.compsep.blocks import DenseBlocks
from skysift.compsep.linear import AbstractSystem
from skysift.compsep.sparse import ConjugateGradient, SparseFactor
from skysift.compsep.structure import Structure

_LARGEST_DENSE = 96


def system(structure: Structure, memory: float) -> AbstractSystem:
    """The solver that suits a structure.

    Args:
        structure: sparsity of the Hessian.
        memory: bytes that a sparse factor may take.

    Returns:
        Dense blocks when all are small; a sparse factor when its estimated fill (nested dissection
        on a surface: n log2 n) fits the memory; else conjugate gradients.
    """
    if structure.largest_block <= _LARGEST_DENSE:
        return DenseBlocks(structure)
    entries = structure.size + 2 * structure.rows.size
    if 16.0 * entries * math.log2(structure.size) <= memory:
        return SparseFactor(structure)
    return ConjugateGradient(structure)
