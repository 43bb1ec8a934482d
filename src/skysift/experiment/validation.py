"""Checks of a stored separation against what its own problem says about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import stats

from skysift.compsep import Problem as PosedProblem
from skysift.compsep.first_order import minimise_first_order
from skysift.compsep.perturb import (
    Profile,
    Surface,
    cell_pulls,
    gradient_error,
    nearby,
    newton_distance,
    profiles,
    rounding,
    slopes,
    surface,
)
from skysift.compsep.separate import centred
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.fingerprint import content_hash
from skysift.experiment.problem import Problem
from skysift.experiment.replay import stored_report
from skysift.experiment.text import load, unknown
from skysift.report.data import ReportData
from skysift.report.sheet import number
from skysift.report.validate_figures import GradientMaps
from skysift.report.validation import Check, Validation, Verdict
from skysift.report.views import ComponentView, ParameterView
from skysift.store.run import EXPERIMENT, Run

_RARE = 1e-6
"""Probability below which a check that draws from noise fails."""


@dataclass(frozen=True)
class ValidationOptions:
    """How to look at a solution.

    Args:
        scales: lengths of a step, in the units of the parameters.
        steps: number of steps to each side.
        perturb: which patches to move, per spectral parameter: `all`, `none`, `min`, `max`, numbers
            `3,7` or a range `0:10`; all by default.
        contour: two patch parameters such as `beta_dust:0`, for the objective over both.
        iterations: of the first-order minimiser, 0 to leave it out.
        seed: of the random directions.
    """

    scales: tuple[float, ...] = (1e-2, 1e-3)
    steps: int = 5
    perturb: Mapping[str, str] = field(default_factory=dict)
    contour: tuple[str, str] | None = None
    iterations: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations: expected 0 or more, got {self.iterations}.")


@dataclass(frozen=True, eq=False)
class _Stored:
    """A problem posed again, and the solution that a run holds of it."""

    problem: PosedProblem
    theta: Float[np.ndarray, " parameter"]
    errors: Float[np.ndarray, " parameter"]
    objective: float


def validate(
    run: Run, options: ValidationOptions | None = None, sky: Path | None = None
) -> Validation:
    """Check a stored separation.

    Args:
        run: of kind `separate`.
        options: how to look.
        sky: simulated sky to compare with; by default the one of the experiment, if it is there and
            unchanged.

    Raises:
        ValueError: for a run of another kind, inputs that are gone or have changed, or options that
            do not suit it.
    """
    options = options or ValidationOptions()
    data = stored_report(run, sky)
    stored = _stored(run)
    checks = [_same_objective(stored)]
    lines: list[Profile] = []
    area: Surface | None = None
    gradients: tuple[GradientMaps, ...] = ()
    if stored.theta.size:
        patches = _chosen(stored, options.perturb)
        lines = profiles(stored.problem, stored.theta, options.scales, options.steps, patches)
        if options.contour is not None:
            one, other = (_patch(text) for text in options.contour)
            area = surface(stored.problem, stored.theta, (one, other))
        checks += [
            _rises(stored, lines),
            _flattest(stored, lines),
            _stationary(stored),
            _differences(stored, options.seed),
        ]
        if options.iterations:
            checks.append(_nothing_lower(stored, options))
        gradients = _gradients(stored, min(options.scales))
    checks += [*_chi2(data), *_coverage(data), *_pulls(data)]
    return Validation(tuple(checks), data, tuple(lines), area, gradients)


def _stored(run: Run) -> _Stored:
    """The problem of a run, read again.

    Raises:
        ValueError: if its inputs are not what they were, or no longer give the stored patches.
    """
    for file, content in run.manifest.inputs.items():
        if not Path(file).is_file():
            raise ValueError(
                f"run: expected its input {file}, got no such file. Put it back, or validate where "
                "the run was made."
            )
        if content_hash(file) != content:
            raise ValueError(
                f"run: expected its input {file} as it was, got one that has changed since. "
                "Separate again."
            )
    problem = centred(Problem.of(load(run.path / EXPERIMENT, SeparateExperiment)).posed())
    dataset = run.dataset()
    if not np.array_equal(problem.maps.grid.index, dataset["cell"].values):
        raise ValueError(
            f"run: expected the cells of {run.path} from its experiment, got others. Separate "
            "again with this version."
        )
    values, errors = [np.zeros(0)], [np.zeros(0)]
    for parameter in problem.model.free:
        name = parameter.name
        if not np.array_equal(problem.patches.labels[name], dataset[f"{name}_patch"].values):
            raise ValueError(
                f"run: expected the patches of {name} in {run.path} from its experiment, got "
                "others. Separate again with this version."
            )
        values.append(_numbers(dataset, name))
        errors.append(_numbers(dataset, f"{name}_error"))
    return _Stored(
        problem, np.concatenate(values), np.concatenate(errors), float(dataset.attrs["objective"])
    )


def _gradients(stored: _Stored, step: float) -> tuple[GradientMaps, ...]:
    problem, theta = stored.problem, stored.theta
    beside = np.clip(theta + step, problem.low, problem.high)
    return (
        GradientMaps("at the solution", slopes(problem, theta)),
        GradientMaps(f"all moved by {step:g}", slopes(problem, beside)),
        GradientMaps("each cell by itself", cell_pulls(problem, theta)),
    )


def _numbers(dataset: xr.Dataset, name: str) -> Float[np.ndarray, " patch"]:
    return dataset[name].values.astype(float)


def _patch(text: str) -> tuple[str, int]:
    name, _, patch = text.partition(":")
    if not patch.isdigit():
        raise ValueError(
            f"contour: expected two patches such as beta_dust:0 temp_dust:0, got {text!r}."
        )
    return name.replace("-", "_"), int(patch)


def _chosen(stored: _Stored, perturb: Mapping[str, str]) -> dict[str, Int[np.ndarray, " chosen"]]:
    """Numbers of the patches to move."""
    problem, chosen = stored.problem, {}
    names = [parameter.name for parameter in problem.model.free]
    values = dict(zip(names, problem.likelihood.structure.split(stored.theta), strict=True))
    for key, text in perturb.items():
        name = key.replace("-", "_")
        if name not in values:
            raise ValueError(f"perturb: {unknown('parameter', name, names)}")
        chosen[name] = _numbers_of(name, text.strip(), values[name])
    return chosen


def _numbers_of(
    name: str, text: str, values: Float[np.ndarray, " patch"]
) -> Int[np.ndarray, " chosen"]:
    everything = np.arange(values.size)
    match text:
        case "all":
            return everything
        case "none":
            return everything[:0]
        case "min":
            return np.array([np.argmin(values)])
        case "max":
            return np.array([np.argmax(values)])
    try:
        if ":" in text:
            first, last = (int(end) if end else None for end in text.split(":"))
            numbers = everything[first:last]
        else:
            numbers = np.array(sorted({int(one) for one in text.split(",")}))
    except ValueError:
        numbers = np.zeros(0, int)
    if numbers.size == 0 or numbers.min() < 0 or numbers.max() >= values.size:
        raise ValueError(
            f"perturb: expected all, none, min, max, numbers such as 3,7 or a range such as 0:10 "
            f"of the {values.size} patches of {name}, got {text!r}."
        )
    return numbers


def _same_objective(stored: _Stored) -> Check:
    """The stored objective is that of the stored parameters and the maps."""
    here = float(np.sum(stored.problem.likelihood.evaluate(stored.theta).objective))
    limit = 1e-9 * abs(here) + rounding(stored.problem, here)
    return Check.of(
        "objective",
        abs(here - stored.objective) <= limit,
        f"{here:.12g} from the maps and the stored parameters, {stored.objective:.12g} stored",
        f"equal to {limit:.1e}",
    )


def _rises(stored: _Stored, lines: list[Profile]) -> Check:
    lowest = min(lines, key=lambda line: float(line.rise.min()))
    step = int(lowest.steps[np.argmin(lowest.rise)])
    least = float(lowest.rise.min())
    limit = rounding(stored.problem, stored.objective)
    where = f"step {step:+d} of {lowest.scale:g}, {lowest.moved} moved"
    found = f"{least:.3g} below the solution at {where}" if least < -limit else "nothing lower"
    points = sum(line.steps.size - 1 for line in lines)
    return Check.of(
        "objective around the solution",
        least >= -limit,
        f"{found} in {points} points",
        "the solution is the lowest of each line",
    )


def _flattest(stored: _Stored, lines: list[Profile]) -> Check:
    """Each gradient norm is least where the solution is, where its own parameters are moved."""
    worst, where = 0.0, ""
    for line in lines:
        for kind, norms in line.gradient.items():
            at_solution = float(norms[line.steps == 0][0])
            ratio = at_solution / max(float(norms.min()), np.finfo(float).tiny)
            if line.moved in ("all", kind) and at_solution > norms.min() and ratio > worst:
                worst, where = ratio, f"{kind}, {line.moved} moved by {line.scale:g}"
    found = f"{worst:.3g} times the least of the line ({where})" if worst else "least everywhere"
    return Check.of("gradient norms", worst == 0.0, found, "the least of each line at the solution")


def _stationary(stored: _Stored) -> Check:
    """The solver's own criterion, in the exact Hessian."""
    problem = stored.problem
    distance = newton_distance(problem, stored.theta, np.isfinite(stored.errors))
    blur = math.sqrt(10 * rounding(problem, stored.objective))
    limit = 10 * problem.options.tolerance * math.sqrt(2 * stored.objective) + blur
    found = "a Hessian that is not positive definite"
    if math.isfinite(distance):
        unit = " (1 is a standard deviation)" if problem.measurements.calibrated else ""
        found = f"the minimum is predicted {distance:.2e} away{unit}"
    return Check.of("distance to the minimum", distance <= limit, found, f"at most {limit:.1e}")


def _differences(stored: _Stored, seed: int) -> Check:
    error = gradient_error(stored.problem, stored.theta, seed=seed)
    return Check.of(
        "gradient against finite differences",
        error <= 1e-6,
        f"{error:.1e} of the gradient in the worst of 5 random directions",
        "at most 1e-06",
    )


def _nothing_lower(stored: _Stored, options: ValidationOptions) -> Check:
    """Another minimiser, with other algebra and another gradient, started beside the solution.

    At the solution itself its line searches would only weigh rounding.
    """
    problem, theta = stored.problem, stored.theta
    box = problem.low, problem.high
    _, (here, *_) = minimise_first_order(problem.likelihood, theta, *box, iterations=1)
    start = nearby(problem, theta, options.seed)
    _, history = minimise_first_order(problem.likelihood, start, *box, options.iterations)
    least = min(history) - here
    limit = 1e-10 * stored.objective + 10 * rounding(problem, stored.objective)
    found = f"{-least:.3g} lower" if least < -limit else "nothing lower"
    found += (
        f" in {len(history)} iterations of L-BFGS from {history[0] - here:.3g} above; at best "
        f"{max(least, 0.0):.1e} above"
    )
    same = abs(here - stored.objective) <= 1e-7 * stored.objective + 100 * limit
    if not same:
        found += f"; its objective is {here:.10g}, stored {stored.objective:.10g}"
    return Check.of(
        "first-order minimiser",
        least >= -limit and same,
        found,
        f"the same objective, and nothing lower by {limit:.1e}",
    )


def _chi2(data: ReportData) -> Iterator[Check]:
    names = ("total χ²", "distribution of χ²")
    if not data.weights_are_noise:
        why = "the weights are no noise variances, or the maps have less noise than they say"
        for name in names:
            yield Check(name, Verdict.NONE, f"χ²/dof {number(data.reduced_chi2)}", why)
        return
    dof, used = data.effective_dof, data.effective_dof > 0
    total, expected = float(np.nansum(data.chi2)), float(dof.sum())
    sigma = (total - expected) / math.sqrt(2 * expected)
    yield Check.of(
        names[0],
        abs(sigma) <= 5,
        f"{total:.6g} of {expected:.6g} degrees of freedom, {sigma:+.1f} σ",
        "within 5 σ; above: the laws or patches cannot follow the sky",
    )
    place = stats.chi2.cdf(data.chi2[used], dof[used])
    distance = float(stats.kstest(place, "uniform").statistic)
    # Cells share the degrees of freedom of their patches, which the law below leaves out.
    limit = float(stats.kstwo.isf(_RARE, place.size)) + 0.01
    yield Check.of(
        names[1],
        distance <= limit,
        f"Kolmogorov distance {distance:.3f} from the expected law over {place.size:,} cells",
        f"at most {limit:.3f}",
    )


def _coverage(data: ReportData) -> Iterator[Check]:
    for parameter in data.parameters:
        name = f"coverage of {parameter.name}"
        if parameter.truth is None:
            yield Check(name, Verdict.NONE, "–", "the input is not known")
        elif not data.weights_are_noise:
            yield Check(name, Verdict.NONE, "–", "the errors have no scale to compare with")
        else:
            yield _parameter_coverage(name, parameter)


def _parameter_coverage(name: str, parameter: ParameterView) -> Check:
    truth, cells = parameter.patch_truth, parameter.truth
    assert truth is not None
    assert cells is not None
    known = np.isfinite(parameter.errors) & (parameter.errors > 0)
    labels = parameter.labels
    spread = np.bincount(labels, (cells - truth[labels]) ** 2, truth.size)
    spread = np.sqrt(spread / parameter.cells_per_patch)
    # Where the input varies within a patch, its mean is not what the patch's value estimates.
    uniform = known & (spread <= 0.3 * np.where(known, parameter.errors, 0.0))
    shown = uniform if uniform.any() else known
    pulls = (parameter.values - truth)[shown] / parameter.errors[shown]
    found = f"no patch of {known.size:,} has an error"
    if pulls.size:
        one, two = (float(np.mean(np.abs(pulls) < k)) for k in (1, 2))
        found = f"{one:.0%} within 1 σ, {two:.0%} within 2 σ of {pulls.size:,} patches"
    if not uniform.any():
        why = "the input varies within the patches by more than the errors"
        return Check(name, Verdict.NONE, found, why if pulls.size else "there are no errors")
    square = float(np.sum(pulls**2))
    found += f"; rms pull {math.sqrt(square / pulls.size):.2f}"
    chance = 2 * min(stats.chi2.sf(square, pulls.size), stats.chi2.cdf(square, pulls.size))
    return Check.of(
        name,
        bool(chance >= _RARE),
        found,
        f"68 % and 95 %; a sum of squared pulls that is less rare than {_RARE:g}",
    )


def _pulls(data: ReportData) -> Iterator[Check]:
    for component in data.components:
        name = f"pulls of {component.title}"
        if component.truth is None:
            yield Check(name, Verdict.NONE, "–", "the input is not known")
        elif not data.weights_are_noise:
            yield Check(name, Verdict.NONE, "–", "the errors have no scale to compare with")
        else:
            yield _component_pulls(name, component)


def _component_pulls(name: str, component: ComponentView) -> Check:
    assert component.truth is not None
    pulls = ((component.values - component.truth) / component.errors).ravel()
    pulls = pulls[np.isfinite(pulls)]
    if pulls.size == 0:
        return Check(name, Verdict.NONE, "–", "no cell has an error")
    mean, rms = float(pulls.mean()), float(np.sqrt(np.mean(pulls**2)))
    # Cells of a patch err together: the scatter of the rms is not that of independent numbers.
    margin = 0.1 + 5 / math.sqrt(2 * pulls.size)
    return Check.of(
        name,
        abs(rms - 1) <= margin and abs(mean) <= margin,
        f"mean {mean:+.2f}, rms {rms:.2f} over {pulls.size:,} values",
        f"0 and 1 within {margin:.2f}; a larger rms is a residual that the errors do not cover",
    )
