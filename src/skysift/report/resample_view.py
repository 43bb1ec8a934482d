"""What the page of samples brought onto cells shows, from a run or from its files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering
from skysift.report.sheet import rms
from skysift.report.style import robust_range
from skysift.resample import Ellipsoid

if TYPE_CHECKING:
    import xarray as xr

COUNTS, ERROR, RESIDUAL = "samples_per_cell", "_error", "_residual"
"""Variables of the cells: how many samples, and what names of quantities are followed by."""

_BINS = 80
_OUTLIERS = 0.5  # percent on each side that the outermost bars hold


@dataclass(frozen=True)
class Prediction:
    """How well samples that were left out are predicted.

    Args:
        name: of the method.
        predicted: number of values that it predicts.
        rms: of the differences, where all methods predict a value, for each row.
    """

    name: str
    predicted: int
    rms: tuple[float, ...]


@dataclass(frozen=True)
class HeldOut:
    """Comparison of methods at samples that were left out.

    Args:
        values: number of known values that were left out.
        compared: number of them that all methods predict.
        predictions: of the method asked first, then of others.
    """

    values: int
    compared: int
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, eq=False)
class Residuals:
    """Samples minus the cells at their places.

    Args:
        rms: of each row.
        limit: largest residual that the histogram shows; the outermost bars hold all beyond.
        counts: histogram from minus to plus the limit.
        local: rms of those of the samples linked to each cell.
    """

    rms: Float[np.ndarray, " row"]
    limit: Float[np.ndarray, " row"]
    counts: Int[np.ndarray, "row bin"]
    local: Float[np.ndarray, "row cell"]

    @staticmethod
    def of(
        residuals: Float[np.ndarray, "row sample"], local: Float[np.ndarray, "row cell"]
    ) -> Residuals:
        """Histograms of residuals, NaN where a sample has none."""
        limits, counts = [], []
        for row in residuals:
            finite = row[np.isfinite(row)]
            limit = max(map(abs, robust_range(finite, _OUTLIERS))) if finite.size else 1.0
            counted, _ = np.histogram(np.clip(finite, -limit, limit), _BINS, (-limit, limit))
            limits.append(limit)
            counts.append(counted)
        return Residuals(
            np.array([rms(row) for row in residuals]), np.array(limits), np.array(counts), local
        )


@dataclass(frozen=True, eq=False)
class ResampleView:
    """What the page shows.

    Args:
        source: file of the samples.
        name: method and estimate.
        grid: the cells.
        ellipsoid: on which they are.
        quantities: name of the variable that each row of values belongs to.
        rows: a title for each of them.
        units: of the rows.
        values: of the cells.
        errors: standard deviations of the cells, or `None`.
        ranges: least and largest sample of each row.
        counts: samples linked to each cell.
        samples: number of them.
        covered: share of the samples that cells stand for.
        dropped: samples of the file that were left out.
        residuals: or `None`.
        damping: of each row, or `None` for an average.
        statuses: of each row of a fit.
        iterations: of the fit.
        converged: whether every row of the fit did.
        held_out: or `None`.
    """

    source: str
    name: str
    grid: Grid
    ellipsoid: Ellipsoid
    quantities: tuple[str, ...]
    rows: tuple[str, ...]
    units: tuple[str, ...]
    values: Float[np.ndarray, "row cell"]
    errors: Float[np.ndarray, "row cell"] | None
    ranges: Float[np.ndarray, "row 2"]
    counts: Int[np.ndarray, " cell"]
    samples: int
    covered: float
    dropped: int
    residuals: Residuals | None
    damping: Float[np.ndarray, " row"] | None
    statuses: tuple[str, ...]
    iterations: int
    converged: bool
    held_out: HeldOut | None

    @property
    def level(self) -> int:
        """log2(nside)."""
        return self.grid.level

    def quality(self) -> xr.Dataset:
        """All but what the cells themselves say, as `of` takes it."""
        import xarray as xr

        made: dict[str, Any] = {
            "quantity": ("row", np.array(self.quantities, dtype=object)),
            "unit": ("row", np.array(self.units, dtype=object)),
            "range": (("row", "end"), self.ranges),
        }
        if self.residuals is not None:
            made["residual_rms"] = ("row", self.residuals.rms)
            made["residual_limit"] = ("row", self.residuals.limit)
            made["residual_counts"] = (("row", "bin"), self.residuals.counts)
        if self.damping is not None:
            made["damping"] = ("row", self.damping)
            made["status"] = ("row", np.array(self.statuses, dtype=object))
        attributes = {
            "source": self.source,
            "name": self.name,
            "samples": self.samples,
            "covered": self.covered,
            "dropped": self.dropped,
            "iterations": self.iterations,
            "converged": int(self.converged),
        }
        held = self.held_out
        if held is not None:
            attributes |= {"left_out": held.values, "compared": held.compared}
            names = [one.name for one in held.predictions]
            made["method"] = ("method", np.array(names, dtype=object))
            made["predicted"] = ("method", [one.predicted for one in held.predictions])
            made["held_out_rms"] = (("method", "row"), [one.rms for one in held.predictions])
        titles = {"row": ("row", np.array(self.rows, dtype=object))}
        return xr.Dataset(made, titles, attributes)

    @staticmethod
    def of(cells: xr.Dataset, quality: xr.Dataset) -> ResampleView:
        """What the page of a stored run shows.

        Args:
            cells: a variable for each quantity, samples per cell, and numbers of the cells.
            quality: from `quality`.

        Raises:
            ValueError: if something is missing.
        """
        try:
            return _stored(cells, quality)
        except KeyError as error:
            raise ValueError(
                f"run: expected complete files of cells and their quality, got none of {error}. "
                "Make the run again with --overwrite."
            ) from None


def _stored(cells: xr.Dataset, quality: xr.Dataset) -> ResampleView:
    about, numbers = quality.attrs, cells["cell_ids"]
    quantities = tuple(map(str, quality["quantity"].values))

    def rows(ending: str) -> Float[np.ndarray, "row cell"]:
        names = [f"{name}{ending}" for name, _ in itertools.groupby(quantities)]
        return np.concatenate([cells[name].values.reshape(-1, numbers.size) for name in names])

    residuals = held = None
    if "residual_rms" in quality:
        residuals = Residuals(
            rms=quality["residual_rms"].values,
            limit=quality["residual_limit"].values,
            counts=quality["residual_counts"].values,
            local=rows(RESIDUAL),
        )
    if "method" in quality:
        held = HeldOut(
            int(about["left_out"]),
            int(about["compared"]),
            tuple(
                Prediction(str(name), int(count), tuple(map(float, errors)))
                for name, count, errors in zip(
                    quality["method"].values,
                    quality["predicted"].values,
                    quality["held_out_rms"].values,
                    strict=True,
                )
            ),
        )
    fitted = "damping" in quality
    nested = numbers.attrs["indexing_scheme"] == "nested"
    ordering = Ordering.NESTED if nested else Ordering.RING
    return ResampleView(
        source=str(about["source"]),
        name=str(about["name"]),
        grid=Grid(1 << int(numbers.attrs["level"]), ordering, numbers.values),
        ellipsoid=Ellipsoid.of(str(numbers.attrs["ellipsoid"])),
        quantities=quantities,
        rows=tuple(map(str, quality["row"].values)),
        units=tuple(map(str, quality["unit"].values)),
        values=rows(""),
        errors=rows(ERROR) if f"{quantities[0]}{ERROR}" in cells else None,
        ranges=quality["range"].values,
        counts=cells[COUNTS].values,
        samples=int(about["samples"]),
        covered=float(about["covered"]),
        dropped=int(about["dropped"]),
        residuals=residuals,
        damping=quality["damping"].values if fitted else None,
        statuses=tuple(map(str, quality["status"].values)) if fitted else (),
        iterations=int(about["iterations"]),
        converged=bool(about["converged"]),
        held_out=held,
    )
