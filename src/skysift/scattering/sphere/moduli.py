"""What moduli of wavelet coefficients of Gaussian fields look like on the sphere."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from skysift.harmonic import multipoles
from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre

_MODES = 200_000
"""Number of modes, over all draws, from which the moduli are told to half a percent."""

_MOST = 200
"""Number of draws at most."""

_BATCHES = 8
"""In how many parts they are transformed."""


class Window(enum.IntEnum):
    """Windows of products in the band of a scale."""

    POWER = 0
    AMPLITUDE = 1
    WHOLE = 2

    def of(self, bank: SphereBank, scale: int) -> Float[np.ndarray, " ell"]:
        """The window by multipole: that of the scale, its square, or all but the monopole."""
        if self is Window.WHOLE:
            return (np.arange(bank.lmax + 1) > 0).astype(float)
        return bank.window(scale) ** (2 if self is Window.POWER else 1)


@dataclass(frozen=True, eq=False)
class GaussianModuli:
    """Moduli of the wavelet coefficients of Gaussian fields with the same power in each octave.

    Args:
        spectra: of the angular harmonics of the moduli of each scale,
            `(sign, scale, harmonic, harmonic, ell)`: gradients and curls added, and their
            difference.
        draws: of which they are the mean.
        profiles: for the parts of the moduli of the finest scale in a band, their products on each
            ring of the grid, `(part, part, ring)`; by window, for the two finest bands. The grid
            folds what these moduli have above its band limit, not everywhere alike.
    """

    spectra: Float[np.ndarray, "sign scale harmonic harmonic ell"]
    draws: int
    profiles: dict[Window, tuple[Float[np.ndarray, "part part ring"], ...]]


@functools.lru_cache(maxsize=8)
def gaussian_moduli(bank: SphereBank) -> GaussianModuli:
    """Moduli of Gaussian fields, of always the same draws."""
    finest, size = bank.grid(0), len(bank.even)
    above = GaussLegendre(2 * finest.lmax)
    spectra = np.zeros((2, bank.scales, size, size, above.lmax + 1))
    profiles = {
        window: np.zeros((min(bank.scales, 2), *2 * (len(bank.parts),), finest.rings[0]))
        for window in Window
    }
    wanted = min(max(_MODES // (bank.lmax + 1) ** 2, 2), _MOST)
    together = max(wanted // _BATCHES, 2)
    draws = wanted // together * together
    rng = np.random.default_rng(0)
    for number in range(draws // together):
        alm = _red(rng, together, bank.lmax)
        for scale in range(bank.scales):
            parts = _parts(bank, alm, scale, bank.grid(scale))
            spectra[:, scale, ..., : bank.grid(scale).lmax + 1] += _spectra(bank, parts)
            if scale == 0:
                _add_profiles(bank, parts, profiles)
        if number == 0:
            # Weights bring down what lies above the band limit of the grid, once: it is folded.
            beyond = slice(finest.lmax + 1, None)
            parts = _parts(bank, alm[:2], 0, above)
            spectra[:, 0, ..., beyond] = 0.5 * draws * _spectra(bank, parts)[..., beyond]
    return GaussianModuli(
        spectra / draws, draws, {window: tuple(one) for window, one in profiles.items()}
    )


def _red(rng: np.random.Generator, count: int, lmax: int) -> Complex[np.ndarray, "draw alm"]:
    """Coefficients of fields with C_l as l^-2."""
    ell, m = multipoles(lmax)
    real, imaginary = rng.standard_normal((2, count, ell.size))
    white = np.where(m == 0, np.sqrt(2.0) * real, real + 1j * imaginary)
    return np.where(ell > 0, white / np.maximum(ell, 1), 0.0)


def _parts(
    bank: SphereBank, alm: Complex[np.ndarray, "draw alm"], scale: int, grid: GaussLegendre
) -> Complex[Array, "draw part alm"]:
    real, imaginary = bank.coefficients(jnp.asarray(alm), scale, grid)
    envelope = jnp.hypot(real, imaginary)
    return bank.harmonic_parts(envelope - jnp.mean(envelope), scale, grid)


def _spectra(
    bank: SphereBank, parts: Complex[Array, "draw part alm"]
) -> Float[np.ndarray, "sign harmonic harmonic ell"]:
    """Sums over draws of the cross spectra of harmonics."""
    values = np.asarray(parts)
    size = len(bank.even)
    lmax = (int(np.sqrt(8 * values.shape[-1] + 1)) - 3) // 2
    ell, count = ell_of(lmax), multiplicity(lmax)
    found = np.zeros((2, size, size, lmax + 1))
    for one, (spin, part) in enumerate(bank.parts):
        for two, (spin2, part2) in enumerate(bank.parts):
            if part != part2:
                continue
            product = np.sum(np.real(values[:, one] * np.conj(values[:, two])), axis=0) * count
            power = np.bincount(ell, product) / (2.0 * np.arange(lmax + 1) + 1.0)
            at = bank.even.index(spin), bank.even.index(spin2)
            found[0][at] += power
            found[1][at] += -power if part else power
    return found


def _add_profiles(
    bank: SphereBank,
    parts: Complex[Array, "draw part alm"],
    profiles: dict[Window, Float[np.ndarray, "band part part ring"]],
) -> None:
    """Add the products of the finest moduli on each ring."""
    grid = bank.grid(0)
    for window, found in profiles.items():
        for scale in range(len(found)):
            lmax = bank.band(scale)
            amplitude = np.sqrt(window.of(bank, scale))[: lmax + 1][ell_of(lmax)]
            kept = truncated(parts, grid.lmax, lmax) * amplitude
            seen = np.asarray(grid.synthesis(truncated(kept, lmax, grid.lmax), (0,)))
            seen = seen.reshape(len(seen), len(bank.parts), *grid.rings)
            found[scale] += np.einsum("dprc,dqrc->pqr", seen, seen)
