"""From what an experiment says to the arrays that a separation takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from skysift.compsep import (
    AbstractNoise,
    GaussianPrior,
    InstrumentDepth,
    InverseVariance,
    Iteration,
    Separation,
    SolverOptions,
    UnitWeights,
    pose,
    solve,
)
from skysift.compsep import Problem as PosedProblem
from skysift.compsep.variants import with_centres
from skysift.experiment.config import SeparateExperiment, SimulateExperiment
from skysift.experiment.sources import MapSource
from skysift.experiment.text import load, unknown
from skysift.grid import Grid
from skysift.healpix_file import read_column
from skysift.instrument import Instrument
from skysift.maps import Maps
from skysift.masks import galactic_mask
from skysift.patches import Patches, parse_partition
from skysift.sky.model import SkyModel
from skysift.sky.presets import SkyTag
from skysift.sky.simulate import Simulation, simulate
from skysift.store.channels import read_channels
from skysift.store.fits import Frame, MapFormat
from skysift.store.run import EXPERIMENT, Run

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """Everything that a separation takes, checked.

    Args:
        maps: on the cells to fit.
        instrument: that made them.
        model: of the sky.
        patches: of the free parameters.
        noise: where the weights come from.
        experiment: with the numbers that are passed on as they are.
        simulation: run that the maps come from, if any.
    """

    maps: Maps
    instrument: Instrument
    model: SkyModel
    patches: Patches
    noise: AbstractNoise
    experiment: SeparateExperiment
    simulation: Run | None = None

    @staticmethod
    def of(experiment: SeparateExperiment) -> Problem:
        """Read and check the inputs of a separation.

        Raises:
            ValueError: naming what is wrong and what to do.
        """
        source = MapSource.of(experiment)
        model = sky_model(experiment)
        _check_names(experiment, model)
        expected = MapFormat(
            stokes=experiment.stokes,
            unit=experiment.unit,
            ordering=experiment.ordering,
            frame=experiment.frame,
        )
        maps = read_channels(source.source, source.instrument, expected)
        maps = observed(kept(maps, experiment))
        noise = noise_of(experiment, maps, source.instrument, expected)
        patches = patches_of(experiment, model, maps.grid)
        _compare_noise(experiment, source.simulation)
        return Problem(
            maps, source.instrument, model, patches, noise, experiment, source.simulation
        )

    def posed(self) -> PosedProblem:
        """The numerical problem.

        Raises:
            ValueError: if the data cannot be fitted.
        """
        experiment = self.experiment
        priors = {name: GaussianPrior(*prior) for name, prior in experiment.priors.items()}
        problem = pose(
            self.maps,
            self.instrument,
            self.model,
            self.patches,
            noise=self.noise,
            bounds=dict(experiment.bounds) or None,
            start=dict(experiment.start) or None,
            priors=priors or None,
            options=SolverOptions(
                tolerance=experiment.tolerance, max_iterations=experiment.max_iterations
            ),
        )
        if not experiment.around:
            return problem
        around = _partitioned("around", experiment.around, experiment, problem.maps.grid)
        return with_centres(problem, around)

    def solve(self, progress: Callable[[Iteration], None] | None = None) -> Separation:
        """Separate the components.

        Args:
            progress: called in each iteration.

        Raises:
            ValueError: if the data cannot be fitted.
        """
        return solve(self.posed(), progress=progress)


def channels_of_simulation(experiment: SimulateExperiment) -> Instrument:
    """The channels that a sky will be simulated in; what can be checked at once is.

    Raises:
        ValueError: for an unknown sky or instrument, or a bad nside.
    """
    SkyTag.parse(experiment.sky)
    Grid(experiment.nside)
    return Instrument.of(experiment.instrument).measuring(experiment.stokes.polarised)


def simulation_of(experiment: SimulateExperiment) -> Simulation:
    """Simulate the sky of an experiment.

    Raises:
        ValueError: naming what is wrong and what to do.
    """
    return simulate(
        experiment.sky,
        instrument=experiment.instrument,
        nside=experiment.nside,
        noise_ratio=experiment.noise_ratio,
        seed=experiment.seed,
        stokes=experiment.stokes,
        hits=None
        if experiment.hits is None
        else hits_of(experiment.hits, experiment.nside, Frame.GALACTIC),
    )


def sky_model(experiment: SeparateExperiment) -> SkyModel:
    """Model of the sky with the fixed parameters.

    Raises:
        ValueError: for an unknown letter or parameter.
    """
    model = SkyModel.parse(
        experiment.model, dust_nu0=experiment.dust_nu0, synchrotron_nu0=experiment.synchrotron_nu0
    )
    _known("fixed", experiment.fixed, [parameter.name for parameter in model.parameters])
    fixed = {name: jnp.asarray(value, dtype=float) for name, value in experiment.fixed.items()}
    return SkyModel(model.components, fixed)


def kept(maps: Maps, experiment: SeparateExperiment) -> Maps:
    """The maps on the cells of the mask.

    Raises:
        ValueError: for a mask of another nside or frame, or without cells.
    """
    mask = galactic_mask(experiment.mask, maps.grid.require_nside(), frame=experiment.frame)
    if not mask.any():
        raise ValueError(f"mask: expected at least one kept cell, got none in {experiment.mask!r}.")
    return maps.masked(mask)


def observed(maps: Maps) -> Maps:
    """The maps on the cells where any channel has a value.

    Raises:
        ValueError: if there are none.
    """
    seen = np.isfinite(np.asarray(maps.values)).any(axis=(0, 1))
    if seen.all():
        return maps
    if not seen.any():
        raise ValueError(
            "maps: expected values on some cells of the mask, got NaN or UNSEEN everywhere. Choose "
            "a mask where the maps have data."
        )
    grid = Grid(maps.grid.nside, maps.grid.ordering, maps.grid.index[seen])
    return maps.on(grid)


def _compare_noise(experiment: SeparateExperiment, simulation: Run | None) -> None:
    """Say so when the weights are those of other noise than was simulated: errors are off then."""
    if experiment.noise != "depth" or simulation is None:
        return
    made = load(simulation.path / EXPERIMENT, SimulateExperiment)
    if made.noise_ratio not in (0.0, experiment.noise_ratio):
        _LOG.warning(
            "the sky has %g times the instrument's noise, the weights take %g times: "
            "--noise-ratio %g makes the errors true",
            made.noise_ratio,
            experiment.noise_ratio,
            made.noise_ratio,
        )
    if made.hits is not None and experiment.hits is None:
        _LOG.warning(
            "the sky's noise follows the hits of %s, the weights do not: give --hits", made.hits
        )


def noise_of(
    experiment: SeparateExperiment, maps: Maps, instrument: Instrument, expected: MapFormat
) -> AbstractNoise:
    """Where the weights come from.

    Raises:
        ValueError: for an unknown word, or maps of the noise that do not fit or are not positive.
    """
    kind, _, path = experiment.noise.partition(":")
    if kind != "depth" and (experiment.noise_ratio != 1.0 or experiment.hits is not None):
        raise ValueError(
            f"noise: noise_ratio and hits belong to noise depth, got noise {experiment.noise!r}. "
            "Leave them out."
        )
    match kind, path:
        case "depth", "":
            hits = None
            if experiment.hits is not None:
                hits = hits_of(experiment.hits, maps.grid.require_nside(), experiment.frame)
            return InstrumentDepth(noise_ratio=experiment.noise_ratio, hits=hits)
        case "unit", "":
            return UnitWeights()
        case "sigma", path if path:
            return InverseVariance(_inverse_variance(path, maps, instrument, expected))
    raise ValueError(
        f"noise: expected 'depth', 'unit' or 'sigma:PATH' with maps of the standard deviation, got "
        f"{experiment.noise!r}."
    )


def patches_of(experiment: SeparateExperiment, model: SkyModel, grid: Grid) -> Patches:
    """Patches of the free parameters, one patch for those that the experiment does not name.

    Raises:
        ValueError: for a parameter that is not free, or a partition that does not suit the grid.
    """
    names = [parameter.name for parameter in model.free]
    texts = {name: experiment.patches.get(name, "uniform") for name in names}
    return _partitioned("patches", texts, experiment, grid)


def _partitioned(
    what: str, texts: Mapping[str, str], experiment: SeparateExperiment, grid: Grid
) -> Patches:
    partitions = {}
    for name, text in texts.items():
        try:
            partitions[name] = parse_partition(text, frame=experiment.frame)
        except ValueError as error:
            raise ValueError(f"{what} of {name}: {error}") from error
    return Patches.of(grid, experiment.seed, **partitions)


def _check_names(experiment: SeparateExperiment, model: SkyModel) -> None:
    free = [parameter.name for parameter in model.free]
    fields: dict[str, Mapping[str, object]] = {
        "patches": experiment.patches,
        "bounds": experiment.bounds,
        "start": experiment.start,
        "priors": experiment.priors,
        "around": experiment.around,
    }
    for what, given in fields.items():
        _known(what, given, free)


def _known(what: str, given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{what}: {unknown('parameter', name, known)}")


def hits_of(path: str, nside: int, frame: Frame) -> np.ndarray:
    """Hits on the full sky, RING, zero where missing."""
    try:
        values = read_column(path, expected=MapFormat(nside=nside, frame=frame))
    except ValueError as error:
        raise ValueError(f"hits: {error}") from error
    return np.nan_to_num(values, nan=0.0)


def _inverse_variance(
    path: str, maps: Maps, instrument: Instrument, expected: MapFormat
) -> np.ndarray:
    form = MapFormat(maps.stokes, expected.unit, expected.ordering, maps.grid.nside, expected.frame)
    sigma = read_channels(path, instrument, form)
    values = np.asarray(sigma.on(maps.grid).values)
    if np.any(values <= 0):
        raise ValueError(
            f"noise: expected positive standard deviations in {path}, got zero or negative ones. "
            "Mark cells without data as UNSEEN."
        )
    return np.nan_to_num(values**-2.0, nan=0.0)
