"""Layers of networks on HEALPix cells, and what takes the place of cells that are not seen.

Convolutions over a cell and its eight neighbours, and averages of four children, are those of
NNhealpix (Krachmalnicoff & Tomasi 2019, arXiv:1902.04083). They see neighbours in directions that
differ from place to place: rotations of the sky do not commute with them.
"""

from __future__ import annotations

import enum
import functools
import math

import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

_SMOOTHINGS = 4
"""Averages over neighbours at each resolution, from coarse to fine, of what fills unseen cells."""
_TINY = 1e-30
"""Of the seen part of a map that shows nothing, whose mean is zero."""


class Pooling(enum.Enum):
    """What becomes of four children."""

    MEAN = "mean"
    LARGEST = "largest"


class Unseen(enum.Enum):
    """What stands in cells that are not seen: zeros, or a smooth continuation."""

    ZERO = "zero"
    EXTENDED = "extended"


class HierarchicalConvolution(eqx.Module):
    """Weighted sums over each cell and its eight neighbours, NESTED.

    A cell at a corner of the base pixels has seven neighbours; the mean of the two around the gap
    stands for the eighth, so that a constant map stays constant.

    Args:
        nside: of the maps.
        inputs: number of channels.
        outputs: number of channels.
        key: of the first weights, which keep the variance of white maps through a `relu`.

    Examples:
        >>> layer = HierarchicalConvolution(4, 1, 3, key=jax.random.key(0))
        >>> layer(jnp.ones((2, 1, 192), jnp.float32)).shape
        (2, 3, 192)
    """

    weights: Float[Array, "output input 9"]
    bias: Float[Array, "output 1"]
    nside: int = eqx.field(static=True)

    def __init__(self, nside: int, inputs: int, outputs: int, *, key: PRNGKeyArray) -> None:
        _check_nside(nside)
        self.nside = nside
        spread = math.sqrt(2.0 / (9 * inputs))
        self.weights = spread * jax.random.normal(key, (outputs, inputs, 9), jnp.float32)
        self.bias = jnp.zeros((outputs, 1), jnp.float32)

    def __call__(self, maps: Float[Array, "map input npix"]) -> Float[Array, "map output npix"]:
        """Sums of maps in NESTED order.

        Raises:
            ValueError: for another number of channels or cells.
        """
        expected = (self.weights.shape[1], 12 * self.nside**2)
        if maps.shape[-2:] != expected:
            raise ValueError(
                f"maps: expected shape (map, {expected[0]}, {expected[1]}), channels and cells of "
                f"nside {self.nside}, got {maps.shape}. Make the layer for these."
            )
        weights, bias = self.weights.astype(maps.dtype), self.bias.astype(maps.dtype)
        return jnp.einsum("oik,nikc->noc", weights, neighbours(maps, self.nside)) + bias


def neighbours(maps: Float[Array, "... npix"], nside: int) -> Float[Array, "... 9 npix"]:
    """Values of each cell, then of its neighbours SW, W, NW, N, NE, E, SE, S.

    Args:
        maps: NESTED.
        nside: of the maps.
    """
    place, around = _around(nside)
    means = 0.5 * (maps[..., around[0]] + maps[..., around[1]])
    return jnp.concatenate([maps, means], axis=-1)[..., place]


@functools.lru_cache(maxsize=16)
def _around(nside: int) -> tuple[Int[np.ndarray, "9 npix"], Int[np.ndarray, "2 gap"]]:
    """Where neighbours stand among cells and means over gaps, and the cells beside each gap."""
    cells = np.arange(12 * nside**2)
    found = hp.get_all_neighbours(nside, cells, nest=True)
    direction, cell = np.nonzero(found < 0)
    beside = np.stack([found[direction - 1, cell], found[(direction + 1) % 8, cell]])
    found[direction, cell] = cells.size + np.arange(direction.size)
    return np.concatenate([cells[None], found]), beside


def pooled(maps: Float[Array, "... npix"], kind: Pooling = Pooling.MEAN) -> Float[Array, "..."]:
    """Maps of half the nside.

    Args:
        maps: NESTED.
        kind: what becomes of four children.

    Examples:
        >>> pooled(jnp.arange(48.0)[None]).shape
        (1, 12)
    """
    children = maps.reshape(*maps.shape[:-1], -1, 4)
    return children.mean(axis=-1) if kind is Pooling.MEAN else children.max(axis=-1)


def nested(maps: Float[Array, "... npix"], nside: int) -> Float[Array, "... npix"]:
    """RING maps in NESTED order."""
    return maps[..., hp.nest2ring(nside, np.arange(12 * nside**2))]


def ring(maps: Float[Array, "... npix"], nside: int) -> Float[Array, "... npix"]:
    """NESTED maps in RING order."""
    return maps[..., hp.ring2nest(nside, np.arange(12 * nside**2))]


def extended(
    maps: Float[Array, "map channel npix"], mask: Bool[Array, "map npix"]
) -> Float[Array, "map channel npix"]:
    """Maps continued smoothly into cells that are not seen; those that are keep their values.

    Means of seen cells are taken from resolution to resolution down to nside 1. Back up, unseen
    cells take the value of their parent and are averaged over their neighbours a few times. Far
    from what is seen nothing but its mean is left. Linear in the values. Q and U are continued
    each for itself, in frames that turn from cell to cell, so only short ways from poles apart.

    Args:
        maps: RING, any values where nothing is seen.
        mask: true where a cell is seen.

    Examples:
        >>> mask = jnp.arange(48)[None] < 20
        >>> float(extended(jnp.full((1, 1, 48), 3.0), mask)[0, 0, 47])
        3.0
    """
    nside = hp.npix2nside(maps.shape[-1])
    weights = [nested(mask, nside)[:, None].astype(maps.dtype)]
    sums = [jnp.where(weights[0] > 0, nested(maps, nside), 0.0)]
    for _ in range(int(math.log2(nside))):
        sums.append(pooled(sums[-1]))
        weights.append(pooled(weights[-1]))
    everything = jnp.maximum(weights[-1].mean(axis=-1, keepdims=True), _TINY)
    coarse = jnp.broadcast_to(sums[-1].mean(axis=-1, keepdims=True) / everything, sums[-1].shape)
    for level, (total, weight) in reversed(list(enumerate(zip(sums, weights, strict=True)))):
        seen = weight > 0
        means = total / jnp.where(seen, weight, 1.0)
        filled = jnp.where(seen, means, coarse)
        for _ in range(_SMOOTHINGS):
            smooth = neighbours(filled, nside >> level).mean(axis=-2)
            filled = jnp.where(seen, means, smooth)
        coarse = jnp.repeat(filled, 4, axis=-1) if level else filled
    return ring(coarse, nside)


class MaskedInput(eqx.Module):
    """Maps and masks as one set of channels.

    Args:
        unseen: what stands in cells that are not seen.
        channel: whether the mask, one where a cell is seen and zero elsewhere, comes last.

    Examples:
        >>> both = MaskedInput(channel=True)
        >>> both(jnp.ones((2, 2, 48)), jnp.ones((2, 48), bool)).shape
        (2, 3, 48)
    """

    unseen: Unseen = eqx.field(static=True, default=Unseen.ZERO)
    channel: bool = eqx.field(static=True, default=False)

    def __call__(
        self, values: Float[Array, "map stokes npix"], mask: Bool[Array, "map npix"]
    ) -> Float[Array, "map channel npix"]:
        """Channels of maps; nothing that stands in an unseen cell, NaN neither, gets through.

        Raises:
            ValueError: for masks of another shape or type.
        """
        if mask.dtype != jnp.bool_ or mask.shape != (values.shape[0], values.shape[-1]):
            raise ValueError(
                f"mask: expected booleans of shape {(values.shape[0], values.shape[-1])}, one mask "
                f"for each map, got {mask.dtype} of shape {mask.shape}. Threshold it, or repeat it."
            )
        known = jnp.where(mask[:, None], values, 0.0)
        if self.unseen is Unseen.EXTENDED:
            known = extended(known, mask)
        if not self.channel:
            return known
        return jnp.concatenate([known, mask[:, None].astype(values.dtype)], axis=1)


def _check_nside(nside: int) -> None:
    if not hp.isnsideok(nside, nest=True):
        raise ValueError(f"nside: expected a power of two such as 16, got {nside!r}.")
