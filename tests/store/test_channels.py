import os
from pathlib import Path

import healpy as hp
import numpy as np
import pytest

from skysift.grid import UNSEEN, Grid
from skysift.instrument import Channel, DeltaBand, Instrument
from skysift.maps import Maps, Stokes
from skysift.sky.simulate import simulate
from skysift.store.channels import find_files, read_channels, safe_name, write_channels
from skysift.store.fits import MapFormat, write_map
from skysift.units import Unit, conversion

NSIDE = 8
NPIX = 12 * NSIDE**2
THREE = Instrument.of_frequencies([40.0, 100.0, 402.0])


def sky(channels=THREE.names, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(channels), 2, NPIX))
    return Maps(values, Grid(NSIDE), Stokes.QU, channels=tuple(channels))


def write(path, values, **options):
    options = {"column_units": "uK_CMB"} | options
    hp.write_map(path, values, dtype=np.float64, **options)


def test_folder_of_channels_in_the_order_of_the_instrument(tmp_path):
    maps = sky()
    files = write_channels(tmp_path, maps)
    assert [file.name for file in files] == ["40.fits", "100.fits", "402.fits"]
    for source in (tmp_path, str(tmp_path / "*.fits"), files, files[::-1]):
        back = read_channels(source, THREE)
        assert back.channels == THREE.names
        np.testing.assert_array_equal(np.asarray(back.values), np.asarray(maps.values))


def test_one_file_with_a_table_per_channel(tmp_path):
    maps = sky()
    write_map(tmp_path / "all.fits", maps)
    np.testing.assert_array_equal(
        np.asarray(read_channels(tmp_path / "all.fits", THREE).values), np.asarray(maps.values)
    )
    turned = maps.replace(np.asarray(maps.values)[::-1], channels=maps.channels[::-1])
    write_map(tmp_path / "turned.fits", turned)
    np.testing.assert_array_equal(
        np.asarray(read_channels(tmp_path / "turned.fits", THREE).values), np.asarray(maps.values)
    )
    assert read_channels(tmp_path / "turned.fits").channels == ("402", "100", "40")


def test_files_with_the_frequency_in_the_name(tmp_path):
    values = np.asarray(sky().values)
    for name, rows in zip(("sim_402GHz_8", "sim_040GHz_8", "sim_100GHz_8"), values, strict=True):
        write(tmp_path / f"{name}.fits", rows)
    back = read_channels(tmp_path, THREE)
    np.testing.assert_array_equal(np.asarray(back.values), values[[1, 2, 0]])


@pytest.mark.parametrize("stokes", [None, Stokes.QU])
def test_channels_without_polarisation_are_left_out(tmp_path, stokes):
    planck = Instrument.preset("Planck")
    maps = sky(planck.names[:7])
    write_channels(tmp_path, maps)
    seven = read_channels(tmp_path, planck, MapFormat(stokes=stokes))
    assert seven.channels == planck.names[:7]
    for name in planck.names[7:]:
        write(tmp_path / f"{name}.fits", np.ones(NPIX))
    nine = read_channels(tmp_path, planck, MapFormat(stokes=stokes))
    np.testing.assert_array_equal(nine.values, seven.values)
    with pytest.raises(ValueError, match="expected columns for Stokes I"):
        read_channels(tmp_path, planck, MapFormat(stokes=Stokes.I))


def test_a_list_as_a_shell_sorts_it(tmp_path):
    maps = sky()
    for name, rows in zip(maps.channels, np.asarray(maps.values), strict=True):
        write(tmp_path / f"map_{name}GHz.fits", rows)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] != [f"map_{name}GHz.fits" for name in maps.channels]
    found = read_channels(files, THREE)
    np.testing.assert_array_equal(found.values, maps.values)


def test_channels_of_one_file_name(tmp_path):
    with pytest.raises(ValueError, match="names differ as file names"):
        write_channels(tmp_path, sky(("90/1", "90_1", "402")))


def test_names_that_do_not_tell_channels_apart(tmp_path):
    for name in "abc":
        write(tmp_path / f"{name}.fits", np.ones((2, NPIX)))
    with pytest.raises(ValueError, match="expected file names that tell the channels 40, 100, 402"):
        read_channels(tmp_path, THREE)
    listed = [tmp_path / f"{name}.fits" for name in "abc"]
    assert read_channels(listed, THREE).channels == THREE.names
    for name in ("40_100", "100_402", "402_40"):
        write(tmp_path / f"m{name}.fits", np.ones((2, NPIX)))
    with pytest.raises(ValueError, match="tell the channels"):
        read_channels(tmp_path / "m*.fits", THREE)


def test_wrong_channel_count(tmp_path):
    write_channels(tmp_path, sky())
    with pytest.raises(ValueError, match=r"expected 15 channels of LiteBIRD .* got 3 maps"):
        read_channels(tmp_path, Instrument.preset("LiteBIRD"))
    write_map(tmp_path / "one.fits", sky(("40",)))
    with pytest.raises(ValueError, match=r"expected 3 channels .* got 1 maps"):
        read_channels(tmp_path / "one.fits", THREE)


@pytest.mark.parametrize("unit", ["uK_RJ", "MJy/sr"])
def test_each_channel_is_converted_at_its_frequency(tmp_path, unit):
    values = np.asarray(sky().values)
    for name, rows in zip(THREE.names, values, strict=True):
        write(tmp_path / f"{name}.fits", rows, column_units=unit)
    factor = np.asarray(conversion(Unit(unit), Unit.UK_CMB, THREE.frequencies))
    back = read_channels(tmp_path, THREE)
    np.testing.assert_allclose(np.asarray(back.values), values * factor[:, None, None], rtol=1e-14)
    with pytest.raises(ValueError, match="expected a frequency"):
        read_channels(tmp_path)


def test_channels_that_differ_in_nside_or_stokes(tmp_path):
    write_channels(tmp_path, sky())
    write(tmp_path / "402.fits", np.ones((2, 12 * 16**2)), overwrite=True)
    with pytest.raises(ValueError, match=r"402.fits: expected nside 8, got 16"):
        read_channels(tmp_path, THREE)
    write(tmp_path / "402.fits", np.ones(NPIX), overwrite=True)
    with pytest.raises(ValueError, match=r"402.fits: expected columns for Stokes QU"):
        read_channels(tmp_path, THREE)


def test_channels_on_different_cells_cover_all_of_them(tmp_path):
    values = np.asarray(sky().values).copy()
    values[0, :, NPIX // 2 :] = UNSEEN
    values[1, :, : NPIX // 4] = UNSEEN
    values[:, :, -5:] = UNSEEN
    for name, rows in zip(THREE.names, values, strict=True):
        write(tmp_path / f"{name}.fits", rows, partial=True)
    maps = read_channels(tmp_path, THREE)
    assert maps.grid.size == NPIX - 5
    np.testing.assert_array_equal(maps.full(), values)


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="got nothing there"):
        read_channels(tmp_path / "absent", THREE)
    with pytest.raises(ValueError, match=r"expected FITS files in .* got none"):
        find_files(tmp_path)
    with pytest.raises(ValueError, match="expected a folder or FITS files, got none"):
        find_files([])


def test_a_table_too_many_in_one_of_several_files(tmp_path):
    write_map(tmp_path / "40.fits", sky())
    write_map(tmp_path / "100.fits", sky(("100",)))
    with pytest.raises(
        ValueError, match="expected one HEALPix table in each of several files, got 3"
    ):
        read_channels(tmp_path)


def test_channel_names_that_are_no_file_names(tmp_path):
    instrument = Instrument(
        "odd", tuple(Channel(n, DeltaBand(f)) for n, f in (("SAT 90/1", 90.0), ("b", 20.0)))
    )
    maps = sky(instrument.names)
    assert [file.name for file in write_channels(tmp_path, maps)] == ["SAT_90_1.fits", "b.fits"]
    back = read_channels(tmp_path, instrument)
    np.testing.assert_array_equal(np.asarray(back.values), np.asarray(maps.values))
    assert safe_name("../x") == ".._x"
    with pytest.raises(ValueError, match="expected a channel axis"):
        write_channels(tmp_path, Maps(np.ones((2, NPIX)), Grid(NSIDE), Stokes.QU))


def test_only_the_stokes_parameters_asked(tmp_path):
    values = np.random.default_rng(2).normal(size=(3, 3, NPIX))
    for name, rows in zip(THREE.names, values, strict=True):
        write(tmp_path / f"{name}.fits", rows)
    back = read_channels(tmp_path, THREE, MapFormat(stokes=Stokes.QU))
    np.testing.assert_array_equal(np.asarray(back.values), values[:, 1:])


@pytest.mark.skipif("SKYSIFT_DATA" not in os.environ, reason="needs the folder of real data")
def test_files_of_pysm():
    folder = Path(os.environ["SKYSIFT_DATA"]) / "foregrounds" / "pysm_benchmark"
    instrument = Instrument.of_frequencies([30.0, 100.0, 353.0])
    maps = read_channels(folder / "check1therm_*.fits", instrument)
    sim = simulate("d1", instrument, 64, noise_ratio=0.0, stokes="IQU")
    largest = np.abs(np.asarray(maps.values)).max(axis=(1, 2))
    difference = np.abs(np.asarray(maps.values) - np.asarray(sim.maps.values)).max(axis=(1, 2))
    assert np.all(difference < 1e-6 * largest)


@pytest.mark.skipif("SKYSIFT_DATA" not in os.environ, reason="needs the folder of real data")
def test_files_of_wmap():
    folder = Path(os.environ["SKYSIFT_DATA"]) / "cmb"
    bands = Instrument.of_frequencies([61.0, 94.0])
    files = [folder / f"wmap_band_iqumap_r9_7yr_{band}_v4_udgraded32.fits" for band in "VW"]
    with pytest.raises(ValueError, match="expected a unit"):
        read_channels(files, bands)
    maps = read_channels(files, bands, MapFormat(unit="mK"))
    oracle = [1e3 * hp.read_map(file, field=None, dtype=np.float64) for file in files]
    np.testing.assert_allclose(maps.full(), oracle, rtol=1e-12)
