import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from skysift.grid import UNSEEN, Grid, Ordering
from skysift.maps import Maps, Stokes
from skysift.store.fits import (
    Column,
    Frame,
    MapFormat,
    Precision,
    read_map,
    write_columns,
    write_map,
    write_mask,
)
from skysift.units import T_CMB, Unit

NSIDE = 16
NPIX = 12 * NSIDE**2


def iqu(seed=0, nside=NSIDE):
    return np.random.default_rng(seed).normal(size=(3, 12 * nside**2))


def write_healpy(path, values, unit="uK_CMB", **options):
    hp.write_map(path, values, column_units=unit, dtype=np.float64, overwrite=True, **options)
    return path


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("nside", [4, 16])
def test_reads_what_healpy_writes(tmp_path, nest, nside):
    values = iqu(nside=nside)
    maps = read_map(write_healpy(tmp_path / "m.fits", values, nest=nest))
    wanted = np.stack([hp.reorder(v, n2r=True) for v in values]) if nest else values
    assert maps.stokes is Stokes.IQU
    assert maps.grid == Grid(nside)
    assert maps.unit is Unit.UK_CMB
    np.testing.assert_array_equal(np.asarray(maps.values), wanted)


@pytest.mark.parametrize("nest", [False, True])
def test_reads_partial_sky_of_healpy(tmp_path, nest):
    values = iqu()
    values[:, NPIX // 3 :] = UNSEEN
    path = write_healpy(tmp_path / "m.fits", values, nest=nest, partial=True)
    maps = read_map(path)
    assert maps.grid.size == NPIX // 3
    oracle = hp.read_map(path, field=None, dtype=np.float64)
    np.testing.assert_array_equal(maps.full(), oracle)


@pytest.mark.parametrize("ordering", list(Ordering))
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("precision", list(Precision))
def test_healpy_reads_what_is_written(tmp_path, ordering, cut, precision):
    cells = np.arange(100, 2000, 3) if cut else None
    grid = Grid(NSIDE, ordering, cells)
    values = np.random.default_rng(1).normal(size=(2, grid.size))
    values[0, 5] = np.nan
    maps = Maps(values, grid, Stokes.QU)
    write_map(tmp_path / "m.fits", maps, precision=precision)
    nest = ordering is Ordering.NESTED
    read, header = hp.read_map(tmp_path / "m.fits", field=None, nest=nest, h=True, dtype=np.float64)
    header = dict(header)
    expected = maps.full().astype(precision.value).astype(float)
    seen = expected != np.float64(np.dtype(precision.value).type(UNSEEN))
    np.testing.assert_array_equal(read[seen], expected[seen])
    assert np.all(hp.mask_bad(read[~seen]))
    assert (header["ORDERING"], header["COORDSYS"], header["POLCCONV"]) == (
        ordering.value,
        "G",
        "COSMO",
    )
    assert header["TUNIT2" if cut else "TUNIT1"] == "uK_CMB"
    back = read_map(tmp_path / "m.fits")
    np.testing.assert_allclose(
        np.asarray(back.values),
        np.asarray(maps.reordered(Ordering.RING).values),
        rtol=1e-6 if precision is Precision.SINGLE else 0,
    )


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 191), min_size=1), st.sampled_from(list(Ordering)))
def test_round_trip_of_any_cells(tmp_path_factory, cells, ordering):
    grid = Grid(4, ordering, np.array(sorted(cells)))
    maps = Maps(np.random.default_rng(0).normal(size=(3, grid.size)), grid, Stokes.IQU)
    path = tmp_path_factory.mktemp("any") / "m.fits"
    write_map(path, maps)
    back = read_map(path).reordered(ordering)
    assert back.grid == grid
    np.testing.assert_array_equal(np.asarray(back.values), np.asarray(maps.values))


def slow_conversion_factor(unit, frequency):
    """uK_CMB per unit, from the derivative of the Planck law by central difference."""
    h, k, c = 6.62607015e-34, 1.380649e-23, 299792458.0
    nu = frequency * 1e9
    planck = lambda t: 2 * h * nu**3 / c**2 / np.expm1(h * nu / (k * t))  # noqa: E731
    slope = (planck(T_CMB + 1e-3) - planck(T_CMB - 1e-3)) / 2e-3
    per_unit = {"uK_RJ": 2 * k * nu**2 / c**2 * 1e-6, "MJy/sr": 1e-20}[unit]
    return per_unit / slope * 1e6


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("uK_CMB", 1.0),
        ("K_CMB", 1e6),
        ("mK", 1e3),
        ("mK,thermodynamic", 1e3),
        ("Kcmb", 1e6),
        ("uK_RJ", slow_conversion_factor("uK_RJ", 143.0)),
        ("MJy/sr", slow_conversion_factor("MJy/sr", 143.0)),
    ],
)
def test_units_of_the_header(tmp_path, unit, factor):
    values = iqu()
    maps = read_map(write_healpy(tmp_path / "m.fits", values, unit), frequency=143.0)
    np.testing.assert_allclose(np.asarray(maps.values), factor * values, rtol=1e-6)


def test_missing_values_become_nan(tmp_path):
    values = iqu()
    values[0, 3], values[1, 4], values[2, 5] = UNSEEN, np.nan, np.float32(UNSEEN)
    maps = read_map(write_healpy(tmp_path / "m.fits", values))
    missing = np.isnan(np.asarray(maps.values))
    assert np.argwhere(missing).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_bad_data_value_of_the_header_becomes_nan(tmp_path):
    values = iqu().astype(np.float32)
    values[1, 7] = -32768.0
    path = write_healpy(tmp_path / "m.fits", values, extra_header=[("BAD_DATA", -32768.0)])
    assert np.argwhere(np.isnan(np.asarray(read_map(path).values))).tolist() == [[1, 7]]


def test_iau_convention_flips_the_sign_of_u_only(tmp_path):
    values = iqu()
    path = write_healpy(tmp_path / "m.fits", values, extra_header=[("POLCCONV", "IAU")])
    np.testing.assert_array_equal(np.asarray(read_map(path).values), values * [[1], [1], [-1]])
    write_healpy(path, values, extra_header=[("POLCCONV", "other")])
    with pytest.raises(ValueError, match="POLCCONV COSMO or IAU, got 'OTHER'"):
        read_map(path)


@pytest.mark.parametrize("stokes", list(Stokes))
def test_columns_are_chosen_by_name_not_by_place(tmp_path, stokes):
    values = iqu()
    names = ["HITS", "U_STOKES", "TEMPERATURE", "Q_POLARISATION"]
    stack = np.stack([np.full(NPIX, 9.0), values[2], values[0], values[1]])
    path = write_healpy(tmp_path / "m.fits", stack, column_names=names)
    maps = read_map(path, MapFormat(stokes=stokes))
    wanted = np.stack([values["IQU".index(letter)] for letter in stokes.value])
    np.testing.assert_array_equal(np.asarray(maps.values), wanted)


def test_nameless_columns_need_the_stokes_parameters(tmp_path):
    values = iqu()[:2]
    path = write_healpy(tmp_path / "m.fits", values, column_names=["COLUMN_0", "COLUMN_1"])
    with pytest.raises(ValueError, match=r"got COLUMN_0, COLUMN_1\. Say what they are"):
        read_map(path)
    maps = read_map(path, MapFormat(stokes=Stokes.QU))
    np.testing.assert_array_equal(np.asarray(maps.values), values)
    with pytest.raises(ValueError, match="expected columns for Stokes IQU, got COLUMN_0, COLUMN_1"):
        read_map(path, MapFormat(stokes=Stokes.IQU))


def test_temperature_file_read_as_polarisation_is_an_error(tmp_path):
    path = write_healpy(tmp_path / "m.fits", iqu()[0])
    with pytest.raises(ValueError, match=r"expected columns for Stokes QU, got T\."):
        read_map(path, MapFormat(stokes=Stokes.QU))


def test_weights_table_beside_the_maps_is_left_out(tmp_path):
    write_healpy(tmp_path / "m.fits", iqu())
    weights = write_healpy(tmp_path / "w.fits", iqu(1)[:2], column_names=["N_OBS", "M11"])
    with fits.open(weights) as extra:
        fits.append(tmp_path / "m.fits", extra[1].data, extra[1].header)
    np.testing.assert_array_equal(np.asarray(read_map(tmp_path / "m.fits").values), iqu())


def test_ordering_that_disagrees_is_never_silent(tmp_path):
    path = write_healpy(tmp_path / "m.fits", iqu(), nest=True)
    with pytest.raises(ValueError, match="expected ordering RING as asked, got NESTED"):
        read_map(path, MapFormat(ordering=Ordering.RING))
    with fits.open(path, mode="update") as hdus:
        del hdus[1].header["ORDERING"]
    with pytest.raises(ValueError, match="expected ORDERING in the header, got none"):
        read_map(path)
    said = read_map(path, MapFormat(ordering=Ordering.NESTED))
    np.testing.assert_array_equal(np.asarray(said.values)[0], hp.reorder(iqu()[0], n2r=True))


@pytest.mark.parametrize(
    ("unit", "said", "message"),
    [
        (None, None, "expected a unit"),
        ("furlong", None, "got 'furlong'"),
        ("mK", "uK", "expected unit 'uK' as asked, got 'mK'"),
        ("uK_RJ", None, "expected a frequency to convert uK_RJ"),
    ],
)
def test_wrong_units(tmp_path, unit, said, message):
    path = write_healpy(tmp_path / "m.fits", iqu(), unit)
    with pytest.raises(ValueError, match=message):
        read_map(path, MapFormat(unit=said))


def test_unit_said_where_the_header_has_none_or_nonsense(tmp_path):
    for unit in (None, "counts"):
        path = write_healpy(tmp_path / "m.fits", iqu(), unit)
        maps = read_map(path, MapFormat(unit="mK_CMB"))
        np.testing.assert_allclose(np.asarray(maps.values), 1e3 * iqu(), rtol=1e-15)


def test_other_coordinates_must_be_said(tmp_path):
    path = write_healpy(tmp_path / "m.fits", iqu(), coord="C")
    with pytest.raises(ValueError, match=r"expected coordinates G .* got C"):
        read_map(path)
    assert read_map(path, MapFormat(frame=Frame.EQUATORIAL)).grid.size == NPIX


def test_wrong_nside(tmp_path):
    path = write_healpy(tmp_path / "m.fits", iqu())
    with pytest.raises(ValueError, match="expected nside 32, got 16"):
        read_map(path, MapFormat(nside=32))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["NSIDE"] = 32
    with pytest.raises(ValueError, match="expected 12288 cells for NSIDE 32, got 3072"):
        read_map(path)


@pytest.mark.parametrize("keep", [0, 100, 2880, 2880 * 3, -2880, -1])
def test_truncated_file(tmp_path, keep):
    path = write_healpy(tmp_path / "m.fits", iqu())
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"m.fits: expected a complete FITS file|a HEALPix table"):
        read_map(path)


def test_missing_file_and_file_without_maps(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_map(tmp_path / "m.fits")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(ValueError, match="expected a HEALPix table"):
        read_map(tmp_path / "image.fits")


@pytest.mark.parametrize("cells", [[3, 3, 5], [1, 2, 3072], [-1, 2, 3]])
def test_partial_file_with_impossible_cells(tmp_path, cells):
    columns = [
        fits.Column("PIXEL", "K", array=np.array(cells)),
        fits.Column("TEMPERATURE", "D", unit="uK_CMB", array=np.ones(3)),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header.update(PIXTYPE="HEALPIX", ORDERING="RING", NSIDE=NSIDE, INDXSCHM="EXPLICIT")
    hdu.writeto(tmp_path / "m.fits")
    with pytest.raises(ValueError, match="expected different cells from 0 to 3071"):
        read_map(tmp_path / "m.fits")


def test_contradicting_header(tmp_path):
    path = write_healpy(tmp_path / "m.fits", iqu())
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["OBJECT"] = "PARTIAL"
    with pytest.raises(ValueError, match="INDXSCHM IMPLICIT contradicts OBJECT PARTIAL"):
        read_map(path)


def test_named_columns(tmp_path):
    grid = Grid(NSIDE, cells=np.array([4, 8, 15]))
    columns = {"BETA_DUST": Column(np.array([1.5, np.nan, 1.7])), "ERROR": Column(np.ones(3), "K")}
    write_columns(tmp_path / "p.fits", columns, grid)
    read = hp.read_map(tmp_path / "p.fits", field=None)
    assert (read[0][4], read[0][8], read[0][15], read[0][0]) == (1.5, UNSEEN, 1.7, UNSEEN)
    with pytest.raises(ValueError, match=r"X: expected shape \(3,\), got \(2,\)"):
        write_columns(tmp_path / "p.fits", {"X": Column(np.ones(2))}, grid)


@pytest.mark.parametrize("ordering", list(Ordering))
def test_healpy_reads_the_mask(tmp_path, ordering):
    grid = Grid(NSIDE, ordering, np.arange(40, 300))
    write_mask(tmp_path / "mask.fits", grid)
    mask = hp.read_map(tmp_path / "mask.fits") == 1.0
    assert np.flatnonzero(mask).tolist() == sorted(grid.ring)
