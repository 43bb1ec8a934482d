"""Spectra by NaMaster, for those who have it installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from skysift.harmonic.bandpowers import NAMES, Bandpowers
from skysift.harmonic.pseudo import PseudoSpectra
from skysift.maps import Maps, Stokes

# What a pair of NaMaster's fields gives; E stands for E and B, which it keeps in one field.
_PRODUCTS = {"TT": ["TT"], "EE": ["EE", "EB", "BE", "BB"], "TE": ["TE", "TB"]}


def namaster_spectra(estimator: PseudoSpectra, maps: Maps, other: Maps | None = None) -> Bandpowers:
    """What `estimator(maps, other)` gives, computed by NaMaster.

    Weights, bins, purification, smoothing and beams are the estimator's, transforms, coupling and
    decoupling NaMaster's: a check by other code, one map at a time.

    Args:
        estimator: of the mask, with `decouple`.
        maps: `(..., stokes, cell)` with a value in each kept cell, any ordering.
        other: to cross with, of the same shape; itself by default.

    Raises:
        ImportError: if pymaster is not installed.
        ValueError: for an estimator that does not decouple, and as the estimator does.

    References:
        Alonso, Sanchez & Slosar 2019, MNRAS 484, 4127.
    """
    if not estimator.options.decouple:
        raise ValueError(
            "estimator: expected one that decouples, got decouple=False. NaMaster's bandpowers are "
            "freed from the mask."
        )
    try:
        import pymaster  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "pymaster is not installed. Install it with `pip install 'skysift[namaster]'`, which "
            "compiles it with the libraries cfitsio, fftw and gsl, or call the estimator itself."
        ) from error
    one = estimator.prepared(maps)
    two = one if other is None else estimator.prepared(other)
    if one.shape != two.shape:
        raise ValueError(f"other: expected shape {one.shape} as the maps have, got {two.shape}.")
    bins, spaces = _bins(pymaster, estimator), {}
    found: dict[str, list[Float[np.ndarray, " bin"]]] = {}
    for index in np.ndindex(one.shape[:-2]):
        here, there = (
            _fields(pymaster, estimator, full[index], maps.stokes) for full in (one, two)
        )
        for pair, products in _PRODUCTS.items():
            if not set(pair) <= set(here):
                continue
            a, b = pair
            if pair not in spaces:
                spaces[pair] = pymaster.NmtWorkspace.from_fields(here[a], there[b], bins)
            # Of two maps with others there is the one with the other and the reverse.
            ways = [(here[a], there[b]), (there[a], here[b])]
            coupled = np.mean([pymaster.compute_coupled_cell(*way) for way in ways], axis=0)
            for product, power in zip(products, spaces[pair].decouple_cell(coupled), strict=True):
                found.setdefault(product, []).append(power)
    windows, leakage = {}, {}
    for pair, space in spaces.items():
        weights = space.get_bandpower_windows()
        for i, product in enumerate(_PRODUCTS[pair]):
            windows[product] = weights[i, :, i]
        if pair == "EE":
            leakage = {"EE": weights[0, :, 3], "BB": weights[3, :, 0]}
            windows["EB"] = weights[1, :, 1] + weights[1, :, 2]  # EB and BE of a sky are one
    order = [name for name in NAMES if name in found]
    return Bandpowers(
        {name: np.reshape(found[name], (*one.shape[:-2], -1)) for name in order},
        {name: windows[name] for name in order},
        leakage,
        estimator.bins,
        estimator.fsky,
    )


def _bins(pymaster: Any, estimator: PseudoSpectra) -> Any:
    ell = np.arange(3 * estimator.nside)
    which = np.digitize(ell, estimator.bins.edges) - 1
    which[ell > estimator.bins.lmax] = -1
    return pymaster.NmtBin(ells=ell, bpws=which, weights=2.0 * ell + 1.0, lmax=int(ell[-1]))


def _fields(
    pymaster: Any, estimator: PseudoSpectra, full: Float[np.ndarray, "stokes npix"], stokes: Stokes
) -> dict[str, Any]:
    """The fields of one sky: T of I, and E with B of Q and U."""
    lmax = 3 * estimator.nside - 1
    steps = estimator.options.iterations
    sizes = {"lmax": lmax, "lmax_mask": lmax, "n_iter": steps, "n_iter_mask": 3}
    fields = {}
    for letter, rows in (("T", full[:1]), ("E", full[-2:])):
        if ("I" if letter == "T" else "Q") in stokes.value:
            fields[letter] = pymaster.NmtField(
                estimator.weight,
                rows,
                beam=estimator.response[letter],
                purify_b=letter == "E" and bool(estimator.options.purify),
                **sizes,
            )
    return fields
