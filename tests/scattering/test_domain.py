import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering.companions import Pdf, PowerSpectrum
from skysift.scattering.domain import Flat, Sphere

from .fields import red_alm


@pytest.fixture(params=["line", "plane", "space", "sphere"])
def domain(request):
    return {
        "line": Flat(shape=(15,), channels=2),
        "plane": Flat(shape=(8, 9), channels=2),
        "space": Flat(shape=(4, 6, 5), channels=2),
        "sphere": Sphere(nside=4, lmax=8, channels=2, iterations=3),
    }[request.param]


def white(domain, count, dtype=float):
    return jax.random.normal(jax.random.key(0), (count, domain.channels, domain.size), dtype)


def test_no_channels_are_refused():
    for domain in (
        lambda: Flat(shape=(8, 8), channels=0),
        lambda: Sphere(nside=4, lmax=8, channels=-1, iterations=3),
        lambda: Pdf.sphere(4, channels=0),
        lambda: PowerSpectrum.plane((8, 8), 2, channels=0),
    ):
        with pytest.raises(ValueError, match="channels: expected 1 or more, got .*Say channels=1"):
            domain()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unknowns_and_fields_are_the_same(domain, dtype):
    unknowns = white(domain, 3, dtype)
    back = domain.unknowns(domain.of_unknowns(unknowns))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, unknowns, rtol=1e-6)


def test_maps_of_fields_and_back(domain):
    fields = domain.of_unknowns(white(domain, 3))
    maps = domain.seen(fields)
    assert maps.shape == (3, *domain.map_shape)
    np.testing.assert_allclose(domain.fields(maps), fields, rtol=0.0, atol=2e-3)
    domain.check(maps)
    with pytest.raises(ValueError, match=r"maps: expected shape \(\.\.\., 2, "):
        domain.check(maps[..., 1:])


def test_shifted(domain):
    fields = domain.of_unknowns(white(domain, 3))
    moved = domain.seen(domain.shifted(fields, jnp.array([2.0, -1.0])))
    change = np.asarray(moved - domain.seen(fields)).reshape(3, 2, -1)
    np.testing.assert_allclose(change[:, 0], 2.0, rtol=1e-12)
    np.testing.assert_allclose(change[:, 1], -1.0, rtol=1e-12)


def test_filtered_modes_have_the_power_asked_for():
    domain = Flat(shape=(6, 7), channels=1)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(7), np.fft.fftfreq(6)))
    amplitude = np.exp(-3.0 * k)[None]
    fields = domain.filtered(domain.of_unknowns(white(domain, 4000)), jnp.asarray(amplitude))
    power = np.mean(np.abs(np.fft.fft2(fields, norm="forward")) ** 2, axis=(0, 1))
    np.testing.assert_allclose(power, amplitude[0] ** 2, rtol=0.12)


def test_white_unknowns_have_a_flat_spectrum():
    domain = Sphere(nside=4, lmax=8, channels=1, iterations=3)
    alm = np.asarray(domain.of_unknowns(white(domain, 3000)))[:, 0]
    cl = np.mean([hp.alm2cl(one) for one in alm], axis=0)
    np.testing.assert_allclose(cl, 1.0, rtol=0.12)


def test_sphere_fields_are_coefficients():
    domain = Sphere(nside=8, lmax=12, channels=1, iterations=3)
    maps = hp.alm2map(red_alm(12), 8, lmax=12)
    expected = hp.map2alm(maps - maps.mean(), lmax=12, iter=3)
    expected[0] += np.sqrt(4.0 * np.pi) * maps.mean()
    np.testing.assert_allclose(domain.fields(jnp.asarray(maps))[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "name"), [({"nside": 6}, "nside"), ({"lmax": 3}, "lmax"), ({"lmax": 12}, "lmax")]
)
def test_sphere_refuses(changes, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Sphere(**{"nside": 4, "lmax": 8, "channels": 1, "iterations": 3, **changes})
