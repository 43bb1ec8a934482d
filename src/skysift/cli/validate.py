"""skysift validate."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from skysift.cli.common import Done, Options, typed_command

if TYPE_CHECKING:
    from skysift.experiment.validation import ValidationOptions
    from skysift.report.validation import Validation

EXAMPLES = """
Examples:

    skysift validate runs/kmeans
    skysift validate runs/kmeans --scales 1e-2,1e-3,1e-4 --steps 10 -o checks.html
    skysift validate runs/kmeans --contour beta_dust:0 temp_dust:0 --perturb.beta-pl none
"""

PAGE = "validate.html"


@Parameter(name="*")
@dataclass(frozen=True)
class Perturbations:
    """How to look at the solution.

    Args:
        scales: lengths of a step in the units of the parameters, joined by commas.
        steps: number of steps to each side.
        perturb: which patches to move: --perturb.beta-dust all, none, min, max, 3,7 or 0:10.
        contour: two patch parameters, for the objective over both: beta_dust:0 temp_dust:0.
        iterations: of the first-order minimiser that looks for something lower; 0 leaves it out.
        seed: of the random directions.
    """

    scales: str = "1e-2,1e-3"
    steps: int = 5
    perturb: dict[str, str] = field(default_factory=dict)
    contour: tuple[str, str] | None = None
    iterations: int = 200
    seed: int = 0

    @property
    def options(self) -> ValidationOptions:
        """As the validation takes them.

        Raises:
            ValueError: for scales that are no numbers.
        """
        from skysift.experiment.validation import ValidationOptions

        try:
            scales = tuple(float(scale) for scale in self.scales.split(","))
        except ValueError:
            raise ValueError(
                f"scales: expected numbers joined by commas such as 1e-2,1e-3, got {self.scales!r}."
            ) from None
        return ValidationOptions(
            scales, self.steps, self.perturb, self.contour, self.iterations, self.seed
        )


def validate(
    run: Path,
    *,
    how: Perturbations = Perturbations(),
    sky: Path | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    debug: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> Done:
    """Check that a separation found the minimum, and that its errors hold what they promise.

    Moves the solution and looks whether the objective rises and the gradient is least where it was;
    holds the gradient to finite differences; starts another minimiser from it; compares chi2 with
    its expectation, and estimates and components with the input where that is known. Exit code 1 if
    any check fails.

    Args:
        run: directory that skysift separate wrote.
        how: to look.
        sky: simulated sky to compare with; by default the one that the run was made from, if it is
            still there and unchanged.
        output: HTML file; by default validate.html in the run.
        debug: show where an error came from.
        quiet: print nothing but errors.
    """
    options = Options(debug=debug, quiet=quiet)
    options.set_up()
    from skysift.experiment.validation import validate as checked
    from skysift.files import explained
    from skysift.report.sheet import Origin
    from skysift.report.validation import write_validation_page
    from skysift.store.run import Run

    stored = Run.open(run)
    result = checked(stored, how.options, sky)
    path = stored.path / PAGE if output is None else output
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_validation_page(
            path,
            result,
            lead=f"{stored.path} · {result.data.model} · {result.data.instrument}",
            origin=Origin(stored.experiment_text, typed_command(), stored.manifest.facts()),
        )
    options.say(_table(result, path))
    return Done(1 if result.failed else 0)


def _table(result: Validation, path: Path) -> Table:
    from skysift.report.validation import Verdict

    styles = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.NONE: "dim"}
    table = Table(
        title=result.verdict,
        caption=f"report: {path}",
        title_justify="left",
        caption_justify="left",
    )
    for title in ("check", "verdict", "found", "wanted"):
        table.add_column(title, overflow="fold")
    for check in result.checks:
        verdict = Text(check.verdict.value, styles[check.verdict])
        table.add_row(check.name, verdict, check.found, check.wanted)
    return table
