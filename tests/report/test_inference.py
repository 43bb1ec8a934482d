"""What the pages of networks make of figures."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from skysift.report.inference import (
    calibration,
    errors,
    fiducials,
    notes,
    posteriors,
    write_evaluation_page,
    write_prediction_page,
)
from skysift.report.inference_figures import density, posterior_figure
from skysift.report.inference_view import EvaluationView, PredictionView, Published, example_grid
from skysift.report.style import new_figure, styled

COUNT = 400
NAMES = ["r", "tau"]


def evaluated(width=1.0):
    """Posteriors of the same width everywhere, `width` times as wide as they should be."""
    rng = np.random.default_rng(0)
    low, high = np.array([0.0, 0.03]), np.array([0.01, 0.08])
    truths = low + (high - low) * rng.uniform(size=(COUNT, 2))
    off = rng.standard_normal((COUNT, 2))
    deviations = np.full((COUNT, 2), 0.05) * (high - low)
    by_parameter = {
        "low": low,
        "high": high,
        "error_percent": [np.inf, 4.0321],
        "error_uncertainty": [0.0, 0.1],
        "rmse": [5e-4, 2.5e-3],
        "slope": [0.97, 0.99],
        "coverage_0.68": [0.68, 0.68],
        "coverage_0.95": [0.95, 0.95],
        "rank_pvalue": [0.5, 1e-5],
        "limit_percent": [np.inf, 2.0],
        "limit_uncertainty": [0.0, 0.05],
        "limit_rmse": [4e-4, 2e-3],
        "example_truth": [0.003, 0.05],
    }
    example = np.tile(np.linspace(-1.0, 1.0, 48), (2, 1))
    example[:, :10] = np.nan
    of_map = {
        "truths": truths,
        "means": truths + off * deviations,
        "deviations": width * deviations,
        "ranks": norm.cdf(-off / width),
    }
    points = {
        "truth": [[0.003, 0.054], [0.006, 0.054]],
        "bias": [[1e-4, -1e-4], [1e-5, 2e-5]],
        "bias_uncertainty": [[1e-5, 1e-4], [1e-5, 2e-5]],
        "fiducial_rmse": [[4e-4, 2e-3], [4e-4, 2e-3]],
        "fisher_deviation": [[3e-4, 1.5e-3], [3e-4, 1.5e-3]],
    }
    losses = np.linspace(1.0, 0.5, 4)
    return xr.Dataset(
        {name: ("parameter", np.array(value)) for name, value in by_parameter.items()}
        | {name: (("map", "parameter"), value) for name, value in of_map.items()}
        | {name: (("fiducial", "parameter"), np.array(value)) for name, value in points.items()}
        | {
            "example": (("stokes", "cell"), example, {"units": "uK_CMB"}),
            "example_draws": (("draw", "parameter"), truths[:50]),
            "training_loss": (("epoch", "member"), np.stack([losses + 0.1, losses], axis=1)),
            "validation_loss": (("epoch", "member"), np.stack([losses, losses], axis=1)),
            "validation_rmse": (("epoch", "parameter"), np.full((4, 2), 1e-3)),
        },
        {"parameter": NAMES, "stokes": ["Q", "U"]},
        {
            "title": "T4 · nside 2",
            "network": "Scores, Refinement",
            "weights": 1234,
            "converged": 1,
            "status": "validation improves no more",
            "limit": "exact likelihood of the cells",
        },
    )


def test_errors_stand_beside_limits_and_what_was_published():
    published = (
        Published("CNN", (1.0, 2.0), other=True),
        Published("Fisher", (3.5e-4, 1.9e-3), (0.003, 0.054)),
    )
    view = EvaluationView(evaluated(), published)
    listing = errors(view)
    assert listing.columns == ("estimate", "r (rms)", "tau [%]")
    assert listing.rows == (
        ("this model", "5.000e-04", "4.03 ± 0.10"),
        ("limit", "4.000e-04", "2.00 ± 0.05"),
        ("this model / limit", "1.250", "2.016"),
        ("CNN (of other maps)", "1", "2"),
    )
    at = fiducials(view)
    assert at.columns[-2:] == ("Fisher bound", "Fisher")
    assert [row[-1] for row in at.rows] == ["0.00035", "0.0019", "", ""]
    assert [row[0] for row in at.rows] == ["0.003, 0.054", "", "0.006, 0.054", ""]
    assert at.warn == {(0, 3)}
    assert at.rows[0][3] == "+10.00"
    assert calibration(view).warn == {(1, 6)}
    assert len(notes(view)) == 1
    assert "wrong order" in notes(view)[0]


def test_wrong_widths_are_told():
    assert EvaluationView(evaluated()).miscalibrated == ()
    for width, word in ((0.5, "too narrow"), (2.0, "too wide")):
        view = EvaluationView(evaluated(width))
        assert view.miscalibrated == (0, 1)
        assert all(word in note for note in notes(view))
        assert {(0, 4), (1, 4)} <= calibration(view).warn


def test_the_page_stands_alone(tmp_path):
    path = write_evaluation_page(tmp_path / "page.html", EvaluationView(evaluated()))
    page = path.read_text()
    assert page.count("data:image/png") == 5
    assert "✓ Converged" in page
    assert "1.250 times the limit" in page
    assert "http" not in page.replace("http-equiv", "")
    taken = evaluated().drop_vars([name for name in evaluated() if "limit" in str(name)])
    taken = taken.drop_vars(["training_loss", "validation_loss", "validation_rmse"])
    view = EvaluationView(taken.assign_attrs(status=""))
    page = write_evaluation_page(tmp_path / "page.html", view).read_text()
    assert page.count("data:image/png") == 4
    assert "limit not computed" in page
    assert "✓ Tested" in page
    with pytest.raises(ValueError, match="evaluation: expected ranks in the file"):
        EvaluationView(taken.drop_vars("ranks"))


def test_cells_that_are_not_seen_are_not_shown():
    grid, values = example_grid(evaluated()["example"].values)
    np.testing.assert_array_equal(np.sort(grid.ring), np.arange(10, 48))
    np.testing.assert_array_equal(values[0], np.linspace(-1.0, 1.0, 48)[10:])


def predicted(count):
    rng = np.random.default_rng(1)
    draws = 0.03 + 0.05 * rng.beta(2.0, 5.0, size=(min(count, 3), 500, 1))
    mean = np.full((count, 1), 0.04)
    levels = np.array([0.025, 0.16, 0.5, 0.84, 0.975])
    quantile = np.broadcast_to(levels[:, None, None] * 0.02 + 0.03, (5, count, 1))
    at_bounds = np.zeros((count, 1), np.int8)
    at_bounds[1:2] = 1
    return PredictionView(
        xr.Dataset(
            {
                "mean": (("map", "parameter"), mean),
                "std": (("map", "parameter"), 0.1 * mean),
                "quantile": (("level", "map", "parameter"), quantile),
                "at_bounds": (("map", "parameter"), at_bounds),
                "draws": (("shown", "draw", "parameter"), draws),
                "low": ("parameter", [0.03]),
                "high": ("parameter", [0.08]),
                "example": (("stokes", "cell"), np.ones((1, 48))),
            },
            {
                "parameter": ["tau"],
                "level": levels,
                "stokes": ["I"],
                "title": ("map", np.array([f"sky {one}" for one in range(count)], dtype=object)),
            },
            {"model": "t3", "family": "nside 2"},
        )
    )


def test_posteriors_have_intervals_and_flags(tmp_path):
    view = predicted(250)
    listing = posteriors(view, most=200)
    assert len(listing.rows) == 200
    assert "50 more maps" in listing.note
    assert listing.rows[0] == ("sky 0", "0.04", "0.004", "0.0332 to 0.0468", "")
    assert listing.rows[1][-1] == "yes"
    assert listing.warn == {(1, 4)}
    page = write_prediction_page(tmp_path / "page.html", view).read_text()
    assert "cuts the posteriors of 1 of 250 maps" in page
    assert "of the first 3 maps" in page
    one = write_prediction_page(tmp_path / "page.html", predicted(1)).read_text()
    assert "0.04 ± 0.004" in one
    assert "cuts the posteriors" not in one
    assert len(posterior_figure(view).axes) == 3
    with pytest.raises(ValueError, match="posterior: expected draws"):
        PredictionView(view.dataset.drop_vars("draws"))


def test_densities_are_those_of_the_draws():
    draws = np.abs(0.2 * np.random.default_rng(2).standard_normal(20_000))
    with styled():
        axes = new_figure(2.0).subplots()
        density(axes, draws, (0.0, 1.0), truth=0.2)
    at, values = axes.lines[0].get_data()
    # Nothing leaks over the bound, where the density is largest.
    np.testing.assert_allclose(values, np.exp(-0.5 * (np.asarray(at) / 0.2) ** 2), atol=0.03)
    assert list(axes.lines[1].get_xdata()) == [0.2, 0.2]
