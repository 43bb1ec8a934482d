r"""Spherical-harmonic transforms as products of small tables, for JAX on any device.

A field of spin s has coefficients $F_m(\theta) = \sum_l \lambda_{lm}(\theta) a_{lm}$ on a ring, and
its cells are $\sum_m F_m e^{i m \phi}$. Both sums are batched matrix products: of Legendre
functions, of which rings at $\theta$ and $\pi - \theta$ share the parities, and of the phases of
the cells. The tables come from ducc0, and so do the conventions. They have about
$36\, n_\mathrm{side}^3$ numbers for spin 0, 70 for others: for nside up to 64 or so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import ducc0
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

# Under i times a field, (E, B) of the odd functions go to (U, -Q): rows are E and B, re and im.
_TURN = np.array([[1.0, -1.0], [-1.0, 1.0]])


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the transforms multiply with.

    Args:
        legendre: of even and odd `l + m`, on rings down to the equator; for spin 1 and 2 two, those
            that keep E in Q and those that take it to U.
        index: packed coefficient of each entry, any where there is none.
        place: entry of each packed coefficient.
        multiplicity: how often m counts, once or twice.
        cap: real and imaginary phases in the cells of each ring above the equatorial ones.
        belt: the same of all equatorial rings, after the turn by `shift`.
        shift: phase of the first cell of each equatorial ring.
        spread: where each cell of a cap is among its rings, each as long as an equatorial one.
        gather: the cell at each of these places, any where there is none.
    """

    legendre: Float[np.ndarray, "m parity k part ring"]
    index: Int[np.ndarray, "m parity k"]
    place: Int[np.ndarray, " alm"]
    multiplicity: Float[np.ndarray, " m"]
    cap: Float[np.ndarray, "ring cell m 2"]
    belt: Float[np.ndarray, "cell m 2"]
    shift: Complex[np.ndarray, "m ring"]
    spread: Int[np.ndarray, " cell"]
    gather: Int[np.ndarray, "ring cell"]


@functools.lru_cache(maxsize=8)
def _tables(nside: int, lmax: int, spin: int) -> _Tables:
    rings = ducc0.healpix.Healpix_Base(nside, "RING").sht_info()
    theta = rings["theta"][: 2 * nside]
    legendre = _legendre(theta, lmax, spin)
    count = legendre.shape[2]
    m, parity, k = np.meshgrid(np.arange(lmax + 1), [0, 1], np.arange(count), indexing="ij")
    ell = np.minimum(m + 2 * k + parity, lmax)
    index = m * (2 * lmax + 1 - m) // 2 + ell
    place = np.empty((lmax + 1) * (lmax + 2) // 2, dtype=np.int64)
    held = m + 2 * k + parity <= lmax
    place[index[held]] = np.flatnonzero(held)
    number = np.arange(lmax + 1)
    multiplicity = np.where(number == 0, 1.0, 2.0)
    ring = np.arange(nside - 1)
    cells = np.arange(4 * nside)
    # Whole numbers of turns are taken off before the product with 2 pi: phases stay exact.
    inside = cells < 4 * (ring + 1)[:, None]
    turns = ((2 * cells + 1)[:, None] * number) % (8 * (ring + 1))[:, None, None]
    angle = turns * (np.pi / (4 * (ring + 1)))[:, None, None]
    cap = np.stack([np.cos(angle), -np.sin(angle)], axis=-1) * inside[..., None, None]
    angle = ((cells[:, None] * number) % (4 * nside)) * (np.pi / (2 * nside))
    belt = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
    start = rings["ringstart"][: nside - 1].astype(np.int64)
    return _Tables(
        legendre,
        index,
        place,
        multiplicity,
        cap * multiplicity[:, None],
        belt * multiplicity[:, None],
        np.exp(1j * number[:, None] * rings["phi0"][nside - 1 : 2 * nside]),
        np.flatnonzero(inside),
        np.where(inside, start[:, None] + cells, 0),
    )


def _legendre(
    theta: Float[np.ndarray, " ring"], lmax: int, spin: int
) -> Float[np.ndarray, "m parity k part ring"]:
    """Functions of each degree, as ducc0 transforms the coefficients of that degree alone."""
    parts = 2 if spin else 1
    out = np.zeros((lmax + 1, 2, lmax // 2 + 1, parts, theta.size))
    m = np.arange(lmax + 1)
    start = m * (2 * lmax + 1 - m) // 2
    for ell in range(spin, lmax + 1):
        alm = np.zeros((parts, (lmax + 1) * (lmax + 2) // 2), dtype=complex)
        alm[0, start[: ell + 1] + ell] = 1.0
        leg = ducc0.sht.alm2leg(alm=alm, spin=spin, lmax=lmax, theta=theta)[..., : ell + 1]
        k, parity = np.divmod(ell - m[: ell + 1], 2)
        values = [leg[0].real, leg[1].imag] if spin else [leg[0].real]
        out[m[: ell + 1], parity, k] = np.stack(values).transpose(2, 0, 1)
    return out


def synthesis(
    alm: Complex[Array, "... alm"], nside: int, lmax: int, spin: int
) -> Float[Array, "... cell"]:
    """Maps of coefficients; arguments are those of `SHT.synthesis`."""
    tables, dtype = _tables(nside, lmax, spin), _real(alm.dtype)
    fields = alm.shape[-2] if spin else 1
    lead = alm.shape[:-2] if spin else alm.shape[:-1]
    modes = alm.reshape(-1, fields, alm.shape[-1])[..., tables.index]
    pair = jnp.stack([modes.real, modes.imag])
    # z: real and imaginary part, n: batch, f: field, c: part of the functions.
    rings = jnp.einsum("znfmpk,mpkcr->pcnfzmr", pair, tables.legendre.astype(dtype))
    even, odd = _sides(rings)
    north, south = even + odd, even - odd
    both = jnp.stack([north, south.at[..., -1].set(0.0)])
    caps = jnp.einsum("snfzmr,rjmz->snfrj", both[..., : nside - 1], tables.cap.astype(dtype))
    caps = caps.reshape(*caps.shape[:3], -1)[..., tables.spread]
    turned = _turned(both[..., nside - 1 :], tables.shift)
    belts = jnp.einsum("snfzmr,jmz->snfrj", turned, tables.belt.astype(dtype))
    upper = belts[0].reshape(*belts.shape[1:3], -1)
    # The rings of the south come in reverse; their cells do not.
    lower = belts[1][..., -2::-1, :].reshape(*belts.shape[1:3], -1)
    maps = jnp.concatenate([caps[0], upper, lower, caps[1][..., _southern(nside)]], axis=-1)
    return maps.reshape(*lead, *((fields,) if spin else ()), -1)


def adjoint(
    maps: Float[Array, "... cell"], nside: int, lmax: int, spin: int
) -> Complex[Array, "... alm"]:
    """Adjoint of the synthesis; arguments are those of `SHT.adjoint`."""
    tables, dtype = _tables(nside, lmax, spin), maps.dtype
    fields = maps.shape[-2] if spin else 1
    lead = maps.shape[:-2] if spin else maps.shape[:-1]
    cells = maps.reshape(-1, fields, maps.shape[-1])
    cap = 2 * nside * (nside - 1)
    size = 4 * nside
    caps = jnp.stack([cells[..., :cap], cells[..., -cap:][..., _southern(nside)]])
    caps = caps[..., tables.gather] if nside > 1 else jnp.zeros((*caps.shape[:3], 0, size), dtype)
    belts = cells[..., cap : cells.shape[-1] - cap].reshape(*cells.shape[:2], -1, size)
    upper, lower = belts[..., : nside + 1, :], belts[..., : nside - 1 if nside > 1 else 0 :, :]
    raise NotImplementedError(upper, lower, lead, fields, tables, dtype)
