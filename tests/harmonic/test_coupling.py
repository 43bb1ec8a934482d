import numpy as np
import pytest
from ducc0.misc.experimental import coupling_matrix_rect

from skysift.harmonic.coupling import Kernel, couplings

from ..oracles.wigner import wigner_3j

POWER = 1.0 / (1.0 + np.arange(9.0)) ** 2


def _kernel(kind, l1, l2, l3):
    if kind is Kernel.SCALAR:
        return wigner_3j(l1, l2, l3, 0, 0, 0)
    value = wigner_3j(l1, l2, l3, 2, -2, 0)
    if kind is Kernel.SPIN2:
        return value
    up = l3 * (l3 + 1) / ((l1 + 2) * (l1 - 1))
    twice = (l3 + 2) * (l3 + 1) * l3 * (l3 - 1) / ((l1 + 2) * (l1 + 1) * l1 * (l1 - 1))
    value += 2 * np.sqrt(up) * wigner_3j(l1, l2, l3, 1, -2, 1)
    return value + np.sqrt(max(twice, 0)) * wigner_3j(l1, l2, l3, 0, -2, 2)


@pytest.mark.parametrize(
    "pair",
    [
        (Kernel.SCALAR, Kernel.SCALAR),
        (Kernel.SCALAR, Kernel.SPIN2),
        (Kernel.SPIN2, Kernel.SPIN2),
        (Kernel.SPIN2, Kernel.PURE),
        (Kernel.PURE, Kernel.PURE),
    ],
)
def test_matrices_are_sums_of_wigner_symbols(pair):
    lmax1, lmax2 = 5, 7
    found = couplings(POWER, lmax1, lmax2, [pair])[0]
    for l1 in range(2, lmax1 + 1):
        for l2 in range(lmax2 + 1):
            sums = [0.0, 0.0]
            for l3, power in enumerate(POWER):
                product = _kernel(pair[0], l1, l2, l3) * _kernel(pair[1], l1, l2, l3)
                sums[(l1 + l2 + l3) % 2] += (2 * l3 + 1) * power * product
            scale = (2 * l2 + 1) / (4 * np.pi)
            assert found.even[l1, l2] == pytest.approx(scale * sums[0], abs=1e-12)
            assert found.odd[l1, l2] == pytest.approx(scale * sums[1], abs=1e-12)


def test_matrices_are_those_of_ducc0():
    pairs = [(Kernel.SCALAR,) * 2, (Kernel.SCALAR, Kernel.SPIN2), (Kernel.SPIN2,) * 2]
    size, power = 40, 1.0 / (1.0 + np.arange(40.0)) ** 2
    scalar, mixed, spin2 = couplings(power, size - 1, size - 1, pairs)
    # ducc0 leaves the 2 l2 + 1 of the sky out; 4 gives the even and the odd matrix.
    ducc = coupling_matrix_rect(np.stack([power] * 3), [0, 1, 4], np.zeros((4, size, size)))
    expected = ducc * (2 * np.arange(size) + 1)
    found = np.stack([scalar.even, mixed.even, spin2.even, spin2.odd])
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_the_full_sky_couples_nothing():
    whole = np.array([4 * np.pi])
    scalar, spin2 = couplings(whole, 6, 8, [(Kernel.SCALAR,) * 2, (Kernel.SPIN2,) * 2])
    np.testing.assert_allclose(scalar.even, np.eye(7, 9), atol=1e-13)
    np.testing.assert_allclose(spin2.even[2:], np.eye(7, 9)[2:], atol=1e-13)
    assert np.abs(spin2.odd).max() < 1e-13


def test_purified_b_modes_take_nothing_from_e():
    matrix = couplings(POWER, 20, 30, [(Kernel.PURE, Kernel.PURE)])[0]
    assert np.abs(matrix.odd).max() < 1e-20 * np.abs(matrix.even).max()
    plain = couplings(POWER, 20, 30, [(Kernel.SPIN2, Kernel.SPIN2)])[0]
    assert np.abs(plain.odd).max() > 1e-3 * np.abs(plain.even).max()
