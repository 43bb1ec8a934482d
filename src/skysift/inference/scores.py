r"""Most likely parameters of a Gaussian sky from its scores at nodes of the prior.

The score of d with covariance S at parameters f is $\frac12 d^T S_f^{-1} \dot S_f S_f^{-1} d$ less
its mean: a sum over multipoles of powers of $Y^T S_f^{-1} d$ (Tegmark 1997, PRD 55, 5895). The mean
for any parameters is a sum over their spectra, so that scores of nodes near the parameters that are
looked for say where they are, without bias, and nearly as well as the likelihood.
"""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from skysift.grid import Grid
from skysift.inference.likelihood import lowest, mode_multipoles, real_modes
from skysift.inference.prior import Prior
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol
from skysift.inference.summary import AbstractEstimate
from skysift.maps import Stokes

_MOST_VALUES = 4000
_MOST_BYTES = 1e9
_NODES = (8, 4, 2)
"""Of one, of each of two and of each of three parameters."""
_WIDTHS = (1.0, 1.0, 0.6, 0.4, 0.3, 0.3, 0.3)
"""Of the weights of nodes about the parameters, in spacings of nodes, in each Newton step: wide
ones find the way, narrow ones lose nothing."""
_LONGEST = 0.5


class Scores(AbstractEstimate):
    """Parameters at which weighted scores of nodes vanish, their covariance, and what is left.

    The residuals are those of all nodes, in units of their deviations. Made by `Scores.of`.

    Args:
        sky: law of the maps; one mask for all, or the full sky.
        nodes: parameters.
        softening: least deviation of the noise that weights count with. Of maps without noise whose
            E and B tell the parameters together, weights would magnify rounding.
    """

    sky: GaussianSky = eqx.field(static=True)
    nodes: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    softening: float = eqx.field(static=True)
    filters: Float[Array, "node value mode"]
    weights: Float[Array, "node parameter pair ell"]
    windows: Float[Array, "node parameter pair ell"]
    offsets: Float[Array, "node parameter"]
    inverses: Float[Array, "node parameter parameter"]
    information: Float[Array, "node parameter parameter"]

    def __init__(
        self, sky: GaussianSky, nodes: tuple[tuple[float, ...], ...], softening: float = 0.0
    ) -> None:
        if not (np.isfinite(softening) and softening >= 0.0):
            raise ValueError(f"softening: expected 0 or more, got {softening}. Say softening=0.0.")
        sky.prior.check(np.array(nodes))
        _check(sky, len(nodes))
        self.sky, self.softening = sky, softening
        self.nodes = tuple(tuple(map(float, node)) for node in nodes)
        found = _linear_algebra(sky, np.array(nodes), softening)
        (
            self.filters,
            self.weights,
            self.windows,
            self.offsets,
            self.inverses,
            self.information,
        ) = map(jnp.asarray, found)

    @staticmethod
    def of(simulator: GaussianSky, nodes: int | None = None, softening: float = 0.0) -> Scores:
        """Scores of the skies of a simulator.

        Args:
            simulator: of the maps.
            nodes: along each parameter; by default eight of one, four of each of two and two of
                each of three, or as many as fit into 1 GB.
            softening: see the class.

        Raises:
            ValueError: for another mask in each map, maps of more than 4000 values, or too many
                nodes.

        Examples:
            >>> from skysift.inference.simulators import Split, t2
            >>> simulator = t2(0.3, nside=4)
            >>> summary = Scores.of(simulator, nodes=2)
            >>> summary(simulator.batch(Split.TRAIN.key(0), 3)[1]).shape
            (3, 13)
        """
        size = simulator.prior.size
        if nodes is None:
            nodes = _NODES[size - 1] if size <= len(_NODES) else 1
            while nodes > 1 and nodes**size * _bytes(simulator) > _MOST_BYTES:
                nodes -= 1
        elif nodes < 1:
            raise ValueError(f"nodes: expected 1 or more, got {nodes}. Leave it out.")
        axis = (2.0 * np.arange(nodes) + 1.0) / nodes - 1.0
        places = np.array(list(itertools.product(axis, repeat=size)))
        return Scores(
            simulator, tuple(map(tuple, _parameters(simulator.prior, places).tolist())), softening
        )

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        parameters = self.sky.prior.size
        return parameters * (1 + len(self.nodes)) + parameters * (parameters + 1) // 2

    @property
    def learns(self) -> bool:
        """No."""
        return False

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        return jax.vmap(self._solved)(self.scores(observed)).astype(jnp.float32)

    def scores(self, observed: Observed) -> Float[Array, "map node parameter"]:
        """Scores at the nodes, without what is the same for all maps, by places.

        Args:
            observed: maps and masks.
        """
        values = observed.values.astype(jnp.float32)
        if isinstance(self.sky.region, Shared):
            values = values[..., self.sky.region.grid.ring]
        modes = jnp.einsum("nv,kvm->nkm", values.reshape(len(values), -1), self.filters)
        fields = len(self.sky.stokes)
        modes = modes.reshape(*modes.shape[:2], fields, -1)
        pools = jnp.asarray(_pools(self.sky), jnp.float32)
        powers = jnp.stack(
            [(modes[:, :, one] * modes[:, :, two]) @ pools for one, two in _pairs(self.sky)], axis=2
        )
        return jnp.einsum("nkcl,kpcl->nkp", powers.astype(float), self.weights)

    def means(self, at: Float[Array, " parameter"]) -> Float[Array, "node parameter"]:
        """Means of the scores of maps of a place.

        Args:
            at: place, in the box from -1 to 1.
        """
        spectra = _spectra(self.sky, _parameters(self.sky.prior, at))
        return jnp.einsum("kpcl,cl->kp", self.windows, spectra) + self.offsets

    def _solved(self, scores: Float[Array, "node parameter"]) -> Float[Array, " number"]:
        """Where the scores, less their means, vanish."""
        nodes = jnp.asarray(_places(self.sky.prior, np.array(self.nodes)))
        spacing = 2.0 / len(self.nodes) ** (1.0 / self.sky.prior.size)

        def weighted(at: Array, width: float) -> Array:
            return jax.nn.softmax(-0.5 * jnp.sum(((at - nodes) / (width * spacing)) ** 2, axis=-1))

        def left(at: Array) -> Array:
            return jnp.einsum("kpq,kq->kp", self.inverses, scores - self.means(at))

        at = jnp.zeros(self.sky.prior.size)
        for width in _WIDTHS:
            share = weighted(at, width)
            slope = -jnp.einsum("k,kpq->pq", share, jax.jacfwd(left)(at))
            step = jnp.linalg.solve(slope, share @ left(at))
            at = jnp.clip(at + jnp.clip(step, -_LONGEST, _LONGEST), -1.0, 1.0)
        # The prior counts like a Gaussian of its width, where maps say nothing.
        unit = jnp.eye(at.size)
        information = jnp.einsum("k,kpq->pq", weighted(at, _WIDTHS[-1]), self.information)
        upper = jnp.linalg.cholesky((information + 3.0 * unit)[::-1, ::-1])[::-1, ::-1]
        root = jax.scipy.linalg.solve_triangular(upper, unit).T
        white = jnp.einsum("kqp,kq->kp", jnp.linalg.cholesky(self.information), left(at))
        rows, columns = np.tril_indices(at.size)
        return jnp.concatenate([at, root[rows, columns], white.reshape(-1)])


def suits(simulator: AbstractSimulator) -> bool:
    """Whether scores of a simulator can be computed here.

    Args:
        simulator: of maps.
    """
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, (FullSky, Shared))
        and not (isinstance(simulator.region, FullSky) and simulator.noise == 0.0)
        and simulator.stokes is not Stokes.IQU
        and _values(simulator) <= _MOST_VALUES
        and _bytes(simulator) <= _MOST_BYTES
    )


def _check(sky: GaussianSky, nodes: int) -> None:
    """Refuse what has no scores, or filters that are too large.

    Args:
        sky: law of the maps.
        nodes: how many.

    Raises:
        ValueError: for these.
    """
    if not isinstance(sky.region, (FullSky, Shared)):
        raise ValueError("sky: expected one mask for all maps, got another in each. Take Filtered.")
    if isinstance(sky.region, FullSky) and sky.noise == 0.0:
        raise ValueError(
            "sky: expected noise or a cut, without which a map tells its spectra, got neither. "
            "Take Filtered."
        )
    if _values(sky) > _MOST_VALUES:
        raise ValueError(
            f"sky: expected maps of at most {_MOST_VALUES} values, got {_values(sky)}. Take "
            "Filtered."
        )
    if nodes * _bytes(sky) > _MOST_BYTES:
        raise ValueError(
            f"nodes: expected filters of at most {_MOST_BYTES / 1e6:.0f} MB, those of {nodes} "
            f"nodes have {nodes * _bytes(sky) / 1e6:.0f}. Take fewer."
        )


def _linear_algebra(
    sky: GaussianSky, nodes: Float[np.ndarray, "node parameter"], softening: float
) -> tuple[np.ndarray, ...]:
    """All arrays of `Scores`."""
    grid = sky.region.grid if isinstance(sky.region, Shared) else Grid(sky.nside)
    modes, ell = real_modes(sky.sht, sky.stokes, grid)
    flat = modes.reshape(len(modes), -1)
    pairs, parameters = _pairs(sky), nodes.shape[1]
    half = 0.5 * (sky.prior.high - sky.prior.low)
    noise = max(sky.noise, softening) ** 2
    pools = _pools(sky)
    shape = (len(nodes), parameters, len(pairs), sky.theory.lmax + 1)
    filters = np.empty((len(nodes), *flat.shape), dtype=np.float32)
    weights, windows = np.empty(shape), np.empty(shape)
    offsets, slopes = np.empty(shape[:2]), np.empty((*shape[:2], parameters))
    scatter = np.empty_like(slopes)
    for number, node in enumerate(nodes):
        spectra = np.asarray(_spectra(sky, jnp.asarray(node)))
        slope = np.asarray(jax.jacfwd(lambda at: _spectra(sky, at))(jnp.asarray(node))) * half
        covariance = _product(modes, modes, spectra[..., ell], pairs)
        # Rounding counts as noise too.
        covariance[np.diag_indices_from(covariance)] *= 1.0 + 1e-10
        covariance[np.diag_indices_from(covariance)] += noise
        weighted = scipy.linalg.solve(covariance, flat, assume_a="pos", check_finite=False)
        filters[number] = weighted
        weighted = weighted.reshape(modes.shape)
        likes = []
        for place in range(parameters):
            square = _product(weighted, weighted, 0.5 * slope[..., ell, place], pairs)
            seen = (square @ flat).reshape(modes.shape)
            for pair, (one, two) in enumerate(pairs):
                twice = 1.0 if one == two else 2.0
                weights[number, place, pair] = 0.5 * twice * slope[pair, :, place]
                windows[number, place, pair] = (
                    twice * np.sum(modes[:, one] * seen[:, two], axis=0) @ pools
                )
            offsets[number, place] = sky.noise**2 * np.trace(square)
            # Of maps as they are: without what softens.
            likes.append(square @ covariance - (noise - sky.noise**2) * square)
        slopes[number] = np.einsum("pcl,clq->pq", windows[number], slope)
        scatter[number] = [[2.0 * np.sum(one * two.T) for two in likes] for one in likes]
    inverses = np.linalg.inv(slopes)
    # Of the estimate from one node: the inverse of its covariance.
    information = np.swapaxes(slopes, 1, 2) @ np.linalg.solve(scatter, slopes)
    information = 0.5 * (information + np.swapaxes(information, 1, 2))
    return filters, weights, windows, offsets, inverses, information


def _product(
    left: Float[np.ndarray, "value field mode"],
    right: Float[np.ndarray, "value field mode"],
    spectra: Float[np.ndarray, "pair mode"],
    pairs: tuple[tuple[int, int], ...],
) -> Float[np.ndarray, "value value"]:
    """Sum over modes of fields of this covariance."""
    total = np.zeros((len(left), len(right)))
    for spectrum, (one, two) in zip(spectra, pairs, strict=True):
        part = (left[:, one] * spectrum) @ right[:, two].T
        total += part if one == two else part + part.T
    return total


def _spectra(sky: GaussianSky, parameters: Float[Array, " parameter"]) -> Float[Array, "pair ell"]:
    """Spectra of all pairs of fields that have one."""
    if sky.protocol is Protocol.PHYSICAL:
        return sky.theory(parameters)
    roots = sky.roots(parameters)
    return jnp.stack([jnp.sum(roots[one] * roots[two], axis=0) for one, two in _pairs(sky)])


def _pairs(sky: GaussianSky) -> tuple[tuple[int, int], ...]:
    """Fields of each spectrum: E and B are correlated as published only."""
    if sky.stokes is Stokes.I:
        return ((0, 0),)
    both = ((0, 1),) if sky.protocol is Protocol.AS_PUBLISHED else ()
    return (0, 0), (1, 1), *both


def _places(prior: Prior, parameters: np.ndarray) -> np.ndarray:
    return 2.0 * (parameters - prior.low) / (prior.high - prior.low) - 1.0


def _parameters(prior: Prior, places: Any) -> Any:
    return prior.low + 0.5 * (prior.high - prior.low) * (places + 1.0)


def _pools(sky: GaussianSky) -> Float[np.ndarray, "mode ell"]:
    """Sums over the modes of each multipole."""
    ell = mode_multipoles(sky.theory.lmax, sky.stokes)
    return (ell[:, None] == np.arange(sky.theory.lmax + 1)).astype(float)


def _values(sky: AbstractSimulator) -> int:
    cells = sky.region.grid.size if isinstance(sky.region, Shared) else 12 * sky.nside**2
    return cells * len(sky.stokes)


def _bytes(sky: GaussianSky) -> int:
    """Of the filters of one node."""
    modes = (sky.theory.lmax + 1) ** 2 - lowest(sky.stokes) ** 2
    return 4 * _values(sky) * modes * len(sky.stokes)
