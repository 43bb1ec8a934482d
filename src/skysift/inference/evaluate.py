"""How good posteriors are: errors, bias, response and calibration, beside what maps can tell."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float

from skysift.inference.limits import Limit, full_sky
from skysift.inference.model import Family, Model
from skysift.inference.prior import Prior
from skysift.inference.regions import FullSky
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol, Split

if TYPE_CHECKING:
    import xarray as xr

_CHUNK = 250
_DRAWS = 999
_RANK_BINS = 10
_LEVELS = (0.68, 0.95)


@dataclass(frozen=True, eq=False)
class Bias:
    """Estimates at one set of parameters.

    Args:
        truth: parameters of all maps.
        mean: of the estimates, minus the truth.
        uncertainty: standard error of `mean`.
        rmse: root mean square of estimate minus truth.
    """

    truth: Float[np.ndarray, " parameter"]
    mean: Float[np.ndarray, " parameter"]
    uncertainty: Float[np.ndarray, " parameter"]
    rmse: Float[np.ndarray, " parameter"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Posteriors of test maps against their truths, for each parameter.

    Args:
        prior: of the parameters.
        truths: parameters of the maps, drawn from the prior.
        means: of the posteriors.
        deviations: of the posteriors.
        ranks: part of the draws of a posterior that are below the truth.
        biases: at fiducials.
        limit: what no estimator can do better than; `None` where it is not known.
    """

    prior: Prior
    truths: Float[np.ndarray, "map parameter"]
    means: Float[np.ndarray, "map parameter"]
    deviations: Float[np.ndarray, "map parameter"]
    ranks: Float[np.ndarray, "map parameter"]
    biases: tuple[Bias, ...]
    limit: Limit | None = None

    @property
    def error(self) -> Float[np.ndarray, " parameter"]:
        """Mean of |mean - truth| / truth [%]; infinite for a prior that reaches to zero."""
        return self._relative.mean(axis=0)

    @property
    def uncertainty(self) -> Float[np.ndarray, " parameter"]:
        """Standard error of `error` [%]; zero where it is infinite."""
        relative = np.where(np.isfinite(self._relative), self._relative, 0.0)
        return relative.std(axis=0, ddof=1) / math.sqrt(len(relative))

    @property
    def rmse(self) -> Float[np.ndarray, " parameter"]:
        """Root mean square of mean minus truth."""
        return np.sqrt(np.mean((self.means - self.truths) ** 2, axis=0))

    @property
    def slope(self) -> Float[np.ndarray, " parameter"]:
        """Response: slope of the regression of the means on the truths.

        Means of right posteriors have 1 minus the mean variance of the posteriors over that of the
        prior; an estimator that collapsed to a constant has 0.
        """
        truths = self.truths - self.truths.mean(axis=0)
        return np.sum(truths * self.means, axis=0) / np.sum(truths**2, axis=0)

    def coverage(self, level: float = 0.68) -> Float[np.ndarray, " parameter"]:
        """Part of the maps for which the central interval holds the truth.

        Args:
            level: of the interval.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level: expected between 0 and 1, got {level}. Say level=0.68.")
        return np.mean(np.abs(self.ranks - 0.5) <= 0.5 * level, axis=0)

    @property
    def rank_pvalue(self) -> Float[np.ndarray, " parameter"]:
        """Probability that ranks of right posteriors are at least as uneven (chi-square, ten bins).

        Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788).
        """
        counts = np.stack(
            [np.histogram(one, bins=_RANK_BINS, range=(0.0, 1.0))[0] for one in self.ranks.T]
        )
        expected = counts.mean(axis=1, keepdims=True)
        squares = np.sum((counts - expected) ** 2 / expected, axis=1)
        return scipy.special.chdtrc(counts.shape[1] - 1, squares)

    def to_dataset(self) -> xr.Dataset:
        """All figures by the name of the parameter, as xarray has it."""
        import xarray as xr

        columns: dict[str, Any] = {
            name: ("parameter", value) for name, value in self._columns().items()
        }
        for name in ("truths", "means", "deviations", "ranks"):
            columns[name] = (("map", "parameter"), getattr(self, name))
        if self.biases:
            for name, kept in (
                ("truth", "truth"),
                ("bias", "mean"),
                ("bias_uncertainty", "uncertainty"),
                ("fiducial_rmse", "rmse"),
            ):
                values = np.stack([getattr(one, kept) for one in self.biases])
                columns[name] = (("fiducial", "parameter"), values)
        return xr.Dataset(columns, {"parameter": list(self.prior.names)})

    def __str__(self) -> str:
        columns = self._columns()
        width = max(map(len, columns))
        lines = [" " * width + "".join(f"{name:>14}" for name in self.prior.names)]
        for name, values in columns.items():
            lines.append(f"{name:<{width}}" + "".join(f"{value:14.4g}" for value in values))
        if self.biases:
            lines.append("bias / its standard error at")
            for one in self.biases:
                at = ", ".join(f"{value:.4g}" for value in one.truth)
                told = "".join(
                    f"{mean:14.3g} /{mean / error:6.2f}"
                    for mean, error in zip(one.mean, one.uncertainty, strict=True)
                )
                lines.append(f"  {at}:{told}")
        return "\n".join(lines)

    @property
    def _relative(self) -> Float[np.ndarray, "map parameter"]:
        return self.prior.relative(self.means - self.truths, self.truths)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {
            "error_percent": self.error,
            "error_uncertainty": self.uncertainty,
            "rmse": self.rmse,
            "slope": self.slope,
            **{f"coverage_{level:.2f}": self.coverage(level) for level in _LEVELS},
            "rank_pvalue": self.rank_pvalue,
        }
        if self.limit is not None:
            columns["limit_percent"] = self.limit.error
            columns["limit_uncertainty"] = self.limit.uncertainty
            columns["limit_rmse"] = self.limit.rmse
        return columns


def evaluate(
    model: Model,
    simulator: AbstractSimulator,
    n: int = 1000,
    seed: int = 1,
    *,
    fiducials: Float[np.ndarray, "fiducial parameter"] | None = None,
    limit: Limit | None = None,
) -> Evaluation:
    """Test a model on maps that it has not seen.

    Args:
        model: trained.
        simulator: of the maps; its family should be that of the model.
        n: maps with parameters of the prior; as many in all, at least 20 each, at the fiducials.
        seed: of the maps.
        fiducials: parameters where the bias is measured; by default the quarters of the prior, in
            up to three parameters.
        limit: what no estimator can do better than, of `skysift.inference.limits`; by default that
            of full skies without noise, which takes seconds, else none.

    Raises:
        ValueError: for fewer than 20 maps, or maps that the model is not for.

    Warns:
        UserWarning: for maps of which other cells are seen than in training.
    """
    if n < 20:
        raise ValueError(f"n: expected 20 or more, got {n}. Say n=1000.")
    _check_family(model, simulator)
    first, second, third = jax.random.split(Split.TEST.key(seed), 3)
    truths, means, deviations, ranks = [], [], [], []
    for number, start in enumerate(range(0, n, _CHUNK)):
        parameters, observed = simulator.batch(jax.random.fold_in(first, number), _CHUNK)
        count = min(_CHUNK, n - start)
        parameters, observed = jax.tree.map(lambda leaf, n=count: leaf[:n], (parameters, observed))
        post = model.posterior(observed)
        draws = post.sample(jax.random.fold_in(second, number), _DRAWS)
        truths.append(np.asarray(parameters))
        means.append(post.mean)
        deviations.append(post.std)
        ranks.append(np.mean(draws < truths[-1][:, None], axis=1))
    points = _quarters(model.family.prior) if fiducials is None else np.atleast_2d(fiducials)
    each = max(20, n // max(1, len(points)))
    biases = tuple(
        _bias(model, simulator, point, each, jax.random.fold_in(third, number))
        for number, point in enumerate(points)
    )
    if limit is None and _is_plain(simulator):
        assert isinstance(simulator, GaussianSky)
        limit = full_sky(simulator)
    return Evaluation(
        model.family.prior,
        np.concatenate(truths),
        np.concatenate(means),
        np.concatenate(deviations),
        np.concatenate(ranks),
        biases,
        limit,
    )


def _bias(
    model: Model, simulator: AbstractSimulator, point: np.ndarray, count: int, key: jax.Array
) -> Bias:
    """Estimates of maps of the same parameters."""
    parts = []
    for number, start in enumerate(range(0, count, _CHUNK)):
        some = min(_CHUNK, count)
        parameters = jnp.broadcast_to(jnp.asarray(point, float), (some, len(point)))
        observed: Observed = simulator.simulate(parameters, jax.random.fold_in(key, number))
        parts.append(model.posterior(observed).mean[: count - start])
    off = np.concatenate(parts) - point
    return Bias(
        np.asarray(point, float),
        off.mean(axis=0),
        off.std(axis=0, ddof=1) / math.sqrt(count),
        np.sqrt(np.mean(off**2, axis=0)),
    )


def _quarters(prior: Prior) -> Float[np.ndarray, "fiducial parameter"]:
    """Products of the quarters of each parameter, or of its middle where there are many."""
    quarters = (0.25, 0.5, 0.75) if prior.size <= 3 else (0.5,)
    places = np.array(list(itertools.product(quarters, repeat=prior.size)))
    return prior.low + places * (prior.high - prior.low)


def _is_plain(simulator: AbstractSimulator) -> bool:
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, FullSky)
        and simulator.noise == 0.0
        and simulator.protocol is Protocol.PHYSICAL
        and simulator.prior.size <= 2
    )


def _check_family(model: Model, simulator: AbstractSimulator) -> None:
    own, other = model.family, Family.of(simulator)
    for name in ("prior", "nside", "stokes", "unit"):
        if getattr(own, name) != getattr(other, name):
            raise ValueError(
                f"simulator: expected {name} {getattr(own, name)}, as the model was trained on, "
                f"got {getattr(other, name)}. Evaluate it on maps that it is for."
            )
    if own.region != other.region:
        warnings.warn(
            f"simulator: expected the cells that the model was trained on "
            f"({type(own.region).__name__}), got others ({type(other.region).__name__}). The table "
            "says how wrong it is there. Train a model with these masks.",
            stacklevel=3,
        )
