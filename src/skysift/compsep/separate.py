"""Parametric component separation: maps in, components and spectral parameters out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from skysift.compsep.kernel import Kernel
from skysift.compsep.likelihood import Likelihood, Stream
from skysift.compsep.linear import AbstractSystem
from skysift.compsep.newton import Iteration, Solution, SolverOptions, minimise
from skysift.compsep.prepare import Measurements, check_independent, match
from skysift.compsep.result import Separation, Status
from skysift.compsep.structure import Structure, SymmetricMatrix
from skysift.compsep.systems import system
from skysift.compsep.weights import AbstractNoise, InstrumentDepth, InverseVariance, UnitWeights
from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes, unseen_to_nan
from skysift.patches import Patches
from skysift.sky.model import SkyModel

Progress = Callable[[Iteration], None]


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
            raise ValueError(f"prior: expected a finite mean and a positive sigma, got {self}.")


def separate(
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
    progress: Progress | None = None,
) -> Separation:
    """Separate the components of multi-frequency maps.

    Finds the spectral parameters, one value per patch, that minimise the chi squared of the maps
    after the amplitudes have been fitted in every cell, for all Stokes parameters of the maps
    together.

    Args:
        maps: `(channel, stokes, cell)` in uK_CMB; NaN or UNSEEN where a channel was not observed.
        instrument: its channels, by object, packaged name or YAML file.
        model: the components, or letters such as `c+d+s` (see `SkyModel.parse`).
        patches: of the spectral parameters; one value for all cells where a parameter is left out.
        noise: the weights, by default those of the instrument's depth.
        bounds: `{name: (low, high)}`, by default those of the component.
        start: `{name: value or one per patch}`, by default the component's.
        priors: `{name: GaussianPrior}`, none by default.
        options: when to stop.
        progress: called after every iteration.

    Returns:
        The separation. `status.converged` says whether to trust it.

    Raises:
        ValueError: for maps, patches, bounds or starts that do not fit each other, and for
            components that the channels cannot tell apart. The message names the argument and the
            remedy.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", instrument="LiteBIRD", nside=4, noise_ratio=0.0, seed=0)
        >>> fit = ss.separate(sim.maps, "LiteBIRD")
        >>> round(float(fit.parameters["beta_dust"][0]), 6)
        1.54

    References:
        Stompor, Leach, Stivoli & Baccigalupi 2009, MNRAS 392, 216; Errard & Stompor 2019, PRD 99,
        043529 (patches).
    """
    model = SkyModel.parse(model) if isinstance(model, str) else model
    options = options or SolverOptions()
    maps, patches, measurements = match(
        maps, Instrument.of(instrument), model, patches, noise or InstrumentDepth()
    )
    names = tuple(parameter.name for parameter in model.free)
    structure = Structure.of(
        np.stack([patches.labels[name] for name in names])
        if names
        else np.zeros((0, maps.grid.size), np.intp),
        tuple(patches.counts[name] for name in names),
    )
    theta, low, high = _box(model, structure, start or {}, bounds or {})
    mean, precision = _prior(model, structure, priors or {})
    kernel = Kernel.of(model, measurements.instrument)
    likelihood = Likelihood(
        kernel,
        measurements.data,
        measurements.weights,
        measurements.fixed,
        structure,
        mean,
        precision,
        Stream.default(),
    )
    check_independent(kernel, model, measurements, theta, structure)
    solver = system(structure, options.memory)
    solution = minimise(likelihood, solver, theta, low, high, options, progress)
    inverse = _covariance(solver, solution, options)
    return _result(likelihood, solution, inverse, maps, patches, model, measurements, low, high)


def separate_arrays(
    data: Float[np.ndarray, "channel stokes cell"],
    frequencies: Float[np.ndarray, " channel"],
    weights: Float[np.ndarray, "..."] | None = None,
    *,
    labels: Mapping[str, Int[np.ndarray, " cell"]] | None = None,
    model: SkyModel | str = "c+d+s",
    dust_nu0: float = 160.0,
    synchrotron_nu0: float = 20.0,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float | Float[np.ndarray, " patch"]] | None = None,
    priors: Mapping[str, GaussianPrior] | None = None,
    options: SolverOptions | None = None,
    progress: Progress | None = None,
) -> Separation:
    """Separate plain arrays, which need not be HEALPix maps.

    Args:
        data: Q, U or I, Q, U of each channel and cell [uK_CMB]; NaN or UNSEEN where not observed.
        frequencies: of the channels [GHz].
        weights: inverse variances, `(channel,)` or `(channel, stokes, cell)`; ones by default.
        labels: patch of each cell per spectral parameter, contiguous from zero; one patch by
            default.
        model: components or letters.
        dust_nu0: reference frequency of dust [GHz], for a model given as letters.
        synchrotron_nu0: reference frequency of synchrotron [GHz], likewise.
        bounds: as in `separate`.
        start: as in `separate`.
        priors: as in `separate`.
        options: as in `separate`.
        progress: as in `separate`.

    Returns:
        A separation whose maps are on an unstructured grid.

    Raises:
        ValueError: as `separate`.

    Examples:
        >>> data = np.random.default_rng(0).normal(size=(4, 2, 10))
        >>> fit = separate_arrays(data, [30.0, 100.0, 150.0, 353.0], model="c+s")
        >>> fit.components["cmb"].values.shape
        (2, 10)
    """
    data = np.asarray(data, dtype=float)
    by_count = {1: Stokes.I, 2: Stokes.QU, 3: Stokes.IQU}
    if data.ndim != 3 or data.shape[1] not in by_count:
        raise ValueError(
            f"data: expected shape (channel, 2 or 3 Stokes parameters, cell), got {data.shape}."
        )
    if isinstance(model, str):
        model = SkyModel.parse(model, dust_nu0=dust_nu0, synchrotron_nu0=synchrotron_nu0)
    grid = Grid.unstructured(data.shape[-1])
    return separate(
        Maps(unseen_to_nan(data), grid, by_count[data.shape[1]]),
        Instrument.of_frequencies([float(frequency) for frequency in np.asarray(frequencies)]),
        model,
        Patches.from_labels(grid, **(labels or {})),
        noise=UnitWeights() if weights is None else InverseVariance(np.asarray(weights)),
        bounds=bounds,
        start=start,
        priors=priors,
        options=options,
        progress=progress,
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


def _covariance(
    solver: AbstractSystem, solution: Solution, options: SolverOptions
) -> SymmetricMatrix | None:
    """Inverse of the Hessian where it is positive, of the Gauss-Newton matrix in other blocks."""
    structure = solution.evaluation.hessian.structure
    if not options.errors or structure.size == 0:
        return None
    inverse = solver.inverse_entries(solution.evaluation.hessian, solution.free)
    missing = np.isnan(inverse.diagonal) & solution.free
    if not missing.any():
        return inverse
    blocks = structure.per_block(missing.astype(float)) > 0
    other = solver.inverse_entries(
        solution.evaluation.gauss_newton, solution.free & blocks[structure.block]
    )
    return other.where(blocks, inverse)


def _result(
    likelihood: Likelihood,
    solution: Solution,
    inverse: SymmetricMatrix | None,
    maps: Maps,
    patches: Patches,
    model: SkyModel,
    measurements: Measurements,
    low: np.ndarray,
    high: np.ndarray,
) -> Separation:
    """Amplitudes at the solution, and everything put together."""
    structure = likelihood.structure
    shape = (len(model.components), len(maps.stokes), maps.grid.size)
    amplitude, error = np.empty(shape), np.empty(shape)
    covariance = np.empty((shape[0], shape[0], likelihood.weights.shape[1], shape[2]))
    chi2 = np.empty(shape[2])
    for part, cells in likelihood.amplitudes(solution.theta):
        amplitude[..., part] = cells.amplitudes
        covariance[..., part] = cells.covariance
        chi2[part] = cells.chi2
        variance = np.einsum("iisp->isp", cells.covariance) + np.zeros(cells.amplitudes.shape)
        if inverse is not None:
            variance += _spectral_variance(structure, inverse, np.asarray(cells.derivative), part)
        error[..., part] = np.sqrt(variance)
    unused = ~measurements.used
    amplitude[:, unused] = np.nan
    error[:, unused] = np.nan
    empty = unused.all(axis=0)
    chi2[empty] = np.nan
    sigma = np.full(structure.size, np.nan) if inverse is None else np.sqrt(inverse.diagonal)
    sigma = np.where(solution.free, sigma, np.nan)
    names = [parameter.name for parameter in model.free]
    return Separation(
        parameters=dict(zip(names, structure.split(solution.theta), strict=True)),
        errors=dict(zip(names, structure.split(sigma), strict=True)),
        components={
            n: maps.replace(a, channels=()) for n, a in zip(model.names, amplitude, strict=True)
        },
        component_errors={
            n: maps.replace(e, channels=()) for n, e in zip(model.names, error, strict=True)
        },
        covariance=covariance,
        chi2=chi2,
        dof=np.where(empty, np.nan, measurements.dof.astype(float)),
        objective=float(np.sum(solution.evaluation.objective)),
        status=_status(structure, solution, sigma, names, low, high),
        history=solution.history,
        patches=patches,
        model=model,
        instrument=measurements.instrument,
        information=solution.evaluation.hessian,
        free=solution.free,
    )


def _spectral_variance(
    structure: Structure,
    inverse: SymmetricMatrix,
    derivative: Float[np.ndarray, "component free stokes cell"],
    part: slice,
) -> Float[np.ndarray, "component stokes cell"]:
    """Variance of the amplitudes from the spectral parameters; those held count as known."""
    free = derivative.shape[1]
    total = np.zeros((derivative.shape[0], *derivative.shape[2:]))
    for k in range(free):
        total += derivative[:, k] ** 2 * np.nan_to_num(inverse.diagonal[structure.index[k, part]])
        for m in range(k):
            shared = np.nan_to_num(inverse.off[structure.entry[k, m][part]])
            total += 2.0 * derivative[:, k] * derivative[:, m] * shared
    return np.maximum(total, 0.0)


def _status(
    structure: Structure,
    solution: Solution,
    sigma: np.ndarray,
    names: list[str],
    low: np.ndarray,
    high: np.ndarray,
) -> Status:
    first, last = solution.history[0], solution.history[-1]
    at_bound = (solution.theta <= low) | (solution.theta >= high)
    vague = ~at_bound & ~(sigma < (high - low) / math.sqrt(12.0))
    converged = bool(solution.converged.all())
    left = int(np.sum(~solution.converged))
    message = (
        "converged"
        if converged
        else f"{left} of {structure.blocks} blocks not converged after {last.number} iterations: "
        "raise max_iterations, use fewer patches, or put a prior on the parameters"
    )

    def count(flags: np.ndarray) -> dict[str, int]:
        return {n: int(f.sum()) for n, f in zip(names, structure.split(flags), strict=True)}

    return Status(
        converged,
        message,
        last.number,
        last.projected_gradient,
        first.projected_gradient,
        count(at_bound),
        count(vague),
    )
