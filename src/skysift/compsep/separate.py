"""Parametric component separation: maps in, components and spectral parameters out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from skysift.compsep.newton import Iteration, SolverOptions, minimise
from skysift.compsep.problem import GaussianPrior, Problem, pose
from skysift.compsep.result import Separation, Status
from skysift.compsep.summary import parameter_covariance, summarise
from skysift.compsep.systems import system
from skysift.compsep.variants import over_patches, with_centres
from skysift.compsep.weights import AbstractNoise, InverseVariance, UnitWeights
from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes, unseen_to_nan
from skysift.patches import Patches
from skysift.sky.model import SkyModel

Progress = Callable[[Iteration], None]


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
    around: Patches | None = None,
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
        around: larger patches that the priors are centred on, in place of their means: the
            parameters are fitted in them first (`skysift.compsep.variants.with_centres`).
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
    problem = pose(
        maps,
        instrument,
        model,
        patches,
        noise=noise,
        bounds=bounds,
        start=start,
        priors=priors,
        options=options,
    )
    if around is not None:
        problem = with_centres(problem, around)
    return solve(problem, progress=progress)


def solve(
    problem: Problem,
    start: Float[np.ndarray, " parameter"] | None = None,
    progress: Progress | None = None,
) -> Separation:
    """Solve a problem that has been posed, for the maps in it.

    Args:
        problem: from `pose`, or from an earlier separation (`fit.problem`), perhaps with other maps
            (`Problem.with_maps`) or held parameters (`Problem.held`).
        start: first value of every patch parameter; by default the problem's.
        progress: called after every iteration.

    Raises:
        ValueError: for a start of another length, or that is not finite.

    Examples:
        >>> import skysift as ss
        >>> sims = [ss.simulate("c1d0s0", "LiteBIRD", nside=4, seed=seed) for seed in (0, 1)]
        >>> fit = ss.separate(sims[0].maps, "LiteBIRD")
        >>> again = solve(fit.problem.with_maps(sims[1].maps), start=fit.theta)
        >>> again.status.converged
        True
    """
    problem, doubt = _centred(problem)
    first = problem.start if start is None else np.asarray(start, dtype=float)
    if first.shape != problem.start.shape or not np.all(np.isfinite(first)):
        raise ValueError(
            f"start: expected {problem.start.size} finite values, one per patch parameter, got "
            f"shape {first.shape}. Take `theta` of a separation with the same patches."
        )
    structure, options = problem.likelihood.structure, problem.options
    solver = system(structure, options.memory)
    solution = minimise(
        problem.likelihood, solver, first, problem.low, problem.high, options, progress
    )
    wanted = options.errors and structure.size > 0
    fit = summarise(problem, solution, parameter_covariance(solver, solution) if wanted else None)
    return fit if doubt is None else dataclasses.replace(fit, status=doubt)


def centred(problem: Problem) -> Problem:
    """The problem with its priors centred on the fit of its larger patches, if it has any.

    Args:
        problem: any; `solve` does this by itself.
    """
    return _centred(problem)[0]


def _centred(problem: Problem) -> tuple[Problem, Status | None]:
    """The problem with its priors centred, and the status of that fit if it did not converge."""
    if problem.coarse is None:
        return problem, None
    fit, likelihood = solve(problem.coarse), problem.likelihood
    split = likelihood.structure.split
    held = split(likelihood.prior_precision)
    coarse = problem.coarse.likelihood
    free = [np.all(p == 0) for p in coarse.structure.split(coarse.prior_precision)]
    mean = [
        over_patches(problem, name, fit.patches.expand(name, values))
        if open_ and np.all(precision > 0)
        else old
        for (name, values), open_, precision, old in zip(
            fit.parameters.items(), free, held, split(likelihood.prior_mean), strict=True
        )
    ]
    changed = dataclasses.replace(likelihood, prior_mean=np.concatenate([*mean, np.zeros(0)]))
    problem = dataclasses.replace(problem, likelihood=changed)
    if fit.status.converged:
        return problem, None
    message = f"the fit that the priors are centred on: {fit.status.message}"
    return problem, dataclasses.replace(fit.status, message=message)


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
