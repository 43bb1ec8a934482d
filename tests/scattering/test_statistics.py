import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import Covariance
from skysift.scattering.statistics import Statistics, stack

from .fields import red_noise


@pytest.fixture(scope="module")
def statistic():
    return Covariance.plane((16, 16), 2, 2)


@pytest.fixture(scope="module")
def many(statistic):
    return statistic(red_noise((16, 16), batch=(6,)))


def test_vector_holds_every_number(many):
    assert many.vector.shape == (6, many.n_coefficients)
    parts = []
    for order in ("mean", "variance", "rest", "S1", "S2", "S3", "S4"):
        parts.append(np.real(many[order]))
        if many.layout[order].complex:
            parts.append(np.imag(many[order]))
    np.testing.assert_array_equal(many.vector, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_of_their_vector(many, dtype):
    vectors = np.asarray(many.vector, dtype=dtype)
    for given, expected in ((vectors, vectors), (jnp.asarray(vectors[0]), vectors[0])):
        again = Statistics.of_vector(given, many.layout, masked=7)
        assert again.masked == 7
        assert [one.dtype for one in again.values] == [
            np.result_type(dtype, np.complex64) if table.complex else dtype
            for table in many.layout.tables
        ]
        np.testing.assert_array_equal(again.vector, expected)


def test_slices_are_those_of_the_vector(many):
    vectors = np.asarray(many.vector)
    for table, here in zip(many.layout.tables, many.layout.slices, strict=True):
        values = np.asarray(many[table.order])
        expected = np.hstack([values.real, values.imag]) if table.complex else values
        np.testing.assert_array_equal(vectors[:, here], expected)
    assert many.layout.slices[-1].stop == vectors.shape[1]


def test_select(many):
    third = many.select("S3", scale=1, orientation2=[0])
    table = many.layout["S3"]
    rows = (table.column("scale") == 1) & (table.column("orientation2") == 0)
    np.testing.assert_array_equal(third["S3"], np.asarray(many["S3"])[:, rows])
    assert third.layout.orders == (third.layout.tables[0].order,)
    fine = many.select(scale=0)
    assert [order.value for order in fine.layout.orders] == ["S1", "S2", "S3", "S4"]
    assert all(np.all(table.column("scale") == 0) for table in fine.layout.tables)
    with pytest.raises(ValueError, match="select: expected coefficients with scale=7, got none"):
        many.select("S1", scale=7)
    with pytest.raises(ValueError, match="axis: expected one of"):
        many.select("S1", scale2=0)


def test_ensemble(many):
    vectors = np.asarray(many.vector)
    np.testing.assert_allclose(many.mean().vector, vectors.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(many.deviation(), vectors.std(axis=0, ddof=1), rtol=1e-12)
    covariance = many.covariance()
    offset = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(covariance, offset.T @ offset / 5.0, atol=1e-14)


@pytest.mark.parametrize("verb", ["mean", "covariance", "deviation"])
def test_ensemble_of_one_is_refused(statistic, verb):
    one = statistic(red_noise((16, 16)))
    with pytest.raises(ValueError, match=f"{verb}: expected the statistics of at least two"):
        getattr(one, verb)()


def test_stack_undoes_a_loop(statistic, many):
    x = red_noise((16, 16), batch=(6,))
    x[4, 3, 3] = np.nan
    together = stack([statistic(one) for one in x])
    assert together.masked == 1
    rows = [0, 1, 2, 3, 5]
    np.testing.assert_allclose(together.vector[rows, :], many.vector[rows, :], atol=1e-12)
    with pytest.raises(ValueError, match="many: expected statistics of one configuration"):
        stack([many, many.select("S1")])


def test_to_dataset(many):
    data = many.to_dataset()
    np.testing.assert_array_equal(data["S1"], many["S1"])
    np.testing.assert_array_equal(data["S3_real"] + 1j * data["S3_imag"], many["S3"])
    np.testing.assert_array_equal(data["S4_scale3"], many.layout["S4"].column("scale3"))
    assert data["S2"].dims == ("field", "S2_coefficient")
    assert data.attrs["origin"] == many.layout.origin


def test_is_a_pytree(many):
    doubled = jax.tree.map(lambda one: 2.0 * one, many)
    assert doubled.layout == many.layout
    np.testing.assert_array_equal(doubled["S1"], 2.0 * many["S1"])
    first = jax.jit(lambda one: one["S1"] + jnp.sum(one.vector))(many)
    np.testing.assert_allclose(first, many["S1"] + jnp.sum(many.vector), rtol=1e-12)
