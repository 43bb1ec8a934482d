"""Measures of fields against formulae, SciPy, healpy and sums over all triangles."""

import healpy as hp
import numpy as np
import pytest
import scipy.stats

from skysift.harmonic import multipoles
from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.gauges import gauge_of
from skysift.scattering.morphology import (
    LEVELS,
    Observer,
    gaussian_area,
    gaussian_genus,
    gaussian_length,
)

SIDE = 96
PLANE = Flat(shape=(SIDE, SIDE), channels=1)
NSIDE = 16
SKY = Sphere(nside=NSIDE, lmax=2 * NSIDE, channels=1, iterations=3)
SMOOTHED = 2.0 / np.sqrt(8.0 * np.log(2.0))  # deviation of the smoothing [cells]


def smooth_plane(rng, shape=(SIDE, SIDE), width=2.0):
    """A Gaussian field of unit variance, correlated over some cells."""
    k = (
        2.0
        * np.pi
        * np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    )
    modes = np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-0.5 * (width * k) ** 2)
    modes[0, 0] = 0.0
    field = np.fft.irfft2(modes, s=shape)
    return field / field.std()


def smooth_sky(rng, lmax=20):
    """A Gaussian field of the sphere with a band limit."""
    ell, m = multipoles(SKY.lmax)
    white = rng.standard_normal((2, ell.size)) * np.sqrt(0.5)
    alm = np.where(m == 0, np.sqrt(2.0) * white[0], white[0] + 1j * white[1])
    alm = np.where((ell > 1) & (ell <= lmax), alm, 0.0)
    field = SKY.sht.synthesis(alm)
    return field / field.std()


def test_moments_are_those_of_scipy():
    rng = np.random.default_rng(1)
    field = np.exp(0.5 * rng.standard_normal((SIDE, SIDE))) * 3.0 + 7.0
    moments = Observer.of(field, PLANE).measure(field).moments.value
    values = field.ravel()
    np.testing.assert_allclose(moments[:2], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(moments[2], scipy.stats.skew(values), rtol=1e-9)
    np.testing.assert_allclose(moments[3], scipy.stats.kurtosis(values), rtol=1e-9)
    shifted = Observer.of(field, PLANE).measure(2.0 * field + field.std()).moments.value
    np.testing.assert_allclose(shifted[0], field.mean() / field.std() + 1.0, rtol=1e-9)
    np.testing.assert_allclose(shifted[1:], [2.0, moments[2], moments[3]], rtol=1e-9)


def test_values_are_counted_as_numpy_does():
    field = np.random.default_rng(2).standard_normal((SIDE, SIDE))
    observer = Observer.of(field, PLANE)
    expected, _ = np.histogram((field - field.mean()) / field.std(), LEVELS)
    widths = np.diff(LEVELS) * field.size
    np.testing.assert_allclose(observer.measure(field).pdf.value, expected / widths, rtol=1e-12)


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (30, 41)])
def test_spectrum_of_a_plane_adds_the_power_of_all_modes(shape):
    field = np.random.default_rng(3).standard_normal(shape) + 5.0
    found = Observer.of(field, Flat(shape=shape, channels=1)).measure(field).spectrum
    k = 2.0 * np.pi * np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    power = np.abs(np.fft.fft2(field, norm="forward")) ** 2
    inside = (k > 0.0) & (k <= np.pi * (1.0 + 1e-9))
    np.testing.assert_allclose(found.value.sum(), power[inside].sum(), rtol=1e-12)
    top = k > np.pi / np.sqrt(2.0) * (1.0 + 1e-9)
    np.testing.assert_allclose(found.value[-1], power[inside & top].sum(), rtol=1e-12)
    assert np.all(np.diff(found.at) > 0.0)


def test_a_wave_is_in_its_band_only():
    x = np.arange(SIDE) * 2.0 * np.pi / SIDE
    field = np.cos(12.0 * x)[:, None] * np.ones(SIDE)
    found = Observer.of(field, PLANE).measure(field).spectrum
    here = int(np.argmax(found.value))
    assert found.at[here] == pytest.approx(12 * 2 * np.pi / SIDE, rel=0.2)
    np.testing.assert_allclose(found.value[here], 0.5, rtol=1e-12)
    np.testing.assert_allclose(np.delete(found.value, here), 0.0, atol=1e-20)


def test_spectrum_of_the_sphere_is_that_of_healpy():
    sky = smooth_sky(np.random.default_rng(4))
    found = Observer.of(sky, SKY).measure(sky).spectrum
    spectrum = hp.anafast(sky, lmax=SKY.lmax, iter=3)
    ell = np.arange(SKY.lmax + 1)
    total = np.sum(((2 * ell + 1) * spectrum)[1:]) / (4.0 * np.pi)
    np.testing.assert_allclose(found.value.sum(), total, rtol=1e-3)
    first = spectrum[1] * 3.0 / (4.0 * np.pi)
    assert found.at[0] == 1.0
    assert found.value[0] == pytest.approx(first, abs=1e-6)
    assert found.at[-1] < SKY.lmax


def test_derivatives_of_a_plane_wave():
    x, y = np.meshgrid(np.arange(48.0), np.arange(36.0), indexing="ij")
    a, b = 2.0 * np.pi * 3.0 / 48.0, 2.0 * np.pi * 2.0 / 36.0
    wave = np.cos(a * x + b * y)
    gauge = gauge_of(Flat(shape=wave.shape, channels=1))
    first, second, smooth = gauge.derivatives(wave.ravel())
    damped = np.exp(-0.5 * SMOOTHED**2 * (a**2 + b**2))
    sine = np.sin(a * x + b * y).ravel()
    np.testing.assert_allclose(smooth, damped * wave.ravel(), atol=1e-12)
    np.testing.assert_allclose(first, -damped * np.stack([a * sine, b * sine]), atol=1e-12)
    expected = -damped * np.outer([a**2, b**2, a * b], wave.ravel())
    np.testing.assert_allclose(second, expected, atol=1e-12)


def test_derivatives_on_the_sphere_are_covariant():
    theta, phi = hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2))
    field = np.sin(theta) ** 2 * np.cos(phi) * np.sin(phi)  # x y, of degree 2
    first, second, smooth = gauge_of(SKY).derivatives(field)
    damped = hp.gauss_beam(2.0 * hp.nside2resol(NSIDE), 2)[2]
    sine, cosine = np.sin(theta), np.cos(theta)
    np.testing.assert_allclose(smooth, damped * field, atol=1e-5)
    along = np.stack([sine * cosine * np.sin(2.0 * phi), sine * np.cos(2.0 * phi)])
    np.testing.assert_allclose(first, damped * along, atol=1e-4)
    expected = [
        np.cos(2.0 * theta) * np.sin(2.0 * phi),
        (cosine**2 - 2.0) * np.sin(2.0 * phi),
        cosine * np.cos(2.0 * phi),
    ]
    np.testing.assert_allclose(second, damped * np.stack(expected), atol=1e-3)


@pytest.mark.parametrize("domain", [PLANE, SKY], ids=["plane", "sphere"])
def test_minkowski_functionals_of_gaussian_fields(domain):
    rng = np.random.default_rng(5)
    draw = smooth_plane if domain is PLANE else smooth_sky
    found = {"area": [], "length": [], "genus": []}
    expected = {name: [] for name in found}
    for _ in range(12):
        field = draw(rng)
        observer = Observer.of(field, domain)
        made = observer.measure(field)
        gradient, _, smooth = observer.gauge.derivatives(field.ravel())
        deviation = smooth.std()
        slope = np.sqrt(np.mean(np.sum(gradient**2, axis=0))) / deviation
        # Levels are in deviations of the field as it is; of the smoothed one those are more.
        edges = LEVELS * observer.deviation / deviation
        expected["area"].append(gaussian_area(0.5 * (edges[1:] + edges[:-1])))
        expected["length"].append(gaussian_length(edges, slope))
        expected["genus"].append(gaussian_genus(edges, slope))
        for name, values in found.items():
            values.append(getattr(made, name).value)
    often = np.abs(made.length.at) < 2.0
    for name, values in found.items():
        difference = (np.array(values) - np.array(expected[name]))[:, often]
        error = difference.std(axis=0, ddof=1) / np.sqrt(len(values))
        pull = difference.mean(axis=0) / error
        assert np.sqrt(np.mean(pull**2)) < 1.8, name
        top = np.abs(np.mean(expected[name], axis=0)).max()
        assert np.abs(difference.mean(axis=0)).max() < 0.08 * top, name


def test_functionals_tell_structure_from_a_gaussian_field():
    rng = np.random.default_rng(6)
    field = np.exp(1.2 * smooth_plane(rng))
    observer = Observer.of(field, PLANE)
    made = observer.measure(field)
    gaussian = observer.measure(observer.surrogate(field, seed=1))
    assert made.length.offset(gaussian.length) > 1.5
    assert made.length.offset(made.length) == 0.0


def test_peaks_of_a_lattice_are_counted():
    x = np.arange(SIDE) * 2.0 * np.pi / SIDE
    field = np.cos(3.0 * x)[:, None] + np.cos(3.0 * x)[None, :]
    peaks = Observer.of(field, PLANE).measure(field).peaks
    low = peaks.at < 1.5  # the lattice rises to two deviations
    np.testing.assert_allclose(peaks.value[low] * SIDE**2, 9.0, rtol=1e-12)
    np.testing.assert_allclose(peaks.value[peaks.at > 2.1], 0.0)


def test_peaks_on_the_sphere_are_counted():
    directions = np.stack(hp.pix2vec(NSIDE, np.arange(12 * NSIDE**2)))
    centres = np.array([[0.6, 0.64, 0.48], [-0.8, 0.0, 0.6], [0.0, -0.6, -0.8]])
    field = np.sum(np.exp(20.0 * (centres @ directions - 1.0)), axis=0)
    peaks = Observer.of(field, SKY).measure(field).peaks
    high = (peaks.at >= 1.0) & (peaks.at <= 3.0)
    np.testing.assert_allclose(peaks.value[high] * field.size, 3.0, rtol=1e-12)


def test_bispectrum_is_the_sum_over_all_triangles():
    field = np.random.default_rng(7).gamma(1.0, size=(12, 12))
    domain = Flat(shape=field.shape, channels=1)
    observer = Observer.of(field, domain)
    found = observer.measure(field)
    modes = np.fft.fft2(field, norm="forward")
    k = 2.0 * np.pi * np.hypot(*np.meshgrid(*[np.fft.fftfreq(12)] * 2, indexing="ij"))
    edges = np.pi * 2.0 ** (-np.arange(6, -1, -1) / 2.0) * (1.0 + 1e-12)
    of = np.where((k > 0.0) & (k <= edges[-1]), np.searchsorted(edges, k), -1)
    numbers = np.unique(of[of >= 0])
    assert len(numbers) == len(found.spectrum.at)
    power = [np.sum(np.abs(modes[of == one]) ** 2) for one in numbers]
    for bispectrum, separation in zip(found.bispectra, (0, 2, 4), strict=True):
        for index in range(separation, len(numbers)):
            fine, coarse = of == numbers[index], of == numbers[index - separation]
            total = 0.0
            for a in np.argwhere(fine):
                for b in np.argwhere(fine):
                    c = tuple((-a - b) % 12)
                    if coarse[c]:
                        total += modes[tuple(a)] * modes[tuple(b)] * modes[c]
            norm = power[index] * np.sqrt(power[index - separation])
            np.testing.assert_allclose(
                bispectrum.value[index - separation], np.real(total) / norm, atol=1e-12
            )


@pytest.mark.parametrize("domain", [PLANE, SKY], ids=["plane", "sphere"])
def test_masked_cells_are_never_looked_at(domain):
    rng = np.random.default_rng(8)
    field = smooth_plane(rng) if domain is PLANE else smooth_sky(rng)
    kept = np.ones(field.shape, dtype=bool)
    kept[: field.shape[0] // 4] = False
    missing, wild = np.where(kept, field, np.nan), np.where(kept, field, 1e6)
    observer = Observer.of(missing, domain)
    other = Observer.of(wild, domain, kept)
    assert observer.mean == other.mean == field[kept].mean()
    for name, measure in observer.measure(missing).measures.items():
        np.testing.assert_array_equal(measure.value, other.measure(wild).measures[name].value)
    # A margin of three cells keeps the edge of the mask out of the derivatives.
    whole = Observer.of(field, domain).gauge.derivatives(field.ravel())
    masked = observer.gauge.derivatives(np.where(kept, field, field[kept].mean()).ravel())
    inner = observer.gauge.inner
    assert 0.5 < inner.mean() < 0.75
    for full, cut in zip(whole, masked, strict=True):
        off = np.abs(full - cut)[..., inner]
        assert off.max() < 0.12 * np.abs(full[..., inner]).max()


def test_parts_add_to_the_whole():
    field = smooth_plane(np.random.default_rng(9))
    made = Observer.of(field, PLANE).measure(field)
    for name in ("spectrum", "pdf", "area", "length", "genus", "peaks"):
        measure = getattr(made, name)
        assert measure.parts.shape[0] == 9
        np.testing.assert_allclose(measure.parts.mean(axis=0), measure.value, atol=1e-12)
        np.testing.assert_allclose(measure.scatter, measure.parts.std(axis=0, ddof=1), atol=1e-12)
    sky = smooth_sky(np.random.default_rng(9))
    parts = Observer.of(sky, SKY).measure(sky).spectrum.parts
    assert parts.shape[0] == 48


def test_parts_with_few_kept_cells_do_not_count():
    field = smooth_plane(np.random.default_rng(10))
    field[: SIDE // 3, :] = np.nan
    parts = Observer.of(field, PLANE).measure(field).pdf.parts
    assert np.isnan(parts[:3]).all()
    assert np.isfinite(parts[3:]).all()


@pytest.mark.parametrize("domain", [PLANE, SKY], ids=["plane", "sphere"])
def test_surrogates_have_the_spectrum_and_nothing_else(domain):
    rng = np.random.default_rng(11)
    field = np.exp(smooth_plane(rng) if domain is PLANE else smooth_sky(rng))
    observer = Observer.of(field, domain)
    drawn = [observer.surrogate(field, seed) for seed in range(30)]
    np.testing.assert_array_equal(drawn[0], observer.surrogate(field, 0))
    assert not np.array_equal(drawn[0], drawn[1])
    made = [observer.measure(one) for one in drawn]
    spectra = np.array([one.spectrum.value for one in made])
    wanted = observer.measure(field).spectrum.value
    pull = (spectra.mean(axis=0) - wanted) / (spectra.std(axis=0, ddof=1) / np.sqrt(30))
    assert np.abs(pull).max() < 4.5
    skewness = np.array([one.moments.value[2] for one in made])
    assert abs(skewness.mean()) < 4.0 * skewness.std() / np.sqrt(30) + 0.05
    assert observer.measure(field).moments.value[2] > 1.0


@pytest.mark.parametrize("domain", [PLANE, SKY], ids=["plane", "sphere"])
def test_correlation_finds_what_was_memorised(domain):
    rng = np.random.default_rng(12)
    draw = smooth_plane if domain is PLANE else smooth_sky
    field, other = draw(rng), draw(rng)
    observer = Observer.of(field, domain)
    same = observer.correlation(3.0 * field + 1.0, field)
    seen = observer.measure(field).spectrum.value > 1e-12
    np.testing.assert_allclose(same.value[seen], 1.0, rtol=1e-9)
    assert np.abs(observer.correlation(other, field).value[seen]).min() < 0.2
    half = observer.correlation(field + other * field.std() / other.std(), field)
    fine = np.flatnonzero(seen)[-1] - 2
    assert half.value[fine] == pytest.approx(np.sqrt(0.5), abs=0.25)


def test_bad_input_is_refused():
    field = np.random.default_rng(13).standard_normal((SIDE, SIDE))
    with pytest.raises(ValueError, match="example: expected a map that varies"):
        Observer.of(np.full((SIDE, SIDE), 3.0), PLANE)
    with pytest.raises(ValueError, match="maps: expected shape"):
        Observer.of(field[1:], PLANE)
    with pytest.raises(ValueError, match="kept: expected at least one"):
        Observer.of(np.full((SIDE, SIDE), np.nan), PLANE)
    with pytest.raises(ValueError, match="kept: expected shape"):
        gauge_of(PLANE, np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="domain: expected a plane of two axes"):
        Observer.of(np.random.default_rng(0).standard_normal(32), Flat(shape=(32,), channels=1))
