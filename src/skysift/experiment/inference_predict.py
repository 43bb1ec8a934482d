"""Runs of predictions: posteriors of the maps of files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float

from skysift.experiment.fields import FITS, ending_of
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.inference import DRAWS, network_in_words
from skysift.experiment.inference_config import PredictExperiment
from skysift.experiment.inference_problem import mask_of, model_file
from skysift.experiment.runs import Order
from skysift.experiment.sample_choice import pick
from skysift.experiment.sample_files import listing, opened
from skysift.experiment.text import to_text
from skysift.files import atomic
from skysift.grid import Ordering
from skysift.healpix_file import read_tables
from skysift.healpix_table import MapFormat, SkyTable
from skysift.inference.model import Family, Model
from skysift.inference.posterior import Posterior
from skysift.maps import unseen_to_nan
from skysift.report.inference_view import LEVEL, PredictionView
from skysift.report.sheet import Origin
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted
from skysift.units import Unit

if TYPE_CHECKING:
    import xarray as xr

KIND = PredictExperiment.kind
"""Kind of such a run in its manifest."""

POSTERIOR, TABLE = "posterior.nc", "posteriors.csv"
"""Products: posteriors, and the same as text."""

_SHOWN = 6
"""Maps whose posteriors are drawn."""


@dataclass(frozen=True, eq=False)
class Sky:
    """Maps of a file, as they are.

    Args:
        path: of the file.
        values: full sky, `(npix)`, `(stokes, npix)` or `(map, stokes, npix)`.
        ordering: of the cells.
        unit: `None` where nothing says it.
    """

    path: str
    values: Float[np.ndarray, "..."]
    ordering: Ordering = Ordering.RING
    unit: Unit | None = None


def predict_run(
    experiment: PredictExperiment, order: Order, stage: Callable[[str], None] = lambda name: None
) -> PredictionView | None:
    """Tell the parameters of maps, and write them with a page.

    Args:
        experiment: what to do.
        order: where the run goes.
        stage: called with the name of what begins.

    Returns:
        What the page shows; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.

    Warns:
        UserWarning: for masks that the model was not trained with.
    """
    require_possible(experiment)
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is not None:
        return None
    head = Manifest(KIND, mark.config_hash, order.command, experiment.seed)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        stage("posteriors")
        with draft.stage("predict"):
            dataset = predicted(experiment)
        order.check()
        view = PredictionView(dataset)
        with draft.stage("write"):
            write_dataset(draft.directory / POSTERIOR, dataset)
            _write_table(draft.directory / TABLE, view)
        draft.summary["maps"] = len(view.titles)
        draft.summary["at bounds"] = int(view.at_bounds.any(axis=1).sum())
        for place, name in enumerate(view.names):
            draft.summary[name] = float(dataset["mean"].values[:, place].mean())
        stage("report")
        with draft.stage("report"):
            from skysift.report.inference import write_prediction_page

            origin = Origin(text, order.command, draft.manifest(head).facts())
            write_prediction_page(draft.directory / REPORT, view, origin=origin)
    return view


def stored_view(run: Run) -> PredictionView:
    """What the page of a stored run shows.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    return PredictionView(read_dataset(run.path / POSTERIOR))


def require_possible(experiment: PredictExperiment) -> None:
    """Refuse what makes no sense, before anything is read.

    Raises:
        ValueError: naming it.
    """
    model_file(experiment.model)
    if not experiment.maps:
        raise ValueError(
            "maps: expected files with maps, got none. Name them after the model: skysift infer "
            "predict MODEL sky.fits -o runs/sky."
        )
    if experiment.seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {experiment.seed}. Say --seed 0.")


def planned(experiment: PredictExperiment) -> tuple[str, ...]:
    """What a run will do, in words.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    require_possible(experiment)
    model = Model.read(model_file(experiment.model))
    return (
        f"model: {network_in_words(model.network)}, for {family_in_words(model.family)}",
        f"maps: {len(experiment.maps)} files",
    )


def predicted(experiment: PredictExperiment) -> xr.Dataset:
    """Posteriors of maps: all that the page shows.

    Raises:
        ValueError: for files that are missing or damaged, or maps that the model is not for.
    """
    import xarray as xr

    model = Model.read(model_file(experiment.model))
    family = model.family
    mask = None if experiment.mask is None else mask_of(experiment.mask, family.nside)
    parts, titles, draws, example = [], [], [], None
    for file in experiment.maps:
        sky = read_sky(file, family, experiment)
        post = _posterior(model, sky, mask)
        count = len(post)
        parts.append(post.to_dataset())
        name = Path(file).name
        titles += [name] if count == 1 else [f"{name} {number}" for number in range(count)]
        if len(titles) - count < _SHOWN:
            draws.append(post.sample(experiment.seed, DRAWS))
        if example is None:
            example = _first(sky, family, mask)
    columns: dict[str, Any] = {
        "draws": (("shown", "draw", "parameter"), np.concatenate(draws)[:_SHOWN]),
        "low": ("parameter", family.prior.low),
        "high": ("parameter", family.prior.high),
        "example": (("stokes", "cell"), example, {"units": family.unit.value}),
    }
    coordinates = {
        "title": ("map", np.array(titles, dtype=object)),
        "unit": ("parameter", [one.unit for one in family.prior.parameters]),
        "stokes": list(family.stokes.value),
    }
    facts = {"model": experiment.model, "family": family_in_words(family)}
    whole = xr.concat(parts, "map", data_vars="all", coords="minimal", join="exact")
    whole = whole.assign(at_bounds=whole["at_bounds"].astype(np.int8))
    return whole.assign(columns).assign_coords(coordinates).assign_attrs(facts)


def read_sky(file: str, family: Family, experiment: PredictExperiment) -> Sky:
    """Maps of a file for a model.

    Args:
        file: FITS, .npy, .npz, NetCDF or HDF5.
        family: the maps that the model is for.
        experiment: which array, and what the file does not say.

    Raises:
        ValueError: for a file that is missing or damaged, or a header without what is needed.
    """
    if not Path(file).is_file():
        raise ValueError(f"maps: expected a file at {file}, got none. Check the path.")
    ending = ending_of(file)
    if ending in FITS:
        tables = read_tables(file)
        if len(tables) > 1:
            raise ValueError(
                f"maps: expected one HEALPix table in {file}, got {len(tables)}. Write the maps "
                "into files of their own, or into one .npy of shape (map, stokes, cell)."
            )
        return _of_table(tables[0], file, family, experiment)
    said = _unit(experiment.unit or "", file)
    ordering = experiment.ordering or Ordering.RING
    if ending == ".npy":
        return _scaled(file, _loaded(file), ordering, said)
    with opened(Path(file)) as arrays:
        names = [name for name, array in arrays.items() if array.ndim and array.size]
        if experiment.field is None and len(names) != 1:
            raise ValueError(
                f"field: expected the name of the maps in {file}, got none. {listing(arrays)} Say "
                "it with --field."
            )
        array = pick(arrays, "field", experiment.field or names[0])
        own = _unit(str(array.attrs.get("units", "")), file)
        if own is not None and said is not None and own != said:
            raise ValueError(
                f"unit: expected {experiment.unit!r} as asked, got {array.attrs['units']!r} in "
                f"{file}. Leave --unit out to read what the file says."
            )
        return _scaled(file, np.asarray(array.values), ordering, own or said)


def family_in_words(family: Family) -> str:
    """The maps that a model is for."""
    unit = f" in {family.unit.value}" if family.unit.value else ", without a unit"
    region = type(family.region).__name__
    places = {"FullSky": "full sky", "Shared": "one mask", "RandomCaps": "random caps"}
    return f"nside {family.nside}, {family.stokes.value}{unit}, {places.get(region, region)}"


def _of_table(table: SkyTable, file: str, family: Family, experiment: PredictExperiment) -> Sky:
    stokes, names = table.stokes_columns(family.stokes)
    expected = MapFormat(ordering=experiment.ordering, frame=experiment.frame)
    columns = list(table.units)[int(table.explicit) :]
    rows, units = [], []
    for letter, name in zip(stokes.value, names, strict=True):
        text = table.units[name].strip()
        unit = _unit(text or experiment.unit or "", file)
        if unit is None and family.unit is not Unit.NONE:
            raise ValueError(
                f"{file}, column {name}: expected a unit (TUNIT), as the model was trained on maps "
                f"in {family.unit.value}, got none. Say it, for instance --unit uK_CMB."
            )
        units.append(unit)
        values = table.column(columns.index(name), expected)
        values = values * (1.0 if unit is None else unit[1])
        rows.append(-values if letter == "U" and table.iau else values)
    if len(set(units)) > 1:
        raise ValueError(
            f"{file}: expected columns of one unit, got {', '.join(table.units.values())}. Write "
            "them in one."
        )
    return Sky(file, np.stack(rows), Ordering.RING, None if units[0] is None else units[0][0])


def _unit(text: str, file: str) -> tuple[Unit, float] | None:
    """Unit and factor that a text says; `None` if it says nothing."""
    if not text.strip():
        return None
    try:
        return Unit.parse(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _scaled(
    file: str, values: np.ndarray, ordering: Ordering, unit: tuple[Unit, float] | None
) -> Sky:
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{file}: expected real numbers, got {values.dtype}. Save Q and U along an axis."
        )
    if unit is None:
        return Sky(file, values, ordering)
    return Sky(file, unseen_to_nan(values) * unit[1], ordering, unit[0])


def _loaded(file: str) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{file}: expected an array of numbers, got a file that cannot be read ({error})."
        ) from error


def _posterior(model: Model, sky: Sky, mask: Bool[np.ndarray, " npix"] | None) -> Posterior:
    if mask is not None and sky.ordering is Ordering.NESTED:
        mask = mask[hp.nest2ring(model.family.nside, np.arange(mask.size))]
    try:
        return model(sky.values, mask, ordering=sky.ordering, unit=sky.unit)
    except ValueError as error:
        raise ValueError(f"{sky.path}: {error}") from None


def _first(
    sky: Sky, family: Family, mask: Bool[np.ndarray, " npix"] | None
) -> Float[np.ndarray, "stokes npix"]:
    """The first map of a file that a model took, NaN where nothing is seen."""
    cells = 12 * family.nside**2
    values = unseen_to_nan(sky.values).reshape(-1, len(family.stokes), cells)[0]
    if sky.ordering is Ordering.NESTED:
        values = values[..., hp.ring2nest(family.nside, np.arange(cells))]
    return values if mask is None else np.where(mask, values, np.nan)


def _write_table(path: Path, view: PredictionView) -> None:
    """One row for each map, as text."""
    low, high = view.interval(LEVEL)
    header = ["map"]
    for name in view.names:
        header += [f"{name}_{what}" for what in ("mean", "std", "low68", "high68", "at_bounds")]
    mean, deviation = view.dataset["mean"].values, view.dataset["std"].values
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for place, title in enumerate(view.titles):
            row: list[object] = [title]
            for one in range(len(view.names)):
                numbers = (array[place, one] for array in (mean, deviation, low, high))
                row += [*(f"{value:.9g}" for value in numbers), int(view.at_bounds[place, one])]
            writer.writerow(row)
