"""Power spectra and one-point statistics by name, each on the plane and on the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from skysift.scattering.bands import make_bands
from skysift.scattering.domain import AbstractDomain, Flat, Sphere
from skysift.scattering.pdf import OnePoint, PdfShape
from skysift.scattering.plane.bank import wavenumbers
from skysift.scattering.power_spectrum import (
    FlatPowerSpectrum,
    SpectrumShape,
    SpherePowerSpectrum,
    flat_weighting,
    sphere_weighting,
)


class PowerSpectrum:
    """Binned power spectrum; see `AbstractPowerSpectrum`."""

    @staticmethod
    def plane(
        shape: tuple[int, ...],
        bins: int | Sequence[float] = 16,
        *,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
    ) -> FlatPowerSpectrum:
        """Of fields on a flat grid of 1, 2 or 3 axes.

        Args:
            shape: cells along each axis.
            bins: number of bins of even width in the logarithm of the wave number, fewer where
                some would have no mode; or their edges in radians per cell.
            channels: number of maps seen together, with all auto and cross spectra.
            weights: of the cells `(*shape)`, or of several regions `(region, *shape)`; 0 on masked
                cells. `None` for periodic fields with equal weights.

        Raises:
            ValueError: for bins without modes, or that the weights leave too little to tell apart.

        Examples:
            >>> st = PowerSpectrum.plane((16, 16), bins=4)
            >>> white = np.random.default_rng(0).standard_normal((16, 16))
            >>> st(white)["bandpower"].shape
            (4,)
        """
        domain = Flat(shape=tuple(shape), channels=channels)
        numbers = wavenumbers(domain.shape)
        if isinstance(bins, int):
            _require_bins(bins)
            lowest, highest = 2.0 * np.pi / max(shape), float(numbers.max())
            edges = np.geomspace(lowest, highest, bins + 1)
            counts = np.histogram(numbers[numbers > 0.0], edges)[0]
            edges = edges[np.concatenate([[True], counts > 0])]
            # Rounding leaves no mode out at either end.
            edges[[0, -1]] *= 1.0 - 1e-9, 1.0 + 1e-9
        else:
            edges = np.asarray(bins, dtype=float)
            _require_edges(edges)
            counts = np.histogram(numbers[numbers > 0.0], edges)[0]
            for empty in np.flatnonzero(counts == 0):
                raise ValueError(
                    f"bins: expected modes in each bin, got none from {edges[empty]:.3g} to "
                    f"{edges[empty + 1]:.3g} radians per cell. Take wider bins between "
                    f"{2.0 * np.pi / max(shape):.3g} and {numbers.max():.3g}."
                )
        limits = tuple(edges.tolist())
        masks = None if weights is None else flat_weighting(domain, limits, weights)
        regions = 1 if masks is None else len(masks.cells)
        tables = SpectrumShape(channels, limits, regions, domain.words)
        return FlatPowerSpectrum(domain, masks, tables)

    @staticmethod
    def sphere(
        nside: int,
        lmax: int | None = None,
        bins: int | Sequence[int] = 16,
        *,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
    ) -> SpherePowerSpectrum:
        """Of HEALPix maps of the full sky, RING.

        Args:
            nside: of the maps.
            lmax: largest multipole, 2 nside by default.
            bins: number of bins, at low multipoles of one multipole each and of even width in
                their logarithm above; or the first multipole of each, and the one after the last.
            channels: number of maps seen together, with all auto and cross spectra.
            weights: of the cells `(cell,)`, or of several regions `(region, cell)`; 0 on masked
                cells. `None` for the full sky with equal weights.

        Raises:
            ValueError: for bins that do not grow or go beyond lmax, or that the weights leave too
                little to tell apart.

        Examples:
            >>> st = PowerSpectrum.sphere(nside=4, bins=4)
            >>> st.shape.edges
            (1, 2, 3, 5, 9)
        """
        lmax = 2 * nside if lmax is None else lmax
        domain = Sphere(nside=nside, lmax=lmax, channels=channels, iterations=3)
        if isinstance(bins, int):
            _require_bins(bins)
            edges = np.unique(np.round(np.geomspace(1.0, lmax + 1.0, min(bins, lmax) + 1)))
        else:
            edges = np.asarray(bins, dtype=float)
            _require_edges(edges)
        if edges[0] < 1 or edges[-1] > lmax + 1 or np.any(edges != np.floor(edges)):
            raise ValueError(
                f"bins: expected first multipoles from 1 to {lmax}, and {lmax + 1} at most as the "
                f"end, got {edges.tolist()}. Multipole 0 is the mean."
            )
        limits = tuple(int(edge) for edge in edges)
        masks = None if weights is None else sphere_weighting(domain, limits, weights)
        regions = 1 if masks is None else len(masks.cells)
        tables = SpectrumShape(channels, limits, regions, domain.words)
        return SpherePowerSpectrum(domain, masks, tables)


class Pdf:
    """Moments and quantiles of the values of a field and of its bands; see `OnePoint`."""

    @staticmethod
    def plane(
        shape: tuple[int, ...],
        scales: int | None = None,
        *,
        quantiles: int = 24,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
    ) -> OnePoint:
        """Of fields on a flat grid of 1, 2 or 3 axes.

        Args:
            shape: cells along each axis.
            scales: number of dyadic bands, as many as fit by default.
            quantiles: number of parts that the values are sorted into.
            channels: number of maps, each by itself.
            weights: of the cells `(*shape)`, or of several regions `(region, *shape)`; 0 on masked
                cells. `None` for equal weights.

        Raises:
            ValueError: for more scales than there are, fewer than two quantiles, and weights that
                make no sense.

        Examples:
            >>> st = Pdf.plane((16, 16), scales=2, quantiles=4)
            >>> st(np.random.default_rng(0).standard_normal((16, 16))).n_coefficients
            14
        """
        domain = Flat(shape=tuple(shape), channels=channels)
        scales = int(math.log2(min(shape))) - 1 if scales is None else scales
        return _one_point(domain, scales, quantiles, weights)

    @staticmethod
    def sphere(
        nside: int,
        lmax: int | None = None,
        scales: int | None = None,
        *,
        quantiles: int = 24,
        channels: int = 1,
        weights: Float[np.ndarray, "..."] | None = None,
    ) -> OnePoint:
        """Of HEALPix maps of the full sky, RING, up to a multipole.

        Args:
            nside: of the maps.
            lmax: largest multipole, 2 nside by default.
            scales: number of dyadic bands, as many as fit by default.
            quantiles: number of parts that the values are sorted into.
            channels: number of maps, each by itself.
            weights: of the cells `(cell,)`, or of several regions `(region, cell)`; 0 on masked
                cells. `None` for equal weights.

        Raises:
            ValueError: for more scales than there are, fewer than two quantiles, and weights that
                make no sense.
        """
        lmax = 2 * nside if lmax is None else lmax
        domain = Sphere(nside=nside, lmax=lmax, channels=channels, iterations=3)
        scales = int(math.log2(lmax)) if scales is None else scales
        return _one_point(domain, scales, quantiles, weights)


def _one_point(
    domain: AbstractDomain,
    scales: int,
    quantiles: int,
    weights: Float[np.ndarray, "..."] | None,
) -> OnePoint:
    bands = make_bands(domain, scales, weights)
    tables = PdfShape(domain.channels, scales, quantiles, bands.regions, domain.words)
    return OnePoint(domain, bands, tables)


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"bins: expected 1 or more, got {bins}. Say bins=16.")


def _require_edges(edges: Float[np.ndarray, " edge"]) -> None:
    if edges.ndim != 1 or edges.size < 2 or not np.all(np.diff(edges) > 0.0) or edges[0] < 0.0:
        raise ValueError(
            f"bins: expected a number, or at least two growing edges from 0 on, got "
            f"{edges.tolist()}."
        )
