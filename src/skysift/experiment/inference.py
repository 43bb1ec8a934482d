"""Runs of networks: trained or taken, tested, beside what maps can tell at best."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.inference_config import (
    BenchExperiment,
    Body,
    LearningExperiment,
    Row,
    TrainExperiment,
)
from skysift.experiment.inference_problem import (
    model_file,
    network_of,
    plan_of,
    row_of,
    simulator_of,
)
from skysift.experiment.inference_published import published
from skysift.experiment.runs import Order
from skysift.experiment.text import load, to_text
from skysift.inference import limits
from skysift.inference.evaluate import Evaluation, evaluate
from skysift.inference.limits import Limit
from skysift.inference.model import Model, Network
from skysift.inference.networks import learnt
from skysift.inference.regions import FullSky, RandomCaps, Shared
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Protocol, Split
from skysift.inference.summaries import Filtered
from skysift.inference.training import Epoch, Progress, Status, Trained, train
from skysift.report.inference_view import LEVEL, EvaluationView
from skysift.report.sheet import Origin
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.manifest import Fact, Manifest
from skysift.store.run import EXPERIMENT, REPORT, Run, drafted

if TYPE_CHECKING:
    import xarray as xr

KINDS = (BenchExperiment.kind, TrainExperiment.kind)
"""Kinds of such runs in their manifests."""

MODEL, EVALUATION = "model.skysift", "evaluation.nc"
"""Products: the model, and what its page shows."""

DRAWS = 2000
"""Of a posterior that is drawn."""

FIDUCIALS = np.array([(r, tau) for r in (0.001, 0.003, 0.006) for tau in (0.04, 0.054, 0.07)])
"""Where torch-harmonics-healpix tests T4."""


@dataclass(frozen=True)
class Watch:
    """What is told while a network is trained and tested.

    Args:
        stage: called with the name of what begins.
        train: called with how far training is.
    """

    stage: Callable[[str], None] = lambda name: None
    train: Callable[[Progress], None] = lambda progress: None


UNWATCHED = Watch()
"""Of work that nobody looks at."""


@dataclass(frozen=True, eq=False)
class Learnt:
    """A model, and how good it is.

    Args:
        simulator: of the maps.
        model: trained or taken.
        trained: how, `None` for a model that was taken.
        evaluation: of the model.
        limit: what no estimator can do better than, and how that was found.
    """

    simulator: AbstractSimulator
    model: Model
    trained: Trained | None
    evaluation: Evaluation
    limit: Limit | None

    @property
    def converged(self) -> bool:
        """Whether training did, if there was one."""
        return self.trained is None or self.trained.status is Status.CONVERGED


def learn(experiment: LearningExperiment, folder: Path, watch: Watch = UNWATCHED) -> Learnt:
    """Train a network, or take a model, and test it.

    Args:
        experiment: what to do.
        folder: where the state of a training is kept after each epoch.
        watch: what is told meanwhile.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    require_possible(experiment)
    simulator = simulator_of(experiment)
    trained = None
    if isinstance(experiment, BenchExperiment) and experiment.model is not None:
        model = Model.read(model_file(experiment.model))
    else:
        watch.stage("preparing")
        network = network_of(experiment, simulator)
        plan = plan_of(experiment)
        trained = train(
            simulator, network, experiment.seed, plan, folder=folder, report=watch.train
        )
        model = trained.model
    watch.stage("limit")
    limit = _limit(experiment, simulator)
    watch.stage("tests")
    points = FIDUCIALS if row_of(experiment) is Row.T4 else None
    found = evaluate(
        model, simulator, experiment.tests, experiment.seed, fiducials=points, limit=limit
    )
    return Learnt(simulator, model, trained, found, found.limit)


def inference_run(
    experiment: LearningExperiment, order: Order, watch: Watch = UNWATCHED
) -> EvaluationView | None:
    """Train or take a model, test it, and write both with a page.

    The state of a training is kept in a folder beside the run (`DIR.tasks`) until the run is
    complete: an interrupted one goes on where it was.

    Args:
        experiment: what to do.
        order: where the run goes.
        watch: what is told meanwhile.

    Returns:
        What the page shows; `None` if the run is complete already.

    Raises:
        ValueError: naming what is wrong and what to do.
        OSError: if the disk is full.
    """
    assert isinstance(experiment, (BenchExperiment, TrainExperiment))
    mark = Fingerprint.of(experiment)
    if order.earlier(mark) is not None:
        return None
    head = Manifest(experiment.kind, mark.config_hash, order.command, experiment.seed)
    kept = _kept(experiment, order)
    with drafted(order.output, head) as draft:
        draft.inputs.update(mark.inputs)
        text = to_text(experiment)
        draft.write_text(EXPERIMENT, text)
        with draft.stage("infer"):
            found = learn(experiment, kept, watch)
        order.check()
        with draft.stage("write"):
            found.model.save(draft.directory / MODEL)
            dataset = dataset_of(experiment, found)
            write_dataset(draft.directory / EVALUATION, dataset)
        view = EvaluationView(dataset, published(experiment))
        draft.summary.update(summary(experiment, found))
        watch.stage("report")
        with draft.stage("report"):
            from skysift.report.inference import write_evaluation_page

            origin = Origin(text, order.command, draft.manifest(head).facts())
            write_evaluation_page(draft.directory / REPORT, view, origin=origin)
    shutil.rmtree(kept, ignore_errors=True)
    with contextlib.suppress(OSError):
        kept.parent.rmdir()  # unless it holds what is left of another training
    return view


def planned(experiment: LearningExperiment) -> tuple[str, ...]:
    """What a run will do, in words, without the linear algebra of filters.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    require_possible(experiment)
    simulator, plan = simulator_of(experiment), plan_of(experiment)
    lines = [f"maps: {maps_in_words(experiment, simulator)}"]
    if isinstance(experiment, BenchExperiment) and experiment.model is not None:
        path = model_file(experiment.model)
        return (*lines, f"model: {path}, {network_in_words(Model.read(path).network)}")
    body = experiment.network if isinstance(experiment, TrainExperiment) else Body.BEST
    told, rounds = body.value, 1
    if body not in (Body.BEST, Body.FILTERS):
        network, rounds = network_of(experiment, simulator), plan.epochs
        told = f"{network_in_words(network)}, {network.summary.size:,} numbers of a map"
    return (
        *lines,
        f"network: {told}",
        f"{rounds * plan.maps + plan.validation:,} maps to draw, {plan.epochs} epochs of "
        f"{plan.maps // plan.batch:,} steps",
    )


def stored_view(run: Run) -> EvaluationView:
    """What the page of a stored run shows.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    file = run.path / EXPERIMENT
    bench = run.manifest.kind == BenchExperiment.kind
    experiment = load(file, BenchExperiment) if bench else load(file, TrainExperiment)
    return EvaluationView(read_dataset(run.path / EVALUATION), published(experiment))


def require_possible(experiment: LearningExperiment) -> None:
    """Refuse numbers that make no sense, before anything is computed.

    Raises:
        ValueError: naming the number.
    """
    for name, least in (("tests", 20), ("limit_maps", 0), ("seed", 0)):
        value = getattr(experiment, name)
        if value < least:
            default = getattr(LearningExperiment(), name)
            raise ValueError(
                f"{name}: expected {least} or more, got {value}. Say --{name.replace('_', '-')} "
                f"{default}."
            )
    plan_of(experiment)


def summary(experiment: LearningExperiment, found: Learnt) -> dict[str, Fact]:
    """The result in a few numbers, for tables of runs."""
    result, names = found.evaluation, found.simulator.prior.names
    numbers: dict[str, Fact] = {
        "simulator": maps_in_words(experiment, found.simulator),
        "nside": found.simulator.nside,
        "converged": found.converged,
    }
    if found.trained is not None:
        numbers["epochs"] = found.trained.history[-1].number
    for place, name in enumerate(names):
        numbers[f"{name} error %"] = _known(result.error[place])
        numbers[f"{name} rmse"] = float(result.rmse[place])
        if found.limit is not None:
            numbers[f"{name} rmse limit"] = float(found.limit.rmse[place])
        numbers[f"{name} slope"] = float(result.slope[place])
        numbers[f"{name} coverage"] = float(result.coverage(LEVEL)[place])
    return numbers


def dataset_of(experiment: LearningExperiment, found: Learnt) -> xr.Dataset:
    """All that the page shows: the evaluation, the prior, the training and an example."""
    prior, simulator = found.simulator.prior, found.simulator
    values, truth, draws = _example(found, experiment.seed)
    columns: dict[str, Any] = {
        "low": ("parameter", prior.low),
        "high": ("parameter", prior.high),
        "example": (("stokes", "cell"), values, {"units": simulator.unit.value}),
        "example_truth": ("parameter", truth),
        "example_draws": (("draw", "parameter"), draws),
    }
    if found.evaluation.biases and _is_known(simulator):
        assert isinstance(simulator, GaussianSky)
        points = [one.truth for one in found.evaluation.biases]
        bounds = [np.sqrt(np.diag(np.linalg.inv(limits.fisher(simulator, at)))) for at in points]
        columns["fisher_deviation"] = (("fiducial", "parameter"), np.stack(bounds))
    if found.trained is not None:
        columns |= _history(found.trained.history)
    units = [one.unit for one in prior.parameters]
    coordinates = {"unit": ("parameter", units), "stokes": list(simulator.stokes.value)}
    facts = {
        "title": maps_in_words(experiment, simulator),
        "network": network_in_words(found.model.network),
        "weights": _weights(found.model),
        "converged": int(found.converged),
        "status": "" if found.trained is None else found.trained.status.value,
        "limit": "" if found.limit is None else found.limit.method.value,
    }
    return (
        found.evaluation.to_dataset().assign(columns).assign_coords(coordinates).assign_attrs(facts)
    )


def maps_in_words(experiment: LearningExperiment, simulator: AbstractSimulator) -> str:
    """The maps of a simulator, for headings."""
    row = row_of(experiment)
    own = experiment.simulator if isinstance(experiment, TrainExperiment) else ""
    parts = [own if row is None else row.name, f"nside {simulator.nside}"]
    if experiment.depth:
        parts.append(f"noise {experiment.depth:g} µK arcmin")
    elif experiment.noise:
        parts.append(f"noise {experiment.noise:g}")
    region = simulator.region
    if isinstance(region, Shared):
        parts.append(f"f_sky {region.grid.fsky:.3g}")
    elif isinstance(region, RandomCaps):
        parts.append(f"random caps of f_sky {region.fsky:g}")
    if experiment.protocol is Protocol.AS_PUBLISHED:
        parts.append("as published")
    return " · ".join(parts)


def network_in_words(network: Network) -> str:
    """A network, for headings."""
    summary = network.summary
    name = type(summary).__name__
    if isinstance(summary, Filtered):
        name = f"{name} ({summary.kind.name.lower().replace('_', '-')})"
    return f"{name}, {type(network.kind).__name__}"


def _kept(experiment: BenchExperiment | TrainExperiment, order: Order) -> Path:
    """Folder of the training: the same however it is tested."""
    plain = dataclasses.replace(experiment, tests=1000, limit_maps=0)
    digest = Fingerprint.of(plain).config_hash[:16]
    return order.output.with_name(f"{order.output.name}.tasks") / digest


def _limit(experiment: LearningExperiment, simulator: AbstractSimulator) -> Limit | None:
    one_mask = isinstance(simulator.region, (FullSky, Shared))
    if not experiment.limit_maps or not one_mask or not _is_known(simulator):
        return None
    assert isinstance(simulator, GaussianSky)
    return limits.limit(simulator, experiment.limit_maps, experiment.seed)


def _is_known(simulator: AbstractSimulator) -> bool:
    """Whether likelihoods of its maps are, for few enough parameters to go through."""
    return (
        isinstance(simulator, GaussianSky)
        and simulator.protocol is Protocol.PHYSICAL
        and simulator.prior.size <= 2
    )


def _example(
    found: Learnt, seed: int
) -> tuple[Float[np.ndarray, "stokes cell"], Float[np.ndarray, " parameter"], np.ndarray]:
    """A map, NaN where nothing is seen, its parameters, and draws of its posterior."""
    key = jax.random.fold_in(Split.TEST.key(seed), DRAWS)
    parameters, observed = found.simulator.batch(key, 1)
    draws = found.model.posterior(observed).sample(key, DRAWS)[0]
    values = np.where(np.asarray(observed.mask[0]), np.asarray(observed.values[0], float), np.nan)
    return values, np.asarray(parameters[0]), draws


def _history(history: tuple[Epoch, ...]) -> dict[str, Any]:
    return {
        "training_loss": (("epoch", "member"), np.array([one.training for one in history])),
        "validation_loss": (("epoch", "member"), np.array([one.validation for one in history])),
        "validation_rmse": (("epoch", "parameter"), np.array([one.error for one in history])),
    }


def _weights(model: Model) -> int:
    leaves = jax.tree.leaves(eqx.filter(model.members, learnt(model.members)))
    return sum(int(one.size) for one in leaves)


def _known(value: float) -> float | None:
    """A number, or nothing, which JSON can say."""
    return float(value) if math.isfinite(value) else None
