"""skysift report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from skysift.cli.common import Done, Options

EXAMPLES = """
Examples:

    skysift report runs/ptep
    skysift report runs/ptep --sky sky -o comparison.html
"""


def report(
    run: Path,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    sky: Path | None = None,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
) -> Done:
    """Write the page of a run again: figures, tables and how to repeat it.

    Args:
        run: directory that skysift separate wrote.
        output: HTML file; by default report.html in the run.
        sky: simulated sky to compare with; by default the one that the run was made from, if it is
            still there and unchanged.
        debug: show where an error came from.
    """
    from skysift.experiment.ensemble_run import KIND, stored_view
    from skysift.experiment.replay import stored_report
    from skysift.report import write_report
    from skysift.report.ensemble import write_ensemble_page
    from skysift.report.sheet import Origin
    from skysift.store.files import explained
    from skysift.store.run import REPORT, Run

    stored = Run.open(run)
    path = stored.path / REPORT if output is None else output
    manifest = stored.manifest
    origin = Origin(stored.experiment_text, manifest.command, manifest.facts())
    with explained(path):
        if manifest.kind == KIND:
            view = stored_view(stored, sky)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_ensemble_page(path, view, origin=origin)
        else:
            data = stored_report(stored, sky)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_report(path, data, origin)
    Options(debug=debug).say(f"report: {path}")
    return Done()
