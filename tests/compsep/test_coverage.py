"""Error bars hold the truth as often as they say: the validation script with few realisations."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "validation" / "noise_coverage.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def outcome(script):
    patches = {"beta_dust": 2, "temp_dust": 1, "beta_pl": 1}
    return script["run"](script["Case"]("few", 8, patches, 1.0), realisations=40)


def test_intervals_cover_the_truth(script, outcome):
    assert outcome.converged.all()
    for pulls in (*outcome.pulls.values(), outcome.cmb):
        assert abs(script["covered"](pulls, script["HALF_WIDTHS"][68]) - 68) < 8
        assert abs(script["covered"](pulls, script["HALF_WIDTHS"][95]) - 95) < 4
        assert abs(np.mean(pulls)) < 0.2


def test_chi_squared_is_one_per_degree_of_freedom(outcome):
    error = np.sqrt(2 / outcome.dof)
    assert abs(outcome.reduced_chi2.mean() - 1) < 4 * error / np.sqrt(40)
    assert abs(outcome.reduced_chi2.std() / error - 1) < 0.5


def test_table_and_figure(script, outcome, tmp_path):
    assert "| beta_dust | 48 |" in script["table"](outcome)
    path = tmp_path / "pulls.png"
    script["figure"]([outcome]).savefig(path, dpi=40)
    assert path.stat().st_size > 5000
