"""The kinds of statistics by name, each on the plane and on the sphere."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from skysift.scattering.bank import BankShape, make_bank
from skysift.scattering.covariance import CovarianceShape
from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.flat_covariance import FlatCovariance
from skysift.scattering.pairs import Rows
from skysift.scattering.sphere_bank import SphereBank
from skysift.scattering.sphere_covariance import SphereCovariance
from skysift.scattering.sphere_weights import sphere_weights
from skysift.scattering.wavelets import AbstractWavelet, BumpSteerable
from skysift.scattering.weights import scale_weights


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

        Raises:
            ValueError: for sizes that do not fit together, or weights that leave no cell at a
                scale.

        Examples:
            >>> st = Covariance.plane(shape=(32, 32), scales=3, orientations=4)
            >>> phi = st(np.random.default_rng(0).standard_normal((5, 32, 32)))
            >>> phi["S3"].shape, phi.layout["S3"].axes[3:5]
            ((5, 96), ('scale', 'scale2'))
        """
        sizes = BankShape(tuple(shape), scales, orientations)
        wavelet = wavelet or BumpSteerable()
        bank = make_bank(sizes, wavelet)
        masks = None
        if weights is not None:
            weights = np.asarray(weights, dtype=float)
            masks = scale_weights(bank, weights[None] if weights.shape == sizes.shape else weights)
        modes = tuple((turn,) for turn in range(orientations))
        rows = Rows(
            scales, channels, modes, ("orientation",), (False,) * orientations, (False,) * channels
        )
        regions = 1 if masks is None else len(masks.cells)
        origin = f"flat grid {sizes.shape}, {wavelet}"
        return FlatCovariance(
            domain=Flat(shape=sizes.shape, channels=channels),
            bank=bank,
            weights=masks,
            shape=CovarianceShape(rows, orientations, regions, origin),
        )

    @staticmethod
    def sphere(
        nside: int,
        scales: int | None = None,
        *,
        lmax: int | None = None,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
        order: int = 4,
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
            order: of the directional profile of the wavelets (`SphereBank`).
            directions: in which moduli are taken; `None` for `order + 1`.
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
        lmax = 2 * nside if lmax is None else lmax
        domain = Sphere(channels=channels, nside=nside, lmax=lmax, iterations=3)
        scales = int(math.log2(lmax)) if scales is None else scales
        bank = SphereBank(lmax, scales, order, directions or order + 1, harmonics)
        masks = None
        if weights is not None:
            weights = np.asarray(weights, dtype=float)
            masks = sphere_weights(bank, domain, np.atleast_2d(weights))
        odd_channels = pseudoscalar or (False,) * channels
        rows = Rows(
            scales,
            channels,
            bank.parts,
            ("harmonic", "part"),
            tuple(part == 1 and not handed for _, part in bank.parts),
            tuple(odd and not handed for odd in odd_channels),
        )
        regions = 1 if masks is None else len(masks.cells)
        origin = f"sphere nside {nside} lmax {lmax}, {bank}"
        return SphereCovariance(
            domain=domain,
            bank=bank,
            weights=masks,
            shape=CovarianceShape(rows, None, regions, origin),
        )
