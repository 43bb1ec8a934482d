"""Skies of PySM 3, for those who have it installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from skysift.grid import Grid
from skysift.instrument import AbstractBand, Instrument
from skysift.maps import Maps, Stokes

if TYPE_CHECKING:
    import pysm3


def pysm_maps(
    sky: pysm3.Sky | Sequence[str],
    instrument: Instrument,
    nside: int | None = None,
    stokes: Stokes = Stokes.QU,
) -> Maps:
    """Emission of a PySM 3 sky in an instrument's channels, without noise.

    A finite band is the weighted mean over its quadrature nodes, each a single frequency to PySM.
    That holds for continuum emission; spectral lines (PySM's CO models) need narrow tables and are
    not for this function. PySM downloads presets that are not in its cache.

    Args:
        sky: a `pysm3.Sky`, or names of presets such as `["d10", "s5"]`.
        instrument: channels.
        nside: resolution of presets; left out when `sky` is a `pysm3.Sky`.
        stokes: which Stokes parameters to keep.

    Returns:
        Maps in uK_CMB, RING, in the coordinates of the sky (Galactic for presets).

    Raises:
        ValueError: if PySM is not installed, `nside` is missing, or the sky holds no polarisation
            and `stokes` asks for it.

    References:
        Thorne et al. 2017, MNRAS 469, 2821; Zonca et al. 2021, JOSS 6, 3783.
    """
    built = _sky(sky, nside)
    channels = [_observed(built, channel.band) for channel in instrument.channels]
    rows = ["IQU".index(letter) for letter in stokes.value]
    if any(values.shape[0] <= max(rows) for values in channels):
        raise ValueError(
            f"sky: expected polarisation for Stokes {stokes.value}, got intensity only. "
            "Use Stokes.I."
        )
    values = np.stack([values[rows] for values in channels])
    return Maps(values, Grid(built.nside), stokes, channels=instrument.names)


def _sky(sky: pysm3.Sky | Sequence[str], nside: int | None) -> pysm3.Sky:
    try:
        import pysm3
    except ImportError:
        raise ValueError(
            "sky: expected PySM 3 to be installed, found none. Run "
            "`pip install 'skysift[pysm]'`, or use the packaged sky with skysift.simulate."
        ) from None
    if isinstance(sky, pysm3.Sky):
        return sky
    if nside is None:
        raise ValueError("nside: expected a resolution for PySM presets, got None. Give nside=64.")
    return pysm3.Sky(nside=nside, preset_strings=list(sky), output_unit="uK_CMB")


def _observed(sky: pysm3.Sky, band: AbstractBand) -> Float[np.ndarray, "stokes cell"]:
    from pysm3 import units

    total = np.zeros(())
    for frequency, weight in zip(*band.nodes(), strict=True):
        at = frequency * units.GHz
        emitted = sky.get_emission(at)
        values = weight * emitted.to_value(
            units.Unit("uK_CMB"), equivalencies=units.cmb_equivalencies(at)
        )
        total = total + values
    return np.atleast_2d(total)
