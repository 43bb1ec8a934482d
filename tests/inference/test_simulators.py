import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift import Grid, Stokes
from skysift.harmonic import Backend
from skysift.harmonic.spectra import cross_cl
from skysift.inference import (
    FullSky,
    FunctionSimulator,
    GaussianSky,
    Parameter,
    PolarisationPeaks,
    Prior,
    Protocol,
    RandomCaps,
    Shared,
    Split,
    TemperaturePeak,
    cap,
    t1,
    t2,
    t4,
)

KEY = jax.random.key(3)
LMAX = 11
SKY = GaussianSky(PolarisationPeaks(LMAX), 4, dtype=jnp.float64)
PEAKS = jnp.array([[6.0, 9.0]])


def drawn(sky: GaussianSky, count: int) -> np.ndarray:
    keys = jax.random.split(KEY, count)
    return np.asarray(jax.jit(sky.coefficients)(jnp.repeat(PEAKS, count, axis=0), keys))


def test_coefficients_have_the_spectra():
    alm, count = drawn(SKY, 2000), 2000
    power = cross_cl(alm, alm, LMAX).mean(axis=0)
    cl = np.asarray(SKY.theory(PEAKS[0]))
    deviation = np.sqrt(2 / (2 * np.arange(LMAX + 1) + 1) / count)
    assert np.abs((power / cl - 1) / deviation).max() < 4.5
    both = cross_cl(alm[:, 0], alm[:, 1], LMAX).mean(axis=0)
    assert np.abs(both / np.sqrt(cl.prod(axis=0)) / deviation).max() < 4.5
    assert np.all(alm[..., : LMAX + 1].imag == 0.0)


def test_published_maps_are_those_of_healpy_with_spectra_in_the_other_order():
    sky = GaussianSky(PolarisationPeaks(LMAX), 4, protocol=Protocol.AS_PUBLISHED, dtype=float)
    ee, bb = np.asarray(sky.theory(PEAKS[0]))
    given = np.array([np.full(LMAX + 1, 1e-5), ee, bb, *np.zeros((3, LMAX + 1))])
    np.random.seed(0)  # noqa: NPY002, healpy draws from the global state
    theirs = np.mean([_covariance(hp.synalm(given)[1:]) for _ in range(400)], axis=0)
    ours = np.mean([_covariance(alm) for alm in drawn(sky, 400)], axis=0)
    exact = np.asarray(sky.spectra(PEAKS[0]))
    np.testing.assert_allclose(exact[0, 0], ee**2 / 1e-5, rtol=1e-12)
    spread = np.sqrt(2 / (2 * np.arange(LMAX + 1) + 1) / 400)
    for found in (theirs, ours):
        assert np.abs((found / exact - 1) / spread).max() < 4.5
    # Fully correlated, whatever the multipole.
    np.testing.assert_allclose(ours[0, 1] ** 2, ours[0, 0] * ours[1, 1], rtol=1e-9)
    np.testing.assert_allclose(theirs[0, 1] ** 2, theirs[0, 0] * theirs[1, 1], rtol=1e-9)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_spectra_are_squares_of_roots(protocol):
    sky = GaussianSky(PolarisationPeaks(LMAX), 4, protocol=protocol)
    roots = np.asarray(sky.roots(PEAKS))
    squares = np.einsum("nfwl,ngwl->nfgl", roots, roots)
    np.testing.assert_allclose(sky.spectra(PEAKS), squares, rtol=1e-6)


def _covariance(alm: np.ndarray) -> np.ndarray:
    return np.array([[cross_cl(one, two, LMAX) for one in alm] for two in alm])


@pytest.mark.parametrize("backend", list(Backend))
def test_maps_are_healpys_of_the_coefficients(backend):
    sky = GaussianSky(PolarisationPeaks(LMAX), 4, dtype=jnp.float64, backend=backend)
    keys = jax.random.split(KEY, 1)
    maps = sky.skies(PEAKS, keys)
    alm = np.asarray(sky.coefficients(PEAKS, jax.vmap(jax.random.split)(keys)[:, 0]))[0]
    expected = hp.alm2map([np.zeros_like(alm[0]), *alm], 4)[1:]
    np.testing.assert_allclose(maps[0], expected, atol=1e-11)


def test_keys_say_all():
    simulator = t2(0.5, nside=4)
    parameters = jnp.repeat(PEAKS, 3, axis=0)
    three = simulator.simulate(parameters, KEY)
    np.testing.assert_array_equal(three.values, simulator.simulate(parameters, KEY).values)
    # A map does not depend on how many there are.
    two = simulator.simulate(parameters[:2], KEY)
    np.testing.assert_allclose(three.values[:2], two.values, atol=1e-6)
    assert np.abs(three.values[0] - three.values[1]).max() > 0.1
    assert three.values.dtype == jnp.float32


def test_splits_share_no_random_numbers():
    keys = [split.key(seed) for split in Split for seed in (0, 1)]
    assert len({jax.random.key_data(key).tobytes() for key in map(jnp.asarray, keys)}) == 6
    with pytest.raises(ValueError, match="seed: expected a whole number"):
        Split.TRAIN.key(-1)


def test_noise_is_white_of_the_deviation_said():
    quiet, noisy = (GaussianSky(TemperaturePeak(5), 4, noise=n) for n in (0.0, 15.0))
    parameters = jnp.full((50, 1), 8.0)
    noise = noisy.simulate(parameters, KEY).values - quiet.simulate(parameters, KEY).values
    assert float(noise.std()) == pytest.approx(15.0, rel=0.03)
    assert abs(float(jnp.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1])) < 0.5
    expected = 6.0 / hp.nside2resol(32, arcmin=True)
    assert t4(32, depth=6.0).noise == pytest.approx(expected, rel=1e-12)
    assert t1(noise=5.0).noise == 5.0


def test_cells_that_are_not_seen_are_zero():
    simulator = t2(0.2, nside=4)
    _, observed = simulator.batch(KEY, 2)
    mask = cap(0.2, 4)
    np.testing.assert_array_equal(observed.mask, [mask, mask])
    assert np.all(np.asarray(observed.values)[..., ~mask] == 0.0)
    assert np.all(np.asarray(observed.values)[..., mask] != 0.0)


def test_shared_cap_is_that_of_the_reference():
    # Cells of torch-harmonics-healpix at nside 16, and the centre from the angles by hand.
    assert [int(cap(part, 16).sum()) for part in (1.0, 0.5, 0.2, 0.1, 0.05)] == [
        3072,
        1536,
        611,
        310,
        152,
    ]
    rng = np.random.default_rng(0)
    theta, phi = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    far = hp.rotator.angdist([theta, phi], hp.pix2ang(16, np.arange(3072)))
    np.testing.assert_array_equal(cap(0.1, 16), far <= np.arccos(0.8))


def test_random_caps_are_everywhere():
    masks = np.asarray(RandomCaps(0.2).draw(KEY, 800, 8))
    assert masks.mean() == pytest.approx(0.2, rel=0.01)
    seen = masks.mean(axis=0)
    assert seen.min() > 0.12
    assert seen.max() < 0.28
    assert FullSky().draw(KEY, 2, 4).all()


def test_functions_of_the_user_are_simulators():
    prior = Prior((Parameter("level", 0.0, 2.0),))

    def level(parameters, key):
        return parameters[0] + jax.random.normal(key, (1, 48))

    def host(parameters, key):
        return np.asarray(level(parameters, key))

    region = Shared(Grid.from_mask(np.arange(48) < 24))
    inside = FunctionSimulator(level, prior, 2, Stokes.I, region=region)
    outside = FunctionSimulator(host, prior, 2, Stokes.I, region=region, traced=False)
    parameters, observed = inside.batch(KEY, 3)
    again, other = outside.batch(KEY, 3)
    np.testing.assert_array_equal(parameters, again)
    np.testing.assert_allclose(observed.values, other.values, atol=1e-6)
    assert np.all(observed.values[..., 24:] == 0.0)


def test_bad_simulators_are_named():
    prior = Prior((Parameter("level", 0.0, 1.0),))
    flat = FunctionSimulator(lambda p, key: jnp.ones(48), prior, 2, Stokes.I)
    with pytest.raises(ValueError, match=r"function: expected maps of shape \(1, 48\)"):
        flat.batch(KEY, 1)
    nothing = FunctionSimulator(
        lambda p, key: np.full((1, 48), np.nan), prior, 2, Stokes.I, traced=False
    )
    with pytest.raises(ValueError, match="function: expected finite maps"):
        nothing.batch(KEY, 1)
    with pytest.raises(ValueError, match="expected level 0 to 1, got 1 sets outside"):
        flat.simulate(jnp.array([[2.0]]), KEY)
    with pytest.raises(ValueError, match="noise: expected 0 or more"):
        t1(noise=-1.0)
    with pytest.raises(ValueError, match="fsky: expected more than 0"):
        t2(0.0)
    with pytest.raises(ValueError, match="protocol: expected PHYSICAL"):
        GaussianSky(TemperaturePeak(5), 2, protocol=Protocol.AS_PUBLISHED)
    with pytest.raises(ValueError, match="grid: expected cells of nside 4"):
        GaussianSky(TemperaturePeak(5), 4, region=Shared(Grid(8))).batch(KEY, 1)
