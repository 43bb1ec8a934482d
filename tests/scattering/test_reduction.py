import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from skysift.scattering.families import Covariance
from skysift.scattering.generative.samplers import Status
from skysift.scattering.generative.synthesis import synthesise
from skysift.scattering.linear_map import Angles, Reduction
from skysift.scattering.reduction import Reduced, significant

from ..oracles.agreement import mean_square_offset

TURNS = 4


def lumps(seed, shape):
    return np.random.default_rng(seed).gamma(0.3, size=shape)


@pytest.fixture(scope="module")
def whole():
    return Covariance.plane((16, 16), scales=2, orientations=TURNS)


@pytest.fixture(scope="module")
def maps():
    field = lumps(0, (16, 16))
    other = lumps(1, (16, 16))
    return np.stack([field, np.rot90(field), field[::-1], other])


@pytest.fixture(scope="module")
def moments(whole, maps):
    fields = whole.domain.fields(jnp.asarray(maps))
    values = eqx.filter_jit(whole.moments)(fields)
    return {order: np.asarray(one) for order, one in zip(whole.layout.orders, values, strict=True)}


@pytest.fixture(scope="module")
def found(whole, maps):
    return functools.cache(lambda reduction: Reduced(whole, reduction)(maps))


def slow_isotropic(whole, moments, order, field):
    """Real parts averaged over the common orientation at fixed turns, coefficient by coefficient.

    Over the roots of the powers averaged over orientations.
    """
    layout = whole.layout
    power, first = {}, moments[layout.tables[4].order][field]
    for value, row in zip(first, layout["S2"].index, strict=True):
        power.setdefault(row[3], []).append(value.real)
    power = {scale: np.mean(values) for scale, values in power.items()}
    table = layout[order]
    sums = {}
    for value, row in zip(moments[table.order][field], table.index, strict=True):
        named = dict(zip(table.axes, row.tolist(), strict=True))
        scales = [named[axis] for axis in ("scale", "scale2", "scale3") if axis in named]
        turns = [
            (named[axis] - named["orientation"]) % TURNS
            for axis in ("orientation2", "orientation3")
            if axis in named
        ]
        amplitude = np.sqrt(power[scales[-2]] * power[scales[-1]])
        sums.setdefault((*scales, *turns), []).append(value.real / amplitude)
    return {key: np.mean(values) for key, values in sums.items()}


@pytest.mark.parametrize("order", ["S3", "S4"])
def test_averages_over_the_common_orientation_are_those_of_loops(whole, moments, order, found):
    reduced = found(Reduction(Angles.RELATIVE, handed=True, scales=False))
    slow = slow_isotropic(whole, moments, order, 3)
    table = reduced.layout[order]
    assert table.axes[-1] == {"S3": "turn2", "S4": "turn3"}[order]
    for value, row in zip(reduced[order][3], table.index[:, 3:], strict=True):
        assert np.isclose(value, slow[tuple(row)], atol=1e-12)


def test_frequencies_are_those_of_the_fourier_transform_over_turns(whole, moments, found):
    reduced = found(Reduction(handed=True, scales=False))
    slow = slow_isotropic(whole, moments, "S4", 3)
    table = reduced.layout["S4"]
    assert table.axes[3:] == ("scale", "scale2", "scale3", "frequency2", "frequency3", "part")
    for value, row in zip(reduced["S4"][3], table.index[:, 3:].tolist(), strict=True):
        *scales, second, third, part = row
        turns = [[slow[(*scales, a, b)] for b in range(TURNS)] for a in range(TURNS)]
        transformed = np.fft.ifft2(turns)[second, third]
        assert np.isclose(value, transformed.imag if part else transformed.real, atol=1e-12)


def test_first_moments_are_averages_over_the_powers(whole, moments, found):
    reduced = found(Reduction())
    first, power = (
        moments[whole.layout[order].order][3].real.reshape(2, TURNS).mean(axis=-1)
        for order in ("S1", "S2")
    )
    assert np.allclose(reduced["S2"][3], power)
    assert np.allclose(reduced["S1"][3], first / np.sqrt(power))


def test_scales_go_to_cosine_frequencies(found):
    plain = found(Reduction(scales=False)).select("S3")
    waves = found(Reduction()).select("S3")
    for step, length in ((0, 2), (1, 1)):
        for frequency in range(3):
            series = [
                plain.select("S3", scale=scale, scale2=scale - step, frequency2=frequency)["S3"]
                for scale in range(step, 2)
            ]
            series = np.concatenate(series, axis=-1)
            assert series.shape[-1] == length
            wave = waves.select("S3", step2=step, frequency2=frequency)
            assert list(wave.layout["S3"].column("scale_frequency")) == list(range(length))
            assert np.allclose(wave["S3"], scipy.fft.dct(series, norm="ortho"))
    assert waves.n_coefficients == plain.n_coefficients


@pytest.mark.parametrize("angles", list(Angles))
def test_statistics_do_not_change_by_quarter_turns_and_mirrors(angles, found):
    field, turned, mirrored, other = found(Reduction(angles)).vector
    assert np.allclose(turned, field, rtol=1e-9, atol=1e-12)
    assert np.allclose(mirrored, field, rtol=1e-9, atol=1e-12)
    assert not np.allclose(other, field, rtol=1e-2)


def test_sines_change_sign_in_a_mirror(found):
    reduced = found(Reduction(handed=True))
    odd = reduced.select(part=1)
    assert np.max(np.abs(odd.vector[0])) > 1e-3
    assert np.allclose(odd.vector[2], -odd.vector[0], atol=1e-12)
    assert np.allclose(odd.vector[1], odd.vector[0], atol=1e-12)


def test_a_preferred_direction_turns_with_the_field(found):
    reduced = found(Reduction(common=1))
    with_direction = reduced.select(frequency=1).vector
    # A quarter turn is half a period of the first frequency.
    assert np.max(np.abs(with_direction[0])) > 1e-2
    power = found(Reduction(common=1)).select("S2", frequency=1)["S2"]
    assert np.allclose(power[1], -power[0], atol=1e-12)
    isotropic = found(Reduction()).select("S1")["S1"]
    assert np.allclose(reduced.select("S1", frequency=0)["S1"], isotropic)


def test_a_reference_gives_the_amplitudes(whole, maps):
    st = Reduced(whole)
    reference = st(maps[0])
    doubled = st(2.0 * maps[0], reference=reference)
    assert np.allclose(doubled["S4"], 4.0 * reference["S4"])
    assert np.allclose(doubled["S1"], 2.0 * reference["S1"])
    assert np.allclose(st(maps[0], reference=reference).vector, reference.vector)


def test_several_channels_and_regions_are_reduced_alike():
    weights = np.ones((2, 16, 16))
    weights[0, :, 10:] = 0.0
    whole = Covariance.plane((16, 16), scales=1, orientations=2, channels=2, weights=weights)
    reduced = Reduced(whole)(lumps(2, (2, 16, 16)))
    assert not any(table.complex for table in reduced.layout.tables)
    power = whole(lumps(2, (2, 16, 16)))["S2"].real.reshape(2, 2, 3)
    assert np.allclose(reduced["S2"], power.mean(axis=1).ravel())


def test_missing_cells_are_masked(whole, maps):
    holes = maps[0].copy()
    holes[2:5, 3:6] = np.nan
    kept = np.isfinite(holes)
    expected = Reduced(whole.masked(kept))(np.where(kept, holes, 0.0))
    assert np.allclose(Reduced(whole)(holes).vector, expected.vector)


def test_gradient_is_the_difference(maps):
    st = Reduced(Covariance.plane((16, 16), scales=1, orientations=2))
    step = lumps(3, (16, 16))
    slope = jax.jvp(lambda x: st(x).vector, (jnp.asarray(maps[0]),), (jnp.asarray(step),))[1]
    behind, ahead = st(maps[0] + 1e-6 * np.array([-1.0, 1.0])[:, None, None] * step).vector
    assert np.allclose(slope, (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-6)


def test_on_the_sphere_the_scales_are_transformed():
    whole = Covariance.sphere(nside=4, scales=2)
    maps = lumps(4, (2, 192))
    plain, waves = whole(maps), Reduced(whole)(maps)
    assert waves.n_coefficients == plain.n_coefficients
    assert np.allclose(
        np.sum(np.asarray(waves["S4"]) ** 2, axis=-1),
        np.sum(np.asarray(plain["S4"]) ** 2, axis=-1),
    )
    pair = plain.select("S3", harmonic2=0, scale=[0, 1])
    pair = pair["S3"][..., pair.layout["S3"].column("scale") == pair.layout["S3"].column("scale2")]
    wave = waves.select("S3", harmonic2=0, step2=0)["S3"]
    assert np.allclose(wave, scipy.fft.dct(np.asarray(pair), norm="ortho"))


@pytest.fixture(scope="module")
def chosen(whole, maps):
    """Reduced statistics, those of a field, and those that tell it from Gaussian ones."""
    st = Reduced(whole)
    target = st(maps[0])
    return st, target, significant(st, target, draws=16)


def test_what_tells_a_field_from_gaussian_ones_is_kept(chosen, maps):
    st, target, few = chosen
    fewer = significant(st, target, threshold=8.0, draws=16)
    assert fewer.layout.n_coefficients < few.layout.n_coefficients < st.layout.n_coefficients
    kept = few(maps[0])
    for order in ("mean", "variance", "rest", "S1", "S2"):
        assert np.allclose(kept[order], target[order])
    for order in ("S3", "S4"):
        table = st.layout[order]
        rows = {tuple(row): value for row, value in zip(table.index, target[order], strict=True)}
        own = [rows[tuple(row)] for row in few.layout[order].index]
        assert np.allclose(kept[order], own)
        assert {tuple(row) for row in fewer.layout[order].index} <= {
            tuple(row) for row in few.layout[order].index
        }


def test_of_a_gaussian_field_little_is_kept(chosen):
    st, _, _ = chosen
    field = np.random.default_rng(5).standard_normal((16, 16))
    target = st(field)
    kept = significant(st, target, threshold=4.0, draws=32).layout
    tested = st.layout["S3"].size + st.layout["S4"].size
    assert kept["S3"].size + kept["S4"].size <= 0.1 * tested
    none = significant(st, target, threshold=1e9, draws=8)
    assert none.layout["S4"].size == 0
    assert none.layout.orders == st.layout.orders
    powers = none(field)
    assert np.allclose(none(field, reference=powers).vector, powers.vector)


def test_a_field_is_made_from_selected_statistics(chosen, maps):
    _, _, few = chosen
    target = few(maps[0])
    twin = synthesise(target, few, seed=3, tolerance=0.05)
    assert twin.status == (Status.CONVERGED,)
    own = few(twin.maps[0], reference=target)
    assert mean_square_offset(own, target, twin.metric.deviation) < 0.051
    # Nothing of the example itself is in it.
    assert abs(np.corrcoef(twin.maps[0].ravel(), maps[0].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda st, phi: Reduction(common=-1), "common: expected 0 or more"),
        (lambda st, phi: Reduction(Angles.RELATIVE, common=1), "common: expected 0 for relative"),
        (lambda st, phi: significant(st, phi, threshold=0.0), "threshold: expected more than 0"),
        (lambda st, phi: significant(st, phi, draws=2), "draws: expected 8 or more"),
        (lambda st, phi: significant(st, phi, seed=-1), "seed: expected 0 or more"),
        (lambda st, phi: significant(st.statistic, phi), "reference: expected statistics of"),
        (
            lambda st, phi: Reduced(Covariance.plane((8, 8, 8), scales=1, orientations=3)),
            "statistic: expected wavelets that are turns in one plane",
        ),
        (
            lambda st, phi: Reduced(Covariance.sphere(4, scales=1), Reduction(common=1)),
            "common: expected 0 on the sphere",
        ),
        (lambda st, phi: st(np.ones((16, 16))), "expected fields with power"),
    ],
)
def test_bad_input_is_refused(whole, maps, make, message):
    st = Reduced(whole)
    with pytest.raises(ValueError, match=message):
        make(st, st(maps[0]))


def test_several_targets_are_refused(whole, maps):
    st = Reduced(whole)
    with pytest.raises(ValueError, match="target: expected the statistics of one field"):
        significant(st, st(maps))
