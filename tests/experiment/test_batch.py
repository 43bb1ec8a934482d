import dataclasses

import numpy as np
import pytest

import skysift.experiment.ensemble_run as ensemble_run
import skysift.report
from skysift.cli import main
from skysift.cosmology import Ensemble, MonteCarlo, ResidualSpectra, TensorRatio
from skysift.execute import Outcome, Processes, Serial, Share
from skysift.experiment import SeparateExperiment
from skysift.experiment.batch import carry_out, plan, run_share
from skysift.experiment.runs import Order
from skysift.experiment.sets import variants
from skysift.store.dataset import read_dataset
from skysift.store.run import Run


@pytest.fixture(scope="module")
def sky(tmp_path_factory, compiled_anew):
    folder = tmp_path_factory.mktemp("sky") / "sky"
    command = ["simulate", "c1d1s1", "--nside", "8", "--seed", "3", "-q", "-o", str(folder)]
    assert main(command) == 0
    return folder


@pytest.fixture
def experiment(sky):
    return SeparateExperiment(
        (str(sky),), mask="GAL070", patches={"beta_dust": "kmeans:3"}, seeds="0:4"
    )


@pytest.fixture
def no_pages(monkeypatch):
    """Pages take most of the time."""

    def page(draft, *_):
        draft.write_text("report.html", "")

    def write_page(path, *_, **__):
        path.write_text("")

    monkeypatch.setattr(ensemble_run, "_page", page)
    monkeypatch.setattr(skysift.report, "write_page", write_page)


def do(experiment, output, executor=None, on_outcome=None, **options):
    parts = plan(variants(experiment), Order(output, "a command", **options))
    return carry_out(parts, executor or Serial(), on_outcome)


def test_a_set_is_one_run_with_a_realisation_axis(experiment, tmp_path):
    (finished,) = do(experiment, tmp_path / "a")
    assert finished.converged
    assert finished.run is not None
    run = finished.run
    assert run.manifest.kind == "monte-carlo"
    ensemble = Ensemble.from_dataset(run.dataset())
    assert ensemble.seeds.tolist() == [0, 1, 2, 3]
    summary = run.manifest.summary
    assert summary["realisations"] == 4
    assert summary["beta_dust patches"] == 3
    left = ensemble.residuals
    assert summary["systematic rms"] == pytest.approx(np.std(left.systematic.values), rel=0.2)
    ratio = TensorRatio.from_dataset(read_dataset(run.path / "r.nc"))
    assert summary["r"] == pytest.approx(float(ratio.r))
    spectra = ResidualSpectra.from_dataset(read_dataset(run.path / "spectra.nc"))
    assert spectra.total.values["BB"].shape[0] == 4
    np.testing.assert_allclose(spectra.tensor_ratio().r, ratio.r)
    files = {path.name for path in run.path.rglob("*") if path.is_file()}
    assert {"report.html", "mask.fits", "residuals.fits", "beta_dust.fits"} <= files
    assert not list(tmp_path.glob("*.tasks"))
    page = tmp_path / "again.html"
    assert main(["report", str(run.path), "-o", str(page)]) == 0
    assert "4 of 4 realisations converged" in page.read_text()


def test_an_interrupted_set_goes_on_where_it_was(experiment, tmp_path, monkeypatch, no_pages):
    class Interrupted(BaseException):
        pass

    def stop(outcome: Outcome) -> None:
        if outcome.index == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        do(experiment, tmp_path / "a", on_outcome=stop)
    assert not (tmp_path / "a").exists()
    kept = sorted(p.name for p in (tmp_path / "a.tasks").rglob("*.nc"))
    assert kept == ["seed-000000.nc", "seed-000001.nc"]

    done = []
    original = MonteCarlo.realisation
    monkeypatch.setattr(
        MonteCarlo, "realisation", lambda self, seed: done.append(seed) or original(self, seed)
    )
    longer = dataclasses.replace(experiment, seeds="0:5")
    (finished,) = do(longer, tmp_path / "a")
    assert done == [2, 3, 4]
    assert finished.converged

    (again,) = do(longer, tmp_path / "a")
    assert done == [2, 3, 4]
    assert again.run is not None


def test_the_same_bits_in_other_processes(experiment, tmp_path, no_pages):
    swept = dataclasses.replace(experiment, seeds="0:2", sweep=("patches.beta_dust=kmeans:2,3",))
    here = do(swept, tmp_path / "here")
    there = do(swept, tmp_path / "there", Processes(workers=2))
    assert len(here) == 2
    for one, two in zip(here, there, strict=True):
        assert one.run is not None
        assert two.run is not None
        assert one.run.path.name == two.run.path.name
        first, second = one.run.dataset(), two.run.dataset()
        for name in ("beta_dust", "temp_dust", "cmb", "systematic", "objective", "seed"):
            assert np.array_equal(first[name].values, second[name].values), name
        assert (
            one.run.manifest.summary["patches.beta_dust"] == one.variant.values["patches.beta_dust"]
        )
        assert one.run.manifest.summary["r"] == two.run.manifest.summary["r"]


def test_a_sweep_without_seeds_makes_runs_of_single_separations(experiment, tmp_path, no_pages):
    swept = dataclasses.replace(experiment, seeds="", sweep=("patches.beta_dust=kmeans:2,3",))
    finished = do(swept, tmp_path / "s")
    assert [one.run.manifest.kind for one in finished if one.run] == ["separate", "separate"]
    counts = [one.run.manifest.summary["beta_dust patches"] for one in finished if one.run]
    assert counts == [2, 3]
    more = dataclasses.replace(swept, sweep=("patches.beta_dust=kmeans:2,3,4",))
    parts = plan(variants(more), Order(tmp_path / "s"))
    assert [len(part.left) for part in parts] == [0, 0, 1]


def test_a_failing_realisation_is_told_and_loses_no_other(experiment, tmp_path, monkeypatch):
    original = MonteCarlo.realisation

    def faulty(self, seed):
        if seed == 2:
            raise ValueError("maps: expected values, got none.")
        return original(self, seed)

    monkeypatch.setattr(MonteCarlo, "realisation", faulty)
    (finished,) = do(experiment, tmp_path / "a")
    assert finished.run is not None
    assert not finished.converged
    assert finished.run.manifest.summary["failed"] == 1
    ensemble = Ensemble.from_dataset(finished.run.dataset())
    assert ensemble.seeds.tolist() == [0, 1, 3]
    assert ensemble.failures == {2: "maps: expected values, got none."}
    assert "Seed 2 failed" in (finished.run.path / "report.html").read_text()


def test_a_lost_task_leaves_the_set_to_be_completed(experiment, tmp_path, monkeypatch, no_pages):
    original = MonteCarlo.realisation

    def broken(self, seed):
        if seed == 2:
            raise MemoryError("no memory")
        return original(self, seed)

    monkeypatch.setattr(MonteCarlo, "realisation", broken)
    (finished,) = do(experiment, tmp_path / "a")
    assert finished.run is None
    assert "seed 2" in finished.problem
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(MonteCarlo, "realisation", original)
    (finished,) = do(experiment, tmp_path / "a")
    assert finished.converged


def test_processes_share_a_set(experiment, tmp_path, no_pages):
    for index in (0, 1):
        run_share(plan(variants(experiment), Order(tmp_path / "a")), Share(index, 2))
    parts = plan(variants(experiment), Order(tmp_path / "a"))
    assert not parts[0].left
    (finished,) = carry_out(parts, Serial())
    assert finished.converged


def test_data_without_a_truth_have_no_realisations(sky, tmp_path):
    files = (str(sky / "maps"),)
    experiment = SeparateExperiment(files, instrument="LiteBIRD", seeds="0:2")
    (finished,) = do(experiment, tmp_path / "a")
    assert finished.run is None
    assert "seeds: expected a simulated sky" in finished.problem
    assert not list((tmp_path / "a.tasks").rglob("*.failed"))


def test_places_that_hold_something_else_are_refused(experiment, tmp_path, no_pages):
    (finished,) = do(dataclasses.replace(experiment, seeds="0:1"), tmp_path / "a")
    assert finished.run is not None
    swept = dataclasses.replace(experiment, sweep=("seed=1,2",))
    with pytest.raises(ValueError, match="output: expected a folder for the runs of a sweep"):
        plan(variants(swept), Order(tmp_path / "a"))
    with pytest.raises(ValueError, match="holds a run of another configuration"):
        plan(variants(experiment), Order(tmp_path / "a"))
    (replaced,) = do(experiment, tmp_path / "a", overwrite=True)
    assert Run.open(tmp_path / "a").manifest.summary["realisations"] == 4
    assert replaced.converged


def test_the_command_line(sky, tmp_path, monkeypatch, capsys, no_pages):
    monkeypatch.chdir(tmp_path)
    words = ["separate", str(sky), "--mask", "GAL070", "--seeds", "0:2", "-o", "set"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "converged" in shown.out
    assert "2/2 separations" in shown.err
    assert main([*words, "--executor", "serail"]) == 2
    assert "Did you mean 'serial'" in capsys.readouterr().err
    assert main([*words[:5], "3:1", "-o", "other"]) == 2
    assert main([*words[:4], "--sweep", "patchs.beta_dust=cell", "-o", "sweep"]) == 2
    assert "unknown key" in capsys.readouterr().err
    assert main([*words[:4], "--sweep", "seed=1,2", "--seeds", "0:2", "--dry-run"]) == 0
    assert "2 combinations, 2 realisations each" in capsys.readouterr().out
    files = ["separate", str(sky / "maps"), "--instrument", "LiteBIRD", "--seeds", "0:2"]
    assert main([*files, "-o", "none"]) == 1
    assert "seeds: expected a simulated sky" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
