"""The three solvers of Newton systems against dense algebra."""

import numpy as np
import pytest

from skysift.compsep.blocks import DenseBlocks
from skysift.compsep.linear import Box
from skysift.compsep.sparse import ConjugateGradient, SparseFactor
from skysift.compsep.structure import Structure, SymmetricMatrix
from skysift.compsep.systems import system

from ..oracles.spectral import bounded_quadratic

SOLVERS = [DenseBlocks, SparseFactor, ConjugateGradient]
FREE = np.inf


def nested():
    """Three blocks of four fine and one coarse parameter, and one block of a single pair."""
    labels = np.array([np.arange(13), np.arange(13) // 4])
    return Structure.of(labels, (13, 4))


def tangled():
    """One block of parameters of three kinds that overlap at random."""
    random = np.random.default_rng(2)
    labels = np.stack([random.permutation(np.arange(60) % n) for n in (12, 5, 3)])
    return Structure.of(labels, (12, 5, 3))


def positive(structure, seed=0, units=True):
    """A positive definite matrix of the structure, in units that differ by decades."""
    random = np.random.default_rng(seed)
    off = random.normal(size=structure.rows.size)
    diagonal = 0.3 + np.zeros(structure.size)
    np.add.at(diagonal, structure.rows, np.abs(off))
    np.add.at(diagonal, structure.columns, np.abs(off))
    scale = 10.0 ** random.uniform(-3, 3, structure.size) if units else np.ones(structure.size)
    return SymmetricMatrix(
        structure, diagonal * scale**2, off * scale[structure.rows] * scale[structure.columns]
    )


def dense(matrix):
    out = np.diag(matrix.diagonal)
    out[matrix.structure.rows, matrix.structure.columns] = matrix.off
    out[matrix.structure.columns, matrix.structure.rows] = matrix.off
    return out


def open_box(size, free=None):
    return Box(
        np.full(size, -FREE), np.full(size, FREE), np.ones(size, bool) if free is None else free
    )


def gradient_of(matrix, seed=1):
    return np.sqrt(matrix.diagonal) * np.random.default_rng(seed).normal(size=matrix.diagonal.size)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", [nested, tangled])
def test_step_solves_the_system(solver, make):
    structure = make()
    matrix = positive(structure)
    gradient = gradient_of(matrix)
    step = solver(structure).step(matrix, gradient, open_box(structure.size))
    assert step.positive.all()
    expected = -np.linalg.solve(dense(matrix), gradient)
    unit = np.sqrt(matrix.diagonal)
    np.testing.assert_allclose(step.change * unit, expected * unit, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", [nested, tangled])
def test_parameters_that_are_held_do_not_move(solver, make):
    structure = make()
    matrix = positive(structure)
    gradient = gradient_of(matrix)
    free = np.arange(structure.size) % 3 != 0
    step = solver(structure).step(matrix, gradient, open_box(structure.size, free))
    inside = np.flatnonzero(free)
    expected = np.zeros(structure.size)
    expected[inside] = -np.linalg.solve(dense(matrix)[np.ix_(inside, inside)], gradient[inside])
    unit = np.sqrt(matrix.diagonal)
    np.testing.assert_array_equal(step.change[~free], 0.0)
    np.testing.assert_allclose(step.change * unit, expected * unit, rtol=1e-7, atol=1e-8)


def small():
    """Two blocks of three parameters."""
    return Structure.of(np.array([[0, 1, 2, 3], [0, 0, 1, 1]]), (4, 2))


@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_stay_within_bounds(solver):
    """What hits a bound stays there; the rest must be stationary, and the model must go down."""
    structure = small()
    matched = 0
    for seed in range(30):
        matrix = positive(structure, seed, units=False)
        gradient = gradient_of(matrix, seed + 100)
        low, high = np.full(6, -1.0), np.full(6, 1.2)
        change = solver(structure).step(matrix, gradient, Box(low, high, np.ones(6, bool))).change
        assert np.all((change >= low) & (change <= high))
        inner = (change > low) & (change < high)
        slope = gradient + dense(matrix) @ change
        np.testing.assert_allclose(slope[inner], 0.0, atol=1e-8)
        assert gradient @ change + 0.5 * change @ dense(matrix) @ change < 0.0
        for block in range(2):
            own = np.flatnonzero(structure.block == block)
            square = dense(matrix)[np.ix_(own, own)]
            unbounded = -np.linalg.solve(square, gradient[own])
            best = bounded_quadratic(square, gradient[own], low[own], high[own])
            crossing = np.sum((unbounded < low[own]) | (unbounded > high[own]))
            active = np.sum((best == low[own]) | (best == high[own]))
            if crossing == active <= 1:  # then what hits the bound belongs there
                np.testing.assert_allclose(change[own], best, atol=1e-7)
                matched += active
    assert matched > 5


@pytest.mark.parametrize("solver", SOLVERS)
def test_blocks_of_negative_curvature_are_reported_and_get_no_step(solver):
    structure = nested()
    matrix = positive(structure, units=False)
    first = structure.block == structure.block[0]
    off = matrix.off * np.where(first[structure.rows], 10.0, 1.0)
    matrix = SymmetricMatrix(structure, matrix.diagonal, off)
    assert np.linalg.eigvalsh(dense(matrix)[np.ix_(first, first)]).min() < 0
    gradient = gradient_of(matrix)
    step = solver(structure).step(matrix, gradient, open_box(structure.size))
    if solver is not ConjugateGradient:
        assert not step.positive[structure.block[0]]
        assert step.positive.sum() == structure.blocks - 1
    np.testing.assert_array_equal(step.change[~step.positive[structure.block]], 0.0)
    others = ~first
    expected = -np.linalg.solve(dense(matrix)[np.ix_(others, others)], gradient[others])
    if solver is not ConjugateGradient:
        np.testing.assert_allclose(step.change[others], expected, rtol=1e-7)


@pytest.mark.parametrize("solver", [DenseBlocks, SparseFactor])
def test_a_singular_block_is_not_positive(solver):
    structure = small()
    matrix = positive(structure, units=False)
    diagonal, off = matrix.diagonal.copy(), matrix.off.copy()
    inside = structure.block == 0
    diagonal[inside] = 1.0
    off[inside[structure.rows]] = np.sqrt(0.5)
    step = solver(structure).step(
        SymmetricMatrix(structure, diagonal, off), np.ones(6), open_box(6)
    )
    np.testing.assert_array_equal(step.positive, [False, True])


@pytest.mark.parametrize("solver", [DenseBlocks, SparseFactor])
@pytest.mark.parametrize("make", [nested, tangled])
def test_entries_of_the_inverse(solver, make):
    structure = make()
    matrix = positive(structure)
    free = np.arange(structure.size) % 5 != 2
    inverse = solver(structure).inverse_entries(matrix, free)
    inside = np.flatnonzero(free)
    expected = np.full((structure.size, structure.size), np.nan)
    expected[np.ix_(inside, inside)] = np.linalg.inv(dense(matrix)[np.ix_(inside, inside)])
    np.testing.assert_allclose(inverse.diagonal, np.diag(expected), rtol=1e-8)
    unit = 1.0 / np.sqrt(matrix.diagonal)
    rows, columns = structure.rows, structure.columns
    np.testing.assert_allclose(
        inverse.off / (unit[rows] * unit[columns]),
        expected[rows, columns] / (unit[rows] * unit[columns]),
        atol=1e-8,
    )


@pytest.mark.parametrize("solver", [DenseBlocks, SparseFactor])
@pytest.mark.parametrize("make", [nested, tangled])
def test_determinants_of_the_blocks(solver, make):
    structure = make()
    matrix = positive(structure)
    free = np.arange(structure.size) % 5 != 2
    expected = [
        np.linalg.slogdet(dense(matrix)[np.ix_(inside, inside)])[1]
        for block in range(structure.blocks)
        for inside in [np.flatnonzero(free & (structure.block == block))]
    ]
    found = solver(structure).log_determinant(matrix, free)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("solver", [DenseBlocks, SparseFactor])
def test_determinant_of_an_indefinite_block_is_unknown(solver):
    structure = nested()
    matrix = positive(structure, units=False)
    matrix = matrix.plus_diagonal(np.where(np.arange(structure.size) == 0, -20.0, 0.0))
    found = solver(structure).log_determinant(matrix, np.ones(structure.size, bool))
    np.testing.assert_array_equal(
        np.isnan(found), np.arange(structure.blocks) == structure.block[0]
    )


def test_nothing_free_has_determinant_one():
    structure = nested()
    held = np.zeros(structure.size, bool)
    for solver in (DenseBlocks, SparseFactor):
        found = solver(structure).log_determinant(positive(structure), held)
        np.testing.assert_array_equal(found, np.zeros(structure.blocks))


def test_determinants_need_the_factor():
    structure = nested()
    with pytest.raises(ValueError, match="Raise SolverOptions.memory"):
        ConjugateGradient(structure).log_determinant(
            positive(structure), np.ones(structure.size, bool)
        )


def test_probed_diagonal_of_the_inverse_is_close():
    structure = tangled()
    matrix = positive(structure)
    free = np.arange(structure.size) != 4
    inverse = ConjugateGradient(structure).inverse_entries(matrix, free)
    inside = np.flatnonzero(free)
    expected = np.diag(np.linalg.inv(dense(matrix)[np.ix_(inside, inside)]))
    np.testing.assert_allclose(inverse.diagonal[inside], expected, rtol=0.15)
    assert np.isnan(inverse.diagonal[4])


def test_inverse_of_an_indefinite_block_is_unknown():
    structure = nested()
    matrix = positive(structure, units=False)
    diagonal = matrix.diagonal.copy()
    diagonal[0] = -1.0
    matrix = SymmetricMatrix(structure, diagonal, matrix.off)
    inverse = DenseBlocks(structure).inverse_entries(matrix, np.ones(structure.size, bool))
    spoiled = structure.block == structure.block[0]
    np.testing.assert_array_equal(np.isnan(inverse.diagonal), spoiled)


def test_many_blocks_of_several_sizes():
    """More blocks than one batch holds, in more than one width."""
    sizes = np.concatenate([np.full(70, 2), np.full(5, 11)])
    coarse = np.repeat(np.arange(sizes.size), sizes)
    structure = Structure.of(np.stack([np.arange(coarse.size), coarse]), (coarse.size, sizes.size))
    matrix = positive(structure)
    gradient = gradient_of(matrix)
    step = DenseBlocks(structure).step(matrix, gradient, open_box(structure.size))
    unit = np.sqrt(matrix.diagonal)
    expected = -np.linalg.solve(dense(matrix), gradient)
    np.testing.assert_allclose(step.change * unit, expected * unit, rtol=1e-7, atol=1e-8)


def test_the_solver_suits_the_structure():
    one = np.zeros(200, int)
    wide = Structure.of(np.stack([np.arange(200), one]), (200, 1))
    assert isinstance(system(nested(), 1e9), DenseBlocks)
    assert isinstance(system(wide, 1e9), SparseFactor)
    assert isinstance(system(wide, 1.0), ConjugateGradient)


@pytest.mark.parametrize("fault", [0.0, -1.0])
def test_sparse_inverse_of_what_is_not_positive_is_unknown(fault):
    structure = tangled()
    matrix = positive(structure)
    matrix.diagonal[3] *= fault  # of the parameter that is eliminated
    inverse = SparseFactor(structure).inverse_entries(matrix, np.ones(structure.size, bool))
    assert np.isnan(inverse.diagonal).all()
    assert np.isnan(inverse.off).all()


@pytest.mark.parametrize("kinds", [[0], [1], [1, 2], []])
def test_sparse_inverse_when_whole_kinds_are_held(kinds):
    structure = tangled()
    matrix = positive(structure)
    free = np.isin(np.repeat([0, 1, 2], structure.counts), kinds)
    inverse = SparseFactor(structure).inverse_entries(matrix, free)
    expected = np.full(structure.size, np.nan)
    inside = np.flatnonzero(free)
    expected[inside] = np.diagonal(np.linalg.inv(dense(matrix)[np.ix_(inside, inside)]))
    np.testing.assert_allclose(inverse.diagonal, expected, rtol=1e-10)
