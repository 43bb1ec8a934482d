"""skysift report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from skysift.cli.common import Done, Options

if TYPE_CHECKING:
    from skysift.store.run import Run

EXAMPLES = """
Examples:

    skysift report runs/ptep
    skysift report runs/ptep --sky sky -o comparison.html
    skysift report runs/swath
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
        run: directory that skysift separate, resample, regrade, scatter or infer wrote.
        output: HTML file; by default report.html in the run.
        sky: simulated sky to compare a separation with; by default the one that the run was made
            from, if it is still there and unchanged.
        debug: show where an error came from.
    """
    from skysift.files import explained
    from skysift.store.run import REPORT, Run

    stored = Run.open(run)
    path = stored.path / REPORT if output is None else output
    with explained(path):
        write = _page(stored, sky)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    Options(debug=debug).say(f"report: {path}")
    return Done()


def _page(stored: Run, sky: Path | None) -> Callable[[Path], object]:
    """What writes the page of a run, once all that it shows has been read."""
    from skysift.experiment import (
        ensemble_run,
        inference,
        inference_predict,
        regrading,
        resampling,
        scattering,
        unmixing,
    )
    from skysift.experiment.replay import stored_report
    from skysift.report import write_report
    from skysift.report.ensemble import write_ensemble_page
    from skysift.report.inference import write_evaluation_page, write_prediction_page
    from skysift.report.regrading import write_regrade_page
    from skysift.report.resampling import write_resample_page
    from skysift.report.scattering import write_scattering_page
    from skysift.report.sheet import Origin
    from skysift.report.unmixing import write_unmixing_page

    manifest = stored.manifest
    origin = Origin(stored.experiment_text, manifest.command, manifest.facts())
    if manifest.kind == ensemble_run.KIND:
        shown = ensemble_run.stored_view(stored, sky)
        return lambda path: write_ensemble_page(path, shown, origin=origin)
    if manifest.kind in (resampling.KIND, regrading.KIND):
        if sky is not None:
            raise ValueError(
                f"sky: expected none for samples on cells, got {sky}. Leave --sky out."
            )
        if manifest.kind == regrading.KIND:
            regraded = regrading.stored_view(stored)
            return lambda path: write_regrade_page(path, regraded, origin=origin)
        cells = resampling.stored_view(stored)
        return lambda path: write_resample_page(path, cells, origin=origin)
    if manifest.kind in scattering.KINDS:
        if sky is not None:
            raise ValueError(
                f"sky: expected none for scattering statistics, got {sky}. Leave --sky out."
            )
        maps = scattering.stored_views(stored)
        return lambda path: write_scattering_page(path, maps, origin=origin)
    if manifest.kind == unmixing.KIND:
        if sky is not None:
            raise ValueError(
                f"sky: expected none for a statistical separation, got {sky}. Leave --sky out."
            )
        shown_maps = unmixing.stored_views(stored)
        return lambda path: write_unmixing_page(path, shown_maps, origin=origin)
    if manifest.kind in (*inference.KINDS, inference_predict.KIND):
        if sky is not None:
            raise ValueError(f"sky: expected none for networks, got {sky}. Leave --sky out.")
        if manifest.kind == inference_predict.KIND:
            posteriors = inference_predict.stored_view(stored)
            return lambda path: write_prediction_page(path, posteriors, origin=origin)
        evaluation = inference.stored_view(stored)
        return lambda path: write_evaluation_page(path, evaluation, origin=origin)
    data = stored_report(stored, sky)
    return lambda path: write_report(path, data, origin)
