"""skysift separate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from skysift.cli.common import Done, Options, channels_line, memory_table, typed_command
from skysift.cli.interrupts import check
from skysift.cli.progress import Progress, summary_table
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.compsep import Separation
    from skysift.experiment.problem import Problem
    from skysift.store.manifest import Fact, Manifest
    from skysift.store.run import Draft


EXAMPLES = """
Examples:

    skysift separate sky --mask GAL020 --patches.beta-dust nside:64 \\
        --patches.temp-dust nside:32 --patches.beta-pl nside:16 -o runs/ptep
    skysift separate sky --mask GAL060 --patches.beta-dust kmeans:1500 \\
        --patches.temp-dust kmeans:500 --patches.beta-pl kmeans:500 -o runs/kmeans
    skysift separate "maps/*.fits" --instrument Planck --mask ALL-sources.fits \\
        --fixed.temp-dust 19.6 --bounds.beta-pl -4 -2 -o runs/planck
    skysift separate --experiment runs/ptep/experiment.yaml --noise unit -o runs/unit
"""


def separate(
    experiment_: Annotated[SeparateExperiment, Parameter(name="*")] = SeparateExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Separate the components of multi-frequency maps, with spectral parameters in patches.

    Writes result.nc, maps/*.fits (parameters, components, chi2, residuals), mask.fits, report.html,
    experiment.yaml and manifest.json into the directory that -o names. A complete run of the same
    configuration is not repeated.
    """
    options.set_up()
    from skysift.experiment.fingerprint import Fingerprint
    from skysift.experiment.memory import Memory
    from skysift.experiment.problem import Problem
    from skysift.store.files import require_space
    from skysift.store.manifest import Manifest
    from skysift.store.run import EXPERIMENT, drafted, finished_run, require_apart

    if options.dry_run:
        problem = Problem.of(experiment_)
        options.say(to_text(experiment_), _size_line(problem))
        options.say(memory_table(Memory.of_separation(problem).parts))
        return Done()
    output = options.require_output()
    mark = Fingerprint.of(experiment_)
    require_apart(output, mark.inputs)
    earlier = finished_run(output, mark.config_hash, overwrite=options.overwrite)
    if earlier is not None:
        options.say(f"{output} is complete already; --overwrite makes it again")
        return Done(0 if earlier.manifest.summary.get("converged") else 1)
    head = Manifest("separate", mark.config_hash, typed_command(), experiment_.seed)
    with drafted(output, head) as draft:
        draft.inputs.update(mark.inputs)
        draft.write_text(EXPERIMENT, to_text(experiment_))
        with draft.stage("read"):
            problem = Problem.of(experiment_)
        require_space(output, _size(problem))
        check()
        with draft.stage("separate"), Progress(quiet=options.quiet) as progress:
            fit = problem.solve(progress.update)
        check()
        draft.summary.update(summary(fit))
        _write(draft, head, problem, fit)
        check()
    options.say(summary_table(fit, output / "report.html", draft.stages))
    return Done(0 if fit.status.converged else 1)


def summary(fit: Separation) -> dict[str, Fact]:
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


def _write(draft: Draft, head: Manifest, problem: Problem, fit: Separation) -> None:
    from skysift.report import write_page
    from skysift.store.products import read_truth, write_separation
    from skysift.store.run import EXPERIMENT, REPORT

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
            experiment_text=(draft.directory / EXPERIMENT).read_text(),
            command=head.command,
            manifest=draft.manifest(head).facts(),
        )


def _size(problem: Problem) -> int:
    """Bytes of the products, before compression."""
    channels, stokes, cells = problem.maps.values.shape
    numbers = 3 * len(problem.patches.counts) + 2 * len(problem.model.components) * stokes + 3
    return cells * (2 * 8 * numbers + 4 * channels * stokes)


def _size_line(problem: Problem) -> str:
    patches = ", ".join(f"{count} of {name}" for name, count in problem.patches.counts.items())
    used = channels_line(problem.instrument.select(problem.maps.channels))
    letters, cells = problem.maps.stokes.value, problem.maps.grid.size
    return f"{used}, Stokes {letters}, {cells} cells; patches: {patches or 'none'}"
