"""The files of a run: what a simulation and a separation leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from skysift.grid import Grid, Ordering
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.patches import Patches
from skysift.sky.cmb import CMB
from skysift.sky.model import SkyModel
from skysift.sky.presets import SkyTag
from skysift.sky.simulate import Simulation, Truth
from skysift.store.channels import safe_name, write_channels
from skysift.store.dataset import write_dataset
from skysift.store.fits import Column, Frame, Precision, write_columns, write_map, write_mask
from skysift.store.instrument_file import instrument_yaml
from skysift.store.run import INSTRUMENT, MAPS, MASK, RESULT, TRUTH, Run

RESIDUALS = f"{MAPS}/residuals.fits"


class SeparationLike(Protocol):
    """The part of a separation that its files are made from."""

    parameters: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    components: dict[str, Maps]
    component_errors: dict[str, Maps]
    chi2: Float[np.ndarray, " cell"]
    dof: Float[np.ndarray, " cell"]
    patches: Patches
    model: SkyModel
    instrument: Instrument

    @property
    def grid(self) -> Grid:
        """Fitted cells."""
        ...

    def to_dataset(self) -> xr.Dataset:
        """Everything as named arrays."""
        ...

    def residuals(self, maps: Maps) -> Maps:
        """Maps minus the fitted model."""
        ...


def write_simulation(folder: Path, simulation: Simulation, precision: Precision) -> None:
    """Write a simulated sky: `maps/<channel>.fits`, `truth.nc` and `instrument.yaml`.

    Args:
        folder: of the run.
        simulation: the sky.
        precision: of the maps; the truth is always in double precision.

    Raises:
        OSError: if the disk is full.
    """
    write_channels(folder / MAPS, simulation.maps, precision=precision)
    (folder / INSTRUMENT).write_text(instrument_yaml(simulation.instrument), encoding="utf-8")
    if simulation.truth.components:
        write_dataset(folder / TRUTH, truth_dataset(simulation.truth, simulation.sky))


def truth_dataset(truth: Truth, sky: str) -> xr.Dataset:
    """The truth of a simulated sky as named arrays.

    Args:
        truth: components and spectral parameters.
        sky: tag, by which the emission laws are found again.
    """
    maps = list(truth.components.values())
    grid, stokes = maps[0].grid, maps[0].stokes
    arrays: dict[str, xr.DataArray] = {
        "amplitude": xr.DataArray(
            np.stack([np.asarray(one.values) for one in maps]),
            dims=("component", "stokes", "cell"),
            attrs={"unit": maps[0].unit.value, "long_name": "amplitude at the reference frequency"},
        )
    }
    for name, values in truth.parameters.items():
        arrays[name] = xr.DataArray(np.asarray(values), dims=("cell",))
    coordinates = {
        "component": list(truth.components),
        "stokes": list(stokes.value),
        "cell": ("cell", grid.index),
    }
    attributes = {"sky": sky, "nside": grid.require_nside(), "ordering": grid.ordering.value}
    return xr.Dataset(arrays, coordinates, attributes)


def read_truth(run: Run) -> Truth | None:
    """The truth of a simulated sky, or `None` if the run has none.

    Args:
        run: of kind `simulate`.

    Raises:
        ValueError: if `truth.nc` is damaged.
    """
    if not (run.path / TRUTH).is_file():
        return None
    dataset = run.dataset(TRUTH)
    tag = SkyTag.parse(str(dataset.attrs["sky"]))
    laws = [foreground.law for foreground in tag.foregrounds]
    if tag.tensor_to_scalar is not None:
        laws.insert(0, CMB())
    cells = np.asarray(dataset["cell"].values)
    grid = Grid(int(dataset.attrs["nside"]), Ordering(dataset.attrs["ordering"]), cells)
    stokes = Stokes("".join(str(letter) for letter in dataset["stokes"].values))
    amplitude = dataset["amplitude"]
    components = {
        law.name: Maps(amplitude.sel(component=law.name).values, grid, stokes) for law in laws
    }
    names = [parameter.name for law in laws for parameter in law.parameters]
    return Truth(tuple(laws), components, {name: dataset[name].values for name in names})


def write_separation(
    folder: Path, fit: SeparationLike, maps: Maps, *, frame: Frame = Frame.GALACTIC
) -> None:
    """Write a separation: `result.nc`, `mask.fits`, `instrument.yaml` and the maps.

    In `maps/`: `<parameter>.fits` (value, error, patch), `<component>.fits` (amplitudes, errors),
    `chi2.fits` (chi2 and degrees of freedom) and `residuals.fits` (one table per channel).

    Args:
        folder: of the run.
        fit: the separation.
        maps: that were fitted.
        frame: coordinates of the maps.

    Raises:
        OSError: if the disk is full.
    """
    grid = fit.grid
    write_dataset(folder / RESULT, fit.to_dataset())
    write_mask(folder / MASK, grid, frame=frame)
    (folder / INSTRUMENT).write_text(instrument_yaml(fit.instrument), encoding="utf-8")
    units = {parameter.name: parameter.unit for parameter in fit.model.parameters}
    for name, values in fit.parameters.items():
        labels, errors = fit.patches.labels[name], np.asarray(fit.errors[name])
        columns = parameter_columns(name, np.asarray(values), errors, labels, units[name])
        write_columns(folder / MAPS / f"{name}.fits", columns, grid, frame=frame)
    for name, amplitude in fit.components.items():
        columns = component_columns(amplitude, fit.component_errors[name])
        file = folder / MAPS / f"{safe_name(name)}.fits"
        write_columns(file, columns, grid, frame=frame)
    chi2 = {"CHI2": Column(np.asarray(fit.chi2)), "DOF": Column(np.asarray(fit.dof))}
    write_columns(folder / MAPS / "chi2.fits", chi2, grid, frame=frame)
    residuals = fit.residuals(maps)
    write_map(folder / RESIDUALS, residuals, frame=frame, precision=Precision.SINGLE)


def parameter_columns(
    name: str,
    values: Float[np.ndarray, " patch"],
    errors: Float[np.ndarray, " patch"],
    labels: Int[np.ndarray, " cell"],
    unit: str,
) -> dict[str, Column]:
    """Value, error and patch of each cell as columns of a table."""
    title = name.upper()
    return {
        title: Column(values[labels], unit),
        f"{title}_ERROR": Column(errors[labels], unit),
        "PATCH": Column(labels.astype(float)),
    }


def component_columns(amplitude: Maps, error: Maps) -> dict[str, Column]:
    """Amplitudes and their standard deviations as columns of a table."""
    unit, letters = amplitude.unit.value, amplitude.stokes.value
    values = dict(zip(letters, np.asarray(amplitude.values), strict=True))
    errors = dict(zip(letters, np.asarray(error.values), strict=True))
    return {f"{letter}_STOKES": Column(values[letter], unit) for letter in letters} | {
        f"{letter}_ERROR": Column(errors[letter], unit) for letter in letters
    }
