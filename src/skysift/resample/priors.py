"""What is known about cells before there are samples: neighbours are alike."""

from __future__ import annotations

import healpy as hp
import numpy as np
from scipy.sparse import csr_array

from skysift.grid import Grid, Ordering

# Weights of the neighbours in the isotropic nine-point Laplacian, in healpy's order SW, W, NW, N,
# NE, E, SE, S: four across an edge, four across a corner.
_NEIGHBOURS = np.array([4.0, 1.0, 4.0, 1.0, 4.0, 1.0, 4.0, 1.0]) / 20.0


def graph_laplacian(grid: Grid) -> csr_array:
    """Graph Laplacian of HEALPix neighbours: x^T L x sums squared differences of neighbours.

    A cell inside the grid has 1 on the diagonal, -1/5 for each neighbour across an edge and -1/20
    for each across a corner (Rosser 1975, Comput. Math. Appl. 1, 351). Rows sum to zero:
    constants cost nothing, and neither do differences to cells outside of the grid.

    Args:
        grid: the cells.

    Returns:
        Symmetric positive semi-definite matrix with eigenvalues from 0 to 2, in the order of the
        grid's cells.

    Examples:
        >>> laplacian = graph_laplacian(Grid(4))
        >>> float(abs(laplacian @ np.ones(192)).max()) < 1e-15
        True
    """
    near = hp.get_all_neighbours(
        grid.require_nside(), grid.index, nest=grid.ordering is Ordering.NESTED
    ).T
    where = np.searchsorted(grid.index, near)
    where[where == grid.size] = 0
    present = grid.index[where] == near
    rows, which = np.nonzero(present)
    weights = csr_array((_NEIGHBOURS[which], (rows, where[present])), shape=(grid.size, grid.size))
    degree = weights.sum(axis=1)
    diagonal = csr_array(
        (degree, np.arange(grid.size), np.arange(grid.size + 1)), shape=weights.shape
    )
    return csr_array(diagonal - weights)
