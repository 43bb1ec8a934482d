r"""What a choice of patches would do to r, forecast from the data alone.

A sky that the data allow stands in for the true one, and what a choice of patches would leave of it
in the CMB is computed as if it were the truth (a parametric bootstrap):

1. The stand-in is drawn from the posterior of spectral parameters on several scales
   (`skysift.compsep.hierarchy.Hierarchy`). A fit itself would be too smooth: a draw varies as much
   as the sky does.
2. The CMB recovered from those foregrounds is the systematic residual, and what noise adds is the
   statistical one. r and its error are those of `ResidualSpectra.tensor_ratio`.

The score of a choice is $|r| + \sigma$, smallest for the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skysift.compsep import Problem, Separation, solve
from skysift.compsep.criteria import noise_of
from skysift.compsep.hierarchy import Hierarchy
from skysift.cosmology.analysis import residual_spectra
from skysift.cosmology.residuals import CMB, Residuals
from skysift.harmonic import CMBSpectra
from skysift.maps import Maps


@dataclass(frozen=True)
class Outlook:
    """What a choice of patches is expected to leave.

    Args:
        r: bias of the tensor-to-scalar ratio by the systematic residual.
        sigma: upper error of r, at 68 %.
        systematic: rms of the systematic residual [uK_CMB].
        statistical: rms of the statistical residual [uK_CMB].
        converged: whether all separations did.
    """

    r: float
    sigma: float
    systematic: float
    statistical: float
    converged: bool

    @property
    def score(self) -> float:
        """|r| + sigma."""
        return abs(self.r) + self.sigma


@dataclass(frozen=True, eq=False)
class Forecast:
    """Scores choices of patches by the |r| + sigma that they would give.

    Args:
        foregrounds: that stand in for the sky (`Hierarchy.draw`).
        seeds: noise realisations of the statistical residual.
        theory: spectra.
    """

    foregrounds: Maps
    seeds: Sequence[int] = (1, 2)
    theory: CMBSpectra = dataclasses.field(default_factory=CMBSpectra.packaged)

    @staticmethod
    def of(problem: Problem, seed: int = 0, realisations: int = 2) -> Forecast:
        """A forecast from the data of a problem, whatever its patches.

        Args:
            problem: of calibrated weights, on HEALPix cells.
            seed: of the stand-in and the noise.
            realisations: of the noise.

        Raises:
            ValueError: for weights that are no inverse noise variances, or cells that are not
                HEALPix.
        """
        noise_of(problem, np.random.default_rng(0))
        seeds = [seed + 1 + number for number in range(realisations)]
        return Forecast(Hierarchy.learn(problem).draw(seed), seeds)

    def __call__(self, fit: Separation) -> float:
        """Score of a fit's patches and priors; infinite if its separations do not converge."""
        outlook = self.outlook(fit.problem, fit.theta)
        return outlook.score if outlook.converged else np.inf

    def outlook(self, problem: Problem, start: np.ndarray | None = None) -> Outlook:
        """What a problem's patches and priors would leave, whatever maps are in it."""
        problem = dataclasses.replace(
            problem, options=dataclasses.replace(problem.options, errors=False)
        )
        floor = solve(problem.with_maps(self.foregrounds), start=start)
        recovered, converged = [], floor.status.converged
        for seed in self.seeds:
            noise = noise_of(problem, np.random.default_rng(np.random.SeedSequence(seed)))
            maps = self.foregrounds.replace(np.asarray(self.foregrounds.values) + noise)
            fit = solve(problem.with_maps(maps), start=floor.theta)
            converged &= fit.status.converged
            recovered.append(np.asarray(fit.components[CMB].values))
        systematic = floor.components[CMB]
        left = Residuals(systematic.replace(np.array(recovered)), systematic)
        spectra = residual_spectra(left)
        # Many realisations average out the product of both residuals, few do not.
        both = np.asarray(spectra.systematic.values["BB"]) + spectra.statistical.values["BB"]
        total = dataclasses.replace(spectra.total, values={"BB": both})
        fit = dataclasses.replace(spectra, total=total).tensor_ratio(self.theory)
        return Outlook(
            float(fit.r),
            float(fit.sigma_plus),
            _rms(np.asarray(systematic.values)),
            _rms(np.asarray(left.statistical.values)),
            bool(converged),
        )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(values**2)))
