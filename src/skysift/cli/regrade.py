"""skysift regrade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, number, typed_command
from skysift.grid import Ordering
from skysift.resample import Quantity

if TYPE_CHECKING:
    from skysift.report.regrading import RegradeView

EXAMPLES = """
Examples:

    skysift regrade runs/swath --level 6 -o runs/coarse
    skysift regrade hits.fits --level 5 --quantity extensive -o runs/hits
    skysift regrade cells.nc --value tb --level 9 --min-coverage 0.5 -o runs/nine
"""


def regrade(
    file: Path,
    *,
    level: int,
    value: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    quantity: Quantity = Quantity.INTENSIVE,
    min_coverage: float = 0.0,
    ordering: Ordering | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> Done:
    """Bring cells onto another level, with what they add up to conserved.

    Writes cells.nc (or, where the directory is called *.zarr, a Zarr store), cells.fits up to level
    12, report.html, experiment.yaml and manifest.json into the directory that -o names.

    Args:
        file: run of skysift resample or regrade, NetCDF or Zarr as they write it, or a HEALPix FITS
            file.
        level: log2(nside) of the result.
        value: name of a quantity, several times for several; all by default.
        quantity: intensive for means such as temperatures, extensive for amounts such as counts.
        min_coverage: coarser cells of which a smaller part is known are left without a value.
        ordering: of the cells of a FITS file that does not say.
        output: directory of the run.
        overwrite: replace a run of another configuration.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """
    options = Options(output=output, debug=debug, quiet=quiet)
    options.set_up()
    folder = options.require_output()
    from skysift.experiment.regrading import RegradeOptions, regrade_run

    how = RegradeOptions(level, value, quantity, min_coverage, ordering)
    view = regrade_run(file, how, folder, command=typed_command(), overwrite=overwrite)
    if view is None:
        options.say(f"{folder} is complete already; --overwrite makes it again")
    else:
        options.say(_table(view, f"report: {folder / 'report.html'}"))
    return Done()


def _table(view: RegradeView, caption: str) -> Table:
    former, now = view.levels
    table = Table(
        title=f"{view.former_size:,} cells of level {former} on {view.grid.size:,} of level {now}",
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("value")
    for title in ("cells", "coverage", "total before", "after"):
        table.add_column(title, justify="right")
    for row, title in enumerate(view.rows):
        known = int(np.isfinite(view.values[row]).sum())
        totals = (number(float(one)) for one in view.totals[row])
        table.add_row(title, f"{known:,}", f"{view.coverage[row].mean():.1%}", *totals)
    return table
