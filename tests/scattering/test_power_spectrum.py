import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.maps import UNSEEN
from skysift.scattering.companions import PowerSpectrum
from skysift.scattering.layout import Order


def slow_power(first, second, edges):
    """Mean product of the modes in each bin, mode by mode."""
    rows, columns = first.shape
    one = np.fft.fft2(first) / np.sqrt(first.size)
    two = np.fft.fft2(second) / np.sqrt(first.size)
    sums, counts = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for i in range(rows):
        for j in range(columns):
            ki = 2 * np.pi * (i if i < rows / 2 else i - rows) / rows
            kj = 2 * np.pi * (j if j < columns / 2 else j - columns) / columns
            k = np.hypot(ki, kj)
            for b in range(len(sums)):
                if k > 0 and edges[b] <= k < edges[b + 1]:
                    sums[b] += (one[i, j] * np.conj(two[i, j])).real
                    counts[b] += 1
    return sums / counts


@pytest.fixture(scope="module")
def two():
    return PowerSpectrum.plane((12, 16), bins=4, channels=2)


@pytest.fixture(scope="module")
def cut():
    mask = np.ones((12, 16))
    mask[3:8, 2:7] = 0.0
    return PowerSpectrum.plane((12, 16), bins=4, weights=mask)


def test_auto_and_cross_powers_are_those_of_the_modes(two):
    maps = np.random.default_rng(0).standard_normal((3, 2, 12, 16)) + 2.0
    found = two(maps)
    table = found.layout["bandpower"]
    for row, (_, a, b, k) in enumerate(table.index):
        for field, values in zip(maps, found["bandpower"], strict=True):
            assert np.allclose(values[row], slow_power(field[a], field[b], two.shape.edges)[k])
    assert np.allclose(found["mean"], maps.mean(axis=(-2, -1)))
    assert np.allclose(found["variance"], maps.var(axis=(-2, -1)))


def test_a_batch_is_its_maps_one_by_one(two):
    maps = np.random.default_rng(1).standard_normal((3, 2, 12, 16))
    assert np.allclose(two(maps).vector[1], two(maps[1]).vector, rtol=1e-12)


def test_power_of_all_modes_is_the_variance(two):
    maps = np.random.default_rng(2).standard_normal((2, 12, 16))
    found = two(maps)
    counts = two.bins_of_modes()[0] > 0
    auto = found.select("bandpower", channel=0, channel2=0)["bandpower"]
    assert np.isclose(auto @ counts.sum(axis=(1, 2)) / 192, maps[0].var())


def test_weighted_power_of_every_unit_of_white_noise_is_one(cut):
    # The sum over all fields that are 1 in one cell is what white noise gives on average.
    units = jnp.eye(192).reshape(192, 1, 12, 16)
    power = eqx.filter_jit(cut.moments)(units)[2].sum(axis=0)
    assert np.allclose(power, 1.0, rtol=1e-9)


def test_weighted_power_of_a_bin_stays_in_the_bin(cut):
    inside = np.fft.ifft2((cut.bins_of_modes()[0] > 0)[2])
    rows = np.stack([np.roll(inside.real, (i, j), (0, 1)) for i in range(12) for j in range(16)])
    power = eqx.filter_jit(cut.moments)(jnp.asarray(rows)[:, None])[2].sum(axis=0)
    assert np.allclose(power, [0.0, 0.0, 1.0, 0.0], atol=1e-9)


def test_weighted_power_does_not_depend_on_the_masked_cells_or_a_constant(cut):
    values = np.random.default_rng(3).standard_normal((12, 16))
    other = np.where(cut.weights.cells[0] > 0, values, 7.0)
    assert np.allclose(cut(values).vector, cut(other).vector)
    assert np.allclose(cut(values)["bandpower"], cut(values + 5.0)["bandpower"])


def test_missing_cells_are_masked_and_counted(cut):
    values = np.random.default_rng(4).standard_normal((12, 16))
    plain = PowerSpectrum.plane((12, 16), bins=4)
    holes = np.where(cut.weights.cells[0] > 0, values, np.nan)
    holes[3, 2] = UNSEEN
    found = plain(holes)
    assert found.masked == 25
    assert np.allclose(found.vector, cut(values).vector)


def test_gradient_of_powers_is_the_difference_of_powers(cut):
    generator = np.random.default_rng(5)
    values, step = generator.standard_normal((2, 12, 16))
    slope = jax.jvp(lambda x: cut(x).vector, (jnp.asarray(values),), (jnp.asarray(step),))[1]
    ahead, behind = cut(values + 1e-5 * step).vector, cut(values - 1e-5 * step).vector
    assert np.allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)


def test_powers_on_the_sphere_are_those_of_anafast():
    st = PowerSpectrum.sphere(nside=8, bins=[1, 2, 5, 17], channels=2)
    rng = np.random.default_rng(6)
    ell = np.arange(17)
    alm = rng.standard_normal(153) * np.sqrt(2.0) + 1j * rng.standard_normal(153)
    red = hp.alm2map(hp.almxfl(alm, 1.0 / (ell + 1.0)), 8, lmax=16)
    maps = np.stack([red, rng.standard_normal(768)])
    # The mean leaks into other multipoles of anafast.
    maps -= maps.mean(axis=-1, keepdims=True)
    found = st(maps)
    spectra = {
        (0, 0): hp.anafast(maps[0], lmax=16),
        (1, 1): hp.anafast(maps[1], lmax=16),
        (0, 1): hp.anafast(*maps, lmax=16),
    }
    weight = 2 * np.arange(17) + 1
    for value, (_, a, b, k) in zip(
        found["bandpower"], found.layout["bandpower"].index, strict=True
    ):
        first, end = st.shape.edges[k : k + 2]
        expected = np.average(spectra[a, b][first:end], weights=weight[first:end])
        assert np.isclose(value, expected, rtol=1e-9)


def test_weighted_power_on_the_sphere_of_every_unit_of_white_noise_is_one():
    theta = hp.pix2ang(8, np.arange(768))[0]
    cap = np.stack([theta < 1.6, theta > 1.4]).astype(float)
    st = PowerSpectrum.sphere(nside=8, lmax=12, bins=[1, 4, 8, 13], weights=cap)
    fields = st.domain.of_unknowns(jnp.eye(169)[:, None])
    assert np.allclose(eqx.filter_jit(st.moments)(fields)[2].sum(axis=0), 1.0, rtol=1e-8)


def test_number_of_bins_is_at_most_that_of_the_modes():
    st = PowerSpectrum.plane((8, 8), bins=30)
    assert np.all(st.bins_of_modes()[0].sum(axis=(1, 2)) > 0)
    covered = (st.bins_of_modes()[0] > 0).any(axis=0)
    assert covered.sum() == 63
    assert st.layout.orders == (Order.MEAN, Order.VARIANCE, Order.BANDPOWER)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerSpectrum.plane((8, 8), bins=0), "bins: expected 1 or more"),
        (lambda: PowerSpectrum.plane((8, 8), bins=[0.1, 0.2, 1.0]), "expected modes in each bin"),
        (lambda: PowerSpectrum.plane((8, 8), bins=[1.0, 0.5]), "growing edges"),
        (lambda: PowerSpectrum.sphere(4, bins=[0, 3]), "first multipoles from 1"),
        (lambda: PowerSpectrum.sphere(4, bins=[2, 30]), "first multipoles from 1"),
        (lambda: PowerSpectrum.plane((8, 8), 2, weights=np.zeros((8, 8))), "none in region 0"),
        (lambda: PowerSpectrum.plane((8, 8), 2, weights=np.ones((8, 7))), "expected shape"),
        (lambda: PowerSpectrum.plane((8, 8), 2, weights=-np.ones((8, 8))), "0 or more"),
        (lambda: PowerSpectrum.plane((8, 8), 2)(np.ones((8, 8))), "none at channel 0, bin 0"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bins_that_a_small_region_cannot_tell_apart_are_refused():
    dot = np.zeros((16, 16))
    dot[4, 4] = 1.0
    with pytest.raises(ValueError, match="bins: expected bins that the weighted cells"):
        PowerSpectrum.plane((16, 16), bins=6, weights=dot)
