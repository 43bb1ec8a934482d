"""Which fields are alike: classes of fields by their statistics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from skysift.scattering.statistics import Statistics
from skysift.scattering.unsupervised.features import features_of, vectors_of
from skysift.scattering.unsupervised.files import Contents, read, write
from skysift.scattering.unsupervised.mixture import GaussianMixture
from skysift.scattering.unsupervised.model import AbstractModel, Fit

_FEWEST = 2.0
"""Fields in a class from which a mean and a deviation can be told."""


@dataclass(frozen=True, eq=False)
class Classes(Contents):
    """Classes of fields, in falling order of their shares.

    Args:
        statistics: of the fields.
        features: that the classes are told by.
        model: that found them.
        density: of the features, as the model found it.
        history: what the model brought up, per field, at each iteration.
        bics: Bayesian information criterion of each number of classes that was tried.
    """

    @property
    def count(self) -> int:
        """Number of classes."""
        return self.density.classes

    @functools.cached_property
    def probabilities(self) -> Float[np.ndarray, "field class"]:
        """Of each field to belong to each class."""
        return self.assign(self.statistics)

    @property
    def labels(self) -> Int[np.ndarray, " field"]:
        """The most probable class of each field."""
        return self.probabilities.argmax(axis=1)

    @property
    def shares(self) -> Float[np.ndarray, " class"]:
        """Part of the fields in each class."""
        return self.probabilities.mean(axis=0)

    @property
    def score(self) -> float:
        """Logarithm of the density of the features, mean over fields."""
        return float(np.logaddexp.reduce(self._joint(self.statistics), axis=1).mean())

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978): the smaller the better."""
        return self.bics[self.count]

    def assign(self, statistics: Statistics) -> Float[np.ndarray, "field class"]:
        """Probability of other fields to belong to each class.

        Args:
            statistics: of a batch of fields, by the same operator.

        Raises:
            ValueError: for statistics of another configuration, or that are not finite.
        """
        joint = self._joint(statistics)
        return np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))

    def log_density(self, statistics: Statistics) -> Float[np.ndarray, " field"]:
        """Logarithm of the density at other fields: low for those like none of the classes.

        Args:
            statistics: of a batch of fields, by the same operator.

        Raises:
            ValueError: for statistics of another configuration, or that are not finite.
        """
        return np.logaddexp.reduce(self._joint(statistics), axis=1)

    def mean(self, which: int) -> Statistics:
        """Mean statistics of a class, each field counted by its probability; can be synthesised.

        Raises:
            ValueError: for a class that is not there, or has no fields.
        """
        weights = self._weights(which)
        vectors = weights @ vectors_of(self.statistics) / weights.sum()
        dtype = np.asarray(self.statistics.vector).dtype
        layout = self.statistics.layout
        return Statistics.of_vector(vectors.astype(dtype), layout, self.statistics.masked)

    def covariance(self, which: int) -> Float[np.ndarray, "number number"]:
        """Covariance of the statistics over the fields of a class.

        Raises:
            ValueError: for a class that is not there, or has less than two fields.
        """
        weights = self._weights(which)
        offsets = vectors_of(self.statistics) - np.asarray(self.mean(which).vector, dtype=float)
        freedom = weights.sum() - np.sum(weights**2) / weights.sum()
        return (weights * offsets.T) @ offsets / freedom

    def deviation(self, which: int) -> Float[np.ndarray, " number"]:
        """Standard deviation of the statistics over the fields of a class.

        Raises:
            ValueError: for a class that is not there, or has less than two fields.
        """
        return np.sqrt(np.diag(self.covariance(which)))

    def error(self, which: int) -> Float[np.ndarray, " number"]:
        """Standard error of the mean statistics of a class, for fields that do not overlap.

        Raises:
            ValueError: for a class that is not there, or has less than two fields.
        """
        weights = self._weights(which)
        effective = weights.sum() ** 2 / np.sum(weights**2)
        return self.deviation(which) / np.sqrt(effective)

    def save(self, path: str | Path) -> None:
        """Write to NetCDF (`.nc`), statistics and all.

        Raises:
            ValueError: for another suffix.
        """
        write(self, path)

    @staticmethod
    def load(path: str | Path) -> Classes:
        """Read what `save` wrote.

        Raises:
            ValueError: for a file that is missing, damaged or something else.
        """
        return Classes(**vars(read(path)))

    def _joint(self, statistics: Statistics) -> Float[np.ndarray, "field class"]:
        return self.density.joint(self.features(statistics))

    def _weights(self, which: int) -> Float[np.ndarray, " field"]:
        if not 0 <= which < self.count:
            raise ValueError(
                f"which: expected 0 to {self.count - 1}, got {which}. Say 0 for the largest class."
            )
        weights = self.probabilities[:, which]
        if weights.sum() < _FEWEST:
            raise ValueError(
                f"which: expected a class of two fields or more, got {weights.sum():.2g} in class "
                f"{which}. Choose fewer classes."
            )
        return weights


def classify(
    statistics: Statistics,
    count: int | Sequence[int] = 3,
    seed: int = 0,
    *,
    model: AbstractModel | None = None,
    components: int = 6,
) -> Classes:
    """Find classes of fields that have like statistics, without labels.

    The statistics are taken to few numbers, principal components of unit variance, and a density
    that is a sum over classes is fitted to them. What differs between fields makes classes: divide
    maps by their standard deviation when structure is to tell them, not strength, and take
    statistics that do not know of orientation (`Reduced`) when that is not to.

    Args:
        statistics: of many fields, of one batch axis.
        count: number of classes, or several of which the one of the lowest Bayesian information
            criterion is taken.
        seed: of the starts; the same seed gives the same classes.
        model: kind of density; `None` for `GaussianMixture()`, a Gaussian for each class.
        components: number of principal components, at most.

    Returns:
        The classes, with the probability of each field to belong to each.

    Raises:
        ValueError: for statistics that are not finite, all the same, of no batch, or of fewer
            fields than two for each class; and numbers that make no sense.

    Examples:
        >>> from skysift.scattering import PowerSpectrum
        >>> st = PowerSpectrum.plane((16, 16), bins=4)
        >>> rng = np.random.default_rng(0)
        >>> white = rng.standard_normal((40, 16, 16))
        >>> smooth = white[:20] + np.roll(white[:20], 1, axis=-1)
        >>> found = classify(st(np.concatenate([smooth, white[20:]])), count=2)
        >>> found.shares.round(1).tolist(), found.mean(0)["bandpower"].shape
        ([0.5, 0.5], (4,))
    """
    counts = [count] if isinstance(count, int | np.integer) else list(count)
    if not counts or min(counts) < 1:
        raise ValueError(f"count: expected numbers of classes from 1 on, got {count}. Say count=3.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    number = len(vectors_of(statistics))
    if number < _FEWEST * max(counts):
        raise ValueError(
            f"statistics: expected those of {int(_FEWEST) * max(counts)} fields or more for "
            f"{max(counts)} classes, got {number}. Cut more patches, or ask for fewer classes."
        )
    model = model or GaussianMixture()
    features = features_of(statistics, components)
    values = features(statistics)
    fits: dict[int, Fit] = {}
    bics: dict[int, float] = {}
    for one, stream in zip(counts, np.random.SeedSequence(seed).spawn(len(counts)), strict=True):
        fits[one] = model.fit(values, int(one), stream)
        density = fits[one].density
        likelihood = np.logaddexp.reduce(density.joint(values), axis=1).sum()
        bics[one] = float(density.parameters * np.log(number) - 2.0 * likelihood)
    best = min(bics, key=bics.__getitem__)
    fit = fits[best]
    return Classes(statistics, features, model, fit.density, fit.history, bics)
