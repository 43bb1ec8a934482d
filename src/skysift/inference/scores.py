r"""Most likely parameters of a Gaussian sky from its scores at nodes of the prior.

The score of d with covariance S at parameters f is $\frac12 d^T S_f^{-1} \dot S_f S_f^{-1} d$ less
its mean: a sum over multipoles of powers of $Y^T S_f^{-1} d$ (Tegmark 1997, PRD 55, 5895). The mean
for any parameters is a sum over their spectra, so that scores of nodes near the parameters that are
looked for say where they are, without bias, and nearly as well as the likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from skysift.inference.likelihood import PixelLikelihood, lowest, mode_multipoles
from skysift.inference.regions import FullSky, Shared
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol
from skysift.inference.summary import AbstractEstimate, covariance_root
from skysift.maps import Stokes

_MOST_VALUES = 4000
_MOST_BYTES = 1e9
NODES = (6, 4, 2)
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
    """

    sky: GaussianSky = eqx.field(static=True)
    nodes: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    filters: Float[Array, "node value mode"]
    weights: Float[Array, "node parameter field ell"]
    windows: Float[Array, "node parameter field ell"]
    offsets: Float[Array, "node parameter"]
    information: Float[Array, "node parameter parameter"]

    def __init__(self, sky: GaussianSky, nodes: tuple[tuple[float, ...], ...]) -> None:
        sky.prior.check(np.array(nodes))
        _check(sky, len(nodes))
        self.sky = sky
        self.nodes = tuple(tuple(map(float, node)) for node in nodes)
        found = _linear_algebra(sky, np.array(nodes))
        self.filters, self.weights, self.windows, self.offsets, self.information = map(
            jnp.asarray, found
        )

    @staticmethod
    def of(simulator: GaussianSky, nodes: int | None = None) -> Scores:
        """Scores of the skies of a simulator.

        Args:
            simulator: of the maps.
            nodes: along each parameter; by default six of one, four of each of two and two of
                each of three, or as many as fit into 1 GB.

        Raises:
            ValueError: for another mask in each map, a full sky without noise, E and B as
                published, maps of more than 4000 values, or too many nodes.

        Examples:
            >>> from skysift.inference.simulators import Split, t2
            >>> simulator = t2(0.3, nside=4)
            >>> summary = Scores.of(simulator, nodes=2)
            >>> summary(simulator.batch(Split.TRAIN.key(0), 3)[1]).shape
            (3, 13)
        """
        size = simulator.prior.size
        if nodes is None:
            nodes = NODES[size - 1] if size <= len(NODES) else 1
            while nodes > 1 and nodes**size * _bytes(simulator) > _MOST_BYTES:
                nodes -= 1
        elif nodes < 1:
            raise ValueError(f"nodes: expected 1 or more, got {nodes}. Leave it out.")
        parameters = simulator.prior.at(simulator.prior.grid(nodes))
        return Scores(simulator, tuple(map(tuple, parameters.tolist())))

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        parameters = self.sky.prior.size
        return parameters * (1 + len(self.nodes)) + parameters * (parameters + 1) // 2

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        places = jnp.asarray(self.sky.prior.places(np.array(self.nodes)))
        told = jax.vmap(lambda one: solved(places, self.information, self.means, one))
        return told(self.scores(observed)).astype(jnp.float32)

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
        powers = modes**2 @ jnp.asarray(_pools(self.sky), jnp.float32)
        return jnp.einsum("nkcl,kpcl->nkp", powers.astype(float), self.weights)

    def means(self, at: Float[Array, " parameter"]) -> Float[Array, "node parameter"]:
        """Means of the scores of maps of a place.

        Args:
            at: place, in the box from -1 to 1.
        """
        spectra = self.sky.theory(self.sky.prior.at(at))
        return jnp.einsum("kpcl,cl->kp", self.windows, spectra) + self.offsets


def solved(
    places: Float[Array, "node parameter"],
    information: Float[Array, "node parameter parameter"],
    means: Callable[[Array], Array],
    scores: Float[Array, "node parameter"],
) -> Float[Array, " number"]:
    """Where scores, less their means, vanish, with what it says of errors and what is left.

    Args:
        places: of the nodes.
        information: of the scores of each node, which is also the slope of their means.
        means: of the scores, for maps of a place.
        scores: of a map, without what is the same for all maps.
    """
    size = places.shape[1]
    spacing = 2.0 / len(places) ** (1.0 / size)
    roots = jnp.linalg.cholesky(information)

    def left(at: Array) -> Array:
        return jax.vmap(jax.scipy.linalg.cho_solve, in_axes=((0, None), 0))(
            (roots, True), scores - means(at)
        )

    at, share = settled(jnp.zeros(size), places, spacing, _WIDTHS, _LONGEST, left)
    root = covariance_root(jnp.einsum("k,kpq->pq", share, information))
    white = jnp.einsum("kqp,kq->kp", roots, left(at))
    rows, columns = np.tril_indices(size)
    return jnp.concatenate([at, root[rows, columns], white.reshape(-1)])


def settled(
    start: Float[Array, " parameter"],
    nodes: Float[Array, "node parameter"],
    spacing: float,
    widths: tuple[float, ...],
    longest: float,
    left: Callable[[Array], Array],
) -> tuple[Float[Array, " parameter"], Float[Array, " node"]]:
    """Where weighted scores of nodes vanish, and the weights there.

    Args:
        start: place where the way begins.
        nodes: their places.
        spacing: of these.
        widths: of the weights about the place, in spacings, in each Newton step.
        longest: step along each parameter.
        left: scores less their means for maps of a place, in units of steps.
    """

    def weighted(at: Array, width: Array) -> Array:
        return jax.nn.softmax(-0.5 * jnp.sum(((at - nodes) / (width * spacing)) ** 2, axis=-1))

    def newton(at: Array, width: Array) -> tuple[Array, None]:
        share = weighted(at, width)
        slope = -jnp.einsum("k,kpq->pq", share, jax.jacfwd(left)(at))
        step = jnp.linalg.solve(slope, share @ left(at))
        return jnp.clip(at + jnp.clip(step, -longest, longest), -1.0, 1.0), None

    at, _ = jax.lax.scan(newton, start, jnp.array(widths))
    return at, weighted(at, jnp.asarray(widths[-1]))


def suits(simulator: AbstractSimulator) -> bool:
    """Whether scores of a simulator can be computed here.

    Args:
        simulator: of maps.
    """
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, (FullSky, Shared))
        and not (isinstance(simulator.region, FullSky) and simulator.noise == 0.0)
        and simulator.protocol is Protocol.PHYSICAL
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
            "Take MostLikely."
        )
    if sky.protocol is not Protocol.PHYSICAL:
        raise ValueError(
            "sky: expected the physical protocol, whose E and B are independent, got AS_PUBLISHED. "
            "Take NearScores."
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
    sky: GaussianSky, nodes: Float[np.ndarray, "node parameter"]
) -> tuple[np.ndarray, ...]:
    """All arrays of `Scores`."""
    likelihood = PixelLikelihood(sky)
    modes, ell = likelihood.modes, likelihood.ell
    flat = modes.reshape(len(modes), -1)
    half = 0.5 * (sky.prior.high - sky.prior.low)
    pools, parameters = _pools(sky), nodes.shape[1]
    shape = (len(nodes), parameters, modes.shape[1], sky.theory.lmax + 1)
    filters = np.empty((len(nodes), *flat.shape), dtype=np.float32)
    weights, windows, offsets = np.empty(shape), np.empty(shape), np.empty(shape[:2])
    information = np.empty((*shape[:2], parameters))
    slopes = np.asarray(jax.vmap(jax.jacfwd(sky.theory))(jnp.asarray(nodes))) * half
    for number, node in enumerate(nodes):
        covariance = likelihood.covariance(node)
        # Rounding counts as noise too.
        covariance[np.diag_indices_from(covariance)] *= 1.0 + 1e-10
        root = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        white = scipy.linalg.solve_triangular(root, flat, lower=True, check_finite=False)
        filters[number] = filtered = scipy.linalg.solve_triangular(
            root, white, lower=True, trans=1, check_finite=False
        )
        weights[number] = 0.5 * np.moveaxis(slopes[number], -1, 0)
        of_modes = weights[number][:, :, ell].reshape(parameters, -1)
        seen = _squares(white, of_modes).reshape(parameters, *modes.shape[1:])
        windows[number] = seen @ pools
        offsets[number] = sky.noise**2 * of_modes @ np.sum(filtered**2, axis=0)
        # The slope of the means, and the covariance, of the scores.
        information[number] = np.einsum("pcl,clq->pq", windows[number], slopes[number])
    information = 0.5 * (information + np.swapaxes(information, 1, 2))
    return filters, weights, windows, offsets, information


def _squares(
    white: Float[np.ndarray, "value mode"], weights: Float[np.ndarray, "parameter mode"]
) -> Float[np.ndarray, "parameter mode"]:
    """Weighted sums of the squares of the products of all modes with each.

    Of few modes the products themselves are computed, once for all parameters; those of many would
    not fit into memory, so values meet first, for each parameter.

    Args:
        white: values of each mode over the root of the covariance, without unit.
        weights: of the modes, for each parameter.
    """
    if white.shape[1] <= 4 * len(white):
        products = white.T @ white
        return weights @ np.square(products, out=products)
    return np.stack([np.sum(white * ((white * one) @ white.T @ white), axis=0) for one in weights])


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
