"""Separations of many realisations of one sky."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from skysift.compsep import Problem, Separation, over_devices, solve
from skysift.cosmology.residuals import CMB, Residuals, foreground_recovery
from skysift.grid import Grid, Ordering
from skysift.maps import Maps, Stokes
from skysift.patches import Patches
from skysift.sky import Realisations

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Separations of many realisations, one row each.

    Args:
        seeds: of the realisations that were separated.
        parameters: value in each patch, per spectral parameter.
        errors: marginal standard deviations; NaN at a bound and where the data say nothing.
        cmb: recovered, `(realisation, stokes, cell)` [uK_CMB].
        cmb_truth: input, likewise.
        systematic: recovered from the noiseless foregrounds, `(stokes, cell)`.
        objective: half the weighted squared residuals.
        reduced_chi2: per degree of freedom.
        iterations: Newton steps.
        converged: status of each.
        seconds: that each took.
        patches: of the spectral parameters.
        failures: message of each seed whose separation failed; they have no row.
    """

    seeds: Int[np.ndarray, " realisation"]
    parameters: dict[str, Float[np.ndarray, "realisation patch"]]
    errors: dict[str, Float[np.ndarray, "realisation patch"]]
    cmb: Maps
    cmb_truth: Maps
    systematic: Maps
    objective: Float[np.ndarray, " realisation"]
    reduced_chi2: Float[np.ndarray, " realisation"]
    iterations: Int[np.ndarray, " realisation"]
    converged: Bool[np.ndarray, " realisation"]
    seconds: Float[np.ndarray, " realisation"]
    patches: Patches
    failures: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.seeds.size

    @property
    def grid(self) -> Grid:
        """The fitted cells."""
        return self.patches.grid

    @property
    def residuals(self) -> Residuals:
        """Residual maps of the CMB, realisation by realisation."""
        total = np.asarray(self.cmb.values) - np.asarray(self.cmb_truth.values)
        return Residuals(self.cmb.replace(total), self.systematic)

    @property
    def cmb_variance(self) -> Float[np.ndarray, " realisation"]:
        """Variance over the cells of the recovered CMB, summed over Stokes parameters [uK^2]."""
        return np.nanvar(np.asarray(self.cmb.values), axis=-1).sum(axis=-1)

    @staticmethod
    def joined(parts: Sequence[Ensemble], failures: Mapping[int, str] | None = None) -> Ensemble:
        """Realisations of one problem put together, in the order of their seeds.

        Args:
            parts: with the same patches.
            failures: of seeds that none of the parts tells of.

        Raises:
            ValueError: for no parts, other patches, or a seed that comes twice.
        """
        if not parts:
            raise ValueError(
                "parts: expected at least one realisation, got none. See the failures: "
                + "; ".join(f"seed {seed}: {text}" for seed, text in (failures or {}).items())
            )
        first = parts[0]
        for part in parts:
            same = part.grid == first.grid and part.patches.counts == first.patches.counts
            if not same:
                raise ValueError(
                    "parts: expected realisations of one problem, got other cells or patches. "
                    "Join what one experiment made."
                )
        seeds = np.concatenate([part.seeds for part in parts])
        if np.unique(seeds).size < seeds.size:
            twice = sorted({int(s) for s in seeds if np.sum(seeds == s) > 1})
            raise ValueError(
                f"parts: expected each seed once, got {twice} more than once. Give seeds that do "
                "not overlap."
            )
        order = np.argsort(seeds)

        def rows(get: Callable[[Ensemble], ArrayLike]) -> np.ndarray:
            return np.concatenate([np.asarray(get(part)) for part in parts])[order]

        told = {seed: text for part in parts for seed, text in part.failures.items()}
        return dataclasses.replace(
            first,
            seeds=seeds[order],
            parameters={n: rows(lambda p, n=n: p.parameters[n]) for n in first.parameters},
            errors={n: rows(lambda p, n=n: p.errors[n]) for n in first.errors},
            cmb=first.cmb.replace(rows(lambda p: np.asarray(p.cmb.values))),
            cmb_truth=first.cmb_truth.replace(rows(lambda p: np.asarray(p.cmb_truth.values))),
            objective=rows(lambda p: p.objective),
            reduced_chi2=rows(lambda p: p.reduced_chi2),
            iterations=rows(lambda p: p.iterations),
            converged=rows(lambda p: p.converged),
            seconds=rows(lambda p: p.seconds),
            failures=dict(sorted((told | dict(failures or {})).items())),
        )

    def to_dataset(self) -> xr.Dataset:
        """All numbers with named axes and units, ready for NetCDF."""
        import xarray as xr  # a fifth of a second that nothing else needs

        stokes = self.cmb.stokes.value
        data = xr.Dataset(
            coords={"cell": self.grid.index, "stokes": list(stokes), "seed": self.seeds}
        ).swap_dims({"seed": "realisation"})
        for name, values in self.parameters.items():
            axes = ("realisation", f"patch_{name}")
            data[name] = (axes, values)
            data[f"{name}_error"] = (axes, self.errors[name])
            data[f"{name}_patch"] = ("cell", np.asarray(self.patches.labels[name], np.int32))
        each = ("realisation", "stokes", "cell")
        unit = {"units": self.cmb.unit.value}
        data["cmb"] = (each, np.asarray(self.cmb.values), unit)
        data["cmb_truth"] = (each, np.asarray(self.cmb_truth.values), unit)
        data["systematic"] = (each[1:], np.asarray(self.systematic.values), unit)
        for name in ("objective", "reduced_chi2", "iterations", "seconds"):
            data[name] = ("realisation", getattr(self, name))
        data["converged"] = ("realisation", self.converged.astype(np.int8))
        data.attrs = {
            "nside": self.grid.nside or 0,
            "ordering": self.grid.ordering.value,
            "failures": [f"{seed}: {text}" for seed, text in self.failures.items()],
        }
        return data

    @staticmethod
    def from_dataset(data: xr.Dataset) -> Ensemble:
        """What `to_dataset` gave."""
        grid = Grid(int(data.attrs["nside"]), Ordering(data.attrs["ordering"]), data["cell"].values)
        stokes = Stokes("".join(str(letter) for letter in data["stokes"].values))
        names = [str(v).removesuffix("_patch") for v in data.data_vars if str(v).endswith("_patch")]
        told = (str(text).partition(": ") for text in np.atleast_1d(data.attrs["failures"]))
        return Ensemble(
            seeds=data["seed"].values,
            parameters={name: data[name].values for name in names},
            errors={name: data[f"{name}_error"].values for name in names},
            cmb=Maps(data["cmb"].values, grid, stokes),
            cmb_truth=Maps(data["cmb_truth"].values, grid, stokes),
            systematic=Maps(data["systematic"].values, grid, stokes),
            objective=data["objective"].values,
            reduced_chi2=data["reduced_chi2"].values,
            iterations=data["iterations"].values,
            converged=data["converged"].values.astype(bool),
            seconds=data["seconds"].values,
            patches=Patches({n: data[f"{n}_patch"].values.astype(np.int64) for n in names}, grid),
            failures={int(seed): text for seed, _, text in told if seed},
        )


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """A problem and a sky whose realisations it is solved for.

    Patches, weights and compiled code are shared by all realisations, and each starts from the
    parameters of the noiseless foregrounds.

    Args:
        problem: posed with any realisation of the sky.
        realisations: of the sky, on a grid that holds the problem's cells.
        floor: separation of the noiseless foregrounds: the systematic residual, and the start.
    """

    problem: Problem
    realisations: Realisations
    floor: Separation

    @staticmethod
    def of(problem: Problem, realisations: Realisations) -> MonteCarlo:
        """Prepare what all realisations share.

        Raises:
            ValueError: if the model or the sky has no CMB, or they do not fit each other.
        """
        floor = foreground_recovery(problem, realisations.truth)
        return MonteCarlo(problem, realisations, floor)

    def realisation(self, seed: int) -> Ensemble:
        """One realisation, as an ensemble of one.

        Raises:
            ValueError: for a seed that is none.
        """
        begun = time.perf_counter()
        sim = self.realisations(seed)
        fit = solve(self.problem.with_maps(sim.maps), start=self.floor.theta)
        given = sim.truth.components[CMB].reordered(fit.grid.ordering).on(fit.grid)
        truth = np.stack([np.asarray(given[letter]) for letter in fit.components[CMB].stokes.value])
        cmb = fit.components[CMB]
        return Ensemble(
            seeds=np.array([seed]),
            parameters={name: values[None] for name, values in fit.parameters.items()},
            errors={name: values[None] for name, values in fit.errors.items()},
            cmb=cmb.replace(np.asarray(cmb.values)[None]),
            cmb_truth=cmb.replace(truth[None]),
            systematic=self.floor.components[CMB],
            objective=np.array([fit.objective]),
            reduced_chi2=np.array([fit.reduced_chi2]),
            iterations=np.array([fit.status.iterations]),
            converged=np.array([fit.status.converged]),
            seconds=np.array([time.perf_counter() - begun]),
            patches=fit.patches,
        )


def monte_carlo(
    problem: Problem,
    realisations: Realisations,
    seeds: Sequence[int],
    on_realisation: Callable[[Ensemble], None] | None = None,
) -> Ensemble:
    """Separate many realisations of a sky, one on each device at a time.

    A realisation that fails is told in `failures` and does not lose the others.

    Args:
        problem: of any realisation of the sky, for instance `fit.problem`.
        realisations: of the sky.
        seeds: one realisation each.
        on_realisation: called after each with its row, in the order in which they end.

    Raises:
        ValueError: for no seeds, a seed that comes twice, inputs that do not fit each other, or if
            all fail.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4)
        >>> fit = ss.separate(sim.maps, "LiteBIRD")
        >>> ensemble = monte_carlo(fit.problem, Realisations.of(sim), seeds=range(3))
        >>> len(ensemble), bool(ensemble.converged.all())
        (3, True)
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"seeds: expected at least one and each once, got {seeds}. For instance range(100)."
        )
    shared = MonteCarlo.of(problem, realisations)
    failures: dict[int, str] = {}
    telling = threading.Lock()

    def separated(seed: int) -> Ensemble | None:
        try:
            part = shared.realisation(seed)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            failures[seed] = str(error)
            return None
        if on_realisation is not None:
            with telling:
                on_realisation(part)
        return part

    parts = [part for part in over_devices(separated, seeds) if part is not None]
    return Ensemble.joined(parts, failures)
