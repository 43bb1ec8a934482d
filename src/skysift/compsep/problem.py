"""A separation as a numerical problem: objective, start and bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.compsep.kernel import Kernel
from skysift.compsep.likelihood import Likelihood, Stream
from skysift.compsep.newton import SolverOptions
from skysift.compsep.prepare import Measurements, check_independent, match
from skysift.compsep.structure import Structure
from skysift.compsep.weights import AbstractNoise, InstrumentDepth
from skysift.instrument import Instrument
from skysift.maps import Maps, unseen_to_nan
from skysift.patches import Patches
from skysift.sky.model import SkyModel


@dataclass(frozen=True)
class GaussianPrior:
    """Gaussian prior on a spectral parameter, the same in every patch.

    Args:
        mean: centre.
        sigma: standard deviation, larger than zero.
    """

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(
                f"prior: expected a finite mean and a positive sigma, got {self}. Leave the prior "
                "out for none."
            )


@dataclass(frozen=True)
class Problem:
    """What is minimised, and what its numbers mean.

    Args:
        likelihood: the objective.
        start: first value of every patch parameter.
        low: lower bounds.
        high: upper bounds.
        maps: on the cells that are fitted.
        patches: of all free parameters, on the same cells.
        model: the components.
        measurements: data and weights.
        options: when to stop.
        coarse: the same maps in larger patches (`skysift.compsep.variants.with_centres`). Priors of
            parameters that have none in it are centred on its fit.
    """

    likelihood: Likelihood
    start: Float[np.ndarray, " parameter"]
    low: Float[np.ndarray, " parameter"]
    high: Float[np.ndarray, " parameter"]
    maps: Maps
    patches: Patches
    model: SkyModel
    measurements: Measurements
    options: SolverOptions
    coarse: Problem | None = None

    def with_maps(self, maps: Maps) -> Problem:
        """The same problem for other maps: another realisation, or one part of the sky alone.

        Weights, patches, bounds and start stay as they are, and so does all that follows from them.

        Args:
            maps: that hold the channels (by name where they have names) and cells of this problem,
                of the same Stokes parameters [uK_CMB].

        Raises:
            ValueError: for maps of other channels, cells, Stokes parameters or unit, or that miss
                values where this problem has weights.
        """
        measurements = self.measurements
        names, given = measurements.instrument.names, maps.channels
        shape = np.shape(maps.values)
        same = (maps.stokes, maps.unit) == (self.maps.stokes, self.maps.unit) and len(shape) == 3
        if not same or not (set(names) <= set(given) if given else shape[0] == len(names)):
            raise ValueError(
                f"maps: expected {self.maps.stokes.value} in {self.maps.unit.value} of the "
                f"{len(names)} channels {', '.join(names)}, got {maps.stokes.value} in "
                f"{maps.unit.value} of shape {shape}{', channels ' if given else ''}"
                f"{', '.join(given)}. Pose another problem for them."
            )
        maps = maps.reordered(self.maps.grid.ordering).on(self.maps.grid)
        values = np.asarray(maps.values)
        if given and given != names:
            values = values[[given.index(name) for name in names]]
        data = unseen_to_nan(values)
        missing = np.isnan(data)
        if missing.any():
            if np.any(missing & (measurements.weights > 0)):
                raise ValueError(
                    "maps: expected values wherever the problem has weights, got missing ones. "
                    "Pose another problem, with these maps."
                )
            data = np.where(missing, 0.0, data)
        return dataclasses.replace(
            self,
            likelihood=dataclasses.replace(self.likelihood, data=data),
            maps=maps.replace(values, channels=names),
            measurements=dataclasses.replace(measurements, data=data),
            coarse=None if self.coarse is None else self.coarse.with_maps(maps),
        )

    def held(self, theta: Float[np.ndarray, " parameter"]) -> Problem:
        """The problem with its spectral parameters held: what remains is linear in the maps.

        Args:
            theta: value of every patch parameter, for instance `Separation.theta`.
        """
        structure = self.likelihood.structure
        names = [parameter.name for parameter in self.model.free]
        cells = dict(zip(names, theta[structure.index], strict=True))
        fixed = self.measurements.fixed | cells
        model = SkyModel(
            self.model.components,
            {**self.model.fixed, **{name: jnp.asarray(value) for name, value in cells.items()}},
        )
        none = np.zeros(0)
        likelihood = dataclasses.replace(
            self.likelihood,
            kernel=Kernel.of(model, self.measurements.instrument),
            fixed=fixed,
            structure=Structure.of(np.zeros((0, self.maps.grid.size), np.intp), ()),
            prior_mean=none,
            prior_precision=none,
        )
        return dataclasses.replace(
            self,
            likelihood=likelihood,
            start=none,
            low=none,
            high=none,
            patches=Patches({}, self.maps.grid),
            model=model,
            measurements=dataclasses.replace(self.measurements, fixed=fixed),
            coarse=None,
        )


def pose(
    maps: Maps,
    instrument: Instrument | str | Path,
    model: SkyModel | str = "c+d+s",
    patches: Patches | None = None,
    *,
    noise: AbstractNoise | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float | Float[np.ndarray, " patch"]] | None = None,
    priors: Mapping[str, GaussianPrior] | None = None,
    options: SolverOptions | None = None,
) -> Problem:
    """Check the inputs of a separation and make a problem of them; arguments as `separate`.

    Raises:
        ValueError: as `separate`.
    """
    model = SkyModel.parse(model) if isinstance(model, str) else model
    maps, patches, measurements = match(
        maps, Instrument.of(instrument), model, patches, noise or InstrumentDepth()
    )
    names = tuple(parameter.name for parameter in model.free)
    labels = np.zeros((0, maps.grid.size), np.intp)
    if names:
        labels = np.stack([patches.labels[name] for name in names])
    structure = Structure.of(labels, tuple(patches.counts[name] for name in names))
    theta, low, high = _box(model, structure, start or {}, bounds or {})
    mean, precision = _prior(model, structure, priors or {})
    likelihood = Likelihood(
        Kernel.of(model, measurements.instrument),
        measurements.data,
        measurements.weights,
        measurements.fixed,
        structure,
        mean,
        precision,
        Stream.default(),
    )
    check_independent(likelihood.kernel, model, measurements, theta, structure)
    # What is fixed per cell stands in the result on the cells that are fitted.
    fixed = {n: jnp.asarray(v if v.size > 1 else v[0]) for n, v in measurements.fixed.items()}
    model = SkyModel(model.components, fixed)
    return Problem(
        likelihood,
        theta,
        low,
        high,
        maps,
        patches,
        model,
        measurements,
        options or SolverOptions(),
    )


def _box(
    model: SkyModel,
    structure: Structure,
    start: Mapping[str, float | np.ndarray],
    bounds: Mapping[str, tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, lower and upper bound of every patch parameter."""
    _check_names("start", start, model)
    _check_names("bounds", bounds, model)
    theta, low, high = [], [], []
    for parameter, count in zip(model.free, structure.counts, strict=True):
        bottom, top = bounds.get(parameter.name, parameter.bounds)
        if not bottom < top or math.isnan(bottom) or math.isnan(top):
            raise ValueError(
                f"bounds[{parameter.name!r}]: expected (low, high) with low < high, got "
                f"{(bottom, top)}."
            )
        value = np.asarray(
            start.get(parameter.name, np.clip(parameter.default, bottom, top)), float
        )
        if value.shape not in ((), (count,)):
            raise ValueError(
                f"start[{parameter.name!r}]: expected a number or {count} values, one per patch, "
                "got "
                f"shape {value.shape}."
            )
        if not np.all(np.isfinite(value)) or np.any(value < bottom) or np.any(value > top):
            raise ValueError(
                f"start[{parameter.name!r}]: expected finite values from {bottom} to {top}, got "
                "some "
                "outside. Change start or bounds."
            )
        theta.append(np.broadcast_to(value, count))
        low.append(np.full(count, float(bottom)))
        high.append(np.full(count, float(top)))
    empty = [np.zeros(0)]
    return np.concatenate(theta + empty), np.concatenate(low + empty), np.concatenate(high + empty)


def _prior(
    model: SkyModel, structure: Structure, priors: Mapping[str, GaussianPrior]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and precision of every patch parameter's prior, zero precision for none."""
    _check_names("priors", priors, model)
    mean, precision = [np.zeros(0)], [np.zeros(0)]
    for parameter, count in zip(model.free, structure.counts, strict=True):
        prior = priors.get(parameter.name)
        mean.append(np.full(count, prior.mean if prior else 0.0))
        precision.append(np.full(count, prior.sigma**-2 if prior else 0.0))
    return np.concatenate(mean), np.concatenate(precision)


def _check_names(argument: str, given: Mapping[str, object], model: SkyModel) -> None:
    names = [parameter.name for parameter in model.free]
    unknown = set(given) - set(names)
    if unknown:
        raise ValueError(
            f"{argument}: expected free parameters of the model ({', '.join(names)}), got "
            f"{sorted(unknown)[0]!r}."
        )
