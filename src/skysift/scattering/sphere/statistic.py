"""What all statistics of fields on the sphere have in common: averages, masks and windows."""

from __future__ import annotations

import functools
import math
from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity, truncated
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.weights import SphereWeights, sphere_weights
from skysift.scattering.statistic import AbstractStatistic, flattened

SphereT = TypeVar("SphereT", bound="AbstractSphere")


class AbstractSphere(AbstractStatistic):
    """Statistics of fields on the sphere; fields are harmonic coefficients."""

    domain: eqx.AbstractVar[Sphere]
    bank: eqx.AbstractVar[SphereBank]
    weights: eqx.AbstractVar[SphereWeights | None]

    @property
    def cells(self) -> Float[Array, "region cell"] | None:
        """See `AbstractStatistic`."""
        return None if self.weights is None else self.weights.cells

    def masked(self: SphereT, kept: Bool[np.ndarray, "..."]) -> SphereT:
        """See `AbstractStatistic`."""
        cells = np.ones((1, *self.domain.cell_shape))
        if self.weights is not None:
            cells = np.asarray(self.weights.cells)
        weights = sphere_weights(self.bank, self.domain, cells * kept)
        return eqx.tree_at(lambda one: one.weights, self, weights, is_leaf=lambda one: one is None)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        ell = ell_of(self.bank.lmax)
        measure = multiplicity(self.bank.lmax) / (4.0 * np.pi)
        windows = [self.bank.window(scale) ** 2 for scale in range(self.bank.scales)]
        return np.stack([window[ell] * measure for window in windows]), ell.astype(float)

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        measure = multiplicity(self.bank.lmax) / (4.0 * np.pi)
        return self.bank.rest()[:, ell_of(self.bank.lmax)] * measure

    def average(
        self,
        values: Float[Array, "field ... cell"],
        scale: int,
        coarser: int | None = None,
        *,
        degree: int = 1,
        moduli: bool = False,
    ) -> Array:
        """Averages over the grid of a scale, with an axis for the region after the first.

        Args:
            values: on the grid of the scale.
            scale: of the grid and of the weights.
            coarser: another scale whose wavelets must not see masked cells either.
            degree: of the values in the coefficients of the scale: 1 of moduli, 2 of powers.
            moduli: whether what the wavelets of the scale have seen are moduli.
        """
        if self.weights is None:
            weights = jnp.asarray(self.bank.grid(scale).weights, values.dtype)[None]
        elif moduli:
            weights = self.weights.moduli[scale][-1]
        else:
            weights = self.weights.scales[scale]
            if coarser is not None:
                near = _nearest(self.bank.grid(scale).lmax, self.bank.grid(coarser).lmax)
                weights = weights * self.weights.any_region(coarser)[near]
                weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
            weights = weights / self.weights.left[scale][:, None] ** (0.5 * degree)
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

    def gram(
        self,
        rows: list[tuple[Complex[Array, "field row alm"], int]],
        scale: int,
        power: Float[np.ndarray, " ell"],
        linear: int,
    ) -> Float[Array, "field region row row"]:
        """Mean products of fields in the band of one scale.

        Args:
            rows: coefficients of fields, and their largest multipole.
            scale: whose band and weights to take.
            power: window of the products, by multipole.
            linear: number of rows, the first, that are fields and not moduli.
        """
        lmax = self.bank.band(scale)
        kept = jnp.concatenate([truncated(alm, have, lmax) for alm, have in rows], axis=1)
        window = power[: lmax + 1][ell_of(lmax)]
        real = jnp.real(kept).dtype
        if self.weights is not None:
            grid = self.bank.grid(scale)
            halves = kept * jnp.asarray(np.sqrt(window), real)
            seen = grid.synthesis(truncated(halves, lmax, grid.lmax), (0,))[..., 0, :]
            return self._weighted(self.weights, seen, scale, linear)
        measure = jnp.asarray(window * multiplicity(lmax) / (4.0 * np.pi), real)
        products = jnp.einsum("bnk,bmk->bnm", jnp.real(kept) * measure, jnp.real(kept))
        products += jnp.einsum("bnk,bmk->bnm", jnp.imag(kept) * measure, jnp.imag(kept))
        return products[:, None]

    def _weighted(
        self, weights: SphereWeights, seen: Float[Array, "field row cell"], scale: int, linear: int
    ) -> Float[Array, "field region row row"]:
        """The products of `gram` over the places that count for both of their rows."""
        real = seen.dtype
        harmonic = [self.bank.even.index(spin) for spin, _ in self.bank.parts]
        moduli = np.tile(harmonic, (seen.shape[1] - linear) // len(harmonic))
        wider = np.concatenate([np.zeros(linear, dtype=np.int64), moduli])
        wider = np.maximum(wider[:, None], wider)
        products = jnp.zeros(())
        for number, one in enumerate(weights.moduli[scale].astype(real)):
            found = jnp.einsum("bnp,rp,bmp->brnm", seen, one, seen)
            products = jnp.where(wider == number, found, products)
        if not linear:
            # The whole band of a modulus is what it is in the cells: nothing has been lost.
            return products
        own = weights.scales[scale].astype(real)
        powers = jnp.einsum("bnp,rp,bmp->brnm", seen[:, :linear], own, seen[:, :linear])
        products = products.at[..., :linear, :linear].set(powers)
        fine = np.repeat(np.arange(scale + 1), linear * len(harmonic))
        # A modulus has lost what its wavelets have, and what the band then sees of it.
        first = jnp.stack(weights.left[: scale + 1])[fine]
        second = weights.left_moduli[scale][fine, moduli]
        left = jnp.concatenate([jnp.tile(weights.left[scale], (linear, 1)), first * second])
        left = left.astype(real)
        return products / jnp.sqrt(jnp.einsum("nr,mr->rnm", left, left))

    def first(self, fields: Complex[Array, "field channel alm"]) -> tuple[Array, Array, Array]:
        """Mean, variance and power at other scales of each channel, `(field, coefficient)`."""
        mean, variance = self._cells(fields)
        return flattened(mean), flattened(variance), flattened(self._rest(fields))

    def _cells(self, fields: Array) -> tuple[Array, Array]:
        """Mean and variance of each channel, `(field, region, channel)`."""
        if self.weights is None:
            mean = jnp.real(fields[..., 0]) / math.sqrt(4.0 * math.pi)
            weight = jnp.asarray(multiplicity(self.bank.lmax) / (4.0 * np.pi), mean.dtype)
            square = jnp.sum(jnp.abs(fields) ** 2 * weight, axis=-1)
            return mean[:, None], (square - mean**2)[:, None]
        values = self.weights.values(fields)
        mean = self.weights.average(values)
        return mean, self.weights.average(values**2) - mean**2

    def _rest(self, fields: Array) -> Float[Array, "field region part"]:
        """Power of each channel above and below the scales of the wavelets."""
        windows = self.bank.rest()[:, ell_of(self.bank.lmax)]
        real = jnp.real(fields).dtype
        if self.weights is None:
            windows = windows * multiplicity(self.bank.lmax) / (4.0 * np.pi)
            power = jnp.einsum("bck,sk->bcs", jnp.abs(fields) ** 2, jnp.asarray(windows, real))
            return power.reshape(len(power), 1, -1)
        seen = self.weights.values(fields[:, :, None] * jnp.asarray(np.sqrt(windows), real))
        average = self.weights.average(seen**2)
        return average.reshape(*average.shape[:2], -1)


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
