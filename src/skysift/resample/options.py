"""What a user says about a fit, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

LEAST_PART = 0.1
"""Part of its samples that a cell has to have for a damping that is chosen.

A psf has cells whose weights sum to 0.1; errors that samples share reach a cell ten times at most.
"""


@dataclass(frozen=True)
class FitOptions:
    """What is known beforehand, and when a fit ends.

    Args:
        damping: how strongly cells are pulled to the average of their samples, one value or one
            for each row: 0 is plain least squares, which lets noise grow where there are few
            samples for a cell; from about 30 on the fit is the average. `None` chooses it for each
            row by robust generalised cross-validation.
        least_part: a cell that has less than this part of its samples, sum_i A_ik^2 / v_i over
            D_k, is damped at least by what is missing to it. Such cells lie beyond the edge of a
            swath, and a few hundredths of each sample would have to say what they are. By default
            0.1 where the damping is chosen, 0 where it is given.
        smoothness: how strongly neighbouring cells are made alike; 1 ties a cell to the mean of
            its neighbours as firmly as one sample does. Unless it is 0, cells without a sample are
            filled from their neighbours.
        max_iter: iterations after which the fit gives up.
        tol: a row is done when its residual is this small relative to that of the average.
        seed: of the probes of cross-validation and variances.

    Raises:
        ValueError: for values out of range.

    Examples:
        >>> FitOptions().required_part, FitOptions(damping=1e-3).required_part
        (0.1, 0.0)
    """

    damping: float | Float[np.ndarray, "*row"] | None = None
    least_part: float | None = None
    smoothness: float = 0.0
    max_iter: int = 200
    tol: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.damping is not None and not _numbers(self.damping):
            raise ValueError(
                f"damping: expected numbers from 0 on, got {self.damping!r}. Leave it out to have "
                "it chosen, or use Sampling.average for the limit of strong damping."
            )
        if self.least_part is not None and not _number(self.least_part):
            raise ValueError(
                f"least_part: expected a number from 0 on, got {self.least_part!r}. Leave it out, "
                f"or try {LEAST_PART}."
            )
        if not _number(self.smoothness):
            raise ValueError(
                f"smoothness: expected a number from 0 on, got {self.smoothness!r}. Try 0.1."
            )
        if not _whole(self.max_iter) or self.max_iter < 1:
            raise ValueError(
                f"max_iter: expected a whole number from 1 on, got {self.max_iter!r}. Leave it out "
                "for 200."
            )
        if not _number(self.tol) or not 0.0 < self.tol < 1.0:
            raise ValueError(
                f"tol: expected a number between 0 and 1, got {self.tol!r}. Leave it out for 1e-6."
            )
        check_seed(self.seed)

    @property
    def required_part(self) -> float:
        """The least part, as it is by default where it was not given."""
        if self.least_part is not None:
            return float(self.least_part)
        return LEAST_PART if self.damping is None else 0.0

    def damping_of(self, rows: int) -> Float[np.ndarray, " row"]:
        """One damping for each row.

        Raises:
            ValueError: for another number of them.
        """
        values = np.asarray(self.damping, dtype=float).ravel()
        if values.size not in (1, rows):
            raise ValueError(
                f"damping: expected one value, or one for each of {rows} rows of samples, got "
                f"{values.size}. Give one, or leave it out to have it chosen for each row."
            )
        return np.broadcast_to(values, rows).copy()


def check_bounds(bounds: Any) -> tuple[float, float] | None:
    """Lowest and highest value of a cell, or `None`.

    Raises:
        ValueError: for anything else.
    """
    if bounds is None:
        return None
    pair = np.asarray(bounds)
    if pair.dtype.kind not in "iuf" or pair.shape != (2,) or not pair[0] < pair[1]:
        raise ValueError(
            f"bounds: expected a lowest and a higher highest value, got {bounds!r}. Use "
            "-numpy.inf or numpy.inf for a side without bound."
        )
    return float(pair[0]), float(pair[1])


def check_probes(probes: Any) -> int:
    """Number of probes, at least 2.

    Raises:
        ValueError: for anything else.
    """
    if not _whole(probes) or probes < 2:
        raise ValueError(
            f"probes: expected a whole number from 2 on, got {probes!r}. Leave it out for 32."
        )
    return int(probes)


def check_seed(seed: Any) -> int:
    """Seed of random numbers.

    Raises:
        ValueError: for anything but a whole number from 0 on.
    """
    if not _whole(seed) or seed < 0:
        raise ValueError(
            f"seed: expected a whole number from 0 on, got {seed!r}. Leave it out for 0."
        )
    return int(seed)


def check_whole(name: str, value: Any, fix: str) -> int:
    """Whole number.

    Raises:
        ValueError: for anything else.
    """
    if not _whole(value):
        raise ValueError(f"{name}: expected a whole number, got {value!r}. {fix}")
    return int(value)


def _numbers(values: Any) -> bool:
    """Whether these are finite numbers from 0 on."""
    array = np.asarray(values)
    return array.dtype.kind in "iuf" and bool(np.all(np.isfinite(array) & (array >= 0)))


def _number(value: Any) -> bool:
    return np.ndim(value) == 0 and _numbers(value)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
