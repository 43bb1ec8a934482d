"""Constraints of a separation: zero at the truth, their gradients, their scaling, bad input."""

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering import Covariance, Order, Pdf, PowerSpectrum, coarsened
from skysift.scattering.separation.constraints import (
    Ancillary,
    Halves,
    Independent,
    LargeScales,
    Positive,
    Remainder,
    Total,
)
from skysift.scattering.separation.contamination import Ensemble
from skysift.scattering.separation.problem import free, observe, projected, terms_of
from skysift.scattering.separation.separate import coarse_draws

from .fields import red_noise

SHAPE = (16, 16)
SINGLE = Covariance.plane(SHAPE, 2, 2)
DOUBLE = Covariance.plane(SHAPE, 2, 2, channels=2)
REGIONS = np.zeros((2, *SHAPE))
REGIONS[0, :, :7], REGIONS[1, :, 7:] = 1.0, 1.0
KINDS = {
    "total": Total(),
    "remainder": Remainder(),
    "halves": Halves(DOUBLE),
    "ancillary": Ancillary(DOUBLE, map=red_noise(SHAPE, seed=5)),
    "independent": Independent(DOUBLE),
    "local": Total(Covariance.plane(SHAPE, 2, 2, weights=REGIONS)),
    "spectrum": Total(PowerSpectrum.plane(SHAPE, 4)),
    "pdf": Total(Pdf.plane(SHAPE, 2)),
}


def case(scale=1.0, same=False):
    """Signal, data in halves and draws; with `same` every draw is the true contamination."""
    rng = np.random.default_rng(3)
    signal = scale * red_noise(SHAPE, seed=2)
    noise = scale * 0.5 * rng.standard_normal((13, 2, *SHAPE))
    members = np.repeat(noise[:1], 12, axis=0) if same else noise[1:]
    return signal, signal + noise[0], members


def prepared(constraints, scale=1.0, same=False):
    signal, data, members = case(scale, same)
    observation = observe(data, SINGLE, np.dtype(float))
    draws = Ensemble(members).draws(
        observation.domain, 12, np.random.SeedSequence(0), np.dtype(float), observation.kept
    )
    return (
        SINGLE.domain.fields(jnp.asarray(signal)),
        terms_of(constraints, observation, draws),
        draws,
    )


@eqx.filter_jit
def offset(term, signal, draw):
    return term.offset(signal, draw)


def loss(term, signal, draws):
    count = draws.count if term.random else 1
    offsets = np.stack([np.asarray(offset(term, signal, draws[n])) for n in range(count)])
    return np.sum((offsets.mean(axis=0) * term.shares(offsets)) ** 2)


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"remainder"}))
def test_zero_at_the_truth(name):
    signal, (term,), draws = prepared([KINDS[name]], same=True)
    found = np.asarray(offset(term, signal, draws[4]))
    other = np.asarray(offset(term, 1.5 * signal, draws[4]))
    assert np.max(np.abs(found)) < 1e-12
    assert np.max(np.abs(other)) > 1e-2


def test_remainder_is_zero_for_what_has_the_mean_statistics_of_the_draws():
    # With equal draws the mean of their statistics is that of the true contamination.
    signal, (term,), draws = prepared([Remainder()], same=True)
    assert np.max(np.abs(offset(term, signal, draws[0]))) < 1e-12


def test_losses_near_one_at_the_truth():
    """One contamination differs from the mean over others as they do among themselves."""
    signal, terms, draws = prepared([Total(), Remainder(), Halves(DOUBLE)])
    for term in terms:
        here, far = loss(term, signal, draws), loss(term, 2.0 * signal, draws)
        assert 0.2 < here < 4.0, term.name
        assert far > 3.0 * here, term.name


@pytest.mark.parametrize("name", KINDS)
def test_gradient_finite_difference(name):
    signal, (term,), draws = prepared([KINDS[name]])
    way = red_noise(SHAPE, seed=9)[None]
    probe = np.random.default_rng(0).standard_normal(offset(term, signal, draws[0]).size)

    def value(step):
        return jnp.vdot(probe, offset(term, signal + step * way, draws[0]))

    slope = jax.grad(value)(0.1)
    numeric = (value(0.1 + 1e-5) - value(0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_losses_do_not_depend_on_the_unit(name):
    constraint = KINDS[name]
    if name == "ancillary":
        constraint = Ancillary(DOUBLE, map=red_noise(SHAPE, seed=5))
    one, ten = (
        loss(terms[0], 1.3 * signal, draws)
        for signal, terms, draws in (prepared([constraint]), prepared([constraint], scale=10.0))
    )
    np.testing.assert_allclose(ten, one, rtol=1e-6)


def test_emphasis_multiplies_an_order_and_the_loss_of_the_truth_stays_one():
    signal, (plain, heavy), draws = prepared([Total(), Total(emphasis={Order.S2: 4.0})])
    assert heavy.name == "total 2"
    offsets = np.stack([np.asarray(offset(plain, signal, draws[n])) for n in range(12)])
    shares = [term.shares(offsets) for term in (plain, heavy)]
    ratio = shares[1] / np.where(shares[0] > 0, shares[0], 1.0)
    ratio /= ratio[ratio > 0.0].min()
    assert set(np.round(ratio, 9)) <= {0.0, 1.0, 2.0}
    assert np.count_nonzero(np.isclose(ratio, 2.0)) == SINGLE.layout["S2"].size
    for share in shares:
        # What the draws differ by is what the data differ by from their mean.
        expected = np.sum(offsets.var(axis=0, ddof=1) * share**2)
        np.testing.assert_allclose(expected, 1.0, rtol=1e-9)


def test_positive_counts_what_is_below_zero():
    signal, (term,), draws = prepared([Positive(0.1)])
    assert loss(term, jnp.abs(signal), draws) == 0.0
    below = np.minimum(np.asarray(signal), 0.0)
    np.testing.assert_allclose(loss(term, signal, draws), np.mean(below**2) / 0.1**2)
    slope = jax.grad(lambda s: jnp.sum(term.offset(s, draws[0]) ** 2))(signal)
    np.testing.assert_allclose(slope, 2.0 * below / below.size)


def test_large_scales_are_fixed():
    domain = SINGLE.domain
    modes = free([LargeScales(3.0)], domain)
    number = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(16, 1 / 16)], indexing="ij"))
    np.testing.assert_array_equal(modes > 0.0, number > 3.0 + 1e-9)
    field = jnp.asarray(red_noise(SHAPE))[None]
    held = projected(domain, field, modes[None] == 0.0)
    moved = projected(domain, field, modes[None] > 0.0)
    np.testing.assert_allclose(held + moved, field, atol=1e-12)
    np.testing.assert_allclose(projected(domain, held, modes[None] > 0.0), 0.0, atol=1e-12)
    np.testing.assert_array_equal(free([], domain) > 0.0, number > 0.0)


def test_masked_cells_do_not_count():
    signal, data, members = case()
    hole = np.zeros(SHAPE, bool)
    hole[2:4, 3:6] = True
    found = []
    for fill in (0.0, 50.0):
        holed = np.where(hole, np.nan, data)
        observation = observe(holed, SINGLE, np.dtype(float))
        draws = Ensemble(np.where(hole, fill, members)).draws(
            observation.domain, 12, np.random.SeedSequence(0), np.dtype(float), observation.kept
        )
        assert np.count_nonzero(~observation.kept) == 6
        (term,) = terms_of([Total()], observation, draws)
        seen = jnp.where(hole, 0.0, jnp.asarray(signal))[None]
        found.append(np.asarray(offset(term, seen, draws[0])))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


@pytest.mark.parametrize("fill", [np.nan, 50.0])
def test_draws_are_seen_through_a_mask_as_the_data_are(fill):
    """Else their powers at an edge differ, and what is left of the data is not like them."""
    statistic = PowerSpectrum.sphere(8, 16, 3)
    kept = np.abs(hp.pix2vec(8, np.arange(768))[2]) > 0.3
    noise = np.random.default_rng(6).standard_normal((8, 768))
    seen = [observe(np.where(kept, one, np.nan), statistic, np.dtype(float)) for one in noise]
    whole = np.stack([one.whole for one in seen])
    small = PowerSpectrum.sphere(4, 8, 2)
    coarse = [
        observe(
            coarsened(np.where(kept, one, np.nan), statistic.domain, small.domain),
            small,
            np.dtype(float),
        )
        for one in noise
    ]
    for cells in (None, seen[0].statistic.cells):
        draws = Ensemble(np.where(kept, noise, fill)).draws(
            statistic.domain, 8, np.random.SeedSequence(0), np.dtype(float), kept, cells
        )
        np.testing.assert_allclose(draws.whole, whole, atol=1e-12)
        fewer = coarse_draws(draws, statistic.domain, coarse[0]).whole
        np.testing.assert_allclose(fewer, np.stack([one.whole for one in coarse]), atol=1e-12)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([], "constraints: expected one or more beside fixed large scales, got none"),
        ([LargeScales(2.0)], "constraints: expected one or more beside fixed large scales"),
        ([Halves()], "constraints: expected for 'halves' a statistic of 2 channels"),
        (
            [Ancillary(DOUBLE, map=np.zeros((8, 8)))],
            "map: expected another map of .16, 16. cells.*got .8, 8.",
        ),
        (
            [Ancillary(DOUBLE, map=np.full(SHAPE, np.nan))],
            "map: expected finite values wherever the data have them",
        ),
        (
            [Ancillary(DOUBLE, map=np.ones(SHAPE))],
            "expected for 'ancillary' fields with power at every scale",
        ),
        ([Total(Covariance.plane((32, 32), 2, 2))], "expected for 'total' a statistic of 1 chan"),
        (
            [Total(), Remainder(emphasis={Order.BANDPOWER: 2.0})],
            "emphasis: expected for 'remainder' orders among .*S2.*, got bandpower",
        ),
    ],
)
def test_constraints_that_do_not_fit_are_refused(constraints, message):
    with pytest.raises(ValueError, match=message):
        prepared(constraints)


def test_halves_need_data_in_halves():
    _, data, members = case()
    observation = observe(data.mean(axis=0), SINGLE, np.dtype(float))
    draws = Ensemble(members).draws(
        observation.domain, 12, np.random.SeedSequence(0), np.dtype(float), observation.kept
    )
    with pytest.raises(ValueError, match="expected for 'halves' data and contamination in two"):
        terms_of([Halves(DOUBLE)], observation, draws)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Total(weight=0.0), "weight: expected more than 0, got 0.0"),
        (lambda: Ancillary(DOUBLE), "map: expected another map of the sky, got None"),
        (lambda: Positive(-1.0), "deviation: expected more than 0, got -1.0"),
        (lambda: LargeScales(np.inf), "below: expected more than 0, got inf"),
    ],
)
def test_constraints_check_their_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()
