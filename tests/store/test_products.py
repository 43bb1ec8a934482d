import healpy as hp
import numpy as np
import pytest

from skysift.instrument import Channel, DeltaBand, Instrument, TabulatedBand, TopHatBand
from skysift.sky.simulate import simulate
from skysift.store.channels import read_channels
from skysift.store.fits import Precision
from skysift.store.instrument_file import instrument_yaml
from skysift.store.manifest import Manifest
from skysift.store.products import read_truth, write_simulation
from skysift.store.run import Run, drafted


def stored(path, simulation, precision=Precision.DOUBLE):
    with drafted(path, Manifest("simulate", "a" * 64)) as draft:
        write_simulation(draft.directory, simulation, precision)
    return Run.open(path)


@pytest.mark.parametrize("stokes", ["QU", "IQU"])
def test_simulated_sky_comes_back(tmp_path, stokes):
    sim = simulate("cr3d1s3", instrument="SO_SAT", nside=4, seed=2, stokes=stokes)
    run = stored(tmp_path / "sky", sim)
    instrument = Instrument.from_yaml(run.path / "instrument.yaml")
    assert instrument == sim.instrument
    maps = read_channels(run.path / "maps", instrument)
    np.testing.assert_array_equal(np.asarray(maps.values), np.asarray(sim.maps.values))
    truth = read_truth(run)
    assert truth is not None
    assert truth.references == sim.truth.references
    assert list(truth.components) == list(sim.truth.components)
    for name, amplitude in sim.truth.components.items():
        np.testing.assert_array_equal(
            np.asarray(truth.components[name].values), np.asarray(amplitude.values)
        )
    assert set(truth.parameters) == set(sim.truth.parameters)
    for name, values in sim.truth.parameters.items():
        np.testing.assert_array_equal(truth.parameters[name], values)


def test_healpy_reads_the_channels(tmp_path):
    sim = simulate("d0", instrument="SO_SAT", nside=4, noise_ratio=0.0)
    run = stored(tmp_path / "sky", sim, Precision.SINGLE)
    q, u = hp.read_map(run.path / "maps" / "280.fits", field=(0, 1))
    np.testing.assert_allclose([q, u], np.asarray(sim.maps["280"]), rtol=1e-6)


def test_empty_sky_has_no_truth(tmp_path):
    sim = simulate("0", instrument="SO_SAT", nside=2)
    assert read_truth(stored(tmp_path / "sky", sim)) is None


def test_instrument_of_all_kinds_of_bands_round_trip(tmp_path):
    instrument = Instrument(
        "mixed: é",
        (
            Channel("low", DeltaBand(28.4), fwhm=30.1, depth_p=0.1 + 0.2),
            Channel("mid", TopHatBand(90.0, 27.0), depth_i=1 / 3, depth_p=2.0),
            Channel("high", TabulatedBand((140.0, 150.5, 160.0), (0.5, 1.0, 0.7))),
        ),
        reference="a: b # c",
    )
    (tmp_path / "i.yaml").write_text(instrument_yaml(instrument), encoding="utf-8")
    back = Instrument.from_yaml(tmp_path / "i.yaml")
    assert repr(back) == repr(instrument)
    presets = [Instrument.preset(name) for name in ("LiteBIRD", "Planck", "PICO")]
    for preset in presets:
        (tmp_path / "p.yaml").write_text(instrument_yaml(preset))
        assert repr(Instrument.from_yaml(tmp_path / "p.yaml")) == repr(preset)
