import healpy as hp
import jax
import numpy as np
import pytest

from skysift.scattering import Covariance

from .fields import red_noise, red_sky


@pytest.fixture(scope="module")
def statistic():
    return Covariance.plane((16, 16), 2, 2)


@pytest.fixture(scope="module")
def field():
    return red_noise((16, 16))


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a.vector, b.vector, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("missing", [np.nan, np.inf, hp.UNSEEN])
def test_missing_cells_are_left_out_and_counted(statistic, field, missing):
    broken = field.copy()
    broken[3, 4:7] = missing
    phi = statistic(broken)
    assert phi.masked == 3
    kept = np.ones((16, 16))
    kept[3, 4:7] = 0.0
    masked = Covariance.plane((16, 16), 2, 2, weights=kept)
    same(phi, masked(field))


def test_masked_array(statistic, field):
    hidden = np.zeros(field.shape, dtype=bool)
    hidden[5, 5] = True
    wrong = np.where(hidden, 1e6, field)
    phi = statistic(np.ma.array(wrong, mask=hidden))
    assert phi.masked == 1
    same(phi, statistic(np.where(hidden, np.nan, field)))


@pytest.mark.parametrize("kind", ["<f4", ">f4", ">f8", "f2", "i2"])
def test_types_of_maps(statistic, field, kind):
    values = (np.round(100.0 * field) if kind == "i2" else field).astype(kind)
    phi = statistic(values)
    expected = np.float32 if kind in ("<f4", ">f4") else np.float64
    assert phi["S1"].dtype == expected
    same(phi, statistic(values.astype(float)), 1e-4 if expected == np.float32 else 1e-12)


def test_other_maps_are_refused(statistic, field):
    with pytest.raises(ValueError, match="maps: expected real numbers, got complex128"):
        statistic(field + 1j)
    with pytest.raises(ValueError, match=r"maps: expected shape \(..., 16, 16\), got \(16, 15\)"):
        statistic(field[:, :15])
    with pytest.raises(ValueError, match="maps: expected shape"):
        Covariance.plane((16, 16), 2, 2, channels=2)(field)


@pytest.mark.parametrize("constant", [0.0, 3.0, -1e9])
def test_constant_maps_are_refused(statistic, constant):
    with pytest.raises(ValueError, match="maps: expected fields with power at every scale"):
        statistic(np.full((16, 16), constant))


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_constant_spheres_are_refused(constant):
    with pytest.raises(ValueError, match="maps: expected fields with power at every scale"):
        Covariance.sphere(4, 2)(np.full(192, constant))


def test_large_offset_of_another_map_is_no_matter(statistic, field):
    phi = statistic(np.stack([field, 1e-9 * field, 1e9 + 1e-2 * field]))
    np.testing.assert_allclose(phi["S1"][1], phi["S1"][0], rtol=1e-9)


def test_everything_missing_is_refused(statistic, field):
    with pytest.raises(ValueError, match="got none in region 0. Keep more cells"):
        statistic(np.full(field.shape, np.nan))


def test_reference_of_another_configuration_is_refused(statistic, field):
    for other in (
        Covariance.plane((16, 16), 1, 2)(field),
        statistic(field).select("S1"),
        Covariance.sphere(4, 2)(red_sky(4, 8)),
    ):
        with pytest.raises(ValueError, match="reference: expected statistics of scattering cov"):
            statistic(field, reference=other)


def test_reference_of_another_number_of_fields_is_refused(statistic):
    x = red_noise((16, 16), batch=(3,))
    with pytest.raises(ValueError, match=r"reference: expected the statistics of one field or of"):
        statistic(x, reference=statistic(x[:2]))
    same(statistic(x, reference=statistic(x)), statistic(x))


def test_traced_maps(statistic, field):
    vector = jax.jit(lambda one: statistic(one).vector)(field)
    np.testing.assert_allclose(vector, statistic(field).vector, atol=1e-12)
    mapped = jax.vmap(lambda one: statistic(one).vector)(red_noise((16, 16), batch=(2,)))
    expected = statistic(red_noise((16, 16), batch=(2,))).vector
    np.testing.assert_allclose(mapped, expected, atol=1e-12)


def test_values_too_large_for_their_type_are_refused(statistic, field):
    with pytest.raises(ValueError, match="maps: expected values whose powers float32 can hold"):
        statistic((1e22 * field).astype(np.float32))
