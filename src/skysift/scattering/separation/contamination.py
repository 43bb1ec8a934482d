"""What is known of a contamination: fields that have its statistics."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from skysift.grid import masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.scattering.domain import AbstractDomain
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.samplers import LBFGS, MeanField
from skysift.scattering.generative.synthesis import synthesise
from skysift.scattering.statistic import AbstractStatistic

FEWEST = 8
"""Draws from which a mean and a deviation can be told."""


class Draws(eqx.Module):
    """Fields of a contamination, as statistics see them.

    Args:
        whole: `(draw, channel, mode)`.
        halves: `(draw, 2, channel, mode)`, of two observations of which `whole` is the mean, when
            the contamination differs between them.
    """

    whole: Inexact[Array, "draw channel ..."]
    halves: Inexact[Array, "draw 2 channel ..."] | None = None

    @property
    def count(self) -> int:
        """Number of draws."""
        return len(self.whole)

    def __getitem__(self, which: int | slice | np.ndarray) -> Draws:
        return jax.tree.map(lambda values: values[which], self)

    def none(self) -> Draws:
        """One draw of a contamination that is not there."""
        return jax.tree.map(lambda values: jnp.zeros_like(values[0]), self)


class AbstractContamination(abc.ABC):
    """Fields of a contamination."""

    @abc.abstractmethod
    def maps(
        self, domain: AbstractDomain, count: int, seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "draw ..."]:
        """Independent fields `(draw, *map shape)`, or `(draw, 2, *map shape)` of two halves.

        Args:
            domain: of the maps.
            count: number of fields; there may be fewer.
            seed: of the draws.
        """

    def draws(
        self,
        domain: AbstractDomain,
        count: int,
        seed: np.random.SeedSequence,
        dtype: np.dtype,
        kept: Bool[np.ndarray, "..."],
        cells: Float[Array, "region ..."] | None = None,
    ) -> Draws:
        """The same as statistics see them.

        Args:
            domain: of the maps.
            count: number of fields, at most.
            seed: of the draws.
            dtype: precision.
            kept: cells where the contamination has to be known; elsewhere it may be NaN.
            cells: weights with which the data are seen (`AbstractDomain.visible`); `None` for
                weights of 1 in the cells that are kept.

        Raises:
            ValueError: for maps on another grid, fewer than tell a deviation, or unknown values
                in cells where the data are known.
        """
        maps = self.maps(domain, count, seed)
        if len(maps) < FEWEST:
            raise ValueError(
                f"contamination: expected {FEWEST} draws or more, from which a mean and a "
                f"deviation can be told, got {len(maps)}. Draw more, or make more from those: "
                "`GaussianField` or `Texture` of one of them."
            )
        shape = domain.map_shape
        split = maps.ndim == len(shape) + 2
        if maps.shape[1:] != ((2, *shape) if split else shape):
            shown = ", ".join(map(str, shape))
            raise ValueError(
                f"contamination: expected maps ({shown}) as the data, or pairs (2, {shown}) of "
                f"them, got {maps.shape[1:]}. Regrade them to the grid of the data."
            )
        known = np.isfinite(maps)
        missing = int(np.sum(~known.reshape(-1, *kept.shape).all(axis=0) & kept))
        if missing:
            raise ValueError(
                f"contamination: expected known values wherever the data have them, got NaN, "
                f"infinite or UNSEEN ones in {missing} of {kept.sum()} cells. Mask the data there "
                "(NaN), or fill the draws."
            )
        maps = np.where(known, maps, 0.0)
        if cells is None and not kept.all():
            cells = jnp.asarray(kept[None], dtype)
        fields = np.stack(
            [np.asarray(_visible(domain, jnp.asarray(one, dtype), cells)) for one in maps]
        )
        if not split:
            return Draws(jnp.asarray(fields))
        return Draws(jnp.asarray(fields.mean(axis=1)), jnp.asarray(fields))


@eqx.filter_jit
def _visible(
    domain: AbstractDomain, maps: Float[Array, "..."], cells: Float[Array, "region ..."] | None
) -> Inexact[Array, "..."]:
    return domain.visible(maps, cells)


@dataclass(frozen=True, eq=False)
class Ensemble(AbstractContamination):
    """Fields that somebody drew, such as the noise simulations of an instrument.

    Args:
        members: `(draw, *map shape)`, or `(draw, 2, *map shape)` for the two half-missions of each;
            NaN, infinite or UNSEEN where the data are not known either.

    Raises:
        ValueError: when they are not an array of at least two maps.
    """

    members: Float[np.ndarray, "draw ..."]

    def __post_init__(self) -> None:
        values = np.asarray(masked_to_nan(self.members))
        if values.ndim < 2 or values.dtype.kind not in "iuf":
            raise ValueError(
                f"members: expected an array of real maps with an axis for the draws, got "
                f"{values.dtype} of shape {values.shape}. Stack the maps."
            )
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        object.__setattr__(self, "members", unseen_to_nan(values))

    def maps(
        self, domain: AbstractDomain, count: int, seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "draw ..."]:
        """See `AbstractContamination`."""
        order = np.random.default_rng(seed).permutation(len(self.members))
        return self.members[np.sort(order[:count])]


@dataclass(frozen=True, eq=False)
class WhiteNoise(AbstractContamination):
    """Independent Gaussian noise in each cell, the more the fewer observations it has.

    Args:
        rms: standard deviation in each cell `(*map shape)`, or one for all.
        halves: whether the data are the mean of two halves, each with noise of its own.

    Raises:
        ValueError: for deviations that are negative or not finite.
    """

    rms: Float[np.ndarray, "..."] | float
    halves: bool = False

    def __post_init__(self) -> None:
        rms = np.asarray(self.rms, dtype=float)
        if not np.all(np.isfinite(rms)) or rms.min() < 0.0 or not rms.max() > 0.0:
            raise ValueError(
                "rms: expected finite deviations of 0 or more, and some above, got others. Set "
                "those of masked cells to 0."
            )
        object.__setattr__(self, "rms", rms)

    def maps(
        self, domain: AbstractDomain, count: int, seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "draw ..."]:
        """See `AbstractContamination`."""
        rng = np.random.default_rng(seed)
        shape = domain.map_shape
        if np.shape(self.rms) not in ((), shape):
            raise ValueError(
                f"rms: expected one deviation, or maps of shape {shape} as the data, got "
                f"{np.shape(self.rms)}. Regrade them to the grid of the data."
            )
        if self.halves:
            return rng.standard_normal((count, 2, *shape)) * self.rms * np.sqrt(2.0)
        return rng.standard_normal((count, *shape)) * self.rms


@dataclass(frozen=True, eq=False)
class GaussianField(AbstractContamination):
    """Gaussian fields with the powers, at each scale, of one observation of the contamination.

    Those of several channels do not know of each other: where they have a cross power, use
    `Texture`, or fields of your own.

    Args:
        example: a map of it.
        statistic: whose scales to take.
    """

    example: Float[np.ndarray, "..."]
    statistic: AbstractStatistic

    def maps(
        self, domain: AbstractDomain, count: int, seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "draw ..."]:
        """See `AbstractContamination`."""
        _require_same(domain, self.statistic)
        colour = colour_of(self.statistic, self.statistic(self.example))
        key = jax.random.key(int(seed.generate_state(1, np.uint32)[0]))
        unknowns = colour.draw(key, count, jnp.dtype(float))
        return np.stack([np.asarray(domain.seen(colour.fields(one))) for one in unknowns])


@dataclass(frozen=True, eq=False)
class Texture(AbstractContamination):
    """Fields with the scattering statistics of observations of the contamination.

    The average over some of them has the statistics of one observation; each scatters about it,
    as patches of one contamination do among themselves. With several observations each is taken
    in turn, so that their scatter is in the fields.

    Args:
        example: a map of it `(*map shape)`, or several `(example, *map shape)`.
        statistic: to share.
        descent: how to make the fields (`MeanField`).
        together: number of fields of which the average is that of the observation.
        tolerance: objective of the fields.
    """

    example: Float[np.ndarray, "..."]
    statistic: AbstractStatistic
    descent: LBFGS = field(default_factory=lambda: LBFGS(max_iter=100))
    together: int = 8
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if self.together < 2:
            raise ValueError(
                f"together: expected 2 or more, got {self.together}. Say together=8: a single "
                "field would have the very numbers of the observation, and no scatter."
            )

    def maps(
        self, domain: AbstractDomain, count: int, seed: np.random.SeedSequence
    ) -> Float[np.ndarray, "draw ..."]:
        """See `AbstractContamination`."""
        _require_same(domain, self.statistic)
        shape = domain.map_shape
        examples = np.asarray(self.example)
        examples = examples if examples.ndim == len(shape) + 1 else examples[None]
        groups = max(-(-count // self.together), len(examples))
        made = [
            synthesise(
                self.statistic(examples[number % len(examples)]),
                self.statistic,
                self.together,
                int(one),
                sampler=MeanField(self.descent),
                tolerance=self.tolerance,
            ).maps
            for number, one in enumerate(seed.generate_state(groups, np.uint32))
        ]
        # One field of each group after the other, so that the first few are of all examples.
        return np.stack(made, axis=1).reshape(-1, *shape)[:count]


def _require_same(domain: AbstractDomain, statistic: AbstractStatistic) -> None:
    if statistic.domain != domain:
        raise ValueError(
            f"statistic: expected that of the data, on {domain}, got one on {statistic.domain}. "
            "Make it for the grid and the channels of the data."
        )
