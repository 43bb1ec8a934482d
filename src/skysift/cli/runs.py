"""skysift runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table

from skysift.cli.common import Done, natural_width, number, show

_ONLY_WIDE = ("seconds", "nside")
_ONLY_CSV = ("kind", "finished", "objective", "instrument", "noise_ratio")

EXAMPLES = """
Examples:

    skysift runs
    skysift runs . --csv > runs.csv
"""


def runs(
    folder: Path = Path("runs"),
    *,
    csv: Annotated[bool, Parameter(negative="")] = False,
) -> Done:
    """Show a table of the complete runs in a folder and below it.

    Args:
        folder: where to look.
        csv: print comma-separated values with all columns.
    """
    from skysift.store.table import RunsTable

    table = RunsTable.of(folder)
    if csv:
        show(_csv(table.columns, table.rows()))
    elif table.runs:
        show(_pretty(table.columns, table.rows()))
    else:
        show(f"no runs in {folder}")
    for line in table.damaged:
        show(f"not listed: {line}")
    return Done()


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
