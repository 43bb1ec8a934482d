import numpy as np
import pytest

from skysift.scattering import Covariance
from skysift.scattering.layout import Layout, Order, Table, by_region, order_of


def table(order=Order.S1, rows=3, is_complex=False):
    return Table(order, ("scale",), np.arange(rows)[:, None], is_complex)


def test_layout_is_equal_by_value():
    one = Layout((table(), table(Order.S2)), "here")
    assert one == Layout((table(), table(Order.S2)), "here")
    assert hash(one) == hash(Layout((table(), table(Order.S2)), "here"))
    for other in (
        Layout((table(), table(Order.S2)), "there"),
        Layout((table(), table(Order.S2, 4)), "here"),
        Layout((table(), table(Order.S2, is_complex=True)), "here"),
        Layout((table(),), "here"),
    ):
        assert one != other


def test_layout_counts_complex_coefficients_twice():
    assert Layout((table(), table(Order.S3, 4, is_complex=True)), "").n_coefficients == 3 + 8


def test_layout_of_a_statistic_is_made_once():
    st = Covariance.plane((16, 16), 2, 2)
    again = Covariance.plane((16, 16), 2, 2)
    assert st.layout is again.layout
    assert Covariance.plane((16, 16), 2, 3).layout != st.layout


def test_names():
    assert order_of("S3") is Order.S3
    layout = Layout((table(),), "")
    with pytest.raises(ValueError, match="order: expected one of mean, .*got 'S9'"):
        order_of("S9")
    with pytest.raises(ValueError, match="order: expected one of S1, got 'S2'"):
        layout["S2"]
    with pytest.raises(ValueError, match="axis: expected one of scale of S1, got 'turn'"):
        layout["S1"].column("turn")


def test_by_region():
    rows = by_region(np.array([[5], [6]]), 2)
    np.testing.assert_array_equal(rows, [[0, 5], [0, 6], [1, 5], [1, 6]])
