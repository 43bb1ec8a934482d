"""How near are trained networks to what maps can tell?

Trains the best network there is for each of the tests T1 to T4, on maps drawn on the fly, tests it
on maps that it has not seen, and puts it beside the limit and what was published. Writes
`inference.json`, row by row, `inference.md` and `inference.png`; rows that are in the file already
are not repeated. With `--models` the models that come with the package are made, with their cards.

    python benchmarks/validation/inference.py
    python benchmarks/validation/inference.py --rows t1-noise5 --models src/skysift/data/models
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import inference_page
import jax
import numpy as np

from skysift.experiment.inference import FIDUCIALS
from skysift.experiment.inference_config import BenchExperiment, Row
from skysift.experiment.inference_problem import simulator_of
from skysift.experiment.inference_published import published
from skysift.inference import limits
from skysift.inference.evaluate import Evaluation, evaluate
from skysift.inference.likelihood import PixelLikelihood
from skysift.inference.limits import Limit
from skysift.inference.model import Model, Network
from skysift.inference.regions import FullSky
from skysift.inference.scores import Scores
from skysift.inference.simulators import GaussianSky, Protocol
from skysift.inference.training import Plan, train

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """A row of a table.

    Args:
        name: of it, and of the model that comes with the package.
        experiment: which maps.
        maps: to train on.
        packaged: whether the model comes with the package.
        nodes: of `Scores`, where fewer than by default make a model that is read in seconds.
    """

    name: str
    experiment: BenchExperiment
    maps: int = 30_000
    packaged: bool = False
    nodes: int | None = None


def cases() -> list[Case]:
    """All rows."""
    test = BenchExperiment
    published_maps = Protocol.AS_PUBLISHED
    out = [
        Case(f"t1-noise{noise:g}", test(Row.T1, noise=noise), 60_000, packaged=True)
        for noise in (0.0, 5.0, 10.0, 15.0)
    ]
    parts = (1.0, 0.5, 0.2, 0.1, 0.05)
    for fsky in parts:
        maps = 60_000 if fsky == 1.0 else 30_000
        nodes = 3 if fsky == 0.5 else None
        out.append(
            Case(f"t2-fsky{fsky}", test(Row.T2, fsky=fsky), maps, packaged=True, nodes=nodes)
        )
    out.append(Case("t3", test(Row.T3), 100_000, packaged=True))
    for fsky in parts:
        wrong = test(Row.T2, fsky=fsky, protocol=published_maps)
        maps = 30_000 if fsky >= 0.5 else 15_000
        out.append(Case(f"t2-fsky{fsky}-as-published", wrong, maps))
    out.append(Case("t3-as-published", test(Row.T3, protocol=published_maps)))
    maps = {16: 20_000, 32: 20_000, 64: 6_000, 128: 3_000}
    for nside in maps:
        for fsky in (1.0, 0.1):
            for depth in (0.0, 6.0):
                name = f"t4-nside{nside}-fsky{fsky}-noise{depth:g}"
                sky = test(Row.T4, nside=nside, fsky=fsky, depth=depth)
                out.append(Case(name, sky, maps[nside]))
    return out


def measure(case: Case, tests: int, seed: int) -> tuple[dict, Model]:
    """Train and test."""
    simulator = simulator_of(case.experiment)
    assert isinstance(simulator, GaussianSky)
    begun, worked = time.perf_counter(), time.process_time()
    if case.nodes is None:
        network = Network.of(simulator)
    else:
        network = Network(Scores.of(simulator, case.nodes))
    plan = Plan(maps=case.maps, validation=min(5_000, case.maps // 3), epochs=20, pilot=case.maps)
    trained = train(simulator, network, seed, plan)
    seconds = time.perf_counter() - begun
    spent = time.process_time() - worked
    joint = case.experiment.test is Row.T4
    limit, points = limit_of(simulator), FIDUCIALS if joint else None
    found = evaluate(trained.model, simulator, tests, seed + 1, fiducials=points, limit=limit)
    figures = {
        "name": case.name,
        "test": case.experiment.test.name,
        "parameters": list(simulator.prior.names),
        "summary": type(network.summary).__name__,
        "maps": case.maps,
        "tests": tests,
        "seed": seed,
        "cores": len(os.sched_getaffinity(0)),
        "seconds": seconds,
        "cpu_seconds": spent,
        "status": trained.status.name,
        "published": [
            {"name": one.name, "values": list(one.values), "other": one.other}
            for one in published(case.experiment)
        ],
        **figures_of(found, limit),
    }
    if joint:
        figures["fiducials"] = fiducials(found, simulator)
    return figures, trained.model


def figures_of(found: Evaluation, limit: Limit | None) -> dict:
    """Figures over the prior; errors in percent are null where the prior reaches to zero."""
    dataset = found.to_dataset()
    kept = {
        name: dataset[name].values.tolist()
        for name in ("rmse", "slope", "coverage_0.68", "coverage_0.95", "rank_pvalue")
    }
    finite = np.isfinite(found.error)
    kept["error"] = [
        float(one) if ok else None for one, ok in zip(found.error, finite, strict=True)
    ]
    kept["error_uncertainty"] = found.uncertainty.tolist()
    kept["expected_slope"] = (
        1.0 - np.mean(found.deviations**2, axis=0) / np.var(found.truths, axis=0)
    ).tolist()
    kept["bias_in_errors"] = [(one.mean / one.uncertainty).tolist() for one in found.biases]
    if limit is not None:
        kept["limit"] = [float(one) if np.isfinite(one) else None for one in limit.error]
        kept["limit_uncertainty"] = limit.uncertainty.tolist()
        kept["limit_rmse"] = limit.rmse.tolist()
        kept["limit_method"] = limit.method.value
    return kept


def limit_of(simulator: GaussianSky) -> Limit | None:
    """What no estimator can do better than, averaged over the prior."""
    if simulator.protocol is Protocol.AS_PUBLISHED or simulator.prior.names[0] == "r":
        return None
    if isinstance(simulator.region, FullSky):
        return limits.full_sky(simulator, 4000)
    return limits.fisher_limit(simulator)


def fiducials(found: Evaluation, simulator: GaussianSky) -> list[dict]:
    """Errors of r and tau at fixed parameters, beside Fisher bounds."""
    cells = None
    if not isinstance(simulator.region, FullSky) and simulator.nside <= 32:
        cells = PixelLikelihood(simulator)
    out = []
    for one in found.biases:
        matrix = limits.fisher(simulator, one.truth) if cells is None else cells.fisher(one.truth)
        out.append(
            {
                "truth": one.truth.tolist(),
                "bias": one.mean.tolist(),
                "bias_uncertainty": one.uncertainty.tolist(),
                "rmse": one.rmse.tolist(),
                "bound": np.sqrt(np.diag(np.linalg.inv(matrix))).tolist(),
            }
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", help="names of rows; all by default")
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, help="folder for the models of the package")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "inference.json"
    done = {one["name"]: one for one in json.loads(file.read_text())} if file.exists() else {}
    order = [case.name for case in cases()]
    unknown = set(options.rows or ()) - set(order)
    if unknown:
        parser.error(f"rows: expected some of {', '.join(order)}, got {', '.join(unknown)}")
    for case in cases():
        again = case.packaged and options.models is not None
        if (options.rows and case.name not in options.rows) or (case.name in done and not again):
            continue
        figures, model = measure(case, options.tests, options.seed)
        done[case.name] = figures
        if again:
            model.figures.update(evaluation=figures)
            model.save(options.models / f"{case.name}.skysift")
            card = inference_page.card(figures, model.family)
            (options.models / f"{case.name}.md").write_text(card)
        rows = [done[name] for name in order if name in done]
        file.write_text(json.dumps(rows, indent=1) + "\n")
        inference_page.write(rows, options.out)
        print(inference_page.line(figures), flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
