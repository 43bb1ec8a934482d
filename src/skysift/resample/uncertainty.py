"""How well the samples determine the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.resample.damping import whitened_probes
from skysift.resample.krylov import Stop, conjugate_gradients, dot, times
from skysift.resample.least_squares import LeastSquares
from skysift.resample.normal import NormalSystem

_TOLERANCE = 1e-3
_TOGETHER = 8
_REPEATS = 2
_TRACE_PROBES = 4


@dataclass(frozen=True)
class CellVariance:
    """Posterior variance of cells, in the square of the unit of the samples.

    Args:
        values: in the order of the cells; NaN where the fit has none.
        error: standard error of the values, from the scatter between independent probes.
    """

    values: Float[np.ndarray, "*row cell"]
    error: Float[np.ndarray, "*row cell"]


def inverse_diagonal(
    system: NormalSystem, grid: Grid, probes: int, max_iter: int, seed: int
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " cell"]]:
    """Diagonal of the inverse of a system with one column of weights, and its standard error.

    In the metric of the preconditioner, where all cells weigh the same, random signs on cells a
    few cells apart measure the diagonal there; what these cells add from each other has decayed
    over the distance and has a random sign (Bekas, Kokiopoulou & Saad 2007, Appl. Numer. Math. 57,
    1214; Tang & Saad 2012, Numer. Linear Algebra Appl. 19, 485). One over the diagonal of the
    system is a lower bound.

    Args:
        system: damped.
        grid: of the cells.
        probes: number of solutions, at least 2; 32 put the cells of one probe 4 cells apart, twice.
        max_iter: iterations of each solution.
        seed: of the signs.
    """
    colours = 1
    while _REPEATS * 4 * colours <= probes:
        colours *= 4
    colour = grid.nested % colours
    random = np.random.default_rng(np.random.SeedSequence(seed))
    found = np.empty((probes // colours, grid.size))
    root = np.sqrt(system.preconditioner[:, 0])
    lifted = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0.0)
    for repeat in found:
        signs = (2.0 * random.integers(0, 2, grid.size) - 1.0) * lifted
        for first in range(0, colours, _TOGETHER):
            chosen = np.arange(first, min(first + _TOGETHER, colours))
            probe = np.where(colour[:, None] == chosen, signs[:, None], 0.0)
            residual = probe.astype(system.links.dtype)
            solution = np.zeros_like(residual)
            norms = np.sqrt(dot(residual, times(residual, system.preconditioner)))
            conjugate_gradients(system, solution, residual, Stop(_TOLERANCE * norms, max_iter))
            inside = (colour >= first) & (colour <= chosen[-1])
            repeat[inside] = (root**2 * np.sum(probe * solution, axis=1))[inside]
    diagonal = _diagonal(system)
    bound = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0.0)
    error = found.std(axis=0, ddof=1) / np.sqrt(found.shape[0])
    return np.maximum(found.mean(axis=0), bound), error


def free_samples(system: NormalSystem, max_iter: int, seed: int) -> float:
    """Number of samples less the parameters that they determine: the trace of I - H.

    Args:
        system: damped, with one column of weights.
        max_iter: iterations of each solution.
        seed: of the probes.
    """
    noise = whitened_probes(system, _TRACE_PROBES, seed)
    problem = LeastSquares.of(system, noise, np.zeros(_TRACE_PROBES))
    cells, residual = problem.average.copy(), problem.slope.copy()
    damping = np.full(_TRACE_PROBES, system.damping[0])
    problem.solve(damping, cells, residual, Stop(np.full(_TRACE_PROBES, _TOLERANCE), max_iter))
    determined = float(dot(cells, system.back_projection(noise)).mean())
    return np.count_nonzero(system.weight) - determined


def effective_samples(system: NormalSystem) -> Float[np.ndarray, "cell column"]:
    """Equal samples that would make the average of a cell as sure as its own samples do.

    With weights a_i of the average it is (sum a_i)^2 / sum a_i^2 (Kish 1965, Survey Sampling).
    """
    links = system.links.magnitude
    total = links.back(system.weight)
    squares = links.mapped(np.square).back(np.square(system.weight))
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0.0)


def _diagonal(system: NormalSystem) -> Float[np.ndarray, " cell"]:
    """Diagonal of a damped system with one column of weights."""
    diagonal = system.links.mapped(np.square).back(system.weight) + system.pull
    if system.laplacian is not None:
        diagonal += system.smoothness * system.laplacian.diagonal()[:, None]
    return diagonal[:, 0]
