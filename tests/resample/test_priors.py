import healpy as hp
import numpy as np
import pytest

from skysift.grid import Grid, Ordering
from skysift.resample.priors import graph_laplacian


@pytest.mark.parametrize("ordering", list(Ordering))
@pytest.mark.parametrize("nside", [1, 2, 8])
def test_is_the_laplacian_of_a_connected_graph(nside, ordering):
    dense = graph_laplacian(Grid(nside, ordering)).toarray()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_allclose(dense.sum(axis=1), 0.0, atol=1e-14)
    eigenvalues = np.linalg.eigvalsh(dense)
    assert abs(eigenvalues[0]) < 1e-13 < 1e-3 < eigenvalues[1]
    assert eigenvalues[-1] <= 2.0


def test_orderings_agree():
    ring, nested = (graph_laplacian(Grid(4, order)).toarray() for order in Ordering)
    order = hp.ring2nest(4, np.arange(192))
    np.testing.assert_allclose(ring, nested[np.ix_(order, order)], atol=1e-15)


def test_curves_as_the_sphere_does():
    grid = Grid(32)
    laplacian = graph_laplacian(grid)
    x, y, z = grid.vectors().T
    # For square cells of side h it is -0.3 h^2 times the Laplacian, with eigenvalues l (l + 1).
    unit = 0.3 * hp.nside2pixarea(32)
    for function, multipole in ((z, 1), (x * y, 2), (x**3 - 3 * x * y**2, 3)):
        ratio = (function @ (laplacian @ function)) / (function @ function)
        assert ratio == pytest.approx(unit * multipole * (multipole + 1), rel=0.15)


def test_cells_outside_cost_nothing():
    grid = Grid(8, Ordering.NESTED, np.array([0, 1, 2, 3, 400]))
    dense = graph_laplacian(grid).toarray()
    np.testing.assert_allclose(dense[4], 0.0)
    np.testing.assert_allclose(dense[0, :4], [0.45, -0.2, -0.2, -0.05])
