"""What a report shows, taken from a separation or read back from a stored one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from jaxtyping import Float

from skysift.grid import Grid, Ordering
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.report.views import (
    ComponentView,
    HistoryView,
    ParameterView,
    ResidualView,
    StatusView,
)
from skysift.sky import SkyModel
from skysift.sky.simulate import Truth


class SeparationLike(Protocol):
    """The part of a separation that a report needs."""

    instrument: Instrument
    model: SkyModel

    def to_dataset(self) -> xr.Dataset:
        """The result with the names of `ReportData`."""
        ...

    def residuals(self, maps: Maps) -> Maps:
        """Maps minus the fitted model, per channel."""
        ...


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything on a report's page, as plain arrays on the fitted cells.

    A stored separation (`Separation.to_dataset()`, or `result.nc` of a run) has these names:

    - coordinate `cell`: cell numbers (all of the sphere if left out); attributes `nside` (0 for
      cells without a place on the sphere) and `ordering` (`RING` or `NESTED`);
    - for each spectral parameter, say `beta_dust`: `beta_dust` (attribute `units`) and
      `beta_dust_error` over dimension `patch_beta_dust`, and `beta_dust_patch(cell)`;
    - `component_amplitude(component, stokes, cell)` and `component_error`, with coordinates
      `component` (names; attributes `units` and `reference_GHz`, 0 for none) and `stokes`
      (letters);
    - `chi2(cell)` and `dof(cell)`: measurements less amplitudes;
    - `objective(iteration)`, `projected_gradient(iteration)`, `seconds(iteration)` since the start;
    - attributes `converged`, `objective`, `projected_gradient_norm`, `initial_gradient_norm`,
      `iterations`, `message`, `model`, `instrument`, `calibrated` (1 if weights were inverse noise
      variances), and `active_bounds` and `unconstrained`: numbers of patches in the order of the
      parameters.

    Args:
        grid: the fitted cells.
        stokes: the fitted Stokes parameters.
        parameters: in the order of the model.
        components: in the order of the model.
        chi2: sum of squared weighted residuals per cell.
        dof: data minus amplitudes per cell.
        history: of the solver.
        status: of the solver.
        model: what the sky was taken to be, in words.
        instrument: name.
        calibrated: whether the weights were inverse noise variances.
        residuals: if the maps are at hand.
    """

    grid: Grid
    stokes: Stokes
    parameters: tuple[ParameterView, ...]
    components: tuple[ComponentView, ...]
    chi2: Float[np.ndarray, " cell"]
    dof: Float[np.ndarray, " cell"]
    history: HistoryView
    status: StatusView
    model: str
    instrument: str
    calibrated: bool
    residuals: ResidualView | None = None

    @staticmethod
    def of(fit: SeparationLike, maps: Maps | None = None, truth: Truth | None = None) -> ReportData:
        """What a report shows of a separation.

        Args:
            fit: the separation.
            maps: the maps that were fitted, for the residuals.
            truth: the sky that was put in, for the comparison.

        Raises:
            ValueError: if maps or truth lack cells of the fit.
        """
        data = ReportData.from_dataset(fit.to_dataset())
        if maps is not None:
            data = data.with_residuals(fit.residuals(maps), fit.instrument)
        return data if truth is None else data.with_truth(truth, fit.model)

    @staticmethod
    def from_dataset(dataset: xr.Dataset) -> ReportData:
        """What a report shows of a stored separation, without residuals and truth.

        Args:
            dataset: with the names given above.

        Raises:
            ValueError: for a variable or an attribute that is missing.
        """
        attributes = _Attributes(dataset)
        grid = _grid(dataset, attributes)
        amplitude = _variable(dataset, "component_amplitude", ("component", "stokes", "cell"))
        names = [
            str(name).removesuffix("_patch")
            for name in dataset.data_vars
            if str(name).endswith("_patch")
        ]
        counts = [_counts(attributes, key, names) for key in ("active_bounds", "unconstrained")]
        parameters = tuple(
            _parameter(dataset, name, at_bounds, unconstrained)
            for name, at_bounds, unconstrained in zip(names, *counts, strict=True)
        )
        return ReportData(
            grid=grid,
            stokes=Stokes("".join(str(letter) for letter in amplitude["stokes"].values)),
            parameters=parameters,
            components=_components(dataset, amplitude),
            chi2=_variable(dataset, "chi2", ("cell",)).values.astype(float),
            dof=_variable(dataset, "dof", ("cell",)).values.astype(float),
            history=HistoryView(
                *(
                    _variable(dataset, name, ("iteration",)).values.astype(float)
                    for name in ("objective", "projected_gradient", "seconds")
                )
            ),
            status=StatusView(
                converged=bool(int(attributes["converged"])),
                objective=float(attributes["objective"]),
                projected_gradient_norm=float(attributes["projected_gradient_norm"]),
                initial_gradient_norm=float(attributes["initial_gradient_norm"]),
                iterations=int(attributes["iterations"]),
                message=str(attributes["message"]),
            ),
            model=str(attributes["model"]),
            instrument=str(attributes["instrument"]),
            calibrated=bool(int(attributes["calibrated"])),
        )

    def with_residuals(self, residuals: Maps, instrument: Instrument) -> ReportData:
        """The same with the residual maps.

        Args:
            residuals: maps minus the fitted model, one map per channel.
            instrument: whose channels they are.

        Raises:
            ValueError: if the residuals lack cells of the fit or have other channels.
        """
        if residuals.stokes is not self.stokes:
            raise ValueError(
                f"residuals: expected Stokes {self.stokes.value} as fitted, got "
                f"{residuals.stokes.value}."
            )
        values = np.asarray(residuals.on(self.grid).values, dtype=float)
        if values.ndim != 3 or values.shape[0] != len(instrument):
            raise ValueError(
                f"residuals: expected {len(instrument)} channels as {instrument.name} has, got "
                f"shape {values.shape}. Give the instrument of the fit."
            )
        depth = instrument.depth(self.stokes.polarised)
        pixel = math.nan if self.grid.nside is None else self.grid.resolution
        view = ResidualView(instrument.names, instrument.frequencies, values, depth / pixel)
        return dataclasses.replace(self, residuals=view)

    def with_truth(self, truth: Truth, model: SkyModel) -> ReportData:
        """The same with the sky that was put in.

        Args:
            truth: components and parameters on a grid that holds the fitted cells.
            model: of the fit; amplitudes are compared at its reference frequencies.

        Raises:
            ValueError: if the truth lacks cells or Stokes parameters of the fit.
        """
        for maps in truth.components.values():
            if not set(self.stokes.value) <= set(maps.stokes.value):
                raise ValueError(
                    f"truth: expected Stokes {self.stokes.value} as fitted, got "
                    f"{maps.stokes.value}. Give the sky that the maps were made from."
                )
        here = truth.on(self.grid)
        amplitudes = here.at(model)
        components = tuple(
            dataclasses.replace(
                component,
                truth=np.stack(
                    [np.asarray(amplitudes[component.name][s], float) for s in self.stokes.value]
                ),
            )
            if component.name in amplitudes
            else component
            for component in self.components
        )
        parameters = tuple(
            dataclasses.replace(p, truth=np.asarray(here.parameters[p.name], float))
            if p.name in here.parameters
            else p
            for p in self.parameters
        )
        return dataclasses.replace(self, components=components, parameters=parameters)

    @property
    def effective_dof(self) -> Float[np.ndarray, " cell"]:
        """Degrees of freedom per cell after the spectral parameters.

        A patch's parameter uses one degree of freedom, shared by the patch's cells; parameters at a
        bound or without information use none.
        """
        used = np.zeros(self.dof.shape)
        for parameter in self.parameters:
            share = np.isfinite(parameter.errors) / np.maximum(parameter.cells_per_patch, 1)
            used += share[parameter.labels]
        return np.where(self.dof > 0, np.maximum(self.dof - used, 0.0), 0.0)

    @property
    def reduced_chi2(self) -> float:
        """Sum of chi2 over sum of the effective degrees of freedom; NaN if there are none."""
        total = float(self.effective_dof.sum())
        return float(np.nansum(self.chi2)) / total if total > 0 else math.nan

    @property
    def weights_are_noise(self) -> bool:
        """Whether chi2 can be held against its expected distribution.

        It can not with weights that are no inverse variances, nor for maps without noise.
        """
        return self.calibrated and self.reduced_chi2 > 0.1

    @property
    def has_truth(self) -> bool:
        """Whether anything can be compared with an input."""
        return any(view.truth is not None for view in (*self.parameters, *self.components))


class _Attributes:
    """Attributes of a dataset, with an error that says what a result should hold."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._values: Mapping[Any, Any] = dataset.attrs

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(
                f"dataset: expected the attribute {name!r}, got {sorted(map(str, self._values))}. "
                "Write it with Separation.to_dataset()."
            )
        return self._values[name]


def _variable(dataset: xr.Dataset, name: str, dims: tuple[str, ...]) -> xr.DataArray:
    if name not in dataset.variables:
        raise ValueError(
            f"dataset: expected the variable {name!r}, got {sorted(map(str, dataset.variables))}. "
            "Write it with Separation.to_dataset()."
        )
    array = dataset[name]
    if set(array.dims) != set(dims):
        raise ValueError(f"{name}: expected dimensions {dims}, got {array.dims}.")
    return array.transpose(*dims)


def _grid(dataset: xr.Dataset, attributes: _Attributes) -> Grid:
    nside = int(attributes["nside"])
    cells = np.asarray(dataset["cell"].values) if "cell" in dataset.coords else None
    if nside == 0:
        return Grid.unstructured(dataset.sizes["cell"])
    return Grid(nside, Ordering(str(attributes["ordering"])), cells)


def _counts(attributes: _Attributes, key: str, names: list[str]) -> list[int]:
    """A list attribute; NetCDF gives a list of one back as a number."""
    counts = np.atleast_1d(attributes[key]).tolist()
    if len(counts) != len(names):
        raise ValueError(f"{key}: expected a number for each of {names}, got {counts}.")
    return [int(count) for count in counts]


def _parameter(dataset: xr.Dataset, name: str, at_bounds: int, unconstrained: int) -> ParameterView:
    dims = (f"patch_{name}",)
    values = _variable(dataset, name, dims)
    errors = _variable(dataset, f"{name}_error", dims).values.astype(float)
    return ParameterView(
        name=name,
        unit=str(values.attrs.get("units", "")),
        values=values.values.astype(float),
        errors=errors,
        labels=_variable(dataset, f"{name}_patch", ("cell",)).values.astype(np.int64),
        at_bounds=at_bounds,
        unconstrained=unconstrained,
    )


def _components(dataset: xr.Dataset, amplitude: xr.DataArray) -> tuple[ComponentView, ...]:
    errors = _variable(dataset, "component_error", ("component", "stokes", "cell"))
    names = [str(name) for name in amplitude["component"].values]
    attributes = amplitude["component"].attrs
    references = np.atleast_1d(attributes.get("reference_GHz", [0.0] * len(names)))
    units = np.atleast_1d(attributes.get("units", ["uK_CMB"] * len(names)))
    return tuple(
        ComponentView(
            name=name,
            unit=str(units[i]),
            reference=float(references[i]) if references[i] > 0 else None,
            values=amplitude.values[i].astype(float),
            errors=errors.values[i].astype(float),
        )
        for i, name in enumerate(names)
    )
