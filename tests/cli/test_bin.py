import healpy as hp
import numpy as np
import pytest

from skysift.cli import main
from skysift.experiment.binning import BinningOptions, binned
from skysift.experiment.config import SeparateExperiment
from skysift.experiment.problem import Problem
from skysift.experiment.runs import Order
from skysift.experiment.text import load
from skysift.report import binning
from skysift.report.sheet import Picture
from skysift.store.run import Run


@pytest.fixture
def run(session):
    return Run.open(session.one)


def labels_of(path):
    values = hp.read_map(path)
    return values[values != hp.UNSEEN].astype(int)


def test_equal_widths_against_digitize(run):
    result = binned([run], BinningOptions({"beta-dust": 4}))
    data = run.dataset()
    values = data["beta_dust"].values[data["beta_dust_patch"].values]
    edges = np.linspace(values.min(), values.max() + 1e-10, 5)
    expected = np.unique(np.digitize(values, edges) - 1, return_inverse=True)[1]
    np.testing.assert_array_equal(result.patches.labels["beta_dust"], expected)
    np.testing.assert_array_equal(
        result.patches.labels["beta_pl"], data["beta_pl_patch"].values.astype(int)
    )


def test_patches_can_be_separated_with_the_printed_command(session, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Picture, "of", staticmethod(lambda key, *_: Picture(key, "", "", "")))
    out = tmp_path / "my-bins"
    command = ["bin", str(session.one), "--bins.beta-dust", "4", "--fwhm", "30", "-o", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()[-1].split()
    assert printed[:2] == ["skysift", "separate"]
    assert main([*printed[1:], "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    made = {name: labels_of(out / "patches" / f"{name}.fits") for name in ("beta_dust", "beta_pl")}
    count = made["beta_dust"].max() + 1
    assert f"patches: {count} of beta_dust, 3 of beta_pl" in shown
    data = Run.open(session.one).dataset()
    assert data.sizes["cell"] == hp.read_map(out / "mask.fits").sum() == made["beta_pl"].size
    assert Run.open(out).manifest.kind == "bin"
    assert Run.open(out).manifest.summary["beta_dust patches"] == count


def test_the_patches_reach_the_problem(session, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Picture, "of", staticmethod(lambda key, *_: Picture(key, "", "", "")))
    out = tmp_path / "bins"
    assert main(["bin", str(session.one), "--bins.beta-dust", "3", "-q", "-o", str(out)]) == 0
    experiment = load(run.path / "experiment.yaml", SeparateExperiment)
    files = {n: f"file:{out / 'patches' / n}.fits" for n in ("beta_dust", "beta_pl")}
    posed = Problem.of(
        SeparateExperiment(
            experiment.maps, mask=str(out / "mask.fits"), patches=files, fixed=experiment.fixed
        )
    )
    expected = binned([run], BinningOptions({"beta_dust": 3})).patches
    for name, labels in expected.labels.items():
        np.testing.assert_array_equal(posed.patches.labels[name], labels)


@pytest.fixture(scope="module")
def halves(session, tmp_path_factory):
    """Runs of the north and the south."""
    from skysift.experiment.fingerprint import Fingerprint
    from skysift.experiment.runs import separation_run

    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skysift.report.write_page", lambda path, *_, **__: path.write_text("x"))
        for half in "UL":
            experiment = SeparateExperiment(
                (str(session.sky),),
                mask=f"GAL080_{half}",
                patches={"beta_dust": "nside:1"},
                fixed={"temp_dust": 20.0},
            )
            path = tmp_path_factory.mktemp("halves") / half
            separation_run(experiment, Order(path), Fingerprint.of(experiment))
            runs.append(Run.open(path))
    return runs


def test_runs_of_parts_of_the_sky_are_stitched(halves):
    result = binned(halves, BinningOptions({"beta_dust": 5}))
    grid = result.view.grid
    full = np.full(grid.npix, np.nan)
    for run in halves:
        data = run.dataset()
        full[data["cell"].values] = data["beta_dust"].values[data["beta_dust_patch"].values]
    np.testing.assert_array_equal(grid.index, np.flatnonzero(np.isfinite(full)))
    parameter = result.view.parameters[0]
    np.testing.assert_array_equal(parameter.values, full[grid.index])
    assert result.patches.counts["beta_pl"] == 2
    north = np.isin(grid.index, halves[0].dataset()["cell"].values)
    assert np.unique(result.patches.labels["beta_pl"][north]).size == 1


def test_realisations_count_with_their_mean(session):
    run = Run.open(next(session.sets.iterdir()))
    data = run.dataset()
    values = data["beta_dust"].values.mean(axis=0)[data["beta_dust_patch"].values]
    result = binned([run], BinningOptions({"beta_dust": 2}))
    np.testing.assert_allclose(result.view.parameters[0].values, values)


def test_complete_bins_are_not_made_again(session, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Picture, "of", staticmethod(lambda key, *_: Picture(key, "", "", "")))
    out = tmp_path / "bins"
    command = ["bin", str(session.one), "--bins.beta-dust", "3", "-o", str(out)]
    assert main(command) == 0
    before = (out / "manifest.json").read_bytes()
    assert main(command) == 0
    assert (out / "manifest.json").read_bytes() == before
    command[3] = "4"
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_figures_of_kept_and_binned_parameters(run):
    view = binned([run], BinningOptions({"beta_dust": 4}, fwhm=20.0)).view
    assert len(binning.maps_figure(view).axes) >= 6
    figure = binning.histogram_figure(view.parameters[0])
    drawn = figure.axes[0].patches[0].get_data().values.sum()
    assert drawn == view.grid.size
    with pytest.raises(ValueError, match="expected one that was binned"):
        binning.histogram_figure(view.parameters[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bins.beta-dsut", "5"], "Did you mean 'beta_dust'?"),
        (["--bins.beta-dust", "0"], "bins: expected a positive whole number"),
        ([], "bins: expected a number for at least one of beta_dust, beta_pl"),
        (["--bins.beta-dust", "5", "--fwhm", "-1"], "fwhm: expected degrees not below zero"),
    ],
)
def test_wrong_options(session, tmp_path, capsys, options, message):
    assert main(["bin", str(session.one), *options, "-o", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_runs_that_do_not_fit_together(session, halves, tmp_path, capsys):
    out = ["--bins.beta-dust", "5", "-o", str(tmp_path / "x")]
    assert main(["bin", str(session.one), str(session.one), *out]) == 2
    assert "expected masks that do not overlap" in capsys.readouterr().err
    assert main(["bin", str(session.sky), *out]) == 2
    assert "run: expected a separation" in capsys.readouterr().err
    assert main(["bin", *out]) == 2
    assert "runs: expected at least one" in capsys.readouterr().err
