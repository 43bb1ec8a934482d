"""Weights of the sphere at each scale: masks, and the margins that wavelets need around them."""

from __future__ import annotations

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from skysift.harmonic import multipoles
from skysift.scattering.domain import Sphere
from skysift.scattering.plane.weights import LEAKAGE
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.gauss_legendre import GaussLegendre


class SphereWeights(eqx.Module):
    """Weights of places on the sphere, region by region.

    Args:
        cells: `(region, cell)` as given, HEALPix RING, zero on masked cells.
        fields: weights `(region, cell)` of the field itself on the grid of its band limit, adding
            to 1 in each region.
        scales: the same of the grid of each scale.
        moduli: the same of moduli seen in the band of a scale: those of the places that are a
            margin away also from where the coefficients of the scale do not count.
        lmax: band limit of the field.
    """

    cells: Float[Array, "region cell"]
    fields: Float[Array, "region cell"]
    scales: tuple[Float[Array, "region cell"], ...]
    moduli: tuple[Float[Array, "region cell"], ...]
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
    bank: SphereBank, domain: Sphere, cells: Float[np.ndarray, "region cell"]
) -> SphereWeights:
    """Weights at each scale: those of the cells, less where a wavelet sees masked cells.

    Args:
        bank: wavelets.
        domain: of the maps.
        cells: `(region, cell)`, 0 and more, HEALPix RING; 0 on masked cells.

    Raises:
        ValueError: for weights that are negative, not finite or of another shape, and when no cell
            is far enough from the masked ones at a scale.
    """
    cells = np.asarray(cells, dtype=float)
    if cells.shape[1:] != domain.cell_shape or not len(cells):
        npix = domain.cell_shape[0]
        raise ValueError(
            f"weights: expected shape ({npix},) or (regions, {npix}), got {cells.shape}. "
            "Give one weight for each cell, in RING order."
        )
    if not np.all(np.isfinite(cells)) or cells.min() < 0.0:
        raise ValueError(
            "weights: expected finite numbers of 0 or more, got others. Set masked cells to 0."
        )
    scales, moduli = [], []
    for scale in range(bank.scales):
        window, grid = bank.window(scale), bank.grid(scale)
        weights = margin_weights(domain, cells, window, grid, scale)
        scales.append(jnp.asarray(weights))
        moduli.append(jnp.asarray(_moduli_weights(weights, window, grid, scale)))
    fields = nearest_weights(domain, cells, GaussLegendre(domain.lmax))
    return SphereWeights(
        jnp.asarray(cells), jnp.asarray(fields), tuple(scales), tuple(moduli), domain.lmax
    )


def margin_weights(
    domain: Sphere,
    cells: Float[np.ndarray, "region cell"],
    window: Float[np.ndarray, " ell"],
    grid: GaussLegendre,
    scale: int,
) -> Float[np.ndarray, "region place"]:
    """Weights on a grid, adding to 1: those of the cells, less where a window sees masked cells.

    Raises:
        ValueError: when no cell is far enough from the masked ones.
    """
    masked = ~np.any(cells > 0.0, axis=0)
    alm = domain.sht.analysis(masked.astype(float)) * _energy(window)[multipoles(domain.lmax)[0]]
    seen = hp.alm2map(alm, domain.nside, lmax=domain.lmax)
    margin = np.clip(1.0 - np.maximum(seen, masked) / LEAKAGE, 0.0, 1.0)
    theta, phi = grid.directions()
    weights = np.stack(
        [np.clip(hp.get_interp_val(one * margin, theta, phi), 0.0, None) for one in cells]
    )
    return _normalised(weights * grid.weights, window, scale)


def _moduli_weights(
    weights: Float[np.ndarray, "region place"],
    window: Float[np.ndarray, " ell"],
    grid: GaussLegendre,
    scale: int,
) -> Float[np.ndarray, "region place"]:
    """Weights less where a window sees places at which no coefficient counts."""
    unknown = ~np.any(weights > 0.0, axis=0)
    alm = np.asarray(grid.analysis(jnp.asarray(unknown[None], float), (0,)))[0]
    ell, energy = multipoles(grid.lmax)[0], _energy(window)
    kernel = np.where(ell < energy.size, energy[np.minimum(ell, energy.size - 1)], 0.0)
    seen = np.asarray(grid.synthesis(jnp.asarray(alm * kernel), (0,)))[0]
    margin = np.clip(1.0 - seen / LEAKAGE, 0.0, 1.0)
    return _normalised(weights * margin, window, scale)


def _normalised(
    weights: Float[np.ndarray, "region place"], window: Float[np.ndarray, " ell"], scale: int
) -> Float[np.ndarray, "region place"]:
    """Weights that add to 1 in each region, which they cannot where there are none."""
    total = weights.sum(axis=-1, keepdims=True)
    for region in np.flatnonzero(~(total[:, 0] > 0.0)):
        fewer = f"scales={scale} or fewer, or " if scale else ""
        raise ValueError(
            f"weights: expected cells away from the mask at every scale, got none in region "
            f"{region} at scale {scale} (around l = {np.argmax(window)}). Choose {fewer}a larger "
            "region."
        )
    return weights / total


def nearest_weights(
    domain: Sphere, cells: Float[np.ndarray, "region cell"], grid: GaussLegendre
) -> Float[np.ndarray, "region place"]:
    """Weights on a grid, adding to 1: those of the cells that its places are in."""
    theta, phi = grid.directions()
    nearest = cells[:, hp.ang2pix(domain.nside, theta, phi)] * grid.weights
    return nearest / nearest.sum(axis=-1, keepdims=True)


def _energy(window: Float[np.ndarray, " ell"]) -> Float[np.ndarray, " ell"]:
    """Harmonic window of a squared wavelet, averaged over directions, 1 at l = 0."""
    lmax = window.size - 1
    nodes, quadrature = np.polynomial.legendre.leggauss(2 * lmax + 1)
    ell = np.arange(lmax + 1)
    # Averaged over directions, the square of the wavelet is that of its spin parts; the part of
    # spin 0 has the same width as all of them together to the precision that a margin needs.
    profile = np.polynomial.legendre.legval(nodes, (2 * ell + 1) * window)
    energy = profile**2 * quadrature
    squared = np.polynomial.legendre.legvander(nodes, lmax).T @ energy
    return squared / squared[0]
