import healpy as hp
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from skysift.grid import Grid, Ordering
from skysift.report.sky_plot import (
    Caps,
    Mollweide,
    choose_projection,
    draw_sky,
    pixel_table,
    project,
)


@pytest.fixture(scope="module")
def directions() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    lon = random.uniform(-179.9, 179.9, 500)
    return lon, np.degrees(np.arcsin(random.uniform(-0.9999, 0.9999, 500)))


def test_mollweide_agrees_with_healpy(directions):
    lon, lat = directions
    oracle = hp.projector.MollweideProj()
    expected = oracle.ang2xy(lon, lat, lonlat=True)
    x, y = Mollweide().forward(lon, lat)
    np.testing.assert_allclose((x, y), expected, atol=3e-4)  # healpy interpolates a table
    assert np.corrcoef(x, lon)[0, 1] < -0.5  # longitude grows to the left


def test_mollweide_forward_inverts_inverse(directions):
    back = Mollweide().inverse(*Mollweide().forward(*directions))
    np.testing.assert_allclose(back, directions, atol=1e-6)


def test_mollweide_picture_agrees_with_healpy():
    width, nside = 400, 16
    projector = hp.projector.MollweideProj(xsize=width)
    values = np.random.default_rng(2).standard_normal(12 * nside**2)
    expected = projector.projmap(values, lambda x, y, z: hp.vec2pix(nside, x, y, z))
    ours = project(values, Grid(nside), Mollweide(), width)
    # healpy's picture elements start on the outline, ours half an element inside.
    both = np.isfinite(np.asarray(expected)) & ~ours.mask
    assert ours.shape == np.shape(expected)
    assert both.mean() > 0.77
    assert np.mean(ours[both] == np.asarray(expected)[both]) > 0.85
    table = pixel_table(Mollweide(), nside, width)
    x, y = -2 + 4 * (250 + 0.5) / width, -1 + 2 * (60 + 0.5) / (width // 2)
    angle = projector.xy2ang(x, y, lonlat=True)
    assert table[60, 250] == hp.ang2pix(nside, *np.ravel(angle), lonlat=True)


@pytest.mark.parametrize(
    "projection", [Caps(((0.0, 90.0), (0.0, -90.0)), 89.9), Caps(((30.0, -57.0),), 25.0)]
)
def test_caps_forward_inverts_inverse(projection, directions):
    lon, lat = directions
    x, y = projection.forward(lon, lat)
    shown = np.isfinite(x)
    assert shown.sum() > 10
    back = projection.inverse(x[shown], y[shown])
    expected, got = (hp.ang2vec(*a, lonlat=True) for a in ((lon[shown], lat[shown]), back))
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_caps_agree_with_healpy():
    centre, radius = (30.0, -57.0), 25.0
    oracle = hp.projector.AzimuthalProj(rot=centre, lamb=True, xsize=100, reso=10.0)
    lon, lat = np.array([30.0, 35.0, 20.0, 44.0]), np.array([-57.0, -50.0, -60.0, -66.0])
    expected = np.stack(oracle.ang2xy(lon, lat, lonlat=True)) / (2 * np.sin(np.radians(radius) / 2))
    np.testing.assert_allclose(Caps((centre,), radius).forward(lon, lat), expected, atol=1e-6)


def test_caps_are_equal_area():
    counts = np.bincount(pixel_table(Caps(((0.0, 90.0), (0.0, -90.0)), 89.9), 2, 1200).ravel() + 1)[
        1:
    ]
    away_from_equator = np.r_[0:12, 36:48]
    np.testing.assert_allclose(counts[away_from_equator], counts[0], rtol=0.02)


@pytest.mark.parametrize("cell", [0, 700, 1500, 2500])
@pytest.mark.parametrize("projection", [Mollweide(), Caps(((0.0, 90.0), (0.0, -90.0)), 89.9)])
def test_a_value_appears_at_its_place(cell, projection):
    grid = Grid(16)
    values = np.zeros(grid.size)
    values[cell] = 5.0
    picture = project(values, grid, projection, 600)
    rows, columns = np.nonzero(picture.filled(0.0) == 5.0)
    left, right, bottom, top = projection.extent
    lon, lat = hp.pix2ang(16, cell, lonlat=True)
    x, y = projection.forward(np.array([lon]), np.array([lat]))
    assert left + (right - left) * columns.mean() / 600 == pytest.approx(x[0], abs=0.03)
    assert bottom + (top - bottom) * rows.mean() / picture.shape[0] == pytest.approx(y[0], abs=0.03)


def test_cut_and_missing_cells_are_masked():
    mask = np.zeros(768, dtype=bool)
    mask[:300] = True
    grid = Grid.from_mask(mask)
    values = np.arange(300.0)
    values[7] = np.nan
    picture = project(values, grid, Mollweide(), 300)
    shown = np.unique(picture.compressed())
    np.testing.assert_array_equal(shown, np.delete(np.arange(300.0), 7))
    table = pixel_table(Mollweide(), 8, 300)
    np.testing.assert_array_equal(picture.mask, (table < 0) | (table >= 300) | (table == 7))


def test_ordering_does_not_change_the_picture():
    ring = np.arange(768.0)
    nested = hp.reorder(ring, r2n=True)
    expected = project(ring, Grid(8), Mollweide(), 200)
    got = project(nested, Grid(8, Ordering.NESTED), Mollweide(), 200)
    np.testing.assert_array_equal(got.filled(-1), expected.filled(-1))


def test_projection_follows_the_shape_of_the_sky():
    lon, lat = Grid(16).lonlat()
    assert isinstance(choose_projection(Grid(16)), Mollweide)
    assert isinstance(choose_projection(Grid.from_mask(np.abs(lat) > 10)), Mollweide)
    poles = choose_projection(Grid.from_mask(np.abs(lat) > 50))
    assert isinstance(poles, Caps)
    assert poles.labels == ("N", "S")
    assert poles.radius == pytest.approx(40, abs=3)
    field = choose_projection(
        Grid.from_mask(hp.rotator.angdist([lon, lat], [120.0, 5.0], lonlat=True) < np.radians(15))
    )
    assert isinstance(field, Caps)
    np.testing.assert_allclose(field.centres, [(120.0, 5.0)], atol=1.0)
    assert 14 < field.radius < 20


def test_every_cell_of_the_grid_is_inside_the_chosen_projection():
    lon, lat = Grid(16).lonlat()
    for keep in (np.abs(lat) > 50, lat > 60, (lat < -30) & (lon > 100) & (lon < 140), lat < 91):
        grid = Grid.from_mask(keep)
        picture = project(np.arange(grid.size), grid, choose_projection(grid), 900)
        assert np.unique(picture.compressed()).size == grid.size


def test_drawing_keeps_to_the_axes():
    axes = Figure().subplots()
    image = draw_sky(
        axes, np.arange(12.0), Grid(1), Mollweide(), colormaps["viridis"], Normalize(0, 11)
    )
    assert image.get_array().shape == (400, 800)
    assert not axes.axison


def test_bad_input():
    with pytest.raises(ValueError, match="values: expected one number for each of 12 cells"):
        project(np.zeros(11), Grid(1), Mollweide())
    with pytest.raises(ValueError, match="place on the sphere"):
        project(np.zeros(5), Grid.unstructured(5), Mollweide())
    with pytest.raises(ValueError, match="radius"):
        Caps(((0.0, 0.0),), 0.0)
