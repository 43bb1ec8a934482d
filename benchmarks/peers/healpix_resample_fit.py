"""Construct and fit with the peer package healpix-resample, on the CPU.

The script runs in an environment of its own (requirements-healpix-resample.txt beside this file):

    python healpix_resample_fit.py FOLDER OUT.npz --rows 1 --level 11 --damping 0.1 --tol 1e-3

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

import argparse
import time
from pathlib import Path

import numpy as np
from healpix_resample import PSFResampler, psf


def memory() -> float:
    """Largest memory of this process so far [MiB]; that of getrusage starts at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def record_products(clock: list[float]) -> None:
    """Have the peer's conjugate gradients note the time of each product.

    Args:
        clock: List to append to.
    """
    solve = psf.conjugate_gradient

    def recorded(A_mv, **options):
        def product(vector):
            clock.append(time.perf_counter())
            return A_mv(vector)

        return solve(A_mv=product, **options)

    psf.conjugate_gradient = recorded


def main() -> None:
    """Measure one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--damping", type=float, help="left out: all defaults of the peer")
    parser.add_argument("--tol", type=float, default=1e-3)
    options = parser.parse_args()
    lon, lat = (np.load(options.folder / f"{name}.npy") for name in ("lon", "lat"))
    values = np.array(np.load(options.folder / "values.npy", mmap_mode="r")[: options.rows])
    base = memory()
    begun, worked = time.perf_counter(), time.process_time()
    # areas of 1 are what the peer would find itself, after a search
    operator = PSFResampler(lon, lat, options.level, ellipsoid="sphere", area=np.ones(lon.size))
    construct = time.perf_counter() - begun, time.process_time() - worked
    constructed = memory()
    clock: list[float] = []
    record_products(clock)
    settings = {} if options.damping is None else {"lam": options.damping, "tol": options.tol}
    begun = time.perf_counter()
    result = operator.resample(values, **settings)
    ended = time.perf_counter()
    np.savez(
        options.out,
        cell_ids=result.cell_ids,
        cells=result.cell_data[0],
        construct=construct,
        # the first product is that of the initial guess
        iterations=np.diff([*clock[1:], ended]),
        fit=ended - begun,
        memory=(base, constructed, memory()),
    )


if __name__ == "__main__":
    main()
