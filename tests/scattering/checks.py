"""What several kinds of statistics are asked: derivatives, oracles, moments of coefficients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def against_finite_difference(statistic, x, step, size, tolerance):
    """Whether the derivative of a sum of all statistics along a step is their difference."""
    rng = np.random.default_rng(5)
    weights = jnp.asarray(rng.standard_normal(statistic.layout.n_coefficients))

    @jax.jit
    @jax.value_and_grad
    def objective(maps):
        return statistic(maps).vector @ weights

    expected = (objective(x + size * step)[0] - objective(x - size * step)[0]) / (2.0 * size)
    slope = objective(jnp.asarray(x))[1]
    np.testing.assert_allclose(np.sum(slope * step), expected, rtol=tolerance)


def against_oracle(statistics, found, orders, tolerance=1e-11):
    """Whether orders are what was found for each row, to a part of the largest of them."""
    for order in orders:
        table = statistics.layout[order]
        assert table.size
        expected = np.array([found[order][tuple(row)] for row in table.index[:, 1:].tolist()])
        expected = expected if table.complex else np.real(expected)
        margin = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(statistics[order], expected, 0.0, margin, err_msg=order)


def moments(statistic, alm):
    """Normalised statistics of coefficients `(alm,)` or `(channel, alm)`, by order."""
    return {
        table.order.value: np.asarray(one[0])
        for table, one in zip(
            statistic.layout.tables,
            _normalised(statistic, jnp.atleast_2d(alm)[None]),
            strict=True,
        )
    }


@eqx.filter_jit
def _normalised(statistic, fields):
    raw = statistic.moments(fields)
    return statistic.normalised(raw, raw)


def require_converged(found, tolerance):
    """Whether one synthesis has the statistics of its target to a mean square offset."""
    assert found.status[0].value == "converged"
    deviation = found.metric.deviation
    offset = np.asarray(found.statistics.vector[0] - found.target.vector)
    varies = deviation > 1e-9 * deviation.max()
    assert np.mean((offset[varies] / deviation[varies]) ** 2) < 1.1 * tolerance
