"""Fixed numbers of maps that hold what Gaussian skies say: powers of modes.

Of the full sky without noise the mean squares of the coefficients of each multipole are sufficient.
"""

from __future__ import annotations

import enum
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from skysift.grid import Grid
from skysift.harmonic import SHT, Backend
from skysift.inference.likelihood import lowest, mode_multipoles, real_modes, real_parts
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed
from skysift.inference.summary import AbstractSummary
from skysift.maps import Stokes

_MOST_BYTES = 2e8


class Filter(enum.Enum):
    """How modes are made of maps."""

    EXACT = "the coefficients of the map, by the inverse of the synthesis"
    ANALYSIS = "coefficients by quadrature, of full skies of any resolution"
    PSEUDO = "coefficients of the masked map, for any masks"


class Filtered(AbstractSummary):
    """Logarithms of powers of modes, for each field and multipole.

    For polarisation 1 + c of E and B follows, where c is their correlation: also a power but for
    a factor. Made by `Filtered.of`.

    Args:
        kind: how modes are made.
        nside: resolution of the maps.
        lmax: largest multipole.
        stokes: I, or Q and U.
        cross: whether the correlation of E and B counts too.
        of_mask: whether powers of the mask are told too, where it is another in each map.
    """

    kind: Filter = eqx.field(static=True)
    nside: int = eqx.field(static=True)
    lmax: int = eqx.field(static=True)
    stokes: Stokes = eqx.field(static=True)
    cross: bool = eqx.field(static=True)
    of_mask: bool = eqx.field(static=True)
    filters: Float[Array, "value mode"] | None

    def __init__(
        self,
        kind: Filter,
        nside: int,
        lmax: int,
        stokes: Stokes,
        cross: bool = True,
        of_mask: bool = False,
    ) -> None:
        self.kind, self.nside, self.lmax, self.stokes = kind, nside, lmax, stokes
        self.cross, self.of_mask = cross and stokes is Stokes.QU, of_mask
        self.filters = _exact(nside, lmax, stokes) if kind is Filter.EXACT else None

    @staticmethod
    def of(
        simulator: AbstractSimulator,
        kind: Filter | None = None,
        *,
        cross: bool | None = None,
    ) -> Filtered:
        """The best filters in reach for maps of a simulator.

        Args:
            simulator: of the maps.
            kind: of the filters; by default exact ones of full skies without noise, where they fit
                into 200 MB, else coefficients by quadrature, or those of masked maps.
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
        chosen = kind or _kind(simulator)
        if chosen in (Filter.EXACT, Filter.ANALYSIS) and not full:
            raise ValueError(
                f"kind: expected PSEUDO for a cut sky, got {chosen.name}. Leave it out."
            )
        if chosen is Filter.EXACT:
            _check_size(simulator, lmax)
        both = not full if cross is None else cross
        changing = chosen is Filter.PSEUDO and not isinstance(simulator.region, (FullSky, Shared))
        return Filtered(chosen, simulator.nside, lmax, simulator.stokes, both, changing)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        multipole = self.lmax + 1 - lowest(self.stokes)
        fields = 1 if self.stokes is Stokes.I else 2 + self.cross
        return fields * multipole + (self.lmax + 1 if self.of_mask else 0)

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
            modes = values.reshape(len(values), -1) @ self.filters
            fields = 1 if self.stokes is Stokes.I else 2
            return self._pooled(modes.reshape(len(values), fields, -1))
        sht = SHT(self.nside, self.lmax, backend=Backend.suited(self.nside))
        spin = 0 if self.stokes is Stokes.I else 2
        if self.kind is Filter.ANALYSIS:
            alm = sht.analysis(values, spin)
            return self._pooled(real_parts(alm, self.lmax, self.stokes))
        alm = sht.adjoint(values, spin)
        of_map = self._pooled(real_parts(alm, self.lmax, self.stokes))
        if not self.of_mask:
            return of_map
        mask = sht.adjoint(observed.mask[:, None].astype(jnp.float32))
        squares = real_parts(mask, self.lmax, Stokes.I)[:, 0] ** 2
        powers = squares @ jnp.asarray(_pools(self.lmax, Stokes.I))
        return jnp.concatenate([of_map, jnp.log(powers + 1e-6)], axis=-1)

    def _pooled(self, modes: Float[Array, "... field mode"]) -> Float[Array, "... number"]:
        """Logarithms of mean squares over the modes of each multipole."""
        pools = jnp.asarray(_pools(self.lmax, self.stokes))
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
    if not isinstance(simulator.region, FullSky):
        return Filter.PSEUDO
    if not isinstance(simulator, GaussianSky) or simulator.noise > 0.0:
        return Filter.ANALYSIS
    fits = _bytes(simulator, simulator.theory.lmax) <= _MOST_BYTES
    return Filter.EXACT if fits else Filter.ANALYSIS


def _bytes(simulator: AbstractSimulator, lmax: int) -> int:
    modes = (lmax + 1) ** 2 - lowest(simulator.stokes) ** 2
    return 4 * 12 * simulator.nside**2 * modes * len(simulator.stokes) ** 2


def _check_size(simulator: AbstractSimulator, lmax: int) -> None:
    needed = _bytes(simulator, lmax)
    if needed > _MOST_BYTES:
        raise ValueError(
            f"simulator: expected filters of at most {_MOST_BYTES / 1e6:.0f} MB, these would have "
            f"{needed / 1e6:.0f} MB. Say kind=Filter.ANALYSIS."
        )


@functools.lru_cache(maxsize=4)
def _exact(nside: int, lmax: int, stokes: Stokes) -> Array:
    """Filters that give the modes of a full-sky map."""
    modes, _ = real_modes(SHT(nside, lmax), stokes, Grid(nside))
    flat = modes.reshape(len(modes), -1)
    root = scipy.linalg.cho_factor(flat.T @ flat, overwrite_a=True, check_finite=False)
    inverse = scipy.linalg.cho_solve(root, flat.T, overwrite_b=True, check_finite=False)
    return jnp.asarray(inverse.T, jnp.float32)


@functools.lru_cache(maxsize=8)
def _pools(lmax: int, stokes: Stokes) -> Float[np.ndarray, "mode ell"]:
    """Means over the modes of each multipole."""
    ell = mode_multipoles(lmax, stokes)
    return (
        (ell[:, None] == np.arange(lowest(stokes), lmax + 1)) / (2.0 * ell[:, None] + 1.0)
    ).astype(np.float32)
