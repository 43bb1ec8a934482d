"""What maps say of their parameters: densities over the prior."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from skysift.inference.mixture import Mixture
from skysift.inference.prior import Prior

if TYPE_CHECKING:
    import xarray as xr

_EDGE = 0.01
_PILED = 0.05
_LEVELS = np.array([0.025, 0.16, 0.5, 0.84, 0.975])
_DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posteriors of maps, one for each, nothing outside of the prior.

    Args:
        prior: of the parameters.
        mixture: densities where the prior is the box from -1 to 1, in double precision.

    Examples:
        >>> from skysift.inference.prior import Parameter
        >>> one = jnp.zeros((1, 1, 1))
        >>> mixture = Mixture(jnp.zeros((1, 1)), one, 0.1 + one, jnp.zeros((1, 1, 1, 1)))
        >>> post = Posterior(Prior((Parameter("tau", 0.03, 0.08),)), mixture)
        >>> post.mean.round(4), post.std.round(4)
        (array([[0.055]]), array([[0.0025]]))
    """

    prior: Prior
    mixture: Mixture

    def __len__(self) -> int:
        return len(self.mixture.logits)

    @property
    def mean(self) -> Float[np.ndarray, "map parameter"]:
        """Means, the estimates of least mean square error."""
        return self._moments[0]

    @property
    def std(self) -> Float[np.ndarray, "map parameter"]:
        """Standard deviations."""
        return self._moments[1]

    @functools.cached_property
    def at_bounds(self) -> Bool[np.ndarray, "map parameter"]:
        """Whether more than 5 % of the mass is in the last 1 % of the prior at one of its ends.

        The truth may be outside of the prior; or it is inside, near its bound, and little is known.
        """
        draws = np.asarray(_sampled(self.mixture, jax.random.key(0), _DRAWS))
        edge = 1.0 - 2.0 * _EDGE
        return np.maximum((draws > edge).mean(axis=1), (draws < -edge).mean(axis=1)) > _PILED

    def sample(
        self, key: PRNGKeyArray | int, n: int = 1000
    ) -> Float[np.ndarray, "map sample parameter"]:
        """Independent draws.

        Args:
            key: of the random numbers, or a seed.
            n: how many of each map.

        Raises:
            ValueError: for fewer than one.
        """
        if n < 1:
            raise ValueError(f"n: expected 1 or more, got {n}. Say n=1000.")
        random = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
        return np.asarray(self._parameters(_sampled(self.mixture, random, n)))

    def log_prob(
        self, theta: Float[np.ndarray | Array, "... parameter"]
    ) -> Float[np.ndarray, " map"]:
        """Logarithm of the density, per unit of each parameter, -inf outside of the prior.

        Args:
            theta: parameters for each map, or the same for all.

        Raises:
            ValueError: for another number of parameters or of maps, or NaN.
        """
        values = np.asarray(theta, dtype=float)
        expected = (len(self), self.prior.size)
        if values.shape not in (expected, expected[1:]) or np.isnan(values).any():
            raise ValueError(
                f"theta: expected numbers of shape {expected}, or {expected[1:]} for all maps "
                f"alike, got shape {values.shape}"
                f"{' with NaN' if np.isnan(values).any() else ''}. Give {self.prior.names}."
            )
        half = 0.5 * (self.prior.high - self.prior.low)
        places = np.broadcast_to((values - self.prior.low) / half - 1.0, expected)
        inside = self.prior.holds(values)
        found = np.asarray(_log_prob(self.mixture, jnp.clip(jnp.asarray(places), -1.0, 1.0)))
        return np.where(inside, found, -np.inf) - np.sum(np.log(half))

    def to_dataset(self) -> xr.Dataset:
        """Means, deviations, quantiles and flags by the name of the parameter, as xarray has it."""
        import xarray as xr

        draws = self.sample(jax.random.key(0), _DRAWS)
        quantiles = np.quantile(draws, _LEVELS, axis=1)
        return xr.Dataset(
            {
                "mean": (("map", "parameter"), self.mean),
                "std": (("map", "parameter"), self.std),
                "quantile": (("level", "map", "parameter"), quantiles),
                "at_bounds": (("map", "parameter"), self.at_bounds),
            },
            {"parameter": list(self.prior.names), "level": _LEVELS},
        )

    @functools.cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        mean, deviation = _moments(self.mixture)
        half = 0.5 * (self.prior.high - self.prior.low)
        return np.asarray(self._parameters(mean)), np.asarray(deviation) * half

    def _parameters(self, places: Array) -> Array:
        """Parameters at places in the box."""
        return self.prior.scaled_back(0.5 * (places + 1.0))


@functools.partial(jax.jit, static_argnums=2)
def _sampled(mixture: Mixture, key: PRNGKeyArray, count: int) -> Array:
    return mixture.sample(key, count)


@jax.jit
def _log_prob(mixture: Mixture, places: Array) -> Array:
    return mixture.log_prob(places)


@jax.jit
def _moments(mixture: Mixture) -> tuple[Array, Array]:
    return mixture.moments()
