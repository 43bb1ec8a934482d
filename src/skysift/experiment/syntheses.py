"""Samples of a synthesis, each kept as soon as it is made."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from skysift.experiment.config import SynthesisExperiment
from skysift.scattering.generative.levels import Level
from skysift.scattering.generative.samplers import LBFGS, Status
from skysift.scattering.generative.synthesis import synthesise
from skysift.store.dataset import read_dataset, write_dataset


@dataclass(frozen=True)
class Watch:
    """What is told while statistics and samples are made.

    Args:
        stage: called with the name of what begins.
        iteration: called with the number of the sample, of the iteration, and the objective.
        sample: called with the number of a sample that is there, how it ended and its objective.
    """

    stage: Callable[[str], None] = lambda name: None
    iteration: Callable[[int, int, float], None] = lambda sample, iteration, objective: None
    sample: Callable[[int, str, float], None] = lambda sample, status, objective: None


UNWATCHED = Watch()
"""Of work that nobody looks at."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One map with the statistics of the example.

    Args:
        map: its cells.
        status: how it ended.
        history: objective at each iteration.
    """

    map: Float[np.ndarray, "..."]
    status: Status
    history: Float[np.ndarray, " iteration"]

    @property
    def objective(self) -> float:
        """That it ended at."""
        return float(self.history.min()) if self.history.size else float("nan")

    def write(self, path: Path) -> None:
        """Keep the sample."""
        import xarray as xr

        axes = [f"axis{number}" for number in range(self.map.ndim)]
        made = {"map": (axes, self.map), "objective": ("iteration", self.history)}
        write_dataset(path, xr.Dataset(made, attrs={"status": self.status.value}))

    @staticmethod
    def read(path: Path) -> Sample:
        """A sample that was kept."""
        made = read_dataset(path)
        status = Status(made.attrs["status"])
        return Sample(made["map"].values, status, made["objective"].values)


def require_possible(experiment: SynthesisExperiment) -> None:
    """Refuse numbers that make no sense, before anything is computed.

    Raises:
        ValueError: naming the number.
    """
    if experiment.samples < 1:
        raise ValueError(f"samples: expected 1 or more, got {experiment.samples}. Say --samples 1.")
    if experiment.max_iterations < 1:
        raise ValueError(
            f"max_iterations: expected 1 or more, got {experiment.max_iterations}. Try 500."
        )
    if experiment.levels < 1:
        raise ValueError(f"levels: expected 1 or more, got {experiment.levels}. Say --levels 1.")
    for level in experiment.floor:
        if not math.isfinite(level):
            raise ValueError(
                f"floor: expected finite numbers, got {level:g}. Leave it out for none."
            )
    if not experiment.tolerance > 0.0:
        raise ValueError(
            f"tolerance: expected more than 0, got {experiment.tolerance:g}. Say --tolerance 0.05."
        )


def samples(
    levels: Sequence[Level],
    experiment: SynthesisExperiment,
    folder: Path,
    watch: Watch = UNWATCHED,
    floor: Float[np.ndarray, " channel"] | None = None,
) -> list[Sample]:
    """Samples of an experiment; those that are in the folder already are taken from it.

    Sample k is that of `synthesise` with one sample and the seed of the experiment plus k: the
    number of samples asked changes none of them.

    Args:
        levels: what samples are to have on each grid, the finest last.
        experiment: how many, from what seed, to what tolerance.
        folder: where samples are kept until the run is complete.
        watch: what is told meanwhile.
        floor: of the maps as the statistics see them; `None` for none.
    """
    made = []
    for number in range(experiment.samples):
        file = folder / f"sample-{experiment.seed + number}.nc"
        if file.is_file():
            sample = Sample.read(file)
        else:
            sample = _one(levels, experiment, number, watch, floor)
            sample.write(file)
        watch.sample(number, sample.status.value, sample.objective)
        made.append(sample)
    missed = [one.objective for one in made if one.status is not Status.CONVERGED]
    if missed:
        warnings.warn(
            f"{len(missed)} of {len(made)} samples did not reach the tolerance "
            f"{experiment.tolerance:g} (the furthest ended at {max(missed):.3g}). Raise "
            "--max-iterations, or --tolerance.",
            stacklevel=2,
        )
    return made


def _one(
    levels: Sequence[Level],
    experiment: SynthesisExperiment,
    number: int,
    watch: Watch,
    floor: Float[np.ndarray, " channel"] | None,
) -> Sample:
    *coarser, finest = levels
    with warnings.catch_warnings():
        # Told of all samples together.
        warnings.filterwarnings("ignore", "synthesise: ", UserWarning)
        made = synthesise(
            finest.target,
            finest.statistic,
            samples=1,
            seed=experiment.seed + number,
            coarser=coarser,
            sampler=LBFGS(max_iter=experiment.max_iterations),
            start=experiment.start,
            tolerance=experiment.tolerance,
            floor=floor,
            report=lambda _, iteration, value: watch.iteration(number, iteration, value),
        )
    return Sample(made.maps[0], made.status[0], np.asarray(made.history[0]))
