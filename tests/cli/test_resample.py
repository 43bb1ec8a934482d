"""The command that brings samples onto cells."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr
import yaml

from skysift.cli.app import main
from skysift.experiment import resampling
from skysift.resample import cells_of, centres
from skysift.store.run import Run

LEVEL = 4


def field(lon, lat):
    """A smooth field [K]."""
    return 280.0 + 10.0 * np.sin(np.radians(3.0 * lon)) * np.cos(np.radians(2.0 * lat))


@pytest.fixture(scope="module")
def swath(tmp_path_factory):
    """A noisy swath of two quantities, the second with a unit of its own."""
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(-20, 20, 60), np.linspace(-30, 30, 90))
    lon, lat = x + 0.2 * y + 178.0, y  # across the date line
    tb = field(lon, lat) + 0.1 * rng.standard_normal(lon.shape)
    tb[0, :5] = np.nan
    path = tmp_path_factory.mktemp("swath") / "swath.nc"
    data = {
        "tb": (("y", "x"), tb, {"units": "K", "long_name": "brightness temperature"}),
        "wind": (("y", "x"), 0.1 * tb, {"units": "m s-1"}),
    }
    coords = {"lon": (("y", "x"), lon), "lat": (("y", "x"), lat)}
    xr.Dataset(data, coords=coords).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def quick(monkeypatch):
    """Runs whose pages are not drawn."""
    monkeypatch.setattr(resampling, "write_resample_page", lambda path, *_, **__: path)


def resampled(swath, output, *words):
    code = main(
        ["resample", str(swath), "--value", "tb", "--level", str(LEVEL), *words, "-o", str(output)]
    )
    assert code == 0
    return Run.open(output), Run.open(output).dataset("cells.nc")


def test_fit_recovers_the_field_and_says_how_well(swath, tmp_path, capsys):
    words = ["--value", "wind", "--hold-out", "10", "--smoothness", "0.01"]
    run, cells = resampled(swath, tmp_path / "run", *words)
    lon, lat = centres(cells["cell_ids"].values, LEVEL)
    inside = cells["samples_per_cell"].values > 100
    truth = field(lon, lat)
    assert inside.sum() > 30
    assert np.abs(cells["tb"].values - truth)[inside].max() < 1.0
    np.testing.assert_allclose(cells["wind"].values[inside], 0.1 * truth[inside], atol=0.1)
    assert cells["tb"].attrs["units"] == "K"
    assert cells["cell_ids"].attrs == {
        "grid_name": "healpix",
        "level": LEVEL,
        "indexing_scheme": "nested",
        "ellipsoid": cells["cell_ids"].attrs["ellipsoid"],
    }
    told = run.manifest.summary
    assert told["samples dropped"] == 5
    assert told["converged"] is True
    assert told["held-out rms, psf, fit"] < told["held-out rms, bilinear, average"]
    assert told["held-out rms, psf, fit"] < told["held-out rms, nearest, average"]
    printed = capsys.readouterr().out
    assert "rms at samples left out, bilinear, fit" in printed
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data:image/png") == 5
    assert "Samples left out" in page
    assert "Galactic" not in page


def test_average_is_the_mean_of_each_cell(swath, tmp_path, quick):
    _, cells = resampled(swath, tmp_path / "run", "--method", "nearest", "--ring")
    data = xr.open_dataset(swath, engine="h5netcdf")
    lon, lat, tb = (data[name].values.ravel() for name in ("lon", "lat", "tb"))
    known = np.isfinite(tb)
    ids = cells_of(lon[known], lat[known], LEVEL, nest=False)
    expected = [tb[known][ids == one].mean() for one in cells["cell_ids"].values]
    np.testing.assert_allclose(cells["tb"].values, expected, rtol=1e-12)
    assert cells["cell_ids"].attrs["indexing_scheme"] == "ring"
    sky = hp.read_map(tmp_path / "run" / "cells.fits", field=0)
    np.testing.assert_allclose(sky[cells["cell_ids"].values], expected, rtol=1e-12)
    assert hp.mask_bad(sky).sum() == sky.size - len(expected)


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "group_by:count"],
        ["--method", "group_by:median", "--hold-out", "7"],
        ["--method", "conservative", "--hold-out", "7"],
        ["--method", "bicubic", "--damping", "0.1", "--errors", "--bounds", "200", "300"],
        ["--method", "inverse_distance", "--estimate", "average", "--npt", "6"],
        ["--sigma-m", "300000", "--npt", "12", "--ellipsoid", "sphere", "--estimate", "average"],
    ],
)
def test_methods(swath, tmp_path, quick, words, capsys):
    run, cells = resampled(swath, tmp_path / "run", *words, "-q")
    assert capsys.readouterr().out == ""
    values = cells["tb"].values
    assert np.isfinite(values).all()
    if "group_by:count" in words:
        assert values.sum() == run.manifest.summary["samples"]
        assert "units" not in cells["tb"].attrs
    else:
        assert values.min() > 265.0
        assert values.max() < 295.0
    if "--errors" in words:
        assert (cells["tb_error"].values > 0).all()


def test_times_stay_an_axis(tmp_path, quick):
    rng = np.random.default_rng(2)
    data = xr.Dataset(
        {"t": (("time", "lat", "lon"), rng.standard_normal((3, 8, 16)))},
        coords={
            "time": ("time", [0, 6, 12], {"units": "hours since 2020-01-01"}),
            "lat": np.linspace(-80, 80, 8),
            "lon": np.arange(0, 360, 22.5),
        },
    )
    data.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    words = ["--value", "t", "--level", "0", "--method", "group_by"]
    assert main(["resample", str(tmp_path / "g.nc"), *words, "-o", str(tmp_path / "r"), "-q"]) == 0
    cells = Run.open(tmp_path / "r").dataset("cells.nc")
    assert cells["t"].dims == ("time", "cells")
    assert str(cells["time"].values[1]).startswith("2020-01-01T06")


def test_a_complete_run_is_not_repeated_and_its_experiment_is(swath, tmp_path, quick, capsys):
    output = tmp_path / "run"
    run, cells = resampled(swath, output, "--method", "nearest", "--ring", "-q")
    resampled(swath, output, "--method", "nearest", "--ring")
    assert "complete already" in capsys.readouterr().out
    told = yaml.safe_load(run.experiment_text)
    assert told["ring"] is True
    again = tmp_path / "again"
    assert (
        main(["resample", "--experiment", str(output / "experiment.yaml"), "-o", str(again)]) == 0
    )
    xr.testing.assert_identical(Run.open(again).dataset("cells.nc"), cells)
    assert main(["resample", str(swath), "--value", "tb", "-o", str(output)]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_zarr(swath, tmp_path, capsys):
    output = tmp_path / "cells.zarr"
    words = ["resample", str(swath), "--value", "tb", "--level", "3", "-o", str(output), "-q"]
    try:
        import zarr  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        assert main(words) == 2
        assert "pip install zarr" in capsys.readouterr().err
        assert not output.exists()
        return
    assert main(words) == 0
    cells = xr.open_zarr(output)
    assert cells["cell_ids"].attrs["grid_name"] == "healpix"
    assert (output / "report.html").exists()


def test_a_fit_that_does_not_converge_is_told(swath, tmp_path, capsys):
    words = ["--value", "tb", "--level", "5", "--damping", "0", "--max-iterations", "2"]
    for _ in range(2):
        assert main(["resample", str(swath), *words, "-o", str(tmp_path / "r")]) == 1
    assert Run.open(tmp_path / "r").manifest.summary["converged"] is False
    assert "Not converged" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "spf"], "Did you mean 'psf'"),
        (["--method", "nearest", "--npt", "3"], "npt: expected none with nearest"),
        (["--method", "nearest", "--damping", "0"], "damping: expected none with an average"),
        (["--method", "group_by", "--estimate", "fit"], "estimate: expected average"),
        (["--hold-out", "1"], "hold_out: expected 0"),
        (["--hold-out", "1000000"], "hold_out: expected at least"),
        (["--method", "group_by:sum", "--hold-out", "5"], "a method that predicts"),
        (["--level", "30"], "level: expected from 0 to 29"),
        (["--value", "tc"], "The file holds"),
        (["--memory-mb", "0.001"], "memory"),
    ],
)
def test_wrong_settings_are_told(swath, tmp_path, capsys, words, message):
    start = ["resample", str(swath)] + ([] if "--value" in words else ["--value", "tb"])
    assert main([*start, *words, "-o", str(tmp_path / "r")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_missing_file_is_told(tmp_path, capsys):
    assert main(["resample", "none.nc", "--value", "t", "-o", str(tmp_path / "r")]) == 2
    assert "expected a file with samples" in capsys.readouterr().err
    assert main(["resample", "none.nc", "--value", "t", "--dry-run"]) == 0
    assert "method: psf" in capsys.readouterr().out
