"""Scores of the small scales of part of a Gaussian sky, from powers of bands of multipoles.

Much of a large multipole fits into what is seen, and its power tells nearly all of it: no inverse
of a covariance of cells is wanted. Powers are those of the maps as they are, zero where nothing is
seen; what the edge mixes is in what they expect of spectra (Hivon et al. 2002, ApJ 567, 2). Those
of B are left out: most of them is E that the edge has mixed.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.harmonic import SHT, Backend
from skysift.harmonic.coupling import Kernel, couplings
from skysift.inference.likelihood import mode_multipoles, real_parts
from skysift.inference.regions import Shared
from skysift.inference.simulators import GaussianSky, Split
from skysift.maps import Stokes

_WIDTH = 1.0 / 12.0
"""Of a band, over its multipole: spectra are smoother."""
_APART = 1.5
"""Of a band, times the root of the part of the sky: narrower ones the edge mixes."""
_DRAWS = 200
"""Maps by which mean powers are set right: cells sum the finest modes badly."""
_SOME = 20


@dataclass(frozen=True)
class Bands:
    """Bands of multipoles of masked maps.

    Args:
        nside: of the maps.
        stokes: I, or Q and U.
        edges: first multipole of each band, and that after the last.
    """

    nside: int
    stokes: Stokes
    edges: tuple[int, ...]

    @staticmethod
    def above(sky: GaussianSky, lmax: int) -> Bands:
        """Those between a multipole and the largest of a sky; there may be none.

        Args:
            sky: law of the maps; one mask for all.
            lmax: multipole above which they begin.
        """
        assert isinstance(sky.region, Shared)
        apart = _APART / math.sqrt(sky.region.grid.size / (12 * sky.nside**2))
        edges = [lmax + 1]
        while True:
            after = edges[-1] + math.ceil(max(apart, _WIDTH * edges[-1]))
            if after > sky.theory.lmax + 1:
                return Bands(sky.nside, sky.stokes, tuple(edges))
            edges.append(after)

    def powers(self, maps: Float[Array, "map stokes npix"]) -> Float[Array, "map band"]:
        """Mean squares of the coefficients of T or E in each band, in the unit of the maps squared.

        Args:
            maps: full sky, RING, zero where nothing is seen.
        """
        if len(self.edges) == 1:
            return jnp.zeros((len(maps), 0), maps.dtype)
        lmax, spin = self.edges[-1] - 1, 0 if self.stokes is Stokes.I else 2
        sht = SHT(self.nside, lmax, backend=Backend.suited(self.nside))
        area = 4.0 * np.pi / (12 * self.nside**2)
        alm = area * sht.adjoint(maps, spin)[:, :1]
        squares = real_parts(alm, lmax, Stokes.I)[:, 0] ** 2
        return squares @ jnp.asarray(_pools(self.edges))


@dataclass(frozen=True, eq=False)
class SmallScales:
    """What powers of bands expect of spectra, and how they scatter.

    Args:
        bands: of which powers are.
        mixing: of multipoles of the sky to those of the masked map, from each field.
        level: what a multipole of the masked map has without a sky, in the unit of maps squared.
        factors: of each band, that set right how cells sum.
        seen: part of the sky.
    """

    bands: Bands
    mixing: Float[np.ndarray, "field ell1 ell2"]
    level: float
    factors: Float[np.ndarray, " band"]
    seen: float

    @staticmethod
    def above(sky: GaussianSky, lmax: int) -> SmallScales:
        """Of the bands between a multipole and the largest of a sky.

        Args:
            sky: law of the maps; one mask for all.
            lmax: multipole above which they begin.
        """
        assert isinstance(sky.region, Shared)
        bands, most = Bands.above(sky, lmax), sky.theory.lmax
        mask = np.zeros(12 * sky.nside**2)
        mask[sky.region.grid.ring] = 1.0
        seen = float(mask.mean())
        kind = Kernel.SCALAR if sky.stokes is Stokes.I else Kernel.SPIN2
        (coupling,) = couplings(np.asarray(hp.anafast(mask)), most, most, [(kind, kind)])
        fields = [coupling.even] if sky.stokes is Stokes.I else [coupling.even, coupling.odd]
        level = sky.noise**2 * (4.0 * np.pi / mask.size) * seen
        plain = SmallScales(bands, np.stack(fields), level, np.ones(len(bands.edges) - 1), seen)
        return plain._set_right(sky)

    @functools.cached_property
    def response(self) -> Float[np.ndarray, "band field ell"]:
        """Of mean powers to spectra."""
        pools = self.factors[:, None] * _pooling(self.bands.edges, self.mixing.shape[1] - 1)
        return np.moveaxis(pools @ self.mixing, 0, 1)

    @property
    def noise(self) -> Float[np.ndarray, " band"]:
        """Mean powers without a sky."""
        return self.factors * self.level

    def expected(self, spectra: Float[np.ndarray, "field ell"]) -> Float[np.ndarray, " band"]:
        """Mean powers of maps, in their unit squared.

        Args:
            spectra: C_l of the sky, in the same unit.
        """
        return np.tensordot(self.response, spectra, axes=2) + self.noise

    def law(
        self, spectra: Float[np.ndarray, "field ell"], slopes: Float[np.ndarray, "field ell at"]
    ) -> tuple[Float[np.ndarray, "at band"], Float[np.ndarray, "at at"]]:
        """Weights of the powers in scores, and the information of these.

        The covariance of the powers is that of Efstathiou (2004, MNRAS 349, 603), with the mean
        spectrum of masked maps over the part of the sky. Weights are 1 or 0, and their squares mix
        variances as they themselves mix spectra.

        Args:
            spectra: of a node.
            slopes: their derivatives with the place.
        """
        change = np.tensordot(self.response, slopes, axes=2)
        power = (np.einsum("flk,fk->l", self.mixing, spectra) + self.level) / self.seen
        ell = np.arange(power.size)
        scatter = 2.0 * np.outer(power, power) * self.mixing[0] / (2.0 * ell + 1.0)
        pools = self.factors[:, None] * _pooling(self.bands.edges, power.size - 1)
        weights = np.linalg.solve(pools @ scatter @ pools.T, change)
        return weights.T, change.T @ weights

    def _set_right(self, sky: GaussianSky) -> SmallScales:
        """With the powers that maps of the centre of the prior have."""
        if not self.factors.size:
            return self
        middle = jnp.asarray(sky.prior.at(jnp.zeros(sky.prior.size)))
        places = jnp.broadcast_to(middle, (_SOME, sky.prior.size))

        @jax.jit
        def powers(key: PRNGKeyArray) -> Array:
            return self.bands.powers(sky.simulate(places, key).values.astype(jnp.float32))

        keys = jax.random.split(Split.TRAIN.key(0), _DRAWS // _SOME)
        found = np.concatenate([np.asarray(powers(key), float) for key in keys]).mean(axis=0)
        return replace(self, factors=found / self.expected(np.asarray(sky.theory(middle))))


def _pooling(edges: tuple[int, ...], lmax: int) -> Float[np.ndarray, "band ell"]:
    """Means over the modes of the multipoles of each band."""
    ell = np.arange(lmax + 1)
    bands = np.array([(ell >= low) & (ell < high) for low, high in itertools.pairwise(edges)])
    weights = bands.reshape(-1, lmax + 1) * (2.0 * ell + 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


@functools.lru_cache(maxsize=4)
def _pools(edges: tuple[int, ...]) -> Float[np.ndarray, "mode band"]:
    """Means over the real modes of each band."""
    ell = mode_multipoles(edges[-1] - 1, Stokes.I)
    weights = _pooling(edges, edges[-1] - 1) / (2.0 * np.arange(edges[-1]) + 1.0)
    return weights.T[ell].astype(np.float32)
