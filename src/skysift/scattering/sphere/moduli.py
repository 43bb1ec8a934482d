"""What moduli of wavelet coefficients of Gaussian fields look like on the sphere."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from skysift.harmonic import multipoles
from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre

_MODES = 300_000
"""Number of modes of a scale, over all draws, from which its moduli are told to half a
percent."""

_MOST = 1000
"""Number of draws at most."""

_BATCHES = 8
"""In how many parts they are transformed."""

_SLOPE = -2.5
"""Of the spectra, as of dust: -2.42 of E and -2.54 of B (Planck 2018 XI, A&A 641, A11)."""


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
    """Moduli of the wavelet coefficients of Gaussian fields as red as dust.

    Args:
        spectra: of the angular harmonics of the moduli of each scale,
            `(sign, scale, harmonic, harmonic, ell)`: gradients and curls added, and their
            difference.
        draws: of which they are the mean, for each scale.
        profiles: for the parts of the moduli of a scale in a band, their products on each ring of
            the grid of the scale, `(part, part, ring)`; by window, for each scale its own band and
            the next. The grids fold what moduli have above their band limits, not everywhere alike.
    """

    spectra: Float[np.ndarray, "sign scale harmonic harmonic ell"]
    draws: tuple[int, ...]
    profiles: dict[Window, tuple[Float[np.ndarray, "band part part ring"], ...]]


@functools.lru_cache(maxsize=8)
def gaussian_moduli(bank: SphereBank) -> GaussianModuli:
    """Moduli of Gaussian fields, of always the same draws."""
    finest, size = bank.grid(0), len(bank.even)
    above = GaussLegendre(2 * finest.lmax)
    spectra = np.zeros((2, bank.scales, size, size, above.lmax + 1))
    profiles = {window: [] for window in Window}
    draws = tuple(number_of_draws(bank.band(scale)) for scale in range(bank.scales))
    for scale, count in enumerate(draws):
        for one in profiles.values():
            bands, rings = min(bank.scales - scale, 2), bank.grid(scale).rings[0]
            one.append(np.zeros((bands, *2 * (len(bank.parts),), rings)))
        rng, batches = np.random.default_rng(scale), min(_BATCHES, count)
        together = -(-count // batches)
        for number in range(batches):
            alm = jnp.asarray(red(rng, together, bank.band(scale)))
            parts = _parts(bank, alm, scale, bank.grid(scale))
            spectra[:, scale, ..., : bank.grid(scale).lmax + 1] += _spectra(bank, parts)
            _add_profiles(bank, parts, scale, profiles)
            if scale == 0 and number == 0:
                # Weights bring down what lies above the band limit of the grid, once: it is folded.
                beyond = slice(finest.lmax + 1, None)
                parts = _parts(bank, alm, 0, above)
                spectra[:, 0, ..., beyond] = batches * _spectra(bank, parts)[..., beyond]
        spectra[:, scale] /= batches * together
    return GaussianModuli(spectra, draws, {window: tuple(one) for window, one in profiles.items()})


def number_of_draws(band: int) -> int:
    """How many Gaussian fields tell what holds on average, of some largest multipole."""
    return min(max(_MODES // (band + 1) ** 2, 2), _MOST)


def red(rng: np.random.Generator, count: int, lmax: int) -> Complex[np.ndarray, "draw alm"]:
    """Coefficients of Gaussian fields as red as dust, without a mean."""
    ell, m = multipoles(lmax)
    real, imaginary = rng.standard_normal((2, count, ell.size))
    white = np.where(m == 0, np.sqrt(2.0) * real, real + 1j * imaginary)
    return np.where(ell > 0, white * np.maximum(ell, 1.0) ** (0.5 * _SLOPE), 0.0)


@eqx.filter_jit
def _parts(
    bank: SphereBank, alm: Complex[Array, "draw alm"], scale: int, grid: GaussLegendre
) -> Complex[Array, "draw part alm"]:
    """Parts of the moduli of fields up to the band of a scale."""
    alm = truncated(alm, bank.band(scale), bank.lmax)
    real, imaginary = bank.coefficients(alm, scale, grid)
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
    scale: int,
    profiles: dict[Window, list[Float[np.ndarray, "band part part ring"]]],
) -> None:
    """Add the products of the moduli of a scale on each ring."""
    grid, values = bank.grid(scale), np.asarray(parts)
    ell = ell_of(grid.lmax)
    for window, (*_, found) in profiles.items():
        for band in range(len(found)):
            power = window.of(bank, scale + band)[np.minimum(ell, bank.lmax)]
            kept = values * np.sqrt(power * (ell <= bank.band(scale + band)))
            seen = np.asarray(grid.synthesis(jnp.asarray(kept), (0,)))
            seen = seen.reshape(len(seen), len(bank.parts), *grid.rings)
            found[band] += np.einsum("dprc,dqrc->pqr", seen, seen, optimize=True)
