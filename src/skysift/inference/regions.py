"""Which cells of a sky are seen: the same in all maps, or others in each."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from skysift.grid import Grid


@dataclass(frozen=True)
class AbstractRegion(abc.ABC):
    """A law of masks."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, count: int, nside: int) -> Bool[Array, "map npix"]:
        """Masks, true where a cell is seen, full sky, RING.

        Args:
            key: of the random numbers.
            count: how many.
            nside: resolution.

        Raises:
            ValueError: where there are no such masks at this nside.
        """


@dataclass(frozen=True)
class FullSky(AbstractRegion):
    """Every cell."""

    def draw(self, key: PRNGKeyArray, count: int, nside: int) -> Bool[Array, "map npix"]:
        """The same for every map."""
        return jnp.ones((count, 12 * nside**2), bool)


@dataclass(frozen=True)
class Shared(AbstractRegion):
    """The same cells in every map.

    Args:
        grid: the cells.

    Examples:
        >>> region = Shared(Grid.from_mask(cap(0.1, 16)))
        >>> int(region.draw(jax.random.key(0), 2, 16).sum())
        620
    """

    grid: Grid

    def draw(self, key: PRNGKeyArray, count: int, nside: int) -> Bool[Array, "map npix"]:
        """The same for every map."""
        if nside != self.grid.nside:
            raise ValueError(
                f"grid: expected cells of nside {nside} as the maps have, got nside "
                f"{self.grid.nside}. Make the mask at nside {nside}."
            )
        mask = np.zeros(self.grid.npix, dtype=bool)
        mask[self.grid.ring] = True
        return jnp.broadcast_to(jnp.asarray(mask), (count, mask.size))


@dataclass(frozen=True)
class RandomCaps(AbstractRegion):
    """A spherical cap around another random direction in each map.

    Args:
        fsky: part of the sky, more than 0, up to 1.

    Raises:
        ValueError: for no such part.
    """

    fsky: float

    def __post_init__(self) -> None:
        _check_fsky(self.fsky)

    def draw(self, key: PRNGKeyArray, count: int, nside: int) -> Bool[Array, "map npix"]:
        """One cap for each map, around directions uniform over the sphere."""
        axes = jax.random.normal(key, (count, 3), float)
        axes = axes / jnp.linalg.norm(axes, axis=1, keepdims=True)
        return axes @ jnp.asarray(_vectors(nside)).T >= 1.0 - 2.0 * self.fsky


def cap(fsky: float, nside: int, seed: int = 0) -> Bool[np.ndarray, " npix"]:
    """A spherical cap around the direction of a seed.

    The direction is that of torch-harmonics-healpix: colatitude and longitude uniform, in this
    order, of `numpy.random.default_rng(seed)`.

    Args:
        fsky: part of the sky, more than 0, up to 1.
        nside: resolution.
        seed: of the direction.

    Returns:
        True in cells whose centre is in the cap, full sky, RING.

    Raises:
        ValueError: for no such part, or a cap between all cells.

    Examples:
        >>> [int(cap(fsky, 16).sum()) for fsky in (1.0, 0.5, 0.2, 0.1, 0.05)]
        [3072, 1536, 611, 310, 152]
    """
    _check_fsky(fsky)
    rng = np.random.default_rng(seed)
    theta, phi = rng.uniform(0.0, math.pi), rng.uniform(0.0, 2.0 * math.pi)
    mask = _vectors(nside) @ hp.ang2vec(theta, phi) >= 1.0 - 2.0 * fsky
    if not mask.any():
        raise ValueError(
            f"fsky: expected a cap with at least one cell of nside {nside}, got {fsky}. Choose a "
            "larger one."
        )
    return mask


def _vectors(nside: int) -> Float[np.ndarray, "npix 3"]:
    return np.stack(hp.pix2vec(nside, np.arange(12 * nside**2)), axis=-1)


def _check_fsky(fsky: float) -> None:
    if not 0.0 < fsky <= 1.0:
        raise ValueError(f"fsky: expected more than 0, up to 1, got {fsky!r}. Say fsky=1.0.")
