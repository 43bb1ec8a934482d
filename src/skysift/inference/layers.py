"""Layers of networks in harmonic space: filters of coefficients, and what may stand between them.

A filter whose gains depend on the multipole l alone commutes with rotations of the sky. Scalars (T,
E) and pseudoscalars (B), which a reflection turns over, are kept apart, so that a network cannot
take E for B. Between filters stand functions of each cell. A function of band-limited maps is not
band-limited, and what it has beyond the multipoles that cells can tell apart breaks the symmetry a
little; filters alone keep it to rounding.
"""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from skysift.harmonic import SHT, multipoles
from skysift.maps import Stokes


class Gains(enum.Enum):
    """What the gains of a filter depend on.

    `DEGREE`: on l; the filter is a convolution with an axisymmetric kernel and commutes with
    rotations. `COEFFICIENT`: on l and m, and they are complex, as in torch-harmonics-healpix. Such
    a filter does not commute with rotations about any axis but that of the poles, whatever is said
    of it there; a network of them has to learn from many maps that the sky has no poles.
    """

    DEGREE = "l"
    COEFFICIENT = "l and m"


@dataclass(frozen=True)
class Transform:
    """Between maps and coefficients, with as many refinements as wanted.

    Args:
        sht: the transforms.
        iterations: of the quadrature (`SHT.analysis`); None for least squares, which find the
            coefficients of band-limited maps to rounding.

    Examples:
        >>> transform = Transform(SHT(4, 8), iterations=None)
        >>> alm = jnp.zeros((1, transform.sht.size), complex).at[0, 2].set(1.0)
        >>> bool(abs(transform.analysis(transform.synthesis(alm)) - alm).max() < 1e-8)
        True
    """

    sht: SHT
    iterations: int | None = 3

    def __post_init__(self) -> None:
        if self.iterations is not None and self.iterations < 0:
            raise ValueError(
                f"iterations: expected 0 or more, or None for least squares, got {self.iterations}."
                " Say 3, as healpy does."
            )

    def analysis(self, maps: Float[Array, "... npix"], spin: int = 0) -> Complex[Array, "... alm"]:
        """Coefficients, as `SHT.analysis` or `SHT.least_squares`."""
        if self.iterations is None:
            return self.sht.least_squares(maps, spin)
        return self.sht.analysis(maps, spin, self.iterations)

    def synthesis(self, alm: Complex[Array, "... alm"], spin: int = 0) -> Float[Array, "... npix"]:
        """Maps, as `SHT.synthesis`."""
        return self.sht.synthesis(alm, spin)


class Fields(eqx.Module):
    """Scalars and pseudoscalars: maps, or their coefficients; either may have no channels.

    Args:
        even: scalars, as T and E.
        odd: pseudoscalars, as B: a reflection of the sky changes their sign too.
    """

    even: Array
    odd: Array

    @property
    def counts(self) -> tuple[int, int]:
        """Number of scalars and of pseudoscalars."""
        return self.even.shape[-2], self.odd.shape[-2]

    @property
    def all(self) -> Array:
        """Both, scalars first, along the axis before the last."""
        return jnp.concatenate([self.even, self.odd], axis=-2)

    def like(self, values: Array) -> Fields:
        """Fields of these parities; `values` has the scalars first."""
        count = self.counts[0]
        return Fields(values[..., :count, :], values[..., count:, :])


def analysed(transform: Transform, maps: Float[Array, "map stokes npix"], stokes: Stokes) -> Fields:
    """Coefficients of T and E, and of B.

    Args:
        transform: between maps and coefficients.
        maps: full sky, RING.
        stokes: what they hold.

    Raises:
        ValueError: for maps of other Stokes parameters or another nside.
    """
    expected = (len(stokes), transform.sht.npix)
    if maps.ndim != 3 or maps.shape[1:] != expected:
        raise ValueError(
            f"maps: expected shape (map, {expected[0]}, {expected[1]}) for Stokes {stokes.value} "
            f"at nside {transform.sht.nside}, got {maps.shape}. Check nside and Stokes parameters."
        )
    parts = []
    if stokes is not Stokes.QU:
        parts.append(transform.analysis(maps[:, :1]))
    if stokes is Stokes.I:
        return Fields(parts[0], parts[0][:, :0])
    polarised = transform.analysis(maps[:, -2:], spin=2)
    return Fields(jnp.concatenate([*parts, polarised[:, :1]], axis=1), polarised[:, 1:])


class HarmonicFilter(eqx.Module):
    """Sums of channels, each coefficient times a gain.

    New gains are random, and such that white channels of unit variance give others of unit
    variance.

    Args:
        lmax: of the coefficients.
        inputs: number of channels.
        outputs: number of channels.
        key: of the first gains.
        kind: what the gains depend on.

    Examples:
        >>> two = HarmonicFilter(4, 1, 2, key=jax.random.key(0))
        >>> two(jnp.ones((3, 1, 15), jnp.complex64)).shape
        (3, 2, 15)
    """

    gains: Float[Array, "part output input mode"]
    lmax: int = eqx.field(static=True)
    kind: Gains = eqx.field(static=True)

    def __init__(
        self,
        lmax: int,
        inputs: int,
        outputs: int,
        *,
        key: PRNGKeyArray,
        kind: Gains = Gains.DEGREE,
    ) -> None:
        self.lmax, self.kind = lmax, kind
        parts = 1 if kind is Gains.DEGREE else 2
        modes = lmax + 1 if kind is Gains.DEGREE else (lmax + 1) * (lmax + 2) // 2
        spread = 1.0 / math.sqrt(max(inputs * parts, 1))
        shape = (parts, outputs, inputs, modes)
        self.gains = spread * jax.random.normal(key, shape, jnp.float32)

    def __call__(self, alm: Complex[Array, "... input alm"]) -> Complex[Array, "... output alm"]:
        """Filtered coefficients.

        Args:
            alm: packed as healpy packs them.

        Raises:
            ValueError: for another number of channels or coefficients.
        """
        ell, m = multipoles(self.lmax)
        expected = (self.gains.shape[2], ell.size)
        if alm.shape[-2:] != expected:
            raise ValueError(
                f"alm: expected shape (..., {expected[0]}, {expected[1]}), channels and "
                f"coefficients to l = {self.lmax}, got {alm.shape}. Make the filter for these."
            )
        real = jnp.finfo(alm.dtype).dtype
        gains = self.gains.astype(real)
        if self.kind is Gains.DEGREE:
            return _mixed(gains[0][..., ell], alm.real) + 1j * _mixed(gains[0][..., ell], alm.imag)
        # A coefficient of m = 0 stays real, or the map would not be.
        cosine, sine = gains[0], gains[1] * np.asarray(m > 0, real)
        return (_mixed(cosine, alm.real) - _mixed(sine, alm.imag)) + 1j * (
            _mixed(cosine, alm.imag) + _mixed(sine, alm.real)
        )


def _mixed(
    gains: Float[Array, "output input alm"], parts: Float[Array, "... input alm"]
) -> Float[Array, "... output alm"]:
    return jnp.einsum("oia,...ia->...oa", gains, parts)


class HarmonicConvolution(eqx.Module):
    """Maps filtered in harmonic space: analysis, a filter, synthesis.

    Of spin 2 the maps are Q and U, and E and B have filters of their own: what is E stays E.

    Args:
        transform: between maps and coefficients.
        inputs: number of channels.
        outputs: number of channels.
        key: of the first gains.
        spin: 0 or 2.
        kind: what the gains depend on.

    Raises:
        ValueError: for another spin.

    Examples:
        >>> layer = HarmonicConvolution(Transform(SHT(4, 8)), 1, 3, key=jax.random.key(0))
        >>> layer(jnp.ones((2, 1, 192), jnp.float32)).shape
        (2, 3, 192)
    """

    filters: tuple[HarmonicFilter, ...]
    transform: Transform = eqx.field(static=True)
    spin: int = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        inputs: int,
        outputs: int,
        *,
        key: PRNGKeyArray,
        spin: int = 0,
        kind: Gains = Gains.DEGREE,
    ) -> None:
        if spin not in (0, 2):
            raise ValueError(f"spin: expected 0, or 2 of Q and U, got {spin!r}.")
        keys = jax.random.split(key, 2 if spin else 1)
        lmax = transform.sht.lmax
        self.filters = tuple(
            HarmonicFilter(lmax, inputs, outputs, key=one, kind=kind) for one in keys
        )
        self.transform, self.spin = transform, spin

    def __call__(self, maps: Float[Array, "... npix"]) -> Float[Array, "... npix"]:
        """Filtered maps.

        Args:
            maps: `(map, channel, npix)`, with spin 2 `(map, channel, 2, npix)` of Q and U.
        """
        alm = self.transform.analysis(maps, self.spin)
        if self.spin == 0:
            return self.transform.synthesis(self.filters[0](alm))
        fields = [one(alm[..., place, :]) for place, one in enumerate(self.filters)]
        return self.transform.synthesis(jnp.stack(fields, axis=-2), spin=2)


class ParityFilter(eqx.Module):
    """Filters of scalars and of pseudoscalars, to fewer multipoles where wanted.

    Args:
        lmax: of the coefficients that come.
        inputs: number of scalars and of pseudoscalars.
        outputs: number of scalars and of pseudoscalars; none of a kind that has no inputs.
        key: of the first gains.
        cut: largest multipole of what is given, `lmax` by default.
        kind: what the gains depend on.
    """

    even: HarmonicFilter
    odd: HarmonicFilter
    lmax: int = eqx.field(static=True)
    cut: int = eqx.field(static=True)

    def __init__(
        self,
        lmax: int,
        inputs: tuple[int, int],
        outputs: tuple[int, int],
        *,
        key: PRNGKeyArray,
        cut: int | None = None,
        kind: Gains = Gains.DEGREE,
    ) -> None:
        self.lmax, self.cut = lmax, lmax if cut is None else cut
        if self.cut > lmax:
            raise ValueError(f"cut: expected at most lmax = {lmax}, got {cut}. Leave it out.")
        keys = jax.random.split(key)
        self.even, self.odd = (
            HarmonicFilter(self.cut, come, go if come else 0, key=one, kind=kind)
            for come, go, one in zip(inputs, outputs, keys, strict=True)
        )

    def __call__(self, alm: Fields) -> Fields:
        """Filtered coefficients."""
        kept = _kept(self.lmax, self.cut)
        return Fields(self.even(alm.even[..., kept]), self.odd(alm.odd[..., kept]))


@functools.lru_cache(maxsize=16)
def _kept(lmax: int, cut: int) -> Int[np.ndarray, " alm"]:
    """Where coefficients to `cut` stand among those to `lmax`."""
    return np.flatnonzero(multipoles(lmax)[0] <= cut)


class ParityActivation(eqx.Module):
    """A function of each cell that takes a reflection of the sky to a reflection.

    With x a scalar and y a pseudoscalar of about unit variance, scalars become gelu(x + b) and
    sqrt(1 + y^2) - 1; pseudoscalars become y / sqrt(1 + y^2) and, as many as there are of both,
    y tanh(x).

    Args:
        counts: number of scalars and of pseudoscalars.
    """

    bias: Float[Array, "even 1"]
    counts: tuple[int, int] = eqx.field(static=True)

    def __init__(self, counts: tuple[int, int]) -> None:
        self.counts = counts
        self.bias = jnp.zeros((counts[0], 1), jnp.float32)

    @property
    def outputs(self) -> tuple[int, int]:
        """Number of scalars and of pseudoscalars given."""
        even, odd = self.counts
        return even + odd, odd + min(even, odd)

    def __call__(self, maps: Fields) -> Fields:
        """The functions of maps."""
        even, odd = maps.even, maps.odd
        root = jnp.sqrt(1.0 + odd**2)
        both = min(self.counts)
        scalars = jax.nn.gelu(even + self.bias.astype(even.dtype))
        turned = odd[..., :both, :] * jnp.tanh(even[..., :both, :])
        return Fields(
            jnp.concatenate([scalars, root - 1.0], axis=-2),
            jnp.concatenate([odd / root, turned], axis=-2),
        )


def powers(alm: Complex[Array, "... alm"], lmax: int) -> Float[Array, "... ell"]:
    """Mean square of coefficients at each multipole: rotations of the sky leave it as it is.

    Args:
        alm: packed as healpy packs them.
        lmax: of the coefficients.
    """
    return cross_powers(alm, alm, lmax)


def cross_powers(
    first: Complex[Array, "... alm"], second: Complex[Array, "... alm"], lmax: int
) -> Float[Array, "... ell"]:
    """Mean product of coefficients of two fields at each multipole.

    Args:
        first: packed as healpy packs them.
        second: of the same shape.
        lmax: of the coefficients.
    """
    order, ell, weight = _by_degree(lmax)
    product = (first * second.conj()).real[..., order] * weight.astype(first.real.dtype)
    total = jax.ops.segment_sum(
        jnp.moveaxis(product, -1, 0), ell, num_segments=lmax + 1, indices_are_sorted=True
    )
    return jnp.moveaxis(total, 0, -1)


@functools.lru_cache(maxsize=16)
def _by_degree(
    lmax: int,
) -> tuple[Int[np.ndarray, " alm"], Int[np.ndarray, " alm"], Float[np.ndarray, " alm"]]:
    """Order of coefficients by l, the l of each, and its weight in the mean over m."""
    ell, m = multipoles(lmax)
    order = np.argsort(ell, kind="stable")
    weight = np.where(m > 0, 2.0, 1.0) / (2.0 * ell + 1.0)
    return order, ell[order], weight[order]
