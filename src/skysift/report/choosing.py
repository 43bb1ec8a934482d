"""The page of a choice of patches: what was tried, and the maps of what was chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from skysift.compsep.choose import PatchChoice, Trial
from skysift.report.map_figures import VALUE, Sky
from skysift.report.sheet import UNKNOWN, Listing, Origin, Picture, Sheet, Tile, number, write_sheet
from skysift.report.style import BLUE, RED, new_figure, sequential, shuffled_colours, styled


@dataclass(frozen=True, eq=False)
class ChoiceView:
    """What the page shows.

    Args:
        choice: the best, and all that was tried.
        criterion: its name.
    """

    choice: PatchChoice
    criterion: str


def write_choice_page(
    path: str | Path,
    view: ChoiceView,
    *,
    separate_command: str,
    origin: Origin = UNKNOWN,
) -> Path:
    """Write the page of a choice.

    Args:
        path: of the HTML file.
        view: what it shows.
        separate_command: how to separate with it.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    choice, grid = view.choice, view.choice.patches.grid
    told = ", ".join(f"{count:,} patches of {name}" for name, count in choice.counts.items())
    sheet = Sheet(
        title="Choice of patches",
        lead=f"by {view.criterion}, of {len(choice.table)} that were tried",
        verdict=told,
        good=choice.best.converged,
        soft=f"Separate with: {separate_command}",
        tiles=(
            *(
                Tile(f"patches of {name}", f"{count:,}", _prior(choice, name))
                for name, count in choice.counts.items()
            ),
            Tile(f"{view.criterion} score", number(choice.best.score), "the smallest is the best"),
            Tile("cells", f"{grid.size:,}", f"{grid.fsky:.1%} of the sky"),
        ),
        tables=(trials_table(view),),
        pictures=(
            Picture.of(
                "trials",
                "Score by number of patches",
                "Everything that was tried, all parameters' patches counted together. A best "
                "choice at the end of a ladder asks for a longer one.",
                trials_figure(view),
            ),
            Picture.of(
                "patches",
                "Patches",
                "Fitted values and the patches: small where there is much to see.",
                patches_figure(view),
            ),
        ),
        origin=origin,
    )
    return write_sheet(path, sheet)


def trials_table(view: ChoiceView) -> Listing:
    """All that was tried, best first."""
    names = tuple(view.choice.counts)
    order = sorted(view.choice.table, key=lambda trial: trial.score)
    rows = tuple(_row(trial, names) for trial in order)
    columns = (*names, "prior width", "score", "converged")
    note = (
        "Prior width: factor on the scatter learnt from the maps. In brackets: the larger patches "
        "whose fit the priors are centred on."
    )
    return Listing("tried", "Tried", columns, rows, note)


def within(around: Mapping[str, int], name: str) -> str:
    """Number of larger patches, for a table; nothing if there are none."""
    return f" [{around[name]:,}]" if name in around else ""


def trials_figure(view: ChoiceView) -> Figure:
    """Score against the number of patches."""
    good = [trial for trial in view.choice.table if math.isfinite(trial.score)]
    with styled():
        figure = new_figure(3.2)
        axes = figure.subplots()
        axes.plot([t.total for t in good], [t.score for t in good], "o", color=BLUE, label="tried")
        best = view.choice.best
        axes.plot(best.total, best.score, "o", color=RED, label="chosen")
        axes.set(xscale="log", xlabel="patches of all parameters", ylabel=view.criterion)
        axes.legend()
    return figure


def patches_figure(view: ChoiceView) -> Figure:
    """Fitted values and patches of each parameter."""
    fit = view.choice.fit
    sky = Sky(fit.grid, rows=len(fit.parameters), columns=2)
    with styled():
        figure, panels = sky.panels()
        for row, (name, values) in zip(panels, fit.parameters.items(), strict=True):
            cells, labels = fit.patches.expand(name, values), fit.patches.labels[name]
            sky.draw(row[0], cells, VALUE, sequential(cells), name, "fitted")
            patches = Normalize(-0.5, values.size - 0.5)
            sky.draw(
                row[1],
                np.asarray(labels, float),
                shuffled_colours(values.size),
                patches,
                "number of patch",
                f"{values.size:,} patches",
            )
    return figure


def _row(trial: Trial, names: tuple[str, ...]) -> tuple[str, ...]:
    width = "no prior" if math.isinf(trial.relax) else f"{trial.relax:g}"
    counts = (f"{trial.counts[name]:,}{within(trial.around, name)}" for name in names)
    return (*counts, width, number(trial.score), "yes" if trial.converged else "no")


def _prior(choice: PatchChoice, name: str) -> str:
    prior, around = choice.priors.get(name), choice.around
    if prior is None:
        return "no prior"
    if around is None:
        return f"prior {prior.mean:.4g} ± {prior.sigma:.2g}"
    return f"within {prior.sigma:.2g} of {around.counts[name]:,} larger ones"
