"""Time the SpectralCNN of torch-harmonics-healpix, on the CPU.

The script runs in an environment of its own (requirements-spectral-cnn.txt beside this file):

    taskset -c 0,1 python spectral_cnn.py --nside 16 --stokes QU --blocks 4 --batch 32

The network has the published size (32 channels) and random weights; times do not depend on them.
A step is that of the published training: squared errors, Adam at 1e-3, dropout and batch
normalisation on. Maps are white and made before the clock starts.

Outputs, one JSON object in the last line of standard output:
    peer, versions, settings, threads: What ran; one thread for each core of the process.
    parameters: Number of real weights.
    forward, step: {first, wall, cpu}: seconds of the first call, and {wall, cpu} medians of the
        calls after it, for one batch.
    maps_per_second: {forward, step}, by wall.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch_harmonics_healpix.models import SpectralCNN


def timed(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds of the first call and medians of the next."""
    calls = []
    for _ in range(repeats + 1):
        begun, worked = time.perf_counter(), time.process_time()
        function()
        calls.append((time.perf_counter() - begun, time.process_time() - worked))
    wall, cpu = (statistics.median(column) for column in zip(*calls[1:], strict=True))
    return {"first": calls[0][0], "wall": wall, "cpu": cpu}


def main() -> None:
    """Time one network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nside", type=int, default=16)
    parser.add_argument("--stokes", choices=("I", "QU"), default="QU")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5, help="calls after the first")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    channels, parameters = (1, 1) if options.stokes == "I" else (3, 2)
    network = SpectralCNN(
        nside=options.nside,
        in_channels=channels,
        out_channels=parameters,
        num_blocks=options.blocks,
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    maps = torch.randn(options.batch, channels, 12 * options.nside**2)
    truth = torch.rand(options.batch, parameters).squeeze(-1)

    def forward() -> None:
        network.eval()
        with torch.no_grad():
            network(maps)

    def step() -> None:
        network.train()
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(network(maps), truth).backward()
        optimiser.step()

    found = {"forward": timed(forward, options.repeats), "step": timed(step, options.repeats)}
    report = {
        "peer": "torch-harmonics-healpix",
        "versions": {name: version(name) for name in ("torch", "torch-harmonics")},
        "settings": vars(options),
        "threads": threads,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        **found,
        "maps_per_second": {name: options.batch / one["wall"] for name, one in found.items()},
    }
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()
