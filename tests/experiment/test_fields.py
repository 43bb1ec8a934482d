"""Maps from the files that people have, and back."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from skysift.experiment.fields import (
    Field,
    Form,
    read_field,
    read_fields,
    read_mask,
    write_field,
)
from skysift.grid import UNSEEN, Grid, Ordering
from skysift.store.fits import Column, Frame, write_columns

NSIDE = 4
CELLS = 12 * NSIDE**2


def plane(shape=(6, 8)):
    return np.random.default_rng(0).standard_normal(shape)


def test_arrays_of_numpy(tmp_path):
    np.save(tmp_path / "a.npy", plane()[None].astype(np.float32))
    found = read_field(tmp_path / "a.npy")
    assert found.values.dtype == np.float64
    assert found.size == "6 × 8"
    np.testing.assert_array_equal(found.values, plane().astype(np.float32))
    np.save(tmp_path / "counts.npy", np.arange(48).reshape(6, 8))
    assert read_field(tmp_path / "counts.npy").values.dtype == np.float64
    sky = np.arange(CELLS, dtype=float)
    sky[3], sky[4] = UNSEEN, np.inf
    np.save(tmp_path / "sky.npy", sky)
    found = read_field(tmp_path / "sky.npy")
    assert (found.nside, found.missing) == (NSIDE, 2)
    assert np.isnan(found.values[3])


def test_variables_by_name(tmp_path):
    np.savez(tmp_path / "one.npz", sst=plane(), lon=np.arange(8))
    assert read_field(tmp_path / "one.npz").name == "sst"
    data = xr.Dataset(
        {
            "sst": (("time", "y", "x"), plane((1, 6, 8)), {"units": "K"}),
            "ice": (("y", "x"), 2.0 * plane()),
        }
    )
    data.to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    found = read_field(tmp_path / "two.nc", "sst")
    assert (found.unit, found.form) == ("K", Form.NUMPY)
    np.testing.assert_array_equal(found.values, plane((1, 6, 8))[0])
    with pytest.raises(ValueError, match=r"field: expected the name of a map.*ice"):
        read_field(tmp_path / "two.nc")
    with pytest.raises(ValueError, match="field: expected the name of an array, got 'depth'"):
        read_field(tmp_path / "two.nc", "depth")


def test_arrays_without_names_are_numbered(tmp_path):
    np.save(tmp_path / "qu.npy", plane((2, 6, 8)))
    np.testing.assert_array_equal(read_field(tmp_path / "qu.npy", "1").values, plane((2, 6, 8))[1])
    for name in ("2", "Q"):
        with pytest.raises(ValueError, match=rf"field: expected 0 to 1 .* got '{name}'"):
            read_field(tmp_path / "qu.npy", name)
    np.save(tmp_path / "iqu.npy", np.arange(3.0 * CELLS).reshape(3, CELLS))
    assert read_field(tmp_path / "iqu.npy", "2").values[0] == 2 * CELLS


def test_the_one_sphere_of_a_file_needs_no_name(tmp_path):
    np.savez(tmp_path / "one.npz", sky=np.arange(float(CELLS)), notes=np.arange(5.0))
    assert read_field(tmp_path / "one.npz").nside == NSIDE


def test_the_last_ending_is_the_kind_of_the_file(tmp_path):
    np.save(tmp_path / "cloud.fits.npy", plane())
    assert read_field(tmp_path / "cloud.fits.npy").form is Form.NUMPY
    fits.PrimaryHDU(plane()).writeto(tmp_path / "cloud.fits.gz")
    assert read_field(tmp_path / "cloud.fits.gz").form is Form.FITS


def test_images_of_one_name_are_told_apart(tmp_path):
    images = [fits.ImageHDU(value * np.ones((6, 8)), name="SCI") for value in (1.0, 2.0)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "two.fits")
    found = [read_field(tmp_path / "two.fits", name).values[0, 0] for name in ("sci", "1", "2")]
    assert found == [1.0, 1.0, 2.0]


def test_maps_that_are_seen_together(tmp_path):
    first, second = plane(), 2.0 * plane()
    first[0, 0] = np.nan
    np.savez(tmp_path / "two.npz", a=first, b=second)
    found = read_fields([str(tmp_path / "two.npz")], ["b", "a"])
    assert [one.name for one in found] == ["b", "a"]
    assert [one.missing for one in found] == [1, 1]
    np.save(tmp_path / "other.npy", np.ones((3, 3)))
    np.save(tmp_path / "b.npy", second)
    with pytest.raises(ValueError, match="file: expected maps of one grid, 6 × 8 .* got 3 × 3"):
        read_fields([str(tmp_path / "b.npy"), str(tmp_path / "other.npy")])
    gaps = [
        np.where(np.arange(8) < 4, np.nan, plane()),
        np.where(np.arange(8) < 4, plane(), np.inf),
    ]
    for name, values in zip("cd", gaps, strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(ValueError, match="file: expected cells that all 2 maps have"):
        read_fields([str(tmp_path / "c.npy"), str(tmp_path / "d.npy")])
    for number, frame in enumerate((Frame.GALACTIC, Frame.EQUATORIAL)):
        columns = {"MAP": Column(np.arange(float(CELLS)))}
        write_columns(tmp_path / f"{number}.fits", columns, Grid(NSIDE), frame=frame)
    with pytest.raises(ValueError, match="file: expected galactic coordinates .* got equatorial"):
        read_fields([str(tmp_path / "0.fits"), str(tmp_path / "1.fits")])
    with pytest.raises(ValueError, match="file: expected a file with a map, got none"):
        read_fields([])


def test_images_of_fits(tmp_path):
    first = fits.PrimaryHDU(plane((1, 6, 8)).astype(">f4"))
    first.header["BUNIT"] = "K km/s"
    second = fits.ImageHDU(np.ones((6, 8)), name="WEIGHT")
    fits.HDUList([first, second]).writeto(tmp_path / "m.fits")
    found = read_field(tmp_path / "m.fits")
    assert (found.unit, found.form, found.values.dtype.isnative) == ("K km/s", Form.FITS, True)
    np.testing.assert_array_equal(found.values, plane().astype(np.float32))
    assert read_field(tmp_path / "m.fits", "weight").values.sum() == 48
    with pytest.raises(ValueError, match=r"unknown image 'WEIHGT'. Did you mean|unknown image"):
        read_field(tmp_path / "m.fits", "weihgt")
    written = write_field(tmp_path, "again", found)
    again = read_field(written)
    np.testing.assert_array_equal(again.values, found.values)
    assert again.unit == "K km/s"


@pytest.mark.parametrize("ordering", list(Ordering))
def test_columns_of_the_sphere(tmp_path, ordering):
    sky = np.arange(CELLS, dtype=float)
    sky[7] = UNSEEN
    stored = sky if ordering is Ordering.RING else hp.reorder(sky, r2n=True)
    columns = {"I_STOKES": Column(stored, "cm-2"), "HITS": Column(np.ones(CELLS))}
    frame = Frame.EQUATORIAL
    write_columns(tmp_path / "s.fits", columns, Grid(NSIDE, ordering), frame=frame)
    for name in (None, "I", "i_stokes", "0"):
        found = read_field(tmp_path / "s.fits", name)
        assert (found.name, found.unit, found.nside) == ("I_STOKES", "cm-2", NSIDE)
        np.testing.assert_array_equal(found.values, np.where(sky == UNSEEN, np.nan, sky))
    assert read_field(tmp_path / "s.fits", "HITS").values.sum() == CELLS
    with pytest.raises(ValueError, match="field: unknown column 'Q'"):
        read_field(tmp_path / "s.fits", "Q")
    written = write_field(tmp_path, "again", found)
    again = read_field(written)
    assert (again.unit, again.frame) == ("cm-2", frame)
    np.testing.assert_array_equal(again.values, found.values)
    healpy = hp.read_map(written)
    assert hp.mask_bad(healpy).sum() == 1


def test_partial_skies_are_filled(tmp_path):
    cells = np.array([3, 5, 9])
    columns = {"MAP": Column(np.array([1.0, 2.0, 3.0]))}
    write_columns(tmp_path / "p.fits", columns, Grid(NSIDE, Ordering.RING, cells))
    found = read_field(tmp_path / "p.fits")
    assert found.missing == CELLS - 3
    np.testing.assert_array_equal(found.values[cells], [1.0, 2.0, 3.0])


def test_masks_take_cells_out():
    field = Field(plane())
    mask = np.ones((6, 8))
    mask[0] = 0.0
    mask[1, 0] = np.nan
    assert field.without(Field(mask)).missing == 9
    with pytest.raises(ValueError, match="mask: expected at least one kept cell"):
        field.without(Field(np.zeros((6, 8))))
    with pytest.raises(ValueError, match=r"mask: expected the grid of the field, 6 × 8, got 3 × 3"):
        field.without(Field(np.ones((3, 3))))
    sky = Field(np.ones(CELLS), frame=Frame.EQUATORIAL)
    assert sky.without(Field(np.ones(CELLS))).missing == 0
    with pytest.raises(ValueError, match="mask: expected equatorial coordinates .* got galactic"):
        sky.without(Field(np.ones(CELLS), frame=Frame.GALACTIC))


def test_what_is_wrong_with_a_mask_is_said_of_the_mask(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones((6, 8)), b=np.ones((6, 8)))
    with pytest.raises(ValueError, match=r"^mask: expected the name .* Save the mask by itself"):
        read_mask(tmp_path / "two.npz")
    np.save(tmp_path / "one.npy", np.ones((6, 8), dtype=bool))
    assert read_mask(tmp_path / "one.npy").values.sum() == 48


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4, 5)), "field: expected a map of two axes"),
        (np.zeros(13), "field: expected a map of two axes"),
        (np.zeros(12 * 9), "field: expected a map of two axes"),
        (np.full((4, 4), np.nan), "field: expected finite numbers, got none"),
        (np.zeros((3, 12 * 4)), "field: expected one map, got 3 maps of the sphere"),
        (np.zeros((4, 4), complex), "field: expected real numbers, got complex128"),
        (np.array([["a"]]), "expected real numbers"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=message):
        read_field(tmp_path / "a.npy")


def test_damaged_files_are_told(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    (tmp_path / "a.fits").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="file: expected an array of numbers"):
        read_field(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="file: expected a complete FITS file"):
        read_field(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"file: expected a file with a map at .*none\.fits"):
        read_field(tmp_path / "none.fits")
