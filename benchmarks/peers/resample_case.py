"""What the scripts that construct and fit one case share: arguments, inputs, memory.

It needs nothing but NumPy, so that it can be imported in the environments of the peers.

Inputs, arrays in FOLDER:
    lon.npy, lat.npy: (n,) degrees on the sphere.
    values.npy: (rows, n), float32; the first `--rows` are fitted.

Outputs, arrays of OUT.npz:
    cell_ids, cells: (k,) NESTED numbers and (k,) the first fitted row.
    construct: Seconds and CPU seconds until the operator is there.
    iterations: Seconds of each iteration of conjugate gradients.
    fit: Seconds of the whole fit.
    memory: Largest memory of the process [MiB] before anything, after the
        construction, and at the end.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ResampleCase:
    """One case.

    Args:
        out: file of the results.
        lon: [degrees].
        lat: [degrees].
        values: rows to fit.
        level: of the cells.
        damping: of the fit; `None` for all defaults of the package.
        tol: relative residual at which the fit ends.
    """

    out: Path
    lon: np.ndarray
    lat: np.ndarray
    values: np.ndarray
    level: int
    damping: float | None
    tol: float

    @staticmethod
    def typed(description: str) -> ResampleCase:
        """The case that the command line names."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("folder", type=Path)
        parser.add_argument("out", type=Path)
        parser.add_argument("--rows", type=int, default=1)
        parser.add_argument("--level", type=int, required=True)
        parser.add_argument("--damping", type=float, help="left out: all defaults")
        parser.add_argument("--tol", type=float, default=1e-3)
        options = parser.parse_args()
        lon, lat = (np.load(options.folder / f"{name}.npy") for name in ("lon", "lat"))
        values = np.array(np.load(options.folder / "values.npy", mmap_mode="r")[: options.rows])
        return ResampleCase(
            options.out, lon, lat, values, options.level, options.damping, options.tol
        )


def memory() -> float:
    """Largest memory of this process so far [MiB]; that of getrusage starts at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
