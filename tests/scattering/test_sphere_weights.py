import healpy as hp
import numpy as np
import pytest
import scipy.special

from skysift.scattering import Covariance
from skysift.scattering.sphere.weights import kernel_energy

from .fields import red_alm, red_sky, without_equator

NSIDE, LMAX = 16, 24


@pytest.fixture(scope="module")
def plane_cut():
    return without_equator(NSIDE)


@pytest.fixture(scope="module")
def masked(plane_cut):
    return Covariance.sphere(NSIDE, 2, lmax=LMAX, weights=plane_cut)


def test_weights_keep_a_margin(masked, plane_cut):
    weights = masked.weights
    for scale, (first, moduli) in enumerate(zip(weights.scales, weights.moduli, strict=True)):
        grid = masked.bank.grid(scale)
        theta, phi = grid.directions()
        cut = plane_cut[hp.ang2pix(NSIDE, theta, phi)] == 0.0
        assert np.all(np.asarray(first)[0][cut] < 1e-3 * np.max(first))
        areas = [plane_cut.mean()]
        for one in (first, moduli):
            np.testing.assert_allclose(np.sum(one), 1.0, rtol=1e-12)
            areas.append(1.0 / np.sum(np.asarray(one)[0] ** 2 / grid.weights))
        assert areas[2] < areas[1] < areas[0]


@pytest.mark.parametrize("spin", [0, 2])
def test_energy_of_a_kernel_is_what_it_sees_of_a_cap(spin):
    window = np.sin(np.pi * np.arange(9) / 8.0)
    energy = kernel_energy(window, spin)
    # By quadrature of the kernel itself, the sum of (2 l + 1) window d^l_{0 spin}.
    nodes, quadrature = np.polynomial.legendre.leggauss(40)
    kernel = np.zeros(40)
    for ell in range(spin, 9):
        share = np.sqrt(scipy.special.poch(ell - spin + 1.0, 2 * spin))
        wigner = scipy.special.assoc_legendre_p(ell, spin, nodes)[0] / share
        kernel += (2.0 * ell + 1.0) * window[ell] * wigner
    squared = kernel**2 * quadrature
    expected = np.polynomial.legendre.legvander(nodes, energy.size - 1).T @ squared
    np.testing.assert_allclose(energy, expected / squared.sum(), atol=1e-12)


def test_masked_gaussian_field_is_unbiased(masked):
    x = hp.alm2map(list(red_alm(LMAX, 1, batch=(120,))), NSIDE, lmax=LMAX, pol=False)
    full = Covariance.sphere(NSIDE, 2, lmax=LMAX)
    reference = full(np.asarray(x)).mean()
    everywhere = full(np.asarray(x), reference=reference)
    some = masked(np.asarray(x), reference=reference)
    # The variance is that about the mean of the kept cells, which are part of the sky only.
    biases = {"mean": 0.0, "variance": 0.1, "S1": 0.0, "S2": 0.0, "S3": 0.0, "S4": 0.0}
    for order, bias in biases.items():
        change = np.asarray(some[order]) - np.asarray(everywhere[order])
        error = change.std(axis=0, ddof=1) / np.sqrt(120.0)
        allowed = 4.0 * error + bias * np.abs(np.asarray(everywhere[order]).mean(axis=0))
        assert np.all(np.abs(change.mean(axis=0)) < allowed), order
    # Products of a modulus with itself, whose bias is of one sign, all together.
    table = some.layout["S4"]
    own = np.ones(table.size, dtype=bool)
    for axis in ("scale", "harmonic", "part"):
        own &= table.column(f"{axis}2") == table.column(f"{axis}3")
    ratio = np.asarray(some["S4"])[:, own] / np.asarray(everywhere["S4"])[:, own].mean(axis=0)
    offset = np.mean(ratio, axis=1) - 1.0
    assert abs(offset.mean()) < 3.0 * offset.std(ddof=1) / np.sqrt(120.0)


def test_missing_cells_are_masked_and_counted(masked, plane_cut):
    x = red_sky(NSIDE, LMAX)
    phi = Covariance.sphere(NSIDE, 2, lmax=LMAX)(np.where(plane_cut > 0.0, x, hp.UNSEEN))
    assert phi.masked == int(np.sum(plane_cut == 0.0))
    np.testing.assert_allclose(
        phi.vector, masked(np.where(plane_cut > 0.0, x, 1e3)).vector, rtol=1e-10, atol=1e-13
    )


def test_regions(plane_cut):
    theta, _ = hp.pix2ang(NSIDE, np.arange(plane_cut.size))
    north, south = plane_cut * (theta < np.pi / 2), plane_cut * (theta > np.pi / 2)
    x = red_sky(NSIDE, LMAX)
    both = Covariance.sphere(NSIDE, 2, lmax=LMAX, weights=np.stack([north, south]))
    phi = both(x)
    for region, weights in enumerate((north, south)):
        mean = np.sum(weights * x) / weights.sum()
        np.testing.assert_allclose(phi["mean"][region], mean, rtol=0.02)
    turned = both(x[hp.ang2pix(NSIDE, np.pi - theta, hp.pix2ang(NSIDE, np.arange(x.size))[1])])
    half = phi["S1"].size // 2
    np.testing.assert_allclose(turned["S1"][:half], phi["S1"][half:], rtol=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(12), "weights: expected shape"),
        (-np.ones(3072), "weights: expected finite numbers of 0 or more"),
        (np.zeros(3072), "none in region 0"),
    ],
)
def test_weights_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Covariance.sphere(NSIDE, 2, lmax=LMAX, weights=weights)


def test_small_region_is_too_small_for_large_scales():
    small = np.zeros(3072)
    small[hp.query_disc(NSIDE, (0.0, 0.0, 1.0), np.radians(25.0))] = 1.0
    with pytest.raises(ValueError, match="none in region 0 at scale [0-3]"):
        Covariance.sphere(NSIDE, 4, lmax=LMAX, weights=small)
