"""The kinds of statistics by name, each on the plane and on the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.scattering.covariance import CovarianceShape
from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.pairs import Rows
from skysift.scattering.plane.bank import Bank, BankShape, make_bank
from skysift.scattering.plane.covariance import FlatCovariance
from skysift.scattering.plane.wavelets import AbstractWavelet, BumpSteerable
from skysift.scattering.plane.weights import ScaleWeights, scale_weights
from skysift.scattering.plane.wph import FlatPhases, FlatPhaseShape
from skysift.scattering.plane.wst import FlatTransform
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.covariance import SphereCovariance
from skysift.scattering.sphere.weights import SphereWeights, sphere_weights
from skysift.scattering.sphere.wph import SpherePhases, SpherePhaseShape
from skysift.scattering.sphere.wst import SphereTransform
from skysift.scattering.wst import TransformShape


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
        plane = _plane(shape, scales, orientations, channels, weights, wavelet, oversampling)
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
        sphere = _sphere(nside, scales, lmax, channels, weights, order, directions, harmonics)
        bank = sphere.bank
        rows = Rows(
            bank.scales,
            channels,
            bank.parts,
            ("harmonic", "part"),
            tuple(part == 1 and not handed for _, part in bank.parts),
            _odd_channels(channels, handed, pseudoscalar),
        )
        fixed = CovarianceShape(rows, None, sphere.regions, sphere.origin)
        return SphereCovariance(
            domain=sphere.domain, bank=bank, weights=sphere.weights, shape=fixed
        )


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
        plane = _plane(shape, scales, orientations, channels, weights, wavelet, oversampling)
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
        order: int = 4,
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
            order: of the directional profile of the wavelets (`SphereBank`).
            directions: in which moduli are taken, and angles between the layers; `None` for
                `order + 1`.
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
            ((3,), (9,))
        """
        sphere = _sphere(nside, scales, lmax, channels, weights, order, directions, harmonics)
        bank = sphere.bank
        turns = bank.directions if handed else bank.directions // 2 + 1
        fixed = TransformShape(channels, bank.scales, None, turns, sphere.regions, sphere.origin)
        return SphereTransform(domain=sphere.domain, bank=bank, weights=sphere.weights, shape=fixed)


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
        plane = _plane(shape, scales, orientations, channels, weights, wavelet, oversampling)
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
        order: int = 4,
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
            order: of the directional profile of the wavelets (`SphereBank`).
            directions: in which coefficients are taken; `None` for `2 order + 1`, with which
                `Cphase` depends on the orientation of the sky by less than 1 %.
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
        directions = directions or 2 * order + 1
        sphere = _sphere(nside, scales, lmax, channels, weights, order, directions, harmonics)
        bank = sphere.bank
        fixed = SpherePhaseShape(
            channels,
            bank.scales,
            bank.parts,
            pseudoscalar or (False,) * channels,
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


@dataclass(frozen=True)
class _Plane:
    """What all statistics of flat fields are made of."""

    domain: Flat
    bank: Bank
    weights: ScaleWeights | None
    regions: int
    origin: str


def _plane(
    shape: tuple[int, ...],
    scales: int,
    orientations: int,
    channels: int,
    weights: Float[np.ndarray, "..."] | None,
    wavelet: AbstractWavelet | None,
    oversampling: int,
) -> _Plane:
    sizes = BankShape(tuple(shape), scales, orientations, oversampling)
    wavelet = wavelet or BumpSteerable()
    bank = make_bank(sizes, wavelet)
    masks = None
    if weights is not None:
        weights = np.asarray(weights, dtype=float)
        masks = scale_weights(bank, weights[None] if weights.shape == sizes.shape else weights)
    finer = f", oversampled {oversampling} times" if oversampling > 1 else ""
    return _Plane(
        Flat(shape=sizes.shape, channels=channels),
        bank,
        masks,
        1 if masks is None else len(masks.cells),
        f"flat grid {sizes.shape}, {wavelet}{finer}",
    )


@dataclass(frozen=True)
class _Sphere:
    """What all statistics on the sphere are made of."""

    domain: Sphere
    bank: SphereBank
    weights: SphereWeights | None
    regions: int
    origin: str


def _sphere(
    nside: int,
    scales: int | None,
    lmax: int | None,
    channels: int,
    weights: Float[np.ndarray, "..."] | None,
    order: int,
    directions: int | None,
    harmonics: int,
) -> _Sphere:
    lmax = 2 * nside if lmax is None else lmax
    domain = Sphere(channels=channels, nside=nside, lmax=lmax, iterations=3)
    scales = int(math.log2(lmax)) if scales is None else scales
    bank = SphereBank(lmax, scales, order, directions or order + 1, harmonics)
    masks = None
    if weights is not None:
        weights = np.asarray(weights, dtype=float)
        masks = sphere_weights(bank, domain, np.atleast_2d(weights))
    return _Sphere(
        domain,
        bank,
        masks,
        1 if masks is None else len(masks.cells),
        f"sphere nside {nside} lmax {lmax}, {bank}",
    )


def _odd_channels(
    channels: int, handed: bool, pseudoscalar: tuple[bool, ...] | None
) -> tuple[bool, ...]:
    """Of each channel whether its products with what a mirror leaves as it is are left out."""
    return tuple(odd and not handed for odd in pseudoscalar or (False,) * channels)
