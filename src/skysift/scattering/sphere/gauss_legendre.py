"""Transforms of spin fields on Gauss-Legendre grids, where the quadrature is exact."""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import ducc0
import numpy as np
from jaxtyping import Array, Complex, Float
from scipy.fft import next_fast_len

from skysift.harmonic.host import AbstractHostMap, on_host

_WORTH_A_THREAD = 30_000_000
"""Size, lmax cubed for each transform, from which threads gain more than they cost: at lmax 128 two
of them take half as much CPU time again, for a tenth of the wall time."""


@dataclass(frozen=True)
class GaussLegendre:
    """Spherical-harmonic transforms of real fields on a Gauss-Legendre grid, for several spins.

    Coefficients are packed as healpy packs them. A field of spin 0 is one map; of spin n > 0 it is
    two, the real and the imaginary part (the Q and U of spin 2, COSMO convention).

    Args:
        lmax: largest multipole; the grid has `lmax + 1` rings of at least `2 * lmax + 2` cells.

    Examples:
        >>> grid = GaussLegendre(4)
        >>> grid.synthesis(np.ones(grid.size, complex), (0, 2)).shape
        (3, 50)
    """

    lmax: int

    @property
    def size(self) -> int:
        """Number of coefficients of a field."""
        return (self.lmax + 1) * (self.lmax + 2) // 2

    @property
    def rings(self) -> tuple[int, int]:
        """Number of rings and of cells on each."""
        return self.lmax + 1, cast(int, next_fast_len(2 * self.lmax + 2, real=True))

    @property
    def npix(self) -> int:
        """Number of cells of the grid."""
        rings, cells = self.rings
        return rings * cells

    @property
    def weights(self) -> Float[np.ndarray, " cell"]:
        """Area of each cell over the sphere: the weights of an average, exact to degree 2 lmax."""
        return _weights(self.lmax) / (4.0 * np.pi)

    def directions(self) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
        """Colatitude and longitude of each cell, in radians."""
        rings, cells = self.rings
        theta = np.arccos(np.polynomial.legendre.leggauss(rings)[0][::-1])
        phi = np.arange(cells) * (2.0 * np.pi / cells)
        return np.repeat(theta, cells), np.tile(phi, rings)

    def synthesis(
        self, alm: Complex[Array, "... alm"], spins: tuple[int, ...]
    ) -> Float[Array, "... field cell"]:
        """Fields of each spin with these coefficients as their gradient part, and no curl.

        Args:
            alm: `(..., alm)`.
            spins: 0 gives one field, any other two.
        """
        return on_host(_Synthesis(self.lmax, spins), alm)

    def analysis(
        self, fields: Float[Array, "... field cell"], spins: tuple[int, ...]
    ) -> Complex[Array, "... field alm"]:
        """Coefficients of fields: of spin 0 one set, of any other two, gradient and curl.

        Args:
            fields: `(..., field, cell)`, in the order in which `synthesis` gives them.
            spins: of the fields.
        """
        return on_host(_Analysis(self.lmax, spins), fields)


@functools.lru_cache(maxsize=64)
def _weights(lmax: int) -> Float[np.ndarray, " cell"]:
    rings, cells = GaussLegendre(lmax).rings
    weights = np.polynomial.legendre.leggauss(rings)[1][::-1] * (2.0 * np.pi / cells)
    return np.repeat(weights, cells)


@functools.lru_cache(maxsize=64)
def _multiplicity(lmax: int) -> Float[np.ndarray, " alm"]:
    """How often a packed coefficient counts: twice, as m and -m, but for m = 0."""
    weight = np.full((lmax + 1) * (lmax + 2) // 2, 2.0)
    weight[: lmax + 1] = 1.0
    return weight


@functools.lru_cache(maxsize=1)
def _workers(process: int) -> tuple[ThreadPoolExecutor, int]:
    """Threads of this process, for one transform each: small ones scale best so."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return ThreadPoolExecutor(count, thread_name_prefix="skysift-sht"), count


def _fields(spins: tuple[int, ...]) -> list[slice]:
    """Which fields belong to each spin."""
    edges = np.cumsum([0, *(1 if spin == 0 else 2 for spin in spins)])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]


@dataclass(frozen=True)
class _AbstractTransform(AbstractHostMap):
    lmax: int
    spins: tuple[int, ...]

    @property
    def grid(self) -> GaussLegendre:
        return GaussLegendre(self.lmax)

    @property
    def count(self) -> int:
        return _fields(self.spins)[-1].stop

    def each(self, batch: int, task: object) -> None:
        """Run `task(item, spin, fields)` for each item of the batch and each spin."""
        jobs = [
            (item, spin, fields)
            for spin, fields in zip(self.spins, _fields(self.spins), strict=True)
            for item in range(batch)
        ]
        workers, count = _workers(os.getpid())
        if count == 1 or len(jobs) * self.lmax**3 < _WORTH_A_THREAD:
            for job in jobs:
                task(*job)  # type: ignore[operator]
        else:
            list(workers.map(lambda job: task(*job), jobs))  # type: ignore[operator]


def _real(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float32 if dtype == np.complex64 else np.float64)


def _complex(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.complex64 if dtype == np.float32 else np.complex128)


class _ToFields(_AbstractTransform):
    def dtype(self, dtype: np.dtype) -> np.dtype:
        return _real(dtype)


class _ToCoefficients(_AbstractTransform):
    def dtype(self, dtype: np.dtype) -> np.dtype:
        return _complex(dtype)


class _Synthesis(_ToFields):
    """Gradient-only synthesis of each spin, `(..., alm)` to `(..., field, cell)`."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.count, self.grid.npix)

    def evaluate(self, values: np.ndarray) -> np.ndarray:
        alm = np.ascontiguousarray(values).reshape(-1, 1, self.grid.size)
        out = np.empty((len(alm), self.count, *self.grid.rings), _real(alm.dtype))

        def task(item: int, spin: int, fields: slice) -> None:
            ducc0.sht.synthesis_2d(
                alm=alm[item],
                map=out[item, fields],
                spin=spin,
                lmax=self.lmax,
                geometry="GL",
                mode="GRAD_ONLY" if spin else "STANDARD",
            )

        self.each(len(alm), task)
        return out.reshape(self.shape(values.shape))

    def transpose(self) -> AbstractHostMap:
        return _SynthesisTransposed(self.lmax, self.spins)


class _SynthesisTransposed(_ToCoefficients):
    """Transpose of `_Synthesis`, `(..., field, cell)` to `(..., alm)`."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], self.grid.size)

    def evaluate(self, values: np.ndarray) -> np.ndarray:
        maps = np.ascontiguousarray(values).reshape(-1, self.count, *self.grid.rings)
        out = np.empty((len(maps), len(self.spins), 1, self.grid.size), dtype=_complex(maps.dtype))
        order = {spin: position for position, spin in enumerate(self.spins)}

        def task(item: int, spin: int, fields: slice) -> None:
            ducc0.sht.adjoint_synthesis_2d(
                map=maps[item, fields],
                alm=out[item, order[spin]],
                spin=spin,
                lmax=self.lmax,
                geometry="GL",
                mode="GRAD_ONLY" if spin else "STANDARD",
            )

        self.each(len(maps), task)
        total = out.sum(axis=(1, 2)).conj()
        total *= _multiplicity(self.lmax).astype(maps.dtype)
        return total.reshape(self.shape(values.shape))

    def transpose(self) -> AbstractHostMap:
        return _Synthesis(self.lmax, self.spins)


class _Analysis(_ToCoefficients):
    """Exact analysis of each spin, `(..., field, cell)` to `(..., field, alm)`."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.grid.size)

    def evaluate(self, values: np.ndarray) -> np.ndarray:
        maps = values.reshape(-1, self.count, self.grid.npix)
        maps = maps * _weights(self.lmax).astype(maps.dtype)
        maps = maps.reshape(-1, self.count, *self.grid.rings)
        out = np.empty((len(maps), self.count, self.grid.size), dtype=_complex(maps.dtype))

        def task(item: int, spin: int, fields: slice) -> None:
            ducc0.sht.adjoint_synthesis_2d(
                map=maps[item, fields],
                alm=out[item, fields],
                spin=spin,
                lmax=self.lmax,
                geometry="GL",
            )

        self.each(len(maps), task)
        return out.reshape(self.shape(values.shape))

    def transpose(self) -> AbstractHostMap:
        return _AnalysisTransposed(self.lmax, self.spins)


class _AnalysisTransposed(_ToFields):
    """Transpose of `_Analysis`, `(..., field, alm)` to `(..., field, cell)`."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.grid.npix)

    def evaluate(self, values: np.ndarray) -> np.ndarray:
        alm = np.conj(values).reshape(-1, self.count, self.grid.size)
        alm = alm / _multiplicity(self.lmax).astype(_real(alm.dtype))
        out = np.empty((len(alm), self.count, *self.grid.rings), _real(alm.dtype))

        def task(item: int, spin: int, fields: slice) -> None:
            ducc0.sht.synthesis_2d(
                alm=alm[item, fields],
                map=out[item, fields],
                spin=spin,
                lmax=self.lmax,
                geometry="GL",
            )

        self.each(len(alm), task)
        out = out.reshape(len(alm), self.count, self.grid.npix)
        out *= _weights(self.lmax).astype(out.dtype)
        return out.reshape(self.shape(values.shape))

    def transpose(self) -> AbstractHostMap:
        return _Analysis(self.lmax, self.spins)
