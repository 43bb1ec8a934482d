"""What fields look like: measures that are not part of any scattering statistic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from skysift.scattering.domain import AbstractDomain
from skysift.scattering.gauges import AbstractGauge, gauge_of

LEVELS = np.linspace(-4.0, 4.0, 33)
"""Edges of the bins of values, in standard deviations of the example from its mean."""

THRESHOLDS = np.linspace(-1.0, 4.0, 11)
"""Above which peaks are counted."""

MOMENTS = ("mean", "deviation", "skewness", "kurtosis")
"""The first moments of the values; kurtosis is the excess over 3."""

SEPARATIONS = (0, 2, 4)
"""Bands between the sides of isosceles triangles: none, one octave, two octaves."""


@dataclass(frozen=True, eq=False)
class Measure:
    """A function of scale or of level, of a map and of its parts.

    Args:
        at: scales, levels or numbers of the points.
        value: of the whole map.
        parts: of its parts; NaN where less than a quarter of the cells of one count.
    """

    at: Float[np.ndarray, " point"]
    value: Float[np.ndarray, " point"]
    parts: Float[np.ndarray, "part point"]

    @property
    def scatter(self) -> Float[np.ndarray, " point"]:
        """Standard deviation over the parts; NaN where fewer than two count."""
        known = np.isfinite(self.parts)
        count = known.sum(axis=0)
        mean = np.where(known, self.parts, 0.0).sum(axis=0) / np.maximum(count, 1)
        square = np.where(known, (self.parts - mean) ** 2, 0.0).sum(axis=0)
        return np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)

    def offset(self, other: Measure) -> float:
        """Rms over the points of another's difference to this, in units of the rms scatter."""
        return float(offsets(other.value - self.value, self.scatter))


def offsets(
    differences: Float[np.ndarray, "... point"], scatter: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "..."]:
    """Rms over the points of differences, in units of the rms scatter; NaN without any.

    Parts of a map may be all alike at some levels: their scatter there is no unit by itself.
    """
    counts = np.isfinite(scatter)
    unit = np.sqrt(np.mean(scatter[counts] ** 2)) if counts.any() else 0.0
    square = np.mean(differences[..., counts] ** 2, axis=-1) if counts.any() else np.nan
    return np.sqrt(square) / unit if unit > 0.0 else np.full(differences.shape[:-1], np.nan)


@dataclass(frozen=True, eq=False)
class Morphology:
    """Measures of one map.

    Levels are in standard deviations of the example from its mean. Points of bands are wave numbers
    [rad / cell] or multipoles.

    Args:
        spectrum: variance in each band, in the unit of the map squared.
        pdf: density of the values.
        moments: mean and deviation in units of the example's; skewness, excess kurtosis.
        area: Minkowski functional V0, the part of the cells above a level.
        length: V1, a quarter of the length of the contour at a level per area.
        genus: V2, the curvature of the contour over two pi per area.
        peaks: local maxima of the smoothed map above a threshold, per cell.
        bispectra: `<f_i f_i f_j> / (s_i^2 s_j)` of bands i and j = i - separation (coarser),
            equilateral triangles first.
    """

    spectrum: Measure
    pdf: Measure
    moments: Measure
    area: Measure
    length: Measure
    genus: Measure
    peaks: Measure
    bispectra: tuple[Measure, ...]

    @property
    def measures(self) -> dict[str, Measure]:
        """All by name."""
        names = ("spectrum", "pdf", "moments", "area", "length", "genus", "peaks")
        return {name: getattr(self, name) for name in names} | {
            f"bispectrum_{bands}": one
            for bands, one in zip(SEPARATIONS, self.bispectra, strict=False)
        }


@dataclass(frozen=True, eq=False)
class Observer:
    """Measures maps like an example, and in its units.

    Args:
        gauge: of the grid and the mask.
        mean: of the example.
        deviation: of the example.
    """

    gauge: AbstractGauge
    mean: float
    deviation: float

    @staticmethod
    def of(
        example: Float[np.ndarray, "..."],
        domain: AbstractDomain,
        kept: Bool[np.ndarray, "..."] | None = None,
    ) -> Observer:
        """The observer of an example.

        Args:
            example: map of one channel.
            domain: that it lies on.
            kept: cells that count, besides those that are not finite.

        Raises:
            ValueError: for a map of another shape, of 1 or 3 axes, or without any variation.

        Examples:
            >>> from skysift.scattering.domain import Flat
            >>> example = np.random.default_rng(0).standard_normal((16, 16))
            >>> observer = Observer.of(example, Flat(shape=(16, 16), channels=1))
            >>> observer.measure(example).moments.value[1].round(12).tolist()
            1.0
        """
        domain.check(example)
        finite = np.isfinite(example)
        gauge = gauge_of(domain, finite if kept is None else finite & kept)
        values = np.asarray(example, dtype=float).ravel()[gauge.kept]
        mean, deviation = float(values.mean()), float(values.std())
        if not deviation > 1e-12 * abs(mean):
            raise ValueError(
                f"example: expected a map that varies, got {mean:g} in all {values.size} kept "
                "cells. Leave constant maps out."
            )
        return Observer(gauge, mean, deviation)

    def measure(self, map: Float[np.ndarray, "..."]) -> Morphology:
        """Measures of a map over the cells that count of the example."""
        gauge = self.gauge
        values = np.asarray(map, dtype=float).ravel()
        values = np.where(gauge.kept, values, self.mean)
        bands, centres = gauge.bands(values), gauge.centres
        relative = (values - self.mean) / self.deviation
        average = _Averages(gauge.parts, gauge.kept)
        inner = _Averages(gauge.parts, gauge.inner)
        gradient, hessian, smooth = gauge.derivatives(values)
        level = _middles(LEVELS)
        at = (smooth - self.mean) / self.deviation
        length, genus = _contours(gradient, hessian, at, self.deviation)
        powers = average(bands**2)
        return Morphology(
            spectrum=Measure(centres, *powers),
            pdf=Measure(level, *average(_indicators(relative) / np.diff(LEVELS)[:, None])),
            moments=Measure(np.arange(4.0), *_cumulants(*average(_powers(relative)))),
            area=Measure(level, *inner(at > level[:, None])),
            length=Measure(level, *inner(length)),
            genus=Measure(level, *inner(genus)),
            peaks=Measure(
                THRESHOLDS,
                *inner((smooth > gauge.highest_beside(smooth)) & (at > THRESHOLDS[:, None])),
            ),
            bispectra=tuple(
                _bispectrum(bands, centres, separation, average, powers)
                for separation in SEPARATIONS
                if separation < len(centres)
            ),
        )

    def surrogate(self, map: Float[np.ndarray, "..."], seed: int) -> Float[np.ndarray, "..."]:
        """A Gaussian field with the power spectrum of a map, which is what a synthesis must beat.

        Of a masked map, its spectrum is that of the kept cells.
        """
        values = np.asarray(map, dtype=float)
        filled = np.where(self.gauge.kept, values.ravel(), self.mean)
        return self.gauge.surrogate(filled, np.random.SeedSequence(seed)).reshape(values.shape)

    def correlation(
        self, map: Float[np.ndarray, "..."], example: Float[np.ndarray, "..."]
    ) -> Measure:
        """Correlation of a map with the example in each band, cell by cell.

        A synthesis that memorises the example has correlations near 1 at large scales, where few
        structures fit. Independent fields have those of chance, about one over the root of the
        number of modes.
        """
        gauge = self.gauge
        one, other = (
            gauge.bands(np.where(gauge.kept, np.asarray(field, dtype=float).ravel(), self.mean))
            for field in (map, example)
        )
        products = np.concatenate([one * other, one**2, other**2])
        whole, parts = _Averages(gauge.parts, gauge.kept)(products)

        def normalised(sums: np.ndarray) -> np.ndarray:
            cross, first, second = np.split(sums, 3, axis=-1)
            norm = np.sqrt(first * second)
            return np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0.0)

        return Measure(gauge.centres, normalised(whole), normalised(parts))


def gaussian_area(level: Float[np.ndarray, " level"]) -> Float[np.ndarray, " level"]:
    """Minkowski functional V0 of a Gaussian field of unit variance (Adler 1981, chapter 5).

    Args:
        level: in standard deviations.
    """
    return 0.5 * scipy.special.erfc(np.asarray(level) / math.sqrt(2.0))


def gaussian_length(edges: Float[np.ndarray, " edge"], slope: float) -> Float[np.ndarray, " bin"]:
    """V1 of a Gaussian field of unit variance, averaged over bins of levels.

    Source: Schmalzing & Gorski 1998, MNRAS 297, 355, equation 27: `slope exp(-level^2 / 2) /
    sqrt(128)`.

    Args:
        edges: of the bins [standard deviations].
        slope: rms of the gradient.
    """
    bell = math.sqrt(np.pi / 2.0) * np.diff(scipy.special.erf(np.asarray(edges) / math.sqrt(2.0)))
    return slope / (8.0 * math.sqrt(2.0)) * bell / np.diff(edges)


def gaussian_genus(edges: Float[np.ndarray, " edge"], slope: float) -> Float[np.ndarray, " bin"]:
    """V2 of a Gaussian field of unit variance, averaged over bins of levels.

    Source: Schmalzing & Gorski 1998, equation 28: `slope^2 level exp(-level^2 / 2) /
    (2 (2 pi)^(3/2))`.

    Args:
        edges: of the bins [standard deviations].
        slope: rms of the gradient.
    """
    bell = -np.diff(np.exp(-0.5 * np.asarray(edges) ** 2))
    return slope**2 / (2.0 * (2.0 * np.pi) ** 1.5) * bell / np.diff(edges)


@dataclass(frozen=True, eq=False)
class _Averages:
    """Averages of rows over the cells that count, of the map and of its parts."""

    parts: Int[np.ndarray, " cell"]
    counted: Bool[np.ndarray, " cell"]

    def __call__(
        self, rows: Float[np.ndarray, "row cell"] | Bool[np.ndarray, "row cell"]
    ) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, "part row"]]:
        size, where = int(self.parts.max()) + 1, self.parts[self.counted]
        sums = np.stack(
            [np.bincount(where, np.asarray(row[self.counted], float), size) for row in rows], axis=1
        )
        cells = np.bincount(where, minlength=size)[:, None].astype(float)
        if not cells.any():
            nothing = np.full(sums.shape, np.nan)
            return nothing[0], nothing
        few = cells < 0.25 * np.bincount(self.parts, minlength=size)[:, None]
        return sums.sum(axis=0) / cells.sum(), np.where(few, np.nan, sums / np.maximum(cells, 1.0))


def _middles(edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " bin"]:
    return 0.5 * (edges[1:] + edges[:-1])


def _indicators(level: Float[np.ndarray, " cell"]) -> Bool[np.ndarray, "bin cell"]:
    """In which bin of levels each cell is."""
    return (level >= LEVELS[:-1, None]) & (level < LEVELS[1:, None])


def _powers(values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "4 cell"]:
    return values ** np.arange(1, 5)[:, None]


def _cumulants(
    whole: Float[np.ndarray, " power"], parts: Float[np.ndarray, "part power"]
) -> tuple[Float[np.ndarray, " moment"], Float[np.ndarray, "part moment"]]:
    """Mean, deviation, skewness and excess kurtosis of means of powers."""

    def of(raw: np.ndarray) -> np.ndarray:
        first, second, third, fourth = np.moveaxis(raw, -1, 0)
        variance = second - first**2
        with np.errstate(invalid="ignore", divide="ignore"):
            skewness = (third - 3.0 * first * second + 2.0 * first**3) / variance**1.5
            central = fourth - 4.0 * first * third + 6.0 * first**2 * second - 3.0 * first**4
            kurtosis = central / variance**2 - 3.0
            return np.stack([first, np.sqrt(variance), skewness, kurtosis], axis=-1)

    return of(whole), of(parts)


def _contours(
    gradient: Float[np.ndarray, "2 cell"],
    hessian: Float[np.ndarray, "3 cell"],
    level: Float[np.ndarray, " cell"],
    deviation: float,
) -> tuple[Float[np.ndarray, "bin cell"], Float[np.ndarray, "bin cell"]]:
    """Densities of V1 and V2 in the bins of levels (Schmalzing & Gorski 1998, equation 12)."""
    gradient, hessian = gradient / deviation, hessian / deviation
    square = np.sum(gradient**2, axis=0)
    turning = (
        2.0 * gradient[0] * gradient[1] * hessian[2]
        - gradient[0] ** 2 * hessian[1]
        - gradient[1] ** 2 * hessian[0]
    )
    curvature = np.divide(turning, square, out=np.zeros_like(turning), where=square > 0.0)
    inside = _indicators(level) / np.diff(LEVELS)[:, None]
    return 0.25 * np.sqrt(square) * inside, curvature / (2.0 * np.pi) * inside


def _bispectrum(
    bands: Float[np.ndarray, "band cell"],
    centres: Float[np.ndarray, " band"],
    separation: int,
    average: _Averages,
    powers: tuple[Float[np.ndarray, " band"], Float[np.ndarray, "part band"]],
) -> Measure:
    """Normalised products of a band with itself and a coarser one."""
    fine, coarse = slice(separation, None), slice(None, len(bands) - separation)
    whole, parts = average(bands[fine] ** 2 * bands[coarse])

    def normalised(sums: np.ndarray, power: np.ndarray) -> np.ndarray:
        norm = power[..., fine] * np.sqrt(power[..., coarse])
        with np.errstate(invalid="ignore"):
            return np.divide(sums, norm, out=np.zeros_like(sums), where=norm != 0.0)

    # The powers of the whole map serve all parts: a part may have next to none.
    return Measure(
        centres[fine], normalised(whole, powers[0]), normalised(parts, powers[0][None] + 0.0)
    )
