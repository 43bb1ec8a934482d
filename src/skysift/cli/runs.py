"""skysift runs."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table

from skysift.cli.common import Done, natural_width, number, show

if TYPE_CHECKING:
    from skysift.store.table import RunsTable

_ONLY_WIDE = ("seconds", "nside")
_ONLY_CSV = ("kind", "finished", "objective", "instrument", "noise_ratio")

EXAMPLES = """
Examples:

    skysift runs
    skysift runs --where mask=GAL060 --sort r --columns run,r,sigma_plus
    skysift runs . --csv > runs.csv
    skysift runs --parquet runs.parquet
"""


@Parameter(name="*")
@dataclass(frozen=True)
class View:
    """Which part of the table.

    Args:
        columns: names of columns, joined by commas.
        where: only the runs with this value, as KEY=VALUE; several must all hold.
        sort: column to sort by, smallest first; -COLUMN for the largest first.
    """

    columns: str | None = None
    where: tuple[str, ...] = ()
    sort: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None

    def of(self, table: RunsTable) -> RunsTable:
        """The part of a table.

        Raises:
            ValueError: for a column that there is none of.
        """
        known = table.known
        for condition in self.where:
            key, equal, value = condition.partition("=")
            if not equal:
                raise ValueError(f"where: expected KEY=VALUE, got {condition!r}.")
            table = table.where(_column("where", key, known), value.strip())
        if self.sort is not None:
            name = _column("sort", self.sort.removeprefix("-"), known)
            table = table.sorted(name, self.sort.startswith("-"))
        if self.columns is not None:
            names = [_column("columns", name, known) for name in self.columns.split(",")]
            table = table.select(names)
        return table


def runs(
    folder: Path = Path("runs"),
    *,
    view: View = View(),
    csv: Annotated[bool, Parameter(negative="")] = False,
    parquet: Path | None = None,
) -> Done:
    """Show a table of the complete runs in a folder and below it.

    Columns are the numbers of the runs' summaries; the settings of their experiments can be named
    as well (mask, patches.beta_dust, noise_ratio).

    Args:
        folder: where to look.
        view: which part of it.
        csv: print comma-separated values with all numbers.
        parquet: write the same to a Parquet file (needs skysift[parquet]).
    """
    from skysift.store.table import RunsTable

    table = RunsTable.of(folder)
    part = view.of(table)
    if parquet is not None:
        part.write_parquet(parquet)
        show(f"{len(part.runs)} runs in {parquet}")
    elif csv:
        show(_csv(part.columns, part.rows()))
    elif part.runs and view.columns is not None:
        show(_table(part.columns, part.rows(), leave_out=set()))
    elif part.runs:
        show(_pretty(part.columns, part.rows()))
    else:
        show(f"no runs in {folder}" + (f" with {', '.join(view.where)}" if table.runs else ""))
    for line in table.damaged:
        show(f"not listed: {line}")
    return Done()


def _column(option: str, typed: str, known: tuple[str, ...]) -> str:
    """The column that was typed, `_` and `-` alike."""
    name = typed.strip()
    for spelled in (name, name.replace("-", "_")):
        if spelled in known:
            return spelled
    from skysift.experiment.text import unknown

    raise ValueError(f"{option}: {unknown('column', name, known)}")


def _csv(columns: tuple[str, ...], rows: list[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().removesuffix("\n")


def _pretty(columns: tuple[str, ...], rows: list[tuple]) -> Table:
    """The columns that fit a terminal; the others are in the CSV."""
    patches = {column for column in columns if column.endswith(" patches")}
    parameters = {column.removesuffix(" patches") for column in patches}
    wide = _table(columns, rows, leave_out={*_ONLY_CSV, *patches})
    if not Console().is_terminal or natural_width(wide) <= Console().width:
        return wide
    return _table(columns, rows, leave_out={*_ONLY_WIDE, *_ONLY_CSV, *patches, *parameters})


def _table(columns: tuple[str, ...], rows: list[tuple], leave_out: set[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    shown = [index for index, column in enumerate(columns) if column not in leave_out]
    for index in shown:
        folds = columns[index] in ("run", "model")
        table.add_column(columns[index], overflow="fold", no_wrap=not folds)
    for row in rows:
        table.add_row(*(_cell(row[index]) for index in shown))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)
