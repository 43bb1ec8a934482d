import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from skysift.scattering.companions import Pdf
from skysift.scattering.sphere.gauss_legendre import GaussLegendre


def slow_quantiles(values, weights, edges):
    """Mean of the values whose ranks are between the edges, cell by cell."""
    order = np.argsort(values)
    sums = np.zeros(len(edges) - 1)
    below = 0.0
    for value, weight in zip(values[order], (weights / weights.sum())[order], strict=True):
        for b in range(len(sums)):
            part = min(below + weight, edges[b + 1]) - max(below, edges[b])
            sums[b] += value * max(part, 0.0)
        below += weight
    return sums / np.diff(edges)


@pytest.fixture(scope="module")
def plain():
    return Pdf.plane((16, 16), scales=2, quantiles=6, channels=2)


@pytest.fixture(scope="module")
def cut():
    weights = np.random.default_rng(0).uniform(0.5, 1.0, (2, 16, 16))
    weights[0, :, :7] = 0.0
    weights[1, :7] = 0.0
    return Pdf.plane((16, 16), scales=2, quantiles=6, weights=weights)


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(1).gamma(2.0, size=(3, 2, 16, 16))


@pytest.fixture(scope="module")
def found(plain, maps):
    return plain(maps)


def test_moments_are_those_of_scipy(maps, found):
    cells = maps.reshape(3, 2, -1)
    assert np.allclose(found["mean"], cells.mean(axis=-1))
    assert np.allclose(found["variance"], cells.var(axis=-1))
    third, fourth = np.moveaxis(found["moment"].reshape(3, 2, 2), -1, 0)
    assert np.allclose(third, scipy.stats.skew(cells, axis=-1))
    assert np.allclose(fourth, scipy.stats.kurtosis(cells, axis=-1, fisher=False))


def test_moments_of_a_band_are_those_of_the_filtered_map(maps, found):
    k = 2 * np.pi * np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16))
    octave = np.log2(np.where(k > 0, k, 1) / np.pi)
    fine = np.where(octave >= 0, 1.0, np.cos(np.pi / 2 * np.clip(octave, -1, 0)))
    coarse = np.where(octave <= -1, 1.0, np.cos(np.pi / 2 * np.clip(octave + 1, 0, 1)))
    for scale, window in enumerate((fine, coarse)):
        seen = np.fft.ifft2(np.fft.fft2(maps[2, 1]) * window * (k > 0)).real
        values = found.select("scale_moment", channel=1, scale=scale)["scale_moment"][2]
        expected = [seen.var(), scipy.stats.skew(seen.ravel()), np.mean(seen**4) / seen.var() ** 2]
        assert np.allclose(values, expected)
    both = found.select("scale_moment", channel=1, power=2)["scale_moment"]
    assert np.isclose(both[2].sum(), maps[2, 1].var())


def test_quantile_means_are_those_of_the_sorted_values(plain, cut, maps, found):
    values = maps[2]
    edges = plain.shape.edges
    quantiles = found["quantile"][2].reshape(2, -1)
    for channel, one in zip(quantiles, values.reshape(2, -1), strict=True):
        slow = slow_quantiles((one - one.mean()) / one.std(), np.ones(256), edges)
        assert np.allclose(channel, slow)
    weighted = cut(values[0])
    for region, weights in enumerate(np.asarray(cut.bands.cells).reshape(2, -1)):
        one = values[0].ravel()
        mean = np.average(one, weights=weights)
        slow = slow_quantiles((one - mean), weights, edges)
        slow = slow / np.sqrt(np.average((one - mean) ** 2, weights=weights))
        assert np.allclose(weighted.select("quantile", region=region)["quantile"], slow)


def test_quantile_means_of_a_gaussian_are_those_of_its_density():
    st = Pdf.plane((64, 64), scales=1, quantiles=6)
    normal = scipy.stats.norm.ppf((np.arange(4096) + 0.5) / 4096).reshape(64, 64)
    edges = st.shape.edges
    at = scipy.stats.norm.pdf(scipy.stats.norm.ppf(edges))
    assert np.allclose(st(normal)["quantile"], -np.diff(at) / np.diff(edges), atol=0.02)


def test_a_batch_is_its_maps_one_by_one(plain, maps, found):
    assert np.allclose(found.vector[2], plain(maps[2]).vector)


def test_statistics_do_not_depend_on_masked_cells():
    mask = np.ones((16, 16))
    mask[:, :6] = 0.0
    st = Pdf.plane((16, 16), scales=1, weights=mask)
    values = np.random.default_rng(5).standard_normal((16, 16))
    other = np.where(mask > 0, values, 9.0)
    assert np.allclose(st(values).vector, st(other).vector)
    holes = np.where(mask > 0, values, np.nan)
    found = Pdf.plane((16, 16), scales=1)(holes)
    assert found.masked == 96
    assert np.allclose(found.vector, st(values).vector)


def test_units_drop_out(plain, maps):
    one, two = plain(maps[0]), plain(3.0 * maps[0] + 1.0)
    for order in ("moment", "quantile"):
        assert np.allclose(one[order], two[order])
    doubled = plain(2.0 * maps[0], reference=one)
    assert np.allclose(doubled["quantile"], 2.0 * one["quantile"])
    assert np.allclose(doubled["moment"], np.asarray(one["moment"]) * [8.0, 16.0, 8.0, 16.0])


def test_gradient_is_the_difference(cut):
    generator = np.random.default_rng(7)
    values, step = generator.standard_normal((2, 16, 16))
    slope = jax.jvp(lambda x: cut(x).vector, (jnp.asarray(values),), (jnp.asarray(step),))[1]
    ahead, behind = cut(values + 1e-6 * step).vector, cut(values - 1e-6 * step).vector
    assert np.allclose(slope, (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-6)


def test_moments_on_the_sphere_are_exact_averages():
    st = Pdf.sphere(nside=8, lmax=8, scales=2, quantiles=4)
    alm = np.random.default_rng(8).standard_normal((1, 1, 81))
    fields = st.domain.of_unknowns(jnp.asarray(alm))
    moments = eqx.filter_jit(st.moments)(fields)
    grid = GaussLegendre(24)
    wide = jnp.zeros((1, grid.size), complex)
    values = []
    index = [(ell, m) for m in range(9) for ell in range(m, 9)]
    where = np.array([m * (2 * 24 + 1 - m) // 2 + ell for ell, m in index])
    values = grid.synthesis(wide.at[:, where].set(fields[0]), (0,))[0, 0]
    mean = values @ grid.weights
    for number, found in zip((2, 3, 4), (moments[1][0, 0], *moments[2][0]), strict=True):
        assert np.isclose(found, (values - mean) ** number @ grid.weights)
    assert np.isclose(moments[3][0, ::3].sum(), moments[1][0, 0])
    assert np.isclose(moments[4][0] @ np.diff(st.shape.edges), 0.0, atol=1e-12)


def test_weights_on_the_sphere_are_those_of_the_cells():
    mask = np.zeros(768)
    mask[:500] = 1.0
    st = Pdf.sphere(nside=8, lmax=8, scales=2, quantiles=4, weights=mask)
    fields = st.domain.of_unknowns(jnp.asarray(np.random.default_rng(9).normal(size=(1, 1, 81))))
    moments = eqx.filter_jit(st.moments)(fields)
    grid = GaussLegendre(16)
    values = np.asarray(st.bands.seen(fields, None))[0, 0]
    weights = mask[hp.ang2pix(8, *grid.directions())] * grid.weights
    mean = np.average(values, weights=weights)
    assert np.isclose(moments[0][0, 0], mean)
    assert np.isclose(moments[2][0, 0], np.average((values - mean) ** 3, weights=weights))
    assert st.layout == Pdf.sphere(nside=8, lmax=8, scales=2, quantiles=4).layout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pdf.plane((16, 16), scales=9), "scales: expected 1 to 3"),
        (lambda: Pdf.plane((16, 16), quantiles=1), "quantiles: expected 2 or more"),
        (lambda: Pdf.sphere(8, scales=9), "scales: expected 1 to 4"),
        (lambda: Pdf.plane((16, 16), scales=1)(np.ones((16, 16))), "none at channel 0, scale 0"),
        (
            lambda: Pdf.plane((16, 16), scales=3, weights=np.pad(np.ones((2, 2)), (0, 14))),
            "away from the mask",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
