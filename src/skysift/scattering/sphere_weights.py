"""Weights of the sphere at each scale: masks, and the margins that wavelets need around them."""

from __future__ import annotations

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from skysift.harmonic import multipoles
from skysift.scattering.domain import Sphere
from skysift.scattering.gauss_legendre import GaussLegendre
from skysift.scattering.sphere_bank import SphereBank
from skysift.scattering.weights import LEAKAGE


class SphereWeights(eqx.Module):
    """Weights of places on the sphere, region by region.

    Args:
        cells: `(region, cell)` as given, HEALPix RING, zero on masked cells.
        fields: weights `(region, cell)` of the field itself on the grid of its band limit, adding
            to 1 in each region.
        scales: the same of the grid of each scale.
        lmax: band limit of the field.
    """

    cells: Float[Array, "region cell"]
    fields: Float[Array, "region cell"]
    scales: tuple[Float[Array, "region cell"], ...]
    lmax: int = eqx.field(static=True)

    def any_region(self, scale: int) -> Float[Array, " cell"]:
        """How much each place counts at a scale anywhere, 1 at most, without the cells' areas."""
        grid = _grid_of(self.scales[scale].shape[-1])
        density = self.scales[scale] / jnp.asarray(grid.weights)
        return jnp.max(density / jnp.max(density, axis=-1, keepdims=True), axis=0)

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
    masked = ~np.any(cells > 0.0, axis=0)
    alm = domain.sht.analysis(masked.astype(float))
    scales = []
    for scale in range(bank.scales):
        grid = bank.grid(scale)
        kernel = _energy(bank, scale)
        ell = multipoles(domain.lmax)[0]
        seen = hp.alm2map(alm * kernel[ell], domain.nside, lmax=domain.lmax)
        margin = np.clip(1.0 - np.maximum(seen, masked) / LEAKAGE, 0.0, 1.0)
        theta, phi = grid.directions()
        weights = np.stack(
            [np.clip(hp.get_interp_val(one * margin, theta, phi), 0.0, None) for one in cells]
        )
        weights = weights * grid.weights
        total = weights.sum(axis=-1, keepdims=True)
        for region in np.flatnonzero(~(total[:, 0] > 0.0)):
            raise ValueError(
                f"weights: expected cells away from the mask at every scale, got none in region "
                f"{region} at scale {scale} (around l = {bank.centre(scale):.0f}). Choose "
                f"scales={scale} or fewer, or a larger region."
            )
        scales.append(jnp.asarray(weights / total))
    grid = GaussLegendre(domain.lmax)
    theta, phi = grid.directions()
    nearest = cells[:, hp.ang2pix(domain.nside, theta, phi)] * grid.weights
    fields = nearest / nearest.sum(axis=-1, keepdims=True)
    return SphereWeights(jnp.asarray(cells), jnp.asarray(fields), tuple(scales), domain.lmax)


def _energy(bank: SphereBank, scale: int) -> Float[np.ndarray, " ell"]:
    """Harmonic window of the squared wavelet of a scale, averaged over directions, 1 at l = 0."""
    lmax = bank.lmax
    nodes, quadrature = np.polynomial.legendre.leggauss(2 * lmax + 1)
    ell = np.arange(lmax + 1)
    # Averaged over directions, the square of the wavelet is that of its spin parts; the part of
    # spin 0 has the same width as all of them together to the precision that a margin needs.
    profile = np.polynomial.legendre.legval(nodes, (2 * ell + 1) * bank.window(scale))
    energy = profile**2 * quadrature
    window = np.polynomial.legendre.legvander(nodes, lmax).T @ energy
    return window / window[0]


def _grid_of(npix: int) -> GaussLegendre:
    """The grid that has this number of cells."""
    return GaussLegendre(round(np.sqrt(npix / 2.0)) - 1)
