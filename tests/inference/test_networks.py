import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.harmonic import SHT, Backend
from skysift.inference.layers import Gains
from skysift.inference.networks import (
    AbstractNetwork,
    Buffer,
    HarmonicNetwork,
    HarmonicShape,
    PixelNetwork,
    PixelShape,
    Standard,
    learnt,
)
from skysift.inference.pixel_layers import Pooling, Unseen
from skysift.inference.simulators import Observed, Split, t1, t2
from skysift.maps import Stokes

NSIDE, LMAX = 8, 23
T2 = t2(nside=NSIDE)
SHAPE = HarmonicShape(NSIDE, Stokes.QU, (2,), backend=Backend.DUCC)
run = eqx.filter_jit(lambda network, observed: network(observed))


def skies(seed: int, count: int = 48) -> tuple[Observed, np.ndarray]:
    """Maps of T2 and the coefficients that they are made of."""
    first, second = jax.random.split(jax.random.key(seed))
    parameters = T2.prior.sample(first, count)
    alm = np.asarray(T2.coefficients(parameters, jax.random.split(second, count)), complex)
    return observed(alm), alm


def observed(alm: np.ndarray) -> Observed:
    maps = SHT(NSIDE, LMAX, threads=1).synthesis(alm, spin=2)
    return Observed(jnp.asarray(maps, jnp.float32), jnp.ones((len(alm), maps.shape[-1]), bool))


def rotated(alm: np.ndarray) -> np.ndarray:
    """About axes that are not those of the poles."""
    out = np.array(alm)
    for one in out:
        three = np.concatenate([np.zeros_like(one[:1]), one])
        hp.rotate_alm(three, 0.7, 1.1, -0.4, lmax=LMAX)
        one[...] = three[1:]
    return out


@pytest.fixture(scope="module")
def trained_on() -> Observed:
    return skies(0)[0]


@pytest.fixture(scope="module")
def network(trained_on: Observed) -> HarmonicNetwork:
    return HarmonicNetwork(SHAPE, jax.random.key(0)).calibrated(trained_on)


def change(network: HarmonicNetwork) -> tuple[float, float]:
    """Largest change of numbers of the sky by a rotation, and the rms of that of the others."""
    sky, alm = skies(1, 12)
    difference = np.asarray(run(network, observed(rotated(alm))) - run(network, sky))
    outer = 3 * (LMAX + 1)
    return np.abs(difference[:, :outer]).max(), np.sqrt(np.mean(difference[:, outer:] ** 2))


def test_rotations_of_the_sky_leave_numbers(network):
    sky, inner = change(network)
    assert sky < 2e-3
    assert inner < 0.05


def test_with_gains_of_each_coefficient_rotations_change_numbers(trained_on):
    shape = HarmonicShape(NSIDE, Stokes.QU, (2,), kind=Gains.COEFFICIENT, backend=Backend.DUCC)
    _, inner = change(HarmonicNetwork(shape, jax.random.key(0)).calibrated(trained_on))
    assert inner > 0.3


def test_calibrated_numbers_are_standard(network, trained_on):
    numbers = np.asarray(run(network, trained_on))
    assert numbers.shape == (48, network.size)
    np.testing.assert_allclose(numbers.mean(axis=0), 0.0, atol=1e-3)
    varies = numbers.std(axis=0) > 0.0
    np.testing.assert_allclose(numbers[:, varies].std(axis=0), 1.0, atol=1e-3)
    # E and B have no monopole and no dipole, nor have their correlations
    assert np.flatnonzero(~varies[: 3 * (LMAX + 1)]).tolist() == [0, 1, 24, 25, 48, 49]


def test_numbers_do_not_depend_on_the_scale_of_maps(network, trained_on):
    scaled = Observed(1e-3 * trained_on.values, trained_on.mask)
    other = HarmonicNetwork(SHAPE, jax.random.key(0)).calibrated(scaled)
    np.testing.assert_allclose(run(other, scaled), run(network, trained_on), atol=2e-2)


def test_powers_of_the_sky_come_first(network):
    sky, alm = skies(2, 3)
    cl = np.array([[hp.alm2cl(field) for field in one] for one in alm]) + 1e-20
    spread = np.diff(np.log(cl[:, :, 4]), axis=0)
    scale = np.asarray(network.standard.scale.value)[[4, 28]]
    numbers = np.asarray(run(network, sky))[:, [4, 28]] / scale
    np.testing.assert_allclose(np.diff(numbers, axis=0), spread, atol=1e-3)


@pytest.mark.parametrize(
    "made",
    [
        HarmonicNetwork(
            HarmonicShape(
                2, Stokes.QU, (2,), unseen=Unseen.EXTENDED, masks=True, backend=Backend.DUCC
            ),
            jax.random.key(1),
        ),
        PixelNetwork(
            PixelShape(2, Stokes.QU, (3,), 5, pooling=Pooling.LARGEST, masks=True),
            jax.random.key(2),
        ),
    ],
)
def test_cut_skies(made: AbstractNetwork):
    _, sky = t2(0.5, nside=2, random_caps=True).batch(Split.TRAIN.key(0), 4)
    made = made.calibrated(sky)
    numbers = run(made, sky)
    assert numbers.shape == (4, made.size)
    assert numbers.dtype == jnp.float32
    assert made.learns
    one = Observed(sky.values[2:3], sky.mask[2:3])
    np.testing.assert_allclose(run(made, one)[0], numbers[2], atol=2e-3)
    hidden = jnp.where(sky.mask[:, None], sky.values, jnp.nan)
    np.testing.assert_array_equal(run(made, Observed(hidden, sky.mask)), numbers)
    trained, kept = eqx.partition(made, learnt(made))

    @eqx.filter_jit
    @jax.value_and_grad
    def loss(values):
        return jnp.mean((eqx.combine(values, kept)(Observed(hidden, sky.mask)) - 0.5) ** 2)

    _, slope = loss(trained)
    leaves = jax.tree.leaves(slope)
    assert len(leaves) == len(jax.tree.leaves(trained))
    assert all(np.isfinite(leaf).all() and np.any(leaf != 0.0) for leaf in leaves)
    along = jax.tree.map(lambda leaf: leaf / jnp.abs(leaf).max(), slope)
    steps = [jax.tree.map(lambda a, b, h=h: a + h * b, trained, along) for h in (2e-3, -2e-3)]
    ahead, behind = (float(loss(step)[0]) for step in steps)
    pairs = zip(leaves, jax.tree.leaves(along), strict=True)
    expected = sum(float(jnp.sum(one * other)) for one, other in pairs)
    assert (ahead - behind) / 4e-3 == pytest.approx(expected, rel=0.05)


def test_temperature():
    _, sky = t1(nside=2).batch(Split.TRAIN.key(0), 4)
    for made in (
        HarmonicNetwork(
            HarmonicShape(2, Stokes.I, (2, 2), backend=Backend.DUCC), jax.random.key(3)
        ),
        PixelNetwork(PixelShape(2, Stokes.I, (2,)), jax.random.key(4)),
    ):
        numbers = run(made.calibrated(sky), sky)
        assert numbers.shape == (4, made.size)
        assert np.isfinite(numbers).all()


def test_a_network_without_chance_learns_as_it_is():
    made = PixelNetwork(PixelShape(2, Stokes.I, (2,)), jax.random.key(5))
    sky = Observed(jnp.ones((2, 1, 48)), jnp.ones((2, 48), bool))
    numbers, same = made.learning(sky, jax.random.key(0))
    np.testing.assert_array_equal(numbers, made(sky))
    assert same is made


def test_buffers_are_constants():
    slope = jax.grad(lambda b: jnp.sum(b.value**2))(Buffer(jnp.ones(3)))
    assert float(abs(slope.array).max()) == 0.0


def test_numbers_that_do_not_vary_become_zero():
    numbers = jnp.stack([jnp.full(4, 7.0), jnp.arange(4.0)], axis=1)
    found = Standard(2).of(numbers)(numbers)
    np.testing.assert_allclose(found[:, 0], 0.0)
    assert float(found[:, 1].std()) == pytest.approx(1.0)


def test_what_does_not_fit_is_refused(network):
    with pytest.raises(ValueError, match="lmax: expected 2 to 11"):
        HarmonicShape(4, Stokes.I, lmax=12)
    with pytest.raises(ValueError, match="cut: expected 2 to lmax"):
        HarmonicShape(4, Stokes.I, lmax=8, cut=9)
    with pytest.raises(ValueError, match="widths: expected positive"):
        HarmonicShape(4, Stokes.I, (2, 0))
    with pytest.raises(ValueError, match="widths: expected at most 2 blocks"):
        PixelShape(4, Stokes.I, (2, 2, 2))
    with pytest.raises(ValueError, match="widths, numbers: expected positive"):
        PixelShape(4, Stokes.I, (2,), 0)
    _, sky = t1(nside=4).batch(Split.TRAIN.key(0), 1)
    with pytest.raises(ValueError, match="Check nside and Stokes"):
        network(sky)
