"""Progress of a fit on the terminal, and the table at its end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from skysift.cli.common import channels_line, number
from skysift.cli.interrupts import check

if TYPE_CHECKING:
    from skysift.compsep import Iteration, Separation


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
