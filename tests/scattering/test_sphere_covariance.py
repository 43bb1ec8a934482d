import healpy as hp
import numpy as np
import pytest

from skysift.scattering import Covariance

from ..oracles.scattering import Legendre, sphere_covariance, sphere_normalised, unpacked
from .checks import against_finite_difference, against_oracle
from .fields import red_alm, red_sky

NSIDE, LMAX, SCALES = 8, 10, 3
ORDERS = ("S1", "S2", "S3", "S4")


@pytest.fixture(scope="module")
def handed():
    return Covariance.sphere(NSIDE, SCALES, lmax=LMAX, handed=True)


@pytest.fixture(scope="module")
def statistic():
    return Covariance.sphere(NSIDE, SCALES, lmax=LMAX)


@pytest.fixture(scope="module")
def sky():
    return red_sky(NSIDE, LMAX, seed=3)


@pytest.fixture(scope="module")
def phi(handed, sky):
    return handed(sky)


@pytest.fixture(scope="module")
def found(handed, sky):
    alm = unpacked(coefficients(sky), LMAX)
    grids = [Legendre(handed.bank.grid(scale).lmax) for scale in range(SCALES)]
    return sphere_normalised(sphere_covariance([alm], LMAX, SCALES, grids))


def coefficients(sky):
    """Of a map, whose mean is no matter for the quadrature."""
    alm = hp.map2alm(sky - sky.mean(), lmax=LMAX, iter=3)
    alm[0] += np.sqrt(4.0 * np.pi) * sky.mean()
    return alm


def changes_sign(table):
    """Whether a coefficient is of an odd number of curls."""
    odd = np.zeros(table.size, dtype=int)
    for axis in table.axes:
        if axis.startswith("part"):
            odd += table.column(axis)
    return odd % 2 == 1


def test_covariance_oracle_handed(phi, found):
    against_oracle(phi, found, ORDERS)


def test_covariance_oracle(statistic, sky, found):
    even = statistic(sky)
    assert even.n_coefficients < statistic.layout.n_coefficients + 1
    assert not any(changes_sign(table).any() for table in even.layout.tables)
    against_oracle(even, found, ORDERS)


def test_moments_of_the_field(handed, phi, sky):
    alm = coefficients(sky)
    cl, ell = hp.alm2cl(alm), np.arange(LMAX + 1)
    power = (2 * ell + 1) * cl / (4.0 * np.pi)
    np.testing.assert_allclose(phi["mean"], [alm[0].real / np.sqrt(4.0 * np.pi)], rtol=1e-12)
    np.testing.assert_allclose(phi["variance"], [power[1:].sum()], rtol=1e-12)
    windows = [handed.bank.window(scale) ** 2 for scale in range(SCALES)]
    np.testing.assert_allclose(phi["S2"], [np.sum(w * power) for w in windows], rtol=1e-12)
    rest = [np.sum(window * power) for window in handed.bank.rest()]
    np.testing.assert_allclose(phi["rest"], rest, rtol=1e-11, atol=1e-16)
    # Nothing of the variance is lost: the windows are a partition.
    np.testing.assert_allclose(np.sum(phi["S2"]) + np.sum(phi["rest"]), phi["variance"], rtol=1e-11)


@pytest.mark.parametrize("angles", [(40.0, 0.0, 0.0), (10.0, 70.0, -30.0)])
def test_rotation(handed, sky, phi, angles):
    alm = coefficients(sky)
    turned = hp.Rotator(rot=angles).rotate_alm(alm)
    again = handed(hp.alm2map(turned, NSIDE, lmax=LMAX))
    # Grids do not turn with the sky, and a modulus has no band limit: exact but for aliasing.
    np.testing.assert_allclose(again["S2"], phi["S2"], rtol=1e-5)
    for order in ("S1", "S3", "S4"):
        np.testing.assert_allclose(again[order], phi[order], 0.0, 1.5e-3, err_msg=order)


def test_mirror_changes_the_sign_of_handed_coefficients(handed, sky, phi):
    theta, longitude = hp.pix2ang(NSIDE, np.arange(sky.size))
    mirrored = handed(sky[hp.ang2pix(NSIDE, np.pi - theta, longitude)])
    for order in ("S1", "S2", "S3", "S4"):
        table = phi.layout[order]
        sign = np.where(changes_sign(table), -1.0, 1.0)
        expected = sign * np.asarray(phi[order])
        np.testing.assert_allclose(mirrored[order], expected, 0.0, 1e-12, err_msg=order)
    odd = changes_sign(phi.layout["S4"])
    assert odd.any()
    assert np.abs(np.asarray(phi["S4"])[odd]).max() > 1e-3


def test_amplitude_and_offset(handed, sky, phi):
    scaled = handed(-1e6 * sky + 3e6)
    np.testing.assert_allclose(scaled["mean"], -1e6 * phi["mean"] + 3e6, rtol=1e-9)
    np.testing.assert_allclose(scaled["S2"], 1e12 * phi["S2"], rtol=1e-9)
    for order, sign in (("S1", 1.0), ("S3", -1.0), ("S4", 1.0)):
        np.testing.assert_allclose(scaled[order], sign * phi[order], rtol=0.0, atol=1e-9)


def test_gradient_finite_difference(sky):
    step = hp.alm2map(red_alm(LMAX, 6), NSIDE, lmax=LMAX)
    small = Covariance.sphere(NSIDE, 2, lmax=LMAX, handed=True)
    against_finite_difference(small, sky, step, 1e-5, 1e-6)


def test_batch_is_a_loop_and_single_precision(statistic, sky):
    other = red_sky(NSIDE, LMAX, seed=4)
    phi = statistic(np.stack([sky, other]).astype(np.float32))
    assert phi.batch == (2,)
    assert all(one.dtype == np.float32 for one in phi.values)
    for number, one in enumerate((sky, other)):
        double = statistic(one)
        for order in ("S1", "S2", "S3", "S4"):
            margin = 1e-5 * np.abs(double[order]).max()
            np.testing.assert_allclose(phi[order][number], double[order], 0.0, margin)


def test_equal_weights_are_no_weights(sky):
    weighted = Covariance.sphere(NSIDE, 2, lmax=LMAX, weights=np.full(768, 2.0))
    plain = Covariance.sphere(NSIDE, 2, lmax=LMAX)(sky)
    for table, a, b in zip(plain.layout.tables, weighted(sky).values, plain.values, strict=True):
        # Products of the band of a scale are averaged on a grid that is exact for them.
        np.testing.assert_allclose(
            a, b, 0.0, 1e-11 * np.abs(b).max() + 1e-14, err_msg=table.order.value
        )


def test_pseudoscalar_channel():
    x = np.stack([red_sky(NSIDE, LMAX, 1), hp.alm2map(red_alm(LMAX, 2), NSIDE, lmax=LMAX)])
    st = Covariance.sphere(NSIDE, 2, lmax=LMAX, channels=2, pseudoscalar=(False, True))
    phi = st(x)
    table = phi.layout["S2"]
    # A product of a scalar and a pseudoscalar vanishes without handedness and is left out.
    assert np.all(table.column("channel") == table.column("channel2"))
    theta, longitude = hp.pix2ang(NSIDE, np.arange(768))
    mirrored = x[:, hp.ang2pix(NSIDE, np.pi - theta, longitude)]
    mirrored[1] *= -1.0
    again = st(mirrored)
    for order in ("variance", "rest", "S1", "S2", "S3", "S4"):
        np.testing.assert_allclose(again[order], phi[order], rtol=1e-9, atol=1e-12)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="pseudoscalar: expected True or False for each of 2"):
        Covariance.sphere(NSIDE, 2, channels=2, pseudoscalar=(True,))
    with pytest.raises(ValueError, match="channels: expected 1 or more, got 0"):
        Covariance.plane((16, 16), 2, channels=0)
