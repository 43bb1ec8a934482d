"""What the construction of a sampling takes."""

from __future__ import annotations

import math

from skysift.resample.check import check_positive

# Bytes that construction takes at most: for each sample, link and cell found, for each overlap of a
# footprint and a cell, and for the work on one run of samples.
_SAMPLE, _LINK, _CELL, _OVERLAP, _WORK = 100, 40, 64, 160, 2**27


class Memory:
    """Account of what the construction of a sampling takes.

    Args:
        limit_mb: most that it may take [MiB], or `None`.

    Raises:
        ValueError: for a limit that is not positive.
    """

    def __init__(self, limit_mb: float | None) -> None:
        self._limit = math.inf if limit_mb is None else check_positive("memory_mb", limit_mb)
        self._used = _WORK

    def take(self, *, samples: int = 0, links: int = 0, cells: int = 0, overlaps: int = 0) -> None:
        """Book samples, links per sample, cells and overlaps before they take memory.

        Raises:
            ValueError: if they are more than the limit allows.
        """
        self._used += samples * (_SAMPLE + _LINK * links) + _CELL * cells + _OVERLAP * overlaps
        need = math.ceil(self._used / 2**20)
        if need > self._limit:
            raise ValueError(
                f"memory_mb: expected at least {need}, got {self._limit:g}. Allow more, or work on "
                "one part of the samples after the other, as Regions does."
            )
