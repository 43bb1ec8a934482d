"""Weights of cells: what is asked of them, masks, and the margins around what is masked."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from jaxtyping import Array, Float

ArrayT = TypeVar("ArrayT", np.ndarray, Array)

LEAKAGE = 0.05
"""Part of the power of a kernel that may lie on masked cells; its cell counts the less the more
of it does."""


def checked_weights(
    weights: Float[np.ndarray, "..."], shape: tuple[int, ...]
) -> Float[np.ndarray, "region ..."]:
    """Weights of cells with an axis for the region.

    Args:
        weights: `shape` or `(region, *shape)`, 0 and more; 0 on masked cells.
        shape: of the cells.

    Raises:
        ValueError: for weights that are negative, not finite, all zero in a region or of another
            shape.
    """
    weights = np.asarray(weights, dtype=float)
    cells = weights[None] if weights.shape == shape else weights
    if cells.shape[1:] != shape or not len(cells):
        raise ValueError(
            f"weights: expected shape {shape} or (regions, {', '.join(map(str, shape))}), got "
            f"{weights.shape}. Give one weight for each cell."
        )
    if not np.all(np.isfinite(cells)) or cells.min() < 0.0:
        raise ValueError(
            "weights: expected finite numbers of 0 or more, got others. Set masked cells to 0."
        )
    for region in np.flatnonzero(~cells.reshape(len(cells), -1).any(axis=-1)):
        raise ValueError(
            f"weights: expected cells of more than 0 in each region, got none in region {region}. "
            "Keep more cells, or leave the region out."
        )
    return cells


def margin(seen: ArrayT) -> ArrayT:
    """Factor of the weight of cells by the part of the power of a kernel that is on masked ones."""
    return (1.0 - seen / LEAKAGE).clip(0.0, 1.0)


def normalised(
    weights: Float[np.ndarray, "region ..."], scale: int, width: str
) -> Float[np.ndarray, "region ..."]:
    """Weights that add to 1 in each region.

    Args:
        weights: of cells that are a margin away from masked ones.
        scale: of the kernels that want the margin.
        width: of the kernels, in words.

    Raises:
        ValueError: when no cell is far enough from the masked ones.
    """
    total = weights.sum(axis=tuple(range(1, weights.ndim)), keepdims=True)
    for region in np.flatnonzero(~(total > 0.0)):
        fewer = f"scales={scale} or fewer, or " if scale else ""
        raise ValueError(
            f"weights: expected cells away from the mask at every scale, got none in region "
            f"{region} at scale {scale} ({width}). Choose {fewer}a larger region."
        )
    return weights / total
