import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import logsumexp
from scipy.stats import multivariate_normal

from skysift.scattering.unsupervised.auto_encoder import (
    AutoEncoder,
    EncodedDensity,
    LatentClasses,
)
from skysift.scattering.unsupervised.mixture import GaussianDensity, GaussianMixture, Shape

SHARES = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [-3.0, 4.0]])
SPREADS = np.array([[[1.0, 0.6], [0.6, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, -0.3], [-0.3, 0.4]]])


def drawn(count, seed=0):
    """Points of a known mixture, with their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=count, p=SHARES)
    roots = np.linalg.cholesky(SPREADS)
    return MEANS[labels] + np.einsum(
        "nij,nj->ni", roots[labels], rng.standard_normal((count, 2))
    ), labels


@eqx.filter_jit
def bound_of(density, fields, noise):
    return density.bound(fields, noise)


def slow_joint(points):
    return np.stack(
        [
            np.log(share) + multivariate_normal(mean, spread).logpdf(points)
            for share, mean, spread in zip(SHARES, MEANS, SPREADS, strict=True)
        ],
        axis=-1,
    )


def test_joint_density_of_a_mixture_is_that_of_scipy():
    points, _ = drawn(50)
    np.testing.assert_allclose(
        GaussianDensity(SHARES, MEANS, SPREADS).joint(points), slow_joint(points), rtol=1e-12
    )


def test_mixture_finds_the_parameters_that_points_were_drawn_from():
    points, labels = drawn(4000)
    density = GaussianMixture(prior=0.0).fit(points, 3, np.random.SeedSequence(0)).density
    np.testing.assert_allclose(density.shares, SHARES, atol=0.03)
    np.testing.assert_allclose(density.means, MEANS, atol=0.12)
    np.testing.assert_allclose(density.covariances, SPREADS, atol=0.15)
    joint = density.joint(points)
    true = np.logaddexp.reduce(slow_joint(points), axis=1)
    found = np.logaddexp.reduce(joint, axis=1)
    # The maximum is above the truth by half a unit for each of the 17 parameters.
    assert 0.0 < np.sum(found - true) < 30.0
    assert np.mean(joint.argmax(axis=1) == labels) > 0.98


@pytest.mark.parametrize("prior", [0.0, 1.0])
@pytest.mark.parametrize("shape", list(Shape))
def test_every_iteration_of_a_mixture_gains(shape, prior):
    points, _ = drawn(200)
    model = GaussianMixture(shape, prior=prior, starts=1, tolerance=0.0, max_iter=60)
    history = model.fit(points, 4, np.random.SeedSequence(1)).history
    assert np.all(np.diff(history)[:-1] > -1e-9)
    assert history[-1] > history[0]


def test_prior_keeps_a_class_from_shrinking_onto_one_point():
    points = np.concatenate([drawn(60)[0], np.tile([[30.0, 30.0]], (3, 1))])
    loose = GaussianMixture(prior=0.0).fit(points, 2, np.random.SeedSequence(0)).density
    held = GaussianMixture(prior=1.0).fit(points, 2, np.random.SeedSequence(0)).density
    assert np.linalg.det(loose.covariances).min() < 1e-8
    assert np.linalg.det(held.covariances).min() > 0.1


def test_diagonal_mixture_has_no_covariances_and_fewer_parameters():
    points, _ = drawn(200)
    density = GaussianMixture(Shape.DIAGONAL).fit(points, 3, np.random.SeedSequence(0)).density
    assert np.all(density.covariances[:, 0, 1] == 0.0)
    assert (density.parameters, GaussianDensity(SHARES, MEANS, SPREADS).parameters) == (14, 17)


@pytest.fixture(scope="module")
def linear():
    """Linear decoder, one class, and the encoder that is the exact posterior."""
    rng = np.random.default_rng(3)
    blank = AutoEncoder(latent=2, depth=0, draws=16).blank(4, 1)
    loading, offset = rng.standard_normal((4, 2)), rng.standard_normal(4)
    log_noise = 0.3 * rng.standard_normal(4)
    mean, spread = rng.standard_normal(2), np.exp(0.2 * rng.standard_normal(2))
    # The two latent numbers are independent given the field when their loadings are orthogonal.
    scaled = loading / np.exp(log_noise)[:, None]
    loading[:, 1] -= loading[:, 0] * (scaled[:, 0] @ scaled[:, 1]) / (scaled[:, 0] @ scaled[:, 0])
    precision = np.diag(np.sum((loading / np.exp(log_noise)[:, None]) ** 2, axis=0) + spread**-2.0)
    gain = np.linalg.solve(precision, loading.T / np.exp(2.0 * log_noise))
    rest = np.linalg.solve(precision, mean / spread**2) - gain @ offset
    prior = LatentClasses(jnp.zeros(1), jnp.asarray(mean[None]), jnp.log(jnp.asarray(spread[None])))

    def with_layer(network, weight, bias):
        where = lambda one: (one.layers[0].weight, one.layers[0].bias)  # noqa: E731
        return eqx.tree_at(where, network, (jnp.asarray(weight), jnp.asarray(bias)))

    deviations = -0.5 * np.log(np.diag(precision))
    encoder = with_layer(
        blank.encoder,
        np.concatenate([gain, np.zeros((2, 4))]),
        np.concatenate([rest, deviations]),
    )
    decoder = with_layer(blank.decoder, loading, offset)
    density = EncodedDensity(encoder, decoder, jnp.asarray(log_noise), prior, 16)
    covariance = loading @ np.diag(spread**2) @ loading.T + np.diag(np.exp(2.0 * log_noise))
    return density, multivariate_normal(loading @ mean + offset, covariance)


def test_bound_of_a_linear_model_is_its_evidence_when_the_encoder_is_exact(linear):
    density, law = linear
    fields = law.rvs(20, random_state=0)
    noise = np.random.default_rng(1).standard_normal((20, 2))
    bound = float(bound_of(density, jnp.asarray(fields), jnp.asarray(noise)))
    np.testing.assert_allclose(bound, law.logpdf(fields).mean(), rtol=1e-10)
    np.testing.assert_allclose(density.joint(fields)[:, 0], law.logpdf(fields), rtol=1e-10)


def test_bound_is_below_the_evidence_when_the_encoder_is_not_exact(linear):
    density, law = linear
    fields = law.rvs(20, random_state=0)
    wrong = eqx.tree_at(
        lambda one: one.encoder.layers[0].bias, density, replace_fn=lambda b: b + 0.5
    )
    noise = np.random.default_rng(1).standard_normal((20, 2))
    assert (
        float(bound_of(wrong, jnp.asarray(fields), jnp.asarray(noise))) < law.logpdf(fields).mean()
    )


def test_gradient_of_the_bound_is_that_of_finite_differences():
    density = AutoEncoder(latent=2, width=3, depth=1).blank(3, 2)
    rng = np.random.default_rng(0)
    fields, noise = (
        jnp.asarray(rng.standard_normal((5, 3))),
        jnp.asarray(rng.standard_normal((5, 2))),
    )
    parts, fixed = eqx.partition(density, eqx.is_inexact_array)
    flat, back = jax.flatten_util.ravel_pytree(parts)
    flat = flat + 0.3 * rng.standard_normal(flat.size)
    value = jax.jit(lambda vector: eqx.combine(back(vector), fixed).bound(fields, noise, 0.7))
    slope = jax.jit(jax.grad(value))(flat)
    way = jnp.asarray(rng.standard_normal(flat.size))
    difference = (value(flat + 1e-5 * way) - value(flat - 1e-5 * way)) / 2e-5
    np.testing.assert_allclose(slope @ way, difference, rtol=1e-7)


def test_latent_classes_are_a_mixture_of_gaussians():
    prior = LatentClasses(
        jnp.log(jnp.asarray(SHARES)) + 2.0,
        jnp.asarray(MEANS),
        0.5 * jnp.log(jnp.asarray(np.diagonal(SPREADS, axis1=1, axis2=2))),
    )
    spreads = np.stack([np.diag(np.diag(one)) for one in SPREADS])
    point = np.array([0.5, -1.0])
    expected = GaussianDensity(SHARES, MEANS, spreads).joint(point[None])[0]
    np.testing.assert_allclose(prior.joint(jnp.asarray(point)), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def encoder():
    return AutoEncoder(latent=2, width=8, depth=1, steps=1000, starts=4, batch=64)


@pytest.fixture(scope="module")
def trained(encoder):
    points, labels = drawn(300)
    folded = np.column_stack([points, np.sin(points[:, 0]), points[:, 1] ** 2 / 10.0])
    return folded, labels, encoder.fit(folded, 3, np.random.SeedSequence(0))


def test_auto_encoder_finds_the_classes(trained):
    folded, labels, fit = trained
    joint = fit.density.joint(folded)
    # Classes come in falling order of their shares, as those drawn from do.
    assert np.mean(joint.argmax(axis=1) == labels) > 0.95
    assert fit.history[-50:].mean() > fit.history[:50].mean() + 1.0
    assert float(logsumexp(joint, axis=1).mean()) > fit.history[-50:].mean()


def test_auto_encoder_is_reproducible(encoder, trained):
    folded, _, fit = trained
    again = encoder.fit(folded, 3, np.random.SeedSequence(0))
    np.testing.assert_array_equal(again.history, fit.history)
    np.testing.assert_array_equal(again.density.joint(folded), fit.density.joint(folded))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianMixture(prior=-1.0), "prior: expected 0.0 or more, got -1.0"),
        (lambda: GaussianMixture(starts=0), "starts: expected 1 or more, got 0"),
        (lambda: GaussianMixture(max_iter=0), "max_iter: expected 1 or more, got 0"),
        (lambda: AutoEncoder(latent=0), "latent: expected 1 or more, got 0"),
        (lambda: AutoEncoder(steps=1), "steps: expected 2 or more, got 1"),
        (lambda: AutoEncoder(rate=0.0), "rate: expected between 0 and 1, got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
