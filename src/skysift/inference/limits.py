"""How well parameters can be known at all: errors of exact posteriors, and Fisher bounds."""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from skysift.inference.covariance import fisher_of_cells as fisher_of_cells
from skysift.inference.likelihood import HarmonicLikelihood, PixelLikelihood
from skysift.inference.prior import Prior
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import GaussianSky, Split

_POINTS = 33
_ZOOMS = 4
_DEEP = 18.0
"""How far below its maximum the logarithm of a likelihood is followed: six deviations."""
_CHUNK, _NUMBERS = 64, 1e7
"""Maps, and numbers of spectra, of which posteriors are found at once."""
_EXACT_TO, _FISHER_TO = 60_000, 200_000
"""Values of a map times multipoles up to which matrices of all nodes, and of a few, are made."""


class Method(enum.Enum):
    """How a limit was found."""

    HARMONIC = "exact likelihood of the full sky"
    PIXELS = "exact likelihood of the cells"
    FISHER = "Fisher matrix of the cells"
    FISHER_SCALED = "Fisher matrix of the full sky, times the part that is seen"


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Means and deviations of exact posteriors of maps, beside the truths.

    Args:
        truths: parameters of the maps, of the prior.
        means: of the posteriors: no estimator has a smaller mean square error.
        deviations: of the posteriors.
    """

    truths: Float[np.ndarray, "map parameter"]
    means: Float[np.ndarray, "map parameter"]
    deviations: Float[np.ndarray, "map parameter"]

    @property
    def scatter(self) -> Float[np.ndarray, " parameter"]:
        """Root mean square of (mean - truth) / deviation: one, where the likelihood is right."""
        return np.sqrt(np.mean(((self.means - self.truths) / self.deviations) ** 2, axis=0))


@dataclass(frozen=True, eq=False)
class Limit:
    """What an estimator cannot do better than, averaged over the prior.

    Args:
        prior: of the parameters.
        error: mean of |estimate - truth| / truth [%]; infinite for a prior that reaches to zero.
        uncertainty: standard error of `error` [%], zero for a Fisher matrix.
        rmse: root of the mean of (estimate - truth)^2.
        method: how it was found.
        posteriors: of which it is made; a Fisher matrix has none.
    """

    prior: Prior
    error: Float[np.ndarray, " parameter"]
    uncertainty: Float[np.ndarray, " parameter"]
    rmse: Float[np.ndarray, " parameter"]
    method: Method
    posteriors: Posteriors | None = None


def limit(simulator: GaussianSky, count: int = 500, seed: int = 0) -> Limit:
    """The best limit that is in reach.

    Posteriors of the full sky, exact but for noise, and exact ones of a cut sky, of up to 1200
    values (cells times Stokes parameters) at nside 16. Beyond, the Fisher matrix of the cells, up
    to 4000 values at nside 16, or that of the full sky, times the part that is seen.

    Args:
        simulator: of the maps.
        count: of maps whose posteriors are averaged.
        seed: of their parameters, skies and noise.

    Raises:
        ValueError: for spectra as published, or another mask in each map.

    Examples:
        >>> from skysift.inference.simulators import t1
        >>> bool(0.4 < limit(t1(), count=100).error[0] < 0.7)
        True
    """
    region = simulator.region
    if isinstance(region, FullSky):
        return full_sky(simulator, count, seed)
    if not isinstance(region, Shared):
        raise ValueError(
            "simulator: expected one mask for all maps, got another in each. Take one of them."
        )
    values = region.grid.size * len(simulator.stokes) * (simulator.theory.lmax + 1)
    if values <= _EXACT_TO:
        return cut_sky(simulator, count, seed)
    return fisher_limit(simulator, scaled=values > _FISHER_TO)


def full_sky(simulator: GaussianSky, count: int = 500, seed: int = 0) -> Limit:
    """The limit of a full sky, whatever the region, from the spectra of its coefficients.

    Exact without noise; see `HarmonicLikelihood`.

    Args:
        simulator: of the skies.
        count: of skies.
        seed: of parameters and skies.

    Raises:
        ValueError: for spectra as published.
    """
    likelihood = HarmonicLikelihood.of(simulator)
    of_truths, of_skies = jax.random.split(Split.TEST.key(seed))
    truths = simulator.prior.sample(of_truths, count)
    observed = likelihood.draw(truths, of_skies)
    held = _POINTS**simulator.prior.size * observed[0].size
    chunk = max(1, min(_CHUNK, int(_NUMBERS // held)))
    parts = [
        _posteriors(simulator.prior, functools.partial(_on_sphere, likelihood, some), len(some))
        for some in jnp.split(observed, np.arange(chunk, count, chunk))
    ]
    return _limit(simulator.prior, truths, parts, Method.HARMONIC)


def cut_sky(
    simulator: GaussianSky, count: int = 500, seed: int = 0, spacing: float = 30.0
) -> Limit:
    """The limit of the values of seen cells, exact.

    The likelihood is evaluated at nodes over the prior, and interpolated between them by splines.

    Args:
        simulator: of the maps, with one mask for all.
        count: of maps.
        seed: of parameters, skies and noise.
        spacing: of the nodes, in as many parts of the prior.

    Raises:
        ValueError: see `PixelLikelihood`.
    """
    likelihood, prior = PixelLikelihood(simulator), simulator.prior
    truths, observed = simulator.in_double().batch(Split.TEST.key(seed), count)
    nodes = prior.low + np.linspace(0.0, 1.0, round(spacing) + 1)[:, None] * (
        prior.high - prior.low
    )
    points = np.array(list(itertools.product(*nodes.T)))
    table = likelihood(likelihood.values(observed.values), points)
    table = table.reshape(count, *[len(nodes)] * prior.size)
    parts = [
        _posteriors(prior, functools.partial(_between, nodes, some), len(some))
        for some in np.split(table, np.arange(_CHUNK, count, _CHUNK))
    ]
    return _limit(prior, truths, parts, Method.PIXELS)


def fisher_limit(simulator: GaussianSky, *, scaled: bool = False, nodes: int = 3) -> Limit:
    """The limit if posteriors were Gaussian, with the covariance that the Fisher matrix says.

    Args:
        simulator: of the maps.
        scaled: take the matrix of the full sky times the part that is seen, for that of the cells.
        nodes: of the Gauss-Legendre average over the prior, in each parameter.

    Raises:
        ValueError: for spectra as published, and of cells see `PixelLikelihood`.
    """
    prior, likelihood = simulator.prior, None if scaled else PixelLikelihood(simulator)
    at, weight = np.polynomial.legendre.leggauss(nodes)
    points = np.array(list(itertools.product(0.5 + 0.5 * at, repeat=prior.size)))
    points = prior.low + points * (prior.high - prior.low)
    weights = np.prod(list(itertools.product(0.5 * weight, repeat=prior.size)), axis=1)
    matrices = [
        fisher(simulator, point) if likelihood is None else likelihood.fisher(point)
        for point in points
    ]
    variance = np.array([np.diag(np.linalg.inv(matrix)) for matrix in matrices])
    relative = prior.relative(np.sqrt(2.0 / np.pi * variance), points)
    return Limit(
        prior,
        weights @ relative,
        np.zeros(prior.size),
        np.sqrt(weights @ variance),
        Method.FISHER_SCALED if scaled else Method.FISHER,
    )


def fisher(
    simulator: GaussianSky, parameters: Float[np.ndarray, " parameter"]
) -> Float[np.ndarray, "parameter parameter"]:
    """Fisher matrix of the full sky, times the part of it that is seen.

    Args:
        simulator: of the maps.
        parameters: where.

    Raises:
        ValueError: for spectra as published, or parameters outside the prior.

    Examples:
        >>> from skysift.inference.simulators import t4
        >>> matrix = fisher(t4(fsky=0.1), np.array([0.003, 0.054]))
        >>> sigma_r, sigma_tau = np.sqrt(np.diag(np.linalg.inv(matrix)))
        >>> bool(0.0008 < sigma_r < 0.0014)
        True
    """
    simulator.prior.check(parameters)
    region = simulator.region
    fsky = region.grid.fsky if isinstance(region, Shared) else getattr(region, "fsky", 1.0)
    return HarmonicLikelihood.of(simulator).fisher(parameters, fsky)


def _limit(prior: Prior, truths: Array, parts: list, method: Method) -> Limit:
    means, deviations = (np.concatenate(one) for one in zip(*parts, strict=True))
    posteriors = Posteriors(np.asarray(truths), means, deviations)
    off = means - posteriors.truths
    relative = prior.relative(off, posteriors.truths)
    finite = np.where(np.isfinite(relative), relative, 0.0)
    return Limit(
        prior,
        relative.mean(axis=0),
        finite.std(axis=0, ddof=1) / np.sqrt(len(off)),
        np.sqrt(np.mean(off**2, axis=0)),
        method,
        posteriors,
    )


def _posteriors(
    prior: Prior, evaluate: Callable[[np.ndarray], np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations on grids that close in on each posterior.

    `evaluate` takes axes `(map, parameter, point)` and gives `(map, point, ...)`.
    """
    low, high = (np.broadcast_to(one, (count, prior.size)) for one in (prior.low, prior.high))
    steps = np.linspace(0.0, 1.0, _POINTS)
    axes = low[..., None] + steps * (high - low)[..., None]
    values = evaluate(axes)
    for _ in range(_ZOOMS - 1):
        held = values > values.max(axis=tuple(range(1, values.ndim)), keepdims=True) - _DEEP
        low, high = low.copy(), high.copy()
        for number in range(prior.size):
            others = tuple(axis for axis in range(1, values.ndim) if axis != number + 1)
            seen = held.any(axis=others)
            first = np.maximum(seen.argmax(axis=1) - 1, 0)
            last = np.minimum(_POINTS - seen[:, ::-1].argmax(axis=1), _POINTS - 1)
            low[:, number] = np.take_along_axis(axes[:, number], first[:, None], 1)[:, 0]
            high[:, number] = np.take_along_axis(axes[:, number], last[:, None], 1)[:, 0]
        axes = low[..., None] + steps * (high - low)[..., None]
        values = evaluate(axes)
    weights = np.exp(values - values.max(axis=tuple(range(1, values.ndim)), keepdims=True))
    ends = np.where((steps == 0.0) | (steps == 1.0), 0.5, 1.0)
    moments = []
    for number in range(prior.size):
        others = tuple(axis for axis in range(1, values.ndim) if axis != number + 1)
        weighted = weights
        for axis in others:
            weighted = weighted * ends.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        line = weighted.sum(axis=others) * ends
        line = line / line.sum(axis=1, keepdims=True)
        mean = np.sum(line * axes[:, number], axis=1)
        spread = np.sum(line * (axes[:, number] - mean[:, None]) ** 2, axis=1)
        moments.append((mean, np.sqrt(spread)))
    means, deviations = (np.stack(one, axis=-1) for one in zip(*moments, strict=True))
    return means, deviations


def _on_sphere(
    likelihood: HarmonicLikelihood, observed: Float[Array, "map field ell"], axes: np.ndarray
) -> np.ndarray:
    """Likelihood on the product of the axes of each sky."""
    size = axes.shape[1]
    index = np.indices([_POINTS] * size).reshape(size, -1)
    points = axes[:, np.arange(size)[:, None], index].transpose(0, 2, 1)
    values = np.asarray(_evaluated(likelihood, observed, jnp.asarray(points)))
    return values.reshape(len(values), *[_POINTS] * size)


@functools.partial(jax.jit, static_argnums=0)
def _evaluated(likelihood: HarmonicLikelihood, observed: Array, points: Array) -> Array:
    return likelihood(observed, points)


def _between(
    nodes: Float[np.ndarray, "node parameter"], table: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Cubic splines through the values at the nodes, on the product of the axes of each map."""
    import scipy.interpolate  # half a second that nothing else needs

    values = table
    for number, knots in enumerate(nodes.T):
        basis = scipy.interpolate.make_interp_spline(knots, np.eye(len(knots)))(axes[:, number])
        # The axis of the nodes goes to the end; after all parameters they are in order again.
        values = np.einsum("mn...,mpn->m...p", values, basis)
    return values
