"""Weights of the sphere at each scale: masks, and the margins that wavelets need around them."""

from __future__ import annotations

import functools

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from skysift.harmonic import multipoles
from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank, truncated
from skysift.scattering.sphere.coupling import RestWeights, Weighed, band_factors, rest_weights
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.moduli import Window, gaussian_moduli
from skysift.scattering.weights import LEAKAGE, checked_weights, margin, normalised

_CORRELATED = 0.3
"""Correlation of parts from which their product is known from few draws."""


class SphereWeights(eqx.Module):
    """Weights of places on the sphere, region by region.

    A wavelet near a mask has lost a part of its power. The margins keep the part small, and the
    coefficients of each place are divided by the root of what is left of a field that is white in
    the band and continued into masked cells. Band powers of weighted moduli are divided by what the
    weights do to those of moduli that are white near the band (`band_factors`).

    Args:
        cells: `(region, cell)` as given, HEALPix RING, zero on masked cells.
        fields: weights `(region, cell)` of the field itself on the grid of its band limit, adding
            to 1 in each region.
        scales: as `fields`, of the grid of each scale.
        moduli: the same for moduli seen by the wavelets of a scale: of the places that are a margin
            away also from where the coefficients of the scale do not count.
        gains: of each scale, the factor of the coefficients at each place.
        tapers: of each scale, factors `(region, cell)` of moduli whose products are to have the
            weights of the region.
        factors: by window, for each scale those of the band powers of the fields and
            of the moduli of each scale up to it: `(region, sign, kind, kind)`, the kinds being the
            field and then the harmonics of each scale.
        responses: by window and band, products of each part of a modulus of a scale up to the band
            with itself, over what the tapers let expect, `(region, scale, part)`.
        folded: by window, for each scale, what the products of the parts of its moduli in its own
            band and the next are times those on the full sky (`GaussianModuli.profiles`).
        rest: how the power outside of all scales is told.
        lmax: band limit of the field.
    """

    cells: Float[Array, "region cell"]
    fields: Float[Array, "region cell"]
    scales: tuple[Float[Array, "region cell"], ...]
    moduli: tuple[Float[Array, "region cell"], ...]
    gains: tuple[Float[Array, " cell"], ...]
    tapers: tuple[Float[Array, "region cell"], ...]
    factors: dict[Window, tuple[Float[Array, "region sign kind kind"], ...]]
    responses: dict[Window, tuple[Float[Array, "region scale part"], ...]]
    folded: dict[Window, tuple[Float[Array, "band region part part"], ...]]
    rest: RestWeights
    lmax: int = eqx.field(static=True)

    def any_region(self, scale: int) -> Bool[Array, " cell"]:
        """Which places of the grid of a scale count in any region."""
        return jnp.any(self.scales[scale] > 0.0, axis=0)

    def values(self, fields: Complex[Array, "... alm"]) -> Float[Array, "... cell"]:
        """Values of fields on the grid of their band limit."""
        return GaussLegendre(self.lmax).synthesis(fields, (0,))[..., 0, :]

    def decoupled(
        self, products: Float[Array, "all row row"], bank: SphereBank, scale: int, window: Window
    ) -> Float[Array, "field region row row"]:
        """Products of fields and moduli from those of what they are with their weights.

        Args:
            products: of channels and moduli, of each field and region.
            bank: wavelets.
            scale: of the band.
            window: of the products.
        """
        factors = self.factors[window][scale].astype(products.dtype)
        products = products.reshape(-1, len(factors), *products.shape[1:])
        channels = products.shape[-1] // (1 + (scale + 1) * len(bank.parts))
        kind, other, sign = _row_kinds(bank, scale, channels)
        plus, minus = jnp.moveaxis(0.5 / factors[:, :, kind[:, None], kind], 1, 0)
        swapped = products[..., other[:, None], other] * jnp.asarray(sign, products.dtype)
        products = products * (plus + minus) + swapped * (plus - minus)
        count = channels * len(bank.parts)
        for fine in range(max(scale - 1, 0), scale + 1):
            own = self.folded[window][fine][scale - fine].astype(products.dtype)
            here = slice(channels + fine * count, channels + (fine + 1) * count)
            own = jnp.tile(own, (1, channels, channels))
            products = products.at[..., here, here].divide(own)
        response = jnp.sqrt(self.responses[window][scale].astype(products.dtype))
        moduli = jnp.repeat(response[:, :, None], channels, axis=2).reshape(len(response), -1)
        rows = jnp.concatenate([jnp.ones((len(response), channels)), moduli], axis=-1)
        return products / (rows[:, :, None] * rows[:, None])


@functools.lru_cache(maxsize=64)
def _row_kinds(
    bank: SphereBank, scale: int, channels: int
) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Float[np.ndarray, "row row"]]:
    """Kind of each row of products, the row of the other parity, and the sign of that product.

    A mask makes a gradient of a curl and a curl of a gradient of the opposite sign.
    """
    parts = bank.parts
    partner = [parts.index((spin, 1 - part)) if spin else 0 for spin, part in parts]
    kind, other, odd = [0] * channels, list(range(channels)), [0] * channels
    for fine in range(scale + 1):
        for _ in range(channels):
            start = len(kind)
            kind += [1 + fine * len(bank.even) + bank.even.index(spin) for spin, _ in parts]
            other += [start + one for one in partner]
            odd += [part for _, part in parts]
    parity = np.array(odd)
    return np.array(kind), np.array(other), np.where(parity[:, None] == parity, 1.0, -1.0)


def sphere_weights(
    bank: SphereBank, domain: Sphere, cells: Float[np.ndarray, "..."]
) -> SphereWeights:
    """Weights at each scale: those of the cells, less where a wavelet sees masked cells.

    The gains are those of a field of which nothing is left on masked cells, and the responses are
    1; `masked_weights` gives what they are.

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
    whole = GaussLegendre(domain.lmax)
    fields = nearest_weights(domain, cells, whole)
    kept = np.any(fields > 0.0, axis=0)
    scales, moduli, gains, tapers = [], [], [], []
    weighed: list[Weighed] = [(_harmonics(kept.astype(float)[None], whole), whole.lmax)]
    for scale in range(bank.scales):
        grid, energy = bank.grid(scale), _wavelet_energy(bank, scale)
        width = _width(bank.lmax, scale)
        weights = margin_weights(domain, cells, energy, grid, scale)
        scales.append(weights)
        seen = _seen(masked, domain.lmax, energy, grid)
        counts = np.any(weights > 0.0, axis=0)
        gains.append(np.where(counts, (1.0 - np.minimum(seen, LEAKAGE)) ** -0.5, 1.0))
        taper = margins(domain, np.sqrt(cells), energy, grid)
        tapers.append(taper / np.max(taper, axis=-1, keepdims=True))
        weighed.append((_harmonics(tapers[-1], grid), grid.lmax))
        # Where no coefficient counts, there is no modulus either for the wavelets of this scale.
        none = grid.analysis(jnp.asarray(~counts, float)[None], (0,))[0]
        seen = np.max(
            [_seen(none, grid.lmax, one, grid) for one in _spin_energies(bank, scale)], axis=0
        )
        moduli.append(normalised(weights * margin(seen), scale, width))
    factors = band_factors(bank, weighed)
    folded = {
        window: tuple(
            jnp.stack([_folded(one, tapers[scale], bank.grid(scale)) for one in bands])
            for scale, bands in enumerate(found)
        )
        for window, found in gaussian_moduli(bank).profiles.items()
    }
    return SphereWeights(
        cells=jnp.asarray(cells),
        fields=jnp.asarray(fields),
        scales=tuple(map(jnp.asarray, scales)),
        moduli=tuple(map(jnp.asarray, moduli)),
        gains=tuple(map(jnp.asarray, gains)),
        tapers=tuple(map(jnp.asarray, tapers)),
        factors={window: tuple(map(jnp.asarray, one)) for window, one in factors.items()},
        responses={
            window: tuple(
                jnp.ones((len(cells), scale + 1, len(bank.parts))) for scale in range(bank.scales)
            )
            for window in Window
        },
        folded=folded,
        rest=rest_weights(bank, fields, whole),
        lmax=domain.lmax,
    )


def _folded(
    profile: Float[np.ndarray, "part part ring"],
    taper: Float[np.ndarray, "region cell"],
    grid: GaussLegendre,
) -> Float[np.ndarray, "region part part"]:
    """Products of parts at the places of a region over those on the sphere."""
    share = (taper**2 * grid.weights).reshape(-1, *grid.rings).sum(axis=-1)
    here = np.einsum("pqr,kr->kpq", profile, share / share.sum(axis=-1, keepdims=True))
    whole = profile @ grid.weights.reshape(grid.rings).sum(axis=-1)
    own, power = np.diagonal(here, axis1=1, axis2=2), np.diagonal(whole)
    # Bands below the spin of a harmonic have none of it.
    root = np.sqrt(np.where(power > 0.0, own / np.where(power > 0.0, power, 1.0), 1.0))
    clear = np.abs(whole) > _CORRELATED * np.sqrt(power[:, None] * power)
    return np.where(clear, here / np.where(clear, whole, 1.0), root[:, :, None] * root[:, None])


def _harmonics(
    values: Float[np.ndarray, "region cell"], grid: GaussLegendre
) -> Complex[np.ndarray, "region alm"]:
    return np.asarray(grid.analysis(jnp.asarray(values)[:, None, :], (0,))[:, 0])


def margins(
    domain: Sphere,
    cells: Float[np.ndarray, "region cell"],
    energy: Float[np.ndarray, " ell"],
    grid: GaussLegendre,
) -> Float[np.ndarray, "region place"]:
    """Weights at places: those of the cells, less where a kernel sees masked cells.

    Args:
        domain: of the cells.
        cells: weights as given.
        energy: harmonic window of the squared kernel (`kernel_energy`).
        grid: of the places.
    """
    masked = ~np.any(cells > 0.0, axis=0)
    window = _padded(energy, domain.lmax)[multipoles(domain.lmax)[0]]
    alm = domain.sht.analysis(masked.astype(float)) * window
    seen = hp.alm2map(np.asarray(alm), domain.nside, lmax=domain.lmax)
    kept = cells * margin(np.maximum(seen, masked))
    theta, phi = grid.directions()
    return np.stack([np.clip(hp.get_interp_val(one, theta, phi), 0.0, None) for one in kept])


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
    weights = margins(domain, cells, energy, grid) * grid.weights
    return normalised(weights, scale, _width(domain.lmax, scale))


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


def _spin_energies(bank: SphereBank, scale: int) -> list[Float[np.ndarray, " ell"]]:
    """Those of what makes a scalar of each angular harmonic of a modulus in the band of a scale."""
    there = [spin for spin in bank.even if spin <= bank.band(scale)]
    return [kernel_energy(bank.window(scale), spin) for spin in there]


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
