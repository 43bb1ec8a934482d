"""What the page of a statistical separation makes of spectra, losses and maps."""

import dataclasses

import numpy as np
import pytest

from skysift.report.unmixing import losses, write_unmixing_page
from skysift.report.unmixing_figures import spectra_figure, turning_figure
from skysift.report.unmixing_view import Course, Spectra, UnmixingView, of_dataset, to_dataset

SHAPE = (16, 16)
AT = np.array([1.0, 2.0, 4.0, 8.0])


def spectra(solutions=1, noise=1.0):
    """A signal that falls as 1 / k^2 under white noise, band by band."""
    signal = 8.0 / AT**2
    draws = noise * np.stack([np.full(4, 0.9), np.full(4, 1.1)])
    return Spectra(
        at=AT,
        data=signal + noise,
        signals=np.tile(signal, (solutions, 1)),
        left=np.tile(np.full(4, noise), (solutions, 1)),
        draws=draws,
        totals=signal + draws,
        agreement=np.full(4, np.nan if solutions == 1 else 0.5),
    )


def view(solutions=2, **changes):
    rng = np.random.default_rng(0)
    data = rng.standard_normal(SHAPE)
    data[0, :3] = np.nan
    made = UnmixingView(
        source="data.npy",
        family="scattering covariance",
        contamination="white:1",
        unit="K",
        data=data,
        draw=rng.standard_normal(SHAPE),
        signals=np.stack([data + one for one in rng.standard_normal((solutions, *SHAPE))]),
        spectra=spectra(solutions),
        courses=tuple(
            Course(
                status,
                {"total": np.array([9.0, 0.5, last]), "template": np.array([0.5, 0.7, 0.8])},
            )
            for status, last in (("converged", 0.4), ("diverged", 500.0))[:solutions]
        ),
        draws=20,
        tolerance=1.0,
    )
    return dataclasses.replace(made, **changes)


def test_the_correlation_follows_from_the_ratio():
    found = spectra()
    np.testing.assert_allclose(found.ratio, 8.0 / AT**2)
    # Of fields with such spectra, drawn.
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((4, 200_000)) * np.sqrt(8.0 / AT**2)[:, None]
    data = signal + rng.standard_normal(signal.shape)
    measured = [np.corrcoef(a, b)[0, 1] for a, b in zip(signal, data, strict=True)]
    np.testing.assert_allclose(found.correlation, measured, atol=0.01)


def test_the_scale_of_the_transition():
    found = spectra()
    # SNR is 1/3 at k = sqrt(24), between the third and the fourth band.
    assert found.transition == pytest.approx(np.sqrt(24.0), rel=0.03)
    assert spectra(noise=1e-6).transition == np.inf
    assert spectra(noise=1e6).transition == 0.0
    assert "rad / cell" in view().turning
    assert view(spectra=spectra(noise=1e-6)).turning == "beyond the smallest scale"
    assert view(spectra=spectra(noise=1e6)).turning == "above the largest scale"
    sphere = view(data=np.ones(192), signals=np.ones((1, 192)))
    assert sphere.turning.startswith("multipole 5, ")


def test_a_view_is_what_its_files_say():
    first = view(title="Q")
    views = (first, dataclasses.replace(first, title="U", channel=1, unit="mK"))
    again = of_dataset(to_dataset(views), [one.signals for one in views])
    for one, other in zip(views, again, strict=True):
        for part in dataclasses.fields(one):
            if part.name in ("spectra", "courses"):
                continue
            np.testing.assert_array_equal(getattr(one, part.name), getattr(other, part.name))
        for part in dataclasses.fields(one.spectra):
            np.testing.assert_array_equal(
                getattr(one.spectra, part.name), getattr(other.spectra, part.name)
            )
        assert losses(one) == losses(other)
    damaged = to_dataset(views).drop_vars("spectrum_left")
    with pytest.raises(ValueError, match="separation: expected spectrum_left"):
        of_dataset(damaged, [one.signals for one in views])


def test_losses_are_those_of_the_signal_that_was_kept():
    table = losses(view())
    assert table.columns == ("constraint", "start", "solution 0", "solution 1")
    assert table.rows[0] == ("total", "9", "0.5", "0.5")
    assert table.rows[1] == ("template", "0.5", "0.7", "0.7")
    assert table.rows[2][2:] == ("converged, 2 steps", "diverged, 2 steps")
    assert not table.warn
    missed = Course("step limit", {"total": np.array([9.0, 0.5]), "template": np.array([0.5, 1.7])})
    assert losses(view(courses=(missed, missed))).warn == {(1, 2), (1, 3)}
    assert not losses(view(courses=(missed, missed), tolerance=2.0)).warn


def test_the_page_says_what_diverged(tmp_path):
    page = write_unmixing_page(tmp_path / "page.html", [view()]).read_text()
    assert "Not all constraints are satisfied" in page
    assert "Solution 1 diverged" in page
    assert "template" in page
    assert page.count("data:image/png") == 5


def test_the_page_says_when_only_the_tolerance_was_missed(tmp_path):
    near = Course("step limit", {"total": np.array([9.0, 0.5]), "template": np.array([0.5, 0.7])})
    far = Course("step limit", {"total": np.array([9.0, 0.5]), "template": np.array([0.5, 1.7])})
    told = "Constraints are satisfied, but the losses did not come to 0.03"
    for course, satisfied in ((near, True), (far, False)):
        one = view(1, courses=(course,), tolerance=0.03)
        page = write_unmixing_page(tmp_path / "page.html", [one]).read_text()
        assert (told in page) == satisfied
        assert ("Not all constraints are satisfied" in page) != satisfied


def test_bands_without_a_signal_or_a_contamination_are_drawn():
    flat = np.ones(4)
    silent = dataclasses.replace(spectra(), data=0.5 * flat)
    assert silent.transition == 0.0
    np.testing.assert_array_equal(silent.correlation, 0.0)
    clean = dataclasses.replace(spectra(), draws=np.zeros((2, 4)))
    assert clean.transition == np.inf
    np.testing.assert_array_equal(clean.correlation, 1.0)
    for found in (silent, clean):
        assert len(turning_figure(view(1, spectra=found)).axes) == 2
    fixed = dataclasses.replace(spectra(), left=np.array([[1e-20, 1e-20, 1.0, 1.0]]))
    assert spectra_figure(view(1, spectra=fixed)).axes[0].get_ylim()[0] > 1e-3
