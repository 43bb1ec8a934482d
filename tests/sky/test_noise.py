import numpy as np
import pytest

from skysift.grid import Grid, Ordering
from skysift.instrument import Channel, DeltaBand, Instrument
from skysift.maps import Stokes
from skysift.sky import noise_sigma, white_noise

SEED = np.random.SeedSequence(4)
LITEBIRD = Instrument.preset("LiteBIRD")


def test_sigma_is_depth_over_the_side_of_a_cell():
    sigma = noise_sigma(LITEBIRD, Grid(64), Stokes.IQU, noise_ratio=2.0)
    side = np.sqrt(4 * np.pi / 49152) * 180 / np.pi * 60
    depths = np.array([[c.depth_i, c.depth_p, c.depth_p] for c in LITEBIRD.channels])
    np.testing.assert_allclose(sigma[..., 7], 2 * depths / side, rtol=1e-12)


def test_variance_per_channel():
    grid = Grid(32)
    noise = np.asarray(white_noise(LITEBIRD, grid, Stokes.QU, SEED).values)
    scaled = noise / noise_sigma(LITEBIRD, grid, Stokes.QU)
    error = np.sqrt(2 / grid.size)
    assert np.max(np.abs(scaled.var(axis=-1) - 1)) < 4.5 * error
    flat = scaled.reshape(30, -1)
    correlation = np.corrcoef(flat) - np.eye(30)
    assert np.max(np.abs(correlation)) < 5 / np.sqrt(grid.size)


def test_variance_goes_as_one_over_hits_and_unseen_cells_are_missing():
    grid = Grid(16)
    hits = np.ones(grid.size)
    hits[: grid.size // 2], hits[:5] = 0.25, 0.0
    plain = noise_sigma(LITEBIRD, grid, Stokes.QU)
    sigma = noise_sigma(LITEBIRD, grid, Stokes.QU, hits=hits)
    np.testing.assert_allclose(sigma[..., -1], plain[..., -1])
    np.testing.assert_allclose(sigma[..., 5], 2 * plain[..., 5])
    noise = np.asarray(white_noise(LITEBIRD, grid, Stokes.QU, SEED, hits=hits).values)
    assert np.isnan(noise[..., :5]).all()
    assert np.isfinite(noise[..., 5:]).all()
    ratio = noise[..., 5:1536].std() / noise[..., 1536:].std()
    assert ratio == pytest.approx(2.0, rel=0.03)


def test_same_seed_same_bits_whatever_the_mask_and_stokes():
    grid = Grid(8)
    whole = white_noise(LITEBIRD, grid, Stokes.IQU, SEED)
    again = white_noise(LITEBIRD, grid, Stokes.QU, np.random.SeedSequence(4))
    np.testing.assert_array_equal(np.asarray(whole.values)[:, 1:], again.values)
    cut = Grid(8, Ordering.RING, np.arange(100, 200))
    np.testing.assert_array_equal(
        white_noise(LITEBIRD, cut, Stokes.QU, SEED).values, np.asarray(again.values)[..., 100:200]
    )
    other = white_noise(LITEBIRD, grid, Stokes.QU, np.random.SeedSequence(5))
    assert not np.array_equal(other.values, again.values)


def test_missing_depth_is_named_unless_not_needed():
    planck = Instrument.preset("Planck")
    with pytest.raises(ValueError, match="expected depth_p of channel '545' of Planck"):
        noise_sigma(planck, Grid(2), Stokes.QU)
    assert np.isfinite(noise_sigma(planck, Grid(2), Stokes.I)).all()
    assert not noise_sigma(planck, Grid(2), Stokes.QU, noise_ratio=0.0).any()
    bare = Instrument("bare", (Channel("30", DeltaBand(30.0)),))
    with pytest.raises(ValueError, match="expected depth_i of channel '30'"):
        noise_sigma(bare, Grid(2), Stokes.I)


def test_bad_input_is_named():
    grid = Grid(2)
    with pytest.raises(ValueError, match="noise_ratio: expected a number not below zero"):
        noise_sigma(LITEBIRD, grid, Stokes.QU, noise_ratio=-1.0)
    with pytest.raises(ValueError, match="hits: expected a full sky of 48 cells"):
        noise_sigma(LITEBIRD, grid, Stokes.QU, hits=np.ones(12))
    for bad in (np.zeros(48), -np.ones(48), np.full(48, np.nan)):
        with pytest.raises(ValueError, match="hits: expected finite numbers"):
            noise_sigma(LITEBIRD, grid, Stokes.QU, hits=bad)


def test_noise_is_of_the_cell_whatever_its_number():
    seed = np.random.SeedSequence(3)
    ring = white_noise(LITEBIRD, Grid(4), Stokes.QU, seed)
    nested = white_noise(LITEBIRD, Grid(4, Ordering.NESTED), Stokes.QU, seed)
    np.testing.assert_array_equal(nested.reordered(Ordering.RING).values, ring.values)
