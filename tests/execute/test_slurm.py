import os
import subprocess
from dataclasses import replace
from pathlib import Path

import chores
import pytest
from slurm_machine import missing, slurm_machine

from skysift.execute import Serial, Site, Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def _slurm():
    with slurm_machine(cpus=4) as configuration, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        yield


@pytest.fixture
def site(_slurm, tmp_path):
    """Jobs on this machine, of which the network is the loopback."""
    return Site(
        queue="short",
        jobs=2,
        workers=2,
        cores=2,
        memory="256MB",
        walltime="00:05:00",
        interface="lo",
        prologue=(f"export PYTHONPATH={Path(chores.__file__).parent}",),
        logs=str(tmp_path / "logs"),
    )


def test_jobs_do_what_this_process_does_though_one_is_cancelled(site, tmp_path):
    items = [("square", number) for number in range(8)] + [("cholesky", 300)]
    serial = Serial().run(chores.do, items)
    heard = []
    outcomes = Slurm(site, interval=1.0).run(
        chores.do,
        [*items, ("threads", None), ("cancel_once", str(tmp_path / "cancelled"))],
        on_outcome=heard.append,
    )
    assert [outcome.value for outcome in outcomes[:-2]] == [outcome.value for outcome in serial]
    assert outcomes[-2].value[1:] == ("1", "1", [1])
    assert (outcomes[-1].value, outcomes[-1].attempts) == ("survived", 2)
    assert sorted(heard, key=lambda outcome: outcome.index) == outcomes
    assert str(os.getpid()) not in {outcome.worker.partition(":")[2] for outcome in outcomes}
    assert _jobs() <= {"COMPLETING"}, "jobs are cancelled when all is done"


def test_a_job_that_slurm_refuses_is_told(site):
    wrong = replace(site, queue="nowhere")
    with pytest.raises(ValueError, match=r"site: expected a job that SLURM takes.*partition"):
        Slurm(wrong).run(chores.square, [1])


def test_a_job_that_waits_for_ever_is_told(site):
    wrong = replace(site, walltime="01:00:00")  # the partition ends jobs after ten minutes
    (outcome,) = Slurm(wrong, interval=0.5).run(chores.square, [1])
    assert "SLURM will not start the jobs" in (outcome.error or "")
    assert "PartitionTimeLimit" in (outcome.error or "")
    assert _jobs() <= {"COMPLETING"}


def test_jobs_that_do_not_work_are_told_with_their_log(site):
    wrong = replace(site, jobs=1, python="/no/such/python")
    heard = []
    (outcome,) = Slurm(wrong, retries=0, interval=0.5).run(
        chores.square, [1], on_outcome=heard.append
    )
    assert heard == [outcome]
    assert "Jobs end before a task is done: 1 so far." in (outcome.error or "")
    assert "/no/such/python: No such file" in (outcome.error or "")


def test_a_machine_without_slurm_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected SLURM on this machine, got no sbatch"):
        Slurm(Site(logs=str(tmp_path))).run(chores.square, [1])


def _jobs() -> set[str]:
    """States of the jobs that SLURM knows."""
    answer = subprocess.run(
        ["squeue", "--noheader", "--format=%T"], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split())
