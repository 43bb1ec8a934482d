"""Mixtures of Gaussians, by expectation and maximisation."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import equinox as eqx
import numpy as np
import scipy.linalg
from jaxtyping import Float

from skysift.scattering.unsupervised.model import (
    AbstractDensity,
    AbstractModel,
    Fit,
    require_at_least,
)

_FLOOR = 1e-9
"""Least variance within a class over that of all fields: covariances can be inverted."""

_FEWEST = 1e-10
"""Fields of a class that lost all."""


class Shape(enum.Enum):
    """What the covariance of a class may be."""

    FULL = "full"
    DIAGONAL = "diagonal"


class GaussianDensity(AbstractDensity):
    """Sum of Gaussians.

    Args:
        shares: of the classes, of sum 1.
        means: of each.
        covariances: of each.
        shape: what the covariances may be.
    """

    shares: Float[np.ndarray, " class"]
    means: Float[np.ndarray, "class component"]
    covariances: Float[np.ndarray, "class component component"]
    shape: Shape = eqx.field(static=True, default=Shape.FULL)

    def joint(
        self, components: Float[np.ndarray, "field component"]
    ) -> Float[np.ndarray, "field class"]:
        """See `AbstractDensity`."""
        parts = []
        for share, mean, covariance in zip(self.shares, self.means, self.covariances, strict=True):
            root = np.linalg.cholesky(covariance)
            offsets = scipy.linalg.solve_triangular(root, (components - mean).T, lower=True)
            norm = np.log(np.diag(root)).sum() + 0.5 * mean.size * np.log(2.0 * np.pi)
            parts.append(np.log(share) - norm - 0.5 * np.sum(offsets**2, axis=0))
        return np.stack(parts, axis=-1)

    @property
    def classes(self) -> int:
        """See `AbstractDensity`."""
        return len(self.shares)

    @property
    def parameters(self) -> int:
        """See `AbstractDensity`."""
        count, size = self.means.shape
        spreads = size * (size + 1) // 2 if self.shape is Shape.FULL else size
        return count * (size + spreads) + count - 1


@dataclass(frozen=True)
class GaussianMixture(AbstractModel):
    """A Gaussian for each class, found by expectation and maximisation (EM).

    The covariances have an inverse Wishart prior about that of all fields, which keeps a class
    from shrinking onto few fields (Fraley & Raftery 2007, J. Classif. 24, 155).

    Args:
        shape: what the covariances may be.
        prior: strength of the prior; 0 for maximum likelihood.
        starts: number of random starts, of which the best is taken.
        max_iter: iterations of each, at most.
        tolerance: gain of an iteration, per field, below which to stop.

    Raises:
        ValueError: for numbers that make no sense.
    """

    shape: Shape = Shape.FULL
    prior: float = 1.0
    starts: int = 10
    max_iter: int = 500
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require_at_least("prior", self.prior, 0.0, 1.0)
        require_at_least("starts", self.starts, 1, 10)
        require_at_least("max_iter", self.max_iter, 1, 500)
        require_at_least("tolerance", self.tolerance, 0.0, 1e-6)

    def fit(
        self,
        components: Float[np.ndarray, "field component"],
        classes: int,
        seed: np.random.SeedSequence,
    ) -> Fit[GaussianDensity]:
        """See `AbstractModel`."""
        found = [
            self._climb(components, spread_centres(components, classes, np.random.default_rng(one)))
            for one in seed.spawn(self.starts)
        ]
        best = max(found, key=lambda one: one.history[-1])
        density = best.density
        order = np.argsort(-density.shares, kind="stable")
        ordered = GaussianDensity(
            density.shares[order], density.means[order], density.covariances[order], self.shape
        )
        return Fit(ordered, best.history)

    def blank(self, components: int, classes: int) -> GaussianDensity:
        """See `AbstractModel`."""
        return GaussianDensity(
            np.zeros(classes),
            np.zeros((classes, components)),
            np.zeros((classes, components, components)),
            self.shape,
        )

    def _climb(
        self,
        components: Float[np.ndarray, "field component"],
        centres: Float[np.ndarray, "class component"],
    ) -> Fit[GaussianDensity]:
        """Iterations from fields that belong to the nearest of some centres."""
        fields, size = components.shape
        classes = len(centres)
        spread = np.cov(components, rowvar=False, bias=True).reshape(size, size)
        # Strength and scale of the prior as in the paper, section 3.3.
        counts = self.prior * (2 * size + 4)
        scatter = self.prior * spread / classes ** (2.0 / size)
        floor = _FLOOR * np.trace(spread) / size * np.eye(size)
        distance = np.sum((components[:, None] - centres) ** 2, axis=-1)
        belongs = np.eye(classes)[distance.argmin(axis=1)]
        history: list[float] = []
        while True:
            density = self._maximise(components, belongs, counts, scatter, floor)
            joint = density.joint(components)
            total = np.logaddexp.reduce(joint, axis=1)
            penalty = 0.0
            for covariance in density.covariances if self.prior else ():
                inverse = np.linalg.inv(covariance)
                penalty += counts * np.linalg.slogdet(covariance)[1] + np.sum(inverse * scatter)
            history.append(float(total.mean() - 0.5 * penalty / fields))
            gain = history[-1] - history[-2] if len(history) > 1 else np.inf
            if gain < self.tolerance or len(history) == self.max_iter:
                return Fit(density, np.array(history))
            belongs = np.exp(joint - total[:, None])

    def _maximise(
        self,
        components: Float[np.ndarray, "field component"],
        belongs: Float[np.ndarray, "field class"],
        counts: float,
        scatter: Float[np.ndarray, "component component"],
        floor: Float[np.ndarray, "component component"],
    ) -> GaussianDensity:
        """The density of fields of which it is known how far they belong to each class."""
        number = np.maximum(belongs.sum(axis=0), _FEWEST)
        means = belongs.T @ components / number[:, None]
        covariances = []
        for share, mean, count in zip(belongs.T, means, number, strict=True):
            offsets = components - mean
            covariance = (scatter + (share * offsets.T) @ offsets) / (counts + count) + floor
            diagonal = self.shape is Shape.DIAGONAL
            covariances.append(np.diag(np.diag(covariance)) if diagonal else covariance)
        return GaussianDensity(number / number.sum(), means, np.stack(covariances), self.shape)


def spread_centres(
    components: Float[np.ndarray, "field component"], classes: int, rng: np.random.Generator
) -> Float[np.ndarray, "class component"]:
    """Fields far from each other, drawn by the square of their distance to those before.

    Arthur & Vassilvitskii (2007), k-means++.

    Args:
        components: of fields.
        classes: number of fields that are drawn.
        rng: random numbers.
    """
    centres = [components[rng.integers(len(components))]]
    for _ in range(classes - 1):
        distance = np.min([np.sum((components - one) ** 2, axis=1) for one in centres], axis=0)
        total = distance.sum()
        chances = distance / total if total > 0.0 else None
        centres.append(components[rng.choice(len(components), p=chances)])
    return np.stack(centres)
