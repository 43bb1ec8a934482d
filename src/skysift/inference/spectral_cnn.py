"""The SpectralCNN of torch-harmonics-healpix, rebuilt to be compared with.

Layers, sizes and the grid are those of the package (state of July 2026), and with
the same weights the numbers are the same to rounding. Kept although it is not right: cells are
sampled at colatitudes pi k / n, without a south pole, and transformed as if at pi k / (n - 1);
n = 2 nside rings cannot tell multipoles up to 3 nside - 2 apart; weights depend on l and m, so that
rotations of the sky change the numbers; Q and U are transformed as scalars; and unseen nodes take
the mean of all that are seen.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import ducc0
import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from skysift.inference.networks import AbstractNetwork, Buffer, Matrices
from skysift.inference.simulators import Observed
from skysift.maps import Stokes

_MOMENTUM, _EPSILON = 0.1, 1e-5
OWN = 2.0
"""What of a gain belongs to its m alone, over the parameter that tells it."""
_SPREAD = 0.05
"""Of first gains: large beside the step of Adam. Normalisation undoes any factor."""
_SHAPES = 3
"""Parts of a gain that neighbouring m share: even Chebyshev polynomials of m / l."""
_HELD = 0.25
"""Part of the training after which running means stay. Batches vary in power, which tells much."""
_GROUPS = 4
"""Groups of m: more leave out more of l < m, and are more, smaller products."""

Groups = Sequence[Float[Array, "m ell map part channel"]]


@dataclass(frozen=True)
class Equiangular:
    """Transforms of scalars on rings of equal distance, both poles among them.

    Rings are at pi k / (rings - 1) with twice as many nodes on each, as in torch-harmonics with
    Clenshaw-Curtis weights. Multipoles reach to `lmax`, m to `rings` at most. The analysis undoes
    the synthesis where lmax < rings / 2.

    Nodes come first and channels last, and coefficients are in groups of neighbouring m, each from
    its least m on in l: like this all sums are products of matrices as they lie in memory, and few
    of them are of l < m.

    Args:
        rings: how many.
        lmax: largest multipole.

    Raises:
        ValueError: for fewer than two rings, or a negative lmax.

    Examples:
        >>> grid = Equiangular(16, 7)
        >>> grid.groups
        ((0, 2), (2, 4), (4, 6), (6, 8))
        >>> parts = [jnp.zeros((2, 8 - low, 1, 2, 1)) for low, _ in grid.groups]
        >>> parts[1] = parts[1].at[0, 3].set(1.0)
        >>> found = grid.analysis(grid.synthesis(parts))
        >>> all(bool(abs(a - b).max() < 1e-12) for a, b in zip(found, parts))
        True
    """

    rings: int
    lmax: int

    def __post_init__(self) -> None:
        if self.rings < 2:
            raise ValueError(f"rings: expected 2 or more, got {self.rings}. Say 2 * nside.")
        if self.lmax < 0:
            raise ValueError(f"lmax: expected 0 or more, got {self.lmax}.")

    @property
    def mmax(self) -> int:
        """Largest m, which nodes of a ring can tell."""
        return min(self.lmax, self.rings)

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """The first m of each group, and that after its last."""
        edges = np.linspace(0, self.mmax + 1, min(_GROUPS, self.mmax + 1) + 1).astype(int)
        return tuple((int(low), int(high)) for low, high in itertools.pairwise(edges))

    def analysis(self, maps: Float[Array, "node ring map channel"]) -> Groups:
        """Real and imaginary parts of coefficients: the sum over nodes with weights.

        Args:
            maps: values at the nodes.
        """
        functions, weights, phases = self._tables(maps.dtype)
        nodes, rings, *rest = maps.shape
        along = phases.reshape(-1, nodes) @ maps.reshape(nodes, -1)
        along = jnp.moveaxis(along.reshape(self.mmax + 1, 2, rings, *rest), 1, 3)
        along = along.reshape(self.mmax + 1, rings, -1)
        parts = []
        for low, high in self.groups:
            table = functions[low:high, low:] * (weights * np.pi / self.rings).astype(maps.dtype)
            part = jnp.einsum("mlk,mkq->mlq", table, along[low:high])
            parts.append(part.reshape(*part.shape[:2], rest[0], 2, rest[1]))
        return parts

    def synthesis(self, parts: Groups) -> Float[Array, "node ring map channel"]:
        """Values at the nodes.

        Args:
            parts: real and imaginary parts of coefficients; those of m > l count for nothing.
        """
        dtype, (count, _, channels) = parts[0].dtype, parts[0].shape[2:]
        functions, _, phases = self._tables(dtype)
        along = jnp.concatenate(
            [
                jnp.einsum(
                    "mlk,mlq->mkq", functions[low:high, low:], part.reshape(*part.shape[:2], -1)
                )
                for (low, high), part in zip(self.groups, parts, strict=True)
            ]
        )
        along = along.reshape(self.mmax + 1, self.rings, count, 2, channels)
        along = jnp.moveaxis(along, 3, 1)
        # m and -m count, but zero and the last, which the nodes cannot tell from its opposite.
        number = np.arange(self.mmax + 1)
        once = (number == 0) | (number == self.rings)
        times = np.where(once, 1.0, 2.0).astype(dtype)[:, None, None]
        back = jnp.asarray((phases * times).reshape(-1, 2 * self.rings).T)
        maps = back @ along.reshape(back.shape[1], -1)
        return maps.reshape(2 * self.rings, self.rings, count, channels)

    def zonal(self, maps: Float[Array, "node ring map channel"]) -> Float[Array, "ell map channel"]:
        """What the mean over all nodes of the synthesis of each l has, after the analysis.

        Args:
            maps: values at the nodes.
        """
        functions, weights, _ = self._tables(maps.dtype)
        means = functions[0].mean(axis=1, keepdims=True)
        table = 2 * np.pi * weights.astype(maps.dtype) * functions[0] * means
        return jnp.einsum("lk,kmc->lmc", table, maps.mean(axis=0))

    def _tables(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        functions, weights, phases = _tables(self.rings, self.lmax)
        return functions.astype(dtype), weights, phases.astype(dtype)


@functools.lru_cache(maxsize=8)
def _tables(rings: int, lmax: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legendre functions `(m, ell, ring)`, Clenshaw-Curtis weights, and phases `(m, 2, node)`."""
    theta = np.arange(rings) * np.pi / (rings - 1)
    mmax = min(lmax, rings)
    functions = np.zeros((mmax + 1, lmax + 1, rings))
    m = np.arange(lmax + 1)
    for ell in m:
        alm = np.zeros((1, (lmax + 1) * (lmax + 2) // 2), dtype=complex)
        held = m[: ell + 1]
        alm[0, held * (2 * lmax + 1 - held) // 2 + ell] = 1.0
        leg = ducc0.sht.alm2leg(alm=alm, spin=0, lmax=lmax, theta=theta)[0, :, : mmax + 1]
        functions[:, ell] = leg.real.T
    angle = np.arange(mmax + 1)[:, None] * np.arange(2 * rings) * (np.pi / rings)
    return functions, clenshaw_curtis(rings), np.stack([np.cos(angle), -np.sin(angle)], axis=1)


def clenshaw_curtis(count: int) -> Float[np.ndarray, " node"]:
    """Weights of the integral over cos(theta) from values at pi k / (count - 1).

    Exact for polynomials in cos(theta) of degree below `count` (Clenshaw & Curtis 1960).

    Args:
        count: number of nodes, 2 or more.

    Examples:
        >>> clenshaw_curtis(3).round(3).tolist()
        [0.333, 1.333, 0.333]
    """
    degree = np.arange(count)
    integrals = np.where(
        degree % 2 == 0, 2.0 / (1.0 - degree.astype(float) ** 2 + (degree == 1)), 0.0
    )
    values = np.cos(np.outer(degree, degree) * np.pi / (count - 1))
    return np.linalg.solve(values, integrals)


@dataclass(frozen=True)
class SpectralShape:
    """Size of a `SpectralCNN`.

    Args:
        nside: of the maps.
        stokes: what the maps hold; with polarisation the mask is one more channel.
        blocks: of a filter and a normalisation; published are 3 for T1 and 4 for T2 to T4.
        channels: of each block.
        numbers: how many there are of a map in the end.
        dropout: part of these that is left out at random while the network is trained.
        inpaint: whether unseen nodes take the mean of those that are seen; published for cut skies.
        steepness: powers of l + 1 that gains of the first block are in units of, from 0 for its
            first channel to this for its last: for skies whose weak multipoles tell too.
        smoothness: logarithm of l + 1 over which first gains are alike. Filters then are compact.

    Raises:
        ValueError: for sizes that are not positive, a dropout that is no part, temperature to be
            inpainted, which has no mask among its channels, or a steepness or smoothness below 0.
    """

    nside: int
    stokes: Stokes
    blocks: int = 4
    channels: int = 32
    numbers: int = 64
    dropout: float = 0.2
    inpaint: bool = False
    steepness: float = 0.0
    smoothness: float = 0.0

    def __post_init__(self) -> None:
        if min(self.nside, self.blocks, self.channels, self.numbers) < 1:
            raise ValueError(
                "nside, blocks, channels, numbers: expected positive, got "
                f"{(self.nside, self.blocks, self.channels, self.numbers)}."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: expected 0 or more, below 1, got {self.dropout}. Say 0.2.")
        for name in ("steepness", "smoothness"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name}: expected 0 or more, got {value}. Say {name}=0.0.")
        if self.inpaint and self.stokes is Stokes.I:
            raise ValueError(
                "inpaint: expected False for temperature, which goes in without its mask, got "
                "True. Use another network for cut skies."
            )

    @property
    def grid(self) -> Equiangular:
        """Nodes of the transforms."""
        return Equiangular(2 * self.nside, 3 * self.nside - 2)

    @property
    def inputs(self) -> int:
        """Channels of the first block."""
        return 1 if self.stokes is Stokes.I else len(self.stokes) + 1


class _Block(eqx.Module):
    """A filter with gains for each coefficient, then the normalisation of a batch.

    Gains are what an l has for all its m, which a small part of the maps tells, or goes smoothly
    with m / l, in which E and B differ; and what each m has beside it. All gains are possible, as
    in torch-harmonics-healpix, which has one parameter each.
    """

    shared: Matrices
    weights: tuple[Float[Array, "m ell input part output"], ...]
    factor: Float[Array, " output"]
    shift: Float[Array, " output"]
    mean: Buffer
    variance: Buffer
    grid: Equiangular = eqx.field(static=True)
    steepness: float = eqx.field(static=True)

    def __init__(
        self, shape: SpectralShape, inputs: int, steepness: float, key: PRNGKeyArray
    ) -> None:
        grid, outputs = shape.grid, shape.channels
        self.grid, self.steepness = grid, steepness
        first, second = jax.random.split(key)
        white = jax.random.normal(first, (_SHAPES, grid.lmax + 1, inputs, outputs), jnp.float32)
        self.shared = Matrices(
            _SPREAD * jnp.einsum("lk,skio->slio", _alike(grid.lmax, shape.smoothness), white)
        )
        # As small as the first gains of torch-harmonics-healpix.
        spread = 1.0 / (inputs * (grid.lmax + 1))
        shapes = [
            (high - low, grid.lmax + 1 - low, inputs, 2, outputs) for low, high in grid.groups
        ]
        self.weights = tuple(
            spread * jax.random.normal(one, shape, jnp.float32)
            for shape, one in zip(shapes, jax.random.split(second, len(shapes)), strict=True)
        )
        self.factor, self.shift = jnp.ones(outputs, jnp.float32), jnp.zeros(outputs, jnp.float32)
        self.mean = Buffer(jnp.zeros(outputs, jnp.float32))
        self.variance = Buffer(jnp.ones(outputs, jnp.float32))

    def filtered(
        self, maps: Float[Array, "node ring map input"]
    ) -> Float[Array, "node ring map output"]:
        parts = []
        analysed = self.grid.analysis(maps)
        for part, own, (low, high) in zip(analysed, self.weights, self.grid.groups, strict=True):
            parts.append(_mixed(part, *self._gains(own, low, high)))
        return self.grid.synthesis(parts)

    def pooled(self, maps: Float[Array, "node ring map input"]) -> Float[Array, "map output"]:
        """Means over nodes of what is filtered, which only m = 0 has."""
        real, _ = self._gains(self.weights[0][:1], 0, 1)
        return jnp.einsum("lni,lio->no", self.grid.zonal(maps), real[0])

    def _gains(
        self, own: Float[Array, "m ell input part output"], low: int, high: int
    ) -> tuple[Float[Array, "m ell input output"], Float[Array, "m ell input output"]]:
        """Real and imaginary parts, of m from `low` on and l from `low` on."""
        shapes = _shapes(low, high, self.grid.lmax)
        smooth = jnp.einsum("kml,klio->mlio", shapes, self.shared.array[:, low:])
        unit = _units(self.grid.lmax, self.steepness, len(self.factor))[low:, None]
        return (OWN * own[..., 0, :] + smooth) * unit, OWN * own[..., 1, :] * unit

    def __call__(self, filtered: Float[Array, "*any output"]) -> Float[Array, "*any output"]:
        return self._normalised(filtered, self.mean.value, self.variance.value)

    def learning(
        self, filtered: Float[Array, "*any output"], momentum: float, done: Float[ArrayLike, ""]
    ) -> tuple[Float[Array, "*any output"], _Block]:
        """Normalised over the batch, or by running means once they are held."""
        axes = tuple(range(filtered.ndim - 1))
        mean, variance = filtered.mean(axes), filtered.var(axes)
        count = filtered.size // filtered.shape[-1]
        unbiased = variance * (count / (count - 1))
        held = jnp.asarray(done) >= _HELD
        moved = jax.lax.stop_gradient(
            tuple(
                jnp.where(held, old, (1.0 - momentum) * old + momentum * new)
                for old, new in ((self.mean.value, mean), (self.variance.value, unbiased))
            )
        )
        block = eqx.tree_at(lambda b: (b.mean.array, b.variance.array), self, moved)
        mean = jnp.where(held, self.mean.value, mean)
        variance = jnp.where(held, self.variance.value, variance)
        return self._normalised(filtered, mean, variance), block

    def _normalised(
        self,
        filtered: Float[Array, "*any output"],
        mean: Float[Array, " output"],
        variance: Float[Array, " output"],
    ) -> Float[Array, "*any output"]:
        factor = self.factor / jnp.sqrt(variance + _EPSILON)
        return filtered * factor + (self.shift - mean * factor)


def _shapes(low: int, high: int, lmax: int) -> Float[np.ndarray, "shape m ell"]:
    """Even Chebyshev polynomials of m / l, zero where m is larger than l."""
    m, ell = np.arange(low, high)[:, None], np.maximum(np.arange(low, lmax + 1), 1)
    angle = np.arccos(np.minimum(m / ell, 1.0))
    orders = 2 * np.arange(_SHAPES)[:, None, None]
    return np.where(m <= ell, np.cos(orders * angle), 0.0).astype(np.float32)


def _alike(lmax: int, smoothness: float) -> Float[np.ndarray, "ell number"]:
    """What makes white numbers a Gaussian process in ln(l + 1), of variance 1."""
    if smoothness == 0.0:
        return np.eye(lmax + 1, dtype=np.float32)
    place = np.log(np.arange(lmax + 1) + 1.0) / smoothness
    covariance = np.exp(-0.5 * (place[:, None] - place) ** 2)
    return np.linalg.cholesky(covariance + 1e-6 * np.eye(lmax + 1)).astype(np.float32)


def _units(lmax: int, steepness: float, outputs: int) -> Float[np.ndarray, "ell output"]:
    """Powers of l + 1, one at lmax."""
    reach = (np.arange(lmax + 1) + 1.0) / (lmax + 1.0)
    return (reach[:, None] ** np.linspace(0.0, steepness, outputs)).astype(np.float32)


def _mixed(
    parts: Float[Array, "m ell map part input"],
    real: Float[Array, "m ell input output"],
    imaginary: Float[Array, "m ell input output"],
) -> Float[Array, "m ell map part output"]:
    """Complex products, as one of real matrices."""
    m, ell, count, _, inputs = parts.shape
    gains = jnp.concatenate(
        [
            jnp.concatenate([real, imaginary], axis=-1),
            jnp.concatenate([-imaginary, real], axis=-1),
        ],
        axis=-2,
    )
    mixed = parts.reshape(m, ell, count, 2 * inputs) @ gains
    return mixed.reshape(m, ell, count, 2, -1)


class SpectralCNN(AbstractNetwork):
    """Spectral convolutions of torch-harmonics-healpix, up to the last layer of its head.

    Cells nearest to the nodes of an equiangular grid; blocks of a transform, complex weights of
    each coefficient, the inverse transform and batch normalisation, with `relu` between them; the
    mean over nodes; a dense layer to 64 numbers, `relu` and dropout. A linear head of these,
    trained by squared errors with Adam at 1e-3 and 32 maps a step, completes what was published.

    Only m = 0 of the last block is in a mean over nodes, so nothing else of it is computed; and
    while the network is trained, its normalisation takes moments of these means and not of nodes,
    which differ by a factor and a shift. Running means of all blocks are held after the first part
    of a training.

    Args:
        shape: size of the network.
        key: of the first weights.

    Examples:
        >>> network = SpectralCNN(SpectralShape(4, Stokes.I, blocks=1), jax.random.key(0))
        >>> network(Observed(jnp.ones((3, 1, 192)), jnp.ones((3, 192), bool))).shape
        (3, 64)
    """

    blocks: tuple[_Block, ...]
    dense: eqx.nn.Linear
    shape: SpectralShape = eqx.field(static=True)

    def __init__(self, shape: SpectralShape, key: PRNGKeyArray) -> None:
        self.shape = shape
        *keys, last = jax.random.split(key, shape.blocks + 1)
        inputs = [shape.inputs] + [shape.channels] * (shape.blocks - 1)
        self.blocks = tuple(
            _Block(shape, count, shape.steepness if place == 0 else 0.0, one)
            for place, (count, one) in enumerate(zip(inputs, keys, strict=True))
        )
        self.dense = eqx.nn.Linear(shape.channels, shape.numbers, dtype=jnp.float32, key=last)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        return self.shape.numbers

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, normalised by running means."""
        maps = self._sampled(observed)
        *early, last = self.blocks
        for block in early:
            maps = jax.nn.relu(block(block.filtered(maps)))
        return self._numbers(last(last.pooled(maps)))

    def learning(
        self, observed: Observed, key: PRNGKeyArray, done: Float[ArrayLike, ""] = 0.0
    ) -> tuple[Float[Array, "map number"], Self]:
        """Numbers normalised over the batch, some left out; and the network with running means."""
        pooled, network = self._moved(observed, _MOMENTUM, done)
        numbers = self._numbers(pooled)
        kept = 1.0 - self.shape.dropout
        stays = jax.random.bernoulli(key, kept, numbers.shape)
        return jnp.where(stays, numbers / np.float32(kept), 0.0), network

    @eqx.filter_jit
    def calibrated(self, observed: Observed) -> Self:
        """With running means of these maps alone."""
        return self._moved(observed, 1.0, 0.0)[1]

    def _moved(
        self, observed: Observed, momentum: float, done: Float[ArrayLike, ""]
    ) -> tuple[Float[Array, "map channel"], Self]:
        """Means over nodes after all blocks, and the network with its running means brought up."""
        maps, blocks = self._sampled(observed), []
        *early, last = self.blocks
        for block in early:
            maps, moved = block.learning(block.filtered(maps), momentum, done)
            maps = jax.nn.relu(maps)
            blocks.append(moved)
        pooled, moved = last.learning(last.pooled(maps), momentum, done)
        return pooled, eqx.tree_at(lambda n: n.blocks, self, (*blocks, moved))

    def _numbers(self, pooled: Float[Array, "map channel"]) -> Float[Array, "map number"]:
        return jax.nn.relu(jax.vmap(self.dense)(pooled))

    def _sampled(self, observed: Observed) -> Float[Array, "node ring map channel"]:
        """Values of the nearest cells, and the mask as a channel of polarised maps."""
        expected = (len(self.shape.stokes), 12 * self.shape.nside**2)
        if observed.values.shape[1:] != expected:
            raise ValueError(
                f"observed: expected maps of shape (map, {expected[0]}, {expected[1]}) for Stokes "
                f"{self.shape.stokes.value} at nside {self.shape.nside}, got "
                f"{observed.values.shape}. Check nside and Stokes parameters."
            )
        cells = _nearest(self.shape.nside).T
        mask = jnp.moveaxis(observed.mask[:, cells], 0, -1)[..., None]
        values = jnp.where(observed.mask[:, None], observed.values.astype(jnp.float32), 0.0)
        values = jnp.moveaxis(values[..., cells], (0, 1), (-2, -1))
        if self.shape.inpaint:
            count = jnp.maximum(mask.sum(axis=(0, 1), keepdims=True), 1)
            mean = values.sum(axis=(0, 1), keepdims=True) / count.astype(jnp.float32)
            values = jnp.where(mask, values, mean)
        if self.shape.stokes is Stokes.I:
            return values
        return jnp.concatenate([values, mask.astype(jnp.float32)], axis=-1)


@functools.lru_cache(maxsize=8)
def _nearest(nside: int) -> Int[np.ndarray, "ring node"]:
    """RING cells at colatitudes pi k / (2 nside), as torch-harmonics-healpix samples them."""
    theta = np.arange(2 * nside) * (np.pi / (2 * nside))
    phi = np.arange(4 * nside) * (2.0 * np.pi / (4 * nside))
    return hp.ang2pix(nside, theta[:, None], phi[None])
