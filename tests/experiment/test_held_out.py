"""Samples that are left out."""

import numpy as np
import pytest

from skysift import resample
from skysift.experiment.config import ResampleExperiment
from skysift.experiment.held_out import hold_out, left_out
from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import SampledField, Samples

COLUMNS = 40


def swath(*rows):
    x, y = np.meshgrid(np.linspace(-10, 10, COLUMNS), np.linspace(-10, 10, 50))
    lon, lat = x.ravel(), y.ravel()
    fields = tuple(SampledField(f"t{n}", row(lon, lat)) for n, row in enumerate(rows))
    return Samples(lon, lat, fields)


def wave(lon, lat):
    return np.sin(np.radians(20.0 * lon)) * np.cos(np.radians(15.0 * lat))


def gappy(lon, lat):
    values = wave(lon, lat)
    values[lon < 0.0] = np.nan
    return values


def recipe(**settings):
    return Recipe.of(ResampleExperiment(level=5, hold_out=10, **settings))


def test_every_tenth_is_drawn_evenly_and_from_the_seed():
    left = left_out(recipe(), 2000)
    assert left.sum() == 200
    assert np.array_equal(left, left_out(recipe(), 2000))
    assert not np.array_equal(left, left_out(recipe(seed=1), 2000))
    # every tenth in the order of the file would be 4 of the 40 columns
    by_column = left.reshape(50, COLUMNS).sum(axis=0)
    assert np.count_nonzero(by_column) > 35
    with pytest.raises(ValueError, match="hold_out: expected at least 10 samples, got 9"):
        left_out(recipe(), 9)


def test_a_fit_predicts_what_it_has_not_seen():
    held = hold_out(recipe(), swath(wave))
    rms = {one.name: one.rms[0] for one in held.predictions}
    assert list(rms) == ["psf, fit", "nearest, average", "bilinear, average", "bilinear, fit"]
    assert held.values == 200
    assert rms["psf, fit"] < 0.3 * rms["nearest, average"]
    assert rms["psf, fit"] < rms["bilinear, average"]


def test_the_threshold_thins_the_cells_of_the_fit_and_not_again_those_that_predict():
    # the few samples that are left out give most cells less weight than the threshold
    sharp = recipe(sigma_m=60e3, threshold=0.5)
    held = hold_out(sharp, swath(wave))
    assert held.predictions[0].predicted > 0.95 * held.values
    assert held.predictions[0].rms[0] < 0.15


def test_rows_with_the_same_gaps_share_a_relation(monkeypatch):
    built = []
    psf = resample.psf

    def counted(lon, *args, cells=None, **options):
        if cells is not None:
            built.append(len(lon))
        return psf(lon, *args, cells=cells, **options)

    monkeypatch.setattr(resample, "psf", counted)
    samples = swath(wave, gappy, wave, gappy, wave)
    held = hold_out(recipe(damping=0.1), samples)
    assert built == [200, 200]
    alone = hold_out(recipe(damping=0.1), swath(gappy))
    both = {one.name: one.rms for one in held.predictions}
    assert both["psf, fit"][1] == both["psf, fit"][3]
    assert both["psf, fit"][1] == pytest.approx(alone.predictions[0].rms[0], rel=1e-4)


def test_parent_cells_predict_as_the_whole_does():
    samples = swath(wave)
    whole = hold_out(recipe(damping=0.1), samples)
    parts = hold_out(recipe(damping=0.1, parent_level=1), samples)
    for one, other in zip(whole.predictions, parts.predictions, strict=True):
        assert one.predicted == other.predicted
        assert one.rms[0] == pytest.approx(other.rms[0], rel=1e-2)
