"""What the page of scattering statistics shows, from a run or from its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from skysift.scattering.morphology import Measure, Morphology, offsets

if TYPE_CHECKING:
    import xarray as xr

EXAMPLE, GAUSSIAN = "example", "gaussian"
"""Names of the first two of the maps that are compared; the samples come after them."""

CORRELATION = "correlation"
"""Name of the measure of how much of the example is in a map."""

LARGE = 3
"""Number of bands at the largest scales, where few modes count and an example can be memorised."""

_FAR = 3.0  # how many times larger than inside that a step across the edges is told of


@dataclass(frozen=True, eq=False)
class Curve:
    """One measure of the example, of a Gaussian field with its spectrum, and of the samples.

    Args:
        at: scales or levels of the points.
        values: of the maps in this order.
        scatter: over the parts of the example.
        parts: number of parts.
    """

    at: Float[np.ndarray, " point"]
    values: Float[np.ndarray, "map point"]
    scatter: Float[np.ndarray, " point"]
    parts: int

    @staticmethod
    def of(measures: Sequence[Measure]) -> Curve:
        """The same measure of each map."""
        values = np.stack([one.value for one in measures])
        first = measures[0]
        parts = int(np.isfinite(first.parts).any(axis=1).sum())
        return Curve(first.at, values, first.scatter, parts)

    @property
    def example(self) -> Float[np.ndarray, " point"]:
        """Of the example."""
        return self.values[0]

    @property
    def gaussian(self) -> Float[np.ndarray, " point"]:
        """Of the Gaussian field."""
        return self.values[1]

    @property
    def samples(self) -> Float[np.ndarray, "sample point"]:
        """Of the samples."""
        return self.values[2:]

    def offsets(self) -> Float[np.ndarray, " map"]:
        """How far each map is from the example, in units of the scatter of its parts."""
        return offsets(self.values - self.example, self.scatter)

    @property
    def chance(self) -> Float[np.ndarray, " point"]:
        """How far two maps of one law differ, relative to the example.

        The mean over the parts varies as the scatter over the root of their number says.
        """
        safe = np.where(self.example == 0.0, np.nan, np.abs(self.example))
        return math.sqrt(2.0 / max(self.parts, 1)) * self.scatter / safe

    def ratios(self) -> Float[np.ndarray, "map point"]:
        """Relative difference of each map to the example."""
        safe = np.where(self.example == 0.0, np.nan, self.example)
        return self.values / safe - 1.0


def curves_of(found: Sequence[Morphology], correlations: Sequence[Measure]) -> dict[str, Curve]:
    """All measures of the maps by name, with the correlation with the example."""
    names = found[0].measures
    curves = {name: Curve.of([one.measures[name] for one in found]) for name in names}
    return curves | {CORRELATION: Curve.of(correlations)}


def median(values: Float[np.ndarray, "..."]) -> float:
    """Median of the finite values, NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


@dataclass(frozen=True, eq=False)
class Descent:
    """How a sample was made.

    Args:
        status: how it ended.
        history: objective at each iteration.
    """

    status: str
    history: Float[np.ndarray, " iteration"]

    @property
    def objective(self) -> float:
        """That it ended at."""
        return float(np.min(self.history)) if self.history.size else math.nan


@dataclass(frozen=True, eq=False)
class ScatteringView:
    """What the page shows of one map of the example.

    Args:
        source: name of the file of the example, or of several.
        family: of the statistics, in words.
        unit: of the maps.
        missing: cells of the example that do not count.
        maps: example, Gaussian field of its spectrum, samples; NaN where missing.
        statistics: of the same maps, with the amplitudes of the example, and of those that are
            seen together with them.
        curves: measures by name.
        descents: of the samples.
        tolerance: objective at which a sample is done; `None` where none were made.
        floor: value that samples were not to go below; `None` for none.
        channel: number of the map among those that are seen together.
        title: of the map; empty for a single one.
    """

    source: str
    family: str
    unit: str
    missing: int
    maps: Float[np.ndarray, "map ..."]
    statistics: xr.Dataset
    curves: dict[str, Curve]
    descents: tuple[Descent, ...] = ()
    tolerance: float | None = None
    floor: float | None = None
    channel: int = 0
    title: str = ""

    @property
    def deviation(self) -> float:
        """Of the example, in which the statistics are."""
        return float(np.atleast_1d(self.statistics.attrs["unit_of_maps"])[self.channel])

    @property
    def sphere(self) -> bool:
        """Whether the maps are of the sphere."""
        return self.maps.ndim == 2

    @property
    def size(self) -> str:
        """Of the grid, in words."""
        if self.sphere:
            return f"nside {math.isqrt(self.maps.shape[-1] // 12)}"
        return " x ".join(map(str, self.maps.shape[1:]))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.descents)

    @property
    def converged(self) -> bool:
        """Whether every sample reached the tolerance."""
        return all(one.objective <= (self.tolerance or 0.0) for one in self.descents)

    @property
    def n_coefficients(self) -> int:
        """Real numbers of the statistics of one map."""
        return sum(int(variable.sizes[variable.dims[-1]]) for variable in self.statistics.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Of the maps."""
        return (EXAMPLE, GAUSSIAN, *(f"sample {number}" for number in range(self.samples)))

    @property
    def jump(self) -> float:
        """Rms step across the edges of a plane over that between neighbours inside."""
        if self.sphere:
            return math.nan
        plane = self.maps[0] / self.deviation
        ratios = []
        for axis in (0, 1):
            step = np.diff(plane, axis=axis) ** 2
            across = (np.take(plane, 0, axis) - np.take(plane, -1, axis)) ** 2
            if np.isfinite(across).any() and np.nanmean(step) > 0.0:
                ratios.append(math.sqrt(np.nanmean(across) / np.nanmean(step)))
        return max(ratios, default=math.nan)

    @property
    def torn(self) -> bool:
        """Whether the edges of a plane that is taken as periodic do not join."""
        return self.statistics.attrs.get("edges") == "periodic" and self.jump > _FAR

    def to_dataset(self) -> xr.Dataset:
        """All but the samples and the statistics, as `of` takes it; see `to_dataset`."""
        import xarray as xr

        axes = ("cell",) if self.sphere else ("row", "column")
        made: dict[str, Any] = {
            EXAMPLE: (axes, self.maps[0], {"units": self.unit}),
            GAUSSIAN: (axes, self.maps[1], {"units": self.unit}),
        }
        for name, curve in self.curves.items():
            made[f"{name}_at"] = (f"{name}_point", curve.at)
            made[name] = (("map", f"{name}_point"), curve.values)
            made[f"{name}_scatter"] = (f"{name}_point", curve.scatter, {"parts": curve.parts})
        if self.descents:
            longest = max(one.history.size for one in self.descents)
            history = np.full((self.samples, longest), np.nan)
            for row, one in zip(history, self.descents, strict=True):
                row[: one.history.size] = one.history
            made["objective"] = (("sample", "iteration"), history)
            made["status"] = ("sample", np.array([d.status for d in self.descents], dtype=object))
        facts: dict[str, Any] = {
            "source": self.source,
            "family": self.family,
            "missing": self.missing,
        }
        if self.tolerance is not None:
            facts["tolerance"] = self.tolerance
        own = {"title": self.title} | ({} if self.floor is None else {"floor": self.floor})
        return xr.Dataset(made, coords=own, attrs=facts)

    @staticmethod
    def of(
        measures: xr.Dataset,
        statistics: xr.Dataset,
        samples: Sequence[Float[np.ndarray, "..."]],
        channel: int = 0,
    ) -> ScatteringView:
        """The view of one map of a run from its files.

        Raises:
            ValueError: if they lack something.
        """
        wanted = (EXAMPLE, GAUSSIAN, "title", *(("objective", "status") if samples else ()))
        for name in wanted:
            if name not in measures:
                raise ValueError(
                    f"measures: expected {name} in the files of the run, got none. Run it again."
                )
        names = [name.removesuffix("_at") for name in map(str, measures) if name[-3:] == "_at"]
        curves = {
            name: Curve(
                measures[f"{name}_at"].values,
                measures[name].values,
                measures[f"{name}_scatter"].values,
                int(measures[f"{name}_scatter"].attrs["parts"]),
            )
            for name in names
        }
        descents = []
        for number in range(len(samples)):
            row = measures["objective"].values[number]
            status = str(measures["status"].values[number])
            descents.append(Descent(status, row[np.isfinite(row)]))
        tolerance = measures.attrs.get("tolerance")
        return ScatteringView(
            source=str(measures.attrs["source"]),
            family=str(measures.attrs["family"]),
            unit=str(measures[EXAMPLE].attrs.get("units", "")),
            missing=int(measures.attrs["missing"]),
            maps=np.stack([measures[EXAMPLE].values, measures[GAUSSIAN].values, *samples]),
            statistics=statistics,
            curves=curves,
            descents=tuple(descents),
            tolerance=None if tolerance is None else float(tolerance),
            floor=float(measures["floor"]) if "floor" in measures.coords else None,
            channel=channel,
            title=str(measures["title"].values),
        )


def to_dataset(views: Sequence[ScatteringView]) -> xr.Dataset:
    """All of the views but the samples and the statistics, as `of_dataset` takes it.

    Maps that are seen together have an axis `channel`.
    """
    import xarray as xr

    if len(views) == 1:
        return views[0].to_dataset()
    shared = ["objective", "status"] if views[0].descents else []
    each = [view.to_dataset() for view in views]
    made = xr.concat([one.drop_vars(shared) for one in each], "channel", combine_attrs="override")
    for name in (EXAMPLE, GAUSSIAN):
        made[name].attrs = {}
    made = made.assign_coords(unit=("channel", [view.unit for view in views]))
    return made.assign({name: each[0][name] for name in shared})


def of_dataset(
    measures: xr.Dataset,
    statistics: xr.Dataset,
    samples: Sequence[Sequence[Float[np.ndarray, "..."]]],
) -> tuple[ScatteringView, ...]:
    """The views of a run from its files.

    Args:
        measures: as `to_dataset` makes it.
        statistics: of all maps.
        samples: of each map of the example.

    Raises:
        ValueError: if the files lack something.
    """
    views = []
    for channel, made in enumerate(samples):
        own = measures.isel(channel=channel) if "channel" in measures.sizes else measures
        if "unit" in own.coords:
            own = own.copy()
            own[EXAMPLE].attrs["units"] = str(own["unit"].values)
        views.append(ScatteringView.of(own, statistics, made, channel))
    return tuple(views)
