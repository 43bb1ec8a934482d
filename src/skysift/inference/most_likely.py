"""Most likely parameters of a Gaussian full sky, by its exact likelihood.

The likelihood is that of the mean squares of the coefficients, see `likelihood`; Fisher scoring
climbs from the best place of a grid. With noise the cells are taken for as good as the continuous
sphere.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.inference.likelihood import HarmonicLikelihood, lowest
from skysift.inference.regions import FullSky
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol
from skysift.inference.summaries import Filtered
from skysift.inference.summary import PRIOR_INFORMATION, AbstractEstimate, covariance_root
from skysift.maps import Stokes

_START = 400
"""Places of the grid, about."""
_STEPS = 6
_PARTS = np.array([1.0, 0.5, 0.1, 0.0])
"""Of a step, of which the best is taken."""


class MostLikely(AbstractEstimate):
    """Most likely parameters, their covariance, and how the likelihood differs from a Gaussian.

    The residuals are the information that is seen, in units of the expected one and less it, and
    how far the powers of each field are from their means, in deviations.

    Args:
        sky: law of the maps; the full sky.

    Raises:
        ValueError: for a cut sky, E and B as published, or I, Q and U at once.

    Examples:
        >>> from skysift.inference.simulators import Split, t2
        >>> simulator = t2(nside=4)
        >>> MostLikely(simulator)(simulator.batch(Split.TRAIN.key(0), 3)[1]).shape
        (3, 10)
    """

    sky: GaussianSky = eqx.field(static=True)
    powers: Filtered

    def __init__(self, sky: GaussianSky) -> None:
        if not suits(sky):
            raise ValueError(
                "sky: expected a full sky of I, or of independent Q and U, got "
                f"{type(sky.region).__name__}, {sky.stokes.value}, {sky.protocol.value}. Take "
                "Scores, or Filtered."
            )
        self.sky, self.powers = sky, Filtered.of(sky)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        parameters = self.sky.prior.size
        return parameters * (parameters + 2) + len(self.sky.stokes)

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        logs = self.powers(observed).astype(float)
        powers = jnp.exp(logs).reshape(len(logs), len(self.sky.stokes), -1)
        return jax.vmap(self._climbed)(powers).astype(jnp.float32)

    def _climbed(self, powers: Float[Array, "field ell"]) -> Float[Array, " number"]:
        size, low = self.sky.prior.size, lowest(self.sky.stokes)
        noise = HarmonicLikelihood.of(self.sky).noise
        weight = 2.0 * jnp.arange(low, self.sky.theory.lmax + 1) + 1.0

        def spectra(at: Array) -> Array:
            return self.sky.theory(self.sky.prior.at(at))[..., low:] + noise

        def surprise(at: Array) -> Array:
            cl = spectra(at)
            return 0.5 * jnp.sum(weight * (powers / cl + jnp.log(cl)))

        def information(at: Array) -> Array:
            slope = jax.jacfwd(spectra)(at) / spectra(at)[..., None]
            return 0.5 * jnp.einsum("l,clp,clq->pq", weight, slope, slope)

        grid = jnp.asarray(self.sky.prior.grid(max(2, int(_START ** (1.0 / size)))))
        at = grid[jnp.argmin(jax.vmap(surprise)(grid))]
        for _ in range(_STEPS):
            known = information(at) + PRIOR_INFORMATION * jnp.eye(size)
            step = -jnp.linalg.solve(known, jax.grad(surprise)(at))
            tried = jnp.clip(at + _PARTS[:, None] * step, -1.0, 1.0)
            at = tried[jnp.argmin(jax.vmap(surprise)(tried))]
        root = covariance_root(information(at))
        seen = root.T @ (jax.hessian(surprise)(at) - information(at)) @ root
        ratio = powers / spectra(at)
        spare = jnp.sum(weight * (ratio - 1.0 - jnp.log(ratio)), axis=-1) / weight.size - 1.0
        rows, columns = np.tril_indices(size)
        left = [seen[rows, columns], spare * jnp.sqrt(0.5 * weight.size)]
        return jnp.concatenate([at, root[rows, columns], *left])


def suits(simulator: AbstractSimulator) -> bool:
    """Whether a simulator has a likelihood of this kind.

    Args:
        simulator: of maps.
    """
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, FullSky)
        and simulator.protocol is Protocol.PHYSICAL
        and simulator.stokes is not Stokes.IQU
    )
