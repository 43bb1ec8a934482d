import dataclasses

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from skysift.grid import Grid
from skysift.maps import Stokes
from skysift.report import chart_figures, map_figures
from skysift.report.spectra import Spectrum, binned, cmb_spectra
from skysift.report.style import diverging, png, robust_range, shuffled_colours
from skysift.report.views import ComponentView


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def pictures(figure: Figure) -> list[np.ma.MaskedArray]:
    return [image.get_array() for axes in figure.axes for image in axes.images]


def bars(axes) -> np.ndarray:
    return next(patch for patch in axes.patches if hasattr(patch, "get_data")).get_data().values


def test_parameter_maps_show_input_estimate_and_error(example):
    figure = map_figures.parameter_maps(example.data)
    assert titles(figure)[:3] == ["input", "beta_dust, estimate", "standard deviation"]
    shown = pictures(figure)
    assert len(shown) == 9
    parameter = example.data.parameters[1]
    assert set(np.unique(shown[4].compressed())) <= set(parameter.values)
    # Patches without an error are grey, as the sky outside the mask is.
    assert np.count_nonzero(shown[5].mask) > np.count_nonzero(shown[4].mask)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert "temp_dust [K]" in labels
    assert "σ(temp_dust) [K]" in labels


def test_input_and_estimate_share_a_colour_scale(example):
    figure = map_figures.parameter_maps(example.data)
    limits = [image.get_clim() for axes in figure.axes for image in axes.images]
    assert limits[0] == limits[1] != limits[2]


def test_parameter_maps_without_truth(example):
    blind = [dataclasses.replace(p, truth=None) for p in example.data.parameters]
    data = dataclasses.replace(example.data, parameters=tuple(blind))
    assert len(pictures(map_figures.parameter_maps(data))) == 6


def test_patch_maps_count_patches(example):
    figure = map_figures.patch_maps(example.data)
    counts = [p.values.size for p in example.data.parameters]
    assert titles(figure)[2] == "beta_pl: 1 patch"
    assert titles(figure)[0] == f"beta_dust: {counts[0]} patches"
    assert np.unique(pictures(figure)[0].compressed()).size == counts[0]


def test_component_maps_are_symmetric_about_zero(example):
    figure = map_figures.component_maps(example.data)
    images = [image for axes in figure.axes for image in axes.images]
    assert len(images) == 9
    for image in (images[0], images[4]):
        low, high = image.get_clim()
        assert low == -high < 0
    assert titles(figure)[3] == "dust at 160 GHz"
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert any(label.startswith("Q [µK") for label in labels)


def test_intensity_has_its_own_column(example):
    def widened(component):
        values = np.concatenate([component.values[:1], component.values])
        errors = np.concatenate([component.errors[:1], component.errors])
        return dataclasses.replace(component, values=values, errors=errors, truth=None)

    data = dataclasses.replace(
        example.data,
        stokes=Stokes.IQU,
        components=tuple(widened(c) for c in example.data.components),
        residuals=None,
    )
    assert len(pictures(map_figures.component_maps(data))) == 12
    assert cmb_spectra(data)[0].ee == pytest.approx(cmb_spectra(example.data)[0].ee)


def test_residual_maps_are_in_units_of_the_rms(example):
    figure = map_figures.residual_maps(example.data, "U")
    view = example.data.residuals
    assert len(pictures(figure)) == 15
    assert titles(figure)[0].startswith("40: rms")
    shown = np.unique(pictures(figure)[3].compressed())
    expected = view.values[3, 1] / view.rms[3, 1]
    assert np.isin(shown, expected).all()


def test_difference_maps(example):
    figure = map_figures.truth_maps(example.data)
    cmb = example.data.components[0]
    assert np.isin(pictures(figure)[0].compressed(), (cmb.values - cmb.truth)[0]).all()


def test_chi2_histogram_counts_every_cell(example):
    axes = chart_figures.chi2_histogram(example.data).axes[0]
    assert bars(axes).sum() == example.data.chi2.size
    x, expected = axes.lines[0].get_data()
    area = np.trapezoid(expected, x) / np.diff(axes.patches[0].get_data().edges)[0]
    assert area == pytest.approx(example.data.chi2.size, rel=0.02)


def test_expected_chi2_of_fractional_dof(example):
    dof = np.full(example.data.dof.shape, 24.3)
    data = dataclasses.replace(example.data, dof=dof, parameters=())
    axes = chart_figures.chi2_histogram(data).axes[0]
    x, expected = axes.lines[0].get_data()
    width = np.diff(axes.patches[0].get_data().edges)[0]
    np.testing.assert_allclose(expected, stats.chi2.pdf(x, 24.3) * dof.size * width, rtol=1e-10)


def test_no_expectation_where_weights_are_no_noise(example):
    data = dataclasses.replace(example.data, chi2=1e-7 * example.data.chi2)
    axes = chart_figures.chi2_histogram(data).axes[0]
    assert bars(axes).sum() == data.chi2.size
    assert len(axes.lines) == 1  # the mean


def test_parameter_histograms_count_every_patch(example):
    figure = chart_figures.parameter_histograms(example.data)
    for axes, parameter in zip(figure.axes, example.data.parameters, strict=True):
        assert bars(axes).sum() == parameter.values.size


def test_pulls_count_every_patch_with_an_error(example):
    figure = chart_figures.truth_comparison(example.data)
    assert bars(figure.axes[4]).sum() == np.isfinite(example.data.parameters[1].errors).sum()


def test_no_pulls_where_weights_are_no_noise(example):
    data = dataclasses.replace(example.data, chi2=1e-7 * example.data.chi2)
    assert len(chart_figures.truth_comparison(data).axes) == 3


def test_convergence_shows_the_history(example):
    figure = chart_figures.convergence(example.data)
    history = example.data.history
    _, gradient = figure.axes[1].lines[0].get_data()
    np.testing.assert_array_equal(gradient, history.projected_gradient)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    _, above = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(
        above[:-1], history.objective[:-1] - example.data.status.objective, rtol=1e-3
    )


def test_residual_levels(example):
    figure = chart_figures.residual_levels(example.data)
    view = example.data.residuals
    order = np.argsort(view.frequencies, kind="stable")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), view.rms[order, 0])
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "Q residual",
        "U residual",
        "noise of Q, U",
    ]
    ratio = view.rms / view.noise
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), ratio[order, 1])


def test_residual_levels_without_depth(example):
    view = example.data.residuals
    blind = dataclasses.replace(view, noise=np.full_like(view.noise, np.nan))
    figure = chart_figures.residual_levels(dataclasses.replace(example.data, residuals=blind))
    assert len(figure.axes) == 1
    quiet = dataclasses.replace(view, values=1e-3 * view.values)
    figure = chart_figures.residual_levels(dataclasses.replace(example.data, residuals=quiet))
    assert len(figure.axes) == 1


def test_spectra_of_a_known_field(example):
    """EE and BB of white noise of unit variance are its cell area."""
    grid = Grid(32)
    noise = np.random.default_rng(0).standard_normal((2, grid.size))
    data = dataclasses.replace(
        example.data,
        grid=grid,
        components=(ComponentView("cmb", "uK_CMB", None, noise, np.ones_like(noise)),),
        parameters=(),
        chi2=np.full(grid.size, 24.0),
        dof=np.full(grid.size, 24.0),
    )
    measured, white = cmb_spectra(data)
    area = 4 * np.pi / grid.size
    np.testing.assert_allclose(white.ee, area)
    for cl in (measured.ee, measured.bb):
        assert np.average(cl, weights=2 * measured.ell + 1) == pytest.approx(area, rel=0.07)


def test_spectra_of_difference_and_theory(example):
    curves = cmb_spectra(example.data)
    assert [c.name for c in curves] == [
        "recovered CMB",
        "input CMB, same cells",
        "recovered − input",
        "white noise of the map errors",
    ]
    figure = chart_figures.spectra(curves)
    assert [axes.get_title() for axes in figure.axes] == ["EE", "BB"]
    np.testing.assert_array_equal(
        figure.axes[1].lines[0].get_ydata(), binned(curves[0].ell, curves[0].bb)[1]
    )


def test_no_spectra_without_a_cmb(example):
    data = dataclasses.replace(example.data, components=example.data.components[1:])
    assert cmb_spectra(data) == ()


def test_bins_conserve_power():
    ell = np.arange(2.0, 129.0)
    cl = np.random.default_rng(3).uniform(size=ell.size)
    centre, mean = binned(ell, cl)
    assert np.all(np.diff(centre) > 0)
    assert mean[0] == pytest.approx(cl[0])
    assert mean.min() >= cl.min()
    assert mean.max() <= cl.max()


def test_scales():
    values = np.r_[np.linspace(-1, 2, 1001), np.nan, 1e9]
    assert robust_range(values) == pytest.approx((-0.97, 1.97), abs=0.01)
    norm = diverging(values)
    assert norm.vmin == -norm.vmax
    low, high = robust_range(np.full(5, 3.0))
    assert low < 3.0 < high
    assert robust_range(np.full(3, np.nan)) == (0.0, 1.0)


def test_colours_of_neighbouring_patches_differ():
    colours = np.asarray(shuffled_colours(500).colors)
    np.testing.assert_array_equal(colours, np.asarray(shuffled_colours(500).colors))
    assert np.mean(np.any(colours[1:] != colours[:-1], axis=1)) > 0.95


def test_matplotlib_settings_are_left_alone(example):
    before = dict(mpl.rcParams)
    picture = png(chart_figures.convergence(example.data))
    assert picture.startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


def test_bad_input(example):
    data = example.data
    without = dataclasses.replace(data, residuals=None, parameters=(), components=())
    for draw in (map_figures.residual_maps, chart_figures.residual_levels):
        with pytest.raises(ValueError, match="residuals: expected the fitted maps"):
            draw(without)
    for draw in (
        map_figures.parameter_maps,
        map_figures.patch_maps,
        chart_figures.parameter_histograms,
    ):
        with pytest.raises(ValueError, match="parameters: expected at least one"):
            draw(without)
    with pytest.raises(ValueError, match="truth: expected at least one"):
        map_figures.truth_maps(without)
    with pytest.raises(ValueError, match="stokes: expected one of Q, U, got 'I'"):
        map_figures.residual_maps(data, "I")
    with pytest.raises(ValueError, match="curves: expected at least one"):
        chart_figures.spectra(())
    with pytest.raises(ValueError, match="chi2: expected finite values"):
        chart_figures.chi2_histogram(
            dataclasses.replace(data, chi2=np.full_like(data.chi2, np.nan))
        )
    with pytest.raises(ValueError, match="spectrum x: expected ell, EE and BB of one length"):
        Spectrum("x", np.arange(3.0), np.zeros(3), np.zeros(2))
    bare = dataclasses.replace(data, grid=Grid.unstructured(data.grid.size))
    with pytest.raises(ValueError, match="place on the sphere"):
        map_figures.component_maps(bare)
