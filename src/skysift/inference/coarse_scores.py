"""Most likely parameters of part of a finely pixelised Gaussian sky, from scores of large scales.

What large scales say is in few combinations of the values of cells: those that a spectrum up to
some multipole fills. They are few enough for the exact algebra of `scores`, and lose no B mode to
E, however little is seen: their covariance is known, with what smaller scales add to it. What
smaller scales say themselves is in powers of bands (`small_scales`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Complex, Float

from skysift.grid import Grid
from skysift.harmonic import SHT, multipoles
from skysift.inference.likelihood import lowest, mode_multipoles, real_parts
from skysift.inference.regions import Shared
from skysift.inference.scores import NODES, solved
from skysift.inference.simulators import AbstractSimulator, GaussianSky, Observed, Protocol
from skysift.inference.small_scales import Bands, SmallScales
from skysift.inference.summary import AbstractEstimate
from skysift.maps import Stokes

_MOST_VALUES = 50_000
"""Of a map: the combinations of as many have 1 GB."""
_NUMBERS = 2500
"""How many combinations there are by default."""
_BEYOND = 1.15
"""Combinations for each mode up to the multipole that fits into the part of the sky: the edge cuts
some."""
_SPARE = 50
_TOGETHER = 64
_CHUNK = 4096
_MOST_BYTES = 1e9
_SPECTRA = 12
"""Along each parameter, from which the parts are told that spectra are made of."""
_NEGLIGIBLE = 1e-4
"""Change of a spectrum, over its mean, below which parts of it are left out."""


class CoarseScores(AbstractEstimate):
    """Parameters at which weighted scores of nodes vanish, as `Scores`, with bands of small scales.

    Args:
        sky: law of the maps; one mask for all.
        lmax: largest multipole of the scales; by default as large as gives 2500 numbers.
        nodes: along each parameter; by default as many as fit into 1 GB, up to those of `Scores`.

    Raises:
        ValueError: for another mask in each map, a full sky, E and B as published, I, Q and U at
            once, maps of more than 50,000 values, another multipole than the sky has, or too many
            nodes.

    Examples:
        >>> from skysift.inference.simulators import Split, t2
        >>> simulator = t2(0.3, nside=8)
        >>> summary = CoarseScores(simulator, lmax=12, nodes=2)
        >>> summary(simulator.batch(Split.TRAIN.key(0), 3)[1]).shape
        (3, 13)
    """

    sky: GaussianSky = eqx.field(static=True)
    bands: Bands = eqx.field(static=True)
    lmax: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    basis: Float[Array, "number value"]
    roots: Float[Array, "node number number"]
    forms: Float[Array, "node parameter number number"]
    weights: Float[Array, "node parameter band"]
    windows: Float[Array, "node parameter field ell"]
    offsets: Float[Array, "node parameter"]
    information: Float[Array, "node parameter parameter"]

    def __init__(self, sky: GaussianSky, lmax: int | None = None, nodes: int | None = None) -> None:
        lmax = _suited_lmax(sky) if lmax is None else lmax
        _check(sky, lmax)
        size, numbers = sky.prior.size, _numbers(sky, lmax)
        node_bytes = 4 * (1 + size) * numbers**2
        if nodes is None:
            most = NODES[size - 1] if size <= len(NODES) else 1
            nodes = max(min(most, int((_MOST_BYTES / node_bytes) ** (1.0 / size))), 1)
        if nodes < 1 or nodes**size * node_bytes > _MOST_BYTES:
            raise ValueError(
                f"nodes: expected 1 or more whose filters have at most {_MOST_BYTES / 1e6:.0f} MB, "
                f"got {nodes}, with {nodes**size * node_bytes / 1e6:.0f} MB. Leave it out."
            )
        self.sky, self.lmax, self.nodes = sky, lmax, nodes
        basis = _basis(sky, lmax, numbers)
        small = SmallScales.above(sky, lmax)
        self.bands = small.bands
        self.basis = jnp.asarray(basis, jnp.float32)
        found = _linear_algebra(sky, basis, small, self.places)
        self.roots, self.forms, self.weights = (jnp.asarray(one, jnp.float32) for one in found[:3])
        self.windows, self.offsets, self.information = map(jnp.asarray, found[3:])

    @property
    def places(self) -> Float[np.ndarray, "node parameter"]:
        """Places of the nodes, in the box from -1 to 1."""
        return np.asarray(self.sky.prior.grid(self.nodes))

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        parameters = self.sky.prior.size
        return parameters * (1 + len(self.places)) + parameters * (parameters + 1) // 2

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, in single precision.

        Args:
            observed: maps and masks.
        """
        places = jnp.asarray(self.places)
        told = jax.vmap(lambda one: solved(places, self.information, self.means, one))
        return told(self.scores(observed)).astype(jnp.float32)

    def scores(self, observed: Observed) -> Float[Array, "map node parameter"]:
        """Scores at the nodes, without what is the same for all maps, by places.

        Args:
            observed: maps and masks.
        """
        maps = observed.values.astype(jnp.float32)
        numbers = maps[..., _grid(self.sky).ring].reshape(len(maps), -1) @ self.basis.T
        of_bands = self.bands.powers(maps).astype(float)

        def of_node(node: tuple[Array, Array, Array]) -> Array:
            root, forms, weights = node
            white = numbers @ root.T
            scores = [jnp.sum((white * (white @ form)).astype(float), axis=1) for form in forms]
            return jnp.stack(scores, axis=1) + of_bands @ weights.T.astype(float)

        found = jax.lax.map(of_node, (self.roots, self.forms, self.weights))
        return jnp.moveaxis(found, 0, 1)

    def means(self, at: Float[Array, " parameter"]) -> Float[Array, "node parameter"]:
        """Means of the scores of maps of a place.

        Args:
            at: place, in the box from -1 to 1.
        """
        spectra = self.sky.theory(self.sky.prior.at(at))
        return jnp.einsum("kpcl,cl->kp", self.windows, spectra) + self.offsets


def suits(simulator: AbstractSimulator) -> bool:
    """Whether these scores of a simulator can be computed here.

    Args:
        simulator: of maps.
    """
    return (
        isinstance(simulator, GaussianSky)
        and isinstance(simulator.region, Shared)
        and simulator.protocol is Protocol.PHYSICAL
        and simulator.stokes is not Stokes.IQU
        and _values(simulator) <= _MOST_VALUES
    )


def _grid(sky: AbstractSimulator) -> Grid:
    assert isinstance(sky.region, Shared)
    return sky.region.grid


def _values(sky: AbstractSimulator) -> int:
    return _grid(sky).size * len(sky.stokes)


def _modes(sky: GaussianSky, lmax: int) -> float:
    """Modes up to a multipole that fit into the part of the sky."""
    part = _grid(sky).size / (12 * sky.nside**2)
    return part * len(sky.stokes) * ((lmax + 1) ** 2 - lowest(sky.stokes) ** 2)


def _suited_lmax(sky: GaussianSky) -> int:
    if not isinstance(sky.region, Shared):
        return sky.theory.lmax
    enough = [
        lmax for lmax in range(2, sky.theory.lmax + 1) if _BEYOND * _modes(sky, lmax) <= _NUMBERS
    ]
    return max(enough, default=2)


def _numbers(sky: GaussianSky, lmax: int) -> int:
    return min(math.ceil(_BEYOND * _modes(sky, lmax)), _values(sky))


def _check(sky: GaussianSky, lmax: int) -> None:
    """Refuse what has no such scores.

    Args:
        sky: law of the maps.
        lmax: largest multipole.

    Raises:
        ValueError: for these.
    """
    if not isinstance(sky.region, Shared):
        raise ValueError(
            "sky: expected one mask for all maps, got another in each, or none. Take Filtered, or "
            "MostLikely."
        )
    if sky.stokes is Stokes.IQU:
        raise ValueError(
            "sky: expected I, or Q and U, got IQU. Use a network that learns its summary."
        )
    if sky.protocol is not Protocol.PHYSICAL:
        raise ValueError(
            "sky: expected the physical protocol, whose E and B are independent, got AS_PUBLISHED. "
            "Take NearScores."
        )
    if not 2 <= lmax <= sky.theory.lmax:
        raise ValueError(
            f"lmax: expected 2 to {sky.theory.lmax}, that of the spectra, got {lmax!r}. Leave it "
            "out."
        )
    if _values(sky) > _MOST_VALUES:
        raise ValueError(
            f"sky: expected maps of at most {_MOST_VALUES} values, got {_values(sky)}. Take "
            "Filtered."
        )


def _basis(sky: GaussianSky, lmax: int, numbers: int) -> Float[np.ndarray, "number value"]:
    """Orthonormal combinations that have most of the power of a flat spectrum up to a multipole.

    Found from random ones (Halko, Martinsson & Tropp 2011, SIAM Rev. 53, 217): the spectrum of
    these covariances falls from 1 to nothing within few modes.
    """
    sht = SHT(sky.nside, lmax)
    count = min(numbers + _SPARE, _values(sky))
    some = np.random.default_rng(0).standard_normal((count, _values(sky)))

    def filled(rows: Float[np.ndarray, "row value"]) -> Float[np.ndarray, "row value"]:
        alm = _analysed(sky, sht, rows)
        ell = multipoles(lmax)[0]
        maps = _synthesis(sky, sht, np.where(ell < lowest(sky.stokes), 0.0, alm))
        return maps[..., _grid(sky).ring].reshape(rows.shape)

    some = np.ascontiguousarray(np.linalg.qr(_by_rows(filled, some).T)[0].T)
    turns = np.linalg.eigh(some @ _by_rows(filled, some).T)[1]
    return turns[:, -numbers:].T @ some


def _analysed(
    sky: GaussianSky, sht: SHT, rows: Float[np.ndarray, "row value"]
) -> Complex[np.ndarray, "row field alm"]:
    """Sums over cells of combinations of values times conjugate harmonics."""
    full = np.zeros((len(rows), len(sky.stokes), 12 * sky.nside**2))
    full[..., _grid(sky).ring] = rows.reshape(len(rows), len(sky.stokes), -1)
    return np.asarray(sht.adjoint(full, _spin(sky)))


def _synthesis(
    sky: GaussianSky, sht: SHT, alm: Complex[np.ndarray, "row field alm"]
) -> Float[np.ndarray, "row stokes npix"]:
    return np.asarray(sht.synthesis(alm, _spin(sky)))


def _spin(sky: GaussianSky) -> int:
    return 0 if sky.stokes is Stokes.I else 2


def _by_rows(
    function: Callable[[np.ndarray], np.ndarray], rows: Float[np.ndarray, "row value"]
) -> np.ndarray:
    """A function of some rows after others."""
    starts = range(0, len(rows), _TOGETHER)
    return np.concatenate([function(rows[start : start + _TOGETHER]) for start in starts])


def _modes_of(
    sky: GaussianSky, basis: Float[np.ndarray, "number value"]
) -> Float[np.ndarray, "number field mode"]:
    """What the combinations are of each mode of unit variance, in single precision."""
    sht = SHT(sky.nside, sky.theory.lmax)

    def of(rows: np.ndarray) -> np.ndarray:
        alm = _analysed(sky, sht, rows)
        return np.asarray(real_parts(jnp.asarray(alm), sky.theory.lmax, sky.stokes), np.float32)

    return _by_rows(of, basis)


def _covariances(
    modes: Float[np.ndarray, "number mode"], spectra: Float[np.ndarray, "part mode"]
) -> Float[np.ndarray, "part number number"]:
    """Covariances of combinations of modes, for several powers of these."""
    out = np.zeros((len(spectra), len(modes), len(modes)))
    for start in range(0, modes.shape[1], _CHUNK):
        here = slice(start, start + _CHUNK)
        some = modes[:, here].astype(float)
        for part, one in enumerate(spectra):
            out[part] += (some * one[here]) @ some.T
    return out


def _linear_algebra(
    sky: GaussianSky,
    basis: Float[np.ndarray, "number value"],
    small: SmallScales,
    places: Float[np.ndarray, "node parameter"],
) -> list[np.ndarray]:
    """Roots, forms, weights, windows, offsets and information of all nodes."""
    points = jnp.asarray(sky.prior.at(jnp.asarray(sky.prior.grid(_SPECTRA))))
    spectra = np.asarray(sky.theory(points))
    modes, ell = _modes_of(sky, basis), mode_multipoles(sky.theory.lmax, sky.stokes)
    shapes, telling = [], []
    for field in range(spectra.shape[1]):
        shape, told = _parts(spectra[:, field])
        shapes.append(_covariances(modes[:, field], shape[:, ell]))
        telling.append(told)
    found = [_of_node(sky, shapes, telling, small, place) for place in places]
    return [np.stack(one) for one in zip(*found, strict=True)]


def _of_node(
    sky: GaussianSky,
    shapes: list[Float[np.ndarray, "part number number"]],
    telling: list[Float[np.ndarray, "part ell"]],
    small: SmallScales,
    place: Float[np.ndarray, " parameter"],
) -> tuple[np.ndarray, ...]:
    """Filters of a node, weights of bands, windows and offsets of mean scores, and information."""

    def law(at: Array) -> Array:
        return sky.theory(sky.prior.at(at))

    spectra, slopes = (np.asarray(f(jnp.asarray(place))) for f in (law, jax.jacfwd(law)))
    covariance = sky.noise**2 * np.eye(shapes[0].shape[-1])
    changes = np.zeros((place.size, *covariance.shape))
    for field, (parts, told) in enumerate(zip(shapes, telling, strict=True)):
        covariance += np.tensordot(told @ spectra[field], parts, axes=1)
        changes += np.tensordot((told @ slopes[field]).T, parts, axes=1)
    # Rounding counts as noise too.
    covariance[np.diag_indices_from(covariance)] *= 1.0 + 1e-10
    root = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    root = scipy.linalg.solve_triangular(root, np.eye(len(root)), lower=True, check_finite=False)
    forms = np.stack([0.5 * root @ change @ root.T for change in changes])
    unwhitened = np.stack([root.T @ form @ root for form in forms])
    windows = np.stack(
        [
            np.tensordot(unwhitened, parts, axes=((1, 2), (1, 2))) @ told
            for parts, told in zip(shapes, telling, strict=True)
        ],
        axis=1,
    )
    offsets = sky.noise**2 * np.trace(unwhitened, axis1=1, axis2=2)
    information = 2.0 * np.einsum("pij,qij->pq", forms, forms)
    weights, more = small.law(spectra, slopes)
    windows = windows + np.tensordot(weights, small.response, axes=1)
    return root, forms, weights, windows, offsets + weights @ small.noise, information + more


def _parts(
    spectra: Float[np.ndarray, "point ell"],
) -> tuple[Float[np.ndarray, "part ell"], Float[np.ndarray, "part ell"]]:
    """What spectra are sums of, and what tells from a spectrum how much of each is in it."""
    mean = spectra.mean(axis=0)
    some = mean > 0.0
    over = np.where(some, 1.0 / np.where(some, mean, 1.0), 0.0)
    _, size, rows = np.linalg.svd(spectra * over, full_matrices=False)
    rows = rows[: max(int(np.sum(size > _NEGLIGIBLE * size[0])), 1)]
    return rows * mean, rows * over
