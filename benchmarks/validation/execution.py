"""Do all executors give the same numbers, and does a set survive what kills it?

One sweep of 4 x 10 separations, run in series, in processes, on a Dask LocalCluster and on SLURM,
compared bit for bit; then again with a worker killed in the middle, and with the whole command
killed and started anew. Writes `execution.md`.

    python benchmarks/validation/execution.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skysift.store.dataset import read_dataset
from skysift.store.run import Run

ROOT = Path(__file__).parents[2]
SKYSIFT = str(Path(sys.executable).with_name("skysift"))
SWEEP = ["--sweep", "patches.beta_dust=kmeans:5,10", "--sweep", "patches.temp_dust=kmeans:2,4"]
TASKS = 40
SITE = """queue: short
jobs: 2
workers: 1
cores: 1
memory: 4GB
walltime: '00:09:00'
interface: lo
"""


@dataclass(frozen=True)
class Row:
    """How one way to run the set went."""

    name: str
    seconds: float
    same: str
    remark: str


def main() -> None:
    """Run the set in every way and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nside", type=int, default=32)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/validation/execution.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        skysift("simulate", "c1d1s1", "--nside", str(arguments.nside), "-o", "sky", cwd=work)
        rows = [timed(work, "serial", "serial")]
        rows += [timed(work, name, name) for name in ("processes:2", "dask:2")]
        rows.append(on_slurm(work))
        rows.append(with_killed_worker(work))
        rows.append(with_killed_command(work))
    arguments.output.write_text(page(rows, arguments.nside), encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


def skysift(*words: str, cwd: Path) -> None:
    """Run a command that must succeed."""
    subprocess.run([SKYSIFT, *words, "-q"], cwd=cwd, check=True)


def command(output: str, executor: str, *more: str) -> list[str]:
    """The set as it is typed."""
    patches = ["separate", "sky", "--mask", "GAL060", *SWEEP, "--seeds", "0:10"]
    return [*patches, "--executor", executor, *more, "-o", output]


def timed(work: Path, name: str, executor: str, *more: str) -> Row:
    """Run the set with an executor and compare it with the serial one."""
    output = name.replace(":", "-")
    begun = time.perf_counter()
    skysift(*command(output, executor, *more), cwd=work)
    seconds = time.perf_counter() - begun
    return Row(name, seconds, compared(work, output), "")


def compared(work: Path, output: str) -> str:
    """How much of a set differs from the serial one."""
    runs = sorted(path.parent for path in (work / output).glob("*/manifest.json"))
    assert len(runs) == 4, runs
    different, numbers = 0, 0
    for run in runs:
        assert Run.open(run).manifest.summary["converged"], run
        mine, other = Run.open(run).dataset(), Run.open(work / "serial" / run.name).dataset()
        ratios = [read_dataset(path / "r.nc") for path in (run, work / "serial" / run.name)]
        for one, two in ((mine, other), ratios):
            for variable in one.variables:
                if variable != "seconds":
                    a, b = one[variable].values, two[variable].values
                    numbers += a.size
                    equal = (a == b) | ((a != a) & (b != b))
                    different += int(a.size - np.sum(equal))
    return f"{different} of {numbers:,} numbers differ"


def on_slurm(work: Path) -> Row:
    """Run the set on a SLURM cluster of this machine."""
    sys.path.insert(0, str(ROOT / "tests/execute"))
    import slurm_machine

    missing = slurm_machine.missing()
    if missing:
        return Row("SLURM", float("nan"), "not run", missing)
    site = work / "site.yaml"
    site.write_text(SITE, encoding="utf-8")
    with slurm_machine.slurm_machine(cpus=4) as configuration:
        os.environ["SLURM_CONF"] = str(configuration)
        row = timed(work, "slurm", "slurm", "--site", str(site))
        del os.environ["SLURM_CONF"]
    return row


def with_killed_worker(work: Path) -> Row:
    """Kill a worker process while the set runs."""
    begun = time.perf_counter()
    with started(command("killed", "processes:2"), work) as process:
        wait_for(work / "killed", 5, process)
        victim = next(iter(children(process.pid)))
        os.kill(victim, signal.SIGKILL)
        assert process.wait() == 0
    return Row(
        "processes:2, a worker killed",
        time.perf_counter() - begun,
        compared(work, "killed"),
        "the set ended by itself",
    )


def with_killed_command(work: Path) -> Row:
    """Kill the whole command, and start it again."""
    begun = time.perf_counter()
    with started(command("again", "dask:2"), work) as process:
        wait_for(work / "again", 12, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished(work / "again")}
    skysift(*command("again", "dask:2"), cwd=work)
    repeated = [p for p, made in before.items() if p.exists() and p.stat().st_mtime_ns != made]
    return Row(
        "dask:2, scheduler killed, restarted",
        time.perf_counter() - begun,
        compared(work, "again"),
        f"{len(before)} of {TASKS} tasks were done before, {len(repeated)} of them repeated",
    )


@contextlib.contextmanager
def started(words: list[str], work: Path) -> Iterator[subprocess.Popen]:
    """A command in a process group of its own."""
    process = subprocess.Popen([SKYSIFT, *words, "-q"], cwd=work, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def finished(output: Path) -> list[Path]:
    """Realisations that are complete, in runs or in files beside them."""
    return [*output.glob("*.tasks/*/seed-*.nc"), *output.glob("*/result.nc")]


def wait_for(output: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until some tasks are done."""
    while len(finished(output)) < count:
        assert process.poll() is None, "the set ended too early"
        time.sleep(0.1)


def children(parent: int) -> list[int]:
    """Processes below a process that run tasks."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    return [int(pid) for pid, arguments in rows if "spawn_main" in arguments]


def page(rows: list[Row], nside: int) -> str:
    """The page."""
    lines = [
        "# Execution",
        "",
        "One set: a sweep of 2 x 2 choices of k-means patches, ten noise realisations each,",
        f"{TASKS} separations of `c1d1s1` at nside {nside} on `GAL060`, run in every way. All",
        "stored numbers are compared with those of the serial run, bit for bit. Times hold on this",
        "machine with what else it did; they include starting Python and the pages of four runs.",
        "",
        "| executor | seconds | against serial | |",
        "| --- | ---: | --- | --- |",
    ]
    for row in rows:
        seconds = "–" if row.seconds != row.seconds else f"{row.seconds:.0f}"
        lines.append(f"| {row.name} | {seconds} | {row.same} | {row.remark} |")
    cores = len(os.sched_getaffinity(0))
    lines += ["", f"{cores} cores. Repeat with `python benchmarks/validation/execution.py`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
