"""From an experiment to samples on HEALPix cells, as a run."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from skysift.experiment.cell_files import asks_zarr, read_cells, write_cells, write_fits
from skysift.experiment.cell_values import CellValues, extremes
from skysift.experiment.config import ResampleExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.held_out import hold_out
from skysift.experiment.parts import Parts
from skysift.experiment.recipe import Recipe
from skysift.experiment.runs import Order
from skysift.experiment.samples import Samples, Wanted, read_samples
from skysift.experiment.text import to_text
from skysift.report.resample_view import COUNTS, ERROR, RESIDUAL, HeldOut, ResampleView, Residuals
from skysift.report.resampling import write_resample_page
from skysift.report.sheet import Origin
from skysift.resample import Ellipsoid, Reduce
from skysift.resample.files import cell_coordinate
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted

if TYPE_CHECKING:
    import xarray as xr

KIND = ResampleExperiment.kind
"""Kind of such a run in its manifest."""

QUALITY = "quality.nc"
"""File of how well the cells explain the samples."""

_UNITLESS = (Reduce.COUNT, Reduce.PRODUCT)


@dataclass(frozen=True)
class Watch:
    """What is told while samples are brought onto cells.

    Args:
        stage: called with the name of what begins.
        iteration: called after each iteration of a fit with its number and the residuals.
        part: called after each parent cell with how many are done and how many there are.
    """

    stage: Callable[[str], None] | None = None
    iteration: Callable[[int, Float[np.ndarray, " row"]], None] | None = None
    part: Callable[[int, int], None] | None = None

    def begin(self, stage: str) -> None:
        """Tell what begins."""
        if self.stage is not None:
            self.stage(stage)


UNWATCHED = Watch()
"""Of work that nobody looks at."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """Samples brought onto cells.

    Args:
        recipe: how.
        samples: what they were made of.
        cells: what came of them.
        held_out: `None` if nothing was.
    """

    recipe: Recipe
    samples: Samples
    cells: CellValues
    held_out: HeldOut | None

    @property
    def units(self) -> list[str]:
        """Unit of each row of cells, as far as the file says."""
        if self.recipe.reduce in _UNITLESS:
            return [""] * len(self.cells.values)
        return [one.unit for one in self.samples.fields for _ in one.rows]

    @property
    def ellipsoid(self) -> Ellipsoid:
        """On which the cells are."""
        return Ellipsoid.of(self.recipe.experiment.ellipsoid)

    def to_dataset(self) -> xr.Dataset:
        """Cells with the attributes that xdggs reads, one variable for each quantity."""
        import xarray as xr

        cells = self.cells
        variables: dict[str, Any] = {}
        start = 0
        for one in self.samples.fields:
            shape = one.values.shape[:-1]
            stop = start + int(np.prod(shape, dtype=int))
            hidden = ("units",) if self.recipe.reduce in _UNITLESS else ()
            kept = {key: text for key, text in one.attributes.items() if key not in hidden}
            units = {key: text for key, text in kept.items() if key == "units"}
            rms = {"long_name": "rms of samples minus cells at the samples linked to the cell"}
            for ending, made, attributes in (
                ("", cells.values, kept),
                (ERROR, cells.errors, units),
                (RESIDUAL, cells.local, units | rms),
            ):
                if made is not None:
                    shaped = made[start:stop].reshape(*shape, cells.grid.size)
                    variables[one.name + ending] = ((*one.axes, "cells"), shaped, attributes)
            start = stop
        linked = {"long_name": "number of samples linked to the cell"}
        variables[COUNTS] = ("cells", cells.counts, linked)
        coordinates = {
            axis: made for one in self.samples.fields for axis, made in one.coordinates.items()
        }
        return xr.Dataset(
            variables,
            coords=coordinates | cell_coordinate(cells.grid, self.ellipsoid),
            attrs={"method": self.recipe.experiment.method, "estimate": self.recipe.name},
        )


def resample_samples(
    recipe: Recipe, samples: Samples, *, folder: Path | None = None, watch: Watch = UNWATCHED
) -> Resampled:
    """Bring samples onto cells.

    Args:
        recipe: how.
        samples: what.
        folder: where parent cells that are done are kept, if they are worked through one by one.
        watch: what is told meanwhile.

    Raises:
        ValueError: for coordinates out of range, or settings that are.

    Examples:
        >>> from skysift.experiment.samples import SampledField
        >>> field = SampledField("t", np.array([1.0, 3.0, 5.0]))
        >>> samples = Samples(np.array([10.0, 11.0, 80.0]), np.array([0.0, 1.0, 2.0]), (field,))
        >>> recipe = Recipe.of(ResampleExperiment(level=2, method="group_by:max"))
        >>> resample_samples(recipe, samples).cells.values.tolist()
        [[3.0, 5.0]]
    """
    watch.begin(recipe.name)
    if recipe.in_parts:
        cells = Parts.of(recipe, samples).cells(folder, watch.part)
    else:
        cells = CellValues.of(recipe, samples, recipe.relation(samples), progress=watch.iteration)
    held_out = None
    if recipe.experiment.hold_out:
        held_out = hold_out(recipe, samples, lambda name: watch.begin(f"held out: {name}"))
    return Resampled(recipe, samples, cells, held_out)


def resample_run(
    experiment: ResampleExperiment, order: Order, watch: Watch = UNWATCHED
) -> Resampled | None:
    """Read samples, bring them onto cells, and write cells and a page.

    The cells are `cells.nc`, or the Zarr store itself where the directory is called `*.zarr`, and
    up to level 12 `cells.fits` with them. Where parent cells are worked through one by one, those
    that are done are kept in a folder beside the run (`DIR.tasks`) until the run is complete.

    Args:
        experiment: what to do.
        order: where the run goes.
        watch: what is told meanwhile.

    Returns:
        The cells; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    recipe = Recipe.of(experiment)
    zarr = asks_zarr(order.output)
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is not None:
        return None
    head = Manifest(KIND, mark.config_hash, order.command, experiment.seed)
    kept = order.output.with_name(f"{order.output.name}.tasks") / mark.config_hash[:16]
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        with draft.stage("read"):
            samples = read_samples(experiment.file, _wanted(experiment))
        _check_names(samples)
        order.check()
        with draft.stage("resample"):
            found = resample_samples(
                recipe, samples, folder=kept if recipe.in_parts else None, watch=watch
            )
        order.check()
        draft.summary.update(summary(found))
        shown = view(found)
        with draft.stage("write"):
            write_cells(draft.directory, found.to_dataset(), zarr=zarr)
            write_dataset(draft.directory / QUALITY, shown.quality())
            rows = zip(shown.rows, shown.values, shown.units, strict=True)
            named = {title: (values, unit) for title, values, unit in rows}
            write_fits(draft.directory, named, shown.grid, shown.counts)
        with draft.stage("report"):
            write_resample_page(
                draft.directory / REPORT,
                shown,
                origin=Origin(text, order.command, draft.manifest(head).facts()),
            )
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):
        kept.parent.rmdir()  # unless it holds parts of another experiment
    return found


def summary(found: Resampled) -> dict[str, Any]:
    """The result in a few numbers."""
    cells = found.cells
    numbers: dict[str, Any] = {
        "method": found.recipe.experiment.method,
        "level": cells.level,
        "samples": found.samples.size,
        "samples dropped": found.samples.dropped,
        "cells": cells.grid.size,
        "converged": cells.converged,
    }
    if cells.damping is not None:
        numbers |= {"iterations": cells.iterations, "damping": float(np.mean(cells.damping))}
    if found.held_out is not None:
        for one in found.held_out.predictions:
            numbers[f"held-out rms, {one.name}"] = one.rms[0]
    return numbers


def view(found: Resampled) -> ResampleView:
    """What the page shows."""
    cells, residuals = found.cells, None
    if cells.residuals is not None and cells.local is not None:
        residuals = Residuals.of(cells.residuals, cells.local)
    return ResampleView(
        source=found.recipe.experiment.file,
        name=found.recipe.name,
        grid=cells.grid,
        ellipsoid=found.ellipsoid,
        quantities=tuple(one.name for one in found.samples.fields for _ in one.rows),
        rows=tuple(found.samples.rows),
        units=tuple(found.units),
        values=cells.values,
        errors=cells.errors,
        ranges=extremes(found.samples.values),
        counts=cells.counts,
        samples=found.samples.size,
        covered=float(cells.covered.mean()),
        dropped=found.samples.dropped,
        residuals=residuals,
        damping=cells.damping,
        statuses=tuple(one.value for one in cells.statuses),
        iterations=cells.iterations,
        converged=cells.converged,
        held_out=found.held_out,
    )


def stored_view(run: Run) -> ResampleView:
    """What the page of a stored run shows.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    return ResampleView.of(read_cells(run.path), read_dataset(run.path / QUALITY))


def _wanted(experiment: ResampleExperiment) -> Wanted:
    names = {field.name for field in dataclasses.fields(Wanted)} - {"values"}
    return Wanted(experiment.value, **{name: getattr(experiment, name) for name in names})


def _check_names(samples: Samples) -> None:
    """Refuse quantities that would take the names of others in the file of cells."""
    axes = {axis for one in samples.fields for axis in one.axes}
    names = {one.name for one in samples.fields}
    derived = {f"{name}{ending}": name for name in names for ending in (ERROR, RESIDUAL)}
    for name in names | axes:
        if name in (COUNTS, "cells", "cell_ids") or name in derived:
            what = f"what is told of {derived[name]}" if name in derived else "what cells have"
            raise ValueError(
                f"value: expected names that the file of cells does not use for {what}, got "
                f"{name!r}. Resample it on its own, or rename it in the file."
            )
    if names & axes:
        raise ValueError(
            f"value: expected quantities that are no axes, got {min(names & axes)!r}. Resample it "
            "on its own, or rename it in the file."
        )
