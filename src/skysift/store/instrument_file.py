"""Instruments as YAML files that `Instrument.from_yaml` reads."""

from __future__ import annotations

import math

import yaml

from skysift.instrument import AbstractBand, Instrument, TabulatedBand, TopHatBand


def instrument_yaml(instrument: Instrument) -> str:
    """An instrument as YAML, exact to the last bit of its frequencies.

    Args:
        instrument: with any kinds of bands.

    Examples:
        >>> text = instrument_yaml(Instrument.of_frequencies([30.0, 44.0]))
        >>> print(text.splitlines()[1])
          frequency: [30.0, 44.0]
    """
    bands = [channel.band for channel in instrument.channels]
    table: dict[str, object] = {"frequency": [band.centre for band in bands]}
    widths = [_relative_width(band) for band in bands]
    if any(width is not None for width in widths):
        table["bandwidth"] = widths
    tables = [_table(band) for band in bands]
    if any(entry is not None for entry in tables):
        table["bandpass"] = tables
    for key in ("fwhm", "depth_i", "depth_p"):
        values = [float(getattr(channel, key)) for channel in instrument.channels]
        if not all(math.isnan(value) for value in values):
            table[key] = values
    table["name"] = list(instrument.names)
    if instrument.reference:
        table["reference"] = instrument.reference
    content = {instrument.name: table}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=10_000)


def _relative_width(band: AbstractBand) -> float | None:
    return band.width / band.frequency if isinstance(band, TopHatBand) else None


def _table(band: AbstractBand) -> dict[str, list[float]] | None:
    if not isinstance(band, TabulatedBand):
        return None
    return {"frequency": list(band.frequencies), "transmission": list(band.transmission)}
