"""Linear maps of the coefficients of a table: transforms over its orientations and scales."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, Float, Inexact, Int

from skysift.scattering.layout import Table


class Angles(enum.Enum):
    """How the orientations of wavelets relative to the coarsest one are told apart.

    By the angle between them, or by the Fourier frequencies of these angles.
    """

    RELATIVE = "relative"
    FOURIER = "fourier"


@dataclass(frozen=True)
class Reduction:
    """What becomes of the orientations and scales of a scattering covariance.

    Args:
        angles: relative orientations by angle or by frequency.
        handed: keep what changes sign in a mirror. Without, mirrored fields have the same
            statistics.
        common: largest frequency kept of the common orientation, for fields with a preferred
            direction; 0 averages over it.
        scales: whether third and fourth moments are taken to cosine frequencies over the common
            scale, at fixed differences of scale: smooth dependence falls in few of them.
    """

    angles: Angles = Angles.FOURIER
    handed: bool = False
    common: int = 0
    scales: bool = True

    def __post_init__(self) -> None:
        if self.common < 0:
            raise ValueError(f"common: expected 0 or more, got {self.common}. Say common=0.")
        if self.common and self.angles is Angles.RELATIVE:
            raise ValueError(
                "common: expected 0 for relative angles, whose common orientation is averaged "
                f"over, got {self.common}. Say angles=Angles.FOURIER."
            )

    @property
    def has_parts(self) -> bool:
        """Whether sines are kept next to cosines."""
        return self.angles is Angles.FOURIER and (self.handed or self.common > 0)


@dataclass(frozen=True, eq=False)
class Blocks:
    """One small matrix for many blocks of coefficients.

    Args:
        index: positions of the coefficients of each block.
        matrix: that takes those of a block to the new ones.
    """

    index: Int[np.ndarray, "block old"]
    matrix: Float[np.ndarray, "new old"]


@dataclass(frozen=True, eq=False)
class LinearMap:
    """From the coefficients of one table to those of another.

    Args:
        table: of the new coefficients.
        blocks: that give them, one after the other.
    """

    table: Table
    blocks: tuple[Blocks, ...]

    def __call__(self, values: Inexact[Array, "... coefficient"]) -> Float[Array, "... new"]:
        """The new coefficients of the real parts of others."""
        real = jnp.real(values)
        parts = [
            jnp.einsum("...bi,oi->...bo", real[..., one.index], jnp.asarray(one.matrix, real.dtype))
            for one in self.blocks
        ]
        return jnp.concatenate([one.reshape(*real.shape[:-1], -1) for one in parts], axis=-1)


def angular_map(table: Table, orientations: int, reduction: Reduction) -> LinearMap:
    """Averages and Fourier coefficients over the orientations of a table.

    Only real parts are used: on average over a field and the same turned by half a turn the
    imaginary parts vanish, and the real ones depend on orientations modulo half a turn.

    Args:
        table: coefficients, some of whose axes are orientations.
        orientations: number of them over half a turn.
        reduction: what is kept.
    """
    turning = [axis for axis in table.axes if axis.startswith("orientation")]
    if not turning:
        same = Blocks(np.arange(table.size)[:, None], np.ones((1, 1)))
        return LinearMap(Table(table.order, table.axes, table.index), (same,))
    fixed = tuple(axis for axis in table.axes if axis not in turning)
    keys, index = _blocks(table, fixed, turning)
    # Two moduli of one scale and channel may be exchanged: half of the coefficients say it all.
    alike = np.zeros(len(keys), dtype=bool)
    if len(turning) == 3:
        columns = dict(zip(fixed, keys.T, strict=True))
        alike = columns["scale2"] == columns["scale3"]
        alike &= columns["channel2"] == columns["channel3"]
    axes, blocks, rows = _names(reduction, len(turning) - 1), [], []
    for exchanged in (False, True):
        mine = np.flatnonzero(alike == exchanged)
        if mine.size:
            new, matrix = _basis(orientations, len(turning) - 1, reduction, exchanged)
            blocks.append(Blocks(index[mine], matrix))
            rows.append(_products(keys[mine], new))
    return LinearMap(Table(table.order, (*fixed, *axes), np.concatenate(rows)), tuple(blocks))


def scale_map(table: Table) -> LinearMap:
    """Cosine transform over the common scale of a table, at fixed differences of scale."""
    finer = [axis for axis in table.axes if axis in ("scale2", "scale3")]
    steps = {axis: table.column("scale") - table.column(axis) for axis in finer}
    columns = [steps.get(axis, table.column(axis)) for axis in table.axes]
    renamed = tuple(axis.replace("scale", "step") if axis in steps else axis for axis in table.axes)
    stepped = Table(table.order, renamed, np.stack(columns, axis=-1))
    fixed = tuple(axis for axis in renamed if axis != "scale")
    rows, blocks = [], []
    shared = np.stack([stepped.column(axis) for axis in fixed], axis=-1)
    _, block, counts = np.unique(shared, axis=0, return_inverse=True, return_counts=True)
    lengths = counts[block.ravel()]
    for length in np.unique(lengths)[::-1]:
        where = np.flatnonzero(lengths == length)
        keys, index = _blocks(stepped.take(where), fixed, ["scale"])
        cosines = np.asarray(scipy.fft.dct(np.eye(length), axis=0, norm="ortho"))
        blocks.append(Blocks(where[index], cosines))
        rows.append(_products(keys, np.arange(length)[:, None]))
    return LinearMap(
        Table(table.order, (*fixed, "scale_frequency"), np.concatenate(rows)), tuple(blocks)
    )


def _blocks(
    table: Table, fixed: tuple[str, ...], running: list[str]
) -> tuple[Int[np.ndarray, "block axis"], Int[np.ndarray, "block coefficient"]]:
    """Coefficients that differ in running axes only: what they share, and where they are."""
    columns = [table.column(axis) for axis in (*fixed, *running)]
    order = np.lexsort(columns[::-1])
    shared = np.stack(columns[: len(fixed)], axis=-1)[order]
    new = np.concatenate([[True], np.any(shared[1:] != shared[:-1], axis=-1)])
    keys = shared[new]
    return keys, order.reshape(len(keys), -1)


def _products(
    keys: Int[np.ndarray, "block axis"], new: Int[np.ndarray, "row axis2"]
) -> Int[np.ndarray, "coefficient axis3"]:
    return np.column_stack([np.repeat(keys, len(new), axis=0), np.tile(new, (len(keys), 1))])


def _names(reduction: Reduction, relative: int) -> tuple[str, ...]:
    kind = "frequency" if reduction.angles is Angles.FOURIER else "turn"
    common = ("frequency",) if reduction.common else ()
    names = (*common, *(f"{kind}{number + 2}" for number in range(relative)))
    return (*names, "part") if names and reduction.has_parts else names


def _basis(
    orientations: int, relative: int, reduction: Reduction, exchanged: bool
) -> tuple[Int[np.ndarray, "new axis"], Float[np.ndarray, "new old"]]:
    """New index columns and the matrix from all combinations of orientations.

    Args:
        orientations: of the wavelets over half a turn.
        relative: number of wavelets next to the coarsest.
        reduction: what to keep.
        exchanged: whether the two relative orientations may be exchanged.
    """
    turns = np.indices((orientations,) * (relative + 1)).reshape(relative + 1, -1)
    turns[1:] = (turns[1:] - turns[0]) % orientations
    make = _harmonics if reduction.angles is Angles.FOURIER else _averages
    rows, matrix = zip(*make(turns, orientations, reduction, exchanged), strict=True)
    return np.array(rows, dtype=np.int64).reshape(len(rows), -1), np.stack(matrix)


def _harmonics(
    turns: Int[np.ndarray, "wavelet old"], orientations: int, reduction: Reduction, exchanged: bool
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    commons = range(min(reduction.common, orientations // 2) + 1)
    relative = [range(orientations)] * (len(turns) - 1)
    for frequencies in itertools.product(commons, *relative):
        same = _exchanges(frequencies, exchanged)
        opposite = [tuple(-one % orientations for one in other) for other in same]
        if frequencies != min(one for one in (*same, *opposite) if one[0] in commons):
            continue
        phase = 2.0 * np.pi / orientations * (np.array(frequencies) @ turns)
        shown = frequencies if reduction.common else frequencies[1:]
        part = (0,) if shown and reduction.has_parts else ()
        yield (*shown, *part), np.cos(phase) / phase.size
        odd = reduction.handed or frequencies[0] > 0
        if odd and reduction.has_parts and frequencies not in opposite:
            yield (*shown, 1), np.sin(phase) / phase.size


def _averages(
    turns: Int[np.ndarray, "wavelet old"], orientations: int, reduction: Reduction, exchanged: bool
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    for angles in itertools.product(*[range(orientations)] * (len(turns) - 1)):
        same = [one[1:] for one in _exchanges((0, *angles), exchanged)]
        if not reduction.handed:
            same += [tuple(-one % orientations for one in other) for other in same]
        if angles != min(same):
            continue
        inside = np.zeros(turns.shape[1])
        for one in set(same):
            inside += np.all(turns[1:] == np.array(one).reshape(-1, 1), axis=0)
        yield angles, inside / inside.sum()


def _exchanges(numbers: tuple[int, ...], exchanged: bool) -> list[tuple[int, ...]]:
    return [numbers, (numbers[0], *numbers[:0:-1])] if exchanged else [numbers]
