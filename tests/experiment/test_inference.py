"""Simulators and networks of experiments, and what was published for them."""

import dataclasses

import jax
import numpy as np
import pytest
import yaml

from skysift.experiment import BenchExperiment, TrainExperiment, from_mapping, to_text
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.inference import maps_in_words, network_in_words
from skysift.experiment.inference_config import Body, Ending, Row
from skysift.experiment.inference_problem import network_of, simulator_of
from skysift.experiment.inference_published import published
from skysift.inference import (
    FunctionSimulator,
    GaussianSky,
    HarmonicNetwork,
    PixelNetwork,
    Protocol,
    RandomCaps,
    Regression,
    Scoring,
    Shared,
    SpectralCNN,
    t1,
    t2,
    t3,
    t4,
)

MINE = '''
from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

import skysift as ss
from skysift.maps import Stokes

PRIOR = ss.inference.Prior((ss.inference.Parameter("level", 1.0, 2.0),))


def simulator():
    """A whole simulator."""
    law = lambda p, key: p[0] * jnp.ones((1, 48))
    return ss.inference.FunctionSimulator(law, PRIOR, 2, Stokes.I)


def untraced():
    """One that JAX does not look into."""
    law = lambda p, key: p[0] * jnp.ones((1, 48))
    return ss.inference.FunctionSimulator(law, PRIOR, 2, Stokes.I, traced=False)


@dataclass(frozen=True)
class Flat(ss.inference.AbstractTheory):
    """Spectra that are flat."""

    @property
    def prior(self):
        return PRIOR

    @property
    def stokes(self):
        return Stokes.I

    def __call__(self, parameters):
        return jnp.broadcast_to(parameters[..., None], (*parameters.shape, self.lmax + 1))


number = 3
'''


@pytest.fixture
def mine(tmp_path):
    """A file with simulators."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def train(**settings):
    return TrainExperiment(**{"nside": 4} | settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"simulator": "t1", "noise": 5.0}, t1(5.0, 4)),
        ({"simulator": "t2", "fsky": 0.3}, t2(0.3, nside=4)),
        ({"simulator": "T2", "fsky": 0.3, "random_caps": True}, t2(0.3, nside=4, random_caps=True)),
        (
            {"simulator": "t3", "protocol": Protocol.AS_PUBLISHED},
            t3(Protocol.AS_PUBLISHED, nside=4),
        ),
        ({"simulator": "t4", "depth": 6.0, "fsky": 0.3}, t4(4, 0.3, 6.0)),
    ],
)
def test_the_tests_are_those_of_the_package(settings, expected):
    found = simulator_of(train(**settings))
    assert isinstance(found, GaussianSky)
    for name in ("theory", "nside", "noise", "region", "protocol", "prior"):
        assert getattr(found, name) == getattr(expected, name), name
    plain = {key: value for key, value in settings.items() if key != "simulator"}
    bench = BenchExperiment(Row[settings["simulator"].upper()], nside=4, **plain)
    assert simulator_of(bench).region == expected.region


def test_simulators_of_a_user(mine, tmp_path, monkeypatch):
    whole = simulator_of(TrainExperiment(simulator=f"{mine}:simulator"))
    assert isinstance(whole, FunctionSimulator)
    values = whole.simulate(np.array([[1.5]]), jax.random.key(0)).values
    np.testing.assert_array_equal(values, np.full((1, 1, 48), 1.5))
    sky = simulator_of(train(simulator=f"{mine}:Flat", fsky=0.5, noise=0.1))
    assert isinstance(sky, GaussianSky)
    assert (sky.theory.lmax, sky.noise) == (11, 0.1)
    assert isinstance(sky.region, Shared)
    monkeypatch.chdir(tmp_path)
    assert simulator_of(TrainExperiment(simulator="mine:simulator")).nside == 2
    for wrong, message in (
        (train(simulator=f"{mine}:simulator"), "nside: expected none, as"),
        (TrainExperiment(simulator=f"{mine}:simulator", fsky=0.5), "fsky: expected none, as"),
        (TrainExperiment(simulator=f"{mine}:nothing"), "expected 'nothing' in .*There: .*Flat"),
        (TrainExperiment(simulator=f"{mine}:number"), "got int"),
    ):
        with pytest.raises(ValueError, match=message):
            simulator_of(wrong)
    untraced = TrainExperiment(simulator=f"{mine}:untraced", network=Body.PIXEL)
    maps = simulator_of(untraced)
    with pytest.raises(ValueError, match="network: expected filters for a simulator"):
        network_of(untraced, maps)
    with pytest.raises(ValueError, match="network: expected one that a model file can hold"):
        network_of(dataclasses.replace(train(simulator=f"{mine}:Flat", noise=0.1)), sky)


def test_a_run_knows_the_code_and_the_mask_that_it_was_made_from(mine, tmp_path):
    mask = tmp_path / "mask.npy"
    np.save(mask, np.r_[np.zeros(96), np.ones(96)])
    experiment = train(simulator=f"{mine}:Flat", mask=str(mask))
    region = simulator_of(experiment).region
    assert isinstance(region, Shared)
    np.testing.assert_array_equal(np.sort(region.grid.ring), np.arange(96, 192))
    before = Fingerprint.of(experiment)
    assert set(before.inputs) == {str(mask), str(mine)}
    mine.write_text(MINE + "\n")
    assert Fingerprint.of(experiment).config_hash != before.config_hash
    with pytest.raises(ValueError, match="mask: expected nside 8 as the maps have, got nside 4"):
        simulator_of(dataclasses.replace(experiment, nside=8))
    with pytest.raises(ValueError, match="mask: expected none besides a cap"):
        simulator_of(dataclasses.replace(experiment, fsky=0.5))


@pytest.mark.parametrize(
    ("settings", "kind", "sizes"),
    [
        ({"network": Body.HARMONIC, "widths": (2, 3)}, HarmonicNetwork, (2, 3)),
        ({"network": Body.PIXEL, "widths": (5,)}, PixelNetwork, (5,)),
        ({"network": Body.PIXEL}, PixelNetwork, (32, 32)),
        ({"network": Body.SPECTRAL_CNN, "widths": (4, 4, 4)}, SpectralCNN, (3, 4)),
    ],
)
def test_networks_that_learn_have_the_sizes_asked_for(settings, kind, sizes):
    experiment = train(simulator="t2", fsky=0.5, components=2, neurons=7, **settings)
    network = network_of(experiment, simulator_of(experiment))
    summary = network.summary
    assert type(summary) is kind
    assert network.kind == Regression(components=2, width=7)
    if isinstance(summary, SpectralCNN):
        assert (summary.shape.blocks, summary.shape.channels) == sizes
        assert summary.shape.inpaint
    else:
        assert summary.shape.widths == sizes
        assert summary.shape.masks


def test_heads_go_with_numbers():
    filters = train(simulator="t1", network=Body.FILTERS, head=Ending.SCORING, neurons=9)
    simulator = simulator_of(filters)
    scoring = network_of(filters, simulator)
    assert scoring.kind == Scoring(width=9)
    assert network_in_words(scoring) == "Filtered (exact), Scoring"
    regression = dataclasses.replace(filters, head=Ending.REGRESSION)
    assert network_of(regression, simulator).kind == Regression(width=9)
    for head, body in ((Ending.SCORING, Body.PIXEL), (Ending.REFINEMENT, Body.FILTERS)):
        wrong = dataclasses.replace(filters, head=head, network=body)
        with pytest.raises(ValueError, match="head: expected another for numbers"):
            network_of(wrong, simulator)
    unequal = dataclasses.replace(filters, network=Body.SPECTRAL_CNN, head=None, widths=(4, 8))
    with pytest.raises(ValueError, match="widths: expected blocks of one width"):
        network_of(unequal, simulator)


def test_published_figures_are_of_their_rows():
    names = {one.name.partition(",")[0]: one for one in published(BenchExperiment(noise=5.0))}
    assert names["SpectralCNN"].values == (3.58,)
    assert names["MCMC"].values == (2.5,)
    assert not any(one.other for one in names.values())
    cut = published(BenchExperiment(Row.T2, fsky=0.2))
    assert [(one.values, one.other) for one in cut] == [((2.15, 2.17), True), ((5.3, 5.3), False)]
    as_published = published(BenchExperiment(Row.T2, protocol=Protocol.AS_PUBLISHED))
    assert [one.other for one in as_published] == [False, True, True]
    (bound,) = published(TrainExperiment(simulator="t4", nside=32, depth=6.0))
    assert bound.at == (0.003, 0.054)
    assert bound.values == (5.891e-4, 1.974e-3)
    for nothing in (
        BenchExperiment(noise=7.0),
        BenchExperiment(nside=32),
        BenchExperiment(Row.T2, fsky=0.3),
        BenchExperiment(Row.T3, noise=1.0),
        BenchExperiment(Row.T2, fsky=0.2, random_caps=True),
        TrainExperiment(simulator="t3", mask="mask.fits"),
        BenchExperiment(Row.T4, nside=64),
        TrainExperiment(simulator="mine.py:simulator"),
    ):
        assert published(nothing) == ()


def test_experiments_are_texts_too():
    experiment = train(simulator="t2", network=Body.SPECTRAL_CNN, widths=(4, 4), head=None)

    assert from_mapping(yaml.safe_load(to_text(experiment)), TrainExperiment) == experiment
    bench = BenchExperiment(Row.T4, depth=6.0, protocol=Protocol.AS_PUBLISHED)
    assert from_mapping(yaml.safe_load(to_text(bench)), BenchExperiment) == bench
    caps = train(simulator="t2", fsky=0.1, random_caps=True)
    assert isinstance(simulator_of(caps).region, RandomCaps)
    assert maps_in_words(caps, simulator_of(caps)) == "T2 · nside 4 · random caps of f_sky 0.1"
