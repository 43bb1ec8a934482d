"""Packaged templates of the Galaxy at nside 64, brought to any resolution.

Coarser than nside 64, a value is the mean over the cells it holds.

Finer than nside 64, the template is continued so that no cell edges of nside 64 are left. Its
harmonic coefficients, divided by the pixel window of nside 64, are kept whole to l = 120 and faded
out by a cosine to l = 176. The power that is taken away there, and all power above, is drawn as a
Gaussian field of the power law C_l = A (l / 80)^slope fitted to the template's own full-sky
spectrum over 30 <= l < 100. A slope flatter than -2.5 is noise and point sources and taken as -2.5:

- Polarisation: E and B fields with the slopes of EE and BB. Q and U of the drawn field are
  multiplied by the polarised intensity of the template smoothed to 5 degrees, over its root mean
  square on the sphere. The full-sky power continues the law while the small scales follow the
  Galaxy.
- Intensity: the same for log(I + I0), with I0 the tenth percentile of the template or a tenth of
  its mean, whichever is larger. Fluctuations are then multiplicative where the Galaxy is bright and
  follow it by themselves. Where it is much fainter than I0 (half the sky in free-free) they are
  additive, and the rare negative values are set to zero.
- Spectral parameters: no small scales are added, and values stay inside the template's range.

The field drawn depends on the seed and not on the resolution. It is Gaussian where the real sky is
not: it fills the spectrum, it does not invent filaments (compare Thorne et al. 2017, MNRAS 469,
2821, section 3.1.2, for the same kind of extension).
"""

from __future__ import annotations

import functools
from importlib import resources

import healpy as hp
import numpy as np
from jaxtyping import Complex, Float

from skysift.harmonic import SHT, cross_cl, gaussian_alm, multipoles

NSIDE = 64
_KEPT, _FADED = 120, 176
_FIT = slice(30, 100)
_PIVOT = 80.0
_FLATTEST = -2.5
_MODULATION_FWHM = 5.0


@functools.cache
def template(name: str) -> Float[np.ndarray, " cell"]:
    """A packaged map as it is stored: nside 64, RING, Galactic coordinates, read-only.

    Args:
        name: `<component>_<Stokes>_<GHz>` in uK_RJ, or `<component>_<parameter>_<model>`.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> template("dust_temp_d1").shape
        (49152,)
    """
    with (
        (resources.files("skysift") / "data/templates_nside64.npz").open("rb") as file,
        np.load(file) as table,
    ):
        if name not in table:
            raise ValueError(f"name: expected one of {', '.join(table.files)}, got {name!r}.")
        values = table[name].astype(float)
    values.flags.writeable = False
    return values


def parameter(name: str, nside: int) -> Float[np.ndarray, " cell"]:
    """A spectral-parameter map at any resolution, within the range of the template."""
    return regraded_parameter(template(name), nside)


def regraded_parameter(
    values: Float[np.ndarray, " cell"], nside: int
) -> Float[np.ndarray, " target"]:
    """A map of nside 64 at any resolution, within its own range."""
    if nside <= NSIDE:
        return _mean(values, nside)
    smooth = SHT(nside, _FADED).synthesis(_faded(_analysed(values)))
    return np.clip(smooth, values.min(), values.max())


def intensity(name: str, nside: int, generator: np.random.Generator) -> Float[np.ndarray, "1 cell"]:
    """An intensity template at any resolution [uK_RJ], not negative.

    Args:
        name: of the packaged map.
        nside: resolution wanted.
        generator: of the small scales, used above nside 64.
    """
    values = template(name)
    if nside <= NSIDE:
        return _mean(values, nside)[None]
    floor = max(np.percentile(values, 10), 0.1 * values.mean())
    alm = _analysed(np.log(values + floor))
    power = _continued(_law(cross_cl(alm, alm, _FADED)), 3 * nside - 1)
    drawn = gaussian_alm(np.stack([power, *np.zeros((3, power.size))]), generator)[0]
    smooth = SHT(nside, _FADED).synthesis(_faded(alm))
    detail = SHT(nside, 3 * nside - 1).synthesis(drawn)
    # The mean of a log-normal factor exceeds one by half its variance.
    detail -= 0.5 * np.sum((2 * np.arange(power.size) + 1) * power) / (4 * np.pi)
    return np.maximum(np.exp(smooth + detail) - floor, 0.0)[None]


def polarisation(
    names: tuple[str, str], nside: int, generator: np.random.Generator
) -> Float[np.ndarray, "2 cell"]:
    """Q and U templates at any resolution [uK_RJ], COSMO convention.

    Args:
        names: of the packaged Q and U maps.
        nside: resolution wanted.
        generator: of the small scales, used above nside 64.
    """
    values = np.stack([template(name) for name in names])
    if nside <= NSIDE:
        return np.stack([_mean(value, nside) for value in values])
    alm = _analysed(values, spin=2)
    ee, bb = (_continued(_law(cl), 3 * nside - 1) for cl in cross_cl(alm, alm, _FADED))
    zero = np.zeros_like(ee)
    drawn = gaussian_alm(np.stack([zero, ee, bb, zero]), generator)[1:]
    smooth = SHT(nside, _FADED).synthesis(_faded(alm), spin=2)
    detail = SHT(nside, 3 * nside - 1).synthesis(drawn, spin=2)
    return smooth + detail * _modulation(np.hypot(*values), nside)


def _mean(values: Float[np.ndarray, " cell"], nside: int) -> Float[np.ndarray, " target"]:
    return np.array(values) if nside == NSIDE else hp.ud_grade(values, nside)


def _analysed(
    values: Float[np.ndarray, "*pair cell"], spin: int = 0
) -> Complex[np.ndarray, "*pair alm"]:
    """Coefficients to l = 176 of what the cells of nside 64 are averages of."""
    ell = multipoles(_FADED)[0]
    # Second moment of a square of the cell's area, averaged over its orientation.
    window = np.exp(-ell * (ell + 1) * hp.nside2resol(NSIDE) ** 2 / 24.0)
    return SHT(NSIDE, _FADED).analysis(values, spin) / window


def _fade(lmax: int) -> Float[np.ndarray, " ell"]:
    position = np.clip((np.arange(lmax + 1) - _KEPT) / (_FADED - _KEPT), 0.0, 1.0)
    return np.cos(0.5 * np.pi * position)


def _faded(alm: Complex[np.ndarray, "*pair alm"]) -> Complex[np.ndarray, "*pair alm"]:
    return alm * _fade(_FADED)[multipoles(_FADED)[0]]


def _law(cl: Float[np.ndarray, " ell"]) -> tuple[float, float]:
    """Amplitude at l = 80 and slope of a power law, by least squares in the logarithm."""
    ell = np.arange(cl.size)[_FIT]
    slope, level = np.polyfit(np.log(ell / _PIVOT), np.log(cl[_FIT]), 1, w=np.sqrt(2 * ell + 1))
    return float(np.exp(level)), min(float(slope), _FLATTEST)


def _continued(law: tuple[float, float], lmax: int) -> Float[np.ndarray, " ell"]:
    """The power that the faded template lacks."""
    amplitude, slope = law
    ell = np.maximum(np.arange(lmax + 1), 1)
    return amplitude * (ell / _PIVOT) ** slope * (1.0 - _fade(lmax) ** 2)


def _modulation(level: Float[np.ndarray, " cell"], nside: int) -> Float[np.ndarray, " target"]:
    beam = hp.gauss_beam(np.radians(_MODULATION_FWHM), lmax=_FADED)
    alm = SHT(NSIDE, _FADED).analysis(level) * beam[multipoles(_FADED)[0]]
    smooth = np.maximum(SHT(nside, _FADED).synthesis(alm), 0.0)
    return smooth / np.sqrt(np.mean(smooth**2))
