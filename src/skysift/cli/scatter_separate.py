"""skysift scatter separate."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.progress import TimeElapsedColumn
from rich.table import Table

from skysift.cli.common import Done, Options, memory_table, typed_command, warn
from skysift.cli.interrupts import check
from skysift.cli.progress import LiveBar
from skysift.experiment.config import UnmixingExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.experiment.unmixing import Unmixed
    from skysift.scattering.separation.descent import State

EXAMPLES = """
Examples:

    skysift scatter separate dust.fits --contamination white:0.3 -o runs/dust
    skysift scatter separate dust.fits --contamination noise/*.fits --restarts 4 -o runs/dust
    skysift scatter separate dust.fits --contamination texture:cib.fits --draws 40 \\
        --constraints constraints.yaml -o runs/cib
    skysift scatter separate half1.fits half2.fits --halves --field Q U \\
        --contamination noise1.npy noise2.npy --mask mask.fits -o runs/sky

A file of constraints is a list:

    - total: {weight: 2, emphasis: {bandpower: 10}}
    - remainder
    - halves
    - ancillary: {map: template.fits}
    - large_scales: {below: 4}
"""


class UnmixingProgress(LiveBar):
    """Step and losses of a separation, live on a terminal; else a line for each step.

    Args:
        restarts: number of solutions asked for.
        quiet: show nothing.
    """

    def __init__(self, restarts: int, *, quiet: bool = False) -> None:
        super().__init__("reading", max(restarts, 1), clock=TimeElapsedColumn(), quiet=quiet)
        self._restarts = restarts
        self._ended: set[int] = set()

    def begin(self, stage: str) -> None:
        """Show what begins.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._bar.update(self._task, description=stage)

    def step(self, state: State) -> None:
        """Show the losses before a step, or at the end of a solution.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        which = f"solution {state.restart + 1} of {self._restarts}: " if self._restarts > 1 else ""
        losses = ", ".join(f"{name} {value:.3g}" for name, value in state.losses[-1].items())
        told = f"{which}step {state.step}, losses {losses}"
        if state.status is not None:
            self._ended.add(state.restart)
        self._bar.update(self._task, description=told, completed=len(self._ended))
        self._tell(f"{told}: {state.status.value}" if state.status is not None else told)


def separate(
    experiment_: Annotated[
        UnmixingExperiment, Parameter(name="*", consume_multiple=True)
    ] = UnmixingExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Separate a signal of which nothing is known from a contamination whose statistics are.

    Moves a signal from the data until, together with draws of the contamination, it has the
    scattering statistics of the data. Writes solutions/ with the signal and what is left of the
    data, as files of the kind of the data, separation.nc, report.html, experiment.yaml and
    manifest.json into the directory that -o names. An interrupted separation goes on from its last
    step when the same command is typed again. Exit code 1 if a solution did not converge.
    """
    options.set_up()
    if options.dry_run:
        return _plan(experiment_, options)
    from skysift.experiment.runs import Order
    from skysift.experiment.unmixing import Watch, unmixing_run
    from skysift.store.run import Run

    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    with (
        warnings.catch_warnings(record=True) as told,
        UnmixingProgress(experiment_.restarts, quiet=options.quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        found = unmixing_run(experiment_, order, Watch(progress.begin, progress.step))
    for message in dict.fromkeys(str(one.message) for one in told):
        warn(message)
    if found is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done(0 if Run.open(order.output).manifest.summary.get("converged", True) else 1)
    options.say(_table(found), *_lines(found), f"report: {order.output / 'report.html'}")
    return Done(0 if found.converged else 1)


def _plan(experiment: UnmixingExperiment, options: Options) -> Done:
    from skysift.experiment.unmixing_data import Observed

    observed = Observed.of(experiment)
    observed.constraints()
    observed.contamination()
    first, count = observed.fields[0], len(observed.fields)
    maps = f"{count} maps seen together, " if count > 1 else ""
    listed = ", ".join(one.kind.replace("_", " ") for one in observed.wanted)
    options.say(
        to_text(experiment).rstrip(),
        f"{maps}{first.size}, {first.missing:,} cells masked or missing, "
        f"{observed.statistic.layout.n_coefficients:,} numbers; constraints: {listed}",
        memory_table(observed.memory().parts),
    )
    return Done()


def _table(found: Unmixed) -> Table:
    from skysift.report.unmixing import losses

    listing = losses(found.views[0])
    table = Table(title="losses", title_justify="left")
    for number, title in enumerate(listing.columns):
        table.add_column(title, justify="left" if number == 0 else "right")
    for row in listing.rows:
        table.add_row(*row)
    return table


def _lines(found: Unmixed) -> list[str]:
    view = found.views[0]
    masked = f", {view.missing:,} cells masked or missing" if view.missing else ""
    turning = [
        f"{f'{one.title}: ' if one.title else ''}statistical from: {one.turning}"
        for one in found.views
    ]
    return [f"{view.size}{masked}, {view.draws} draws of the contamination", *turning]
