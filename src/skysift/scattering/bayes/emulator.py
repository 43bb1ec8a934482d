"""What observations given parameters are like, learnt from few simulations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

Baseline = Callable[[Float[np.ndarray, "pair size"]], Float[np.ndarray, "pair seen"]]
"""What an observation is expected to be before anything is learnt."""

FEWEST = 16
_QUADRATIC = 0.3
"""Scale of the quadratic features: of two explanations the linear one is taken."""
_PENALTIES = np.geomspace(1e-4, 1e5, 19)
_LOG_CHI2 = -1.2703628
"""Mean of the logarithm of a squared unit Gaussian number."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """Parameters, and observations of each with several contaminations.

    Args:
        theta: white parameters.
        seen: observations.
    """

    theta: Float[np.ndarray, "field size"]
    seen: Float[np.ndarray, "field draw seen"]

    def joined(self, other: Simulated) -> Simulated:
        """These and others."""
        return Simulated(
            np.concatenate([self.theta, other.theta]), np.concatenate([self.seen, other.seen])
        )


@dataclass(frozen=True, eq=False)
class Emulator:
    """Gaussian law of observations given parameters.

    The mean is a baseline plus a ridge regression on the parameters and their squares, the
    covariance one matrix times variances that are log-linear in the parameters. A regression does
    not depend on where the parameters were drawn: simulations of all rounds serve together, and
    none has to be weighed (Papamakarios, Sterratt & Murray 2019, AISTATS, for the same reason).

    Args:
        baseline: of the mean.
        limits: of the parameters, beyond which features are held.
        mean: regression of the mean.
        spread: regression of the logarithm of the variances.
        root: lower triangular root of the covariance.
    """

    baseline: Baseline
    limits: Float[np.ndarray, "2 size"]
    mean: Float[np.ndarray, "feature seen"]
    spread: Float[np.ndarray, "feature seen"]
    root: Float[np.ndarray, "seen seen"]

    def expected(self, theta: Float[np.ndarray, "pair size"]) -> Float[np.ndarray, "pair seen"]:
        """Mean observation of each set of parameters."""
        return self.baseline(theta) + _features(theta, self.limits) @ self.mean

    def sample(
        self, theta: Float[np.ndarray, "pair size"], rng: np.random.Generator
    ) -> Float[np.ndarray, "pair seen"]:
        """One observation of each set of parameters."""
        white = rng.standard_normal((len(theta), len(self.root)))
        return self.expected(theta) + (white * self._scales(theta)) @ self.root.T

    def _scales(self, theta: Float[np.ndarray, "pair size"]) -> Float[np.ndarray, "pair seen"]:
        return np.exp(0.5 * np.clip(_features(theta, self.limits) @ self.spread, -3.0, 3.0))


def emulate(simulated: Simulated, baseline: Baseline) -> Emulator:
    """The emulator of simulations.

    The penalties are those of generalised cross-validation, number by number (Golub, Heath & Wahba
    1979). The covariance is that of what is left of a simulation when it is itself left out: it
    holds what the regression does not know.

    Args:
        simulated: parameters with their observations.
        baseline: of the mean.

    Raises:
        ValueError: for simulations that are too few, or not finite.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.standard_normal((200, 2))
        >>> seen = 3.0 * theta[:, None] + rng.standard_normal((200, 4, 2))
        >>> found = emulate(Simulated(theta, seen), lambda theta: theta)
        >>> found.expected(np.array([[1.0, 1.0]])).round(0)[0].tolist()
        [3.0, 3.0]
    """
    theta, seen = simulated.theta, simulated.seen
    if len(theta) < FEWEST:
        raise ValueError(
            f"fields: expected {FEWEST} or more, got {len(theta)}: fewer do not tell how data "
            "depend on the signal. Say fields=100."
        )
    if not (np.all(np.isfinite(theta)) and np.all(np.isfinite(seen))):
        raise ValueError("simulations: expected finite numbers, got others. Look at the forward.")
    limits = np.stack([theta.min(axis=0), theta.max(axis=0)])
    features = _features(theta, limits)
    means = seen.mean(axis=1)
    start = baseline(theta)
    slope, leverage = _ridge(features, means - start)
    fitted = start + features @ slope
    unseen = (means - fitted) / (1.0 - leverage)
    left = unseen[:, None] + seen - means[:, None]
    flat = left.reshape(-1, left.shape[-1])
    root = _root(flat)
    white = scipy.linalg.solve_triangular(root, flat.T, lower=True).T.reshape(left.shape)
    logs = np.mean(np.log(white**2 + 1e-6), axis=1) - _LOG_CHI2
    spread, _ = _ridge(features, logs)
    return Emulator(baseline, limits, slope, spread, root)


def _features(
    theta: Float[np.ndarray, "pair size"], limits: Float[np.ndarray, "2 size"]
) -> Float[np.ndarray, "pair feature"]:
    """One, the parameters, and their squares."""
    held = np.clip(theta, *limits)
    squares = _QUADRATIC * (held**2 - 1.0)
    return np.concatenate([np.ones((len(theta), 1)), theta, squares], axis=1)


def _ridge(
    features: Float[np.ndarray, "field feature"], wanted: Float[np.ndarray, "field seen"]
) -> tuple[Float[np.ndarray, "feature seen"], Float[np.ndarray, "field seen"]]:
    """Coefficients, and how much each field counts in its own prediction."""
    count = len(features)
    centre, level = features[:, 1:].mean(axis=0), wanted.mean(axis=0)
    u, s, vt = np.linalg.svd(features[:, 1:] - centre, full_matrices=False)
    projected = u.T @ (wanted - level)
    total = np.sum((wanted - level) ** 2, axis=0)
    filters = s**2 / (s**2 + _PENALTIES[:, None])
    # What is left, from the parts along each axis.
    gained = np.einsum("pa,as->ps", 2.0 * filters - filters**2, projected**2)
    freedom = np.maximum(1.0 - (1.0 + filters.sum(axis=1)) / count, 1e-3)
    chosen = np.argmin((total - gained) / freedom[:, None] ** 2, axis=0)
    kept = filters[chosen].T
    slope = vt.T @ (projected * kept * (s / np.maximum(s**2, 1e-12))[:, None])
    leverage = np.minimum(1.0 / count + u**2 @ kept, 0.95)
    return np.concatenate([(level - centre @ slope)[None], slope]), leverage


def _root(left: Float[np.ndarray, "pair seen"]) -> Float[np.ndarray, "seen seen"]:
    """Root of the covariance about zero, shrunk as if pairs without correlation were seen as well.

    As many as an observation has numbers.
    """
    covariance = left.T @ left / len(left)
    share = left.shape[1] / sum(left.shape)
    diagonal = np.diag(np.maximum(np.diag(covariance), 1e-12))
    return np.linalg.cholesky((1.0 - share) * covariance + share * diagonal)
