"""Fewer statistics that say as much: symmetries, smoothness and significance."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.scattering.covariance import AbstractCovariance, over_amplitudes
from skysift.scattering.domain import AbstractDomain, Flat
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import draw_vector
from skysift.scattering.layout import Layout, Order
from skysift.scattering.linear_map import LinearMap, Reduction, angular_map, scale_map
from skysift.scattering.powered import AbstractPowered
from skysift.scattering.statistic import AbstractStatistic, Moments, as_moments
from skysift.scattering.statistics import Statistics

_TESTED = (Order.S3, Order.S4, Order.S01, Order.C01, Order.C00, Order.PHASE)
"""Orders that tell fields from Gaussian ones; the others say what power there is, and where."""


class Reduced(AbstractPowered):
    """Scattering covariance reduced by its dependence on orientation and scale.

    Moments are averaged over the common orientation, or taken to its Fourier frequencies; the
    orientations relative to it go to Fourier frequencies, of which the cosines do not change in a
    mirror; third and fourth moments go to cosine frequencies over the common scale (Cheng et al.
    2024, PNAS Nexus 3, 103, section on dimensionality reduction). The moments are divided by the
    power at each scale averaged over orientations, so that all steps are linear in the moments of
    a field. On the sphere, where orientations have no part, only the scales are transformed.

    Args:
        statistic: a scattering covariance of fields on two flat axes, or on the sphere.
        reduction: what to keep.

    Raises:
        ValueError: for wavelets whose orientations are not turns of one plane.

    Examples:
        >>> from skysift.scattering import Covariance
        >>> whole = Covariance.plane((16, 16), scales=2, orientations=4)
        >>> st = Reduced(whole)
        >>> whole.layout.n_coefficients, st.layout.n_coefficients, st.layout["S3"].axes[-3:]
        (628, 48, ('step2', 'frequency2', 'scale_frequency'))
    """

    domain: AbstractDomain
    statistic: AbstractCovariance
    reduction: Reduction = eqx.field(static=True)

    mean_order: ClassVar[Order] = Order.MEAN
    power_order: ClassVar[Order] = Order.S2

    def __init__(self, statistic: AbstractCovariance, reduction: Reduction | None = None) -> None:
        self.domain = statistic.domain
        self.statistic = statistic
        self.reduction = reduction or Reduction()
        flat = isinstance(self.domain, Flat)
        if flat and len(self.domain.cell_shape) != 2:
            raise ValueError(
                "statistic: expected wavelets that are turns in one plane, got those of "
                f"{len(self.domain.cell_shape)} axes. Reduce the statistics of fields on two axes."
            )
        if not flat and self.reduction.common:
            raise ValueError(
                "common: expected 0 on the sphere, where no orientation is the same everywhere, "
                f"got {self.reduction.common}. Say common=0."
            )

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return self._steps.layout

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return self.statistic.cells

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`; the scales are not yet transformed."""
        moments = self.statistic.moments(fields)
        return tuple(one(values) for one, values in zip(self._steps.turns, moments, strict=True))

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        steps = self._steps
        divided = over_amplitudes(steps.turned, self.own_power(reference), moments)
        return tuple(
            values if one is None else one(values)
            for one, values in zip(steps.scales, divided, strict=True)
        )

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        return self.powerless(reference)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        return self.statistic.power_windows()

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        return self.statistic.rest_windows()

    def masked(self, kept: Bool[np.ndarray, "..."]) -> Reduced:
        """See `AbstractStatistic`."""
        return Reduced(self.statistic.masked(kept), self.reduction)

    @property
    def _steps(self) -> _Steps:
        return _steps(self.statistic.layout, self.statistic.shape.orientations, self.reduction)


@dataclass(frozen=True, eq=False)
class _Steps:
    """From moments to reduced ones: over orientations, with the tables between, and scales."""

    turns: tuple[LinearMap, ...]
    turned: Layout
    scales: tuple[LinearMap | None, ...]
    layout: Layout


@functools.lru_cache(maxsize=32)
def _steps(layout: Layout, orientations: int | None, reduction: Reduction) -> _Steps:
    turns = tuple(angular_map(table, orientations or 1, reduction) for table in layout.tables)
    turned = Layout(tuple(one.table for one in turns), layout.origin)
    scales = tuple(
        scale_map(table) if reduction.scales and "scale2" in table.axes else None
        for table in turned.tables
    )
    tables = tuple(
        table if one is None else one.table
        for table, one in zip(turned.tables, scales, strict=True)
    )
    return _Steps(turns, turned, scales, Layout(tables, f"{layout.origin}, {reduction}"))


class Selected(AbstractStatistic):
    """Some of the coefficients of statistics.

    Args:
        statistic: that has all of them.
        rows: for each table the coefficients that are kept, or `None` for all. Those by which
            others are normalised must be whole.
    """

    domain: AbstractDomain
    statistic: AbstractStatistic
    rows: tuple[tuple[int, ...] | None, ...] = eqx.field(static=True)

    @property
    def layout(self) -> Layout:
        """See `AbstractStatistic`."""
        return _selected(self.statistic.layout, self.rows)

    @property
    def cells(self) -> Float[Array, "region ..."] | None:
        """See `AbstractStatistic`."""
        return self.statistic.cells

    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """See `AbstractStatistic`; all of them: what is left out is so once they are normalised."""
        return self.statistic.moments(fields)

    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """See `AbstractStatistic`."""
        whole = self.statistic.normalised(moments, reference)
        return tuple(
            values if rows is None else values[..., np.array(rows, dtype=np.int64)]
            for values, rows in zip(whole, self.rows, strict=True)
        )

    def blind(self, reference: Moments) -> str:
        """See `AbstractStatistic`."""
        return self.statistic.blind(reference)

    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AbstractStatistic`."""
        return self.statistic.powers(reference)

    def power_windows(self) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """See `AbstractStatistic`."""
        return self.statistic.power_windows()

    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """See `AbstractStatistic`."""
        return self.statistic.rest_windows()

    def masked(self, kept: Bool[np.ndarray, "..."]) -> Selected:
        """See `AbstractStatistic`."""
        return Selected(self.domain, self.statistic.masked(kept), self.rows)


@functools.lru_cache(maxsize=32)
def _selected(layout: Layout, rows: tuple[tuple[int, ...] | None, ...]) -> Layout:
    tables = tuple(
        table if kept is None else table.take(np.array(kept, dtype=np.int64))
        for table, kept in zip(layout.tables, rows, strict=True)
    )
    return Layout(tables, f"{layout.origin}, selected")


def significant(
    statistic: AbstractStatistic,
    target: Statistics,
    *,
    threshold: float = 3.0,
    draws: int = 64,
    seed: int = 0,
) -> Selected:
    """The statistics by which a target differs from Gaussian fields of the same power.

    Third and fourth moments and phases are kept where they are off the mean over Gaussian fields
    by more than a threshold; mean, powers and first moments always.

    Args:
        statistic: that made the target.
        target: statistics of one field, or the mean over an ensemble (`Statistics.mean`).
        threshold: in standard deviations of Gaussian fields.
        draws: number of Gaussian fields.
        seed: of their noise.

    Raises:
        ValueError: for a target of several fields, statistics of another configuration or without
            any moment that is selected, and numbers that make no sense.

    Examples:
        >>> from skysift.scattering import Covariance
        >>> whole = Reduced(Covariance.plane((16, 16), scales=2, orientations=2))
        >>> lumps = np.random.default_rng(0).gamma(0.1, size=(16, 16))
        >>> st = significant(whole, whole(lumps), draws=16)
        >>> st.layout.n_coefficients < whole.layout.n_coefficients
        True
    """
    statistic.require(target)
    if target.batch:
        raise ValueError(
            f"target: expected the statistics of one field, got those of {target.batch}. Take one "
            "map, or the mean over an ensemble with `.mean()`."
        )
    if not threshold > 0.0:
        raise ValueError(f"threshold: expected more than 0, got {threshold}. Say threshold=3.")
    if draws < 8:
        raise ValueError(
            f"draws: expected 8 or more, got {draws}: fewer do not tell how much Gaussian fields "
            "vary. Say draws=64."
        )
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    if not set(_TESTED) & set(statistic.layout.orders):
        have = ", ".join(order.value for order in statistic.layout.orders)
        raise ValueError(
            f"statistic: expected third or fourth moments, or phases, got {have} only. Keep all of "
            "them."
        )
    colour = colour_of(statistic, target)
    dtype = np.asarray(target.vector).dtype.name
    seeds = np.random.SeedSequence(seed).generate_state(draws, np.uint32)
    vectors = np.stack(
        [
            np.asarray(
                draw_vector(statistic, colour, jax.random.key(int(one)), dtype, as_moments(target))
            )
            for one in seeds
        ]
    )
    off = np.abs(np.asarray(target.vector) - vectors.mean(axis=0))
    exceeds = off > threshold * vectors.std(axis=0, ddof=1)
    rows = []
    for table, here in zip(statistic.layout.tables, statistic.layout.slices, strict=True):
        # A complex coefficient is kept for either of its parts.
        kept = np.flatnonzero(exceeds[here].reshape(-1, table.size).any(axis=0))
        rows.append(tuple(kept.tolist()) if table.order in _TESTED else None)
    return Selected(statistic.domain, statistic, tuple(rows))
