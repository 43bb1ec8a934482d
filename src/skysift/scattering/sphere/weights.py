"""Weights of the sphere at each scale: masks, and the margins that wavelets need around them."""

from __future__ import annotations

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from skysift.harmonic import multipoles
from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.weights import checked_weights, margin, normalised


class SphereWeights(eqx.Module):
    """Weights of places on the sphere, region by region.

    A wavelet near a mask has lost a part of its power, and so has the modulus that is seen in the
    band of a coarser scale. The margins keep the parts small, and averages are divided by what is
    left of a field that is white in the band.

    Args:
        cells: `(region, cell)` as given, HEALPix RING, zero on masked cells.
        fields: weights `(region, cell)` of the field itself on the grid of its band limit, adding
            to 1 in each region.
        scales: the same of the grid of each scale.
        moduli: of each angular harmonic, `(harmonic, region, cell)`, the weights of moduli seen in
            the band of a scale: those of the places that are a margin away also from where the
            coefficients of the scale do not count. The higher the harmonic, the wider.
        left: of each scale, the part of the power of its wavelets that is left, `(region,)`.
        left_moduli: of each scale, the part that is left of the harmonics of the moduli of each
            scale up to it, `(fine, harmonic, region)`.
        lmax: band limit of the field.
    """

    cells: Float[Array, "region cell"]
    fields: Float[Array, "region cell"]
    scales: tuple[Float[Array, "region cell"], ...]
    moduli: tuple[Float[Array, "harmonic region cell"], ...]
    left: tuple[Float[Array, " region"], ...]
    left_moduli: tuple[Float[Array, "fine harmonic region"], ...]
    lmax: int = eqx.field(static=True)

    def any_region(self, scale: int) -> Bool[Array, " cell"]:
        """Which places of the grid of a scale count in any region."""
        return jnp.any(self.scales[scale] > 0.0, axis=0)

    def values(self, fields: Complex[Array, "... alm"]) -> Float[Array, "... cell"]:
        """Values of fields on the grid of their band limit."""
        return GaussLegendre(self.lmax).synthesis(fields, (0,))[..., 0, :]

    def average(self, values: Float[Array, "field ... cell"]) -> Float[Array, "field region ..."]:
        """Averages over the sphere of values on the grid of the band limit."""
        return jnp.einsum("b...p,rp->br...", values, self.fields.astype(values.dtype))


def sphere_weights(
    bank: SphereBank, domain: Sphere, cells: Float[np.ndarray, "..."]
) -> SphereWeights:
    """Weights at each scale: those of the cells, less where a wavelet sees masked cells.

    Args:
        bank: wavelets.
        domain: of the maps.
        cells: `(cell,)` or `(region, cell)`, 0 and more, HEALPix RING; 0 on masked cells.

    Raises:
        ValueError: for weights that are negative, not finite or of another shape, and when no cell
            is far enough from the masked ones at a scale.
    """
    cells = checked_weights(cells, domain.cell_shape)
    masked = domain.sht.analysis(jnp.asarray(~np.any(cells > 0.0, axis=0), float))
    scales, moduli, left, left_moduli = [], [], [], []
    unknown: list[tuple[Array, int]] = []
    for scale in range(bank.scales):
        grid, energy = bank.grid(scale), _wavelet_energy(bank, scale)
        weights = margin_weights(domain, cells, energy, grid, scale)
        scales.append(weights)
        left.append(1.0 - weights @ _seen(masked, domain.lmax, energy, grid))
        # Where no coefficient counts, there is no modulus either for the wavelets of this scale.
        none = jnp.asarray(~np.any(weights > 0.0, axis=0), float)
        unknown.append((grid.analysis(none[None], (0,))[0], grid.lmax))
        energies = [kernel_energy(bank.window(scale), spin) for spin in bank.even]
        seen = np.array([[_seen(*one, energy, grid) for energy in energies] for one in unknown])
        # A product of two harmonics has the margin of the wider.
        nearest = np.maximum.accumulate(seen[-1], axis=0)
        width = _width(bank.lmax, scale)
        kept = np.stack([normalised(weights * margin(one), scale, width) for one in nearest])
        moduli.append(kept)
        left_moduli.append(1.0 - np.einsum("fqp,qrp->fqr", seen, kept))
    return SphereWeights(
        jnp.asarray(cells),
        jnp.asarray(nearest_weights(domain, cells, GaussLegendre(domain.lmax))),
        *(tuple(map(jnp.asarray, one)) for one in (scales, moduli, left, left_moduli)),
        lmax=domain.lmax,
    )


def margin_weights(
    domain: Sphere,
    cells: Float[np.ndarray, "region cell"],
    energy: Float[np.ndarray, " ell"],
    grid: GaussLegendre,
    scale: int,
) -> Float[np.ndarray, "region place"]:
    """Weights on a grid, adding to 1: those of the cells, less where a kernel sees masked cells.

    Args:
        domain: of the cells.
        cells: weights as given.
        energy: harmonic window of the squared kernel (`kernel_energy`).
        grid: of the places.
        scale: of the kernel.

    Raises:
        ValueError: when no cell is far enough from the masked ones.
    """
    masked = ~np.any(cells > 0.0, axis=0)
    window = _padded(energy, domain.lmax)[multipoles(domain.lmax)[0]]
    alm = domain.sht.analysis(masked.astype(float)) * window
    seen = hp.alm2map(np.asarray(alm), domain.nside, lmax=domain.lmax)
    kept = cells * margin(np.maximum(seen, masked))
    theta, phi = grid.directions()
    weights = np.stack([np.clip(hp.get_interp_val(one, theta, phi), 0.0, None) for one in kept])
    return normalised(weights * grid.weights, scale, _width(domain.lmax, scale))


def nearest_weights(
    domain: Sphere, cells: Float[np.ndarray, "region cell"], grid: GaussLegendre
) -> Float[np.ndarray, "region place"]:
    """Weights on a grid, adding to 1: those of the cells that its places are in."""
    theta, phi = grid.directions()
    nearest = cells[:, hp.ang2pix(domain.nside, theta, phi)] * grid.weights
    return nearest / nearest.sum(axis=-1, keepdims=True)


def kernel_energy(window: Float[np.ndarray, " ell"], spin: int) -> Float[np.ndarray, " ell"]:
    """Harmonic window of the square of a kernel between a scalar and a spin field, 1 at l = 0.

    Args:
        window: of the kernel.
        spin: of the field.
    """
    lmax = window.size - 1
    grid = GaussLegendre(max(2 * lmax, spin))
    alm = _point(lmax) * window[multipoles(lmax)[0]]
    fields = grid.synthesis(truncated(jnp.asarray(alm), lmax, grid.lmax), (spin,))
    return _zonal(jnp.sum(fields**2, axis=0), grid)


def _wavelet_energy(bank: SphereBank, scale: int) -> Float[np.ndarray, " ell"]:
    """The same of a directional wavelet, averaged over its directions."""
    grid = GaussLegendre(max(2 * bank.band(scale), bank.order))
    real, imaginary = bank.coefficients(jnp.asarray(_point(bank.lmax)), scale, grid)
    return _zonal(jnp.mean(real**2 + imaginary**2, axis=0), grid)


def _point(lmax: int) -> Complex[np.ndarray, " alm"]:
    """Coefficients of a point at the pole."""
    ell, m = multipoles(lmax)
    return np.where(m == 0, np.sqrt(2.0 * ell + 1.0), 0.0).astype(complex)


def _zonal(values: Float[Array, " place"], grid: GaussLegendre) -> Float[np.ndarray, " ell"]:
    """Harmonic window of what is the same at all longitudes, 1 at l = 0."""
    alm = np.real(np.asarray(grid.analysis(values[None], (0,)))[0, : grid.lmax + 1])
    window = alm / np.sqrt(2.0 * np.arange(grid.lmax + 1.0) + 1.0)
    return window / window[0]


def _seen(
    masked: Complex[Array, " alm"],
    lmax: int,
    energy: Float[np.ndarray, " ell"],
    grid: GaussLegendre,
) -> Float[np.ndarray, " place"]:
    """Part of the power of a kernel, at each place of a grid, that is on masked cells."""
    alm = truncated(masked * _padded(energy, lmax)[multipoles(lmax)[0]], lmax, grid.lmax)
    return np.clip(grid.synthesis(alm, (0,))[0], 0.0, 1.0)


def _width(lmax: int, scale: int) -> str:
    return f"around l = {lmax / 2**scale:.3g}"


def _padded(window: Float[np.ndarray, " ell"], lmax: int) -> Float[np.ndarray, " ell"]:
    """A window up to some multipole, zero above its own."""
    return np.pad(window, (0, max(lmax + 1 - window.size, 0)))[: lmax + 1]
