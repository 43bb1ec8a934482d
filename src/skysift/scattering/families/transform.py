"""Wavelet scattering transform by name."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from skysift.scattering.families.parts import plane_parts, sphere_parts
from skysift.scattering.plane.wavelets import AbstractWavelet
from skysift.scattering.plane.wst import FlatTransform
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet
from skysift.scattering.sphere.wst import SphereTransform
from skysift.scattering.wst import TransformShape


class WST:
    """Wavelet scattering transform, of flat fields or on the sphere (`AbstractTransform`)."""

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
    ) -> FlatTransform:
        """Of fields on a periodic flat grid of 1, 2 or 3 axes.

        Args:
            shape: cells along each axis.
            scales: number of dyadic scales; the centre of scale j is at `centre / 2^j`.
            orientations: number of directions of the wavelets over half a turn.
            channels: number of maps seen together, each for itself.
            weights: `shape` or `(region, *shape)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: family of wavelets; `None` for `BumpSteerable()`.
            oversampling: of the grids on which moduli are taken (`BankShape`).

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = WST.plane(shape=(32, 32), scales=3, orientations=4)
            >>> phi = st(np.random.default_rng(0).standard_normal((5, 32, 32)))
            >>> phi["S1"].shape, phi["S2"].shape
            ((5, 12), (5, 48))
        """
        plane = plane_parts(shape, scales, orientations, channels, weights, wavelet, oversampling)
        fixed = TransformShape(channels, scales, orientations, None, plane.regions, plane.origin)
        return FlatTransform(
            domain=plane.domain, bank=plane.bank, weights=plane.weights, shape=fixed
        )

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
    ) -> SphereTransform:
        """Of HEALPix maps in RING order, invariant under rotations.

        Args:
            nside: of the maps.
            scales: number of dyadic scales, centred at `l = lmax / 2^j`; `None` for all.
            lmax: largest multipole; `None` for 2 nside. What maps have above is not seen.
            channels: number of maps seen together, each for itself.
            weights: `(cell,)` or `(region, cell)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: window and directional profile of the wavelets; `None` for `Steerable()`.
            directions: in which moduli are taken, and angles between the layers; `None` for
                two more than the order of the wavelet.
            harmonics: largest angular harmonic of the moduli that is kept, even.
            handed: tell the two senses of the angle between the layers apart, which are alike in
                fields without handedness.

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = WST.sphere(nside=8, scales=3)
            >>> phi = st(np.random.default_rng(0).standard_normal(768))
            >>> phi["S1"].shape, phi["S2"].shape
            ((3,), (12,))
        """
        sphere = sphere_parts(
            nside, scales, lmax, channels, weights, wavelet, directions, harmonics
        )
        bank = sphere.bank
        turns = bank.directions if handed else bank.directions // 2 + 1
        fixed = TransformShape(channels, bank.scales, None, turns, sphere.regions, sphere.origin)
        return SphereTransform(domain=sphere.domain, bank=bank, weights=sphere.weights, shape=fixed)
