"""skysift bin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, number, typed_command, warn

if TYPE_CHECKING:
    from skysift.report.binning import BinningView

EXAMPLES = """
Examples:

    skysift bin runs/kmeans --bins.beta-dust 50 --bins.temp-dust 20 -o runs/bins
    skysift bin runs/low runs/high --bins.beta-dust 100 --fwhm 5 -o runs/bins
"""


def bin(
    *run: Path,
    bins: Annotated[dict[str, int] | None, Parameter(negative="")] = None,
    fwhm: float = 0.0,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> Done:
    """Make patches of similar value from the fitted parameters of runs.

    Divides the range of a parameter into bins of equal width; the cells of a bin are a patch of a
    further separation. Runs with masks that do not overlap are put together. Writes a map of each
    parameter's patches (patches/) and values (maps/), mask.fits and report.html, and prints the
    command that separates with the patches.

    Args:
        run: directories that skysift separate wrote; of realisations, the mean counts.
        bins: number of bins: --bins.beta-dust 50; parameters without keep their patches.
        fwhm: of a Gaussian to smooth the values with before [degrees].
        output: directory of the new run.
        overwrite: replace a run of another configuration.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """
    options = Options(output=output, debug=debug, quiet=quiet)
    options.set_up()
    folder = options.require_output()
    from skysift.experiment.binning import BinningOptions, binning_run
    from skysift.store.run import Run

    result, again = binning_run(
        [Run.open(path) for path in run],
        BinningOptions(bins or {}, fwhm),
        folder,
        command=typed_command(),
        overwrite=overwrite,
    )
    for note in result.notes:
        warn(note)
    options.say(_table(result.view, folder), again)
    return Done()


def _table(view: BinningView, folder: Path) -> Table:
    table = Table(
        title="patches by value",
        caption=f"patches: {folder}. Separate with:",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("parameter")
    for title in ("bins", "patches", "from", "to", "cells per patch"):
        table.add_column(title, justify="right")
    for one in view.parameters:
        sizes = np.bincount(one.labels)
        bins = "kept" if one.edges is None else str(one.edges.size - 1)
        ends = (number(float(one.smoothed.min())), number(float(one.smoothed.max())))
        spread = f"{sizes.min()} to {sizes.max()}"
        table.add_row(one.name, bins, f"{one.count:,}", *ends, spread)
    return table
