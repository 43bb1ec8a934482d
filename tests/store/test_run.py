import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from skysift import files
from skysift.files import atomic, require_space
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.manifest import Manifest
from skysift.store.run import Run, drafted, finished_run
from skysift.store.table import RunsTable

HEAD = Manifest("separate", "a" * 64, "skysift separate sky -o runs/a", 3)


def make(path, head=HEAD, text="x: 1", **summary):
    with drafted(path, head) as draft:
        draft.write_text("experiment.yaml", text)
        with draft.stage("fit"):
            pass
        draft.inputs["maps/40.fits"] = "b" * 64
        draft.summary.update(summary)
    return Run.open(path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_complete_run(tmp_path):
    run = make(tmp_path / "runs" / "a", converged=True)
    manifest = run.manifest
    assert names(tmp_path / "runs") == ["a"]
    assert names(run.path) == ["experiment.yaml", "manifest.json"]
    assert (manifest.kind, manifest.seed, manifest.command) == ("separate", 3, HEAD.command)
    assert manifest.inputs == {"maps/40.fits": "b" * 64}
    assert manifest.stages["fit"] >= 0
    assert manifest.summary == {"converged": True}
    assert {"jax", "numpy", "healpy", "python"} <= set(manifest.libraries)
    assert manifest.devices
    assert run.experiment_text == "x: 1"
    assert json.loads((run.path / "manifest.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_write_leaves_nothing(tmp_path, error):
    def interrupted():
        with drafted(tmp_path / "a", HEAD) as draft:
            draft.write_text("result.nc", "half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == []


def test_interrupted_replacement_keeps_the_old_run(tmp_path):
    make(tmp_path / "a", text="old")

    def interrupted():
        with drafted(tmp_path / "a", HEAD) as draft:
            draft.write_text("experiment.yaml", "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["a"]
    assert Run.open(tmp_path / "a").experiment_text == "old"


_KILLED = """
import sys, time
from skysift.store.manifest import Manifest
from skysift.store.run import drafted
with drafted(sys.argv[1], Manifest("separate", "a" * 64)) as draft:
    draft.write_text("result.nc", "half")
    (draft.directory / "maps").mkdir()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_killed_in_mid_write_then_run_again(tmp_path):
    path = tmp_path / "a"
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert not path.exists()
        assert finished_run(path, HEAD.config_hash) is None
        with pytest.raises(ValueError, match="another process is writing"):
            make(path)
        assert names(tmp_path) == ["a.partial"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert names(tmp_path) == ["a.partial"]
    with pytest.raises(ValueError, match=r"expected a directory with manifest.json"):
        Run.open(tmp_path / "a.partial")
    make(path)
    assert names(tmp_path) == ["a"]
    assert names(path) == ["experiment.yaml", "manifest.json"]


def test_killed_between_the_two_renames_of_a_replacement(tmp_path):
    make(tmp_path / "a").path.rename(tmp_path / "a.replaced")
    run = finished_run(tmp_path / "a", HEAD.config_hash)
    assert run is not None
    assert names(tmp_path) == ["a"]
    make(tmp_path / "b").path.rename(tmp_path / "a.replaced")
    assert finished_run(tmp_path / "a", HEAD.config_hash) is not None
    assert names(tmp_path) == ["a"]


def test_complete_run_is_not_repeated(tmp_path):
    assert finished_run(tmp_path / "a", HEAD.config_hash) is None
    make(tmp_path / "a")
    run = finished_run(tmp_path / "a", HEAD.config_hash)
    assert run is not None
    assert run.path == tmp_path / "a"
    with pytest.raises(ValueError, match=r"holds a run of another configuration .* --overwrite"):
        finished_run(tmp_path / "a", "c" * 64)
    assert finished_run(tmp_path / "a", "c" * 64, overwrite=True) is None
    assert finished_run(tmp_path / "a", HEAD.config_hash, overwrite=True) is None


def test_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "a").mkdir()
    assert finished_run(tmp_path / "a", HEAD.config_hash) is None
    (tmp_path / "a" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="which holds something else"):
        finished_run(tmp_path / "a", HEAD.config_hash, overwrite=True)


def test_empty_directory_becomes_the_run(tmp_path):
    (tmp_path / "a").mkdir()
    make(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_output_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"output: cannot write .*a: .* Choose a folder"):
        make(tmp_path / "file" / "a")

    def refuse(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        make(tmp_path / "a")


def test_disk_full_while_writing(tmp_path):
    def full():
        with drafted(tmp_path / "a", HEAD, need=1000) as draft:
            draft.write_text("result.nc", "half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        OSError, match=r"disk full while writing .*a: about 0.0 MB needed"
    ) as caught:
        full()
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_disk_too_small_is_seen_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 10_000_000)
    with pytest.raises(OSError, match=r"about 20.0 MB needed, 10.0 MB free"):
        require_space(tmp_path / "deep" / "a", 20_000_000)
    with pytest.raises(OSError, match="disk full"), drafted(tmp_path / "a", HEAD, need=20_000_000):
        pytest.fail("should not start")
    assert names(tmp_path) == []


def test_disk_full_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "a.nc"
    write_dataset(path, xr.Dataset({"x": ("cell", np.arange(3))}))

    def full():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="disk full while writing"):
        full()
    assert names(tmp_path) == ["a.nc"]
    assert read_dataset(path)["x"].values.tolist() == [0, 1, 2]


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unsupported(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert make(tmp_path / "a").manifest.kind == "separate"


def test_dataset_round_trip(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 2000))
    values[0, 5] = np.nan
    dataset = xr.Dataset(
        {"amplitude": (("component", "cell"), values, {"units": "uK_CMB"})},
        coords={"component": ["cmb", "dust"]},
        attrs={"nside": 16, "message": "converged", "channels": ["40", "50"]},
    )
    write_dataset(tmp_path / "r.nc", dataset)
    back = read_dataset(tmp_path / "r.nc")
    xr.testing.assert_identical(back.drop_attrs(), dataset.drop_attrs())
    assert back.attrs["nside"] == 16
    assert list(back.attrs["channels"]) == ["40", "50"]
    content = (tmp_path / "r.nc").read_bytes()
    (tmp_path / "r.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="expected a complete NetCDF file"):
        read_dataset(tmp_path / "r.nc")
    with pytest.raises(ValueError, match="got none"):
        read_dataset(tmp_path / "absent.nc")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected the manifest of a run"),
        ("[]", "expected the manifest of a run"),
        ('{"kind": "separate"}', "config_hash"),
        ('{"kind": "separate", "config_hash": "a", "status": "running"}', "got 'running'"),
    ],
)
def test_damaged_manifest(tmp_path, content, message):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        Run.open(tmp_path / "a")


def test_table_of_runs(tmp_path):
    make(tmp_path / "b", iterations=7)
    time.sleep(1.1)
    make(tmp_path / "deep" / "a", converged=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text("{")
    os.rename(make(tmp_path / "d").path, tmp_path / "d.partial")  # noqa: PTH104
    table = RunsTable.of(tmp_path)
    assert [run.path.name for run in table.runs] == ["b", "a"]
    assert table.columns == ("run", "kind", "finished", "seconds", "iterations", "converged")
    assert [row[-2:] for row in table.rows()] == [(7, None), (None, True)]
    assert len(table.damaged) == 1
    with pytest.raises(ValueError, match="expected a directory"):
        RunsTable.of(tmp_path / "absent")
