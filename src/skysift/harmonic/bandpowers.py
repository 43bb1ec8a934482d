"""Power in bins of multipoles, with the windows that say what it is expected to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    import xarray as xr

NAMES: tuple[str, ...] = ("TT", "EE", "BB", "TE", "EB", "TB")
"""Order of spectra."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of multipoles; a bin's power is the mean of C_l weighted with 2 l + 1.

    Args:
        edges: first multipole of each bin, and the one after the last bin.

    Raises:
        ValueError: for fewer than two edges, negative ones, or edges that do not increase.

    Examples:
        >>> bins = Bins.linear(2, 21, 5)
        >>> bins.edges
        array([ 2,  7, 12, 17, 22])
        >>> bins.centres
        array([ 4.,  9., 14., 19.])
    """

    edges: Int[np.ndarray, " edge"]

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges)
        whole = edges.ndim == 1 and edges.size >= 2 and np.all(edges == np.floor(edges))
        if not whole or edges[0] < 0 or np.any(np.diff(edges) <= 0):
            raise ValueError(
                f"edges: expected at least two growing whole numbers from 0 on, got {self.edges}. "
                "The last is one above the largest multipole."
            )
        object.__setattr__(self, "edges", edges.astype(np.int64))

    @staticmethod
    def linear(lmin: int, lmax: int, width: int) -> Bins:
        """Bins of one width from lmin to at most lmax; what does not fill a bin is left out.

        Raises:
            ValueError: if not a single bin fits.
        """
        if width < 1 or lmax - lmin + 1 < width:
            raise ValueError(
                f"width: expected 1 to {lmax - lmin + 1} for multipoles {lmin} to {lmax}, got "
                f"{width}. Take narrower bins."
            )
        return Bins(np.arange(lmin, lmax + 2, width))

    @staticmethod
    def each(lmin: int, lmax: int) -> Bins:
        """Every multipole by itself."""
        return Bins.linear(lmin, lmax, 1)

    @property
    def count(self) -> int:
        """Number of bins."""
        return self.edges.size - 1

    @property
    def lmax(self) -> int:
        """Largest multipole."""
        return int(self.edges[-1]) - 1

    @property
    def centres(self) -> Float[np.ndarray, " bin"]:
        """Middle of each bin."""
        return 0.5 * (self.edges[:-1] + self.edges[1:] - 1)

    @property
    def modes(self) -> Float[np.ndarray, " bin"]:
        """Number of modes of the full sky in each bin."""
        return np.add.reduceat(2.0 * np.arange(self.lmax + 1) + 1, self.edges[:-1])

    def matrix(self, lmax: int) -> Float[np.ndarray, "bin ell"]:
        """Weights that turn C_l from 0 to lmax into bandpowers.

        Raises:
            ValueError: if the bins go beyond lmax.
        """
        if self.lmax > lmax:
            raise ValueError(
                f"bins: expected multipoles up to {lmax}, got bins to {self.lmax}. Take fewer, or "
                "a larger nside."
            )
        inside = self.spread(lmax) > 0
        weight = inside.T * (2.0 * np.arange(lmax + 1) + 1)
        return weight / weight.sum(axis=1, keepdims=True)

    def spread(self, lmax: int) -> Float[np.ndarray, "ell bin"]:
        """One where a multipole from 0 to lmax is in a bin."""
        which = np.digitize(np.arange(lmax + 1), self.edges) - 1
        return (which[:, None] == np.arange(self.count)).astype(float)


@dataclass(frozen=True, eq=False)
class Bandpowers:
    """Estimated power in bins of multipoles, in the square of the maps' unit.

    Args:
        values: by name, TT, EE, BB, TE, EB and TB as far as they exist, `(..., bin)`.
        windows: expected weights of the true C_l in each bin: `values[n]` is on average
            `windows[n] @ C_l^n` plus what leaks.
        leakage: weights of the other spectrum, BB in EE and EE in BB.
        bins: the multipoles.
        fsky: share of the sky that counts, of the weighted mask: mean(w^2)^2 / mean(w^4).
    """

    values: Mapping[str, Float[np.ndarray, "... bin"]]
    windows: Mapping[str, Float[np.ndarray, "bin ell"]]
    leakage: Mapping[str, Float[np.ndarray, "bin ell"]]
    bins: Bins
    fsky: float

    @property
    def ell(self) -> Float[np.ndarray, " bin"]:
        """Middle of each bin."""
        return self.bins.centres

    @property
    def modes(self) -> Float[np.ndarray, " bin"]:
        """Number of independent modes in each bin, about: those of the full sky times `fsky`."""
        return self.fsky * self.bins.modes

    @property
    def lmax(self) -> int:
        """Largest multipole of the windows."""
        return next(iter(self.windows.values())).shape[-1] - 1

    def expected(self, cl: Float[np.ndarray, "spectrum ell"]) -> dict[str, np.ndarray]:
        """Bandpowers expected of spectra.

        Args:
            cl: rows TT, EE, BB, TE and perhaps EB, TB, from l = 0; multipoles beyond the windows
                are left out, those that are missing count as zero.

        Returns:
            By name, those that `windows` has.

        Raises:
            ValueError: for another number of rows, or spectra that end within the bins.
        """
        cl = np.asarray(cl, dtype=float)
        if cl.ndim != 2 or cl.shape[0] not in (4, 6) or cl.shape[1] <= self.bins.lmax:
            raise ValueError(
                f"cl: expected TT, EE, BB, TE (EB, TB) from l = 0 to at least {self.bins.lmax}, "
                f"got shape {cl.shape}."
            )
        rows = np.zeros((6, self.lmax + 1))
        top = min(self.lmax + 1, cl.shape[1])
        rows[: cl.shape[0], :top] = cl[:, :top]
        by_name: dict[str, np.ndarray] = dict(zip(NAMES, rows, strict=True))
        out = {name: window @ by_name[name] for name, window in self.windows.items()}
        for name, other in (("EE", "BB"), ("BB", "EE")):
            if name in self.leakage:
                out[name] = out[name] + self.leakage[name] @ by_name[other]
        return out

    def to_dataset(self) -> xr.Dataset:
        """All numbers with named axes, ready for NetCDF."""
        import xarray as xr  # a fifth of a second that nothing else needs

        data = xr.Dataset(coords={"ell": ("bin", self.ell)})
        for name, values in self.values.items():
            each = tuple(f"realisation_{axis}" for axis in range(np.ndim(values) - 1))
            data[name] = ((*each, "bin"), np.asarray(values), {"units": "uK_CMB^2"})
        for name, window in self.windows.items():
            data[f"window_{name}"] = (("bin", "multipole"), window)
        for name, window in self.leakage.items():
            data[f"leakage_{name}"] = (("bin", "multipole"), window)
        data["edges"] = ("edge", self.bins.edges)
        data.attrs["fsky"] = self.fsky
        return data

    @staticmethod
    def from_dataset(data: xr.Dataset) -> Bandpowers:
        """What `to_dataset` gave.

        Raises:
            ValueError: for a dataset of something else.
        """
        names = [name for name in NAMES if name in data.data_vars]
        if not names or "edges" not in data or "fsky" not in data.attrs:
            raise ValueError(
                f"data: expected bandpowers, got a dataset of {sorted(map(str, data.data_vars))}. "
                "Write it with Bandpowers.to_dataset."
            )
        return Bandpowers(
            {name: data[name].values for name in names},
            _parts(data, "window_", names),
            _parts(data, "leakage_", names),
            Bins(data["edges"].values),
            float(data.attrs["fsky"]),
        )


def _parts(data: xr.Dataset, prefix: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: data[prefix + name].values for name in names if prefix + name in data}
