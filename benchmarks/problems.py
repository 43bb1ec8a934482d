"""The reference problems that benchmarks and validation share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import skysift as ss
from skysift.compsep.weights import AbstractNoise

_START = {"beta_dust": 1.54, "temp_dust": 20.0, "beta_pl": -3.0}
_BOUNDS = {"beta_dust": (0.5, 3.0), "temp_dust": (10.0, 40.0), "beta_pl": (-7.0, -0.5)}


@dataclass(frozen=True)
class ReferenceProblem:
    """Inputs of `skysift.separate`, and the sky behind them.

    Args:
        name: for tables.
        simulation: maps and truth.
        maps: on the mask.
        patches: of the three spectral parameters.
        model: with the problem's reference frequencies.
        noise: the weights.
    """

    name: str
    simulation: ss.sky.Simulation
    maps: ss.Maps
    patches: ss.Patches
    model: ss.SkyModel
    noise: AbstractNoise

    @property
    def arguments(self) -> dict:
        """Keyword arguments of `separate` and `pose` next to the maps."""
        return {
            "instrument": "LiteBIRD",
            "model": self.model,
            "patches": self.patches,
            "noise": self.noise,
            "bounds": _BOUNDS,
            "start": _START,
        }

    def truth(self, name: str) -> np.ndarray:
        """True value of a spectral parameter in each fitted cell."""
        return np.asarray(self.simulation.truth.parameters[name])[self.maps.grid.index]


def ptep64() -> ReferenceProblem:
    """PTEP-64: noiseless, unit weights, the cleanest 20 %, patches at nside 64, 32 and 16."""
    simulation = ss.simulate("c1d1s1", instrument="LiteBIRD", nside=64, noise_ratio=0.0, seed=0)
    mask = ss.galactic_mask("GAL020", nside=64)
    patches = ss.Patches.multires(mask, beta_dust=64, temp_dust=32, beta_pl=16)
    model = ss.SkyModel.parse("c+d+s", dust_nu0=160.0, synchrotron_nu0=20.0)
    maps = simulation.maps.masked(mask)
    return ReferenceProblem("PTEP-64", simulation, maps, patches, model, ss.UnitWeights())


def kmeans64() -> ReferenceProblem:
    """KMEANS-64: LiteBIRD noise, 59 % of the sky, 1500, 500 and 500 k-means patches."""
    simulation = ss.simulate("c1d1s1", instrument="LiteBIRD", nside=64, noise_ratio=1.0, seed=0)
    mask = ss.galactic_mask("GAL059", nside=64)
    patches = ss.Patches.kmeans(mask, beta_dust=1500, temp_dust=500, beta_pl=500, seed=42)
    model = ss.SkyModel.parse("c+d+s", dust_nu0=150.0, synchrotron_nu0=20.0)
    maps = simulation.maps.masked(mask)
    return ReferenceProblem("KMEANS-64", simulation, maps, patches, model, ss.InstrumentDepth())


def full(nside: int) -> ReferenceProblem:
    """FULL-512 at any nside: full sky with noise, patches at nside / 2, / 4 and / 8."""
    simulation = ss.simulate("c1d1s1", instrument="LiteBIRD", nside=nside, noise_ratio=1.0, seed=0)
    maps = simulation.maps
    patches = ss.Patches.multires(
        maps.grid, beta_dust=nside // 2, temp_dust=nside // 4, beta_pl=nside // 8
    )
    model = ss.SkyModel.parse("c+d+s", dust_nu0=160.0, synchrotron_nu0=20.0)
    return ReferenceProblem(f"FULL-{nside}", simulation, maps, patches, model, ss.InstrumentDepth())
