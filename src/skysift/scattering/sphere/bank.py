"""Directional wavelets on the sphere, exact in harmonic space."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from skysift.harmonic import multipoles
from skysift.scattering.sphere.gauss_legendre import GaussLegendre
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet, Steerable

_WAVELET = Steerable()

_AFFORDABLE = 32
"""Band limit of a grid whose transforms cost nothing beside those of the fine scales."""


@dataclass(frozen=True)
class SphereBank:
    """Directional wavelets of dyadic scales as sums of spin fields.

    The wavelet of scale j has a window around `l_j = lmax / 2^j`. The coefficient in direction chi
    is `W(chi) = sum over |n| <= order of c_n exp(i n chi) W_n`, with `W_n` the spin-n field of the
    windowed coefficients and `c_n` of the directional profile, normalised to unit power. A profile
    without an opposite lobe makes `W` complex and its modulus an envelope. The moduli in
    `directions` directions over half a turn give angular harmonics of even order q, which are
    spin-q fields.

    Args:
        lmax: largest multipole, and the centre of the finest scale.
        scales: number of scales, from 1.
        wavelet: window and directional profile.
        directions: in which the modulus is taken, from `order + 1`. The more, the less of the
            harmonics above comes down on the others, which depends on the orientation of the grid.
        harmonics: largest angular harmonic of the moduli, even.
    """

    lmax: int
    scales: int
    wavelet: AbstractSphereWavelet = _WAVELET
    directions: int = 6
    harmonics: int = 4

    def __post_init__(self) -> None:
        most = max(int(math.log2(self.lmax)), 1)
        if not 1 <= self.scales <= most:
            raise ValueError(
                f"scales: expected 1 to {most} for lmax {self.lmax} (the coarsest is centred at "
                f"l = lmax / 2^(scales - 1)), got {self.scales}. Say scales={most}."
            )
        if self.directions <= self.order:
            raise ValueError(
                f"directions: expected more than order = {self.order}, got {self.directions}. "
                f"Say directions={self.order + 1}."
            )
        if self.harmonics % 2 or not 0 <= self.harmonics < self.directions:
            raise ValueError(
                f"harmonics: expected an even number from 0 to {self.directions - 1}, got "
                f"{self.harmonics}. Say harmonics={(self.directions - 1) // 2 * 2}."
            )
        most = np.sum([self.window(scale) ** 2 for scale in range(self.scales)], axis=0).max()
        if not most <= 1.0 + 1e-9:
            raise ValueError(
                f"wavelet: expected windows whose squares add to 1 at most, got {most:.4g}. Divide "
                "them by its root."
            )

    @property
    def order(self) -> int:
        """Largest spin of the fields that the wavelet coefficients are made of."""
        return self.wavelet.order

    @property
    def spins(self) -> tuple[int, ...]:
        """Spins of the fields that the wavelet coefficients are made of."""
        return tuple(range(self.order + 1))

    @property
    def even(self) -> tuple[int, ...]:
        """Spins of the angular harmonics of the moduli."""
        return tuple(range(0, self.harmonics + 1, 2))

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Spin and parity, 0 for gradient and 1 for curl, of each part of a modulus."""
        return ((0, 0), *((spin, part) for spin in self.even[1:] for part in (0, 1)))

    def centre(self, scale: int) -> float:
        """Multipole around which the window of a scale is."""
        return self.lmax / 2.0**scale

    def band(self, scale: int) -> int:
        """Largest multipole of a scale."""
        return min(self.lmax, math.ceil(2.0 * self.centre(scale)) - 1)

    def grid(self, scale: int) -> GaussLegendre:
        """Grid on which the coefficients of a scale are evaluated.

        A modulus has no band limit: on a finer grid it depends less on the orientation of the grid.
        Coarse scales can afford twice their band.
        """
        band = self.band(scale)
        return GaussLegendre(max(band, min(2 * band, _AFFORDABLE), self.order, self.harmonics))

    def window(self, scale: int) -> Float[np.ndarray, " ell"]:
        """Window of a scale for the multipoles 0 to lmax."""
        ell = np.arange(self.lmax + 1)
        octaves = np.log2(np.maximum(ell, 1) / self.centre(scale))
        inside = (ell > 0) & (np.abs(octaves) < 1.0)
        window = np.zeros(self.lmax + 1)
        window[inside] = self.wavelet.radial(octaves[inside])
        return window

    def rest(self) -> Float[np.ndarray, "side ell"]:
        """Power windows of the multipoles above 0 that no scale covers: fine and coarse ones."""
        total = sum(self.window(scale) ** 2 for scale in range(self.scales))
        ell = np.arange(self.lmax + 1)
        uncovered = np.clip(1.0 - total, 0.0, 1.0) * (ell > 0)
        coarse = ell < self.centre(self.scales - 1)
        return np.stack([uncovered * ~coarse, uncovered * coarse])

    def coefficients(
        self, alm: Complex[Array, "... alm"], scale: int, grid: GaussLegendre | None = None
    ) -> tuple[Float[Array, "... direction cell"], Float[Array, "... direction cell"]]:
        """Real and imaginary parts of the wavelet coefficients of a scale in each direction.

        Args:
            alm: coefficients of fields up to `lmax`.
            scale: of the wavelets.
            grid: on which to evaluate them; `None` for that of the scale.
        """
        grid = grid or self.grid(scale)
        ell = np.minimum(ell_of(grid.lmax), self.lmax)
        window = jnp.asarray(self.window(scale)[ell], jnp.real(alm).dtype)
        fields = grid.synthesis(truncated(alm, self.lmax, grid.lmax) * window, self.spins)
        real, imaginary = _turns(self.wavelet, self.directions)
        return _combined(real, fields), _combined(imaginary, fields)

    def harmonic_parts(
        self,
        modulus: Float[Array, "... direction cell"],
        scale: int,
        grid: GaussLegendre | None = None,
    ) -> Complex[Array, "... part alm"]:
        """Coefficients of the angular harmonics of a modulus, in the order of `parts`.

        Args:
            modulus: in each direction.
            scale: of the wavelets.
            grid: on which it is; `None` for that of the scale.
        """
        fields = _combined(_averages(self.directions, self.even), modulus)
        return (grid or self.grid(scale)).analysis(fields, self.even)


def _combined(
    matrix: Float[np.ndarray, "row field"], fields: Float[Array, "... field cell"]
) -> Float[Array, "... row cell"]:
    """Linear combinations of fields, as one product of two matrices, the fastest on a CPU."""
    lead, (count, cells) = fields.shape[:-2], fields.shape[-2:]
    flat = jnp.swapaxes(fields.reshape(-1, count, cells), 0, 1).reshape(count, -1)
    rows = jnp.asarray(matrix, fields.dtype) @ flat
    rows = jnp.swapaxes(rows.reshape(len(matrix), -1, cells), 0, 1)
    return rows.reshape(*lead, len(matrix), cells)


def truncated(alm: Complex[Array, "... alm"], have: int, want: int) -> Complex[Array, "... alm"]:
    """The coefficients up to a lower multipole, or with zeros up to a higher one."""
    if want == have:
        return alm
    if want < have:
        return alm[..., _positions(have, want)]
    wider = jnp.zeros((*alm.shape[:-1], (want + 1) * (want + 2) // 2), alm.dtype)
    return wider.at[..., _positions(want, have)].set(alm)


def multiplicity(lmax: int) -> Float[np.ndarray, " alm"]:
    """How often each packed coefficient counts in a sum over all m."""
    return np.where(multipoles(lmax)[1] == 0, 1.0, 2.0)


@functools.lru_cache(maxsize=64)
def ell_of(lmax: int) -> Int[np.ndarray, " alm"]:
    """Multipoles of packed coefficients."""
    return multipoles(lmax)[0]


@functools.lru_cache(maxsize=256)
def _positions(have: int, want: int) -> Int[np.ndarray, " alm"]:
    ell, m = multipoles(want)
    return m * (2 * have + 1 - m) // 2 + ell


@functools.lru_cache(maxsize=16)
def _turns(wavelet: AbstractSphereWavelet, directions: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that give the two parts of W(chi) of the two parts of each spin field.

    Of a real field `W_-n = (-1)^n conj(W_n)`: even spins make the real part, odd ones the other.
    """
    order, power = wavelet.order, wavelet.angular()
    norm = math.sqrt(power[0] ** 2 + 2.0 * np.sum(power[1:] ** 2))
    chi = np.arange(directions) * np.pi / directions
    real = np.zeros((directions, 2 * order + 1))
    imaginary = np.zeros_like(real)
    real[:, 0] = power[0] / norm
    for n in range(1, order + 1):
        cosine, sine = np.cos(n * chi), np.sin(n * chi)
        # Their coefficients are minus the gradient part by convention, those of spin 0 are not.
        scale = -2.0 * power[n] / norm
        if n % 2 == 0:
            real[:, 2 * n - 1 : 2 * n + 1] = scale * np.stack([cosine, -sine], axis=-1)
        else:
            imaginary[:, 2 * n - 1 : 2 * n + 1] = scale * np.stack([sine, cosine], axis=-1)
    return real, imaginary


@functools.lru_cache(maxsize=16)
def _averages(directions: int, spins: tuple[int, ...]) -> np.ndarray:
    """Matrix that gives the two parts of each angular harmonic of a modulus."""
    chi = np.arange(directions) * np.pi / directions
    rows = []
    for spin in spins:
        rows.append(np.cos(spin * chi) / directions)
        if spin:
            rows.append(-np.sin(spin * chi) / directions)
    return np.stack(rows)
