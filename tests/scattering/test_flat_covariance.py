import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import BumpSteerable, Covariance, Morlet

from ..oracles.scattering import bump, flat_covariance, flat_normalised, morlet
from .checks import against_oracle
from .fields import red_noise

CASES = [
    ((40,), 4, 1, "bump"),
    ((45,), 3, 1, "morlet"),
    ((36, 45), 4, 3, "bump"),
    ((20, 24), 3, 1, "bump"),
    ((40, 24), 3, 2, "morlet"),
    ((8, 9, 10), 2, 3, "bump"),
]
ORDERS = ("S1", "S2", "S3", "S4")
WAVELETS = {"bump": (BumpSteerable(), bump), "morlet": (Morlet(), morlet)}


@pytest.fixture(scope="module")
def statistic():
    """Grids of 32, 32 and 16 cells."""
    return Covariance.plane((32, 32), 3, 4)


@pytest.fixture(scope="module")
def field():
    return red_noise((32, 32))


def close(got, expected, tolerance):
    for table, a, b in zip(expected.layout.tables, got.values, expected.values, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=0.0, atol=tolerance * max(np.abs(b).max(), 1e-300), err_msg=table.order.value
        )


def permuted(statistics, turned, wrapped):
    """Values with the orientation l replaced by `turned[l]`; conjugated where it left the half
    plane and came back on the other side."""
    values = []
    for table, old in zip(statistics.layout.tables, statistics.values, strict=True):
        index = table.index.copy()
        for column, axis in enumerate(table.axes):
            if axis.startswith("orientation"):
                index[:, column] = turned[index[:, column]]
        position = {tuple(row): n for n, row in enumerate(table.index.tolist())}
        swapped = ~np.array([tuple(row) in position for row in index.tolist()])
        if swapped.any():
            # Of products of moduli of one scale each pair is there, in either order.
            raise AssertionError(table.order)
        rows = [position[tuple(row)] for row in index.tolist()]
        new = np.empty_like(np.asarray(old))
        new[rows] = np.asarray(old)
        if table.complex:
            conjugate = np.zeros(table.size, dtype=bool)
            conjugate[rows] = wrapped[table.column("orientation")]
            new = np.where(conjugate, np.conj(new), new)
        values.append(new)
    return values


@pytest.mark.parametrize(("shape", "scales", "orientations", "name"), CASES)
def test_covariance_oracle(shape, scales, orientations, name):
    wavelet, profile = WAVELETS[name]
    statistic = Covariance.plane(shape, scales, orientations, wavelet=wavelet)
    x = red_noise(shape)
    found = flat_covariance(x[None], profile, scales, orientations)
    against_oracle(statistic(x), flat_normalised(found), ORDERS)


def test_covariance_oracle_two_channels():
    statistic = Covariance.plane((24, 32), 3, 2, channels=2)
    x = red_noise((24, 32), batch=(2,))
    x[1] += 0.5 * x[0]
    phi = statistic(x)
    assert phi.layout["S2"].complex
    against_oracle(phi, flat_normalised(flat_covariance(x, bump, 3, 2)), ORDERS)


def test_covariance_oracle_weights():
    weights = np.random.default_rng(1).uniform(0.2, 1.0, (32, 32))
    weights[4:10, 6:12] = 0.0
    x = red_noise((32, 32))
    statistic = Covariance.plane((32, 32), 3, 2, weights=weights)
    used = statistic.weights
    scales, moduli = ([np.asarray(one)[0] for one in ones] for ones in (used.scales, used.moduli))
    seen = np.asarray(statistic.visible(jnp.asarray(x)[None, None]))[0]
    found = flat_covariance(seen, bump, 3, 2, scales, moduli)
    against_oracle(statistic(x), flat_normalised(found), ORDERS)


def test_moments_of_the_field(statistic, field):
    phi = statistic(field)
    np.testing.assert_allclose(phi["mean"], [field.mean()], rtol=1e-13)
    np.testing.assert_allclose(phi["variance"], [field.var()], rtol=1e-12)
    power = np.abs(np.fft.fft2(field, norm="forward")) ** 2
    windows, _ = statistic.power_windows()
    S2 = np.asarray(phi["S2"]).reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(S2, np.sum(windows * power, axis=(1, 2)), rtol=1e-12)
    rest = [np.sum(window * power) for window in statistic.rest_windows()]
    np.testing.assert_allclose(phi["rest"], rest, rtol=1e-12)


def test_gaussian_field_has_no_third_moment(statistic):
    phi = statistic(red_noise((32, 32), skewed=False, batch=(100,)))
    third = np.asarray(phi["S3"])
    error = third.std(axis=0, ddof=1) / 10.0
    assert np.max(np.abs(third.mean(axis=0)) / error) < 4.5
    skewed = np.asarray(statistic(red_noise((32, 32), batch=(100,)))["S3"])
    assert np.max(np.abs(skewed.mean(axis=0)) / error) > 20.0


def test_moduli_of_a_gaussian_field(statistic):
    # The modulus of a complex Gaussian number has the mean sqrt(pi / 4) of its root mean square.
    first = np.asarray(statistic(red_noise((32, 32), skewed=False, batch=(100,)))["S1"])
    finest = first[:, statistic.layout["S1"].column("scale") == 0].mean()
    np.testing.assert_allclose(finest, np.sqrt(np.pi / 4.0), rtol=0.02)


def test_batch_is_a_loop(statistic):
    x = red_noise((32, 32), batch=(2, 2))
    phi = statistic(x)
    assert phi.batch == (2, 2)
    for where in np.ndindex(2, 2):
        one = statistic(x[where])
        for a, b in zip(phi.values, one.values, strict=True):
            np.testing.assert_allclose(a[where], b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("shift", [(2, 0), (4, 6)])
def test_translation_by_cells_of_the_coarsest_grid(statistic, field, shift):
    close(statistic(np.roll(field, shift, (0, 1))), statistic(field), 1e-13)


def test_translation_by_any_cells(statistic, field):
    phi = statistic(field)
    moved = statistic(np.roll(field, (1, 3), (0, 1)))
    for order in ("S1", "S2", "S3", "S4"):
        change = np.abs(np.asarray(moved[order]) - np.asarray(phi[order]))
        coarse = phi.layout[order].column("scale") == 2
        # On the full grid exact; on a coarser one a modulus, which has no band limit, is aliased.
        assert change[~coarse].max() < 1e-13
        assert change[coarse].max() < 2e-3


def test_rotation_by_a_right_angle(statistic, field):
    # About the origin: cell (i, j) goes to (j, -i), the direction of angle a to a + 90 degrees.
    turned = np.roll(np.flip(field, axis=1), 1, axis=1).T
    orientation = (np.arange(4) - 2) % 4
    wrapped = np.arange(4) < 2
    expected = permuted(statistic(field), orientation, wrapped)
    for a, b in zip(statistic(turned).values, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-13)


def test_flip(statistic, field):
    flipped = np.roll(np.flip(field, axis=0), 1, axis=0)
    expected = permuted(statistic(field), -np.arange(4) % 4, np.arange(4) > 0)
    for a, b in zip(statistic(flipped).values, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("factor", [3.0, -0.5, 1e-7, 1e9])
def test_amplitude_and_offset(statistic, field, factor):
    phi, scaled = statistic(field), statistic(factor * field + 2.0 * factor)
    np.testing.assert_allclose(scaled["mean"], factor * (phi["mean"] + 2.0), rtol=1e-12)
    for order in ("variance", "rest", "S2"):
        np.testing.assert_allclose(scaled[order], factor**2 * phi[order], rtol=1e-10)
    for order, sign in (("S1", 1.0), ("S3", np.sign(factor)), ("S4", 1.0)):
        np.testing.assert_allclose(scaled[order], sign * phi[order], rtol=1e-9, atol=1e-12)


def test_reference_normalises(statistic, field):
    reference = statistic(field)
    close(statistic(field, reference=reference), reference, 1e-13)
    twice = statistic(2.0 * field, reference=reference)
    for order, power in (("S1", 2), ("S2", 4), ("S3", 4), ("S4", 4)):
        np.testing.assert_allclose(twice[order], power * reference[order], rtol=1e-11, atol=1e-14)


def test_gradient(statistic, field):
    rng = np.random.default_rng(5)
    weights = jnp.asarray(rng.standard_normal(statistic.layout.n_coefficients))
    step = rng.standard_normal(field.shape)

    @jax.jit
    @jax.value_and_grad
    def objective(x):
        return statistic(x).vector @ weights

    expected = (objective(field + 1e-5 * step)[0] - objective(field - 1e-5 * step)[0]) / 2e-5
    np.testing.assert_allclose(np.sum(objective(field)[1] * step), expected, rtol=1e-7)
    # Of a single wave along one axis many moduli vanish, where a root has no derivative.
    wave = np.broadcast_to(np.cos(np.pi * np.arange(32) / 4.0), (32, 32))
    assert np.all(np.isfinite(objective(wave)[1]))


def test_single_precision(statistic, field):
    phi, single = statistic(field), statistic(field.astype(np.float32))
    assert all(one.dtype in (np.float32, np.complex64) for one in single.values)
    close(single, phi, 2e-6)


def test_gram_is_hermitian(statistic, field):
    phi = statistic(field)
    table = phi.layout["S4"]
    value = {tuple(r): v for r, v in zip(table.index.tolist(), np.asarray(phi["S4"]), strict=True)}
    for (region, a, b, j1, j2, j3, turn, l2, l3), number in value.items():
        if j2 == j3:
            mirrored = value[region, b, a, j1, j3, j2, turn, l3, l2]
            np.testing.assert_allclose(number, np.conj(mirrored), atol=1e-14)
