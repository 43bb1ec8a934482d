"""Models that come with the package, against their cards."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from skysift.inference import codec
from skysift.inference.model import Family, load, packaged
from skysift.inference.simulators import Split, t1, t2

QUICK = {"t1-noise0": t1, "t2-fsky0.05": lambda: t2(0.05)}
"""Models whose filters are made in seconds."""


def page():
    """The script that writes the cards."""
    path = Path(__file__).parents[2] / "benchmarks" / "validation" / "inference_page.py"
    spec = importlib.util.spec_from_file_location("inference_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", QUICK)
def test_models_do_what_their_cards_say(name):
    simulator, model = QUICK[name](), load(name)
    assert model.family == Family.of(simulator)
    told = model.figures["evaluation"]
    truths, observed = simulator.batch(Split.TEST.key(7), 200)
    post, truths = model.posterior(observed), np.asarray(truths)
    relative = simulator.prior.relative(post.mean - truths, truths)
    uncertainty = np.hypot(relative.std(axis=0) / np.sqrt(200), told["error_uncertainty"])
    assert np.all(np.abs(relative.mean(axis=0) - told["error"]) < 4.0 * uncertainty)
    inside = np.mean(np.abs(post.mean - truths) < post.std, axis=0)
    assert np.all(np.abs(inside - told["coverage_0.68"]) < 4.0 * np.sqrt(0.22 / 200))


def test_cards_are_those_of_the_models():
    names = packaged()
    assert {f"t1-noise{noise}" for noise in (0, 5, 10, 15)} <= set(names)
    assert {f"t2-fsky{fsky}" for fsky in (1.0, 0.5, 0.2, 0.1, 0.05)} | {"t3"} <= set(names)
    assert sum(path.stat().st_size for path in names.values()) < 5e6
    for path in names.values():
        header, _ = codec.read(path, "model")
        family = codec.decode(header["family"])
        card = page().card(header["figures"]["evaluation"], family)
        assert path.with_suffix(".md").read_text() == card
