"""The application: commands, experiment files, errors and exit codes."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from importlib import metadata

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from skysift.cli import (
    bin,
    choose_patches,
    compare,
    infer,
    r,
    regrade,
    report,
    resample,
    runs,
    scatter,
    separate,
    simulate,
    validate,
)
from skysift.cli.common import Done
from skysift.cli.files import fill_from_file
from skysift.cli.interrupts import interruptible

_HELP = "Sift the sky: simulate microwave skies, separate their components, report the result."

_FIRST_SESSION = """
A first session, from nothing to a page with figures:

    skysift simulate c1d1s1 --nside 64 --instrument LiteBIRD -o sky
    skysift separate sky --mask GAL020 --patches.beta-dust nside:8 -o runs/first
    skysift runs

Each command explains itself, with examples: skysift separate --help

Exit codes: 0 done, 1 not converged or a check failed, 2 wrong usage or input, 130 interrupted
"""


def make_app() -> App:
    """The application with its commands."""
    app = App(
        name="skysift",
        help=_HELP,
        help_format="markdown",
        help_epilogue=_FIRST_SESSION,
        default_parameter=Parameter(negative=(), negative_iterable=(), show_default=_worth_showing),
        version=metadata.version("skysift"),
        config=fill_from_file,
        suppress_keyboard_interrupt=False,
    )
    for command, examples in (
        (simulate.simulate, simulate.EXAMPLES),
        (separate.separate, separate.EXAMPLES),
        (r.r, r.EXAMPLES),
        (validate.validate, validate.EXAMPLES),
        (bin.bin, bin.EXAMPLES),
        (choose_patches.choose_patches, choose_patches.EXAMPLES),
        (resample.resample, resample.EXAMPLES),
        (regrade.regrade, regrade.EXAMPLES),
        (compare.compare, compare.EXAMPLES),
        (report.report, report.EXAMPLES),
        (runs.runs, runs.EXAMPLES),
    ):
        app.command(command, help_epilogue=examples)
    app.command(scatter.commands())
    app.command(infer.commands())
    return app


def _worth_showing(default: object) -> object:
    """A default as help shows it, or nothing for options that are simply not given."""
    if default is False or default in ((), {}, ""):
        return None
    return default.name.lower() if isinstance(default, enum.Enum) else default


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: by default those of the process.

    Returns:
        Exit code: 0 complete and converged, 1 not converged, 2 wrong usage or input, 130
        interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = bool({"--debug", "-v"} & set(words))
    console = Console(stderr=True)
    try:
        with interruptible():
            result = make_app()(
                words, exit_on_error=False, print_error=False, result_action="return_value"
            )
    except KeyboardInterrupt:
        console.print("interrupted; no incomplete run was left behind", style="yellow")
        return 130
    except CycloptsError as error:
        error.verbose = False
        _say(console, str(error))
        return 2
    except (ValueError, OSError) as error:
        if debug:
            console.print_exception()
        _say(console, _message(error))
        return 2
    return result.code if isinstance(result, Done) else 0


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error)


def _say(console: Console, message: str) -> None:
    console.print(
        "skysift:", " ".join(message.split()), style="bold red", markup=False, soft_wrap=True
    )
