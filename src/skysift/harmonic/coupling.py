r"""How a weighted sky mixes multipoles, and E with B.

With the power spectrum $W_\ell$ of the weights, pseudo-spectra are on average
$\tilde C_{\ell_1} = \sum_{\ell_2} M_{\ell_1 \ell_2} C_{\ell_2}$ with

$$M_{\ell_1 \ell_2} = \frac{2 \ell_2 + 1}{4 \pi} \sum_{\ell_3} (2 \ell_3 + 1) W_{\ell_3}
  K^X_{\ell_1 \ell_2 \ell_3} K^Y_{\ell_1 \ell_2 \ell_3},$$

where the kernel K of a field is a Wigner 3j symbol (Hivon et al. 2002, ApJ 567, 2; Brown, Castro &
Taylor 2005, MNRAS 360, 1262). Sums over even $\ell_1 + \ell_2 + \ell_3$ keep E and B, odd ones
exchange them. Purified B has a sum of three symbols (Smith 2006, PRD 74, 083002; Alonso, Sanchez &
Slosar 2019, MNRAS 484, 4127, section 2.5), whose odd part vanishes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from ducc0.misc import wigner3j_int
from jaxtyping import Float


class Kernel(enum.Enum):
    """How a field is weighted: a scalar, spin 2, or spin 2 with what the weights mix taken out."""

    SCALAR = "scalar"
    SPIN2 = "spin 2"
    PURE = "pure"


@dataclass(frozen=True, eq=False)
class Coupling:
    """Coupling matrices of two fields.

    Args:
        even: of a spectrum with itself.
        odd: of EE and BB with each other.
    """

    even: Float[np.ndarray, "ell1 ell2"]
    odd: Float[np.ndarray, "ell1 ell2"]


def couplings(
    power: Float[np.ndarray, " ell3"], lmax1: int, lmax2: int, pairs: list[tuple[Kernel, Kernel]]
) -> list[Coupling]:
    """Coupling matrices for pairs of fields.

    Args:
        power: spectrum of the weights from l = 0; zero beyond.
        lmax1: largest multipole of the pseudo-spectra.
        lmax2: largest multipole of the sky.
        pairs: kernels of the two fields of each matrix.

    Examples:
        >>> whole = np.array([4 * np.pi])
        >>> matrix = couplings(whole, 4, 4, [(Kernel.SCALAR, Kernel.SCALAR)])[0].even
        >>> bool(np.allclose(matrix, np.eye(5)))
        True
    """
    weight = (2.0 * np.arange(power.size) + 1) * power / (4.0 * np.pi)
    kinds = {kind for pair in pairs for kind in pair}
    out = [
        Coupling(np.zeros((lmax1 + 1, lmax2 + 1)), np.zeros((lmax1 + 1, lmax2 + 1))) for _ in pairs
    ]
    sky = 2.0 * np.arange(lmax2 + 1) + 1
    # l1 + l2 + l3 is even where l2 + l3 is as even as l1.
    sums = (np.arange(lmax2 + 1)[:, None] + np.arange(power.size)) % 2
    for l1 in range(lmax1 + 1):
        kernels = {kind: _kernel(kind, l1, lmax2, power.size) for kind in kinds}
        for (one, two), matrix in zip(pairs, out, strict=True):
            product = kernels[one] * kernels[two]
            even = sums == l1 % 2
            matrix.even[l1] = sky * (np.where(even, product, 0.0) @ weight)
            matrix.odd[l1] = sky * (np.where(even, 0.0, product) @ weight)
    return out


def _kernel(kind: Kernel, l1: int, lmax2: int, size: int) -> Float[np.ndarray, "ell2 ell3"]:
    if kind is Kernel.SCALAR:
        return _symbols(l1, lmax2, size, 0, 0)
    spin2 = _symbols(l1, lmax2, size, 2, -2)
    if kind is Kernel.SPIN2 or l1 < 2:
        return spin2
    l3 = np.arange(size)
    once = 2.0 * np.sqrt(l3 * (l3 + 1.0) / ((l1 + 2.0) * (l1 - 1.0)))
    twice = np.sqrt(
        np.maximum((l3 + 2.0) * (l3 + 1.0) * l3 * (l3 - 1.0), 0.0)
        / ((l1 + 2.0) * (l1 + 1.0) * l1 * (l1 - 1.0))
    )
    return (
        spin2 + once * _symbols(l1, lmax2, size, 1, -2) + twice * _symbols(l1, lmax2, size, 0, -2)
    )


def _symbols(l1: int, lmax2: int, size: int, m1: int, m2: int) -> Float[np.ndarray, "ell2 ell3"]:
    """Wigner 3j symbols (l1 l2 l3; m1 m2 -m1-m2) for all l2 and l3."""
    table = np.zeros((lmax2 + 1, size))
    if l1 < abs(m1):
        return table
    for l2 in range(abs(m2), lmax2 + 1):
        first, values = wigner3j_int(l1, l2, m1, m2)
        last = min(first + values.size, size)
        if last > first:
            table[l2, first:last] = values[: last - first]
    return table
