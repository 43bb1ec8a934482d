"""The files of a set of realisations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from skysift.cosmology import Ensemble
from skysift.instrument import Instrument
from skysift.store.dataset import write_dataset
from skysift.store.fits import Column, Frame, write_columns, write_mask
from skysift.store.instrument_file import instrument_yaml
from skysift.store.run import INSTRUMENT, MAPS, MASK, RATIO, RESULT, SPECTRA


def write_ensemble(
    folder: Path,
    ensemble: Ensemble,
    spectra: xr.Dataset,
    ratio: xr.Dataset,
    instrument: Instrument,
    *,
    frame: Frame = Frame.GALACTIC,
) -> None:
    """Write a set: `result.nc`, `spectra.nc`, `r.nc`, `mask.fits`, `instrument.yaml` and maps.

    In `maps/`: `<parameter>.fits` (mean and scatter over the realisations, patch) and
    `residuals.fits` (systematic residual, and rms of the statistical one).

    Args:
        folder: of the run.
        ensemble: the separations.
        spectra: of the residuals.
        ratio: what they do to r.
        instrument: that observed.
        frame: coordinates of the maps.

    Raises:
        OSError: if the disk is full.
    """
    grid = ensemble.grid
    for name, dataset in ((RESULT, ensemble.to_dataset()), (SPECTRA, spectra), (RATIO, ratio)):
        write_dataset(folder / name, dataset)
    write_mask(folder / MASK, grid, frame=frame)
    (folder / INSTRUMENT).write_text(instrument_yaml(instrument), encoding="utf-8")
    for name, values in ensemble.parameters.items():
        labels = ensemble.patches.labels[name]
        columns = {
            name.upper(): Column(values.mean(axis=0)[labels]),
            f"{name.upper()}_SCATTER": Column(values.std(axis=0)[labels]),
            "PATCH": Column(labels.astype(float)),
        }
        write_columns(folder / MAPS / f"{name}.fits", columns, grid, frame=frame)
    left = ensemble.residuals
    unit = left.systematic.unit.value
    scatter = np.sqrt(np.mean(np.asarray(left.statistical.values) ** 2, axis=0))
    columns = {}
    for i, letter in enumerate(left.systematic.stokes.value):
        columns[f"{letter}_SYSTEMATIC"] = Column(np.asarray(left.systematic.values)[i], unit)
        columns[f"{letter}_STATISTICAL"] = Column(scatter[i], unit)
    write_columns(folder / MAPS / "residuals.fits", columns, grid, frame=frame)
