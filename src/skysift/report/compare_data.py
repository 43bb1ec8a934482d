"""What a comparison shows of each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from skysift.cosmology import ResidualSpectra, TensorRatio
from skysift.grid import Grid
from skysift.report.spectra import Spectrum

SINGLE = "a single separation has neither; separate with --seeds for both"
"""Why a run has no spectra of residuals."""


@dataclass(frozen=True, eq=False)
class ComparedParameter:
    """A fitted spectral parameter.

    Args:
        values: per patch; of realisations their mean.
        map: the same per cell.
        truth: input per cell, if known.
    """

    values: Float[np.ndarray, " patch"]
    map: Float[np.ndarray, " cell"]
    truth: Float[np.ndarray, " cell"] | None = None


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run, with what it has.

    Args:
        path: directory.
        grid: fitted cells.
        parameters: by name.
        realisations: number of them, 1 for a single separation.
        converged: whether all did.
        objective: half the weighted squared residuals, mean over realisations.
        reduced_chi2: per degree of freedom, likewise.
        cmb_variance: of the recovered CMB over the cells, summed over Stokes parameters, likewise
            [uK_CMB^2]; NaN without a CMB.
        systematic_rms: of the systematic residual [uK_CMB]; NaN where it is not known.
        spectra: of the residuals, if there are any.
        ratio: likelihood of r, if there is one.
        recovered: spectrum of the recovered CMB itself, of a single separation.
    """

    path: str
    grid: Grid
    parameters: Mapping[str, ComparedParameter]
    realisations: int
    converged: bool
    objective: float
    reduced_chi2: float
    cmb_variance: float
    systematic_rms: float = np.nan
    spectra: ResidualSpectra | None = None
    ratio: TensorRatio | None = None
    recovered: Spectrum | None = None

    @property
    def patches(self) -> int:
        """Number of patches of all parameters."""
        return sum(parameter.values.size for parameter in self.parameters.values())


@dataclass(frozen=True, eq=False)
class ComparedGroup:
    """Runs under one name: one colour in the figures.

    Args:
        name: for legends.
        runs: at least one.
    """

    name: str
    runs: tuple[ComparedRun, ...]

    @property
    def by_patches(self) -> tuple[ComparedRun, ...]:
        """The runs in the order of their number of patches."""
        return tuple(sorted(self.runs, key=lambda run: run.patches))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Groups of runs side by side.

    Args:
        groups: with different names.

    Raises:
        ValueError: for no groups, an empty one, or a name that comes twice.
    """

    groups: tuple[ComparedGroup, ...]
    notes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or any(not group.runs for group in self.groups):
            raise ValueError("groups: expected at least one run in each, got none.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"name: expected a different one for each, got {twice[0]!r} twice. Say them with "
                "--name, or as NAME=RUN."
            )
        object.__setattr__(self, "notes", tuple(_notes(self.runs)))

    @property
    def runs(self) -> tuple[ComparedRun, ...]:
        """All runs, group by group."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the spectral parameters that any run fitted."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.parameters))


def _notes(runs: Sequence[ComparedRun]) -> list[str]:
    """What is missing, and what cannot be compared."""
    notes = []
    bare = [run.path for run in runs if run.spectra is None and run.ratio is None]
    if bare:
        notes.append(f"No spectra of residuals and no r in {', '.join(bare)}: {SINGLE}.")
    for what, lacking in (
        (
            "spectra of residuals",
            [run.path for run in runs if run.spectra is None and run.ratio is not None],
        ),
        ("r", [run.path for run in runs if run.spectra is not None and run.ratio is None]),
    ):
        if lacking:
            notes.append(f"No {what} in {', '.join(lacking)}.")
    known = [run for run in runs if all(p.truth is not None for p in run.parameters.values())]
    unknown = [run.path for run in runs if run not in known]
    if unknown:
        notes.append(
            f"The input of {', '.join(unknown)} is not known, or the sky has changed since: no "
            "maps minus truth."
        )
    if any(run.grid != runs[0].grid for run in runs):
        notes.append(
            "The runs have other cells: objectives, variances and residuals are those of each "
            "run's own cells."
        )
    lost = [run.path for run in runs if not run.converged]
    if lost:
        notes.append(f"Not converged: {', '.join(lost)}.")
    return notes
