"""What the statistics of a domain are made of: maps, wavelets and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.scattering.domain import Flat, Sphere
from skysift.scattering.plane.bank import Bank, BankShape, make_bank
from skysift.scattering.plane.wavelets import AbstractWavelet, BumpSteerable
from skysift.scattering.plane.weights import ScaleWeights, scale_weights
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.response import masked_weights
from skysift.scattering.sphere.wavelets import AbstractSphereWavelet, Steerable
from skysift.scattering.sphere.weights import SphereWeights


@dataclass(frozen=True)
class PlaneParts:
    """What all statistics of flat fields are made of."""

    domain: Flat
    bank: Bank
    weights: ScaleWeights | None
    regions: int
    origin: str


def plane_parts(
    shape: tuple[int, ...],
    scales: int,
    orientations: int,
    channels: int,
    weights: Float[np.ndarray, "..."] | None,
    wavelet: AbstractWavelet | None,
    oversampling: int,
) -> PlaneParts:
    """The parts of statistics of flat fields; `Covariance.plane` says what each argument is."""
    domain = Flat(shape=tuple(shape), channels=channels)
    sizes = BankShape(domain.shape, scales, orientations, oversampling)
    wavelet = wavelet or BumpSteerable()
    bank = make_bank(sizes, wavelet)
    masks = None
    if weights is not None:
        masks = scale_weights(bank, weights)
    finer = f", oversampled {oversampling} times" if oversampling > 1 else ""
    return PlaneParts(
        domain,
        bank,
        masks,
        1 if masks is None else len(masks.cells),
        f"{domain.words}, {wavelet}{finer}",
    )


@dataclass(frozen=True)
class SphereParts:
    """What all statistics on the sphere are made of."""

    domain: Sphere
    bank: SphereBank
    weights: SphereWeights | None
    regions: int
    origin: str


def sphere_parts(
    nside: int,
    scales: int | None,
    lmax: int | None,
    channels: int,
    weights: Float[np.ndarray, "..."] | None,
    wavelet: AbstractSphereWavelet | None,
    directions: int | None,
    harmonics: int,
) -> SphereParts:
    """The parts of statistics on the sphere; `Covariance.sphere` says what each argument is."""
    lmax = 2 * nside if lmax is None else lmax
    domain = Sphere(channels=channels, nside=nside, lmax=lmax, iterations=3)
    scales = int(math.log2(lmax)) if scales is None else scales
    wavelet = wavelet or Steerable()
    bank = SphereBank(lmax, scales, wavelet, directions or wavelet.order + 2, harmonics)
    masks = None
    if weights is not None:
        masks = masked_weights(bank, domain, weights)
    return SphereParts(
        domain,
        bank,
        masks,
        1 if masks is None else len(masks.cells),
        f"{domain.words}, {bank}",
    )


def odd_channels(channels: int, pseudoscalar: tuple[bool, ...] | None) -> tuple[bool, ...]:
    """Of each channel whether it changes sign in a mirror; without word of it none does.

    Raises:
        ValueError: for another number of channels.
    """
    if pseudoscalar is None:
        return (False,) * channels
    if len(pseudoscalar) != channels:
        raise ValueError(
            f"pseudoscalar: expected True or False for each of {channels} channels, got "
            f"{tuple(pseudoscalar)}. Say False for T and E, True for B."
        )
    return tuple(map(bool, pseudoscalar))
