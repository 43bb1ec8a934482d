"""Observed B-mode power beside what is expected of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from skysift.cosmology.likelihoods import checked_fsky
from skysift.harmonic import CMBSpectra
from skysift.harmonic.bandpowers import Bandpowers


@dataclass(frozen=True, eq=False)
class Power:
    """BB power in bins (or at multipoles) and the parts of its model [uK_CMB^2].

    Args:
        ell: multipole of each bin.
        observed: power with noise, of one or more realisations.
        tensor: expected of tensors at r = 1.
        lensing: expected of lensing.
        noise: expected of all else: noise, and E modes that leak.
        dof: number of independent modes of each bin.
    """

    ell: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, "*realisation bin"]
    tensor: Float[np.ndarray, " bin"]
    lensing: Float[np.ndarray, " bin"]
    noise: Float[np.ndarray, " bin"]
    dof: Float[np.ndarray, " bin"]

    def model(
        self, r: Float[np.ndarray, "..."], a_lens: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "... bin"]:
        """Expected power; the last axis of the arguments has length one or that of the bins."""
        return r * self.tensor + (a_lens * self.lensing + self.noise)

    def ratios(self, a_lens: float) -> Float[np.ndarray, "*realisation bin"]:
        """Value of r that each bin alone would give; NaN where there are no tensors."""
        rest = self.observed - a_lens * self.lensing - self.noise
        tensor = np.where(self.tensor > 0, self.tensor, np.nan)
        return rest / tensor

    def least(self, a_lens: float) -> float:
        """Value of r above which the model is positive in every bin that has tensors."""
        tensor = np.where(self.tensor > 0, self.tensor, np.nan)
        return float(np.nanmax(-(a_lens * self.lensing + self.noise) / tensor))

    @staticmethod
    def of_bandpowers(
        observed: Bandpowers,
        theory: CMBSpectra,
        noise: float | Float[np.ndarray, " bin"],
    ) -> Power:
        """Power of bandpowers, with what their windows make of the theory.

        E modes that leak are those of scalars; what leaks of tensors is linear in r.

        Args:
            observed: with BB.
            theory: spectra.
            noise: power of the noise in each bin.
        """
        lmax = min(observed.lmax, theory.lmax)
        lensing, rest = np.zeros((4, lmax + 1)), theory.lensed_scalar[:, : lmax + 1].copy()
        lensing[2], rest[2] = rest[2], 0.0
        return Power(
            observed.ell,
            np.asarray(observed.values["BB"], dtype=float),
            observed.expected(theory.tensor[:, : lmax + 1])["BB"],
            observed.expected(lensing)["BB"],
            observed.expected(rest)["BB"] + noise,
            observed.modes,
        )

    @staticmethod
    def of_cl(
        observed: Float[np.ndarray, "*realisation ell"],
        theory: CMBSpectra,
        noise: float | Float[np.ndarray, " ell"],
        fsky: float | None,
    ) -> Power:
        """Power of C_l from l = 0, as far as the theory reaches.

        Args:
            observed: C_l.
            theory: spectra.
            noise: C_l of the noise.
            fsky: fraction of the sky.

        Raises:
            ValueError: without a fraction of the sky, or for one outside (0, 1].
        """
        if fsky is None:
            raise ValueError(
                "fsky: expected the fraction of the sky behind the C_l, got none. It is the mean "
                "of the mask, 1 for the full sky."
            )
        size = min(observed.shape[-1], theory.lmax + 1)
        ell = np.arange(float(size))
        return Power(
            ell,
            observed[..., :size],
            theory.tensor[2, :size],
            theory.lensed_scalar[2, :size],
            np.broadcast_to(noise, observed.shape[-1:])[:size],
            checked_fsky(fsky) * (2.0 * ell + 1.0),
        )

    def selected(self, keep: Bool[np.ndarray, " bin"]) -> Power:
        """Some of the bins."""
        parts = {f.name: getattr(self, f.name)[..., keep] for f in dataclasses.fields(self)}
        return Power(**parts)

    def checked(self) -> Power:
        """The power itself.

        Raises:
            ValueError: if what is observed is missing or not positive, or there are no tensors.
        """
        bad = ~(np.isfinite(self.observed) & (self.observed > 0))
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"observed: expected positive BB power, noise included, got "
                f"{self.observed[place]:.4g} at l = {self.ell[place[-1]]:g} and "
                f"{int(bad.sum()) - 1} more. Take wider bins or a larger lmin; for cross-spectra "
                "or spectra without their noise say debiased and give the noise."
            )
        if not np.any(self.tensor > 0):
            raise ValueError(
                f"lmin: expected multipoles with tensor modes, got l = {self.ell[0]:g} to "
                f"{self.ell[-1]:g}. Take smaller ones."
            )
        return self


def power_of(
    observed: Float[np.ndarray, "*realisation ell"] | Bandpowers,
    theory: CMBSpectra,
    noise: float | Float[np.ndarray, " ell"] | None,
    fsky: float | None = None,
    *,
    lmin: int = 2,
    lmax: int | None = None,
    debiased: bool = False,
) -> tuple[Power, Bool[np.ndarray, " ell"]]:
    """Power between two multipoles, and which bins (or multipoles) of `observed` those are.

    Arguments and errors are those of `fit_r`.
    """
    if isinstance(observed, Bandpowers):
        if "BB" not in observed.values:
            raise ValueError(
                f"observed: expected BB, got {', '.join(observed.values)}. Take spectra of Q and U."
            )
        if fsky is not None:
            raise ValueError("fsky: expected none with bandpowers, which have their own. Drop it.")
        level = _noise(noise, observed.bins.count)
        power = Power.of_bandpowers(observed, theory, level)
        first, last = observed.bins.edges[:-1], observed.bins.edges[1:] - 1
    else:
        observed = np.asarray(observed, dtype=float)
        if observed.ndim == 0 or observed.shape[-1] < 3:
            raise ValueError(
                f"observed: expected C_l^BB from l = 0, got shape {observed.shape}. The last axis "
                "is the multipole."
            )
        level = _noise(noise, observed.shape[-1])
        power = Power.of_cl(observed, theory, level, fsky)
        first = last = np.arange(observed.shape[-1])
    top = min(int(last[-1]), theory.lmax)
    most = top if lmax is None else lmax
    if not 2 <= lmin <= most or most > top:
        raise ValueError(
            f"lmin, lmax: expected 2 <= lmin <= lmax <= {top}, which data and theory hold, got "
            f"{lmin} and {most}. There are no B modes below l = 2."
        )
    keep = (first >= lmin) & (last <= most)
    if not keep.any():
        raise ValueError(
            f"lmin, lmax: expected at least one whole bin within {lmin} to {most}, got none. Take "
            "a wider range."
        )
    power = power.selected(keep[: power.ell.size])
    if debiased:
        noisy = power.observed + level[keep]
        power = dataclasses.replace(power, observed=noisy)
    return power.checked(), keep


def _noise(noise: float | Float[np.ndarray, " ell"] | None, size: int) -> Float[np.ndarray, " ell"]:
    if noise is None:
        raise ValueError(
            "noise: expected the power of the noise in `observed` [uK_CMB^2], got none. White "
            "noise of depth w uK arcmin has (w * pi / 10800)^2 at every multipole; give 0 for "
            "spectra without noise."
        )
    level = np.asarray(noise, dtype=float)
    if level.shape not in ((), (size,)):
        raise ValueError(
            f"noise: expected one number or {size}, one per multipole or bin of `observed`, got "
            f"shape {level.shape}."
        )
    if not np.all(np.isfinite(level)):
        raise ValueError(
            "noise: expected finite power [uK_CMB^2], got NaN or infinity. Take the multipoles "
            "without noise level out with lmin and lmax, and give them any."
        )
    if np.ndim(noise) == 0 and level < 0:
        raise ValueError(
            f"noise: expected power not below zero, got {noise:.4g}. It is a C_l [uK_CMB^2], not "
            "its logarithm."
        )
    return np.broadcast_to(level, (size,))
