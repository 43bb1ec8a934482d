"""skysift choose-patches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, number, typed_command
from skysift.cli.interrupts import check
from skysift.experiment.config import SeparateExperiment

if TYPE_CHECKING:
    from skysift.experiment.choosing import Chosen, Method

EXAMPLES = """
Examples:

    skysift choose-patches sky --mask GAL060 -o runs/patches
    skysift choose-patches sky --mask GAL060 --method adaptive -o runs/adaptive
    skysift choose-patches sky --mask GAL060 --method variance -o runs/variance
"""

_METHODS = "forecast", "adaptive", "variance", "evidence", "predictive", "split"
_SHOWN = 12
_HELP = (
    "forecast (smallest |r| + sigma that the maps let expect), adaptive (the same, with small "
    "cells where the sky is bright), variance of the CMB, evidence or predictive error (k-means "
    "counts), or split (cells divided where the maps show variation)."
)


def choose_patches(
    experiment_: Annotated[SeparateExperiment, Parameter(name="*")] = SeparateExperiment(),  # noqa: B008
    *,
    method: Annotated[str, Parameter(help=_HELP)] = "forecast",
    options: Options = Options(),  # noqa: B008
) -> Done:
    """Choose the patches of the spectral parameters from the maps, without knowing the sky.

    Writes a map of each parameter's patches (patches/), choice.yaml and report.html, and prints the
    command that separates with them. Patches and priors of the experiment are ignored.
    """
    options.set_up()
    from skysift.experiment.choosing import choice_run
    from skysift.experiment.runs import Order

    wanted = _method(method)
    order = Order(options.require_output(), typed_command(), options.overwrite, check)
    found = choice_run(experiment_, wanted, order)
    if found is None:
        options.say(f"{order.output} is complete already; --overwrite makes it again")
        return Done()
    options.say(_table(found, method), found.command)
    return Done(0 if found.fit.status.converged else 1)


def _method(text: str) -> Method:
    from skysift.experiment.choosing import Method

    try:
        return Method(text)
    except ValueError:
        raise ValueError(f"method: expected one of {', '.join(_METHODS)}, got {text!r}.") from None


def _table(found: Chosen, method: str) -> Table:
    from skysift.report.choosing import within

    table = Table(
        title=f"patches by {method}",
        caption=f"the best of {len(found.table)} tried. Separate with:",
        title_justify="left",
        caption_justify="left",
    )
    names = list(found.fit.parameters)
    for name in (*names, "prior width", "score"):
        table.add_column(name, justify="right")
    for trial in sorted(found.table, key=lambda trial: trial.score)[:_SHOWN]:
        width = "none" if math.isinf(trial.relax) else f"{trial.relax:g}"
        counts = (f"{trial.counts[n]:,}{within(trial.around, n)}" for n in names)
        table.add_row(*counts, width, number(trial.score))
    return table
