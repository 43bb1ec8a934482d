"""Constraints made ready: what of a signal and a draw of the contamination should vanish."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.scattering.domain import AbstractDomain
from skysift.scattering.generative.objective import Metric, deviation_of
from skysift.scattering.layout import Order
from skysift.scattering.separation.contamination import Draws
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics

Fields = Inexact[Array, "channel ..."]


class AbstractView(eqx.Module):
    """Fields whose statistics are compared, made of a signal and one draw of the contamination."""

    @abc.abstractmethod
    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """The fields, channel by channel."""


class TotalView(AbstractView):
    """Signal and contamination, and perhaps another map beside them."""

    beside: Fields | None = None

    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """See `AbstractView`."""
        total = signal + draw.whole
        return total if self.beside is None else jnp.concatenate([total, self.beside])


class HalvesView(AbstractView):
    """The signal with the contaminations of two observations."""

    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """See `AbstractView`."""
        assert draw.halves is not None
        return jnp.concatenate([signal + draw.halves[0], signal + draw.halves[1]])


class TotalBesideSignal(AbstractView):
    """Signal and contamination, and the signal beside them."""

    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """See `AbstractView`."""
        return jnp.concatenate([signal + draw.whole, signal])


class DataBesideSignal(AbstractView):
    """The data, and the signal beside them."""

    data: Fields

    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """See `AbstractView`."""
        return jnp.concatenate([self.data, signal])


class RemainderView(AbstractView):
    """What is left of the data."""

    data: Fields

    def __call__(self, signal: Fields, draw: Draws) -> Fields:
        """See `AbstractView`."""
        return self.data - signal


class AbstractTerm(eqx.Module):
    """Numbers of which the mean over draws of the contamination should be zero."""

    name: eqx.AbstractVar[str]
    weight: eqx.AbstractVar[float]
    random: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def offset(self, signal: Fields, draw: Draws) -> Float[Array, " number"]:
        """Numbers of a signal and one draw."""

    @abc.abstractmethod
    def shares(self, offsets: Float[np.ndarray, "draw number"]) -> Float[np.ndarray, " number"]:
        """What each number is multiplied with, so that the squares add to the loss of the term.

        Args:
            offsets: of the signal and each draw.
        """


class StatisticTerm(AbstractTerm):
    """Statistics of a view, less wanted ones.

    Args:
        name: of the constraint.
        weight: beside others.
        random: whether the view depends on the draw.
        statistic: to compare.
        reference: moments with whose amplitudes to normalise.
        view: what to look at.
        wanted: numbers, or another view that should have the same.
        spread: standard deviation of each channel, by which rounding is told.
        emphasis: how much an order counts (`Metric`).
        known: standard deviation of each number, `None` for that over the draws.
    """

    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)
    random: bool = eqx.field(static=True)
    statistic: AbstractStatistic
    reference: Moments
    view: AbstractView
    wanted: Float[Array, " number"] | AbstractView
    spread: Float[np.ndarray, " channel"]
    emphasis: tuple[tuple[Order, float], ...] = eqx.field(static=True)
    known: Float[np.ndarray, " number"] | None

    def offset(self, signal: Fields, draw: Draws) -> Float[Array, " number"]:
        """See `AbstractTerm`."""
        found = vector_of(self.statistic, self.view(signal, draw), self.reference)
        if isinstance(self.wanted, AbstractView):
            wanted = vector_of(self.statistic, self.wanted(signal, draw), self.reference)
        else:
            wanted = self.wanted
        return found - wanted

    def shares(self, offsets: Float[np.ndarray, "draw number"]) -> Float[np.ndarray, " number"]:
        """See `AbstractTerm`."""
        layout, deviation = self.statistic.layout, self.known
        if deviation is None:
            wanted = 0.0 if isinstance(self.wanted, AbstractView) else np.asarray(self.wanted)
            vectors = np.asarray(offsets + wanted, dtype=offsets.dtype)
            deviation = deviation_of(layout, vectors, self.spread)
        shares = Metric(deviation, dict(self.emphasis)).weights(layout)
        # Offsets of the true signal are as large as the deviations: its loss is 1.
        expected = np.sum((shares * deviation) ** 2)
        return shares / np.sqrt(expected) if expected > 0.0 else shares


class PositiveTerm(AbstractTerm):
    """Negative values of the signal, over what they may be.

    Args:
        name: of the constraint.
        weight: beside others.
        random: no, it does not depend on the draw.
        allowed: rms over the cells.
        domain: of the signal.
    """

    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)
    random: bool = eqx.field(static=True)
    allowed: float
    domain: AbstractDomain

    def offset(self, signal: Fields, draw: Draws) -> Float[Array, " number"]:
        """See `AbstractTerm`."""
        maps = self.domain.seen(signal)
        return (jnp.where(maps < 0.0, maps, 0.0) / np.sqrt(maps.size)).ravel()

    def shares(self, offsets: Float[np.ndarray, "draw number"]) -> Float[np.ndarray, " number"]:
        """See `AbstractTerm`."""
        return np.array([1.0 / self.allowed])


@eqx.filter_jit
def moments_of(statistic: AbstractStatistic, fields: Fields) -> Moments:
    """Moments of one field, normalised with its own amplitudes."""
    moments = statistic.moments(statistic.visible(fields[None]))
    return statistic.normalised(moments, moments)


def vector_of(
    statistic: AbstractStatistic, fields: Fields, reference: Moments
) -> Float[Array, " number"]:
    """Numbers of one field, with the amplitudes of a reference.

    Args:
        statistic: of the field.
        fields: one field.
        reference: moments that normalise those of the field.
    """
    moments = statistic.normalised(statistic.moments(statistic.visible(fields[None])), reference)
    return Statistics(moments, statistic.layout).vector[0]


evaluate = eqx.filter_jit(vector_of)
"""`vector_of`, compiled."""
