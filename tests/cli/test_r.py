import os

import healpy as hp
import numpy as np
import pytest

import skysift as ss
from skysift.cli import main
from skysift.cosmology import TensorRatio, fit_r
from skysift.harmonic import CMBSpectra, PseudoSpectra
from skysift.store.dataset import read_dataset, write_dataset
from skysift.store.fits import write_map

NSIDE, DEPTH, R = 16, 3.0, 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two maps of one sky, spectra of it, and a separation, made once."""
    folder = tmp_path_factory.mktemp("r")
    here = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        cmb = ss.simulate("cr50", "LiteBIRD", NSIDE, noise_ratio=0.0, seed=3).truth.components[
            "cmb"
        ]
        generator = np.random.default_rng(0)
        sigma = DEPTH / cmb.grid.resolution
        for name in ("one", "two"):
            noise = sigma * generator.standard_normal(cmb.values.shape)
            write_map(f"{name}.fits", cmb.replace(np.asarray(cmb.values) + noise))
        level = np.full(cmb.grid.npix, sigma)
        hp.write_map("sigma.fits", level, dtype=float, column_units="uK_CMB")
        cl = CMBSpectra.packaged().cl(r=R, lmax=60)
        cl[1:3] += (DEPTH * np.pi / 10800) ** 2
        np.save("bb.npy", cl[2])
        np.savetxt("placed.txt", np.c_[np.arange(2, 61), cl[2, 2:]])
        np.savetxt("all.txt", cl.T)
        hp.write_cl("all.fits", cl, dtype=float)
        powers = PseudoSpectra.of(np.ones(cmb.grid.npix, bool))(cmb)
        write_dataset("powers.nc", powers.to_dataset())
        (folder / "junk.txt").write_text("not numbers")
        sky = ["--nside", str(NSIDE), "--instrument", "SO_SAT", "-q"]
        assert main(["simulate", "cr50d0s0", *sky, "-o", "sky"]) == 0
        assert main(["separate", "sky", "--mask", "GAL080", "-q", "-o", "run"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def measured(capsys):
    """The numbers of the printed row of r."""
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.split()[1:2] == ["r"])
    return [float(word) for word in row.replace("│", " ").split()[1:]]


@pytest.mark.parametrize("file", ["bb.npy", "placed.txt", "all.txt", "all.fits"])
def test_spectra_of_theory_give_their_r(file, capsys):
    assert main(["r", file, "--noise-depth", str(DEPTH), "--fsky", "0.7"]) == 0
    best, above, below = measured(capsys)
    assert best == pytest.approx(R, abs=1e-5)
    expected = fit_r(np.load("bb.npy"), noise=(DEPTH * np.pi / 10800) ** 2, fsky=0.7)
    assert above == pytest.approx(expected.sigma_plus, abs=1e-5)
    assert below == pytest.approx(-expected.sigma_minus, abs=1e-5)


def test_map_page_numbers_and_pictures(capsys, tmp_path):
    command = ["r", "one.fits", "--noise-depth", str(DEPTH), "--range", "0", "0.001"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "it was widened to" in shown
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"r.html", "r.nc", "likelihood.png", "spectrum.png"}
    result = TensorRatio.from_dataset(read_dataset(tmp_path / "out" / "r.nc"))
    assert abs(result.r - R) < 3 * result.sigma_plus
    page = (tmp_path / "out" / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/png;base64,") == 2
    assert f"{result.r:.5f}" in page
    assert "it was widened to" in page
    assert "http" not in page


def test_splits_and_noise_maps_on_a_cut_sky(capsys):
    command = ["r", "one.fits", "--mask", "GAL080", "--lmin", "2", "--simulations", "40"]
    assert main([*command, "--noise-map", "sigma.fits", "--split", "two.fits"]) == 0
    best, above, below = measured(capsys)
    assert abs(best - R) < 4 * max(above, -below)
    assert main([*command, "--noise-map", "sigma.fits", "--likelihood", "fsky"]) == 0
    assert "f_sky-scaled Wishart" in capsys.readouterr().out


def test_free_lensing_and_upper_limits(capsys):
    command = ["r", "bb.npy", "--noise-depth", str(DEPTH), "--fsky", "1", "--a-lens", "free"]
    assert main([*command, "--physical"]) == 0
    shown = capsys.readouterr().out
    assert "r >= 0" in shown
    assert "(held)" not in shown


def test_run_of_separate(capsys):
    assert main(["r", "run", "--likelihood", "fsky", "--lmin", "2"]) == 0
    best, above, below = measured(capsys)
    assert abs(best - R) < 4 * max(above, -below)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["bb.npy", "--fsky", "1"], "noise: expected the power of the noise in the spectra"),
        (["bb.npy", "--noise-depth", "3"], "fsky: expected the fraction of the sky"),
        (["bb.npy", "--noise-depth", "3", "--fsky", "2"], "got 2.0"),
        (["bb.npy", "--noise-depth", "3", "--fsky", "1", "--lmax", "90"], "got 2 and 90"),
        (["bb.npy", "--noise-depth", "-3", "--fsky", "1"], "noise_depth: expected uK arcmin"),
        (["bb.npy", "--noise-depth", "3", "--noise-map", "sigma.fits"], "noise: expected one of"),
        (["bb.npy", "--noise-map", "sigma.fits", "--fsky", "1"], "got a map"),
        (["bb.npy", "--split", "two.fits"], "split: expected none with spectra"),
        (["bb.npy", "--mask", "GAL060"], "mask: expected none with spectra"),
        (["bb.npy", "--likelihood", "hl"], "give the map"),
        (["bb.npy", "--a-lens", "some"], "a_lens: expected a number not below zero or 'free'"),
        (["powers.nc", "--fsky", "0.5", "--noise-depth", "0"], "fsky: expected none with bandpow"),
        (["one.fits"], "noise: expected the level of the noise in the map, got none"),
        (["one.fits", "--noise-depth", "3", "--fsky", "1"], "fsky: expected none with a map"),
        (["sigma.fits", "--noise-depth", "3"], "cmb: expected Q and U, got I"),
        (["run", "--noise-depth", "3"], "noise: expected none with a run"),
        (["sky"], "source: expected a separation"),
        (["."], "expected a directory with manifest.json"),
        (["absent.fits"], "got no such file"),
        (["junk.txt", "--noise-depth", "3"], "got a file that says"),
    ],
)
def test_wrong_input_is_one_readable_line(command, message, capsys, tmp_path):
    assert main(["r", *command, "-o", str(tmp_path / "out")]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert not (tmp_path / "out").exists()
