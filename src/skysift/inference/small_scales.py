"""Scores of the small scales of part of a Gaussian sky, from powers of bands of multipoles.

Much of a large multipole fits into what is seen, and its power tells nearly all of it: no inverse
of a covariance of cells is wanted. Powers of T or E are those of the maps as they are, zero where
nothing is seen; what the edge mixes is in what they expect of spectra (Hivon et al. 2002, ApJ 567,
2). Most of B would be E that the edge has mixed: those of B are purified (`harmonic.purify`), with
a smooth edge.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import Self

import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.grid import Grid
from skysift.harmonic import SHT, Backend
from skysift.harmonic.apodise import apodised
from skysift.harmonic.coupling import Kernel, couplings
from skysift.harmonic.purify import Purification
from skysift.inference.likelihood import mode_multipoles, real_parts
from skysift.inference.regions import Shared
from skysift.inference.simulators import GaussianSky, Split
from skysift.maps import Stokes

_WIDTH = 1.0 / 12.0
"""Of a band, over its multipole: spectra are smoother."""
_APART = 1.5
"""Of a band, times the root of the part of the sky: narrower ones the edge mixes."""
_FINEST = 2.3
"""Of the multipoles of purified B, over nside: cells sample finer E modes as B."""
_EDGE = 3.0
"""Of the weights of B, in sides of a cell: with 2, a tenth of small B modes is E."""
_ENOUGH = 0.5
"""Part of the seen sky that these weights have to leave."""
_DRAWS = 200
"""Maps by which mean powers are set right: cells sum the finest modes badly."""
_SOME = 20


@dataclass(frozen=True)
class Bands:
    """Bands of multipoles of masked maps.

    Args:
        nside: of the maps.
        stokes: I, or Q and U.
        grid: cells that are seen.
        edges: first multipole of each band of T or E, and that after the last.
        pure: how many of these bands, from the first, B has.
    """

    nside: int
    stokes: Stokes
    grid: Grid
    edges: tuple[int, ...]
    pure: int = 0

    @staticmethod
    def above(sky: GaussianSky, lmax: int) -> Bands:
        """Those between a multipole and the largest of a sky; there may be none.

        Args:
            sky: law of the maps; one mask for all.
            lmax: multipole above which they begin.
        """
        assert isinstance(sky.region, Shared)
        grid = sky.region.grid
        apart = _APART / math.sqrt(grid.size / (12 * sky.nside**2))
        edges = [lmax + 1]
        while True:
            after = edges[-1] + math.ceil(max(apart, _WIDTH * edges[-1]))
            if after > sky.theory.lmax + 1:
                break
            edges.append(after)
        pure = 0
        if sky.stokes is not Stokes.I and tapered(grid).mean() >= _ENOUGH * _mask(grid).mean():
            pure = sum(after <= _FINEST * sky.nside + 1 for after in edges[1:])
        return Bands(sky.nside, sky.stokes, grid, tuple(edges), pure)

    @property
    def count(self) -> int:
        """How many powers there are of a map."""
        return len(self.edges) - 1 + self.pure

    @property
    def edges_pure(self) -> tuple[int, ...]:
        """Edges of the bands of B."""
        return self.edges[: self.pure + 1]

    def powers(self, maps: Float[Array, "map stokes npix"]) -> Float[Array, "map band"]:
        """Mean squares of the coefficients of T or E in each band, then of purified B.

        Args:
            maps: full sky, RING, zero where nothing is seen.

        Returns:
            In the unit of the maps squared.
        """
        if not self.count:
            return jnp.zeros((len(maps), 0), maps.dtype)
        spin = 0 if self.stokes is Stokes.I else 2
        sht = self._sht(self.edges)
        powers = _pooled(sht.analysis(maps, spin, iterations=0)[:, :1], self.edges)
        if not self.pure:
            return powers
        sht, weight = self._sht(self.edges_pure), tapered(self.grid).astype(maps.dtype)
        alm = sht.analysis(maps * weight, spin, iterations=0)[:, 1:]
        alm = alm + jnp.asarray(purification(self.grid)(sht, maps))[:, None]
        return jnp.concatenate([powers, _pooled(alm, self.edges_pure)], axis=1)

    def _sht(self, edges: tuple[int, ...]) -> SHT:
        return SHT(self.nside, edges[-1] - 1, backend=Backend.suited(self.nside))


@dataclass(frozen=True, eq=False)
class Response:
    """What powers of multipoles of weighted maps, of one field, are of a sky.

    Args:
        mixing: of multipoles of the sky to those of the maps, from each field.
        noise: of each multipole, without a sky, in the unit of the maps squared.
        scatter: how multipoles mix variances.
        seen: mean square of the weights.
    """

    mixing: Float[np.ndarray, "field ell1 ell2"]
    noise: Float[np.ndarray, " ell1"]
    scatter: Float[np.ndarray, "ell1 ell1"]
    seen: float

    @staticmethod
    def plain(sky: GaussianSky, grid: Grid) -> Response:
        """Of T or E of maps as they are.

        Weights are 1 or 0, and their squares mix variances as they themselves mix spectra.

        Args:
            sky: law of the maps.
            grid: cells that are seen.
        """
        most, mask = sky.theory.lmax, _mask(grid)
        kind = Kernel.SCALAR if sky.stokes is Stokes.I else Kernel.SPIN2
        (coupling,) = couplings(np.asarray(hp.anafast(mask)), most, most, [(kind, kind)])
        fields = [coupling.even] if sky.stokes is Stokes.I else [coupling.even, coupling.odd]
        seen = float(mask.mean())
        level = sky.noise**2 * (4.0 * np.pi / mask.size) * seen
        return Response(np.stack(fields), np.full(most + 1, level), coupling.even, seen)

    @staticmethod
    def pure(sky: GaussianSky, grid: Grid, lmax: int) -> Response:
        """Of purified B.

        Args:
            sky: law of the maps.
            grid: cells that are seen.
            lmax: largest multipole of B.
        """
        weight, kinds = tapered(grid), [(Kernel.PURE, Kernel.PURE)]
        (pure,) = couplings(np.asarray(hp.anafast(weight)), lmax, sky.theory.lmax, kinds)
        square = np.asarray(hp.anafast(weight**2))
        (scatter,) = couplings(square, lmax, lmax, [(Kernel.SPIN2, Kernel.SPIN2)])
        noise = purification(grid).noise(lmax, sky.noise**2)
        mixing = np.stack([pure.odd, pure.even])
        return Response(mixing, noise, scatter.even, float(np.mean(weight**2)))

    def covariance(self, spectra: Float[np.ndarray, "field ell"]) -> Float[np.ndarray, "ell1 ell1"]:
        """Covariance of the powers of multipoles (Efstathiou 2004, MNRAS 349, 603).

        Args:
            spectra: C_l of the sky, in the unit of the maps squared.
        """
        power = (np.einsum("flk,fk->l", self.mixing, spectra) + self.noise) / self.seen
        return 2.0 * np.outer(power, power) * self.scatter / (2.0 * np.arange(power.size) + 1.0)


@dataclass(frozen=True, eq=False)
class SmallScales:
    """What powers of bands expect of spectra, and how they scatter.

    Args:
        bands: of which powers are.
        parts: responses of T or E, and of B where it has bands.
        factors: of each band, that set right how cells sum.
    """

    bands: Bands
    parts: tuple[Response, ...]
    factors: Float[np.ndarray, " band"]

    @staticmethod
    def above(sky: GaussianSky, lmax: int) -> SmallScales:
        """Of the bands between a multipole and the largest of a sky.

        Args:
            sky: law of the maps; one mask for all.
            lmax: multipole above which they begin.
        """
        bands = Bands.above(sky, lmax)
        parts = [Response.plain(sky, bands.grid)]
        if bands.pure:
            parts.append(Response.pure(sky, bands.grid, bands.edges_pure[-1] - 1))
        return SmallScales(bands, tuple(parts), np.ones(bands.count))._set_right(sky)

    @functools.cached_property
    def response(self) -> Float[np.ndarray, "band field ell"]:
        """Of mean powers to spectra."""
        found = [
            np.moveaxis(pools @ part.mixing, 0, 1)
            for pools, part in zip(self._pools, self.parts, strict=True)
        ]
        return np.concatenate(found)

    @functools.cached_property
    def noise(self) -> Float[np.ndarray, " band"]:
        """Mean powers without a sky."""
        return np.concatenate(
            [pools @ part.noise for pools, part in zip(self._pools, self.parts, strict=True)]
        )

    def expected(self, spectra: Float[np.ndarray, "field ell"]) -> Float[np.ndarray, " band"]:
        """Mean powers of maps, in their unit squared.

        Args:
            spectra: C_l of the sky, in the same unit.
        """
        return np.tensordot(self.response, spectra, axes=2) + self.noise

    def law(
        self, spectra: Float[np.ndarray, "field ell"], slopes: Float[np.ndarray, "field ell at"]
    ) -> tuple[Float[np.ndarray, "at band"], Float[np.ndarray, "at at"]]:
        """Weights of the powers in scores, and the information of these; E and B independent.

        Args:
            spectra: of a node.
            slopes: their derivatives with the place.
        """
        change = np.tensordot(self.response, slopes, axes=2)
        blocks = [
            pools @ part.covariance(spectra) @ pools.T
            for pools, part in zip(self._pools, self.parts, strict=True)
        ]
        covariance = np.asarray(scipy.linalg.block_diag(*blocks))
        weights = np.linalg.solve(covariance, change)
        return weights.T, change.T @ weights

    @functools.cached_property
    def _pools(self) -> list[Float[np.ndarray, "band ell"]]:
        """Means over the multipoles of each band, with the factors that set them right."""
        count, out = len(self.bands.edges) - 1, []
        for part, edges, factors in zip(
            self.parts,
            (self.bands.edges, self.bands.edges_pure),
            (self.factors[:count], self.factors[count:]),
            strict=False,
        ):
            out.append(factors[:, None] * _pooling(edges, part.noise.size - 1))
        return out

    def _set_right(self, sky: GaussianSky) -> Self:
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


@functools.lru_cache(maxsize=2)
def tapered(grid: Grid) -> Float[np.ndarray, " npix"]:
    """Weights of the cells from which B is purified; zero where nothing is seen.

    Args:
        grid: cells that are seen; the weights of few cells are zero.
    """
    width = _EDGE * math.degrees(hp.nside2resol(grid.require_nside()))
    try:
        return apodised(_mask(grid) > 0.0, width)
    except ValueError:  # narrower than the edge
        return np.zeros(grid.npix)


@functools.lru_cache(maxsize=2)
def purification(grid: Grid) -> Purification:
    """What takes E out of the B modes of maps with these weights.

    Args:
        grid: cells that are seen.
    """
    return Purification(tapered(grid))


def _mask(grid: Grid) -> Float[np.ndarray, " npix"]:
    mask = np.zeros(grid.npix)
    mask[grid.ring] = 1.0
    return mask


def _pooling(edges: tuple[int, ...], lmax: int) -> Float[np.ndarray, "band ell"]:
    """Means over the modes of the multipoles of each band."""
    ell = np.arange(lmax + 1)
    bands = np.array([(ell >= low) & (ell < high) for low, high in itertools.pairwise(edges)])
    weights = bands.reshape(-1, lmax + 1) * (2.0 * ell + 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _pooled(alm: Array, edges: tuple[int, ...]) -> Float[Array, "map band"]:
    """Mean squares of the coefficients of one field in each band."""
    squares = real_parts(alm, edges[-1] - 1, Stokes.I)[:, 0] ** 2
    return squares @ jnp.asarray(_pools(edges))


@functools.lru_cache(maxsize=4)
def _pools(edges: tuple[int, ...]) -> Float[np.ndarray, "mode band"]:
    """Means over the real modes of each band."""
    ell = mode_multipoles(edges[-1] - 1, Stokes.I)
    weights = _pooling(edges, edges[-1] - 1) / (2.0 * np.arange(edges[-1]) + 1.0)
    return weights.T[ell].astype(np.float32)
