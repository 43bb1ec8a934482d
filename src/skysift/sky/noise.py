"""White noise of an instrument."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes


def noise_sigma(
    instrument: Instrument,
    grid: Grid,
    stokes: Stokes,
    *,
    noise_ratio: float = 1.0,
    hits: Float[np.ndarray, " npix"] | None = None,
) -> Float[np.ndarray, "channel stokes cell"]:
    """Standard deviation of white noise in each cell [uK_CMB].

    The depth divided by the side of a cell, times `noise_ratio`. With a hits map the depth is that
    of the cell most often hit, on the full sky, and the variance elsewhere goes as one over the
    hits; cells without hits are NaN.

    Args:
        instrument: with depths [uK_CMB arcmin].
        grid: cells.
        stokes: which Stokes parameters.
        noise_ratio: factor on the standard deviation.
        hits: observation counts or any map proportional to them, full sky in the grid's ordering.

    Returns:
        A view that repeats one number over cells where there are no hits: do not write to it.

    Raises:
        ValueError: for a channel without the depth that `stokes` needs, a noise ratio that is
            negative or not finite, or hits that are of another size, negative, not finite or zero
            everywhere.

    Examples:
        >>> from skysift.instrument import Instrument
        >>> sigma = noise_sigma(Instrument.preset("LiteBIRD"), Grid(64), Stokes.QU)
        >>> float(sigma[0, 0, 0].round(4))
        0.6808
    """
    if not (math.isfinite(noise_ratio) and noise_ratio >= 0):
        raise ValueError(f"noise_ratio: expected a number not below zero, got {noise_ratio!r}.")
    shape = (len(instrument), len(stokes), grid.size)
    if noise_ratio == 0:
        sigma = np.zeros(shape[:2])
    else:
        sigma = noise_ratio * _depth(instrument, stokes) / grid.resolution
    if hits is None:
        return np.broadcast_to(sigma[..., None], shape)
    return sigma[..., None] * _spread(hits, grid)


def white_noise(
    instrument: Instrument,
    grid: Grid,
    stokes: Stokes,
    seed: np.random.SeedSequence,
    *,
    noise_ratio: float = 1.0,
    hits: Float[np.ndarray, " npix"] | None = None,
) -> Maps:
    """A realisation of white noise [uK_CMB].

    Each channel and Stokes parameter has a stream of its own over the full sky, so that noise in a
    cell depends on the seed, the channel's place and the cell: not on the mask, the ordering, nor
    the other Stokes parameters. Arguments and errors are those of `noise_sigma`.
    """
    sigma = noise_sigma(instrument, grid, stokes, noise_ratio=noise_ratio, hits=hits)
    if noise_ratio == 0 and hits is None:
        return Maps(np.broadcast_to(0.0, sigma.shape), grid, stokes, channels=instrument.names)
    values = np.empty(sigma.shape)
    for channel in range(len(instrument)):
        for position, letter in enumerate(stokes.value):
            key = (*seed.spawn_key, channel, "IQU".index(letter))
            generator = np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=key))
            drawn = generator.standard_normal(grid.npix)[grid.ring]
            np.multiply(sigma[channel, position], drawn, out=values[channel, position])
    return Maps(values, grid, stokes, channels=instrument.names)


def _depth(instrument: Instrument, stokes: Stokes) -> Float[np.ndarray, "channel stokes"]:
    depth = instrument.depth(stokes.polarised)
    missing = np.argwhere(~np.isfinite(depth))
    if missing.size:
        channel, position = missing[0]
        kind = "depth_p" if stokes.polarised[position] else "depth_i"
        raise ValueError(
            f"instrument: expected {kind} of channel {instrument.names[channel]!r} of "
            f"{instrument.name} for Stokes {stokes.value}, got none. Leave the channel out, ask "
            "for other Stokes parameters, or simulate with noise_ratio=0."
        )
    return depth


def _spread(hits: Float[np.ndarray, " npix"], grid: Grid) -> Float[np.ndarray, " cell"]:
    hits = np.asarray(hits, dtype=float)
    if hits.shape != (grid.npix,):
        raise ValueError(
            f"hits: expected a full sky of {grid.npix} cells (nside {grid.nside}), got shape "
            f"{hits.shape}. Regrade the hits map first."
        )
    if not np.all(np.isfinite(hits)) or np.any(hits < 0) or not np.any(hits > 0):
        raise ValueError(
            "hits: expected finite numbers not below zero, some of them positive, got others. "
            "Set cells that are not observed to zero."
        )
    kept = hits[grid.index]
    return np.sqrt(np.divide(hits.max(), kept, out=np.full(kept.shape, np.nan), where=kept > 0))
