"""Angular power spectra as functions of parameters, inside JAX."""

from __future__ import annotations

import abc
import functools
import math
from dataclasses import dataclass
from importlib import resources

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.inference.prior import Parameter, Prior
from skysift.maps import Stokes
from skysift.units import Unit

FLOOR = 1e-5
"""Added to the spectra with a peak, and TT where there is none (Krachmalnicoff & Tomasi 2019)."""
_WIDTH = 5.0
_PEAKS = (5.0, 20.0)
_TAU = Parameter("tau", 0.03, 0.08)
_R = Parameter("r", 0.0, 0.01)


@dataclass(frozen=True)
class AbstractTheory(abc.ABC):
    """Spectra C_l of the fields of a Gaussian sky: T alone, or E and B, which are uncorrelated.

    Args:
        lmax: largest multipole.

    Raises:
        ValueError: for an lmax below 2.
    """

    lmax: int

    def __post_init__(self) -> None:
        if self.lmax < 2:
            raise ValueError(f"lmax: expected 2 or more, got {self.lmax}. Use 3 * nside - 1.")

    @property
    @abc.abstractmethod
    def prior(self) -> Prior:
        """The parameters."""

    @property
    @abc.abstractmethod
    def stokes(self) -> Stokes:
        """Whether the field is T, or the fields are E and B."""

    @property
    def unit(self) -> Unit:
        """Of the maps; that of spectra is its square."""
        return Unit.NONE

    @abc.abstractmethod
    def __call__(self, parameters: Float[Array, "... parameter"]) -> Float[Array, "... field ell"]:
        """Spectra from l = 0, in the precision of the parameters.

        Args:
            parameters: in the order of the prior.
        """


@dataclass(frozen=True)
class TemperaturePeak(AbstractTheory):
    """TT with a Gaussian peak over multipoles, in no unit (Krachmalnicoff & Tomasi 2019, 6.1.1).

    C_l = exp(-(l - l_peak)^2 / 50) + 1e-5, from l = 0 on.

    Examples:
        >>> float(TemperaturePeak(47)(jnp.array([12.0]))[0, 12].round(4))
        1.0
    """

    @property
    def prior(self) -> Prior:
        """The multipole of the peak."""
        return Prior((Parameter("l_peak", *_PEAKS),))

    @property
    def stokes(self) -> Stokes:
        """I."""
        return Stokes.I

    def __call__(self, parameters: Float[Array, "... 1"]) -> Float[Array, "... 1 ell"]:
        """TT."""
        return _peaks(parameters, self.lmax)


@dataclass(frozen=True)
class PolarisationPeaks(AbstractTheory):
    """EE and BB, each with a peak as TT of `TemperaturePeak` (Krachmalnicoff & Tomasi 2019, 6.1.2).

    Examples:
        >>> PolarisationPeaks(47)(jnp.array([[12.0, 8.0]])).shape
        (1, 2, 48)
    """

    @property
    def prior(self) -> Prior:
        """The multipoles of both peaks."""
        return Prior((Parameter("l_peak_E", *_PEAKS), Parameter("l_peak_B", *_PEAKS)))

    @property
    def stokes(self) -> Stokes:
        """Q and U."""
        return Stokes.QU

    def __call__(self, parameters: Float[Array, "... 2"]) -> Float[Array, "... 2 ell"]:
        """EE and BB."""
        return _peaks(parameters, self.lmax)


def _peaks(at: Float[Array, "... field"], lmax: int) -> Float[Array, "... field ell"]:
    ell = jnp.arange(lmax + 1, dtype=at.dtype)
    return jnp.exp(-((ell - at[..., None]) ** 2) / (2.0 * _WIDTH**2)) + FLOOR


@dataclass(frozen=True, eq=False)
class DepthSpectra:
    """EE and BB of the CMB at any optical depth tau from 0.03 to 0.08 [uK_CMB^2].

    The cosmology of `CMBSpectra` but for tau: flat LambdaCDM of Planck 2018 VI (arXiv:1807.06209,
    table 2, last column) with A_s = 2.1e-9 held, by CAMB. Between the Chebyshev nodes of the table
    spectra are polynomials in tau, off by less than 0.01 %.

    Args:
        coefficients: of Chebyshev polynomials over the range: EE and BB of lensed scalars, EE and
            BB of tensors at r = 1.
    """

    coefficients: Float[np.ndarray, "degree 4 ell"]

    @staticmethod
    @functools.cache
    def packaged() -> DepthSpectra:
        """The spectra that come with the package, to l = 383."""
        with (
            (resources.files("skysift") / "data/tau_spectra.npz").open("rb") as file,
            np.load(file) as table,
        ):
            tau, spectra = table["tau"], table["spectra"].astype(float)
        degree = np.arange(tau.size)
        values = np.cos(degree * np.arccos(_scaled(tau))[:, None])
        return DepthSpectra(np.tensordot(np.linalg.inv(values), spectra, axes=1))

    @property
    def lmax(self) -> int:
        """Largest multipole."""
        return self.coefficients.shape[-1] - 1

    def __call__(self, tau: Float[Array, "..."], lmax: int) -> Float[Array, "... 4 ell"]:
        """EE and BB of lensed scalars, EE and BB of tensors at r = 1.

        Args:
            tau: optical depth, 0.03 to 0.08.
            lmax: largest multipole.
        """
        x = _scaled(tau)
        basis = [jnp.ones_like(x), x]
        for _ in range(self.coefficients.shape[0] - 2):
            basis.append(2.0 * x * basis[-1] - basis[-2])
        table = jnp.asarray(self.coefficients[..., : lmax + 1], x.dtype)
        return jnp.tensordot(jnp.stack(basis, axis=-1), table, axes=1)


def _scaled(tau: Float[Array | np.ndarray, "..."]) -> Float[Array | np.ndarray, "..."]:
    return (2.0 * tau - (_TAU.low + _TAU.high)) / (_TAU.high - _TAU.low)


@dataclass(frozen=True)
class _AbstractDepth(AbstractTheory):
    """Polarisation of the CMB, in uK_CMB."""

    a_lens: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.a_lens) and self.a_lens > 0.0):
            raise ValueError(f"a_lens: expected more than 0, got {self.a_lens!r}. Say a_lens=1.0.")
        largest = DepthSpectra.packaged().lmax
        if self.lmax > largest:
            raise ValueError(
                f"lmax: expected 2 to {largest}, which the table of spectra holds, got "
                f"{self.lmax}. Use a smaller nside, or make a longer one with "
                "tools/make_tau_spectra.py."
            )

    @property
    def stokes(self) -> Stokes:
        return Stokes.QU

    @property
    def unit(self) -> Unit:
        return Unit.UK_CMB

    def _spectra(self, tau: Float[Array, "..."]) -> Float[Array, "... 4 ell"]:
        lensing = np.array([1.0, self.a_lens, 1.0, 1.0])[:, None]
        return DepthSpectra.packaged()(tau, self.lmax) * lensing.astype(tau.dtype)


@dataclass(frozen=True)
class OpticalDepth(_AbstractDepth):
    """EE and lensing BB of the CMB at an optical depth, without tensors; see `DepthSpectra`.

    Args:
        lmax: largest multipole.
        a_lens: factor on the B modes of lensing.

    Examples:
        >>> ee, bb = OpticalDepth(47)(jnp.array([0.054]))
        >>> bool(ee[4] > 100 * bb[4])
        True
    """

    @property
    def prior(self) -> Prior:
        """The optical depth."""
        return Prior((_TAU,))

    def __call__(self, parameters: Float[Array, "... 1"]) -> Float[Array, "... 2 ell"]:
        """EE and BB."""
        return self._spectra(parameters[..., 0])[..., :2, :]


@dataclass(frozen=True)
class TensorsAndDepth(_AbstractDepth):
    """EE and BB of the CMB at a tensor-to-scalar ratio and an optical depth; see `DepthSpectra`.

    r is that at 0.05 / Mpc with n_t = 0: spectra are linear in it. The tensors' own bump of
    reionisation moves with tau.

    Args:
        lmax: largest multipole.
        a_lens: factor on the B modes of lensing.

    Examples:
        >>> TensorsAndDepth(47)(jnp.array([[0.003, 0.054]])).shape
        (1, 2, 48)
    """

    @property
    def prior(self) -> Prior:
        """The tensor-to-scalar ratio and the optical depth."""
        return Prior((_R, _TAU))

    def __call__(self, parameters: Float[Array, "... 2"]) -> Float[Array, "... 2 ell"]:
        """EE and BB."""
        spectra = self._spectra(parameters[..., 1])
        r = parameters[..., :1, None]
        return spectra[..., :2, :] + r * spectra[..., 2:, :]
