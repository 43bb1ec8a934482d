"""Runs that the tests of several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import skysift.report.ensemble
from skysift import report
from skysift.cli import main


@dataclass(frozen=True)
class Session:
    """A simulated sky with uniform spectra, and what was made of it.

    Args:
        sky: simulation.
        one: single separation.
        sets: two runs of realisations.
    """

    sky: Path
    one: Path
    sets: Path


def _no_page(path, *args, **options):
    path.write_text("page")
    return path


@pytest.fixture(scope="session")
def session(tmp_path_factory) -> Session:
    folder = tmp_path_factory.mktemp("session")
    made = Session(folder / "sky", folder / "runs" / "one", folder / "runs" / "sets")
    small = ["--nside", "8", "--instrument", "SO_SAT", "--seed", "3", "-q"]
    assert main(["simulate", "c1d0s0", *small, "-o", str(made.sky)]) == 0
    separate = ["separate", str(made.sky), "--mask", "GAL080", "-q"]
    fixed = ["--fixed.temp-dust", "20"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_page", _no_page)
        patch.setattr(skysift.report.ensemble, "write_ensemble_page", _no_page)
        patches = ["--patches.beta-dust", "nside:1", "--patches.beta-pl", "kmeans:3"]
        assert main([*separate, *fixed, *patches, "-o", str(made.one)]) == 0
        sweep = ["--sweep", "patches.beta_dust=kmeans:2,5", "--seeds", "0:3"]
        assert main([*separate, *fixed, *sweep, "-o", str(made.sets)]) == 0
    return made
