import numpy as np
import pytest

from skysift.resample.kernels import normal_product


def links(samples, cells, degree, dtype):
    rng = np.random.default_rng(0)
    index = rng.integers(0, cells, samples * degree).astype(np.int32)
    return index, rng.standard_normal(samples * degree).astype(dtype), degree


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("samples", "degree"), [(101, 9), (1, 4), (40, 1)])
def test_normal_product(samples, degree, dtype):
    rng = np.random.default_rng(1)
    index, data, _ = links(samples, 30, degree, dtype)
    weight = rng.random(samples).astype(dtype)
    cells = rng.standard_normal(30).astype(dtype)
    dense = np.zeros((samples, 30))
    np.add.at(dense, (np.repeat(np.arange(samples), degree), index), data.astype(float))
    expected = dense.T @ (weight * (dense @ cells))
    found = normal_product(index, data, degree, weight, cells)
    assert found.dtype == dtype
    tolerance = 200.0 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


def test_normal_product_is_the_same_each_time():
    given = links(1000, 200, 9, np.float32)
    weight, cells = np.ones(1000, np.float32), np.arange(200.0, dtype=np.float32)
    first = normal_product(*given, weight, cells)
    for _ in range(5):
        np.testing.assert_array_equal(normal_product(*given, weight, cells), first)
