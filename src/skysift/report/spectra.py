"""Angular power spectra of the recovered CMB for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skysift.harmonic import CMBSpectra, auto_spectra
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

    Pseudo-C_l over the sky fraction: right on average for power that varies slowly with multipole,
    but on a cut sky some E power appears as B.

    Args:
        data: of a polarised fit.
        theory: curve to compare with, drawn for r = 0.

    Returns:
        Nothing where there is no polarised CMB or no place on the sphere.
    """
    cmb = next((c for c in data.components if c.name == "cmb"), None)
    if cmb is None or data.stokes is Stokes.I or data.grid.nside is None:
        return ()
    spectra = [_pseudo("recovered CMB", cmb.values, data)]
    if cmb.truth is not None:
        spectra.append(_pseudo("input CMB, same cells", cmb.truth, data))
        spectra.append(_pseudo("recovered − input", cmb.values - cmb.truth, data))
    ell = spectra[0].ell
    if theory is not None:
        top = min(int(ell[-1]), theory.lmax)
        _, ee, bb, _ = theory.cl(lmax=top)
        spectra.append(Spectrum("theory, r = 0", ell[: top - 1], ee[2:], bb[2:], is_theory=True))
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


def _pseudo(name: str, values: Float[np.ndarray, "stokes cell"], data: ReportData) -> Spectrum:
    letters, lmax = data.stokes.value, 2 * data.grid.require_nside()
    polarised = values[[letters.index("Q"), letters.index("U")]]
    # One iteration brings the quadrature error far below the leakage of the cut sky.
    cl = auto_spectra(Maps(polarised, data.grid, Stokes.QU), lmax, iterations=1)
    return Spectrum(name, np.arange(2.0, lmax + 1), cl["EE"][2:], cl["BB"][2:])


def _white_noise(component: ComponentView, data: ReportData, ell: np.ndarray) -> Spectrum:
    polarised = np.array(data.stokes.polarised)
    level = np.nanmean(component.errors[polarised] ** 2) * 4 * np.pi / data.grid.npix
    flat = np.full(ell.shape, level)
    return Spectrum("white noise of the map errors", ell, flat, flat, is_theory=True)
