"""Projected Newton method on the exact patch Hessian, block by block.

Blocks of parameters that share no cell are separate problems: each has its own damping and its own
decision whether to take a step, and those that are done are no longer evaluated. A block begins
with Gauss-Newton steps and turns to the exact Hessian when a step no longer takes away a fifth of
the objective (Fletcher & Xu 1987, IMA J. Numer. Anal. 7, 371): far away the curvature of the
residual misleads, near the solution it is what makes the convergence quadratic. Bounds are handled
by an active set, globalisation by Levenberg-Marquardt damping scaled with the diagonal (More 1978),
which makes the method independent of units.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from skysift.compsep.likelihood import Evaluation, Likelihood
from skysift.compsep.linear import AbstractSystem, Box
from skysift.compsep.structure import SymmetricMatrix

_EPS = np.finfo(float).eps
_ROUNDING = (1e4 * _EPS) ** 2
_SHIFTS = 8


@dataclass(frozen=True)
class SolverOptions:
    """When a fit stops and what it may use.

    Args:
        tolerance: a block is done when the distance to its minimum that the Newton model predicts,
            in units of the residual norm, is below this: `g H^-1 g <= tolerance^2 * 2 F`.
        max_iterations: Newton steps after which the fit gives up.
        memory: bytes that the factor of the Hessian may take before conjugate gradients are used.
        errors: compute marginal errors of the parameters.
    """

    tolerance: float = 1e-9
    max_iterations: int = 200
    memory: float = 4e9
    errors: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"tolerance: expected between 0 and 1, got {self.tolerance}. The default is 1e-9."
            )
        if self.max_iterations < 1:
            raise ValueError(
                f"max_iterations: expected at least 1, got {self.max_iterations}. Leave it out "
                "for 200."
            )


@dataclass(frozen=True)
class Iteration:
    """Where a fit stands.

    Args:
        number: Newton steps taken.
        objective: current value.
        projected_gradient: Euclidean norm, without what pushes against bounds.
        seconds: since the start.
        done: number of blocks that have converged.
        blocks: number of blocks.
    """

    number: int
    objective: float
    projected_gradient: float
    seconds: float
    done: int
    blocks: int


@dataclass(frozen=True)
class Solution:
    """Where a fit ended."""

    theta: Float[np.ndarray, " parameter"]
    evaluation: Evaluation
    free: Bool[np.ndarray, " parameter"]
    converged: Bool[np.ndarray, " block"]
    history: tuple[Iteration, ...]


@dataclass(frozen=True)
class Limits:
    """Where parameters may go, and what counts as knowing anything about them.

    Args:
        low: lower bounds.
        high: upper bounds.
        information: Gauss-Newton diagonal below which a parameter is lost in rounding: over the
            whole width of its bounds it changes the fit by less than the data are exact to.
    """

    low: Float[np.ndarray, " parameter"]
    high: Float[np.ndarray, " parameter"]
    information: Float[np.ndarray, " parameter"]

    def unbound(
        self, theta: Float[np.ndarray, " parameter"], evaluation: Evaluation
    ) -> Bool[np.ndarray, " parameter"]:
        """Parameters that no bound holds back."""
        down = (theta <= self.low) & (evaluation.gradient > 0)
        up = (theta >= self.high) & (evaluation.gradient < 0)
        return ~(down | up)

    def free(
        self, theta: Float[np.ndarray, " parameter"], evaluation: Evaluation
    ) -> Bool[np.ndarray, " parameter"]:
        """Parameters that no bound holds back and that the data depend on."""
        informed = evaluation.gauss_newton.diagonal > self.information
        return informed & self.unbound(theta, evaluation)

    def gradient_size(
        self, theta: Float[np.ndarray, " parameter"], evaluation: Evaluation
    ) -> Float[np.ndarray, " block"]:
        """Squared norm per block of the free gradient, in units of each parameter's information."""
        free = self.free(theta, evaluation)
        unit = np.where(free, evaluation.gauss_newton.diagonal, 1.0)
        scaled = np.where(free, evaluation.gradient**2 / unit, 0.0)
        return evaluation.hessian.structure.per_block(scaled)


@dataclass(frozen=True)
class _State:
    """Point, its evaluation, and per block: damping, which Hessian, whether done, whether well."""

    theta: Float[np.ndarray, " parameter"]
    evaluation: Evaluation
    damping: Float[np.ndarray, " block"]
    exact: Bool[np.ndarray, " block"]
    done: Bool[np.ndarray, " block"]
    converged: Bool[np.ndarray, " block"]


def minimise(
    likelihood: Likelihood,
    system: AbstractSystem,
    start: Float[np.ndarray, " parameter"],
    low: Float[np.ndarray, " parameter"],
    high: Float[np.ndarray, " parameter"],
    options: SolverOptions,
    progress: Callable[[Iteration], None] | None = None,
) -> Solution:
    """Minimise the profiled objective within bounds.

    Args:
        likelihood: the objective.
        system: solver for its Hessian.
        start: first point, moved inside the bounds if it is not.
        low: lower bounds.
        high: upper bounds.
        options: stopping rule.
        progress: called after every step.
    """
    begun = time.perf_counter()
    structure = likelihood.structure
    square = _squares(likelihood)
    known = 1e2 * _EPS * structure.gather(np.broadcast_to(square, structure.index.shape))
    limits = Limits(low, high, known / (high - low) ** 2)
    scale = np.bincount(structure.cell_block, square, structure.blocks)
    theta = np.clip(start, low, high)
    evaluation = likelihood.evaluate(theta)
    no_blocks = np.zeros(structure.blocks, bool)
    state = _State(theta, evaluation, np.zeros(structure.blocks), no_blocks, no_blocks, no_blocks)
    history: list[Iteration] = []

    def note() -> None:
        free = limits.unbound(state.theta, state.evaluation)
        history.append(
            Iteration(
                len(history),
                float(np.sum(state.evaluation.objective)),
                float(np.linalg.norm(np.where(free, state.evaluation.gradient, 0.0))),
                time.perf_counter() - begun,
                int(state.done.sum()),
                structure.blocks,
            )
        )
        if progress is not None:
            progress(history[-1])

    note()
    while structure.size and not state.done.all() and len(history) <= options.max_iterations:
        state = _advance(likelihood, system, state, limits, scale, options)
        note()
    if structure.size == 0:
        state = replace(state, converged=~no_blocks)
    free = limits.free(state.theta, state.evaluation)
    return Solution(state.theta, state.evaluation, free, state.converged, tuple(history))


def _advance(
    likelihood: Likelihood,
    system: AbstractSystem,
    state: _State,
    limits: Limits,
    scale: Float[np.ndarray, " block"],
    options: SolverOptions,
) -> _State:
    """One step in every block that is not done."""
    structure, here = likelihood.structure, state.evaluation
    active = ~state.done
    free = limits.free(state.theta, here) & active[structure.block]
    box = Box(limits.low - state.theta, limits.high - state.theta, free)
    model = here.hessian.where(state.exact, here.gauss_newton)
    change, damping, unsolved = _propose(system, here, state.damping, model, box)
    slope = structure.per_block(here.gradient * change)
    decrease = -(slope + 0.5 * structure.per_block(change * (model @ change)))
    undamped = state.damping == 0.0
    floor = _ROUNDING * scale
    small = np.abs(slope) <= options.tolerance**2 * here.objective + floor
    finished = active & small & undamped & ~unsolved

    trial_theta = np.clip(state.theta + change, limits.low, limits.high)
    trial = likelihood.evaluate(trial_theta, active)
    finite = np.isfinite(trial.objective) & _finite_gradient(trial)
    gain = (here.objective - trial.objective) / np.where(decrease > 0, decrease, 1.0)
    # Below this the difference of two objectives is rounding, and the gradient decides.
    blurred = (
        np.abs(slope) <= 1e2 * _EPS * np.sqrt(here.objective * (scale + here.objective)) + floor
    )
    flatter = limits.gradient_size(trial_theta, trial) <= limits.gradient_size(state.theta, here)
    taken = active & finite & np.where(blurred, flatter, (gain > 1e-4) & (decrease > 0))
    stuck = active & blurred & ~taken & undamped & ~unsolved

    damping = _next_damping(damping, gain, taken)
    done = state.done | finished | stuck | (active & (damping > 1e12))
    return _State(
        np.where(taken[structure.block], trial_theta, state.theta),
        trial.where(taken, here),
        np.where(active, np.where(blurred & ~unsolved, 0.0, damping), state.damping),
        np.where(active, here.objective - trial.objective < 0.2 * here.objective, state.exact),
        done,
        state.converged | finished | stuck,
    )


def _propose(
    system: AbstractSystem,
    here: Evaluation,
    damping: Float[np.ndarray, " block"],
    matrix: SymmetricMatrix,
    box: Box,
) -> tuple[
    Float[np.ndarray, " parameter"], Float[np.ndarray, " block"], Bool[np.ndarray, " block"]
]:
    """Damped steps, the damping used, and in which blocks there is none.

    Where the matrix is not positive definite the damping grows until it is: such steps follow the
    directions of negative curvature, along which Gauss-Newton steps would creep.
    """
    structure = here.hessian.structure
    scale = np.maximum(here.gauss_newton.diagonal, np.abs(matrix.diagonal))
    change = np.zeros(structure.size)
    pending = structure.per_block(box.free.astype(float)) > 0
    for _ in range(_SHIFTS):
        ridge = damping[structure.block] * scale
        part = replace(box, free=box.free & pending[structure.block])
        step = system.step(matrix.plus_diagonal(ridge), here.gradient, part)
        change = np.where((pending & step.positive)[structure.block], step.change, change)
        pending = pending & ~step.positive
        if not pending.any():
            break
        damping = np.where(pending, np.maximum(4.0 * damping, 1e-2), damping)
    return change, damping, pending


def _next_damping(
    damping: Float[np.ndarray, " block"],
    gain: Float[np.ndarray, " block"],
    taken: Bool[np.ndarray, " block"],
) -> Float[np.ndarray, " block"]:
    """Nielsen's rule (1999, IMM-REP-1999-05): ease smoothly after good steps, tighten after bad."""
    factor = np.clip(1.0 - (2.0 * np.clip(gain, 0.0, 1.0) - 1.0) ** 3, 1.0 / 3.0, 2.0)
    eased = np.where(damping * factor < 1e-4, 0.0, damping * factor)
    after_taken = np.where(gain < 0.25, np.maximum(eased, 1e-2), eased)
    return np.where(taken, after_taken, np.maximum(4.0 * damping, 1e-2))


def _finite_gradient(evaluation: Evaluation) -> Bool[np.ndarray, " block"]:
    structure = evaluation.hessian.structure
    return structure.per_block((~np.isfinite(evaluation.gradient)).astype(float)) == 0.0


def _squares(likelihood: Likelihood) -> Float[np.ndarray, " cell"]:
    """Weighted square of the data in each cell, which sets how exactly anything can be known."""
    square = np.empty(likelihood.cells)
    for part in likelihood.stream.chunks(likelihood.cells):
        shared = likelihood.weights.shape[-1] == 1
        weights = likelihood.weights if shared else likelihood.weights[..., part]
        square[part] = np.sum(weights * likelihood.data[..., part] ** 2, axis=(0, 1))
    return square
