"""From the solution of the numerical problem to what a user reads."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from skysift.compsep.linear import AbstractSystem
from skysift.compsep.newton import Solution
from skysift.compsep.problem import Problem
from skysift.compsep.result import Separation, Status
from skysift.compsep.structure import Structure, SymmetricMatrix
from skysift.maps import Maps


def parameter_covariance(solver: AbstractSystem, solution: Solution) -> SymmetricMatrix:
    """Inverse of the Hessian where it is positive, of the Gauss-Newton matrix in other blocks."""
    structure = solution.evaluation.hessian.structure
    inverse = solver.inverse_entries(solution.evaluation.hessian, solution.free)
    missing = np.isnan(inverse.diagonal) & solution.free
    if not missing.any():
        return inverse
    blocks = structure.per_block(missing.astype(float)) > 0
    other = solver.inverse_entries(
        solution.evaluation.gauss_newton, solution.free & blocks[structure.block]
    )
    return other.where(blocks, inverse)


def summarise(problem: Problem, solution: Solution, inverse: SymmetricMatrix | None) -> Separation:
    """Amplitudes at the solution, and everything put together.

    Args:
        problem: what was minimised.
        solution: where.
        inverse: of the Hessian there (`parameter_covariance`), `None` for no errors.
    """
    likelihood, measurements = problem.likelihood, problem.measurements
    maps, model = problem.maps, problem.model
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
        components=_component_maps(problem, amplitude),
        component_errors=_component_maps(problem, error),
        covariance=covariance,
        chi2=chi2,
        dof=np.where(empty, np.nan, measurements.dof.astype(float)),
        objective=float(np.sum(solution.evaluation.objective)),
        status=_status(problem, solution, sigma),
        history=solution.history,
        patches=problem.patches,
        model=model,
        instrument=measurements.instrument,
        information=solution.evaluation.hessian,
        free=solution.free,
        calibrated=problem.measurements.calibrated,
        problem=problem,
    )


def _component_maps(
    problem: Problem, values: Float[np.ndarray, "component stokes cell"]
) -> dict[str, Maps]:
    return {
        law.name: problem.maps.replace(rows, unit=law.amplitude_unit, channels=())
        for law, rows in zip(problem.model.components, values, strict=True)
    }


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


def _status(problem: Problem, solution: Solution, sigma: Float[np.ndarray, " parameter"]) -> Status:
    structure, low, high = problem.likelihood.structure, problem.low, problem.high
    names = [parameter.name for parameter in problem.model.free]
    first, last = solution.history[0], solution.history[-1]
    at_bound = (solution.theta <= low) | (solution.theta >= high)
    vague = ~solution.free & ~at_bound
    if problem.measurements.calibrated:
        vague |= ~at_bound & (sigma >= (high - low) / math.sqrt(12.0))
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
