"""Wavelet phase harmonics by name."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from skysift.scattering.families.parts import odd_channels, plane_parts, sphere_parts
from skysift.scattering.plane.wavelets import AbstractWavelet
from skysift.scattering.plane.wph import FlatPhases, FlatPhaseShape
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet, Steerable
from skysift.scattering.sphere.wph import SpherePhases, SpherePhaseShape


class WPH:
    """Wavelet phase harmonics, of flat fields or on the sphere (`AbstractPhases`)."""

    @staticmethod
    def plane(
        shape: tuple[int, ...],
        scales: int,
        orientations: int = 4,
        *,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
        wavelet: AbstractWavelet | None = None,
        oversampling: int = 1,
        shifts: int = 0,
        angles: int | None = None,
        moduli: bool = False,
    ) -> FlatPhases:
        """Of fields on a periodic flat grid of 1, 2 or 3 axes.

        Two real channels stand for a complex field, such as Q + iU: their cross moments are there.

        Args:
            shape: cells along each axis.
            scales: number of dyadic scales; the centre of scale j is at `centre / 2^j`.
            orientations: number of directions of the wavelets over half a turn.
            channels: number of maps seen together, with all their cross moments.
            weights: `shape` or `(region, *shape)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: family of wavelets; `None` for `BumpSteerable()`.
            oversampling: of the grids on which moduli are taken (`BankShape`).
            shifts: number of distances 2, 4, ... cells between the factors of a moment, beside 0.
            angles: number of directions of the shifts over half a turn; `None` for 4 on the plane
                and 1 otherwise.
            moduli: whether to have the class `C00`.

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = WPH.plane(shape=(32, 32), scales=3, orientations=4)
            >>> phi = st(np.random.default_rng(0).standard_normal((5, 32, 32)))
            >>> phi["C01"].shape, phi["Cphase"].shape
            ((5, 48), (5, 12))
        """
        flat = len(shape) == 2
        angles = (4 if flat else 1) if angles is None else angles
        _check_shifts(tuple(shape), shifts, angles)
        plane = plane_parts(shape, scales, orientations, channels, weights, wavelet, oversampling)
        fixed = FlatPhaseShape(
            channels,
            scales,
            orientations,
            plane.regions,
            f"{plane.origin}, {angles} angles" if shifts else plane.origin,
            shifts,
            angles,
            moduli,
            scales // 4 + 2,
        )
        return FlatPhases(domain=plane.domain, bank=plane.bank, weights=plane.weights, shape=fixed)

    @staticmethod
    def sphere(
        nside: int,
        scales: int | None = None,
        *,
        lmax: int | None = None,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
        wavelet: AbstractSphereWavelet | None = None,
        directions: int | None = None,
        harmonics: int = 4,
        handed: bool = False,
        pseudoscalar: tuple[bool, ...] | None = None,
        moduli: bool = False,
    ) -> SpherePhases:
        """Of HEALPix maps in RING order, invariant under rotations.

        Args:
            nside: of the maps.
            scales: number of dyadic scales, centred at `l = lmax / 2^j`; `None` for all.
            lmax: largest multipole; `None` for 2 nside. What maps have above is not seen.
            channels: number of maps seen together, with all their cross moments.
            weights: `(cell,)` or `(region, cell)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: window and directional profile of the wavelets; `None` for `Steerable()`.
            directions: in which coefficients are taken; `None` for one more than twice the order of
                the wavelet, with which `Cphase` depends on the orientation of the sky by less than
                1 %.
            harmonics: largest angular harmonic of the moduli that is kept, even.
            handed: keep the moments that change sign in a mirror, which vanish on average in
                fields without handedness.
            pseudoscalar: of each channel, whether it changes sign in a mirror, as B modes do.
            moduli: whether to have the class `C00`.

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = WPH.sphere(nside=8, scales=3)
            >>> phi = st(np.random.default_rng(0).standard_normal(768))
            >>> phi["C01"].shape, phi["Cphase"].shape
            ((9,), (3,))
        """
        wavelet = wavelet or Steerable()
        directions = directions or 2 * wavelet.order + 1
        sphere = sphere_parts(
            nside, scales, lmax, channels, weights, wavelet, directions, harmonics
        )
        bank = sphere.bank
        fixed = SpherePhaseShape(
            channels,
            bank.scales,
            bank.parts,
            odd_channels(channels, pseudoscalar),
            handed,
            moduli,
            sphere.regions,
            sphere.origin,
        )
        return SpherePhases(domain=sphere.domain, bank=bank, weights=sphere.weights, shape=fixed)


def _check_shifts(shape: tuple[int, ...], shifts: int, angles: int) -> None:
    most = int(math.log2(min(shape))) - 1
    if not 0 <= shifts <= most:
        raise ValueError(
            f"shifts: expected 0 to {most} for a field of {shape} cells (the longest, of 2^shifts "
            f"cells, is at most half of it), got {shifts}. Say shifts={most}."
        )
    if angles < 1 or (len(shape) != 2 and angles > 1):
        raise ValueError(
            f"angles: expected {'1 or more' if len(shape) == 2 else '1 for a field of this shape'}"
            f", got {angles}. Say angles={4 if len(shape) == 2 else 1}."
        )
