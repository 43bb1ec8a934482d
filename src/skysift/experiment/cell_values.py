"""What samples come to in cells."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import Samples
from skysift.grid import Grid, Ordering
from skysift.resample import Sampling, Status

if TYPE_CHECKING:
    import xarray as xr

_DIMS = {
    "values": ("row", "cell"),
    "counts": ("cell",),
    "errors": ("row", "cell"),
    "residuals": ("row", "sample"),
    "local": ("row", "cell"),
    "covered": ("sample",),
    "damping": ("row",),
}


@dataclass(frozen=True, eq=False)
class CellValues:
    """Cells made of samples, and how well they explain them.

    Args:
        grid: the cells.
        values: NaN where missing.
        counts: samples linked to each cell.
        covered: whether cells stand for a sample.
        errors: standard deviations of the cells, or `None`.
        residuals: samples minus cells at the samples, `None` where cells are something else.
        local: rms of those of the samples linked to a cell.
        damping: of each row, `None` for an average.
        statuses: of each row, none for an average.
        iterations: of the fit that took longest.
    """

    grid: Grid
    values: Float[np.ndarray, "row cell"]
    counts: Int[np.ndarray, " cell"]
    covered: Bool[np.ndarray, " sample"]
    errors: Float[np.ndarray, "row cell"] | None = None
    residuals: Float[np.ndarray, "row sample"] | None = None
    local: Float[np.ndarray, "row cell"] | None = None
    damping: Float[np.ndarray, " row"] | None = None
    statuses: tuple[Status, ...] = ()
    iterations: int = 0

    @staticmethod
    def of(recipe: Recipe, samples: Samples, relation: Sampling, **options: Any) -> CellValues:
        """Cells as a recipe makes them.

        Args:
            recipe: how.
            samples: what of.
            relation: between them and the cells.
            **options: of a fit, before those of the recipe.
        """
        values, fit = recipe.cells(relation, samples, **options)
        residuals = samples.values - relation.resample(values) if recipe.predicts else None
        return CellValues(
            grid=relation.grid,
            values=values,
            counts=relation.samples_per_cell,
            covered=np.asarray(relation.covered),
            errors=np.sqrt(fit.variance().values) if fit and recipe.experiment.errors else None,
            residuals=residuals,
            local=None if residuals is None else np.sqrt(relation.average(residuals**2)),
            damping=None if fit is None else np.ravel(fit.damping),
            statuses=() if fit is None else fit.statuses,
            iterations=0 if fit is None else fit.iterations,
        )

    @property
    def level(self) -> int:
        """log2(nside)."""
        return self.grid.level

    @property
    def converged(self) -> bool:
        """Whether no fit ended at its limit of iterations."""
        return Status.ITERATION_LIMIT not in self.statuses

    def taken(
        self, cells: Int[np.ndarray, " part"], samples: Bool[np.ndarray, " sample"]
    ) -> CellValues:
        """Part of the cells, by position, and of the samples, where a mask is true."""
        chosen = {"cell": cells, "sample": samples, "row": slice(None)}
        arrays: dict[str, Any] = {
            name: None if (array := getattr(self, name)) is None else array[..., chosen[dims[-1]]]
            for name, dims in _DIMS.items()
        }
        grid = Grid(self.grid.nside, self.grid.ordering, self.grid.index[cells])
        return CellValues(grid=grid, statuses=self.statuses, iterations=self.iterations, **arrays)

    @staticmethod
    def joined(
        parts: Sequence[CellValues], places: Sequence[Int[np.ndarray, " part"]], n_samples: int
    ) -> CellValues:
        """Cells and samples of several parts that have none in common.

        Args:
            parts: on cells of one level.
            places: numbers that the samples of each have among all.
            n_samples: number of all; those in no part are not covered.
        """
        first, all_cells = parts[0], np.concatenate([part.grid.index for part in parts])
        order = np.argsort(all_cells)
        arrays: dict[str, Any] = {}
        for name, dims in _DIMS.items():
            known = getattr(first, name)
            if known is None or dims[-1] == "row":
                arrays[name] = known
                continue
            joined = np.concatenate([getattr(part, name) for part in parts], axis=-1)
            if dims[-1] == "cell":
                arrays[name] = joined[..., order]
                continue
            blank = False if joined.dtype == bool else np.nan
            arrays[name] = np.full((*joined.shape[:-1], n_samples), blank, joined.dtype)
            arrays[name][..., np.concatenate(places)] = joined
        return CellValues(
            grid=Grid(first.grid.nside, first.grid.ordering, all_cells[order]),
            statuses=tuple(_worst(row) for row in zip(*(p.statuses for p in parts), strict=True)),
            iterations=max(part.iterations for part in parts),
            **arrays,
        )

    def to_dataset(self) -> xr.Dataset:
        """All of it, for `from_dataset`."""
        import xarray as xr

        known = {name: getattr(self, name) for name in _DIMS}
        return xr.Dataset(
            {name: (_DIMS[name], array) for name, array in known.items() if array is not None}
            | {"cell": ("cell", self.grid.index)},
            attrs={
                "nside": self.grid.require_nside(),
                "ordering": self.grid.ordering.value,
                "statuses": " ".join(status.name for status in self.statuses),
                "iterations": self.iterations,
            },
        )

    @staticmethod
    def from_dataset(dataset: xr.Dataset) -> CellValues:
        """What `to_dataset` gave."""
        arrays = {name: dataset[name].values for name in _DIMS if name in dataset}
        attributes = dataset.attrs
        return CellValues(
            grid=Grid(
                int(attributes["nside"]),
                Ordering(attributes["ordering"]),
                dataset["cell"].values,
            ),
            statuses=tuple(Status[name] for name in attributes["statuses"].split()),
            iterations=int(attributes["iterations"]),
            **(arrays | {"covered": arrays["covered"].astype(bool)}),
        )


def extremes(values: Float[np.ndarray, "row sample"]) -> Float[np.ndarray, "row 2"]:
    """Least and largest known value of each row, NaN where there is none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN", category=RuntimeWarning)
        return np.stack([np.nanmin(values, axis=1), np.nanmax(values, axis=1)], axis=1)


def _worst(statuses: tuple[Status, ...]) -> Status:
    """Of a row in all parts; a part without samples of it says nothing."""
    if Status.ITERATION_LIMIT in statuses:
        return Status.ITERATION_LIMIT
    return Status.CONVERGED if Status.CONVERGED in statuses else Status.NO_SAMPLES
