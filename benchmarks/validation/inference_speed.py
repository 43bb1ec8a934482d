"""Maps per second of training and inference, beside torch-harmonics-healpix.

Runs `benchmarks/bench_inference.py` with the peer, in an environment of its own
(`benchmarks/peers/requirements-spectral-cnn.txt`), and writes `inference-speed.md`.

    python benchmarks/validation/inference_speed.py --peer-python PEER/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETWORKS = ("default", "harmonic", "pixel", "spectral_cnn")

HEAD = """# Speed of networks on the sphere

Written by `benchmarks/validation/inference_speed.py` on {cores} cores: Q and U maps of the full sky
(T2), nside 16, 32 at a time; medians of five calls, compilation apart. `default` is what
`skysift.inference.Network.of` takes, here the exact likelihood of spectra; a step has its summary,
which training computes once for all epochs. `spectral_cnn` is that of torch-harmonics-healpix
rebuilt (equal to the original to 1e-6), the last line the original.

| network | inference [maps / s] | over the original | training [maps / s] | over the original |
| --- | ---: | ---: | ---: | ---: |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = measured(options.peer_python)
    peer = found["test_peer"]
    theirs = peer["forward"], peer["step"]
    text = HEAD.format(cores=len(os.sched_getaffinity(0)))
    rows = {
        name: (found[f"test_forward[{name}]"], found[f"test_step[{name}]"]) for name in NETWORKS
    }
    for name, rates in {**rows, "SpectralCNN, torch-harmonics-healpix": theirs}.items():
        cells = [
            f"{rate:.0f} | {rate / their:.1f}" for rate, their in zip(rates, theirs, strict=True)
        ]
        text += f"| {name} | {' | '.join(cells)} |\n"
    text += (
        "\nRepeat with `python benchmarks/validation/inference_speed.py --peer-python PYTHON`, "
        "with the Python of `benchmarks/peers/requirements-spectral-cnn.txt`.\n"
    )
    (options.out / "inference-speed.md").write_text(text)
    print(text)


def measured(peer_python: str) -> dict:
    """Maps per second that each benchmark notes, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", "-q", "--benchmark-enable"]
        command += [f"--benchmark-json={file}", str(ROOT / "benchmarks" / "bench_inference.py")]
        subprocess.run(
            command,
            check=True,
            cwd=ROOT,
            env=os.environ | {"SKYSIFT_SPECTRAL_CNN_PYTHON": peer_python},
        )
        told = json.loads(file.read_text())["benchmarks"]
    return {one["name"]: one["extra_info"]["maps_per_second"] for one in told}


if __name__ == "__main__":
    main()
