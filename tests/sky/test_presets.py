import pytest

from skysift.maps import Stokes
from skysift.sky import SkyTag, simulate


@pytest.mark.parametrize(
    ("text", "r", "names"),
    [
        ("c1d1s1", 0.0, ["dust", "synchrotron"]),
        ("cr3d0s0", 0.003, ["dust", "synchrotron"]),
        ("c0d2", None, ["dust"]),
        ("s3f1a1", None, ["synchrotron", "freefree", "ame"]),
        ("c1a0f0", 0.0, []),
        ("0", None, []),
    ],
)
def test_tags(text, r, names):
    tag = SkyTag.parse(text)
    assert tag.tensor_to_scalar == r
    assert [foreground.law.name for foreground in tag.foregrounds] == names


@pytest.mark.parametrize("text", ["", "c1 d1", "d", "1d", "c1d1s", "C1"])
def test_text_that_is_no_tag(text):
    with pytest.raises(ValueError, match="sky: expected models of c1, cr"):
        SkyTag.parse(text)


def test_unknown_and_repeated_models_are_named():
    with pytest.raises(ValueError, match=r"d0, d1, d2, d3.*got 'd9' in 'c1d9'"):
        SkyTag.parse("c1d9")
    with pytest.raises(ValueError, match="each component once, got 'c' twice"):
        SkyTag.parse("c1cr3")


def test_constant_models_have_constant_parameters():
    truth = simulate("d0s0", nside=2, noise_ratio=0.0).truth
    for name, value in (("beta_dust", 1.54), ("temp_dust", 20.0), ("beta_pl", -3.0)):
        assert set(truth.parameters[name]) == {value}


def test_unpolarised_components_have_no_polarisation():
    sky = simulate("f1a1", nside=4, noise_ratio=0.0, stokes=Stokes.IQU)
    for maps in sky.truth.components.values():
        assert abs(maps["Q"]).max() == abs(maps["U"]).max() == 0.0
        assert abs(maps["I"]).min() > 0.0
