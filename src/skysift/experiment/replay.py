"""Reports of runs that were made earlier."""

from __future__ import annotations

from pathlib import Path

from skysift.experiment.config import SeparateExperiment
from skysift.experiment.fingerprint import content_hash
from skysift.experiment.text import load
from skysift.instrument import Instrument
from skysift.report import ReportData
from skysift.sky.simulate import Truth
from skysift.store.channels import read_channels
from skysift.store.fits import MapFormat
from skysift.store.products import RESIDUALS, read_truth
from skysift.store.run import EXPERIMENT, INSTRUMENT, TRUTH, Run


def stored_report(run: Run, sky: Path | None = None) -> ReportData:
    """What the report of a stored separation shows.

    Args:
        run: of kind `separate`.
        sky: simulated sky to compare with; by default the one of the experiment, if it is there and
            unchanged.

    Raises:
        ValueError: if the run is of another kind or damaged, or the sky does not hold its cells.
    """
    if run.manifest.kind != "separate":
        raise ValueError(
            f"run: expected a separation, got {run.path}, a run of skysift {run.manifest.kind}. "
            "Run skysift separate on it first."
        )
    experiment = load(run.path / EXPERIMENT, SeparateExperiment)
    data = ReportData.from_dataset(run.dataset())
    instrument = Instrument.from_yaml(run.path / INSTRUMENT)
    form = MapFormat(stokes=data.stokes, frame=experiment.frame)
    residuals = read_channels(run.path / RESIDUALS, instrument, form)
    data = data.with_residuals(residuals, instrument)
    truth = known_truth(run, experiment, sky)
    if truth is None:
        return data
    from skysift.experiment.problem import sky_model

    return data.with_truth(truth, sky_model(experiment))


def known_truth(run: Run, experiment: SeparateExperiment, sky: Path | None = None) -> Truth | None:
    """What went into the maps of a separation, if that can be told.

    Args:
        run: of a separation, or of a set of them.
        experiment: of the run.
        sky: simulated sky; by default the one of the experiment, if it is there and unchanged.

    Raises:
        ValueError: if the sky that is named has no truth.
    """
    if sky is not None:
        truth = read_truth(Run.open(sky))
        if truth is None:
            raise ValueError(
                f"sky: expected a simulated sky with components, got {sky} without {TRUTH}. Name "
                "the directory that skysift simulate wrote."
            )
        return truth
    if len(experiment.maps) != 1 or not Run.is_run(experiment.maps[0]):
        return None
    # Another sky may stand under the same name by now.
    for file, content in run.manifest.inputs.items():
        if not Path(file).is_file() or content_hash(file) != content:
            return None
    return read_truth(Run.open(experiment.maps[0]))
