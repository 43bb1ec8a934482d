"""A small separation to report on: spectral parameters drawn around the truth, the rest fitted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import xarray as xr

from skysift.instrument import Instrument
from skysift.maps import Maps
from skysift.masks import galactic_mask
from skysift.patches import Patches
from skysift.report.data import ReportData
from skysift.sky import SkyModel, band_spectrum
from skysift.sky.simulate import Simulation, simulate


@dataclass(frozen=True)
class StandIn:
    """What a report needs of a separation."""

    dataset: xr.Dataset
    instrument: Instrument
    model: SkyModel
    predicted: np.ndarray

    def to_dataset(self) -> xr.Dataset:
        return self.dataset

    def residuals(self, maps: Maps) -> Maps:
        return maps.replace(np.asarray(maps.values) - self.predicted)


@dataclass(frozen=True)
class Example:
    """A fit with the simulation that it was made of."""

    fit: StandIn
    sim: Simulation
    data: ReportData = field(repr=False)


def make_example(
    nside: int, mask_name: str, patches: dict[str, int], seed: int = 0, converged: bool = True
) -> Example:
    mask = galactic_mask(mask_name, nside=nside)
    sim = simulate("c1d1s1", "LiteBIRD", nside, seed=seed).masked(mask)
    model = SkyModel.parse("c+d+s")
    labels = Patches.multires(mask, **patches).labels
    random = np.random.default_rng(seed)
    estimates, errors, cells = {}, {}, {}
    for name, sigma in (("beta_dust", 0.005), ("temp_dust", 0.1), ("beta_pl", 0.01)):
        count = labels[name].max() + 1
        mean = np.bincount(labels[name], sim.truth.parameters[name]) / np.bincount(labels[name])
        errors[name] = sigma * np.exp(0.4 * random.standard_normal(count))
        estimates[name] = mean + errors[name] * random.standard_normal(count)
        cells[name] = estimates[name][labels[name]]
    mixing = np.stack(
        [np.asarray(_column(c, sim.instrument, cells)) for c in model.components], axis=1
    )
    depth = sim.instrument.depth(sim.maps.stokes.polarised)
    weight = (sim.maps.grid.resolution / depth[:, 0]) ** 2
    normal = np.einsum("nip,n,njp->pij", mixing, weight, mixing)
    covariance = np.linalg.inv(normal)
    values = np.asarray(sim.maps.values)
    amplitude = np.einsum("pij,njp,n,nsp->isp", covariance, mixing, weight, values)
    predicted = np.einsum("nip,isp->nsp", mixing, amplitude)
    chi2 = np.einsum("n,nsp->p", weight, (values - predicted) ** 2)
    sigma = np.sqrt(np.einsum("pii->ip", covariance))[:, None, :].repeat(2, axis=1)
    dataset = xr.Dataset(
        {
            "component_amplitude": (("component", "stokes", "cell"), amplitude),
            "component_error": (("component", "stokes", "cell"), sigma),
            "chi2": ("cell", chi2),
            "dof": (
                "cell",
                np.full(chi2.shape, 2.0 * (len(sim.instrument) - len(model.components))),
            ),
            **_history(0.5 * chi2.sum()),
        },
        coords={
            "component": (
                "component",
                list(model.names),
                {"reference_GHz": [c.reference or 0.0 for c in model.components]},
            ),
            "stokes": ["Q", "U"],
            "cell": sim.maps.grid.index,
        },
        attrs={
            "nside": nside,
            "ordering": "RING",
            "converged": int(converged),
            "objective": 0.5 * chi2.sum(),
            "projected_gradient_norm": 3e-7,
            "initial_gradient_norm": 4.2e5,
            "iterations": 7,
            "message": "projected gradient below tolerance"
            if converged
            else "iteration limit reached",
            "model": "cmb + dust + synchrotron",
            "instrument": "LiteBIRD",
            "calibrated": 1,
            "active_bounds": [0, 2, 0],
            "unconstrained": [0, 0, 0],
        },
    )
    for name, value in estimates.items():
        if name == "temp_dust":
            errors[name][:2] = np.nan
        dataset[name] = (f"patch_{name}", value, {"units": "K" if name == "temp_dust" else ""})
        dataset[f"{name}_error"] = (f"patch_{name}", errors[name])
        dataset[f"{name}_patch"] = ("cell", labels[name])
    fit = StandIn(dataset, sim.instrument, model, predicted)
    return Example(fit, sim, ReportData.of(fit, sim.maps, sim.truth))


def _column(component, instrument: Instrument, cells: dict[str, np.ndarray]) -> np.ndarray:
    own = {p.name: cells[p.name] for p in component.parameters}
    size = next(iter(cells.values())).size
    return np.broadcast_to(
        np.asarray(band_spectrum(component, instrument, own)), (len(instrument), size)
    )


def _history(objective: float) -> dict[str, tuple[str, np.ndarray]]:
    step = np.arange(8)
    return {
        "objective": ("iteration", objective * (1 + 4.0 * 10.0 ** (-1.9 * step))),
        "projected_gradient": ("iteration", 4.2e5 * 10.0 ** (-1.75 * step)),
        "seconds": ("iteration", 0.09 * step),
    }


@pytest.fixture(scope="session")
def example() -> Example:
    return make_example(8, "GAL060", {"beta_dust": 4, "temp_dust": 2, "beta_pl": 0})
