"""Cells that explain samples: damped least squares by conjugate gradients.

The fit minimises

    sum_i (y_i - sum_k A_ik x_k)^2 / v_i  +  sum_k damping_k D_k (x_k - average_k)^2
        +  smoothness / v_0 * x^T L x

with noise variances v and their harmonic mean v_0, D_k = sum_i A_ik / v_i, the average of the
samples of each cell, and the graph Laplacian L of neighbouring cells. D is the metric in which
conjugate gradients run; in it A^T A / v has eigenvalues from 0 to 1, so that the damping has no
unit. It is the same for all cells but those that have very small parts of their samples.
Constants are kept, however strong damping and smoothness are.
"""

from __future__ import annotations

import enum
import hashlib
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from skysift.resample.arrays import apply, namespace, type_of_values, without_unseen
from skysift.resample.damping import DampingSearch, choose_damping
from skysift.resample.krylov import Path, Progress, Stop
from skysift.resample.least_squares import LeastSquares
from skysift.resample.normal import LinkMatrix, NormalSystem
from skysift.resample.observations import Observations, as_rows
from skysift.resample.options import FitOptions, check_bounds, check_probes, check_seed
from skysift.resample.priors import graph_laplacian
from skysift.resample.sampling import Sampling
from skysift.resample.uncertainty import (
    CellVariance,
    effective_samples,
    free_samples,
    inverse_diagonal,
)

_STRONG = 0.03  # damping from which on a fit takes few iterations


class Status(enum.Enum):
    """How the fit of a row ended."""

    CONVERGED = "converged"
    NO_SAMPLES = "no samples"
    ITERATION_LIMIT = "iteration limit reached"


class NotConverged(UserWarning):
    """A fit ended at its iteration limit."""


@dataclass(frozen=True, eq=False)
class CellFit:
    """Cells that explain samples, and how they were found.

    Args:
        values: of the cells, `(..., cell)` in the order of `sampling.cell_ids`; NaN where no sample
            says anything.
        statuses: of each row of values, in C order.
        history: residual of each row before the first and after each iteration, relative to that
            of the average of the samples.
        damping: of each row.
        misfit: sum over the samples of each row of the squared residuals, each over its noise
            variance if these were given.
        used: number of samples of each row.
        excluded: number of values of each row that are missing or not finite.
        sampling: the relation between samples and cells.
        options: of the fit.
        search: how the damping was chosen, `None` if it was given.
    """

    values: type_of_values
    statuses: tuple[Status, ...]
    history: Float[np.ndarray, "iteration row"]
    damping: Float[np.ndarray, "*row"]
    misfit: Float[np.ndarray, "*row"]
    used: Int[np.ndarray, "*row"]
    excluded: Int[np.ndarray, "*row"]
    sampling: Sampling
    options: FitOptions
    search: DampingSearch | None
    _system: NormalSystem = field(repr=False)
    _noise: Float[np.ndarray, " column"] | None = field(repr=False)

    @property
    def status(self) -> Status:
        """The worst status of any row."""
        order = list(Status)
        return max(self.statuses, key=order.index)

    @property
    def iterations(self) -> int:
        """Number of iterations of the row that took longest."""
        return self.history.shape[0] - 1

    @property
    def effective_samples(self) -> Float[np.ndarray, "*row cell"]:
        """Number of equal samples that would make the average of each cell as sure as it is.

        Of cells that samples touch with small weights only, or that have one precise sample among
        many noisy ones, it is smaller than the number of samples; 0 in cells without any.
        """
        counts = effective_samples(self._system).T
        return np.broadcast_to(counts, (len(self.statuses), counts.shape[1])).reshape(
            self.values.shape
        )

    def variance(self, probes: int = 32, seed: int | None = None) -> CellVariance:
        """Posterior variance of each cell.

        It is 1 + damping_k times the diagonal of (A^T W A + damping D + S)^-1, measured with random
        signs; with strong damping it becomes 1 / D_k. The noise variance is
        the one that was given, else it is estimated from the misfit and the number of samples less
        the parameters that they determine; NaN where these leave none.

        Args:
            probes: number of linear systems to solve, at least 2. The error falls faster than
                their root: probes are spread over cells that are farther and farther apart.
            seed: of the signs; that of the fit by default.

        Raises:
            ValueError: for fewer probes, or a seed that is none.
        """
        probes = check_probes(probes)
        seed = self.options.seed if seed is None else check_seed(seed)
        rows, limit = len(self.statuses), self.options.max_iter
        known: dict[tuple[bytes, float], _Inverse] = {}
        out = np.full((2, rows, self.values.shape[-1]), np.nan)
        for row, status in enumerate(self.statuses):
            if status is Status.NO_SAMPLES:
                continue
            key = self._weights_of(row), float(self.damping.flat[row])
            if key not in known:
                system = self._system.select(np.array([row])).damped(np.array([key[1]]))
                diagonal = inverse_diagonal(system, self.sampling.grid, probes, limit, seed)
                free = free_samples(system, limit, seed) if self._noise is None else np.nan
                known[key] = _Inverse((1.0 + system.cell_damping[:, 0]) * diagonal, free)
            out[:, row] = self._unit_variance(row, known[key].free) * known[key].diagonal
        out[:, np.isnan(np.asarray(self.values).reshape(rows, -1))] = np.nan
        values, error = out.reshape(2, *self.values.shape)
        return CellVariance(values, error)

    def _weights_of(self, row: int) -> bytes:
        """What rows with the same weights have in common."""
        weight = self._system.weight
        if weight.shape[1] == 1:
            return b""
        return hashlib.blake2b(weight[:, row].tobytes()).digest()

    def _unit_variance(self, row: int, free: float) -> float:
        """Noise variance of samples with weight 1."""
        if self._noise is not None:
            return float(self._noise[row if self._noise.size > 1 else 0])
        return float(self.misfit.flat[row]) / free if free >= 1.0 else np.nan


class _Inverse(NamedTuple):
    """What variances of rows with the same weights and damping share.

    Args:
        diagonal: of the inverse, damped, and its standard error.
        free: number of samples less the parameters that they determine.
    """

    diagonal: Float[np.ndarray, "2 cell"]
    free: float


def fit(
    sampling: Sampling,
    samples: type_of_values,
    *,
    noise_variance: Float[ArrayLike, "*row sample"] | float | None = None,
    bounds: tuple[float, float] | None = None,
    initial: Float[ArrayLike, "*row cell"] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> CellFit:
    """Cells that explain samples best, by damped least squares.

    Rows of values are fitted together, which costs much less than one by one, but nothing passes
    between them: each has its own damping and its own end.

    Args:
        sampling: the relation between samples and cells.
        samples: values, `(N,)` or `(..., N)`, of NumPy, JAX, torch, Dask or xarray. NaN, infinite,
            masked and UNSEEN values are left out where they stand and counted.
        noise_variance: of the samples, in the square of their unit: one value, one per sample, or
            one per value; infinite to leave a sample out. Equal by default.
        bounds: lowest and highest value that a cell may have, for instance `(0, numpy.inf)` for a
            concentration. The choice of the damping and the variance do not know of them.
        initial: first guess of the cells, NaN or UNSEEN where there is none. The average of the
            samples by default.
        progress: called after each iteration with its number and the norms of the residuals.
        **options: fields of `FitOptions`, such as `damping` and `tol`.

    Returns:
        The cells, in the precision of the weights of the sampling and as the kind of array that
        came in; of Dask arrays, which are computed, a NumPy array.

    Raises:
        ValueError: for values of a wrong shape or kind, or options out of range.

    Warns:
        NotConverged: for rows that are not done after `max_iter` iterations.

    Examples:
        >>> from skysift.resample import psf
        >>> lon, lat = np.meshgrid(np.arange(0.0, 20.0, 2.0), np.arange(0.0, 20.0, 2.0))
        >>> sampling = psf(lon.ravel(), lat.ravel(), level=4)
        >>> cells = fit(sampling, np.full(100, 280.0))
        >>> cells.status, bool(np.allclose(cells.values, 280.0))
        (<Status.CONVERGED: 'converged'>, True)
    """
    given = Given(FitOptions(**options), noise_variance, check_bounds(bounds), initial, progress)
    found = fit_given(sampling, samples, given)
    _warn(found)
    return found


@dataclass(frozen=True)
class Given:
    """What is said about a fit besides the values; see `fit`.

    Args:
        reference_variance: noise variance of the sample that the smoothness is compared with, for
            all rows or each; the harmonic mean of the noise variances by default.
    """

    options: FitOptions
    noise_variance: Float[ArrayLike, "*row sample"] | float | None = None
    bounds: tuple[float, float] | None = None
    initial: Float[ArrayLike, "*row cell"] | None = None
    progress: Progress | None = None
    reference_variance: Float[np.ndarray, " row"] | None = None


def fit_given(sampling: Sampling, samples: type_of_values, given: Given) -> CellFit:
    """`fit` without a warning.

    Raises:
        ValueError: for values of a wrong shape or kind.
    """
    fits = []

    def solve(values: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
        if not values.size:
            raise ValueError(
                f"samples: expected at least one value, got shape {tuple(values.shape)}."
            )
        rows = np.asarray(values, dtype=float).reshape(-1, sampling.n_samples)
        fits.append(_fit(sampling, rows, given))
        return namespace(values).asarray(fits[-1].values).reshape(*values.shape[:-1], -1)

    eager = samples.compute() if hasattr(samples, "compute") else samples
    cells = apply(solve, eager, sampling.sample_axis, sampling.cell_axis, sampling.weights.dtype)
    found, leading = fits[-1], cells.shape[:-1]
    return replace(
        found,
        values=cells,
        damping=found.damping.reshape(leading),
        misfit=found.misfit.reshape(leading),
        used=found.used.reshape(leading),
        excluded=found.excluded.reshape(leading),
    )


def _fit(sampling: Sampling, samples: Float[np.ndarray, "row sample"], given: Given) -> CellFit:
    chosen = given.options
    links = LinkMatrix.of(sampling)
    observed = Observations.of(
        sampling, links, samples, given.noise_variance, given.reference_variance
    )
    laplacian = None
    if chosen.smoothness:
        laplacian = csr_array(graph_laplacian(sampling.grid), dtype=links.dtype)
    system = NormalSystem.of(
        links, observed.weight, laplacian, chosen.smoothness, chosen.required_part
    )
    if chosen.damping is None or np.any(np.asarray(chosen.damping) < _STRONG):
        system = system.prepared()
    problem = LeastSquares.of(system, observed.values, observed.rounding)
    cells = problem.average.copy()
    search = None
    if chosen.damping is None:
        search = choose_damping(
            problem, observed.used, cells, max_iter=chosen.max_iter, seed=chosen.seed
        )
    damping = chosen.damping_of(cells.shape[1]) if search is None else search.chosen
    if given.initial is not None:
        cells = _first_guess(given.initial, problem, observed.centre)
    stop = Stop(np.full(cells.shape[1], chosen.tol), chosen.max_iter)
    if given.bounds is None:
        residual = problem.residual(damping, cells)
        path = problem.solve(damping, cells, residual, stop, given.progress)
    else:
        low, high = ((b - observed.centre).astype(links.dtype) for b in given.bounds)
        path, residual = problem.solve_within(damping, cells, (low, high), stop, given.progress)
    misfit = problem.misfit_of(damping, cells, residual)
    found = np.where(_known(system), cells + observed.centre, np.nan).T
    if given.bounds is not None:
        found = np.clip(found, *given.bounds)
    return CellFit(
        values=found.astype(links.dtype),
        statuses=_statuses(path, observed),
        history=_relative(path.residuals, problem.scale),
        damping=damping,
        misfit=misfit / (1.0 if observed.noise is None else observed.noise),
        used=observed.used,
        excluded=observed.excluded,
        sampling=sampling,
        options=chosen,
        search=search,
        _system=system,
        _noise=observed.noise,
    )


def _first_guess(
    initial: Float[ArrayLike, "*row cell"], problem: LeastSquares, centre: Float[np.ndarray, " row"]
) -> Float[np.ndarray, "cell row"]:
    """A user's guess, the average where it is missing."""
    average = problem.average
    guess = as_rows("initial", initial, average.shape[0]).reshape(-1, average.shape[0])
    if guess.shape[0] not in (1, average.shape[1]):
        raise ValueError(
            f"initial: expected one row or {average.shape[1]} as the samples have, got "
            f"{guess.shape[0]}."
        )
    guess = without_unseen(guess).T - centre
    guess = np.where(np.isfinite(guess), guess, average)
    return np.ascontiguousarray(guess, average.dtype)


def _known(system: NormalSystem) -> Bool[np.ndarray, "cell column"]:
    """Cells that have samples or are connected to some by the prior."""
    seen = system.scale > 0.0
    if system.laplacian is None:
        return seen
    count, island = connected_components(system.laplacian, directed=False)
    filled = np.zeros((count, seen.shape[1]), dtype=bool)
    np.logical_or.at(filled, island, seen)
    return filled[island]


def _statuses(path: Path, observed: Observations) -> tuple[Status, ...]:
    return tuple(
        Status.NO_SAMPLES if not used else Status.CONVERGED if done else Status.ITERATION_LIMIT
        for used, done in zip(observed.used, path.converged, strict=True)
    )


def _relative(
    residuals: Float[np.ndarray, "iteration row"], scale: Float[np.ndarray, " row"]
) -> Float[np.ndarray, "iteration row"]:
    """Residuals over those of the average; 0 where the average explains everything."""
    return np.divide(residuals, scale, out=np.zeros_like(residuals), where=scale > 0.0)


def _warn(found: CellFit) -> None:
    failed = [row for row, s in enumerate(found.statuses) if s is Status.ITERATION_LIMIT]
    if failed:
        limit, tol = found.options.max_iter, found.options.tol
        warnings.warn(
            f"fit: {len(failed)} of {len(found.statuses)} rows did not converge in {limit} "
            f"iterations, the first is row {failed[0]}; the relative residual is up to "
            f"{found.history[-1, failed].max():.1e}, expected {tol:.1e}. Raise max_iter or tol, or "
            "leave out damping to have it chosen.",
            NotConverged,
            stacklevel=3,
        )
