"""Fixed summaries, against healpy, and limits of memory."""

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.harmonic import multipoles
from skysift.inference.regions import RandomCaps
from skysift.inference.simulators import GaussianSky, Observed, Split, t1, t2, t4
from skysift.inference.summaries import Filter, Filtered
from skysift.inference.theory import TemperaturePeak

told_of = eqx.filter_jit(lambda summary, observed: summary(observed))


def test_exact_filters_find_the_spectra_that_maps_were_made_of():
    for single in (t1(nside=4), t2(nside=4)):
        simulator = single.in_double()
        parameters, observed = simulator.batch(Split.TEST.key(3), 2)
        told = told_of(Filtered.of(simulator), observed)
        low = 0 if len(simulator.stokes) == 1 else 2
        maps = np.asarray(observed.values)
        if len(simulator.stokes) == 1:
            alm = simulator.sht.least_squares(jnp.asarray(maps[:, 0]), tolerance=1e-12)[:, None]
        else:
            alm = simulator.sht.least_squares(jnp.asarray(maps), spin=2, tolerance=1e-12)
        expected = [[np.log(hp.alm2cl(np.array(one))[low:]) for one in two] for two in alm]
        np.testing.assert_allclose(told.reshape(2, len(alm[0]), -1), np.array(expected), atol=3e-3)
        assert parameters.shape == (2, simulator.prior.size)


@pytest.mark.parametrize("make", [t1, t2])
def test_rotations_of_the_sky_leave_numbers(make):
    simulator = make(nside=4)
    parameters, _ = simulator.batch(Split.TEST.key(0), 2)
    alm = np.array(simulator.coefficients(parameters, jax.random.split(jax.random.key(0), 2)))
    turned = alm.astype(complex)
    for one in turned.reshape(-1, alm.shape[-1]):
        hp.rotate_alm(one, 0.3, 1.1, -0.7)
    assert np.abs(turned - alm).max() > 0.5
    spin = {} if len(simulator.stokes) == 1 else {"spin": 2}
    seen, summary = jnp.ones((2, 192), bool), Filtered.of(simulator)
    told = [
        told_of(summary, Observed(simulator.sht.synthesis(jnp.asarray(some), **spin), seen))
        for some in (alm, turned)
    ]
    np.testing.assert_allclose(told[0], told[1], atol=2e-3)


def test_analysis_and_masked_powers_are_those_of_healpy():
    simulator = GaussianSky(TemperaturePeak(11), 4, region=RandomCaps(0.5))
    _, observed = simulator.batch(Split.TEST.key(0), 1)
    told = np.asarray(told_of(Filtered.of(simulator), observed))[0]
    npix = 192
    for found, one in zip(
        told.reshape(2, 12), (observed.values[0, 0], observed.mask[0]), strict=True
    ):
        alm = hp.map2alm(np.asarray(one, float), lmax=11, iter=0) * npix / (4.0 * np.pi)
        np.testing.assert_allclose(found, np.log(hp.alm2cl(alm) + 1e-6), rtol=2e-3, atol=2e-3)
    full = GaussianSky(TemperaturePeak(11), 4)
    _, observed = full.batch(Split.TEST.key(0), 1)
    told = np.asarray(told_of(Filtered.of(full, kind=Filter.ANALYSIS), observed))[0]
    alm = hp.map2alm(np.asarray(observed.values[0, 0], float), lmax=11, iter=3)
    np.testing.assert_allclose(told, np.log(hp.alm2cl(alm)), rtol=2e-3, atol=2e-3)


def test_correlation_of_e_and_b_is_told():
    simulator = t2(nside=4)
    summary = Filtered.of(simulator, cross=True)
    sht = simulator.sht
    ell, _ = multipoles(11)
    rng = np.random.default_rng(0)
    e = np.where(ell >= 2, rng.standard_normal(ell.size) + 0j, 0.0)
    maps = jnp.asarray(sht.synthesis(np.stack([e, -0.5 * e]), spin=2), jnp.float32)[None]
    observed = type(simulator.batch(Split.TEST.key(0), 1)[1])(maps, jnp.ones((1, 192), bool))
    told = np.asarray(told_of(summary, observed))[0].reshape(3, 10)
    np.testing.assert_allclose(told[1] - told[0], np.log(0.25), atol=0.01)
    np.testing.assert_allclose(told[2], np.log(0.001), atol=0.5)


def test_best_kinds_are_chosen():
    assert Filtered.of(t1(nside=4)).kind is Filter.EXACT
    assert Filtered.of(t1(noise=5.0, nside=4)).kind is Filter.ANALYSIS
    assert not Filtered.of(t2(0.3, nside=4)).of_mask
    assert Filtered.of(t2(0.3, nside=4, random_caps=True)).kind is Filter.PSEUDO
    assert Filtered.of(t4(nside=32, depth=6.0)).kind is Filter.ANALYSIS


def test_filters_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match=r"expected filters of at most 200 MB.*Filter\.ANALYSIS"):
        Filtered.of(t1(nside=64), kind=Filter.EXACT)
    with pytest.raises(ValueError, match="kind: expected PSEUDO"):
        Filtered.of(t2(0.3, nside=4), kind=Filter.EXACT)
