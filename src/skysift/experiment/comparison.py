"""Runs read for a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skysift.cosmology import Ensemble, ResidualSpectra, TensorRatio
from skysift.cosmology.residuals import CMB
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.ensemble_run import KIND
from skysift.experiment.replay import known_truth
from skysift.experiment.text import load
from skysift.grid import Grid
from skysift.report.compare_data import (
    ComparedGroup,
    ComparedParameter,
    ComparedRun,
    Comparison,
)
from skysift.report.data import ReportData
from skysift.report.spectra import cmb_spectra
from skysift.store.run import EXPERIMENT, RATIO, SPECTRA, Run
from skysift.store.table import RunsTable


def compared(sources: Sequence[str], names: Sequence[str] = ()) -> Comparison:
    """Read runs side by side.

    Args:
        sources: each `RUN`, `NAME=RUN,RUN`, or a folder of runs in place of a run.
        names: of the groups, in their order; by default those given, or the paths.

    Raises:
        ValueError: for no runs, a path without any, runs of other kinds, or another number of
            names.
    """
    groups: list[ComparedGroup] = []
    for source in sources:
        name, equal, listed = ("", "", "") if Path(source).exists() else source.partition("=")
        runs = [run for path in (listed if equal else source).split(",") for run in _runs(path)]
        read = tuple(compared_run(run) for run in runs)
        if equal:
            groups.append(ComparedGroup(name, read))
        else:
            groups += [ComparedGroup(run.path, (run,)) for run in read]
    if names:
        if len(names) != len(groups):
            raise ValueError(
                f"name: expected {len(groups)}, one for each group, got {len(names)}: "
                f"{', '.join(names)}."
            )
        groups = [ComparedGroup(n, group.runs) for n, group in zip(names, groups, strict=True)]
    return Comparison(tuple(groups))


def compared_run(run: Run) -> ComparedRun:
    """What a comparison shows of a run.

    Raises:
        ValueError: for a run of another kind, or a damaged one.
    """
    if run.manifest.kind == KIND:
        return _of_ensemble(run)
    if run.manifest.kind == "separate":
        return _of_separation(run)
    raise ValueError(
        f"run: expected a separation, got {run.path}, a run of skysift {run.manifest.kind}. "
        "Compare what skysift separate wrote."
    )


def _runs(path: str) -> list[Run]:
    """The run at a path, or those in the folder."""
    if Run.is_run(path) or not Path(path).is_dir():
        return [Run.open(path)]
    table = RunsTable.of(path)
    if table.damaged:
        raise ValueError(table.damaged[0])
    runs = [run for run in table.runs if run.manifest.kind in (KIND, "separate")]
    if not runs:
        raise ValueError(f"run: expected a run or a folder of runs, got {path} without any.")
    return runs


def _of_ensemble(run: Run) -> ComparedRun:
    ensemble = Ensemble.from_dataset(run.dataset())
    means = {name: values.mean(axis=0) for name, values in ensemble.parameters.items()}
    maps = {name: ensemble.patches.expand(name, values) for name, values in means.items()}
    truth = _truth(run, ensemble.grid)
    systematic = np.asarray(ensemble.systematic.values)
    return ComparedRun(
        path=str(run.path),
        grid=ensemble.grid,
        parameters={n: ComparedParameter(means[n], maps[n], truth.get(n)) for n in means},
        realisations=len(ensemble),
        converged=bool(ensemble.converged.all()) and not ensemble.failures,
        objective=float(ensemble.objective.mean()),
        reduced_chi2=float(ensemble.reduced_chi2.mean()),
        cmb_variance=float(ensemble.cmb_variance.mean()),
        systematic_rms=float(np.sqrt(np.nanmean(systematic**2))),
        spectra=_spectra(run),
        ratio=_ratio(run),
    )


def _of_separation(run: Run) -> ComparedRun:
    data = ReportData.from_dataset(run.dataset())
    truth = _truth(run, data.grid)
    cmb = [component.values for component in data.components if component.name == CMB]
    return ComparedRun(
        path=str(run.path),
        grid=data.grid,
        parameters={
            p.name: ComparedParameter(p.values, p.map, truth.get(p.name)) for p in data.parameters
        },
        realisations=1,
        converged=data.status.converged,
        objective=data.status.objective,
        reduced_chi2=data.reduced_chi2,
        cmb_variance=float(np.nanvar(cmb[0], axis=-1).sum()) if cmb else np.nan,
        spectra=_spectra(run),
        ratio=_ratio(run),
        recovered=next(iter(cmb_spectra(data)), None),
    )


def _spectra(run: Run) -> ResidualSpectra | None:
    if not (run.path / SPECTRA).is_file():
        return None
    return ResidualSpectra.from_dataset(run.dataset(SPECTRA))


def _ratio(run: Run) -> TensorRatio | None:
    if not (run.path / RATIO).is_file():
        return None
    return TensorRatio.from_dataset(run.dataset(RATIO))


def _truth(run: Run, grid: Grid) -> dict[str, np.ndarray]:
    truth = known_truth(run, load(run.path / EXPERIMENT, SeparateExperiment))
    if truth is None:
        return {}
    return {name: np.asarray(values) for name, values in truth.on(grid).parameters.items()}
