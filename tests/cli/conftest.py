"""Runs that the tests of several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def cloud(tmp_path_factory):
    """A field with structure, of 32 x 32 cells."""
    rng = np.random.default_rng(3)
    k = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None, :])
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((32, 32))) * np.exp(-20.0 * k**2))
    path = tmp_path_factory.mktemp("cloud") / "cloud.npy"
    np.save(path, np.exp(2.0 * field / field.std()))
    return path
