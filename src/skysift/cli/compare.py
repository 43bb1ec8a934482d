"""skysift compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from skysift.cli.common import Done, Options, typed_command

if TYPE_CHECKING:
    from skysift.report.compare_data import Comparison

EXAMPLES = """
Examples:

    skysift compare runs/few runs/many
    skysift compare runs/few runs/many --name few --name "500 patches" -o comparison
    skysift compare GAL020=runs/sweep20 GAL060=runs/a,runs/b -o comparison
"""

PAGE = "compare.html"


def compare(
    *run: str,
    name: tuple[str, ...] = (),
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> Done:
    """Hold separations against each other: spectra, r, CMB variance, parameters.

    Prints a table, and writes compare.html with its pictures as PNG files into the directory that
    -o names. Sets of realisations (skysift separate --seeds) have r and spectra of the
    residuals; of single separations the recovered CMB and the rest are compared.

    Args:
        run: directories that skysift separate wrote, or folders of them. NAME=RUN,RUN puts several
            under one name and colour.
        name: of each run, in their order: --name few --name many.
        output: directory for the page and pictures.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """
    options = Options(output=output, debug=debug, quiet=quiet)
    options.set_up()
    from skysift.experiment.comparison import compared

    result = compared(run, name)
    if output is not None:
        _write(output, result)
    options.say(_table(result, output))
    for note in result.notes:
        options.say(f"note: {note}")
    return Done()


def _write(folder: Path, result: Comparison) -> None:
    from skysift.files import atomic
    from skysift.report.compare_page import comparison_figures, comparison_sheet
    from skysift.report.sheet import write_sheet
    from skysift.report.style import png

    figures = comparison_figures(result)
    for name, (_, _, figure) in figures.items():
        with atomic(folder / f"{name}.png") as file:
            file.write_bytes(png(figure))
    write_sheet(folder / PAGE, comparison_sheet(result, figures, typed_command()))


def _table(result: Comparison, output: Path | None) -> Table:
    from skysift.report.compare_page import COLUMNS, comparison_rows

    table = Table(
        title="comparison",
        caption=None if output is None else f"report: {output / PAGE}",
        title_justify="left",
        caption_justify="left",
    )
    rows = comparison_rows(result)
    # The path says nothing more where it is the name.
    shown = [
        i for i, c in enumerate(COLUMNS) if c != "run" or any(row[0] != row[1] for row in rows)
    ]
    for index in shown:
        justify = "left" if COLUMNS[index] in ("name", "run") else "right"
        table.add_column(COLUMNS[index], justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table
