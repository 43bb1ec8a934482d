import json
import os
import subprocess
import sys
import time
from pathlib import Path

import chores
import pytest

from skysift.execute import Dask, cluster


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler that runs in a process of its own, and where it says its address."""
    file = tmp_path / "scheduler.json"
    yield from _daemon(
        *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(file)),
        started=file.exists,
    )


@pytest.fixture
def address(scheduler, tmp_path):
    return json.loads((tmp_path / "scheduler.json").read_text())["address"]


@pytest.fixture
def worker(address, tmp_path):
    yield from _daemon(
        *(
            "worker",
            address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--memory-limit",
            "0",
        ),
        *("--local-directory", str(tmp_path / "worker")),
        started=(tmp_path / "worker").exists,
    )


def test_a_scheduler_that_goes_leaves_errors_for_what_is_not_done(
    scheduler, address, worker, tmp_path
):
    heard = []

    def hear(outcome):
        heard.append(outcome.value)
        if len(heard) == 2:
            scheduler.kill()

    items = [("square", 2), ("square", 3), ("sleep", str(tmp_path / "asleep")), ("square", 4)]
    outcomes = Dask(address, timeout=2.0).run(chores.do, items, on_outcome=hear)
    assert heard == [4, 9, None, None]
    assert [outcome.value for outcome in outcomes] == [4, 9, None, None]
    for outcome in outcomes[2:]:
        assert outcome.error == "The connection to the cluster was lost. The task is not done."


def test_a_cluster_without_workers_is_told(address):
    (outcome,) = Dask(address, timeout=1.0).run(chores.square, [2])
    assert outcome.error == "The cluster has had no worker for 1 s. The task is not done."
    assert outcome.attempts == 0


def test_a_scheduler_that_does_not_answer_is_told():
    with pytest.raises(ConnectionError, match=r"expected a Dask scheduler at tcp://127.0.0.1:9, "):
        Dask("tcp://127.0.0.1:9", timeout=0.3).run(chores.square, [2])


def test_a_malformed_address_is_told():
    with pytest.raises(ValueError, match=r"expected an address such as tcp://host:8786"):
        Dask("tpc://127.0.0.1:8786", timeout=0.3).run(chores.square, [2])


def test_workers_belong_to_the_scheduler():
    with pytest.raises(ValueError, match=r"workers: expected none with a scheduler that runs"):
        Dask("tcp://127.0.0.1:8786", workers=2)


def test_a_missing_dask_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'skysift\[dask\]'"):
        Dask().run(chores.square, [2])


def _daemon(*arguments, started):
    """A process of Dask's command line, which is there until the test ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(chores.__file__).parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60.0
        while not started():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
