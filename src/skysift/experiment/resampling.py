"""From an experiment to samples on HEALPix cells, as a run."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from skysift.experiment.config import Estimate, ResampleExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.recipe import Recipe
from skysift.experiment.runs import Order
from skysift.experiment.samples import Samples, Wanted, read_samples
from skysift.experiment.text import to_text
from skysift.report.resampling import HeldOut, Prediction, ResampleView, write_resample_page
from skysift.report.sheet import Origin
from skysift.resample import CellFit, Reduce, Sampling, Status
from skysift.resample.files import cell_coordinate
from skysift.store.dataset import write_dataset
from skysift.store.fits import Column, Precision, write_columns
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, drafted

if TYPE_CHECKING:
    import xarray as xr

CELLS, MAP = "cells.nc", "cells.fits"
"""Files of the cells."""

MAX_FITS_LEVEL = 12
"""Finest level of which a FITS map is written; few programs read finer ones."""

_UNITLESS = (Reduce.COUNT, Reduce.PRODUCT)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Samples brought onto cells.

    Args:
        recipe: how.
        samples: what they were made of.
        relation: between samples and cells.
        values: of the cells, NaN where missing.
        errors: standard deviation of the cells, or `None`.
        residuals: samples minus cells at the samples, `None` where cells are something else.
        fit: `None` for an average.
        held_out: `None` if nothing was.
    """

    recipe: Recipe
    samples: Samples
    relation: Sampling
    values: Float[np.ndarray, "row cell"]
    errors: Float[np.ndarray, "row cell"] | None
    residuals: Float[np.ndarray, "row sample"] | None
    fit: CellFit | None
    held_out: HeldOut | None

    @property
    def converged(self) -> bool:
        """Whether no fit ended at its limit of iterations."""
        return self.fit is None or self.fit.status is not Status.ITERATION_LIMIT

    @property
    def units(self) -> list[str]:
        """Unit of each row of cells, as far as the file says."""
        if self.recipe.reduce in _UNITLESS:
            return [""] * len(self.values)
        return [one.unit for one in self.samples.fields for _ in one.rows]

    def to_dataset(self) -> xr.Dataset:
        """Cells with the attributes that xdggs reads, one variable for each quantity."""
        import xarray as xr

        relation = self.relation
        variables: dict[str, Any] = {}
        start = 0
        for one in self.samples.fields:
            shape = one.values.shape[:-1]
            stop = start + int(np.prod(shape, dtype=int))
            dims, size = (*one.axes, "cells"), (*shape, relation.n_cells)
            made = self.values[start:stop].reshape(size)
            hidden = ("units",) if self.recipe.reduce in _UNITLESS else ()
            kept = {key: text for key, text in one.attributes.items() if key not in hidden}
            variables[one.name] = (dims, made, kept)
            if self.errors is not None:
                units = {k: v for k, v in one.attributes.items() if k == "units"}
                made = self.errors[start:stop].reshape(size)
                variables[f"{one.name}_error"] = (dims, made, units)
            start = stop
        counts = {"long_name": "number of samples linked to the cell"}
        variables["samples_per_cell"] = ("cells", relation.samples_per_cell, counts)
        coordinates = {
            axis: made for one in self.samples.fields for axis, made in one.coordinates.items()
        }
        return xr.Dataset(
            variables,
            coords=coordinates | cell_coordinate(relation.grid, relation.ellipsoid),
            attrs={"method": self.recipe.experiment.method, "estimate": self.recipe.name},
        )


def resample_samples(recipe: Recipe, samples: Samples) -> Resampled:
    """Bring samples onto cells.

    Args:
        recipe: how.
        samples: what.

    Raises:
        ValueError: for coordinates out of range, or settings that are.

    Examples:
        >>> from skysift.experiment.samples import SampledField
        >>> field = SampledField("t", np.array([1.0, 3.0, 5.0]))
        >>> samples = Samples(np.array([10.0, 11.0, 80.0]), np.array([0.0, 1.0, 2.0]), (field,))
        >>> recipe = Recipe.of(ResampleExperiment(level=2, method="group_by:max"))
        >>> resample_samples(recipe, samples).values.tolist()
        [[3.0, 5.0]]
    """
    values = samples.values
    relation = recipe.relation(samples.lon, samples.lat, samples.area)
    cells, fit = recipe.cells(relation, values, samples.sigma)
    errors = None
    if recipe.experiment.errors and fit is not None:
        errors = np.sqrt(fit.variance().values)
    residuals = values - relation.resample(cells) if recipe.predicts else None
    held_out = _hold_out(recipe, samples) if recipe.experiment.hold_out else None
    return Resampled(recipe, samples, relation, cells, errors, residuals, fit, held_out)


def resample_run(experiment: ResampleExperiment, order: Order) -> Resampled | None:
    """Read samples, bring them onto cells, and write cells and a page.

    The cells are `cells.nc`, or the Zarr store itself where the directory is called `*.zarr`, and
    up to level 12 `cells.fits` with them.

    Args:
        experiment: what to do.
        order: where the run goes.

    Returns:
        The cells; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    recipe = Recipe.of(experiment)
    zarr = _asks_zarr(order.output)
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is not None:
        return None
    head = Manifest("resample", mark.config_hash, order.command, experiment.seed)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        with draft.stage("read"):
            samples = read_samples(experiment.file, _wanted(experiment))
        order.check()
        with draft.stage("resample"):
            found = resample_samples(recipe, samples)
        order.check()
        draft.summary.update(summary(found))
        with draft.stage("write"):
            _write(draft.directory, found, zarr=zarr)
        with draft.stage("report"):
            write_resample_page(
                draft.directory / REPORT,
                view(found),
                origin=Origin(text, order.command, draft.manifest(head).facts()),
            )
    return found


def summary(found: Resampled) -> dict[str, Any]:
    """The result in a few numbers."""
    numbers: dict[str, Any] = {
        "method": found.recipe.experiment.method,
        "level": found.relation.level,
        "samples": found.samples.size,
        "samples dropped": found.samples.dropped,
        "cells": found.relation.n_cells,
        "converged": found.converged,
    }
    if found.fit is not None:
        numbers |= {
            "iterations": found.fit.iterations,
            "damping": float(np.mean(found.fit.damping)),
        }
    if found.held_out is not None:
        for one in found.held_out.predictions:
            numbers[f"held-out rms, {one.name}"] = one.rms[0]
    return numbers


def view(found: Resampled) -> ResampleView:
    """What the page shows."""
    fit = found.fit
    return ResampleView(
        source=found.recipe.experiment.file,
        name=found.recipe.name,
        relation=found.relation,
        rows=tuple(found.samples.rows),
        units=tuple(found.units),
        values=found.values,
        errors=found.errors,
        ranges=tuple((float(np.nanmin(v)), float(np.nanmax(v))) for v in found.samples.values),
        residuals=found.residuals,
        dropped=found.samples.dropped,
        damping=None if fit is None else tuple(float(one) for one in np.ravel(fit.damping)),
        statuses=() if fit is None else tuple(one.value for one in fit.statuses),
        iterations=0 if fit is None else fit.iterations,
        converged=found.converged,
        held_out=found.held_out,
    )


def _wanted(experiment: ResampleExperiment) -> Wanted:
    names = {field.name for field in dataclasses.fields(Wanted)} - {"values"}
    return Wanted(experiment.value, **{name: getattr(experiment, name) for name in names})


def _hold_out(recipe: Recipe, samples: Samples) -> HeldOut:
    """Every so-manyth sample, predicted from the others by the recipe and by simpler ones."""
    experiment = recipe.experiment
    left = np.arange(samples.size) % experiment.hold_out == experiment.hold_out - 1
    if not left.any():
        raise ValueError(
            f"hold_out: expected at least {experiment.hold_out} samples, got {samples.size}. Leave "
            "it out, or choose a smaller number."
        )
    recipes = {one.name: one for one in (recipe, *_simpler(recipe))}
    truth = samples.values[:, left]
    predicted = [_predict(one, samples, left) for one in recipes.values()]
    common = np.isfinite(truth) & np.all([np.isfinite(one) for one in predicted], axis=0)
    predictions = tuple(
        Prediction(
            name,
            int(np.sum(np.isfinite(one) & np.isfinite(truth))),
            tuple(
                float(np.sqrt(np.mean((a - b)[c] ** 2))) if c.any() else np.nan
                for a, b, c in zip(one, truth, common, strict=True)
            ),
        )
        for name, one in zip(recipes, predicted, strict=True)
    )
    return HeldOut(int(np.isfinite(truth).sum()), int(common.sum()), predictions)


def _simpler(recipe: Recipe) -> list[Recipe]:
    """Methods to compare with: nearest and bilinear, with nothing to choose."""
    made = recipe.experiment
    plain = dict.fromkeys(("npt", "sigma_m", "threshold", "area", "damping", "bounds", "estimate"))
    common = dataclasses.replace(made, **plain, smoothness=0.0, errors=False, hold_out=0)
    others = [("nearest", Estimate.AVERAGE), ("bilinear", Estimate.AVERAGE)]
    if recipe.estimate is Estimate.FIT:
        others.append(("bilinear", Estimate.FIT))
    return [
        Recipe.of(dataclasses.replace(common, method=method, estimate=estimate))
        for method, estimate in others
    ]


def _predict(recipe: Recipe, samples: Samples, left: np.ndarray) -> Float[np.ndarray, "row held"]:
    """Values at samples from cells of the others."""
    parts = [samples.area, samples.sigma]
    area, sigma = (None if part is None else part[~left] for part in parts)
    relation = recipe.relation(samples.lon[~left], samples.lat[~left], area)
    cells, _ = recipe.cells(relation, samples.values[:, ~left], sigma)
    out = np.full((len(cells), int(left.sum())), np.nan)
    for row, known in enumerate(np.isfinite(cells)):
        if known.any():
            ids = relation.cell_ids[known]
            there = recipe.relation(samples.lon[left], samples.lat[left], cells=ids)
            out[row] = there.resample(cells[row][np.isin(relation.cell_ids, there.cell_ids)])
    return out


def _write(folder: Path, found: Resampled, *, zarr: bool) -> None:
    dataset, relation = found.to_dataset(), found.relation
    if zarr:
        _write_zarr(folder, dataset)
    else:
        write_dataset(folder / CELLS, dataset)
    if relation.level <= MAX_FITS_LEVEL:
        rows = zip(found.samples.rows, found.values, found.units, strict=True)
        columns: dict[str, Column] = {}
        for title, row, unit in rows:
            name = _column(title)
            name = f"{name}_{len(columns)}" if name in columns else name
            columns[name] = Column(row, unit.encode("ascii", "ignore").decode())
        columns["SAMPLES"] = Column(relation.samples_per_cell.astype(float))
        write_columns(folder / MAP, columns, relation.grid, precision=Precision.DOUBLE)


def _write_zarr(folder: Path, dataset: xr.Dataset) -> None:
    """Write a store among the other files of a run.

    Consolidated metadata keep readers from taking those files for arrays; the store is made apart
    because the writer would.
    """
    apart = folder / "store.partial"
    dataset.to_zarr(apart, mode="w", zarr_format=2, consolidated=True)
    for part in apart.iterdir():
        part.replace(folder / part.name)
    apart.rmdir()


def _column(title: str) -> str:
    """Name of a FITS column."""
    return re.sub(r"[^A-Z0-9]+", "_", title.upper()).strip("_")


def _asks_zarr(output: Path) -> bool:
    if output.suffix != ".zarr":
        return False
    if importlib.util.find_spec("zarr") is None:
        raise ValueError(
            f"output: expected zarr to be installed for {output}. Run: pip install zarr, or choose "
            "a directory without .zarr for NetCDF."
        )
    return True
