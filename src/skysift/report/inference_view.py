"""What the pages of networks show, from a run or from its files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from skysift.grid import Grid

if TYPE_CHECKING:
    import xarray as xr

LEVEL = 0.68
"""Of the intervals that tables speak of."""

FAR = 0.04
"""Coverage of the 68 % interval that is off by more is told of, unless by chance."""

_NEEDED = ("truths", "means", "deviations", "ranks", "low", "high", "example")


@dataclass(frozen=True)
class Published:
    """What was published for a test.

    Args:
        name: of the estimator, and where.
        values: for each parameter: mean of |estimate - truth| / truth over the prior [%], or
            standard deviations at `at`.
        at: parameters; empty for the prior.
        other: whether it is of other maps than those of the run.
    """

    name: str
    values: tuple[float, ...]
    at: tuple[float, ...] = ()
    other: bool = False


@dataclass(frozen=True, eq=False)
class EvaluationView:
    """What the page of a model shows that was tested.

    Args:
        dataset: `evaluation.nc` of the run: figures by parameter, posteriors of the test maps, bias
            at fiducials, losses of the training if there was one, and an example.
        published: figures of the same test.
    """

    dataset: xr.Dataset
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in _NEEDED if name not in self.dataset]
        if missing:
            raise ValueError(
                f"evaluation: expected {missing[0]} in the file of the run, got none. Run it again."
            )

    @property
    def title(self) -> str:
        """Of the maps, in words."""
        return str(self.dataset.attrs["title"])

    @property
    def network(self) -> str:
        """In words."""
        return str(self.dataset.attrs["network"])

    @property
    def status(self) -> str:
        """How training ended; empty where there was none."""
        return str(self.dataset.attrs.get("status", ""))

    @property
    def converged(self) -> bool:
        """Whether training did, if there was one."""
        return bool(self.dataset.attrs["converged"])

    @property
    def method(self) -> str:
        """How the limit was found; empty where there is none."""
        return str(self.dataset.attrs.get("limit", ""))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(map(str, self.dataset["parameter"].values))

    @property
    def maps(self) -> int:
        """Number of the test maps."""
        return int(self.dataset.sizes["map"])

    @property
    def epochs(self) -> int:
        """Of the training."""
        return max(int(self.dataset.sizes.get("epoch", 1)) - 1, 0)

    @property
    def low(self) -> Float[np.ndarray, " parameter"]:
        """Least values of the prior."""
        return self.dataset["low"].values

    @property
    def high(self) -> Float[np.ndarray, " parameter"]:
        """Largest values of the prior."""
        return self.dataset["high"].values

    @property
    def relative(self) -> Bool[np.ndarray, " parameter"]:
        """Whether errors are told relative to the truth; not where that may be zero."""
        return np.isfinite(self.dataset["error_percent"].values)

    def error(self, of: str = "error") -> Float[np.ndarray, " parameter"]:
        """Errors over the prior: relative ones [%], else root mean squares.

        Args:
            of: `error` for the model, or `limit`.
        """
        root = "rmse" if of == "error" else f"{of}_rmse"
        return np.where(self.relative, self.figure(f"{of}_percent"), self.figure(root))

    @property
    def has_limit(self) -> bool:
        """Whether it is known what no estimator can do better than."""
        return "limit_rmse" in self.dataset

    def figure(self, name: str) -> Float[np.ndarray, "..."]:
        """A number of each parameter, of each fiducial and parameter, or of each map.

        Args:
            name: as in the file.
        """
        return self.dataset[name].values

    def coverage(self, levels: Float[np.ndarray, " level"]) -> Float[np.ndarray, "level parameter"]:
        """Part of the maps for which central intervals hold the truth.

        Args:
            levels: of the intervals.
        """
        off = np.abs(self.dataset["ranks"].values - 0.5)
        return np.mean(off <= 0.5 * levels[:, None, None], axis=1)

    @property
    def miscalibrated(self) -> tuple[int, ...]:
        """Parameters whose 68 % intervals hold the truth in too many maps or too few."""
        held = self.coverage(np.array([LEVEL]))[0]
        chance = 3.0 * math.sqrt(LEVEL * (1.0 - LEVEL) / self.maps)
        return tuple(np.flatnonzero(np.abs(held - LEVEL) > max(FAR, chance)).tolist())


@dataclass(frozen=True, eq=False)
class PredictionView:
    """What the page of posteriors of maps shows.

    Args:
        dataset: `posterior.nc` of the run.
    """

    dataset: xr.Dataset

    def __post_init__(self) -> None:
        missing = [
            name for name in ("mean", "std", "quantile", "draws") if name not in self.dataset
        ]
        if missing:
            raise ValueError(
                f"posterior: expected {missing[0]} in the file of the run, got none. Run it again."
            )

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.dataset.attrs["model"])

    @property
    def family(self) -> str:
        """The maps it was trained on, in words."""
        return str(self.dataset.attrs["family"])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(map(str, self.dataset["parameter"].values))

    @property
    def titles(self) -> tuple[str, ...]:
        """Of the maps."""
        return tuple(map(str, self.dataset["title"].values))

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central intervals, for each map and parameter.

        Args:
            level: 0.68 or 0.95, which the file has.
        """
        ends = self.dataset["quantile"]
        low, high = (ends.sel(level=one, method="nearest").values for one in _ends(level))
        return low, high

    @property
    def at_bounds(self) -> np.ndarray:
        """Whether the prior cuts a posterior, for each map and parameter."""
        return self.dataset["at_bounds"].values.astype(bool)


def _ends(level: float) -> tuple[float, float]:
    return 0.5 - 0.5 * level, 0.5 + 0.5 * level


def example_grid(values: Float[np.ndarray, "stokes cell"]) -> tuple[Grid, np.ndarray]:
    """The cells of an example that are seen, and its values there.

    Args:
        values: full sky, NaN where nothing is seen.
    """
    nside = math.isqrt(values.shape[-1] // 12)
    seen = np.asarray(np.isfinite(values).all(axis=0))
    return Grid.from_mask(seen) if not seen.all() else Grid(nside), values[:, seen]
