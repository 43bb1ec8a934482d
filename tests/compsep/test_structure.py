"""Index arithmetic between cells, patches and Hessian entries."""

import numpy as np
import pytest

from skysift.compsep.structure import Structure, SymmetricMatrix
from skysift.patches import Patches

RANDOM = np.random.default_rng(5)
CELLS = 40


def random_labels(*counts):
    """Label maps in which every patch has a cell."""
    return np.stack([RANDOM.permutation(np.arange(CELLS) % count) for count in counts])


def incidence(labels, counts):
    """Which parameters each cell depends on, as a dense matrix (parameter, cell)."""
    rows = [labels[k][None, :] == np.arange(count)[:, None] for k, count in enumerate(counts)]
    return np.concatenate(rows)


@pytest.mark.parametrize("counts", [(7, 3, 1), (40, 5, 2), (4,), (1, 1, 1, 1)])
def test_entries_are_where_two_patches_share_a_cell(counts):
    labels = random_labels(*counts)
    structure = Structure.of(labels, counts)
    shares = incidence(labels, counts).astype(int)
    overlap = shares @ shares.T > 0
    np.fill_diagonal(overlap, False)
    found = np.zeros_like(overlap)
    found[structure.rows, structure.columns] = True
    assert np.all(structure.rows > structure.columns)
    np.testing.assert_array_equal(found | found.T, overlap)
    assert structure.rows.size == overlap.sum() // 2
    assert structure.size == sum(counts)


def test_cells_are_added_where_they_belong():
    counts = (7, 3, 2)
    labels = random_labels(*counts)
    structure = Structure.of(labels, counts)
    weights = {pair: RANDOM.normal(size=CELLS) for pair in structure.entry}
    expected = np.zeros((structure.size, structure.size))
    off = np.zeros(structure.rows.size)
    for (k, m), values in weights.items():
        np.add.at(off, structure.entry[k, m], values)
        np.add.at(expected, (structure.index[k], structure.index[m]), values)
    found = np.zeros_like(expected)
    found[structure.rows, structure.columns] = off
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_blocks_are_the_connected_parts():
    labels = np.array([[0, 1, 2, 3, 4, 4], [0, 0, 1, 1, 2, 2]])
    structure = Structure.of(labels, (5, 3))
    assert structure.blocks == 3
    assert structure.largest_block == 3
    np.testing.assert_array_equal(structure.block[:5], [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(structure.cell_block, [0, 0, 1, 1, 2, 2])


def test_nested_patches_make_one_block_per_coarsest_patch():
    patches = Patches.multires(np.ones(768, bool), beta_dust=8, temp_dust=4, beta_pl=2)
    labels = np.stack(list(patches.labels.values()))
    structure = Structure.of(labels, tuple(patches.counts.values()))
    assert structure.blocks == 48
    assert structure.largest_block == 16 + 4 + 1
    np.testing.assert_array_equal(
        np.unique(structure.cell_block * 48 + labels[2]).size, structure.blocks
    )


def test_no_free_parameters():
    structure = Structure.of(np.zeros((0, 9), int), ())
    assert (structure.size, structure.blocks, structure.largest_block) == (0, 1, 0)
    assert structure.split(np.zeros(0)) == []


def test_sums_and_cuts():
    counts = (7, 3)
    labels = random_labels(*counts)
    structure = Structure.of(labels, counts)
    values = RANDOM.normal(size=structure.size)
    parts = structure.split(values)
    assert [part.size for part in parts] == [7, 3]
    np.testing.assert_array_equal(np.concatenate(parts), values)
    np.testing.assert_allclose(structure.per_block(values), [values.sum()])


def test_symmetric_matrix_is_the_dense_one():
    counts = (7, 3)
    labels = random_labels(*counts)
    structure = Structure.of(labels, counts)
    matrix = SymmetricMatrix(
        structure, RANDOM.normal(size=structure.size), RANDOM.normal(size=structure.rows.size)
    )
    dense = np.diag(matrix.diagonal)
    dense[structure.rows, structure.columns] = matrix.off
    dense[structure.columns, structure.rows] = matrix.off
    vector = RANDOM.normal(size=structure.size)
    np.testing.assert_allclose(matrix @ vector, dense @ vector)
    ridge = RANDOM.uniform(size=structure.size)
    np.testing.assert_allclose(
        matrix.plus_diagonal(ridge) @ vector, (dense + np.diag(ridge)) @ vector
    )


def test_matrices_are_mixed_by_block():
    labels = np.array([[0, 1, 2, 3], [0, 0, 1, 1]])
    structure = Structure.of(labels, (4, 2))
    one = SymmetricMatrix(structure, np.full(6, 1.0), np.full(4, 2.0))
    two = SymmetricMatrix(structure, np.full(6, 3.0), np.full(4, 4.0))
    mixed = one.where(np.array([True, False]), two)
    np.testing.assert_array_equal(mixed.diagonal, np.where(structure.block == 0, 1.0, 3.0))
    np.testing.assert_array_equal(
        mixed.off, np.where(structure.block[structure.rows] == 0, 2.0, 4.0)
    )
