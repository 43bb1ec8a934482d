"""skysift separate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from skysift.cli.common import (
    Done,
    Execution,
    Options,
    channels_line,
    memory_table,
    typed_command,
    warn,
)
from skysift.cli.interrupts import check
from skysift.cli.progress import Progress, SetProgress, set_table, summary_table
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.experiment.batch import Part
    from skysift.experiment.problem import Problem
    from skysift.experiment.runs import Order

EXAMPLES = """
Examples:

    skysift separate sky --mask GAL020 --patches.beta-dust nside:64 \\
        --patches.temp-dust nside:32 --patches.beta-pl nside:16 -o runs/ptep
    skysift separate sky --mask GAL060 --patches.beta-dust kmeans:1500 \\
        --patches.temp-dust kmeans:500 --patches.beta-pl kmeans:500 -o runs/kmeans
    skysift separate "maps/*.fits" --instrument Planck --mask ALL-sources.fits \\
        --fixed.temp-dust 19.6 --bounds.beta-pl -4 -2 -o runs/planck
    skysift separate --experiment runs/ptep/experiment.yaml --noise unit -o runs/unit
    skysift separate sky --mask GAL060 --patches.beta-dust kmeans:500 --seeds 0:100 \\
        --executor processes -o runs/hundred
    skysift separate sky --mask GAL060 --sweep patches.beta_dust=kmeans:50,100,200 \\
        --sweep patches.temp_dust=kmeans:10,50 --seeds 0:20 --executor dask -o runs/sweep
"""


def separate(
    experiment_: Annotated[SeparateExperiment, Parameter(name="*")] = SeparateExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
    execution: Execution = Execution(),  # noqa: B008
) -> Done:
    """Separate the components of multi-frequency maps, with spectral parameters in patches.

    Writes result.nc, maps/*.fits (parameters, components, chi2, residuals), mask.fits, report.html,
    experiment.yaml and manifest.json into the directory that -o names. A complete run of the same
    configuration is not repeated.

    With --seeds, realisations of a simulated sky are separated: one run with a realisation axis,
    residuals, their spectra and the tensor-to-scalar ratio. With --sweep, each combination is a run
    in the directory. An interrupted set goes on where it was.
    """
    options.set_up()
    from skysift.experiment.runs import Order

    if options.dry_run:
        return _show(experiment_, options)
    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    if experiment_.seeds or experiment_.sweep:
        return _set(experiment_, order, options, execution)
    return _single(experiment_, order, options)


def _single(experiment: SeparateExperiment, order: Order, options: Options) -> Done:
    from skysift.experiment.fingerprint import Fingerprint
    from skysift.experiment.runs import separation_run

    mark = Fingerprint.of(experiment)
    earlier = order.earlier(mark)
    if earlier is not None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done(0 if earlier.manifest.summary.get("converged") else 1)
    with Progress(quiet=options.quiet) as progress:
        fit, stages = separation_run(experiment, order, mark, progress.update)
    options.say(summary_table(fit, order.output / "report.html", stages))
    return Done(0 if fit.status.converged else 1)


def _set(
    experiment: SeparateExperiment, order: Order, options: Options, execution: Execution
) -> Done:
    from skysift.execute import distributed
    from skysift.experiment.batch import carry_out, plan, run_share
    from skysift.experiment.sets import variants

    executor, wanted = execution.executor(), variants(experiment)
    if execution.distributed:
        with distributed() as share:
            parts = plan(wanted, order)
            with _progress(parts, options) as progress:
                run_share(parts, share, progress.update)
        if share.index > 0:
            return Done()
    parts = plan(wanted, order)
    with _progress(parts, options) as progress:
        finished = carry_out(parts, executor, progress.update)
    options.say(set_table(finished))
    for one in finished:
        if one.problem:
            warn(f"{one.variant.title or order.output}: {one.problem}")
    return Done(0 if all(one.converged for one in finished) else 1)


def _progress(parts: list[Part], options: Options) -> SetProgress:
    total = sum(len(part.tasks) for part in parts)
    left = sum(len(part.left) for part in parts)
    return SetProgress(total, total - left, quiet=options.quiet)


def _show(experiment: SeparateExperiment, options: Options) -> Done:
    from skysift.experiment.memory import Memory
    from skysift.experiment.problem import Problem
    from skysift.experiment.sets import parse_seeds, variants

    combinations = variants(experiment)
    problem = Problem.of(combinations[0].experiment)
    options.say(to_text(experiment), _size_line(problem))
    if experiment.seeds or experiment.sweep:
        seeds = len(parse_seeds(experiment.seeds)) if experiment.seeds else 1
        options.say(f"{len(combinations)} combinations, {seeds} realisations each")
    options.say(memory_table(Memory.of_separation(problem).parts))
    return Done()


def _size_line(problem: Problem) -> str:
    patches = ", ".join(f"{count} of {name}" for name, count in problem.patches.counts.items())
    used = channels_line(problem.instrument.select(problem.maps.channels))
    letters, cells = problem.maps.stokes.value, problem.maps.grid.size
    return f"{used}, Stokes {letters}, {cells} cells; patches: {patches or 'none'}"
