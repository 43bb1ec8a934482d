import numpy as np
import pytest

from skysift.grid import Grid
from skysift.harmonic.smooth import smoothed


def test_like_a_sum_over_all_pairs():
    mask = np.zeros(768, bool)
    mask[:400] = True
    grid = Grid.from_mask(mask)
    values = np.random.default_rng(0).standard_normal(400)
    sigma = np.radians(25.0) / np.sqrt(8 * np.log(2))
    angle = np.arccos(np.clip(grid.vectors() @ grid.vectors().T, -1, 1))
    kernel = np.exp(-0.5 * (angle / sigma) ** 2)
    expected = kernel @ values / kernel.sum(axis=1)
    found = smoothed(values, grid, fwhm=25.0)
    assert np.std(found - expected) < 0.03 * np.std(expected)


def test_what_lies_outside_pulls_nothing():
    mask = np.zeros(768, bool)
    mask[100:300] = True
    grid = Grid.from_mask(mask)
    np.testing.assert_allclose(smoothed(np.full(200, -3.1), grid, 40.0), -3.1)
    values = np.linspace(1.4, 1.6, 200)
    found = smoothed(values, grid, 1.0)
    assert found.min() >= 1.4
    assert found.max() <= 1.6


@pytest.mark.parametrize(
    ("values", "fwhm", "message"),
    [
        (np.zeros(200), 0.0, "fwhm: expected degrees larger than zero"),
        (np.zeros(200), np.nan, "fwhm: expected degrees larger than zero"),
        (np.zeros(199), 5.0, "values: expected 200 finite values"),
        (np.full(200, np.nan), 5.0, "with 200 missing"),
    ],
)
def test_wrong_input(values, fwhm, message):
    mask = np.zeros(768, bool)
    mask[:200] = True
    with pytest.raises(ValueError, match=message):
        smoothed(values, Grid.from_mask(mask), fwhm)
