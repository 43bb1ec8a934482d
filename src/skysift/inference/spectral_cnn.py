"""The SpectralCNN of torch-harmonics-healpix, rebuilt to be compared with.

Layers, sizes, first weights and the grid are those of the package (state of July 2026), and with
the same weights the numbers are the same to rounding. Kept although it is not right: cells are
sampled at colatitudes pi k / n, without a south pole, and transformed as if at pi k / (n - 1);
n = 2 nside rings cannot tell multipoles up to 3 nside - 2 apart; weights depend on l and m, so that
rotations of the sky change the numbers; Q and U are transformed as scalars; and unseen nodes take
the mean of all that are seen.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Self

import ducc0
import equinox as eqx
import healpy as hp
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from skysift.inference.networks import AbstractNetwork, Buffer
from skysift.inference.simulators import Observed
from skysift.maps import Stokes

_MOMENTUM, _EPSILON = 0.1, 1e-5


@dataclass(frozen=True)
class Equiangular:
    """Transforms of scalars on rings of equal distance, both poles among them.

    Rings are at pi k / (rings - 1) with twice as many nodes on each, as in torch-harmonics with
    Clenshaw-Curtis weights. Multipoles reach to `lmax`, m to `rings` at most. The analysis undoes
    the synthesis where lmax < rings / 2.

    Args:
        rings: how many.
        lmax: largest multipole.

    Raises:
        ValueError: for fewer than two rings, or a negative lmax.

    Examples:
        >>> grid = Equiangular(16, 7)
        >>> parts = jnp.zeros((2, 8, 8)).at[0, 1, 3].set(1.0)
        >>> bool(abs(grid.analysis(grid.synthesis(parts)) - parts).max() < 1e-12)
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

    def analysis(self, maps: Float[Array, "... ring node"]) -> Float[Array, "... 2 m ell"]:
        """Real and imaginary parts of coefficients: the sum over nodes with weights.

        Args:
            maps: values at the nodes.
        """
        functions, weights, phases = self._tables(maps.dtype)
        rings = jnp.einsum("...kj,jzm->...zmk", maps, phases) * (np.pi / self.rings)
        return jnp.einsum("...zmk,mlk->...zml", rings, functions * weights)

    def synthesis(self, parts: Float[Array, "... 2 m ell"]) -> Float[Array, "... ring node"]:
        """Values at the nodes.

        Args:
            parts: real and imaginary parts of coefficients; those of m > l count for nothing.
        """
        functions, _, phases = self._tables(parts.dtype)
        rings = jnp.einsum("...zml,mlk->...zmk", parts, functions)
        # m and -m count, but zero and the last, which the nodes cannot tell from its opposite.
        number = np.arange(self.mmax + 1)
        once = (number == 0) | (number == self.rings)
        count = np.where(once, 1.0, 2.0).astype(parts.dtype)
        return jnp.einsum("...zmk,jzm->...kj", rings, phases * count)

    def _tables(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        functions, weights, phases = _tables(self.rings, self.lmax)
        return functions.astype(dtype), weights.astype(dtype), phases.astype(dtype)


@functools.lru_cache(maxsize=8)
def _tables(rings: int, lmax: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legendre functions `(m, ell, ring)`, Clenshaw-Curtis weights, and phases `(node, 2, m)`."""
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
    angle = np.arange(2 * rings)[:, None] * np.arange(mmax + 1) * (np.pi / rings)
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

    Raises:
        ValueError: for sizes that are not positive, a dropout that is no part, or temperature to be
            inpainted, which has no mask among its channels.
    """

    nside: int
    stokes: Stokes
    blocks: int = 4
    channels: int = 32
    numbers: int = 64
    dropout: float = 0.2
    inpaint: bool = False

    def __post_init__(self) -> None:
        if min(self.nside, self.blocks, self.channels, self.numbers) < 1:
            raise ValueError(
                "nside, blocks, channels, numbers: expected positive, got "
                f"{(self.nside, self.blocks, self.channels, self.numbers)}."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: expected 0 or more, below 1, got {self.dropout}. Say 0.2.")
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
    """A filter with gains for each coefficient, then the normalisation of a batch."""

    weights: Float[Array, "2 output input m ell"]
    factor: Float[Array, " output"]
    shift: Float[Array, " output"]
    mean: Buffer
    variance: Buffer
    grid: Equiangular = eqx.field(static=True)

    def __init__(self, grid: Equiangular, inputs: int, outputs: int, key: PRNGKeyArray) -> None:
        self.grid = grid
        spread = 1.0 / (inputs * (grid.lmax + 1))
        shape = (2, outputs, inputs, grid.mmax + 1, grid.lmax + 1)
        self.weights = spread * jax.random.normal(key, shape, jnp.float32)
        self.factor, self.shift = jnp.ones(outputs, jnp.float32), jnp.zeros(outputs, jnp.float32)
        self.mean = Buffer(jnp.zeros(outputs, jnp.float32))
        self.variance = Buffer(jnp.ones(outputs, jnp.float32))

    def filtered(
        self, maps: Float[Array, "map input ring node"]
    ) -> Float[Array, "map output ring node"]:
        real, imaginary = self.weights
        # z: part of what comes, y: part of what goes.
        weights = jnp.stack([jnp.stack([real, imaginary]), jnp.stack([-imaginary, real])])
        parts = self.grid.analysis(maps)
        return self.grid.synthesis(jnp.einsum("zyoiml,nizml->noyml", weights, parts))

    def normalised(
        self,
        maps: Float[Array, "map output ring node"],
        mean: Float[Array, " output"],
        variance: Float[Array, " output"],
    ) -> Float[Array, "map output ring node"]:
        factor = self.factor / jnp.sqrt(variance + _EPSILON)
        shift = self.shift - mean * factor
        return maps * factor[:, None, None] + shift[:, None, None]

    def learning(
        self, maps: Float[Array, "map input ring node"], momentum: float = _MOMENTUM
    ) -> tuple[Float[Array, "map output ring node"], _Block]:
        filtered = self.filtered(maps)
        mean, variance = filtered.mean(axis=(0, 2, 3)), filtered.var(axis=(0, 2, 3))
        count = filtered.size // filtered.shape[1]
        unbiased = variance * (count / (count - 1))
        moved = (
            (1.0 - momentum) * self.mean.value + momentum * jax.lax.stop_gradient(mean),
            (1.0 - momentum) * self.variance.value + momentum * jax.lax.stop_gradient(unbiased),
        )
        block = eqx.tree_at(lambda b: (b.mean.array, b.variance.array), self, moved)
        return self.normalised(filtered, mean, variance), block

    def __call__(
        self, maps: Float[Array, "map input ring node"]
    ) -> Float[Array, "map output ring node"]:
        return self.normalised(self.filtered(maps), self.mean.value, self.variance.value)


class SpectralCNN(AbstractNetwork):
    """Spectral convolutions of torch-harmonics-healpix, up to the last layer of its head.

    Cells nearest to the nodes of an equiangular grid; blocks of a transform, complex weights of
    each coefficient, the inverse transform and batch normalisation, with `relu` between them; the
    mean over nodes; a dense layer to 64 numbers, `relu` and dropout. A linear head of these,
    trained by squared errors with Adam at 1e-3 and 32 maps a step, completes what was published.

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
            _Block(shape.grid, count, shape.channels, one)
            for count, one in zip(inputs, keys, strict=True)
        )
        self.dense = eqx.nn.Linear(shape.channels, shape.numbers, dtype=jnp.float32, key=last)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        return self.shape.numbers

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, normalised by running means."""
        maps = self._sampled(observed)
        for place, block in enumerate(self.blocks):
            maps = block(jax.nn.relu(maps) if place else maps)
        return self._pooled(maps)

    def learning(
        self, observed: Observed, key: PRNGKeyArray
    ) -> tuple[Float[Array, "map number"], Self]:
        """Numbers normalised over the batch, some left out; and the network with running means."""
        maps, network = self._moved(observed, _MOMENTUM)
        numbers = self._pooled(maps)
        kept = 1.0 - self.shape.dropout
        stays = jax.random.bernoulli(key, kept, numbers.shape)
        return jnp.where(stays, numbers / np.float32(kept), 0.0), network

    @eqx.filter_jit
    def calibrated(self, observed: Observed) -> Self:
        """With running means of these maps alone."""
        return self._moved(observed, 1.0)[1]

    def _moved(
        self, observed: Observed, momentum: float
    ) -> tuple[Float[Array, "map channel ring node"], Self]:
        """Maps after all blocks, and the network with its running means brought up."""
        maps, blocks = self._sampled(observed), []
        for place, block in enumerate(self.blocks):
            maps, moved = block.learning(jax.nn.relu(maps) if place else maps, momentum)
            blocks.append(moved)
        return maps, eqx.tree_at(lambda n: n.blocks, self, tuple(blocks))

    def _pooled(self, maps: Float[Array, "map channel ring node"]) -> Float[Array, "map number"]:
        return jax.nn.relu(jax.vmap(self.dense)(maps.mean(axis=(2, 3))))

    def _sampled(self, observed: Observed) -> Float[Array, "map channel ring node"]:
        """Values of the nearest cells, and the mask as a channel of polarised maps."""
        expected = (len(self.shape.stokes), 12 * self.shape.nside**2)
        if observed.values.shape[1:] != expected:
            raise ValueError(
                f"observed: expected maps of shape (map, {expected[0]}, {expected[1]}) for Stokes "
                f"{self.shape.stokes.value} at nside {self.shape.nside}, got "
                f"{observed.values.shape}. Check nside and Stokes parameters."
            )
        cells = _nearest(self.shape.nside)
        mask = observed.mask[:, None][..., cells]
        values = observed.values.astype(jnp.float32)[..., cells]
        values = jnp.where(mask, values, 0.0)
        if self.shape.inpaint:
            count = jnp.maximum(mask.sum(axis=(2, 3), keepdims=True), 1)
            mean = values.sum(axis=(2, 3), keepdims=True) / count.astype(jnp.float32)
            values = jnp.where(mask, values, mean)
        if self.shape.stokes is Stokes.I:
            return values
        return jnp.concatenate([values, mask.astype(jnp.float32)], axis=1)


@functools.lru_cache(maxsize=8)
def _nearest(nside: int) -> Int[np.ndarray, "ring node"]:
    """RING cells at colatitudes pi k / (2 nside), as torch-harmonics-healpix samples them."""
    theta = np.arange(2 * nside) * (np.pi / (2 * nside))
    phi = np.arange(4 * nside) * (2.0 * np.pi / (4 * nside))
    return hp.ang2pix(nside, theta[:, None], phi[None])
