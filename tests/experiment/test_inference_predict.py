"""Maps of files, as a model wants them."""

from pathlib import Path

import healpy as hp
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from skysift.experiment import PredictExperiment
from skysift.experiment.inference_predict import family_in_words, read_sky
from skysift.grid import Ordering
from skysift.inference import t1, t3
from skysift.inference.model import Family
from skysift.units import Unit

POLARISED, PLAIN = Family.of(t3(nside=2)), Family.of(t1(nside=2))
Q, U = np.arange(48.0), -1.0 - np.arange(48.0)
NAMES = ["Q_POLARISATION", "U_POLARISATION"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, units=("K_CMB", "K_CMB"), maps=(Q, U), names=NAMES, **cards):
    options = {"column_names": names, "column_units": list(units), "dtype": np.float64}
    hp.write_map(name, list(maps), extra_header=list(cards.items()), **options)


def read(name, family=POLARISED, **said):
    return read_sky(name, family, PredictExperiment("model", (name,), **said))


def test_units_and_conventions_of_a_header_count():
    write("sky.fits")
    sky = read("sky.fits")
    np.testing.assert_allclose(sky.values, 1e6 * np.stack([Q, U]))
    assert (sky.unit, sky.ordering) == (Unit.UK_CMB, Ordering.RING)
    write("iau.fits", POLCCONV="IAU")
    np.testing.assert_allclose(read("iau.fits").values, 1e6 * np.stack([Q, -U]))
    write("rj.fits", units=("uK_RJ", "uK_RJ"))
    assert read("rj.fits").unit is Unit.UK_RJ
    columns = ["I_STOKES", *NAMES]
    write("three.fits", units=("K_CMB",) * 3, maps=(Q, U, Q), names=columns)
    np.testing.assert_allclose(read("three.fits").values, 1e6 * np.stack([U, Q]))


def test_a_unit_that_is_missing_has_to_be_said():
    write("bare.fits", units=("", ""))
    with pytest.raises(ValueError, match=r"expected a unit \(TUNIT\).*--unit uK_CMB"):
        read("bare.fits")
    np.testing.assert_allclose(read("bare.fits", unit="mK_CMB").values, 1e3 * np.stack([Q, U]))
    write("two.fits", units=("K_CMB", "uK_CMB"))
    with pytest.raises(ValueError, match="expected columns of one unit, got K_CMB, uK_CMB"):
        read("two.fits")
    write("odd.fits", units=("counts", "counts"))
    with pytest.raises(ValueError, match=r"odd\.fits: .*counts"):
        read("odd.fits")
    write("plain.fits", units=("",), maps=(Q,), names=["I_STOKES"])
    assert read("plain.fits", PLAIN).unit is None


def test_arrays_are_in_the_unit_of_the_training_unless_something_says_another():
    maps = np.stack([Q, U])
    np.save("maps.npy", maps)
    sky = read("maps.npy")
    assert (sky.unit, sky.ordering) == (None, Ordering.RING)
    np.testing.assert_array_equal(sky.values, maps)
    said = read("maps.npy", unit="K_CMB", ordering=Ordering.NESTED)
    np.testing.assert_allclose(said.values, 1e6 * maps)
    assert (said.unit, said.ordering) == (Unit.UK_CMB, Ordering.NESTED)
    np.savez("maps.npz", qu=maps, other=Q)
    np.testing.assert_array_equal(read("maps.npz", field="qu").values, maps)
    with pytest.raises(ValueError, match=r"field: expected the name of the maps in maps\.npz"):
        read("maps.npz")
    np.save("complex.npy", Q + 1j * U)
    with pytest.raises(ValueError, match="expected real numbers, got complex128"):
        read("complex.npy")


def test_units_of_netcdf_count():
    array = xr.DataArray(np.stack([Q, U]), dims=("stokes", "cell"), attrs={"units": "K_CMB"})
    xr.Dataset({"qu": array}).to_netcdf("maps.nc", engine="h5netcdf")
    sky = read("maps.nc")
    np.testing.assert_allclose(sky.values, 1e6 * np.stack([Q, U]))
    assert sky.unit is Unit.UK_CMB
    with pytest.raises(ValueError, match="unit: expected 'uK_CMB' as asked, got 'K_CMB'"):
        read("maps.nc", unit="uK_CMB")


def test_files_that_are_no_maps():
    write("one.fits")
    with fits.open("one.fits") as hdus:
        fits.HDUList([hdus[0].copy(), hdus[1].copy(), hdus[1].copy()]).writeto("several.fits")
    with pytest.raises(ValueError, match=r"expected one HEALPix table in several\.fits, got 2"):
        read("several.fits")
    Path("broken.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"broken\.npy: expected an array of numbers"):
        read("broken.npy")


def test_families_in_words():
    assert family_in_words(POLARISED) == "nside 2, QU in uK_CMB, full sky"
    assert family_in_words(PLAIN) == "nside 2, I, without a unit, full sky"
