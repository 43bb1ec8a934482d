"""skysift infer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, typed_command, warn
from skysift.cli.infer_progress import InferProgress
from skysift.cli.interrupts import check
from skysift.experiment.config import BenchExperiment, PredictExperiment, TrainExperiment
from skysift.experiment.text import to_text

if TYPE_CHECKING:
    from skysift.report.sheet import Listing

BENCH_EXAMPLES = """
Examples:

    skysift infer bench T1 -o runs/t1
    skysift infer bench T1 --noise 5 -o runs/t1-noise5
    skysift infer bench T2 --fsky 0.2 -o runs/t2-cap
    skysift infer bench T4 --depth 6 --maps 20000 --epochs 10 -o runs/t4
    skysift infer bench T3 --model runs/t3/model.skysift --seed 5 -o runs/again
"""

TRAIN_EXAMPLES = """
Examples:

    skysift infer train network.yaml -o runs/network
    skysift infer train network.yaml --network pixel --seed 1 -o runs/pixel
    skysift infer train --simulator t2 --fsky 0.1 --network harmonic --widths 16 16 -o runs/t2

A file says the same as the options:

    simulator: t2            # or mine.py:simulator
    mask: mask.fits
    network: harmonic
    widths: [16, 16]
    epochs: 40
"""

PREDICT_EXAMPLES = """
Examples:

    skysift infer predict runs/t3/model.skysift sky.fits -o runs/tau
    skysift infer predict runs/t2/model.skysift maps.npy --mask mask.fits -o runs/peaks
    skysift infer predict runs/t3/model.skysift maps.npz --field qu --unit uK_CMB -o runs/many
"""


def commands() -> App:
    """The commands of networks."""
    app = App(
        name="infer",
        help="Parameters of maps by networks: train them, test them, and take them.",
    )
    app.command(bench, help_epilogue=BENCH_EXAMPLES)
    app.command(train, help_epilogue=TRAIN_EXAMPLES)
    app.command(predict, help_epilogue=PREDICT_EXAMPLES)
    return app


def bench(
    experiment_: Annotated[BenchExperiment, Parameter(name="*")] = BenchExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Test networks on maps of known law: T1 to T4, beside limits and published figures.

    Trains the network that is best for it, or takes a model. Writes model.skysift, evaluation.nc,
    report.html, experiment.yaml and manifest.json into the directory that -o names. Exit code 1 if
    training has not converged. An interrupted training goes on when the command is repeated; a
    complete run of the same configuration is not.
    """
    return _learn(experiment_, options)


def train(
    file: Path | None = None,
    *,
    experiment_: Annotated[TrainExperiment, Parameter(name="*")] = TrainExperiment(),  # noqa: B008
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Train a network on maps of a simulator, and test it.

    Writes what skysift infer bench does.

    Args:
        file: YAML file with any of these settings; what is typed overrides it.
        experiment_: what to train.
        options: how to run.
    """
    del file  # its settings are in the experiment already
    return _learn(experiment_, options)


def predict(
    experiment_: Annotated[PredictExperiment, Parameter(name="*")] = PredictExperiment(),  # noqa: B008
    *,
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Tell the parameters of maps with a trained model.

    Writes posterior.nc, posteriors.csv, report.html, experiment.yaml and manifest.json into the
    directory that -o names. Cells that are NaN or UNSEEN are not seen.
    """
    options.set_up()
    from skysift.experiment.inference_predict import planned, predict_run
    from skysift.experiment.runs import Order
    from skysift.report.inference import posteriors

    if options.dry_run:
        options.say(to_text(experiment_).rstrip(), *planned(experiment_))
        return Done()
    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        view = predict_run(experiment_, order)
    _tell(told)
    if view is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done()
    options.say(_table(posteriors(view, most=20)), f"report: {order.output / 'report.html'}")
    return Done()


def _learn(experiment: BenchExperiment | TrainExperiment, options: Options) -> Done:
    options.set_up()
    from skysift.experiment.inference import Watch, inference_run, planned
    from skysift.experiment.runs import Order
    from skysift.report.inference import notes, tables
    from skysift.store.run import Run

    if options.dry_run:
        options.say(to_text(experiment).rstrip(), *planned(experiment))
        return Done()
    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    with (
        warnings.catch_warnings(record=True) as told,
        InferProgress(quiet=options.quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        view = inference_run(experiment, order, Watch(progress.begin, progress.update))
    _tell(told)
    if view is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done(0 if Run.open(order.output).manifest.summary.get("converged", True) else 1)
    options.say(*(_table(one) for one in tables(view)))
    for note in notes(view):
        options.say(f"note: {note}")
    if view.status:
        options.say(f"training: {view.status}, {view.epochs} epochs")
    options.say(f"report: {order.output / 'report.html'}")
    return Done(0 if view.converged else 1)


def _tell(told: list[warnings.WarningMessage]) -> None:
    for message in dict.fromkeys(str(one.message) for one in told):
        warn(message)


def _table(listing: Listing) -> Table:
    table = Table(title=listing.title, title_justify="left")
    for place, title in enumerate(listing.columns):
        table.add_column(title, justify="right" if place else "left")
    for row in listing.rows:
        table.add_row(*row)
    return table
