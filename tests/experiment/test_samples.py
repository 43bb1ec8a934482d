"""Samples from the files that observers have."""

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skysift.experiment.samples import Wanted, read_samples
from skysift.grid import UNSEEN
from skysift.resample import Edges

LON = np.array([[10.0, 11.0, 12.0], [10.5, 11.5, 12.5]])
LAT = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
VALUE = np.array([[280.0, 281.0, np.nan], [283.0, 284.0, 285.0]])


def swath(**attributes):
    coords = {
        "Longitude": (("y", "x"), LON),
        "nadir": (("y", "x"), LAT, {"standard_name": "latitude"}),
    }
    data = {"tb": (("y", "x"), VALUE, {"units": "K", **attributes})}
    return xr.Dataset(data, coords=coords)


def write_npz(path):
    np.savez(path, lon=LON.ravel(), lat=LAT.ravel(), tb=VALUE.ravel())


def write_csv(path):
    frame = pd.DataFrame({"lon": LON.ravel(), " lat": LAT.ravel(), "tb": VALUE.ravel()})
    frame.to_csv(path, index=False)


def write_parquet(path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"lon": LON.ravel(), "lat": LAT.ravel(), "tb": VALUE.ravel()})
    frame.to_parquet(path)


def write_netcdf(path):
    encoding = {"tb": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}}
    swath().to_netcdf(path, engine="h5netcdf", encoding=encoding)


def write_classic(path):
    swath().to_netcdf(path, engine="scipy")


def write_zarr(path):
    pytest.importorskip("zarr")
    swath().to_zarr(path, zarr_format=2, consolidated=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("s.npz", write_npz),
        ("s.csv", write_csv),
        ("s.parquet", write_parquet),
        ("s.nc", write_netcdf),
        ("old.nc", write_classic),
        ("s.zarr", write_zarr),
    ],
)
def test_every_format_gives_the_same_samples(tmp_path, name, write):
    write(tmp_path / name)
    samples = read_samples(tmp_path / name, Wanted(("tb",)))
    known = np.isfinite(VALUE)
    np.testing.assert_allclose(samples.values, [VALUE[known]])
    np.testing.assert_allclose(samples.lon, LON[known])
    np.testing.assert_allclose(samples.lat, LAT[known])
    assert samples.dropped == 1
    assert samples.rows == ["tb"]


def test_units_are_kept(tmp_path):
    write_netcdf(tmp_path / "s.nc")
    assert read_samples(tmp_path / "s.nc", Wanted(("tb",))).fields[0].unit == "K"


def test_durations_stay_numbers(tmp_path):
    data = swath(units="days")
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    values = read_samples(tmp_path / "s.nc", Wanted(("tb",))).values
    assert values[0, 0] == 280.0


def test_regular_grids_are_spread_and_times_are_rows(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4)
    data = xr.Dataset(
        {"t": (("lat", "time", "lon"), values)},
        coords={"lat": [10.0, 20.0], "lon": [0.0, 90.0, 180.0, 270.0], "time": [5, 6, 7]},
    )
    data.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    samples = read_samples(tmp_path / "g.nc", Wanted(("t",)))
    assert samples.rows == ["t [time 0]", "t [time 1]", "t [time 2]"]
    assert samples.fields[0].coordinates["time"][1].tolist() == [5, 6, 7]
    for time in range(3):
        at = samples.values[time].reshape(2, 4)
        np.testing.assert_array_equal(at, values[:, time])
    np.testing.assert_array_equal(samples.lat.reshape(2, 4)[:, 0], [10.0, 20.0])
    np.testing.assert_array_equal(samples.lon.reshape(2, 4)[0], [0.0, 90.0, 180.0, 270.0])


def test_groups_of_hdf5_without_dimensions(tmp_path):
    with h5py.File(tmp_path / "g.he5", "w") as file:
        for swath_name, shift in (("A", 0.0), ("B", 100.0)):
            file[f"{swath_name}/Geo Fields/Longitude"] = LON.ravel()
            file[f"{swath_name}/Geo Fields/Latitude"] = LAT.ravel()
            file[f"{swath_name}/Data Fields/Profile"] = np.arange(24.0).reshape(6, 4) + shift
            file[f"{swath_name}/Data Fields/{swath_name}only"] = LAT.ravel() + shift
    path = tmp_path / "g.he5"
    samples = read_samples(path, Wanted(("B/Data Fields/Profile",)))
    np.testing.assert_array_equal(samples.values, np.arange(24.0).reshape(6, 4).T + 100.0)
    np.testing.assert_array_equal(samples.lon, LON.ravel())
    assert samples.rows[1] == "Profile [axis4 1]"
    assert read_samples(path, Wanted(("Data Fields/Aonly",))).values[0, 0] == 1.0
    both = read_samples(path, Wanted(("B/Data Fields/Profile", "B/Data Fields/Bonly")))
    assert [one.name for one in both.fields] == ["Profile", "Bonly"]
    with pytest.raises(ValueError, match="expected one of A/Data Fields/Profile, B/Data"):
        read_samples(path, Wanted(("Profile",)))


def test_equal_names_in_two_groups_stay_apart(tmp_path):
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["lon"], file["lat"] = LON.ravel(), LAT.ravel()
        file["a/t"], file["b/t"] = LON.ravel(), LAT.ravel()
    samples = read_samples(tmp_path / "g.h5", Wanted(("a/t", "b/t")))
    assert samples.rows == ["a_t", "b_t"]
    np.testing.assert_array_equal(samples.values, [LON.ravel(), LAT.ravel()])


def test_columns_of_a_table_and_numbers_that_stand_for_missing(tmp_path):
    table = np.column_stack([LON.ravel(), LAT.ravel(), VALUE.ravel()]).astype(np.float32)
    table[2, 2], table[3, 0], table[4, 2] = -1e10, -1e10, UNSEEN
    np.savez(tmp_path / "t.npz", data=table)
    wanted = Wanted(("data:2",), lon="data:0", lat="data:1", fill=-1e10)
    samples = read_samples(tmp_path / "t.npz", wanted)
    np.testing.assert_array_equal(samples.values, [[280.0, 281.0, 285.0]])
    assert samples.dropped == 3
    with pytest.raises(ValueError, match="Columns count from 0"):
        read_samples(tmp_path / "t.npz", Wanted(("data:3",), lon="data:0", lat="data:1"))


def test_values_missing_in_one_row_only_are_kept(tmp_path):
    other = VALUE[::-1, ::-1]
    np.savez(tmp_path / "s.npz", lon=LON, lat=LAT, a=VALUE, b=other, err=np.abs(VALUE))
    samples = read_samples(tmp_path / "s.npz", Wanted(("a", "b"), sigma="err"))
    assert samples.values.shape == (2, 6)
    assert np.isnan(samples.values).sum() == 2
    assert samples.sigma is not None
    assert np.isnan(samples.sigma).sum() == 1


def refused(path, wanted):
    with pytest.raises(ValueError) as caught:
        read_samples(path, wanted)
    return str(caught.value)


def test_errors_say_what_the_file_holds(tmp_path):
    path = tmp_path / "s.nc"
    swath().drop_vars("nadir").to_netcdf(path, engine="h5netcdf")
    for wanted in (Wanted(()), Wanted(("tv",)), Wanted(("tb",)), Wanted(("tb",), lat="l")):
        message = refused(path, wanted)
        assert "The file holds" in message
        assert "tb (y: 2, x: 3)" in message
    assert "lat: expected one array of latitudes" in refused(path, Wanted(("tb",)))


def test_what_does_not_fit_is_refused(tmp_path):
    np.savez(
        tmp_path / "s.npz",
        lon=np.arange(3.0),
        lat=np.arange(3.0),
        square=np.zeros((3, 3)),
        text=np.array(["a", "b", "c"]),
        short=np.zeros(2),
        none=np.full(3, np.nan),
    )
    path = tmp_path / "s.npz"
    assert "axes have names" in refused(path, Wanted(("square",)))
    assert "expected numbers" in refused(path, Wanted(("text",)))
    named = {"lon": "lon", "lat": "lat"}
    assert "one for each longitude" in refused(path, Wanted(("short",), **named))
    assert "none among 3" in refused(path, Wanted(("none",)))
    assert "Resample it on its own" in refused(path, Wanted(("none", "short"), **named))
    assert "per sample" in refused(path, Wanted(("none",), sigma="square", **named))


def test_files_that_are_none_are_refused(tmp_path, monkeypatch):
    wanted = Wanted(("tb",))
    assert "nothing there" in refused(tmp_path / "none.nc", wanted)
    (tmp_path / "s.docx").write_text("x")
    assert "Convert it" in refused(tmp_path / "s.docx", wanted)
    write_netcdf(tmp_path / "s.nc")
    (tmp_path / "cut.nc").write_bytes((tmp_path / "s.nc").read_bytes()[:900])
    assert "cannot be read" in refused(tmp_path / "cut.nc", wanted)
    (tmp_path / "empty.csv").write_text("")
    assert "header" in refused(tmp_path / "empty.csv", wanted)
    np.savez(tmp_path / "o.npz", tb=np.array([{}], dtype=object))
    assert "arrays of numbers" in refused(tmp_path / "o.npz", wanted)
    np.savez(tmp_path / "s.npz", tb=np.arange(900.0))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "s.npz").read_bytes()[:900])
    assert "cannot be read" in refused(tmp_path / "cut.npz", wanted)
    (tmp_path / "old.nc").write_bytes(b"CDF\x01" + 40 * b"\x00\x01")
    assert "cannot be read" in refused(tmp_path / "old.nc", wanted)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read" in refused(tmp_path / "cut.parquet", wanted)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "s.parquet").write_text("x")
    assert "pip install" in refused(tmp_path / "s.parquet", wanted)
    (tmp_path / "s.zarr").mkdir()
    assert "pip install zarr" in refused(tmp_path / "s.zarr", wanted)


def test_every_value_has_its_own_coordinates(tmp_path):
    with h5py.File(tmp_path / "g.h5", "w") as file:
        for group, shift in (("a", 0.0), ("b", 40.0)):
            file[f"{group}/lon"], file[f"{group}/lat"] = LON.ravel() + shift, LAT.ravel()
            file[f"{group}/t{group}"] = VALUE.ravel()
    path = tmp_path / "g.h5"
    message = refused(path, Wanted(("ta", "tb")))
    assert "lon: expected the same places for all values" in message
    assert "a/lon of a/ta, b/lon of b/tb" in message
    named = Wanted(("ta", "tb"), lon="b/lon", lat="b/lat")
    np.testing.assert_array_equal(read_samples(path, named).lon[0], 50.0)


def in_units(path, unit, factor=1.0):
    coords = {
        "lon": (("y", "x"), LON * factor, {"units": unit}),
        "lat": (("y", "x"), LAT * factor, {"units": unit}),
    }
    data = xr.Dataset({"tb": (("y", "x"), VALUE)}, coords=coords)
    data.to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize("unit", ["radians", "rad", "Radian"])
def test_radians_become_degrees(tmp_path, unit):
    in_units(tmp_path / "s.nc", unit, np.pi / 180.0)
    samples = read_samples(tmp_path / "s.nc", Wanted(("tb",)))
    known = np.isfinite(VALUE)
    np.testing.assert_allclose(samples.lon, LON[known], rtol=1e-14)
    np.testing.assert_allclose(samples.lat, LAT[known], rtol=1e-14)


@pytest.mark.parametrize("unit", ["m", "K", "degrees_north"])
def test_coordinates_in_other_units_are_refused(tmp_path, unit):
    in_units(tmp_path / "s.nc", unit)
    wanted = Wanted(("tb",), lon="lon", lat="lat")
    assert f"lon: expected degrees or radians, got lon in '{unit}'" in refused(
        tmp_path / "s.nc", wanted
    )


def test_a_latitude_beyond_the_poles_is_found_in_the_file(tmp_path):
    lat = LAT.copy()
    lat[0, 2], lat[1, 1] = -999.0, -999.0  # the first has no value: it is left out anyway
    np.savez(tmp_path / "s.npz", lon=LON, lat=lat, tb=VALUE)
    message = refused(tmp_path / "s.npz", Wanted(("tb",)))
    assert "got -999 at axis2 1, axis3 1 of the file (1 such values)" in message
    assert "--fill -999" in message
    assert read_samples(tmp_path / "s.npz", Wanted(("tb",), fill=-999.0)).size == 4
    np.savez(tmp_path / "l.npz", lon=np.where(LON == 11.0, 9e3, LON), lat=LAT, tb=VALUE)
    assert "lon: expected degrees from -720 to 720, got 9000" in refused(
        tmp_path / "l.npz", Wanted(("tb",))
    )
    np.savez(tmp_path / "v.npz", lon=LON.ravel(), lat=lat.ravel(), tb=VALUE.ravel())
    assert "at sample 4 of the file" in refused(tmp_path / "v.npz", Wanted(("tb",)))


def test_exchanged_coordinates_are_called_so(tmp_path):
    wide = np.linspace(91.0, 170.0, LON.size).reshape(LON.shape)
    np.savez(tmp_path / "s.npz", lon=LAT, lat=wide, tb=VALUE)
    message = refused(tmp_path / "s.npz", Wanted(("tb",)))
    assert "exchange --lon and --lat" in message
    assert "--fill" not in message
    lat = LAT.copy()
    lat[1, 1] = 99.9
    np.savez(tmp_path / "one.npz", lon=LAT, lat=lat, tb=VALUE)
    assert "--fill 99.9" in refused(tmp_path / "one.npz", Wanted(("tb",)))


@pytest.mark.parametrize(
    ("option", "bad", "message"),
    [
        ("sigma", -1.0, "sigma: expected positive standard deviations in w, got -1 at sample 3"),
        ("sigma", 0.0, "sigma: expected positive"),
        ("area", -1.0, "area: expected positive areas"),
        ("area", 0.0, "area: expected positive"),
        ("area", np.nan, "area: expected positive areas [m2] in w, got nan"),
    ],
)
def test_weights_that_are_not_positive_are_refused(tmp_path, option, bad, message):
    weights = np.ones(6)
    weights[3] = bad
    np.savez(tmp_path / "s.npz", lon=LON.ravel(), lat=LAT.ravel(), tb=VALUE.ravel(), w=weights)
    assert message in refused(tmp_path / "s.npz", Wanted(("tb",), **{option: "w"}))


def test_a_name_given_twice_is_refused(tmp_path):
    write_npz(tmp_path / "s.npz")
    assert "each name once, got tb 2 times" in refused(tmp_path / "s.npz", Wanted(("tb", "tb")))


def test_corners_are_bounds_of_swaths_and_of_regular_grids(tmp_path):
    offsets = np.array([-0.5, 0.5, 0.5, -0.5]), np.array([-0.5, -0.5, 0.5, 0.5])
    data = swath().assign(
        lon_bnds=(("y", "x", "corner"), LON[..., None] + offsets[0]),
        lat_bnds=(("y", "x", "corner"), LAT[..., None] + offsets[1]),
    )
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    corners = ("lon_bnds", "lat_bnds")
    seen = read_samples(tmp_path / "s.nc", Wanted(("tb",), corners=corners)).footprints
    assert seen is not None
    known = np.isfinite(VALUE)
    np.testing.assert_allclose(seen.lon, LON[known][:, None] + offsets[0])
    np.testing.assert_allclose(seen.lat, LAT[known][:, None] + offsets[1])
    assert seen.edges is Edges.GREAT_CIRCLE
    lon, lat = np.array([10.0, 12.0]), np.array([20.0, 22.0, 24.0])
    grid = xr.Dataset(
        {
            "t": (("lat", "lon"), np.ones((3, 2))),
            "lon_bnds": (("lon", "nv"), np.stack([lon - 1, lon + 1], axis=1)),
            "lat_bnds": (("lat", "nv"), np.stack([lat - 1, lat + 1], axis=1)),
        },
        coords={"lon": lon, "lat": lat},
    )
    grid.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    seen = read_samples(tmp_path / "g.nc", Wanted(("t",), corners=corners)).footprints
    assert seen is not None
    assert seen.edges is Edges.LONLAT
    assert seen.lon[1].tolist() == [11.0, 13.0, 13.0, 11.0]
    assert seen.lat[1].tolist() == [19.0, 19.0, 21.0, 21.0]
    wrong = Wanted(("t",), corners=("lon", "lat_bnds"))
    assert "corners: expected longitudes and latitudes" in refused(tmp_path / "g.nc", wrong)
