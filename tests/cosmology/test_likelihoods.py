import numpy as np
import pytest
from scipy import stats

from skysift.cosmology.covariance import BandpowerCovariance
from skysift.cosmology.likelihoods import HamimecheLewis, Wishart

ELL = np.arange(2, 20)


@pytest.fixture
def powers():
    generator = np.random.default_rng(3)
    model = 1e-6 * generator.uniform(0.5, 2.0, (7, ELL.size))
    observed = 1e-6 * generator.uniform(0.5, 2.0, (5, 1, ELL.size))
    return observed, model


def test_wishart_on_the_full_sky_is_the_density_of_chi_squared(powers):
    observed, model = powers
    dof = 2.0 * ELL + 1
    density = stats.chi2.logpdf(dof * observed / model, dof) + np.log(dof / model)
    # Terms of the observation alone do not count: compare differences between models.
    exact = density.sum(axis=-1)
    found = Wishart.of_fsky(1.0, ELL).log_likelihood(observed, model)
    assert found.shape == (5, 7)
    np.testing.assert_allclose(found - found[:, :1], exact - exact[:, :1], rtol=1e-11)


def test_wishart_of_one_multipole_is_scipys_wishart():
    ell, model = 4, np.array([0.5, 1.0, 3.0])[:, None]
    dof, observed = 2 * ell + 1, np.array([1.3])
    exact = [stats.wishart.logpdf(dof * observed[0], dof, scale) for scale in model[:, 0]]
    found = Wishart(np.array([float(dof)])).log_likelihood(observed, model)
    np.testing.assert_allclose(np.diff(found), np.diff(exact), rtol=1e-12)


def test_likelihoods_are_greatest_and_zero_at_the_observation(powers):
    observed = powers[0][:, 0]
    tied = np.eye(ELL.size) - 0.2 * (np.eye(ELL.size, k=1) + np.eye(ELL.size, k=-1))
    matrix = tied * np.outer(observed[0], observed[0])
    for likelihood in (
        Wishart.of_fsky(0.3, ELL),
        HamimecheLewis(BandpowerCovariance(observed[0], matrix)),
    ):
        np.testing.assert_allclose(likelihood.log_likelihood(observed, observed), 0.0)
        for factor in (1 - 1e-5, 1 + 1e-5):
            off = likelihood.log_likelihood(observed, factor * observed)
            assert np.all((off < 0) & (off > -1e-7))
        assert np.all(likelihood.log_likelihood(observed, -observed) == -np.inf)


def test_hamimeche_lewis_is_the_wishart_on_the_full_sky_whatever_the_fiducial(powers):
    observed, model = powers
    dof = 2.0 * ELL + 1
    for fiducial in (model[0], 5.0 * model[3]):
        likelihood = HamimecheLewis(BandpowerCovariance.analytic(fiducial, dof))
        np.testing.assert_allclose(
            likelihood.log_likelihood(observed, model),
            Wishart(dof).log_likelihood(observed, model),
            rtol=1e-10,
        )


def test_hamimeche_lewis_near_the_fiducial_is_gaussian():
    generator = np.random.default_rng(0)
    half = generator.normal(size=(4, 4))
    matrix = half @ half.T + np.eye(4)
    mean = np.full(4, 1e5)
    observed = mean + generator.normal(size=4)
    difference = observed - mean
    exact = -0.5 * difference @ np.linalg.solve(matrix, difference)
    likelihood = HamimecheLewis(BandpowerCovariance(mean, matrix))
    np.testing.assert_allclose(likelihood.log_likelihood(observed, mean), exact, rtol=1e-4)


def test_selected_bins_are_marginalised_not_conditioned():
    matrix = np.array([[2.0, 1.0], [1.0, 2.0]])
    first = np.array([True, False])
    kept = HamimecheLewis(BandpowerCovariance(np.ones(2), matrix)).selected(first)
    np.testing.assert_allclose(kept.covariance.whitening, [[np.sqrt(0.5)]])
    assert Wishart(np.array([3.0, 5.0])).selected(~first).dof == [5.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wishart.of_fsky(0.0, ELL), "fsky: expected a fraction of the sky above 0"),
        (lambda: Wishart.of_fsky(1.2, ELL), "got 1.2"),
        (lambda: Wishart(np.array([3.0, 0.0])), "dof: expected a positive number of modes"),
        (lambda: BandpowerCovariance(np.ones(3), np.eye(2)), r"matrix: expected shape \(3, 3\)"),
        (lambda: BandpowerCovariance(np.ones(2), np.ones((2, 2))), "positive definite"),
        (lambda: BandpowerCovariance(np.ones(2), np.eye(2), 4), "count: expected more than 4"),
        (lambda: BandpowerCovariance.of_samples(np.ones(5)), "samples: expected shape"),
        (
            lambda: HamimecheLewis(
                BandpowerCovariance(np.array([1.0, -1.0]), np.eye(2))
            ).log_likelihood(np.ones(2), np.ones(2)),
            "covariance: expected a positive mean",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
