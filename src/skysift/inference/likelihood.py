r"""Exact likelihoods of Gaussian skies: what all of their data say of parameters.

Of the full sky without noise coefficients are known, and with $\hat C_\ell$ their mean squares
$-2 \ln L = \sum_\ell (2 \ell + 1) (\hat C_\ell / C_\ell + \ln C_\ell)$ for each field. Of cells
d of a cut sky, or with noise, $-2 \ln L = d^T S^{-1} d + \ln |S|$, where $S = Y C Y^T + \sigma^2$.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from skysift.grid import Grid
from skysift.harmonic import SHT, multipoles
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import GaussianSky, Protocol
from skysift.inference.theory import AbstractTheory
from skysift.maps import Stokes

_MOST = 4000
"""Cells times Stokes parameters: a matrix of them has 128 MB."""
_BATCH = 256


def lowest(stokes: Stokes) -> int:
    """Smallest multipole that maps hold: polarisation has none below 2."""
    return 0 if stokes is Stokes.I else 2


@dataclass(frozen=True)
class HarmonicLikelihood:
    """Of the spectra of a full sky, whose noise has a flat spectrum.

    Exact without noise. With noise it takes the cells for as good as the continuous sphere, which
    they are but near l = 3 nside.

    Args:
        theory: of the spectra.
        noise: power of the noise, the square of its deviation times the area of a cell.

    Examples:
        >>> from skysift.inference.theory import TemperaturePeak
        >>> likelihood = HarmonicLikelihood(TemperaturePeak(47))
        >>> cl = likelihood.theory(jnp.array([[12.0]]))
        >>> points = jnp.linspace(11.0, 13.0, 21)[None, :, None]
        >>> float(points[0, jnp.argmax(likelihood(cl, points)), 0])
        12.0
    """

    theory: AbstractTheory
    noise: float = 0.0

    @staticmethod
    def of(simulator: GaussianSky) -> HarmonicLikelihood:
        """The likelihood of the skies of a simulator.

        Raises:
            ValueError: for spectra as published.
        """
        _check_protocol(simulator)
        area = 4.0 * math.pi / (12 * simulator.nside**2)
        return HarmonicLikelihood(simulator.theory, simulator.noise**2 * area)

    def draw(
        self, parameters: Float[Array, "map parameter"], key: PRNGKeyArray
    ) -> Float[Array, "map field ell"]:
        """Mean squares of the coefficients of skies, noise included.

        Args:
            parameters: of each sky.
            key: of the random numbers.
        """
        cl = self.theory(parameters) + self.noise
        freedom = 2.0 * jnp.arange(self.theory.lmax + 1) + 1.0
        return cl * 2.0 * jax.random.gamma(key, 0.5 * freedom, cl.shape, cl.dtype) / freedom

    def __call__(
        self, observed: Float[Array, "map field ell"], points: Float[Array, "map point parameter"]
    ) -> Float[Array, "map point"]:
        """Logarithm of the likelihood of each sky at points of its own.

        Args:
            observed: mean squares of the coefficients, noise included.
            points: parameters.
        """
        low = lowest(self.theory.stokes)
        cl = (self.theory(points) + self.noise)[..., low:]
        ratio = observed[:, None, :, low:] / cl
        weight = 2.0 * jnp.arange(low, self.theory.lmax + 1) + 1.0
        return -0.5 * jnp.sum(weight * (ratio + jnp.log(cl)), axis=(-2, -1))

    def fisher(
        self, parameters: Float[np.ndarray, " parameter"], fsky: float = 1.0
    ) -> Float[np.ndarray, "parameter parameter"]:
        """Fisher matrix, `fsky` times that of the full sky.

        Args:
            parameters: where.
            fsky: part of the sky that is seen. That a part holds as much of the information is an
                approximation: it neglects that neighbouring multipoles and E and B mix.
        """
        low = lowest(self.theory.stokes)
        cl, slope = (np.asarray(one)[:, low:] for one in _slope(self.theory, parameters))
        slope = slope / (cl + self.noise)[..., None]
        weight = 0.5 * fsky * (2.0 * np.arange(low, self.theory.lmax + 1) + 1.0)
        return np.einsum("l,fla,flb->ab", weight, slope, slope)


@dataclass(frozen=True, eq=False)
class PixelLikelihood:
    """Of the values of seen cells, exact.

    Args:
        simulator: of the maps, with one mask for all.

    Raises:
        ValueError: for a mask that is not shared, more cells than memory holds, spectra as
            published, or a full sky without noise, whose cells are not independent.

    Examples:
        >>> from skysift.inference.simulators import t2
        >>> PixelLikelihood(t2(0.05, nside=4)).size
        20
    """

    simulator: GaussianSky
    modes: Float[np.ndarray, "value field mode"] = field(init=False, repr=False)
    ell: Int[np.ndarray, " mode"] = field(init=False, repr=False)
    _parts: dict[tuple[int, bytes], np.ndarray] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        simulator = self.simulator
        if isinstance(simulator.region, Shared):
            grid = simulator.region.grid
        elif isinstance(simulator.region, FullSky):
            grid = Grid(simulator.nside)
        else:
            raise ValueError(
                "simulator: expected one mask for all maps, got another in each. Take one of them."
            )
        _check_protocol(simulator)
        size = grid.size * len(simulator.stokes)
        if size > _MOST:
            raise ValueError(
                f"simulator: expected at most {_MOST} values in a map, got {size}. Take a smaller "
                "nside, or the Fisher matrix of the full sky."
            )
        modes, ell = real_modes(SHT(simulator.nside, simulator.theory.lmax), simulator.stokes, grid)
        if simulator.noise == 0.0 and modes.shape[1] * modes.shape[2] < size:
            raise ValueError(
                f"simulator: expected at most {modes.shape[1] * modes.shape[2]} values, as there "
                f"are modes, without noise, got {size}. Use HarmonicLikelihood."
            )
        object.__setattr__(self, "modes", modes)
        object.__setattr__(self, "ell", ell)

    @property
    def size(self) -> int:
        """Number of values of a map: seen cells times Stokes parameters."""
        return self.modes.shape[0]

    def values(self, maps: Float[Array, "map stokes npix"]) -> Float[np.ndarray, "map value"]:
        """What is seen of full-sky maps."""
        full = np.asarray(maps, dtype=float)
        if isinstance(self.simulator.region, Shared):
            full = full[..., self.simulator.region.grid.ring]
        return full.reshape(len(full), -1)

    def covariance(
        self, parameters: Float[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, "value value"]:
        """Covariance of the values of maps of these parameters."""
        return self._covariance(np.asarray(self.simulator.theory(jnp.asarray(parameters, float))))

    def __call__(
        self, values: Float[np.ndarray, "map value"], points: Float[np.ndarray, "point parameter"]
    ) -> Float[np.ndarray, "map point"]:
        """Logarithm of the likelihood of each map at the same points.

        Args:
            values: of seen cells.
            points: parameters; those that share the spectrum of a field share work.
        """
        out = np.empty((len(values), len(points)))
        spectra = np.asarray(self.simulator.theory(jnp.asarray(points, float)))
        for place, cl in enumerate(spectra):
            root = _root(self._covariance(cl))
            white = scipy.linalg.solve_triangular(root, values.T, lower=True, check_finite=False)
            out[:, place] = -0.5 * np.sum(white**2, axis=0) - np.sum(np.log(np.diag(root)))
        return out

    def fisher(
        self, parameters: Float[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, "parameter parameter"]:
        """Fisher matrix, half the trace of S^-1 dS S^-1 dS.

        Args:
            parameters: where.
        """
        cl, slopes = (np.asarray(one) for one in _slope(self.simulator.theory, parameters))
        root = _root(self._covariance(cl))
        parts = []
        white = np.stack(
            [
                scipy.linalg.solve_triangular(root, self.modes[:, number], lower=True)
                for number in range(self.modes.shape[1])
            ]
        )
        for slope in np.moveaxis(slopes, -1, 0):
            weighted = white * slope[:, None, self.ell]
            parts.append(np.einsum("fim,fjm->ij", weighted, white, optimize=True))
        return np.array([[0.5 * np.sum(one * other) for other in parts] for one in parts])

    def _covariance(self, cl: Float[np.ndarray, "field ell"]) -> np.ndarray:
        total = self.simulator.noise**2 * np.eye(self.size)
        for number, one in enumerate(cl):
            total += self._part(number, one)
        return total

    def _part(self, number: int, cl: Float[np.ndarray, " ell"]) -> np.ndarray:
        """Covariance that the spectrum of one field gives; the last few are kept."""
        key = (number, cl.tobytes())
        if key not in self._parts:
            while len(self._parts) * self.size**2 > 6e7:
                self._parts.pop(next(iter(self._parts)))
            scaled = self.modes[:, number] * np.sqrt(cl[self.ell])
            self._parts[key] = scaled @ scaled.T
        return self._parts[key]


@functools.partial(jax.jit, static_argnums=0)
def _slope(
    theory: AbstractTheory, parameters: Float[Array, " parameter"]
) -> tuple[Float[Array, "field ell"], Float[Array, "field ell parameter"]]:
    """Spectra and their derivatives."""
    return theory(parameters), jax.jacfwd(theory)(parameters)


def _check_protocol(simulator: GaussianSky) -> None:
    if simulator.protocol is not Protocol.PHYSICAL:
        raise ValueError(
            "simulator: expected the physical protocol, got AS_PUBLISHED, whose E and B together "
            "tell the parameters without error. There is no limit to compute."
        )


def _root(covariance: Float[np.ndarray, "value value"]) -> Float[np.ndarray, "value value"]:
    """Lower triangular root; rounding counts as noise of 1e-7 of the largest deviation."""
    covariance[np.diag_indices_from(covariance)] += 1e-14 * covariance.diagonal().max()
    return scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)


def mode_multipoles(lmax: int, stokes: Stokes) -> Int[np.ndarray, " mode"]:
    """Multipole of each mode, in the order of `real_modes`.

    Args:
        lmax: largest multipole.
        stokes: I, or Q and U.
    """
    ell, m = multipoles(lmax)
    low = lowest(stokes)
    return np.concatenate([ell[ell >= low], ell[(ell >= low) & (m > 0)]])


def real_modes(
    sht: SHT, stokes: Stokes, grid: Grid
) -> tuple[Float[np.ndarray, "value field mode"], Int[np.ndarray, " mode"]]:
    """Maps of each mode of T, or of E and B, on cells; a mode is one real number of unit variance.

    Coefficients of m > 0 have two, real and imaginary part times the root of 2.

    Args:
        sht: transforms.
        stokes: I, or Q and U.
        grid: the cells; the last axis of the maps is flattened with that of the Stokes parameters.

    Returns:
        The maps, and the multipole of each mode.
    """
    fields = 1 if stokes is Stokes.I else 2
    ell, m = multipoles(sht.lmax)
    which = np.concatenate([np.arange(ell.size), np.flatnonzero(m > 0)])
    which = which[ell[which] >= lowest(stokes)] if fields == 2 else which
    factor = np.where(m[which] > 0, math.sqrt(0.5), 1.0).astype(complex)
    first = np.flatnonzero(np.diff(which) < 0)[0] + 1
    factor[first:] *= 1j
    out = np.empty((fields * grid.size, fields, which.size))
    for number in range(fields):
        for start in range(0, which.size, _BATCH):
            some = slice(start, min(start + _BATCH, which.size))
            alm = np.zeros((some.stop - start, fields, sht.size), dtype=complex)
            alm[np.arange(len(alm)), number, which[some]] = factor[some]
            maps = sht.synthesis(alm, spin=2) if fields == 2 else sht.synthesis(alm)
            out[:, number, some] = maps[..., grid.ring].reshape(len(alm), -1).T
    return out, ell[which]


def real_parts(
    alm: Complex[Array, "map field alm"], lmax: int, stokes: Stokes
) -> Float[Array, "map field mode"]:
    """Real numbers of unit variance for unit spectra, as `real_modes` has them in order.

    Args:
        alm: packed coefficients.
        lmax: largest multipole.
        stokes: I, or Q and U.
    """
    ell, m = multipoles(lmax)
    low = lowest(stokes)
    first, second = np.flatnonzero(ell >= low), np.flatnonzero((ell >= low) & (m > 0))
    scale = np.where(m > 0, math.sqrt(2.0), 1.0).astype(np.float32)
    return jnp.concatenate(
        [alm.real[..., first] * scale[first], alm.imag[..., second] * scale[second]], axis=-1
    )
