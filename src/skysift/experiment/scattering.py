"""From an experiment to scattering statistics of a map, and to new maps with them, as a run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.experiment.canvas import Canvas
from skysift.experiment.config import Family, StatisticsExperiment, SynthesisExperiment
from skysift.experiment.fields import (
    Field,
    read_field,
    read_fields,
    read_mask,
    titles_of,
    write_field,
)
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.memory import Memory
from skysift.experiment.runs import Order
from skysift.experiment.syntheses import UNWATCHED, Sample, Watch, require_possible, samples
from skysift.experiment.text import to_text
from skysift.report.scattering import write_scattering_page
from skysift.report.scattering_view import (
    CORRELATION,
    LARGE,
    Descent,
    ScatteringView,
    curves_of,
    median,
    of_dataset,
    to_dataset,
)
from skysift.report.sheet import Origin
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.levels import Level
from skysift.scattering.morphology import Observer
from skysift.scattering.regrid import coarsened
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics, stack
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.fits import Precision
from skysift.store.manifest import Fact, Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted

KINDS = (StatisticsExperiment.kind, SynthesisExperiment.kind)
"""Kinds of such runs in their manifests."""

STATISTICS, MEASURES, SAMPLES = "statistics.nc", "measures.nc", "samples"
"""Products: statistics of all maps, what else the page shows, and the folder of new maps."""

_SINGLE = (1e-30, 1e30)
"""Deviations of maps whose values single precision holds."""

_ROUNDED = 1e4
"""Mean over deviation, from which rounding in single precision shows at the finest scales."""


@dataclass(frozen=True, eq=False)
class Example:
    """Maps that are seen together, with the operator for their statistics.

    Args:
        fields: as they were read, masked; one or more.
        maps: as the statistics see them: in units of `scale`, with a margin of NaN where the edges
            are open; on an axis in front if there are several.
        scale: deviation of the cells that count of each map, whose square single precision need
            not hold.
        statistic: the operator.
        coarser: canvases of fewer cells, on which samples are made first, the fewest first.
    """

    fields: tuple[Field, ...]
    maps: Float[np.ndarray, "..."]
    scale: Float[np.ndarray, " channel"]
    statistic: AbstractStatistic
    coarser: tuple[Canvas, ...]

    @staticmethod
    def of(experiment: StatisticsExperiment) -> Example:
        """The example of an experiment.

        Raises:
            ValueError: for a file, a field, a mask or settings that make no sense.
        """
        if experiment.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {experiment.seed}. Say --seed 0.")
        fields = read_fields(experiment.file, experiment.field)
        if experiment.mask is not None:
            mask = read_mask(experiment.mask)
            fields = tuple(field.without(mask) for field in fields)
        halvings = experiment.levels - 1 if isinstance(experiment, SynthesisExperiment) else 0
        canvas = Canvas.of(experiment, fields[0], 2**halvings)
        coarser = tuple(canvas.coarser(one) for one in range(halvings, 0, -1))
        single = experiment.precision is Precision.SINGLE
        scale = np.array([deviation(field.values, single) for field in fields])
        values = np.stack([one.values / by for one, by in zip(fields, scale, strict=True)])
        values = canvas.framed(values.astype(np.float32 if single else np.float64))
        statistic = canvas.statistic(experiment.family, len(fields))
        values = values[0] if len(fields) == 1 else values
        return Example(fields, values, scale, statistic, coarser)

    def levels(self, target: Statistics, family: Family) -> tuple[Level, ...]:
        """What samples are to have on each grid.

        Args:
            target: statistics of the maps.
            family: kind of them.

        Raises:
            ValueError: for more levels than what is not masked allows.
        """
        levels = [Level(target, self.statistic)]
        for canvas in reversed(self.coarser):
            statistic = canvas.statistic(family, len(self.fields))
            maps = coarsened(self.maps, self.statistic.domain, statistic.domain)
            try:
                levels.insert(0, Level(statistic(maps), statistic))
            except ValueError as error:
                count = len(levels)
                raise ValueError(
                    f"levels: expected {count} or fewer for these maps, got "
                    f"{len(self.coarser) + 1}: {error} Say --levels {count}."
                ) from error
        return tuple(levels)

    def channel(self, maps: Float[np.ndarray, "..."], number: int) -> Float[np.ndarray, "..."]:
        """One of the maps that are seen together."""
        return maps if len(self.fields) == 1 else maps[number]

    def memory(self, experiment: StatisticsExperiment) -> Memory:
        """That statistics and samples will take."""
        cells = int(self.maps.size // len(self.fields))
        single = self.maps.dtype == np.float32
        directions = experiment.orientations if self.fields[0].nside is None else None
        return Memory.of_scattering(cells, len(self.fields), directions, 4 if single else 8)

    def floor(self, experiment: StatisticsExperiment) -> Float[np.ndarray, " channel"] | None:
        """Value that samples are not to go below, in the unit of each file; `None` for none.

        Raises:
            ValueError: for one on the sphere, another number of them than of maps, or one that is
                not below the mean of its map.
        """
        if not isinstance(experiment, SynthesisExperiment) or not experiment.floor:
            return None
        told = ", ".join(f"{level:g}" for level in experiment.floor)
        if self.fields[0].nside is not None:
            raise ValueError(
                f"floor: expected none on the sphere, got {told}. Take the logarithm of the map."
            )
        count = len(self.fields)
        if len(experiment.floor) not in (1, count):
            raise ValueError(
                f"floor: expected one number, or one for each of {count} maps, got {told}. Say "
                f"--floor {experiment.floor[0]:g}, or --floor {count} times."
            )
        levels = np.broadcast_to(experiment.floor, count)
        for field, level in zip(self.fields, levels, strict=True):
            known = field.values[np.isfinite(field.values)]
            if not level < known.mean():
                raise ValueError(
                    f"floor: expected less than the mean of the map, {known.mean():.4g}, got "
                    f"{level:g}. Say --floor {known.min():.4g}, its lowest value."
                )
        return levels

    def restored(self, map: Float[np.ndarray, "..."], number: int) -> Float[np.ndarray, "..."]:
        """A map in the unit of the file, without the margin; double where single cannot hold it."""
        field, scale = self.fields[number], float(self.scale[number])
        if field.nside is None:
            rows, columns = field.values.shape
            map = map[:rows, :columns]
        if not _SINGLE[0] < scale < _SINGLE[1]:
            map = map.astype(np.float64)
        return map * np.asarray(scale, map.dtype)

    def like(self, maps: Float[np.ndarray, "..."]) -> list[Field]:
        """Maps of the kinds of the example."""
        return [
            dataclasses.replace(field, values=self.restored(self.channel(maps, number), number))
            for number, field in enumerate(self.fields)
        ]


@dataclass(frozen=True, eq=False)
class Scattered:
    """Statistics of an example, and of maps made from them.

    Args:
        example: map and operator.
        target: its statistics.
        samples: maps with those statistics.
        views: what the page shows of each map of the example.
    """

    example: Example
    target: Statistics
    samples: list[Sample]
    views: tuple[ScatteringView, ...]


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
    if isinstance(experiment, SynthesisExperiment):
        require_possible(experiment)
    example = Example.of(experiment)
    floor = example.floor(experiment)
    watch.stage("statistics")
    target = example.statistic(example.maps)
    made: list[Sample] = []
    if isinstance(experiment, SynthesisExperiment):
        lowest = None if floor is None else floor / example.scale
        levels = example.levels(target, experiment.family)
        made = samples(levels, experiment, folder, watch, lowest)
    watch.stage("measures")
    return Scattered(example, target, made, _views(experiment, example, target, made))


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
            write_dataset(draft.directory / STATISTICS, found.views[0].statistics)
            write_dataset(draft.directory / MEASURES, to_dataset(found.views))
            for number, sample in enumerate(found.samples):
                made = found.example.like(sample.map)
                for channel, like in enumerate(made):
                    name = _sample_name(number, channel, len(made))
                    write_field(draft.directory / SAMPLES, name, like)
        watch.stage("report")
        with draft.stage("report"):
            origin = Origin(text, order.command, draft.manifest(head).facts())
            write_scattering_page(draft.directory / REPORT, found.views, origin=origin)
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):
        kept.parent.rmdir()  # unless it holds samples of another experiment
    return found


def summary(experiment: StatisticsExperiment, found: Scattered) -> dict[str, Fact]:
    """The result in a few numbers."""
    view = found.views[0]
    numbers: dict[str, Fact] = {
        "family": experiment.family.name.lower(),
        "grid": view.size,
        "maps": len(found.views),
        "coefficients": view.n_coefficients,
        "masked": view.missing,
    }
    if not found.samples:
        return numbers
    spectra = [np.abs(one.curves["spectrum"].ratios()[2:, LARGE:]) for one in found.views]
    lengths = [one.curves["length"].offsets()[2:] for one in found.views]
    memories = [np.abs(one.curves[CORRELATION].samples[:, :LARGE]) for one in found.views]
    return numbers | {
        "samples": view.samples,
        "converged": view.converged,
        "iterations": max(int(one.history.size) for one in view.descents),
        "objective": max(one.objective for one in view.descents),
        "spectrum deviation": _known(median(np.stack(spectra))),
        "V1 deviation": _known(float(np.mean(lengths))),
        "correlation": _known(float(np.max(memories))),
    }


def stored_views(run: Run) -> tuple[ScatteringView, ...]:
    """What the page of a stored run shows of each map of the example.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    measures = read_dataset(run.path / MEASURES)
    statistics = read_dataset(run.path / STATISTICS)
    count = measures.sizes.get("sample", 0)
    channels = measures.sizes.get("channel", 1)
    made = [
        [_stored(run, _sample_name(number, channel, channels)) for number in range(count)]
        for channel in range(channels)
    ]
    return of_dataset(measures, statistics, made)


def _stored(run: Run, name: str) -> Float[np.ndarray, "..."]:
    files = sorted((run.path / SAMPLES).glob(f"{name}.*"))
    if not files:
        raise ValueError(
            f"samples: expected {name} in {run.path / SAMPLES}, got none. Run it again."
        )
    return read_field(files[0]).values


def _sample_name(number: int, channel: int, channels: int) -> str:
    """Name of the file of a sample, one for each of several maps."""
    return f"sample-{number}" if channels == 1 else f"sample-{number}-map-{channel}"


def _known(value: float) -> float | None:
    """A number, or nothing, which JSON can say."""
    return value if math.isfinite(value) else None


def _kept(experiment: StatisticsExperiment, order: Order) -> Path:
    """Folder of samples: the same however many are asked for."""
    if isinstance(experiment, SynthesisExperiment):
        experiment = dataclasses.replace(experiment, samples=1, seed=0)
    digest = Fingerprint.of(experiment).config_hash[:16]
    return order.output.with_name(f"{order.output.name}.tasks") / digest


def _views(
    experiment: StatisticsExperiment, example: Example, target: Statistics, made: list[Sample]
) -> tuple[ScatteringView, ...]:
    channels = range(len(example.fields))
    examples = [example.channel(example.maps, number) for number in channels]
    domain = example.statistic.domain
    domain = dataclasses.replace(domain, channels=1) if len(channels) > 1 else domain
    observers = [Observer.of(one, domain) for one in examples]
    gaussian = _gaussian(experiment, example, target, observers)
    maps = [example.maps, gaussian, *(one.map for one in made)]
    edges = "none" if example.fields[0].nside is not None else experiment.edges.value
    found = stack([target, *(example.statistic(one, reference=target) for one in maps[1:])])
    statistics = found.to_dataset().assign_attrs(edges=edges, unit_of_maps=example.scale)

    titles = titles_of(example.fields)
    floor = example.floor(experiment)

    def view(number: int) -> ScatteringView:
        own, observer = [example.channel(one, number) for one in maps], observers[number]
        return ScatteringView(
            source=", ".join(Path(file).name for file in experiment.file),
            family=experiment.family.value,
            unit=example.fields[number].unit,
            missing=example.fields[number].missing,
            maps=np.stack([example.restored(one, number) for one in own]),
            statistics=statistics,
            curves=curves_of(
                [observer.measure(one) for one in own],
                [observer.correlation(one, own[0]) for one in own],
            ),
            descents=tuple(Descent(one.status.value, one.history) for one in made),
            tolerance=experiment.tolerance if isinstance(experiment, SynthesisExperiment) else None,
            floor=None if floor is None else float(floor[number]),
            channel=number,
            title=titles[number],
        )

    return tuple(view(number) for number in channels)


def _gaussian(
    experiment: StatisticsExperiment,
    example: Example,
    target: Statistics,
    observers: list[Observer],
) -> Float[np.ndarray, "..."]:
    """Gaussian fields with the power of the maps of the example."""
    maps, channels = example.maps, len(observers)
    if not np.isfinite(maps).all():
        # The modes of what is left of a map have power of the edges of the mask: the power at each
        # scale, of which the statistics leave that out, has to do.
        colour = colour_of(example.statistic, target)
        unknowns = colour.draw(jax.random.key(experiment.seed), 1, jnp.dtype(maps.dtype))
        return np.asarray(example.statistic.domain.seen(colour.fields(unknowns)))[0]
    drawn = [
        observer.surrogate(example.channel(maps, number), experiment.seed + number)
        for number, observer in enumerate(observers)
    ]
    return (drawn[0] if channels == 1 else np.stack(drawn)).astype(maps.dtype)


def deviation(values: Float[np.ndarray, "..."], single: bool) -> float:
    """Standard deviation of the finite values, 1 where they are all alike.

    Raises:
        ValueError: if single precision cannot tell the values apart.
    """
    known = values[np.isfinite(values)]
    largest = float(np.max(np.abs(known), initial=0.0))
    if largest == 0.0:
        return 1.0
    # Squares of very large and very small numbers are out of range.
    deviation = float(np.std(known / largest)) * largest
    if deviation <= 1e-12 * largest:
        return largest
    mean = abs(float(np.mean(known / largest))) * largest
    if single and mean > _ROUNDED * deviation:
        raise ValueError(
            f"precision: expected double for a map whose mean is {mean / deviation:.2g} times its "
            "deviation, got single. Say --precision double."
        )
    return deviation
