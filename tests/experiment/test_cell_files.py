"""Cells in files."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr

from skysift.experiment.cell_files import MAP, column_names, read_cells, write_cells, write_fits
from skysift.grid import Grid, Ordering


def test_column_names_are_plain_unique_and_never_empty():
    titles = ("tb", "tb!", "samples", "pixel", "Höhe", "温度", "湿度", "2 m")
    names = column_names(titles)
    assert names[4:] == ["HOHE", "VALUE", "VALUE_2", "2_M"]
    assert len({*names, "SAMPLES", "PIXEL"}) == len(titles) + 2
    assert all(name.isascii() and name for name in names)


def test_every_row_is_a_column(tmp_path):
    grid = Grid(16, Ordering.NESTED, np.array([5, 9, 800]))
    rows = {
        "温度": (np.array([1.0, np.nan, 3.0]), "°C"),
        "samples": (np.array([4.0, 5.0, 6.0]), "K"),
    }
    write_fits(tmp_path, rows, grid, np.array([7, 8, 9]))
    columns, header = hp.read_map(tmp_path / MAP, field=None, h=True, nest=True)
    assert [dict(header)[f"TTYPE{i}"] for i in range(2, 5)] == ["VALUE", "SAMPLES_2", "SAMPLES"]
    np.testing.assert_array_equal(columns[1][grid.index], [4.0, 5.0, 6.0])
    np.testing.assert_array_equal(columns[2][grid.index], [7.0, 8.0, 9.0])
    assert columns[0][9] == hp.UNSEEN
    assert dict(header)["COORDSYS"] == "C"  # longitude and latitude, not Galactic


def test_no_fits_of_cells_that_few_programs_read(tmp_path):
    write_fits(tmp_path, {"t": (np.ones(1), "")}, Grid(1 << 13, cells=np.array([3])))
    assert not (tmp_path / MAP).exists()


@pytest.mark.parametrize("zarr", [False, True])
def test_cells_are_read_back(tmp_path, zarr):
    if zarr:
        pytest.importorskip("zarr")
    folder = tmp_path / ("run.zarr" if zarr else "run")
    folder.mkdir()
    dataset = xr.Dataset({"t": ("cells", [1.0, 2.0])}, coords={"cell_ids": ("cells", [4, 7])})
    write_cells(folder, dataset, zarr=zarr)
    xr.testing.assert_identical(read_cells(folder), dataset)


def test_missing_cells_are_told(tmp_path):
    with pytest.raises(ValueError, match="expected a NetCDF file"):
        read_cells(tmp_path)
