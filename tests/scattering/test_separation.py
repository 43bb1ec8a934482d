"""Separations of a signal from noise: what they recover, repeat, resume and refuse."""

import warnings
from dataclasses import replace

import equinox as eqx
import healpy as hp
import numpy as np
import pytest

from skysift import scattering
from skysift.scattering import (
    LBFGS,
    Adam,
    Begin,
    Coarse,
    Covariance,
    Descent,
    Ensemble,
    GaussianField,
    Halves,
    LargeScales,
    Order,
    PowerSpectrum,
    Remainder,
    Texture,
    Total,
    WhiteNoise,
)
from skysift.scattering.generative.samplers import AbstractSampler, Found
from skysift.scattering.separation.descent import State, Status
from skysift.scattering.separation.problem import observe, terms_of
from skysift.scattering.sphere.wavelets import Steerable

from .fields import red_noise, red_sky

SHAPE = (32, 32)
STATISTIC = Covariance.plane(SHAPE, 3, 2)
SIGNAL = red_noise(SHAPE, seed=4, slope=2.0)
NOISE = 0.6
DATA = SIGNAL + NOISE * np.random.default_rng(7).standard_normal(SHAPE)
SEED = np.random.SeedSequence(0)
QUICK = Descent(LBFGS(max_iter=8), steps=6, tolerance=0.25)


@eqx.filter_jit
def offset(term, signal, draw):
    return term.offset(signal, draw)


def separated(**options):
    """The test's separation, or one that differs from it in some options."""
    data, model = options.pop("data", DATA), options.pop("contamination", WhiteNoise(NOISE))
    constraints = options.pop("constraints", (Total(),))
    options = {"seed": 1, "draws": 16, "descent": QUICK, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return scattering.separate(data, model, STATISTIC, constraints, **options)


@pytest.fixture(scope="module")
def found():
    return separated()


def power(a, b, low, high):
    """Mean cross power of two maps between two wave numbers."""
    number = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(32, 1 / 32)], indexing="ij"))
    ring = (number >= low) & (number < high)
    return np.mean((np.fft.fft2(a) * np.conj(np.fft.fft2(b))).real[ring])


def test_the_signal_is_recovered(found):
    """Places where the noise is weak, power where it is strong."""
    assert found.status is Status.CONVERGED
    np.testing.assert_allclose(found.map + found.contamination, DATA, atol=1e-12)
    before, after = (np.sqrt(np.mean((one - SIGNAL) ** 2)) for one in (DATA, found.map))
    assert after < 0.75 * before
    large = [power(found.map, SIGNAL, 1, 4), power(found.map, found.map, 1, 4)]
    assert large[0] / np.sqrt(large[1] * power(SIGNAL, SIGNAL, 1, 4)) > 0.9
    true, there, noisy = (power(one, one, 8, 17) for one in (SIGNAL, found.map, DATA))
    assert noisy > 3.0 * true
    assert abs(there - true) < 0.3 * (noisy - true)


def test_power_is_that_of_the_data_less_that_of_the_contamination():
    data = 0.5 * (DATA + SIGNAL)
    model = WhiteNoise(0.5 * NOISE)
    statistic = PowerSpectrum.plane(SHAPE, 8)
    found = scattering.separate(data, model, statistic, seed=1, draws=64)
    dirt = model.maps(statistic.domain, 64, np.random.SeedSequence(1).spawn(2)[0])
    for low, high in ((1, 4), (4, 8), (8, 17)):
        there, seen = (power(one, one, low, high) for one in (found.map, data))
        added = np.mean([power(one, one, low, high) for one in dirt])
        np.testing.assert_allclose(there, seen - added, rtol=0.05)


def test_what_no_signal_can_meet_is_not_waited_for():
    """The data have less power in the last bin than the contamination alone."""
    statistic = PowerSpectrum.plane(SHAPE, 8)
    found = scattering.separate(DATA, WhiteNoise(NOISE), statistic, seed=1, draws=64)
    losses = found.history["total"]
    assert found.status is Status.CONVERGED
    assert Descent.tolerance < losses[-1] <= 1.0
    assert losses[-1] >= (1.0 - Descent.settled) * losses[-2]


def test_losses_fall_to_the_scatter(found):
    losses = found.history["total"]
    assert losses[0] > 20.0
    assert losses[-1] <= 1.0
    assert found.draws == 16


def test_few_draws_tell_a_large_loss_and_all_a_small_one():
    states = []
    separated(draws=40, report=states.append)
    observation = observe(DATA, STATISTIC, np.dtype(float))
    drawn = np.random.SeedSequence(1).spawn(2)[0]
    draws = WhiteNoise(NOISE).draws(STATISTIC.domain, 40, drawn, np.dtype(float), observation.kept)
    (term,) = terms_of((Total(),), observation, draws)
    for state, count in ((states[0], 16), (states[-1], 40)):
        each = np.stack([offset(term, state.signal[1], draws[one]) for one in range(40)])
        few, every = (
            np.sum((some.mean(axis=0) * term.shares(some)) ** 2) for some in (each[:16], each)
        )
        wanted = {16: few, 40: every}[count]
        np.testing.assert_allclose(state.losses[-1]["total"], wanted, rtol=1e-9)
        assert abs(few - every) > 1e-3 * every


def test_same_seed_same_bits_and_a_state_to_go_on_from(found):
    states = []
    again = separated(report=states.append)
    np.testing.assert_array_equal(again.map, found.map)
    assert len(states) > 2
    resumed = separated(resume=[states[1]])
    np.testing.assert_array_equal(resumed.map, found.map)
    np.testing.assert_array_equal(resumed.history["total"], found.history["total"])
    other = separated(seed=2)
    assert np.max(np.abs(other.map - found.map)) > 1e-3


def test_numbers_of_either_byte_order(found):
    single, swapped = (separated(data=DATA.astype(kind), draws=9) for kind in ("<f4", ">f4"))
    assert single.maps.dtype == swapped.maps.dtype == np.float32
    np.testing.assert_array_equal(single.map, swapped.map)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"restart": 1}, "resume: expected a state of one of 1 solutions, got one of number 1"),
        ({"losses": ({"halves": 1.0},)}, "resume: expected a state with losses of .'total'."),
        ({"signal": 2 * (np.zeros((1, 4, 4)),)}, "resume: expected a state with fields .*as the"),
    ],
)
def test_states_of_other_separations_are_refused(change, message):
    states = []
    separated(descent=Descent(LBFGS(max_iter=1), steps=1), draws=9, report=states.append)
    with pytest.raises(ValueError, match=message):
        separated(resume=[replace(states[0], **change)], draws=9)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"data": DATA + 0.01},
        {"contamination": WhiteNoise(1.02 * NOISE)},
        {"draws": 10},
        {"constraints": (Total(emphasis={Order.S1: 2.0}),)},
    ],
)
def test_a_state_is_not_gone_on_from_with_anything_else(change):
    states = []
    separated(descent=Descent(LBFGS(max_iter=1), steps=1), draws=9, report=states.append)
    with pytest.raises(ValueError, match="resume: expected a state of this separation, with a"):
        separated(**{"draws": 9, "resume": [states[0]], **change})


def test_one_solution_has_no_spread(found):
    with pytest.raises(ValueError, match="restarts: expected 2 or more solutions"):
        _ = found.spread


def test_restarts_differ_where_the_noise_is_strong():
    found = separated(restarts=3)
    assert found.maps.shape == (3, *SHAPE)
    differences = found.maps[1] - found.maps[2]
    ratio = [
        power(differences, differences, low, high) / power(found.map, found.map, low, high)
        for low, high in ((1, 3), (8, 17))
    ]
    assert 4.0 * ratio[0] < ratio[1]
    np.testing.assert_allclose(found.spread, found.maps.std(axis=0, ddof=1))


@pytest.mark.parametrize(
    ("sampler", "batch", "tolerance"),
    [
        (LBFGS(max_iter=8), 0, 0.21),
        (LBFGS(max_iter=8), 2, 0.21),
        (Adam(max_iter=8, learning_rate=0.1), 0, 0.21),
        (Adam(max_iter=8, learning_rate=0.1), 2, 0.29),
    ],
)
def test_solutions_moved_at_once_are_those_moved_one_by_one(sampler, batch, tolerance):
    """Solutions that end sooner than others, and a last group of fewer, are among them."""
    descent = Descent(sampler, steps=6, batch=batch, tolerance=tolerance)
    reported = []
    alone = separated(restarts=4, descent=descent)
    together = separated(
        restarts=4,
        descent=replace(descent, sampler=replace(sampler, batch=3)),
        report=reported.append,
    )
    assert together.statuses == alone.statuses
    scale = alone.map.std()
    np.testing.assert_allclose(together.maps, alone.maps, atol=1e-6 * scale)
    for one, other in zip(together.histories, alone.histories, strict=True):
        np.testing.assert_allclose(one["total"], other["total"], rtol=1e-5)
    assert len({one.size for one in (each["total"] for each in alone.histories)}) > 1
    assert [one.restart for one in reported[:4]] == [0, 1, 2, 0]


def test_solutions_of_the_sphere_moved_at_once_are_those_moved_one_by_one():
    statistic = Covariance.sphere(8, 2, lmax=12, wavelet=Steerable(2), directions=3, harmonics=2)
    signal = red_sky(8, lmax=12, seed=3)
    noise = 0.5 * signal.std() * np.random.default_rng(1).standard_normal((17, 768))
    quick = Descent(LBFGS(max_iter=4), steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        alone, together = (
            scattering.separate(
                signal + noise[0],
                noise[1:],
                statistic,
                (Total(), Remainder()),
                restarts=2,
                begin=Begin.FILTERED,
                descent=replace(quick, sampler=LBFGS(max_iter=4, batch=batch)),
            )
            for batch in (1, 2)
        )
    np.testing.assert_allclose(together.maps, alone.maps, atol=1e-6 * signal.std())


def test_solutions_go_on_from_whichever_states_there_are():
    """One that ended, one under way, and one that had not begun."""
    descent = Descent(LBFGS(max_iter=8, batch=2), steps=3)
    states = []
    whole = separated(restarts=3, descent=descent, report=states.append)
    of_first = [one for one in states if one.restart == 0]
    of_second = [one for one in states if one.restart == 1]
    assert of_first[-1].status is not None
    resumed = separated(restarts=3, descent=descent, resume=[of_second[1], of_first[-1]])
    np.testing.assert_allclose(resumed.maps, whole.maps, atol=1e-6 * whole.map.std())
    assert resumed.statuses == whole.statuses
    told = []
    more = replace(descent, steps=4)
    separated(restarts=3, descent=more, resume=[of_first[-1]], report=told.append)
    assert [one.step for one in told if one.restart == 0] == [3, 4]
    for one, other in zip(resumed.histories, whole.histories, strict=True):
        np.testing.assert_allclose(one["total"], other["total"], rtol=1e-5)


def test_a_state_has_ended_by_the_tolerance_that_is_given():
    rough = Descent(LBFGS(max_iter=8), steps=6, tolerance=2.0)
    states, told = [], []
    separated(descent=rough, report=states.append)
    assert states[-1].status is Status.CONVERGED
    finer = replace(rough, tolerance=0.25)
    resumed = separated(descent=finer, resume=[states[-1]], report=told.append)
    assert resumed.status is Status.CONVERGED
    assert resumed.history["total"][-1] <= 0.25
    assert len(told) > 1
    limited = separated(descent=replace(finer, steps=1), resume=[states[-1]])
    assert limited.status is Status.STEP_LIMIT
    looser = separated(descent=rough, resume=[told[-1]], report=told.append)
    assert looser.status is Status.CONVERGED


@pytest.mark.parametrize("begin", Begin)
@pytest.mark.parametrize("batch", [1, 2])
def test_single_precision_stays_single(begin, batch):
    """Of starts, of what is moved at once, and of states that are gone on from."""
    states = []
    options = {"restarts": 2, "begin": begin, "descent": Descent(LBFGS(3, batch=batch), steps=1)}
    whole = separated(data=DATA.astype(np.float32), draws=9, report=states.append, **options)
    assert {one.signal[1].dtype for one in states} == {np.dtype(np.float32)}
    last = {one.restart: one for one in states if one.step == 0}.values()
    again = separated(data=DATA.astype(np.float32), draws=9, resume=list(last), **options)
    np.testing.assert_allclose(again.maps, whole.maps, atol=1e-4)


def test_a_solution_that_is_not_a_number_ends_alone():
    """The others do not."""

    class Broken(AbstractSampler):
        batch = 2

        def run(self, task):
            unknowns = np.zeros(task.start.shape)
            unknowns[0] = np.nan
            return Found(unknowns, (), ())

    found = separated(restarts=2, draws=9, descent=Descent(Broken(), steps=1))
    assert found.statuses == (Status.DIVERGED, Status.STEP_LIMIT)
    assert np.isfinite(found.maps).all()


def test_no_two_solutions_begin_alike():
    states = []
    separated(
        draws=9, restarts=10, report=states.append, descent=Descent(LBFGS(max_iter=1), steps=1)
    )
    starts = [np.asarray(one.signal[1]) for one in states if one.step == 0]
    assert len(starts) == 10
    assert len({one.tobytes() for one in starts}) == 10


def test_the_weight_says_which_of_two_constraints_gives_way():
    """The power that either asks for is not that of the other."""
    lower = WhiteNoise(0.8 * NOISE).maps(STATISTIC.domain, 16, SEED)
    quick = Descent(LBFGS(max_iter=10), steps=3, tolerance=1e-3)
    ratios = []
    for weight in (0.01, 100.0):
        found = separated(
            contamination=lower, constraints=(Total(weight=weight), Remainder()), descent=quick
        )
        total, remainder = (losses[-1] for losses in found.history.values())
        ratios.append(total / remainder)
    assert ratios[1] < 0.2 * ratios[0], ratios


def test_fixed_scales_are_those_of_the_data():
    found = separated(constraints=(Total(), LargeScales(3.0)))
    number = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(32, 1 / 32)], indexing="ij"))
    kept = (number > 0.0) & (number <= 3.0)
    a, b = np.fft.fft2(found.map), np.fft.fft2(DATA)
    np.testing.assert_allclose(a[kept], b[kept], rtol=1e-9)
    assert np.max(np.abs(a[number > 8.0] - b[number > 8.0])) > 1.0


def test_from_noise_only_the_statistics_are_recovered():
    found = separated(begin=Begin.NOISE, descent=Descent(LBFGS(max_iter=15), steps=10))
    assert found.history["total"][-1] < 3.0
    amplitudes = np.sqrt(power(SIGNAL, SIGNAL, 1, 3) * power(found.map, found.map, 1, 3))
    assert power(found.map, SIGNAL, 1, 3) / amplitudes < 0.9


def test_from_filtered_data_the_power_is_that_of_the_signal_at_once():
    states = []
    separated(begin=Begin.FILTERED, report=states.append)
    start = np.asarray(STATISTIC.domain.seen(states[0].signal[1]))
    true, there, noisy = (power(one, one, 8, 17) for one in (SIGNAL, start, DATA))
    assert abs(there - true) < 0.3 * (noisy - true)
    assert power(start, DATA, 8, 17) > 0.85 * np.sqrt(there * noisy)
    np.testing.assert_allclose(start.mean(), DATA.mean(), atol=0.1 * NOISE)
    assert max(states[0].losses[-1].values()) > max(states[-1].losses[-1].values())


@pytest.mark.parametrize("batch", [0, 4])
def test_any_batch_and_adam(batch):
    found = separated(descent=Descent(Adam(max_iter=30, learning_rate=0.05), 3, batch))
    losses = found.history["total"]
    assert losses[-1] < 0.2 * losses[0]


def test_two_constraints_hold_together():
    found = separated(constraints=(Total(), Remainder()))
    assert set(found.history) == {"total", "remainder"}
    assert max(losses[-1] for losses in found.history.values()) <= 1.0


def test_two_halves_on_the_sphere():
    nside, lmax = 8, 16
    one = Covariance.sphere(nside, 2, lmax=lmax, wavelet=Steerable(2), directions=3, harmonics=2)
    two = Covariance.sphere(
        nside, 2, lmax=lmax, wavelet=Steerable(2), directions=3, harmonics=2, channels=2
    )
    sky = hp.alm2map(hp.map2alm(red_sky(nside, 10), lmax=lmax), nside)
    noise = WhiteNoise(0.5 * np.std(sky), halves=True)
    halves = noise.maps(one.domain, 1, np.random.SeedSequence(5))[0] + sky
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = scattering.separate(
            halves, noise, one, (Total(), Halves(two)), draws=12, descent=QUICK
        )
    assert found.map.shape == (768,)
    assert set(found.history) == {"total", "halves"}
    assert all(losses[-1] < 0.3 * losses[0] for losses in found.history.values()), found.history
    before = np.std(halves.mean(axis=0) - sky)
    assert np.std(found.map - sky) < 0.9 * before


def test_masked_cells_are_told():
    data = np.where(np.arange(32) < 4, np.nan, DATA)
    statistic = Covariance.plane(SHAPE, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = scattering.separate(
            data, WhiteNoise(NOISE), statistic, draws=12, descent=QUICK, seed=1
        )
    assert np.isfinite(found.map).all()
    np.testing.assert_array_equal(np.isnan(found.contamination), np.isnan(data))


def test_contamination_is_known_where_the_data_are():
    hole = np.arange(32) < 4
    draws = WhiteNoise(NOISE).maps(STATISTIC.domain, 12, SEED)
    holed = np.where(hole, np.nan, draws)
    message = "contamination: expected known values wherever .* in 128 of 1024 cells"
    with pytest.raises(ValueError, match=message):
        separated(contamination=holed)
    statistic = Covariance.plane(SHAPE, 2, 2)
    quick = Descent(LBFGS(max_iter=2), steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found, same = (
            scattering.separate(np.where(hole, np.nan, DATA), one, statistic, descent=quick, seed=1)
            for one in (holed, np.where(hole, 0.0, draws))
        )
    np.testing.assert_array_equal(found.map, same.map)


def test_a_limit_is_told():
    with pytest.warns(UserWarning, match="1 of 1 solutions did not reach the tolerance 1e-06"):
        found = scattering.separate(
            DATA,
            WhiteNoise(NOISE),
            STATISTIC,
            draws=12,
            descent=Descent(LBFGS(max_iter=2), steps=1, tolerance=1e-6),
        )
    assert found.status is Status.STEP_LIMIT


class Wild(AbstractSampler):
    """A sampler that goes anywhere."""

    def run(self, task):
        far = 1e4 * np.random.default_rng(0).standard_normal(task.start.shape)
        return Found(far, (Status.CONVERGED,), (np.zeros(1),))


def test_divergence_is_told_and_the_best_signal_kept():
    with pytest.warns(UserWarning, match="It diverged, and the best signal before that is given"):
        found = scattering.separate(
            DATA, WhiteNoise(NOISE), STATISTIC, seed=1, draws=16, descent=Descent(Wild(), steps=9)
        )
    losses = found.history["total"]
    assert found.status is Status.DIVERGED
    assert len(losses) == 2
    assert losses[1] > 100.0 * losses[0]
    start = DATA - np.mean(WhiteNoise(NOISE).maps(STATISTIC.domain, 16, SEED)) + 0.0
    np.testing.assert_allclose(found.map, start, atol=0.05)


def test_models_of_one_observation_of_the_contamination():
    dirt = NOISE * np.random.default_rng(8).standard_normal(SHAPE)
    for model in (
        GaussianField(dirt, STATISTIC),
        Texture(dirt, STATISTIC, LBFGS(max_iter=5), together=3),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            maps = model.maps(STATISTIC.domain, 9, np.random.SeedSequence(0))
        assert maps.shape == (9, *SHAPE)
        np.testing.assert_allclose(maps.std(), dirt.std(), rtol=0.15)
        assert np.max(np.abs(np.corrcoef(maps.reshape(9, -1)) - np.eye(9))) < 0.3


def test_textures_of_several_observations_scatter_as_those_do():
    dirt = NOISE * np.random.default_rng(8).standard_normal(SHAPE)
    model = Texture(np.stack([dirt, 3.0 * dirt]), STATISTIC, LBFGS(max_iter=5), together=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        maps = model.maps(STATISTIC.domain, 6, np.random.SeedSequence(0))
    assert maps.shape == (6, *SHAPE)
    expected = np.tile([1.0, 3.0], 3) * dirt.std()
    np.testing.assert_allclose(maps.std(axis=(1, 2)), expected, rtol=0.25)


def test_uneven_noise_has_the_given_deviation():
    rms = 0.1 + np.linspace(0.0, 1.0, 32)[:, None] + np.zeros(SHAPE)
    whole = WhiteNoise(rms).maps(STATISTIC.domain, 400, np.random.SeedSequence(1))
    halves = WhiteNoise(rms, halves=True).maps(STATISTIC.domain, 400, np.random.SeedSequence(1))
    assert halves.shape == (400, 2, *SHAPE)
    np.testing.assert_allclose(whole.std(axis=0), rms, rtol=0.2)
    np.testing.assert_allclose(halves.mean(axis=1).std(axis=0), rms, rtol=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contamination": np.ones((3, *SHAPE))}, "contamination: expected 8 draws or more"),
        ({"contamination": np.ones((9, *SHAPE))}, "contamination: expected fields with structure"),
        (
            {"contamination": np.arange(9.0)[:, None, None] + np.zeros(SHAPE)},
            "contamination: expected fields with power at every scale",
        ),
        (
            {"contamination": np.repeat(DATA[None], 9, axis=0)},
            "contamination: expected draws whose statistics differ, got none that do for 'total'",
        ),
        ({"contamination": np.ones((9, 16, 16))}, "contamination: expected maps .32, 32. as the"),
        ({"contamination": np.ones(SHAPE, bool)}, "members: expected an array of real maps"),
        ({"contamination": WhiteNoise(np.ones((4, 4)))}, "rms: expected one deviation, or maps"),
        ({"data": np.zeros((16, 16))}, "maps: expected shape"),
        ({"data": np.zeros((3, *SHAPE))}, "data: expected one map .32, 32., or the two halves"),
        ({"data": np.full(SHAPE, np.nan)}, "data: expected cells with finite values, got none"),
        ({"data": np.ones(SHAPE)}, "expected for 'total' fields with power at every scale"),
        ({"draws": 0}, "draws: expected 1 or more, got 0"),
        ({"restarts": 0}, "restarts: expected 1 or more, got 0"),
        ({"resume": State(0, 0, (), ())}, "resume: expected a sequence of states, got one"),
        (
            {"data": np.ones(SHAPE), "begin": Begin.FILTERED, "constraints": (Remainder(),)},
            "data: expected fields with power at every scale",
        ),
        ({"restarts": 18}, "restarts: expected 17 or fewer with 16 draws, got 18"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        separated(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Descent(steps=0), "steps: expected 1 or more, got 0"),
        (lambda: Descent(batch=-1), "batch: expected 0 or more, got -1"),
        (lambda: Descent(tolerance=0.0), "tolerance: expected more than 0, got 0.0"),
        (lambda: Ensemble(np.ones(3)), "members: expected an array of real maps"),
        (lambda: WhiteNoise(-1.0), "rms: expected finite deviations of 0 or more"),
        (lambda: Texture(DATA, STATISTIC, together=1), "together: expected 2 or more, got 1"),
        (lambda: WhiteNoise(0.0), "rms: expected finite deviations of 0 or more"),
    ],
)
def test_numbers_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_coarser_grids_first(found):
    small = Covariance.plane((16, 16), 2, 2)
    states = []
    coarse = (Coarse(small),)
    twice = [separated(coarser=coarse, report=states.append) for _ in range(2)]
    np.testing.assert_array_equal(twice[0].map, twice[1].map)
    assert twice[0].status is Status.CONVERGED
    assert states[0].step == 0
    start = np.asarray(states[0].signal[1])[0]
    # Where the coarser grid has modes the signal has its power from the start, elsewhere the data.
    true, there, noisy = (power(one, one, 4, 8) for one in (SIGNAL, start, DATA))
    assert abs(there - true) < 0.5 * (noisy - true)
    assert twice[0].history["total"][0] < found.history["total"][0]
    modes, plain = (np.fft.fft2(one, norm="forward") for one in (start, DATA))
    number = np.abs(np.fft.fftfreq(32, 1 / 32))
    inside = (number[:, None] < 8) & (number < 8)
    np.testing.assert_allclose(modes[~inside], plain[~inside], atol=1e-2)


def test_coarser_grids_of_two_halves_and_a_mask():
    data = np.stack(
        [SIGNAL + NOISE * one for one in np.random.default_rng(8).normal(size=(2, 32, 32))]
    )
    data[:, :4, :4] = np.nan
    one, two = (PowerSpectrum.plane((16, 16), 4, channels=channels) for channels in (1, 2))
    states = []
    found = scattering.separate(
        data,
        WhiteNoise(NOISE / np.sqrt(2), halves=True),
        PowerSpectrum.plane(SHAPE, 8),
        seed=1,
        draws=16,
        coarser=(Coarse(one, (Total(), Halves(two))),),
        report=states.append,
    )
    assert found.status is Status.CONVERGED
    np.testing.assert_array_equal(np.isnan(found.data), np.isnan(data[0]))
    start, whole = np.asarray(states[0].signal[1])[0], data.mean(axis=0)
    true, there = (power(x, x, 4, 8) for x in (SIGNAL, start))
    noisy = power(np.nan_to_num(whole), np.nan_to_num(whole), 4, 8)
    assert abs(there - true) < 0.5 * (noisy - true)


def test_coarser_grids_that_are_not():
    with pytest.raises(ValueError, match="coarser: expected 1 channels on a flat grid"):
        separated(coarser=(Coarse(Covariance.plane((12, 12), 2, 2)),))
