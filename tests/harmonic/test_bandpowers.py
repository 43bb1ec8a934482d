import numpy as np
import pytest

from skysift.harmonic import Bandpowers, Bins


def test_bins_average_with_the_number_of_modes():
    bins = Bins(np.array([2, 5, 6]))
    cl = np.arange(10.0) ** 2
    ell = np.arange(2, 5)
    expected = [np.sum((2 * ell + 1) * cl[2:5]) / np.sum(2 * ell + 1), 25.0]
    np.testing.assert_allclose(bins.matrix(9) @ cl, expected)
    assert bins.modes.tolist() == [5 + 7 + 9, 11]
    assert bins.lmax == 5
    assert (bins.spread(9).sum(axis=1) == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]).all()


@pytest.mark.parametrize("edges", [[2], [2, 2, 5], [5, 2], [-1, 3], [2.5, 4], [[2, 3], [4, 5]], []])
def test_edges_that_are_no_bins_are_refused(edges):
    with pytest.raises(ValueError, match="edges: expected at least two growing whole numbers"):
        Bins(np.array(edges))


def test_bins_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="width: expected 1 to 9"):
        Bins.linear(2, 10, 20)
    with pytest.raises(ValueError, match="bins: expected multipoles up to 8"):
        Bins.each(2, 10).matrix(8)
    assert Bins.linear(2, 10, 4).lmax == 9


def _powers():
    rng = np.random.default_rng(0)
    bins = Bins.linear(2, 9, 4)
    windows = {name: rng.random((2, 12)) for name in ("EE", "BB", "EB")}
    leakage = {name: rng.random((2, 12)) for name in ("EE", "BB")}
    return Bandpowers({n: rng.random((3, 2)) for n in windows}, windows, leakage, bins, 0.4)


def test_expectation_is_windows_and_leakage_on_theory():
    powers = _powers()
    cl = np.random.default_rng(1).random((6, 12))
    expected = powers.expected(cl)
    np.testing.assert_allclose(
        expected["BB"], powers.windows["BB"] @ cl[2] + powers.leakage["BB"] @ cl[1]
    )
    np.testing.assert_allclose(expected["EB"], powers.windows["EB"] @ cl[4])
    longer = np.concatenate([cl, np.ones((6, 5))], axis=1)
    np.testing.assert_allclose(powers.expected(longer)["EE"], expected["EE"])
    for bad in (cl[:, :9], cl[:3], cl[0]):
        with pytest.raises(ValueError, match="cl: expected TT, EE, BB, TE"):
            powers.expected(bad)


def test_datasets_give_bandpowers_back():
    powers = _powers()
    again = Bandpowers.from_dataset(powers.to_dataset())
    assert again.fsky == powers.fsky
    assert np.array_equal(again.bins.edges, powers.bins.edges)
    np.testing.assert_allclose(again.modes, 0.4 * powers.bins.modes)
    for name, values in powers.values.items():
        assert np.array_equal(again.values[name], values)
        assert np.array_equal(again.windows[name], powers.windows[name])
    assert set(again.leakage) == {"EE", "BB"}
    with pytest.raises(ValueError, match="data: expected bandpowers"):
        Bandpowers.from_dataset(powers.to_dataset().drop_vars("edges"))
