"""The objective around a solution: what should rise on all sides, and derivatives to hold it to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.compsep.likelihood import Evaluation
from skysift.compsep.linear import Box
from skysift.compsep.problem import Problem
from skysift.compsep.systems import system

_EPS = np.finfo(float).eps
_STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Central difference of fourth order (Fornberg 1988, Math. Comp. 51, 699)."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The objective along a line through the solution, at whole steps of one scale.

    Args:
        moved: name of the spectral parameter that is moved, or `all`.
        scale: length of a step, in the units of the parameters.
        steps: numbers of steps, from -n to n.
        rise: objective above that of the solution.
        gradient: norm of the projected gradient, per spectral parameter.
    """

    moved: str
    scale: float
    steps: Int[np.ndarray, " step"]
    rise: Float[np.ndarray, " step"]
    gradient: dict[str, Float[np.ndarray, " step"]]


@dataclass(frozen=True, eq=False)
class Surface:
    """The objective over two patch parameters, all others held.

    Args:
        names: of the two, as `beta_dust:0`.
        first: values of the first.
        second: values of the second.
        rise: objective above that of the solution.
        centre: of the solution.
        hessian: of the objective there, for the two.
    """

    names: tuple[str, str]
    first: Float[np.ndarray, " one"]
    second: Float[np.ndarray, " other"]
    rise: Float[np.ndarray, "one other"]
    centre: tuple[float, float]
    hessian: Float[np.ndarray, "2 2"]

    @property
    def quadratic(self) -> Float[np.ndarray, "one other"]:
        """What the Hessian alone predicts of `rise`."""
        x, y = self.first[:, None] - self.centre[0], self.second[None, :] - self.centre[1]
        (xx, xy), (_, yy) = self.hessian
        return 0.5 * (xx * x**2 + 2 * xy * x * y + yy * y**2)


def profiles(
    problem: Problem,
    theta: Float[np.ndarray, " parameter"],
    scales: Sequence[float],
    steps: int,
    patches: Mapping[str, Int[np.ndarray, " chosen"]] | None = None,
) -> list[Profile]:
    """The objective around a solution: all parameters moved together, then one kind at a time.

    Points beyond the bounds are moved onto them, as the solver would.

    Args:
        problem: that was solved.
        theta: the solution.
        scales: lengths of a step, in the units of the parameters.
        steps: number of steps to each side.
        patches: which patches to move, per spectral parameter; all by default.

    Raises:
        ValueError: for a scale or number of steps that is not positive, or no parameters to move.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4)
        >>> fit = ss.separate(sim.maps, "LiteBIRD")
        >>> lines = profiles(fit.problem, fit.theta, scales=(1e-3,), steps=2)
        >>> [line.moved for line in lines]
        ['all', 'beta_dust', 'temp_dust', 'beta_pl']
        >>> all(line.rise.min() == 0.0 for line in lines)
        True
    """
    for scale in scales:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scales: expected positive numbers, got {scale!r}. Try 1e-2 1e-3.")
    if steps < 1:
        raise ValueError(f"steps: expected at least one to each side, got {steps}.")
    moves = _moves(problem, patches)
    if len(moves) == 1:
        raise ValueError(
            "patches: expected at least one parameter to move, got none. Choose patches of a "
            "parameter that is fitted."
        )
    here = problem.likelihood.evaluate(theta)
    names = [parameter.name for parameter in problem.model.free]
    numbers = np.arange(-steps, steps + 1)
    lines = []
    for moved, mask in moves.items():
        for scale in scales:
            points = [np.clip(theta + n * scale * mask, problem.low, problem.high) for n in numbers]
            points[steps] = theta
            values = [
                here if n == 0 else problem.likelihood.evaluate(point)
                for n, point in zip(numbers, points, strict=True)
            ]
            rise = [float(np.sum(value.objective - here.objective)) for value in values]
            norms = [
                [float(np.linalg.norm(part)) for part in problem.likelihood.structure.split(g)]
                for g in map(projected_gradient, [problem] * len(values), points, values)
            ]
            gradient = dict(zip(names, np.transpose(norms), strict=True))
            lines.append(Profile(moved, scale, numbers, np.array(rise), gradient))
    return lines


def surface(
    problem: Problem,
    theta: Float[np.ndarray, " parameter"],
    pair: tuple[tuple[str, int], tuple[str, int]],
    *,
    reach: float = 4.0,
    points: int = 31,
) -> Surface:
    """The objective over two patch parameters around a solution.

    Args:
        problem: that was solved.
        theta: the solution.
        pair: spectral parameter and patch number of each.
        reach: how far to go, in standard deviations with all others held.
        points: per axis, odd so that the solution is one.

    Raises:
        ValueError: for an unknown parameter or patch, one parameter twice, or an even number of
            points.
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points: expected an odd number from 3 on, got {points}.")
    where = [position(problem, name, patch) for name, patch in pair]
    if where[0] == where[1]:
        raise ValueError(f"pair: expected two different parameters, got {pair[0]} twice.")
    likelihood = problem.likelihood
    structure, here = likelihood.structure, likelihood.evaluate(theta)
    hessian = _pair_hessian(here, where)
    curved = bool(np.all(np.linalg.eigvalsh(hessian) > 0))
    sigma = np.sqrt(np.diag(np.linalg.inv(hessian))) if curved else np.full(2, np.inf)
    axes = [
        theta[i] + np.linspace(-1, 1, points) * min(reach * s, _reach(problem, theta, i))
        for i, s in zip(where, sigma, strict=True)
    ]
    blocks = np.isin(np.arange(structure.blocks), structure.block[where])
    base = float(np.sum(here.objective[blocks]))
    rise = np.empty((points, points))
    for row, first in enumerate(axes[0]):
        for column, second in enumerate(axes[1]):
            point = theta.copy()
            point[where] = first, second
            rise[row, column] = np.sum(likelihood.evaluate(point, blocks).objective) - base
    one, other = (f"{name}:{patch}" for name, patch in pair)
    centre = float(theta[where[0]]), float(theta[where[1]])
    return Surface((one, other), axes[0], axes[1], rise, centre, hessian)


def projected_gradient(
    problem: Problem, theta: Float[np.ndarray, " parameter"], evaluation: Evaluation
) -> Float[np.ndarray, " parameter"]:
    """The gradient without what pushes against a bound."""
    down = (theta <= problem.low) & (evaluation.gradient > 0)
    up = (theta >= problem.high) & (evaluation.gradient < 0)
    return np.where(down | up, 0.0, evaluation.gradient)


def slopes(
    problem: Problem, theta: Float[np.ndarray, " parameter"]
) -> dict[str, Float[np.ndarray, " cell"]]:
    """Projected gradient of each cell's patch over the root of its Gauss-Newton curvature.

    What a parameter is away from its own minimum, in standard deviations where the weights are the
    noise; zero where the data say nothing.

    Args:
        problem: that was solved.
        theta: where to look.
    """
    here = problem.likelihood.evaluate(theta)
    gradient, curvature = projected_gradient(problem, theta, here), here.gauss_newton.diagonal
    slope = np.where(curvature > 0, gradient / np.sqrt(np.where(curvature > 0, curvature, 1)), 0.0)
    index = problem.likelihood.structure.index
    return {p.name: slope[at] for p, at in zip(problem.model.free, index, strict=True)}


def cell_pulls(
    problem: Problem, theta: Float[np.ndarray, " parameter"]
) -> dict[str, Float[np.ndarray, " cell"]]:
    """What each cell by itself pulls its patch's parameter by, in its own standard deviations.

    They cancel over a patch at the solution. Where the weights are the noise and a patch's
    parameter is the same in all of its cells they are standard normal; structure inside patches
    says that the patches are too large.

    Args:
        problem: that was solved.
        theta: the solution.
    """
    terms = problem.likelihood.cell_terms(theta)
    free = len(problem.likelihood.structure.counts)
    diagonal = [k * (k + 3) // 2 for k in range(free)]
    gradient = np.asarray(terms.gradient)
    curvature = np.asarray(terms.gauss_newton)[diagonal]
    known = curvature > 0
    pull = np.where(known, -gradient / np.sqrt(np.where(known, curvature, 1.0)), np.nan)
    return {p.name: row for p, row in zip(problem.model.free, pull, strict=True)}


def newton_distance(
    problem: Problem,
    theta: Float[np.ndarray, " parameter"],
    free: Bool[np.ndarray, " parameter"],
) -> float:
    """Distance to the minimum that the exact Hessian predicts, sqrt(g H^-1 g).

    In units of the weighted residual norm: the objective is half its square. With weights that are
    inverse noise variances, 1 is a standard deviation of one parameter.

    Args:
        problem: that was solved.
        theta: the solution.
        free: parameters that may move.

    Returns:
        The distance; infinite if the Hessian of the free parameters is not positive definite.
    """
    structure = problem.likelihood.structure
    here = problem.likelihood.evaluate(theta)
    box = Box(problem.low - theta, problem.high - theta, free)
    step = system(structure, problem.options.memory).step(here.hessian, here.gradient, box)
    asked = structure.per_block(free.astype(float)) > 0
    if np.any(asked & ~step.positive):
        return math.inf
    return math.sqrt(max(-float(here.gradient @ step.change), 0.0))


def gradient_error(
    problem: Problem,
    theta: Float[np.ndarray, " parameter"],
    directions: int = 5,
    seed: int = 0,
) -> float:
    """Largest difference of the gradient and finite differences along random directions.

    The point is a random standard deviation away from `theta`: at a solution there is no gradient
    to compare with.

    Args:
        problem: that was solved.
        theta: near which to look.
        directions: how many.
        seed: of the point and the directions.

    Returns:
        Difference of the slopes over the norm of the gradient, parameters in units of their
        standard deviations.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    likelihood = problem.likelihood
    unit = _unit(problem, theta)
    low, high = problem.low + 2 * unit, problem.high - 2 * unit
    point = np.clip(theta + unit * generator.standard_normal(theta.size), low, high)
    gradient = likelihood.evaluate(point).gradient
    step, worst = 0.1, 0.0
    for _ in range(directions):
        direction = unit * generator.standard_normal(theta.size)
        slope = 0.0
        for number, weight in _STENCIL.items():
            values = likelihood.evaluate(point + number * step * direction).objective
            slope += weight * float(np.sum(values)) / step
        worst = max(worst, abs(slope - float(gradient @ direction)))
    return worst / max(float(np.linalg.norm(gradient * unit)), np.finfo(float).tiny)


def nearby(
    problem: Problem, theta: Float[np.ndarray, " parameter"], seed: int = 0
) -> Float[np.ndarray, " parameter"]:
    """A random point about half a standard deviation of each parameter away, within the bounds.

    Args:
        problem: that was solved.
        theta: the solution.
        seed: of the point.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    move = 0.5 * _unit(problem, theta) * generator.standard_normal(theta.size)
    return np.clip(theta + move, problem.low, problem.high)


def rounding(problem: Problem, objective: float) -> float:
    """Differences of the objective below which rounding decides; as the solver counts them.

    Args:
        problem: with data and weights.
        objective: its value.
    """
    likelihood = problem.likelihood
    square = sum(
        float(np.sum(weights * data**2))
        for data, weights in zip(likelihood.data, likelihood.weights, strict=True)
    )
    floor = (1e4 * _EPS) ** 2 * square
    return 1e2 * _EPS * math.sqrt(objective * (square + objective)) + floor


def position(problem: Problem, name: str, patch: int) -> int:
    """Place of a patch in the vector of all patch parameters.

    Raises:
        ValueError: for an unknown parameter or patch.
    """
    counts = problem.patches.counts
    if name not in counts:
        known = ", ".join(counts) or "none"
        raise ValueError(f"parameter: expected one that is fitted ({known}), got {name!r}.")
    if not 0 <= patch < counts[name]:
        raise ValueError(
            f"patch: expected a number from 0 to {counts[name] - 1} of {name}, got {patch}."
        )
    return _starts(problem)[name] + patch


def _starts(problem: Problem) -> dict[str, int]:
    """Place of the first patch of each spectral parameter."""
    counts = problem.likelihood.structure.counts
    starts = np.cumsum([0, *counts])[:-1]
    return {p.name: int(s) for p, s in zip(problem.model.free, starts, strict=True)}


def _moves(
    problem: Problem, patches: Mapping[str, Int[np.ndarray, " chosen"]] | None
) -> dict[str, Float[np.ndarray, " parameter"]]:
    """What moves in each profile, as ones and zeros: everything chosen, then kind by kind."""
    moves = {"all": np.zeros(problem.start.size)}
    for (name, start), count in zip(
        _starts(problem).items(), problem.likelihood.structure.counts, strict=True
    ):
        chosen = np.arange(count) if patches is None or name not in patches else patches[name]
        if chosen.size:
            moves[name] = np.zeros(problem.start.size)
            moves[name][start + chosen] = 1.0
            moves["all"] += moves[name]
    return moves


def _pair_hessian(here: Evaluation, where: list[int]) -> Float[np.ndarray, "2 2"]:
    structure = here.hessian.structure
    linked = np.isin(structure.rows, where) & np.isin(structure.columns, where)
    mixed = float(np.sum(here.hessian.off[linked]))
    (xx, yy) = here.hessian.diagonal[where]
    return np.array([[xx, mixed], [mixed, yy]])


def _unit(
    problem: Problem, theta: Float[np.ndarray, " parameter"]
) -> Float[np.ndarray, " parameter"]:
    """Standard deviation of each parameter with all others held; at most 1 % of the bounds."""
    information = problem.likelihood.evaluate(theta).gauss_newton.diagonal
    return 1.0 / np.sqrt(np.maximum(information, (0.01 * _width(problem)) ** -2.0))


def _width(problem: Problem) -> Float[np.ndarray, " parameter"]:
    """Width of the bounds, one where there are none."""
    width = problem.high - problem.low
    return np.where(np.isfinite(width), width, 1.0)


def _reach(problem: Problem, theta: Float[np.ndarray, " parameter"], at: int) -> float:
    """How far a parameter can go to both sides; at a bound, a hundredth of the bounds' width."""
    room = min(theta[at] - problem.low[at], problem.high[at] - theta[at])
    return float(max(room, 0.01 * _width(problem)[at]))
