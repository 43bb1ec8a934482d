import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chores
import pytest

from skysift.execute import Dask, Processes, Serial
from skysift.execute.threads import available_cores


@pytest.fixture(scope="module")
def serial(compiled_anew):
    """What the same tasks give in this process, with all its threads."""
    outcomes = Serial().run(chores.do, [("cholesky", 300), ("separation", 0)])
    return {"cholesky": outcomes[0].value, "separation": outcomes[1].value}


@pytest.mark.parametrize("executor", [Processes(2, retries=1), Dask(workers=2, retries=1)])
def test_failures_and_deaths_lose_no_other_task(executor, serial, tmp_path):
    marker = tmp_path / "died"
    items = [
        ("square", 1),
        ("die", None),
        ("fail", "no root"),
        ("die_once", str(marker)),
        ("unsendable", None),
        ("threads", None),
        ("cholesky", 300),
        ("separation", 0),
        ("square", 7),
    ]
    heard = []
    outcomes = executor.run(chores.do, items, on_outcome=heard.append)
    assert sorted(heard, key=lambda outcome: outcome.index) == outcomes
    assert [outcome.index for outcome in outcomes] == list(range(len(items)))
    square, dead, failed, survivor, unsendable, threads, cholesky, separation, last = outcomes
    assert (square.value, last.value) == (1, 49)
    assert not dead.succeeded
    assert dead.attempts == 2
    assert "2 times out of 2" in (dead.error or "")
    assert (survivor.value, survivor.attempts) == ("survived", 2)
    assert (failed.error or "").startswith("ArithmeticError: no root")
    assert failed.attempts == 1, "what raises would raise again"
    assert "pickle" in (unsendable.error or "")
    share = max(1, len(available_cores()) // 2)
    assert threads.value == (share, str(share), str(share), [1])
    # On other threads OpenBLAS factorises in another order: this fails where it is not limited.
    assert cholesky.value == serial["cholesky"]
    assert separation.value.keys() == serial["separation"].keys()
    for name, array in serial["separation"].items():
        assert array.tobytes() == separation.value[name].tobytes(), name


_INTERRUPTED = """
import sys
from pathlib import Path
import chores
from skysift.execute import parse_executor

if __name__ == "__main__":
    parse_executor(sys.argv[1]).run(chores.sleep, [sys.argv[2], sys.argv[3]])
"""


@pytest.mark.parametrize("executor", ["processes:2", "dask:2"])
def test_an_interrupt_leaves_no_orphans(executor, tmp_path):
    (tmp_path / "script.py").write_text(_INTERRUPTED)
    markers = [tmp_path / "first", tmp_path / "second"]
    process = _script(tmp_path / "script.py", executor, *map(str, markers))
    try:
        _wait(lambda: all(marker.exists() and marker.read_text() for marker in markers), process)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    for marker in markers:
        assert not _lives(int(marker.read_text()))


def test_workers_that_cannot_start_are_told(tmp_path):
    (tmp_path / "script.py").write_text(
        "from skysift.execute import Processes\nProcesses(1, retries=0).run(abs, [1])\n"
    )
    said = _script(tmp_path / "script.py").communicate(timeout=60)[1].decode()
    assert "ChildProcessError: workers: expected processes that start" in said
    assert "`if __name__ == '__main__':`" in said


def _script(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A script in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(chores.__file__).parent)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _wait(condition, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
