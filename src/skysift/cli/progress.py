"""Progress of a fit on the terminal, and the table at its end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from skysift.cli.common import channels_line, number
from skysift.cli.interrupts import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skysift.compsep import Iteration, Separation
    from skysift.execute import Outcome
    from skysift.experiment.batch import Finished


class Progress:
    """The iteration, the objective and the projected gradient, live on a terminal, else in lines.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._live = Live(Text("preparing"), console=self._console, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, iteration: Iteration) -> None:
        """Show an iteration.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        line = Text(
            f"iteration {iteration.number:3d}   objective {iteration.objective:.10g}   "
            f"projected gradient {iteration.projected_gradient:.3e}   "
            f"{iteration.done}/{iteration.blocks} blocks done   {iteration.seconds:.1f} s"
        )
        if self._console.is_terminal:
            self._live.update(line, refresh=True)
        else:
            self._console.print(line, soft_wrap=True)


class LiveBar:
    """A bar of tasks that lives while a block runs, on a terminal only.

    Args:
        first: description of what begins.
        total: number of tasks, `None` while it is not known.
        done: tasks that are there already.
        clock: column that shows the time.
        quiet: show nothing.
    """

    def __init__(
        self,
        first: str,
        total: int | None,
        done: int = 0,
        *,
        clock: ProgressColumn | None = None,
        quiet: bool = False,
    ) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            clock or TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(first, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def _tell(self, line: str) -> None:
        """A line for those who watch no terminal."""
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)


class SetProgress(LiveBar):
    """How many tasks of a set have ended, with the time left, live on a terminal, else in lines.

    Args:
        total: number of tasks.
        done: that ended in an earlier attempt.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int, *, quiet: bool = False) -> None:
        super().__init__("separations", total, done, quiet=quiet)
        self._total, self._done, self._lost = total, done, 0
        if done and total > done:
            self._console.print(f"{done} of {total} separations are there already")

    def update(self, outcome: Outcome) -> None:
        """Show a task that ended.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._done += 1
        self._lost += outcome.error is not None
        lost = f", {self._lost} lost" if self._lost else ""
        self._bar.update(self._task, completed=self._done, description=f"separations{lost}")
        self._tell(f"{self._done}/{self._total} separations{lost}   {outcome.seconds:.1f} s")


class ResampleProgress(LiveBar):
    """What samples on their way to cells are at, live on a terminal.

    Parent cells that are done, with the time left, are told in lines elsewhere.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__("reading", None, quiet=quiet)
        self._stage, self._first = "", 0.0

    def begin(self, stage: str) -> None:
        """Show what begins.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        self._stage = stage
        self._bar.remove_task(self._task)  # a total that is known cannot be forgotten
        self._task = self._bar.add_task(stage, total=None)

    def iterate(self, number: int, residuals: Float[np.ndarray, " row"]) -> None:
        """Show an iteration of a fit by the residual of its worst row.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        worst = float(residuals.max())
        self._first = worst if number == 1 else self._first
        fallen = worst / self._first if self._first else 0.0
        told = f"{self._stage}: iteration {number}, residual {fallen:.1e} of the first"
        self._bar.update(self._task, description=told)

    def advance(self, done: int, total: int) -> None:
        """Show a parent cell that is done.

        Raises:
            KeyboardInterrupt: if there was one.
        """
        check()
        told = f"{self._stage}, parent cells"
        self._bar.update(self._task, description=told, completed=done, total=total)
        self._tell(f"{done}/{total} parent cells")


def set_table(finished: Sequence[Finished]) -> Table:
    """The runs of a set: what varied, how they ended, and what they say of r.

    Args:
        finished: one for each run.
    """
    varied = list(finished[0].variant.values)
    numbers = {
        "realisations": "realisations",
        "systematic rms": "systematic",
        "statistical rms": "statistical",
        "cmb variance": "CMB variance",
        "r": "r",
        "sigma_minus": "−",
        "sigma_plus": "+",
        "objective": "objective",
        "chi2/dof": "χ²/dof",
    }
    facts = [{} if one.run is None else one.run.manifest.summary for one in finished]
    shown = {key: title for key, title in numbers.items() if any(key in row for row in facts)}
    table = Table(title="runs", title_justify="left", caption_justify="left")
    for title in (*varied, *shown.values(), "ended"):
        table.add_column(title, justify="left" if title in (*varied, "ended") else "right")
    for one, row in zip(finished, facts, strict=True):
        cells = [row.get(key) for key in shown]
        table.add_row(
            *(one.variant.values[key] for key in varied),
            *(number(c) if isinstance(c, float) else "–" if c is None else str(c) for c in cells),
            _ended(one),
        )
    places = [str(one.run.path) for one in finished if one.run is not None]
    where = places if len(places) < 2 else [f"{len(places)} runs, {places[0]} and others"]
    missing = any(one.problem for one in finished)
    again = ["run the same command again for what is missing"] if missing else []
    table.caption = "\n".join([*where, *again])
    return table


def _ended(one: Finished) -> str:
    if one.run is None:
        return "incomplete"
    failed = one.run.manifest.summary.get("failed")
    if failed:
        return f"{failed} failed"
    return "converged" if one.converged else "not converged"


def summary_table(fit: Separation, report: Path, stages: dict[str, float]) -> Table:
    """Parameters, status and where the report is.

    Args:
        fit: the separation.
        report: path of the page.
        stages: seconds of each stage.
    """
    table = Table(title="parameters over the cells", title_justify="left", caption_justify="left")
    for title in (
        "parameter",
        "patches",
        "mean",
        "std",
        "error",
        "at bounds",
        "no info",
    ):
        table.add_column(title, justify="left" if title == "parameter" else "right")
    for name, values in fit.parameters.items():
        cells, errors = fit.patches.expand(name, values), np.asarray(fit.errors[name])
        finite = errors[np.isfinite(errors)]
        table.add_row(
            name,
            f"{values.size:,}",
            number(float(cells.mean())),
            number(float((cells - cells[0]).std())),  # exactly zero for one patch
            number(float(np.median(finite)) if finite.size else np.nan),
            f"{fit.status.active_bounds.get(name, 0):,}",
            f"{fit.status.unconstrained.get(name, 0):,}",
        )
    table.caption = "\n".join(_lines(fit, report, stages))
    return table


def _lines(fit: Separation, report: Path, stages: dict[str, float]) -> list[str]:
    status = fit.status
    ended = "converged" if status.converged else f"not converged: {status.message}"
    times = ", ".join(f"{name} {seconds:.2g} s" for name, seconds in stages.items())
    return [
        channels_line(fit.instrument),
        f"{ended} after {status.iterations} iterations; projected gradient "
        f"{status.projected_gradient_norm:.2e} (start {status.initial_gradient_norm:.2e})",
        f"objective {fit.objective:.12g}; chi2 {float(np.nansum(fit.chi2)):.6g}, per degree of "
        f"freedom {fit.reduced_chi2:.4g}",
        times,
        f"report: {report}",
    ]
