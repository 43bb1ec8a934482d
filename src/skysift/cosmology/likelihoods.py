"""Likelihoods of observed B-mode power given a model of it.

Both are written relative to a model that equals what is observed, where they are zero, so that
nothing is lost to rounding near the maximum.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float

from skysift.cosmology.covariance import BandpowerCovariance


class AbstractLikelihood(abc.ABC):
    """Probability of observed power in bins (or multipoles), noise included, given a model."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """For tables and figures."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of bins."""

    @abc.abstractmethod
    def log_likelihood(
        self, observed: Float[np.ndarray, "... bin"], model: Float[np.ndarray, "... bin"]
    ) -> Float[np.ndarray, "..."]:
        """Logarithm of the likelihood, zero where the model equals the observation.

        Args:
            observed: positive power with its noise [uK_CMB^2].
            model: expected power with noise; leading axes broadcast against those of `observed`.

        Returns:
            Minus infinity where the model is not positive.
        """

    @abc.abstractmethod
    def selected(self, keep: Bool[np.ndarray, " bin"]) -> Self:
        """The likelihood of some of the bins, whatever the others hold."""


@dataclass(frozen=True, eq=False)
class Wishart(AbstractLikelihood):
    r"""Gaussian field of which a share of the sky is seen.

    $\ln L = -\frac12 \sum_b \nu_b [\hat C_b / C_b - \ln(\hat C_b / C_b) - 1]$ with
    $\nu_b = f_\mathrm{sky} \sum_{\ell \in b} (2\ell + 1)$: exact for a Gaussian field with
    isotropic noise on the full sky, where $\nu \hat C / C$ follows chi squared. On a cut sky it
    takes multipoles as independent and only counts them as fewer.

    Args:
        dof: number of independent modes $\nu$ of each bin, positive.

    Raises:
        ValueError: for numbers of modes that are not positive.

    Examples:
        >>> likelihood = Wishart.of_fsky(1.0, np.arange(2, 5))
        >>> likelihood.dof
        array([5., 7., 9.])
        >>> bool(likelihood.log_likelihood(np.ones(3), np.full(3, 1.1)) < 0)
        True

    References:
        Bond, Jaffe & Knox 2000, ApJ 533, 19; Stompor, Errard & Poletti 2016, PRD 94, 083526 (its
        use after component separation).
    """

    dof: Float[np.ndarray, " bin"]

    def __post_init__(self) -> None:
        dof = np.asarray(self.dof, dtype=float)
        if dof.ndim != 1 or not np.all(np.isfinite(dof)) or np.any(dof <= 0):
            raise ValueError(
                f"dof: expected a positive number of modes per bin, got {dof}. It is f_sky times "
                "the sum of 2 l + 1 over the bin."
            )
        object.__setattr__(self, "dof", dof)

    @staticmethod
    def of_fsky(fsky: float, ell: Float[np.ndarray, " ell"]) -> Wishart:
        """Of single multipoles on a fraction of the sky.

        Raises:
            ValueError: for a fraction outside (0, 1].
        """
        return Wishart(checked_fsky(fsky) * (2.0 * np.asarray(ell) + 1.0))

    @property
    def name(self) -> str:
        """The f_sky-scaled form."""
        return "f_sky-scaled Wishart"

    @property
    def size(self) -> int:
        """Number of bins."""
        return self.dof.size

    def log_likelihood(
        self, observed: Float[np.ndarray, "... bin"], model: Float[np.ndarray, "... bin"]
    ) -> Float[np.ndarray, "..."]:
        """As `AbstractLikelihood.log_likelihood`."""
        positive = model > 0
        distance = _distance(observed, np.where(positive, model, 1.0))
        return np.where(positive.all(axis=-1), -0.5 * (distance @ self.dof), -np.inf)

    def selected(self, keep: Bool[np.ndarray, " bin"]) -> Wishart:
        """Of some of the bins."""
        return Wishart(self.dof[keep])


@dataclass(frozen=True, eq=False)
class HamimecheLewis(AbstractLikelihood):
    r"""Likelihood of cut-sky bandpowers of Hamimeche & Lewis 2008.

    $\ln L = -\frac12 X^T M^{-1} X$ with
    $X_b = \bar C_b\, g(\hat C_b / C_b)$, $g(x) = \mathrm{sign}(x - 1) \sqrt{2 (x - \ln x - 1)}$
    (eqs. 11, 28 and 48 for one field), the fiducial power $\bar C$ and the covariance $M$ of the
    bandpowers at it. The shape is that of the full sky, where it is the `Wishart` exactly for any
    fiducial; couplings and lost modes are those of the simulations behind the covariance.

    It is taken of the bandpowers that `BandpowerCovariance.whitening` makes independent, of which
    $M$ is the identity. That is more than a change of units, as $g$ is not linear: the mean of g at
    the truth is $-2 / 3 \nu$, not zero, for a bin of $\nu$ modes, and elements of $M^{-1}$ off its
    diagonal turn it into a bias of whatever is fitted. Of independent combinations the derivative
    of ln L is linear in the data and vanishes on average at the truth, whatever is wrong with the
    covariance.

    Args:
        covariance: of the bandpowers at the fiducial model, with their mean there, noise included.

    Examples:
        >>> full_sky = BandpowerCovariance.analytic(np.full(3, 2.0), np.array([5.0, 7.0, 9.0]))
        >>> exact = Wishart(np.array([5.0, 7.0, 9.0]))
        >>> power, model = np.array([1.0, 2.0, 3.0]), np.array([1.5, 1.5, 1.5])
        >>> likelihood = HamimecheLewis(full_sky).log_likelihood(power, model)
        >>> bool(np.isclose(likelihood, exact.log_likelihood(power, model)))
        True

    References:
        Hamimeche & Lewis 2008, PRD 77, 103013, arXiv:0801.0554; Hamilton & Tegmark 2000, MNRAS 312,
        285 (independent bandpowers).
    """

    covariance: BandpowerCovariance

    @property
    def name(self) -> str:
        """The authors."""
        return "Hamimeche-Lewis"

    @property
    def size(self) -> int:
        """Number of bins."""
        return self.covariance.mean.size

    def log_likelihood(
        self, observed: Float[np.ndarray, "... bin"], model: Float[np.ndarray, "... bin"]
    ) -> Float[np.ndarray, "..."]:
        """As `AbstractLikelihood.log_likelihood`.

        Raises:
            ValueError: for a fiducial or an observation that is not positive in each bin, or in
                each of the independent bandpowers.
        """
        if np.any(self.covariance.mean <= 0):
            raise ValueError(
                "covariance: expected a positive mean of every bandpower, noise included, got "
                f"{self.covariance.mean.min():.3g}. Take wider bins, or a larger lmin."
            )
        whitening = self.covariance.whitening.T
        fiducial, seen = self.covariance.mean @ whitening, observed @ whitening
        for name, least in (("covariance", fiducial.min()), ("observed", seen.min())):
            if least <= 0:
                raise ValueError(
                    f"{name}: expected bandpowers that stay positive as they are made independent, "
                    f"got {least:.3g} standard deviations. Take wider bins, a larger lmin, or more "
                    "simulations."
                )
        expected = model @ whitening
        positive = np.logical_and(model > 0, expected > 0)
        distance = _distance(seen, np.where(positive, expected, 1.0))
        return np.where(positive.all(axis=-1), -(distance @ fiducial**2), -np.inf)

    def selected(self, keep: Bool[np.ndarray, " bin"]) -> HamimecheLewis:
        """Of some of the bins, marginalised over the others."""
        return HamimecheLewis(self.covariance.selected(keep))


def checked_fsky(fsky: float) -> float:
    """A sky fraction as it may be.

    Raises:
        ValueError: for one outside (0, 1].
    """
    if not 0 < fsky <= 1:
        raise ValueError(
            f"fsky: expected a fraction of the sky above 0 and at most 1, got {fsky!r}. "
            "It is the mean of the mask."
        )
    return float(fsky)


def _distance(
    observed: Float[np.ndarray, "... bin"], model: Float[np.ndarray, "... bin"]
) -> Float[np.ndarray, "... bin"]:
    """`x - ln x - 1` of x = observed / model, zero at x = 1 and never below."""
    excess = observed / model - 1.0
    return np.maximum(excess - np.log1p(excess), 0.0)
