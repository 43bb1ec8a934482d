"""The command that chooses patches, and the command that it prints."""

import shlex

import pytest
import yaml

from skysift.cli.app import main
from skysift.experiment.choosing import Method
from skysift.experiment.validation import ValidationOptions, validate
from skysift.report.validation import Verdict
from skysift.store.run import Run


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    path = tmp_path_factory.mktemp("choose") / "sky"
    assert main(["simulate", "c1d1s1", "--nside", "4", "-o", str(path), "-q"]) == 0
    return path


def test_what_is_chosen_can_be_separated_with(sky, tmp_path, capsys):
    output = tmp_path / "patches"
    words = ["choose-patches", str(sky), "--method", "predictive", "-o", str(output)]
    assert main(words) == 0
    told = yaml.safe_load((output / "choice.yaml").read_text())
    assert (output / "report.html").stat().st_size > 10_000
    printed = capsys.readouterr().out
    command = printed[printed.index("skysift separate") :]
    assert main([*shlex.split(command)[1:], "-q"]) == 0
    run = Run.open(f"{output}-separated")
    assert {name: run.manifest.summary[f"{name} patches"] for name in told["patches"]} == told[
        "patches"
    ]
    assert main(words) == 0
    assert "complete already" in capsys.readouterr().out


def test_priors_are_passed_on(sky, tmp_path, capsys):
    output = tmp_path / "patches"
    assert main(["choose-patches", str(sky), "--method", "adaptive", "-o", str(output)]) == 0
    told = yaml.safe_load((output / "choice.yaml").read_text())
    printed = capsys.readouterr().out
    assert ("--priors.beta-dust" in printed) == bool(told["priors"])
    assert ("--around.beta-dust" in printed) == bool(told["around"])
    assert len(told["tried"]) >= 5
    command = printed[printed.index("skysift separate") :]
    assert main([*shlex.split(command)[1:], "-q"]) == 0


def test_larger_patches_from_the_command_line(sky, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["separate", str(sky), "--patches.beta-dust", "cell", "--around.beta-dust", "nside:1"]
    assert main([*words, "-o", str(run), "-q"]) == 2
    assert "around: expected parameters that have a prior" in capsys.readouterr().err
    words += ["--priors.beta-dust", "1.2", "0.01", "-o", str(run), "-q"]
    assert main(words) == 0
    values = Run.open(run).dataset()["beta_dust"].values
    assert abs(values.mean() - 1.54) < 0.1
    checks = validate(
        Run.open(run), ValidationOptions(scales=(1e-2,), steps=1, iterations=0)
    ).checks
    verdict = {check.name: check.verdict for check in checks}
    assert verdict["distance to the minimum"] is Verdict.PASS


def test_unknown_method_is_refused(sky, tmp_path, capsys):
    assert main(["choose-patches", str(sky), "--method", "best", "-o", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert all(method.value in error for method in Method)
