"""The command that separates a signal from a contamination by scattering statistics."""

import healpy as hp
import numpy as np
import pytest
import xarray as xr
import yaml

import skysift.experiment.unmixing as runs
import skysift.report.unmixing as pages
from skysift.cli.app import main
from skysift.cli.scatter_separate import UnmixingProgress
from skysift.scattering import Covariance, Descent, WhiteNoise, separate
from skysift.store.run import Run

SMALL = ["--scales", "2", "--orientations", "2", "--bins", "0", "--draws", "10"]
NOISE = 0.5


def cloud(seed, shape=(32, 32)):
    """A field with structure."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * np.exp(-30.0 * k**2), s=shape)
    return np.exp(field / field.std())


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Data with noise, as a whole and in two halves, with maps beside them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    signal = cloud(3)
    halves = signal + np.sqrt(2.0) * NOISE * rng.standard_normal((2, 32, 32))
    np.save("one.npy", halves[0])
    np.save("two.npy", halves[1])
    np.save("data.npy", halves.mean(axis=0))
    np.save("noise.npy", NOISE * rng.standard_normal((10, 32, 32)))
    np.save("few.npy", NOISE * rng.standard_normal((3, 32, 32)))
    np.save("template.npy", signal**2)
    mask = np.ones((32, 32))
    mask[:4, :4] = 0.0
    np.save("mask.npy", mask)
    return signal


@pytest.fixture
def quick(monkeypatch):
    """Runs whose pages are not drawn."""

    def write(path, *_, **__):
        path.write_text("page")
        return path

    monkeypatch.setattr(runs, "write_unmixing_page", write)
    monkeypatch.setattr(pages, "write_unmixing_page", write)


def command(*words):
    return ["scatter", "separate", *words]


def test_a_separation_is_that_of_the_function(data, tmp_path, quick, capsys):
    words = ["data.npy", *SMALL, "--contamination", f"white:{NOISE}", "--restarts", "2"]
    words += ["--precision", "double", "--steps", "8"]
    assert main(command(*words, "-o", "run")) == 0
    captured = capsys.readouterr()
    assert "solution 2 of 2: step 0, losses total" in captured.err
    assert "statistical from" in captured.out
    run = Run.open("run")
    assert run.manifest.summary["converged"] is True
    observed = np.load("data.npy")
    unit = observed.std()
    expected = separate(
        observed / unit,
        WhiteNoise(NOISE / unit),
        Covariance.plane(shape=(32, 32), scales=2, orientations=2),
        descent=Descent(steps=8),
        draws=10,
        restarts=2,
    )
    views = runs.stored_views(run)
    (view,) = views
    np.testing.assert_allclose(view.signals, unit * expected.maps, rtol=1e-6, atol=1e-9)
    for course, history in zip(view.courses, expected.histories, strict=True):
        np.testing.assert_allclose(course.losses["total"], history["total"], rtol=1e-6)
    left = np.load("run/solutions/contamination-1.npy")
    np.testing.assert_allclose(left, observed - view.signals[1], atol=1e-12)
    # At the largest scales it is the truth, and less of the noise is in it than in the data.
    assert np.std(view.signals[0] - data) < np.std(observed - data)
    assert np.isfinite(view.spectra.agreement).all()
    told = yaml.safe_load((tmp_path / "run" / "experiment.yaml").read_text())
    assert (told["kind"], told["restarts"], told["begin"]) == ("scatter separate", 2, "data")
    assert main(command(*words, "-o", "run")) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["report", "run", "-o", "page.html"]) == 0
    assert main(["report", "run", "--sky", "sky"]) == 2
    assert "sky: expected none for a statistical separation" in capsys.readouterr().err
    assert main(["runs", ".", "--columns", "run,kind,loss"]) == 0
    assert "scatter separate" in capsys.readouterr().out
    (tmp_path / "run" / "solutions" / "signal-1.npy").unlink()
    assert main(["report", "run"]) == 2
    assert "solutions: expected signal-1" in capsys.readouterr().err


def test_an_interrupted_separation_goes_on_from_its_last_step(tmp_path, quick, monkeypatch):
    words = ["data.npy", *SMALL, "--contamination", "noise.npy", "--restarts", "2"]
    words += ["--precision", "double", "--steps", "2", "--tolerance", "1e-6", "--batch", "2"]
    step, seen = UnmixingProgress.step, []

    def interrupted(self, state):
        step(self, state)
        if (state.restart, state.step) == (1, 1):
            raise KeyboardInterrupt

    def watched(self, state):
        step(self, state)
        seen.append((state.restart, state.step))

    monkeypatch.setattr(UnmixingProgress, "step", interrupted)
    assert main(command(*words, "-o", "run")) == 130
    assert not (tmp_path / "run").exists()
    kept = sorted(file.name for file in (tmp_path / "run.tasks").rglob("*.np*"))
    assert kept == ["solution-0.npz", "solution-1.npz"]
    monkeypatch.setattr(UnmixingProgress, "step", watched)
    assert main(command(*words, "-o", "run")) == 1
    assert seen == [(0, 2), (1, 1), (1, 2)]
    assert not (tmp_path / "run.tasks").exists()
    assert main(command(*words, "-o", "whole")) == 1
    assert seen[3:] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    first, second = (Run.open(path).dataset("separation.nc") for path in ("run", "whole"))
    xr.testing.assert_identical(first, second)
    for number in (0, 1):
        name = f"solutions/signal-{number}.npy"
        np.testing.assert_array_equal(np.load(f"run/{name}"), np.load(f"whole/{name}"))
    status = [one.status for one in runs.stored_views(Run.open("run"))[0].courses]
    assert status == ["step limit", "step limit"]
    assert main(command(*words, "--together", "2", "-o", "together")) == 1
    assert seen[9:] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    for number in (0, 1):
        name = f"solutions/signal-{number}.npy"
        np.testing.assert_allclose(np.load(f"together/{name}"), np.load(f"run/{name}"), atol=1e-6)


def test_fewer_solutions_than_there_are_states_of(tmp_path, quick, monkeypatch):
    words = ["data.npy", *SMALL, "--contamination", "noise.npy", "--precision", "double"]
    words += ["--steps", "1", "--tolerance", "1e-6", "-q"]
    step = UnmixingProgress.step

    def interrupted(self, state):
        step(self, state)
        if state.restart == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(UnmixingProgress, "step", interrupted)
    assert main(command(*words, "--restarts", "3", "-o", "run")) == 130
    assert main(command(*words, "-o", "run")) == 1
    (view,) = runs.stored_views(Run.open("run"))
    assert len(view.signals) == 1
    assert not (tmp_path / "run.tasks").exists()


def test_what_did_not_converge_ends_with_advice(quick, capsys):
    words = ["data.npy", *SMALL, "--contamination", "noise.npy", "--precision", "double"]
    assert main(command(*words, "--steps", "1", "--tolerance", "1e-6", "-o", "run", "-q")) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "1 of 1 solutions did not reach the tolerance 1e-06 (the loss of total" in told
    assert "Raise --steps" in told
    assert Run.open("run").manifest.summary["converged"] is False


def test_halves_templates_and_a_mask(tmp_path, quick, capsys):
    (tmp_path / "list.yaml").write_text(
        "- halves: {statistics: spectrum}\n"
        "- ancillary: {map: template.npy, statistics: spectrum}\n"
        "- positive: {deviation: 1}\n"
        "- large_scales: {below: 1.5}\n"
    )
    words = ["one.npy", "two.npy", "--halves", "--mask", "mask.npy", *SMALL[:-2]]
    words += ["--contamination", f"white:{NOISE}", "--constraints", "list.yaml", "--draws", "8"]
    words += ["--steps", "1"]
    assert main(command(*words, "-o", "run", "--dry-run")) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "16 cells masked or missing" in told
    assert "constraints: halves, ancillary, positive, large scales" in told
    assert "draws of the contamination" in told
    assert main(command(*words, "-o", "run", "-q")) in (0, 1)
    (view,) = runs.stored_views(Run.open("run"))
    assert list(view.courses[0].losses) == ["halves", "template", "positive"]
    assert np.isnan(view.signals[0][:4, :4]).all()
    assert np.isfinite(view.signals).sum() == 32 * 32 - 16
    known = np.isfinite(view.data)
    np.testing.assert_allclose(view.data[known], np.load("data.npy")[known], rtol=1e-12)
    assert (tmp_path / "run" / "constraints.yaml").read_text().startswith("- halves")
    inputs = Run.open("run").manifest.inputs
    assert {"one.npy", "two.npy", "mask.npy", "list.yaml", "template.npy"} == set(inputs)
    (tmp_path / "list.yaml").write_text("- total")
    assert main(command(*words, "-o", "run")) == 2
    assert "another configuration" in capsys.readouterr().err


def test_maps_that_are_seen_together_with_open_edges(quick):
    rng = np.random.default_rng(2)
    shape = (24, 24)
    one, two = cloud(5, shape), cloud(6, shape)
    noise = 0.3 * rng.standard_normal((9, 2, *shape))
    np.savez("qu.npz", Q=one + noise[0, 0], U=1e3 * (two + noise[0, 1]))
    noise[:, 1] *= 1e3
    np.save("pairs.npy", noise[1:])
    words = ["qu.npz", "--field", "Q", "U", "--edges", "open", "--scales", "1"]
    words += ["--orientations", "2", "--bins", "0", "--contamination", "pairs.npy", "--steps", "1"]
    words += ["--family", "wst"]
    assert main(command(*words, "-o", "run", "-q")) in (0, 1)
    views = runs.stored_views(Run.open("run"))
    assert [view.title for view in views] == ["Q", "U"]
    for number, view in enumerate(views):
        made = np.load(f"run/solutions/signal-0-map-{number}.npy")
        assert made.shape == shape
        np.testing.assert_array_equal(view.signals[0], made)
    assert views[1].draw.std() == pytest.approx(300.0, rel=0.1)


def test_maps_of_the_sphere_stay_what_they_are(capsys):
    rng = np.random.default_rng(4)
    values = np.exp(hp.smoothing(rng.standard_normal(768), fwhm=0.3)) + 0.2 * rng.standard_normal(
        768
    )
    values[100:110] = hp.UNSEEN
    units = {"column_names": ["I_STOKES"], "column_units": ["K km/s"], "dtype": np.float64}
    hp.write_map("sky.fits", values, coord="C", **units)
    half = (hp.pix2vec(8, np.arange(768))[2] > 0.0).astype(float)
    hp.write_map("north.fits", half, coord="C", dtype=float)
    hp.write_map("south.fits", 1.0 - half, coord="C", dtype=float)
    hp.write_map("galactic.fits", half, coord="G", dtype=float)
    words = ["sky.fits", "--field", "I", "--scales", "1", "--lmax", "12", "--bins", "0"]
    words += ["--family", "wst", "--draws", "8"]
    words += ["--contamination", "white:0.2", "--regions", "north.fits", "--steps", "2"]
    assert main(command(*words, "--regions", "south.fits", "-o", "run", "-q")) in (0, 1)
    made, header = hp.read_map("run/solutions/signal-0.fits", h=True)
    facts = dict(header)
    assert (facts["TUNIT1"], facts["COORDSYS"], facts["ORDERING"]) == ("K km/s", "C", "RING")
    np.testing.assert_array_equal(np.flatnonzero(made == hp.UNSEEN), np.arange(100, 110))
    page = (Run.open("run").path / "report.html").read_text()
    assert "nside 8" in page
    assert page.count("data:image/png") == 4
    assert main(command(*words, "--regions", "galactic.fits", "-o", "other")) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "regions: expected equatorial coordinates like the data" in told


def test_an_experiment_repeats_a_run(quick, capsys):
    words = ["data.npy", *SMALL, "--contamination", "noise.npy", "--precision", "double"]
    words += ["--steps", "1", "--tolerance", "1e3"]
    assert main(command(*words, "-o", "run", "-q")) == 0
    assert main(command("--experiment", "run/experiment.yaml", "-o", "again", "-q")) == 0
    first, second = (Run.open(path) for path in ("run", "again"))
    assert first.manifest.config_hash == second.manifest.config_hash
    xr.testing.assert_identical(first.dataset("separation.nc"), second.dataset("separation.nc"))
    assert main(["scatter", "separate", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("--contamination", "gaussian:FILE", "--constraints", "--restarts", "--halves"):
        assert word in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "file: expected a file with a map"),
        (["data.npy"], "contamination: expected what is known of it, got nothing"),
        (["data.npy", "--contamination", "few.npy"], "contamination: expected 8 draws or more"),
        (["data.npy", "--contamination", "none.npy"], "contamination: expected a file, a folder"),
        (["data.npy", "--contamination", "white:-1"], "rms: expected finite deviations"),
        (["data.npy", "--contamination", "white:1", "--draws", "0"], "draws: expected 1 or more"),
        (["data.npy", "--contamination", "white:1", "--steps", "0"], "steps: expected 1 or more"),
        (["data.npy", "--contamination", "white:1", "--batch", "-1"], "batch: expected 0 or more"),
        (["data.npy", "--contamination", "white:1", "--bins", "-1"], "bins: expected 0 or more"),
        (["data.npy", "--contamination", "white:1", "--seed", "-1"], "seed: expected 0 or more"),
        (["data.npy", "--contamination", "white:1", "--restarts", "0"], "restarts: expected 1"),
        (["data.npy", "--contamination", "white:1", "--together", "0"], "together: expected 1"),
        (["data.npy", "--contamination", "white:1", "--tolerance", "0"], "tolerance: expected mor"),
        (["data.npy", "--contamination", "white:1", "--halves"], "halves: expected as many maps"),
        (["data.npy", "--contamination", "white:1", "--lmax", "9"], "lmax: expected none on a"),
        (
            ["data.npy", "--contamination", "white:1", "--constraints", "none.yaml"],
            "constraints: expected a YAML file",
        ),
        (
            ["data.npy", "--contamination", "white:1", "--constraints", "halves.yaml"],
            "constraints: expected data in two halves for halves, got whole ones",
        ),
        (
            ["data.npy", "--contamination", "white:1", "--regions", "nothing.npy"],
            "regions: expected cells of the data in nothing.npy, got none",
        ),
    ],
)
def test_wrong_input_ends_with_a_reason(tmp_path, capsys, words, message):
    (tmp_path / "halves.yaml").write_text("- halves")
    np.save("nothing.npy", np.zeros((32, 32)))
    sizes = [] if "--bins" in words else ["--bins", "0"]
    sizes += ["--scales", "2", "--orientations", "2"]
    assert main(command(*words, *sizes, "-o", "run")) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
