import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import Covariance, Order
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import Metric, objective_of, sampling_deviation

from .fields import red_noise


@pytest.fixture(scope="module")
def statistic():
    return Covariance.plane((16, 16), 2, 2)


each_of = eqx.filter_jit(lambda objective, unknowns: objective.each(unknowns))
together_of = eqx.filter_jit(lambda objective, unknowns: objective.together(unknowns))


def made(statistic, phi, draws=32):
    colour = colour_of(statistic, phi)
    deviation = sampling_deviation(statistic, phi, colour, np.random.SeedSequence(1), draws)
    return objective_of(statistic, phi, colour, Metric(deviation)), deviation


@pytest.fixture(scope="module")
def objective(statistic):
    return made(statistic, statistic(red_noise((16, 16))))[0]


def test_gaussian_fields_are_at_one(statistic):
    x = red_noise((16, 16), skewed=False, batch=(200,))
    objective, _ = made(statistic, statistic(x).mean(), draws=200)
    draws = objective.colour.draw(jax.random.key(5), 100, np.dtype(float))
    each = np.asarray(each_of(objective, draws))
    assert each.shape == (100,)
    # The mean over fields of normalised statistics is not that of the moments: a little above 1.
    assert 0.8 < each.mean() < 1.6
    assert float(together_of(objective, draws)) < 0.3 * each.mean()


def test_deviation_is_that_of_an_ensemble(statistic):
    x = red_noise((16, 16), skewed=False, batch=(200,))
    phi = statistic(x).mean()
    _, deviation = made(statistic, phi, draws=200)
    colour = colour_of(statistic, phi)
    maps = colour.fields(colour.draw(jax.random.key(9), 300, np.dtype(float)))
    ensemble = statistic(statistic.domain.seen(maps), reference=phi).deviation()
    vary = deviation > 0.0
    np.testing.assert_allclose(deviation[vary], ensemble[vary], rtol=0.45)
    # The mean of a periodic field does not vary, nor does the imaginary part of a real product.
    assert deviation[0] == 0.0
    own = statistic.layout["S4"]
    real = (own.column("scale2") == own.column("scale3")) & (
        own.column("orientation2") == own.column("orientation3")
    )
    imaginary = deviation[-own.size :]
    np.testing.assert_array_equal(imaginary == 0.0, real)


@pytest.mark.parametrize(("unit", "dtype"), [(1e-9, np.float64), (1e12, np.float32)])
def test_objective_does_not_depend_on_the_unit(statistic, objective, unit, dtype):
    draws = objective.colour.draw(jax.random.key(5), 3, np.dtype(float))
    phi = statistic((unit * red_noise((16, 16))).astype(dtype))
    other, _ = made(statistic, phi)
    if dtype == np.float64:
        np.testing.assert_array_equal(other.weights > 0.0, objective.weights > 0.0)
        np.testing.assert_allclose(each_of(other, draws), each_of(objective, draws), rtol=1e-6)
    else:
        # Draws of another type are other draws.
        values = np.asarray(each_of(other, draws.astype(dtype)))
        assert np.all(np.isfinite(values))
        ratio = values / np.asarray(each_of(objective, draws))
        assert np.all(np.abs(np.log(ratio)) < np.log(3.0))


def test_gradient_finite_difference(objective):
    at = objective.colour.draw(jax.random.key(2), 2, np.dtype(float))
    step = objective.colour.draw(jax.random.key(3), 2, np.dtype(float))

    @jax.jit
    def total(values):
        return jnp.sum(objective.each(values)) + 2.0 * objective.together(values)

    expected = (total(at + 1e-5 * step) - total(at - 1e-5 * step)) / 2e-5
    np.testing.assert_allclose(jnp.sum(jax.jit(jax.grad(total))(at) * step), expected, rtol=1e-6)


def test_emphasis_weighs_an_order(statistic):
    phi = statistic(red_noise((16, 16)))
    colour = colour_of(statistic, phi)
    deviation = np.ones(phi.n_coefficients)
    deviation[3] = 0.0
    plain = Metric(deviation).weights(phi.layout)
    heavy = Metric(deviation, {Order.S1: 9.0, Order.REST: 0.0}).weights(phi.layout)
    for table, here in zip(phi.layout.tables, phi.layout.slices, strict=True):
        factor = {Order.S1: 3.0, Order.REST: 0.0}.get(table.order, 1.0)
        np.testing.assert_allclose(heavy[here], factor * plain[here])
    assert plain[3] == 0.0
    np.testing.assert_allclose(np.sum(plain**2), 1.0)
    unknowns = colour.draw(jax.random.key(0), 1, np.dtype(float))
    one, many = (
        objective_of(statistic, phi, colour, Metric(deviation, {order: 3.0 for order in orders}))
        for orders in ((), phi.layout.orders)
    )
    np.testing.assert_allclose(each_of(many, unknowns), 3.0 * each_of(one, unknowns))


def test_a_metric_that_does_not_fit_is_refused(statistic):
    phi = statistic(red_noise((16, 16)))
    colour, seed = colour_of(statistic, phi), np.random.SeedSequence(0)
    with pytest.raises(ValueError, match="deviation: expected finite numbers of 0 or more"):
        Metric(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="emphasis: expected 0 or more for S1, got -1"):
        Metric(emphasis={Order.S1: -1.0})
    with pytest.raises(ValueError, match=r"deviation: expected shape \(100,\)"):
        Metric(np.ones(3)).known(statistic, phi, colour, seed)
    with pytest.raises(ValueError, match="emphasis: expected orders among mean, .*, got bandpower"):
        Metric(emphasis={Order.BANDPOWER: 2.0}).known(statistic, phi, colour, seed)


def test_within_limits_deviations(statistic):
    phi = statistic(red_noise((16, 16)))
    colour, seed = colour_of(statistic, phi), np.random.SeedSequence(0)
    deviation = np.full(phi.n_coefficients, 10.0)
    deviation[4] = 0.0
    found = Metric(deviation, within={Order.S1: 0.05}).known(statistic, phi, colour, seed)
    for table, here in zip(phi.layout.tables, phi.layout.slices, strict=True):
        expected = 0.05 * np.asarray(phi["S1"]) if table.order is Order.S1 else 10.0
        expected = np.where(deviation[here] == 0.0, 0.0, expected)
        np.testing.assert_allclose(found.deviation[here], expected)
    with pytest.raises(ValueError, match="within: expected more than 0 for S1, got 0"):
        Metric(within={Order.S1: 0.0})
    with pytest.raises(ValueError, match="within: expected orders among mean, .*, got bandpower"):
        Metric(within={Order.BANDPOWER: 0.1}).known(statistic, phi, colour, seed)


def test_least_keeps_deviations_from_being_too_small(statistic):
    phi = statistic(red_noise((16, 16)))
    colour, seed = colour_of(statistic, phi), np.random.SeedSequence(0)
    own = Metric().known(statistic, phi, colour, seed).deviation
    found = Metric(least=0.1).known(statistic, phi, colour, seed).deviation
    size = 0.1 * np.abs(np.asarray(phi.vector))
    assert own is not None
    assert found is not None
    assert np.any(size > own)
    assert np.any(size < own)
    # What varies by rounding only, such as the mean, is still left out.
    np.testing.assert_array_equal(found, np.where(own > 0.0, np.maximum(own, size), 0.0))
    assert np.any(found == 0.0)
    with pytest.raises(ValueError, match="least: expected 0 or more, got -1"):
        Metric(least=-1.0)
