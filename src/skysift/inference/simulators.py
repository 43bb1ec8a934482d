"""Maps of given parameters, drawn where they are needed.

T1 to T4 are the tests of torch-harmonics-healpix; T1 to T3 go back to Krachmalnicoff & Tomasi 2019
(arXiv:1902.04083). There is neither beam nor pixel window in any of them, and multipoles reach to
3 nside - 1, beyond what cells of this size hold: as in the tests.
"""

from __future__ import annotations

import abc
import enum
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from skysift.grid import Grid
from skysift.harmonic import SHT, Backend, multipoles
from skysift.inference.prior import Prior
from skysift.inference.regions import AbstractRegion, FullSky, RandomCaps, Shared, cap
from skysift.inference.theory import (
    FLOOR,
    AbstractTheory,
    OpticalDepth,
    PolarisationPeaks,
    TemperaturePeak,
    TensorsAndDepth,
)
from skysift.maps import Stokes
from skysift.sky.simulate import checked_seed, stream
from skysift.units import Unit


class Split(enum.Enum):
    """What maps are for; each has random numbers of its own."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2

    def key(self, seed: int) -> PRNGKeyArray:
        """Where the random numbers of a seed begin.

        Args:
            seed: whole number from zero on.

        Raises:
            ValueError: for any other seed.
        """
        sequence = stream(checked_seed(seed), self.value)
        return jax.random.key(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


class Protocol(enum.Enum):
    """How E and B are drawn from their spectra.

    `PHYSICAL`: independent, with these spectra. `AS_PUBLISHED`: as in the published tables of
    torch-harmonics-healpix for polarisation. There `healpy.synfast` is given TT, EE, BB, TE, EB, TB
    without `new=True` and takes them for TT, TE, TB, EE, EB, BB. With TT = 1e-5 and nothing in the
    last three, a_E = EE / sqrt(TT) x and a_B = BB / sqrt(TT) x with the same x: E and B are fully
    correlated, and the parameters follow from their ratio, without cosmic variance.
    """

    PHYSICAL = "physical"
    AS_PUBLISHED = "as_published"


class Observed(eqx.Module):
    """Maps as a network sees them.

    Args:
        values: full sky, RING, zero where nothing is seen.
        mask: true where a cell is seen.
    """

    values: Float[Array, "map stokes npix"]
    mask: Bool[Array, "map npix"]


class AbstractSimulator(eqx.Module):
    """A law of maps given parameters, and the prior of these.

    The same key gives the same maps. A map depends on the key and its place among the maps, not on
    how many there are.

    Args:
        prior: of the parameters.
        nside: resolution.
        stokes: what the maps hold.
        unit: of the maps.
        region: which cells are seen.
    """

    prior: Prior = eqx.field(static=True)
    nside: int = eqx.field(static=True)
    stokes: Stokes = eqx.field(static=True)
    unit: Unit = eqx.field(static=True)
    region: AbstractRegion = eqx.field(static=True)

    @abc.abstractmethod
    def skies(
        self, parameters: Float[Array, "map parameter"], keys: PRNGKeyArray
    ) -> Float[Array, "map stokes npix"]:
        """Full-sky maps with their noise, RING.

        Args:
            parameters: of each map.
            keys: one for each map.
        """

    def simulate(self, parameters: Float[Array, "map parameter"], key: PRNGKeyArray) -> Observed:
        """Maps of parameters.

        Args:
            parameters: of each map, in the prior.
            key: of the random numbers.

        Raises:
            ValueError: for parameters outside the prior, which inside a transformation of JAX are
                not looked at.
        """
        if not isinstance(parameters, Tracer):
            self.prior.check(parameters)
        return self._observed(jnp.asarray(parameters), key)

    def batch(
        self, key: PRNGKeyArray, count: int
    ) -> tuple[Float[Array, "map parameter"], Observed]:
        """Parameters of the prior, and a map of each.

        Args:
            key: of the random numbers.
            count: how many.
        """
        first, second = jax.random.split(key)
        parameters = self.prior.sample(first, count)
        return parameters, self._observed(parameters, second)

    def _observed(self, parameters: Float[Array, "map parameter"], key: PRNGKeyArray) -> Observed:
        sky, region = jax.random.split(key)
        mask = self.region.draw(region, len(parameters), self.nside)
        maps = self.skies(parameters, jax.random.split(sky, len(parameters)))
        return Observed(jnp.where(mask[:, None], maps, 0), mask)


class GaussianSky(AbstractSimulator):
    """Gaussian skies of spectra, with white noise.

    Args:
        theory: of the spectra.
        nside: resolution.
        noise: standard deviation in each cell and Stokes parameter, in the unit of the maps.
        region: which cells are seen; all by default.
        protocol: how E and B are drawn.
        dtype: of the maps.
        backend: of the transforms; the faster one here by default.

    Raises:
        ValueError: for a negative noise, or temperature as published, which was published right.
    """

    theory: AbstractTheory = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    protocol: Protocol = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    backend: Backend | None = eqx.field(static=True)

    def __init__(
        self,
        theory: AbstractTheory,
        nside: int,
        *,
        noise: float = 0.0,
        region: AbstractRegion | None = None,
        protocol: Protocol = Protocol.PHYSICAL,
        dtype: Any = jnp.float32,
        backend: Backend | None = None,
    ) -> None:
        if not (math.isfinite(noise) and noise >= 0.0):
            raise ValueError(f"noise: expected 0 or more, got {noise!r}. Say noise=0.0.")
        if protocol is Protocol.AS_PUBLISHED and theory.stokes is Stokes.I:
            raise ValueError(
                "protocol: expected PHYSICAL for temperature, whose spectra were in the right "
                "place, got AS_PUBLISHED. Leave it out."
            )
        self.prior, self.stokes, self.unit = theory.prior, theory.stokes, theory.unit
        self.theory, self.nside, self.noise = theory, nside, float(noise)
        self.region = FullSky() if region is None else region
        self.protocol, self.dtype, self.backend = protocol, dtype, backend

    def in_double(self) -> GaussianSky:
        """The same skies in double precision; they have other random numbers."""
        return GaussianSky(
            self.theory,
            self.nside,
            noise=self.noise,
            region=self.region,
            protocol=self.protocol,
            dtype=jnp.float64,
            backend=self.backend,
        )

    @property
    def sht(self) -> SHT:
        """The transforms."""
        backend = self.backend or Backend.suited(self.nside)
        return SHT(self.nside, self.theory.lmax, backend=backend)

    @eqx.filter_jit
    def skies(
        self, parameters: Float[Array, "map parameter"], keys: PRNGKeyArray
    ) -> Float[Array, "map stokes npix"]:
        """Sky and noise."""
        both = jax.vmap(jax.random.split)(keys)
        alm = self.coefficients(parameters, both[:, 0])
        if self.stokes is Stokes.I:
            maps = self.sht.synthesis(alm)
        else:
            maps = self.sht.synthesis(alm, spin=2)
        if self.noise == 0.0:
            return maps
        white = jax.vmap(lambda key: jax.random.normal(key, maps.shape[1:], self.dtype))(both[:, 1])
        return maps + self.noise * white

    def coefficients(
        self, parameters: Float[Array, "map parameter"], keys: PRNGKeyArray
    ) -> Float[Array, "map field alm"]:
        """Coefficients of T, or of E and B, packed as healpy packs them.

        Args:
            parameters: of each map.
            keys: one for each map.
        """
        roots = self.roots(parameters).astype(self.dtype)
        ell, m = multipoles(self.theory.lmax)
        shape = (roots.shape[-2], 2, ell.size)
        parts = jax.vmap(lambda key: jax.random.normal(key, shape, self.dtype))(keys)
        scale = np.where(m == 0, [[1.0], [0.0]], np.sqrt(0.5)).astype(self.dtype)
        white = parts[:, :, 0] * scale[0] + 1j * (parts[:, :, 1] * scale[1])
        return jnp.sum(roots[..., ell] * white[:, None], axis=2)

    def roots(
        self, parameters: Float[Array, "... parameter"]
    ) -> Float[Array, "... field white ell"]:
        """What takes white coefficients to those of the fields at each multipole.

        Times its transpose it is the covariance of the fields (`spectra`).

        Args:
            parameters: of the spectra.
        """
        cl = self.theory(parameters)
        if self.protocol is Protocol.AS_PUBLISHED:
            return cl[..., None, :] / math.sqrt(FLOOR)
        return jnp.sqrt(cl)[..., None, :] * jnp.eye(cl.shape[-2], dtype=cl.dtype)[..., None]

    def spectra(
        self, parameters: Float[Array, "... parameter"]
    ) -> Float[Array, "... field field ell"]:
        """Covariances of the coefficients of the fields at each multipole.

        Args:
            parameters: of the spectra.
        """
        cl = self.theory(parameters)
        if self.protocol is Protocol.AS_PUBLISHED:
            return cl[..., :, None, :] * cl[..., None, :, :] / FLOOR
        return cl[..., None, :] * jnp.eye(cl.shape[-2], dtype=cl.dtype)[..., None]


class FunctionSimulator(AbstractSimulator):
    """A function of one set of parameters and a key.

    Args:
        function: gives one full-sky map `(stokes, npix)`, noise included, RING.
        prior: of the parameters.
        nside: resolution.
        stokes: what the maps hold.
        unit: of the maps.
        region: which cells are seen; all by default.
        traced: whether the function is written in JAX. Others are called map by map, and cannot be
            in what JAX transforms.

    Examples:
        >>> from skysift.inference.prior import Parameter
        >>> prior = Prior((Parameter("level", 0.0, 1.0),))
        >>> flat = FunctionSimulator(lambda p, key: p[0] * jnp.ones((1, 48)), prior, 2, Stokes.I)
        >>> flat.simulate(jnp.array([[0.5]]), jax.random.key(0)).values[0, 0, :2].tolist()
        [0.5, 0.5]
    """

    function: Callable[[Any, PRNGKeyArray], Any] = eqx.field(static=True)
    traced: bool = eqx.field(static=True)

    def __init__(
        self,
        function: Callable[[Any, PRNGKeyArray], Any],
        prior: Prior,
        nside: int,
        stokes: Stokes,
        *,
        unit: Unit = Unit.UK_CMB,
        region: AbstractRegion | None = None,
        traced: bool = True,
    ) -> None:
        self.function, self.traced = function, traced
        self.prior, self.nside, self.stokes, self.unit = prior, nside, stokes, unit
        self.region = FullSky() if region is None else region

    def skies(
        self, parameters: Float[Array, "map parameter"], keys: PRNGKeyArray
    ) -> Float[Array, "map stokes npix"]:
        """What the function gives.

        Raises:
            ValueError: for maps of another shape, or, of a function that is not traced, values that
                are not finite.
        """
        if self.traced:
            maps = _mapped(self.function, parameters, keys)
            self._check(maps.shape[1:])
            return maps
        maps = []
        for one, key in zip(np.asarray(parameters), keys, strict=True):
            found = np.asarray(self.function(one, key))
            self._check(found.shape)
            if not np.all(np.isfinite(found)):
                raise ValueError(
                    f"function: expected finite maps, got others for parameters {one.tolist()}. "
                    "Leave cells out by the region, not by NaN."
                )
            maps.append(found.astype(np.float32))
        return jnp.asarray(np.stack(maps))

    def _check(self, shape: tuple[int, ...]) -> None:
        expected = (len(self.stokes), 12 * self.nside**2)
        if shape != expected:
            raise ValueError(
                f"function: expected maps of shape {expected}, (stokes, npix), got {shape}. Return "
                "one map for one set of parameters."
            )


@eqx.filter_jit
def _mapped(function: Callable, parameters: Array, keys: PRNGKeyArray) -> Array:
    return jax.vmap(function)(parameters, keys)


def t1(noise: float = 0.0, nside: int = 16) -> GaussianSky:
    """T1: the peak of TT, l_peak from 5 to 20.

    Args:
        noise: standard deviation in each cell; the tests have 0, 5, 10 and 15.
        nside: resolution, 16 in the tests.

    Examples:
        >>> t1(noise=5.0).batch(Split.TRAIN.key(0), 2)[1].values.shape
        (2, 1, 3072)
    """
    return GaussianSky(TemperaturePeak(3 * nside - 1), nside, noise=noise)


def t2(
    fsky: float = 1.0,
    protocol: Protocol = Protocol.PHYSICAL,
    *,
    nside: int = 16,
    random_caps: bool = False,
) -> GaussianSky:
    """T2: the peaks of EE and BB, both from 5 to 20, without noise.

    Args:
        fsky: part of the sky that is seen; the tests have 1, 0.5, 0.2, 0.1 and 0.05.
        protocol: how E and B are drawn.
        nside: resolution, 16 in the tests.
        random_caps: another cap in each map instead of the one of the tests.

    Raises:
        ValueError: for no such part of the sky.
    """
    region = _cap_region(fsky, nside, random_caps)
    return GaussianSky(PolarisationPeaks(3 * nside - 1), nside, region=region, protocol=protocol)


def t3(protocol: Protocol = Protocol.PHYSICAL, *, nside: int = 16) -> GaussianSky:
    """T3: the optical depth, from 0.03 to 0.08, of the full sky without noise.

    Args:
        protocol: how E and B are drawn.
        nside: resolution, 16 in the tests.
    """
    return GaussianSky(OpticalDepth(3 * nside - 1), nside, protocol=protocol)


def t4(
    nside: int = 16,
    fsky: float = 1.0,
    depth: float = 0.0,
    protocol: Protocol = Protocol.PHYSICAL,
    *,
    random_caps: bool = False,
) -> GaussianSky:
    """T4: the tensor-to-scalar ratio, up to 0.01, and the optical depth, from 0.03 to 0.08.

    Here r is uniform; torch-harmonics-healpix draws it uniform in log(r + 1e-4).

    Args:
        nside: resolution; the tests have 16, 32 and 128.
        fsky: part of the sky that is seen; the tests have 1 and 0.1.
        depth: of the noise of Q and of U [uK arcmin]; the tests have 0 and 6.
        protocol: how E and B are drawn.
        random_caps: another cap in each map instead of the one of the tests.

    Raises:
        ValueError: for no such part of the sky, or a negative depth.

    Examples:
        >>> round(t4(depth=6.0).noise, 4)
        0.0273
    """
    region = _cap_region(fsky, nside, random_caps)
    theory = TensorsAndDepth(3 * nside - 1)
    noise = depth / Grid(nside).resolution
    return GaussianSky(theory, nside, noise=noise, region=region, protocol=protocol)


def _cap_region(fsky: float, nside: int, random: bool) -> AbstractRegion:
    if random:
        return RandomCaps(fsky)
    return FullSky() if fsky == 1.0 else Shared(Grid.from_mask(cap(fsky, nside)))
