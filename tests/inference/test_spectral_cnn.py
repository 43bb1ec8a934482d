import dataclasses
import math
from pathlib import Path

import ducc0
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from skysift.inference.networks import learnt
from skysift.inference.simulators import Observed, t1
from skysift.inference.spectral_cnn import (
    OWN,
    Equiangular,
    SpectralCNN,
    SpectralShape,
    clenshaw_curtis,
)
from skysift.inference.training import Plan, train
from skysift.maps import Stokes

run = eqx.filter_jit(lambda network, observed: network(observed))
learn = eqx.filter_jit(lambda network, observed, key: network.learning(observed, key))
REFERENCE = Path(__file__).parents[1] / "reference/spectral_cnn.npz"


def rebuilt(stokes: Stokes) -> tuple[SpectralCNN, Observed, dict[str, np.ndarray]]:
    """The network with the weights of torch-harmonics-healpix, maps, and what it makes of them."""
    with np.load(REFERENCE) as file:
        held = {name.split(".", 1)[1]: file[name] for name in file if name[0] == stokes.value[0]}
    shape = SpectralShape(2, stokes, blocks=2, channels=3, dropout=0.0, inpaint=stokes is Stokes.QU)
    network = SpectralCNN(shape, jax.random.key(0))
    for place in range(2):
        weights = [held[f"before.blocks.{place}.weight_{part}"] for part in ("real", "imag")]
        norm = f"before.batchnorms.{place}"
        # (part, output, input, ell, m) there
        all_weights = np.stack(weights).transpose(4, 3, 2, 0, 1)
        given = [np.zeros_like(network.blocks[place].shared.array)]
        given += [tuple(all_weights[low:high, low:] / OWN for low, high in shape.grid.groups)]
        given += [held[f"{norm}.{name}"] for name in ("weight", "bias")]
        given += [held[f"{norm}.running_{name}"] for name in ("mean", "var")]
        block = eqx.tree_at(
            lambda b: (
                b.shared.array,
                b.weights,
                b.factor,
                b.shift,
                b.mean.array,
                b.variance.array,
            ),
            network.blocks[place],
            jax.tree.map(jnp.asarray, tuple(given)),
        )
        network = eqx.tree_at(lambda n, at=place: n.blocks[at], network, block)
    head = tuple(jnp.asarray(held[f"before.fc.0.{name}"]) for name in ("weight", "bias"))
    network = eqx.tree_at(lambda n: (n.dense.weight, n.dense.bias), network, head)
    maps = held["maps"]
    mask = np.ones((3, 48), bool) if stokes is Stokes.I else maps[:, 2] > 0
    return network, Observed(jnp.asarray(maps[:, : len(stokes)]), jnp.asarray(mask)), held


@pytest.mark.parametrize("stokes", [Stokes.I, Stokes.QU])
def test_numbers_are_those_of_torch_harmonics_healpix(stokes):
    network, observed, held = rebuilt(stokes)
    np.testing.assert_allclose(run(network, observed), held["evaluated"], atol=3e-6)
    _, moved = learn(network, observed, jax.random.key(0))
    after = [f"after.batchnorms.{place}.running" for place in range(2)]
    np.testing.assert_allclose(moved.blocks[0].variance.value, held[f"{after[0]}_var"], rtol=1e-5)
    for name, block in zip(after, moved.blocks, strict=True):
        np.testing.assert_allclose(block.mean.value, held[f"{name}_mean"], atol=1e-6)
    # There all blocks are normalised by moments of nodes, here the last one by those of means.
    maps = network._sampled(observed)
    for name, block in zip(after, network.blocks, strict=True):
        found, brought = block.learning(block.filtered(maps), 0.1, 0.0)
        np.testing.assert_allclose(brought.mean.value, held[f"{name}_mean"], atol=1e-6)
        np.testing.assert_allclose(brought.variance.value, held[f"{name}_var"], rtol=1e-5)
        maps = jax.nn.relu(found)
    numbers = network._numbers(found.mean(axis=(0, 1)))
    np.testing.assert_allclose(numbers, held["trained"], atol=3e-5)


def test_the_mean_over_nodes_needs_zonal_coefficients_only():
    block = rebuilt(Stokes.QU)[0].blocks[1]
    block = eqx.tree_at(lambda b: b.shared.array, block, jnp.ones_like(block.shared.array))
    maps = jax.random.normal(jax.random.key(7), (8, 4, 5, 3), jnp.float32)
    np.testing.assert_allclose(
        block.pooled(maps), block.filtered(maps).mean(axis=(0, 1)), rtol=1e-4, atol=1e-5
    )


def grouped(grid: Equiangular, parts: np.ndarray) -> list[jax.Array]:
    """Coefficients `(part, m, ell)` in the groups of a grid, of one map with one channel."""
    lying = jnp.asarray(parts).transpose(1, 2, 0)[:, :, None, :, None]
    return [lying[low:high, low:] for low, high in grid.groups]


def test_transforms_are_duccs():
    grid = Equiangular(8, 10)
    m, ell = np.triu_indices(9, 0, 11)
    parts = np.random.default_rng(0).standard_normal((2, 9, 11))
    parts[1, [0, 8]] = 0.0
    alm = np.zeros((1, 66), complex)
    # ducc0 counts the last m of the nodes twice, as m and -m
    alm[0, m * (21 - m) // 2 + ell] = (parts[0] + 1j * parts[1])[m, ell] * np.where(
        m == 8, 0.5, 1.0
    )
    expected = ducc0.sht.synthesis_2d(
        alm=alm, spin=0, lmax=10, geometry="CC", ntheta=8, nphi=16, mmax=10
    )
    found = grid.synthesis(grouped(grid, parts))[..., 0, 0].T
    np.testing.assert_allclose(found, expected[0], atol=1e-12)


def test_the_analysis_undoes_the_synthesis_of_few_multipoles():
    grid = Equiangular(12, 5)
    parts = np.triu(np.random.default_rng(1).standard_normal((2, 6, 6)))
    parts[1, 0] = 0.0
    parts = grouped(grid, parts)
    for found, expected in zip(grid.analysis(grid.synthesis(parts)), parts, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_weights_integrate_polynomials(count):
    nodes = np.cos(np.arange(count) * np.pi / (count - 1))
    for degree in range(count):
        expected = (1.0 - (-1.0) ** (degree + 1)) / (degree + 1)
        assert clenshaw_curtis(count) @ nodes**degree == pytest.approx(expected, abs=1e-13)


def test_derivatives_of_transforms():
    grid = Equiangular(4, 4)
    maps = jax.random.normal(jax.random.key(2), (8, 4, 2, 1), float)
    check_grads(grid.analysis, (maps,), order=1, modes=["rev"], eps=1e-3)


def test_one_map_is_as_many_and_calibration_takes_the_moments_of_maps():
    network, _, _ = rebuilt(Stokes.QU)
    maps = jax.random.normal(jax.random.key(8), (300, 2, 48), jnp.float32)
    observed = Observed(maps, jnp.arange(48) + jnp.zeros((300, 1)) > 9)
    network = network.calibrated(observed)
    numbers = run(network, observed)
    one = Observed(observed.values[1:2], observed.mask[1:2])
    np.testing.assert_allclose(run(network, one)[0], numbers[1], atol=1e-5)
    batch, _ = learn(network, observed, jax.random.key(0))
    # but for the n / (n - 1) of the running variance
    np.testing.assert_allclose(batch, numbers, atol=0.02)


def test_a_factor_on_the_gains_of_a_block_changes_nothing_in_training():
    network, observed, _ = rebuilt(Stokes.I)
    first = network.blocks[0]
    louder = eqx.tree_at(
        lambda n: (n.blocks[0].weights, n.blocks[0].shared),
        network,
        jax.tree.map(lambda one: 100.0 * one, (first.weights, first.shared)),
    )
    numbers, moved = learn(network, observed, jax.random.key(0))
    again, after = learn(louder, observed, jax.random.key(0))
    np.testing.assert_allclose(again, numbers, rtol=1e-3, atol=1e-4)
    assert not np.allclose(after.blocks[0].variance.value, moved.blocks[0].variance.value)


def test_running_means_are_held_after_the_first_part_of_a_training():
    network, observed, _ = rebuilt(Stokes.QU)
    numbers, after = network.learning(observed, jax.random.key(0), 0.9)
    np.testing.assert_allclose(numbers, network(observed), atol=1e-5)
    assert eqx.tree_equal(after, network)


def test_it_learns():
    shape = SpectralShape(2, Stokes.I, blocks=2, channels=4, numbers=8, dropout=0.1)
    plan = Plan(maps=1000, validation=500, epochs=4, batch=50, learning_rate=1e-2)
    network = SpectralCNN(shape, jax.random.key(0))
    found = train(t1(nside=2), network, plan=plan)
    losses = np.array([one.validation for one in found.history])[:, 0]
    assert losses.min() < losses[0] - 0.3
    block = found.model.members.summary.blocks[0]
    for now, was in (
        (block.shared.array, network.blocks[0].shared.array),
        (block.weights[1], network.blocks[0].weights[1]),
    ):
        assert float(abs(now[0] - was).max()) > 0.01
    assert block.variance.value.dtype == jnp.float32


def test_steep_and_smooth_first_gains():
    shape = SpectralShape(8, Stokes.I, blocks=2, channels=3, steepness=2.0, smoothness=0.5)
    first, second = SpectralCNN(shape, jax.random.key(0)).blocks
    found = [block._gains(0.0 * block.weights[0], 0, 1)[0][0, :, 0] for block in (first, second)]
    ell = np.arange(23)
    # at m = 0 the polynomials are 1, -1, 1
    signs = np.array([1.0, -1.0, 1.0])[:, None, None]
    drawn = (signs * first.shared.array[:, :, 0]).sum(axis=0)
    np.testing.assert_allclose(found[0][:, 0], drawn[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1:, 1], drawn[1:, 1] * (ell[1:] + 1) / 23, rtol=1e-5)
    np.testing.assert_allclose(found[0][1:, 2], drawn[1:, 2] * ((ell[1:] + 1) / 23) ** 2, rtol=1e-5)
    # neighbours at large l are alike, in all blocks
    for block in (first, second):
        values = np.asarray(block.shared.array)
        assert np.abs(np.diff(values[:, 18:], axis=1)).mean() < 0.2 * np.abs(values).mean()
    rough = SpectralCNN(dataclasses.replace(shape, smoothness=0.0), jax.random.key(0)).blocks[1]
    values = np.asarray(rough.shared.array)
    assert np.abs(np.diff(values[:, 18:], axis=1)).mean() > np.abs(values).mean()


def test_dropout_keeps_the_mean_and_is_only_for_training():
    shape = SpectralShape(2, Stokes.I, blocks=1, channels=2, numbers=4000, dropout=0.4)
    network = SpectralCNN(shape, jax.random.key(3))
    maps = jax.random.normal(jax.random.key(4), (4, 1, 48), jnp.float32)
    observed = Observed(maps, jnp.ones((4, 48), bool))
    network = network.calibrated(observed)
    numbers, _ = learn(network, observed, jax.random.key(5))
    other, _ = learn(network, observed, jax.random.key(6))
    positive = run(network, observed) > 1e-2
    assert float(jnp.mean(numbers[positive] == 0.0)) == pytest.approx(0.4, abs=0.03)
    assert not np.array_equal(numbers, other)
    assert float(numbers.mean() / run(network, observed).mean()) == pytest.approx(1.0, abs=0.1)


def test_running_means_are_not_trained():
    network, observed, _ = rebuilt(Stokes.I)
    trained, kept = eqx.partition(network, learnt(network))

    def loss(values):
        return jnp.sum(eqx.combine(values, kept)(observed) ** 2)

    slope = eqx.filter_jit(jax.grad(loss))(trained)
    assert slope.blocks[0].mean.array is None
    last = slope.blocks[1]
    slopes = slope.blocks[0], last.shared, last.weights[0], last.factor, last.shift, slope.dense
    assert all(float(abs(leaf).max()) > 0.0 for leaf in jax.tree.leaves(slopes))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="inpaint: expected False for temperature"):
        SpectralShape(2, Stokes.I, inpaint=True)
    with pytest.raises(ValueError, match="dropout: expected 0 or more, below 1"):
        SpectralShape(2, Stokes.I, dropout=1.0)
    with pytest.raises(ValueError, match="expected positive"):
        SpectralShape(2, Stokes.I, blocks=0)
    with pytest.raises(ValueError, match="steepness: expected 0 or more"):
        SpectralShape(2, Stokes.I, steepness=-1.0)
    with pytest.raises(ValueError, match="smoothness: expected 0 or more"):
        SpectralShape(2, Stokes.I, smoothness=math.nan)
    with pytest.raises(ValueError, match="rings: expected 2 or more"):
        Equiangular(1, 4)
    network, observed, _ = rebuilt(Stokes.I)
    with pytest.raises(ValueError, match="observed: expected maps of shape"):
        network(Observed(observed.values[:, :, :12], observed.mask[:, :12]))
