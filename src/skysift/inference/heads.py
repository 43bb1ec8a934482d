r"""What takes the numbers of a map to a density of its parameters.

Places are parameters scaled so that the prior is the box from -1 to 1.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math
from dataclasses import dataclass
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from skysift.inference.mixture import Mixture
from skysift.inference.networks import Buffer
from skysift.inference.summary import covariance_root

_NARROWEST, _WIDEST = 1e-6, 3.0
_TERMS = 300
_NEWTON = 4
_FARTHEST = 5.0
_UNSURE = 1e-4
_LARGEST = 2.0
"""Logarithm of the ratio of a power and its mean, above which a power counts no more."""


class AbstractHead(eqx.Module):
    """Densities given numbers of maps."""

    @abc.abstractmethod
    def __call__(self, numbers: Float[Array, "map number"]) -> Mixture:
        """Densities.

        Args:
            numbers: of the summary.
        """

    @abc.abstractmethod
    def piloted(
        self, numbers: Float[np.ndarray, "map number"], places: Float[np.ndarray, "map parameter"]
    ) -> Self:
        """The head where learning begins: scaled to numbers, with what linear algebra can tell.

        Args:
            numbers: of many maps.
            places: of the same.

        Raises:
            ValueError: for too few maps, or numbers that are not finite.
        """


@dataclass(frozen=True)
class AbstractHeadKind(abc.ABC):
    """A head before its sizes are known."""

    @abc.abstractmethod
    def head(self, numbers: int, parameters: int, key: PRNGKeyArray) -> AbstractHead:
        """A head.

        Args:
            numbers: of a map.
            parameters: how many.
            key: of the random numbers.
        """


@dataclass(frozen=True)
class Regression(AbstractHeadKind):
    """A network corrects the linear regression of the parameters on any numbers.

    Args:
        components: Gaussians of a mixture.
        width: neurons of a hidden layer.
        depth: hidden layers.

    Raises:
        ValueError: for fewer than one of any.
    """

    components: int = 3
    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        _check_counts(components=self.components, width=self.width, depth=self.depth)

    def head(self, numbers: int, parameters: int, key: PRNGKeyArray) -> RegressionHead:
        """A head of this kind."""
        return RegressionHead(numbers, parameters, self, key)


@dataclass(frozen=True)
class Scoring(AbstractHeadKind):
    r"""Fisher scoring with the mean powers that were seen, for logarithms of powers.

    Of powers P with means mu(theta) the residuals r = P / mu - 1 have nearly the same covariance
    everywhere. With L its inverse root and J the slopes of ln mu the score is (L J)^T L r, and the
    Fisher matrix (L J)^T L J: Newton steps end at the most likely parameters. On the full sky this
    is the exact likelihood. A network then moves and widens what is a Gaussian there, since with
    few modes and near bounds it is none. Means and covariance are fitted to the maps of the pilot
    and then stay: slopes of the loss would move what is known well by too much.

    Args:
        components: Gaussians of a mixture.
        width: neurons in each of two hidden layers.
        projections: residuals, in combinations that are learnt, which the network sees too.

    Raises:
        ValueError: for fewer than one of any.
    """

    components: int = 3
    width: int = 64
    projections: int = 8

    def __post_init__(self) -> None:
        _check_counts(components=self.components, width=self.width, projections=self.projections)

    def head(self, numbers: int, parameters: int, key: PRNGKeyArray) -> ScoringHead:
        """A head of this kind."""
        return ScoringHead(numbers, parameters, self, key)


@dataclass(frozen=True)
class Refinement(AbstractHeadKind):
    """A network moves and widens the Gaussian of an estimate and its covariance.

    Args:
        components: Gaussians of a mixture.
        width: neurons in each of two hidden layers.

    Raises:
        ValueError: for fewer than one of any.
    """

    components: int = 3
    width: int = 64

    def __post_init__(self) -> None:
        _check_counts(components=self.components, width=self.width)

    def head(self, numbers: int, parameters: int, key: PRNGKeyArray) -> RefinementHead:
        """A head of this kind.

        Raises:
            ValueError: for fewer numbers than an estimate has.
        """
        return RefinementHead(numbers, parameters, self, key)


class RefinementHead(AbstractHead):
    """See `Refinement`.

    Args:
        numbers: of a map.
        parameters: how many.
        kind: of the head.
        key: of the random numbers.
    """

    shift: Buffer
    inflation: Buffer
    scale: Buffer
    last: _Corrections

    def __init__(self, numbers: int, parameters: int, kind: Refinement, key: PRNGKeyArray) -> None:
        least = parameters + parameters * (parameters + 1) // 2
        if numbers < least:
            raise ValueError(
                f"numbers: expected {least} or more, of an estimate and its covariance, got "
                f"{numbers}. Take Regression, or Scoring."
            )
        self.shift = Buffer(jnp.zeros(parameters, jnp.float32))
        self.inflation = Buffer(jnp.eye(parameters, dtype=jnp.float32))
        self.scale = Buffer(jnp.ones(numbers - least, jnp.float32))
        self.last = _Corrections(numbers, parameters, kind.components, kind.width, 2, key)

    def __call__(self, numbers: Float[Array, "map number"]) -> Mixture:
        """Densities."""
        return jax.vmap(self._one)(numbers.astype(jnp.float32))

    def _one(self, seen: Float[Array, " number"]) -> Mixture:
        at, root, left = _estimate(seen, self.shift.value.size)
        rows, columns = np.tril_indices(at.size)
        told = jnp.concatenate(
            [
                at,
                jnp.log(jnp.diag(root)),
                (root / jnp.diag(root)[:, None])[rows, columns][rows != columns],
                jnp.arcsinh(left / self.scale.value),
            ]
        )
        return self.last(told, at + root @ self.shift.value, root @ self.inflation.value)

    def piloted(
        self, numbers: Float[np.ndarray, "map number"], places: Float[np.ndarray, "map parameter"]
    ) -> Self:
        """With the mean and the covariance of what estimates miss, in their own units."""
        seen, places = _checked(numbers, places)
        at, root, left = jax.vmap(lambda one: _estimate(one, places.shape[1]))(jnp.asarray(seen))
        off = jax.vmap(lambda low, x: jax.scipy.linalg.solve_triangular(low, x, lower=True))(
            root, jnp.asarray(places) - at
        )
        missed = np.clip(np.asarray(off), -_FARTHEST, _FARTHEST)
        centred = missed - missed.mean(axis=0)
        found = (
            missed.mean(axis=0),
            np.linalg.cholesky(centred.T @ centred / len(centred)),
            np.maximum(np.median(np.abs(left), axis=0), 1e-6),
        )
        return eqx.tree_at(
            lambda head: (head.shift.array, head.inflation.array, head.scale.array),
            self,
            [jnp.asarray(one, jnp.float32) for one in found],
        )


class RegressionHead(AbstractHead):
    """See `Regression`.

    Args:
        numbers: of a map.
        parameters: how many.
        kind: of the head.
        key: of the random numbers.
    """

    centre: Float[Array, " number"]
    scale: Float[Array, " number"]
    slope: Float[Array, "number parameter"]
    offset: Float[Array, " parameter"]
    root: Float[Array, "parameter parameter"]
    last: _Corrections

    def __init__(self, numbers: int, parameters: int, kind: Regression, key: PRNGKeyArray) -> None:
        self.centre = jnp.zeros(numbers, jnp.float32)
        self.scale = jnp.ones(numbers, jnp.float32)
        self.slope = jnp.zeros((numbers, parameters), jnp.float32)
        self.offset = jnp.zeros(parameters, jnp.float32)
        self.root = jnp.eye(parameters, dtype=jnp.float32)
        self.last = _Corrections(numbers, parameters, kind.components, kind.width, kind.depth, key)

    def __call__(self, numbers: Float[Array, "map number"]) -> Mixture:
        """Densities."""

        def one(seen: Array) -> Mixture:
            white = (seen - jax.lax.stop_gradient(self.centre)) / jax.lax.stop_gradient(self.scale)
            return self.last(white, white @ self.slope + self.offset, jnp.tril(self.root))

        return jax.vmap(one)(numbers.astype(jnp.float32))

    def piloted(
        self, numbers: Float[np.ndarray, "map number"], places: Float[np.ndarray, "map parameter"]
    ) -> Self:
        """With scales of the numbers, and the linear regression."""
        seen, at = _checked(numbers, places)
        centre, scale, slope, offset = _regression(seen, at)
        left = at - offset - ((seen - centre) / scale) @ slope
        root = np.linalg.cholesky(left.T @ left / len(left) + 1e-8 * np.eye(at.shape[1]))
        found = [jnp.asarray(one, jnp.float32) for one in (centre, scale, slope, offset, root)]
        return eqx.tree_at(
            lambda head: (head.centre, head.scale, head.slope, head.offset, head.root), self, found
        )


class ScoringHead(AbstractHead):
    """See `Scoring`.

    Args:
        numbers: of a map.
        parameters: how many.
        kind: of the head.
        key: of the random numbers.
    """

    spectrum: Buffer
    whitening: Buffer
    slope: Buffer
    offset: Buffer
    projection: Float[Array, "number projection"]
    last: _Corrections

    def __init__(self, numbers: int, parameters: int, kind: Scoring, key: PRNGKeyArray) -> None:
        self.spectrum = Buffer(jnp.zeros((len(_powers(parameters)), numbers), jnp.float32))
        self.whitening = Buffer(jnp.eye(numbers, dtype=jnp.float32))
        self.slope = Buffer(jnp.zeros((numbers, parameters), jnp.float32))
        self.offset = Buffer(jnp.zeros(parameters, jnp.float32))
        first, second = jax.random.split(key)
        shape = (numbers, kind.projections)
        self.projection = jax.random.normal(first, shape, jnp.float32) / math.sqrt(numbers)
        told = 2 * parameters + parameters * (parameters + 1) // 2 + 1 + kind.projections
        self.last = _Corrections(told, parameters, kind.components, kind.width, 2, second)

    def __call__(self, numbers: Float[Array, "map number"]) -> Mixture:
        """Densities."""
        return jax.vmap(self._one)(numbers.astype(jnp.float32))

    def _one(self, seen: Float[Array, " number"]) -> Mixture:
        laws = self.spectrum.value, self.whitening.value
        at = jnp.clip(seen @ self.slope.value + self.offset.value, -1.0, 1.0)

        def newton(_: int, at: Array) -> Array:
            step = _scored(laws, seen, at)[0]
            return jnp.clip(at + jnp.clip(step, -0.5, 0.5), -1.0, 1.0)

        at = jnp.asarray(jax.lax.fori_loop(0, _NEWTON - 1, newton, at))
        step, white, root, curvature = _scored(laws, seen, at)
        far = jax.scipy.linalg.solve_triangular(root, step, lower=True)
        rows, columns = np.tril_indices(at.size)
        told = jnp.concatenate(
            [
                at,
                jnp.arcsinh(far),
                jnp.tanh(curvature[rows, columns]),
                jnp.log(jnp.mean(white**2) + 1e-6)[None],
                jnp.tanh(white @ self.projection / 3.0),
            ]
        )
        return self.last(told, at + jnp.clip(step, -1.0, 1.0), root)

    def piloted(
        self, numbers: Float[np.ndarray, "map number"], places: Float[np.ndarray, "map parameter"]
    ) -> Self:
        """With mean powers as polynomials of the places, and the covariance about them."""
        seen, at = _checked(numbers, places)
        basis = np.asarray(jax.jit(jax.vmap(lambda one: _basis(one)[0]))(jnp.asarray(at)))
        spectrum = _least_squares(basis, seen, 1e-10)
        # From means of logarithms to logarithms of means.
        spectrum[0] += np.log(np.mean(np.exp(seen - basis @ spectrum), axis=0))
        residual = np.expm1(np.minimum(seen - basis @ spectrum, _LARGEST))
        covariance = residual.T @ residual / len(residual)
        # Means are known to a hundredth: what differs by less between numbers tells nothing.
        covariance += _UNSURE * np.diag(covariance.diagonal())
        whitening = scipy.linalg.inv(scipy.linalg.cholesky(covariance, lower=True))
        centre, scale, slope, offset = _regression(seen, at)
        plain = slope / scale[:, None]
        found = [
            jnp.asarray(one, jnp.float32)
            for one in (spectrum, whitening, plain, offset - centre @ plain)
        ]
        return eqx.tree_at(
            lambda head: (
                head.spectrum.array,
                head.whitening.array,
                head.slope.array,
                head.offset.array,
            ),
            self,
            found,
        )


class _Corrections(eqx.Module):
    """A network that turns a Gaussian into a mixture close to it."""

    layers: eqx.nn.MLP
    components: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self, seen: int, size: int, components: int, width: int, depth: int, key: PRNGKeyArray
    ) -> None:
        told = components * (1 + 2 * size + size * (size - 1) // 2)
        first, second = jax.random.split(key)
        layers = eqx.nn.MLP(seen, told, width, depth, jax.nn.silu, key=first, dtype=jnp.float32)
        # Components differ by little at first, so that they can part.
        last = layers.layers[-1]
        self.layers = eqx.tree_at(
            lambda one: (one.layers[-1].weight, one.layers[-1].bias),
            layers,
            (0.05 * last.weight, 0.1 * jax.random.normal(second, (told,), jnp.float32)),
        )
        self.components, self.size = components, size

    def __call__(
        self, seen: Float[Array, " seen"], mean: Float[Array, " size"], root: Array
    ) -> Mixture:
        """A mixture around the Gaussian of this mean and lower root of its covariance."""
        count, size = self.components, self.size
        out = self.layers(seen)
        logits, rest = out[:count], out[count:]
        offsets, widths = rest[: 2 * count * size].reshape(2, count, size)
        mixing = jnp.zeros((count, size, size), jnp.float32)
        rows, columns = np.tril_indices(size, -1)
        mixing = mixing.at[:, rows, columns].set(rest[2 * count * size :].reshape(count, -1))
        scale = jnp.diag(root)
        spreads = scale * jnp.exp(3.0 * jnp.tanh(widths / 3.0))
        # Of t = mean + root x, given those before: the mean moves with 1 - diag(root) root^-1.
        unit = jnp.eye(size, dtype=jnp.float32)
        inverse = jax.scipy.linalg.solve_triangular(root, unit, lower=True)
        given = unit - scale[:, None] * inverse
        coupling = given + mixing * scale[:, None] / scale[None, :]
        return Mixture(
            logits,
            mean + offsets @ root.T,
            jnp.clip(spreads, _NARROWEST, _WIDEST),
            coupling,
        )


def _scored(laws: tuple[Array, Array], seen: Array, at: Array) -> tuple[Array, Array, Array, Array]:
    """Newton step, white residuals, root of the covariance, and curvature that is seen."""
    spectrum, whitening = laws
    size = at.size
    basis = _basis(at)
    mean, slopes = basis[0] @ spectrum, basis[1:] @ spectrum
    ratio = jnp.exp(jnp.minimum(seen - mean, _LARGEST))
    white = whitening @ (ratio - 1.0)
    both = whitening @ jnp.concatenate([slopes, slopes * (ratio - 1.0)]).T
    expected, more = both[:, :size], both[:, size:]
    root = covariance_root(expected.T @ expected)
    step = root @ (root.T @ (expected.T @ white))
    return step, white, root, root.T @ (expected.T @ more) @ root


def _estimate(seen: Float[Array, " number"], size: int) -> tuple[Array, Array, Array]:
    """Places, lower root of their covariance, and residuals."""
    rows, columns = np.tril_indices(size)
    ends = size, size + rows.size
    root = jnp.zeros((size, size), seen.dtype).at[rows, columns].set(seen[ends[0] : ends[1]])
    return seen[:size], root, seen[ends[1] :]


def _basis(at: Float[Array, " parameter"]) -> Float[Array, "value_and_slopes term"]:
    """Products of Chebyshev polynomials, and their slopes with each parameter."""
    powers = np.array(_powers(at.size))
    values, slopes = [jnp.ones_like(at), at], [jnp.zeros_like(at), jnp.ones_like(at)]
    for _ in range(int(powers.max()) - 1):
        slopes.append(2.0 * values[-1] + 2.0 * at * slopes[-1] - slopes[-2])
        values.append(2.0 * at * values[-1] - values[-2])
    value, slope = (jnp.stack(one)[powers, np.arange(at.size)] for one in (values, slopes))
    rows = [jnp.prod(value, axis=-1)]
    for number in range(at.size):
        rows.append(jnp.prod(value.at[:, number].set(slope[:, number]), axis=-1))
    return jnp.stack(rows)


@functools.lru_cache(maxsize=8)
def _powers(parameters: int) -> tuple[tuple[int, ...], ...]:
    """Degrees of each term: all of a total degree up to which there are not too many."""
    degree = 20
    while math.comb(degree + parameters, parameters) > _TERMS and degree > 1:
        degree -= 1
    return tuple(
        tuple(factors.count(number) for number in range(parameters))
        for total in range(degree + 1)
        for factors in itertools.combinations_with_replacement(range(parameters), total)
    )


def _regression(
    seen: Float[np.ndarray, "map number"], at: Float[np.ndarray, "map parameter"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centre and scale of numbers, and slope and offset of the regression on scaled ones."""
    centre, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(centre), scale, 1.0)
    offset = at.mean(axis=0)
    slope = _least_squares((seen - centre) / scale, at - offset, 1e-6)
    return centre, scale, slope, offset


def _least_squares(
    basis: Float[np.ndarray, "map term"], values: Float[np.ndarray, "map value"], ridge: float
) -> Float[np.ndarray, "term value"]:
    """Coefficients by the normal equations, which terms that depend on each other do not upset."""
    normal = basis.T @ basis
    normal[np.diag_indices_from(normal)] += ridge * len(basis)
    return scipy.linalg.solve(normal, basis.T @ values, assume_a="pos", check_finite=False)


def _checked(numbers: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen, at = np.asarray(numbers, dtype=float), np.asarray(places, dtype=float)
    if not (np.all(np.isfinite(seen)) and np.all(np.isfinite(at))):
        raise ValueError(
            "numbers: expected finite numbers of all maps, got others. Look at the maps of the "
            "simulator: are they finite, and not zero everywhere?"
        )
    least = 2 * (seen.shape[1] + 1)
    if len(seen) < least:
        raise ValueError(
            f"numbers: expected those of {least} maps or more for {seen.shape[1]} numbers of each, "
            f"got {len(seen)}. Raise Plan.maps and Plan.pilot."
        )
    return seen, at


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}: expected 1 or more, got {count}. Leave it out.")
