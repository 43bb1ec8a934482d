"""Scattering covariance on the sphere, invariant under rotations."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.scattering.covariance import AbstractCovariance, CovarianceShape
from skysift.scattering.domain import Sphere
from skysift.scattering.pairs import pairs
from skysift.scattering.sphere_bank import SphereBank, ell_of, multiplicity, truncated
from skysift.scattering.sphere_weights import SphereWeights, sphere_weights
from skysift.scattering.statistic import Moments, root


class SphereCovariance(AbstractCovariance):
    """Scattering covariance of fields on the sphere, invariant under rotations.

    The moduli of wavelet coefficients are functions of place and direction; their angular
    harmonics are spin fields. The products of the fields and of the gradient and curl parts of
    these harmonics in the band of a coarser scale, averaged over the sphere, are the angular
    Fourier coefficients of the third and fourth moments with the common direction averaged out.
    Without weights they are sums over harmonic coefficients: one Gram matrix for each scale.

    Args:
        domain: maps and band limit.
        bank: wavelets.
        weights: of the sphere at each scale, or `None` for the full sky with equal weights.
        shape: what fixes the tables.
    """

    domain: Sphere
    bank: SphereBank = eqx.field(static=True)
    weights: SphereWeights | None
    shape: CovarianceShape = eqx.field(static=True)

    def masked(self, kept: Bool[np.ndarray, "..."]) -> SphereCovariance:
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

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        bank, weights = self.bank, self.weights
        first, second, third, fourth = [], [], [], []
        moduli: list[tuple[Array, int]] = []
        for scale in range(bank.scales):
            real, imaginary = bank.coefficients(fields, scale)
            envelope = root(real**2 + imaginary**2)
            mean = jnp.mean(envelope, axis=-2)
            average = self._average(mean, scale)
            first.append(average.reshape(*average.shape[:2], -1))
            if weights is not None:
                centre = jnp.mean(average, axis=1)[:, :, None, None]
                envelope = (envelope - centre) * weights.any_region(scale)
            parts = bank.harmonic_parts(envelope, scale)
            moduli.append((parts.reshape(len(parts), -1, parts.shape[-1]), bank.grid(scale).lmax))
            gram = self._gram(fields, moduli, scale)
            pair = pairs(self.shape.rows, scale)
            for found, rows in ((second, pair.power), (third, pair.third), (fourth, pair.fourth)):
                found.append(gram[..., rows[:, 0], rows[:, 1]])

        def joined(parts: list[Array]) -> Array:
            values = jnp.concatenate(parts, axis=-1)
            return values.reshape(len(values), -1)

        mean, variance = self._cells(fields)
        return (
            mean.reshape(len(mean), -1),
            variance.reshape(len(mean), -1),
            self._rest(fields).reshape(len(mean), -1),
            *(joined(parts) for parts in (first, second, third, fourth)),
        )

    def _average(self, values: Float[Array, "field ... cell"], scale: int) -> Array:
        """Averages over the sphere, with an axis for the region after that of the fields."""
        if self.weights is None:
            weights = jnp.asarray(self.bank.grid(scale).weights, values.dtype)[None]
        else:
            weights = self.weights.scales[scale].astype(values.dtype)
        return jnp.einsum("b...p,rp->br...", values, weights)

    def _gram(self, fields: Array, moduli: list[tuple[Array, int]], scale: int) -> Array:
        """Mean products of all rows in the band of one scale, `(field, region, row, row)`."""
        lmax = self.bank.band(scale)
        rows = jnp.concatenate(
            [truncated(alm, have, lmax) for alm, have in ((fields, self.bank.lmax), *moduli)],
            axis=1,
        )
        window = self.bank.window(scale)[: lmax + 1][ell_of(lmax)]
        real = jnp.real(rows).dtype
        if self.weights is not None:
            grid = self.bank.grid(scale)
            rows = truncated(rows * jnp.asarray(window, real), lmax, grid.lmax)
            seen = grid.synthesis(rows, (0,))[..., 0, :]
            weights = self.weights.scales[scale].astype(real)
            return jnp.einsum("bnp,rp,bmp->brnm", seen, weights, seen)
        power = jnp.asarray(window**2 * multiplicity(lmax) / (4.0 * np.pi), real)
        gram = jnp.einsum("bnk,bmk->bnm", jnp.real(rows) * power, jnp.real(rows))
        gram += jnp.einsum("bnk,bmk->bnm", jnp.imag(rows) * power, jnp.imag(rows))
        return gram[:, None]

    def _cells(self, fields: Array) -> tuple[Array, Array]:
        """Mean and variance of each channel, `(field, region, channel)`."""
        if self.weights is None:
            mean = jnp.real(fields[..., 0]) / np.sqrt(4.0 * np.pi)
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
