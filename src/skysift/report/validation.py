"""The page of a validation: a verdict per check, and the figures behind it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from skysift.compsep.perturb import Profile, Surface
from skysift.report import chart_figures, map_figures, validate_figures
from skysift.report.data import ReportData
from skysift.report.sheet import UNKNOWN, Listing, Origin, Picture, Sheet, write_sheet
from skysift.report.validate_figures import GradientMaps


class Verdict(enum.Enum):
    """How a check ended."""

    PASS = "pass"
    FAIL = "fail"
    NONE = "no verdict"


@dataclass(frozen=True)
class Check:
    """One check of a solution.

    Args:
        name: what was looked at.
        verdict: how it ended.
        found: in words and numbers.
        wanted: what had to be found; where there is no verdict, why not.
    """

    name: str
    verdict: Verdict
    found: str
    wanted: str

    @staticmethod
    def of(name: str, good: bool, found: str, wanted: str) -> Check:
        """A check that passes or fails."""
        return Check(name, Verdict.PASS if good else Verdict.FAIL, found, wanted)


@dataclass(frozen=True, eq=False)
class Validation:
    """The checks of a stored separation, and what they were made from.

    Args:
        checks: in the order of the page.
        data: the separation, with the truth where it is known.
        profiles: objective along lines through the solution.
        surface: objective over two patch parameters, if asked for.
        gradients: maps of the gradient, at the solution and beside it.
    """

    checks: tuple[Check, ...]
    data: ReportData
    profiles: tuple[Profile, ...] = ()
    surface: Surface | None = None
    gradients: tuple[GradientMaps, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that failed."""
        return tuple(check for check in self.checks if check.verdict is Verdict.FAIL)

    @property
    def verdict(self) -> str:
        """All checks in one line."""
        asked = sum(check.verdict is not Verdict.NONE for check in self.checks)
        if not self.failed:
            return f"All {asked} checks passed"
        return f"{len(self.failed)} of {asked} checks failed"


def write_validation_page(
    path: str | Path,
    result: Validation,
    *,
    lead: str,
    origin: Origin = UNKNOWN,
) -> Path:
    """Write the page of a validation.

    Args:
        path: of the HTML file.
        result: what it shows.
        lead: what was validated, in one line.
        origin: what it came of.

    Returns:
        The path.

    Raises:
        ValueError: if nothing can be written there.
        DiskFull: if the disk is full; then nothing is left behind.
    """
    sheet = Sheet(
        title="Validation",
        lead=lead,
        verdict=result.verdict,
        good=not result.failed,
        tables=(_table(result),),
        pictures=tuple(_pictures(result)),
        origin=origin,
    )
    return write_sheet(path, sheet)


def _table(result: Validation) -> Listing:
    rows = tuple((c.name, c.verdict.value, c.found, c.wanted) for c in result.checks)
    failed = [i for i, check in enumerate(result.checks) if check.verdict is Verdict.FAIL]
    return Listing(
        "checks",
        "Checks",
        ("check", "verdict", "found", "wanted"),
        rows,
        warn=frozenset((row, 1) for row in failed),
        prose=True,
    )


def _pictures(result: Validation) -> list[Picture]:
    data, pictures = result.data, []
    if result.profiles:
        pictures.append(
            Picture.of(
                "perturbed",
                "The objective around the solution",
                "Rows: which parameters are moved. The objective should rise on both sides (flat "
                "where bounds hold everything), and each gradient norm should be least at the "
                "solution, step 0.",
                validate_figures.perturbed(result.profiles),
            )
        )
    if result.surface is not None:
        pictures.append(
            Picture.of(
                "surface",
                "The objective over two parameters",
                "All others held. Lines: 68, 95 and 99.7 % where the weights are the noise; "
                "dashed, what the Hessian at the solution predicts. Where they part, errors are "
                "not Gaussian.",
                validate_figures.contour(result.surface),
            )
        )
    if result.gradients and data.grid.nside is not None:
        pictures.append(
            Picture.of(
                "gradients",
                "Maps of the gradient",
                "Of each patch, in standard deviations of its parameter: rounding at the solution, "
                "and what a step of all parameters makes of it. Right, what each cell by itself "
                "asks for: noise of unit scatter where the weights are the noise; structure within "
                "patches says that they are too large.",
                validate_figures.gradient_maps(data.grid, result.gradients),
            )
        )
    pictures.append(
        Picture.of(
            "chi2",
            "χ² of the cells",
            "The bars should follow the line where there is one.",
            chart_figures.chi2_histogram(data),
        )
    )
    if data.grid.nside is not None:
        pictures.append(
            Picture.of(
                "chi2-map",
                "Where the fit is good",
                "χ² over degrees of freedom per cell: no structure should be seen.",
                map_figures.chi2_map(data),
            )
        )
    if any(parameter.truth is not None for parameter in data.parameters):
        pictures.append(
            Picture.of(
                "coverage",
                "Spectral parameters against their input",
                "Above: estimate against the mean input of the patch. Below, where the errors have "
                "a scale: difference over error, with a standard normal.",
                chart_figures.truth_comparison(data),
            )
        )
    known = any(component.truth is not None for component in data.components)
    if known and data.weights_are_noise:
        pictures.append(
            Picture.of(
                "pulls",
                "Pulls of the components",
                "Recovered minus input amplitude over its error, per cell, with a standard "
                "normal. Wider bars: something that the errors do not cover.",
                validate_figures.component_pulls(data),
            )
        )
    return pictures
