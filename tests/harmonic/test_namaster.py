import sys

import numpy as np
import pytest

import skysift as ss
from skysift.harmonic import CMBSpectra, PseudoOptions, PseudoSpectra, gaussian_maps
from skysift.harmonic.namaster import namaster_spectra
from skysift.maps import Maps, Stokes

NSIDE = 16
MASK = ss.galactic_mask("GAL080", NSIDE)


def skies(stokes, seed):
    cl = CMBSpectra.packaged().cl(r=0.1, lmax=3 * NSIDE - 1)
    generator = np.random.default_rng(seed)
    values = np.stack([gaussian_maps(cl, NSIDE, stokes, generator) for _ in range(2)])
    return Maps(values, ss.Grid(NSIDE), stokes)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("purify", [False, True])
@pytest.mark.parametrize("stokes", list(Stokes))
def test_spectra_are_those_of_namaster(stokes, purify, crossed):
    pytest.importorskip("pymaster")
    window = np.exp(-np.arange(3 * NSIDE) / 90.0)
    options = PseudoOptions(purify=purify, apodisation=8.0, fwhm=60.0, transfer=window)
    estimator = PseudoSpectra.of(MASK, options)
    maps, other = skies(stokes, 1), skies(stokes, 2) if crossed else None
    ours, theirs = estimator(maps, other), namaster_spectra(estimator, maps, other)
    assert list(ours.values) == list(theirs.values)
    assert set(ours.leakage) == set(theirs.leakage)
    for name, values in ours.values.items():
        np.testing.assert_allclose(theirs.values[name], values, atol=1e-10 * np.abs(values).max())
        np.testing.assert_allclose(theirs.windows[name], ours.windows[name], atol=1e-12)
    for name, weights in ours.leakage.items():
        np.testing.assert_allclose(theirs.leakage[name], weights, atol=1e-12)


def test_spectra_need_pymaster_and_an_estimator_that_decouples(monkeypatch):
    maps = skies(Stokes.QU, 1)
    with pytest.raises(ValueError, match="estimator: expected one that decouples"):
        namaster_spectra(PseudoSpectra.of(MASK, PseudoOptions(decouple=False)), maps)
    monkeypatch.setitem(sys.modules, "pymaster", None)
    with pytest.raises(ImportError, match="pymaster is not installed"):
        namaster_spectra(PseudoSpectra.of(MASK), maps)


def test_maps_to_cross_with_must_match():
    pytest.importorskip("pymaster")
    with pytest.raises(ValueError, match="other: expected shape"):
        namaster_spectra(PseudoSpectra.of(MASK), skies(Stokes.QU, 1), skies(Stokes.I, 2))
