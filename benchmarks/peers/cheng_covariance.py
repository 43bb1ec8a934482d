"""Measure the scattering covariance of S. Cheng's package `scattering` on the plane, on the CPU.

The script runs in an environment of its own (requirements-scattering-torch.txt beside this file),
with the folder of the package on the path, as its authors advise:

    PYTHONPATH=SCATTERING_TRANSFORM taskset -c 0,1 python cheng_covariance.py --map MAP.npy \
        --scales 7 --orientations 4

MAP.npy is a periodic plane (M, N). The statistics are what the package gives to its syntheses:
mean / standard deviation, log P00, log S1, C01 and C11 with the normalisation of a reference,
here the map itself, of Morlet wavelets in float32. `stopwatch.py` tells what is printed.
"""

import numpy as np
import torch
from stopwatch import Stopwatch, parser

import scattering


def main() -> None:
    """Measure one map."""
    arguments = parser(__doc__)
    arguments.add_argument("--scales", type=int, required=True)
    arguments.add_argument("--orientations", type=int, default=4)
    options = arguments.parse_args()
    pixels = np.load(options.map).astype(np.float32)[None]
    with Stopwatch("scattering", ("torch",), options) as watch:
        torch.set_num_threads(watch.threads)
        with watch.stage("set_up"):
            operator = scattering.Scattering2d(
                *pixels.shape[1:], options.scales, options.orientations, device="cpu"
            )
            operator.add_ref(torch.tensor(pixels))

        def forward(plane: torch.Tensor) -> torch.Tensor:
            return operator.scattering_cov(plane, use_ref=True)["for_synthesis"]

        def gradient() -> torch.Tensor:
            plane = torch.tensor(pixels, requires_grad=True)
            (forward(plane) ** 2).sum().backward()
            return plane.grad

        watch.repeat("forward", lambda: forward(torch.tensor(pixels)))
        watch.repeat("gradient", gradient)
        watch.count(forward(torch.tensor(pixels)).numel())


if __name__ == "__main__":
    main()
