from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array

from skysift.resample import normal
from skysift.resample.inverse import fit
from skysift.resample.methods import bicubic, psf
from skysift.resample.normal import CROWDED, LinkMatrix, NormalSystem

from ..oracles import damped
from ..oracles.resampling import dense

SAMPLES, CELLS = 3000, 90


def links_of(dtype=np.float64, blocks=1):
    """Random links with weights of both signs, in one matrix or several."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(SAMPLES, CELLS)) * (random.uniform(size=(SAMPLES, CELLS)) < 0.1)
    edges = np.linspace(0, SAMPLES, blocks + 1).astype(int)
    parts = [(slice(a, b), csr_array(matrix[a:b].astype(dtype))) for a, b in pairwise(edges)]
    return LinkMatrix(tuple(parts), CELLS), matrix


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gram_is_the_product(blocks, dtype, monkeypatch):
    monkeypatch.setattr(normal, "_TOGETHER", 700)
    links, matrix = links_of(dtype, blocks)
    weight = np.random.default_rng(1).uniform(0, 2, SAMPLES) * (np.arange(SAMPLES) % 5 > 0)
    before = [part.data.copy() for _, part in links.blocks]
    gram = links.gram(weight.astype(dtype))
    assert gram.dtype == dtype
    exact = matrix.T @ (weight[:, None] * matrix)
    np.testing.assert_allclose(gram.toarray(), exact, atol=200 * np.finfo(dtype).eps * exact.max())
    for (_, part), data in zip(links.blocks, before, strict=True):
        np.testing.assert_array_equal(part.data, data)


@pytest.mark.parametrize("columns", [1, 2])
def test_prepared_systems_are_the_same(columns):
    links, _ = links_of()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, (SAMPLES, columns))
    plain = NormalSystem.of(links, weight, None, 0.0)
    ready = plain.prepared()
    assert (ready.gram is None) == (columns > 1)
    assert ready.prepared() is ready
    cells = np.random.default_rng(2).normal(size=(CELLS, columns))
    np.testing.assert_allclose(ready.product(cells), plain.product(cells), rtol=1e-11, atol=1e-9)
    few = LinkMatrix(((slice(0, 200), links.blocks[0][1][:200]),), CELLS)
    rare = NormalSystem.of(few, weight[:200], None, 0.0)
    assert rare.prepared() is rare


@pytest.mark.parametrize("method", [psf, bicubic])
def test_fits_agree_with_and_without_gram(method, monkeypatch):
    random = np.random.default_rng(0)
    lon, lat = random.uniform(-20, 20, (2, 4000))
    sampling = method(lon, lat, level=4)
    values = 280.0 + np.sin(np.radians(5 * lon)) + random.normal(0, 0.1, 4000)
    variance = random.uniform(0.5, 2.0, 4000)
    assert sampling.n_samples > CROWDED * sampling.n_cells
    options = {"noise_variance": variance, "tol": 1e-10, "max_iter": 1000}
    quick = [fit(sampling, values, damping=d, **options) for d in (None, 0.01)]
    monkeypatch.setattr(normal, "CROWDED", np.inf)
    plain = [fit(sampling, values, damping=d, **options) for d in (None, 0.01)]
    for one, two in zip(quick, plain, strict=True):
        assert one._system.gram is not None
        assert two._system.gram is None
        np.testing.assert_allclose(one.damping, two.damping, rtol=1e-6)
        np.testing.assert_allclose(one.values, two.values, atol=1e-6)


def test_least_damping_is_what_is_missing():
    random = np.random.default_rng(3)
    sampling = psf(*random.uniform(-20, 20, (2, 500)), level=4)
    weight = random.uniform(0.5, 2.0, (500, 2))
    links, matrix = LinkMatrix.of(sampling), dense(sampling)
    system = NormalSystem.of(links, weight[sampling.order], None, 0.0, 0.3)
    for column in range(2):
        exact = damped.least_damping(matrix, weight[:, column], 0.3)
        assert 0.1 < np.mean(exact > 0.0) < 0.9
        np.testing.assert_allclose(system.least[:, column], exact, atol=1e-12)
    strong = system.damped(np.array([0.05, 0.1])).select(np.array([1]))
    np.testing.assert_allclose(strong.cell_damping[:, 0], np.maximum(0.1, exact), atol=1e-12)
    np.testing.assert_allclose(strong.pull, strong.cell_damping * strong.scale)
    assert NormalSystem.of(links, weight, None, 0.0).least is None
