"""Spherical-harmonic transforms between HEALPix maps and coefficients, differentiable.

The transforms run in ducc0 (Reinecke & Seljebotn 2013, A&A 554, A112) on the CPU, or inside JAX.
The synthesis and its adjoint are exact transposes of one another, so each serves as derivative of
the other.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import TypeVar, cast

import ducc0
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Complex, Float, Int

from skysift.harmonic import legendre
from skysift.harmonic.host import AbstractHostMap, on_host

ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)

_TABLES_TO = 32
"""Largest nside at which products with tables are faster than ducc0 on a CPU."""


class Backend(enum.Enum):
    """What transforms JAX arrays.

    `DUCC` calls back to ducc0 on the CPU. `LEGENDRE` multiplies with tables inside JAX, on any
    device, for nside up to 64 or so (`harmonic/legendre.py`).
    """

    DUCC = "ducc"
    LEGENDRE = "legendre"

    @staticmethod
    def suited(nside: int) -> Backend:
        """The faster one on the default device, measured up to nside 64 on a CPU.

        Args:
            nside: of the maps.
        """
        small = nside <= _TABLES_TO or jax.default_backend() != "cpu"
        return Backend.LEGENDRE if small else Backend.DUCC


@dataclass(frozen=True)
class SHT:
    """Spherical-harmonic transform of full-sky HEALPix maps in RING ordering.

    Coefficients are packed as healpy packs them: m-major, real fields, so m from 0 to l only. With
    spin 1 and 2 the axis before the last holds (E, B) of coefficients and (Q, U) of maps, COSMO
    convention. NumPy arrays give NumPy arrays at once; JAX arrays may be traced, batched and
    differentiated.

    Args:
        nside: HEALPix resolution.
        lmax: largest multipole.
        threads: of the transform in ducc0, 0 for as many as the machine has.
        backend: for JAX arrays; NumPy arrays are transformed by ducc0.

    Raises:
        ValueError: for an nside that is not a power of two, or a negative lmax.

    Examples:
        >>> sht = SHT(nside=8, lmax=16)
        >>> alm = np.zeros(sht.size, complex)
        >>> alm[0] = np.sqrt(4 * np.pi)
        >>> float(sht.synthesis(alm)[100].round(12))
        1.0
    """

    nside: int
    lmax: int
    threads: int = 0
    backend: Backend = Backend.DUCC

    def __post_init__(self) -> None:
        if not hp.isnsideok(self.nside, nest=True):
            raise ValueError(f"nside: expected a power of two such as 64, got {self.nside!r}.")
        if self.lmax < 0:
            raise ValueError(f"lmax: expected 0 or more, got {self.lmax}. Use 3 * nside - 1.")

    @property
    def size(self) -> int:
        """Number of coefficients of one field."""
        return (self.lmax + 1) * (self.lmax + 2) // 2

    @property
    def npix(self) -> int:
        """Number of cells of a map."""
        return 12 * self.nside**2

    def synthesis(
        self, alm: Complex[ArrayT, "... alm"], spin: int = 0
    ) -> Float[ArrayT, "... cell"]:
        """Maps of coefficients.

        Args:
            alm: `(..., alm)`, with spin 1 and 2 `(..., 2, alm)` of E and B.
            spin: 0, 1 or 2.

        Returns:
            `(..., cell)`, with spin 1 and 2 `(..., 2, cell)` of Q and U, in the unit of `alm`.

        Raises:
            ValueError: for a spin other than 0, 1 and 2, or a shape that does not fit.
        """
        _check(alm, "alm", self.size, spin)
        if isinstance(alm, np.ndarray):
            return _synthesis(self, spin, alm)
        return on_host(_Synthesis(self, spin), alm)

    def adjoint(self, maps: Float[ArrayT, "... cell"], spin: int = 0) -> Complex[ArrayT, "... alm"]:
        """Adjoint of the synthesis, `sum over cells of conj(Y_lm) m`.

        `<adjoint(m), a> = <m, synthesis(a)>`, where coefficients with m > 0 count twice.

        Args:
            maps: `(..., cell)`, with spin 1 and 2 `(..., 2, cell)` of Q and U.
            spin: 0, 1 or 2.

        Returns:
            `(..., alm)`, with spin 1 and 2 `(..., 2, alm)` of E and B.

        Raises:
            ValueError: for a spin other than 0, 1 and 2, or a shape that does not fit.
        """
        _check(maps, "maps", self.npix, spin)
        if isinstance(maps, np.ndarray):
            return _adjoint(self, spin, maps)
        return on_host(_Adjoint(self, spin), maps)

    def analysis(
        self, maps: Float[ArrayT, "... cell"], spin: int = 0, iterations: int = 3
    ) -> Complex[ArrayT, "... alm"]:
        """Coefficients of maps: the quadrature with equal weights, refined by Jacobi iterations.

        The same as `healpy.map2alm` and `healpy.map2alm_spin` give with as many iterations.

        Args:
            maps: `(..., cell)`, with spin 1 and 2 `(..., 2, cell)` of Q and U.
            spin: 0, 1 or 2.
            iterations: refinements; each costs a synthesis and an adjoint.

        Returns:
            `(..., alm)`, with spin 1 and 2 `(..., 2, alm)` of E and B.

        Raises:
            ValueError: for a spin other than 0, 1 and 2, or a shape that does not fit.
        """
        area = 4.0 * np.pi / self.npix
        alm = area * self.adjoint(maps, spin)
        for _ in range(iterations):
            alm = alm + area * self.adjoint(maps - self.synthesis(alm, spin), spin)
        return alm

    def least_squares(
        self, maps: Float[ArrayT, "... cell"], spin: int = 0, tolerance: float | None = None
    ) -> Complex[ArrayT, "... alm"]:
        """Coefficients whose synthesis is closest to maps, by conjugate gradients.

        Those that a map was made of, where it has no others: the quadrature alone misses a tenth
        of the power of multipoles near three times nside. A linear map, and differentiated as one.

        Args:
            maps: `(..., cell)`, with spin 1 and 2 `(..., 2, cell)` of Q and U.
            spin: 0, 1 or 2.
            tolerance: of the residual of the normal equations over their right-hand side; 1e-10, in
                single precision 1e-5, by default.

        Returns:
            `(..., alm)`, with spin 1 and 2 `(..., 2, alm)` of E and B.

        Raises:
            ValueError: for a spin other than 0, 1 and 2, a shape that does not fit, or an lmax that
                the cells cannot tell.
        """
        _check(maps, "maps", self.npix, spin)
        if self.lmax >= 3 * self.nside:
            raise ValueError(
                f"lmax: expected at most {3 * self.nside - 1}, which cells of nside {self.nside} "
                f"can tell apart, got {self.lmax}. Use 3 * nside - 1."
            )
        values = jnp.asarray(maps)
        if tolerance is None:
            tolerance = 1e-5 if values.dtype == jnp.float32 else 1e-10
        root = np.sqrt(_multiplicity(self)).astype(values.dtype)
        area = 4.0 * np.pi / self.npix

        def scaled(alm: Array) -> Array:
            return area * jnp.stack([alm.real, alm.imag]) * root

        def normal(parts: Array) -> Array:
            alm = (parts[0] + 1j * parts[1]) / root
            return scaled(self.adjoint(self.synthesis(alm, spin), spin))

        def solve(one: Array) -> Array:
            parts, _ = cg(normal, scaled(self.adjoint(one, spin)), tol=tolerance, maxiter=1000)
            return (parts[0] + 1j * parts[1]) / root

        inner = values.shape[-2:] if spin else values.shape[-1:]
        found = jax.vmap(solve)(values.reshape(-1, *inner))
        alm = found.reshape(*values.shape[: values.ndim - len(inner)], *found.shape[1:])
        return cast("ArrayT", np.asarray(alm) if isinstance(maps, np.ndarray) else alm)


def multipoles(lmax: int) -> tuple[Int[np.ndarray, " alm"], Int[np.ndarray, " alm"]]:
    """Multipoles l and m of each packed coefficient, m-major.

    Examples:
        >>> multipoles(2)[0]
        array([0, 1, 2, 1, 2, 2])
    """
    ell = np.concatenate([np.arange(m, lmax + 1) for m in range(lmax + 1)])
    m = np.repeat(np.arange(lmax + 1), np.arange(lmax + 1, 0, -1))
    return ell, m


def _check(values: Array | np.ndarray, name: str, size: int, spin: int) -> None:
    if spin not in (0, 1, 2):
        raise ValueError(f"spin: expected 0, 1 or 2, got {spin!r}.")
    pair = (2,) if spin else ()
    shape = values.shape
    if shape[-1:] != (size,) or (spin and shape[-2:-1] != pair):
        expected = ", ".join(["...", *map(str, pair), str(size)])
        raise ValueError(
            f"{name}: expected shape ({expected}) for spin {spin}, got {shape}. "
            "Fill a cut sky with zeros first, and check nside and lmax."
        )


@functools.lru_cache(maxsize=16)
def _rings(nside: int) -> dict[str, np.ndarray]:
    return ducc0.healpix.Healpix_Base(nside, "RING").sht_info()


def _options(sht: SHT, spin: int) -> dict[str, object]:
    return {"spin": spin, "lmax": sht.lmax, "nthreads": sht.threads, **_rings(sht.nside)}


def _synthesis(sht: SHT, spin: int, alm: Complex[np.ndarray, "... alm"]) -> np.ndarray:
    alm = np.ascontiguousarray(alm)
    if alm.dtype not in (np.complex64, np.complex128):
        alm = alm.astype(np.complex128)
    fields = 2 if spin else 1
    maps = ducc0.sht.synthesis(alm=alm.reshape(-1, fields, sht.size), **_options(sht, spin))
    return maps.reshape(*alm.shape[:-1], sht.npix)


def _adjoint(sht: SHT, spin: int, maps: Float[np.ndarray, "... cell"]) -> np.ndarray:
    maps = np.ascontiguousarray(maps)
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float64)
    fields = 2 if spin else 1
    alm = ducc0.sht.adjoint_synthesis(map=maps.reshape(-1, fields, sht.npix), **_options(sht, spin))
    return alm.reshape(*maps.shape[:-1], sht.size)


@functools.lru_cache(maxsize=16)
def _multiplicity(sht: SHT) -> Float[np.ndarray, " alm"]:
    """How often a packed coefficient counts: twice, as m and -m, but for m = 0."""
    weight = np.full(sht.size, 2.0)
    weight[: sht.lmax + 1] = 1.0
    return weight


@dataclass(frozen=True)
class _AbstractTransform(AbstractHostMap):
    """One way between coefficients and maps, `weighted` or not.

    JAX transposes without conjugation, and coefficients with m > 0 stand for two: the transpose of
    one way is the other with weights, on conjugate coefficients.
    """

    sht: SHT
    spin: int
    weighted: bool = False

    @property
    def traced(self) -> bool:
        return self.sht.backend is Backend.LEGENDRE


class _Synthesis(_AbstractTransform):
    """The synthesis, or with `weighted` the transpose of the adjoint."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.sht.npix)

    def dtype(self, dtype: np.dtype) -> np.dtype:
        return np.finfo(dtype).dtype

    def evaluate(self, values: ArrayT) -> ArrayT:
        if self.weighted:
            weight = _multiplicity(self.sht).astype(self.dtype(values.dtype))
            values = values.conj() / weight
        if isinstance(values, np.ndarray):
            return _synthesis(self.sht, self.spin, values)
        return legendre.synthesis(values, self.sht.nside, self.sht.lmax, self.spin)

    def transpose(self) -> AbstractHostMap:
        return _Adjoint(self.sht, self.spin, weighted=not self.weighted)


class _Adjoint(_AbstractTransform):
    """The adjoint of the synthesis, or with `weighted` the transpose of the synthesis."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.sht.size)

    def dtype(self, dtype: np.dtype) -> np.dtype:
        return np.result_type(dtype, np.complex64)

    def evaluate(self, values: ArrayT) -> ArrayT:
        if isinstance(values, np.ndarray):
            alm = _adjoint(self.sht, self.spin, values)
        else:
            alm = legendre.adjoint(values, self.sht.nside, self.sht.lmax, self.spin)
        if self.weighted:
            return alm.conj() * _multiplicity(self.sht).astype(np.finfo(alm.dtype).dtype)
        return alm

    def transpose(self) -> AbstractHostMap:
        return _Synthesis(self.sht, self.spin, weighted=not self.weighted)
