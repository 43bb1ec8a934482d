"""From coarse to fine: fields that begin with the structures of those on coarser grids."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from skysift.scattering.generative.gaussian import Colour
from skysift.scattering.generative.objective import Metric
from skysift.scattering.regrid import regridded, require_coarser
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Level:
    """What fields are to have on one grid.

    Args:
        target: statistics of one field, or the mean over an ensemble (`Statistics.mean`).
        statistic: the operator that made them.
        metric: how differences are weighed; `None` for sampling deviations of Gaussian fields, and
            every order of statistics alike.
    """

    target: Statistics
    statistic: AbstractStatistic
    metric: Metric | None = None

    def __post_init__(self) -> None:
        if self.target.batch:
            raise ValueError(
                f"target: expected the statistics of one field, got those of {self.target.batch}. "
                "Take one map, or the mean over an ensemble with `.mean()`."
            )
        self.statistic.require(self.target)


def require_finer(levels: Sequence[Level]) -> None:
    """Refuse levels whose grids do not go from coarse to fine.

    Raises:
        ValueError: for grids of other kinds, channels or proportions, or types of numbers.
    """
    for coarse, fine in itertools.pairwise(levels):
        require_coarser(fine.statistic.domain, coarse.statistic.domain)
        types = [np.asarray(level.target.vector).dtype for level in (coarse, fine)]
        if types[0] != types[1]:
            raise ValueError(
                f"coarser: expected statistics in {types[1]}, got {types[0]}. Compute them of maps "
                "of one precision."
            )


def refined(
    unknowns: Float[Array, "field channel unknown"],
    coarse: Colour,
    fine: Colour,
    fresh: Float[Array, "field channel finer"],
) -> Float[Array, "field channel finer"]:
    """White unknowns of finer fields that have the structures of coarser ones.

    Args:
        unknowns: of the coarser fields.
        coarse: of them.
        fine: of the finer fields.
        fresh: white unknowns, from which they have the modes that coarser fields do not have.
    """
    domain, small = fine.domain, coarse.domain
    dtype = fresh.dtype
    structures = small.filtered(small.of_unknowns(unknowns), coarse.amplitude.astype(dtype))
    begun = domain.whitened(regridded(structures, small, domain), fine.amplitude.astype(dtype))
    white = domain.of_unknowns(fresh)
    coarser = regridded(regridded(white, domain, small), small, domain)
    return domain.unknowns(white - coarser + begun)
