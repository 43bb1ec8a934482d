"""Realisations of the simulated sky that an experiment separates."""

from __future__ import annotations

import dataclasses

import numpy as np

from skysift.cosmology import MonteCarlo
from skysift.experiment.config import SimulateExperiment
from skysift.experiment.problem import Problem, hits_of
from skysift.experiment.text import load
from skysift.instrument import Instrument
from skysift.maps import Maps, Stokes
from skysift.sky import Realisations
from skysift.sky.simulate import Truth
from skysift.store.fits import Frame
from skysift.store.products import read_truth
from skysift.store.run import EXPERIMENT, INSTRUMENT, TRUTH


def monte_carlo_of(problem: Problem) -> MonteCarlo:
    """What all realisations of an experiment share.

    Raises:
        ValueError: if the maps are no simulated sky with a CMB.
    """
    run = problem.simulation
    if run is None:
        raise ValueError(
            "seeds: expected a simulated sky, whose truth and noise are known, got maps of other "
            "origin. Make one with skysift simulate, or leave --seeds out."
        )
    truth = read_truth(run)
    if truth is None:
        raise ValueError(
            f"seeds: expected a simulated sky with components, got {run.path} without {TRUTH}. "
            "Simulate a sky such as c1d1s1."
        )
    made = load(run.path / EXPERIMENT, SimulateExperiment)
    hits = None if made.hits is None else hits_of(made.hits, made.nside, Frame.GALACTIC)
    posed = problem.posed()
    truth = _of_stokes(truth, posed.maps.stokes).on(posed.maps.grid)
    instrument = Instrument.from_yaml(run.path / INSTRUMENT)
    return MonteCarlo.of(
        posed,
        Realisations(truth, instrument, made.sky, made.noise_ratio, problem.experiment.vary, hits),
    )


def _of_stokes(truth: Truth, stokes: Stokes) -> Truth:
    """The truth in the Stokes parameters that are fitted."""
    components = {
        name: Maps(np.stack([np.asarray(maps[s]) for s in stokes.value]), maps.grid, stokes)
        for name, maps in truth.components.items()
    }
    return dataclasses.replace(truth, components=components)
