"""Statistics of fields: the numbers, what each of them is, and views of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from skysift.scattering.layout import Layout, Order, Table, order_of

if TYPE_CHECKING:
    import xarray as xr


class Statistics(eqx.Module):
    """Scattering statistics of one field or of many.

    Args:
        values: `(..., coefficient)` of each table of the layout, real or complex. Leading axes are
            fields: the batch axes of the maps.
        layout: what each coefficient is.
        masked: number of cells left out because they were not finite.

    Examples:
        >>> from skysift.scattering import Covariance
        >>> st = Covariance.plane(shape=(16, 16), scales=2, orientations=2)
        >>> phi = st(np.random.default_rng(0).standard_normal((16, 16)))
        >>> phi.n_coefficients, phi["S1"].shape
        (100, (4,))
    """

    values: tuple[Inexact[Array, "... coefficient"], ...]
    layout: Layout = eqx.field(static=True)
    masked: int = eqx.field(static=True, default=0)

    def __getitem__(self, order: Order | str) -> Inexact[Array, "... coefficient"]:
        return self.values[self.layout.tables.index(self.layout[order])]

    @property
    def n_coefficients(self) -> int:
        """Number of real numbers: a complex coefficient counts twice."""
        return self.layout.n_coefficients

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the fields that these are statistics of."""
        return self.values[0].shape[:-1]

    @property
    def vector(self) -> Float[Array, "... number"]:
        """All numbers in one vector; of complex coefficients all real parts come first."""
        parts = []
        for table, values in zip(self.layout.tables, self.values, strict=True):
            parts.append(jnp.real(values))
            if table.complex:
                parts.append(jnp.imag(values))
        return jnp.concatenate(parts, axis=-1)

    @staticmethod
    def of_vector(
        vector: Float[np.ndarray | Array, "... number"], layout: Layout, masked: int = 0
    ) -> Statistics:
        """Statistics whose vector is given, as `vector` has it.

        Args:
            vector: all numbers, with leading axes for fields.
            layout: what each number is.
            masked: number of cells left out.
        """
        values = []
        for table, here in zip(layout.tables, layout.slices, strict=True):
            part = vector[..., here]
            if table.complex:
                part = part[..., : table.size] + 1j * part[..., table.size :]
            values.append(jnp.asarray(part))
        return Statistics(tuple(values), layout, masked)

    def select(self, order: Order | str | None = None, **axes: int | Sequence[int]) -> Statistics:
        """The coefficients of an order, or those with given values of named axes.

        Args:
            order: one order, or `None` for all that have the axes named.
            axes: value or values to keep of each axis, such as `scale=0`, `orientation=[0, 1]`.

        Raises:
            ValueError: for an order or an axis that is not there, or when nothing is left.
        """
        tables = (self.layout[order],) if order is not None else self.layout.tables
        kept_tables, kept_values = [], []
        for table in tables:
            if order is None and not set(axes) <= set(table.axes):
                continue
            keep = np.ones(table.size, dtype=bool)
            for axis, wanted in axes.items():
                keep &= np.isin(table.column(axis), np.atleast_1d(wanted))
            if keep.any():
                rows = np.flatnonzero(keep)
                kept_tables.append(table.take(rows))
                kept_values.append(self[table.order][..., rows])
        if not kept_tables:
            asked = ", ".join(f"{axis}={wanted}" for axis, wanted in axes.items())
            raise ValueError(
                f"select: expected coefficients with {asked or order}, got none. "
                "The axes and their values are in `statistics.layout`."
            )
        layout = Layout(tuple(kept_tables), f"{self.layout.origin}, selected")
        return Statistics(tuple(kept_values), layout, self.masked)

    def mean(self, axis: int = 0) -> Statistics:
        """Average over one of the batch axes: the statistics of an ensemble of examples."""
        _require_batch(self, "mean")
        values = tuple(jnp.mean(one, axis=axis) for one in self.values)
        return Statistics(values, self.layout, self.masked)

    def covariance(self) -> Float[np.ndarray, "number number"]:
        """Covariance of the vector over the first batch axis, an ensemble of at least two."""
        _require_batch(self, "covariance")
        vectors = np.asarray(self.vector)
        return np.cov(vectors.reshape(-1, vectors.shape[-1]), rowvar=False)

    def deviation(self) -> Float[np.ndarray, " number"]:
        """Standard deviation of the vector over the batch, an ensemble of at least two."""
        _require_batch(self, "deviation")
        vectors = np.asarray(self.vector)
        return vectors.reshape(-1, vectors.shape[-1]).std(axis=0, ddof=1)

    def to_dataset(self) -> xr.Dataset:
        """As an xarray dataset: a variable and an index for each order, with its named axes."""
        import xarray as xr  # a fifth of a second that nothing else needs

        variables: dict[str, object] = {}
        coordinates: dict[str, object] = {}
        fields = [f"field_{axis}" if axis else "field" for axis in range(len(self.batch))]
        for table, values in zip(self.layout.tables, self.values, strict=True):
            name = table.order.value
            dimension = f"{name}_coefficient"
            numbers = np.asarray(values)
            if table.complex:
                variables[f"{name}_real"] = ([*fields, dimension], np.real(numbers))
                variables[f"{name}_imag"] = ([*fields, dimension], np.imag(numbers))
            else:
                variables[name] = ([*fields, dimension], numbers)
            for axis in table.axes:
                coordinates[f"{name}_{axis}"] = (dimension, table.column(axis))
        return xr.Dataset(
            variables,
            coords=coordinates,
            attrs={"origin": self.layout.origin, "masked_cells": self.masked},
        )


def _require_batch(statistics: Statistics, verb: str) -> None:
    if not statistics.batch or statistics.batch[0] < 2:
        raise ValueError(
            f"{verb}: expected the statistics of at least two fields, got those of "
            f"{statistics.batch or 'one'}. Give maps with a leading axis."
        )


def statistics_of(pairs: list[tuple[Table, Array]], origin: str, masked: int = 0) -> Statistics:
    """Statistics of tables with their values.

    Args:
        pairs: tables and values.
        origin: what made them, in words.
        masked: number of cells left out.
    """
    tables, values = zip(*pairs, strict=True)
    return Statistics(tuple(values), Layout(tuple(tables), origin), masked)


def stack(many: Sequence[Statistics]) -> Statistics:
    """Statistics of several fields as those of a batch, with the most cells masked in any.

    Raises:
        ValueError: for statistics of different layouts.
    """
    if len({one.layout for one in many}) != 1:
        raise ValueError(
            "many: expected statistics of one configuration, got several. Compute all of them "
            "with the same operator."
        )
    values = tuple(jnp.stack(group) for group in zip(*(one.values for one in many), strict=True))
    return Statistics(values, many[0].layout, max(one.masked for one in many))


__all__ = ["Statistics", "order_of", "stack", "statistics_of"]
