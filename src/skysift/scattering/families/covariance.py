"""Scattering covariance by name."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from skysift.scattering.covariance import CovarianceShape
from skysift.scattering.families.parts import odd_channels, plane_parts, sphere_parts
from skysift.scattering.pairs import Rows
from skysift.scattering.plane.covariance import FlatCovariance
from skysift.scattering.plane.wavelets import AbstractWavelet
from skysift.scattering.sphere.covariance import SphereCovariance
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet


class Covariance:
    """Scattering covariance of fields on a flat grid or on the sphere (`AbstractCovariance`)."""

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
    ) -> FlatCovariance:
        """Of fields on a periodic flat grid of 1, 2 or 3 axes.

        Fields whose edges do not join need weights that are zero along the edges; margins as wide
        as the wavelets of each scale are added.

        Args:
            shape: cells along each axis.
            scales: number of dyadic scales; the centre of scale j is at `centre / 2^j`.
            orientations: number of directions of the wavelets over half a turn.
            channels: number of maps seen together, with all their cross moments.
            weights: `shape` or `(region, *shape)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: family of wavelets; `None` for `BumpSteerable()`.
            oversampling: of the grids on which moduli are taken (`BankShape`).

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = Covariance.plane(shape=(32, 32), scales=3, orientations=4)
            >>> phi = st(np.random.default_rng(0).standard_normal((5, 32, 32)))
            >>> phi["S3"].shape, phi.layout["S3"].axes[3:5]
            ((5, 96), ('scale', 'scale2'))
        """
        plane = plane_parts(shape, scales, orientations, channels, weights, wavelet, oversampling)
        turns = tuple((turn,) for turn in range(orientations))
        rows = Rows(
            scales, channels, turns, ("orientation",), (False,) * orientations, (False,) * channels
        )
        fixed = CovarianceShape(rows, orientations, plane.regions, plane.origin)
        return FlatCovariance(
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
        pseudoscalar: tuple[bool, ...] | None = None,
    ) -> SphereCovariance:
        """Of HEALPix maps in RING order, invariant under rotations.

        Args:
            nside: of the maps.
            scales: number of dyadic scales, centred at `l = lmax / 2^j`; `None` for all.
            lmax: largest multipole; `None` for 2 nside. What maps have above is not seen.
            channels: number of maps seen together, with all their cross moments.
            weights: `(cell,)` or `(region, cell)`, 0 on masked cells; every region has statistics
                of its own.
            wavelet: window and directional profile of the wavelets; `None` for `Steerable()`.
            directions: in which moduli are taken; `None` for two more than the order of
                the wavelet.
            harmonics: largest angular harmonic of the moduli that is kept, even.
            handed: keep the products that change sign in a mirror, which vanish on average in
                fields without handedness.
            pseudoscalar: of each channel, whether it changes sign in a mirror, as B modes do.

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = Covariance.sphere(nside=8, scales=3)
            >>> phi = st(np.random.default_rng(0).standard_normal(768))
            >>> phi["S1"].shape, phi.n_coefficients
            ((3,), 158)
        """
        sphere = sphere_parts(
            nside, scales, lmax, channels, weights, wavelet, directions, harmonics
        )
        bank = sphere.bank
        rows = Rows(
            bank.scales,
            channels,
            bank.parts,
            ("harmonic", "part"),
            tuple(part == 1 and not handed for _, part in bank.parts),
            tuple(odd and not handed for odd in odd_channels(channels, pseudoscalar)),
        )
        fixed = CovarianceShape(rows, None, sphere.regions, sphere.origin)
        return SphereCovariance(
            domain=sphere.domain, bank=bank, weights=sphere.weights, shape=fixed
        )
