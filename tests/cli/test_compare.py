import dataclasses
import shutil

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from skysift.cli import main
from skysift.cosmology import Ensemble
from skysift.experiment.comparison import compared
from skysift.report import compare_figures
from skysift.report.compare_data import ComparedGroup, Comparison
from skysift.report.compare_page import comparison_figures
from skysift.report.data import ReportData
from skysift.report.sheet import Picture
from skysift.report.spectra import cmb_spectra
from skysift.store.run import Run


@pytest.fixture(scope="module")
def both(session):
    return compared([f"single={session.one}", f"set={session.sets}"])


def test_what_runs_have_is_read(session, both):
    assert [group.name for group in both.groups] == ["single", "set"]
    assert [len(group.runs) for group in both.groups] == [1, 2]
    single, *sets = both.runs
    data = Run.open(session.one).dataset()
    amplitude = data["component_amplitude"].sel(component="cmb").values
    assert single.cmb_variance == pytest.approx(amplitude.var(axis=-1).sum())
    assert single.patches == 15
    assert single.spectra is None
    assert single.ratio is None
    assert sorted(run.patches for run in sets) == [3, 6]
    for run in sets:
        stored = Run.open(run.path)
        ensemble = Ensemble.from_dataset(stored.dataset())
        assert run.realisations == 3
        assert run.cmb_variance == pytest.approx(stored.manifest.summary["cmb variance"])
        assert run.systematic_rms == pytest.approx(stored.manifest.summary["systematic rms"])
        assert run.ratio.r == pytest.approx(stored.manifest.summary["r"])
        np.testing.assert_allclose(
            run.parameters["beta_dust"].values, ensemble.parameters["beta_dust"].mean(axis=0)
        )
        np.testing.assert_array_equal(run.parameters["beta_dust"].truth, 1.54)


def test_table_tells_the_numbers_and_what_is_missing(session, capsys):
    assert (
        main(
            ["compare", str(session.one), str(session.sets), *("--name=a", "--name=b", "--name=c")]
        )
        == 0
    )
    out = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line.split("│") for line in out.splitlines() if "│" in line}
    assert set(rows) == {"a", "b", "c"}
    assert rows["a"][5].strip() == "–"
    summary = Run.open(sorted(session.sets.iterdir())[0]).manifest.summary
    assert any(f"{summary['r']:.4g} −" in "".join(row).replace("  ", " ") for row in rows.values())
    assert f"No spectra of residuals and no r in {session.one}" in " ".join(out.split())


def test_page_and_pictures(session, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Picture, "of", staticmethod(lambda key, t, c, _: Picture(key, t, c, "")))
    out = tmp_path / "a" / "comparison"
    assert main(["compare", f"x={session.one}", f"y={session.sets}", "-q", "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    names = {"spectra", "likelihood", "trends", "histograms", "maps"}
    assert {path.name for path in out.iterdir()} == {f"{n}.png" for n in names} | {"compare.html"}
    page = (out / "compare.html").read_text()
    for name in names:
        assert f'id="{name}"' in page
    assert "No spectra of residuals and no r" in page


def test_single_separations_alone_have_spectra_of_the_cmb(session, tmp_path):
    shutil.copytree(session.one, tmp_path / "other")
    comparison = compared([str(session.one), str(tmp_path / "other")])
    assert set(comparison_figures(comparison)) == {"spectra", "trends", "histograms", "maps"}
    (axes,) = compare_figures.spectra(comparison).axes
    assert axes.get_title() == "recovered CMB"
    data = ReportData.from_dataset(Run.open(session.one).dataset())
    for line in axes.lines[:2]:
        np.testing.assert_array_equal(line.get_ydata(), cmb_spectra(data)[0].bb)
    with pytest.raises(ValueError, match="comparison: expected a run with r"):
        compare_figures.likelihoods(comparison)
    bare = [dataclasses.replace(run, recovered=None) for run in comparison.runs]
    with pytest.raises(ValueError, match="comparison: expected a run with spectra"):
        compare_figures.spectra(Comparison((ComparedGroup("bare", tuple(bare)),)))


def test_curves_are_the_stored_ones(session, both):
    figure = compare_figures.spectra(both)
    stored = [Run.open(run.path).dataset("spectra.nc") for run in both.groups[1].by_patches]
    assert figure.axes[3].get_title() == "recovered CMB"
    for axes, part in zip(figure.axes, ("total", "systematic", "statistical"), strict=False):
        for line, data in zip(axes.lines, stored, strict=False):
            power = data[f"BB_{part}"]
            if "realisation" in power.dims:
                power = power.mean("realisation")
            np.testing.assert_allclose(line.get_ydata(), power.values)
    ratios = [run.ratio for run in both.groups[1].by_patches]
    lines = compare_figures.likelihoods(both).axes[0].lines
    for line, ratio in zip(lines, ratios, strict=False):
        np.testing.assert_array_equal(line.get_xdata(), ratio.grid)
        np.testing.assert_array_equal(line.get_ydata(), ratio.likelihood)


def test_trends_go_with_the_number_of_patches(both):
    variance = compare_figures.trends(both).axes[1]
    assert variance.lines[0].get_xdata().tolist() == [15.0]
    assert variance.lines[1].get_xdata().tolist() == [3.0, 6.0]
    by_patches = {run.patches: run.cmb_variance for run in both.runs}
    assert variance.lines[1].get_ydata().tolist() == [by_patches[3], by_patches[6]]


def test_one_group_one_colour_in_all_figures(both):
    one = compare_figures.likelihoods(both).axes[0].lines[0].get_color()
    assert compare_figures.trends(both).axes[1].lines[1].get_color() == one
    assert compare_figures.spectra(both).axes[0].lines[0].get_color() == one


def test_runs_of_a_group_are_the_paler_the_more_patches(both):
    few, many = (line.get_color() for line in compare_figures.likelihoods(both).axes[0].lines[:2])
    few, many = to_rgb(few), to_rgb(many)
    assert all(pale > full for pale, full in zip(many, few, strict=True))
    labels = compare_figures.likelihoods(both).axes[0].get_legend_handles_labels()[1]
    assert labels == ["set"]
    turned = ComparedGroup("set", both.groups[1].runs[::-1])
    again = compare_figures.likelihoods(Comparison((both.groups[0], turned))).axes[0].lines[0]
    assert to_rgb(again.get_color()) == few


def test_a_path_may_hold_an_equals_sign(session, tmp_path):
    (tmp_path / "a=b").symlink_to(session.one)
    assert [group.name for group in compared([f"{tmp_path}/a=b"]).groups] == [f"{tmp_path}/a=b"]


def test_maps_are_estimate_minus_truth(both, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        compare_figures.Sky, "draw", lambda self, axes, values, *rest: drawn.append((values, rest))
    )
    compare_figures.maps_minus_truth(both)
    assert len(drawn) == 6
    first = both.runs[0].parameters["beta_dust"]
    np.testing.assert_array_equal(drawn[0][0], first.map - 1.54)


def test_many_groups_have_a_colour_each(both):
    many = Comparison(tuple(ComparedGroup(str(i), both.runs[:1]) for i in range(9)))
    lines = compare_figures.trends(many).axes[2].lines
    assert len({line.get_color() for line in lines}) == 9


def test_notes_on_cells_convergence_and_truth(session, tmp_path):
    shutil.copytree(session.one, tmp_path / "run")
    path = tmp_path / "run" / "result.nc"
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        data = stored.load()
    data.attrs["converged"] = 0
    data.isel(cell=slice(10, None)).to_netcdf(path, engine="h5netcdf")
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(session.sky), str(tmp_path / "gone")))
    notes = " ".join(compared([str(session.one), str(tmp_path / "run")]).notes)
    assert f"Not converged: {tmp_path / 'run'}." in notes
    assert "The runs have other cells" in notes
    assert f"The input of {tmp_path / 'run'} is not known" in notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "groups: expected at least one run"),
        (["{one}", "--name", "a", "--name", "b"], "name: expected 1, one for each group, got 2"),
        (["{one}", "{one}"], "name: expected a different one for each"),
        (["x={one}", "x={sets}"], "name: expected a different one for each, got 'x' twice"),
        (["{sky}"], "run: expected a separation"),
        (["{one}/maps"], "expected a run or a folder of runs"),
        (["nothing"], "run: expected a directory with manifest.json"),
    ],
)
def test_wrong_use(session, capsys, arguments, message):
    places = {"one": session.one, "sets": session.sets, "sky": session.sky}
    assert main(["compare", *(text.format(**places) for text in arguments)]) == 2
    assert message in capsys.readouterr().err
