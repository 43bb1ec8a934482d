"""Pictures of cells as seen from outside."""

import healpy as hp
import numpy as np
import pytest

from skysift.grid import Grid, Ordering
from skysift.report.resample_figures import (
    CellMap,
    FromOutside,
    Scale,
    counts_figure,
    residuals_figure,
)
from skysift.report.resample_view import Residuals
from skysift.report.sky_plot import Caps, Mollweide, project
from skysift.resample import cells_of


def disc(lon, lat, radius, nside, nest=True):
    vector = hp.ang2vec(lon, lat, lonlat=True)
    cells = np.sort(hp.query_disc(nside, vector, np.radians(radius), nest=nest))
    return Grid(nside, Ordering.NESTED if nest else Ordering.RING, cells)


def test_longitudes_grow_to_the_right_and_latitudes_upwards():
    for projection in (FromOutside(Mollweide()), FromOutside(Caps(((5.0, 45.0),), 20.0))):
        x, y = projection.forward(np.array([0.0, 10.0, 5.0]), np.array([45.0, 45.0, 50.0]))
        assert x[0] < x[1]
        assert y[2] > y[0]
        lon, lat = projection.inverse(x, y)
        np.testing.assert_allclose((lon + 90.0) % 360.0, [90.0, 100.0, 95.0], atol=1e-6)
        np.testing.assert_allclose(lat, [45.0, 45.0, 50.0], atol=1e-6)
    assert FromOutside(Caps(((355.0, -45.0),), 20.0)).labels == ("5° W, 45° S",)


@pytest.mark.parametrize("nest", [True, False])
def test_a_small_field_is_shown_large(nest):
    inside = CellMap(disc(170.0, -30.0, 3.0, 256, nest)).projection.inside
    assert isinstance(inside, Caps)
    [(lon, lat)] = inside.centres
    assert abs(lon - 170.0) < 0.3
    assert abs(lat + 30.0) < 0.3
    assert 3.0 < inside.radius < 4.0


def test_cells_around_the_sphere_are_shown_on_all_of_it():
    assert isinstance(CellMap(Grid(8)).projection.inside, Mollweide)
    orbit = Grid(64, Ordering.NESTED, np.unique(cells_of(np.arange(360.0), np.zeros(360), 6)))
    assert isinstance(CellMap(orbit).projection.inside, Mollweide)


def test_finer_cells_than_elements_are_drawn_as_means_of_what_is_known():
    grid = Grid(512, Ordering.NESTED)
    drawn = CellMap(grid)
    assert drawn.shown < drawn.level == 9
    assert f"level {drawn.shown}" in drawn.note
    values = np.arange(grid.size, dtype=float)
    values[1] = np.nan
    children = 4 ** (drawn.level - drawn.shown)
    expected = np.nanmean(values.reshape(-1, children), axis=1)
    np.testing.assert_allclose(drawn._mean(values), expected)
    assert CellMap(disc(0.0, 0.0, 1.0, 512)).note == ""


def test_cells_of_the_finest_level_can_be_drawn():
    cells = np.sort(cells_of(np.linspace(5.0, 5.0001, 50), np.full(50, 45.0), 29))
    grid = Grid(1 << 29, Ordering.NESTED, np.unique(cells))
    drawn = CellMap(grid)
    figure = drawn.draw([np.ones(grid.size)], ["[K]"], ["t"], Scale.FROM_ZERO)
    assert len(figure.axes) == 2


def test_the_picture_of_a_cut_sky_is_that_of_the_full_one():
    rng = np.random.default_rng(3)
    for ordering in Ordering:
        cells = np.sort(rng.choice(12 * 16**2, 900, replace=False))
        values = rng.standard_normal(900)
        full = np.full(12 * 16**2, np.nan)
        full[cells] = values
        cut = project(values, Grid(16, ordering, cells), Mollweide(), 200)
        whole = project(full, Grid(16, ordering), Mollweide(), 200)
        np.testing.assert_array_equal(cut.mask, whole.mask)
        np.testing.assert_array_equal(cut.filled(0.0), whole.filled(0.0))


def test_histogram_counts_every_cell_with_samples():
    counts = np.array([0, 0, 1, 1, 2, 5, 400])
    [axes] = counts_figure(counts).axes
    assert sum(patch.get_height() for patch in axes.patches) == 5


def test_scales_of_maps():
    values = np.linspace(-1.0, 3.0, 1001)
    spans = {scale: scale.colours(values)[1] for scale in Scale}
    assert spans[Scale.RANGE].vmin == pytest.approx(-0.96)
    assert spans[Scale.FROM_ZERO].vmin == 0.0
    assert spans[Scale.SIGNED].vmin == -spans[Scale.SIGNED].vmax
    drawn = CellMap(Grid(1))
    maps = [np.arange(12.0) - 3.0] * 2
    figure = drawn.draw(maps, ["", ""], ["", ""], Scale.RANGE, Scale.SIGNED)
    colours = [axes.images[0].get_cmap().name for axes in figure.axes if axes.images]
    assert colours[:2] == ["viridis", "RdBu_r"]


def test_histogram_of_residuals_counts_every_sample_and_only_those():
    residuals = np.array([[-1.0, 0.5, 0.25, np.nan, 100.0], [np.nan] * 5])
    made = Residuals.of(residuals, np.zeros((2, 3)))
    assert made.counts.sum(axis=1).tolist() == [4, 0]
    np.testing.assert_allclose(made.rms, [np.sqrt((1.0 + 0.25 + 0.0625 + 1e4) / 4), np.nan])
    figure = residuals_figure(made, ("a", "b"), ("K", ""))
    assert figure.axes[0].get_xlabel() == "sample − cells [K]"
