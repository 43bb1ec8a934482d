"""Construct and fit with the peer package healpix-resample, on the CPU.

The script runs in an environment of its own (requirements-healpix-resample.txt beside this file):

    python healpix_resample_fit.py FOLDER OUT.npz --rows 1 --level 11 --damping 0.1 --tol 1e-3

Inputs and outputs are those of resample_case.py beside this file.
"""

import time

import numpy as np
from healpix_resample import PSFResampler, psf
from resample_case import ResampleCase, memory


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
    case = ResampleCase.typed(__doc__.splitlines()[0])
    base = memory()
    begun, worked = time.perf_counter(), time.process_time()
    # areas of 1 are what the peer would find itself, after a search
    operator = PSFResampler(
        case.lon, case.lat, case.level, ellipsoid="sphere", area=np.ones(case.lon.size)
    )
    construct = time.perf_counter() - begun, time.process_time() - worked
    constructed = memory()
    clock: list[float] = []
    record_products(clock)
    settings = {} if case.damping is None else {"lam": case.damping, "tol": case.tol}
    begun = time.perf_counter()
    result = operator.resample(case.values, **settings)
    ended = time.perf_counter()
    np.savez(
        case.out,
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
