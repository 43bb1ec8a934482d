"""Networks that learn which numbers of maps tell of parameters."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float, PRNGKeyArray

from skysift.harmonic import SHT, Backend, multipoles
from skysift.inference.layers import (
    Fields,
    Gains,
    ParityActivation,
    ParityFilter,
    Transform,
    analysed,
    cross_powers,
    powers,
)
from skysift.inference.pixel_layers import (
    HierarchicalConvolution,
    MaskedInput,
    Pooling,
    Unseen,
    nested,
    pooled,
)
from skysift.inference.simulators import Observed
from skysift.inference.summary import AbstractSummary
from skysift.maps import Stokes

_FLOOR = 1e-6
"""Added to powers, which are about one, before their logarithm is taken."""
_TABLES_TO = 32
"""Largest nside at which products with tables are faster than ducc0 on a CPU."""


class Buffer(eqx.Module):
    """An array that belongs to a network but is not trained: a scale, a running mean.

    Args:
        array: what is kept.
    """

    array: Array

    @property
    def value(self) -> Array:
        """The array, as a constant to derivatives."""
        return jax.lax.stop_gradient(self.array)


class Matrices(eqx.Module):
    """Matrices that training moves by Muon: each step is an orthogonal matrix times its length.

    Args:
        array: stack of matrices, which are its last two axes.
    """

    array: Float[Array, "*stack input output"]


def learnt(tree: Any) -> Any:
    """What of a network is trained, for `equinox.partition`: all real arrays outside of buffers.

    Examples:
        >>> learnt((jnp.ones(2), Buffer(jnp.ones(2))))
        (True, False)
    """
    return jax.tree.map(
        lambda leaf: not isinstance(leaf, Buffer) and eqx.is_inexact_array(leaf),
        tree,
        is_leaf=lambda leaf: isinstance(leaf, Buffer),
    )


class AbstractNetwork(AbstractSummary):
    """Numbers of maps by a network that learns."""

    @property
    def learns(self) -> bool:
        """Always."""
        return True

    def calibrated(self, observed: Observed) -> Self:
        """The network with scales of maps such as these, from which its training begins.

        Args:
            observed: some hundred maps.
        """
        return self

    def learning(
        self, observed: Observed, key: PRNGKeyArray, done: Float[ArrayLike, ""] = 0.0
    ) -> tuple[Float[Array, "map number"], Self]:
        """Numbers while the network is trained, and the network with its buffers brought up.

        The two differ from the call and from the network itself where there is something random, or
        something that maps of a batch have in common.

        Args:
            observed: maps and masks.
            key: of what is random.
            done: part of the training that lies behind, 0 to 1.
        """
        return self(observed), self


class Standard(eqx.Module):
    """Numbers less their mean, over their deviation; those that do not vary become zero."""

    mean: Buffer
    scale: Buffer

    def __init__(self, size: int) -> None:
        self.mean = Buffer(jnp.zeros(size, jnp.float32))
        self.scale = Buffer(jnp.ones(size, jnp.float32))

    def of(self, numbers: Float[Array, "map number"]) -> Standard:
        """With mean and deviation of these."""
        mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
        varies = deviation > 1e-4 * (1.0 + jnp.abs(mean))
        scale = jnp.where(varies, 1.0 / jnp.where(varies, deviation, 1.0), 0.0)
        arrays = (mean.astype(jnp.float32), scale.astype(jnp.float32))
        return eqx.tree_at(lambda s: (s.mean.array, s.scale.array), self, arrays)

    def __call__(self, numbers: Float[Array, "map number"]) -> Float[Array, "map number"]:
        """Standardised numbers."""
        return (numbers - self.mean.value) * self.scale.value


@dataclass(frozen=True)
class HarmonicShape:
    """Size of a `HarmonicNetwork`.

    Args:
        nside: of the maps.
        stokes: what the maps hold.
        widths: number of scalars, and of pseudoscalars where maps are polarised, of each layer.
        lmax: largest multipole of the maps, 3 nside - 1 by default.
        cut: largest multipole inside the network, nside by default. Cells cannot hold all that a
            function of them makes of finer maps: at nside 8 a rotation of the sky changes numbers
            from inside by 3 % of their deviation over T2, with a cut of 2 nside by 20 %.
        kind: what gains depend on.
        unseen: what stands in cells that are not seen.
        masks: whether a mask goes in as one more scalar; for regions other than the full sky.
        backend: of the transforms; the faster one on a CPU by default.

    Raises:
        ValueError: for widths that are not positive, or multipoles that cells cannot tell.
    """

    nside: int
    stokes: Stokes
    widths: tuple[int, ...] = (8, 8)
    lmax: int | None = None
    cut: int | None = None
    kind: Gains = Gains.DEGREE
    unseen: Unseen = Unseen.ZERO
    masks: bool = False
    backend: Backend | None = None

    def __post_init__(self) -> None:
        if not all(width > 0 for width in self.widths):
            raise ValueError(f"widths: expected positive numbers, got {self.widths}. Say (8, 8).")
        largest = 3 * self.nside - 1
        if not 2 <= self.outer.sht.lmax <= largest:
            raise ValueError(
                f"lmax: expected 2 to {largest}, which cells of nside {self.nside} can tell apart, "
                f"got {self.lmax}. Leave it out."
            )
        if not 2 <= self.inner.sht.lmax <= self.outer.sht.lmax:
            raise ValueError(
                f"cut: expected 2 to lmax = {self.outer.sht.lmax}, got {self.cut}. Leave it out."
            )

    @property
    def outer(self) -> Transform:
        """Between the maps and their coefficients."""
        lmax = 3 * self.nside - 1 if self.lmax is None else self.lmax
        return Transform(self._sht(lmax), iterations=None)

    @property
    def inner(self) -> Transform:
        """Between maps and coefficients inside."""
        cut = max(2, min(self.nside, self.outer.sht.lmax)) if self.cut is None else self.cut
        return Transform(self._sht(cut), iterations=1)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of scalars and of pseudoscalars among the fields of a map, without its mask."""
        return {Stokes.I: (1, 0), Stokes.QU: (1, 1), Stokes.IQU: (2, 1)}[self.stokes]

    def _sht(self, lmax: int) -> SHT:
        return SHT(self.nside, lmax, backend=self.backend or Backend.suited(self.nside))


class HarmonicNetwork(AbstractNetwork):
    """Powers of a sky and of what filters and functions of cells make of it.

    Coefficients of T, E and B go through filters, functions of cells and the quadrature, several
    times. The numbers are logarithms of the mean squares of coefficients at each multipole, of the
    sky itself and after each function, and correlations of the fields of the sky. A rotation of the
    sky leaves those of the sky as they are, and the others to the accuracy of the quadrature, with
    gains that depend on l alone. A reflection changes the sign of correlations with B.

    Args:
        shape: size of the network.
        key: of the first gains.

    Examples:
        >>> network = HarmonicNetwork(HarmonicShape(4, Stokes.I, (2,)), jax.random.key(0))
        >>> sky = Observed(jnp.ones((3, 1, 192)), jnp.ones((3, 192), bool))
        >>> network(sky).shape == (3, network.size)
        True
    """

    filters: tuple[ParityFilter, ...]
    activations: tuple[ParityActivation, ...]
    white: Buffer
    standard: Standard
    shape: HarmonicShape = eqx.field(static=True)

    def __init__(self, shape: HarmonicShape, key: PRNGKeyArray) -> None:
        self.shape = shape
        even, odd = shape.counts
        counts = (even + shape.masks, odd)
        lmax, filters, activations = shape.outer.sht.lmax, [], []
        for width, one in zip(shape.widths, jax.random.split(key, len(shape.widths)), strict=True):
            inner = shape.inner.sht.lmax
            outputs = (width, width if odd else 0)
            filters.append(ParityFilter(lmax, counts, outputs, key=one, cut=inner, kind=shape.kind))
            activations.append(ParityActivation(outputs))
            lmax, counts = inner, activations[-1].outputs
        self.filters, self.activations = tuple(filters), tuple(activations)
        self.white = Buffer(jnp.ones((even + odd, shape.outer.sht.lmax + 1), jnp.float32))
        self.standard = Standard(self.size)

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        fields = sum(self.shape.counts)
        pairs = fields * (fields - 1) // 2
        degrees = self.shape.outer.sht.lmax + 1
        inner = sum(sum(one.outputs) for one in self.activations)
        return (fields + pairs) * degrees + inner * (self.shape.inner.sht.lmax + 1)

    @eqx.filter_jit
    def calibrated(self, observed: Observed) -> HarmonicNetwork:
        """With fields whitened by the mean powers of these maps, and standardised numbers."""
        sky = self._coefficients(observed)
        mean = powers(sky.all, self.shape.outer.sht.lmax).mean(axis=0)
        held = mean > 1e-10 * mean.max(axis=-1, keepdims=True)
        white = jnp.where(held, 1.0 / jnp.sqrt(jnp.where(held, mean, 1.0)), 0.0)
        network = eqx.tree_at(lambda n: n.white.array, self, white.astype(jnp.float32))
        numbers = network._numbers(sky, observed)
        return eqx.tree_at(lambda n: n.standard, network, self.standard.of(numbers))

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map, about one in size after `calibrated`."""
        return self.standard(self._numbers(self._coefficients(observed), observed))

    def _numbers(self, sky: Fields, observed: Observed) -> Float[Array, "map number"]:
        shape = self.shape
        lmax = shape.outer.sht.lmax
        fields = sky.like(sky.all * self.white.value[:, multipoles(lmax)[0]])
        parts = [*_logarithms(fields.all, lmax), *_correlations(fields.all, lmax)]
        if shape.masks:
            mask = shape.outer.analysis(observed.mask[:, None].astype(jnp.float32))
            fields = Fields(jnp.concatenate([fields.even, mask], axis=1), fields.odd)
        # White coefficients of unit variance make maps of variance (cut + 1)^2 / (4 pi).
        unit = np.float32(np.sqrt(4.0 * np.pi) / (shape.inner.sht.lmax + 1))
        fields = fields.like(unit * fields.all)
        for one, activation in zip(self.filters, self.activations, strict=True):
            alm = one(fields)
            made = activation(alm.like(shape.inner.synthesis(alm.all)))
            fields = made.like(shape.inner.analysis(made.all))
            parts.extend(_logarithms(fields.all, shape.inner.sht.lmax))
        return jnp.concatenate(parts, axis=-1)

    def _coefficients(self, observed: Observed) -> Fields:
        maps = MaskedInput(self.shape.unseen)(observed.values.astype(jnp.float32), observed.mask)
        return analysed(self.shape.outer, maps, self.shape.stokes)


def _logarithms(alm: Complex[Array, "map channel alm"], lmax: int) -> list[Float[Array, "map ell"]]:
    logarithms = jnp.log(powers(alm, lmax) + _FLOOR)
    return [logarithms[:, place] for place in range(alm.shape[1])]


def _correlations(
    alm: Complex[Array, "map channel alm"], lmax: int
) -> list[Float[Array, "map ell"]]:
    own = powers(alm, lmax) + _FLOOR
    return [
        cross_powers(alm[:, one], alm[:, other], lmax) / jnp.sqrt(own[:, one] * own[:, other])
        for one, other in itertools.combinations(range(alm.shape[1]), 2)
    ]


@dataclass(frozen=True)
class PixelShape:
    """Size of a `PixelNetwork`.

    Args:
        nside: of the maps.
        stokes: what the maps hold.
        widths: channels of each block; each halves nside.
        numbers: how many there are of a map in the end.
        pooling: what becomes of four children.
        masks: whether a mask goes in as one more channel.

    Raises:
        ValueError: for more blocks than nside can be halved, or sizes that are not positive.
    """

    nside: int
    stokes: Stokes
    widths: tuple[int, ...] = (32, 32, 32, 32)
    numbers: int = 48
    pooling: Pooling = Pooling.MEAN
    masks: bool = False

    def __post_init__(self) -> None:
        if not all(width > 0 for width in (*self.widths, self.numbers)):
            raise ValueError(
                f"widths, numbers: expected positive, got {self.widths} and {self.numbers}."
            )
        if self.nside >> len(self.widths) < 1:
            raise ValueError(
                f"widths: expected at most {self.nside.bit_length() - 1} blocks, as often as nside "
                f"{self.nside} can be halved, got {len(self.widths)}. Leave some out."
            )


class PixelNetwork(AbstractNetwork):
    """Convolutions over neighbouring cells, and averages of children, after NNhealpix.

    The network of Krachmalnicoff & Tomasi 2019 (arXiv:1902.04083, figure 6), without its dropout:
    blocks of a convolution, `relu` and pooling down to nside 1, then all that is left through a
    dense layer of 48. Rotations of the sky change the numbers.

    Args:
        shape: size of the network.
        key: of the first weights.

    Examples:
        >>> network = PixelNetwork(PixelShape(4, Stokes.I, (2, 2)), jax.random.key(0))
        >>> network(Observed(jnp.ones((3, 1, 192)), jnp.ones((3, 192), bool))).shape
        (3, 48)
    """

    blocks: tuple[HierarchicalConvolution, ...]
    dense: eqx.nn.Linear
    scale: Buffer
    shape: PixelShape = eqx.field(static=True)

    def __init__(self, shape: PixelShape, key: PRNGKeyArray) -> None:
        self.shape = shape
        *keys, last = jax.random.split(key, len(shape.widths) + 1)
        inputs = (len(shape.stokes) + shape.masks, *shape.widths)
        self.blocks = tuple(
            HierarchicalConvolution(shape.nside >> level, come, go, key=one)
            for level, ((come, go), one) in enumerate(
                zip(itertools.pairwise(inputs), keys, strict=True)
            )
        )
        left = 12 * (shape.nside >> len(shape.widths)) ** 2 * inputs[-1]
        self.dense = eqx.nn.Linear(left, shape.numbers, dtype=jnp.float32, key=last)
        self.scale = Buffer(jnp.ones(len(shape.stokes), jnp.float32))

    @property
    def size(self) -> int:
        """How many numbers there are of a map."""
        return self.shape.numbers

    def calibrated(self, observed: Observed) -> PixelNetwork:
        """With Stokes parameters scaled to unit deviation in the cells that are seen."""
        seen = observed.mask[:, None]
        squares = jnp.sum(jnp.where(seen, observed.values, 0.0) ** 2, axis=(0, 2))
        scale = 1.0 / jnp.sqrt(squares / jnp.sum(seen))
        return eqx.tree_at(lambda n: n.scale.array, self, scale.astype(jnp.float32))

    def __call__(self, observed: Observed) -> Float[Array, "map number"]:
        """Numbers of each map."""
        values = observed.values.astype(jnp.float32) * self.scale.value[:, None]
        maps = MaskedInput(channel=self.shape.masks)(values, observed.mask)
        maps = nested(maps, self.shape.nside)
        for one in self.blocks:
            maps = pooled(jax.nn.relu(one(maps)), self.shape.pooling)
        return jax.nn.relu(jax.vmap(self.dense)(maps.reshape(len(maps), -1)))
