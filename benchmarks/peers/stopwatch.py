"""What the peers of the scattering statistics share: arguments, stages, clocks and the report.

A peer script loads a map, sets its package up, and measures two functions, of which the first call
stands apart, as it compiles or builds tables:

    with Stopwatch("pywph", ("pywph", "torch"), options) as watch:
        with watch.stage("set_up"):
            ...
        watch.repeat("forward", lambda: ...)
        watch.repeat("gradient", lambda: ...)

Outputs, one JSON object in the last line of standard output (what the package prints after its
import goes to standard error):
    peer, versions, settings, threads: What ran; one thread for each core of the process.
    coefficients: Real numbers in the statistics; a complex number counts twice.
    set_up: {wall, cpu} seconds until the package is configured, without its import.
    forward, gradient: {first, wall, cpu}: {wall, cpu} seconds of the first call, and the medians
        of the calls after it. The gradient is that of the sum of the squares of all coefficients,
        with respect to the map; the value is computed with it.
    memory: Largest memory of the process [MiB] after the imports and at the end of each stage.
    finished: False where `--seconds` were over first; then `stage` names what was under way.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every peer takes.

    Args:
        description: Documentation of the script, of which the first line is shown.
    """
    arguments = argparse.ArgumentParser(description=description.splitlines()[0])
    arguments.add_argument("--map", type=Path, required=True, help="array in a .npy file")
    arguments.add_argument("--repeats", type=int, default=5, help="calls after the first")
    arguments.add_argument("--seconds", type=float, help="give up after so many seconds")
    return arguments


def memory() -> float:
    """Largest memory of this process so far [MiB]; that of getrusage starts at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Stopwatch:
    """Measures the stages of one peer and prints the report at the end.

    Attributes:
        report: What is printed.
        threads: Cores that the process may use.
    """

    def __init__(self, peer: str, packages: tuple[str, ...], options: argparse.Namespace):
        """Start the report, and the clock of the time limit.

        Args:
            peer: Name of the peer.
            packages: Installed packages of which to tell the version.
            options: Parsed arguments, of which all but the map, repeats and seconds are settings.
        """
        self.threads = len(os.sched_getaffinity(0))
        self.repeats = options.repeats
        common = ("map", "repeats", "seconds")
        self.report: dict[str, Any] = {
            "peer": peer,
            "versions": {name: version(name) for name in packages},
            "settings": {name: x for name, x in vars(options).items() if name not in common},
            "threads": self.threads,
            "memory": {"imported": memory()},
        }
        self._stage = "imported"
        self._limit = threading.Timer(options.seconds or threading.TIMEOUT_MAX, self._give_up)
        self._limit.daemon = True
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Stopwatch":
        """Send what the peer prints to standard error."""
        self._limit.start()
        self._stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Print the report, unless the peer failed."""
        self._limit.cancel()
        self._stack.close()
        if kind is None:
            print(json.dumps({**self.report, "finished": True}))

    def _give_up(self) -> None:
        """Print what is known and end the process, whatever it is doing."""
        found = {**self.report, "finished": False, "stage": self._stage}
        found["memory"][self._stage] = memory()
        print(json.dumps(found), file=sys.__stdout__, flush=True)
        os._exit(0)

    def count(self, coefficients: int) -> None:
        """Note the number of real coefficients.

        Args:
            coefficients: Count, a complex number counted twice.
        """
        self.report["coefficients"] = coefficients

    @contextlib.contextmanager
    def _clock(self, stage: str) -> Iterator[dict[str, float]]:
        """Time a block; the yielded dictionary has its seconds once the block is left."""
        self._stage = stage
        found: dict[str, float] = {}
        begun, worked = time.perf_counter(), time.process_time()
        yield found
        found.update(wall=time.perf_counter() - begun, cpu=time.process_time() - worked)
        self.report["memory"][stage] = memory()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block.

        Args:
            name: Key in the report.
        """
        with self._clock(name) as found:
            yield
        self.report[name] = found

    def repeat(self, name: str, function: Callable[[], object]) -> None:
        """Time the first call of a function, and then the median of more.

        Args:
            name: Key in the report.
            function: Returns when its result is there.
        """
        with self._clock(f"{name}, first call") as first:
            function()
        self.report[name] = {"first": first}
        calls = []
        for _ in range(self.repeats):
            with self._clock(name) as call:
                function()
            calls.append(call)
        for clock in first:
            self.report[name][clock] = statistics.median(call[clock] for call in calls)
