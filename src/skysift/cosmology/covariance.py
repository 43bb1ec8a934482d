"""Scatter of B-mode bandpowers at a fiducial model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import healpy as hp
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import chdtrc

from skysift.grid import Grid
from skysift.harmonic import gaussian_maps
from skysift.harmonic.pseudo import PseudoSpectra
from skysift.maps import Maps, Stokes

_CHANCE = 1e-4  # with which correlations of one distance are taken for real though they are not


@dataclass(frozen=True, eq=False)
class BandpowerCovariance:
    """Mean and covariance of BB bandpowers, noise included, at a fiducial model.

    Args:
        mean: expected power of each bin [uK_CMB^2].
        matrix: covariance [uK_CMB^4].
        count: simulations that the matrix was estimated from, `None` for an exact one.

    Raises:
        ValueError: for shapes that do not fit, a matrix that is no covariance, or too few
            simulations for its inverse.
    """

    mean: Float[np.ndarray, " bin"]
    matrix: Float[np.ndarray, "bin bin"]
    count: int | None = None

    def __post_init__(self) -> None:
        mean = np.asarray(self.mean, dtype=float)
        matrix = np.asarray(self.matrix, dtype=float)
        if mean.ndim != 1 or matrix.shape != (mean.size, mean.size):
            raise ValueError(
                f"matrix: expected shape ({mean.size}, {mean.size}) for {mean.size} bins, got "
                f"{matrix.shape}."
            )
        if self.count is not None and self.count <= mean.size + 2:
            raise ValueError(
                f"count: expected more than {mean.size + 2} simulations for {mean.size} bins, got "
                f"{self.count}. Simulate at least ten times as many as there are bins."
            )
        finite = np.all(np.isfinite(mean)) and np.all(np.isfinite(matrix))
        if not finite or mean.size == 0 or np.linalg.eigvalsh(_correlation(matrix))[0] <= 0:
            raise ValueError(
                "matrix: expected a finite, positive definite covariance, got another. Take more "
                "simulations or wider bins."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "matrix", matrix)

    @staticmethod
    def of_samples(samples: Float[np.ndarray, "simulation bin"]) -> BandpowerCovariance:
        """Estimated from simulated bandpowers.

        Raises:
            ValueError: for too few simulations.

        Examples:
            >>> samples = np.random.default_rng(0).normal(1.0, 0.1, size=(100, 3))
            >>> BandpowerCovariance.of_samples(samples).matrix.shape
            (3, 3)
        """
        samples = np.asarray(samples, dtype=float)
        if samples.ndim != 2 or samples.shape[0] < 2:
            raise ValueError(
                f"samples: expected shape (simulation, bin) with at least two rows, got "
                f"{samples.shape}."
            )
        matrix = np.atleast_2d(np.cov(samples, rowvar=False))
        return BandpowerCovariance(samples.mean(axis=0), matrix, samples.shape[0])

    @staticmethod
    def analytic(
        mean: Float[np.ndarray, " bin"], dof: Float[np.ndarray, " bin"]
    ) -> BandpowerCovariance:
        """Of bins of independent modes: variance 2 C^2 / nu, none between bins.

        Args:
            mean: expected power, noise included.
            dof: number of modes nu of each bin.
        """
        mean = np.asarray(mean, dtype=float)
        return BandpowerCovariance(mean, np.diag(2.0 * mean**2 / np.asarray(dof, dtype=float)))

    @cached_property
    def reach(self) -> int:
        """How many bins apart covariances are told from those of independent bins.

        The largest distance at which the correlations of all pairs together have a probability
        below 1e-4 if there are none: with n simulations, (n - 1) times the square of each follows
        chi squared of one degree of freedom. All there are for an exact matrix, and as many more
        as it takes to leave no combination of bins more certain than it is estimated to be.
        """
        widest = self.mean.size - 1
        if self.count is None:
            return widest
        correlation = _correlation(self.matrix)
        apart = [np.diag(correlation, distance) for distance in range(1, widest + 1)]
        chance = [chdtrc(r.size, (self.count - 1) * np.sum(r**2)) for r in apart]
        first = max((k for k, p in enumerate(chance, start=1) if p < _CHANCE), default=0)
        least = np.linalg.eigvalsh(correlation)[0]
        fits = (np.linalg.eigvalsh(_banded(correlation, k))[0] for k in range(first, widest))
        return next((first + more for more, low in enumerate(fits) if low >= least), widest)

    @cached_property
    def whitening(self) -> Float[np.ndarray, "bin bin"]:
        """Matrix W that makes the bandpowers independent with unit variance, each near its bin.

        W is symmetric but for the units of the bins (Hamilton & Tegmark 2000, MNRAS 312, 285), and
        W^T W is the inverse covariance. In a matrix from simulations, bins further apart than
        `reach` count as independent: their covariances would be noise, and would widen what is
        fitted. Its inverse is too large by (n - 1) / (n - b - 2) for n simulations of b bins
        (Hartlap, Simon & Schneider 2007, A&A 464, 399, eq. 17), which is taken out; here b is the
        number of bins that one bin is tied to, itself included.
        """
        scale = np.sqrt(np.diag(self.matrix))
        values, vectors = np.linalg.eigh(_banded(_correlation(self.matrix), self.reach))
        whitening = (vectors / np.sqrt(values)) @ vectors.T / scale
        if self.count is None:
            return whitening
        tied = min(2 * self.reach + 1, self.mean.size)
        return whitening * np.sqrt((self.count - tied - 2) / (self.count - 1))

    def shifted(self, offset: Float[np.ndarray, " bin"]) -> BandpowerCovariance:
        """Of bandpowers to which a constant is added."""
        return BandpowerCovariance(self.mean + offset, self.matrix, self.count)

    def selected(self, keep: Bool[np.ndarray, " bin"]) -> BandpowerCovariance:
        """Of some of the bins."""
        return BandpowerCovariance(self.mean[keep], self.matrix[np.ix_(keep, keep)], self.count)


def bandpower_covariance(
    estimator: PseudoSpectra,
    cl: Float[np.ndarray, "4 ell"],
    sigma: float | Float[np.ndarray, " npix"],
    count: int = 300,
    seed: int = 0,
    *,
    split: bool = False,
) -> BandpowerCovariance:
    """Mean and covariance of BB bandpowers of simulated skies.

    Args:
        estimator: of the spectra, for the mask of the data.
        cl: TT, EE, BB, TE of the sky from l = 0 [uK_CMB^2], before the beam and transfer that the
            estimator takes out, to l = 3 nside - 1 or less.
        sigma: standard deviation of white noise in each cell [uK_CMB], one number or a full-sky
            RING map, finite where the estimator looks; a depth w in uK arcmin is
            `w / Grid.resolution`.
        count: number of simulations.
        seed: of the simulations.
        split: simulate spectra of two maps with noise of their own.

    Raises:
        ValueError: for noise that is negative or missing, spectra that no field can have, or too
            few simulations.

    Examples:
        >>> from skysift.harmonic import CMBSpectra
        >>> estimator = PseudoSpectra.of(np.arange(768) < 500)
        >>> cl = CMBSpectra.packaged().cl(r=0.01, lmax=23)
        >>> covariance = bandpower_covariance(estimator, cl, sigma=0.1, count=20)
        >>> covariance.matrix.shape == (estimator.bins.count, estimator.bins.count)
        True
    """
    used = estimator.mask
    sigma = np.broadcast_to(np.asarray(sigma, dtype=float), used.shape)
    if not np.all(np.isfinite(sigma[used])) or np.any(sigma[used] < 0):
        raise ValueError(
            "sigma: expected finite standard deviations not below zero on all cells of the mask, "
            "got others. Take cells without noise level out of the mask."
        )
    sigma, cl = np.where(used, sigma, 0.0), _smoothed(cl, estimator)
    grid = Grid(estimator.nside)
    powers = []
    for stream in np.random.SeedSequence(int(seed)).spawn(count):
        generator = np.random.default_rng(stream)
        sky = gaussian_maps(cl, estimator.nside, Stokes.QU, generator)
        one, two = (
            Maps(sky + sigma * generator.standard_normal(sky.shape), grid, Stokes.QU)
            for _ in range(2)
        )
        powers.append(estimator(one, two if split else None).values["BB"])
    return BandpowerCovariance.of_samples(np.array(powers))


def leaked_power(
    estimator: PseudoSpectra,
    cl: Float[np.ndarray, "4 ell"],
    count: int = 100,
    seed: int = 0,
) -> Float[np.ndarray, " bin"]:
    """BB power that E modes leave beyond what the windows say, because cells are not small.

    The mean over simulated skies without B modes. Purification takes derivatives of the mask, which
    are off by what the cells do not resolve; on large scales there are far more E than B modes.

    Args:
        estimator: of the spectra.
        cl: TT, EE, BB, TE of the sky from l = 0 [uK_CMB^2].
        count: number of simulations.
        seed: of the simulations.
    """
    only = np.zeros_like(np.asarray(cl, dtype=float))
    only[1] = cl[1]
    smooth, grid, powers = _smoothed(only, estimator), Grid(estimator.nside), []
    for stream in np.random.SeedSequence(int(seed)).spawn(count):
        sky = gaussian_maps(smooth, estimator.nside, Stokes.QU, np.random.default_rng(stream))
        powers.append(estimator(Maps(sky, grid, Stokes.QU)))
    mean = np.mean([power.values["BB"] for power in powers], axis=0)
    return mean - powers[0].expected(only)["BB"]


def _smoothed(
    cl: Float[np.ndarray, "4 ell"], estimator: PseudoSpectra
) -> Float[np.ndarray, "4 ell"]:
    """Spectra of maps with the beam and the transfer that the estimator takes out."""
    cl = np.asarray(cl, dtype=float)
    lmax, options = cl.shape[1] - 1, estimator.options
    fwhm = np.radians(options.fwhm / 60.0)
    # T, E, B of a Gaussian beam (Challinor et al. 2000, PRD 61, 123002).
    beam = hp.gauss_beam(fwhm, lmax, pol=True)[:, :3].T if fwhm > 0 else np.ones((3, lmax + 1))
    if options.transfer is not None:
        beam = beam * np.atleast_2d(options.transfer)[[0, -1, -1], : lmax + 1]
    return cl * np.stack([*beam**2, beam[0] * beam[1]])


def _correlation(matrix: Float[np.ndarray, "bin bin"]) -> Float[np.ndarray, "bin bin"]:
    """The matrix in units of its diagonal, or as it is if that is not positive."""
    diagonal = np.diag(matrix)
    if not np.all(diagonal > 0):
        return matrix
    return matrix / np.sqrt(np.outer(diagonal, diagonal))


def _banded(matrix: Float[np.ndarray, "bin bin"], reach: int) -> Float[np.ndarray, "bin bin"]:
    """The matrix, zero further than `reach` from its diagonal."""
    return np.triu(np.tril(matrix, reach), -reach)
