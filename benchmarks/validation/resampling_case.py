"""Construct and fit one case of `resampling.py` with skysift, in a process of its own.

Inputs and outputs are those of `benchmarks/peers/resample_case.py`; besides, the average and
the damping of each row. The peer minimises the squared residuals times the sum of the weights of
each sample before they are normalised; where a damping is given, the noise variance says so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.resample_case import ResampleCase, memory
from skysift import resample


def main() -> None:
    """Measure one case."""
    case = ResampleCase.typed(__doc__.splitlines()[0])
    base = memory()
    begun, worked = time.perf_counter(), time.process_time()
    sampling = resample.psf(case.lon, case.lat, case.level, ellipsoid="sphere").astype(np.float32)
    construct = time.perf_counter() - begun, time.process_time() - worked
    constructed = memory()
    settings: dict = {}
    if case.damping is not None:
        variance = np.empty(case.lon.size)
        with np.errstate(divide="ignore"):
            variance[sampling.order] = 1.0 / sampling.support
        settings = {"damping": case.damping, "tol": case.tol, "noise_variance": variance}
    clock = []
    begun = time.perf_counter()
    fit = resample.fit(
        sampling, case.values, progress=lambda *_: clock.append(time.perf_counter()), **settings
    )
    ended = time.perf_counter()
    np.savez(
        case.out,
        cell_ids=sampling.cell_ids,
        cells=fit.values[0],
        average=sampling.average(case.values[0]),
        damping=fit.damping,
        construct=construct,
        iterations=np.diff(clock),
        fit=ended - begun,
        memory=(base, constructed, memory()),
    )


if __name__ == "__main__":
    main()
