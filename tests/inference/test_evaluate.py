"""Figures of an evaluation, of posteriors that are right, too sure, and shifted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from skysift.inference.evaluate import Evaluation, _is_plain, evaluate
from skysift.inference.mixture import Mixture
from skysift.inference.model import Family
from skysift.inference.posterior import Posterior
from skysift.inference.prior import Parameter, Prior
from skysift.inference.regions import RandomCaps
from skysift.inference.simulators import t3

from .averages import DEVIATION, PRIOR, exact, levels


@dataclasses.dataclass
class Known:
    """The exact posterior, or one that is wrong in width or place."""

    width: float = 1.0
    shift: float = 0.0
    family: Family = dataclasses.field(default_factory=lambda: Family.of(levels()))

    def posterior(self, observed):
        mean = jnp.asarray(observed.values, float).mean(axis=(1, 2)) - 2.0 + self.shift
        one = jnp.ones((len(mean), 1, 1))
        return Posterior(
            PRIOR,
            Mixture(
                one[..., 0],
                mean[:, None, None] * one,
                self.width * DEVIATION * one,
                0 * one[..., None],
            ),
        )


@pytest.fixture(scope="module")
def right():
    return evaluate(Known(), levels(), n=2000)


def test_right_posteriors_pass(right):
    assert abs(right.coverage(0.68)[0] - 0.68) < 0.04
    assert abs(right.coverage(0.95)[0] - 0.95) < 0.02
    assert right.rank_pvalue[0] > 1e-3
    assert right.biases[1].truth[0] == 2.0
    assert abs(right.biases[1].mean[0]) < 4.0 * right.biases[1].uncertainty[0]
    np.testing.assert_allclose(right.biases[1].rmse[0], DEVIATION, rtol=0.2)
    off = np.abs(right.means - right.truths)
    np.testing.assert_allclose(right.error, 100 * (off / right.truths).mean(axis=0))
    assert right.limit is None


def test_wrong_posteriors_are_found_out(right):
    sure = evaluate(Known(width=0.5), levels(), n=1000)
    assert sure.coverage(0.68)[0] < 0.5
    assert sure.rank_pvalue[0] < 1e-6
    shifted = evaluate(Known(shift=0.3), levels(), n=1000)
    assert shifted.biases[1].mean[0] > 4.0 * shifted.biases[1].uncertainty[0]
    assert shifted.rmse[0] > right.rmse[0]


def test_ranks_are_those_of_the_exact_law():
    observed = levels().simulate(jnp.array([[1.2]]), jax.random.key(0))
    draws = Known().posterior(observed).sample(0, 4000)[0, :, 0]
    law = exact(observed.values)
    assert scipy.stats.kstest(draws, lambda x: law.cdf(x[:, None])[:, 0]).pvalue > 1e-3


def test_tables(right):
    text = str(right)
    assert "coverage_0.68" in text
    assert "level" in text.splitlines()[0]
    data = right.to_dataset()
    assert data["bias"].dims == ("fiducial", "parameter")
    np.testing.assert_allclose(data["rmse"], right.rmse)


def test_priors_that_reach_to_zero_have_no_relative_error():
    truths = np.array([[0.0], [0.5], [1.0]])
    prior = Prior((Parameter("r", 0.0, 1.0),))
    found = Evaluation(prior, truths, truths + 0.1, truths + 1.0, truths, ())
    assert found.error[0] == np.inf
    assert found.uncertainty[0] == 0.0
    np.testing.assert_allclose(found.rmse, 0.1)
    np.testing.assert_allclose(found.slope, 1.0)
    with pytest.raises(ValueError, match="level: expected between 0 and 1"):
        found.coverage(68)


def test_maps_of_another_family_are_refused():
    with pytest.raises(ValueError, match="simulator: expected prior"):
        evaluate(Known(), t3(nside=4))
    with pytest.raises(ValueError, match="n: expected 20 or more"):
        evaluate(Known(), levels(), n=3)
    assert _is_plain(t3(nside=4))


def test_other_masks_than_those_of_the_training_are_told():
    simulator = levels(RandomCaps(0.9))
    with pytest.warns(
        UserWarning, match="simulator: expected the cells that the model was trained"
    ):
        found = evaluate(Known(), simulator, n=250)
    # Cells that are not seen are zero: the level seems lower.
    assert found.biases[1].mean[0] < -5.0 * found.biases[1].uncertainty[0]
