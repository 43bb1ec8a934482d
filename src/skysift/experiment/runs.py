"""Runs of separations: from an experiment to a complete directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skysift.compsep import Iteration, Separation
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.problem import Problem
from skysift.experiment.text import to_text
from skysift.files import require_space
from skysift.store.manifest import Fact, Manifest
from skysift.store.products import read_truth, write_separation
from skysift.store.run import EXPERIMENT, REPORT, Draft, Run, drafted, finished_run, require_apart


def _nothing() -> None:
    """Check nothing."""


@dataclass(frozen=True)
class Order:
    """Where a run goes, and how it is made.

    Args:
        output: directory.
        command: what to type to repeat it.
        overwrite: replace a run of another configuration.
        check: called between stages; raises an interrupt that was lost.
        facts: told in the manifest next to the results, such as what a sweep varied.
    """

    output: Path
    command: str = ""
    overwrite: bool = False
    check: Callable[[], None] = _nothing
    facts: tuple[tuple[str, Fact], ...] = ()

    def earlier(self, mark: Fingerprint) -> Run | None:
        """The complete run of the same configuration, if it is there.

        Raises:
            ValueError: if the directory holds something else, or an input of the run.
        """
        require_apart(self.output, mark.inputs)
        return finished_run(self.output, mark.config_hash, overwrite=self.overwrite)


def separation_run(
    experiment: SeparateExperiment,
    order: Order,
    mark: Fingerprint,
    progress: Callable[[Iteration], None] | None = None,
) -> tuple[Separation, dict[str, float]]:
    """Make the run of one separation.

    Args:
        experiment: what to do.
        order: where it goes.
        mark: of the experiment.
        progress: called in each iteration.

    Returns:
        The separation, and the seconds of each stage.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    head = Manifest("separate", mark.config_hash, order.command, experiment.seed)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        draft.write_text(EXPERIMENT, to_text(experiment))
        with draft.stage("read"):
            problem = Problem.of(experiment)
        require_space(order.output, _size(problem))
        order.check()
        with draft.stage("separate"):
            fit = problem.solve(progress)
        order.check()
        draft.summary.update(dict(order.facts) | separation_summary(fit))
        _write(draft, head, problem, fit, order.check)
        order.check()
    return fit, draft.stages


def separation_summary(fit: Separation) -> dict[str, Fact]:
    """The result in a few numbers, for tables of runs."""
    numbers: dict[str, Fact] = {
        "model": "+".join(fit.model.names),
        "nside": fit.grid.nside,
        "cells": fit.grid.size,
        "converged": bool(fit.status.converged),
        "iterations": int(fit.status.iterations),
        "objective": float(fit.objective),
        "chi2/dof": fit.reduced_chi2,
    }
    for name in fit.parameters:
        values = fit.patches.expand(name, fit.parameters[name])
        numbers[f"{name} patches"] = int(fit.parameters[name].size)
        numbers[name] = float(values.mean())
    return numbers


def _write(
    draft: Draft, head: Manifest, problem: Problem, fit: Separation, check: Callable[[], None]
) -> None:
    from skysift.report import write_page  # matplotlib takes half a second
    from skysift.report.sheet import Origin

    with draft.stage("write"):
        write_separation(draft.directory, fit, problem.maps, frame=problem.experiment.frame)
    check()
    with draft.stage("report"):
        truth = None if problem.simulation is None else read_truth(problem.simulation)
        write_page(
            draft.directory / REPORT,
            fit,
            maps=problem.maps,
            truth=None if truth is None else truth.on(fit.grid),
            origin=Origin(
                (draft.directory / EXPERIMENT).read_text(),
                head.command,
                draft.manifest(head).facts(),
            ),
        )


def _size(problem: Problem) -> int:
    """Bytes of the products, before compression."""
    channels, stokes, cells = problem.maps.values.shape
    numbers = 3 * len(problem.patches.counts) + 2 * len(problem.model.components) * stokes + 3
    return cells * (2 * 8 * numbers + 4 * channels * stokes)
