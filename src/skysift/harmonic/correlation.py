"""Correlation functions of fields on the sphere."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float


def correlations(
    spectra: Float[np.ndarray, "band ell"],
    spins: tuple[int, int],
    cosine: Float[np.ndarray, " angle"],
) -> Float[np.ndarray, "band angle"]:
    """Correlation functions: sums over l of `(2 l + 1) / (4 pi) C_l d^l_{m n}`.

    The Wigner functions come from their recursion in l (Varshalovich et al. 1988, section 4.8), up
    to a sign for all l.

    Args:
        spectra: from l = 0.
        spins: m and n, with `m >= |n|`.
        cosine: of the angles.
    """
    m, n = spins
    found = np.zeros((len(spectra), cosine.size))
    near, far = np.sqrt(0.5 * (1.0 + cosine)), np.sqrt(0.5 * (1.0 - cosine))
    before = np.zeros_like(cosine)
    now = math.sqrt(math.comb(2 * m, m - n)) * near ** (m + n) * far ** (m - n)
    for ell in range(m, spectra.shape[-1]):
        found += (2.0 * ell + 1.0) / (4.0 * np.pi) * spectra[:, ell, None] * now
        if ell == 0:
            before, now = now, cosine
            continue
        following = ell + 1
        up = ell * math.sqrt((following**2 - m**2) * (following**2 - n**2))
        down = following * math.sqrt((ell**2 - m**2) * (ell**2 - n**2))
        middle = (2 * ell + 1) * (ell * following * cosine - m * n)
        before, now = now, (middle * now - down * before) / up
    return found
