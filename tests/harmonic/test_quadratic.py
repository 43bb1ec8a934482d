import healpy as hp
import numpy as np
import pytest

import skysift as ss
from skysift.harmonic import (
    Bins,
    CMBSpectra,
    PseudoOptions,
    PseudoSpectra,
    QuadraticSpectra,
    gaussian_maps,
)
from skysift.maps import Maps, Stokes

NSIDE = 4
LMAX = 3 * NSIDE - 1
GRID = ss.Grid(NSIDE)
CL = CMBSpectra.packaged().cl(r=0.01, lmax=LMAX)
MASK = np.abs(GRID.lonlat()[1]) > 20
SIGMA = 0.02 * (1.0 + (np.arange(GRID.size) > 90))
BINS = Bins(np.array([2, 4, 7, 9]))


def skies(count, seed=0, nside=NSIDE, sigma=SIGMA, cl=CL):
    rng = np.random.default_rng(seed)
    values = [gaussian_maps(cl, nside, Stokes.QU, rng) for _ in range(count)]
    noise = sigma * rng.standard_normal((count, 2, 12 * nside**2))
    return Maps(np.stack(values) + noise, ss.Grid(nside), Stokes.QU)


def harmonics(fwhm):
    """Q and U in the kept cells of each mode of E, then B, by healpy, and its multipole."""
    columns, ell = [], []
    beam = hp.gauss_beam(np.radians(fwhm / 60.0), LMAX, pol=True)[:, 1]
    for field in (0, 1):
        for degree in range(2, LMAX + 1):
            for m in range(degree + 1):
                for unit in (1.0,) if m == 0 else (np.sqrt(0.5), 1j * np.sqrt(0.5)):
                    alm = np.zeros((2, hp.Alm.getsize(LMAX)), complex)
                    alm[field, hp.Alm.getidx(LMAX, degree, m)] = unit * beam[degree]
                    qu = np.stack(hp.alm2map_spin(list(alm), NSIDE, 2, LMAX))
                    columns.append(qu[:, MASK].ravel())
                    ell.append((field, degree))
    return np.stack(columns, axis=1), np.array(ell)


@pytest.mark.parametrize("fwhm", [0.0, 600.0])
def test_estimates_are_those_of_a_dense_covariance_of_cells(fwhm):
    estimator = QuadraticSpectra.of(MASK, CL, SIGMA, BINS, fwhm=fwhm)
    modes, ell = harmonics(fwhm)
    noise = np.diag(np.tile(SIGMA[MASK] ** 2, 2))
    inverse = np.linalg.inv(modes * CL[1 + ell[:, 0], ell[:, 1]] @ modes.T + noise)
    parts = []
    for field in (0, 1):
        for low, high in zip(BINS.edges[:-1], BINS.edges[1:], strict=True):
            mine = modes[:, (ell[:, 0] == field) & (low <= ell[:, 1]) & (ell[:, 1] < high)]
            parts.append(inverse @ mine @ mine.T @ inverse)
    derivatives = [np.linalg.solve(inverse, np.linalg.solve(inverse, p).T) for p in parts]
    fisher = 0.5 * np.array([[np.trace(p @ d) for d in derivatives] for p in parts])
    np.testing.assert_allclose(estimator.fisher, fisher, rtol=1e-6)
    maps = skies(3)
    data = maps.values[..., MASK].reshape(3, -1)
    power = np.array([[d @ p @ d - np.trace(p @ noise) for p in parts] for d in data])
    expected = np.linalg.solve(fisher, 0.5 * power.T).T
    found = estimator(maps).values
    got = np.concatenate([found["EE"], found["BB"]], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max(axis=0).min())


def test_the_mean_is_what_windows_say_and_the_scatter_what_fisher_says():
    estimator = QuadraticSpectra.of(MASK, CL, SIGMA, BINS)
    powers = estimator(skies(600, seed=1))
    values = np.concatenate([powers.values["EE"], powers.values["BB"]], axis=1)
    expected = np.concatenate(list(powers.expected(CL).values()))
    spread = np.sqrt(np.diag(estimator.covariance))
    assert np.abs((values.mean(axis=0) - expected) / spread * np.sqrt(600)).max() < 3.7
    # The relative error of 600 estimates of a standard deviation is 3 %, more for skewed ones.
    np.testing.assert_allclose(values.std(axis=0), spread, rtol=0.15)


def test_another_spectrum_than_the_one_given_is_recovered():
    other = CL * np.array([[1.0], [0.6], [30.0], [0.7]])
    estimator = QuadraticSpectra.of(MASK, CL, SIGMA, BINS)
    powers = estimator(skies(400, seed=2, cl=other))
    expected = powers.expected(other)
    for name, values in powers.values.items():
        error = values.std(axis=0) / np.sqrt(400)
        assert np.abs((values.mean(axis=0) - expected[name]) / error).max() < 3.7


def test_crossed_splits_need_no_level_of_noise():
    sky = skies(300, seed=3, sigma=0.0)
    rng = np.random.default_rng(4)
    halves = [
        sky.replace(sky.values + 5 * SIGMA * rng.standard_normal(sky.values.shape))
        for _ in range(2)
    ]
    # The noise is five times what the estimator was told.
    estimator = QuadraticSpectra.of(MASK, CL, SIGMA, BINS)
    crossed, auto = estimator(*halves), estimator(halves[0])
    expected = crossed.expected(CL)["BB"]
    pulls = [
        np.abs((p.values["BB"].mean(axis=0) - expected) / p.values["BB"].std(axis=0)) * np.sqrt(300)
        for p in (crossed, auto)
    ]
    assert pulls[0].max() < 3.7
    assert pulls[1].max() > 10


def test_low_multipoles_scatter_less_than_purified_ones():
    nside, bins = 8, Bins(np.array([2, 6, 10]))
    mask = ss.galactic_mask("GAL080", nside)
    cl = CMBSpectra.packaged().cl(r=0.0, lmax=3 * nside - 1)
    maps = skies(60, nside=nside, sigma=1e-3, cl=cl)
    quadratic = QuadraticSpectra.of(mask, cl, 1e-3, bins)(maps)
    pure = PseudoSpectra.of(mask, PseudoOptions(lmax=16, bins=bins, apodisation=15.0))(maps)
    assert quadratic.values["BB"][:, 0].std() < 0.5 * pure.values["BB"][:, 0].std()


def test_any_ordering_and_intensity_beside():
    estimator = QuadraticSpectra.of(GRID.restricted(MASK), CL, SIGMA, BINS)
    maps = skies(2)
    expected = estimator(maps).values["BB"]
    nested = maps.masked(MASK).reordered(ss.Ordering.NESTED)
    np.testing.assert_allclose(estimator(nested).values["BB"], expected, rtol=1e-9)
    iqu = np.concatenate([np.ones((2, 1, GRID.size)), maps.values], axis=1)
    found = estimator(Maps(iqu, GRID, Stokes.IQU)).values["BB"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: QuadraticSpectra.of(MASK, CL[:3], SIGMA), "cl: expected finite TT, EE, BB"),
        (lambda: QuadraticSpectra.of(MASK, -CL, SIGMA), "cl: expected finite TT, EE, BB"),
        (lambda: QuadraticSpectra.of(MASK, np.ones((4, 30)), SIGMA), "to at most 11"),
        (
            lambda: QuadraticSpectra.of(
                np.ones(12 * 32**2, bool), CMBSpectra.packaged().cl(lmax=90), 1.0
            ),
            "cl: expected at most 12000 modes",
        ),
        (lambda: QuadraticSpectra.of(MASK, CL, 0.0), "sigma: expected finite"),
        (lambda: QuadraticSpectra.of(MASK, CL, np.nan), "sigma: expected finite"),
        (
            lambda: QuadraticSpectra.of(MASK, CL, SIGMA, Bins.each(0, 5)),
            "bins: expected multipoles",
        ),
        (lambda: QuadraticSpectra.of(MASK, CL, SIGMA, Bins.each(2, 20)), "bins: expected multip"),
        (lambda: QuadraticSpectra.of(np.zeros(192, bool), CL, SIGMA), "mask: expected at least"),
        (lambda: QuadraticSpectra.of(MASK, CL, SIGMA, fwhm=-1.0), "fwhm: expected arcmin"),
        (
            lambda: QuadraticSpectra.of(MASK, CL, SIGMA)(Maps(np.ones((1, 192)), GRID, Stokes.I)),
            "maps: expected Q and U",
        ),
        (
            lambda: QuadraticSpectra.of(MASK, CL, SIGMA)(skies(1, nside=8, sigma=0)),
            "maps: expected",
        ),
        (
            lambda: QuadraticSpectra.of(MASK, CL, SIGMA)(skies(2), skies(1)),
            "other: expected shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
