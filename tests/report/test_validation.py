import dataclasses

import numpy as np
import pytest

from skysift.compsep.perturb import Profile, Surface
from skysift.report import validate_figures
from skysift.report.sheet import Picture
from skysift.report.validation import Check, Validation, Verdict, write_validation_page

STEPS = np.arange(-3, 4)
LINES = [
    Profile(moved, scale, STEPS, 5.0 * (scale * STEPS) ** 2, {"beta": 10 * scale * np.abs(STEPS)})
    for moved in ("all", "beta")
    for scale in (1e-2, 1e-3)
]


def test_perturbed_draws_every_line_where_it_belongs():
    figure = validate_figures.perturbed(LINES)
    panels = np.reshape(figure.axes, (2, 2))
    for row, moved in zip(panels, ("all", "beta"), strict=True):
        mine = [line for line in LINES if line.moved == moved]
        for drawn, line in zip(row[0].lines, mine, strict=False):
            np.testing.assert_array_equal(drawn.get_ydata(), line.rise)
        for drawn, line in zip(row[1].lines, mine, strict=False):
            norms = line.gradient["beta"]
            np.testing.assert_array_equal(drawn.get_ydata(), np.where(norms > 0, norms, np.nan))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["step 0.01", "step 0.001"]


def test_a_fall_below_the_solution_is_seen():
    fall = dataclasses.replace(LINES[0], rise=np.linspace(-1.0, 1.0, 7))
    axes = validate_figures.perturbed([fall]).axes[0]
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < -1.0


def test_contour_marks_the_solution():
    x, y = np.linspace(-1, 1, 9), np.linspace(9, 11, 9)
    hessian = np.array([[20.0, 5.0], [5.0, 30.0]])
    surface = Surface(("a:0", "b:1"), x, y, np.zeros((9, 9)), (0.0, 10.0), hessian)
    surface = dataclasses.replace(surface, rise=surface.quadratic)
    point = np.array([x[2], y[7] - 10])
    assert surface.quadratic[2, 7] == pytest.approx(0.5 * point @ hessian @ point)
    axes = validate_figures.contour(surface).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a:0", "b:1")
    assert axes.lines[0].get_xydata().tolist() == [[0.0, 10.0]]


def test_levels_enclose_what_they_say():
    drawn = np.random.default_rng(0).standard_normal((200_000, 2))
    rise = 0.5 * np.sum(drawn**2, axis=1)
    inside = [np.mean(rise < level) for level in validate_figures.LEVELS]
    np.testing.assert_allclose(inside, [0.6827, 0.9545, 0.9973], atol=3e-3)


def test_pulls_of_components(example):
    figure = validate_figures.component_pulls(example.data)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [component.title for component in example.data.components]
    first = example.data.components[0]
    rms = np.sqrt(np.mean(((first.values - first.truth) / first.errors)[0] ** 2))
    assert f"Q, rms {rms:.2f}" in figure.axes[0].get_legend_handles_labels()[1][0]


def test_maps_of_the_gradient_have_their_own_colours(example):
    cells = example.data.grid.size
    small = {"beta_dust": np.linspace(-1e-9, 1e-9, cells), "beta_pl": np.linspace(-1, 1, cells)}
    large = {name: 100 * values for name, values in small.items()}
    maps = [
        validate_figures.GradientMaps("here", small),
        validate_figures.GradientMaps("beside", large),
    ]
    figure = validate_figures.gradient_maps(example.data.grid, maps)
    images = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in images] == ["here", "beside"] * 2
    tops = [axes.images[0].norm.vmax for axes in images]
    np.testing.assert_allclose(tops, [1e-9, 1e-7, 1, 100], rtol=0.02)


def test_what_cannot_be_drawn(example):
    with pytest.raises(ValueError, match="maps: expected at least one"):
        validate_figures.gradient_maps(example.data.grid, [])
    with pytest.raises(ValueError, match="profiles: expected at least one"):
        validate_figures.perturbed([])
    bare = [dataclasses.replace(c, truth=None) for c in example.data.components]
    with pytest.raises(ValueError, match="truth: expected at least one"):
        validate_figures.component_pulls(dataclasses.replace(example.data, components=tuple(bare)))


def test_page_says_which_checks_failed(example, tmp_path, monkeypatch):
    monkeypatch.setattr(Picture, "of", staticmethod(lambda key, t, c, _: Picture(key, t, c, "")))
    checks = (
        Check.of("one <b>", True, "fine", "fine"),
        Check.of("two", False, "-3.1", "0"),
        Check("three", Verdict.NONE, "–", "why not"),
    )
    result = Validation(checks, example.data, tuple(LINES))
    assert [check.name for check in result.failed] == ["two"]
    assert result.verdict == "1 of 2 checks failed"
    page = write_validation_page(tmp_path / "v.html", result, lead="a run").read_text()
    assert 'class="prose"' in page
    assert '<td class="warn">fail</td>' in page
    assert "one &lt;b&gt;" in page
    for key in ("perturbed", "chi2", "chi2-map", "coverage"):
        assert f'<figure id="{key}">' in page
    assert dataclasses.replace(result, checks=checks[::2]).verdict == "All 1 checks passed"
