"""The run of a set of realisations: separations, residuals, spectra, r, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skysift.cosmology import (
    Ensemble,
    ResidualSpectra,
    TensorRatio,
    residual_spectra,
)
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.replay import known_truth
from skysift.experiment.runs import Order
from skysift.experiment.sources import MapSource
from skysift.experiment.text import load, to_text
from skysift.sky.simulate import Truth
from skysift.store.ensemble import write_ensemble
from skysift.store.manifest import Fact, Manifest
from skysift.store.products import read_truth
from skysift.store.run import EXPERIMENT, RATIO, REPORT, SPECTRA, Draft, Run, drafted

if TYPE_CHECKING:
    from skysift.report.ensemble import EnsembleView

KIND = "monte-carlo"
"""Kind of such a run in its manifest."""


def write_ensemble_run(
    experiment: SeparateExperiment, order: Order, mark: Fingerprint, ensemble: Ensemble
) -> None:
    """Make the run of realisations that have been separated.

    Args:
        experiment: what was done.
        order: where the run goes.
        mark: of the experiment.
        ensemble: the separations.

    Raises:
        ValueError: if the run cannot be written.
        OSError: if the disk is full.
    """
    source = MapSource.of(experiment)
    assert source.simulation is not None  # the realisations came from it
    truth = read_truth(source.simulation)
    head = Manifest(KIND, mark.config_hash, order.command, experiment.seed)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        draft.write_text(EXPERIMENT, to_text(experiment))
        draft.stages["separate"] = float(ensemble.seconds.sum())
        with draft.stage("spectra"):
            spectra = residual_spectra(ensemble.residuals)
            ratio = spectra.tensor_ratio()
        order.check()
        draft.summary.update(dict(order.facts) | _summary(experiment, ensemble, ratio))
        with draft.stage("write"):
            write_ensemble(
                draft.directory,
                ensemble,
                spectra.to_dataset(),
                ratio.to_dataset(),
                source.instrument,
                frame=experiment.frame,
            )
        order.check()
        with draft.stage("report"):
            view = _view(experiment, ensemble, spectra, ratio, truth)
            _page(draft, head, view, experiment)


def _summary(
    experiment: SeparateExperiment, ensemble: Ensemble, ratio: TensorRatio
) -> dict[str, Fact]:
    """The result in a few numbers, for tables of runs."""
    left = ensemble.residuals
    numbers: dict[str, Fact] = {
        "model": experiment.model,
        "nside": ensemble.grid.nside,
        "cells": ensemble.grid.size,
        "converged": bool(ensemble.converged.all()) and not ensemble.failures,
        "realisations": len(ensemble),
        "failed": len(ensemble.failures),
        "iterations": float(ensemble.iterations.mean()),
        "objective": float(ensemble.objective.mean()),
        "chi2/dof": float(ensemble.reduced_chi2.mean()),
        "cmb variance": float(ensemble.cmb_variance.mean()),
        "systematic rms": _rms(left.systematic.values),
        "statistical rms": _rms(left.statistical.values),
        "r": float(ratio.r),
        "sigma_minus": float(ratio.sigma_minus),
        "sigma_plus": float(ratio.sigma_plus),
    }
    for name, values in ensemble.parameters.items():
        numbers[f"{name} patches"] = int(values.shape[1])
        numbers[name] = float(ensemble.patches.expand(name, values.mean(axis=0)).mean())
    return numbers


def stored_view(run: Run, sky: Path | None = None) -> EnsembleView:
    """What the page of a stored set shows.

    Args:
        run: of realisations.
        sky: simulated sky to compare with; by default the one of the experiment, if it is there and
            unchanged.

    Raises:
        ValueError: if the run is damaged, or the sky does not hold its cells.
    """
    experiment = load(run.path / EXPERIMENT, SeparateExperiment)
    return _view(
        experiment,
        Ensemble.from_dataset(run.dataset()),
        ResidualSpectra.from_dataset(run.dataset(SPECTRA)),
        TensorRatio.from_dataset(run.dataset(RATIO)),
        known_truth(run, experiment, sky),
    )


def _view(
    experiment: SeparateExperiment,
    ensemble: Ensemble,
    spectra: ResidualSpectra,
    ratio: TensorRatio,
    truth: Truth | None,
) -> EnsembleView:
    from skysift.report.ensemble import EnsembleView  # matplotlib is slow

    known = {} if truth is None else truth.on(ensemble.grid).parameters
    sky = Path(experiment.maps[0]).name
    return EnsembleView(ensemble, spectra, ratio, known, f"{experiment.model} · {sky}")


def _page(draft: Draft, head: Manifest, view: EnsembleView, experiment: SeparateExperiment) -> None:
    from skysift.report.ensemble import write_ensemble_page  # matplotlib is slow
    from skysift.report.sheet import Origin

    write_ensemble_page(
        draft.directory / REPORT,
        view,
        origin=Origin(to_text(experiment), head.command, draft.manifest(head).facts()),
    )


def _rms(values: object) -> float:
    return float(np.sqrt(np.nanmean(np.asarray(values, dtype=float) ** 2)))
