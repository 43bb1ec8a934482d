"""The commands of scattering statistics and syntheses."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr
import yaml

import skysift.experiment.scattering as runs
from skysift.cli.app import main
from skysift.cli.scatter_progress import ScatterProgress
from skysift.experiment.config import Edges, StatisticsExperiment
from skysift.report.scattering_figures import OrderView, pairs_figure
from skysift.report.scattering_view import ScatteringView
from skysift.scattering import Covariance, synthesise
from skysift.store.run import Run

SMALL = ["--scales", "2", "--orientations", "2", "--precision", "double"]
LOOSE = [*SMALL, "--tolerance", "0.3"]


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A map of nside 8 with some cells missing, and a mask."""
    rng = np.random.default_rng(4)
    values = np.exp(hp.smoothing(rng.standard_normal(768), fwhm=0.3))
    values[100:110] = hp.UNSEEN
    mask = np.ones(768)
    mask[:40] = 0.0
    folder = tmp_path_factory.mktemp("sky")
    units = {"column_names": ["I_STOKES"], "column_units": ["K km/s"], "dtype": np.float64}
    hp.write_map(folder / "sky.fits", values, coord="C", **units)
    hp.write_map(folder / "mask.fits", mask, coord="C", dtype=np.float64)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Runs whose pages are not drawn."""
    monkeypatch.setattr(runs, "write_scattering_page", lambda path, *_, **__: path)


def test_statistics_of_a_plane(cloud, tmp_path, quick, capsys):
    folder = tmp_path / "run"
    assert main(["scatter", "stats", str(cloud), *SMALL, "-o", str(folder)]) == 0
    found = Run.open(folder).dataset("statistics.nc")
    expected = Covariance.plane(shape=(32, 32), scales=2, orientations=2)(np.load(cloud))
    np.testing.assert_allclose(found["S1"][0], expected["S1"], rtol=1e-12)
    np.testing.assert_allclose(found["S3_imag"][0], np.imag(expected["S3"]), rtol=1e-12)
    summary = Run.open(folder).manifest.summary
    assert summary["coefficients"] == expected.n_coefficients
    assert (summary["family"], summary["grid"], summary["masked"]) == ("covariance", "32 x 32", 0)
    assert "Gaussian" in capsys.readouterr().out
    assert main(["report", str(folder), "--sky", "sky"]) == 2
    assert "sky: expected none for scattering statistics" in capsys.readouterr().err


def test_samples_are_those_of_the_function(cloud, tmp_path, quick, capsys):
    folder = tmp_path / "run"
    words = [*LOOSE, "--samples", "2", "--seed", "5"]
    assert main(["scatter", "synthesise", str(cloud), *words, "-o", str(folder)]) == 0
    statistic = Covariance.plane(shape=(32, 32), scales=2, orientations=2)
    phi = statistic(np.load(cloud))
    for number in range(2):
        twin = synthesise(phi, statistic, samples=1, seed=5 + number, tolerance=0.3)
        made = np.load(folder / "samples" / f"sample-{number}.npy")
        np.testing.assert_allclose(made, twin.maps[0], rtol=1e-6, atol=1e-6)
    captured = capsys.readouterr()
    assert "2/2 samples: converged" in captured.err
    assert "sample 1" in captured.out
    assert main(["report", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png") == 9
    assert "Converged" in page
    for cell in ("sample 1", "gaussian", "converged, "):
        assert cell in page
    summary = Run.open(folder).manifest.summary
    assert summary["converged"] is True
    objective = summary["objective"]
    assert isinstance(objective, float)
    assert objective <= 0.3
    (folder / "samples" / "sample-1.npy").unlink()
    assert main(["report", str(folder)]) == 2
    assert "samples: expected sample-1" in capsys.readouterr().err


def test_an_interrupted_synthesis_goes_on_where_it_was(cloud, tmp_path, quick, monkeypatch):
    folder, kept = tmp_path / "run", tmp_path / "run.tasks"
    arguments = ["scatter", "synthesise", str(cloud), *LOOSE, "--samples", "2", "-o", str(folder)]
    iterate, seen = ScatterProgress.iterate, []

    def interrupted(self, sample, iteration, objective):
        iterate(self, sample, iteration, objective)
        if sample == 1:
            raise KeyboardInterrupt

    def watched(self, sample, iteration, objective):
        iterate(self, sample, iteration, objective)
        seen.append(sample)

    monkeypatch.setattr(ScatterProgress, "iterate", interrupted)
    assert main(arguments) == 130
    assert not folder.exists()
    assert [file.name for file in kept.rglob("*.nc")] == ["sample-0.nc"]
    monkeypatch.setattr(ScatterProgress, "iterate", watched)
    assert main(arguments) == 0
    assert set(seen) == {1}
    assert not kept.exists()
    first = Run.open(folder).dataset("statistics.nc")
    whole = tmp_path / "whole"
    assert main([*arguments[:-1], str(whole)]) == 0
    assert set(seen) == {0, 1}
    xr.testing.assert_identical(first, Run.open(whole).dataset("statistics.nc"))


def test_maps_of_the_sphere_stay_what_they_are(sky, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--field", "I", "--mask", str(sky / "mask.fits"), "--scales", "2", "--tolerance"]
    arguments = ["scatter", "synthesise", str(sky / "sky.fits"), *words, "0.5", "-o", str(folder)]
    assert main(arguments) == 0
    made, header = hp.read_map(folder / "samples" / "sample-0.fits", h=True)
    facts = dict(header)
    assert (facts["TUNIT1"], facts["COORDSYS"], facts["ORDERING"]) == ("K km/s", "C", "RING")
    assert np.isfinite(made).all()
    assert hp.mask_bad(made).sum() == 0
    example = hp.read_map(sky / "sky.fits")
    kept = (example != hp.UNSEEN) & (np.arange(768) >= 40)
    assert made.mean() == pytest.approx(example[kept].mean(), rel=0.1)
    assert Run.open(folder).manifest.summary["masked"] == 50
    assert "50 cells masked or missing" in capsys.readouterr().out
    assert "nside 8" in (folder / "report.html").read_text()
    (view,) = runs.stored_views(Run.open(folder))
    np.testing.assert_array_equal(view.maps[2], hp.read_map(folder / "samples" / "sample-0.fits"))


def test_open_edges_are_no_structure(tmp_path, quick, capsys):
    rng = np.random.default_rng(6)
    slope = np.linspace(0.0, 20.0, 32)[:, None]
    np.save(tmp_path / "slope.npy", slope + rng.standard_normal((32, 32)))
    power = {}
    for edges in ("periodic", "open"):
        folder = tmp_path / edges
        words = ["scatter", "stats", str(tmp_path / "slope.npy"), *SMALL, "--edges", edges]
        assert main([*words, "-o", str(folder)]) == 0
        found = Run.open(folder).dataset("statistics.nc")
        power[edges] = found["S2"].values[0].max()
        told = "opposite edges do not join" in capsys.readouterr().out
        assert told is (edges == "periodic")
    assert power["periodic"] > 2.0 * power["open"]
    opened = StatisticsExperiment((str(tmp_path / "slope.npy"),), scales=2, edges=Edges.OPEN)
    example = runs.Example.of(opened)
    assert min(example.maps.shape) >= 36
    assert np.isnan(example.maps[32:]).all()
    assert np.isnan(example.maps[:, 32:]).all()
    restored = example.restored(example.maps, 0)
    np.testing.assert_allclose(restored, np.load(tmp_path / "slope.npy"), rtol=1e-5)


def test_gaussian_fields_have_no_power_of_a_mask(tmp_path, quick):
    rng = np.random.default_rng(8)
    k = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.rfftfreq(96)[None, :])
    k[0, 0] = np.inf
    steep = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((96, 96))) * k**-2)[:48, :48]
    np.save(tmp_path / "steep.npy", steep)
    words = ["--edges", "open", "--scales", "3", "--orientations", "2", "-q"]
    folder = tmp_path / "run"
    arguments = ["scatter", "stats", str(tmp_path / "steep.npy"), *words, "-o", str(folder)]
    assert main(arguments) == 0
    found = Run.open(folder).dataset("statistics.nc")
    finest = found["S2"].where(found["S2_scale"] == 0, drop=True).mean("S2_coefficient")
    # A field with the modes of the cut map has 5 times the power.
    assert 0.5 < float(finest[1] / finest[0]) < 2.0


def test_samples_do_not_go_below_a_floor(tmp_path, capsys):
    rng = np.random.default_rng(7)
    first = np.maximum(rng.standard_normal((32, 32)), 0.0)
    maps = {"a": 5.0 * first, "b": np.maximum(rng.standard_normal((32, 32)) + first, -0.5)}
    for name, values in maps.items():
        np.save(tmp_path / f"{name}.npy", values)
    words = [*SMALL, "--tolerance", "0.5", "-q"]
    single, both = tmp_path / "single", tmp_path / "both"
    arguments = ["scatter", "synthesise", str(tmp_path / "a.npy"), *words, "-o"]
    assert main([*arguments, str(single), "--floor", "0"]) == 0
    statistic = Covariance.plane(shape=(32, 32), scales=2, orientations=2)
    scale = maps["a"].std()
    twin = synthesise(statistic(maps["a"] / scale), statistic, tolerance=0.5, floor=0.0)
    made = np.load(single / "samples" / "sample-0.npy")
    np.testing.assert_allclose(made, scale * twin.maps[0], rtol=1e-6, atol=1e-6)
    assert made.min() >= 0.0
    told = yaml.safe_load((single / "experiment.yaml").read_text())
    assert told["floor"] == [0.0]
    page = (single / "report.html").read_text()
    assert "lowest value is" in page
    files = [str(tmp_path / f"{name}.npy") for name in maps]
    arguments = ["scatter", "synthesise", *files, *words, "-o", str(both)]
    assert main([*arguments, "--floor", "0", "--floor", "-0.6"]) == 0
    views = runs.stored_views(Run.open(both))
    assert [view.floor for view in views] == [0.0, -0.6]
    for view in views:
        assert view.maps[2:].min() >= view.floor - 1e-12
    assert views[1].maps[2].min() < 0.0
    assert main(["report", str(both), "-o", str(tmp_path / "again.html")]) == 0
    assert "floor of map 1" in (tmp_path / "again.html").read_text()


def test_no_floor_on_the_sphere(sky, capsys):
    words = ["scatter", "synthesise", str(sky / "sky.fits"), "--field", "I", "--scales", "2"]
    assert main([*words, "--floor", "0", "--dry-run"]) == 2
    assert "floor: expected none on the sphere, got 0." in capsys.readouterr().err


def test_what_did_not_converge_is_told(cloud, tmp_path, quick, capsys):
    folder = tmp_path / "run"
    words = [*SMALL, "--tolerance", "1e-6", "--max-iterations", "2"]
    arguments = ["scatter", "synthesise", str(cloud), *words, "-o", str(folder)]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "1 of 1 samples did not reach the tolerance 1e-06" in captured.err
    assert "iteration limit" in captured.out
    assert main(arguments) == 1  # complete already, as it is
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize("unit", [1e-60, 1e200])
def test_maps_of_any_unit_keep_it(cloud, tmp_path, quick, unit):
    field = unit * np.load(cloud)
    np.save(tmp_path / "far.npy", field)
    folder = tmp_path / "run"
    words = ["--scales", "2", "--orientations", "2", "--tolerance", "0.5", "-o", str(folder), "-q"]
    assert main(["scatter", "synthesise", str(tmp_path / "far.npy"), *words]) == 0
    made = np.load(folder / "samples" / "sample-0.npy")
    assert (made / unit).std() == pytest.approx((field / unit).std(), rel=0.3)
    (view,) = runs.stored_views(Run.open(folder))
    assert np.isfinite(view.jump)


def test_a_plan_is_told_and_nothing_made(cloud, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("two.npz", a=np.load(cloud), b=np.load(cloud) ** 2)
    words = ["two.npz", "--field", "a", "--field", "b", *SMALL, "-o", "run", "--dry-run"]
    assert main(["scatter", "synthesise", *words]) == 0
    told = " ".join(capsys.readouterr().out.split())
    expected = Covariance.plane(shape=(32, 32), scales=2, orientations=2, channels=2).layout
    assert "field: [a, b]" in told
    assert (
        f"2 maps seen together, 32 × 32, 0 cells masked or missing, {expected.n_coefficients:,}"
        in told
    )
    assert "in all, about" in told
    assert not (tmp_path / "run").exists()
    assert main(["scatter", "synthesise", *words, "--samples", "0"]) == 2
    assert "samples: expected 1 or more" in capsys.readouterr().err


def test_an_experiment_repeats_a_run(cloud, tmp_path, quick):
    folder, again = tmp_path / "run", tmp_path / "again"
    assert main(["scatter", "stats", str(cloud), *SMALL, "-o", str(folder), "-q"]) == 0
    told = yaml.safe_load((folder / "experiment.yaml").read_text())
    assert (told["kind"], told["scales"]) == ("scatter stats", 2)
    file = str(folder / "experiment.yaml")
    assert main(["scatter", "stats", "--experiment", file, "-o", str(again), "-q"]) == 0
    first, second = (Run.open(path) for path in (folder, again))
    assert first.manifest.config_hash == second.manifest.config_hash
    xr.testing.assert_identical(first.dataset("statistics.nc"), second.dataset("statistics.nc"))
    assert main(["scatter", "synthesise", "--experiment", file, "-o", str(again)]) == 2


@pytest.mark.parametrize("family", ["wst", "wph"])
def test_other_families(cloud, tmp_path, quick, family):
    folder = tmp_path / "run"
    words = [*SMALL, "--family", family, "-o", str(folder), "-q"]
    assert main(["scatter", "stats", str(cloud), *words]) == 0
    assert Run.open(folder).manifest.summary["family"] == family
    (view,) = runs.stored_views(Run.open(folder))
    for order in OrderView.all(view.statistics):
        if order.scales == 2:
            assert pairs_figure(view, order).axes


def test_maps_that_are_seen_together(tmp_path, capsys):
    rng = np.random.default_rng(5)
    first = rng.gamma(1.0, size=(24, 24))
    maps = {"a": 3.0 * first, "b": 1e-3 * (first + rng.gamma(1.0, size=(24, 24)))}
    maps["a"][2, 3] = np.nan
    for name, values in maps.items():
        np.save(tmp_path / f"{name}.npy", values)
    files = [str(tmp_path / f"{name}.npy") for name in maps]
    folder = tmp_path / "run"
    arguments = ["scatter", "synthesise", *files, *LOOSE, "--samples", "2", "-o", str(folder)]
    assert main(arguments) == 0
    assert "map 1: " in capsys.readouterr().out
    run = Run.open(folder)
    statistic = Covariance.plane(shape=(24, 24), scales=2, orientations=2, channels=2)
    both = np.stack([values / np.nanstd(values) for values in maps.values()])
    both[:, 2, 3] = np.nan
    both /= np.nanstd(both, axis=(1, 2), keepdims=True)
    expected = statistic(both)
    found = run.dataset("statistics.nc")
    np.testing.assert_allclose(found["S2_real"][0], np.real(expected["S2"]), rtol=1e-9)
    assert run.manifest.summary["maps"] == 2
    assert run.manifest.summary["coefficients"] == expected.n_coefficients
    made = [np.load(folder / "samples" / f"sample-0-map-{one}.npy") for one in (0, 1)]
    for one, values in zip(made, maps.values(), strict=True):
        assert one.std() == pytest.approx(np.nanstd(values), rel=0.2)
    # The second is half of the first, and so are those of the samples.
    assert np.corrcoef(made[0].ravel(), made[1].ravel())[0, 1] > 0.4
    views = runs.stored_views(run)
    assert [view.title for view in views] == ["map 0", "map 1"]
    np.testing.assert_array_equal(views[1].maps[2], made[1])
    page = (folder / "report.html").read_text()
    for heading in ("Maps · map 1", "S3 · map 0 and map 1", "S3 · map 1 and map 0"):
        assert heading in page
    assert page.count(">Objective<") == page.count(">Maps · map 0<")
    assert main(["report", str(folder), "-o", str(tmp_path / "again.html")]) == 0
    assert "Against the example · map 1" in (tmp_path / "again.html").read_text()


def test_phase_harmonics_make_samples_of_the_sphere(sky, tmp_path, quick):
    folder = tmp_path / "run"
    words = ["--family", "wph", "--scales", "1", "--lmax", "12", "--tolerance", "0.5", "-q"]
    arguments = ["scatter", "synthesise", str(sky / "sky.fits"), *words, "-o", str(folder)]
    assert main(arguments) == 0
    (view,) = runs.stored_views(Run.open(folder))
    assert view.converged
    assert view.missing == 10
    assert np.isfinite(view.maps[2]).all()


def test_the_options_of_the_help_are_explained(capsys):
    for command in ("stats", "synthesise"):
        assert main(["scatter", command, "--help"]) == 0
        told = " ".join(capsys.readouterr().out.split())
        for words in ("--mask", "cells where it is 0", "--family", "--edges"):
            assert words in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "file: expected a file with a map"),
        (["none.npy"], "file: expected a file with a map"),
        (["cloud.npy", "--mask", "none.npy"], "mask: expected a file with a map"),
        (["cloud.npy", "--mask", "other.npy"], "mask: expected the grid of the field"),
        (["cube.npy"], "field: expected a map of two axes"),
        (["cloud.npy", "--field", "Q"], "field: expected 0 to 31 for the map"),
        (["cloud.npy", "other.npy"], "file: expected maps of one grid"),
        (["cloud.npy", "--mask", "two.npz"], "mask: expected the name of a map"),
        (["cloud.npy", "--seed", "-1"], "seed: expected 0 or more"),
        (["cloud.npy", "--scales", "0"], "scales: expected 1 to 4"),
        (["far.npy"], "precision: expected double for a map whose mean is"),
        (["constant.npy"], "expected fields with power"),
        (["two.npz", "--field", "c"], "field: expected the name of an array, got 'c'"),
        (["cloud.npy", "--scales", "9"], "scales: expected 1 to 4"),
        (["cloud.npy", "--lmax", "9"], "lmax: expected none on a plane"),
        (["sky.npy", "--edges", "open"], "edges: expected none on the sphere, got open"),
        (["sky.npy", "--orientations", "3"], "orientations: expected none on the sphere"),
        (["sky.npy", "--scales", "9"], "scales: expected 1 to"),
    ],
)
def test_wrong_input_ends_with_a_reason(cloud, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    np.save("cloud.npy", np.load(cloud))
    np.save("other.npy", np.ones((3, 3)))
    np.save("cube.npy", np.zeros((4, 4, 4)))
    np.save("constant.npy", np.ones((32, 32)))
    np.save("sky.npy", np.random.default_rng(0).standard_normal(192))
    np.savez("two.npz", a=np.ones((8, 8)), b=np.ones((8, 8)))
    np.save("far.npy", 1e6 + np.load(cloud) / np.load(cloud).std())
    sizes = [] if {"--scales", "sky.npy", "far.npy"} & set(words) else SMALL
    assert main(["scatter", "stats", *words, *sizes, "-o", "run"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "0"], "samples: expected 1 or more"),
        (["--max-iterations", "0"], "max_iterations: expected 1 or more"),
        (["--tolerance", "0"], "tolerance: expected more than 0"),
        (["--seed", "-1"], "seed: expected 0 or more"),
        (["--floor", "nan"], "floor: expected finite numbers, got nan"),
        (["--floor", "1e9"], "floor: expected less than the mean of the map"),
        (["--floor", "0", "--floor", "0"], "floor: expected one number, or one for each of 1"),
        (["--output", "."], "output: expected a new directory"),
    ],
)
def test_wrong_settings_of_a_synthesis(cloud, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").write_text("else")
    output = [] if "--output" in words else ["-o", "run"]
    assert main(["scatter", "synthesise", str(cloud), *SMALL, *words, *output]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_view_needs_its_files(cloud, tmp_path, quick):
    folder = tmp_path / "run"
    assert main(["scatter", "stats", str(cloud), *SMALL, "-o", str(folder), "-q"]) == 0
    run = Run.open(folder)
    (view,) = runs.stored_views(run)
    assert view.names == ("example", "gaussian")
    assert view.torn is False
    damaged = run.dataset("measures.nc").drop_vars("example")
    with pytest.raises(ValueError, match="measures: expected example"):
        ScatteringView.of(damaged, run.dataset("statistics.nc"), [])
