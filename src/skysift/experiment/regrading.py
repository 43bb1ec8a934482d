"""Cells of one level brought onto another, as a run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from jaxtyping import Float

from skysift.experiment.cell_files import asks_zarr, read_cells, write_cells, write_fits
from skysift.experiment.fingerprint import content_hash
from skysift.experiment.samples import row_titles
from skysift.experiment.text import unknown
from skysift.grid import Grid, Ordering
from skysift.healpix_file import read_tables
from skysift.maps import unseen_to_nan
from skysift.report.regrading import RegradeView, write_regrade_page
from skysift.report.resample_view import COUNTS, ERROR, RESIDUAL
from skysift.report.sheet import Origin
from skysift.resample import SPHERE, Ellipsoid, Quantity, Regraded, regrade
from skysift.resample.check import check_choice, check_level
from skysift.resample.files import cell_coordinate
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.fits import Frame
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted, finished_run, require_apart

if TYPE_CHECKING:
    import xarray as xr

KIND = "regrade"
"""Kind of such a run in its manifest."""

QUALITY = "quality.nc"
"""File of what the cells add up to before and after."""

COVERAGE = "_coverage"
"""What names of quantities are followed by where the known part of a cell is told."""


_FRAME = "coordsys"  # attribute of the cells, by the letters of FITS


@dataclass(frozen=True)
class RegradeOptions:
    """How to regrade.

    Args:
        level: log2(nside) of the result.
        values: names of the quantities, all by default.
        quantity: whether values are means or amounts.
        min_coverage: coarser cells of which a smaller part is known are left without a value.
        ordering: of the cells of a FITS file that does not say.
    """

    level: int
    values: tuple[str, ...] = ()
    quantity: Quantity = Quantity.INTENSIVE
    min_coverage: float = 0.0
    ordering: Ordering | None = None


@dataclass(frozen=True, eq=False)
class Quantities:
    """Values on cells, by name.

    Args:
        grid: the cells.
        ellipsoid: on which they are.
        values: of each quantity, `(..., cell)`, NaN where missing.
        axes: names of the leading axes of each.
        attributes: units and long name of each.
        coordinates: of the leading axes.
        frame: coordinates of the cells.
    """

    grid: Grid
    ellipsoid: Ellipsoid
    values: dict[str, Float[np.ndarray, "... cell"]]
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    coordinates: dict[str, Any] = field(default_factory=dict)
    frame: Frame = Frame.EQUATORIAL

    def unit(self, name: str) -> str:
        """Unit of a quantity, empty if it is not known."""
        return self.attributes.get(name, {}).get("units", "")


def read_quantities(path: str | Path, options: RegradeOptions) -> Quantities:
    """Cells from a run of `skysift resample` or `regrade`, NetCDF, Zarr or HEALPix FITS.

    Raises:
        ValueError: for a file without cells, or a name that it does not have.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"file: expected cells at {path}, got nothing there. Check the path.")
    found = _of_fits(path, options) if _is_fits(path) else _of_dataset(path)
    names = options.values or tuple(found.values)
    for name in names:
        if name not in found.values:
            raise ValueError(f"value: {unknown('quantity', name, found.values)}")
    if not names:
        raise ValueError(f"file: expected values on cells, got none in {path}.")
    return replace(found, values={name: found.values[name] for name in names})


def regrade_run(
    path: str | Path,
    options: RegradeOptions,
    output: Path,
    *,
    command: str = "",
    overwrite: bool = False,
) -> RegradeView | None:
    """Regrade cells, and write them and a page.

    Args:
        path: as `read_quantities`.
        options: how.
        output: directory of the new run.
        command: what to type to repeat it.
        overwrite: replace a run of another configuration.

    Returns:
        What the page shows; `None` if the run is complete already.

    Raises:
        ValueError: as `read_quantities` and `skysift.resample.regrade`, or if the directory holds
            something else.
        OSError: if the disk is full.
    """
    path, zarr = Path(path), asks_zarr(output)
    before = read_quantities(path, options)
    settings = {
        "level": options.level,
        "values": list(options.values),
        "quantity": options.quantity.value,
        "min_coverage": options.min_coverage,
        "ordering": None if options.ordering is None else options.ordering.value,
    }
    inputs = {str(path): content_hash(path)}
    content = json.dumps([KIND, settings, list(inputs.values())], sort_keys=True)
    config_hash = hashlib.sha256(content.encode()).hexdigest()
    require_apart(output, inputs)
    if finished_run(output, config_hash, overwrite=overwrite) is not None:
        return None
    text = yaml.safe_dump({"kind": KIND, "file": str(path)} | settings, sort_keys=False)
    head = Manifest(KIND, config_hash, command)
    with drafted(output, head) as draft:
        draft.inputs.update(inputs)
        draft.write_text(EXPERIMENT, text)
        with draft.stage("regrade"):
            found = {
                name: regrade(
                    values,
                    before.grid,
                    options.level,
                    quantity=options.quantity,
                    min_coverage=options.min_coverage,
                )
                for name, values in before.values.items()
            }
        shown = _view(path, before, found, options.quantity)
        draft.summary.update(level=options.level, cells=shown.grid.size)
        names = [name for name, one in found.items() for _ in np.ndindex(one.values.shape[:-1])]
        with draft.stage("write"):
            write_cells(draft.directory, _dataset(before, found, shown), zarr=zarr)
            write_dataset(draft.directory / QUALITY, _quality(shown, names))
            rows = zip(shown.rows, shown.values, shown.units, strict=True)
            named = {title: (values, unit) for title, values, unit in rows}
            write_fits(draft.directory, named, shown.grid, frame=before.frame)
        with draft.stage("report"):
            write_regrade_page(
                draft.directory / REPORT,
                shown,
                origin=Origin(text, command, draft.manifest(head).facts()),
            )
    return shown


def stored_view(run: Run) -> RegradeView:
    """What the page of a stored run shows.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    if not (run.path / QUALITY).is_file():
        raise ValueError(
            f"run: expected {QUALITY} in {run.path}, got none. Make the run again with --overwrite."
        )
    quality, cells = read_dataset(run.path / QUALITY), read_cells(run.path)
    names = list(dict.fromkeys(map(str, quality["quantity"].values)))
    try:
        after, coverage = (
            np.concatenate(
                [cells[name + ending].values.reshape(-1, cells["cell_ids"].size) for name in names]
            )
            for ending in ("", COVERAGE)
        )
        return RegradeView(
            source=str(quality.attrs["source"]),
            former_level=int(quality.attrs["former_level"]),
            former_size=int(quality.attrs["former_size"]),
            grid=_grid(cells),
            quantity=Quantity(quality.attrs["conserved"]),
            rows=tuple(map(str, quality["row"].values)),
            units=tuple(map(str, quality["unit"].values)),
            values=after,
            coverage=coverage,
            totals=quality["total"].values,
        )
    except KeyError as error:
        raise ValueError(
            f"run: expected complete files of cells and what they add up to, got none of {error}. "
            "Make the run again with --overwrite."
        ) from None


def _quality(view: RegradeView, names: list[str]) -> xr.Dataset:
    """All but what the cells themselves say, as `stored_view` takes it."""
    import xarray as xr

    return xr.Dataset(
        {
            "quantity": ("row", np.array(names, dtype=object)),
            "unit": ("row", np.array(view.units, dtype=object)),
            "total": (("row", "end"), view.totals),
        },
        {"row": ("row", np.array(view.rows, dtype=object))},
        {
            "source": view.source,
            "former_level": view.former_level,
            "former_size": view.former_size,
            "conserved": view.quantity.value,
        },
    )


def _is_fits(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((".fits", ".fit", ".fits.gz"))


def _of_fits(path: Path, options: RegradeOptions) -> Quantities:
    table = read_tables(path)[0]
    names = [name for name in list(table.units)[int(table.explicit) :] if name != "SAMPLES"]
    rows = np.stack([table.values(name) for name in names])
    grid, rows = table.on_grid(rows, table.ordering(options.ordering), table.nside(None))
    text = str(table.header.get("COORDSYS", "")).strip()
    return Quantities(
        grid,
        SPHERE,
        dict(zip(names, rows, strict=True)),
        attributes={name: {"units": table.units[name]} for name in names if table.units[name]},
        frame=Frame.parse(text) if text else Frame.GALACTIC,
    )


def _of_dataset(path: Path) -> Quantities:
    folder = path.is_dir()
    dataset = read_cells(path) if folder else read_dataset(path)
    if "cell_ids" not in dataset or "level" not in dataset["cell_ids"].attrs:
        raise ValueError(
            f"file: expected cells with cell_ids and their level, got {path} with "
            f"{', '.join(map(str, dataset.variables))}. Name a run of skysift resample, its "
            "cells.nc, or a HEALPix FITS file."
        )
    cells = dataset["cell_ids"]
    derived = [f"{name}{ending}" for name in dataset for ending in (ERROR, RESIDUAL, COVERAGE)]
    names = [
        str(name)
        for name, one in dataset.items()
        if cells.dims[0] in one.dims and name not in (COUNTS, *derived)
    ]
    arrays = {name: dataset[name].transpose(..., cells.dims[0]) for name in names}
    return Quantities(
        _grid(dataset),
        Ellipsoid.of(str(cells.attrs.get("ellipsoid", SPHERE.name))),
        {name: unseen_to_nan(array.values) for name, array in arrays.items()},
        {name: tuple(map(str, array.dims[:-1])) for name, array in arrays.items()},
        {name: {k: str(v) for k, v in array.attrs.items()} for name, array in arrays.items()},
        {str(axis): dataset[axis] for axis in dataset.dims if axis in dataset.coords},
        Frame(dataset.attrs.get(_FRAME, Frame.EQUATORIAL.value)),
    )


def _grid(dataset: xr.Dataset) -> Grid:
    """Cells that xdggs describes; where it says no scheme it means NESTED."""
    cells = dataset["cell_ids"]
    scheme = str(cells.attrs.get("indexing_scheme", "nested"))
    ordering = check_choice("indexing_scheme", Ordering, scheme.upper())
    return Grid(1 << check_level(int(cells.attrs["level"])), ordering, cells.values)


def _dataset(before: Quantities, found: dict[str, Regraded], shown: RegradeView) -> xr.Dataset:
    import xarray as xr

    variables: dict[str, Any] = {}
    told = {"long_name": "part of the cell for which there were values"}
    for name, one in found.items():
        dims = (*before.axes.get(name, ()), "cells")
        variables[name] = (dims, one.values, before.attributes.get(name, {}))
        variables[name + COVERAGE] = (dims, one.coverage, told)
    cells = cell_coordinate(shown.grid, before.ellipsoid)
    frame = {_FRAME: before.frame.value}
    return xr.Dataset(variables, coords=before.coordinates | cells, attrs=frame)


def _view(
    path: Path, before: Quantities, found: dict[str, Regraded], quantity: Quantity
) -> RegradeView:
    """Rows of all quantities, and what each adds up to before and after."""
    first = next(iter(found.values()))
    rows, units = [], []
    for name, values in before.values.items():
        axes = before.axes.get(name, ())
        rows += row_titles(name, axes, values.shape[:-1])
        units += [before.unit(name)] * (len(rows) - len(units))
    flat, after, coverage = (
        np.concatenate([one.reshape(-1, one.shape[-1]) for one in parts])
        for parts in (
            list(before.values.values()),
            [one.values for one in found.values()],
            [one.coverage for one in found.values()],
        )
    )
    weight = coverage if quantity is Quantity.INTENSIVE else np.ones_like(coverage)
    areas = [4.0 * np.pi / grid.npix for grid in (before.grid, first.grid)]
    if quantity is Quantity.EXTENSIVE:
        areas = [1.0, 1.0]
    return RegradeView(
        source=str(path),
        former_level=before.grid.level,
        former_size=before.grid.size,
        grid=first.grid,
        quantity=quantity,
        rows=tuple(rows),
        units=tuple(units),
        values=after,
        coverage=coverage,
        totals=np.stack(
            [np.nansum(flat, axis=1) * areas[0], np.nansum(after * weight, axis=1) * areas[1]],
            axis=1,
        ),
    )
