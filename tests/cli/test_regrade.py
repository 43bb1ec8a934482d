"""The command that brings cells onto another level."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr

from skysift.cli.app import main
from skysift.experiment import regrading
from skysift.store.run import Run

NSIDE = 16


@pytest.fixture
def quick(monkeypatch):
    """Runs whose pages are not drawn."""
    monkeypatch.setattr(regrading, "write_regrade_page", lambda path, *_, **__: path)


@pytest.fixture
def sky(tmp_path):
    """A full sky with a hole, as healpy writes it."""
    values = np.random.default_rng(2).standard_normal(hp.nside2npix(NSIDE)) + 3.0
    values[100:160] = hp.UNSEEN
    hp.write_map(tmp_path / "sky.fits", values, dtype=np.float64, column_units="K", coord="G")
    return tmp_path / "sky.fits", values


def test_a_coarser_map_is_that_of_healpy(sky, tmp_path, capsys):
    path, values = sky
    words = ["--level", "2", "-o", str(tmp_path / "run")]
    assert main(["regrade", str(path), *words]) == 0
    made, header = hp.read_map(tmp_path / "run" / "cells.fits", h=True)
    expected = hp.ud_grade(values, 4)
    np.testing.assert_allclose(made, expected, rtol=1e-12)
    assert dict(header)["COORDSYS"] == "G"
    assert dict(header)["ORDERING"] == "RING"
    cells = Run.open(tmp_path / "run").dataset("cells.nc")
    known = values != hp.UNSEEN
    assert cells["T"].attrs["units"] == "K"
    total = (cells["T"] * cells["T_coverage"]).sum() * 16
    assert float(total) == pytest.approx(values[known].sum(), rel=1e-12)
    assert "3,072 cells of level 4 on 192 of level 2" in capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert main(["regrade", str(path), *words]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["regrade", str(path), "--level", "3", "-o", str(tmp_path / "run")]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_amounts_add_up_and_little_known_cells_can_be_left_out(sky, tmp_path, quick):
    path, values = sky
    words = ["--quantity", "extensive", "-q"]
    assert main(["regrade", str(path), "--level", "1", *words, "-o", str(tmp_path / "a")]) == 0
    cells = Run.open(tmp_path / "a").dataset("cells.nc")
    known = values[values != hp.UNSEEN]
    assert float(cells["T"].sum()) == pytest.approx(known.sum(), rel=1e-12)
    words = ["--min-coverage", "1", "-q", "-o", str(tmp_path / "b")]
    assert main(["regrade", str(path), "--level", "1", *words]) == 0
    cells = Run.open(tmp_path / "b").dataset("cells.nc")
    whole = cells["T_coverage"].values == 1.0
    assert 0 < whole.sum() < whole.size
    np.testing.assert_array_equal(np.isfinite(cells["T"].values), whole)


def test_cells_of_samples_go_finer_and_back(tmp_path, quick, monkeypatch, capsys):
    rng = np.random.default_rng(1)
    data = xr.Dataset(
        {
            "tb": (("time", "n"), rng.standard_normal((2, 500)), {"units": "K"}),
            "wind": ("n", rng.standard_normal(500)),
        },
        coords={
            "lon": ("n", rng.uniform(0, 40, 500)),
            "lat": ("n", rng.uniform(0, 40, 500)),
            "time": ("time", [3.0, 4.0]),
        },
    )
    data[["tb"]].to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    run, fine, back = (tmp_path / name for name in ("run", "fine", "back"))
    words = ["--value", "tb", "--level", "3", "--ring", "-q", "-o", str(run)]
    assert main(["resample", str(tmp_path / "s.nc"), *words]) == 0
    assert main(["regrade", str(run), "--level", "5", "-q", "-o", str(fine)]) == 0
    assert main(["regrade", str(fine / "cells.nc"), "--level", "3", "-q", "-o", str(back)]) == 0
    first, last = (Run.open(one).dataset("cells.nc") for one in (run, back))
    assert set(last.data_vars) == {"tb", "tb_coverage"}
    xr.testing.assert_allclose(last["tb"], first["tb"], rtol=1e-6)
    assert last["tb"].dims == ("time", "cells")
    assert last["cell_ids"].attrs == first["cell_ids"].attrs
    assert last["tb"].attrs["units"] == "K"
    assert main(["regrade", str(run), "--value", "t", "--level", "5", "-o", str(back)]) == 2
    assert "Did you mean 'tb'" in capsys.readouterr().err


def test_what_holds_no_cells_is_refused(sky, tmp_path, capsys):
    def refused(*words):
        assert main(["regrade", *map(str, words), "-o", str(tmp_path / "r")]) == 2
        assert not (tmp_path / "r").exists()
        return capsys.readouterr().err

    assert "got nothing there" in refused("none.nc", "--level", 2)
    xr.Dataset({"t": ("n", [1.0])}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    assert "expected cells with cell_ids" in refused(tmp_path / "t.nc", "--level", 2)
    assert "level: expected from 0 to 29" in refused(sky[0], "--level", 30)
    assert "min_coverage: expected" in refused(sky[0], "--level", 2, "--min-coverage", 2)
    assert "--level" in refused(sky[0])


def test_the_page_can_be_written_again(sky, tmp_path, capsys):
    run = tmp_path / "run"

    def shown():
        page = (run / "report.html").read_text()
        return page[: page.index('id="repeat"')]

    assert main(["regrade", str(sky[0]), "--level", "2", "-q", "-o", str(run)]) == 0
    first = shown()
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert shown() == first
    assert main(["report", str(run), "--sky", "sky"]) == 2
    (run / "quality.nc").unlink()
    assert main(["report", str(run)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_frame_is_kept_through_runs(sky, tmp_path, quick):
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert main(["regrade", str(sky[0]), "--level", "2", "-q", "-o", str(once)]) == 0
    assert main(["regrade", str(once), "--level", "1", "-q", "-o", str(twice)]) == 0
    _, header = hp.read_map(twice / "cells.fits", h=True)
    assert dict(header)["COORDSYS"] == "G"


def test_cells_as_xdggs_means_them(tmp_path, quick, capsys):
    values = np.arange(48.0)
    values[7] = hp.UNSEEN

    def regraded(name, **attributes):
        cells = ("cells", np.arange(48), {"grid_name": "healpix", "level": 1} | attributes)
        data = xr.Dataset({"t": ("cells", values)}, {"cell_ids": cells})
        data.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        words = ["--level", "0", "-o", str(tmp_path / name)]
        return main(["regrade", str(tmp_path / f"{name}.nc"), *words])

    assert regraded("plain") == 0
    told = capsys.readouterr().out
    assert "e+30" not in told
    made = Run.open(tmp_path / "plain").dataset("cells.nc")
    np.testing.assert_allclose(made["t"].values[:3], [1.5, 5.0, 9.5])
    assert made["cell_ids"].attrs["indexing_scheme"] == "nested"
    assert regraded("other", indexing_scheme="zuniq") == 2
    assert "indexing_scheme: expected one of 'RING', 'NESTED'" in capsys.readouterr().err


def test_a_level_with_too_many_cells_is_refused(sky, tmp_path, capsys):
    assert main(["regrade", str(sky[0]), "--level", "20", "-o", str(tmp_path / "r")]) == 2
    assert "Choose a lower level" in capsys.readouterr().err
