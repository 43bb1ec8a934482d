"""Measure the scattering covariance of FOSCAT on the sphere, on the CPU.

The script runs in an environment of its own (requirements-scattering-torch.txt beside this file):

    taskset -c 0,1 python foscat_covariance.py --map MAP.npy --orientations 4 --kernel 3

MAP.npy is a HEALPix map in RING order; the scales are all that FOSCAT has at its nside. The
statistics are S0, S1, S2, S3 and S4 without normalisation, in float32. FOSCAT builds its stencils
in the first call, here in a folder that starts empty. `stopwatch.py` tells what is printed.
"""

import tempfile

import foscat.scat_cov
import healpy as hp
import numpy as np
import torch
from stopwatch import Stopwatch, parser

ORDERS = ("S0", "S1", "S2", "S3", "S4")


def main() -> None:
    """Measure one map."""
    arguments = parser(__doc__)
    arguments.add_argument("--orientations", type=int, default=4)
    arguments.add_argument("--kernel", type=int, default=3, help="taps along one side")
    options = arguments.parse_args()
    # FOSCAT's pixels are in NESTED order
    pixels = hp.reorder(np.load(options.map), r2n=True).astype(np.float32)
    with (
        tempfile.TemporaryDirectory() as tables,
        Stopwatch("foscat", ("foscat", "torch"), options) as watch,
    ):
        torch.set_num_threads(watch.threads)
        with watch.stage("set_up"):
            operator = foscat.scat_cov.funct(
                NORIENT=options.orientations,
                KERNELSZ=options.kernel,
                all_type="float32",
                TEMPLATE_PATH=tables,
            )

        def forward(sky: torch.Tensor) -> list[torch.Tensor]:
            found = operator.eval(sky)
            orders = [getattr(found, order) for order in ORDERS]
            return [torch.view_as_real(x) if x.is_complex() else x for x in orders]

        def gradient() -> torch.Tensor:
            sky = torch.tensor(pixels, requires_grad=True)
            sum((order**2).sum() for order in forward(sky)).backward()
            return sky.grad

        watch.repeat("forward", lambda: forward(torch.tensor(pixels)))
        watch.repeat("gradient", gradient)
        watch.count(sum(order.numel() for order in forward(torch.tensor(pixels))))


if __name__ == "__main__":
    main()
