import dataclasses

import pytest

from skysift.experiment import SeparateExperiment, from_mapping, to_text
from skysift.experiment.sets import parse_seeds, variants
from skysift.sky import Vary

BASE = SeparateExperiment(("sky",), mask="GAL060", seeds="0:5", vary=Vary.CMB)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:3", (0, 1, 2)), ("7", (7,)), ("5:7, 0:2", (5, 6, 0, 1)), ("3:4,4:5", (3, 4))],
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:10,5:7", "each once, got 5 twice"),
        ("4,4", "each once, got 4 twice"),
        ("3:3", "larger end"),
        ("a:b", "ranges such as"),
        ("-1:3", "ranges such as"),
        ("0:3,", "ranges such as"),
    ],
)
def test_seeds_that_are_none_are_refused(text, message):
    with pytest.raises(ValueError, match=f"seeds: expected .*{message}"):
        parse_seeds(text)


def test_every_combination_is_a_variant():
    swept = dataclasses.replace(
        BASE,
        sweep=(
            "patches.beta-dust=kmeans:5,10,nside:2,cell",
            "bounds.temp_dust=10 40,5 60",
            "noise_ratio=1,2.5",
            "model=c+d,c+d+s",
        ),
    )
    made = variants(swept)
    assert len(made) == 4 * 2 * 2 * 2
    assert [v.experiment.patches["beta_dust"] for v in made[::8]] == [
        "kmeans:5",
        "kmeans:10",
        "nside:2",
        "cell",
    ]
    last = made[-1]
    assert last.experiment.bounds == {"temp_dust": (5.0, 60.0)}
    assert last.experiment.noise_ratio == 2.5
    assert last.experiment.model == "c+d+s"
    assert (
        last.title == "patches.beta_dust=cell, bounds.temp_dust=5 60, noise_ratio=2.5, model=c+d+s"
    )
    assert all(v.experiment.sweep == () and v.experiment.seeds == "0:5" for v in made)


def test_without_a_sweep_there_is_one_variant():
    only = variants(BASE)
    assert [v.experiment for v in only] == [BASE]
    assert only[0].values == {}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("patchs.beta_dust=kmeans:3", "unknown key 'patchs.beta_dust'. Did you mean 'patches'"),
        ("patches=kmeans:3", "expected a key such as 'patches.beta_dust'"),
        ("mask.beta_dust=ALL", "expected a key such as 'mask'"),
        ("maps=sky", "unknown key 'maps'"),
        ("seed", "expected KEY=VALUE,VALUE"),
        ("seed=1,,2", "expected KEY=VALUE,VALUE"),
        ("seed=1,2,1", "each value once"),
        ("seed=one", "expected a whole number, got 'one'"),
        ("bounds.temp_dust=3", "expected 2 values"),
    ],
)
def test_sweeps_that_are_wrong_are_refused(sweep, message):
    with pytest.raises(ValueError, match=message):
        variants(dataclasses.replace(BASE, sweep=(sweep,)))


def test_a_key_is_swept_once():
    with pytest.raises(ValueError, match="each key once, got 'seed' twice"):
        variants(dataclasses.replace(BASE, sweep=("seed=1", "seed=2")))


def test_sets_survive_yaml():
    swept = dataclasses.replace(BASE, sweep=("patches.beta_dust=kmeans:5,10", "seed=1,2"))
    import yaml

    assert from_mapping(yaml.safe_load(to_text(swept)), SeparateExperiment) == swept
