"""Maps per second of training and inference, beside torch-harmonics-healpix.

Skies of T2, full sky, Q and U at nside 16. The peer is the SpectralCNN of torch-harmonics-healpix
with its published size, in an environment of its own
(`benchmarks/peers/requirements-spectral-cnn.txt`); both have the same cores. Writes
`inference-speed.md`.

    python benchmarks/validation/inference_speed.py --peer-python PEER/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from skysift.inference.model import Family, Member, Model, Network, start
from skysift.inference.networks import AbstractNetwork, learnt
from skysift.inference.simulators import GaussianSky, Observed, Split, t2
from skysift.inference.spectral_cnn import SpectralCNN, SpectralShape

ROOT = Path(__file__).parents[2]
PEER = ROOT / "benchmarks" / "peers" / "spectral_cnn.py"
KEY = jax.random.key(0)

HEAD = """# Speed of networks on the sphere

Written by `benchmarks/validation/inference_speed.py` on {cores} cores: Q and U maps of the full sky, nside 16,
{batch} at a time; medians of {repeats} calls, compilation apart. `best` is what
`skysift.inference.Network.of` takes, here the exact likelihood of spectra; a step has its summary, which
training computes once for all epochs. `spectral-cnn` is that of torch-harmonics-healpix rebuilt
(equal to the original to 1e-6), the last line the original, torch {torch}.

| network | inference [maps / s] | over the original | training [maps / s] | over the original |
| --- | ---: | ---: | ---: | ---: |
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "validation")
    options = parser.parse_args()
    simulator = t2()
    observed = simulator.batch(Split.TRAIN.key(0), options.batch)[1]
    networks = {
        "best": Network.of(simulator),
        "spectral-cnn": Network(SpectralCNN(SpectralShape(16, simulator.stokes), KEY)),
    }
    found = {
        name: (
            inference(network, simulator, observed, options.repeats),
            training(network, simulator, observed, options.repeats),
        )
        for name, network in networks.items()
    }
    command = [options.peer_python, str(PEER), "--nside", "16", "--batch", str(options.batch)]
    command += ["--repeats", str(options.repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peer = json.loads(done.stdout.splitlines()[-1])
    theirs = tuple(peer["maps_per_second"][one] for one in ("forward", "step"))
    found["SpectralCNN, torch-harmonics-healpix"] = theirs
    text = HEAD.format(
        cores=len(os.sched_getaffinity(0)),
        batch=options.batch,
        repeats=options.repeats,
        torch=peer["versions"]["torch"],
    )
    for name, rates in found.items():
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


def inference(network: Network, simulator: GaussianSky, observed: Observed, repeats: int) -> float:
    """Maps per second, from values to means of posteriors."""
    members = start(network, simulator.prior.size, KEY, 1)
    model = Model(network, members, Family.of(simulator))
    values = np.asarray(observed.values)
    return len(values) / timed(lambda: model(values).mean, repeats)


def training(network: Network, simulator: GaussianSky, observed: Observed, repeats: int) -> float:
    """Maps per second of steps with gradient and Adam, from maps."""
    stacked = start(network, simulator.prior.size, KEY, 1)
    member = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, stacked)
    values, fixed = eqx.partition(member, learnt(member))
    places = jnp.zeros((len(observed.values), simulator.prior.size), jnp.float32)
    optimiser = optax.adam(1e-3)

    def loss(values: Member, maps: Observed) -> jax.Array:
        whole = eqx.combine(values, fixed)
        if isinstance(whole.summary, AbstractNetwork):
            numbers, _ = whole.summary.learning(maps, KEY)
        else:
            numbers = network.summary(maps)
        return -jnp.mean(whole.head(numbers).log_prob(places))

    @eqx.filter_jit
    def step(values: Member, state: optax.OptState, maps: Observed) -> tuple:
        slope = jax.grad(loss)(values, maps)
        updates, state = optimiser.update(slope, state)
        return eqx.apply_updates(values, updates), state

    state = optimiser.init(values)
    seconds = timed(lambda: jax.block_until_ready(step(values, state, observed)), repeats)
    return len(places) / seconds


def timed(function: Callable[[], object], repeats: int) -> float:
    """Median of the seconds of calls after the first."""
    function()
    calls = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        calls.append(time.perf_counter() - begun)
    return statistics.median(calls)


if __name__ == "__main__":
    main()
