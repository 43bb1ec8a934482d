"""Wavelet phase harmonics of flat fields."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact, Int

from skysift.scattering.domain import Flat
from skysift.scattering.layout import Layout, Order
from skysift.scattering.plane.bank import Bank, crop, modes, pad
from skysift.scattering.plane.lags import cell_sums, lag_vectors, lagged_cell_sums, mode_sums
from skysift.scattering.plane.statistic import AbstractFlat
from skysift.scattering.plane.weights import ScaleWeights
from skysift.scattering.statistic import Moments, flattened, modulus
from skysift.scattering.weights import margin
from skysift.scattering.wph import AbstractPhases, Class, phase_layout, unit

_NARROWEST = 0.5 / (0.496 * 2.0**-0.55 * 0.85 * np.pi)
"""Standard deviation of the finest low-pass in cells, as in pywph; each next is twice as wide."""


@dataclass(frozen=True)
class FlatPhaseShape:
    """What fixes the tables of wavelet phase harmonics of flat fields.

    Args:
        channels: number of maps seen together.
        scales: number of scales.
        orientations: of the wavelets.
        regions: number of masks.
        origin: domain and wavelets, in words.
        shifts: number of distances 2, 4, ... cells of the shifts between the two factors.
        angles: number of directions of the shifts over half a turn.
        moduli: whether there is the class `C00`.
        smoothings: number of low-passed fields.
    """

    channels: int
    scales: int
    orientations: int
    regions: int
    origin: str
    shifts: int
    angles: int
    moduli: bool
    smoothings: int

    @property
    def lags(self) -> list[tuple[int, int]]:
        """Number of the distance and of the direction of each shift, none first."""
        steps = itertools.product(range(1, self.shifts + 1), range(2 * self.angles))
        return [(0, 0), *steps]


class FlatPhases(AbstractFlat, AbstractPhases):
    """Wavelet phase harmonics of fields on a flat grid of 1, 2 or 3 axes.

    Each scale is evaluated on a grid of twice its own band. With all cells alike, covariances are
    sums over the Fourier modes of the coarser grid, but those of multiplied phases, which are in
    the band of the finer one. Shifts are `2^shift` cells long, 0 for none, at the angle
    `angle pi / angles` back from the direction of the coarser wavelet, in whole cells; the first
    factor is the shifted one. Classes with a shift: `S11`, `S00`, `Cphase`, and `C01` of equal
    orientations; of one channel with itself half of the directions say all of `S11` and `S00`.

    `L` are the moments of low-passed fields `z = I * phi - <I>`, with Gaussians of standard
    deviation `0.55 2^smoothing` cells: `<(|z| - <|z|>)^2>`, `<(|z| - <|z|>) z>` and `<z^2>`, by
    the powers 0 and 1 of their factors, in the squared unit of the map.

    The values are those of pywph 1.1.3 (Regaldo-Saint Blancard et al. 2021) with all cells alike
    and grids oversampled by `2^scales`, in the scales from 1 on (its finest wavelets are folded at
    the band limit). Its angles and classes are the same, its `n` our `shift`. Its normalised
    coefficients differ in this: it divides `S11`, `S00` and `L` by themselves, subtracts the mean
    modulus of the reference in `S00`, so that it has `S00 + (S1 - S1_reference)^2`, and takes the
    mean of a coefficient of multiplied phase out of its standard deviation.

    Args:
        domain: grid and channels.
        bank: wavelets.
        weights: of the cells at each scale, or `None` for periodic fields with equal weights.
        shape: what fixes the tables.
    """

    domain: Flat
    bank: Bank
    weights: ScaleWeights | None
    shape: FlatPhaseShape = eqx.field(static=True)

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _layout(self.shape)

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`."""
        axes = self.bank.sizes.axes
        spectrum = modes(fields, axes)
        found: dict[Order, list[Array]] = {table.order: [] for table in self.layout.tables}
        waves: list[Array] = []
        damped: list[Array] = []
        for scale in range(self.shape.scales):
            waves.append(self._waves(spectrum, scale))
            envelope = modulus(jnp.fft.ifftn(waves[-1], axes=axes, norm="forward"))
            average = self.average(envelope, scale)
            found[Order.S1].append(jnp.swapaxes(average, 2, 3))
            mean = jnp.mean(average, axis=1)
            envelope = envelope - mean.reshape(*mean.shape, *([1] * len(axes)))
            moduli = modes(envelope, axes)
            self._alone(found, waves[-1], moduli, scale)
            if damped:
                self._between(found, damped, waves[-1], moduli, scale)
            found[Order.PHASE] += self._phases(waves)
            if self.weights is not None:
                # What a mask has made of moduli must not reach the cells of a coarser grid.
                kept = self.weights.any_region(scale)
                moduli = modes(envelope * kept, axes)
            damped.append(moduli)
        found[Order.LOW].append(self._low(spectrum))
        return (
            *self.first(fields, spectrum),
            *(_joined(found[t.order], spectrum, t.complex) for t in self.layout.tables[3:]),
        )

    def _waves(
        self, spectrum: Complex[Array, "field channel ..."], scale: int
    ) -> Complex[Array, "field orientation channel ..."]:
        """Modes of the wavelet coefficients of a scale."""
        cut = crop(spectrum, self.bank.sizes.grid(scale), self.bank.sizes.axes)
        filters = self.bank.filters[scale].astype(cut.real.dtype)
        return cut[:, None] * filters[:, None]

    def _alone(
        self, found: dict[Order, list[Array]], waves: Array, moduli: Array, scale: int
    ) -> None:
        """Moments of one wavelet."""
        chosen = _chosen(self.shape)
        weights = None if self.weights is None else self.weights.scales[scale]
        lags = _lags(self.shape, len(self.bank.sizes.shape)) if self.shape.shifts else None
        for order, one in ((Order.S11, waves), (Order.S00, moduli)):
            values = self._products(one, one, weights, lags, centred=order is Order.S00)
            values = jnp.moveaxis(values, 2, 4)
            found[order].append(values.reshape(*values.shape[:2], -1)[..., chosen])
        values = self._products(moduli, waves, weights, None, centred=True)
        found[Order.S01].append(jnp.moveaxis(values[..., 0], 2, 4))

    def _between(
        self,
        found: dict[Order, list[Array]],
        fine: list[Array],
        waves: Array,
        moduli: Array,
        scale: int,
    ) -> None:
        """Moments of the moduli of finer wavelets with wavelets of a scale and their moduli."""
        sizes = self.bank.sizes
        weights = None if self.weights is None else self.weights.moduli[scale]
        rows = jnp.stack([crop(one, sizes.grid(scale), sizes.axes) for one in fine], axis=2)

        def together(values: Array) -> Array:
            return values.reshape(len(values), 1, -1, *values.shape[sizes.axes[0] :])

        first = together(jnp.swapaxes(rows, 1, 2))
        found[Order.C01].append(self._products(first, together(waves), weights, None, centred=True))
        if self.shape.shifts:
            lags = _lags(self.shape, len(sizes.shape))[:, 1:]
            rows = rows.reshape(*rows.shape[:2], -1, *rows.shape[sizes.axes[0] :])
            found[Order.C01].append(self._products(rows, waves, weights, lags, centred=True))
        if self.shape.moduli:
            values = self._products(first, together(moduli), weights, None, centred=True)
            found[Order.C00].append(values)

    def _phases(self, waves: list[Array]) -> list[Array]:
        """Moments of finer wavelets with the coarsest whose phase is multiplied."""
        sizes, axes = self.bank.sizes, self.bank.sizes.axes
        coarse = len(waves) - 1
        found = []
        grid, envelope, turned = sizes.grid(coarse), None, None
        for fine in reversed(range(coarse)):
            if turned is None or envelope is None or sizes.grid(fine) != grid:
                grid = sizes.grid(fine)
                seen = jnp.fft.ifftn(pad(waves[-1], grid, axes), axes=axes, norm="forward")
                envelope = modulus(seen)
                turned = unit(seen, envelope)
                for _ in range(coarse - fine - 1):
                    turned = turned**2
            turned = turned**2
            values = envelope * turned
            weights = None if self.weights is None else self.weights.both(fine, coarse)
            if not self.shape.shifts:
                wave = jnp.fft.ifftn(waves[fine], axes=axes, norm="forward")
                found.append(cell_sums(wave, values, weights, centred=False))
                continue
            lags = _lags(self.shape, len(grid))
            second = modes(values, axes)
            found.append(self._products(waves[fine], second, weights, lags, centred=False))
        return found[::-1]

    def _products(
        self,
        first: Array,
        second: Array,
        weights: Float[Array, "region ..."] | None,
        lags: Int[np.ndarray, "turn lag axis"] | None,
        *,
        centred: bool,
    ) -> Complex[Array, "field region turn a b lag"]:
        """Averages of products of fields given by their modes; see `cell_sums`."""
        axes, shape = self.bank.sizes.axes, self.bank.sizes.shape
        if weights is None:
            return mode_sums(first, second, lags, shape)
        if lags is not None:
            return lagged_cell_sums(first, second, lags, shape, weights, centred=centred)
        first, second = (jnp.fft.ifftn(x, axes=axes, norm="forward") for x in (first, second))
        return cell_sums(first, second, weights, centred=centred)

    def _low(self, spectrum: Array) -> Float[Array, "field region channel smoothing power"]:
        """Moments of low-passed fields."""
        sizes = self.bank.sizes
        found = []
        for smoothing in range(self.shape.smoothings):
            window = _gaussian(sizes.shape, _NARROWEST * 2.0**smoothing)
            window = jnp.asarray(window, spectrum.real.dtype)
            weights = self._smoothed_weights(window)
            seen = jnp.real(jnp.fft.ifftn(spectrum * window, axes=sizes.axes, norm="forward"))
            seen = seen.reshape(*seen.shape[:2], -1)
            mean = jnp.einsum("bcx,rx->brc", seen, weights)
            seen = seen[:, None] - mean[..., None]
            size = jnp.abs(seen)
            size = size - jnp.einsum("brcx,rx->brc", size, weights)[..., None]
            pairs = jnp.stack([size**2, size * seen, seen**2], axis=-1)
            found.append(jnp.einsum("brcxp,rx->brcp", pairs, weights))
        return jnp.stack(found, axis=3)

    def _smoothed_weights(self, window: Float[Array, "..."]) -> Float[Array, "region cell"]:
        """Weights of the cells, less where a low-pass sees masked ones."""
        if self.weights is None:
            return jnp.full((1, window.size), 1.0 / window.size, window.dtype)
        cells = self.weights.cells.astype(window.dtype)
        masked = ~jnp.any(cells > 0.0, axis=0)
        seen = jnp.real(jnp.fft.ifftn(jnp.fft.fftn(masked.astype(window.dtype)) * window))
        weights = cells * margin(seen)
        weights = weights.reshape(len(weights), -1)
        return weights / jnp.sum(weights, axis=-1, keepdims=True)


def _joined(parts: list[Array], spectrum: Array, is_complex: bool) -> Array:
    """Coefficients of all scales on one axis; of a class that one scale has none of, none."""
    parts = [one.reshape(*one.shape[:2], -1) for one in parts]
    none = jnp.zeros((len(spectrum), 1, 0), spectrum.dtype)
    values = flattened(jnp.concatenate(parts or [none], axis=-1))
    return values if is_complex else jnp.real(values)


@functools.lru_cache(maxsize=64)
def _lags(shape: FlatPhaseShape, dimensions: int) -> Int[np.ndarray, "turn lag axis"]:
    return lag_vectors(dimensions, shape.orientations, shape.lags, shape.angles)


@functools.lru_cache(maxsize=64)
def _chosen(shape: FlatPhaseShape) -> Int[np.ndarray, " coefficient"]:
    """Which of all products of one wavelet and its shifts say all of them."""
    return np.array([where for where, _ in _own_rows(shape)])


def _own_rows(shape: FlatPhaseShape) -> list[tuple[int, tuple[int, ...]]]:
    """Position and row, without the scale, of each product of one wavelet and its shifts."""
    every = itertools.product(
        range(shape.channels), range(shape.channels), range(shape.orientations), shape.lags
    )
    return [
        (where, (a, b, turn, *lag))
        for where, (a, b, turn, lag) in enumerate(every)
        if a < b or (a == b and lag[1] < shape.angles)
    ]


@functools.lru_cache(maxsize=64)
def _layout(shape: FlatPhaseShape) -> Layout:
    channels, scales, turns = (range(n) for n in (shape.channels, shape.scales, shape.orientations))
    pairs = [(fine, coarse) for coarse in scales for fine in range(coarse)]
    own = [(a, b, j, *rest) for j in scales for _, (a, b, *rest) in _own_rows(shape)]
    alone = [(a, b, j, turn) for j in scales for a in channels for b in channels for turn in turns]
    phases = [
        (a, b, fine, coarse, turn, *lag)
        for fine, coarse in pairs
        for turn in turns
        for a in channels
        for b in channels
        for lag in shape.lags
    ]
    moved = {coarse: [] for coarse in scales}
    still = {coarse: [] for coarse in scales}
    for coarse in scales:
        every = itertools.product(range(coarse), turns, channels, turns, channels)
        still[coarse] = [(a, b, fine, coarse, l1, l2) for fine, l1, a, l2, b in every]
        every = itertools.product(turns, range(coarse), channels, channels, shape.lags[1:])
        moved[coarse] = [(a, b, fine, coarse, at, at, *lag) for at, fine, a, b, lag in every]
    both, lag = ("channel", "channel2", "scale"), ("shift", "angle")
    crossed = (*both, "scale2", "orientation", "orientation2")
    classes = [
        Class(Order.S11, (*both, "orientation", *lag), own, shape.shifts > 0 or shape.channels > 1),
        Class(Order.S00, (*both, "orientation", *lag), own, False),
        Class(Order.S01, (*both, "orientation"), alone, True),
        Class(
            Order.C01,
            (*crossed, *lag),
            [row for j in scales for row in [(*one, 0, 0) for one in still[j]] + moved[j]],
            True,
        ),
        Class(Order.PHASE, (*both, "scale2", "orientation", *lag), phases, True),
    ]
    if shape.moduli:
        classes.append(Class(Order.C00, crossed, [row for j in scales for row in still[j]], False))
    low = itertools.product(channels, range(shape.smoothings), ((0, 0), (0, 1), (1, 1)))
    rows = [(channel, smoothing, *powers) for channel, smoothing, powers in low]
    classes.append(Class(Order.LOW, ("channel", "smoothing", "power", "power2"), rows, False))
    return phase_layout(
        shape.channels, shape.scales, shape.orientations, shape.regions, classes, shape.origin
    )


def _gaussian(shape: tuple[int, ...], deviation: float) -> Float[np.ndarray, "..."]:
    """Fourier transform of a Gaussian of unit integral sampled in the cells of a periodic field."""
    window = np.ones(())
    for cells in shape:
        # Sampling in cells folds wave numbers that differ by whole turns per cell.
        k = 2.0 * np.pi * (np.fft.fftfreq(cells)[:, None] + np.arange(-4, 5))
        window = window[..., None] * np.exp(-0.5 * (deviation * k) ** 2).sum(axis=-1)
    return window
