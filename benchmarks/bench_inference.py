"""Maps per second of networks that tell parameters of maps: `make bench`.

Skies of T2, Q and U at nside 16, in batches of 32 maps. `default` is what `train` is given when
nothing else is asked for: fixed filters and a head on their powers. `spectral_cnn` is that of
torch-harmonics-healpix rebuilt here, `test_peer` the original. A step has the gradient and Adam; a
fixed summary would be computed once for all steps, here it is computed in each.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skysift.inference.model import Family, Member, Model, Network, start
from skysift.inference.networks import (
    AbstractNetwork,
    HarmonicNetwork,
    HarmonicShape,
    PixelNetwork,
    PixelShape,
    learnt,
)
from skysift.inference.simulators import GaussianSky, Observed, Split, t2
from skysift.inference.spectral_cnn import SpectralCNN, SpectralShape
from skysift.inference.summary import AbstractSummary
from skysift.maps import Stokes

PEER_PYTHON = os.environ.get("SKYSIFT_SPECTRAL_CNN_PYTHON")
NSIDE, BATCH = 16, 32
KEY = jax.random.key(0)
SUMMARIES: dict[str, Callable[[GaussianSky], AbstractSummary]] = {
    "default": lambda simulator: Network.of(simulator).summary,
    "harmonic": lambda _: HarmonicNetwork(HarmonicShape(NSIDE, Stokes.QU), KEY),
    "pixel": lambda _: PixelNetwork(PixelShape(NSIDE, Stokes.QU), KEY),
    "spectral_cnn": lambda _: SpectralCNN(SpectralShape(NSIDE, Stokes.QU), KEY),
}


@pytest.fixture(scope="module")
def simulator() -> GaussianSky:
    return t2(nside=NSIDE)


@pytest.fixture(scope="module")
def observed(simulator: GaussianSky) -> Observed:
    return simulator.batch(Split.TRAIN.key(0), BATCH)[1]


def note(benchmark, batch: int = BATCH) -> None:
    """Maps per second."""
    if benchmark.enabled:
        benchmark.extra_info["maps_per_second"] = batch / benchmark.stats.stats.median


@pytest.mark.parametrize("name", SUMMARIES)
def test_forward(benchmark, simulator, observed, name):
    """From maps to means of posteriors."""
    network = Network(SUMMARIES[name](simulator))
    members = start(network, simulator.prior.size, KEY, 1)
    model = Model(network, members, Family.of(simulator))
    values = np.asarray(observed.values)
    means = benchmark.pedantic(lambda: model(values).mean, rounds=5, warmup_rounds=1)
    note(benchmark)
    assert np.isfinite(means).all()


@pytest.mark.parametrize("name", SUMMARIES)
def test_step(benchmark, simulator, observed, name):
    """One step of training, from maps."""
    network = Network(SUMMARIES[name](simulator))
    stacked = start(network, simulator.prior.size, KEY, 1)
    member = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, stacked)
    values, fixed = eqx.partition(member, learnt(member))
    places = jnp.zeros((BATCH, simulator.prior.size), jnp.float32)
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
    moved, _ = benchmark.pedantic(
        lambda: jax.block_until_ready(step(values, state, observed)), rounds=5, warmup_rounds=1
    )
    note(benchmark)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(moved))


@pytest.mark.skipif(
    PEER_PYTHON is None,
    reason="SKYSIFT_SPECTRAL_CNN_PYTHON names no Python with torch-harmonics-healpix",
)
def test_peer(benchmark):
    """The SpectralCNN of torch-harmonics-healpix, in an environment of its own."""
    script = Path(__file__).parent / "peers/spectral_cnn.py"
    command = [str(PEER_PYTHON), str(script), "--nside", str(NSIDE), "--batch", str(BATCH)]

    def run() -> dict:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    report = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["maps_per_second"] = report["maps_per_second"]
    assert report["parameters"] == 9_829_634
