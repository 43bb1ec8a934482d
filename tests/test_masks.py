"""Masks by name, from files and as expressions."""

import itertools
import os
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysift.healpix_table import Frame
from skysift.masks import galactic_mask, read_mask


@settings(max_examples=40, deadline=None)
@given(percent=st.integers(1, 100), order=st.integers(0, 6))
def test_named_fraction_is_kept_at_every_nside(percent, order):
    nside = 2**order
    kept = galactic_mask(f"GAL{percent:03d}", nside)
    assert kept.dtype == np.bool_
    assert kept.sum() == round(percent / 100 * 12 * nside**2)


@pytest.mark.parametrize("nside", [4, 16, 64])
def test_names_are_cumulative(nside):
    masks = [galactic_mask(f"GAL{percent:03d}", nside) for percent in range(20, 100, 10)]
    for smaller, larger in itertools.pairwise(masks):
        assert not np.any(smaller & ~larger)


def test_the_plane_is_left_out_and_the_poles_are_kept():
    mask = galactic_mask("GAL060", 32)
    _, latitude = hp.pix2ang(32, np.arange(mask.size), lonlat=True)
    assert mask[np.abs(latitude) > 60].mean() > 0.99
    assert mask[np.abs(latitude) < 5].mean() < 0.02


def test_masks_of_different_nside_are_of_the_same_region():
    coarse, fine = galactic_mask("GAL040", 32), galactic_mask("GAL040", 128)
    share = hp.ud_grade(fine.astype(float), 32)
    assert np.mean(coarse == (share > 0.5)) > 0.995


def test_halves_divide_a_mask():
    whole = galactic_mask("GAL060", 16)
    north, south = galactic_mask("GAL060_U", 16), galactic_mask("GAL060_L", 16)
    theta, _ = hp.pix2ang(16, np.arange(whole.size))
    np.testing.assert_array_equal(north | south, whole)
    assert not np.any(north & south)
    np.testing.assert_array_equal(north, whole & (theta < np.pi / 2 - 1e-9))


@pytest.mark.parametrize("nside", [1, 2, 8, 64])
def test_the_equator_is_southern(nside):
    # Below the equator lie as many cells as above, and 4 nside on it.
    assert galactic_mask("ALL_U", nside).sum() == 6 * nside**2 - 2 * nside
    assert galactic_mask("ALL_L", nside).sum() == 6 * nside**2 + 2 * nside


def test_expressions_are_evaluated_left_to_right():
    a, b, c = (galactic_mask(name, 16) for name in ("GAL060", "GAL040", "GAL020_U"))
    np.testing.assert_array_equal(galactic_mask("GAL060 - GAL040 + GAL020_U", 16), (a & ~b) | c)
    np.testing.assert_array_equal(galactic_mask("GAL060+GAL020_U-GAL040", 16), (a | c) & ~b)
    assert galactic_mask("ALL", 8).all()
    np.testing.assert_array_equal(galactic_mask("ALL_U+ALL_L", 8), galactic_mask("GAL100", 8))


def test_files_are_terms_even_with_operators_in_their_path(tmp_path):
    folder = tmp_path / "a-b+c"
    folder.mkdir()
    path = folder / "my-mask+2.fits"
    sources = np.random.default_rng(0).random(12 * 8**2) > 0.3
    hp.write_map(path, sources.astype(np.int16), dtype=np.int16)
    expected = galactic_mask("GAL050", 8) & ~sources
    np.testing.assert_array_equal(galactic_mask(f"GAL050-{path}", 8), expected)
    np.testing.assert_array_equal(galactic_mask(f"{path}+GAL050", 8), expected | sources)


@pytest.mark.parametrize("name", ["mask.fits", "mask.fits.gz"])
@pytest.mark.parametrize("nested", [False, True])
def test_file_ordering_follows_its_header(tmp_path, nested, name):
    mask = galactic_mask("GAL040_U", 8)
    values = hp.reorder(mask.astype(float), r2n=True) if nested else mask.astype(float)
    hp.write_map(tmp_path / name, values, nest=nested, dtype=float)
    np.testing.assert_array_equal(galactic_mask(str(tmp_path / name), 8), mask)


def test_file_values_are_thresholded_and_missing_ones_left_out(tmp_path):
    values = np.linspace(0, 1, 192)
    values[180:] = [hp.UNSEEN, np.nan] * 6
    hp.write_map(tmp_path / "mask.fits", values, dtype=np.float32)
    expected = np.nan_to_num(values, nan=0.0) > 0.5
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.fits", 4), expected)


def test_partial_sky_file(tmp_path):
    mask = galactic_mask("GAL020", 8)
    values = np.where(mask, 1.0, hp.UNSEEN)
    hp.write_map(tmp_path / "mask.fits", values, partial=True, dtype=float)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.fits", 8), mask)


def test_second_column(tmp_path):
    masks = [galactic_mask(name, 4) for name in ("GAL040", "GAL060")]
    hp.write_map(tmp_path / "m.fits", [mask.astype(float) for mask in masks], dtype=float)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.fits", 4, field=1), masks[1])
    with pytest.raises(ValueError, match=r"expected column 2, got 2 columns \("):
        read_mask(tmp_path / "m.fits", 4, field=2)


@pytest.mark.parametrize(
    "expression",
    ["GAL20", "gal020", "GAL000", "GAL101", "GAL020_N", "", "GAL020+", "+GAL020", "GAL020--GAL010"],
)
def test_unknown_terms_list_what_exists(expression):
    with pytest.raises(ValueError, match=r"expression: expected 'ALL', 'GAL020' to 'GAL090'"):
        galactic_mask(expression, 8)


@pytest.mark.parametrize("nside", [0, 3, 8.0, "8"])
def test_nside_is_a_power_of_two(nside):
    with pytest.raises(ValueError, match="nside: expected a power of two"):
        galactic_mask("GAL020", nside)


def test_file_of_other_nside(tmp_path):
    hp.write_map(tmp_path / "mask.fits", np.ones(192), dtype=float)
    with pytest.raises(ValueError, match="mask: .*expected nside 8, got 4"):
        galactic_mask(str(tmp_path / "mask.fits"), 8)


def test_absent_file():
    with pytest.raises(ValueError, match=r"mask: absent\.fits: expected a FITS file, got no such"):
        galactic_mask("GAL020-absent.fits", 8)


@pytest.mark.parametrize("kept", [100, 3000, 10000, -100])
def test_truncated_file(tmp_path, kept):
    path = tmp_path / "mask.fits"
    hp.write_map(path, np.ones(12 * 16**2), dtype=float)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="expected a complete FITS file|expected a HEALPix table"):
        read_mask(path, 16)


def test_file_without_ordering(tmp_path):
    path = tmp_path / "mask.fits"
    hp.write_map(path, np.ones(192), dtype=float)
    path.write_bytes(path.read_bytes().replace(b"ORDERING=", b"ORDERIMG="))
    with pytest.raises(ValueError, match="expected ORDERING in the header, got none"):
        read_mask(path, 4)


def test_file_in_other_coordinates(tmp_path):
    path = tmp_path / "mask.fits"
    hp.write_map(path, np.ones(192), coord="C", dtype=float)
    with pytest.raises(ValueError, match=r"expected coordinates G \(galactic\), got C"):
        galactic_mask(f"GAL020-{path}", 4)
    assert galactic_mask(str(path), 4, frame=Frame.EQUATORIAL).all()
    with pytest.raises(ValueError, match="got 'GAL020_U', which is Galactic"):
        galactic_mask(f"{path}-GAL020_U", 4, frame=Frame.EQUATORIAL)


@pytest.mark.skipif("SKYSIFT_DATA" not in os.environ, reason="needs the Planck masks")
@pytest.mark.parametrize(("name", "least"), [("GAL020", 0.88), ("GAL040", 0.94), ("GAL060", 0.98)])
def test_agreement_with_planck(name, least):
    with np.load(Path(os.environ["SKYSIFT_DATA"]) / "masks/GAL_PlanckMasks_64.npz") as masks:
        planck = masks[name] > 0
    ours = galactic_mask(name, 64)
    assert np.sum(ours & planck) / np.sum(ours | planck) > least
