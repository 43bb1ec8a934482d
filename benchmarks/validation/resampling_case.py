"""Construct and fit one case of `resampling.py` with skysift, in a process of its own.

Inputs and outputs are those of `benchmarks/peers/healpix_resample_fit.py`; besides, the average and
the damping of each row. The peer minimises the squared residuals times the sum of the weights of
each sample before they are normalised; where a damping is given, the noise variance says so.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from skysift import resample


def memory() -> float:
    """Largest memory of this process so far [MiB]; that of getrusage starts at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Measure one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--damping", type=float, help="left out: all defaults")
    parser.add_argument("--tol", type=float, default=1e-3)
    options = parser.parse_args()
    lon, lat = (np.load(options.folder / f"{name}.npy") for name in ("lon", "lat"))
    values = np.array(np.load(options.folder / "values.npy", mmap_mode="r")[: options.rows])
    base = memory()
    begun, worked = time.perf_counter(), time.process_time()
    sampling = resample.psf(lon, lat, options.level, ellipsoid="sphere").astype(np.float32)
    construct = time.perf_counter() - begun, time.process_time() - worked
    constructed = memory()
    settings: dict = {}
    if options.damping is not None:
        variance = np.empty(lon.size)
        with np.errstate(divide="ignore"):
            variance[sampling.order] = 1.0 / sampling.support
        settings = {"damping": options.damping, "tol": options.tol, "noise_variance": variance}
    clock = []
    begun = time.perf_counter()
    fit = resample.fit(
        sampling, values, progress=lambda *_: clock.append(time.perf_counter()), **settings
    )
    ended = time.perf_counter()
    np.savez(
        options.out,
        cell_ids=sampling.cell_ids,
        cells=fit.values[0],
        average=sampling.average(values[0]),
        damping=fit.damping,
        construct=construct,
        iterations=np.diff(clock),
        fit=ended - begun,
        memory=(base, constructed, memory()),
    )


if __name__ == "__main__":
    main()
