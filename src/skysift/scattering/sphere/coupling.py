"""What weights do to band powers of spin fields on the sphere, and how to undo it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from skysift.harmonic.correlation import correlations
from skysift.scattering.sphere.bank import SphereBank, ell_of, multiplicity
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.moduli import Window, gaussian_moduli

_KNOWN = 3.0
"""How many times its own scatter a cross power has to be for its spectrum to be used."""

_LEAST = 0.2
"""Least factor of a difference of parities, as a part of that of their sum."""

Weighed = tuple[Complex[np.ndarray, "region alm"], int]
"""Harmonic coefficients of weights, and their largest multipole."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Correlation functions of moduli of Gaussian fields, and of bands.

    A kind is the field itself, or a harmonic of the moduli of a scale. Moduli of one scale have the
    cross spectra that they have in Gaussian fields. All other pairs have small products there, and
    the geometric mean of the spectra of both.

    Args:
        cosine: of the angles.
        quadrature: weights of the angles.
        means: of geometric means, `(sign, kind, kind, angle)`.
        own: of the cross spectra of one scale, `(sign, scale, harmonic, harmonic, angle)`.
        bands: of the bands, `(sign, harmonic, harmonic, window, scale, angle)`.
        roots: roots of the spectra, `(kind, ell)`.
    """

    cosine: Float[np.ndarray, " angle"]
    quadrature: Float[np.ndarray, " angle"]
    means: Float[np.ndarray, "sign kind kind angle"]
    own: Float[np.ndarray, "sign scale harmonic harmonic angle"]
    bands: Float[np.ndarray, "sign harmonic harmonic window scale angle"]
    roots: Float[np.ndarray, "kind ell"]


@functools.lru_cache(maxsize=4)
def shapes(bank: SphereBank) -> Shapes:
    """Correlation functions of one bank."""
    spectra = gaussian_moduli(bank).spectra
    size, count = spectra.shape[-1], len(bank.even)
    cosine, quadrature = np.polynomial.legendre.leggauss(size + bank.lmax)
    auto = np.sqrt(np.diagonal(spectra[0], axis1=1, axis2=2))
    roots = np.concatenate([np.ones((1, size)), np.moveaxis(auto, -1, 1).reshape(-1, size)])
    spin = np.array([0, *np.tile(np.arange(count), bank.scales)])
    windows = np.stack(
        [window.of(bank, scale) for window in Window for scale in range(bank.scales)]
    )
    means = np.zeros((2, len(roots), len(roots), cosine.size))
    own = np.zeros((2, bank.scales, count, count, cosine.size))
    bands = np.zeros((2, count, count, len(Window), bank.scales, cosine.size))
    for first in range(count):
        for second in range(first + 1):
            rows, columns = np.flatnonzero(spin == first), np.flatnonzero(spin == second)
            cross = (roots[rows, None] * roots[columns]).reshape(-1, size)
            for sign in (0, 1):
                wide = bank.even[first], bank.even[second] * (-1 if sign else 1)
                together = np.concatenate([cross, spectra[sign, :, first, second]])
                found = correlations(together, wide, cosine)
                mean = found[: len(cross)].reshape(rows.size, columns.size, -1)
                means[sign][np.ix_(rows, columns)] = mean
                means[sign][np.ix_(columns, rows)] = np.swapaxes(mean, 0, 1)
                own[sign, :, first, second] = own[sign, :, second, first] = found[len(cross) :]
                band = correlations(windows, wide, cosine).reshape(bands.shape[3:])
                bands[sign, first, second] = bands[sign, second, first] = band
    return Shapes(cosine, 2.0 * np.pi * quadrature, means, own, bands, roots)


def band_factors(
    bank: SphereBank, weights: list[Weighed]
) -> dict[Window, tuple[Float[np.ndarray, "region sign kind kind"], ...]]:
    """What the band powers of weighted fields are times those of the fields, on average.

    The correlation function of weighted fields is that of the fields times that of their weights.
    For spins above 0 there are two factors: of the sum of the products of gradients and of curls,
    and of their difference (Chon et al. 2004, MNRAS 350, 914).

    Args:
        bank: wavelets.
        weights: of the field, the same for all regions, and of the moduli of each scale.

    Returns:
        For each window and each scale those of the kinds up to the scale.
    """
    known = shapes(bank)
    regions = len(weights[1][0])
    spectra = np.stack([_cross_spectra(weights, region) for region in range(regions)])
    size = spectra.shape[-1]
    alike = correlations(spectra.reshape(-1, size), (0, 0), known.cosine)
    alike = alike.reshape(*spectra.shape[:3], -1) * known.quadrature
    return {
        window: tuple(_factors(bank, window, scale, alike) for scale in range(bank.scales))
        for window in Window
    }


def _cross_spectra(weights: list[Weighed], region: int) -> Float[np.ndarray, "weight weight ell"]:
    """Cross spectra of the weights of a region."""
    size = max(lmax for _, lmax in weights) + 1
    found = np.zeros((len(weights), len(weights), size))
    for i, (one, lmax) in enumerate(weights):
        for j, (two, lmax2) in enumerate(weights[: i + 1]):
            have = min(lmax, lmax2)
            ell, count = ell_of(have), multiplicity(have)
            a = one[min(region, len(one) - 1)][_inside(lmax, have)]
            b = two[min(region, len(two) - 1)][_inside(lmax2, have)]
            power = np.bincount(ell, np.real(a * np.conj(b)) * count)
            found[i, j, : have + 1] = power / (2.0 * np.arange(have + 1) + 1.0)
            found[j, i] = found[i, j]
    return found


def _inside(have: int, want: int) -> Int[np.ndarray, " alm"]:
    """Positions of the coefficients up to a lower multipole."""
    return np.flatnonzero(ell_of(have) <= want)


def _factors(
    bank: SphereBank, window: Window, scale: int, alike: Float[np.ndarray, "region w w angle"]
) -> Float[np.ndarray, "region sign kind kind"]:
    """Factors of one window and scale."""
    known, moduli = shapes(bank), gaussian_moduli(bank)
    count = len(bank.even)
    size = 1 + (scale + 1) * count
    weight = np.array([0, *np.repeat(np.arange(1, scale + 2), count)])
    spin = np.array([0, *np.tile(np.arange(count), scale + 1)])
    pair = alike[:, weight[:, None], weight]
    power = window.of(bank, scale)
    ell = np.arange(power.size)
    degree = (2.0 * ell + 1.0) / (4.0 * np.pi)
    least = np.array(bank.even)[np.maximum(spin[:, None], spin)]
    inside = power * degree * (ell >= least[..., None])
    root = known.roots[:size, : power.size]
    whole = np.einsum("ijl,il,jl->ij", inside, root, root)
    scatter = np.einsum("ijl,il,jl->ij", inside * power / (4.0 * np.pi), root**2, root**2)
    scatter = np.sqrt(scatter)
    # Bands below the spin of a harmonic have none of it.
    there = whole > 0.0
    found = np.ones((len(alike), 2, size, size))
    for sign in (0, 1):
        band = known.bands[sign, spin[:, None], spin, window, scale]
        mean = known.means[sign, :size, :size]
        seen = np.einsum("rijk,ijk,ijk->rij", pair, band, mean)
        found[:, sign] = np.where(there, seen / np.where(there, whole, 1.0), 1.0)
        for fine in range(scale + 1):
            here = slice(1 + fine * count, 1 + (fine + 1) * count)
            spectra = moduli.spectra[sign, fine, ..., : power.size]
            total = np.sum(inside[here, here] * spectra, axis=-1)
            seen = np.einsum(
                "rijk,ijk,ijk->rij", pair[:, here, here], band[here, here], known.own[sign, fine]
            )
            known_to = scatter[here, here] / np.sqrt(moduli.draws[fine])
            clear = (np.abs(total) > _KNOWN * known_to) & there[here, here]
            ratio = seen / np.where(clear, total, 1.0)
            found[:, sign, here, here] = np.where(clear, ratio, found[:, sign, here, here])
    # Differences of parity of which a small region leaves nothing are not made up.
    found[:, 1] = np.maximum(found[:, 1], _LEAST * found[:, 0])
    return found


class RestWeights(eqx.Module):
    """How the power that no scale covers, on the coarse side, is told from part of the sky.

    The spectrum is taken to have one level in each scale and one outside.

    Args:
        taper: factors of the field `(region, cell)` on the grid of its band limit.
        seen: power outside of the scales of the weighted field, for each level, `(region, level)`;
            the last is that outside.
        lost: variance of the mean of a region.
        whole: power outside of the scales of the field.
        covered: power of each scale, for its own level, `(scale,)`.
    """

    taper: Float[Array, "region cell"]
    seen: Float[Array, "region level"]
    lost: Float[Array, "region level"]
    whole: Float[Array, " level"]
    covered: Float[Array, " scale"]

    def solved(
        self, seen: Float[Array, "field region channel"], powers: Array
    ) -> tuple[Float[Array, "field region channel"], Float[Array, "field region channel"]]:
        """Power outside of the scales, and variance of the means of the regions.

        Args:
            seen: power outside of the scales of the weighted field.
            powers: of each scale, `(field, region, channel, scale)`.
        """
        response, lost = (one.astype(seen.dtype)[:, None] for one in (self.seen, self.lost))
        levels = powers / self.covered.astype(seen.dtype)
        found = response[..., -1]
        there = found > 0.0
        outside = seen - jnp.sum(levels * response[..., :-1], axis=-1)
        # What is left may be less than nothing in one field.
        outside = jnp.maximum(jnp.where(there, outside / jnp.where(there, found, 1.0), 0.0), 0.0)
        levels = jnp.concatenate([levels, outside[..., None]], axis=-1)
        return levels @ self.whole.astype(seen.dtype), jnp.sum(levels * lost, axis=-1)


def rest_weights(
    bank: SphereBank, fields: Float[np.ndarray, "region cell"], grid: GaussLegendre
) -> RestWeights:
    """How the power outside of the scales is told from places of these weights.

    Args:
        bank: wavelets.
        fields: weights that add to 1.
        grid: of the places, of the band limit of the field.
    """
    outside = bank.rest()[1]
    levels = np.stack([*(bank.window(scale) ** 2 for scale in range(bank.scales)), outside])
    degree = (2.0 * np.arange(bank.lmax + 1) + 1.0) / (4.0 * np.pi)
    ell, count = ell_of(bank.lmax), multiplicity(bank.lmax)
    density = fields / (4.0 * np.pi * grid.weights)
    taper = density / density.max(axis=-1, keepdims=True)
    cosine, quadrature = np.polynomial.legendre.leggauss(2 * bank.lmax + 1)
    sky = correlations(levels, (0, 0), cosine) * correlations(outside[None], (0, 0), cosine)

    def analysed(values: Float[np.ndarray, "row cell"]) -> Complex[np.ndarray, "row alm"]:
        return np.asarray(grid.analysis(jnp.asarray(values)[:, None], (0,))[:, 0])

    seen, lost = [], []
    for one, weight in zip(taper, density, strict=True):
        own, mean = analysed(np.stack([one, weight]))
        power = np.bincount(ell, np.abs(own) ** 2 * count) / (4.0 * np.pi * degree)
        alike = correlations(power[None], (0, 0), cosine)[0]
        whole = 2.0 * np.pi * (sky * alike) @ quadrature
        # Less the mean of the region, whose products with the field are those of its weights.
        filtered = np.asarray(grid.synthesis(jnp.asarray(levels[:, ell] * mean), (0,))[:, 0])
        across = analysed(filtered * one)
        band = outside[ell] * count / (4.0 * np.pi)
        variance = (levels[:, ell] * np.abs(mean) ** 2) @ count
        crossing = np.real(across * np.conj(own)) @ band
        seen.append(whole - 2.0 * crossing + variance * (np.abs(own) ** 2 @ band))
        lost.append(variance)
    return RestWeights(
        *map(
            jnp.asarray,
            (
                taper,
                np.stack(seen),
                np.stack(lost),
                levels @ (outside * degree),
                levels[:-1] @ degree,
            ),
        )
    )
