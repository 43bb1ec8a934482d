"""Groups: one number from all samples in a cell."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from skysift.resample import arrays
from skysift.resample.check import check_choice
from skysift.resample.ellipsoid import WGS84, Ellipsoid
from skysift.resample.methods import nearest
from skysift.resample.sampling import Sampling


class Reduce(enum.Enum):
    """What is made of the samples in a cell."""

    MEAN = "mean"
    SUM = "sum"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    COUNT = "count"
    STD = "std"
    MEDIAN = "median"


@dataclass(frozen=True, eq=False)
class Grouping:
    """Samples grouped by the cell that holds them.

    Args:
        sampling: the cell of each sample, one link each.
        reduce: what `average` makes of the samples in a cell.
    """

    sampling: Sampling
    reduce: Reduce

    @property
    def cell_ids(self) -> Int[np.ndarray, " cell"]:
        """Numbers of the cells, sorted."""
        return self.sampling.cell_ids

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.sampling.n_samples

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.sampling.n_cells

    def average(self, samples: arrays.type_of_values) -> arrays.type_of_values:
        """The number of each cell, from those of its samples that are known.

        Args:
            samples: `(..., sample)`, as NumPy, JAX, torch, Dask or xarray arrays; NaN, UNSEEN and
                infinite values are left out.

        Returns:
            `(..., cell)`, of the same kind; NaN where no sample is left, whatever the reduction,
            but for a count, which is 0. The standard deviation is that of the samples themselves
            (divided by their number).

        Raises:
            ValueError: for values that are not real numbers, one per sample along the last axis.
        """
        source, target = self.sampling.sample_axis, self.sampling.cell_axis
        return arrays.apply(self._average, samples, source, target, np.dtype(float))

    def _average(self, samples):
        if isinstance(samples, jax.Array):
            return jnp.asarray(self._average(np.asarray(samples)))
        samples = arrays.without_unseen(samples.astype(float))[..., self._order]
        known = np.isfinite(samples)
        count = self._by_cell(np.add, known.astype(np.int64))
        if self.reduce is Reduce.COUNT:
            return self._spread(count.astype(float), 0.0)
        found = self._reduced(samples, known, count)
        return self._spread(np.where(count > 0, found, np.nan), np.nan)

    def resample(self, cells: arrays.type_of_values) -> arrays.type_of_values:
        """Values of the cells that hold the samples, NaN outside of them."""
        return self.sampling.resample(cells)

    def _reduced(
        self,
        samples: Float[np.ndarray, "... sample"],
        known: Float[np.ndarray, "... sample"],
        count: Int[np.ndarray, "... group"],
    ) -> Float[np.ndarray, "... group"]:
        match self.reduce:
            case Reduce.SUM:
                return self._by_cell(np.add, np.where(known, samples, 0.0))
            case Reduce.PRODUCT:
                return self._by_cell(np.multiply, np.where(known, samples, 1.0))
            case Reduce.MIN:
                return self._by_cell(np.minimum, np.where(known, samples, np.inf))
            case Reduce.MAX:
                return self._by_cell(np.maximum, np.where(known, samples, -np.inf))
            case Reduce.MEDIAN:
                return self._median(np.where(known, samples, np.nan), count)
        mean = self._by_cell(np.add, np.where(known, samples, 0.0)) / np.maximum(count, 1)
        if self.reduce is Reduce.MEAN:
            return mean
        # In two passes: the mean square minus the squared mean loses small deviations.
        deviation = np.where(known, samples, 0.0) - np.repeat(mean, self._sizes, axis=-1)
        squares = self._by_cell(np.add, np.where(known, deviation, 0.0) ** 2)
        return np.sqrt(squares / np.maximum(count, 1))

    def _median(
        self, samples: Float[np.ndarray, "... sample"], count: Int[np.ndarray, "... group"]
    ) -> Float[np.ndarray, "... group"]:
        """Middle one of the sorted values, or mean of the middle two; NaN are sorted to the end."""
        group = np.repeat(np.arange(self._sizes.size), self._sizes)
        order = np.lexsort((samples, np.broadcast_to(group, samples.shape)), axis=-1)
        ordered = np.take_along_axis(samples, order, axis=-1)
        last = np.maximum(count - 1, 0)
        low = np.take_along_axis(ordered, self._starts + last // 2, axis=-1)
        high = np.take_along_axis(ordered, self._starts + (last + 1) // 2, axis=-1)
        return 0.5 * low + 0.5 * high

    def _by_cell(self, function: np.ufunc, values: np.ndarray) -> np.ndarray:
        """Values of each group combined."""
        if not self._starts.size:
            return np.zeros((*values.shape[:-1], 0), dtype=values.dtype)
        return function.reduceat(values, self._starts, axis=-1)

    def _spread(
        self, values: Float[np.ndarray, "... group"], empty: float
    ) -> Float[np.ndarray, "... cell"]:
        """Values of groups at their cells."""
        out = np.full((*values.shape[:-1], self.n_cells), empty)
        out[..., self._cells] = values
        return out

    @functools.cached_property
    def _members(self) -> tuple[Int[np.ndarray, " sample"], Int[np.ndarray, " sample"]]:
        """Samples in the cells, sorted by cell, and the positions of their cells."""
        rows = np.flatnonzero(np.asarray(self.sampling.weights)[:, 0] != 0.0)
        position = np.asarray(self.sampling.index)[rows, 0]
        order = np.argsort(position, kind="stable")
        return np.asarray(self.sampling.order)[rows[order]], position[order]

    @property
    def _order(self) -> Int[np.ndarray, " sample"]:
        return self._members[0]

    @functools.cached_property
    def _starts(self) -> Int[np.ndarray, " group"]:
        return np.flatnonzero(np.diff(self._members[1], prepend=-1))

    @property
    def _cells(self) -> Int[np.ndarray, " group"]:
        return self._members[1][self._starts]

    @functools.cached_property
    def _sizes(self) -> Int[np.ndarray, " group"]:
        return np.diff(np.append(self._starts, self._order.size))


def group_by(
    lon: Float[np.ndarray, " sample"],
    lat: Float[np.ndarray, " sample"],
    level: int,
    *,
    reduce: Reduce | str = Reduce.MEAN,
    cells: Int[np.ndarray, " cell"] | None = None,
    ellipsoid: Ellipsoid | str = WGS84,
    nest: bool = True,
    memory_mb: float | None = None,
) -> Grouping:
    """Group samples by the cell that holds them.

    Args:
        lon: longitudes in any branch [degrees].
        lat: geodetic latitudes [degrees].
        level: log2(nside), from 0 to 29; at level 29 groups are points.
        reduce: what is made of the samples in a cell.
        cells: numbers of the wanted cells; those that hold samples when `None`.
        ellipsoid: figure on which the latitudes are.
        nest: NESTED numbers, else RING.
        memory_mb: most memory that construction may take [MiB], more is refused.

    Raises:
        ValueError: for an unknown reduction, bad coordinates, a wrong level, or too little memory.

    Examples:
        >>> groups = group_by([0.0, 0.1, 90.0], [0.1, 0.0, 0.1], 0, reduce="max")
        >>> groups.average([1.0, 3.0, np.nan])
        array([ 3., nan])
    """
    reduce = check_choice("reduce", Reduce, reduce)
    sampling = nearest(
        lon, lat, level, cells=cells, ellipsoid=ellipsoid, nest=nest, memory_mb=memory_mb
    )
    return Grouping(sampling, reduce)
