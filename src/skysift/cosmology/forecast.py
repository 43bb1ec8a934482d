r"""What a choice of patches would do to r, forecast from the data alone.

A sky that the data allow stands in for the true one, and what a choice of patches would leave of it
in the CMB is computed as if it were the truth (a parametric bootstrap):

1. `plausible_foregrounds`: spectral parameters drawn from the posterior of a fine fit under priors
   learnt from the data (`skysift.compsep.learn_priors`), with that fit's amplitudes. The fit itself
   would be too smooth: a draw varies as much as the sky does.
2. `Forecast`: the CMB recovered from those foregrounds is the systematic residual, and what noise
   adds is the statistical one. With their powers $S_b$ and $N_b$, the tensors' $T_b$ for r = 1, the
   lensing's $L_b$ and $\nu_b$ modes,

$$ \sum_b \frac{\nu_b}{2} \frac{T_b (S_b - r T_b)}{(r T_b + L_b + N_b)^2} = 0, \qquad
\sigma^{-2} = \sum_b \frac{\nu_b}{2} \frac{T_b^2}{(r T_b + L_b + N_b)^2}, $$

the maximum and width of the likelihood of `ResidualSpectra.tensor_ratio`. The score of a choice is
$|r| + \sigma$, smallest for the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import root_scalar

from skysift.compsep import Problem, Separation, solve
from skysift.compsep.criteria import noise_of
from skysift.compsep.shrinkage import falling_patches, learn_priors, vague_priors
from skysift.compsep.variants import with_patches, with_priors
from skysift.cosmology.residuals import CMB
from skysift.harmonic import CMBSpectra, PseudoOptions, PseudoSpectra
from skysift.maps import Maps
from skysift.patches import Patches

_FLAT_FROM = 30.0
_LARGE = 10.0


@dataclass(frozen=True)
class Outlook:
    """What a choice of patches is expected to leave.

    Args:
        r: bias of the tensor-to-scalar ratio by the systematic residual.
        sigma: standard deviation of r.
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


def fine_fit(problem: Problem) -> Separation:
    """Spectral parameters of every cell under priors learnt from the data of a problem.

    Two scales: values of large cells under one prior, then those of every cell under a prior
    centred on the large cell's, of the scatter that patches of falling size show about it.

    Raises:
        ValueError: for weights that are no inverse noise variances, or cells that are not HEALPix.
    """
    grid, names = problem.maps.grid, [parameter.name for parameter in problem.model.free]
    nside = grid.require_nside()
    noise_of(problem, np.random.default_rng(0))

    def of(nsides: Sequence[int]) -> Problem:
        return with_patches(
            problem, Patches.multires(grid, **dict(zip(names, nsides, strict=True)))
        )

    large = of([max(nside // 8, 1)] * len(names))
    first = solve(with_priors(large, vague_priors(large)))
    coarse = solve(with_priors(large, learn_priors(first)), start=first.theta)
    centres = {name: coarse.patches.expand(name, coarse.parameters[name]) for name in names}
    falling = with_patches(problem, falling_patches(problem))
    first = solve(with_priors(falling, vague_priors(falling), centres))
    priors = learn_priors(first, centres=centres)
    fine = of([nside] * len(names))
    return solve(with_priors(fine, {**vague_priors(fine), **priors}, centres))


def plausible_foregrounds(fit: Separation, seed: int = 0) -> Maps:
    """Foregrounds that the data allow: a draw from the posterior of a fit, noiseless [uK_CMB].

    The data are fitted again with noise added to them and to the centres of the priors; for a
    linear model that is a draw from the posterior (randomise, then optimise: Bardsley et al. 2014,
    SIAM J. Sci. Comput. 36, A1895).

    Args:
        fit: with fine patches and priors, of calibrated weights.
        seed: of the draw.

    Raises:
        ValueError: for weights that are no inverse noise variances.
    """
    problem, generator = fit.problem, np.random.default_rng(np.random.SeedSequence(seed))
    likelihood = problem.likelihood
    noise = noise_of(problem, generator)
    known = likelihood.prior_precision > 0
    width = np.where(known, 1.0 / np.sqrt(np.where(known, likelihood.prior_precision, 1.0)), 0.0)
    centre = likelihood.prior_mean + width * generator.standard_normal(width.size)
    drawn = dataclasses.replace(
        problem,
        likelihood=dataclasses.replace(likelihood, data=likelihood.data + noise, prior_mean=centre),
        options=dataclasses.replace(problem.options, errors=False),
    )
    theta = solve(drawn, start=fit.theta).theta
    cells = jnp.asarray(theta[likelihood.structure.index])
    fixed = {name: jnp.asarray(value) for name, value in likelihood.fixed.items()}
    columns = likelihood.kernel.columns(cells, fixed)
    total = np.zeros(likelihood.data.shape)
    for law, column in zip(problem.model.components, columns, strict=True):
        if law.name != CMB:
            amplitude = np.nan_to_num(np.asarray(fit.components[law.name].values))
            total += np.asarray(column)[:, None] * amplitude
    return problem.maps.replace(total)


@dataclass(frozen=True, eq=False)
class Forecast:
    """Scores choices of patches by the |r| + sigma that they would give.

    Args:
        foregrounds: that stand in for the sky (`plausible_foregrounds`).
        estimator: of the spectra, for the fitted cells.
        seeds: noise realisations of the statistical residual.
        theory: spectra.
    """

    foregrounds: Maps
    estimator: PseudoSpectra
    seeds: Sequence[int] = (0, 1)
    theory: CMBSpectra = dataclasses.field(default_factory=CMBSpectra.packaged)

    @staticmethod
    def of(problem: Problem, seed: int = 0, realisations: int = 1) -> Forecast:
        """A forecast from the data of a problem, whatever its patches.

        Args:
            problem: of calibrated weights, on HEALPix cells.
            seed: of the stand-in and the noise.
            realisations: of the noise.

        Raises:
            ValueError: as `plausible_foregrounds`, or for cells that are not HEALPix.
        """
        options = PseudoOptions(purify=False, smoothing=0.0)
        estimator = PseudoSpectra.of(problem.maps.grid, options)
        seeds = [seed + 1 + number for number in range(realisations)]
        return Forecast(plausible_foregrounds(fine_fit(problem), seed), estimator, seeds)

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
        systematic = np.asarray(floor.components[CMB].values)
        left, converged = [], floor.status.converged
        for seed in self.seeds:
            noise = noise_of(problem, np.random.default_rng(np.random.SeedSequence(seed)))
            maps = self.foregrounds.replace(np.asarray(self.foregrounds.values) + noise)
            fit = solve(problem.with_maps(maps), start=floor.theta)
            converged &= fit.status.converged
            left.append(np.asarray(fit.components[CMB].values) - systematic)
        r, sigma = self._ratio(floor.components[CMB], np.array(left))
        return Outlook(r, sigma, _rms(systematic), _rms(np.array(left)), bool(converged))

    def _ratio(
        self, systematic: Maps, left: Float[np.ndarray, "realisation stokes cell"]
    ) -> tuple[float, float]:
        """Bias and standard deviation of r."""
        power = self.estimator(systematic)
        noise = np.asarray(self.estimator(systematic.replace(left)).values["BB"]).mean(axis=0)
        longest = power.windows["BB"].shape[-1] - 1
        lensing = power.expected(self.theory.cl(r=0.0, lmax=longest))["BB"]
        tensors = power.expected(self.theory.cl(r=1.0, lmax=longest))["BB"] - lensing
        rest = lensing + _smooth(power.ell, noise)
        left_over = np.squeeze(power.values["BB"])

        def weight(r: float) -> Float[np.ndarray, " bin"]:
            return 0.5 * power.modes * tensors / (rest + r * tensors) ** 2

        def score(r: float) -> float:
            return float(np.sum(weight(r) * (left_over - r * tensors)))

        top = max(float(np.max(left_over / tensors)), 0.0)
        r = 0.0
        if score(0.0) > 0.0:
            r = float(root_scalar(score, bracket=(0.0, top), xtol=1e-9).root)
        return r, 1.0 / float(np.sqrt(np.sum(weight(r) * tensors)))


def _smooth(
    ell: Float[np.ndarray, " bin"], noise: Float[np.ndarray, " bin"]
) -> Float[np.ndarray, " bin"]:
    """White noise and an excess at low multipoles, from few realisations of the power."""
    white = (
        max(float(np.median(noise[ell >= _FLAT_FROM])), 0.0)
        if np.any(ell >= _FLAT_FROM)
        else (max(float(np.mean(noise)), 0.0))
    )
    shape = (_LARGE / ell) ** 2
    weight = 2.0 * ell + 1.0
    red = float(np.sum(weight * shape * (noise - white)) / np.sum(weight * shape**2))
    return white + max(red, 0.0) * shape


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(values**2)))
