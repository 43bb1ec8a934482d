"""Measure the wavelet phase harmonics of pywph on the plane, on the CPU.

The script runs in an environment of its own (requirements-scattering-torch.txt beside this file):

    taskset -c 0,1 python pywph_statistics.py --map MAP.npy --scales 7 --orientations 4 --shifts 0

MAP.npy is a periodic, real plane (M, N). The statistics are the classes S11, S00, S01, C01, Cphase
and L, in float32, with the normalisation of a reference, here the map itself. pywph takes as many
of them at once as the free memory holds. `stopwatch.py` tells what is printed.
"""

import numpy as np
import pywph
import torch
from stopwatch import Stopwatch, parser


def main() -> None:
    """Measure one map."""
    arguments = parser(__doc__)
    arguments.add_argument("--scales", type=int, required=True)
    arguments.add_argument("--orientations", type=int, default=4)
    arguments.add_argument("--shifts", type=int, default=0, help="radial steps of the shifts")
    options = arguments.parse_args()
    pixels = np.load(options.map).astype(np.float32)
    with Stopwatch("pywph", ("pywph", "torch"), options) as watch:
        torch.set_num_threads(watch.threads)
        with watch.stage("set_up"):
            operator = pywph.WPHOp(
                *pixels.shape, options.scales, L=options.orientations, dn=options.shifts
            )
            operator.apply(pixels, norm="auto")

        def forward() -> torch.Tensor:
            with torch.no_grad():
                return operator.apply(pixels, norm="auto")

        def gradient() -> torch.Tensor:
            plane, parts = operator.preconfigure(pixels, requires_grad=True)
            for part in range(parts):
                found = operator.apply(plane, part, norm="auto")
                (found.abs() ** 2).sum().backward(retain_graph=True)
            return plane.grad

        watch.repeat("forward", forward)
        watch.repeat("gradient", gradient)
        watch.count(2 * forward().numel())


if __name__ == "__main__":
    main()
