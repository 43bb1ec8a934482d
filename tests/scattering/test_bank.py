import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import BumpSteerable, Morlet
from skysift.scattering.plane.bank import (
    BankShape,
    crop,
    crop_half,
    half_weights,
    make_bank,
    modes,
    scale_windows,
)


@pytest.mark.parametrize(
    ("shape", "scale", "grid"),
    [
        ((256, 256), 0, (256, 256)),
        ((256, 256), 1, (256, 256)),
        ((256, 256), 3, (64, 64)),
        ((256, 256), 6, (16, 16)),
        ((45, 300), 2, (24, 150)),
    ],
)
def test_grid_is_twice_the_band(shape, scale, grid):
    assert BankShape(shape, scale + 1 if min(shape) > 100 else 3, 4).grid(scale) == grid


@pytest.mark.parametrize(
    ("shape", "scales", "name"),
    [
        ((64, 64), 6, "scales"),
        ((64, 64), 0, "scales"),
        ((7, 64), 1, "shape"),
        ((8,) * 4, 1, "shape"),
    ],
)
def test_bank_shape_refuses(shape, scales, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        BankShape(shape, scales, 4)


@pytest.mark.parametrize("orientations", [1, 2, 4, 7])
def test_littlewood_paley(orientations):
    windows, k = scale_windows(make_bank(BankShape((128, 128), 5, orientations), BumpSteerable()))
    # Both of a wave vector and its opposite: one half plane each.
    total = 2.0 * orientations * windows.sum(axis=0)
    covered = (k > np.pi / 2.0**4) & (k < 0.85 * np.pi)
    assert total[covered].min() > 0.59
    assert total[covered].max() < 1.07
    assert abs(total[covered].mean() - 0.82) < 0.01


@pytest.mark.parametrize("wavelet", [BumpSteerable(), Morlet()])
def test_all_power_is_seen_or_counted_as_rest(wavelet):
    bank = make_bank(BankShape((48, 40), 3, 4), wavelet)
    windows, k = scale_windows(bank)
    seen = windows.sum(axis=0) / windows.sum(axis=0).max() + np.asarray(bank.rest).sum(axis=0)
    assert seen.flat[0] < 1e-20
    ends = (k > 0.8 * np.pi) | ((k > 0.0) & (k < np.pi / 2.0**3))
    np.testing.assert_allclose(seen[ends], 1.0, atol=1e-12)
    assert np.all(seen[k > 0.0] > 0.2)


@pytest.mark.parametrize(("have", "want"), [(12, 8), (13, 8), (12, 7), (13, 9), (8, 8)])
def test_crop_keeps_the_lowest_modes(have, want):
    numbers = np.fft.fftfreq(have, 1.0 / have)
    expected = np.fft.fftfreq(want, 1.0 / want)
    np.testing.assert_array_equal(crop(jnp.asarray(numbers), (want,), (-1,)), expected)
    half = np.fft.rfftfreq(have, 1.0 / have)
    got = np.asarray(crop_half(jnp.asarray(half), (want,), (-1,)))
    np.testing.assert_array_equal(got, np.arange(want // 2 + 1))


@pytest.mark.parametrize("grid", [(8, 8), (9, 7), (6, 9)])
def test_half_weights_sum_over_all_modes(grid):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, *grid))
    filters = rng.standard_normal((3, *grid))
    for axis, cells in enumerate(grid):
        if cells % 2 == 0:
            np.moveaxis(filters, axis + 1, 0)[cells // 2] = 0.0
    even, odd = half_weights(jnp.asarray(filters), grid)
    expected = np.sum(filters**2 * np.fft.fft2(a) * np.conj(np.fft.fft2(b)), axis=(1, 2))
    product = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))
    got = np.sum(even * product.real + 1j * odd * product.imag, axis=(1, 2))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_half_weights_keep_the_type():
    assert all(one.dtype == np.float32 for one in half_weights(jnp.ones((2, 8), np.float32), (8,)))


def test_modes_add_to_the_mean_square():
    x = np.random.default_rng(0).standard_normal((9, 12))
    np.testing.assert_allclose(np.sum(np.abs(modes(x, (-2, -1))) ** 2), np.mean(x**2), rtol=1e-13)
