import numpy as np
import pytest
import yaml
from scipy.integrate import quad

from skysift import Channel, Instrument
from skysift.instrument import DeltaBand, TabulatedBand, TopHatBand
from skysift.units import rj_to_cmb


def spectrum(nu):
    """A steep, curved spectrum in uK_CMB."""
    return (nu / 100.0) ** 1.6 / np.expm1(0.048 * nu / 20.0) * float(rj_to_cmb(nu))


def power(nu):
    """dB/dT at T_CMB up to a factor: nu^2 over the conversion to thermodynamic temperature."""
    return nu**2 / float(rj_to_cmb(nu))


@pytest.mark.parametrize("width", [1.0, 25.0, 60.0])
def test_top_hat_average_is_the_integral(width):
    band = TopHatBand(100.0, width)
    nu, weight = band.nodes()
    low, high = 100.0 - width / 2, 100.0 + width / 2
    over = quad(lambda x: power(x) * spectrum(x), low, high, epsrel=1e-12)[0]
    expected = over / quad(power, low, high, epsrel=1e-12)[0]
    assert sum(w * spectrum(n) for n, w in zip(nu, weight, strict=True)) == pytest.approx(
        expected, rel=1e-9
    )


def test_tabulated_average_is_the_trapezoidal_sum():
    nu = np.linspace(75.0, 125.0, 400)
    transmission = np.exp(-0.5 * ((nu - 98.0) / 9.0) ** 2) * (1.2 + np.sin(nu / 3.0))
    node, weight = TabulatedBand(tuple(nu), tuple(transmission)).nodes()
    assert node.size < 10
    carried = transmission * np.array([power(x) for x in nu])
    emission = np.array([spectrum(x) for x in nu])
    expected = np.trapezoid(carried * emission, nu) / np.trapezoid(carried, nu)
    assert np.sum(weight * [spectrum(x) for x in node]) == pytest.approx(expected, rel=1e-9)


def test_few_tabulated_points_are_used_as_they_are():
    node, _ = TabulatedBand((90.0, 100.0, 115.0), (1.0, 2.0, 1.0)).nodes()
    np.testing.assert_allclose(node, [90.0, 100.0, 115.0])


@pytest.mark.parametrize(
    "band", [DeltaBand(40.0), TopHatBand(40.0, 10.0), TabulatedBand((35.0, 45.0), (1.0, 1.0))]
)
def test_the_cmb_has_amplitude_one_in_every_band(band):
    assert band.nodes()[1].sum() == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("LiteBIRD", 15), ("Planck", 9), ("SO_SAT", 6), ("SO_LAT", 6), ("PICO", 21)],
)
def test_presets_have_their_channels_with_reference(name, channels):
    instrument = Instrument.preset(name)
    assert len(instrument) == channels
    assert np.all(np.diff(instrument.frequencies) > 0)
    assert instrument.reference
    assert Instrument.preset(name.lower().replace("_", "-")) == instrument


def test_litebird_s_depths_are_the_table_s():
    depth = Instrument.preset("LiteBIRD").depth((True, False))
    assert depth[0].tolist() == [37.42, 26.46]
    assert depth[7].tolist() == [4.58, 3.24]


def test_unpolarised_channels_are_left_out_where_polarisation_is_measured():
    planck = Instrument.preset("Planck")
    assert planck.measuring((True, True)).names == planck.names[:-2]
    assert planck.measuring((False,)) == planck
    bare = Instrument.of_frequencies([30.0, 100.0])
    assert bare.measuring((True, True)) == bare


def test_short_bands_are_padded_with_weight_zero():
    bands = (Channel("a", DeltaBand(30.0)), Channel("b", TopHatBand(100.0, 20.0)))
    nu, weight = Instrument("two", bands).quadrature()
    assert nu.shape == weight.shape == (2, 7)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    assert np.count_nonzero(weight[0]) == 1


def test_a_yaml_file_makes_an_instrument(tmp_path):
    table = {
        "frequency": [30.0, 100.0],
        "name": ["low", "high"],
        "bandwidth": [0.2, 0.3],
        "depth_p": [10.0, 5.0],
        "fwhm": [60.0, 20.0],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(table))
    instrument = Instrument.of(path)
    assert instrument.name == "mine"
    assert instrument.names == ("low", "high")
    assert instrument.channels[1].band == TopHatBand(100.0, 30.0)
    path.write_text(yaml.safe_dump({"Mine": table}))
    assert Instrument.from_yaml(path).name == "Mine"


def test_a_yaml_file_can_tabulate_bandpasses(tmp_path):
    bandpass = [{"frequency": [90.0, 100.0, 110.0], "transmission": [0.5, 1.0, 0.5]}]
    path = tmp_path / "tabulated.yaml"
    path.write_text(yaml.safe_dump({"bandpass": bandpass, "depth_p": [5.0]}))
    channel = Instrument.from_yaml(path).channels[0]
    assert channel.band == TabulatedBand((90.0, 100.0, 110.0), (0.5, 1.0, 0.5))
    assert channel.name == "100"


def test_select_takes_channels_in_the_order_asked():
    chosen = Instrument.preset("LiteBIRD").select(["402", "40"])
    assert chosen.frequencies.tolist() == [402.0, 40.0]
    with pytest.raises(ValueError, match=r"channels: expected some of 40, 50.*got '41'"):
        Instrument.preset("LiteBIRD").select(["41"])


@pytest.mark.parametrize("depth", [0.0, -1.0, np.inf])
def test_depths_that_are_no_depths_are_refused(depth):
    with pytest.raises(ValueError, match="depth_p of channel a: expected a positive number of uK"):
        Channel("a", DeltaBand(30.0), depth_p=depth)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeltaBand(0.0), "frequency: expected a positive number of GHz"),
        (lambda: TopHatBand(10.0, 20.0), "width: expected less than twice"),
        (lambda: TabulatedBand((1.0,), (1.0,)), "at least two frequencies"),
        (lambda: TabulatedBand((2.0, 1.0), (1.0, 1.0)), "increasing"),
        (lambda: TabulatedBand((1.0, 2.0), (0.0, 0.0)), "some of them positive"),
        (lambda: Instrument("none", ()), "channels: expected at least one"),
        (lambda: Instrument("a", (Channel("a", DeltaBand(1.0)),) * 2), "expected different names"),
        (lambda: Instrument.preset("LiteBRD"), "expected one of LiteBIRD"),
    ],
)
def test_bad_instruments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"frequency": [30.0], "dept_p": [1.0]}, "unknown key 'dept_p'"),
        ({"frequency": [30.0, 40.0], "depth_p": [1.0]}, "expected lists of one length"),
        ({"depth_p": [1.0]}, "expected a list `frequency`"),
        ([1, 2], "expected a YAML mapping"),
    ],
)
def test_bad_instrument_files_are_refused(tmp_path, table, message):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(table))
    with pytest.raises(ValueError, match=message):
        Instrument.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frequency: [1, 2", "could not read it"),
        ("frequency: 40", "expected a list with an entry per channel for frequency, got 40"),
        ("frequency: [40, abc]", "cannot make channel 2 .*could not convert"),
        ("bandpass: [{frequency: [1, 2]}]", "cannot make channel 1 .*transmission"),
        ("frequency: [40]\ndepth_p: [0]", "depth_p of channel 40: expected a positive number"),
        ("frequency: [40]\ndepht_p: [1]", "unknown key 'depht_p'.*Did you mean 'depth_p'"),
        ("frequency: [40, 40]", "expected different names, .* a list `name`"),
    ],
)
def test_bad_yaml_files(tmp_path, text, message):
    path = tmp_path / "i.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"i.yaml.*{message}"):
        Instrument.of(path)
    with pytest.raises(ValueError, match="expected a YAML file at .*absent.yaml"):
        Instrument.of(tmp_path / "absent.yaml")


def test_null_is_what_there_is_not(tmp_path):
    path = tmp_path / "i.yaml"
    path.write_text("frequency: [40, 50]\ndepth_p: [1.0, null]")
    assert Instrument.of(path).measuring((True, True)).names == ("40",)


def test_equal_frequencies_get_names_of_their_own():
    assert len(set(Instrument.of_frequencies([30, 30, 30.1]).names)) == 3
