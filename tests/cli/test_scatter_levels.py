"""Samples that are made on coarser grids first."""

import dataclasses
from pathlib import Path

import healpy as hp
import numpy as np
import pytest

import skysift.experiment.scattering as runs
import skysift.experiment.unmixing as unmixing
from skysift.cli.app import main
from skysift.experiment.canvas import Canvas
from skysift.experiment.config import (
    Edges,
    StatisticsExperiment,
    SynthesisExperiment,
    UnmixingExperiment,
)
from skysift.experiment.fields import read_field
from skysift.experiment.unmixing_data import Observed
from skysift.scattering import Coarse, Covariance, Descent, Level, coarsened, separate, synthesise
from skysift.store.run import Run

QUICK = ["--orientations", "2", "--precision", "double", "--tolerance", "0.5"]


def test_coarser_grids_first(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "write_scattering_page", lambda path, *_, **__: path)
    command = ["scatter", "synthesise", str(cloud), "--scales", "3", "--levels", "2", *QUICK]
    assert main([*command, "-o", str(tmp_path / "run")]) == 0
    example = np.load(cloud)
    unit = example.std()
    fine = Covariance.plane((32, 32), 3, 2)
    coarse = Covariance.plane((16, 16), 2, 2)
    level = Level(coarse(coarsened(example / unit, fine.domain, coarse.domain)), coarse)
    twin = synthesise(fine(example / unit), fine, coarser=(level,), tolerance=0.5)
    found = read_field(tmp_path / "run" / "samples" / "sample-0.npy").values
    np.testing.assert_allclose(found, unit * twin.maps[0], rtol=1e-10)


def test_levels_of_open_edges_and_missing_cells(tmp_path):
    values = np.random.default_rng(0).standard_normal((50, 61))
    values[3, 4] = np.nan
    np.save(tmp_path / "open.npy", values)
    experiment = SynthesisExperiment(
        (str(tmp_path / "open.npy"),), scales=3, orientations=2, edges=Edges.OPEN, levels=2
    )
    example = runs.Example.of(experiment)
    target = example.statistic(example.maps)
    coarse, fine = example.levels(target, experiment.family)
    assert fine.target is target
    shapes = [np.array(level.statistic.domain.shape) for level in (coarse, fine)]
    np.testing.assert_array_equal(2 * shapes[0], shapes[1])
    # The margin and the missing cell are missing on both grids, and what overlaps them.
    assert fine.target.masked == np.prod(shapes[1]) - values.size + 1
    inside = np.prod(shapes[0]) - coarse.target.masked
    assert 0.8 * values.size / 4 < inside < values.size / 4
    np.save(tmp_path / "open.npy", values[:30, :21])
    example = runs.Example.of(dataclasses.replace(experiment, levels=3))
    target = example.statistic(example.maps)
    with pytest.raises(ValueError, match=r"levels: expected 1 or fewer .* Say --levels 1"):
        example.levels(target, experiment.family)


@pytest.mark.parametrize(
    ("shape", "settings", "most"),
    [
        ((32, 48), {"scales": 3}, 3),
        ((32, 48), {"scales": 2}, 2),
        ((64, 64), {}, 4),
        ((36, 30), {"scales": 3}, 2),
        ((27, 27), {}, 1),
        ((768,), {}, 3),
        ((3072,), {"scales": 2}, 2),
        ((3072,), {"lmax": 12}, 2),
    ],
)
def test_most_levels(shape, settings, most, tmp_path):
    values = np.random.default_rng(0).standard_normal(shape)
    if len(shape) == 1:
        name = str(tmp_path / "map.fits")
        hp.write_map(name, values, dtype=np.float64)
    else:
        name = str(tmp_path / "map.npy")
        np.save(name, values)
    canvas = Canvas.of(StatisticsExperiment((name,), **settings), read_field(name))
    family = StatisticsExperiment.family
    finest = canvas.statistic(family).domain
    for halvings in range(1, most):
        coarser = canvas.coarser(halvings)
        domain = coarser.statistic(family).domain
        assert coarser.shape == domain.cell_shape
        assert finest.size > domain.size
    with pytest.raises(ValueError, match=f"levels: expected 1 to {most} for .* --levels {most}"):
        canvas.coarser(most)


def test_wrong_levels(cloud, tmp_path, capsys):
    command = ["scatter", "synthesise", str(cloud), "-o", str(tmp_path / "run")]
    assert main([*command, "--levels", "0"]) == 2
    assert "levels: expected 1 or more, got 0" in capsys.readouterr().err
    assert main([*command, "--levels", "9"]) == 2
    assert "levels: expected 1 to 3 for 4 scales on (32, 32) cells" in capsys.readouterr().err


@pytest.fixture
def mixture(tmp_path, cloud, monkeypatch):
    """A field with noise in two halves, with a mask, a template and two regions."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    signal = np.load(cloud)
    for name in ("one", "two"):
        np.save(f"{name}.npy", signal + 0.5 * rng.standard_normal((32, 32)))
        np.save(f"noise-{name}.npy", 0.5 * rng.standard_normal((10, 32, 32)))
    np.save("template.npy", signal**2)
    mask, left = np.ones((2, 32, 32))
    mask[:4, :6] = 0.0
    left[:, 16:] = 0.0
    np.save("mask.npy", mask)
    np.save("left.npy", left)
    np.save("right.npy", 1.0 - left)
    Path("list.yaml").write_text(
        "- total\n- halves: {statistics: spectrum}\n- ancillary: {map: template.npy}\n"
        "- large_scales: {below: 2}\n"
    )


@pytest.mark.usefixtures("mixture")
def test_separation_on_coarser_grids_first(monkeypatch):
    monkeypatch.setattr(unmixing, "write_unmixing_page", lambda path, *_, **__: path)
    words = ["one.npy", "--contamination", "noise-one.npy", "--scales", "2", "--orientations", "2"]
    words += ["--bins", "0", "--precision", "double", "--steps", "1", "--levels", "2"]
    assert main(["scatter", "separate", *words, "-o", "run"]) == 0
    (view,) = unmixing.stored_views(Run.open("run"))
    data, noise = np.load("one.npy"), np.load("noise-one.npy")
    unit = data.std()
    coarse = Coarse(Covariance.plane((16, 16), 1, 2))
    options = {"coarser": (coarse,), "descent": Descent(steps=1)}
    found = separate(data / unit, noise / unit, Covariance.plane((32, 32), 2, 2), **options)
    assert view.courses[0].losses["total"][0] == pytest.approx(found.history["total"][0])
    np.testing.assert_allclose(view.signals, unit * found.maps, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("mixture")
def test_constraints_on_a_coarser_grid():
    experiment = UnmixingExperiment(
        ("one.npy", "two.npy"),
        halves=True,
        mask="mask.npy",
        regions=("left.npy", "right.npy"),
        constraints="list.yaml",
        contamination=("noise-one.npy", "noise-two.npy"),
        scales=2,
        orientations=2,
        bins=4,
        levels=2,
    )
    observed = Observed.of(experiment)
    (coarse,) = observed.coarser()
    fine, small = observed.statistic.domain, coarse.statistics.domain
    assert small.shape == (16, 16)
    kinds = [type(one).__name__ for one in coarse.constraints]
    assert kinds == [type(one).__name__ for one in observed.constraints()]
    assert kinds == ["Total", "Halves", "Ancillary", "LargeScales"]
    assert coarse.constraints[3].below == observed.constraints()[3].below
    template = observed.constraints()[2].map
    np.testing.assert_allclose(coarse.constraints[2].map, coarsened(template, fine, small))
    # Cells on the border of two regions count in neither.
    weights = np.asarray(coarse.statistics.cells)
    assert weights.shape == (2, 16, 16)
    np.testing.assert_array_equal(weights.sum(axis=0)[:, [0, 8]], 0.0)
    np.testing.assert_allclose(weights[0, :, 2:7], weights[0, 8, 4])
    few = dataclasses.replace(experiment, levels=3)
    with pytest.raises(ValueError, match="levels: expected 1 to 2 for 2 scales"):
        Observed.of(few)


@pytest.mark.usefixtures("mixture")
def test_levels_that_a_region_does_not_allow():
    region = np.zeros((32, 32))
    region[8:24, 8:24] = 1.0
    np.save("region.npy", region)
    experiment = UnmixingExperiment(
        ("one.npy",), regions=("region.npy",), contamination=("noise-one.npy",), scales=2, levels=2
    )
    with pytest.raises(ValueError, match=r"levels: expected 1 or fewer .* Say --levels 1"):
        Observed.of(experiment).coarser()
