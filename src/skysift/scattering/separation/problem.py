"""A separation made ready: fields of the data, draws of the contamination, terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from skysift.grid import masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.scattering.domain import AbstractDomain, Flat, Sphere
from skysift.scattering.generative.objective import deviation_of
from skysift.scattering.plane.bank import wavenumbers
from skysift.scattering.separation.constraints import (
    AbstractConstraint,
    Ancillary,
    Constraint,
    Halves,
    Independent,
    LargeScales,
    Positive,
    Remainder,
)
from skysift.scattering.separation.contamination import Draws
from skysift.scattering.separation.terms import (
    AbstractTerm,
    AbstractView,
    DataBesideSignal,
    Fields,
    HalvesView,
    PositiveTerm,
    RemainderView,
    StatisticTerm,
    TotalBesideSignal,
    TotalView,
    evaluate,
    moments_of,
)
from skysift.scattering.sphere.bank import ell_of
from skysift.scattering.statistic import AbstractStatistic, Moments
from skysift.scattering.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Observation:
    """The data as statistics see them.

    Args:
        statistic: of the data.
        whole: their fields.
        halves: fields of two observations, of which `whole` is the mean, or `None`.
        kept: cells that were seen; the others are continued from those.
    """

    statistic: AbstractStatistic
    whole: Fields
    halves: Fields | None
    kept: Bool[np.ndarray, "..."]

    @property
    def domain(self) -> AbstractDomain:
        """Grid and channels of the data."""
        return self.statistic.domain


def observe(
    data: Float[np.ndarray, "..."], statistic: AbstractStatistic, dtype: np.dtype
) -> Observation:
    """Fields of the data, without structure where they are not known.

    Args:
        data: `(*map shape)`, or `(2, *map shape)` for two halves; NaN, infinite or UNSEEN where
            not known.
        statistic: of the data, with weights or without.
        dtype: precision.

    Raises:
        ValueError: for data of another shape, or without any cell that is known.
    """
    values = unseen_to_nan(np.asarray(masked_to_nan(data), dtype=float))
    domain = statistic.domain
    split = values.ndim == len(domain.map_shape) + 1 and len(values) == 2
    if not split:
        domain.check(values)
    if values.shape != ((2, *domain.map_shape) if split else domain.map_shape):
        shown = ", ".join(map(str, domain.map_shape))
        raise ValueError(
            f"data: expected one map ({shown}), or the two halves (2, {shown}) of an observation, "
            f"got {values.shape}. Separate one observation at a time."
        )
    finite = np.isfinite(values)
    cells = domain.cell_shape
    kept = np.asarray(finite.reshape(-1, *cells).all(axis=0))
    if not kept.any():
        raise ValueError("data: expected cells with finite values, got none. Look at the file.")
    if not kept.all():
        statistic = statistic.masked(kept)
    whole = values.mean(axis=0) if split else values
    maps = [whole, *(values if split else ())]
    fields = [
        domain.visible(jnp.asarray(np.nan_to_num(one), dtype), statistic.cells) for one in maps
    ]
    halves = jnp.stack(fields[1:]) if split else None
    return Observation(statistic, fields[0], halves, kept)


def terms_of(
    constraints: Sequence[Constraint], observation: Observation, draws: Draws
) -> tuple[AbstractTerm, ...]:
    """Constraints made ready; of several with one name the later ones are numbered.

    Args:
        constraints: on the signal.
        observation: the data.
        draws: of the contamination.

    Raises:
        ValueError: for no constraints, or one that the data cannot serve: halves that were not
            given, a statistic of other channels, another map on another grid, an emphasis on what
            the statistics do not have.
    """
    names: dict[str, int] = {}
    terms: list[AbstractTerm] = []
    for one in constraints:
        if isinstance(one, LargeScales):
            continue
        names[one.name] = names.get(one.name, 0) + 1
        name = one.name if names[one.name] == 1 else f"{one.name} {names[one.name]}"
        if isinstance(one, Positive):
            terms.append(PositiveTerm(name, one.weight, False, one.deviation, observation.domain))
        else:
            terms.append(_statistic_term(name, one, observation, draws))
    if not terms:
        raise ValueError(
            "constraints: expected one or more beside fixed large scales, got none. Add Total()."
        )
    return tuple(terms)


def _statistic_term(
    name: str, constraint: AbstractConstraint, observation: Observation, draws: Draws
) -> StatisticTerm:
    """One constraint on statistics."""
    statistic = constraint.statistic or observation.statistic
    if not observation.kept.all():
        statistic = statistic.masked(observation.kept)
    whole = observation.whole
    view, seen = _view(constraint, observation, draws)
    if statistic.domain.channels != len(seen) or (
        statistic.domain.cell_shape != observation.domain.cell_shape
    ):
        raise ValueError(
            f"constraints: expected for '{name}' a statistic of {len(seen)} channels of "
            f"{observation.domain.cell_shape} cells, got one of {statistic.domain.channels} of "
            f"{statistic.domain.cell_shape}. Make it with channels={len(seen)}."
        )
    for order in constraint.emphasis:
        if order not in statistic.layout.orders:
            have = ", ".join(one.value for one in statistic.layout.orders)
            raise ValueError(
                f"emphasis: expected for '{name}' orders among {have}, got "
                f"{getattr(order, 'value', repr(order))}. Give `Order`s that its statistics have."
            )
    if isinstance(constraint, Remainder):
        return _remainder_term(name, constraint, statistic, whole, draws)
    reference = moments_of(statistic, seen)
    _require_power(name, statistic, reference)
    wanted = Statistics(reference, statistic.layout).vector[0]
    return StatisticTerm(
        name,
        constraint.weight,
        True,
        statistic,
        reference,
        view,
        DataBesideSignal(whole) if isinstance(constraint, Independent) else wanted,
        _spread(statistic.domain, seen),
        tuple(constraint.emphasis.items()),
        None,
    )


def _view(
    constraint: AbstractConstraint, observation: Observation, draws: Draws
) -> tuple[AbstractView, Fields]:
    """What a constraint looks at, and the same of the data."""
    whole = observation.whole
    match constraint:
        case Halves():
            if observation.halves is None or draws.halves is None:
                raise ValueError(
                    "constraints: expected for 'halves' data and contamination in two halves, got "
                    "whole ones. Give arrays with an axis of 2 before the map, or leave it out."
                )
            return HalvesView(), jnp.concatenate(list(observation.halves))
        case Ancillary():
            beside = _beside(constraint, observation)
            return TotalView(beside), jnp.concatenate([whole, beside])
        case Independent():
            return TotalBesideSignal(), jnp.concatenate([whole, whole])
        case Remainder():
            return RemainderView(whole), whole
    return TotalView(), whole


def _beside(constraint: Ancillary, observation: Observation) -> Fields:
    """Fields of another map of the sky."""
    cells = observation.domain.cell_shape
    values = np.asarray(masked_to_nan(constraint.map), dtype=float)
    if values.shape[-len(cells) :] != cells or values.ndim > len(cells) + 1:
        raise ValueError(
            f"map: expected another map of {cells} cells, with an axis for its channels if there "
            f"are several, got {values.shape}. Regrade it to the grid of the data."
        )
    values = unseen_to_nan(values)
    if not np.all(np.isfinite(values[..., observation.kept])):
        raise ValueError(
            "map: expected finite values wherever the data have them, got others. Mask the data "
            "there (NaN), or fill the map."
        )
    channels = 1 if values.ndim == len(cells) else len(values)
    domain = replace(observation.domain, channels=channels)
    maps = jnp.asarray(np.nan_to_num(values), jnp.real(observation.whole).dtype)
    return domain.visible(maps, observation.statistic.cells)


def _remainder_term(
    name: str, constraint: Remainder, statistic: AbstractStatistic, data: Fields, draws: Draws
) -> StatisticTerm:
    """Statistics of what is left, with the mean and the deviation over the draws."""
    own = [moments_of(statistic, one) for one in draws.whole]
    reference = tuple(jnp.mean(jnp.stack(values), axis=0) for values in zip(*own, strict=True))
    _require_power(name, statistic, reference)
    vectors = np.stack([np.asarray(evaluate(statistic, one, reference)) for one in draws.whole])
    spread = _spread(statistic.domain, draws.whole[0])
    deviation = deviation_of(statistic.layout, vectors, spread)
    return StatisticTerm(
        name,
        constraint.weight,
        False,
        statistic,
        reference,
        RemainderView(data),
        jnp.asarray(vectors.mean(axis=0)),
        spread,
        tuple(constraint.emphasis.items()),
        deviation,
    )


def _require_power(name: str, statistic: AbstractStatistic, reference: Moments) -> None:
    missing = statistic.blind(reference)
    if missing:
        raise ValueError(
            f"constraints: expected for '{name}' fields with power at every scale, got none "
            f"{missing}, so that the statistics cannot be normalised. Choose fewer scales."
        )


def _spread(domain: AbstractDomain, fields: Fields) -> Float[np.ndarray, " channel"]:
    maps = np.asarray(domain.seen(fields))
    return maps.reshape(domain.channels, -1).std(axis=-1)


def free(constraints: Sequence[Constraint], domain: AbstractDomain) -> Float[np.ndarray, "..."]:
    """1 for each mode that may change, 0 for those that are the data's."""
    if isinstance(domain, Sphere):
        number = ell_of(domain.lmax).astype(float)
    else:
        assert isinstance(domain, Flat)
        number = wavenumbers(domain.shape) * max(domain.shape) / (2.0 * np.pi)
    below = [one.below for one in constraints if isinstance(one, LargeScales)]
    return (number > max(below, default=0.0)).astype(float)


def projected(
    domain: AbstractDomain, fields: Fields, modes: Shaped[np.ndarray, "channel ..."]
) -> Fields:
    """The part of fields that is in some of their modes.

    Args:
        domain: of the fields.
        fields: any.
        modes: those that are kept, or how much of each is.
    """
    keep = jnp.asarray(modes, jnp.real(fields).dtype)
    if isinstance(domain, Sphere):
        return fields * keep
    # Unknowns of unit variance have modes of unit variance in `filtered`, which scales them.
    return domain.filtered(fields, keep / math.sqrt(domain.size))
