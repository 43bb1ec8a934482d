r"""Spherical-harmonic transforms as products with tables, inside JAX on any device.

On a ring a field is $\sum_m e^{i m \phi} F_m$ with $F_m = \sum_l \lambda_{lm}(\theta) a_{lm}$. Both
sums are batched matrix products, with Legendre functions, of which the rings at $\theta$ and
$\pi - \theta$ share those of one parity, and with the phases of the cells. ducc0 makes the tables,
so that conventions are those of its transforms. For nside up to 64 or so: the tables have about
65 nside^3 numbers, 85 nside^3 for spin 1 and 2.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import ducc0
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

_TURN = np.array([[1.0, -1.0], [-1.0, 1.0]])
"""Signs of i (E, B) in (Q, U) through the functions that turn E into U: rows are fields, columns
real and imaginary part, and what they multiply stands at the opposite place."""


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the transforms multiply with; rings are those from the north pole to the equator.

    Args:
        legendre: functions of even and odd l + m; of spin 1 and 2 those that keep E in Q, then
            those that turn it into U.
        phases: real and minus imaginary part of `exp(i m phi)` in the cells of each ring, all as
            many as an equatorial ring has, counted twice where m > 0.
        index: packed coefficient that each function multiplies, any where there is none.
        place: among the functions, of each packed coefficient.
        cell: number in a map of each cell of the northern and southern rings, any for none.
        kept: which of them there are; the equator is northern.
        spread: among these, of each cell of a map.
        multiplicity: how often each m counts.
    """

    legendre: Float[np.ndarray, "m parity k part ring"]
    phases: Float[np.ndarray, "ring cell m 2"]
    index: Int[np.ndarray, "m parity k"]
    place: Int[np.ndarray, " alm"]
    cell: Int[np.ndarray, "side ring cell"]
    kept: Bool[np.ndarray, "side ring cell"]
    spread: Int[np.ndarray, " npix"]
    multiplicity: Float[np.ndarray, " m"]


@functools.lru_cache(maxsize=8)
def _tables(nside: int, lmax: int, spin: int) -> _Tables:
    rings = ducc0.healpix.Healpix_Base(nside, "RING").sht_info()
    m, parity, k = np.indices((lmax + 1, 2, lmax // 2 + 1))
    ell = m + 2 * k + parity
    index = m * (2 * lmax + 1 - m) // 2 + np.minimum(ell, lmax)
    place = np.empty((lmax + 1) * (lmax + 2) // 2, dtype=np.int64)
    place[index[ell <= lmax]] = np.flatnonzero(ell <= lmax)
    number, cells, north = np.arange(lmax + 1), np.arange(4 * nside), np.arange(2 * nside)
    size = rings["nphi"][north, None].astype(np.int64)
    shift = rings["phi0"][north, None] > 0.0
    # Whole turns are taken off before the product with pi, so that phases of large m are exact.
    half_turns = (2 * cells + shift)[..., None] * number % (2 * size)[..., None]
    angle = half_turns * (np.pi / size)[..., None]
    multiplicity = np.where(number == 0, 1.0, 2.0)
    start = rings["ringstart"].astype(np.int64)
    both = np.stack([start[north], start[::-1][north]])
    kept = np.broadcast_to(cells < size, (2, 2 * nside, 4 * nside)).copy()
    kept[1, -1] = False
    cell = np.where(kept, both[..., None] + cells, 0)
    spread = np.empty(12 * nside**2, dtype=np.int64)
    spread[cell[kept]] = np.flatnonzero(kept)
    return _Tables(
        _legendre(rings["theta"][north], lmax, spin),
        np.stack([np.cos(angle), -np.sin(angle)], axis=-1) * multiplicity[:, None],
        index,
        place,
        cell,
        kept,
        spread,
        multiplicity,
    )


def _legendre(
    theta: Float[np.ndarray, " ring"], lmax: int, spin: int
) -> Float[np.ndarray, "m parity k part ring"]:
    """Functions of each degree: what ducc0 makes of coefficients of that degree alone."""
    parts = 2 if spin else 1
    out = np.zeros((lmax + 1, 2, lmax // 2 + 1, parts, theta.size))
    for ell in range(spin, lmax + 1):
        m = np.arange(ell + 1)
        alm = np.zeros((parts, (lmax + 1) * (lmax + 2) // 2), dtype=complex)
        alm[0, m * (2 * lmax + 1 - m) // 2 + ell] = 1.0
        leg = ducc0.sht.alm2leg(alm=alm, spin=spin, lmax=lmax, theta=theta)[..., : ell + 1]
        k, parity = np.divmod(ell - m, 2)
        values = np.stack([leg[0].real, leg[1].imag]) if spin else leg.real
        out[m, parity, k] = values.transpose(2, 0, 1)
    return out


def synthesis(
    alm: Complex[Array, "... alm"], nside: int, lmax: int, spin: int
) -> Float[Array, "... cell"]:
    """Maps of coefficients, as `SHT.synthesis`."""
    tables, dtype = _tables(nside, lmax, spin), jnp.finfo(alm.dtype).dtype
    values = alm.reshape(-1, 2 if spin else 1, alm.shape[-1])[..., tables.index]
    # n: map, f: field, z: real and imaginary part, p: parity, c: part of the functions.
    parts = jnp.stack([values.real, values.imag], axis=2)
    even, odd = jnp.einsum("nfzmpk,mpkcr->pcnfzmr", parts, tables.legendre.astype(dtype))
    north, south = even[0] + odd[0], even[0] - odd[0]
    if spin:
        north = north + _turned(even[1] + odd[1])
        south = south - _turned(even[1] - odd[1])
    sides = jnp.stack([north, (-1) ** spin * south])
    rings = jnp.einsum("snfzmr,rjmz->nfsrj", sides, tables.phases.astype(dtype))
    cells = rings.reshape(*rings.shape[:2], -1)[..., tables.spread]
    return cells.reshape(*alm.shape[:-1], -1)


def adjoint(
    maps: Float[Array, "... cell"], nside: int, lmax: int, spin: int
) -> Complex[Array, "... alm"]:
    """Adjoint of the synthesis, as `SHT.adjoint`."""
    tables, dtype = _tables(nside, lmax, spin), maps.dtype
    cells = maps.reshape(-1, 2 if spin else 1, maps.shape[-1])
    rings = jnp.where(tables.kept, cells[..., tables.cell], 0)
    north, south = jnp.einsum("nfsrj,rjmz->snfzmr", rings, tables.phases.astype(dtype))
    south = (-1) ** spin * south
    even, odd = (north + south)[None], (north - south)[None]
    if spin:
        even, odd = (
            jnp.concatenate([even, _turned_back(odd)]),
            jnp.concatenate([odd, _turned_back(even)]),
        )
    parts = jnp.einsum(
        "pcnfzmr,mpkcr->nfzmpk", jnp.stack([even, odd]), tables.legendre.astype(dtype)
    )
    parts = parts / tables.multiplicity.astype(dtype)[:, None, None]
    parts = parts.reshape(*parts.shape[:3], -1)[..., tables.place]
    return (parts[:, :, 0] + 1j * parts[:, :, 1]).reshape(*maps.shape[:-1], -1)


def _turned(
    rings: Float[Array, "n field part m ring"],
) -> Float[Array, "n field part m ring"]:
    """(E, B) turned into (Q, U): i E goes to U and -i B to Q."""
    return jnp.asarray(_TURN, rings.dtype)[:, :, None, None] * rings[:, ::-1, ::-1]


def _turned_back(
    rings: Float[Array, "part n field z m ring"],
) -> Float[Array, "part n field z m ring"]:
    """Transpose of `_turned`."""
    return (jnp.asarray(_TURN, rings.dtype)[:, :, None, None] * rings)[:, :, ::-1, ::-1]
