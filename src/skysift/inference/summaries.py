r"""Fixed numbers of maps that hold what Gaussian skies say: powers of filtered modes.

Of the full sky without noise the mean squares of the coefficients of each multipole are sufficient.
With noise or a cut the score at parameters f is a weighted sum over multipoles of the squares of
$Y^T S_f^{-1} d$ (Tegmark 1997, PRD 55, 5895): such powers at a few f serve all.
"""

from __future__ import annotations

import enum
import functools
import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int

from skysift.grid import Grid
from skysift.harmonic import SHT, Backend, multipoles
from skysift.inference.likelihood import PixelLikelihood, lowest, real_modes
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed
from skysift.inference.summary import AbstractSummary
from skysift.maps import Stokes

_MOST_BYTES = 2e8
_MOST_VALUES = 4000


class Filter(enum.Enum):
    """How modes are made of maps."""

    EXACT = "the coefficients of the map, by the inverse of the synthesis"
    INVERSE_COVARIANCE = "adjoint of the map weighted by the inverse covariance of fiducials"
    ANALYSIS = "coefficients by quadrature, of full skies of any resolution"
    PSEUDO = "coefficients of the masked map and powers of its mask, for any masks"


class Filtered(AbstractSummary):
    """Logarithms of powers of modes, for each filter, field and multipole.

    For polarisation 1 + c of E and B follows, where c is their correlation: also a power but for
    a factor. Made by `Filtered.of`.

    Args:
        kind: how modes are made.
        nside: resolution of the maps.
        lmax: largest multipole.
        stokes: I, or Q and U.
        sky: whose covariance weights, or the grid that is seen of it; `None` where none is needed.
        fiducials: parameters at which.
        cross: whether the correlation of E and B counts too.
    """

    kind: Filter = eqx.field(static=True)
    nside: int = eqx.field(static=True)
    lmax: int = eqx.field(static=True)
    stokes: Stokes = eqx.field(static=True)
    sky: GaussianSky | None = eqx.field(static=True)
    fiducials: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    cross: bool = eqx.field(static=True)
    filters: Float[Array, "fiducial value mode"] | None

    def __init__(
        self,
        kind: Filter,
        nside: int,
        lmax: int,
        stokes: Stokes,
        sky: GaussianSky | None = None,
        fiducials: tuple[tuple[float, ...], ...] = (),
        cross: bool = True,
    ) -> None:
        self.kind, self.nside, self.lmax, self.stokes = kind, nside, lmax, stokes
        self.sky, self.fiducials, self.cross = sky, fiducials, cross and stokes is Stokes.QU
        self.filters = None
        if kind is Filter.EXACT:
            self.filters = _exact(nside, lmax, stokes)
        elif kind is Filter.INVERSE_COVARIANCE:
            if sky is None:
                raise ValueError("sky: expected a GaussianSky to weight with, got None. Give it.")
            self.filters = _weighted(sky, fiducials)

    @staticmethod
    def of(
        simulator: AbstractSimulator,
        fiducials: Float[np.ndarray, "fiducial parameter"] | None = None,
        kind: Filter | None = None,
        *,
        cross: bool | None = None,
    ) -> Filtered:
        """The best filters in reach for maps of a simulator.

        Args:
            simulator: of the maps.
            fiducials: parameters whose covariances weight; a few over the prior by default.
            kind: of the filters; by default exact ones of full skies without noise, inverse
                covariances of one mask or with noise, where they fit into 200 MB, else coefficients
                by quadrature, or those of masked maps.
            cross: whether the correlation of E and B counts; by default not on the full sky, where
                spectra tell all.

        Raises:
            ValueError: for I, Q and U at once, filters that are too large, or that the simulator
                says too little for.

        Examples:
            >>> from skysift.inference.simulators import Split, t1
            >>> simulator = t1(nside=4)
            >>> summary = Filtered.of(simulator)
            >>> summary(simulator.batch(Split.TRAIN.key(0), 2)[1]).shape
            (2, 12)
        """
        if simulator.stokes is Stokes.IQU:
            raise ValueError(
                "simulator: expected I, or Q and U, got IQU. Use a network that learns its summary."
            )
        gaussian = isinstance(simulator, GaussianSky)
        lmax = simulator.theory.lmax if gaussian else 3 * simulator.nside - 1
        full = isinstance(simulator.region, FullSky)
        if fiducials is None:
            inner = _spread(simulator, lmax)
        else:
            inner = np.atleast_2d(np.asarray(fiducials, dtype=float))
            simulator.prior.check(inner)
        chosen = kind or _kind(simulator)
        if chosen is Filter.INVERSE_COVARIANCE and not (
            gaussian and isinstance(simulator.region, (FullSky, Shared))
        ):
            raise ValueError(
                "kind: expected PSEUDO or ANALYSIS for a simulator without spectra, or with "
                "another mask in each map, got INVERSE_COVARIANCE. Say kind=Filter.PSEUDO."
            )
        if chosen in (Filter.EXACT, Filter.ANALYSIS) and not full:
            raise ValueError(
                f"kind: expected PSEUDO or INVERSE_COVARIANCE for a cut sky, got {chosen.name}. "
                "Leave it out."
            )
        if chosen in (Filter.EXACT, Filter.INVERSE_COVARIANCE):
            _check_size(simulator, lmax, 1 if chosen is Filter.EXACT else len(inner))
        sky, points = None, ()
        if chosen is Filter.INVERSE_COVARIANCE:
            assert isinstance(simulator, GaussianSky)
            # The weights are those of independent E and B, however the maps are drawn.
            sky = GaussianSky(
                simulator.theory, simulator.nside, noise=simulator.noise, region=simulator.region
            )
            points = tuple(map(tuple, inner.tolist()))
        both = not full if cross is None else cross
        return Filtered(chosen, simulator.nside, lmax, simulator.stokes, sky, points, both)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        multipole = self.lmax + 1 - lowest(self.stokes)
        fields = 1 if self.stokes is Stokes.I else 2 + self.cross
        filters = max(1, len(self.fiducials))
        of_mask = self.lmax + 1 if self.kind is Filter.PSEUDO else 0
        return filters * fields * multipole + of_mask

    @property
    def learns(self) -> bool:
        """No."""
        return False

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        values = observed.values.astype(jnp.float32)
        if self.filters is not None:
            seen = values
            if self.sky is not None and isinstance(self.sky.region, Shared):
                seen = values[..., self.sky.region.grid.ring]
            flat = seen.reshape(len(seen), -1)
            modes = jnp.einsum("nv,fvm->nfm", flat, self.filters)
            fields = 1 if self.stokes is Stokes.I else 2
            return self._pooled(modes.reshape(*modes.shape[:2], fields, -1)).reshape(len(seen), -1)
        sht = SHT(self.nside, self.lmax, backend=Backend.suited(self.nside))
        spin = 0 if self.stokes is Stokes.I else 2
        if self.kind is Filter.ANALYSIS:
            alm = sht.analysis(values, spin)
            return self._pooled(_real(alm, self.lmax, self.stokes)).reshape(len(values), -1)
        alm = sht.adjoint(values, spin)
        of_map = self._pooled(_real(alm, self.lmax, self.stokes)).reshape(len(values), -1)
        mask = sht.adjoint(observed.mask[:, None].astype(jnp.float32))
        squares = _real(mask, self.lmax, Stokes.I)[:, 0] ** 2
        powers = squares @ jnp.asarray(_pools(self.lmax, 0))
        return jnp.concatenate([of_map, jnp.log(powers + 1e-6)], axis=-1)

    def _pooled(self, modes: Float[Array, "... field mode"]) -> Float[Array, "... number"]:
        """Logarithms of mean squares over the modes of each multipole."""
        pools = jnp.asarray(_pools(self.lmax, lowest(self.stokes)))
        # Powers of ten thousand times smaller modes than those of others vanish in no sum.
        powers = jnp.maximum(modes**2 @ pools, 1e-30)
        told = jnp.log(powers)
        if self.cross:
            product = (modes[..., 0, :] * modes[..., 1, :]) @ pools
            correlation = product / jnp.sqrt(powers[..., 0, :] * powers[..., 1, :])
            both = jnp.log1p(jnp.maximum(correlation, -0.999))
            told = jnp.concatenate([told, both[..., None, :]], axis=-2)
        return told.reshape(*told.shape[:-2], -1)


def _kind(simulator: AbstractSimulator) -> Filter:
    """The best kind for a simulator."""
    full = isinstance(simulator.region, FullSky)
    other = Filter.ANALYSIS if full else Filter.PSEUDO
    if not isinstance(simulator, GaussianSky):
        return other
    if full and simulator.noise == 0.0:
        wanted = Filter.EXACT
    elif isinstance(simulator.region, (FullSky, Shared)) and _values(simulator) <= _MOST_VALUES:
        wanted = Filter.INVERSE_COVARIANCE
    else:
        return other
    return wanted if _bytes(simulator, simulator.theory.lmax) <= _MOST_BYTES else other


def _spread(simulator: AbstractSimulator, lmax: int) -> Float[np.ndarray, "fiducial parameter"]:
    """As many parameters over the prior as filters fit: the middles of its parts, or the middle."""
    prior = simulator.prior
    most = int(_MOST_BYTES / _bytes(simulator, lmax))
    halves = np.array(list(itertools.product((0.25, 0.75), repeat=prior.size)))
    thirds = np.array([1.0, 3.0, 5.0]) / 6.0
    # Each third of each of two parameters once.
    latin = np.stack([np.roll(thirds, -number)[:: (-1) ** number] for number in range(prior.size)])
    for places in (halves if prior.size > 1 else thirds[:, None], latin.T):
        if len(places) <= most and prior.size <= 2:
            return prior.low + places * (prior.high - prior.low)
    return (0.5 * (prior.low + prior.high))[None]


def _values(simulator: AbstractSimulator) -> int:
    region = simulator.region
    cells = region.grid.size if isinstance(region, Shared) else 12 * simulator.nside**2
    return cells * len(simulator.stokes)


def _bytes(simulator: AbstractSimulator, lmax: int) -> int:
    """Of one dense filter."""
    modes = (lmax + 1) ** 2 - lowest(simulator.stokes) ** 2
    return 4 * _values(simulator) * modes * len(simulator.stokes)


def _check_size(simulator: AbstractSimulator, lmax: int, count: int) -> None:
    needed = count * _bytes(simulator, lmax)
    if needed > _MOST_BYTES:
        full = isinstance(simulator.region, FullSky)
        raise ValueError(
            f"simulator: expected filters of at most {_MOST_BYTES / 1e6:.0f} MB, these would have "
            f"{needed / 1e6:.0f} MB. Take fewer fiducials, or say kind=Filter."
            f"{'ANALYSIS' if full else 'PSEUDO'}."
        )


@functools.lru_cache(maxsize=4)
def _exact(nside: int, lmax: int, stokes: Stokes) -> Array:
    """Filters that give the modes of a full-sky map."""
    modes, _ = real_modes(SHT(nside, lmax), stokes, Grid(nside))
    flat = modes.reshape(len(modes), -1)
    root = scipy.linalg.cho_factor(flat.T @ flat, overwrite_a=True, check_finite=False)
    inverse = scipy.linalg.cho_solve(root, flat.T, overwrite_b=True, check_finite=False)
    return jnp.asarray(inverse.T[None], jnp.float32)


def _weighted(sky: GaussianSky, fiducials: tuple[tuple[float, ...], ...]) -> Array:
    """Filters S_f^-1 Y of each fiducial f."""
    likelihood = PixelLikelihood(sky)
    flat = likelihood.modes.reshape(likelihood.size, -1)
    out = np.empty((len(fiducials), *flat.shape), dtype=np.float32)
    for number, parameters in enumerate(fiducials):
        covariance = likelihood.covariance(np.array(parameters))
        covariance[np.diag_indices_from(covariance)] *= 1.0 + 1e-10
        out[number] = scipy.linalg.solve(
            covariance, flat, assume_a="pos", overwrite_a=True, check_finite=False
        )
    return jnp.asarray(out)


def _real(alm: Array, lmax: int, stokes: Stokes) -> Float[Array, "map field mode"]:
    """Real numbers of unit variance for unit spectra, as `real_modes` has them in order."""
    ell, m = multipoles(lmax)
    low = lowest(stokes)
    first, second = np.flatnonzero(ell >= low), np.flatnonzero((ell >= low) & (m > 0))
    scale = np.where(m > 0, math.sqrt(2.0), 1.0).astype(np.float32)
    return jnp.concatenate(
        [alm.real[..., first] * scale[first], alm.imag[..., second] * scale[second]], axis=-1
    )


@functools.lru_cache(maxsize=8)
def _pools(lmax: int, low: int) -> Float[np.ndarray, "mode ell"]:
    """Means over the modes of each multipole."""
    ell = _ells(lmax, low)
    return ((ell[:, None] == np.arange(low, lmax + 1)) / (2.0 * ell[:, None] + 1.0)).astype(
        np.float32
    )


def _ells(lmax: int, low: int) -> Int[np.ndarray, " mode"]:
    """Multipole of each mode, in the order of `real_modes`."""
    ell, m = multipoles(lmax)
    return np.concatenate([ell[ell >= low], ell[(ell >= low) & (m > 0)]])
