"""Fields with fewer or more cells, of the modes that both grids have."""

from __future__ import annotations

import equinox as eqx
import healpy as hp
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.grid import masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.scattering.domain import AbstractDomain, Flat, Sphere, precision_of
from skysift.scattering.plane.bank import crop, pad
from skysift.scattering.sphere.bank import truncated


def require_coarser(domain: AbstractDomain, coarser: AbstractDomain) -> None:
    """Refuse a domain that is not of the same kind with fewer cells.

    Raises:
        ValueError: for another kind, other channels, as many cells, or cells that are no whole
            number along each axis.
    """
    if coarser.channels == domain.channels and coarser != domain and _fits(domain, coarser):
        return
    raise ValueError(
        f"coarser: expected {domain.channels} channels on a {domain.words} with fewer cells, whole "
        f"numbers along all axes alike, got {coarser.channels} on a {coarser.words}. Say half the "
        "cells along each axis, or half of nside and lmax."
    )


def _fits(domain: AbstractDomain, coarser: AbstractDomain) -> bool:
    if isinstance(domain, Sphere) and isinstance(coarser, Sphere):
        return coarser.nside <= domain.nside and coarser.lmax <= domain.lmax
    if isinstance(domain, Flat) and isinstance(coarser, Flat):
        ratio = domain.shape[0] // coarser.shape[0]
        return tuple(ratio * cells for cells in coarser.shape) == domain.shape
    return False


def regridded(
    fields: Inexact[Array, "... channel mode"], domain: AbstractDomain, other: AbstractDomain
) -> Inexact[Array, "... channel mode"]:
    """The same fields on a coarser or a finer domain.

    Args:
        fields: of the domain.
        domain: where they are.
        other: of the same kind.
    """
    if isinstance(domain, Sphere) and isinstance(other, Sphere):
        return truncated(fields, domain.lmax, other.lmax)
    assert isinstance(domain, Flat)
    assert isinstance(other, Flat)
    axes = tuple(range(-len(domain.shape), 0))
    least = tuple(map(min, domain.shape, other.shape))
    modes = crop(jnp.fft.fftn(fields, axes=axes, norm="forward"), least, axes)
    for axis, cells in zip(axes, least, strict=True):
        if cells % 2 == 0:
            # Nyquist modes, of which a finer grid has two.
            modes = jnp.moveaxis(jnp.moveaxis(modes, axis, 0).at[cells // 2].set(0.0), 0, axis)
    return jnp.real(jnp.fft.ifftn(pad(modes, other.shape, axes), axes=axes, norm="forward"))


def coarsened(
    maps: Float[Array, "..."] | np.ndarray, domain: AbstractDomain, coarser: AbstractDomain
) -> Float[np.ndarray, "..."]:
    """Maps with fewer cells, of the modes that these have.

    On a flat grid each cell of the coarser one is centred on one of the cells, the first on the
    first. Coarser cells that overlap any that is not known are not known; to tell the modes of the
    others, maps are continued into unknown cells (`AbstractMesh.continued`).

    Args:
        maps: `(..., *map shape)`; NaN, infinite or UNSEEN where not known in any.
        domain: of the maps.
        coarser: of the same kind with fewer cells, each axis divided by the same whole number.

    Raises:
        ValueError: for maps of another shape, of which no cell is known, or a domain that is not
            coarser.

    Examples:
        >>> wave = np.cos(2.0 * np.pi * np.arange(16) / 16)
        >>> fine, coarse = (Flat(shape=(cells,), channels=1) for cells in (16, 8))
        >>> found = coarsened(wave, fine, coarse)
        >>> np.allclose(found, wave[::2])
        True
    """
    require_coarser(domain, coarser)
    domain.check(maps)
    given = np.asarray(masked_to_nan(maps))
    values = unseen_to_nan(given).astype(precision_of(given), copy=False)
    kept = np.asarray(np.isfinite(values).reshape(-1, *domain.cell_shape).all(axis=0))
    if not kept.any():
        raise ValueError("maps: expected cells that are known in all, got none. Give other maps.")
    known = jnp.asarray(np.where(kept, values, values.dtype.type(0.0)))
    cells = None if kept.all() else jnp.asarray(kept[None], values.dtype)
    found = np.asarray(_seen(known, cells, domain, coarser), values.dtype)
    return np.where(_overlapping(~kept, domain, coarser), values.dtype.type(np.nan), found)


@eqx.filter_jit
def _seen(
    maps: Float[Array, "..."],
    cells: Float[Array, "1 ..."] | None,
    domain: AbstractDomain,
    coarser: AbstractDomain,
) -> Float[Array, "..."]:
    return coarser.seen(regridded(domain.visible(maps, cells), domain, coarser))


def _overlapping(
    cells: Bool[np.ndarray, "..."], domain: AbstractDomain, coarser: AbstractDomain
) -> Bool[np.ndarray, "..."]:
    """Which cells of the coarser domain have any part of some of these."""
    if isinstance(domain, Sphere) and isinstance(coarser, Sphere):
        return hp.ud_grade(cells.astype(float), coarser.nside) > 0.0
    ratio = domain.cell_shape[0] // coarser.cell_shape[0]
    for axis in range(cells.ndim):
        near = range(-(ratio // 2), ratio // 2 + 1)
        cells = np.any([np.roll(cells, offset, axis) for offset in near], axis=0)
    return cells[(slice(None, None, ratio),) * cells.ndim]
