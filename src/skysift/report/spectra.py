"""Angular power spectra of the recovered CMB for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.harmonic import Bandpowers, CMBSpectra, PseudoOptions, PseudoSpectra
from skysift.maps import Maps, Stokes
from skysift.report.data import ReportData
from skysift.report.views import ComponentView


@dataclass(frozen=True, eq=False)
class Spectrum:
    """EE and BB of one curve.

    Args:
        name: for the legend.
        ell: multipoles.
        ee: C_l [uK_CMB^2].
        bb: C_l [uK_CMB^2].
        is_theory: whether it is a smooth curve rather than a measurement.
    """

    name: str
    ell: Float[np.ndarray, " ell"]
    ee: Float[np.ndarray, " ell"]
    bb: Float[np.ndarray, " ell"]
    is_theory: bool = False

    def __post_init__(self) -> None:
        if not self.ell.shape == self.ee.shape == self.bb.shape:
            raise ValueError(
                f"spectrum {self.name}: expected ell, EE and BB of one length, got shapes "
                f"{self.ell.shape}, {self.ee.shape} and {self.bb.shape}."
            )


def cmb_spectra(data: ReportData, theory: CMBSpectra | None = None) -> tuple[Spectrum, ...]:
    """Spectra of the recovered CMB, of its input and the difference, theory and noise.

    Freed from the mask and purified; on masks too small for that, pseudo-spectra over the sky
    fraction, in which some E power appears as B.

    Args:
        data: of a polarised fit.
        theory: curve to compare with, drawn for r = 0.

    Returns:
        Nothing where there is no polarised CMB or no place on the sphere.
    """
    cmb = next((c for c in data.components if c.name == "cmb"), None)
    if cmb is None or data.stokes is Stokes.I or data.grid.nside is None:
        return ()
    parts = {"recovered CMB": cmb.values}
    if cmb.truth is not None:
        parts["input CMB, same cells"] = cmb.truth
        parts["recovered − input"] = cmb.values - cmb.truth
    measured = _measured(np.stack(list(parts.values())), data)
    spectra = [
        Spectrum(name, measured.ell, ee, bb)
        for name, ee, bb in zip(parts, measured.values["EE"], measured.values["BB"], strict=True)
    ]
    top = measured.bins.lmax if theory is None else min(measured.bins.lmax, theory.lmax)
    ell = np.arange(2.0, top + 1)
    if theory is not None:
        _, ee, bb, _ = theory.cl(lmax=top)
        spectra.append(Spectrum("theory, r = 0", ell, ee[2:], bb[2:], is_theory=True))
    if data.weights_are_noise:
        spectra.append(_white_noise(cmb, data, ell))
    return tuple(spectra)


def binned(
    ell: Float[np.ndarray, " ell"], cl: Float[np.ndarray, " ell"], width: float = 0.12
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Means over bins of relative width `width`, weighted with 2 ell + 1.

    Examples:
        >>> ell = np.arange(2.0, 100.0)
        >>> centre, mean = binned(ell, np.full(ell.shape, 3.0))
        >>> bool(np.allclose(mean, 3.0)), centre.size < ell.size
        (True, True)
    """
    edges = [ell[0]]
    while edges[-1] <= ell[-1]:
        edges.append(max(edges[-1] + 1, np.floor(edges[-1] * (1 + width))))
    which = np.digitize(ell, edges) - 1
    weight = 2 * ell + 1
    total = np.bincount(which, weight)
    keep = total > 0
    centre = np.bincount(which, weight * ell)[keep] / total[keep]
    return centre, np.bincount(which, weight * cl)[keep] / total[keep]


def _measured(values: Float[np.ndarray, "map stokes cell"], data: ReportData) -> Bandpowers:
    letters = data.stokes.value
    polarised = values[:, [letters.index("Q"), letters.index("U")]]
    known = np.isfinite(polarised).all(axis=(0, 1))
    grid = Grid(data.grid.nside, data.grid.ordering, data.grid.index[known])
    maps = Maps(polarised[..., known], grid, Stokes.QU)
    try:
        return PseudoSpectra.of(grid)(maps)
    except ValueError:  # the mask leaves nothing to purify, or cannot tell the bins apart
        plain = PseudoOptions(apodisation=0.0, purify=False, decouple=False)
        return PseudoSpectra.of(grid, plain)(maps)


def _white_noise(component: ComponentView, data: ReportData, ell: np.ndarray) -> Spectrum:
    polarised = np.array(data.stokes.polarised)
    level = np.nanmean(component.errors[polarised] ** 2) * 4 * np.pi / data.grid.npix
    flat = np.full(ell.shape, level)
    return Spectrum("white noise of the map errors", ell, flat, flat, is_theory=True)
