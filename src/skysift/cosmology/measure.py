"""The tensor-to-scalar ratio of a map of the CMB."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from skysift.cosmology.covariance import bandpower_covariance, leaked_power
from skysift.cosmology.likelihoods import AbstractLikelihood, HamimecheLewis
from skysift.cosmology.tensor_ratio import FreeLensing, TensorRatio, fit_r
from skysift.grid import Ordering
from skysift.harmonic import CMBSpectra, PseudoOptions, PseudoSpectra
from skysift.maps import Maps, Stokes, unseen_to_nan
from skysift.units import Unit

_CUT_LMIN = 12


class Form(enum.Enum):
    """Which likelihood bandpowers have."""

    FSKY = "fsky"
    HL = "hl"


@dataclass(frozen=True)
class RSettings:
    """How r is measured of maps; what `fit_r` takes too has the meaning that it has there.

    Args:
        lmin: smallest multipole, by default 2 on the full sky and 12 on a cut sky: below, there is
            more noise and leakage in purified power than there are B modes.
        lmax: largest multipole, by default that of the spectra.
        a_lens: amplitude of the lensing B modes, or free.
        r_range: where to look first.
        physical: keep r from falling below zero.
        form: of the likelihood, by default Hamimeche-Lewis with simulated covariance on a cut sky,
            the f_sky-scaled Wishart on the full sky, where it is exact.
        spectra: how power is estimated.
        simulations: for the covariance of the bandpowers.
        seed: of the simulations.
    """

    lmin: int | None = None
    lmax: int | None = None
    a_lens: float | FreeLensing = 1.0
    r_range: tuple[float, float] | None = None
    physical: bool = False
    form: Form | None = None
    spectra: PseudoOptions = field(default_factory=PseudoOptions)
    simulations: int = 300
    seed: int = 0


def measure_r(
    cmb: Maps,
    sigma: float | Float[np.ndarray, " npix"],
    *,
    other: Maps | None = None,
    mask: Bool[np.ndarray, " npix"] | None = None,
    settings: RSettings | None = None,
    theory: CMBSpectra | None = None,
) -> TensorRatio:
    """Measure r of a map of the CMB with white noise.

    For the Hamimeche-Lewis likelihood the covariance of the bandpowers is simulated, with the r
    that the f_sky-scaled form finds, and so is the power that E modes leave in B
    (`leaked_power`).

    Args:
        cmb: Q and U, or I, Q and U [uK_CMB], on a full or cut sky; missing values are left out.
        sigma: standard deviation of the noise in Q and U of each cell [uK_CMB], one number or a
            full-sky RING map.
        other: map of the same sky with independent noise of the same level: spectra are then those
            of one map with the other, without noise bias.
        mask: cells to use, full sky, RING; all by default.
        settings: how.
        theory: spectra of tensors and lensing, by default those that skies are simulated from.

    Raises:
        ValueError: for maps without polarisation, masks, noise or settings that do not fit.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("cr50", "LiteBIRD", nside=16, noise_ratio=0.0)
        >>> result = measure_r(sim.truth.components["cmb"], sigma=0.0)
        >>> bool(abs(result.r - 0.05) < 3 * result.sigma_plus)
        True
    """
    settings, theory = settings or RSettings(), theory or CMBSpectra.packaged()
    seen = _observed(cmb, mask)
    if other is not None:
        seen &= _observed(other, mask)
    level = np.broadcast_to(np.asarray(sigma, dtype=float), seen.shape)
    if not np.all(np.isfinite(level[seen])) or np.any(level[seen] < 0):
        raise ValueError(
            "sigma: expected finite standard deviations not below zero on all cells used, got "
            "others. Take cells without noise level out with the mask."
        )
    level = np.where(seen, level, 0.0)
    estimator = PseudoSpectra.of(seen, settings.spectra)
    observed = estimator(_polarised(cmb), None if other is None else _polarised(other))
    noise = estimator.noise_bias(level**2)["BB"]
    if other is not None:
        # Noise does not bias them, but it scatters them: as an offset it does nothing else.
        observed = dataclasses.replace(observed, values={"BB": observed.values["BB"] + noise})
    cut = not seen.all()
    lmin = (_CUT_LMIN if cut else 2) if settings.lmin is None else settings.lmin

    def fit(power: np.ndarray, likelihood: AbstractLikelihood | None) -> TensorRatio:
        return fit_r(
            observed,
            theory,
            noise=power,
            lmin=lmin,
            lmax=settings.lmax,
            a_lens=settings.a_lens,
            likelihood=likelihood,
            r_range=settings.r_range,
            physical=settings.physical,
        )

    plain = fit(noise, None)
    if settings.form is Form.FSKY or (settings.form is None and not cut):
        return plain
    top = min(3 * estimator.nside - 1, theory.lmax)
    cl = theory.cl(max(float(plain.r), 0.0), max(float(plain.a_lens), 0.0), top)
    covariance = bandpower_covariance(
        estimator,
        cl,
        level,
        settings.simulations,
        settings.seed,
        split=other is not None,
    )
    if other is not None:
        covariance = covariance.shifted(noise)
    leaked = leaked_power(estimator, cl, max(1, settings.simulations // 3), settings.seed)
    return fit(noise + leaked, HamimecheLewis(covariance))


def _polarised(maps: Maps) -> Maps:
    if "Q" not in maps.stokes.value:
        raise ValueError(
            f"cmb: expected Q and U, got {maps.stokes.value}. B modes are patterns of polarisation."
        )
    values = np.asarray(maps.values)
    if values.ndim != 2 or maps.unit is not Unit.UK_CMB:
        raise ValueError(
            f"cmb: expected one map in uK_CMB, got shape {values.shape} in {maps.unit.value}. Take "
            "one channel, or the CMB of a separation."
        )
    return Maps(values[-2:], maps.grid, Stokes.QU)


def _observed(maps: Maps, mask: Bool[np.ndarray, " npix"] | None) -> Bool[np.ndarray, " npix"]:
    """The cells to use, full sky, RING."""
    maps = _polarised(maps).reordered(Ordering.RING)
    kept = maps.grid if mask is None else maps.grid.restricted(np.asarray(mask))
    seen = np.zeros(maps.grid.npix, dtype=bool)
    values = unseen_to_nan(np.asarray(maps.on(kept).values))
    seen[kept.index] = np.isfinite(values).all(axis=0)
    if not seen.any():
        raise ValueError(
            "mask: expected cells with values of Q and U, got none. Choose a larger region."
        )
    return seen
