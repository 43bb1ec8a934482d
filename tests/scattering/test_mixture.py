import numpy as np
import pytest
import scipy.stats

from skysift.scattering.companions import Pdf, PowerSpectrum
from skysift.scattering.families import Covariance
from skysift.scattering.generative.samplers import Status
from skysift.scattering.generative.synthesis import synthesise
from skysift.scattering.mixture import Mixture
from skysift.scattering.reduction import Reduced, significant

from ..oracles.agreement import mean_square_offset

SHAPE = (16, 16)


@pytest.fixture(scope="module")
def parts():
    return (
        Reduced(Covariance.plane(SHAPE, scales=1, orientations=2)),
        PowerSpectrum.plane(SHAPE, bins=5),
        Pdf.plane(SHAPE, scales=1, quantiles=8),
    )


@pytest.fixture(scope="module")
def mixed(parts):
    return Mixture(parts)


@pytest.fixture(scope="module")
def field():
    return np.random.default_rng(0).gamma(0.5, size=SHAPE)


def test_numbers_are_those_of_the_parts(parts, mixed, field):
    found = mixed(field)
    assert found.n_coefficients == sum(one.layout.n_coefficients for one in parts) - 4
    for part in parts:
        alone = part(field)
        for order in alone.layout.orders:
            assert np.allclose(found[order], alone[order], rtol=1e-12, atol=1e-12)


def test_a_reference_reaches_the_parts(mixed, field):
    target = mixed(field)
    found = mixed(2.0 * field, reference=target)
    for order, factor in (("quantile", 2.0), ("S1", 2.0), ("S4", 4.0), ("bandpower", 4.0)):
        assert np.allclose(found[order], factor * target[order])
    assert np.allclose(found["moment"], np.asarray(target["moment"]) * [8.0, 16.0])


def test_missing_cells_are_masked_in_all(parts, field):
    holes = field.copy()
    holes[5:8, 5:8] = np.nan
    found = Mixture(parts)(holes)
    assert found.masked == 9
    assert np.allclose(found["quantile"], parts[2](holes)["quantile"])


def test_a_field_is_made_from_all_of_them(mixed, field):
    target = mixed(field)
    twin = synthesise(target, mixed, seed=1, tolerance=0.02)
    assert twin.status == (Status.CONVERGED,)
    own = mixed(twin.maps[0], reference=target)
    assert mean_square_offset(own, target, twin.metric.deviation) < 0.021
    # A Gaussian field has none: three of its deviations are far from this.
    skewness = scipy.stats.skew(twin.maps[0].ravel())
    assert abs(skewness - scipy.stats.skew(field.ravel())) < 0.3
    assert skewness > 1.0


@pytest.mark.parametrize("kind", [1, 2])
def test_each_companion_makes_fields_by_itself(parts, field, kind):
    target = parts[kind](field)
    twin = synthesise(target, parts[kind], seed=2, tolerance=0.1)
    assert twin.status == (Status.CONVERGED,)


def test_a_mixture_is_selected_from(mixed, field):
    few = significant(mixed, mixed(field), draws=16)
    assert few.layout["quantile"].size == 8
    assert few.layout.n_coefficients <= mixed.layout.n_coefficients
    assert np.allclose(few(field)["moment"], mixed(field)["moment"])


def test_kinds_that_do_not_go_together_are_refused(parts):
    mask = np.ones(SHAPE)
    mask[0, 0] = 0.0
    cases = [
        ((), "parts: expected one kind"),
        ((parts[1], PowerSpectrum.plane(SHAPE, bins=3)), "each order once, got bandpower"),
        ((parts[0], Pdf.plane((32, 16))), "statistics of one domain"),
        ((parts[0], PowerSpectrum.plane(SHAPE, weights=mask, bins=3)), "the same weights"),
    ]
    for case, message in cases:
        with pytest.raises(ValueError, match=message):
            Mixture(case)


def test_nothing_is_selected_where_all_is_kept(parts, field):
    with pytest.raises(ValueError, match="statistic: expected third or fourth moments"):
        significant(parts[1], parts[1](field))
