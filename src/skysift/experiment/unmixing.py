"""From an experiment to a signal separated from a contamination by statistics, as a run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from skysift.experiment.config import UnmixingExperiment
from skysift.experiment.fields import read_field, titles_of, write_field
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.runs import Order
from skysift.experiment.text import to_text
from skysift.experiment.unmixing_data import Observed
from skysift.experiment.unmixing_states import Shelf
from skysift.report.sheet import Origin
from skysift.report.unmixing import write_unmixing_page
from skysift.report.unmixing_view import Course, Spectra, UnmixingView, of_dataset, to_dataset
from skysift.scattering.gauges import AbstractGauge, gauge_of
from skysift.scattering.separation.contamination import Ensemble
from skysift.scattering.separation.descent import SAMPLER, Descent, State, Status
from skysift.scattering.separation.separate import separate
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.manifest import Fact, Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted

KIND = UnmixingExperiment.kind
"""Kind of such runs in their manifests."""

SEPARATION, SOLUTIONS, CONSTRAINTS = "separation.nc", "solutions", "constraints.yaml"
"""Products: all that the page shows but the maps of solutions; their folder; what was asked."""

_MEASURED = 24
"""Draws at most of which the page has the spectra."""


@dataclass(frozen=True)
class Watch:
    """What is told while a separation is made.

    Args:
        stage: called with the name of what begins.
        step: called with the state before each step, and at the end of a solution.
    """

    stage: Callable[[str], None] = lambda name: None
    step: Callable[[State], None] = lambda state: None


UNWATCHED = Watch()
"""Of work that nobody looks at."""


@dataclass(frozen=True, eq=False)
class Unmixed:
    """A signal, and what was done for it.

    Args:
        observed: the data.
        signals: of each solution `(solution, channel, *cells)`, in the unit of the files.
        views: what the page shows of each map of the data.
    """

    observed: Observed
    signals: Float[np.ndarray, "solution channel ..."]
    views: tuple[UnmixingView, ...]

    @property
    def converged(self) -> bool:
        """Whether every solution satisfies every constraint."""
        return self.views[0].converged


def unmix(experiment: UnmixingExperiment, folder: Path, watch: Watch = UNWATCHED) -> Unmixed:
    """Separate the signal of an experiment from its contamination.

    Args:
        experiment: what to do.
        folder: where the states of solutions are kept as they are made, to go on from.
        watch: what is told meanwhile.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    watch.stage("reading")
    observed = Observed.of(experiment)
    model, constraints = observed.contamination(), observed.constraints()
    shelf = Shelf(folder)
    watch.stage("draws of the contamination")
    domain = observed.statistic.domain
    draws = shelf.drawn(model, domain, experiment.draws, experiment.seed)
    states = {number: one for number, one in shelf.states().items() if number < experiment.restarts}

    def keep(state: State) -> None:
        states[state.restart] = state
        shelf.keep(state)
        watch.step(state)

    ended = [one for one in states.values() if one.status is not None]
    for state in ended:
        watch.step(state)
    if len(ended) < experiment.restarts:
        watch.stage("constraints")
        with warnings.catch_warnings():
            # Told below in words of the command line.
            warnings.filterwarnings("ignore", "separate: ", UserWarning)
            separate(
                observed.maps,
                Ensemble(draws),
                observed.statistic,
                constraints,
                experiment.seed,
                descent=Descent(
                    dataclasses.replace(SAMPLER, batch=experiment.together),
                    steps=experiment.steps,
                    batch=experiment.batch,
                    tolerance=experiment.tolerance,
                ),
                coarser=observed.coarser(),
                begin=experiment.begin,
                draws=experiment.draws,
                restarts=experiment.restarts,
                report=keep,
                resume=list(states.values()),
            )
    found = [states[number] for number in range(experiment.restarts)]
    _warn(found, experiment)
    watch.stage("spectra")
    seen = np.stack([np.asarray(domain.seen(one.signal[0])) for one in found])
    return Unmixed(
        observed, observed.restored(seen), tuple(_views(experiment, observed, found, seen, draws))
    )


def unmixing_run(
    experiment: UnmixingExperiment, order: Order, watch: Watch = UNWATCHED
) -> Unmixed | None:
    """Separate, and write signal and contamination with a page.

    States are kept in a folder beside the run (`DIR.tasks`) until the run is complete: an
    interrupted separation goes on from the last step.

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
        if experiment.constraints is not None:
            draft.write_text(CONSTRAINTS, Path(experiment.constraints).read_text(encoding="utf-8"))
        with draft.stage("separate"):
            found = unmix(experiment, kept, watch)
        order.check()
        draft.summary.update(summary(found))
        with draft.stage("write"):
            write_dataset(draft.directory / SEPARATION, to_dataset(found.views))
            _write_maps(draft.directory / SOLUTIONS, found)
        watch.stage("report")
        with draft.stage("report"):
            origin = Origin(text, order.command, draft.manifest(head).facts())
            write_unmixing_page(draft.directory / REPORT, found.views, origin=origin)
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):
        kept.parent.rmdir()  # unless it holds states of another experiment
    return found


def summary(found: Unmixed) -> dict[str, Fact]:
    """The result in a few numbers."""
    view = found.views[0]
    at = view.spectra.transition
    return {
        "family": found.observed.experiment.family.name.lower(),
        "grid": view.size,
        "maps": len(found.views),
        "masked": view.missing,
        "draws": view.draws,
        "solutions": len(view.courses),
        "converged": view.converged,
        "steps": max(one.steps for one in view.courses),
        "loss": max(one.worst for one in view.courses),
        "transition": at if math.isfinite(at) else None,
    }


def stored_views(run: Run) -> tuple[UnmixingView, ...]:
    """What the page of a stored run shows of each map of the data.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    found = read_dataset(run.path / SEPARATION)
    channels, count = found.sizes.get("channel", 0), found.sizes.get("solution", 0)
    signals = [
        np.stack([_stored(run, _name("signal", one, channel, channels)) for one in range(count)])
        for channel in range(channels)
    ]
    return of_dataset(found, signals)


def _stored(run: Run, name: str) -> Float[np.ndarray, "..."]:
    files = sorted((run.path / SOLUTIONS).glob(f"{name}.*"))
    if not files:
        raise ValueError(
            f"solutions: expected {name} in {run.path / SOLUTIONS}, got none. Run it again."
        )
    return read_field(files[0]).values


def _name(what: str, solution: int, channel: int, channels: int) -> str:
    """Name of the file of a solution, one for each of several maps."""
    return f"{what}-{solution}" if channels == 1 else f"{what}-{solution}-map-{channel}"


def _write_maps(folder: Path, found: Unmixed) -> None:
    observed = found.observed
    channels = len(observed.fields)
    for number, maps in enumerate(found.signals):
        for channel, signal in enumerate(maps):
            left = observed.fields[channel].values - signal
            for what, values in (("signal", signal), ("contamination", left)):
                name = _name(what, number, channel, channels)
                write_field(folder, name, observed.written(values, channel))


def _kept(experiment: UnmixingExperiment, order: Order) -> Path:
    """Folder of states: the same however many solutions are asked for, and moved at once."""
    alike = dataclasses.replace(experiment, restarts=1, together=1)
    digest = Fingerprint.of(alike).config_hash[:16]
    return order.output.with_name(f"{order.output.name}.tasks") / digest


def _warn(found: Sequence[State], experiment: UnmixingExperiment) -> None:
    missed = [one for one in found if one.status is not Status.CONVERGED]
    if not missed:
        return
    diverged = sum(one.status is Status.DIVERGED for one in missed)
    worst = [max(one.losses[-1], key=lambda name: one.losses[-1][name]) for one in missed]
    first = worst[0]
    advice = (
        "Say another --batch, or leave out the constraint that cannot be satisfied"
        if diverged
        else "Raise --steps, or --tolerance, or leave out what cannot be satisfied"
    )
    warnings.warn(
        f"{len(missed)} of {len(found)} solutions did not reach the tolerance "
        f"{experiment.tolerance:g} (the loss of {first} ended at "
        f"{missed[0].losses[-1][first]:.3g}). {advice}.",
        stacklevel=3,
    )


def _views(
    experiment: UnmixingExperiment,
    observed: Observed,
    found: Sequence[State],
    seen: Float[np.ndarray, "solution ..."],
    draws: Float[np.ndarray, "draw ..."],
) -> list[UnmixingView]:
    channels, cells = len(observed.fields), observed.canvas.shape
    whole = draws.mean(axis=1) if draws.ndim == seen.ndim + 1 else draws
    data = observed.maps.mean(axis=0) if experiment.halves else observed.maps
    gauge = gauge_of(dataclasses.replace(observed.statistic.domain, channels=1), observed.kept)
    courses = tuple(_course(one) for one in found)
    titles = titles_of(observed.fields)
    apart = [one.reshape(-1, channels, *cells) for one in (data, seen, whole)]
    views = []
    for channel, field in enumerate(observed.fields):
        own, signals, drawn = (one[:, channel] for one in apart)
        scale = float(observed.scale[channel])
        cut = observed.canvas.cut
        views.append(
            UnmixingView(
                source=", ".join(Path(file).name for file in experiment.file),
                family=experiment.family.value + (", power spectrum" if experiment.bins else ""),
                contamination=" ".join(experiment.contamination),
                unit=field.unit,
                data=field.values,
                draw=observed.written(cut(drawn[0]) * scale, channel).values,
                signals=np.stack(
                    [observed.written(cut(one) * scale, channel).values for one in signals]
                ),
                spectra=_spectra(gauge, own[0], signals, drawn[:_MEASURED], scale),
                courses=courses,
                draws=len(draws),
                tolerance=experiment.tolerance,
                title=titles[channel],
                channel=channel,
            )
        )
    return views


def _course(state: State) -> Course:
    names = list(state.losses[0])
    status = "under way" if state.status is None else state.status.value
    return Course(status, {name: np.array([one[name] for one in state.losses]) for name in names})


def _spectra(
    gauge: AbstractGauge,
    data: Float[np.ndarray, "..."],
    signals: Float[np.ndarray, "solution ..."],
    draws: Float[np.ndarray, "draw ..."],
    scale: float,
) -> Spectra:
    """Spectra of maps of one channel over the cells that are known."""

    def bands(map: np.ndarray) -> np.ndarray:
        return gauge.bands(gauge.filled(np.asarray(map, dtype=float).ravel()))[:, gauge.kept]

    def power(maps: np.ndarray) -> np.ndarray:
        return np.stack([np.mean(bands(one) ** 2, axis=-1) for one in maps]) * scale**2

    return Spectra(
        at=gauge.centres,
        data=power(data[None])[0],
        signals=power(signals),
        left=power(data - signals),
        draws=power(draws),
        totals=power(signals[0] + draws),
        agreement=_agreement([bands(one) for one in signals], len(gauge.centres)),
    )


def _agreement(
    bands: Sequence[Float[np.ndarray, "band cell"]], count: int
) -> Float[np.ndarray, " band"]:
    """Mean correlation between pairs of solutions."""
    pairs = list(itertools.combinations(bands, 2))
    if not pairs:
        return np.full(count, np.nan)
    norms = [np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1)) for a, b in pairs]
    return np.mean(
        [
            np.sum(a * b, axis=-1) / np.where(norm > 0.0, norm, np.inf)
            for (a, b), norm in zip(pairs, norms, strict=True)
        ],
        axis=0,
    )
