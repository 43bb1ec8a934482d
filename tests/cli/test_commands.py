import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import healpy as hp
import jax
import numpy as np
import pytest

import skysift.experiment.problem as problem_module
import skysift.store.products as products
from skysift import report
from skysift.cli import main
from skysift.cli.progress import Progress
from skysift.compsep import Iteration
from skysift.experiment.replay import stored_report
from skysift.store.run import Run

SIMULATE = ["simulate", "c1d0s0", "--nside", "4", "--instrument", "SO_SAT", "--seed", "1"]
SEPARATE = ["separate", "sky", "--mask", "GAL060", "--patches.beta-dust", "nside:1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A simulated sky and its separation, made once by the commands."""
    folder = tmp_path_factory.mktemp("session")
    here = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        assert main([*SIMULATE, "-q", "-o", "sky"]) == 0
        assert main([*SEPARATE, "-q", "-o", "runs/a"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def no_solve(monkeypatch):
    def refuse(self, progress=None):
        pytest.fail("the separation should not be done")

    monkeypatch.setattr(problem_module.Problem, "solve", refuse)


def test_products_of_a_run(folder):
    run = Run.open("runs/a")
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert files == {
        "manifest.json",
        "experiment.yaml",
        "instrument.yaml",
        "result.nc",
        "mask.fits",
        "report.html",
        *(
            f"maps/{name}.fits"
            for name in (
                *("beta_dust", "temp_dust", "beta_pl"),
                *("cmb", "dust", "synchrotron", "chi2", "residuals"),
            )
        ),
    }
    mask = hp.read_map(run.path / "mask.fits") == 1.0
    beta, error, patch = hp.read_map(run.path / "maps" / "beta_dust.fits", field=None)
    dataset = run.dataset()
    np.testing.assert_array_equal(np.flatnonzero(beta != hp.UNSEEN), np.flatnonzero(mask))
    np.testing.assert_array_equal(beta[mask], dataset["beta_dust"].values[patch[mask].astype(int)])
    assert np.all(error[mask] > 0)
    assert (run.path / "report.html").read_text().startswith("<!")
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["kind"] == "separate"
    assert manifest["summary"]["converged"] is True
    assert set(manifest["stages"]) == {"read", "separate", "write", "report"}
    assert len(manifest["inputs"]) == 6


def test_simulation_ends_in_a_table_of_its_channels(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*SIMULATE, "-o", "other"]) == 0
    shown = capsys.readouterr().out
    assert "c1d0s0, seed 1: scatter over the sky in uK_CMB" in shown
    assert "sky: other" in shown
    noise = hp.read_map("other/maps/27.fits", field=(0, 1)) - hp.read_map(
        "sky/maps/27.fits", field=(0, 1)
    )
    np.testing.assert_array_equal(noise, 0.0)
    row = next(line for line in shown.splitlines() if line.split()[1:2] == ["27"])
    depth, side = 49.5, hp.nside2resol(4, arcmin=True)
    assert abs(float(row.replace("│", " ").split()[-1]) / (depth / side) - 1) < 0.2


def test_residuals_are_maps_minus_model(folder):
    channels = hp.read_map("sky/maps/280.fits", field=None)
    residual = hp.read_map("runs/a/maps/residuals.fits", field=None, hdu=6)
    mask = hp.read_map("runs/a/mask.fits") == 1.0
    assert np.std(residual[:, mask]) < 0.5 * np.std(np.asarray(channels)[:, mask])


def test_complete_run_is_not_repeated(folder, no_solve, capsys):
    before = (folder / "runs/a/manifest.json").read_bytes()
    assert main([*SEPARATE, "-o", "runs/a"]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main([*SIMULATE, "-o", "sky"]) == 0
    assert (folder / "runs/a/manifest.json").read_bytes() == before


def test_other_configuration_is_refused_unless_overwritten(folder, no_solve, capsys):
    other = [*SEPARATE, "--seed", "5", "-o", "runs/a"]
    assert main(other) == 2
    assert "--overwrite" in capsys.readouterr().err
    with pytest.raises(pytest.fail.Exception):
        main([*other, "--overwrite"])
    assert Run.open("runs/a").manifest.seed == 42


def test_not_converged_exits_with_1_both_times(folder, monkeypatch, capsys):
    monkeypatch.setattr(report, "write_page", lambda path, fit, **options: path.write_text("x"))
    command = [*SEPARATE, "--max-iterations", "1", "-o", "runs/b"]
    assert main(command) == 1
    assert "not converged" in capsys.readouterr().out
    assert main(command) == 1
    assert "complete already" in capsys.readouterr().out


def test_dry_run_prints_experiment_and_memory(folder, no_solve, capsys):
    numbers = ["--bounds.beta-pl", "-7", "-0.5", "--start.beta-pl", "-3.1"]
    assert main([*SEPARATE, "--patches.temp-dust", "kmeans:3", *numbers, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "bounds: {beta_pl: [-7.0, -0.5]}" in out
    assert "start: {beta_pl: -3.1}" in out
    assert "3 of temp_dust" in out
    assert "mask: GAL060" in out
    assert "1 of beta_pl" in out
    assert "in all, about" in out
    assert main([*SIMULATE, "--dry-run", "-o", "new"]) == 0
    assert "nside: 4" in capsys.readouterr().out
    assert not (folder / "new").exists()


def test_experiment_file_with_options_over_it(folder, no_solve, capsys):
    (folder / "e.yaml").write_text(
        "maps: [sky]\nmask: GAL020\nbounds: {beta_pl: [-4, -2]}\n"
        "patches: {beta_dust: 'nside:1', temp_dust: 'kmeans:2'}\n"
    )
    command = ["separate", "--experiment", "e.yaml", "--mask", "GAL060", "--dry-run"]
    assert main([*command, "--patches.temp-dust", "uniform", "--bounds.beta-dust", "1", "2"]) == 0
    out = capsys.readouterr().out
    assert "mask: GAL060" in out
    assert "temp_dust: uniform" in out
    assert "beta_dust: 'nside:1'" in out
    assert "beta_pl: [-4.0, -2.0]" in out
    assert "beta_dust: [1.0, 2.0]" in out


def test_experiment_of_a_run_repeats_it(folder, no_solve, capsys):
    command = ["separate", "--experiment", "runs/a/experiment.yaml", "-o", "runs/a"]
    assert main(command) == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["separate", "sky", "--maks", "x"], "Unknown option: --maks. Did you mean --mask?"),
        (["simluate"], 'Did you mean "simulate"?'),
        (["simulate", "--nside", "x"], 'unable to convert "x" into int'),
        (["simulate", "c1d1s1"], "expected a directory for the run, got none. Say it with -o"),
        (["separate", "--experiment", "bad.yaml"], "unknown key 'maks'. Did you mean 'mask'?"),
        (["separate", "--experiment", "absent.yaml"], "expected a YAML file at absent.yaml"),
        (["separate", "absent", "-o", "x"], "got nothing there"),
        (["separate", "sky/maps", "-o", "x"], "instrument: expected one"),
        (["separate", "absent", "--instrument", "PICO", "-o", "x"], "got nothing there"),
        (["separate", "sky", "--instrument", "PICO", "-o", "x"], "expected 21 channels of PICO"),
        (["separate", "sky", "--mask", "empty.fits", "-o", "x"], "got none in 'empty.fits'"),
        (["separate", "sky", "-o", "bad.yaml/x"], "cannot write bad.yaml/x: a file stands"),
        (["separate", "sky", "-o", "."], "apart from the inputs"),
        (["separate", "sky", "-o", "sky", "--overwrite"], "apart from the inputs"),
        (["separate", "sky", "-o", "runs"], "which holds something else"),
        (["separate", "sky", "-o", "x", "--dust-nu0", "-3"], "positive reference frequency"),
        (["separate", "sky", "-o", "x", "--mask", "turned.fits"], "expected coordinates G"),
        (["simulate", "z9", "--dry-run"], "sky: expected models of c1"),
        (["simulate", "--nside", "7", "--dry-run"], "nside: expected a power of two"),
        (["simulate", "--instrument", "absent.yaml", "-o", "x"], "expected a YAML file at absent"),
        (["report", "sky"], "expected a separation, got sky"),
        (["report", "runs/a", "--sky", "runs/a"], "sky: expected a simulated sky"),
        (["report", "nothing"], "expected a directory with manifest.json"),
        (["runs", "nothing"], "folder: expected a directory"),
    ],
)
def test_wrong_input_is_one_readable_line(folder, no_solve, command, message, capsys):
    (folder / "bad.yaml").write_text("maks: GAL020")
    hp.write_map("empty.fits", np.zeros(192))
    hp.write_map("turned.fits", np.ones(192), coord="C")
    before = sorted(folder.rglob("*"))
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in " ".join(err.split())
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(folder.rglob("*")) == before


def test_interrupt_leaves_no_half_written_run(folder, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(products, "write_columns", interrupt)
    assert main([*SEPARATE, "--seed", "7", "-q", "-o", "runs/b"]) == 130
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["a"]
    assert main([*SEPARATE, "--seed", "7", "-q", "-o", "runs/a", "--overwrite"]) == 130
    assert Run.open("runs/a").manifest.seed == 42


def test_interrupt_that_the_garbage_collector_swallows_is_not_lost(folder, monkeypatch, capsys):
    class Swallowing:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def write(*args, **options):
        Swallowing()

    monkeypatch.setattr(products, "write_simulation", write)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    assert main([*SIMULATE, "-q", "-o", "new"]) == 130
    assert not (folder / "new").exists()
    assert not (folder / "new.partial").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_disk_full_names_path_and_leaves_nothing(folder, monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(products, "write_channels", full)
    assert main([*SIMULATE, "-o", "new/sky"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "disk full while writing new/sky: about" in err
    assert list((folder / "new").iterdir()) == []


def test_report_again(folder, capsys):
    data = stored_report(Run.open("runs/a"))
    assert data.has_truth
    assert data.residuals is not None
    assert main([*SIMULATE[:-1], "2", "-q", "-o", "sky", "--overwrite"]) == 0
    assert not stored_report(Run.open("runs/a")).has_truth
    shutil.rmtree(folder / "sky")
    assert main(["report", "runs/a", "-o", "other.html"]) == 0
    assert "report: other.html" in capsys.readouterr().out
    again = (folder / "other.html").read_text()
    first = (folder / "runs/a/report.html").read_text()
    assert "GAL060" in again
    assert "Recovered minus input" in first
    assert "Recovered minus input" not in again
    assert "Residual maps" in again


def test_report_against_a_sky_of_other_stokes_parameters(folder, capsys):
    assert main([*SIMULATE, "--stokes", "i", "-q", "-o", "intensity"]) == 0
    assert main(["report", "runs/a", "--sky", "intensity", "-o", "x.html"]) == 2
    assert "truth: expected Stokes QU as fitted, got I" in " ".join(capsys.readouterr().err.split())
    assert not (folder / "x.html").exists()


def test_table_of_runs_that_fits_a_narrow_terminal(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert "chi2/dof" in shown
    assert "beta_dust" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_table_of_runs(folder, capsys):
    assert main(["runs"]) == 0
    assert "runs/a" in capsys.readouterr().out
    assert main(["runs", ".", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    header, row = lines[0].split(","), lines[2].split(",")
    assert row[header.index("run")] == "runs/a"
    assert float(row[header.index("beta_dust")]) == pytest.approx(1.54, abs=0.2)
    (folder / "empty").mkdir()
    assert main(["runs", "empty"]) == 0
    assert "no runs" in capsys.readouterr().out


def test_help_teaches_and_version_is_told():
    run = [sys.executable, "-c", "import sys; from skysift.cli import main; sys.exit(main())"]
    shown = subprocess.run([*run, "separate", "--help"], capture_output=True, text=True, check=True)
    assert "skysift separate sky --mask GAL020 --patches.beta-dust nside:64" in shown.stdout
    assert "--empty" not in shown.stdout


def test_gpu_that_is_not_there(folder, monkeypatch, capsys):
    def absent():
        raise RuntimeError("no backend")

    monkeypatch.setattr(jax, "devices", absent)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    assert main([*SIMULATE, "--device", "gpu", "-o", "x"]) == 2
    assert "device: expected a GPU" in " ".join(capsys.readouterr().err.split())


def test_progress_goes_to_the_error_stream(capsys):
    with Progress() as progress:
        progress.update(Iteration(3, 12.5, 1e-7, 0.4, 1, 2))
    with Progress(quiet=True) as progress:
        progress.update(Iteration(4, 12.5, 1e-7, 0.4, 1, 2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "iteration   3   objective 12.5   projected gradient 1.000e-07" in captured.err
    assert "iteration   4" not in captured.err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"
