"""What each number of a set of statistics is: orders, and named axes with an index for each."""

from __future__ import annotations

import enum
import functools
import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


class Order(enum.Enum):
    """Kinds of statistics, by the names of the literature.

    `mean` and `variance` of the map; `rest`, the power at scales that no wavelet covers; `S0`,
    `S1` and `S2` of the wavelet scattering transform; `S1` to `S4` of the scattering covariance;
    `S11`, `S00`, `S01`, `C01`, `C00` and `Cphase` of the wavelet phase harmonics; of the companions
    `bandpower` of the power spectrum, and `moment`, `quantile` and `scale_moment` of the values.
    """

    MEAN = "mean"
    VARIANCE = "variance"
    REST = "rest"
    POWER = "power"
    S0 = "S0"
    S1 = "S1"
    S2 = "S2"
    S3 = "S3"
    S4 = "S4"
    S11 = "S11"
    S00 = "S00"
    S01 = "S01"
    C01 = "C01"
    C00 = "C00"
    PHASE = "Cphase"
    LOW = "L"
    BANDPOWER = "bandpower"
    MOMENT = "moment"
    QUANTILE = "quantile"
    SCALE_MOMENT = "scale_moment"


@dataclass(frozen=True, eq=False)
class Table:
    """The coefficients of one order: a row for each, a column for each named axis.

    Args:
        order: kind of the statistics.
        axes: names of the columns, such as scale, orientation, channel.
        index: value of each axis for each coefficient.
        complex: whether the coefficients are complex; they count twice then.
    """

    order: Order
    axes: tuple[str, ...]
    index: Int[np.ndarray, "coefficient axis"]
    complex: bool = False

    def column(self, axis: str) -> Int[np.ndarray, " coefficient"]:
        """Values of one axis.

        Raises:
            ValueError: for an axis that this order does not have.
        """
        if axis not in self.axes:
            raise ValueError(
                f"axis: expected one of {', '.join(self.axes)} of {self.order.value}, got {axis!r}."
            )
        return self.index[:, self.axes.index(axis)]

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self.index)

    @property
    def numbers(self) -> int:
        """Number of real numbers: a complex coefficient counts twice."""
        return self.size * (2 if self.complex else 1)

    def take(self, rows: np.ndarray) -> Table:
        """The table of some of the coefficients."""
        return Table(self.order, self.axes, self.index[rows], self.complex)


@dataclass(frozen=True, eq=False)
class Layout:
    """All tables of a set of statistics, equal when the tables and what made them are.

    Args:
        tables: one for each order, in the order of the vector of statistics.
        origin: what made them, in words: family, domain, wavelets.
    """

    tables: tuple[Table, ...]
    origin: str

    @functools.cached_property
    def digest(self) -> str:
        """Of the tables and the origin."""
        state = hashlib.sha256(self.origin.encode())
        for table in self.tables:
            state.update(f"{table.order.value}{table.axes}{table.complex}".encode())
            state.update(np.ascontiguousarray(table.index, dtype=np.int64).tobytes())
        return state.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def orders(self) -> tuple[Order, ...]:
        """Orders that there are."""
        return tuple(table.order for table in self.tables)

    @property
    def n_coefficients(self) -> int:
        """Number of real numbers: a complex coefficient counts twice."""
        return sum(table.numbers for table in self.tables)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the numbers of each table are in the vector of statistics."""
        ends = itertools.accumulate(table.numbers for table in self.tables)
        return tuple(
            slice(end - table.numbers, end) for table, end in zip(self.tables, ends, strict=True)
        )

    def __getitem__(self, order: Order | str) -> Table:
        wanted = order_of(order)
        for table in self.tables:
            if table.order is wanted:
                return table
        have = ", ".join(one.value for one in self.orders)
        raise ValueError(f"order: expected one of {have}, got {wanted.value!r}.")


def order_of(order: Order | str) -> Order:
    """The order of a name.

    Raises:
        ValueError: for a name that is none.
    """
    try:
        return Order(order)
    except ValueError:
        names = ", ".join(one.value for one in Order)
        raise ValueError(f"order: expected one of {names}, got {order!r}.") from None


def by_region(index: Int[np.ndarray, "coefficient axis"], regions: int) -> np.ndarray:
    """The same rows for each region, with the region as first column."""
    rows = np.tile(index, (regions, 1))
    region = np.repeat(np.arange(regions), len(index))
    return np.column_stack([region, rows])
