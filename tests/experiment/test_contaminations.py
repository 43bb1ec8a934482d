"""What the command line says of a contamination, and what is read."""

import healpy as hp
import numpy as np
import pytest

from skysift.experiment.config import UnmixingExperiment
from skysift.experiment.contaminations import Said, Source, files_of, read_contamination
from skysift.experiment.fields import Field
from skysift.scattering import (
    Covariance,
    Ensemble,
    GaussianField,
    Texture,
    WhiteNoise,
)

SHAPE = (16, 16)
SCALE = np.array([2.0, 4.0])


def read(*words, channels=1, **options):
    """The contamination of data that are scaled by 2 and 4 and have no margin."""
    experiment = UnmixingExperiment(("data.npy",), contamination=words, **options)

    def scaled(values, margin):
        found = values / SCALE[:channels].reshape(-1, 1, 1)
        return found[..., 0, :, :] if channels == 1 else found

    data = [Field(np.ones(SHAPE), unit="K")] * channels
    return read_contamination(
        experiment, data, lambda: Covariance.plane(SHAPE, 2, 2, channels=channels), scaled
    )


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Draws of noise, in one file and in many."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).standard_normal((6, *SHAPE))
    np.save("noise.npy", noise)
    np.save("pairs.npy", noise.reshape(3, 2, *SHAPE))
    np.save("three.npy", noise[:3])
    np.save("one.npy", noise[0])
    np.save("other.npy", noise[:, :8])
    np.save("letters.npy", np.array(["a"]))
    np.savez("qu.npz", Q=noise[0], U=noise[1])
    (tmp_path / "many").mkdir()
    for number, one in enumerate(noise):
        np.save(tmp_path / "many" / f"draw-{number}.npy", one)
    hp.write_map("sky.fits", np.ones(12 * 16), dtype=float)
    return noise


def test_draws_are_read_from_all_that_names_them(files):
    for words in (["noise.npy"], ["many"], ["many/draw-*.npy"], ["many/draw-0.npy"]):
        made = read(*words)
        assert isinstance(made, Ensemble)
        expected = files[:1] if "0" in words[0] else files
        np.testing.assert_array_equal(made.members, expected / 2.0)
    both = read("pairs.npy", channels=2)
    assert isinstance(both, Ensemble)
    expected = files.reshape(3, 2, *SHAPE) / SCALE[:, None, None]
    np.testing.assert_array_equal(both.members, expected)
    named = read("qu.npz", channels=2, contamination_field=("Q", "U"))
    assert isinstance(named, Ensemble)
    np.testing.assert_array_equal(named.members[0], files[:2] / SCALE[:, None, None])
    alike = read("qu.npz", channels=2, field=("Q", "U"))
    assert isinstance(alike, Ensemble)
    np.testing.assert_array_equal(alike.members, named.members)


def test_halves_have_draws_of_their_own(files):
    made = read("noise.npy", "noise.npy", halves=True)
    assert isinstance(made, Ensemble)
    assert made.members.shape == (6, 2, *SHAPE)
    with pytest.raises(ValueError, match="as many files for the first half"):
        read("noise.npy", halves=True)
    with pytest.raises(ValueError, match="as many draws for the first half .* got 6 and 3"):
        read("noise.npy", "three.npy", halves=True)


def test_models_of_a_contamination(files):
    white = read("white:0.5")
    assert isinstance(white, WhiteNoise)
    np.testing.assert_array_equal(white.rms, np.full(SHAPE, 0.25))
    two = read("white:0.5,0.8", channels=2, halves=True)
    assert isinstance(two, WhiteNoise)
    assert two.halves
    np.testing.assert_allclose(np.asarray(two.rms)[:, 0, 0], [0.25, 0.2])
    np.save("rms.npy", np.abs(files[0]))
    mapped = read("white:rms.npy")
    assert isinstance(mapped, WhiteNoise)
    np.testing.assert_array_equal(mapped.rms, np.abs(files[0]) / 2.0)
    for word, kind in (("gaussian:one.npy", GaussianField), ("texture:one.npy", Texture)):
        made = read(word)
        assert isinstance(made, kind)
        np.testing.assert_array_equal(made.example, files[0] / 2.0)
    several = read("texture:one.npy", "texture:many/draw-1.npy")
    assert isinstance(several, Texture)
    np.testing.assert_array_equal(several.example, files[:2] / 2.0)
    pairs = read(*(f"texture:many/draw-{number}.npy" for number in range(4)), channels=2)
    assert isinstance(pairs, Texture)
    expected = files[:4].reshape(2, 2, *SHAPE) / SCALE[:, None, None]
    np.testing.assert_array_equal(pairs.example, expected)


def test_unknown_deviations_where_the_data_are_known_are_refused(files):
    np.save("holes.npy", np.where(np.arange(16) < 2, np.nan, np.abs(files[0])))
    with pytest.raises(ValueError, match="rms: expected finite deviations"):
        read("white:holes.npy")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected what is known of it, got nothing"),
        (["none.npy"], "expected a file, a folder or a pattern, got none.npy"),
        (["none*.npy"], "expected files in none*.npy, got none"),
        (["white:"], "expected a file, a folder or a pattern, got nothing"),
        (["white:1", "noise.npy"], "expected one kind, got files and white"),
        (["white:1,2"], "expected one deviation or 1"),
        (["other.npy"], "expected draws (draw, 16, 16) as the data, got (6, 8, 16)"),
        (["letters.npy"], "expected real numbers"),
        (["sky.fits"], "expected the grid of the data, 16 × 16, got nside 4"),
        (["qu.npz"], "Say which map with --contamination-field"),
        (["gaussian:noise.npy"], "expected a map of two axes"),
        (["gaussian:one.npy", "gaussian:many/draw-1.npy"], "expected 1 maps, one for each"),
    ],
)
def test_what_is_no_contamination(words, message):
    with pytest.raises(ValueError, match="contamination: ") as caught:
        read(*words)
    assert message in str(caught.value)


def test_files_are_named_by_what_they_are_for(tmp_path):
    (tmp_path / "list.yaml").write_text("- ancillary: {map: one.npy}")
    experiment = UnmixingExperiment(
        ("one.npy",), contamination=("white:2",), constraints="list.yaml", regions=("no.npy",)
    )
    with pytest.raises(ValueError, match="regions: expected a file at no.npy"):
        files_of(experiment)
    assert Said.of(("white:2",)) == Said(Source.WHITE, numbers=(2.0,))
