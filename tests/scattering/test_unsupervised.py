import jax.numpy as jnp
import numpy as np
import pytest

from skysift.scattering.companions import PowerSpectrum
from skysift.scattering.families import Covariance
from skysift.scattering.generative.synthesis import synthesise
from skysift.scattering.layout import Layout, Order, Table
from skysift.scattering.reduction import Reduced
from skysift.scattering.separation.contamination import Ensemble
from skysift.scattering.separation.descent import Descent
from skysift.scattering.separation.separate import separate
from skysift.scattering.statistics import Statistics, stack
from skysift.scattering.unsupervised.auto_encoder import AutoEncoder
from skysift.scattering.unsupervised.classes import Classes, classify
from skysift.scattering.unsupervised.features import features_of
from skysift.scattering.unsupervised.mixture import GaussianMixture, Shape

from .fields import red_noise

MODELS = [
    GaussianMixture(Shape.DIAGONAL, starts=3),
    AutoEncoder(latent=2, width=8, depth=1, steps=1500, starts=1, batch=64),
]


def layout_of(real=4, complex_numbers=1):
    tables = [
        Table(Order.S2, ("scale",), np.arange(2)[:, None]),
        Table(Order.S3, ("scale",), np.arange(real)[:, None]),
        Table(Order.S4, ("scale",), np.arange(complex_numbers)[:, None], complex=True),
    ]
    return Layout(tuple(tables), "made by a test")


@pytest.fixture(scope="module")
def known():
    """Statistics of two kinds of fields with known means, and the kind of each."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [60, 40])
    vectors = rng.standard_normal((100, 8)) + 6.0 * truth[:, None]
    vectors[:, :2] = np.exp(0.3 * vectors[:, :2])
    vectors[:, 5] = 2.5
    return Statistics.of_vector(vectors, layout_of()), truth


@pytest.fixture(scope="module", params=MODELS, ids=lambda one: type(one).__name__)
def found(request, known):
    return classify(known[0], 2, seed=1, model=request.param, components=4)


def test_vectors_become_statistics_and_back(known):
    vectors = np.random.default_rng(0).standard_normal((3, 8))
    statistics = Statistics.of_vector(vectors, layout_of())
    np.testing.assert_array_equal(statistics.vector, vectors)
    assert jnp.iscomplexobj(statistics["S4"])


def test_features_have_unit_variance_and_no_correlation(known):
    features = features_of(known[0], 5)
    values = features(known[0])
    np.testing.assert_allclose(values.T @ values / len(values), np.eye(5), atol=1e-12)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-12)
    assert not features.kept[5]
    assert features.logarithmic.sum() == 2


def test_features_do_not_depend_on_units(known):
    vectors = np.asarray(known[0].vector)
    scales = np.array([1e-12, 1e6, 3.0, 1e-3, 7.0, 1.0, 2.0, 5.0])
    other = Statistics.of_vector(vectors * scales, layout_of())
    np.testing.assert_allclose(features_of(other, 4)(other), features_of(known[0], 4)(known[0]))


def test_means_that_are_rounding_are_left_out():
    st = PowerSpectrum.plane((8, 8), bins=2)
    maps = 1e-5 * np.random.default_rng(0).standard_normal((6, 8, 8))
    level = st(maps)
    flat = st(maps - maps.mean(axis=(1, 2), keepdims=True))
    mean = [table.order for table in level.layout.tables].index(Order.MEAN)
    assert features_of(level, 3).kept[mean]
    assert not features_of(flat, 3).kept[mean]


def test_there_are_no_more_components_than_numbers_that_vary(known):
    assert features_of(known[0], 50).components == 7
    assert features_of(known[0], 50).explained == pytest.approx(1.0)


def test_kinds_are_found(found, known):
    np.testing.assert_array_equal(found.labels, known[1])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    np.testing.assert_allclose(found.shares, [0.6, 0.4], atol=0.01)


def test_statistics_of_classes_are_those_of_their_fields(found, known):
    statistics, truth = known
    vectors = np.asarray(statistics.vector)
    for which in range(2):
        own = vectors[truth == which]
        error = own.std(axis=0, ddof=1) / np.sqrt(len(own))
        np.testing.assert_allclose(
            np.asarray(found.mean(which).vector), own.mean(axis=0), atol=0.2 * error.max()
        )
        np.testing.assert_allclose(
            found.deviation(which), own.std(axis=0, ddof=1), rtol=0.05, atol=1e-9
        )
        np.testing.assert_allclose(found.error(which), error, rtol=0.05, atol=1e-9)
        np.testing.assert_allclose(
            found.covariance(which), np.cov(own, rowvar=False), atol=0.1 * own.var()
        )


def test_score_is_the_mean_log_density(found, known):
    assert found.score == pytest.approx(found.log_density(known[0]).mean())
    parameters = found.density.parameters
    assert found.bic == pytest.approx(parameters * np.log(100) - 200.0 * found.score)


def test_other_fields_are_assigned_one_by_one(found, known):
    whole = found.assign(known[0])
    part = Statistics.of_vector(np.asarray(known[0].vector)[60:63], layout_of())
    np.testing.assert_allclose(found.assign(part), whole[60:63], atol=1e-9)


def test_files_hold_all(found, known, tmp_path):
    found.save(tmp_path / "classes.nc")
    again = Classes.load(tmp_path / "classes.nc")
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    np.testing.assert_array_equal(again.mean(1).vector, found.mean(1).vector)
    np.testing.assert_array_equal(again.history, found.history)
    assert (again.model, again.score, again.bics) == (found.model, found.score, found.bics)
    assert again.statistics.layout == found.statistics.layout


def test_same_seed_gives_the_same_classes(known):
    first, again = (classify(known[0], 2, seed=4, model=MODELS[0]) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)


def test_number_of_classes_is_chosen(known):
    found = classify(known[0], range(1, 5), seed=0)
    assert found.count == 2
    assert list(found.bics) == [1, 2, 3, 4]
    assert found.bic == min(found.bics.values())


@pytest.fixture(scope="module")
def sky():
    """Patches of smooth skewed fields and of white noise, and their statistics."""
    st = Reduced(Covariance.plane((16, 16), scales=2, orientations=2))
    smooth = red_noise((16, 16), seed=0, slope=2.0, batch=(16,))
    maps = np.concatenate([smooth, red_noise((16, 16), 1, 0.0, skewed=False, batch=(12,))])
    maps -= maps.mean(axis=(1, 2), keepdims=True)
    maps /= maps.std(axis=(1, 2), keepdims=True)
    return st, maps, classify(st(maps), 2, seed=0, components=4)


def test_patches_are_told_by_structure(sky):
    np.testing.assert_array_equal(sky[2].labels, np.repeat([0, 1], [16, 12]))


def test_classes_can_be_synthesised_and_assigned_to_themselves(sky):
    st, _, classes = sky
    for which in range(2):
        twins = synthesise(classes.mean(which), st, samples=2, seed=0, tolerance=0.3)
        assert np.all(classes.assign(st(twins.maps)).argmax(axis=1) == which)


def test_class_is_a_contamination_to_separate_from(sky):
    st, maps, classes = sky
    noise = synthesise(classes.mean(1), st, samples=16, seed=0, tolerance=0.3).maps
    data = maps[0] + 0.5 * maps[20]
    found = separate(data, Ensemble(0.5 * noise), st, seed=0, descent=Descent(tolerance=0.25))
    before, after = (np.std(one - maps[0]) for one in (data, found.map))
    assert after < 0.8 * before


def spoilt(known, value, column=3):
    vectors = np.asarray(known[0].vector).copy()
    vectors[7, column] = value
    return Statistics.of_vector(vectors, layout_of())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(known, found, value):
    message = "expected finite numbers, got others in 1 of 100 fields .the first is 7"
    with pytest.raises(ValueError, match=message):
        classify(spoilt(known, value), 2)
    with pytest.raises(ValueError, match=message):
        found.assign(spoilt(known, value))


def test_fields_without_power_are_refused(known, found):
    with pytest.raises(ValueError, match="positive powers, got others in 1 fields .the first is 7"):
        found.assign(spoilt(known, 0.0, column=0))


def test_fewer_fields_than_two_for_each_class_are_refused(known):
    few = Statistics.of_vector(np.asarray(known[0].vector)[:5], layout_of())
    with pytest.raises(ValueError, match="expected those of 6 fields or more for 3 classes, got 5"):
        classify(few, 3)


def test_fields_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="expected fields that differ, got 10"):
        classify(Statistics.of_vector(np.ones((10, 8)), layout_of()), 2)


def test_statistics_of_several_configurations_are_refused(found):
    rng = np.random.default_rng(0)
    many = [PowerSpectrum.plane((8, 8), bins=n)(rng.standard_normal((8, 8))) for n in (2, 3)]
    with pytest.raises(ValueError, match="expected statistics of one configuration"):
        classify(stack(many), 2)
    with pytest.raises(ValueError, match="expected those of made by a test .8 numbers., got those"):
        found.assign(stack([many[0], many[0]]))


@pytest.mark.parametrize("shape", [(8,), (2, 5, 8)])
def test_a_batch_of_one_axis_is_wanted(shape):
    statistics = Statistics.of_vector(np.random.default_rng(0).standard_normal(shape), layout_of())
    with pytest.raises(ValueError, match="expected those of fields along one axis"):
        classify(statistics, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count: expected numbers of classes from 1 on, got 0"),
        ({"count": []}, "count: expected numbers of classes from 1 on"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"components": 0}, "components: expected 1 or more, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(known, settings, message):
    with pytest.raises(ValueError, match=message):
        classify(known[0], **settings)


def test_classes_that_are_not_there_are_refused(found):
    with pytest.raises(ValueError, match="which: expected 0 to 1, got 2"):
        found.mean(2)


@pytest.mark.parametrize("name", ["classes.npz", "missing.nc"])
def test_files_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="path: expected a"):
        Classes.load(tmp_path / name)


def test_other_netcdf_files_are_refused(known, tmp_path):
    statistics: Statistics = known[0]
    statistics.to_dataset().to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="missing, damaged or something else"):
        Classes.load(tmp_path / "other.nc")
