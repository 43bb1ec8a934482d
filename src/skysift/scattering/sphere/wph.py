"""Wavelet phase harmonics on the sphere, invariant under rotations."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Int

from skysift.scattering.domain import Sphere
from skysift.scattering.layout import Layout, Order
from skysift.scattering.sphere.bank import SphereBank
from skysift.scattering.sphere.moduli import Window
from skysift.scattering.sphere.statistic import AbstractSphere
from skysift.scattering.sphere.weights import SphereWeights
from skysift.scattering.statistic import Moments, flattened, modulus, root
from skysift.scattering.wph import AbstractPhases, Class, phase_layout, unit


@dataclass(frozen=True)
class SpherePhaseShape:
    """What fixes the tables of wavelet phase harmonics on the sphere.

    Args:
        channels: number of maps seen together.
        scales: number of scales.
        parts: harmonic and parity of each part of a modulus (`SphereBank.parts`).
        odd: of each channel whether a mirror changes its sign.
        handed: whether to keep what vanishes on average in fields without handedness.
        moduli: whether there is the class `C00`.
        regions: number of masks.
        origin: domain and wavelets, in words.
    """

    channels: int
    scales: int
    parts: tuple[tuple[int, int], ...]
    odd: tuple[bool, ...]
    handed: bool
    moduli: bool
    regions: int
    origin: str

    def kept(self, odd: bool) -> bool:
        """Whether to keep a moment, by whether a mirror changes its sign."""
        return self.handed or not odd


class SpherePhases(AbstractSphere, AbstractPhases):
    """Wavelet phase harmonics of fields on the sphere, invariant under rotations.

    The moduli are seen through the gradient and curl parts X of their angular harmonics
    (`SphereBank.harmonic_parts`), and the products of the parts are the angular Fourier
    coefficients of the moments by the angle between the two directions, with the common direction
    averaged out. With kappa_j the window of a scale and a the coefficients of the field, and
    `<x, y>` the sum of `x conj(y) / (4 pi)` over all l, m above the monopole in the band of the
    coarser scale,

    - `S11 = <|W|^2>`, of two channels the real part of their product: the sum of
      `kappa_j^2 C_l (2 l + 1) / (4 pi)`;
    - `S00` and `C00 = <X_1, X_2>` for each harmonic, gradient and curl together;
    - `S01` and `C01 = <X_1, kappa_2 a>` for each part;
    - `Cphase`: the real part, averaged over places and directions, of the finer coefficients times
      the conjugate coarser ones of multiplied phase, on the grid of the finer scale.

    Args:
        domain: maps and band limit.
        bank: wavelets.
        weights: of the sphere at each scale, or `None` for the full sky with equal weights.
        shape: what fixes the tables.
    """

    domain: Sphere
    bank: SphereBank = eqx.field(static=True)
    weights: SphereWeights | None
    shape: SpherePhaseShape = eqx.field(static=True)

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    def moments(self, fields: Inexact[Array, "field channel alm"]) -> Moments:
        """See `AbstractStatistic`."""
        bank = self.bank
        found: dict[Order, list[Array]] = {table.order: [] for table in self.layout.tables}
        rows = [(self.everywhere(fields), bank.lmax)]
        powers, waves = [], []
        for scale in range(bank.scales):
            real, imaginary = self.coefficients(fields, scale)
            power = jnp.einsum("bcdp,bedp->bcep", real, real)
            power += jnp.einsum("bcdp,bedp->bcep", imaginary, imaginary)
            power = self.average(power / bank.directions, scale)
            powers.append(jnp.diagonal(power, axis1=-2, axis2=-1))
            envelope = root(real**2 + imaginary**2)
            average = self.average(jnp.mean(envelope, axis=-2), scale)
            found[Order.S1].append(average)
            pairs = _pairs(self.shape)
            found[Order.S11].append(power[..., pairs[:, 0], pairs[:, 1]])
            rows.append((self.parts(envelope, average, scale), bank.grid(scale).lmax))
            self._products(found, rows)
            found[Order.PHASE] += self._phases(waves, fields)
            waves.append(jax.lax.complex(real, imaginary))

        def joined(parts: list[Array]) -> Array:
            if not parts:
                return jnp.zeros((len(fields), 0), jnp.real(fields).dtype)
            parts = [one.reshape(*one.shape[:2], -1) for one in parts]
            return flattened(jnp.concatenate(parts, axis=-1))

        tables = self.layout.tables[3:]
        return (*self.first(fields, powers), *(joined(found[table.order]) for table in tables))

    def _products(self, found: dict[Order, list[Array]], rows: list[tuple[Array, int]]) -> None:
        """Moments of the coarsest scale so far with moduli of its own and of finer scales."""
        scale = len(rows) - 2
        shape = self.shape
        gram = self.gram(rows, scale, Window.AMPLITUDE)
        first = shape.channels
        for fine in range(scale + 1):
            mixed = _mixed(shape)
            order = Order.S01 if fine == scale else Order.C01
            found[order].append(gram[..., first + mixed[:, 0], mixed[:, 1]])
            first += shape.channels * len(shape.parts)
        gram = self.gram(rows, scale, Window.WHOLE)
        gram = gram[..., shape.channels :, shape.channels :]
        kinds = (shape.channels, len(shape.parts))
        gram = gram.reshape(*gram.shape[:2], scale + 1, *kinds, scale + 1, *kinds)
        # Parts of one harmonic go together, whatever the frame of the directions.
        same = jnp.einsum("brjapkep,pq->brjkaeq", gram, jnp.asarray(_harmonics(shape), gram.dtype))
        pairs = np.stack(np.triu_indices(shape.channels), axis=-1)
        found[Order.S00].append(same[:, :, -1, -1, pairs[:, 0], pairs[:, 1]])
        if shape.moduli:
            found[Order.C00].append(same[:, :, :-1, -1])

    def _phases(self, waves: list[Array], fields: Array) -> list[Array]:
        """Moments of finer wavelets with a coarser one whose phase is multiplied."""
        coarse = len(waves)
        chosen = _turning(self.shape)
        found = []
        for fine, wave in enumerate(waves):
            seen = jax.lax.complex(*self.coefficients(fields, coarse, self.bank.grid(fine)))
            envelope = modulus(seen)
            turned = unit(seen, envelope)
            for _ in range(coarse - fine):
                turned = turned**2
            values = jnp.conj(envelope * turned)
            products = jnp.real(jnp.einsum("bcdp,bedp->bcep", wave, values))
            average = self.average(products / self.bank.directions, fine, coarse)
            found.append(average[..., chosen[:, 0], chosen[:, 1]])
        return found


def _pairs(shape: SpherePhaseShape) -> Int[np.ndarray, "pair 2"]:
    """Channels whose power is not zero in fields without handedness."""
    every = itertools.combinations_with_replacement(range(shape.channels), 2)
    pairs = [(a, b) for a, b in every if shape.kept(shape.odd[a] != shape.odd[b])]
    return np.array(pairs)


def _turning(shape: SpherePhaseShape) -> Int[np.ndarray, "pair 2"]:
    """Channels of a phase moment: the multiple of the second phase is even, and so is its sign."""
    every = itertools.product(range(shape.channels), repeat=2)
    pairs = [(a, b) for a, b in every if shape.kept(shape.odd[a])]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@functools.lru_cache(maxsize=64)
def _mixed(shape: SpherePhaseShape) -> Int[np.ndarray, "pair 3"]:
    """Row of the modulus of a scale, channel, and part, of the products with a field."""
    every = itertools.product(range(shape.channels), range(shape.channels), enumerate(shape.parts))
    rows = [
        (a * len(shape.parts) + number, b, number)
        for a, b, (number, (_, odd)) in every
        if shape.kept(bool(odd) != shape.odd[b])
    ]
    return np.array(rows)


def _harmonics(shape: SpherePhaseShape) -> Float[np.ndarray, "part harmonic"]:
    """Which harmonic each part is of."""
    spins = sorted({spin for spin, _ in shape.parts})
    return np.array([[float(spin == wanted) for wanted in spins] for spin, _ in shape.parts])


@functools.lru_cache(maxsize=64)
def _layout(shape: SpherePhaseShape) -> Layout:
    scales, channels = range(shape.scales), range(shape.channels)
    spins = sorted({spin for spin, _ in shape.parts})
    count = len(shape.parts)

    def mixed(*scale: int) -> list[tuple[int, ...]]:
        return [(row // count, b, *scale, *shape.parts[part]) for row, b, part in _mixed(shape)]

    turning = _turning(shape)
    both = ("channel", "channel2", "scale")
    classes = [
        Class(Order.S11, both, [(a, b, j) for j in scales for a, b in _pairs(shape)], False),
        Class(
            Order.S00,
            (*both, "harmonic"),
            [
                (a, b, j, q)
                for j in scales
                for a, b in itertools.combinations_with_replacement(channels, 2)
                for q in spins
            ],
            False,
        ),
        Class(Order.S01, (*both, "harmonic", "part"), [r for j in scales for r in mixed(j)], False),
        Class(
            Order.C01,
            (*both, "scale2", "harmonic", "part"),
            [row for j in scales for fine in range(j) for row in mixed(fine, j)],
            False,
        ),
        Class(
            Order.PHASE,
            (*both, "scale2"),
            [(a, b, fine, j) for j in scales for fine in range(j) for a, b in turning],
            False,
        ),
    ]
    if shape.moduli:
        rows = [
            (a, b, fine, j, q)
            for j in scales
            for fine, a, b, q in itertools.product(range(j), channels, channels, spins)
        ]
        classes.append(Class(Order.C00, (*both, "scale2", "harmonic"), rows, False))
    return phase_layout(shape.channels, shape.scales, None, shape.regions, classes, shape.origin)
