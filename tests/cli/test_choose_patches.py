"""The command that chooses patches, and the command that it prints."""

import shlex

import pytest
import yaml

from skysift.cli.app import main
from skysift.experiment.choosing import Method
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
    assert len(told["tried"]) >= 5


def test_unknown_method_is_refused(sky, tmp_path, capsys):
    assert main(["choose-patches", str(sky), "--method", "best", "-o", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert all(method.value in error for method in Method)
