"""Spectral parameters on several scales, learnt from the data, and skies drawn from them.

Patches of falling size are fitted one after the other, each with a prior centred on the fit before
and of the width under which the data are most probable (`skysift.compsep.shrinkage`). The widths
say how much a parameter varies on each scale, as a spectrum does.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.compsep.criteria import noise_of
from skysift.compsep.problem import GaussianPrior, Problem
from skysift.compsep.result import Separation
from skysift.compsep.separate import solve
from skysift.compsep.shrinkage import falling_patches, learn_priors, vague_priors
from skysift.compsep.variants import over_patches, with_patches, with_priors
from skysift.maps import Maps
from skysift.patches import Patches

_OCTAVES = 3
_LEAST_RATIO = math.sqrt(0.5)
_HELD = 0.01


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """How the spectral parameters of a sky vary, from large scales to small.

    Args:
        levels: problems of falling patches.
        priors: of each level: widths about the level before; for the first, means too.
        fit: of the last level.
    """

    levels: tuple[Problem, ...]
    priors: tuple[dict[str, GaussianPrior], ...]
    fit: Separation

    @staticmethod
    def learn(problem: Problem) -> Hierarchy:
        """Learn it from the maps of a problem.

        Patches are `falling_patches`, until all are cells. The scatter that patches add on each
        scale is between 1 and sqrt(1/2) of that on the scale above, as of power spectra l^-2 to
        l^-3: the data cannot tell all widths.

        Args:
            problem: of calibrated weights, on HEALPix cells; its own patches and priors are
                ignored.

        Raises:
            ValueError: for weights that are no inverse noise variances, or cells that are not
                HEALPix.

        Examples:
            >>> import skysift as ss
            >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4, seed=0)
            >>> known = Hierarchy.learn(ss.separate(sim.maps, "LiteBIRD").problem)
            >>> [level.patches.counts["beta_dust"] for level in known.levels]
            [12, 48, 192, 192, 192]
        """
        options = dataclasses.replace(problem.options, errors=True)
        problem = dataclasses.replace(problem, options=options)
        levels = [with_patches(problem, patches) for patches in _scales(problem)]
        priors = vague_priors(levels[0])
        fit = solve(with_priors(levels[0], priors))
        priors |= learn_priors(fit)
        fit = solve(with_priors(levels[0], priors), start=fit.theta)
        # The first scatter is that of all larger scales together, of which the last is 1/2 (l^-3).
        learnt, widths = [priors], {n: _LEAST_RATIO * prior.sigma for n, prior in priors.items()}
        for level in levels[1:]:
            centres = _cells(fit)
            same = [n for n, c in level.patches.counts.items() if c == fit.patches.counts[n]]
            held = {n: GaussianPrior(p.mean, _HELD * widths[n]) for n, p in priors.items()}
            held = {n: held[n] for n in same}
            begun = with_priors(level, vague_priors(level) | held, centres)
            first = solve(begun, start=_over(level, centres))
            priors = vague_priors(level) | learn_priors(first, centres=centres) | held
            for name in set(priors) - set(same):
                least, most = _LEAST_RATIO * widths[name], widths[name]
                widths[name] = float(np.clip(priors[name].sigma, least, most))
                priors[name] = dataclasses.replace(priors[name], sigma=widths[name])
            fit = solve(with_priors(level, priors, centres), start=first.theta)
            learnt.append(priors)
        return Hierarchy(tuple(levels), tuple(learnt), fit)

    def draw(self, seed: int) -> Maps:
        """Foregrounds that the data allow, noiseless [uK_CMB]: a draw from the posterior.

        On each scale the data are fitted again with noise added to them and to the centres of the
        priors; for a linear model that is a draw from the posterior (randomise, then optimise:
        Bardsley et al. 2014, SIAM J. Sci. Comput. 36, A1895). The amplitudes are those of `fit`.

        Args:
            seed: of the draw.
        """
        generator = np.random.default_rng(np.random.SeedSequence(seed))
        problem = self.fit.problem
        noisy = problem.maps.replace(problem.likelihood.data + noise_of(problem, generator))
        fit, centres = self.fit, None
        for level, priors in zip(self.levels, self.priors, strict=True):
            posed = with_priors(level, priors, centres)
            likelihood, options = posed.likelihood, posed.options
            width = likelihood.prior_precision**-0.5
            moved = likelihood.prior_mean + width * generator.standard_normal(width.size)
            drawn = dataclasses.replace(
                posed,
                likelihood=dataclasses.replace(likelihood, prior_mean=moved),
                options=dataclasses.replace(options, errors=False),
            )
            start = level.start if centres is None else _over(level, centres)
            fit = solve(drawn.with_maps(noisy), start=start)
            centres = _cells(fit)
        return _foregrounds(self.fit, fit.theta)


def _scales(problem: Problem) -> list[Patches]:
    """Patches of falling size, until all are cells."""
    nside, count = problem.maps.grid.require_nside(), len(problem.model.free)
    sizes = [nside >> k for k in range(min(_OCTAVES, nside.bit_length() - 1), 0, -1)]
    return [
        falling_patches(problem, size) for size in (*sizes, *(nside << k for k in range(count)))
    ]


def _cells(fit: Separation) -> dict[str, Float[np.ndarray, " cell"]]:
    """Spectral parameters of each cell."""
    return {name: fit.patches.expand(name, values) for name, values in fit.parameters.items()}


def _over(
    level: Problem, cells: dict[str, Float[np.ndarray, " cell"]]
) -> Float[np.ndarray, " parameter"]:
    """Averages over the patches."""
    return np.concatenate([over_patches(level, name, values) for name, values in cells.items()])


def _foregrounds(fit: Separation, theta: Float[np.ndarray, " parameter"]) -> Maps:
    """Emission of all components but the CMB, of a fit's amplitudes and other parameters."""
    likelihood = fit.problem.likelihood
    fixed = {name: jnp.asarray(value) for name, value in likelihood.fixed.items()}
    columns = likelihood.kernel.columns(jnp.asarray(theta[likelihood.structure.index]), fixed)
    total = np.zeros(likelihood.data.shape)
    for law, column in zip(fit.problem.model.components, columns, strict=True):
        if law.name != "cmb":
            amplitude = np.nan_to_num(np.asarray(fit.components[law.name].values))
            total += np.asarray(column)[:, None] * amplitude
    return fit.problem.maps.replace(total)
