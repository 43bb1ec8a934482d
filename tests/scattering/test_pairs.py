import itertools

import numpy as np
import pytest

from skysift.scattering.layout import Order
from skysift.scattering.pairs import Rows, covariance_tables


def rows(channels=1, odd=(False, True), odd_channels=None):
    return Rows(
        scales=3,
        channels=channels,
        modes=tuple((mode,) for mode in range(len(odd))),
        mode_axes=("kind",),
        odd=odd,
        odd_channels=odd_channels or (False,) * channels,
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_every_product_is_there_once(channels):
    _, third, fourth = covariance_tables(rows(channels, (False, False)), None, 1)
    for table in (third, fourth):
        assert len({tuple(row) for row in table.index.tolist()}) == table.size
    wanted = set()
    for j1, j2, j3 in itertools.product(range(3), repeat=3):
        for a, b, k2, k3 in itertools.product(*[range(channels)] * 2, range(2), range(2)):
            if j3 <= j2 <= j1 and (j2 != j3 or a >= b):
                wanted.add((0, a, b, j1, j2, j3, k2, k3))
    assert {tuple(row) for row in fourth.index.tolist()} == wanted
    assert third.size == channels**2 * 2 * 6


def test_odd_products_are_left_out():
    second, third, fourth = covariance_tables(rows(2, odd_channels=(False, True)), None, 1)
    assert np.all(second.column("channel") == second.column("channel2"))
    # An even map goes with even kinds, a pseudoscalar with odd ones.
    np.testing.assert_array_equal(third.column("channel"), third.column("kind2"))
    np.testing.assert_array_equal(fourth.column("kind2"), fourth.column("kind3"))


def test_orientations_and_regions():
    first, third, fourth = covariance_tables(rows(), 4, 2)
    assert [one.order for one in (first, third, fourth)] == [Order.S2, Order.S3, Order.S4]
    assert third.complex
    assert not first.complex
    for table in (first, third, fourth):
        assert set(table.column("region")) == {0, 1}
        assert set(table.column("orientation")) == {0, 1, 2, 3}
    assert first.size == 2 * 3 * 4
