"""The commands of networks, on maps of nside 2."""

import csv
import signal

import healpy as hp
import jax
import numpy as np
import pytest
import yaml

from skysift.cli.app import main
from skysift.cli.infer_progress import InferProgress
from skysift.experiment.inference import stored_view
from skysift.inference import evaluate, load, t1
from skysift.report import inference as pages
from skysift.store.run import Run

PLAN = ["--nside", "2", "--maps", "400", "--validation", "100", "--epochs", "4", "--batch", "100"]
TESTS = ["--tests", "60", "--limit-maps", "20"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A run of T1, with its page."""
    folder = tmp_path_factory.mktemp("bench") / "run"
    assert main(["infer", "bench", "T1", *PLAN, *TESTS, "-o", str(folder), "-q"]) in (0, 1)
    return folder


@pytest.fixture(scope="module")
def model(bench):
    return load(bench / "model.skysift")


@pytest.fixture(scope="module")
def skies():
    _, observed = t1(nside=2).batch(jax.random.key(3), 3)
    return np.asarray(observed.values)


@pytest.fixture
def quick(monkeypatch):
    """Runs whose pages are not drawn."""
    for name in ("write_evaluation_page", "write_prediction_page"):
        monkeypatch.setattr(pages, name, lambda path, *_, **__: path)


def said(capsys):
    """Both streams, without line breaks."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_a_bench_says_how_good_its_model_is(bench, model, tmp_path, capsys):
    assert {file.name for file in bench.iterdir()} == {
        "model.skysift",
        "evaluation.nc",
        "experiment.yaml",
        "manifest.json",
        "report.html",
    }
    run = Run.open(bench)
    stored, expected = run.dataset("evaluation.nc"), evaluate(model, t1(nside=2), 60, 0)
    for name in ("truths", "means", "deviations", "ranks"):
        np.testing.assert_array_equal(stored[name], getattr(expected, name), err_msg=name)
    facts = run.manifest.summary
    assert facts["l_peak error %"] == pytest.approx(expected.error[0])
    assert facts["l_peak slope"] == pytest.approx(expected.slope[0])
    assert facts["simulator"] == "T1 · nside 2"
    assert stored["limit_rmse"][0] > 0.0
    assert stored["validation_loss"].shape == (5, 1)
    assert stored["example"].shape == (1, 48)
    page = (bench / "report.html").read_text()
    for heading in (
        "Predicted against true",
        "Ranks and coverage",
        "Training",
        "this model / limit",
    ):
        assert heading in page
    assert page.count("data:image/png") == 5
    assert main(["report", str(bench), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text().count("data:image/png") == 5
    assert main(["report", str(bench), "--sky", "sky"]) == 2
    assert "sky: expected none for networks" in said(capsys)


def test_a_complete_run_is_not_repeated(bench, capsys):
    arguments = ["infer", "bench", "T1", *PLAN, *TESTS, "-o", str(bench)]
    converged = Run.open(bench).manifest.summary["converged"]
    assert main(arguments) == (0 if converged else 1)
    assert "complete already" in said(capsys)
    assert main([*arguments, "--seed", "1"]) == 2
    assert "another configuration" in said(capsys)


def test_a_killed_training_goes_on_to_the_same_bits(bench, tmp_path, monkeypatch, quick):
    file, folder = tmp_path / "network.yaml", tmp_path / "run"
    settings = dict(zip((one[2:] for one in PLAN[::2]), map(int, PLAN[1::2]), strict=True))
    file.write_text(yaml.safe_dump({"simulator": "t1", "tests": 60, "limit-maps": 20} | settings))
    arguments = ["infer", "train", str(file), "-o", str(folder)]
    update, seen = InferProgress.update, []

    def interrupted(self, progress):
        update(self, progress)
        if progress.stage == "epochs" and progress.done == 2:
            signal.raise_signal(signal.SIGINT)

    def watched(self, progress):
        update(self, progress)
        seen.append((progress.stage, progress.done))

    monkeypatch.setattr(InferProgress, "update", interrupted)
    assert main(arguments) == 130
    assert not folder.exists()
    kept = tmp_path / "run.tasks"
    assert [path.name for path in kept.rglob("*.checkpoint")] == ["training.checkpoint"]
    monkeypatch.setattr(InferProgress, "update", watched)
    assert main(arguments) in (0, 1)
    assert [done for stage, done in seen if stage == "epochs"] == [3, 4]
    assert not kept.exists()
    # The network is that of the bench, whose training nobody interrupted.
    assert (folder / "model.skysift").read_bytes() == (bench / "model.skysift").read_bytes()


def test_a_model_is_tested_without_training(bench, tmp_path, quick, capsys):
    folder = tmp_path / "run"
    words = ["infer", "bench", "T1", "--nside", "2", *TESTS, "--seed", "5"]
    words += ["--model", str(bench / "model.skysift")]
    assert main([*words, "-o", str(folder)]) == 0
    told = said(capsys)
    assert "this model / limit" in told
    assert "training:" not in told
    view = stored_view(Run.open(folder))
    assert (view.status, view.epochs, view.converged) == ("", 0, True)
    assert "validation_loss" not in view.dataset
    assert Run.open(folder).manifest.inputs
    assert main([*words[:2], "T2", *words[3:], "-o", str(tmp_path / "other")]) == 2
    assert "simulator: expected prior" in said(capsys)


def test_posteriors_of_files(bench, model, skies, tmp_path, capsys):
    np.save(tmp_path / "many.npy", skies)
    column = {"column_names": ["I_STOKES"], "dtype": np.float64}
    hp.write_map(tmp_path / "ring.fits", skies[1, 0], **column)
    nested = hp.reorder(skies[1, 0], r2n=True)
    hp.write_map(tmp_path / "nested.fits", nested, nest=True, **column)
    np.savez(tmp_path / "two.npz", a=nested, b=nested[::-1])
    files = [str(tmp_path / name) for name in ("many.npy", "ring.fits", "nested.fits", "two.npz")]
    folder, expected = tmp_path / "run", model(skies)
    words = ["infer", "predict", str(bench / "model.skysift"), *files[:3], "-o", str(folder)]
    assert main(words) == 0
    assert "many.npy 2" in said(capsys)
    found = Run.open(folder).dataset("posterior.nc")
    np.testing.assert_allclose(found["mean"][:3], expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found["std"][:3], expected.std, rtol=1e-5)
    np.testing.assert_allclose(found["mean"][3:], expected.mean[[1, 1]], rtol=1e-5)
    with (folder / "posteriors.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["map"] for row in rows][2:] == ["many.npy 2", "ring.fits", "nested.fits"]
    np.testing.assert_allclose([float(row["l_peak_mean"]) for row in rows], found["mean"][:, 0])
    inside = [float(row["l_peak_low68"]) < float(row["l_peak_high68"]) for row in rows]
    assert all(inside)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png") == 2
    assert main(["report", str(folder), "-o", str(tmp_path / "again.html")]) == 0
    assert "nested.fits" in (tmp_path / "again.html").read_text()
    # One array of several, whose cells are in another order, with a mask that hides nothing.
    hp.write_map(tmp_path / "mask.fits", np.ones(48), dtype=np.float64)
    words = ["infer", "predict", str(bench / "model.skysift"), files[3], "--field", "a"]
    words += ["--ordering", "nested", "--mask", str(tmp_path / "mask.fits")]
    assert main([*words, "-o", str(tmp_path / "one"), "-q"]) == 0
    one = Run.open(tmp_path / "one").dataset("posterior.nc")
    np.testing.assert_allclose(one["mean"][0], expected.mean[1], rtol=1e-5)
    np.testing.assert_allclose(one["example"][0], skies[1, 0], rtol=1e-6)


def test_a_mask_that_the_model_does_not_know_is_told(bench, skies, tmp_path, quick, capsys):
    half = (np.arange(48) < 24).astype(float)
    np.save(tmp_path / "half.npy", half)
    np.save(tmp_path / "one.npy", skies[0])
    words = ["infer", "predict", str(bench / "model.skysift"), str(tmp_path / "one.npy")]
    words += ["--mask", str(tmp_path / "half.npy"), "-o", str(tmp_path / "run"), "-q"]
    assert main(words) == 0
    assert "mask: the model was trained on the full sky" in said(capsys)
    assert np.isnan(Run.open(tmp_path / "run").dataset("posterior.nc")["example"][0, 24:]).all()


@pytest.mark.parametrize(
    ("name", "values", "options", "message"),
    [
        ("unit.fits", {"column_units": ["K_CMB"]}, [], "expected the unit 'none' of the training"),
        ("fine.fits", {"nside": 4}, [], "fine.fits: maps: expected nside 2 (48 cells)"),
        ("holes.fits", {"missing": 3}, [], "got 3 missing (UNSEEN or NaN)"),
        ("frame.fits", {"coord": "C"}, [], "expected coordinates G (galactic), got C"),
        ("one.fits", {}, ["--mask", "none.fits"], "mask: expected a file at none.fits"),
        ("one.fits", {}, ["--unit", "parsec"], "unit"),
        ("one.fits", {}, ["--seed", "-1"], "seed: expected 0 or more"),
        ("none.fits", None, [], "maps: expected a file at none.fits"),
        ("none.npy", {"short": True}, [], "expected nside 2 (48 cells), got no full sky"),
    ],
)
def test_maps_that_the_model_is_not_for(
    bench, skies, tmp_path, monkeypatch, capsys, name, values, options, message
):
    monkeypatch.chdir(tmp_path)
    values = None if values is None else dict(values)
    if values is not None and values.pop("short", False):
        np.save(name, skies[0, 0, :40])
    elif values is not None:
        sky = hp.ud_grade(skies[0, 0], values.pop("nside", 2))
        sky[: values.pop("missing", 0)] = hp.UNSEEN
        hp.write_map(name, sky, column_names=["I_STOKES"], dtype=np.float64, **values)
    words = ["infer", "predict", str(bench / "model.skysift"), name, *options, "-o", "run"]
    assert main(words) == 2
    assert message in said(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "T5"], "T5"),
        (["bench", "T1", "--nside", "3"], "nside"),
        (["bench", "T1", "--noise", "-1"], "noise: expected 0 or more"),
        (["bench", "T1", "--depth", "6"], "depth: expected none for maps of TemperaturePeak"),
        (["bench", "T4", "--depth", "6", "--noise", "1"], "depth: expected none besides noise"),
        (["bench", "T1", "--protocol", "as-published"], "protocol: expected PHYSICAL"),
        (["bench", "T2", "--fsky", "2"], "fsky: expected more than 0"),
        (["bench", "T1", "--tests", "5"], "tests: expected 20 or more"),
        (["bench", "T1", "--limit-maps", "-1"], "limit_maps: expected 0 or more"),
        (["bench", "T1", "--seed", "-1"], "seed: expected 0 or more"),
        (["bench", "T1", "--epochs", "0"], "epochs: expected more than 0"),
        (["bench", "T1", "--maps", "10"], "batch: expected at most the 10 maps"),
        (["bench", "T1", "--model", "none"], "model: expected a packaged model"),
        (["train"], "simulator: expected t1, t2, t3, t4"),
        (["train", "none.yaml"], "experiment: expected a YAML file at none.yaml"),
        (["train", "odd.yaml"], "unknown key 'widht'. Did you mean 'widths'?"),
        (["train", "odd.yaml", "--experiment", "odd.yaml"], "experiment: expected one file"),
        (["train", "--simulator", "nowhere:x"], "expected a module 'nowhere'"),
        (["train", "--simulator", "none.py:x"], "simulator: expected a file at none.py"),
        (["train", "--simulator", "t1", "--widths", "8"], "widths: expected none for network best"),
        (["train", "--simulator", "t1", "--filters", "exact"], "filters: expected none for"),
        (["train", "--simulator", "t1", "--mask", "none.npy"], "mask: expected a file at none.npy"),
        (["predict"], "model: expected a packaged model"),
        (["predict", "network.skysift"], "model: expected a packaged model"),
        (["predict", "odd.yaml"], "maps: expected files with maps, got none"),
        (["predict", "odd.yaml", "odd.yaml"], "expected a file of skysift.inference"),
    ],
)
def test_wrong_input_ends_with_a_reason(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.yaml").write_text("simulator: t1\nwidht: [8]\n")
    assert main(["infer", *words, "-o", "run"]) == 2
    assert message in said(capsys)
    assert not (tmp_path / "run").exists()


def test_a_plan_is_told_and_nothing_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text(
        "simulator: t2\nnside: 2\nfsky: 0.5\nnetwork: harmonic\nwidths: [4, 4]\n"
        "protocol: as_published\n"
    )
    words = ["infer", "train", "network.yaml", "--widths", "2", "--maps", "1000", "--dry-run"]
    assert main([*words, "-o", "run"]) == 0
    told = said(capsys)
    for part in (
        "widths: [2]",
        "T2 · nside 2 · f_sky 0.5 · as published",
        "network: HarmonicNetwork, Regression",
    ):
        assert part in told
    assert "30,000 maps to draw, 20 epochs of 2 steps" in told
    assert not (tmp_path / "run").exists()


def test_an_experiment_repeats_a_run(bench, capsys):
    file = bench / "experiment.yaml"
    assert main(["infer", "bench", "--experiment", str(file), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(file.read_text())
    assert main(["infer", "train", str(file), "--dry-run"]) == 2
    assert "expected kind infer train, got 'infer bench'" in said(capsys)


def test_the_options_of_the_help_are_explained(capsys):
    for command, words in (
        ("bench", ("--fsky", "uK arcmin", "as-published")),
        ("train", ("FILE.py:NAME", "--widths", "spectral-cnn")),
        ("predict", ("--ordering", "packaged", "--mask")),
    ):
        assert main(["infer", command, "--help"]) == 0
        told = said(capsys)
        for word in words:
            assert word in told
