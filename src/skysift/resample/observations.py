"""Values at samples as a fit wants them: checked, centred, weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int

from skysift.grid import masked_to_nan
from skysift.resample.arrays import check_variance, without_unseen
from skysift.resample.normal import LinkMatrix
from skysift.resample.sampling import Sampling


@dataclass(frozen=True, eq=False)
class Observations:
    """Rows of values and their weights, samples in the order in which they are stored.

    Args:
        values: minus the centre of their row; 0 where there is none.
        weight: `noise` over the noise variance, 0 where there is no value; one column where all
            rows have the same.
        noise: variance that has weight 1, in columns as the given ones, else `None`.
        centre: weighted mean of each row, which a fit of single precision would lose; 0 where the
            weights of a sample do not sum to 1.
        rounding: for each row the norm below which a residual is rounding.
        used: number of samples of each row.
        excluded: number of values of each row that are missing or not finite.
    """

    values: Float[np.ndarray, "sample row"]
    weight: Float[np.ndarray, "sample column"]
    noise: Float[np.ndarray, " column"] | None
    centre: Float[np.ndarray, " row"]
    rounding: Float[np.ndarray, " row"]
    used: Int[np.ndarray, " row"]
    excluded: Int[np.ndarray, " row"]

    @staticmethod
    def of(
        sampling: Sampling,
        links: LinkMatrix,
        samples: Float[np.ndarray, "row sample"],
        noise_variance: Float[ArrayLike, "*row sample"] | float | None,
        reference_variance: Float[ArrayLike, " row"] | float | None,
    ) -> Observations:
        """Values and variances as a user gives them."""
        rows = samples.shape[0]
        order = np.asarray(sampling.order)
        values = np.ascontiguousarray(without_unseen(samples).T[order])
        finite = np.isfinite(values)
        excluded = values.shape[0] - np.count_nonzero(finite, axis=0)
        values[~finite] = 0.0
        weight, noise = _weights(noise_variance, reference_variance, samples.shape)
        weight = weight.T[order] * _alike(finite) * (links.magnitude.row_sum > 0.0)
        size = np.sqrt(np.sum(weight * values**2, axis=0))
        centre = np.zeros(rows)
        if _keeps_constants(links):
            total = weight.sum(axis=0) + centre
            np.divide(np.sum(weight * values, axis=0), total, out=centre, where=total > 0.0)
            values -= centre
        values *= weight > 0.0
        left = np.sqrt(np.sum(weight * values**2, axis=0))
        return Observations(
            values=values.astype(links.dtype, copy=False),
            weight=np.ascontiguousarray(weight, links.dtype),
            noise=noise,
            centre=centre,
            rounding=8.0 * (np.finfo(float).eps * size + np.finfo(links.dtype).eps * left),
            used=np.count_nonzero(weight, axis=0) + np.zeros(rows, dtype=int),
            excluded=excluded,
        )


def as_rows(
    name: str, values: Float[ArrayLike, "*row sample"], size: int
) -> Float[np.ndarray, "*row sample"]:
    """Real values with the right last axis as float64, NaN where masked.

    Raises:
        ValueError: for another size, no rows, or values that are not real numbers.
    """
    array = masked_to_nan(values)
    if array.dtype.kind not in "iuf" or array.ndim < 1 or array.shape[-1] != size or not array.size:
        raise ValueError(
            f"{name}: expected real numbers of shape (..., {size}), got {array.dtype} of shape "
            f"{array.shape}. Flatten a swath with ravel(); fit real and imaginary parts one by one."
        )
    return array.astype(float, copy=False)


def harmonic_mean(
    variance: Float[np.ndarray, "row sample"],
) -> Float[np.ndarray, " row"]:
    """Of the finite variances of each row.

    Raises:
        ValueError: for a row that has none.
    """
    used = np.count_nonzero(np.isfinite(variance), axis=1)
    if not used.all():
        raise ValueError(
            f"noise_variance: expected some finite variance, got only infinite ones in row "
            f"{int(np.argmin(used))}. Make the values NaN to leave out a row."
        )
    return used / np.sum(1.0 / variance, axis=1)


def _weights(
    noise_variance: Float[ArrayLike, "*row sample"] | float | None,
    reference_variance: Float[ArrayLike, " row"] | float | None,
    shape: tuple[int, ...],
) -> tuple[Float[np.ndarray, "row sample"], Float[np.ndarray, " row"] | None]:
    """Reference over noise variances, and the reference; one row where all are alike."""
    if noise_variance is None:
        return np.ones((1, shape[1])), None
    variance = check_variance(noise_variance, shape[1])
    variance = np.broadcast_to(variance, (*variance.shape[:-1], shape[1])).reshape(-1, shape[1])
    if variance.shape[0] not in (1, shape[0]):
        raise ValueError(
            f"noise_variance: expected one row or {shape[0]} as the samples have, got "
            f"{variance.shape[0]}. Give one variance per sample, or one per value."
        )
    if reference_variance is None:
        reference = harmonic_mean(variance)
    else:
        reference = np.broadcast_to(reference_variance, variance.shape[:1])
    return reference[:, None] / variance, reference


def _alike(finite: Bool[np.ndarray, "sample row"]) -> Bool[np.ndarray, "sample column"]:
    """One column where all are equal."""
    return finite[:, :1] if np.all(finite == finite[:, :1]) else finite


def _keeps_constants(links: LinkMatrix) -> bool:
    """Whether the weights of every sample that is explained sum to 1."""
    sums = links.row_sum[links.magnitude.row_sum > 0.0]
    return bool(np.all(np.abs(sums - 1.0) < 100.0 * np.finfo(links.dtype).eps))
