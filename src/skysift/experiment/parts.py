"""Samples brought onto cells parent by parent, in little memory, so that nothing done is lost.

The cells of each parent are a file that appears when it is complete. An attempt that was
interrupted goes on with the files that are missing.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from skysift.experiment.cell_values import CellValues
from skysift.experiment.config import Estimate
from skysift.experiment.recipe import Recipe
from skysift.experiment.samples import Samples
from skysift.files import atomic
from skysift.resample import NotConverged, Regions, cells_of
from skysift.resample.observations import harmonic_mean
from skysift.resample.regional import NO_CELLS
from skysift.store.dataset import read_dataset, write_dataset

_NPT = 9  # links per sample for which the halo of regions is by default


@dataclass(frozen=True, eq=False)
class Parts:
    """Samples divided by parent cells.

    Args:
        recipe: how cells are made of samples.
        samples: all of them.
        regions: samples of each parent and around it.
    """

    recipe: Recipe
    samples: Samples
    regions: Regions

    @staticmethod
    def of(recipe: Recipe, samples: Samples) -> Parts:
        """Samples divided as the recipe says.

        Raises:
            ValueError: for a level of parents that is out of range, or too little memory.
        """
        made = recipe.experiment
        common: dict[str, Any] = {
            "lon": samples.lon,
            "lat": samples.lat,
            "level": made.level,
            "method": recipe.interpolation,
            "ellipsoid": made.ellipsoid,
            "nest": not made.ring,
            "halo": _halo(made.npt),
        }
        if made.parent_level is not None:
            return Parts(recipe, samples, Regions(parent_level=made.parent_level, **common))
        assert made.memory_mb is not None  # else there are no parts
        rows = len(samples.values)
        try:
            regions = Regions.within(memory=made.memory_mb * 2**20, rows=rows, **common)
        except ValueError as error:
            raise ValueError(
                f"memory_mb: expected more than {made.memory_mb:g} MiB ({error})"
            ) from error
        return Parts(recipe, samples, regions)

    def homes(self, samples: Samples) -> Int[np.ndarray, " sample"]:
        """NESTED numbers of the parents that hold samples."""
        regions = self.regions
        return cells_of(samples.lon, samples.lat, regions.parent_level, regions.ellipsoid)

    def shared(self) -> dict[str, Any]:
        """What is said about the fits of all parts; other words would show as seams."""
        if self.recipe.estimate is not Estimate.FIT:
            return {}
        given = self.recipe.given(self.samples)
        options, variance = given.options, given.noise_variance
        damping = options.damping
        if damping is None:
            settings = {one.name: getattr(options, one.name) for one in fields(options)}
            regions, first = self.regions, (self.samples.lon[:1], self.samples.lat[:1])
            home = cells_of(*first, regions.level, regions.ellipsoid, nest=regions.nest)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotConverged)
                damping = regions.fit(
                    self.samples.values,
                    noise_variance=variance,
                    bounds=given.bounds,
                    cells=home,
                    **settings,
                ).damping
        return {
            "damping": damping,
            "least_part": options.required_part,
            "reference_variance": (
                None if variance is None else harmonic_mean(np.atleast_2d(variance))
            ),
        }

    def cells(
        self, folder: Path | None = None, progress: Callable[[int, int], None] | None = None
    ) -> CellValues:
        """Cells of all parts.

        Args:
            folder: where those of each parent are kept; those that are there are taken from it.
            progress: called after each parent with how many are done and how many there are.
        """
        shared = self._kept_options(folder)
        homes, parents = self.homes(self.samples), self.regions.parents
        found, places = [], []
        for done, parent in enumerate(parents, start=1):
            part = self._part(int(parent), homes, shared, folder)
            if part is not None:
                found.append(part)
                places.append(np.flatnonzero(homes == parent))
            if progress is not None:
                progress(done, parents.size)
        if not found:
            raise ValueError(NO_CELLS)
        return CellValues.joined(found, places, self.samples.size)

    def _part(
        self,
        parent: int,
        homes: Int[np.ndarray, " sample"],
        shared: dict[str, Any],
        folder: Path | None,
    ) -> CellValues | None:
        """Cells of one parent, `None` if it has none."""
        file = None if folder is None else folder / f"parent-{parent}.nc"
        if file is not None and file.is_file():
            return CellValues.from_dataset(read_dataset(file))
        region = self.regions.region(parent)
        if region is None:
            return None
        samples = self.samples.taken(region.samples)
        found = CellValues.of(self.recipe, samples, region.sampling, **shared)
        part = found.taken(region.inside, homes[region.samples] == parent)
        if file is not None:
            write_dataset(file, part.to_dataset())
        return part

    def _kept_options(self, folder: Path | None) -> dict[str, Any]:
        """What all parts share, chosen once in all attempts."""
        if folder is None:
            return self.shared()
        file = folder / "shared.json"
        if not file.is_file():
            with atomic(file) as path:
                path.write_text(
                    json.dumps(self.shared(), default=lambda array: np.asarray(array).tolist())
                )
        return {
            name: None if value is None else np.asarray(value)
            for name, value in json.loads(file.read_text()).items()
        }


def _halo(npt: int | None) -> int:
    """Rings of cells around a parent: as many times farther than nine as links reach farther."""
    return math.ceil(Regions.halo * math.sqrt(max(npt or 0, _NPT) / _NPT))
