import json
import shutil

import numpy as np
import pytest

from skysift.cli import main
from skysift.compsep.perturb import profiles
from skysift.experiment import validation
from skysift.experiment.validation import ValidationOptions, validate
from skysift.report.sheet import Picture
from skysift.report.validation import Verdict
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.run import Run

QUICK = ValidationOptions(scales=(1e-2, 1e-3), steps=2, iterations=20)


@pytest.fixture(scope="module")
def checks(session):
    return verdicts(session.one)


@pytest.fixture
def copy(session, tmp_path):
    shutil.copytree(session.one, tmp_path / "run")
    return tmp_path / "run"


def verdicts(path, options=QUICK):
    return {check.name: check.verdict for check in validate(Run.open(path), options).checks}


def change(path, edit):
    """Edit the stored result; the file is written anew."""
    data = read_dataset(path / "result.nc")
    edit(data)
    write_dataset(path / "result.nc", data)


def test_a_good_run_passes_every_check(checks):
    assert Verdict.FAIL not in checks.values()
    known = ("coverage of beta_dust", "coverage of beta_pl", "total χ²", "pulls of CMB")
    assert {checks[name] for name in known} == {Verdict.PASS}
    assert len(checks) == 13


@pytest.mark.parametrize(
    ("patches", "seen"),
    [
        # One patch among many is too little for a line along which all move.
        ([3], {"objective", "distance to the minimum", "first-order minimiser"}),
        (
            slice(None),
            {
                "objective",
                "objective around the solution",
                "gradient norms",
                "distance to the minimum",
                "first-order minimiser",
            },
        ),
    ],
)
def test_moved_parameters_fail(copy, patches, seen):
    def move(data):
        data["beta_dust"].values[patches] += 0.5 * data["beta_dust_error"].values[patches]

    change(copy, move)
    found = verdicts(copy)
    assert {name for name, verdict in found.items() if verdict is Verdict.FAIL} == seen
    assert found["gradient against finite differences"] is Verdict.PASS


def test_wrong_errors_fail_coverage_and_pulls(copy):
    def shrink(data):
        for name in ("beta_dust_error", "beta_pl_error", "component_error"):
            data[name].values *= 0.1

    change(copy, shrink)
    found = verdicts(copy)
    assert found["coverage of beta_dust"] is Verdict.FAIL
    assert found["pulls of CMB"] is Verdict.FAIL


def test_wrong_chi2_fails(copy):
    def grow(data):
        data["chi2"].values *= 1.3

    change(copy, grow)
    found = verdicts(copy)
    assert found["total χ²"] is Verdict.FAIL
    assert found["distribution of χ²"] is Verdict.FAIL


def test_what_cannot_be_told_has_no_verdict(copy):
    def uncalibrate(data):
        data.attrs["calibrated"] = 0

    change(copy, uncalibrate)
    found = verdicts(copy)
    for name in ("total χ²", "distribution of χ²", "coverage of beta_dust", "pulls of CMB"):
        assert found[name] is Verdict.NONE
    assert Verdict.FAIL not in found.values()


def test_command_writes_its_page_and_says_how_it_went(copy, capsys, monkeypatch):
    drawn = []

    def remember(key, title, caption, figure):
        drawn.append(key)
        return Picture(key, title, caption, "")

    monkeypatch.setattr(Picture, "of", staticmethod(remember))
    quick = ["--scales", "1e-2", "--steps", "1", "--iterations", "0"]
    contour = ["--contour", "beta-dust:0", "beta_pl:1", "--perturb.beta-pl", "0:2"]
    assert main(["validate", str(copy), *quick, *contour]) == 0
    assert drawn == ["perturbed", "surface", "gradients", "chi2", "chi2-map", "coverage", "pulls"]
    assert "All 12 checks passed" in capsys.readouterr().out
    page = (copy / "validate.html").read_text()
    assert "All 12 checks passed" in page
    assert "within 1 σ" in page

    def move(data):
        data["beta_pl"].values[:] += 0.3

    change(copy, move)
    assert main(["validate", str(copy), *quick, "-o", str(copy / "sub" / "x.html")]) == 1
    assert "checks failed" in capsys.readouterr().out
    assert "✗" in (copy / "sub" / "x.html").read_text()


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("all", slice(None)), ("3,7,3", [3, 7]), ("2:5", [2, 3, 4]), (":2", [0, 1]), ("max", None)],
)
def test_only_chosen_patches_are_moved(session, text, chosen, monkeypatch):
    moved = []
    monkeypatch.setattr(
        validation, "profiles", lambda *given: moved.append(given[-1]) or profiles(*given)
    )
    run = Run.open(session.one)
    validate(run, ValidationOptions((1e-2,), 1, {"beta-dust": text, "beta_pl": "none"}, None, 0))
    values = run.dataset()["beta_dust"].values
    expected = np.arange(12)[[values.argmax()] if chosen is None else chosen]
    np.testing.assert_array_equal(moved[0]["beta_dust"], expected)
    assert moved[0]["beta_pl"].size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scales", "small"], "scales: expected numbers joined by commas"),
        (["--scales", "-1"], "scales: expected positive numbers"),
        (["--steps", "0"], "steps: expected at least one"),
        (["--iterations", "-1"], "iterations: expected 0 or more"),
        (["--perturb.beta-dsut", "all"], "Did you mean 'beta_dust'?"),
        (["--perturb.beta-dust", "12"], "of the 12 patches of beta_dust, got '12'"),
        (["--perturb.beta-dust", "few"], "perturb: expected all, none, min, max"),
        (["--contour", "beta_dust", "beta_pl:0"], "contour: expected two patches such as"),
        (["--contour", "beta_dust:12", "beta_pl:0"], "patch: expected a number from 0 to 11"),
        (["--contour", "temp_dust:0", "beta_pl:0"], "parameter: expected one that is fitted"),
    ],
)
def test_wrong_options(session, capsys, arguments, message):
    assert main(["validate", str(session.one), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_runs_that_cannot_be_checked(session, copy, capsys):
    assert main(["validate", str(session.sky)]) == 2
    assert "run: expected a separation" in capsys.readouterr().err
    manifest = json.loads((copy / "manifest.json").read_text())
    file = next(iter(manifest["inputs"]))
    manifest["inputs"][file] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert main(["validate", str(copy)]) == 2
    assert "one that has changed since" in capsys.readouterr().err
    manifest["inputs"] = {str(copy / "gone.fits"): "0"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert main(["validate", str(copy)]) == 2
    assert "got no such file" in capsys.readouterr().err


def test_other_patches_or_cells_are_refused(copy):
    def swap(data):
        labels = data["beta_pl_patch"].values
        data["beta_pl_patch"].values[:] = np.where(labels == 0, 1, np.where(labels == 1, 0, labels))

    change(copy, swap)
    with pytest.raises(ValueError, match="expected the patches of beta_pl"):
        validate(Run.open(copy), QUICK)
