"""Averages over places of the sphere of wavelet coefficients and of their moduli."""

from __future__ import annotations

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.moduli import Window
from skysift.scattering.sphere.weights import SphereWeights


class AbstractPlaces(eqx.Module):
    """Places at which wavelets see fields, with or without weights."""

    bank: eqx.AbstractVar[SphereBank]
    weights: eqx.AbstractVar[SphereWeights | None]

    def coefficients(
        self,
        fields: Complex[Array, "... alm"],
        scale: int,
        grid: GaussLegendre | None = None,
    ) -> tuple[Array, Array]:
        """`SphereBank.coefficients`, with the power that they would have without a mask."""
        real, imaginary = self.bank.coefficients(fields, scale, grid)
        return self._gained(real, scale, grid), self._gained(imaginary, scale, grid)

    def everywhere(self, fields: Array) -> Array:
        """Fields once for each region, as `parts` gives moduli."""
        return jnp.repeat(fields, 1 if self.weights is None else len(self.weights.fields), axis=0)

    def band_power(
        self, fields: Complex[Array, "field channel alm"], scale: int
    ) -> Float[Array, "field region channel channel"]:
        """Mean products of channels in the band of a scale, in cells."""
        grid = self.bank.grid(scale)
        window = self.bank.window(scale)[np.minimum(ell_of(grid.lmax), self.bank.lmax)]
        kept = truncated(fields, self.bank.lmax, grid.lmax)
        seen = grid.synthesis(kept * jnp.asarray(window, jnp.real(fields).dtype), (0,))
        seen = self._gained(seen[..., 0, :], scale)
        return self.average(seen[:, :, None] * seen[:, None], scale)

    def _gained(
        self, values: Float[Array, "... cell"], scale: int, grid: GaussLegendre | None = None
    ) -> Float[Array, "... cell"]:
        """Coefficients with the power that they would have without a mask."""
        if self.weights is None:
            return values
        gain = self.weights.gains[scale]
        if grid is not None:
            gain = gain[_nearest(grid.lmax, self.bank.grid(scale).lmax)]
        return values * gain.astype(values.dtype)

    def average(
        self,
        values: Float[Array, "field ... cell"],
        scale: int,
        coarser: int | None = None,
        *,
        moduli: bool = False,
    ) -> Array:
        """Averages over the grid of a scale, with an axis for the region after the first.

        Args:
            values: on the grid of the scale.
            scale: of the grid and of the weights.
            coarser: another scale whose wavelets must not see masked cells either.
            moduli: whether what the wavelets of the scale have seen are moduli.
        """
        if self.weights is None:
            weights = jnp.asarray(self.bank.grid(scale).weights, values.dtype)[None]
        else:
            weights = (self.weights.moduli if moduli else self.weights.scales)[scale]
            if coarser is not None:
                near = _nearest(self.bank.grid(scale).lmax, self.bank.grid(coarser).lmax)
                weights = weights * self.weights.any_region(coarser)[near]
                weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return jnp.einsum("b...p,rp->br...", values, weights.astype(values.dtype))

    def centred(
        self, envelope: Float[Array, "field channel direction cell"], average: Array, scale: int
    ) -> Array:
        """Moduli less their means where there is a mask, so that its edge is no structure.

        Args:
            envelope: moduli in each direction.
            average: their means `(field, region, channel)`.
            scale: of the wavelets.
        """
        if self.weights is None:
            return envelope
        centre = jnp.mean(average, axis=1)[:, :, None, None]
        return (envelope - centre) * self.weights.any_region(scale).astype(envelope.dtype)

    def parts(
        self, envelope: Float[Array, "field channel direction cell"], average: Array, scale: int
    ) -> Complex[Array, "all row alm"]:
        """Harmonic parts of moduli, weighted where there is a mask.

        Args:
            envelope: moduli in each direction.
            average: their means `(field, region, channel)`.
            scale: of the wavelets.

        Returns:
            Regions and fields on one axis, channels and parts on another.
        """
        if self.weights is not None:
            taper = self.weights.tapers[scale].astype(envelope.dtype)
            centre = average[..., None, None]
            envelope = (envelope[:, None] - centre) * taper[:, None, None]
            envelope = envelope.reshape(-1, *envelope.shape[2:])
        parts = self.bank.harmonic_parts(envelope, scale)
        return parts.reshape(len(parts), -1, parts.shape[-1])

    def gram(
        self, rows: list[tuple[Complex[Array, "all row alm"], int]], scale: int, window: Window
    ) -> Float[Array, "field region row row"]:
        """Mean products in the band of one scale.

        Args:
            rows: coefficients of the channels and of the moduli of each scale up to this, for each
                field and region, and their largest multipole.
            scale: whose band to take.
            window: of the products, by multipole.
        """
        lmax = self.bank.band(scale)
        kept = jnp.concatenate([truncated(alm, have, lmax) for alm, have in rows], axis=1)
        power = window.of(self.bank, scale)[: lmax + 1][ell_of(lmax)]
        measure = jnp.asarray(power * multiplicity(lmax) / (4.0 * np.pi), jnp.real(kept).dtype)
        products = jnp.einsum("bnk,bmk->bnm", jnp.real(kept) * measure, jnp.real(kept))
        products += jnp.einsum("bnk,bmk->bnm", jnp.imag(kept) * measure, jnp.imag(kept))
        if self.weights is None:
            return products[:, None]
        return self.weights.decoupled(products, self.bank, scale, window)


@functools.lru_cache(maxsize=64)
def _nearest(fine: int, coarse: int) -> Int[np.ndarray, " cell"]:
    """For each place of a grid a place of a coarser one near it, by their band limits."""
    grids = GaussLegendre(fine), GaussLegendre(coarse)
    theta, phi = (one.reshape(grids[0].rings) for one in grids[0].directions())
    rings, cells = grids[1].rings
    around = grids[1].directions()[0].reshape(rings, cells)[:, 0]
    ring = np.argmin(np.abs(theta[:, :1] - around), axis=1)
    cell = np.rint(phi[0] * cells / (2.0 * np.pi)).astype(np.int64) % cells
    return (ring[:, None] * cells + cell).reshape(-1)
