"""skysift scatter."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table

from skysift.cli import scatter_separate
from skysift.cli.common import Done, Options, memory_table, typed_command, warn
from skysift.cli.interrupts import check
from skysift.cli.scatter_progress import ScatterProgress
from skysift.experiment.config import StatisticsExperiment, SynthesisExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.report.scattering_view import ScatteringView

STATS_EXAMPLES = """
Examples:

    skysift scatter stats cloud.fits -o runs/cloud
    skysift scatter stats sky.fits --field I --mask mask.fits --scales 6 -o runs/sky
    skysift scatter stats ocean.nc --field sst --edges open --family wst -o runs/ocean
    skysift scatter stats cloud.npz --field Q --field U -o runs/qu
"""

SYNTHESISE_EXAMPLES = """
Examples:

    skysift scatter synthesise cloud.fits --samples 4 -o runs/clouds
    skysift scatter synthesise dust.fits --field I --scales 5 --samples 2 -o runs/dust
    skysift scatter synthesise cloud.fits --floor 0 --samples 4 -o runs/bright
    skysift scatter synthesise f143.fits f353.fits --samples 2 -o runs/frequencies
    skysift scatter synthesise cloud.fits --levels 3 --samples 4 -o runs/faster
    skysift scatter synthesise cib.npy --edges open --tolerance 0.02 --max-iterations 2000 \\
        -o runs/cib
"""


def commands() -> App:
    """The commands of scattering statistics."""
    app = App(
        name="scatter",
        help="Scattering statistics of maps, new maps with the same, and separations by them.",
    )
    app.command(stats, help_epilogue=STATS_EXAMPLES)
    app.command(synthesise, help_epilogue=SYNTHESISE_EXAMPLES)
    app.command(scatter_separate.separate, help_epilogue=scatter_separate.EXAMPLES)
    return app


def stats(
    experiment_: Annotated[StatisticsExperiment, Parameter(name="*")] = StatisticsExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Compute the scattering statistics of a map, or of several, on a plane or on the sphere.

    Writes statistics.nc (of the map, and of a Gaussian field with its power spectrum), measures.nc
    (spectrum, PDF, Minkowski functionals, peaks, bispectrum), report.html, experiment.yaml and
    manifest.json into the directory that -o names. Several files or fields are maps of one grid,
    which are seen together, with their cross moments. Cells that are NaN, infinite or UNSEEN do not
    count. A complete run of the same configuration is not repeated.
    """
    return _run(experiment_, options)


def synthesise(
    experiment_: Annotated[SynthesisExperiment, Parameter(name="*")] = SynthesisExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Make new maps with the scattering statistics of an example.

    Writes the maps into samples/, as files of the kind of the example, besides what skysift scatter
    stats writes. Samples that an interrupted run has made are not made again. Exit code 1 if a
    sample did not reach the tolerance.
    """
    return _run(experiment_, options)


def _run(experiment: StatisticsExperiment, options: Options) -> Done:
    options.set_up()
    if options.dry_run:
        return _plan(experiment, options)
    from skysift.experiment.runs import Order
    from skysift.experiment.scattering import scatter_run
    from skysift.experiment.syntheses import Watch
    from skysift.store.run import Run

    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    asked = experiment.samples if isinstance(experiment, SynthesisExperiment) else 0
    with (
        warnings.catch_warnings(record=True) as told,
        ScatterProgress(asked, quiet=options.quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        watch = Watch(progress.begin, progress.iterate, progress.end)
        found = scatter_run(experiment, order, watch)
    for message in dict.fromkeys(str(one.message) for one in told):
        warn(message)
    if found is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done(0 if Run.open(order.output).manifest.summary.get("converged", True) else 1)
    options.say(*(_table(view) for view in found.views), f"report: {order.output / 'report.html'}")
    return Done(0 if found.views[0].converged else 1)


def _plan(experiment: StatisticsExperiment, options: Options) -> Done:
    from skysift.experiment.scattering import Example
    from skysift.experiment.syntheses import require_possible

    if isinstance(experiment, SynthesisExperiment):
        require_possible(experiment)
    example = Example.of(experiment)
    example.floor(experiment)
    first, count = example.fields[0], len(example.fields)
    maps = f"{count} maps seen together, " if count > 1 else ""
    options.say(
        to_text(experiment).rstrip(),
        f"{maps}{first.size}, {first.missing:,} cells masked or missing, "
        f"{example.statistic.layout.n_coefficients:,} numbers",
        memory_table(example.memory(experiment).parts),
    )
    return Done()


def _table(view: ScatteringView) -> Table:
    from skysift.report.scattering import comparison

    listing = comparison(view)
    masked = f", {view.missing:,} cells masked or missing" if view.missing else ""
    of = f"{view.title}: " if view.title else ""
    table = Table(
        title=f"{of}{view.n_coefficients:,} numbers of {view.family}, {view.size}{masked}",
        caption="opposite edges do not join, and count as structure: say --edges open"
        if view.torn
        else None,
        title_justify="left",
        caption_justify="left",
    )
    for number, title in enumerate(listing.columns):
        table.add_column(title, justify="left" if number < 2 else "right")
    for row in listing.rows:
        table.add_row(*row)
    return table
