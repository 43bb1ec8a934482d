"""What the page of a statistical separation shows, from a run or from its files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import xarray as xr

DETERMINISTIC = 0.5
"""Correlation with the true signal down to which a recovered one is called deterministic."""

CONVERGED, DIVERGED = "converged", "diverged"


@dataclass(frozen=True, eq=False)
class Spectra:
    """Variances in bands, in the unit of the maps squared, from the largest scale on.

    Args:
        at: wave number [rad / cell] or multipole of each band.
        data: of the data.
        signals: of each solution.
        left: of what each solution leaves of the data.
        draws: of draws of the contamination.
        totals: of the first solution with each of the draws added.
        agreement: mean correlation between pairs of solutions; NaN for a single one.
    """

    at: Float[np.ndarray, " band"]
    data: Float[np.ndarray, " band"]
    signals: Float[np.ndarray, "solution band"]
    left: Float[np.ndarray, "solution band"]
    draws: Float[np.ndarray, "draw band"]
    totals: Float[np.ndarray, "draw band"]
    agreement: Float[np.ndarray, " band"]

    @property
    def contamination(self) -> Float[np.ndarray, " band"]:
        """Mean over the draws."""
        return self.draws.mean(axis=0)

    @property
    def ratio(self) -> Float[np.ndarray, " band"]:
        """Signal to noise: the power of the data less that of the contamination over the latter.

        The power of a solution serves less: it is right only as far as the constraints demand. 0
        where chance makes the data weaker than the contamination.
        """
        noise = self.contamination
        signal = np.maximum(self.data - noise, 0.0)
        return np.divide(signal, noise, out=np.full(noise.shape, np.inf), where=noise > 0)

    @property
    def correlation(self) -> Float[np.ndarray, " band"]:
        """Expected between the data and the true signal.

        `sqrt(SNR / (1 + SNR))`, which follows from `d = s + c` where the two do not know of each
        other: `<d s> / sqrt(<d d> <s s>) = sqrt(<s s> / (<s s> + <c c>))`.

        Examples:
            >>> data, noise = np.array([2.0, 4.0]), np.array([[1.0, 3.0]])
            >>> found = Spectra(data, data, noise, noise, noise, noise, data)
            >>> found.correlation.round(3).tolist()
            [0.707, 0.5]
        """
        snr = self.ratio
        known = np.where(np.isinf(snr), 1.0, snr)
        return np.sqrt(np.where(np.isinf(snr), 1.0, known / (1.0 + known)))

    @property
    def transition(self) -> float:
        """Scale beyond which the expected correlation is below one half.

        In the unit of `at`, between bands by the logarithm; 0 where it is below at all scales,
        infinite where it never is.
        """
        low = np.flatnonzero(self.correlation < DETERMINISTIC)
        if not low.size:
            return math.inf
        first = int(low[0])
        if first == 0:
            return 0.0
        high, under = self.correlation[first - 1], self.correlation[first]
        part = (high - DETERMINISTIC) / (high - under)
        logs = np.log(self.at[first - 1 : first + 1])
        return float(np.exp(logs[0] + part * (logs[1] - logs[0])))


@dataclass(frozen=True, eq=False)
class Course:
    """How a solution was found.

    Args:
        status: how it ended.
        losses: of each constraint at each step, the start first.
    """

    status: str
    losses: Mapping[str, Float[np.ndarray, " step"]]

    @property
    def steps(self) -> int:
        """That were done."""
        return max(len(values) for values in self.losses.values()) - 1

    @property
    def best(self) -> int:
        """The step whose signal was kept: that of the smallest of the largest losses."""
        worst = np.max(list(self.losses.values()), axis=0)
        return int(np.nanargmin(np.where(np.isfinite(worst), worst, np.inf)))

    @property
    def worst(self) -> float:
        """The largest loss of the signal that was kept."""
        return max(float(values[self.best]) for values in self.losses.values())


@dataclass(frozen=True, eq=False)
class UnmixingView:
    """What the page shows of one map of the data.

    Args:
        source: names of the files of the data.
        family: of the statistics, in words.
        contamination: what it was said to be.
        unit: of the maps.
        data: NaN where missing.
        draw: one draw of the contamination.
        signals: of each solution.
        spectra: of all of them.
        courses: of the solutions.
        draws: of the contamination that were used.
        tolerance: loss of every constraint at which a solution was to end.
        title: of the map; empty for a single one.
        channel: number of the map among those that are seen together.
    """

    source: str
    family: str
    contamination: str
    unit: str
    data: Float[np.ndarray, "..."]
    draw: Float[np.ndarray, "..."]
    signals: Float[np.ndarray, "solution ..."]
    spectra: Spectra
    courses: tuple[Course, ...]
    draws: int
    tolerance: float
    title: str = ""
    channel: int = 0

    @property
    def sphere(self) -> bool:
        """Whether the maps are of the sphere."""
        return self.data.ndim == 1

    @property
    def size(self) -> str:
        """Of the grid, in words."""
        if self.sphere:
            return f"nside {math.isqrt(self.data.size // 12)}"
        return " x ".join(map(str, self.data.shape))

    @property
    def missing(self) -> int:
        """Cells of the data that do not count."""
        return int(np.sum(~np.isfinite(self.data)))

    @property
    def left(self) -> Float[np.ndarray, "solution ..."]:
        """What each solution leaves of the data."""
        return self.data - self.signals

    @property
    def satisfied(self) -> float:
        """Loss up to which a constraint is satisfied: that of the true signal is 1."""
        return max(self.tolerance, 1.0)

    @property
    def converged(self) -> bool:
        """Whether every solution satisfies every constraint."""
        return all(one.status == CONVERGED for one in self.courses)

    @property
    def scale(self) -> str:
        """What the scales of the spectra are."""
        return "multipole" if self.sphere else "wave number [rad / cell]"

    @property
    def turning(self) -> str:
        """The scale where the recovery turns from deterministic to statistical, in words."""
        at = self.spectra.transition
        if math.isinf(at):
            return "beyond the smallest scale"
        if at == 0.0:
            return "above the largest scale"
        if self.sphere:
            return f"multipole {at:.0f}, {180.0 / at:.2g}°"
        return f"{at:.3g} rad / cell, {2.0 * math.pi / at:.3g} cells"


_SPECTRA = {
    "data": ("band",),
    "signals": ("solution", "band"),
    "left": ("solution", "band"),
    "draws": ("drawn", "band"),
    "totals": ("drawn", "band"),
    "agreement": ("band",),
}


def to_dataset(views: Sequence[UnmixingView]) -> xr.Dataset:
    """All of the views but the signals, as `of_dataset` takes it."""
    import xarray as xr

    first = views[0]
    axes = ("channel", "cell") if first.sphere else ("channel", "row", "column")
    made: dict[str, Any] = {
        "data": (axes, np.stack([one.data for one in views])),
        "draw": (axes, np.stack([one.draw for one in views])),
    }
    for name, dims in _SPECTRA.items():
        stacked = np.stack([getattr(one.spectra, name) for one in views])
        made[f"spectrum_{name}"] = (("channel", *dims), stacked)
    names = list(first.courses[0].losses)
    steps = max(len(one.losses[names[0]]) for one in first.courses)
    losses = np.full((len(first.courses), steps, len(names)), np.nan)
    for row, course in zip(losses, first.courses, strict=True):
        for column, name in enumerate(names):
            row[: len(course.losses[name]), column] = course.losses[name]
    made["loss"] = (("solution", "step", "constraint"), losses)
    made["status"] = ("solution", np.array([one.status for one in first.courses], dtype=object))
    made["taken"] = ("solution", [len(one.losses[names[0]]) for one in first.courses])
    coords = {
        "band": first.spectra.at,
        "constraint": np.array(names, dtype=object),
        "title": ("channel", np.array([one.title for one in views], dtype=object)),
        "unit": ("channel", np.array([one.unit for one in views], dtype=object)),
    }
    facts = {name: getattr(first, name) for name in _FACTS}
    return xr.Dataset(made, coords=coords, attrs=facts)


_FACTS = ("source", "family", "contamination", "draws", "tolerance")


def of_dataset(
    found: xr.Dataset, signals: Sequence[Float[np.ndarray, "solution ..."]]
) -> tuple[UnmixingView, ...]:
    """The views of a run from its files.

    Args:
        found: as `to_dataset` makes it.
        signals: solutions of each map of the data.

    Raises:
        ValueError: if the files lack something.
    """
    wanted = ("data", "draw", "loss", "status", "taken", *(f"spectrum_{one}" for one in _SPECTRA))
    for name in wanted:
        if name not in found:
            raise ValueError(
                f"separation: expected {name} in the files of the run, got none. Run it again."
            )
    names = [str(one) for one in found["constraint"].values]
    courses = []
    for number, status in enumerate(found["status"].values):
        rows = found["loss"].values[number][: int(found["taken"].values[number])]
        courses.append(Course(str(status), dict(zip(names, rows.T, strict=True))))
    views = []
    for channel, maps in enumerate(signals):
        own = found.isel(channel=channel)
        parts = {name: own[f"spectrum_{name}"].values for name in _SPECTRA}
        views.append(
            UnmixingView(
                source=str(found.attrs["source"]),
                family=str(found.attrs["family"]),
                contamination=str(found.attrs["contamination"]),
                unit=str(own["unit"].values),
                data=own["data"].values,
                draw=own["draw"].values,
                signals=maps,
                spectra=Spectra(at=found["band"].values, **parts),
                courses=tuple(courses),
                draws=int(found.attrs["draws"]),
                tolerance=float(found.attrs["tolerance"]),
                title=str(own["title"].values),
                channel=channel,
            )
        )
    return tuple(views)
