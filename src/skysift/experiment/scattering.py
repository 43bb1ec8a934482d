"""From an experiment to scattering statistics of a map, and to new maps with them, as a run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Float

from skysift.experiment.config import Edges, Family, StatisticsExperiment, SynthesisExperiment
from skysift.experiment.fields import Field, read_field, write_field
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.runs import Order
from skysift.experiment.syntheses import UNWATCHED, Sample, Watch, samples
from skysift.experiment.text import to_text
from skysift.report.scattering import write_scattering_page
from skysift.report.scattering_view import CORRELATION, LARGE, Descent, ScatteringView, curves_of
from skysift.report.sheet import Origin
from skysift.scattering.families import WPH, WST, Covariance
from skysift.scattering.morphology import Observer
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics, stack
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.fits import Precision
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted

KINDS = (StatisticsExperiment.kind, SynthesisExperiment.kind)
"""Kinds of such runs in their manifests."""

STATISTICS, MEASURES, SAMPLES = "statistics.nc", "measures.nc", "samples"
"""Products: statistics of all maps, what else the page shows, and the folder of new maps."""

_FAMILIES = {Family.COVARIANCE: Covariance, Family.WST: WST, Family.WPH: WPH}


@dataclass(frozen=True, eq=False)
class Example:
    """A map with the operator for its statistics.

    Args:
        field: as it was read, masked.
        maps: as the statistics see it: in units of `scale`, with a margin of NaN where its edges
            are open.
        scale: deviation of the cells that count, whose square single precision need not hold.
        statistic: the operator.
    """

    field: Field
    maps: Float[np.ndarray, "..."]
    scale: float
    statistic: AbstractStatistic

    @staticmethod
    def of(experiment: StatisticsExperiment) -> Example:
        """The example of an experiment.

        Raises:
            ValueError: for a file, a field, a mask or settings that make no sense.
        """
        field = read_field(experiment.file, experiment.field)
        if experiment.mask is not None:
            field = field.without(read_field(experiment.mask))
        family = _FAMILIES[experiment.family]
        dtype = np.float32 if experiment.precision is Precision.SINGLE else np.float64
        scale = float(np.nanstd(np.where(np.isfinite(field.values), field.values, np.nan)))
        scale = scale if scale > 0.0 else 1.0
        values = (field.values / scale).astype(dtype)
        if field.nside is not None:
            _refuse(experiment, "edges", "orientations")
            statistic = family.sphere(field.nside, experiment.scales, lmax=experiment.lmax)
            return Example(field, values, scale, statistic)
        _refuse(experiment, "lmax")
        scales = experiment.scales or _fitting(min(values.shape), experiment.edges)
        if experiment.edges is Edges.OPEN:
            margin = 2**scales
            sizes = [scipy.fft.next_fast_len(cells + margin) for cells in values.shape]
            pads = [(0, size - cells) for size, cells in zip(sizes, values.shape, strict=True)]
            values = np.pad(values, pads, constant_values=np.nan)
        shape = (int(values.shape[0]), int(values.shape[1]))
        statistic = family.plane(shape, scales, experiment.orientations)
        return Example(field, values, scale, statistic)

    def restored(self, maps: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Maps in the unit of the file, without the margin."""
        if self.field.nside is None:
            rows, columns = self.field.values.shape
            maps = maps[..., :rows, :columns]
        return maps * np.asarray(self.scale, maps.dtype)

    def like(self, values: Float[np.ndarray, "..."]) -> Field:
        """A map of the kind of the example."""
        return dataclasses.replace(self.field, values=self.restored(values))


@dataclass(frozen=True, eq=False)
class Scattered:
    """Statistics of an example, and of maps made from them.

    Args:
        example: map and operator.
        target: its statistics.
        samples: maps with those statistics.
        view: what the page shows.
    """

    example: Example
    target: Statistics
    samples: list[Sample]
    view: ScatteringView


def scatter(experiment: StatisticsExperiment, folder: Path, watch: Watch = UNWATCHED) -> Scattered:
    """Statistics of an example and, if the experiment asks for them, maps made from them.

    Args:
        experiment: what to do.
        folder: where samples are kept as they are made.
        watch: what is told meanwhile.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    watch.stage("reading")
    example = Example.of(experiment)
    watch.stage("statistics")
    target = example.statistic(example.maps)
    made: list[Sample] = []
    if isinstance(experiment, SynthesisExperiment):
        made = samples(target, example.statistic, experiment, folder, watch)
    watch.stage("measures")
    return Scattered(example, target, made, _view(experiment, example, target, made))


def scatter_run(
    experiment: StatisticsExperiment, order: Order, watch: Watch = UNWATCHED
) -> Scattered | None:
    """Make statistics and samples, and write them with a page.

    Samples are kept in a folder beside the run (`DIR.tasks`) until the run is complete: what an
    interrupted run has made is not made again.

    Args:
        experiment: what to do.
        order: where the run goes.
        watch: what is told meanwhile.

    Returns:
        What was made; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is not None:
        return None
    head = Manifest(experiment.kind, mark.config_hash, order.command, experiment.seed)
    kept = _kept(experiment, order)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        with draft.stage(
            "synthesise" if isinstance(experiment, SynthesisExperiment) else "scatter"
        ):
            found = scatter(experiment, kept, watch)
        order.check()
        draft.summary.update(summary(experiment, found))
        with draft.stage("write"):
            write_dataset(draft.directory / STATISTICS, found.view.statistics)
            write_dataset(draft.directory / MEASURES, found.view.to_dataset())
            for number, sample in enumerate(found.samples):
                like = found.example.like(sample.map)
                write_field(draft.directory / SAMPLES, f"sample-{number}", like)
        watch.stage("report")
        with draft.stage("report"):
            origin = Origin(text, order.command, draft.manifest(head).facts())
            write_scattering_page(draft.directory / REPORT, found.view, origin=origin)
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):
        kept.parent.rmdir()  # unless it holds samples of another experiment
    return found


def summary(experiment: StatisticsExperiment, found: Scattered) -> dict[str, Any]:
    """The result in a few numbers."""
    view = found.view
    numbers: dict[str, Any] = {
        "family": experiment.family.name.lower(),
        "grid": view.size,
        "coefficients": view.n_coefficients,
        "masked": view.missing,
    }
    if not found.samples:
        return numbers
    spectrum = np.abs(view.curves["spectrum"].ratios()[2:, LARGE:])
    return numbers | {
        "samples": view.samples,
        "converged": view.converged,
        "iterations": max(int(one.history.size) for one in view.descents),
        "objective": max(one.objective for one in view.descents),
        "spectrum deviation": float(np.nanmedian(spectrum)),
        "V1 deviation": float(np.mean(view.curves["length"].offsets()[2:])),
        "correlation": float(np.max(np.abs(view.curves[CORRELATION].samples[:, :LARGE]))),
    }


def stored_view(run: Run) -> ScatteringView:
    """What the page of a stored run shows.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    measures = read_dataset(run.path / MEASURES)
    made = []
    for number in range(measures.sizes.get("sample", 0)):
        files = sorted((run.path / SAMPLES).glob(f"sample-{number}.*"))
        if not files:
            raise ValueError(
                f"samples: expected sample-{number} in {run.path / SAMPLES}, got none. Run it "
                "again."
            )
        made.append(read_field(files[0]).values)
    return ScatteringView.of(measures, read_dataset(run.path / STATISTICS), made)


def _kept(experiment: StatisticsExperiment, order: Order) -> Path:
    """Folder of samples: the same however many are asked for."""
    if isinstance(experiment, SynthesisExperiment):
        experiment = dataclasses.replace(experiment, samples=1, seed=0)
    digest = Fingerprint.of(experiment).config_hash[:16]
    return order.output.with_name(f"{order.output.name}.tasks") / digest


def _view(
    experiment: StatisticsExperiment, example: Example, target: Statistics, made: list[Sample]
) -> ScatteringView:
    observer = Observer.of(example.maps, example.statistic.domain)
    gaussian = observer.surrogate(example.maps, experiment.seed).astype(example.maps.dtype)
    maps = [example.maps, gaussian, *(one.map for one in made)]
    statistics = stack(
        [target, *(example.statistic(one, reference=target) for one in maps[1:])]
    ).to_dataset()
    edges = "none" if example.field.nside is not None else experiment.edges.value
    return ScatteringView(
        source=str(experiment.file),
        family=experiment.family.value,
        unit=example.field.unit,
        missing=example.field.missing,
        maps=np.stack([example.restored(one) for one in maps]),
        statistics=statistics.assign_attrs(edges=edges, unit_of_maps=example.scale),
        curves=curves_of(
            [observer.measure(one) for one in maps],
            [observer.correlation(one, example.maps) for one in maps],
        ),
        descents=tuple(Descent(one.status.value, one.history) for one in made),
        tolerance=experiment.tolerance if isinstance(experiment, SynthesisExperiment) else None,
    )


def _fitting(cells: int, edges: Edges) -> int:
    """Scales of which the largest wavelet fits twice; half as large where it must stay inside."""
    return max(1, int(math.log2(cells)) - (1 if edges is Edges.PERIODIC else 2))


def _refuse(experiment: StatisticsExperiment, *names: str) -> None:
    """Refuse settings that the grid of the file does not have."""
    where = "a plane" if names == ("lmax",) else "the sphere"
    for name in names:
        if getattr(experiment, name) != getattr(StatisticsExperiment, name):
            raise ValueError(
                f"{name}: expected none on {where}, got {getattr(experiment, name)}. Leave it out."
            )
