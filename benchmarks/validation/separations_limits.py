"""What the statistics of data can tell of those of the signal, for `separations.py`."""

from __future__ import annotations

import healpy as hp
import numpy as np
from separations_measures import numbers_of, shown
from separations_mixtures import Mixture

from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import sampling_deviation
from skysift.scattering.layout import Order

FIELDS = 4
"""Fields of random phases."""
DRAWS = 24
"""Draws of the contamination."""


def limits(mixture: Mixture) -> dict[str, dict[str, dict[str, float]]]:
    """How well the same numbers of the data tell the statistics of the signal.

    Numbers of the data scatter with the contamination. They answer to the signal by less than the
    numbers of the signal change: the powers by as much, others by what is measured when the truth
    is replaced by fields with its powers but random phases, which a separation that knows the
    powers has to tell from it.

    Returns:
        Of each order and part `scatter`, that of the data over that of Gaussian fields of the true
        powers, rms over the numbers; `answer`, the rms change of the numbers of the data over that
        of those of the signal; `error` of the answer. The first over the second is the error of
        the signal that is possible.
    """
    statistic = mixture.statistic
    truth = shown(mixture, mixture.truth)
    true = statistic(truth)
    deviation = sampling_deviation(
        statistic, true, colour_of(statistic, true), np.random.SeedSequence(0)
    )

    def numbers(maps: np.ndarray) -> np.ndarray:
        there = statistic(maps.astype(np.float32), reference=true)
        return np.asarray(there.vector, dtype=float)

    rng = np.random.default_rng(0)
    fields = [shown(mixture, random_phases(mixture, rng)) for _ in range(FIELDS)]
    change = np.mean([numbers(one) for one in fields], axis=0) - numbers(truth)
    dirt = contaminations(mixture)
    seen = np.stack([numbers(truth + one) for one in dirt])
    changed = np.stack([numbers(fields[n % FIELDS] + one) for n, one in enumerate(dirt)])
    moved = (changed - seen).mean(axis=0)
    error = (changed - seen).std(axis=0, ddof=1) / np.sqrt(len(dirt))
    scatter = seen.std(axis=0, ddof=1)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for table, part, which in numbers_of(mixture, true.layout, deviation):
        unit = deviation[which]
        signal, noise = rms(change[which] / unit), rms(error[which] / unit)
        known = table.order is Order.S2
        answer = float(np.sqrt(max(rms(moved[which] / unit) ** 2 - noise**2, 0.0))) / signal
        found.setdefault(table.order.value, {})[part] = {
            "scatter": rms(scatter[which] / unit),
            "answer": 1.0 if known else min(answer, 1.0),
            "error": 0.0 if known else noise / signal,
        }
    return found


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def contaminations(mixture: Mixture) -> np.ndarray:
    """Maps `(draw, *map shape)` of what could be in the data."""
    if mixture.others is not None:
        return shown(mixture, mixture.others)[:DRAWS]
    domain = mixture.statistic.domain
    drawn = mixture.model.maps(domain, DRAWS, np.random.SeedSequence(0))
    return drawn.mean(axis=1) if mixture.halves else drawn


def random_phases(mixture: Mixture, rng: np.random.Generator) -> np.ndarray:
    """A field with the powers of the truth, and phases of its own.

    On the plane each mode keeps its power, and its products with other channels. On the sphere the
    power of each octave is kept around each place.
    """
    truth = mixture.truth
    if truth.ndim > 2:
        white = np.fft.fft2(rng.standard_normal(truth.shape[1:]))
        return np.fft.ifft2(np.fft.fft2(truth) * white / np.abs(white)).real
    nside, top = hp.get_nside(truth[0]), mixture.top
    number = np.log2(top / np.maximum(np.arange(top + 1), 1.0))
    made = np.zeros(truth.shape)
    for channel, signal in enumerate(truth):
        own = hp.map2alm(signal, lmax=top)
        white = hp.map2alm(rng.standard_normal(signal.size), lmax=top)
        for octave in range(int(number.max()) + 1):
            band = np.cos(0.5 * np.pi * np.clip(np.abs(number - octave), 0.0, 1.0)) ** 2
            band[0] = 0.0
            one, other = (hp.alm2map(hp.almxfl(alm, band), nside, lmax=top) for alm in (own, white))
            width = 4.0 * 2.0**octave / top
            near, there = (
                hp.smoothing(square, sigma=min(width, 1.0), lmax=top)
                for square in (one**2, other**2)
            )
            made[channel] += other * np.sqrt(np.maximum(near, 0.0) / there)
    return made
