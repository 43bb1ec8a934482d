"""skysift resample."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, number, typed_command, warn
from skysift.cli.interrupts import check
from skysift.cli.progress import ResampleProgress
from skysift.experiment.config import ResampleExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.experiment.resampling import Resampled

EXAMPLES = """
Examples:

    skysift resample swath.nc --value brightness --level 8 -o runs/swath
    skysift resample swath.nc --value tb19 --value tb37 --level 7 --hold-out 10 -o runs/two
    skysift resample stations.csv --value t2m --lon x --lat y --level 6 \\
        --method group_by:median -o runs/stations
    skysift resample ocean.nc --value tos --method conservative --corners lon_bnds lat_bnds \\
        --level 6 -o runs/ocean
    skysift resample year.nc --value chl --level 11 --memory-mb 2000 -o runs/year
    skysift resample swath.npz --value data:2 --lon data:0 --lat data:1 --fill -1e10 \\
        --level 7 --method bilinear -o swath.zarr
"""


def resample(
    experiment_: Annotated[ResampleExperiment, Parameter(name="*")] = ResampleExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Bring samples at longitudes and latitudes onto HEALPix cells.

    Writes cells.nc, which xdggs opens (or, where the directory is called *.zarr, the same as a Zarr
    store), cells.fits up to level 12, quality.nc, report.html, experiment.yaml and manifest.json
    into the directory that -o names. A complete run of the same configuration is not repeated.

    With --memory-mb or --parent-level, parent cells are worked through one after the other, with a
    halo so that they join without seams. What an interrupted run has done is not done again.
    """
    options.set_up()
    if options.dry_run:
        options.say(to_text(experiment_).rstrip())
        return Done()
    from skysift.experiment.resampling import Watch, resample_run
    from skysift.experiment.runs import Order
    from skysift.store.run import Run

    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    with (
        warnings.catch_warnings(record=True) as told,
        ResampleProgress(quiet=options.quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        watch = Watch(progress.begin, progress.iterate, progress.advance)
        found = resample_run(experiment_, order, watch)
    for message in dict.fromkeys(str(one.message) for one in told):
        warn(message)
    if found is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done(0 if Run.open(order.output).manifest.summary["converged"] else 1)
    options.say(_table(found, f"report: {order.output / 'report.html'}"))
    return Done(0 if found.cells.converged else 1)


def _table(found: Resampled, caption: str) -> Table:
    from skysift.report.sheet import rms

    samples, cells = found.samples, found.cells
    table = Table(
        title=f"{samples.size:,} samples on {cells.grid.size:,} cells of level {cells.level}",
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method")
    for title in samples.rows:
        table.add_column(title, justify="right")
    if cells.residuals is not None:
        row = (number(rms(values)) for values in cells.residuals)
        table.add_row(f"rms of residuals, {found.recipe.name}", *row)
    if cells.damping is not None:
        table.add_row("damping", *(number(float(value)) for value in cells.damping))
    for one in () if found.held_out is None else found.held_out.predictions:
        table.add_row(f"rms at samples left out, {one.name}", *(number(v) for v in one.rms))
    if samples.dropped:
        table.add_section()
        table.add_row(f"{samples.dropped:,} samples without place or value were left out")
    return table
