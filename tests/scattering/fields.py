"""Example fields for tests: red noise, Gaussian or not, on grids and on the sphere."""

import healpy as hp
import numpy as np


def red_noise(shape, seed=0, slope=1.0, skewed=True, batch=()):
    """Fields `(*batch, *shape)` of unit variance with power falling as k^(-2 slope)."""
    rng = np.random.default_rng(seed)
    axes = tuple(range(-len(shape), 0))
    mesh = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    amplitude = (np.sqrt(sum(k**2 for k in mesh)) + 0.1) ** -slope
    amplitude.flat[0] = 0.0
    noise = np.fft.fftn(rng.standard_normal((*batch, *shape)), axes=axes)
    field = np.real(np.fft.ifftn(noise * amplitude, axes=axes))
    field /= np.sqrt(np.sum(amplitude**2) / np.prod(shape))
    return np.exp(0.5 * field) if skewed else field


def red_alm(lmax, seed=0, slope=1.0, batch=()):
    """Coefficients `(*batch, alm)` of Gaussian fields with C_l falling as (l + 2)^(-2 slope)."""
    rng = np.random.default_rng(seed)
    ell, m = hp.Alm.getlm(lmax)
    real, imaginary = rng.standard_normal((2, *batch, ell.size)) / np.sqrt(2.0)
    alm = np.where(m == 0, np.sqrt(2.0) * real, real + 1j * imaginary)
    return alm * (ell > 0) * (ell + 2.0) ** -slope


def red_sky(nside, lmax, seed=0, slope=1.0):
    """A map `(cell,)`: the exponential of red noise of half its variance."""
    field = hp.alm2map(red_alm(lmax, seed, slope), nside, lmax=lmax)
    return np.exp(field / field.std())


def without_equator(nside):
    """Weights `(cell,)` of the sky without a band of 20 degrees on either side of the equator."""
    theta, _ = hp.pix2ang(nside, np.arange(12 * nside**2))
    return (np.abs(np.degrees(theta) - 90.0) > 20.0).astype(float)


def peer_plane():
    """The field of 64 x 64 cells that other packages computed statistics of."""
    wavenumbers = 2.0 * np.pi * np.fft.fftfreq(64)
    k2 = wavenumbers[:, None] ** 2 + wavenumbers**2
    noise = np.random.default_rng(0).standard_normal((64, 64))
    field = np.real(np.fft.ifft2(np.fft.fft2(noise) * np.exp(-0.5 * k2)))
    return np.exp(0.5 * field / field.std())
