"""From an experiment to the patches that its maps ask for, as a run."""

from __future__ import annotations

import enum
import hashlib
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from skysift.compsep import GaussianPrior, Problem, Separation, solve
from skysift.compsep.adaptive import adaptive_patches, informed_patches
from skysift.compsep.choose import (
    NO_PRIOR,
    Candidate,
    PatchChoice,
    Trial,
    choose_among,
    choose_patches,
    kmeans_ladder,
)
from skysift.compsep.criteria import cmb_variance, evidence, predictive
from skysift.compsep.shrinkage import falling_patches, learn_scatter
from skysift.compsep.variants import with_patches, with_priors
from skysift.cosmology.forecast import Forecast
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.problem import Problem as Inputs
from skysift.experiment.runs import Order
from skysift.experiment.text import to_text
from skysift.patches import Patches
from skysift.report.choosing import ChoiceView, write_choice_page
from skysift.report.sheet import Origin
from skysift.store.fits import Column, write_columns
from skysift.store.manifest import Manifest
from skysift.store.run import EXPERIMENT, REPORT, drafted

LABELS = "patches"
"""Folder of the label maps."""

CHOICE = "choice.yaml"
"""All that was tried."""

AROUND = "around"
"""Folder of the label maps of larger patches, that priors are centred on."""

RELAX = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, NO_PRIOR)
"""Factors on the widths of learnt priors that are tried."""

_COARSER = (0, 1, 2, 3)
_ERRORS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Method(enum.Enum):
    """How patches are chosen.

    forecast: nested cells and priors of the smallest expected |r| + sigma, the priors centred on a
    fit in larger nested cells. adaptive: by the same score, the larger patches of equal
    information, small where the sky is bright. The others choose k-means counts: variance of the
    CMB, evidence, or predictive error. split divides cells where the data show variation.
    """

    FORECAST = "forecast"
    ADAPTIVE = "adaptive"
    VARIANCE = "variance"
    EVIDENCE = "evidence"
    PREDICTIVE = "predictive"
    SPLIT = "split"


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and how to use it.

    Args:
        fit: separation with it.
        priors: that belong to it.
        table: all that was tried.
        command: that separates with it.
    """

    fit: Separation
    priors: dict[str, GaussianPrior]
    table: tuple[Trial, ...]
    command: str


def chosen_patches(
    problem: Problem,
    method: Method,
    seed: int = 42,
    on_trial: Callable[[Trial], None] | None = None,
) -> PatchChoice:
    """Choose patches for a problem.

    Args:
        problem: its own patches and priors are ignored.
        method: how.
        seed: of k-means patches and of the sky that forecasts stand on.
        on_trial: called after each trial.

    Raises:
        ValueError: for weights that are no inverse noise variances, where the method needs them, or
            a model without free parameters.
    """
    names = [parameter.name for parameter in problem.model.free]
    if not names:
        raise ValueError(
            "model: expected free spectral parameters, got none. Take some out of --fixed."
        )
    if method is Method.SPLIT:
        fit = adaptive_patches(problem)
        trial = Trial(fit.patches.counts, {}, NO_PRIOR, predictive(fit), fit.status.converged)
        return PatchChoice(fit, {}, (trial,), trial)
    if method in (Method.FORECAST, Method.ADAPTIVE):
        score, priors = Forecast.of(problem, seed), learn_scatter(problem)
        if method is Method.FORECAST:
            return choose_patches(
                problem,
                score,
                priors=priors,
                relax=RELAX,
                coarser=_COARSER,
                seed=seed,
                on_trial=on_trial,
            )
        sizes = informed_candidates(problem, priors)
        return choose_among(problem, score, sizes, priors=priors, relax=RELAX, on_trial=on_trial)
    criterion = {
        Method.VARIANCE: cmb_variance,
        Method.EVIDENCE: evidence,
        Method.PREDICTIVE: predictive,
    }[method]
    ladders = {name: kmeans_ladder(problem.maps.grid) for name in names}
    return choose_patches(problem, criterion, ladders, seed=seed, on_trial=on_trial)


def choice_run(
    experiment: SeparateExperiment,
    method: Method,
    order: Order,
    on_trial: Callable[[Trial], None] | None = None,
) -> Chosen | None:
    """Choose, and write `patches/<parameter>.fits`, `choice.yaml` and a page.

    Args:
        experiment: of the separation that the patches are for; its patches and priors are ignored.
        method: how.
        order: where the run goes.
        on_trial: called after each trial.

    Returns:
        The choice; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    mark = Fingerprint.of(experiment)
    config_hash = hashlib.sha256(f"{mark.config_hash} {method.value}".encode()).hexdigest()
    mark = Fingerprint(config_hash, mark.inputs)
    if order.earlier(mark) is not None:
        return None
    head = Manifest("choose-patches", config_hash, order.command, experiment.seed)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        with draft.stage("read"):
            inputs = Inputs.of(experiment)
        order.check()
        with draft.stage("choose"):
            found = chosen_patches(inputs.posed(), method, experiment.seed, on_trial)
        order.check()
        command = separate_command(order.output, found)
        draft.summary.update(
            {f"{name} patches": count for name, count in found.counts.items()}
            | {"method": method.value, "score": found.best.score, "trials": len(found.table)}
        )
        with draft.stage("write"):
            _write(draft.directory, found, experiment)
        with draft.stage("report"):
            write_choice_page(
                draft.directory / REPORT,
                ChoiceView(found, method.value),
                separate_command=command,
                origin=Origin(text, order.command, draft.manifest(head).facts()),
            )
    return Chosen(found.fit, found.priors, found.table, command)


def separate_command(output: Path, found: PatchChoice) -> str:
    """How to separate with a choice, all else as in its experiment."""
    words = ["skysift", "separate", "--experiment", str(output / EXPERIMENT)]
    for folder, patches in ((LABELS, found.patches), (AROUND, found.around)):
        for parameter in () if patches is None else patches.parameters:
            name = parameter.replace("_", "-")
            words += [f"--{folder}.{name}", f"file:{output / folder / parameter}.fits"]
    for parameter, prior in found.priors.items():
        name = parameter.replace("_", "-")
        words += [f"--priors.{name}", f"{prior.mean:.8g}", f"{prior.sigma:.8g}"]
    return shlex.join([*words, "-o", f"{output}-separated"])


def informed_candidates(problem: Problem, priors: dict[str, GaussianPrior]) -> list[Candidate]:
    """Fine patches around larger ones of equal information, from small to large errors.

    Args:
        problem: on HEALPix cells; its own patches and priors are ignored.
        priors: learnt from it.
    """
    grid = problem.maps.grid
    nside = max(grid.require_nside() // 8, 1)
    large = with_patches(problem, Patches.multires(grid, **dict.fromkeys(priors, nside)))
    fit = solve(with_priors(large, priors))
    errors = [{name: factor * p.sigma for name, p in priors.items()} for factor in _ERRORS]
    fine = falling_patches(problem)
    return [Candidate(fine, informed_patches(fit, error)) for error in errors]


def _write(folder: Path, found: PatchChoice, experiment: SeparateExperiment) -> None:
    grid = found.patches.grid
    for part, patches in ((LABELS, found.patches), (AROUND, found.around)):
        for name, labels in ({} if patches is None else patches.labels).items():
            column = Column(np.asarray(labels, float))
            path = folder / part / f"{name}.fits"
            write_columns(path, {"PATCH": column}, grid, frame=experiment.frame)
    rows = [
        {
            "patches": dict(trial.counts),
            "around": dict(trial.around),
            "relax": "none" if math.isinf(trial.relax) else float(trial.relax),
            "score": float(trial.score),
            "converged": bool(trial.converged),
        }
        for trial in found.table
    ]
    priors = {name: [p.mean, p.sigma] for name, p in found.priors.items()}
    around = {} if found.around is None else found.around.counts
    told = {"patches": found.counts, "around": around, "priors": priors, "tried": rows}
    (folder / CHOICE).write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
