"""What a separation gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.compsep.newton import Iteration
from skysift.compsep.structure import SymmetricMatrix
from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps
from skysift.patches import Patches
from skysift.sky.model import SkyModel, band_spectrum
from skysift.units import Unit

if TYPE_CHECKING:
    import xarray as xr

    from skysift.compsep.problem import Problem

_CHUNK = 1 << 16
_LARGEST_COVARIANCE = 20_000


@dataclass(frozen=True)
class Status:
    """How a fit ended.

    Args:
        converged: every block of parameters is at a stationary point.
        message: in words, with what to do if not.
        iterations: Newton steps taken.
        projected_gradient_norm: Euclidean norm of the gradient without what pushes against bounds.
        initial_gradient_norm: the same at the start.
        active_bounds: number of patches at a bound, per parameter.
        unconstrained: number of patches that the data say nothing about, per parameter: no
            emission to measure it by, or (with calibrated weights) a marginal error of at least
            the bounds' width over sqrt(12), the scatter of a uniform guess.
    """

    converged: bool
    message: str
    iterations: int
    projected_gradient_norm: float
    initial_gradient_norm: float
    active_bounds: dict[str, int]
    unconstrained: dict[str, int]


class Separation(eqx.Module):
    """Components and spectral parameters of a sky, with their uncertainties.

    Args:
        parameters: value in each patch, per spectral parameter.
        errors: marginal standard deviation of each, from the Hessian; NaN at a bound and where the
            data say nothing. They are errors if the weights are inverse noise variances.
        components: amplitude maps (stokes, cell), in uK_CMB at the component's reference frequency
            (1e-6 of y for thermal SZ); NaN where too few channels were observed.
        component_errors: their standard deviation, noise and spectral parameters together.
        covariance: of the amplitudes in a cell for given spectral parameters.
        chi2: weighted squared residual of each cell.
        dof: number of measurements less number of amplitudes, per cell; spectral parameters not
            subtracted.
        objective: half the sum of squared weighted residuals, plus half the squared pull of priors.
        status: how the fit ended.
        history: state after every iteration.
        patches: of the free parameters.
        model: the components.
        instrument: the channels.
        information: Hessian of the objective at the solution.
        free: which patch parameters are neither at a bound nor without information.
        calibrated: whether the weights are inverse noise variances; errors and chi squared mean
            nothing by themselves if they are not.
        problem: what was solved, to solve it again for other maps.
    """

    parameters: dict[str, Float[np.ndarray, " patch"]]
    errors: dict[str, Float[np.ndarray, " patch"]]
    components: dict[str, Maps]
    component_errors: dict[str, Maps]
    covariance: Float[np.ndarray, "component component stokes cell"]
    chi2: Float[np.ndarray, " cell"]
    dof: Float[np.ndarray, " cell"]
    objective: float
    status: Status
    history: tuple[Iteration, ...]
    patches: Patches
    model: SkyModel
    instrument: Instrument
    information: SymmetricMatrix
    free: np.ndarray
    calibrated: bool
    problem: Problem = eqx.field(static=True)

    @property
    def theta(self) -> Float[np.ndarray, " parameter"]:
        """All patch parameters in one vector, as `Problem` and `solve` take them."""
        return np.concatenate([*self.parameters.values(), np.zeros(0)])

    @property
    def grid(self) -> Grid:
        """The cells that were fitted."""
        return self.patches.grid

    @property
    def reduced_chi2(self) -> float:
        """Chi squared per degree of freedom, spectral parameters counted; NaN if none is left."""
        dof = float(np.nansum(self.dof) - np.sum(self.free))
        return float(np.nansum(self.chi2)) / dof if dof > 0 else math.nan

    def parameter_map(self, name: str) -> Float[np.ndarray, " npix"]:
        """Value of a spectral parameter in each cell: full sky, UNSEEN outside, maps' ordering.

        Raises:
            ValueError: if it was not fitted.
        """
        return self.grid.full(self.patches.expand(name, self.parameters[self._fitted(name)]))

    def error_map(self, name: str) -> Float[np.ndarray, " npix"]:
        """Error of a spectral parameter in each cell, as `parameter_map`; NaN where there is none.

        Raises:
            ValueError: if it was not fitted.
        """
        return self.grid.full(self.patches.expand(name, self.errors[self._fitted(name)]))

    def _fitted(self, name: str) -> str:
        if name not in self.parameters:
            raise ValueError(f"name: expected one of {list(self.parameters)}, got {name!r}.")
        return name

    def patch_covariance(self) -> Float[np.ndarray, "parameter parameter"]:
        """Covariance of all patch parameters, in the order of `parameters`; NaN where not free.

        Raises:
            ValueError: if the matrix would have more than 20 000 rows.
        """
        size = self.free.size
        if size > _LARGEST_COVARIANCE:
            raise ValueError(
                f"patch_covariance: expected at most {_LARGEST_COVARIANCE} patch parameters, got "
                f"{size} "
                f"({8e-9 * size**2:.0f} GB). Use the marginal `errors`."
            )
        structure = self.information.structure
        dense = np.diag(self.information.diagonal)
        dense[structure.rows, structure.columns] = self.information.off
        dense[structure.columns, structure.rows] = self.information.off
        inside = np.flatnonzero(self.free)
        out = np.full((size, size), np.nan)
        out[np.ix_(inside, inside)] = np.linalg.inv(dense[np.ix_(inside, inside)])
        return out

    def predicted(self) -> Maps:
        """Emission of the fitted model in each channel [uK_CMB]."""
        first = next(iter(self.components.values()))
        values = np.empty((len(self.instrument), *np.shape(first.values)))
        known = {name: self.patches.expand(name, value) for name, value in self.parameters.items()}
        known |= {name: np.asarray(value) for name, value in self.model.fixed.items()}
        for start in range(0, self.grid.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            total = 0.0
            for component in self.model.components:
                mine = {
                    p.name: jnp.asarray(
                        known[p.name][part] if np.ndim(known[p.name]) else known[p.name]
                    )
                    for p in component.parameters
                }
                column = np.asarray(band_spectrum(component, self.instrument, mine))
                total = total + column[:, None, :] * self.components[component.name].values[:, part]
            values[..., part] = total
        return first.replace(values, unit=Unit.UK_CMB, channels=self.instrument.names)

    def residuals(self, maps: Maps) -> Maps:
        """What the model leaves of maps that hold the fitted cells [uK_CMB].

        Args:
            maps: of the fitted channels, matched by name where they have names.

        Raises:
            ValueError: for other channels or cells.
        """
        names = self.instrument.names
        if np.shape(maps.values)[0] != len(names):
            raise ValueError(
                f"maps: expected the {len(names)} channels of the fit ({', '.join(names)}), got "
                f"{np.shape(maps.values)[0]}. Give the maps that were separated."
            )
        named = set(maps.channels) == set(names)
        order = [maps.channels.index(name) for name in names] if named else slice(None)
        maps = maps.reordered(self.grid.ordering).on(self.grid)
        return maps.replace(
            np.asarray(maps.values)[order] - self.predicted().values, channels=names
        )

    def to_dataset(self) -> xr.Dataset:
        """All numbers with named axes and units, ready for NetCDF."""
        import xarray as xr  # a fifth of a second that nothing else needs

        stokes = next(iter(self.components.values())).stokes
        data = xr.Dataset(
            coords={
                "cell": self.grid.index,
                "component": list(self.model.names),
                "stokes": list(stokes.value),
            }
        )
        units = {p.name: p.unit for p in self.model.free}
        for name, values in self.parameters.items():
            axis = f"patch_{name}"
            data[name] = (axis, values, {"units": units[name]})
            data[f"{name}_error"] = (axis, self.errors[name], {"units": units[name]})
            data[f"{name}_patch"] = ("cell", np.asarray(self.patches.labels[name], np.int32))
        axes = ("component", "stokes", "cell")
        data["component"].attrs["units"] = [m.unit.value for m in self.components.values()]
        data["component"].attrs["reference_GHz"] = [
            c.reference or 0.0 for c in self.model.components
        ]
        data["component_amplitude"] = (
            axes,
            np.stack([m.values for m in self.components.values()]),
        )
        data["component_error"] = (
            axes,
            np.stack([m.values for m in self.component_errors.values()]),
        )
        data["chi2"] = ("cell", self.chi2)
        data["dof"] = ("cell", self.dof)
        for field in ("objective", "projected_gradient", "seconds"):
            data[field] = ("iteration", np.array([getattr(state, field) for state in self.history]))
        data.attrs = {
            "nside": self.grid.nside or 0,
            "ordering": self.grid.ordering.value,
            "converged": int(self.status.converged),
            "message": self.status.message,
            "iterations": self.status.iterations,
            "projected_gradient_norm": self.status.projected_gradient_norm,
            "initial_gradient_norm": self.status.initial_gradient_norm,
            "objective": self.objective,
            "reduced_chi2": self.reduced_chi2,
            "model": "+".join(self.model.names),
            "instrument": self.instrument.name,
            "calibrated": int(self.calibrated),
            "channels": list(self.instrument.names),
            "frequency_GHz": list(self.instrument.frequencies),
            "active_bounds": [self.status.active_bounds[name] for name in self.parameters],
            "unconstrained": [self.status.unconstrained[name] for name in self.parameters],
        }
        return data
