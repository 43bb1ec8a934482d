"""From residual maps to their spectra and what they do to the tensor-to-scalar ratio."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skysift.cosmology.residuals import Residuals
from skysift.cosmology.tensor_ratio import FreeLensing, TensorRatio, fit_r
from skysift.grid import Grid
from skysift.harmonic import Bandpowers, CMBSpectra, PseudoOptions, PseudoSpectra
from skysift.maps import Maps

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class ResidualSpectra:
    """Bandpowers of the residuals of the CMB [uK_CMB^2].

    Args:
        total: of each realisation.
        systematic: of the one systematic residual.
        statistical: of each realisation.
    """

    total: Bandpowers
    systematic: Bandpowers
    statistical: Bandpowers

    def tensor_ratio(
        self,
        theory: CMBSpectra | None = None,
        a_lens: float | FreeLensing = 1.0,
        lmin: int = 2,
        lmax: int | None = None,
    ) -> TensorRatio:
        """What the residuals do to r of a sky without tensors.

        The observation is lensing and the mean total residual, the model tensors, lensing and the
        mean statistical residual: the maximum is the bias that the systematic residual makes, the
        interval holds cosmic variance, noise and what noise does to the foregrounds.

        Args:
            theory: spectra, by default those that skies are simulated from.
            a_lens: amplitude of the lensing B modes, in the observation as in the model.
            lmin: smallest multipole.
            lmax: largest multipole, by default the last there is.

        References:
            Errard & Stompor 2019, PRD 99, 043529.
        """
        theory = theory or CMBSpectra.packaged()
        amplitude = 1.0 if isinstance(a_lens, FreeLensing) else a_lens
        longest = self.total.windows["BB"].shape[-1] - 1
        lensing = self.total.expected(theory.cl(r=0.0, a_lens=amplitude, lmax=longest))["BB"]
        mean = np.mean(self.total.values["BB"], axis=0)
        observed = dataclasses.replace(self.total, values={"BB": mean + lensing})
        noise = np.mean(self.statistical.values["BB"], axis=0)
        return fit_r(observed, theory, noise=noise, a_lens=a_lens, lmin=lmin, lmax=lmax)

    def to_dataset(self) -> xr.Dataset:
        """Bandpowers with their windows as named arrays, ready for NetCDF."""
        parts = {"total": self.total, "systematic": self.systematic}
        parts["statistical"] = self.statistical
        data = self.total.to_dataset()
        data = data.drop_vars(list(self.total.values))
        for part, powers in parts.items():
            for name, values in powers.values.items():
                axes = ("realisation", "bin")[-np.ndim(values) :]
                data[f"{name}_{part}"] = (axes, np.asarray(values), {"units": "uK_CMB^2"})
        return data

    @staticmethod
    def from_dataset(data: xr.Dataset) -> ResidualSpectra:
        """What `to_dataset` gave."""
        names = [str(v).removesuffix("_total") for v in data.data_vars if str(v).endswith("_total")]

        def of(part: str) -> Bandpowers:
            named = {f"{name}_{part}": name for name in names}
            others = [v for v in data.data_vars if str(v).partition("_")[0] in names]
            left = [v for v in others if v not in named]
            return Bandpowers.from_dataset(data.drop_vars(left).rename_vars(named))

        return ResidualSpectra(of("total"), of("systematic"), of("statistical"))


def residual_spectra(left: Residuals, estimator: PseudoSpectra | None = None) -> ResidualSpectra:
    """Spectra of residual maps.

    Args:
        left: residuals, with a realisation axis or of one separation.
        estimator: for the mask of the cells; by default that of the component-separation papers,
            pseudo-spectra divided by the sky fraction and taken for C_l: residuals have about as
            much power in E as in B and no features that the mask could blur, and their power is
            never negative.

    Raises:
        ValueError: if the maps do not fit the estimator.
    """
    of = _scaled(left.total.grid) if estimator is None else estimator
    return ResidualSpectra(of(_rows(left.total)), of(left.systematic), of(_rows(left.statistical)))


def _scaled(grid: Grid) -> Callable[[Maps], Bandpowers]:
    """Pseudo-spectra over the sky fraction, with windows as if the sky were full."""
    estimator = PseudoSpectra.of(grid, PseudoOptions(purify=False, decouple=False))

    def of(maps: Maps) -> Bandpowers:
        powers = estimator(maps)
        own = powers.bins.matrix(powers.lmax)
        return dataclasses.replace(powers, windows=dict.fromkeys(powers.values, own), leakage={})

    return of


def _rows(maps: Maps) -> Maps:
    values = np.asarray(maps.values)
    return maps.replace(values if values.ndim == 3 else values[None])
