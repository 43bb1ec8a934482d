import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from skysift.experiment import (
    SeparateExperiment,
    SimulateExperiment,
    from_mapping,
    load,
    to_text,
)
from skysift.grid import Ordering
from skysift.maps import Stokes
from skysift.store.fits import Frame, Precision

_number = st.floats(allow_nan=False, allow_infinity=False)
_name = st.sampled_from(["beta_dust", "temp_dust", "beta_pl"])
_word = st.text(min_size=1, max_size=12)
_separate = st.builds(
    SeparateExperiment,
    st.lists(_word, max_size=3).map(tuple),
    instrument=st.none() | _word,
    mask=_word,
    stokes=st.none() | st.sampled_from(Stokes),
    patches=st.dictionaries(_name, _word),
    bounds=st.dictionaries(_name, st.tuples(_number, _number)),
    start=st.dictionaries(_name, _number),
    noise_ratio=_number,
    seed=st.integers(0, 2**63),
    ordering=st.none() | st.sampled_from(Ordering),
    frame=st.sampled_from(Frame),
)
_simulate = st.builds(
    SimulateExperiment,
    _word,
    nside=st.integers(1, 2**20),
    noise_ratio=_number,
    stokes=st.sampled_from(Stokes),
    hits=st.none() | _word,
    precision=st.sampled_from(Precision),
)


@given(_separate | _simulate)
def test_yaml_gives_the_experiment_back(experiment):
    text = to_text(experiment)
    content = yaml.safe_load(text)
    assert list(content) == ["kind", *(field.name for field in dataclasses.fields(experiment))]
    assert from_mapping(content, type(experiment)) == experiment


def test_file_with_few_settings(tmp_path):
    (tmp_path / "e.yaml").write_text(
        "kind: separate\nmaps: sky\npatches: {beta-dust: 'nside:64'}\ntolerance: 1e-8\n"
        "bounds:\n  beta_pl: [-7, -0.5]\nstokes: IQU\nframe: Equatorial\n"
    )
    experiment = load(tmp_path / "e.yaml", SeparateExperiment)
    assert experiment == SeparateExperiment(
        ("sky",),
        patches={"beta_dust": "nside:64"},
        tolerance=1e-8,
        bounds={"beta_pl": (-7.0, -0.5)},
        stokes=Stokes.IQU,
        frame=Frame.EQUATORIAL,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maks: GAL020", "unknown key 'maks'. Did you mean 'mask'?"),
        ("max-iteration: 3", "unknown key 'max-iteration'. Did you mean 'max_iterations'?"),
        ("zzz: 3", "unknown key 'zzz'. Expected one of maps, instrument"),
        ("kind: simulate", "expected kind separate, got 'simulate'. Use skysift simulate"),
        ("seed: 1.5", "seed: expected a whole number, got 1.5"),
        ("seed: true", "seed: expected a whole number, got True"),
        ("tolerance: small", "tolerance: expected a number, got 'small'"),
        ("mask: [a, b]", r"mask: expected text, got \['a', 'b'\]"),
        ("stokes: V", "stokes: expected one of i, qu, iqu, got 'V'"),
        ("bounds: {beta_dust: 3}", "bounds.beta_dust: expected 2 values, got 3"),
        ("bounds: {beta_dust: [1, 2, 3]}", "expected 2 values"),
        ("patches: kmeans:3", "patches: expected a mapping of parameters"),
        ("start: {beta_dust: x}", "start.beta_dust: expected a number, got 'x'"),
        ("- a", r"expected a mapping such as .*, got \['a'\]"),
        ("a: [", "expected YAML"),
        ("", "expected a mapping"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "e.yaml", SeparateExperiment)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"expected a YAML file at .* got none"):
        load(tmp_path / "e.yaml", SimulateExperiment)
