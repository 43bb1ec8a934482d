"""What masks leave of wavelet coefficients and of their moduli, told from Gaussian fields.

The same fields are seen with the mask and without it, at the same places: chance cancels, and a few
fields tell the difference.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from skysift.scattering.domain import Sphere
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.moduli import Window, number_of_draws, red
from skysift.scattering.sphere.places import AbstractPlaces
from skysift.scattering.sphere.weights import SphereWeights, sphere_weights
from skysift.scattering.statistic import root
from skysift.scattering.weights import LEAKAGE

_TOGETHER = 8
"""Number of fields that are seen at once."""

_MOST_LOST = 2.0 * LEAKAGE
"""Largest part of the power of a coefficient that is given back."""

Products = dict[Window, tuple[Float[Array, "draw region scale part"], ...]]


class Places(AbstractPlaces):
    """Places on the sphere with weights.

    Args:
        bank: wavelets.
        weights: of the places.
    """

    bank: SphereBank = eqx.field(static=True)
    weights: SphereWeights


def masked_weights(
    bank: SphereBank, domain: Sphere, cells: Float[np.ndarray, "..."]
) -> SphereWeights:
    """Weights at each scale, with the gains and the responses of Gaussian fields as red as dust.

    Args:
        bank: wavelets.
        domain: of the maps.
        cells: `(cell,)` or `(region, cell)`, 0 and more, HEALPix RING; 0 on masked cells.

    Raises:
        ValueError: as `sphere_weights`.
    """
    weights = sphere_weights(bank, domain, cells)
    if np.all(np.any(np.asarray(weights.cells) > 0.0, axis=0)):
        return weights
    single = Sphere(nside=domain.nside, lmax=domain.lmax, channels=1, iterations=domain.iterations)
    fields = _fields(bank)
    masked = [_visible(single, weights.cells, some) for some in fields]
    whole = _whole(weights)
    weights = eqx.tree_at(lambda one: one.gains, weights, _gains(bank, weights, fields, masked))
    seen, expected = _products(bank, weights, masked), _products(bank, whole, fields)
    responses = jax.tree.map(_response, seen, expected)
    return eqx.tree_at(lambda one: one.responses, weights, responses)


def _fields(bank: SphereBank) -> list[Complex[Array, "draw channel alm"]]:
    rng, count = np.random.default_rng(0), number_of_draws(bank.lmax)
    together = min(_TOGETHER, count)
    return [jnp.asarray(red(rng, together, bank.lmax))[:, None] for _ in range(count // together)]


@eqx.filter_jit
def _visible(
    domain: Sphere, cells: Float[Array, "region cell"], fields: Complex[Array, "draw channel alm"]
) -> Complex[Array, "draw channel alm"]:
    return domain.visible(domain.seen(fields), cells)


def _whole(weights: SphereWeights) -> SphereWeights:
    """The weights with the gains of fields without a mask."""
    ones = tuple(map(jnp.ones_like, weights.gains))
    return eqx.tree_at(lambda one: one.gains, weights, ones)


def _gains(
    bank: SphereBank,
    weights: SphereWeights,
    fields: list[Complex[Array, "draw channel alm"]],
    masked: list[Complex[Array, "draw channel alm"]],
) -> tuple[Float[Array, " cell"], ...]:
    """Gains with which the power is that of the fields without a mask, scale by scale.

    The power lost is taken to be a constant, for what the edge of the mask does to all multipoles,
    and a part of what wavelets see of masked cells: their continuation gives back the other part.
    """
    whole, part = (np.sum([_powers(bank, some) for some in of], axis=0) for of in (fields, masked))
    ends = np.cumsum([gain.size for gain in weights.gains])[:-1]
    found = []
    for gain, share, power, left in zip(
        weights.gains, weights.scales, np.split(whole, ends), np.split(part, ends), strict=True
    ):
        causes = np.stack([np.ones(gain.size), 1.0 - np.asarray(gain) ** -2.0])
        counts = np.sum(np.asarray(share), axis=0)
        normal = (causes * counts * power) @ causes.T
        lost = np.linalg.lstsq(normal, causes @ (counts * (power - left)), rcond=1e-10)[0] @ causes
        found.append(jnp.asarray((1.0 - np.clip(lost, -_MOST_LOST, _MOST_LOST)) ** -0.5))
    return tuple(found)


@eqx.filter_jit
def _powers(bank: SphereBank, fields: Complex[Array, "draw channel alm"]) -> Float[Array, " cells"]:
    """Sums over fields and directions of the squared coefficients, grid after grid."""
    found = []
    for scale in range(bank.scales):
        real, imaginary = bank.coefficients(fields, scale)
        found.append(jnp.sum(real**2 + imaginary**2, axis=(0, 1, 2)))
    return jnp.concatenate(found)


def _products(
    bank: SphereBank, weights: SphereWeights, fields: list[Complex[Array, "draw channel alm"]]
) -> Products:
    places = Places(bank=bank, weights=weights)
    found = [_parts_products(places, some) for some in fields]
    return jax.tree.map(lambda *each: jnp.concatenate(each), *found)


@eqx.filter_jit
def _parts_products(places: Places, fields: Complex[Array, "draw channel alm"]) -> Products:
    """Products of each part of a modulus with itself."""
    bank = places.bank
    found = {window: [] for window in Window}
    rows = [(places.everywhere(fields), bank.lmax)]
    for scale in range(bank.scales):
        real, imaginary = places.coefficients(fields, scale)
        envelope = root(real**2 + imaginary**2)
        average = places.average(jnp.mean(envelope, axis=-2), scale)
        rows.append((places.parts(envelope, average, scale), bank.grid(scale).lmax))
        for window in Window:
            own = jnp.diagonal(places.gram(rows, scale, window), axis1=-2, axis2=-1)
            own = own[..., 1:].reshape(*own.shape[:2], scale + 1, len(bank.parts))
            found[window].append(own)
    return {window: tuple(one) for window, one in found.items()}


def _response(
    seen: Float[Array, "draw region scale part"], expected: Float[Array, "draw region scale part"]
) -> Float[Array, "region scale part"]:
    """What is seen over what is expected, as far as the draws can tell it from 1.

    Of the difference from 1 the part is kept that is not its own variance (Efron and Morris 1973,
    JASA 68, 117). Bands below the spin of a harmonic have none of it.
    """
    whole = jnp.sum(expected, axis=0)
    there = whole > 0.0
    ratio = jnp.sum(seen, axis=0) / jnp.where(there, whole, 1.0)
    left = seen - ratio * expected
    error = jnp.sum(left**2, axis=0) / jnp.where(there, whole, 1.0) ** 2
    error = error * len(seen) / (len(seen) - 1)
    change = ratio - 1.0
    kept = jnp.clip(1.0 - error / jnp.where(change == 0.0, 1.0, change) ** 2, 0.0, 1.0)
    return jnp.where(there, 1.0 + kept * change, 1.0)
