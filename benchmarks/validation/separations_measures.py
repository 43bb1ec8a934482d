"""What `separations.py` measures of a separated signal, beside what is possible."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import healpy as hp
import numpy as np
from separations_mixtures import EDGE, Mixture, half_octaves

from skysift import scattering as sc
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import sampling_deviation
from skysift.scattering.layout import Layout, Table
from skysift.scattering.power_spectrum import AbstractPowerSpectrum

CLEAR, BURIED = "clear", "buried"
NUMBERS = 300
AROUND = 2.5
"""Wavelengths around a place of which a local filter knows the power."""


def cross_powers(a: np.ndarray, b: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Cross power of two maps in octaves, the coarsest first, of the cells that count."""
    edges = octaves(mixture.top)
    if a.ndim == 1:
        power = hp.anafast(a, b, iter=1, lmax=mixture.top)
        number, multiplicity = np.arange(power.size), 2.0 * np.arange(power.size) + 1.0
    else:
        spectrum = plane_spectrum(a.shape, mixture.top, mixture.kept.tobytes())
        found = np.asarray(spectrum(np.stack([a, b]).astype(float))["bandpower"])
        power = found.reshape(3, -1)[1]
        number, multiplicity = spectrum.shape.edges[:-1], modes_of(spectrum)
        number = np.array(number) * a.shape[0] / (2.0 * np.pi)
    which = np.digitize(number * (1.0 + 2.0 * EDGE), edges) - 1
    weigh = [np.sum((power * multiplicity)[which == one]) for one in range(len(edges) - 1)]
    total = [np.sum(multiplicity[which == one]) for one in range(len(edges) - 1)]
    return np.array(weigh) / np.array(total)


@functools.lru_cache(maxsize=4)
def plane_spectrum(shape: tuple[int, int], top: int, kept: bytes) -> AbstractPowerSpectrum:
    """Power spectrum of two maps in half octaves, of the cells that count.

    What a mask mixes of a steep spectrum comes back to its place in narrow bins only.
    """
    edges = half_octaves(top) * 2.0 * np.pi / shape[0]
    cells = np.frombuffer(kept, bool).reshape(shape)
    return sc.PowerSpectrum.plane(
        shape,
        edges.tolist(),
        channels=2,
        weights=None if cells.all() else cells.astype(float),
    )


def modes_of(spectrum: AbstractPowerSpectrum) -> np.ndarray:
    """Number of modes in each bin."""
    windows, _ = spectrum.bins_of_modes()
    return np.sum(windows > 0.0, axis=tuple(range(1, windows.ndim)))


def octaves(top: int) -> np.ndarray:
    """Edges of bins of one octave up to a wave number or multipole."""
    return np.array([top / 2.0**n for n in range(int(np.log2(top / 2.0)), -1, -1)])


def wiener(mixture: Mixture) -> np.ndarray:
    """The data through the filter of the true spectra, channel by channel."""
    noise, top = mixture.whole - mixture.truth, mixture.top
    edges = octaves(top)
    centre = np.sqrt(edges[1:] * edges[:-1])
    filtered = []
    for data, signal, dirt in zip(mixture.whole, mixture.truth, noise, strict=True):
        a, b = (cross_powers(one, one, mixture) for one in (signal, dirt))
        gain = functools.partial(np.interp, xp=centre, fp=a / (a + b))
        filtered.append(through(data, gain, top))
    return np.stack(filtered)


def local_wiener(mixture: Mixture) -> np.ndarray:
    """The data through filters of the true powers of each octave around each place.

    No filter of the data that does not know the places of the signal does much better.
    """
    noise, top = mixture.whole - mixture.truth, mixture.top
    filtered = np.zeros(mixture.truth.shape)
    for channel, (data, signal, dirt) in enumerate(
        zip(mixture.whole, mixture.truth, noise, strict=True)
    ):
        for octave in range(int(np.log2(top)) + 1):
            shortest = top / 2.0**octave

            def band(number: np.ndarray, octave: int = octave) -> np.ndarray:
                away = np.log2(top / np.clip(number, 1.0, top)) - octave
                inside = np.cos(0.5 * np.pi * np.clip(np.abs(away), 0.0, 1.0)) ** 2
                return np.where(number > 0.0, inside, 0.0)

            def near(number: np.ndarray, shortest: float = shortest) -> np.ndarray:
                return np.exp(-0.5 * (2.0 * np.pi * AROUND * number / shortest) ** 2)

            one, own, other = (through(maps, band, top) for maps in (data, signal, dirt))
            power, noise_there = (
                np.maximum(through(maps**2, near, top), 0.0) for maps in (own, other)
            )
            total = power + noise_there
            filtered[channel] += one * np.divide(
                power, total, out=np.zeros_like(total), where=total > 0.0
            )
    return filtered


def through(values: np.ndarray, gain: Callable[[np.ndarray], np.ndarray], top: int) -> np.ndarray:
    """A map through a filter of wave numbers, or of multipoles up to the highest."""
    if values.ndim == 1:
        modes = hp.almxfl(hp.map2alm(values, lmax=top), gain(np.arange(top + 1.0)))
        return hp.alm2map(modes, hp.get_nside(values), lmax=top)
    axes = [np.fft.fftfreq(cells, 1.0 / cells) for cells in values.shape]
    number = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(values) * gain(number)).real


def shown(mixture: Mixture, maps: np.ndarray) -> np.ndarray:
    """Maps as statistics take them: without an axis for a single channel."""
    return np.squeeze(maps, axis=-3) if len(mixture.channels) == 1 else maps


def powers(
    mixture: Mixture, maps: dict[str, np.ndarray], draws: np.ndarray
) -> dict[str, dict[str, object]]:
    """Powers over the true ones and correlations with the truth, of the octaves of each channel.

    Beside them stands what the data can tell of the power: `debiased` is the power of the data
    less the mean of that of the known contaminations, and `error` the standard deviation of the
    same over other contaminations of the same truth; `local` is the correlation of the data through
    a filter of the true powers around each place.

    Args:
        mixture: of which the truth is known.
        maps: of each kind.
        draws: of the contamination `(draw, channel, *cells)`.
    """
    noise = mixture.whole - mixture.truth
    others = draws if mixture.others is None else mixture.others
    local = local_wiener(mixture)
    rows: dict[str, dict[str, object]] = {}
    for channel, name in enumerate(mixture.channels):
        signal = mixture.truth[channel]
        own, dirt, whole = (
            cross_powers(one, one, mixture)
            for one in (signal, noise[channel], mixture.whole[channel])
        )
        known = np.mean([cross_powers(one, one, mixture) for one in draws[:, channel]], axis=0)
        mixed = [signal + one[channel] for one in others]
        possible = np.array([cross_powers(one, one, mixture) for one in mixed]) / own
        # The mean power of what is known of the contamination is uncertain as well.
        error = possible.std(axis=0, ddof=1) * np.sqrt(1.0 + 1.0 / mixture.known)
        rows[name] = {
            "snr": (own / dirt).tolist(),
            "debiased": ((whole - known) / own).tolist(),
            "error": error.tolist(),
            "local": correlation(local[channel], signal, mixture).tolist(),
        }
        for kind, values in maps.items():
            there = cross_powers(values[channel], values[channel], mixture)
            rows[name][kind] = {
                "ratio": (there / own).tolist(),
                "correlation": correlation(values[channel], signal, mixture).tolist(),
            }
    return rows


def correlation(a: np.ndarray, b: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Of two maps, in octaves."""
    both, one, other = (cross_powers(*pair, mixture) for pair in ((a, b), (a, a), (b, b)))
    return both / np.sqrt(one * other)


def structure(mixture: Mixture, maps: dict[str, np.ndarray]) -> dict[str, dict]:
    """Offsets of the statistics from those of the truth, over the scatter of Gaussian fields.

    The scatter is that over Gaussian fields of the true powers, and amplitudes are the truth's.
    Of each order there are the offsets of numbers all of whose scales have a signal-to-noise of
    0.1 or more, and of the others, at most `NUMBERS` of each, evenly chosen.

    Returns:
        For each kind of maps the offsets; as `own` the rms scatter of the truth itself in these
        units, told from its parts.
    """
    statistic = mixture.statistic
    true = statistic(shown(mixture, mixture.truth))
    colour = colour_of(statistic, true)
    deviation = sampling_deviation(statistic, true, colour, np.random.SeedSequence(0))
    numbers = {}
    for kind, values in maps.items():
        there = statistic(shown(mixture, values.astype(np.float32)), reference=true)
        numbers[kind] = np.asarray(there.vector) - np.asarray(true.vector)
    parts = None if mixture.parts is None else mixture.parts(shown(mixture, mixture.truth))
    offsets: dict[str, dict] = {kind: {} for kind in (*maps, "own")}
    first = {
        table.order.value: here.start
        for table, here in zip(true.layout.tables, true.layout.slices, strict=True)
    }
    for table, part, which in numbers_of(mixture, true.layout, deviation):
        order, unit = table.order.value, deviation[which]
        for kind, offset in numbers.items():
            offsets[kind].setdefault(order, {})[part] = _some(offset[which] / unit)
        if parts is not None and part == CLEAR:
            of_parts = np.stack(
                [np.asarray(parts.select(table.order, region=one).vector) for one in range(4)]
            )
            scatter = of_parts.std(axis=0, ddof=1) / np.sqrt(len(of_parts))
            ratio = scatter[which - first[order]] / unit
            offsets["own"][order] = float(np.sqrt(np.mean(ratio**2)))
    return offsets


def numbers_of(
    mixture: Mixture, layout: Layout, deviation: np.ndarray
) -> Iterator[tuple[Table, str, np.ndarray]]:
    """Of each order of several scales the clear numbers and the buried ones that vary.

    Args:
        mixture: which says from what scale on numbers are clear.
        layout: of the numbers.
        deviation: of each number.
    """
    for table, here in zip(layout.tables, layout.slices, strict=True):
        scales = [table.column(axis) for axis in table.axes if axis.startswith("scale")]
        if not scales:
            continue
        clear = np.all(np.stack(scales) >= mixture.finest, axis=0)
        clear = np.tile(clear, 2 if table.complex else 1)
        for part, of_part in ((CLEAR, clear), (BURIED, ~clear)):
            which = here.start + np.flatnonzero(of_part & (deviation[here] > 0.0))
            if which.size:
                yield table, part, which


def _some(values: np.ndarray) -> list[float]:
    """Some of many numbers, evenly chosen."""
    which = np.unique(np.linspace(0, values.size - 1, NUMBERS).astype(int))
    return [round(float(one), 2) for one in values[which]]
