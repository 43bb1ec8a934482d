r"""Most likely parameters of Gaussian skies whose likelihood is far narrower than the prior.

Where powers of modes differ by many orders of magnitude, scores of a node (see `scores`) are linear
only very near it. Here the covariances of the filters have white noise that is not in the maps,
which makes the likelihood of nodes as wide as their spacing. It tells which node is nearest; scores
of the nodes around it then tell the parameters. All are quadratic forms whose means are known for
any parameters, so that noise that is not there leaves no bias.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from skysift.grid import Grid
from skysift.inference.likelihood import real_modes
from skysift.inference.regions import FullSky, Shared
from skysift.inference.scores import settled
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol
from skysift.inference.summary import AbstractEstimate, covariance_root

_MOST_VALUES = 4000
_MOST_BYTES = 6e8
_MOST_NODES = 400
_SMOOTHING = 3e-3
_AVERAGED = 10
_REACH = 2
"""Nodes that are looked at to either side of the most likely one."""
_WIDTHS = (0.5,) * 6
_LEAST = -1e4
"""Of logarithms of likelihoods over the largest."""


class Filters(NamedTuple):
    """What is looked at in maps, for each node.

    Args:
        roots: inverse of the lower root of the smooth covariance.
        volumes: half the logarithm of its determinant.
        forms: of the scores.
    """

    roots: Float[Array, "node number number"]
    volumes: Float[Array, " node"]
    forms: Float[Array, "node parameter number number"]


class Expected(NamedTuple):
    """What is known of the scores of each node.

    Args:
        windows: their means for unit spectra.
        offsets: their means for the noise of the maps.
        gains: slopes of their means, for maps of the node.
        information: that they hold of maps of the node.
    """

    windows: Float[Array, "node parameter pair ell"]
    offsets: Float[Array, "node parameter"]
    gains: Float[Array, "node parameter parameter"]
    information: Float[Array, "node parameter parameter"]

    def means(self, spectra: Float[Array, "field field ell"]) -> Float[Array, "node parameter"]:
        """Means of the scores of maps of these spectra."""
        first, second = np.triu_indices(len(spectra))
        return jnp.einsum("kpcl,cl->kp", self.windows, spectra[first, second]) + self.offsets


class NearScores(AbstractEstimate):
    """Parameters at which scores of nodes around the most likely one vanish.

    The residuals are scores of these nodes in units of their deviations, logarithms of their
    likelihoods over that of the most likely one, and where among them the parameters are.

    Args:
        sky: law of the maps; one mask for all, or a full sky with noise. E and B may be correlated.
        nodes: along each parameter; by default 400 in all, or as many as 600 MB hold.
        smoothing: variance of the white noise of the filters, over that of the value that varies
            most, in maps of the prior.

    Raises:
        ValueError: for another mask in each map, a full sky without noise, maps of more than 4000
            values, fewer than five nodes, or no smoothing.

    Examples:
        >>> from skysift.inference.simulators import Protocol, Split, t2
        >>> simulator = t2(0.3, Protocol.AS_PUBLISHED, nside=4)
        >>> summary = NearScores(simulator, nodes=5)
        >>> summary(simulator.batch(Split.TRAIN.key(0), 3)[1]).shape
        (3, 82)
    """

    sky: GaussianSky = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    smoothing: float = eqx.field(static=True)
    basis: Float[Array, "value number"]
    filters: Filters
    expected: Expected

    def __init__(
        self, sky: GaussianSky, nodes: int | None = None, smoothing: float = _SMOOTHING
    ) -> None:
        _check(sky, nodes, smoothing)
        compressed = _Compressed.of(sky, smoothing)
        size = sky.prior.size
        if nodes is None:
            held = _MOST_BYTES / (4.0 * (1 + size) * compressed.basis.shape[1] ** 2)
            most = min(held, _MOST_NODES) ** (1.0 / size)
            nodes = max(2 * _REACH + 1, int(most + 1e-6))
        self.sky, self.nodes, self.smoothing = sky, nodes, float(smoothing)
        self.basis = jnp.asarray(compressed.basis, jnp.float32)
        found = [compressed.at(node) for node in sky.prior.at(sky.prior.grid(nodes))]
        self.filters, self.expected = jax.tree.map(lambda *one: jnp.stack(one), *found)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        parameters = self.sky.prior.size
        around = (2 * _REACH + 1) ** parameters
        return 2 * parameters + parameters * (parameters + 1) // 2 + around * (parameters + 1)

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        return jax.vmap(self._solved)(*self.seen(observed)).astype(jnp.float32)

    def seen(
        self, observed: Observed
    ) -> tuple[Float[Array, "map node"], Float[Array, "map node parameter"]]:
        """Logarithms of the smooth likelihoods of nodes, and scores without what all maps share.

        Args:
            observed: maps and masks.
        """
        values = observed.values.astype(jnp.float32)
        if isinstance(self.sky.region, Shared):
            values = values[..., self.sky.region.grid.ring]
        numbers = values.reshape(len(values), -1) @ self.basis

        def of_node(one: Filters) -> tuple[Array, Array]:
            white = numbers @ one.roots.T
            scores = [jnp.sum(numbers * (numbers @ form), axis=1) for form in one.forms]
            return -0.5 * jnp.sum(white**2, axis=1) - one.volumes, jnp.stack(scores, axis=1)

        logs, scores = jax.lax.map(of_node, self.filters)
        return logs.T.astype(float), jnp.moveaxis(scores, 0, 1).astype(float)

    def means(self, at: Float[Array, " parameter"]) -> Float[Array, "node parameter"]:
        """Means of the scores of maps of a place.

        Args:
            at: place, in the box from -1 to 1.
        """
        return self.expected.means(self.sky.spectra(self.sky.prior.at(at)))

    def _solved(
        self, logs: Float[Array, " node"], scores: Float[Array, "node parameter"]
    ) -> Float[Array, " number"]:
        """Where scores around the most likely node, less their means, vanish."""
        size, spacing = self.sky.prior.size, 2.0 / self.nodes
        grid = jnp.asarray(self.sky.prior.grid(self.nodes))
        best = jnp.argmax(logs)
        centre = jnp.stack(jnp.unravel_index(best, (self.nodes,) * size))
        centre = jnp.clip(centre, _REACH, self.nodes - 1 - _REACH)
        steps = np.indices([2 * _REACH + 1] * size).reshape(size, -1) - _REACH
        strides = self.nodes ** np.arange(size)[::-1]
        around = strides @ (centre[:, None] + steps)
        near, seen = Expected(*(one[around] for one in self.expected)), scores[around]

        def left(at: Array) -> Array:
            off = seen - near.means(self.sky.spectra(self.sky.prior.at(at)))
            return jnp.linalg.solve(near.gains, off[..., None])[..., 0]

        at, share = settled(grid[best], grid[around], spacing, _WIDTHS, spacing, left)
        root = covariance_root(jnp.einsum("k,kpq->pq", share, near.information))
        white = jnp.einsum("kqp,kq->kp", jnp.linalg.cholesky(near.information), left(at))
        rows, columns = np.tril_indices(size)
        among = (at - grid[strides @ centre]) / spacing
        lost = jnp.maximum(logs[around] - logs[best], _LEAST)
        return jnp.concatenate([at, root[rows, columns], white.reshape(-1), lost, among])


def suits(simulator: AbstractSimulator) -> bool:
    """Whether these scores of a simulator can be computed here, and others cannot.

    Args:
        simulator: of maps.
    """
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, (FullSky, Shared))
        and not (isinstance(simulator.region, FullSky) and simulator.noise == 0.0)
        and simulator.protocol is Protocol.AS_PUBLISHED
        and _grid(simulator).size * len(simulator.stokes) <= _MOST_VALUES
    )


@dataclass(frozen=True)
class _Compressed:
    """Combinations of the values of maps that hold more than the white noise of the filters.

    Args:
        sky: law of the maps.
        basis: of the combinations, orthonormal.
        parts: covariances of the combinations for unit spectra; of two fields both ways at once.
        white: variance of the noise.
    """

    sky: GaussianSky
    basis: Float[np.ndarray, "value number"]
    parts: Float[np.ndarray, "pair ell number number"]
    white: float

    @staticmethod
    def of(sky: GaussianSky, smoothing: float) -> _Compressed:
        """Combinations that have more power on average over the prior."""
        modes, ell = real_modes(sky.sht, sky.stokes, _grid(sky))
        points = sky.prior.at(sky.prior.grid(_AVERAGED))
        spectra = np.asarray(sky.spectra(jnp.asarray(points))).mean(axis=0)
        scaled = np.einsum("vcm,cdm->vdm", modes, spectra[..., ell]).reshape(len(modes), -1)
        covariance = scaled @ modes.reshape(scaled.shape).T
        covariance[np.diag_indices_from(covariance)] += sky.noise**2
        white = smoothing * covariance.diagonal().max()
        _, basis = scipy.linalg.eigh(
            covariance, subset_by_value=(white, np.inf), overwrite_a=True, check_finite=False
        )
        modes = np.tensordot(basis.T, modes, axes=1)
        pairs = list(zip(*np.triu_indices(modes.shape[1]), strict=True))
        parts = np.empty((len(pairs), sky.theory.lmax + 1, len(modes), len(modes)))
        for one in range(sky.theory.lmax + 1):
            some = modes[..., ell == one]
            for place, (first, second) in enumerate(pairs):
                product = some[:, first] @ some[:, second].T
                parts[place, one] = product if first == second else product + product.T
        return _Compressed(sky, basis, parts, white)

    def at(self, node: Float[np.ndarray, " parameter"]) -> tuple[Filters, Expected]:
        """Of one node."""
        sky, parts = self.sky, self.parts
        pairs = np.triu_indices(len(sky.stokes))
        half = 0.5 * (sky.prior.high - sky.prior.low)
        spectra, slopes = (np.asarray(one)[pairs] for one in _slopes(sky, node))
        slopes = slopes * half
        told = np.concatenate([spectra[..., None], slopes], axis=-1)
        law, *changes = np.tensordot(told.T.swapaxes(1, 2), parts, axes=2)
        law[np.diag_indices_from(law)] += sky.noise**2
        unit = np.eye(len(law))
        root = scipy.linalg.cholesky(law + self.white * unit, lower=True, check_finite=False)
        volume = np.sum(np.log(np.diag(root)))
        root = scipy.linalg.solve_triangular(root, unit, lower=True, check_finite=False)
        inverse = root.T @ root
        forms = np.stack([0.5 * inverse @ change @ inverse for change in changes])
        windows = np.tensordot(forms, parts, axes=((1, 2), (2, 3)))
        gains = np.einsum("pcl,clq->pq", windows, slopes)
        offsets = sky.noise**2 * np.trace(forms, axis1=1, axis2=2)
        seen = forms @ law
        spread = 2.0 * np.einsum("pvw,qwv->pq", seen, seen)
        information = gains.T @ np.linalg.solve(spread, gains)
        symmetric = 0.5 * (information + information.T)
        filters = (jnp.asarray(one, jnp.float32) for one in (root, volume, forms))
        known = (jnp.asarray(one) for one in (windows, offsets, gains, symmetric))
        return Filters(*filters), Expected(*known)


@functools.partial(jax.jit, static_argnums=0)
def _slopes(sky: GaussianSky, parameters: Array) -> tuple[Array, Array]:
    """Spectra and their derivatives."""
    return sky.spectra(parameters), jax.jacfwd(sky.spectra)(parameters)


def _grid(sky: AbstractSimulator) -> Grid:
    return sky.region.grid if isinstance(sky.region, Shared) else Grid(sky.nside)


def _check(sky: GaussianSky, nodes: int | None, smoothing: float) -> None:
    """Refuse what has no such scores.

    Args:
        sky: law of the maps.
        nodes: along each parameter.
        smoothing: of the filters.

    Raises:
        ValueError: for these.
    """
    if not isinstance(sky.region, (FullSky, Shared)):
        raise ValueError("sky: expected one mask for all maps, got another in each. Take Filtered.")
    if isinstance(sky.region, FullSky) and sky.noise == 0.0:
        raise ValueError(
            "sky: expected noise or a cut, without which a map tells its spectra, got neither. "
            "Take Filtered, or MostLikely."
        )
    values = _grid(sky).size * len(sky.stokes)
    if values > _MOST_VALUES:
        raise ValueError(
            f"sky: expected maps of at most {_MOST_VALUES} values, got {values}. Take Filtered."
        )
    least = 2 * _REACH + 1
    if nodes is not None and nodes < least:
        raise ValueError(f"nodes: expected {least} or more, got {nodes}. Leave it out.")
    if not (math.isfinite(smoothing) and smoothing > 0.0):
        raise ValueError(
            f"smoothing: expected more than 0, got {smoothing!r}. Take Scores, or leave it out."
        )
