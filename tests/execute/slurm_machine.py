"""A SLURM cluster of one machine: this one."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel")
_SYSTEM = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def missing() -> str | None:
    """Why SLURM cannot be started here."""
    absent = [name for name in PROGRAMS if _find(name) is None]
    if absent:
        return f"SLURM is not installed: no {', '.join(absent)}"
    return None if getpass.getuser() == "root" else "SLURM's daemons need root"


@contextlib.contextmanager
def slurm_machine(cpus: int = 4) -> Iterator[Path]:
    """Run munged, slurmctld and slurmd in the block, with their files in a temporary directory.

    Args:
        cpus: that the machine pretends to have.

    Yields:
        The configuration, the value that SLURM_CONF needs.

    Raises:
        RuntimeError: if the cluster does not come up, with the end of its logs.
    """
    # Short, because paths of sockets have at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="slurm"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        (home / "munge.key").write_bytes(secrets.token_bytes(1024))
        (home / "munge.key").chmod(0o400)
        _configure(home, cpus)
        for command in _commands(home):
            with (home / f"{Path(command[0]).name}.out").open("wb") as output:
                daemons.append(subprocess.Popen(command, stdout=output, stderr=output, cwd=home))
            if Path(command[0]).name == "munged":
                _wait(home, (home / "munge.socket").exists)
        _wait(home, lambda: _ask(home, "sinfo", "--noheader", "--format=%T") == "idle")
        yield home / "slurm.conf"
        _ask(home, "scancel", f"--user={getpass.getuser()}")
        _wait(home, lambda: not _ask(home, "squeue", "--noheader"))
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(home, ignore_errors=True)


def _find(name: str) -> str | None:
    return shutil.which(name, path=_SYSTEM)


def _commands(home: Path) -> list[list[str]]:
    munged, slurmctld, slurmd = (str(_find(name)) for name in PROGRAMS[:3])
    files = {"key": "munge.key", "log": "munged.log", "pid": "munged.pid", "seed": "munge.seed"}
    conf = str(home / "slurm.conf")
    return [
        [
            *(munged, "--foreground", "--force", f"--socket={home / 'munge.socket'}"),
            *(f"--{kind}-file={home / name}" for kind, name in files.items()),
        ],
        [slurmctld, "-D", "-f", conf],
        [slurmd, "-D", "-f", conf],
    ]


def _configure(home: Path, cpus: int) -> None:
    host = socket.gethostname().partition(".")[0]
    ports = _free_ports(2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    (home / "slurm.conf").write_text(
        f"""
ClusterName=machine
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=00:10:00 State=UP
"""
    )
    (home / "state").mkdir()
    (home / "spool").mkdir()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _ask(home: Path, program: str, *arguments: str) -> str:
    """What a program of SLURM prints, nothing while the controller does not answer."""
    answer = subprocess.run(
        [str(_find(program)), *arguments],
        env={**os.environ, "SLURM_CONF": str(home / "slurm.conf")},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip()


def _wait(home: Path, condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = [
                f"{path.name}: {path.read_text(errors='replace')[-600:]}"
                for path in (*home.glob("*.out"), *home.glob("*.log"))
            ]
            raise RuntimeError("SLURM does not come up\n" + "\n".join(logs))
        time.sleep(0.1)
