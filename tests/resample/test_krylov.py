import numpy as np
import pytest
from scipy.sparse import csr_array

from skysift.resample.krylov import Stop, conjugate_gradients, dot, times
from skysift.resample.normal import LinkMatrix, NormalSystem

CELLS = 700


def dense_system(columns, dtype=np.float64):
    """Normal equations of random links, and their dense matrices."""
    random = np.random.default_rng(0)
    matrix = np.where(
        random.uniform(size=(2000, CELLS)) < 0.01, random.uniform(size=(2000, CELLS)), 0
    )
    weight = random.uniform(0.5, 2.0, (2000, columns))
    damping = random.uniform(0.02, 0.5, columns)
    links = LinkMatrix(((slice(0, 2000), csr_array(matrix.astype(dtype))),), CELLS)
    system = NormalSystem.of(links, weight.astype(dtype), None, 0.0).damped(damping)
    scale = matrix.T @ (weight * matrix.sum(axis=1, keepdims=True))
    dense = [
        matrix.T @ (weight[:, [c]] * matrix) + damping[c] * np.diag(scale[:, c])
        for c in range(columns)
    ]
    return system, dense, scale


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_solves_every_column(columns):
    system, dense, _ = dense_system(columns)
    right = np.random.default_rng(1).normal(size=(CELLS, columns))
    solution, residual = np.zeros_like(right), right.copy()
    stop = Stop(np.full(columns, 1e-10), 500)
    path = conjugate_gradients(system, solution, residual, stop)
    assert path.converged.all()
    for column, matrix in enumerate(dense):
        np.testing.assert_allclose(
            solution[:, column], np.linalg.solve(matrix, right[:, column]), atol=1e-10
        )
        np.testing.assert_allclose(
            residual[:, column], right[:, column] - matrix @ solution[:, column], atol=1e-9
        )


def test_columns_end_by_themselves():
    system, _, scale = dense_system(9)
    right = np.random.default_rng(1).normal(size=(CELLS, 9)) * 10.0 ** np.arange(-4, 5)
    right[:, 4] = 0.0
    norms = np.sqrt(np.sum(right**2 / scale, axis=0))
    targets = norms * 10.0 ** -np.arange(1.0, 10.0)
    solution = np.zeros_like(right)
    path = conjugate_gradients(system, solution, right.copy(), Stop(targets, 500))
    assert path.converged.all()
    np.testing.assert_allclose(path.residuals[0], norms)
    for column in range(9):
        alone, kept = np.zeros((CELLS, 1)), np.array([column])
        single = conjugate_gradients(
            system.select(kept), alone, right[:, kept].copy(), Stop(targets[kept], 500)
        )
        np.testing.assert_allclose(solution[:, kept], alone, rtol=1e-8, atol=1e-12)
        steps = np.count_nonzero(np.diff(path.residuals[:, column]))
        assert steps == single.residuals.shape[0] - 1


def test_gives_up_at_the_limit():
    system, _, _ = dense_system(3)
    right = np.random.default_rng(1).normal(size=(CELLS, 3))
    stop = Stop(np.array([1e-12, 1e9, 1e-12]), 4)
    path = conjugate_gradients(system, np.zeros_like(right), right, stop)
    assert path.converged.tolist() == [False, True, False]
    assert path.residuals.shape == (5, 3)


@pytest.mark.parametrize("shape", [(1, 1), (255, 3), (256, 2), (700, 1), (70_000, 1), (9000, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_agree_with_numpy(shape, dtype):
    random = np.random.default_rng(0)
    first, second = random.uniform(size=(2, *shape)).astype(dtype)
    exact = np.sum(first.astype(np.longdouble) * second, axis=0).astype(float)
    np.testing.assert_allclose(dot(first, second), exact, rtol=10 * np.finfo(dtype).eps)
    factor = random.uniform(size=(shape[0], 1)).astype(dtype)
    np.testing.assert_array_equal(times(first, factor), first * factor)
    np.testing.assert_array_equal(times(first, second), first * second)


def test_several_blocks_are_one_matrix():
    system, _, _ = dense_system(2)
    matrix = system.links.blocks[0][1]
    parts = tuple((slice(a, a + 500), matrix[a : a + 500]) for a in range(0, 2000, 500))
    blocks = LinkMatrix(parts, CELLS)
    random = np.random.default_rng(2)
    cells, samples = random.normal(size=(CELLS, 2)), random.normal(size=(2000, 2))
    np.testing.assert_allclose(blocks @ cells, system.links @ cells, atol=1e-13)
    np.testing.assert_allclose(blocks.back(samples), system.links.back(samples), atol=1e-12)
    np.testing.assert_allclose(blocks.row_sum, system.links.row_sum)
