"""What the page of scattering statistics makes of measures and of tables of any kind."""

import dataclasses
import re

import numpy as np
import pytest
import xarray as xr

import skysift.report.scattering as page_module
from skysift.report.scattering import comparison, write_scattering_page
from skysift.report.scattering_figures import OrderView, pairs_figure, triples_figure
from skysift.report.scattering_view import (
    Curve,
    Descent,
    ScatteringView,
    curves_of,
    of_dataset,
    to_dataset,
)
from skysift.scattering.domain import Flat
from skysift.scattering.families import WST, Covariance
from skysift.scattering.morphology import Measure, Observer

SHAPE = (32, 32)


def field(seed):
    return np.random.default_rng(seed).gamma(2.0, size=SHAPE)


@pytest.fixture(scope="module")
def view():
    """An example, a Gaussian field, and a map that stands for a sample."""
    maps = np.stack([field(1), field(2), field(3)])
    observer = Observer.of(maps[0], Flat(shape=SHAPE, channels=1))
    statistic = Covariance.plane(shape=SHAPE, scales=2, orientations=2)
    return ScatteringView(
        source="example.npy",
        family="scattering covariance",
        unit="K",
        missing=0,
        maps=maps,
        statistics=statistic(maps).to_dataset().assign_attrs(edges="periodic", unit_of_maps=1.0),
        curves=curves_of(
            [observer.measure(one) for one in maps],
            [observer.correlation(one, maps[0]) for one in maps],
        ),
        descents=(Descent("iteration limit", np.array([3.0, 0.5, 0.2])),),
        tolerance=0.1,
    )


def test_a_view_is_what_its_files_say(view):
    again = ScatteringView.of(view.to_dataset(), view.statistics, list(view.maps[2:]))
    np.testing.assert_array_equal(again.maps, view.maps)
    assert (again.tolerance, again.unit, again.missing) == (0.1, "K", 0)
    assert again.descents[0].status == "iteration limit"
    np.testing.assert_array_equal(again.descents[0].history, view.descents[0].history)
    for name, curve in view.curves.items():
        for part in ("at", "values", "scatter", "parts"):
            np.testing.assert_array_equal(
                getattr(again.curves[name], part), getattr(curve, part), err_msg=name
            )
    assert comparison(again) == comparison(view)
    damaged = view.to_dataset().drop_vars("objective")
    with pytest.raises(ValueError, match="measures: expected objective"):
        ScatteringView.of(damaged, view.statistics, list(view.maps[2:]))


def test_a_floor_is_said(view, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "_all_pictures", lambda views: [])
    pages = {}
    for floor in (None, -0.25):
        given = dataclasses.replace(view, floor=floor)
        again = ScatteringView.of(given.to_dataset(), view.statistics, list(view.maps[2:]))
        assert again.floor == floor
        pages[floor] = write_scattering_page(tmp_path / "page.html", [again]).read_text()
    assert "−0.25 K" in pages[-0.25]
    assert "lowest value is" in pages[-0.25]
    assert "lowest value is" not in pages[None]


def test_what_did_not_converge_is_said(view):
    assert not view.converged
    assert view.descents[0].objective == 0.2
    assert view.names == ("example", "gaussian", "sample 0")
    (row, gaussian) = comparison(view).rows
    assert row[:3] == ("sample 0", "iteration limit, 3", "0.2")
    assert gaussian[0] == "Gaussian"
    assert len(row) == len(gaussian) == len(comparison(view).columns)


def test_offsets_are_in_units_of_the_scatter():
    rng = np.random.default_rng(0)
    parts = 5.0 + rng.standard_normal((9, 4))
    example = Measure(np.arange(4.0), np.full(4, 5.0), parts)
    other = Measure(np.arange(4.0), np.array([5.0, 6.0, 4.0, 7.0]), parts)
    curve = Curve.of([example, other])
    spread = np.sqrt(np.mean(parts.var(axis=0, ddof=1)))
    expected = np.sqrt(np.mean([0.0, 1.0, 1.0, 4.0])) / spread
    np.testing.assert_allclose(curve.offsets(), [0.0, expected], rtol=1e-12)
    assert example.offset(other) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(curve.ratios()[1], [0.0, 0.2, -0.2, 0.4], atol=1e-12)
    chance = np.sqrt(2.0 / 9.0) * parts.std(axis=0, ddof=1) / 5.0
    np.testing.assert_allclose(curve.chance, chance, rtol=1e-12)
    alike = Curve(curve.at, curve.values, np.zeros(4), 9)
    assert np.isnan(alike.offsets()).all()


def test_a_step_across_the_edges_is_told(view):
    assert not view.torn
    slope = np.linspace(0.0, 9.0, 32)[:, None] * np.ones(32)
    tilted = ScatteringView("f", "f", "", 0, np.stack([slope, slope]), view.statistics, view.curves)
    assert tilted.jump == pytest.approx(31.0)
    assert tilted.torn
    opened = view.statistics.assign_attrs(edges="open")
    still = ScatteringView("f", "f", "", 0, np.stack([slope, slope]), opened, view.curves)
    assert not still.torn


def test_matrices_are_averages_over_rotations(view):
    orders = {one.name: one for one in OrderView.all(view.statistics)}
    third = orders["S3"]
    assert (third.scales, third.complex) == (2, True)
    kind, titles = third.kinds
    assert titles == ["0° apart", "90° apart"]
    matrix = third.matrix(0, "scale", "scale2", kind == 1)
    rows = (third.axes["scale"] == 1) & (third.axes["scale2"] == 0) & (kind == 1)
    assert rows.sum() == 2
    assert matrix[1, 0] == pytest.approx(third.values[0][rows].mean())
    assert np.isnan(matrix[0, 1])
    assert orders["mean"].scales == 0
    assert orders["S4"].scales == 3


@pytest.mark.parametrize("family", [Covariance, WST])
def test_orders_of_the_sphere_can_be_drawn(view, family):
    sky = np.random.default_rng(4).gamma(2.0, size=(2, 192))
    found = family.sphere(nside=4, scales=2)(sky).to_dataset()
    shown = ScatteringView("f", "f", "", 0, sky, found, view.curves)
    names = []
    for order in OrderView.all(found):
        if order.scales == 2:
            names += order.kinds[1]
            assert len(pairs_figure(shown, order).axes) > 2
        elif order.scales == 3:
            assert order.even.sum() < order.values.shape[1]
            assert len(triples_figure(shown, order).axes) > 2
    assert names[0] == ("harmonic 0" if family is Covariance else "turn 0")


def test_maps_that_are_seen_together_are_told_apart(view):
    statistic = Covariance.plane(shape=SHAPE, scales=2, orientations=2, channels=2)
    both = np.stack([view.maps, view.maps[::-1]], axis=1)
    found = statistic(both).to_dataset().assign_attrs(edges="none", unit_of_maps=[2.0, 3.0])
    views = tuple(
        dataclasses.replace(view, statistics=found, channel=number, title=title, unit=unit)
        for number, (title, unit) in enumerate([("Q", "K"), ("U", "mK")])
    )
    made = [[view.maps[2]], [view.maps[2]]]
    again = of_dataset(to_dataset(views), found, made)
    assert [(one.title, one.unit, one.deviation) for one in again] == [
        ("Q", "K", 2.0),
        ("U", "mK", 3.0),
    ]
    assert comparison(again[1]) == comparison(views[1])
    orders = {(one.name, one.channels): one for one in OrderView.all(found)}
    alone = {one.name: one for one in OrderView.all(view.statistics)}
    np.testing.assert_allclose(orders["S3", (0,)].values, alone["S3"].values, rtol=1e-6, atol=1e-9)
    assert set(channels for _, channels in orders) == {(0,), (1,), (0, 1), (1, 0)}
    total = sum(one.values.shape[1] * (1 + one.complex) for one in orders.values())
    assert total == views[0].n_coefficients == statistic.layout.n_coefficients


def test_a_page_of_many_samples_stays_narrow(view, tmp_path):
    many = 9
    statistics = xr.concat(
        [view.statistics.isel(field=[0, 1]), *([view.statistics.isel(field=[2])] * many)],
        "field",
        combine_attrs="override",
    )
    curves = {
        name: dataclasses.replace(
            one, values=np.concatenate([one.values[:2], *([one.values[2:]] * many)])
        )
        for name, one in view.curves.items()
    }
    maps = np.concatenate([view.maps[:2], *([view.maps[2:]] * many)])
    wide = dataclasses.replace(
        view, maps=maps, statistics=statistics, curves=curves, descents=view.descents * many
    )
    page = write_scattering_page(tmp_path / "page.html", [wide]).read_text()
    tables = re.findall("<tr>.*?</tr>", page, re.DOTALL)
    assert len(comparison(wide).rows) == many + 1
    assert max(row.count("<th") for row in tables) < 14


def test_what_no_part_tells_is_left_open(view):
    curves = {
        name: dataclasses.replace(one, scatter=np.full_like(one.scatter, np.nan))
        for name, one in view.curves.items()
    }
    (row, _) = comparison(dataclasses.replace(view, curves=curves)).rows
    assert row[4] == "–"


def test_statistics_of_a_file_are_those_of_the_function(view, tmp_path):
    view.statistics.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "s.nc", engine="h5netcdf") as stored:
        again = OrderView.all(stored.load())
    for one, other in zip(OrderView.all(view.statistics), again, strict=True):
        assert (one.name, list(one.axes)) == (other.name, list(other.axes))
        np.testing.assert_array_equal(one.values, other.values)
