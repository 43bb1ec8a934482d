import dataclasses

import healpy as hp
import numpy as np
import pytest

from skysift.compsep import InstrumentDepth, InverseVariance, UnitWeights
from skysift.experiment import SeparateExperiment, SimulateExperiment
from skysift.experiment.fingerprint import Fingerprint
from skysift.experiment.memory import Memory
from skysift.experiment.problem import Problem, simulation_of
from skysift.experiment.text import to_text
from skysift.grid import UNSEEN, Grid
from skysift.masks import galactic_mask
from skysift.store.channels import write_channels
from skysift.store.fits import Column, Precision, write_columns
from skysift.store.manifest import Manifest
from skysift.store.products import write_simulation
from skysift.store.run import EXPERIMENT, drafted

NSIDE = 4
SKY = SimulateExperiment("c1d0s0", instrument="SO_SAT", nside=NSIDE, seed=1)


@pytest.fixture(scope="module")
def simulation():
    return simulation_of(SKY)


@pytest.fixture
def sky(tmp_path, simulation):
    with drafted(tmp_path / "sky", Manifest("simulate", "a" * 64)) as draft:
        draft.write_text(EXPERIMENT, to_text(SKY))
        write_simulation(draft.directory, simulation, Precision.DOUBLE)
    return tmp_path / "sky"


def experiment(sky, **settings):
    return SeparateExperiment((str(sky),), **settings)


def test_simulated_sky_needs_no_instrument(sky, simulation):
    problem = Problem.of(experiment(sky, mask="GAL060", patches={"beta-dust": "kmeans:5"}))
    mask = galactic_mask("GAL060", NSIDE)
    assert problem.instrument == simulation.instrument
    assert problem.simulation is not None
    assert problem.patches.counts == {"beta_dust": 5, "temp_dust": 1, "beta_pl": 1}
    np.testing.assert_array_equal(
        np.asarray(problem.maps.values), np.asarray(simulation.maps.masked(mask).values)
    )


def test_weights_of_other_noise_than_the_sky_s_are_said(sky, caplog):
    Problem.of(experiment(sky))
    assert not caplog.messages
    Problem.of(experiment(sky, noise_ratio=2.0))
    assert "the sky has 1 times the instrument's noise, the weights take 2 times" in caplog.text
    (sky / EXPERIMENT).write_text(to_text(dataclasses.replace(SKY, noise_ratio=0.0, hits="h.fits")))
    caplog.clear()
    Problem.of(experiment(sky))
    assert [message.split(",")[0] for message in caplog.messages] == [
        "the sky's noise follows the hits of h.fits"
    ]


def test_plain_files_need_one(sky):
    files = experiment(sky / "maps", mask="GAL060")
    with pytest.raises(ValueError, match="instrument: expected one for maps that are no simulated"):
        Problem.of(files)
    problem = Problem.of(dataclasses.replace(files, instrument="SO_SAT"))
    assert problem.simulation is None
    assert len(problem.maps.channels) == 6


def test_settings_reach_the_solver(sky):
    problem = Problem.of(
        experiment(
            sky,
            mask="GAL060",
            fixed={"temp_dust": 20.0},
            start={"beta_dust": 1.7},
            bounds={"beta-pl": (-3.5, -2.5)},
            priors={"beta_dust": (1.54, 0.1)},
        )
    )
    fit = problem.solve()
    assert list(fit.parameters) == ["beta_dust", "beta_pl"]
    assert fit.status.converged
    assert -3.5 <= fit.parameters["beta_pl"][0] <= -2.5


def test_weights(sky, simulation, tmp_path):
    def noise(**settings):
        return Problem.of(experiment(sky, **settings)).noise

    depth = noise(noise_ratio=2.0)
    assert isinstance(depth, InstrumentDepth)
    assert depth.noise_ratio == 2.0
    assert isinstance(noise(noise="unit"), UnitWeights)
    sigma = simulation.maps.replace(np.full(simulation.maps.values.shape, 0.5))
    values = np.asarray(sigma.values)
    values[0, :, 7] = np.nan
    write_channels(tmp_path / "sigma", sigma)
    given = noise(noise=f"sigma:{tmp_path / 'sigma'}")
    assert isinstance(given, InverseVariance)
    expected = np.where(np.isnan(values), 0.0, 4.0)
    np.testing.assert_array_equal(given.values, expected)
    values[1, 0, 3] = 0.0
    write_channels(tmp_path / "sigma", sigma.replace(values))
    with pytest.raises(ValueError, match="expected positive standard deviations"):
        noise(noise=f"sigma:{tmp_path / 'sigma'}")
    with pytest.raises(ValueError, match="expected 'depth', 'unit' or 'sigma:PATH'"):
        noise(noise="none")
    with pytest.raises(ValueError, match="noise_ratio and hits belong to noise depth"):
        noise(noise="unit", noise_ratio=2.0)


def test_hits(sky, tmp_path):
    hits = np.arange(1.0, 193.0)
    hits[:10] = UNSEEN
    hp.write_map(tmp_path / "hits.fits", hits, dtype=np.float64)
    problem = Problem.of(experiment(sky, hits=str(tmp_path / "hits.fits")))
    weights = problem.noise.weights(problem.maps, problem.instrument)
    expected = np.where(hits == UNSEEN, 0.0, hits / 192.0)
    np.testing.assert_allclose(weights[0, 0] / weights[0, 0].max(), expected, rtol=1e-12)
    hp.write_map(tmp_path / "wide.fits", np.ones(768), dtype=np.float64)
    with pytest.raises(ValueError, match="hits: .*expected nside 4, got 8"):
        Problem.of(experiment(sky, hits=str(tmp_path / "wide.fits")))
    hp.write_map(tmp_path / "turned.fits", hits, coord="C", dtype=np.float64)
    with pytest.raises(ValueError, match="hits: .*expected coordinates G"):
        Problem.of(experiment(sky, hits=str(tmp_path / "turned.fits")))


def test_cells_without_any_data_are_left_out(sky, simulation):
    values = np.asarray(simulation.maps.values).copy()
    values[:, :, 100:] = np.nan
    values[0, :, 50] = np.nan
    write_channels(sky / "maps", simulation.maps.replace(values))
    assert Problem.of(experiment(sky)).maps.grid == Grid(NSIDE, cells=np.arange(100))
    write_channels(sky / "maps", simulation.maps.replace(np.full_like(values, np.nan)))
    with pytest.raises(ValueError, match="got NaN or UNSEEN everywhere"):
        Problem.of(experiment(sky))


def test_bad_masks(sky, tmp_path):
    write_columns(tmp_path / "empty.fits", {"MASK": Column(np.zeros(192))}, Grid(NSIDE))
    with pytest.raises(ValueError, match="mask: expected at least one kept cell, got none"):
        Problem.of(experiment(sky, mask=str(tmp_path / "empty.fits")))
    with pytest.raises(ValueError, match="got none in 'GAL020-ALL'"):
        Problem.of(experiment(sky, mask="GAL020-ALL"))
    write_columns(tmp_path / "wide.fits", {"MASK": Column(np.ones(768))}, Grid(8))
    with pytest.raises(ValueError, match="mask: .*expected nside 4, got 8"):
        Problem.of(experiment(sky, mask=str(tmp_path / "wide.fits")))


def test_galactic_mask_in_other_coordinates(tmp_path, simulation):
    for name, rows in zip(
        simulation.maps.channels, np.asarray(simulation.maps.values), strict=True
    ):
        hp.write_map(
            tmp_path / f"{name}.fits", rows, coord="C", column_units="uK_CMB", dtype=np.float64
        )
    from skysift.store.fits import Frame

    equatorial = experiment(tmp_path, instrument="SO_SAT", frame=Frame.EQUATORIAL)
    assert Problem.of(equatorial).maps.grid.size == 192
    with pytest.raises(ValueError, match="expected a FITS mask in equatorial coordinates"):
        Problem.of(dataclasses.replace(equatorial, mask="GAL060"))


@pytest.mark.parametrize("field", ["patches", "bounds", "start", "priors", "around", "fixed"])
def test_misspelt_parameter(sky, field):
    values = {"patches": "uniform", "around": "uniform", "bounds": (1.0, 2.0), "priors": (1.0, 0.1)}
    settings = {field: {"beta_dost": values.get(field, 1.0)}}
    with pytest.raises(ValueError, match=f"{field}: unknown parameter 'beta_dost'. Did you mean"):
        Problem.of(experiment(sky, **settings))


def test_parameter_of_patches_that_is_fixed(sky):
    with pytest.raises(ValueError, match="patches: unknown parameter 'temp_dust'"):
        Problem.of(experiment(sky, fixed={"temp_dust": 20.0}, patches={"temp_dust": "uniform"}))
    with pytest.raises(ValueError, match="patches of beta_pl: partition: expected"):
        Problem.of(experiment(sky, patches={"beta_pl": "squares:3"}))


def test_nothing_to_separate(sky, tmp_path):
    with pytest.raises(ValueError, match="maps: expected a simulated sky"):
        Problem.of(SeparateExperiment())
    with drafted(tmp_path / "fit", Manifest("separate", "a" * 64)):
        pass
    with pytest.raises(
        ValueError, match=r"expected a simulated sky, got .*fit, a run of skysift sep"
    ):
        Problem.of(experiment(tmp_path / "fit"))


def test_fingerprint_follows_settings_and_content(sky, simulation, tmp_path):
    base = experiment(sky, mask="GAL060")
    mark = Fingerprint.of(base)
    assert len(mark.inputs) == 6
    copied = tmp_path / "moved"
    sky.rename(copied)
    assert Fingerprint.of(experiment(copied, mask="GAL060")).config_hash == mark.config_hash
    other = experiment(copied, mask="GAL060", seed=43)
    assert Fingerprint.of(other).config_hash != mark.config_hash
    values = np.asarray(simulation.maps.values).copy()
    values[3, 1, 5] += 1e-9
    write_channels(copied / "maps", simulation.maps.replace(values))
    assert Fingerprint.of(experiment(copied, mask="GAL060")).config_hash != mark.config_hash


@pytest.mark.parametrize(
    "setting",
    [
        {"mask": "GAL060-{}"},
        {"mask": "{}+GAL020"},
        {"patches": {"beta_dust": "file:{}"}},
        {"patches": {"beta_dust": "binned:5:{}"}},
        {"hits": "{}"},
        {"noise": "sigma:{}"},
    ],
)
def test_fingerprint_follows_the_files_that_settings_name(sky, tmp_path, setting):
    path = tmp_path / "a-b+c.fits"

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        return value.format(path)

    settings = filled(setting)
    path.write_text("one")
    one = Fingerprint.of(experiment(sky, **settings))
    assert str(path) in one.inputs
    path.write_text("two")
    assert Fingerprint.of(experiment(sky, **settings)).config_hash != one.config_hash


def test_fingerprint_of_a_simulation_follows_the_instrument(tmp_path):
    (tmp_path / "i.yaml").write_text("frequency: [30, 90, 220]\ndepth_p: [1, 2, 3]\n")
    named = SimulateExperiment(instrument=str(tmp_path / "i.yaml"))
    one = Fingerprint.of(named)
    assert Fingerprint.of(dataclasses.replace(named, seed=1)) != one
    (tmp_path / "i.yaml").write_text("frequency: [30, 90, 220]\ndepth_p: [1, 2, 4]\n")
    assert Fingerprint.of(named).config_hash != one.config_hash


def test_memory_is_of_the_size_measured():
    coarse = Memory.of_simulation(SimulateExperiment(nside=64)).total
    fine = Memory.of_simulation(SimulateExperiment(nside=256)).total
    assert coarse == pytest.approx(0.48e9, rel=0.2)
    assert fine == pytest.approx(1.06e9, rel=0.2)


def test_memory_grows_with_the_problem(sky):
    small = Memory.of_separation(Problem.of(experiment(sky, mask="GAL020"))).total
    large = Memory.of_separation(Problem.of(experiment(sky, mask="GAL090"))).total
    assert small < large
    coarse = Memory.of_simulation(SKY)
    fine = Memory.of_simulation(dataclasses.replace(SKY, nside=2 * NSIDE))
    growth = {name: fine.parts[name] / size for name, size in coarse.parts.items()}
    assert growth.pop("program") == 1.0
    assert set(growth.values()) == {4.0}
