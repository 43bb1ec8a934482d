"""Samples that are made on coarser grids first."""

import dataclasses

import healpy as hp
import numpy as np
import pytest

import skysift.experiment.scattering as runs
from skysift.cli.app import main
from skysift.experiment.canvas import Canvas
from skysift.experiment.config import Edges, StatisticsExperiment, SynthesisExperiment
from skysift.experiment.fields import read_field
from skysift.scattering import Covariance, Level, coarsened, synthesise

QUICK = ["--orientations", "2", "--precision", "double", "--tolerance", "0.5"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A field with structure, of 32 x 32 cells."""
    rng = np.random.default_rng(3)
    k = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None, :])
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((32, 32))) * np.exp(-20.0 * k**2))
    path = tmp_path_factory.mktemp("cloud") / "cloud.npy"
    np.save(path, np.exp(2.0 * field / field.std()))
    return path


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
        domain = canvas.coarser(halvings).statistic(family).domain
        assert finest.size > domain.size
    with pytest.raises(ValueError, match=f"levels: expected 1 to {most} for .* --levels {most}"):
        canvas.coarser(most)


def test_wrong_levels(cloud, tmp_path, capsys):
    command = ["scatter", "synthesise", str(cloud), "-o", str(tmp_path / "run")]
    assert main([*command, "--levels", "0"]) == 2
    assert "levels: expected 1 or more, got 0" in capsys.readouterr().err
    assert main([*command, "--levels", "9"]) == 2
    assert "levels: expected 1 to 3 for 4 scales on (32, 32) cells" in capsys.readouterr().err
