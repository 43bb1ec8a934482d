"""Data of a statistical separation: maps, their grid and statistics, constraints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from skysift.experiment.canvas import Canvas
from skysift.experiment.config import Family, UnmixingExperiment
from skysift.experiment.contaminations import Said, read_contamination
from skysift.experiment.fields import Field, read_fields, read_mask, require_like
from skysift.experiment.memory import Memory
from skysift.experiment.scattering import deviation
from skysift.experiment.wanted import Part, Wanted, Workshop, read_wanted
from skysift.scattering.mixture import Mixture
from skysift.scattering.regrid import coarsened
from skysift.scattering.separation.constraints import Constraint
from skysift.scattering.separation.contamination import AbstractContamination
from skysift.scattering.separation.separate import Coarse
from skysift.scattering.statistic import AbstractStatistic
from skysift.store.fits import Precision

_SINGLE = (1e-30, 1e30)
"""Deviations of maps whose values single precision holds."""

_BINS = 12
"""Of a power spectrum that a constraint asks for where the separation has none."""


def require_possible(experiment: UnmixingExperiment) -> None:
    """Refuse settings that make no sense, before anything is computed.

    Raises:
        ValueError: naming the setting.
    """
    for name, least, say in (
        ("seed", 0, "--seed 0"),
        ("draws", 1, "--draws 100"),
        ("restarts", 1, "--restarts 1"),
        ("together", 1, "--together 1"),
        ("steps", 1, "--steps 30"),
        ("batch", 0, "--batch 0"),
        ("bins", 0, "--bins 12"),
        ("levels", 1, "--levels 1"),
    ):
        value = getattr(experiment, name)
        if value < least:
            raise ValueError(f"{name}: expected {least} or more, got {value}. Say {say}.")
    if not 0.0 < experiment.tolerance < math.inf:
        raise ValueError(
            f"tolerance: expected more than 0, got {experiment.tolerance:g}. Say --tolerance 1."
        )


@dataclass(frozen=True, eq=False)
class Observed:
    """Data, and all that a separation of them needs.

    Args:
        experiment: that asked for it.
        fields: maps as they were read, masked; of halves their means.
        maps: as statistics see them: in units of `scale`, with a margin of NaN where edges are
            open; `(2, *map shape)` of halves.
        scale: deviation of each map.
        canvas: their grid.
        weights: of the regions, `None` where there are none.
        statistic: of the data.
        wanted: constraints as they were said.
        finest: grid of the files, where this one has fewer cells.
    """

    experiment: UnmixingExperiment
    fields: tuple[Field, ...]
    maps: Float[np.ndarray, "..."]
    scale: Float[np.ndarray, " channel"]
    canvas: Canvas
    weights: Float[np.ndarray, "region ..."] | None
    statistic: AbstractStatistic
    wanted: tuple[Wanted, ...]
    finest: Canvas | None = None

    @staticmethod
    def of(experiment: UnmixingExperiment) -> Observed:
        """The data of an experiment.

        Raises:
            ValueError: for a file, a field, a mask or settings that make no sense.
        """
        require_possible(experiment)
        wanted = read_wanted(experiment.constraints)
        Said.of(experiment.contamination)
        fields = read_fields(experiment.file, experiment.field)
        if experiment.mask is not None:
            mask = read_mask(experiment.mask)
            fields = tuple(field.without(mask) for field in fields)
        halves = _halves(fields) if experiment.halves else None
        if halves is not None:
            fields = tuple(
                dataclasses.replace(one, values=0.5 * (one.values + other.values))
                for one, other in zip(*halves, strict=True)
            )
        canvas = Canvas.of(experiment, fields[0], 2 ** (experiment.levels - 1))
        canvas.coarser(experiment.levels - 1)  # refuses more levels than there can be
        single = experiment.precision is Precision.SINGLE
        scale = np.array([deviation(field.values, single) for field in fields])
        weights = _regions(experiment, fields[0], canvas)
        parts = _parts(experiment)
        statistic = _statistic(canvas, parts, len(fields), experiment.bins, weights)
        own = Observed(experiment, fields, np.empty(0), scale, canvas, weights, statistic, wanted)
        if halves is None:
            maps = own.scaled(np.stack([field.values for field in fields]))
        else:
            maps = np.stack([own.scaled(np.stack([o.values for o in half])) for half in halves])
        return dataclasses.replace(own, maps=maps)

    @property
    def kept(self) -> Bool[np.ndarray, "..."]:
        """Cells of the data, with the margin, that are known."""
        cells = self.canvas.shape
        return np.asarray(np.isfinite(self.maps).reshape(-1, *cells).all(axis=0))

    def scaled(
        self, values: Float[np.ndarray, "... channel cell"], margin: float = np.nan
    ) -> Float[np.ndarray, "..."]:
        """Maps `(..., channel, *cells)` as statistics see them.

        In units of the deviation of the data, in the precision of the computation, with a margin,
        without the axis of a single map.
        """
        cells = len(self.canvas.cells)
        scale = self.scale.reshape(-1, *[1] * cells)
        kind = np.float32 if self.experiment.precision is Precision.SINGLE else np.float64
        framed = self.canvas.framed((values / scale).astype(kind), margin)
        return framed[(..., 0, *[slice(None)] * cells)] if len(self.fields) == 1 else framed

    def restored(self, maps: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... channel cell"]:
        """Maps `(..., channel, *cells)` in the unit of the files, of what statistics see."""
        cells = len(self.canvas.cells)
        found = self.canvas.cut(np.asarray(maps, dtype=float))
        if len(self.fields) == 1:
            found = np.expand_dims(found, -cells - 1)
        return found * self.scale.reshape(-1, *[1] * cells)

    def written(self, values: Float[np.ndarray, "..."], channel: int) -> Field:
        """A map in the unit of the files as a file like that of the data; NaN where they are."""
        field = self.fields[channel]
        values = np.where(np.isfinite(field.values), values, np.nan)
        single = self.experiment.precision is Precision.SINGLE
        if single and _SINGLE[0] < float(self.scale[channel]) < _SINGLE[1]:
            values = values.astype(np.float32)
        return dataclasses.replace(field, values=values)

    def contamination(self) -> AbstractContamination:
        """What is known of the contamination, in the units that statistics see.

        Raises:
            ValueError: for files that do not fit the data.
        """
        own = self.experiment

        def model() -> AbstractStatistic:
            return _statistic(self.canvas, _parts(own), len(self.fields), own.bins, None)

        return read_contamination(own, self.fields, model, self.scaled)

    def constraints(self) -> tuple[Constraint, ...]:
        """What the signal has to satisfy.

        Raises:
            ValueError: for a constraint that the data cannot serve.
        """
        if not self.experiment.halves and any(one.kind == "halves" for one in self.wanted):
            raise ValueError(
                "constraints: expected data in two halves for halves, got whole ones. Give a file "
                "for each half, and say --halves."
            )
        finest = self.finest or self.canvas
        workshop = Workshop(
            own=self.statistic,
            channels=len(self.fields),
            grid=self.fields[0],
            statistic=self._made,
            as_data=self._beside,
            scale=self.scale,
            waves=max(finest.shape) / max(finest.cells),
        )
        return tuple(workshop.constraint(one) for one in self.wanted)

    def coarser(self) -> tuple[Coarse, ...]:
        """What the signal has to satisfy on coarser grids, the fewest cells first.

        Raises:
            ValueError: for more levels than what is not masked allows.
        """
        found: list[Coarse] = []
        for count in range(1, self.experiment.levels):
            try:
                small = self._coarse(self.canvas.coarser(count))
                found.insert(0, Coarse(small.statistic, small.constraints()))
            except ValueError as error:
                raise ValueError(
                    f"levels: expected {count} or fewer for these data, got "
                    f"{self.experiment.levels}: {error} Say --levels {count}."
                ) from error
        return tuple(found)

    def _coarse(self, canvas: Canvas) -> Observed:
        """The same with fewer cells, but for the maps."""
        weights = None
        if self.weights is not None:
            # A cell has no weight if any part of it has none.
            some = np.where(self.weights > 0.0, self.weights, np.nan)
            each = [coarsened(one, self.canvas.domain(), canvas.domain()) for one in some]
            weights = np.clip(np.nan_to_num(np.stack(each)), 0.0, None)
        own = self.experiment
        statistic = _statistic(canvas, _parts(own), len(self.fields), own.bins, weights)
        return dataclasses.replace(
            self, canvas=canvas, weights=weights, statistic=statistic, finest=self.canvas
        )

    def memory(self) -> Memory:
        """That the separation will take."""
        single = self.experiment.precision is Precision.SINGLE
        width, channels = 4 if single else 8, len(self.fields)
        seen = max(2 if one.kind in _PAIRED else 1 for one in self.wanted) * channels
        cells = math.prod(self.canvas.shape)
        directions = self.experiment.orientations if self.canvas.nside is None else None
        held = (2 if self.experiment.halves else 0) + 2
        drawn = {"draws of the contamination": 1.0 * held * self.experiment.draws * cells * width}
        at_once = min(self.experiment.together, self.experiment.restarts)
        return Memory(Memory.of_scattering(cells, at_once * seen, directions, width).parts | drawn)

    def _made(self, parts: Sequence[Part], channels: int) -> AbstractStatistic:
        own = self.experiment
        bins = own.bins or _BINS
        return _statistic(self.canvas, parts or _parts(own), channels, bins, self.weights)

    def _beside(self, field: Field) -> Float[np.ndarray, "..."]:
        """Another map of the sky in units of its deviation."""
        single = self.experiment.precision is Precision.SINGLE
        values = field.values / deviation(field.values, single)
        # The margin is no part of the sky; there the data are missing as well.
        if self.finest is None:
            return self.canvas.framed(values.astype(self.maps.dtype))
        framed = self.finest.framed(values.astype(self.maps.dtype))
        return coarsened(framed, self.finest.domain(), self.canvas.domain())


_PAIRED = ("halves", "independent", "ancillary")


def _parts(experiment: UnmixingExperiment) -> tuple[Part, ...]:
    """Kinds of statistics of a separation."""
    family = Part.of(experiment.family)
    return (family, Part.SPECTRUM) if experiment.bins else (family,)


def _statistic(
    canvas: Canvas,
    parts: Sequence[Part],
    channels: int,
    bins: int,
    weights: Float[np.ndarray, "region ..."] | None,
) -> AbstractStatistic:
    def made(part: Part) -> AbstractStatistic:
        if part is Part.SPECTRUM:
            return canvas.spectrum(bins, channels, weights)
        if part is Part.PDF:
            return canvas.pdf(channels, weights)
        return canvas.statistic(Family[part.name], channels, weights)

    statistics = [made(part) for part in dict.fromkeys(parts)]
    return statistics[0] if len(statistics) == 1 else Mixture(statistics)


def _halves(fields: tuple[Field, ...]) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """The maps of either half."""
    if len(fields) % 2:
        raise ValueError(
            "halves: expected as many maps of the first half as of the second, got "
            f"{len(fields)} in all. Give the files of the one, then those of the other."
        )
    middle = len(fields) // 2
    return fields[:middle], fields[middle:]


def _regions(
    experiment: UnmixingExperiment, field: Field, canvas: Canvas
) -> Float[np.ndarray, "region ..."] | None:
    """Weights of the cells in each region."""
    if not experiment.regions:
        return None
    weights = []
    for path in experiment.regions:
        try:
            (one,) = read_fields((path,))
        except ValueError as error:
            raise ValueError(f"regions: {error}") from None
        require_like(one, field, "regions", "the data")
        if np.nanmin(one.values) < 0.0:
            raise ValueError(
                f"regions: expected weights of 0 or more in {path}, got some below. Say 0 outside."
            )
        if not np.any(np.nan_to_num(one.values)[np.isfinite(field.values)] > 0.0):
            raise ValueError(
                f"regions: expected cells of the data in {path}, got none. Choose a larger region."
            )
        weights.append(canvas.framed(np.nan_to_num(one.values), 0.0))
    return np.stack(weights)
