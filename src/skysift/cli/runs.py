"""skysift runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import OUTPUT, Done, number


def runs(
    folder: Path = Path("runs"),
    *,
    csv: Annotated[bool, Parameter(negative="")] = False,
) -> Done:
    """Show a table of the complete runs in a folder and below it.

    Examples:
        skysift runs

        skysift runs . --csv > runs.csv

    Args:
        folder: where to look.
        csv: print comma-separated values with all columns.
    """
    from skysift.store.table import RunsTable

    table = RunsTable.of(folder)
    if csv:
        OUTPUT.print(_csv(table.columns, table.rows()), end="", markup=False, highlight=False)
    elif table.runs:
        OUTPUT.print(_pretty(table.columns, table.rows()))
    else:
        OUTPUT.print(f"no runs in {folder}")
    for line in table.damaged:
        OUTPUT.print(line, style="yellow", markup=False)
    return Done()


def _csv(columns: tuple[str, ...], rows: list[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def _pretty(columns: tuple[str, ...], rows: list[tuple]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)
