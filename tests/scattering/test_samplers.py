import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import HMC, LBFGS, Adam, MeanField
from skysift.scattering.generative.samplers import Status, Task


class Bowl(eqx.Module):
    """Mean squared distance from a centre, of which the floor stays."""

    centre: jax.Array
    floor: float = 0.0

    @property
    def count(self):
        return self.centre.size

    def each(self, unknowns):
        return self.floor + jnp.mean((unknowns - self.centre) ** 2, axis=(1, 2))

    def together(self, unknowns):
        return self.floor + jnp.mean((jnp.mean(unknowns, axis=0) - self.centre) ** 2)


class Valley(Bowl):
    """The curved valley of Rosenbrock."""

    def each(self, unknowns):
        x, y = unknowns[:, 0, 0], unknowns[:, 0, 1]
        return (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2


CENTRE = jnp.array([[1.0, -2.0, 0.5]])
BOWL = Bowl(CENTRE)
KEY = jax.random.key(0)


def start(count, dtype=np.float64):
    return jax.random.normal(jax.random.key(1), (count, 1, 3), dtype)


def run(sampler, objective, at, tolerance=1e-6):
    calls = []
    found = sampler.run(Task(objective, at, KEY, tolerance, lambda *call: calls.append(call)))
    assert found.unknowns.shape == at.shape
    assert found.unknowns.dtype == at.dtype
    assert len(found.status) == len(found.history) == len(at)
    return found, calls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lbfgs_finds_the_centre(dtype):
    found, calls = run(LBFGS(), BOWL, start(2, dtype))
    assert found.status == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(found.unknowns, np.stack([CENTRE, CENTRE]), atol=2e-3)
    assert {call[0] for call in calls} == {0, 1}
    for field, history in enumerate(found.history):
        assert [call[2] for call in calls if call[0] == field] == list(history)
        assert history[-1] <= 1e-6


class Bowls(Bowl):
    """A centre for each field, of which one is harder to reach."""

    def each(self, unknowns):
        scale = 1.0 + jnp.arange(len(unknowns))[:, None, None] * jnp.array([0.0, 1.0, 9.0])
        return jnp.mean(scale * (unknowns - self.centre) ** 2 + unknowns**4, axis=(1, 2))


def test_lbfgs_of_fields_at_once_is_that_of_each():
    """Descents of other lengths, and a last group that is not full."""
    at = start(5)
    alone = [run(LBFGS(max_iter=30), Bowls(CENTRE), at[:1])[0]]
    together, calls = run(LBFGS(max_iter=30, batch=5), Bowls(CENTRE), at)
    np.testing.assert_allclose(together.unknowns[0], alone[0].unknowns[0], rtol=1e-9)
    assert len({one.size for one in together.history}) > 1
    for field, history in enumerate(together.history):
        assert [call[2] for call in calls if call[0] == field] == list(history)
    alike, groups = run(LBFGS(), BOWL, at)[0], run(LBFGS(batch=2), BOWL, at)[0]
    np.testing.assert_allclose(groups.unknowns, alike.unknowns, rtol=1e-9)
    assert groups.status == alike.status


class Cliff(Bowl):
    """No number below 1, where the first field is within the tolerance and the second is not."""

    def each(self, unknowns):
        slope = jnp.array([1.0, 10.0])
        return jnp.where(unknowns[:, 0, 0] > 1.0, 1.0, jnp.nan) * slope * unknowns[:, 0, 0] ** 2


def test_what_comes_after_the_end_of_a_field_does_not_count():
    at = jnp.full((2, 1, 1), 2.0)
    found, _ = run(Adam(max_iter=30, learning_rate=0.1), Cliff(CENTRE[:, :1]), at, tolerance=1.2)
    assert found.status[0] is Status.CONVERGED
    assert np.isfinite(found.history[0]).all()


@pytest.mark.parametrize("where", ["objective", "report"])
def test_a_failure_of_one_of_several_fields_is_told(where):
    class Broken(Bowl):
        def each(self, unknowns):
            raise FloatingPointError("of the objective")

    def report(field, iteration, value):
        if field == 2 and iteration == 2:
            raise KeyboardInterrupt

    objective = Broken(CENTRE) if where == "objective" else Valley(CENTRE)
    expected = FloatingPointError if where == "objective" else KeyboardInterrupt
    with pytest.raises(expected):
        LBFGS(batch=4).run(Task(objective, start(4), KEY, 1e-9, report))


def test_lbfgs_tells_how_it_ended():
    at = jnp.array([[[-1.2, 1.0, 0.0]]])
    valley = Valley(CENTRE)
    limited, _ = run(LBFGS(max_iter=4), valley, at)
    assert limited.status == (Status.ITERATION_LIMIT,)
    assert limited.history[0][-1] < valley.each(at)[0]
    assert run(LBFGS(), valley, at)[0].status == (Status.CONVERGED,)
    stalled, _ = run(LBFGS(), Bowl(CENTRE, floor=1.0), start(1))
    assert stalled.status == (Status.STALLED,)
    np.testing.assert_allclose(stalled.history[0][-1], 1.0, rtol=1e-6)


def test_lbfgs_from_the_end():
    found, _ = run(LBFGS(), Bowl(CENTRE, floor=1.0), CENTRE[None])
    assert found.status == (Status.STALLED,)
    np.testing.assert_allclose(found.history[0], [1.0])


def test_mean_field_keeps_fluctuations():
    at = start(8)
    found, _ = run(MeanField(), BOWL, at)
    assert found.status == (Status.CONVERGED,) * 8
    np.testing.assert_allclose(found.unknowns.mean(axis=0), CENTRE, atol=1e-3)
    spread = found.unknowns - found.unknowns.mean(axis=0)
    np.testing.assert_allclose(spread, at - at.mean(axis=0), atol=1e-6)


def test_adam_finds_the_centre():
    found, calls = run(Adam(max_iter=400, learning_rate=0.1), BOWL, start(3), tolerance=1e-4)
    assert found.status == (Status.CONVERGED,) * 3
    assert np.all(np.asarray(BOWL.each(found.unknowns)) <= 1e-4)
    assert len(calls) == len(found.history[0]) < 400
    assert run(Adam(max_iter=3), BOWL, start(2))[0].status == (Status.ITERATION_LIMIT,) * 2


def test_hmc_draws_from_the_posterior():
    # Of three unknowns: exp(-|x - centre|^2 / (2 T)) times N(x; 0, 1).
    for temperature in (1.0, 0.25):
        sampler = HMC(draws=60, steps=5, temperature=temperature)
        found, _ = run(sampler, BOWL, start(1000))
        assert set(found.status) == {Status.SAMPLED}
        variance = temperature / (1.0 + temperature)
        mean = np.asarray(CENTRE) / (1.0 + temperature)
        draws = found.unknowns
        error = np.sqrt(variance / 1000.0)
        np.testing.assert_allclose(draws.mean(axis=0), mean, atol=4.0 * error)
        np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.2)
        np.testing.assert_allclose(
            [one[-1] for one in found.history], BOWL.each(jnp.asarray(draws)), rtol=1e-6
        )


def test_same_key_same_draws():
    a, b = (HMC(draws=5).run(Task(BOWL, start(2), KEY, 0.1, lambda *_: None)) for _ in range(2))
    np.testing.assert_array_equal(a.unknowns, b.unknowns)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LBFGS(max_iter=0), "max_iter"),
        (lambda: LBFGS(memory=0), "memory"),
        (lambda: Adam(max_iter=0), "max_iter"),
        (lambda: Adam(learning_rate=0.0), "learning_rate"),
        (lambda: HMC(draws=0), "draws"),
        (lambda: HMC(steps=0), "steps"),
        (lambda: HMC(temperature=-1.0), "temperature"),
        (lambda: HMC(acceptance=1.0), "acceptance"),
    ],
)
def test_samplers_refuse(make, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        make()
