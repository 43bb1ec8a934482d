"""What all kinds of statistics of fields have in common."""

from __future__ import annotations

import abc
import math
from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Inexact

from skysift.grid import masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.scattering.domain import AbstractDomain, precision_of
from skysift.scattering.layout import Layout
from skysift.scattering.statistics import Statistics

Moments = tuple[Inexact[Array, "field coefficient"], ...]
StatisticT = TypeVar("StatisticT", bound="AbstractStatistic")


class AbstractStatistic(eqx.Module):
    """Statistics of fields on one domain, called on maps.

    Subclasses give the moments of fields as they are, and say how moments are made independent of
    the amplitude at each scale.
    """

    domain: eqx.AbstractVar[AbstractDomain]

    @property
    @abc.abstractmethod
    def layout(self) -> Layout:
        """What each coefficient is."""

    @property
    @abc.abstractmethod
    def cells(self) -> Float[Array, "region ..."] | None:
        """Weights of the cells of a map as given, region by region; `None` when all are alike."""

    @abc.abstractmethod
    def moments(self, fields: Inexact[Array, "field channel ..."]) -> Moments:
        """Moments of visible fields in the order of the tables, not normalised."""

    def visible(
        self, fields: Inexact[Array, "field channel ..."]
    ) -> Inexact[Array, "field channel ..."]:
        """Fields as they are told from their maps, of which masked cells are not seen."""
        if self.cells is None:
            return fields
        return self.domain.visible(self.domain.seen(fields), self.cells)

    @abc.abstractmethod
    def normalised(self, moments: Moments, reference: Moments) -> Moments:
        """Moments over the amplitudes that the moments of a reference have at each scale.

        The amplitudes are in the moments that normalising leaves as they are: normalised moments
        serve as reference as well. The reference has one field, or as many as the moments.
        """

    @abc.abstractmethod
    def blind(self, reference: Moments) -> str:
        """What makes moments unfit to normalise with, in words; empty when they are fit."""

    @abc.abstractmethod
    def powers(self, reference: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a Gaussian field like the reference needs to have.

        Returns:
            Mean `(channel,)`, power of each scale `(channel, scale)` averaged over orientations
            and regions, and power `(channel, side)` of what no scale covers.
        """

    @abc.abstractmethod
    def power_windows(
        self,
    ) -> tuple[Float[np.ndarray, "scale ..."], Float[np.ndarray, "..."]]:
        """For each scale the window over modes whose sum with the spectrum is the power there.

        Returns:
            Windows `(scale, *modes)`, and the wave number or multipole of each mode.
        """

    @abc.abstractmethod
    def rest_windows(self) -> Float[np.ndarray, "side ..."]:
        """The same of what no scale covers, on the fine and the coarse side."""

    @abc.abstractmethod
    def masked(self: StatisticT, kept: Bool[np.ndarray, "..."]) -> StatisticT:
        """The same statistics of the kept cells of a map only.

        Raises:
            ValueError: when nothing is left at a scale.
        """

    def __call__(
        self, maps: Float[Array, "..."] | np.ndarray, reference: Statistics | None = None
    ) -> Statistics:
        """Statistics of maps.

        Args:
            maps: `(..., *shape)`, with a channel axis before the shape when there are several
                channels; any leading axes are a batch. Cells that are NaN, infinite or UNSEEN in
                any map are left out of all, and counted.
            reference: statistics with whose amplitudes to normalise, as when the statistics of a
                synthesis are compared with those of its target; `None` for those of each map.

        Returns:
            The statistics, of the batch axes.

        Raises:
            ValueError: for maps of another shape, a reference of another configuration, or maps
                without any power at a scale (constant maps), whose statistics are not defined.
        """
        if not isinstance(maps, Tracer):
            maps = masked_to_nan(maps)
        self.domain.check(maps)
        if reference is not None:
            self.require(reference)
            _require_fields(reference, maps.shape[: maps.ndim - len(self.domain.map_shape)])
        if isinstance(maps, Tracer):
            return _statistics(self, jnp.asarray(maps), reference)
        values = np.asarray(maps)
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"maps: expected real numbers, got {values.dtype}. Give the real and the imaginary "
                "part as two channels."
            )
        dtype = precision_of(values)
        values = unseen_to_nan(values).astype(dtype, copy=False)
        finite = np.isfinite(values)
        if finite.all():
            return self._checked(self, values, reference, 0)
        cells = self.domain.cell_shape
        kept = np.asarray(finite.reshape(-1, *cells).all(axis=0))
        filled = np.where(finite, values, dtype.type(0.0))
        return self._checked(self.masked(kept), filled, reference, int(kept.size - kept.sum()))

    def require(self, reference: Statistics) -> None:
        """Refuse statistics that another configuration made.

        Raises:
            ValueError: for statistics with other tables or another origin.
        """
        if reference.layout != self.layout:
            raise ValueError(
                f"reference: expected statistics of {self.layout.origin} "
                f"({self.layout.n_coefficients} numbers), got those of {reference.layout.origin} "
                f"({reference.n_coefficients} numbers). Compute them with the same operator."
            )

    def _checked(
        self,
        evaluated: AbstractStatistic,
        maps: np.ndarray,
        reference: Statistics | None,
        masked: int,
    ) -> Statistics:
        result = _statistics(evaluated, jnp.asarray(maps), reference)
        if not all(np.isfinite(np.asarray(one)).all() for one in result.values):
            raise ValueError(
                f"maps: expected values whose powers {maps.dtype} can hold, got up to "
                f"{np.max(np.abs(maps)):.3g}. Divide the maps by their standard deviation."
            )
        missing = self.blind(result.values if reference is None else reference.values)
        if missing:
            raise ValueError(
                f"{'maps' if reference is None else 'reference'}: expected fields with power at "
                f"every scale, got none {missing}, so that the statistics cannot be normalised. "
                "Leave constant maps out, or choose fewer scales."
            )
        return Statistics(result.values, self.layout, masked)


def _require_fields(reference: Statistics, batch: tuple[int, ...]) -> None:
    if math.prod(reference.batch) not in (1, math.prod(batch)):
        raise ValueError(
            f"reference: expected the statistics of one field or of {batch} as the maps, got those "
            f"of {reference.batch}. Take their `.mean()`."
        )


@eqx.filter_jit
def _statistics(
    statistic: AbstractStatistic, maps: Float[Array, "..."], reference: Statistics | None
) -> Statistics:
    fields = statistic.domain.visible(maps, statistic.cells)
    batch = maps.shape[: maps.ndim - len(statistic.domain.map_shape)]
    flat = fields.reshape(-1, *fields.shape[len(batch) :])
    moments = statistic.moments(flat)
    if reference is None:
        values = statistic.normalised(moments, moments)
    else:
        values = statistic.normalised(moments, as_moments(reference))
    return Statistics(tuple(one.reshape(*batch, one.shape[-1]) for one in values), statistic.layout)


def as_moments(reference: Statistics) -> Moments:
    """Values of a reference with its batch axes as one axis of fields."""
    count = math.prod(reference.batch)
    return tuple(one.reshape(count, one.shape[-1]) for one in reference.values)


def modulus(values: Array) -> Float[Array, "..."]:
    """Modulus of complex values, with a derivative of zero where they are zero."""
    return root(jnp.real(values) ** 2 + jnp.imag(values) ** 2)


def root(power: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root, with a derivative of zero at zero."""
    positive = power > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, power, 1.0)), 0.0)


def flattened(values: Array) -> Inexact[Array, "field coefficient"]:
    """Coefficients of each field on one axis."""
    return values.reshape(len(values), -1)
