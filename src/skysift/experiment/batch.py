"""Sets of separations as independent tasks: realisations, sweeps, and both together.

Each realisation is a file that appears when it is complete, in a folder beside the run
(`DIR.tasks`). A set that was interrupted goes on with the files that are missing; when all are
there they become one run, and the folder goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from skysift.cosmology import Ensemble, MonteCarlo
from skysift.execute import AbstractExecutor, Outcome, Serial, Share
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.ensemble_run import write_ensemble_run
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.problem import Problem
from skysift.experiment.realisations import monte_carlo_of
from skysift.experiment.runs import Order, separation_run
from skysift.experiment.sets import Variant, parse_seeds
from skysift.experiment.text import from_mapping, to_text
from skysift.files import atomic
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.run import Run

_DIGITS = 6


@dataclass(frozen=True)
class Task:
    """One separation of a set, as it travels to the process that does it.

    Args:
        experiment: what is separated, without seeds or sweep.
        order: where the run goes, for a separation without realisations.
        seed: of the realisation, `None` for the maps themselves.
        file: that the realisation is written to.
    """

    experiment: SeparateExperiment
    order: Order
    seed: int | None = None
    file: Path | None = None

    def __call__(self) -> None:
        """Do it; what is complete already is left alone."""
        if self.seed is None:
            _separation(self.experiment, self.order)
        elif self.file is not None and not self.complete:
            _realisation(self.experiment, self.seed, self.file)

    @property
    def complete(self) -> bool:
        """Whether an earlier attempt separated it; one that failed is tried again."""
        return self.file is not None and self.file.is_file()


def run_task(task: Task) -> None:
    """What a worker is given to do."""
    task()


@dataclass
class Part:
    """A variant of a set, its run, and the tasks that make it.

    Args:
        variant: what is done.
        order: where the run goes.
        mark: of the variant.
        tasks: all of its tasks.
        left: numbers of the tasks that have not ended.
        lost: message of each task that no worker could finish.
    """

    variant: Variant
    order: Order
    mark: Fingerprint
    tasks: tuple[Task, ...]
    left: set[int] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        """Directory of the run."""
        return self.order.output


@dataclass(frozen=True)
class Finished:
    """How a part of a set ended.

    Args:
        variant: what was done.
        run: that was made or was there; `None` if tasks are missing.
        problem: what went wrong, else empty.
    """

    variant: Variant
    run: Run | None
    problem: str = ""

    @property
    def converged(self) -> bool:
        """Whether all of it did."""
        return self.run is not None and bool(self.run.manifest.summary.get("converged"))


def plan(variants: Sequence[Variant], order: Order) -> list[Part]:
    """The runs of a set and what is missing of each.

    A single variant is the run itself; those of a sweep are directories in it, named by a hash of
    the configuration, so that a longer sweep finds what a shorter one made.

    Raises:
        ValueError: if the inputs of a variant are wrong, or a directory holds something else.
    """
    swept = any(variant.values for variant in variants)
    if swept and Run.is_run(order.output):
        raise ValueError(
            f"output: expected a folder for the runs of a sweep, got {order.output}, which is a "
            "run itself. Choose another with -o."
        )
    parts = []
    for variant in variants:
        mark = Fingerprint.of(variant.experiment)
        output = order.output if not variant.values else order.output / mark.config_hash[:10]
        own = dataclasses.replace(order, output=output, facts=tuple(variant.values.items()))
        parts.append(Part(variant, own, mark, _tasks(variant.experiment, own)))
    for part in parts:
        if part.order.earlier(part.mark) is None:
            part.left = {n for n, task in enumerate(part.tasks) if not task.complete}
    return parts


def run_share(
    parts: Sequence[Part], share: Share, on_outcome: Callable[[Outcome], None] | None = None
) -> None:
    """Do this process's share of what is missing of a set, and make no run of it.

    Args:
        parts: from `plan`, the same in every process.
        share: which tasks are this process's own.
        on_outcome: called after each task.
    """
    # Of all tasks, not of those left: processes may look at different times.
    mine = share.of([(part, n) for part in parts for n in range(len(part.tasks))])
    left = [part.tasks[n] for part, n in mine if n in part.left]
    Serial().run(run_task, left, on_outcome=on_outcome)


def carry_out(
    parts: Sequence[Part],
    executor: AbstractExecutor,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_finished: Callable[[Finished], None] | None = None,
) -> list[Finished]:
    """Do what is missing of a set, and make a run of each part as soon as its tasks have ended.

    Args:
        parts: from `plan`.
        executor: that runs the tasks.
        on_outcome: called after each task.
        on_finished: called after each part.

    Returns:
        One for each part, in their order.
    """
    queue = [(place, n) for place, part in enumerate(parts) for n in sorted(part.left)]
    finished: dict[int, Finished] = {}

    def close(place: int) -> None:
        finished[place] = _close(parts[place])
        if on_finished is not None:
            on_finished(finished[place])

    def note(outcome: Outcome) -> None:
        place, number = queue[outcome.index]
        part = parts[place]
        part.left.discard(number)
        if outcome.error is not None:
            part.lost.append(f"{_title(part.tasks[number])}: {outcome.error}")
        if on_outcome is not None:
            on_outcome(outcome)
        if not part.left:
            close(place)

    for place, part in enumerate(parts):
        if not part.left:
            close(place)
    executor.run(run_task, [parts[place].tasks[n] for place, n in queue], on_outcome=note)
    return [finished[place] for place in range(len(parts))]


def _tasks(experiment: SeparateExperiment, order: Order) -> tuple[Task, ...]:
    if not experiment.seeds:
        return (Task(experiment, order),)
    seeds = parse_seeds(experiment.seeds)
    single = dataclasses.replace(experiment, seeds="")
    # Not of the seeds: more of them find what fewer made.
    folder = _folder(order.output) / Fingerprint.of(single).config_hash[:16]
    return tuple(
        Task(single, order, seed, folder / f"seed-{seed:0{_DIGITS}d}.nc") for seed in seeds
    )


def _folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.tasks")


def _failure(file: Path) -> Path:
    return file.with_suffix(".failed")


def _title(task: Task) -> str:
    return "separation" if task.seed is None else f"seed {task.seed}"


def _separation(experiment: SeparateExperiment, order: Order) -> None:
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is None:
        separation_run(experiment, order, mark)


def _realisation(experiment: SeparateExperiment, seed: int, file: Path) -> None:
    shared = _shared(to_text(experiment))  # what is wrong with all is no failure of one
    try:
        ensemble = shared.realisation(seed)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        with atomic(_failure(file)) as path:
            path.write_text(str(error), encoding="utf-8")
        return
    write_dataset(file, ensemble.to_dataset())


@functools.lru_cache(maxsize=2)
def _shared(text: str) -> MonteCarlo:
    """Patches, weights and start of an experiment, once in each process."""
    experiment = from_mapping(yaml.safe_load(text), SeparateExperiment)
    return monte_carlo_of(Problem.of(experiment))


def _close(part: Part) -> Finished:
    if part.lost:
        return Finished(part.variant, None, "; ".join(part.lost))
    experiment = part.variant.experiment
    try:
        if experiment.seeds and part.order.earlier(part.mark) is None:
            ensemble = _joined(part.tasks)
            write_ensemble_run(experiment, part.order, part.mark, ensemble)
            _forget(part)
        return Finished(part.variant, Run.open(part.output))
    except ValueError as error:
        return Finished(part.variant, None, str(error))


def _forget(part: Part) -> None:
    """Remove the files of realisations that have become a run, but none of another experiment."""
    for folder in {task.file.parent for task in part.tasks if task.file is not None}:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        _folder(part.output).rmdir()


def _joined(tasks: Sequence[Task]) -> Ensemble:
    failures, parts = {}, []
    for task in tasks:
        assert task.file is not None
        assert task.seed is not None
        if task.file.is_file():
            parts.append(Ensemble.from_dataset(read_dataset(task.file)))
        else:
            failures[task.seed] = _failure(task.file).read_text(encoding="utf-8")
    return Ensemble.joined(parts, failures)
