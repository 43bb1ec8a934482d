"""The sparse relation between samples and HEALPix cells."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int
from scipy.sparse import csr_array

from skysift.grid import Grid, Ordering
from skysift.resample import arrays, files
from skysift.resample.check import check_choice
from skysift.resample.ellipsoid import WGS84, Ellipsoid

if TYPE_CHECKING:
    from skysift.resample.inverse import CellFit

type_of_values = arrays.type_of_values

_MOST_LINKS = 2**31 - 1  # of a sparse matrix with indices of 32 bits


class Method(enum.Enum):
    """How the weights of a `Sampling` were made."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    INVERSE_DISTANCE = "inverse_distance"
    BICUBIC = "bicubic"
    PSF = "psf"
    CONSERVATIVE = "conservative"


@dataclass(frozen=True, eq=False)
class Sampling:
    """Values at samples from values of cells, y = A x, with equally many links for each sample.

    Rows are stored along the NESTED curve, which keeps what is near on the sphere near in memory;
    every method takes and gives samples in the user's order. Values may be NumPy, JAX, torch, Dask
    or xarray arrays, `(N,)` or `(..., N)`; the result is of the same kind, in the precision of the
    weights. Under `jax.jit` a sampling may be closed over or passed as an argument.

    Args:
        grid: the cells, with nside = 2**level.
        index: for each row and link the position in `grid.index`; a link that is not used repeats
            one that is.
        weights: for each row and link the weight, 0 where not used. Rows sum to 1 for methods that
            interpolate; rows of samples that no cell stands for are 0.
        support: sum of the weights of each row before they were normalised.
        order: the user's number of the sample of each row.
        ellipsoid: figure on which samples and cells are.
        method: how the weights were made.

    Raises:
        ValueError: for arrays whose shapes do not fit, or an index that is no position of a cell.

    Examples:
        >>> from skysift.resample import nearest
        >>> sampling = nearest(np.array([10.0, 11.0, 80.0]), np.array([0.0, 1.0, 2.0]), level=2)
        >>> sampling.n_samples, sampling.n_cells
        (3, 2)
        >>> sampling.average(np.array([1.0, 3.0, 5.0])).tolist()
        [2.0, 5.0]
        >>> sampling.resample(np.array([2.0, 5.0])).tolist()
        [2.0, 2.0, 5.0]
    """

    grid: Grid
    index: Int[np.ndarray, "sample link"]
    weights: Float[np.ndarray, "sample link"]
    support: Float[np.ndarray, " sample"]
    order: Int[np.ndarray, " sample"]
    ellipsoid: Ellipsoid = WGS84
    method: Method = Method.PSF

    def __post_init__(self) -> None:
        if not isinstance(self.index, np.ndarray) or self.index.dtype == jax.dtypes.float0:
            return  # a leaf inside a jax transformation
        shape = self.index.shape
        if len(shape) != 2 or self.weights.shape != shape:
            raise ValueError(
                f"weights: expected shape (sample, link) as the index has, got {shape} and "
                f"{self.weights.shape}. Give links that are not used a weight of 0."
            )
        for name in ("support", "order"):
            if getattr(self, name).shape != shape[:1]:
                raise ValueError(
                    f"{name}: expected {shape[0]} values, one per sample, got shape "
                    f"{getattr(self, name).shape}. Cut all arrays of a sampling alike."
                )
        if self.index.size and not 0 <= self.index.min() <= self.index.max() < self.grid.size:
            raise ValueError(
                f"index: expected positions from 0 to {self.grid.size - 1} in the grid's cells, "
                f"got {self.index.min()} to {self.index.max()}. Give cell numbers to the grid, "
                "positions to the index."
            )

    @property
    def level(self) -> int:
        """HEALPix level, log2(nside)."""
        return self.grid.level

    @property
    def nest(self) -> bool:
        """Whether the cells are numbered NESTED, else RING."""
        return self.grid.ordering is Ordering.NESTED

    @property
    def cell_ids(self) -> Int[np.ndarray, " cell"]:
        """Numbers of the cells, sorted."""
        return self.grid.index

    def get_cell_ids(self) -> Int[np.ndarray, " cell"]:
        """`cell_ids`, under the name that healpix-resample gives it."""
        return self.cell_ids

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.index.shape[0]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.grid.size

    @functools.cached_property
    def covered(self) -> Bool[np.ndarray, " sample"]:
        """Whether any cell stands for a sample."""
        return self.by_sample((self.weights != 0.0).any(axis=1))

    @functools.cached_property
    def samples_per_cell(self) -> Int[np.ndarray, " cell"]:
        """Number of samples linked to each cell."""
        used = np.asarray(self.weights) != 0.0
        return np.bincount(np.asarray(self.index)[used], minlength=self.n_cells)

    @functools.cached_property
    def closest_sample(self) -> Int[np.ndarray, " cell"]:
        """For each cell the sample of largest weight before normalising, -1 where there is none.

        Of equal weights the first sample counts. `values[..., closest_sample]` resamples without
        mixing values, as classes and flags need it.
        """
        row, link = np.nonzero(self.weights)
        cell, sample = self.index[row, link], self.order[row]
        order = np.lexsort((sample, -self.weights[row, link] * self.support[row], cell))
        first = order[np.diff(cell[order], prepend=-1) != 0]
        closest = np.full(self.n_cells, -1)
        closest[cell[first]] = sample[first]
        return closest

    def forward(self, cells: type_of_values) -> type_of_values:
        """A x: the linear operator, 0 at samples that are not covered.

        Args:
            cells: `(..., cell)`, in the order of `cell_ids`, all finite; `resample` takes missing
                ones.

        Raises:
            ValueError: for another number of cells, or values that are not real numbers.
        """
        return self._apply(self._forward, cells, self.cell_axis, self.sample_axis)

    def adjoint(self, samples: type_of_values) -> type_of_values:
        """A^T y: the exact transpose of `forward`.

        Args:
            samples: `(..., sample)`. A NaN reaches the cells linked to its sample; `average` and
                `fit` leave it out.

        Raises:
            ValueError: for another number of samples, or values that are not real numbers.
        """
        return self._apply(self._adjoint, samples, self.sample_axis, self.cell_axis)

    def resample(self, cells: type_of_values) -> type_of_values:
        """Values at the samples from values of the cells.

        Args:
            cells: `(..., cell)`, in the order of `cell_ids`; NaN or UNSEEN where missing.

        Returns:
            `(..., sample)`; NaN where no cell stands for a sample, and where one that does is
            missing.

        Raises:
            ValueError: for another number of cells, or values that are not real numbers.
        """

        def interpolate(values):
            xp = arrays.namespace(values)
            return xp.where(self.covered, self._forward(arrays.without_unseen(values)), np.nan)

        return self._apply(interpolate, cells, self.cell_axis, self.sample_axis)

    __call__ = resample

    def average(
        self,
        samples: type_of_values,
        noise_variance: Float[ArrayLike, "*batch sample"] | float | None = None,
    ) -> type_of_values:
        """Weighted mean of the samples linked to each cell: |A|^T W y / |A|^T W 1.

        The magnitudes of the weights count: with bicubic's negative ones the sums could vanish. Of
        conservative samplings the weights are the areas that a sample and a cell share, so that
        mean, coverage and area of the cells keep the integral of the samples.

        Args:
            samples: `(..., sample)`; NaN, UNSEEN and infinite values are left out, each where it
                stands.
            noise_variance: of the samples, in the square of their unit; equal by default. One for
                all, `(sample,)`, or `(..., sample)` as the samples (in xarray too, whose names of
                axes do not count here). Samples whose variance is infinite or masked are left out.

        Returns:
            `(..., cell)` in the order of `cell_ids`; NaN where no sample is left. Sums are in
            double precision whatever that of the weights is.

        Raises:
            ValueError: for another number of samples, values that are not real numbers, or a
                variance that is not positive.
        """
        extent = self.by_sample(self.support) if self.method is Method.CONSERVATIVE else 1.0
        variance = 1.0 if noise_variance is None else noise_variance
        variance = arrays.check_variance(variance, self.n_samples)

        def mean(values, variance):
            xp = arrays.namespace(values)
            values = arrays.without_unseen(values.astype(float))
            valid = xp.isfinite(values)
            weight = xp.where(valid, extent / variance, 0.0)
            value = self._magnitude._adjoint(xp.where(valid, values, 0.0) * weight)
            total = self._magnitude._adjoint(weight)
            means = xp.where(total > 0.0, value / xp.where(total > 0.0, total, 1.0), np.nan)
            return means.astype(self.weights.dtype)

        return self._apply(mean, samples, self.sample_axis, self.cell_axis, variance)

    def fit(self, samples: Float[np.ndarray, "*batch sample"], **options) -> CellFit:
        """Cells that explain the samples best, by damped least squares.

        Args:
            samples: `(..., sample)`; NaN values are left out.
            **options: of `skysift.resample.fit`: noise variances, bounds, an initial guess,
                progress, and those of `FitOptions`, such as `damping` and `max_iter`.
        """
        from skysift.resample.inverse import fit

        return fit(self, samples, **options)

    def fit_resample(
        self, samples: Float[np.ndarray, "*batch sample"], **options
    ) -> tuple[CellFit, Float[np.ndarray, "*batch sample"]]:
        """`fit`, and the values of its cells at the samples."""
        cells = self.fit(samples, **options)
        return cells, self.resample(cells.values)

    def column_normalised(self) -> Sampling:
        """The relation whose columns sum to 1: `adjoint` gives means, `forward` shares out sums.

        Columns of cells without samples, or whose weights sum to 0, stay 0.
        """
        total = self.adjoint(np.ones(self.n_samples))
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)
        return replace(self, weights=self.weights * scale[self.index])

    def astype(self, dtype: np.dtype | type) -> Sampling:
        """The same relation with weights in another precision, float32 or float64."""
        return replace(self, weights=self.weights.astype(arrays.check_precision(dtype)))

    def as_lineax(self) -> Any:
        """`forward` as an operator for lineax, which finds the transpose by itself.

        Returns:
            A `lineax.FunctionLinearOperator` from `(cell,)` to `(sample,)`.

        Raises:
            ImportError: if lineax is not installed.
        """
        try:
            import lineax  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "as_lineax: expected lineax to be installed. Run: pip install lineax."
            ) from error
        return lineax.FunctionLinearOperator(
            self._forward, jax.ShapeDtypeStruct((self.n_cells,), self.weights.dtype)
        )

    def save(self, path: str | Path) -> None:
        """Write to NetCDF (`.nc`) or, where zarr is installed, to Zarr (`.zarr`).

        Raises:
            ValueError: for another suffix, or if nothing can be written there.
            DiskFull: if the disk is full; what was there is kept.
            ImportError: if zarr is needed and not installed.
        """
        files.write(self, path)

    def by_sample(self, rows: type_of_values) -> type_of_values:
        """Values of the rows `(row,)`, such as `support`, in the user's order of samples."""
        if isinstance(rows, jax.Array):
            return jnp.take(rows, self._on_device[-1])
        values = np.empty_like(rows)
        values[np.asarray(self.order)] = rows
        return values

    @functools.cached_property
    def _magnitude(self) -> Sampling:
        """The relation with the magnitudes of the weights in double precision; maybe itself."""
        given = self.weights
        if isinstance(given, np.ndarray) and given.dtype == float and not np.any(given < 0.0):
            return self
        return replace(self, weights=abs(given).astype(float))

    @functools.cached_property
    def matrices(self) -> tuple[tuple[slice, csr_array], ...]:
        """The rows as SciPy matrices over the arrays held here: one, or more above 2^31 links."""
        links = max(self.index.shape[1], 1)
        step = max(_MOST_LINKS // links, 1)
        blocks = []
        for start in range(0, self.n_samples, step):
            rows = slice(start, min(start + step, self.n_samples))
            weights, index = self.weights[rows], self.index[rows]
            starts = np.arange(0, index.size + 1, links, dtype=np.int32)
            shape = (index.shape[0], self.n_cells)
            blocks.append((rows, csr_array((weights.ravel(), index.ravel(), starts), shape=shape)))
        return tuple(blocks)

    @functools.cached_property
    def _on_device(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Index, weights, order and its inverse for JAX, copied once."""
        with jax.ensure_compile_time_eval():
            order = jnp.asarray(self.order)
            return jnp.asarray(self.index), jnp.asarray(self.weights), order, jnp.argsort(order)

    @property
    def sample_axis(self) -> arrays.Axis:
        """Name and length of the axis of samples, as xarray takes them."""
        return arrays.Axis("samples", self.n_samples)

    @property
    def cell_axis(self) -> arrays.Axis:
        """Name, length and coordinate of the axis of cells, as xarray takes them."""
        return arrays.Axis("cells", self.n_cells, files.cell_coordinate(self.grid, self.ellipsoid))

    def _apply(self, function, values, source: arrays.Axis, target: arrays.Axis, *variance):
        return arrays.apply(function, values, source, target, self.weights.dtype, *variance)

    def _forward(self, cells):
        if isinstance(cells, jax.Array):
            index, weights, _, place = self._on_device
            rows = jnp.sum(
                jnp.take(cells.astype(weights.dtype), index, axis=-1, mode="clip") * weights,
                axis=-1,
            )
            return jnp.take(rows, place, axis=-1)
        cells = np.ascontiguousarray(cells, self.weights.dtype)
        out = np.empty((len(cells), self.n_samples), self.weights.dtype)
        for given, wanted in zip(cells, out, strict=True):
            for rows, matrix in self.matrices:
                wanted[self.order[rows]] = matrix @ given
        return out

    def _adjoint(self, samples):
        if isinstance(samples, jax.Array):
            index, weights, order, _ = self._on_device
            linked = jnp.where(self.covered, samples.astype(weights.dtype), 0.0)
            rows = jnp.take(linked, order, axis=-1)
            cells = jnp.zeros((*samples.shape[:-1], self.n_cells), weights.dtype)
            return cells.at[..., index].add(rows[..., None] * weights, mode="promise_in_bounds")
        samples = np.asarray(samples, self.weights.dtype)
        if not self.covered.all():
            samples = np.where(self.covered, samples, samples.dtype.type(0))
        out = np.zeros((len(samples), self.n_cells), self.weights.dtype)
        for given, wanted in zip(samples, out, strict=True):
            for rows, matrix in self.matrices:
                np.add(wanted, matrix.T @ given[self.order[rows]], out=wanted)
        return out


jax.tree_util.register_dataclass(
    Sampling,
    data_fields=["index", "weights", "support", "order"],
    meta_fields=["grid", "ellipsoid", "method"],
)


def load(path: str | Path) -> Sampling:
    """Read a sampling that `Sampling.save` wrote.

    Raises:
        ValueError: if the file is missing, damaged or something else.
    """
    fields = files.read(path)
    return Sampling(**{**fields, "method": check_choice("method", Method, fields["method"])})
