"""The command that brings samples onto cells."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr
import yaml

from skysift.cli.app import main
from skysift.cli.progress import ResampleProgress
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
        "tb_error": (("y", "x"), np.full(tb.shape, 0.1)),
        "samples_per_cell": (("y", "x"), np.ones(tb.shape)),
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
        "ellipsoid": "WGS84",
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
    sky, header = hp.read_map(tmp_path / "run" / "cells.fits", field=0, h=True)
    assert dict(header)["COORDSYS"] == "C"
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


def test_noisy_samples_weigh_less(tmp_path, quick):
    lon, lat = np.array([10.0, 10.1, 60.0, 60.1]), np.array([5.0, 5.1, 5.0, 5.1])
    values, sigma = np.array([1.0, 3.0, 1.0, 3.0]), np.array([1.0, 2.0, np.nan, 1.0])
    np.savez(tmp_path / "s.npz", lon=lon, lat=lat, tb=values, s=sigma)
    words = ["--method", "nearest", "--sigma", "s"]
    _, cells = resampled(tmp_path / "s.npz", tmp_path / "run", *words)
    np.testing.assert_allclose(np.sort(cells["tb"].values), [(1.0 + 3.0 / 4.0) / 1.25, 3.0])


def test_areas_weigh_and_integrals_are_kept(tmp_path, quick):
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(0, 20, 200), rng.uniform(0, 20, 200)
    values, area = rng.standard_normal(200), rng.uniform(1e6, 9e6, 200)
    np.savez(tmp_path / "s.npz", lon=lon, lat=lat, tb=values, a=area)
    words = ["--method", "conservative", "--area", "a"]
    _, cells = resampled(tmp_path / "s.npz", tmp_path / "run", *words)
    ids = cells["cell_ids"].values
    home = np.searchsorted(ids, cells_of(lon, lat, LEVEL))
    held = np.bincount(home, area)
    assert np.sum(cells["tb"].values * held) == pytest.approx(np.sum(values * area), rel=1e-12)


def test_footprints_cover_cells_that_hold_no_centre(tmp_path, quick, capsys):
    edges = np.arange(0.0, 41.0, 10.0)
    lon, lat = edges[:-1] + 5.0, edges[:-1] - 15.0
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    x, y = np.meshgrid(lon, lat)
    grid = xr.Dataset(
        {
            "tb": (("lat", "lon"), x + 2.0 * y),
            "lon_bnds": (("lon", "nv"), bounds),
            "lat_bnds": (("lat", "nv"), bounds - 20.0),
        },
        coords={"lon": lon, "lat": lat},
    )
    grid.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    words = ["--method", "conservative", "--corners", "lon_bnds", "lat_bnds", "--hold-out", "4"]
    run, cells = resampled(tmp_path / "g.nc", tmp_path / "run", *words)
    ids, values = cells["cell_ids"].values, cells["tb"].values
    assert ids.size > 5 * 16  # each footprint covers several cells
    lon_cells, lat_cells = centres(ids, LEVEL)
    inside = (np.abs(lon_cells % 10.0 - 5.0) < 2.0) & (np.abs(lat_cells % 10.0 - 5.0) < 2.0)
    expected = 10.0 * (lon_cells // 10.0) + 5.0 + 2.0 * (10.0 * (lat_cells // 10.0) + 5.0)
    np.testing.assert_allclose(values[inside], expected[inside], rtol=1e-9)
    assert "held-out rms, conservative, average" in run.manifest.summary


def test_footprints_that_are_left_out_are_told(tmp_path, quick, capsys):
    lon = np.array([[0.0, 5.0, 5.0, 0.0], [10.0, 10.0, 10.0, 10.0]])
    lat = np.array([[0.0, 0.0, 5.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    np.savez(tmp_path / "s.npz", tb=np.ones(2), lon=lon[:, 0], lat=lat[:, 0], x=lon, y=lat)
    words = ["--method", "conservative", "--corners", "x", "y"]
    resampled(tmp_path / "s.npz", tmp_path / "run", *words)
    assert "left out 1 of 2 footprints" in capsys.readouterr().err


def test_a_row_without_any_value_is_shown_as_such(tmp_path, capsys):
    rng = np.random.default_rng(8)
    values = np.stack([rng.standard_normal(300), np.full(300, np.nan)])
    coords = {name: ("n", rng.uniform(0, 20, 300)) for name in ("lon", "lat")}
    data = xr.Dataset({"tb": (("time", "n"), values)}, coords=coords)
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    _, cells = resampled(tmp_path / "s.nc", tmp_path / "run")
    assert np.isnan(cells["tb"].values[1]).all()
    assert "no samples" in (tmp_path / "run" / "report.html").read_text()


def contents(page):
    """What a page shows, without times."""
    return page.read_text().partition('<section id="provenance">')[0]


@pytest.mark.parametrize(
    "words",
    [
        ["--value", "wind", "--hold-out", "10", "--damping", "0.1", "--errors"],
        ["--method", "group_by:count", "--ring"],
    ],
)
def test_the_page_can_be_written_again(swath, tmp_path, words, capsys):
    folder = tmp_path / "run"
    resampled(swath, folder, *words)
    first = contents(folder / "report.html")
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert contents(folder / "report.html") == first
    assert main(["report", str(folder), "--sky", "sky"]) == 2
    assert "sky: expected none for samples on cells" in capsys.readouterr().err
    (folder / "quality.nc").unlink()
    assert main(["report", str(folder)]) == 2
    assert "quality.nc" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_where_it_was(swath, tmp_path, quick, monkeypatch, capsys):
    output, kept = tmp_path / "run", tmp_path / "run.tasks"
    words = ["--damping", "0.1", "--parent-level", "2"]
    arguments = ["resample", str(swath), "--value", "tb", "--level", str(LEVEL), *words]
    advance = ResampleProgress.advance

    def interrupted(self, done, total):
        advance(self, done, total)
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResampleProgress, "advance", interrupted)
    assert main([*arguments, "-o", str(output)]) == 130
    assert not output.exists()
    done = {file: file.stat().st_mtime_ns for file in kept.rglob("parent-*.nc")}
    assert done
    monkeypatch.setattr(ResampleProgress, "advance", advance)
    _, cells = resampled(swath, output, *words)
    assert "6/" in capsys.readouterr().err
    assert not kept.exists()
    _, whole = resampled(swath, tmp_path / "whole", "--damping", "0.1")
    np.testing.assert_array_equal(cells["cell_ids"], whole["cell_ids"])
    np.testing.assert_allclose(cells["tb"], whole["tb"], atol=1e-2)
    xr.testing.assert_equal(cells["samples_per_cell"], whole["samples_per_cell"])


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
        (["--method", "nearest", "--least-part", "0"], "least_part: expected none with an average"),
        (["--method", "group_by", "--estimate", "fit"], "estimate: expected average"),
        (["--hold-out", "1"], "hold_out: expected 0"),
        (["--hold-out", "1000000"], "hold_out: expected at least"),
        (["--method", "group_by:sum", "--hold-out", "5"], "a method that predicts"),
        (["--level", "30"], "level: expected from 0 to 29"),
        (["--value", "tc"], "The file holds"),
        (["--memory-mb", "0.001"], "memory_mb: expected more than 0.001 MiB"),
        (["--corners", "lon", "lat"], "corners: expected none with psf"),
        (["--value", "tb", "--value", "tb"], "each name once, got tb 2 times"),
        (["--value", "tb", "--value", "tb_error"], "got 'tb_error'"),
        (["--value", "samples_per_cell"], "got 'samples_per_cell'"),
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


def test_a_terminal_shows_iterations_and_parent_cells(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with ResampleProgress() as progress:
        progress.begin("psf, fit")
        progress.iterate(1, np.array([4.0, 2.0]))
        progress.iterate(2, np.array([1.0, 2.0]))
    assert "psf, fit: iteration 2, residual 5.0e-01 of the first" in capsys.readouterr().err
    with ResampleProgress() as progress:
        progress.begin("psf, fit")
        progress.advance(3, 7)
    assert "3/7" in capsys.readouterr().err
    with ResampleProgress(quiet=True) as progress:
        progress.advance(3, 7)
    assert capsys.readouterr().err == ""
