import functools
import itertools
import os
import re
import subprocess
import sys

import chores
import pytest

from skysift.execute import Dask, Processes, Serial, Share, Site, Slurm, parse_executor
from skysift.execute.cluster import Place
from skysift.execute.threads import Threads, available_cores, bind, share_cores


def test_outcomes_come_in_order_and_failures_are_told():
    heard = []
    items = [("square", 3), ("fail", "no root"), ("leave", 4), ("square", -2)]
    outcomes = Serial().run(chores.do, items, on_outcome=heard.append)
    assert [outcome.value for outcome in outcomes] == [9, None, None, 4]
    assert [outcome.succeeded for outcome in outcomes] == [True, False, False, True]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3]
    assert heard == outcomes
    error = outcomes[1].error or ""
    assert error.startswith("ArithmeticError: no root")
    assert "in fail" in error
    assert "tasks.py" not in error, "frames of the executor say nothing"
    assert (outcomes[2].error or "").startswith("SystemExit: 4")


def test_an_interrupt_is_no_failed_task():
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Serial().run(interrupt, [1])


@pytest.mark.parametrize("executor", [Processes(1), Dask(workers=1)], ids=["processes", "dask"])
def test_functions_that_workers_cannot_import_are_refused(executor):
    with pytest.raises(ValueError, match=r"function: expected one that other processes can import"):
        executor.run(lambda item: item, [1])


@pytest.mark.parametrize("executor", [Serial(), Processes(1), Dask(workers=1)])
def test_no_items_are_no_outcomes(executor):
    assert executor.run(functools.partial(chores.do), []) == []


@pytest.mark.parametrize("kind", [Processes, Dask])
def test_senseless_counts_are_refused(kind):
    with pytest.raises(ValueError, match=r"workers: expected at least 1, got 0"):
        kind(workers=0)
    with pytest.raises(ValueError, match=r"retries: expected 0 or more, got -1"):
        kind(retries=-1)


def test_cores_are_shared_evenly():
    slots = share_cores(3, cores=tuple(range(10, 18)))
    assert [threads.cores for threads in slots] == [(10, 11), (12, 13), (14, 15)]
    assert {threads.count for threads in slots} == {2}
    crowded = share_cores(5, cores=(0, 1))
    assert [threads.cores for threads in crowded] == [(0,), (1,), (0,), (1,), (0,)]


def test_started_processes_inherit_threads_and_this_one_keeps_its_own(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = available_cores()
    with Threads(1, before[:1]).inherited():
        code = "import os; print(os.sched_getaffinity(0), os.environ['NPROC'])"
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == f"{set(before[:1])} 1"
    assert available_cores() == before
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NPROC" not in os.environ


def test_workers_settle_only_on_cores_that_are_theirs():
    cores = available_cores()
    try:
        Place(workers=2, cores=len(cores) + 1).settle("job-3-0")
        assert available_cores() == cores, "a site that shows cores of others"
    finally:
        bind(cores)


def test_shares_are_all_items_once():
    items = list(range(11))
    shares = [Share(index, 3).of(items) for index in range(3)]
    assert sorted(itertools.chain(*shares)) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(ValueError, match=r"share: expected an index from 0 to 2, got 3"):
        Share(3, 3)


def test_text_becomes_an_executor(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("queue: short\n")
    assert parse_executor("serial") == Serial()
    assert parse_executor("processes") == Processes()
    assert parse_executor("processes:4") == Processes(4)
    assert parse_executor("dask") == Dask()
    assert parse_executor("dask:3") == Dask(workers=3)
    assert parse_executor("dask:tcp://host:8786") == Dask("tcp://host:8786")
    assert parse_executor(f"slurm:{site}") == Slurm(Site(queue="short"))
    assert parse_executor("slurm", site=site) == Slurm(Site(queue="short"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proceses:4", "Did you mean 'processes'?"),
        ("slrum", "Did you mean 'slurm'?"),
        ("mpi", "expected one of serial, processes, processes:4"),
        ("processes:", "got 'processes:'"),
        ("processes:two", "got 'processes:two'"),
        ("processes:0", "workers: expected at least 1"),
        ("serial:2", "got 'serial:2'"),
        ("slurm", "expected one YAML file of the SLURM site, got none"),
        ("slurm:nowhere.yaml", "expected a YAML file at nowhere.yaml"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_executor(text)


def test_a_site_goes_with_slurm_only(tmp_path):
    with pytest.raises(ValueError, match=r"site: expected an executor slurm to go with it"):
        parse_executor("dask:4", site=tmp_path / "site.yaml")
    with pytest.raises(ValueError, match=r"expected one YAML file of the SLURM site, got two"):
        parse_executor("slurm:a.yaml", site="b.yaml")
