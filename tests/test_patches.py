"""Patches: labels per spectral parameter."""

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skysift.grid import UNSEEN, Grid, Ordering
from skysift.healpix_table import Frame
from skysift.masks import galactic_mask
from skysift.patches import (
    Binned,
    KMeans,
    LabelMap,
    MultiResolution,
    Patches,
    PerCell,
    Uniform,
    parse_partition,
    shuffled,
)

MASK = galactic_mask("GAL060", 8)
CELLS = int(MASK.sum())


def same_partition(a, b):
    """Whether two labellings divide the cells alike, whatever the numbers are."""
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return pairs == np.unique(a).size == np.unique(b).size


def assert_contiguous(labels):
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))


@pytest.mark.parametrize("nside", [1, 2, 4, 8])
def test_multires_is_what_ud_grade_gives(nside):
    patches = Patches.multires(MASK, beta_dust=nside)
    coarse = np.arange(hp.nside2npix(nside), dtype=float)
    expected = hp.ud_grade(coarse, 8)[MASK]
    assert same_partition(patches.labels["beta_dust"], expected)
    assert_contiguous(patches.labels["beta_dust"])


def test_multires_nests():
    patches = Patches.multires(MASK, a=8, b=4, c=2, d=0)
    for fine, coarse in zip("abc", "bcd", strict=True):
        pairs = np.unique(np.stack([patches.labels[fine], patches.labels[coarse]]), axis=1)
        assert pairs.shape[1] == patches.counts[fine]
    assert patches.counts["a"] == CELLS
    assert patches.counts["d"] == 1


@pytest.mark.parametrize("partition", [MultiResolution(2), KMeans(40)])
def test_nested_grid_has_the_same_patches(partition):
    ring = Grid.from_mask(MASK)
    nested = Grid.from_mask(hp.reorder(MASK, r2n=True), Ordering.NESTED)
    ours = Patches.of(ring, beta_dust=partition).labels["beta_dust"]
    theirs = Patches.of(nested, beta_dust=partition).labels["beta_dust"]
    np.testing.assert_array_equal(hp.reorder(nested.full(theirs), n2r=True), ring.full(ours))


def test_kmeans_repeats_with_the_seed_and_differs_between_parameters():
    first = Patches.kmeans(MASK, beta_dust=30, temp_dust=30, seed=7)
    again = Patches.kmeans(MASK, temp_dust=30, beta_dust=30, seed=7)
    other = Patches.kmeans(MASK, beta_dust=30, seed=8)
    for name in first.parameters:
        np.testing.assert_array_equal(first.labels[name], again.labels[name])
        assert_contiguous(first.labels[name])
    assert first.counts == {"beta_dust": 30, "temp_dust": 30}
    assert not same_partition(first.labels["beta_dust"], first.labels["temp_dust"])
    assert not same_partition(first.labels["beta_dust"], other.labels["beta_dust"])


def test_kmeans_patches_are_of_similar_size():
    sizes = Patches.kmeans(galactic_mask("GAL060", 32), beta_dust=100).sizes("beta_dust")
    assert sizes.sum() == round(0.6 * 12 * 32**2)
    assert 0.4 < sizes.min() / sizes.mean() < sizes.max() / sizes.mean() < 2.0


def test_uniform_and_per_cell():
    patches = Patches.of(MASK, a=Uniform(), b=PerCell())
    assert patches.counts == {"a": 1, "b": CELLS}
    assert patches.parameters == ("a", "b")


def test_unstructured_cells_take_what_needs_no_directions():
    grid = Grid.unstructured(5)
    patches = Patches.of(grid, a=Uniform(), b=MultiResolution(0), c=LabelMap(np.arange(5) // 2))
    assert patches.counts == {"a": 1, "b": 1, "c": 3}
    with pytest.raises(ValueError, match="expected cells with a place on the sphere"):
        Patches.kmeans(grid, beta_dust=2)


@settings(max_examples=50, deadline=None)
@given(
    values=hnp.arrays(float, CELLS, elements=st.floats(-3, 3, width=32)),
    bins=st.integers(1, 60),
)
def test_binned_patches_hold_one_bin(values, bins):
    labels = Patches.of(MASK, a=Binned(values, bins)).labels["a"]
    assert_contiguous(labels)
    assert labels.max() < bins
    width = np.ptp(values) / bins
    for label in range(labels.max() + 1):
        assert np.ptp(values[labels == label]) <= width * (1 + 1e-9) + 1e-12
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(labels[order]) >= 0)


def test_bins_are_of_equal_width_with_the_last_edge_inside():
    values = np.array([0.0, 0.9, 1.0, 2.5, 9.99, 10.0])
    labels = Patches.of(Grid.unstructured(6), a=Binned(values, 10)).labels["a"]
    np.testing.assert_array_equal(labels, [0, 0, 1, 2, 3, 3])


def test_binned_takes_a_full_sky_map_with_unseen_outside():
    grid = Grid.from_mask(MASK)
    values = np.random.default_rng(0).normal(size=CELLS)
    full = Patches.of(MASK, a=Binned(grid.full(values), 9)).labels["a"]
    np.testing.assert_array_equal(full, Patches.of(MASK, a=Binned(values, 9)).labels["a"])


@settings(max_examples=50, deadline=None)
@given(raw=hnp.arrays(np.int64, CELLS, elements=st.integers(0, 40)))
def test_from_labels_keeps_contiguous_labels(raw):
    labels = np.unique(raw, return_inverse=True)[1]
    patches = Patches.from_labels(MASK, a=labels, b=Grid.from_mask(MASK).full(labels))
    np.testing.assert_array_equal(patches.labels["a"], labels)
    np.testing.assert_array_equal(patches.labels["b"], labels)


@settings(max_examples=50, deadline=None)
@given(
    raw=hnp.arrays(np.int64, CELLS, elements=st.integers(0, 40)),
    keep=hnp.arrays(bool, CELLS).filter(np.any),
)
def test_restricted_keeps_the_partition(raw, keep):
    patches = Patches.from_labels(MASK, a=np.unique(raw, return_inverse=True)[1])
    grid = Grid.from_mask(MASK)
    smaller = Grid(8, Ordering.RING, grid.index[keep])
    labels = patches.restricted(smaller).labels["a"]
    assert labels.size == smaller.size
    assert_contiguous(labels)
    assert same_partition(labels, patches.labels["a"][keep])


@settings(max_examples=50, deadline=None)
@given(raw=hnp.arrays(np.int64, CELLS, elements=st.integers(0, 40)), seed=st.integers(0, 99))
def test_expand_gives_each_cell_the_value_of_its_patch(raw, seed):
    patches = Patches.from_labels(MASK, a=np.unique(raw, return_inverse=True)[1])
    values = np.random.default_rng(seed).normal(size=patches.counts["a"])
    cells = patches.expand("a", values)
    for label, value in enumerate(values):
        assert np.all(cells[patches.labels["a"] == label] == value)
    total = np.bincount(patches.labels["a"], cells)
    np.testing.assert_allclose(total, values * patches.sizes("a"), rtol=1e-12)


def test_expand_is_traced_and_differentiated_by_jax():
    patches = Patches.kmeans(MASK, beta_dust=12, a=3)
    values = jnp.arange(12.0)

    @eqx.filter_jit
    def total(values, patches):
        assert patches.counts == {"beta_dust": 12, "a": 3}
        return jnp.sum(patches.expand("beta_dust", values))

    np.testing.assert_allclose(jax.grad(total)(values, patches), patches.sizes("beta_dust"))


def test_full_sky_labels_of_a_larger_region_are_renumbered():
    full = np.arange(12 * 8**2) // 4
    patches = Patches.from_labels(MASK, a=full)
    assert_contiguous(patches.labels["a"])
    assert same_partition(patches.labels["a"], full[MASK])


def test_labels_outside_the_mask_may_be_missing():
    full = np.where(MASK, np.cumsum(MASK) - 1, -1)
    assert Patches.from_labels(MASK, a=full).counts == {"a": CELLS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels * 2, "expected contiguous numbers from 0 to 8, got 9 different"),
        (lambda labels: labels + 1, "expected contiguous numbers from 0"),
        (lambda labels: labels - 1, "expected numbers from 0 on, got -1"),
        (lambda labels: labels + 0.5, "expected whole numbers, got fractions"),
        (lambda labels: np.where(labels == 3, np.nan, labels), "missing"),
        (lambda labels: np.where(labels == 3, UNSEEN, labels), "missing"),
        (lambda labels: labels > 2, "expected whole numbers, got bool"),
        (lambda labels: labels.astype(str), "expected whole numbers"),
        (lambda labels: labels[:-1], "values on the kept cells, or 768 on the full sky"),
        (lambda labels: labels[None], "values on the kept cells"),
    ],
)
def test_bad_labels(change, message):
    labels = np.arange(CELLS) % 9
    with pytest.raises(ValueError, match=f"patches of beta_dust: .*{message}"):
        Patches.from_labels(MASK, beta_dust=change(labels))


@pytest.mark.parametrize(
    "labels", [np.arange(12) * 2, np.arange(12) - 1, np.zeros(11, int), np.zeros(12)]
)
def test_patches_do_not_take_raw_labels(labels):
    with pytest.raises(ValueError, match=r"labels\['a'\]: expected"):
        Patches({"a": labels}, Grid(1))


def test_gaps_name_the_fix():
    with pytest.raises(ValueError, match=r"numpy\.unique\(labels, return_inverse=True\)"):
        Patches.from_labels(MASK, a=np.arange(CELLS) * 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patches.kmeans(MASK, a=CELLS + 1), f"patches of a: .*from 1 to {CELLS} clusters"),
        (lambda: Patches.kmeans(MASK, a=0), "count: expected a positive whole number"),
        (lambda: Patches.kmeans(MASK, **{"a": 2.5}), "count: expected a positive whole number"),
        (lambda: Patches.kmeans(MASK, a=3, seed=-1), "seed: expected"),
        (lambda: Patches.multires(MASK, a=16), "expected a power of two up to the maps' 8, got 16"),
        (lambda: Patches.multires(MASK, a=3), "nside: expected a power of two, or 0"),
        (lambda: Patches.multires(MASK, a=-1), "nside: expected a power of two, or 0"),
        (lambda: Patches.multires(MASK, a=True), "nside: expected a power of two, or 0"),
        (lambda: Patches.multires(np.zeros(768, bool), a=1), "at least one kept cell"),
        (lambda: Patches.multires(np.zeros(700, bool), a=1), "expected a full sky"),
        (lambda: Patches.of(MASK, a=Binned(np.ones(CELLS), 0)), "bins: expected a positive"),
        (lambda: Patches.of(MASK, a=Binned(np.full(CELLS, np.nan), 2)), "a: .* missing"),
        (lambda: Patches.of(MASK, a=Binned(np.ones(3), 2)), "a: .*got shape \\(3,\\)"),
        (lambda: Patches.of(MASK, **{"a": "kmeans:3"}), "a: expected a partition"),
    ],
)
def test_bad_partitions(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_questions():
    patches = Patches.multires(MASK, beta_dust=2)
    with pytest.raises(ValueError, match="expected one of \\('beta_dust',\\), got 'beta'"):
        patches.sizes("beta")
    with pytest.raises(ValueError, match="values: expected one for each of the"):
        patches.expand("beta_dust", np.zeros(3))
    with pytest.raises(ValueError, match="expected cells that the maps hold"):
        patches.restricted(Grid(8))


def test_constant_map_is_one_bin():
    assert Patches.of(MASK, a=Binned(np.ones(CELLS), 5)).counts == {"a": 1}


def test_shuffled_permutes_the_numbers():
    labels = Patches.kmeans(MASK, a=50).labels["a"]
    colours = shuffled(labels, seed=1)
    assert same_partition(labels, colours)
    assert_contiguous(colours)
    assert not np.array_equal(labels, colours)
    np.testing.assert_array_equal(colours, shuffled(labels, seed=1))


@pytest.mark.parametrize(
    ("text", "partition"),
    [
        ("nside:64", MultiResolution(64)),
        ("nside:0", MultiResolution(0)),
        ("kmeans:1500", KMeans(1500)),
        ("uniform", Uniform()),
        (" cell ", PerCell()),
    ],
)
def test_parsed_text(text, partition):
    assert parse_partition(text) == partition


def test_parsed_files(tmp_path):
    full = hp.ud_grade(np.arange(48.0), 8)
    hp.write_map(tmp_path / "ring.fits", full, dtype=float)
    hp.write_map(tmp_path / "nested.fits", hp.reorder(full, r2n=True), nest=True, dtype=float)
    np.save(tmp_path / "full.npy", full)
    np.save(tmp_path / "cells.npy", np.unique(full[MASK], return_inverse=True)[1])
    expected = Patches.multires(MASK, a=2).labels["a"]
    nested = Grid.from_mask(hp.reorder(MASK, r2n=True), Ordering.NESTED)
    for name in ("ring.fits", "nested.fits", "full.npy", "cells.npy"):
        labels = Patches.of(MASK, a=parse_partition(f"file:{tmp_path / name}")).labels["a"]
        assert same_partition(labels, expected)
    for name in ("ring.fits", "nested.fits", "full.npy"):
        labels = Patches.of(nested, a=parse_partition(f"file:{tmp_path / name}")).labels["a"]
        assert same_partition(hp.reorder(nested.full(labels), n2r=True)[MASK], expected)
    binned = parse_partition(f"binned:48:{tmp_path / 'nested.fits'}")
    assert isinstance(binned, Binned)
    assert same_partition(Patches.of(Grid(8), a=binned).labels["a"], full)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kmean:3", "partition: expected 'nside:64', 'kmeans:1500'"),
        ("uniform:3", "partition: expected 'nside:64'"),
        ("", "partition: expected 'nside:64'"),
        ("file:", "partition: expected 'nside:64'"),
        ("binned:50", "partition: expected 'nside:64'"),
        ("nside:", "expected a whole number"),
        ("kmeans:1.5", "expected a whole number .*got '1.5' in 'kmeans:1.5'"),
        ("kmeans:0", "count: expected a positive whole number"),
        ("nside:3", "nside: expected a power of two"),
        ("file:absent.npy", "got 'absent.npy', where there is none"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        parse_partition(text)


def test_labels_in_other_coordinates(tmp_path):
    hp.write_map(tmp_path / "labels.fits", np.zeros(192), coord="C", dtype=float)
    with pytest.raises(ValueError, match="expected coordinates G"):
        parse_partition(f"file:{tmp_path / 'labels.fits'}")
    parse_partition(f"file:{tmp_path / 'labels.fits'}", frame=Frame.EQUATORIAL)


def test_damaged_array_file(tmp_path):
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"could not read .*Write it again"):
        parse_partition(f"file:{path}")
