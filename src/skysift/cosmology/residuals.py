r"""What a separation leaves in the CMB map, split by where it comes from.

With the recovered CMB $\hat s$ of a realisation, its input $s$, and the recovery
$\hat s_\mathrm{fg}$ from the noiseless foregrounds alone with the run's own weights, patches,
bounds and priors,

- total: $\hat s - s$;
- systematic: $\hat s_\mathrm{fg}$, what the model cannot follow however little noise there is;
- statistical: total - systematic, noise and what noise does to the spectral parameters.

The systematic residual is the one of Errard & Stompor 2019 (PRD 99, 043529): spectral parameters
are estimated anew from the noiseless foregrounds, not taken from the noisy fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skysift.compsep import Problem, Separation, solve
from skysift.maps import Maps
from skysift.sky import Simulation
from skysift.sky.simulate import Truth, emission

CMB = "cmb"
"""Name of the component that residuals are about."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residual maps of the CMB [uK_CMB], `(stokes, cell)` or with a leading realisation axis.

    Args:
        total: recovered minus input.
        systematic: recovered from noiseless foregrounds, `(stokes, cell)`.
    """

    total: Maps
    systematic: Maps

    @property
    def statistical(self) -> Maps:
        """Total minus systematic."""
        difference = np.asarray(self.total.values) - np.asarray(self.systematic.values)
        return self.total.replace(difference)


def residuals(fit: Separation, sim: Simulation | Truth) -> Residuals:
    """Residuals of the CMB of a separation whose sky is known.

    Costs another separation, of the noiseless foregrounds.

    Args:
        fit: the separation.
        sim: the sky that its maps were made from, on a grid that holds the fitted cells.

    Raises:
        ValueError: if the model or the sky has no CMB, or the sky lacks cells of the fit.

    Examples:
        >>> import skysift as ss
        >>> sim = ss.simulate("c1d0s0", "LiteBIRD", nside=4)
        >>> left = residuals(ss.separate(sim.maps, "LiteBIRD"), sim)
        >>> bool(np.abs(left.systematic["Q"]).max() < 1e-6)
        True
    """
    truth = _truth(sim)
    floor = foreground_recovery(fit.problem, truth, start=fit.theta)
    return Residuals(_total(fit, truth), floor.components[CMB])


def foreground_recovery(
    problem: Problem, sim: Simulation | Truth, start: np.ndarray | None = None
) -> Separation:
    """The separation of the noiseless foregrounds, whose CMB is the systematic residual.

    Args:
        problem: of the run: its weights, patches, bounds and priors are used.
        sim: the sky.
        start: first value of every patch parameter; by default the problem's.

    Raises:
        ValueError: as `residuals`.
    """
    if CMB not in problem.model.names:
        raise ValueError(
            f"fit: expected a model with a CMB, got {'+'.join(problem.model.names)}. Residuals are "
            "those of the CMB: separate with c in the model."
        )
    truth = _truth(sim).on(problem.maps.grid)
    maps = problem.maps
    values = emission(truth.without(CMB), problem.measurements.instrument, maps.grid, maps.stokes)
    return solve(problem.with_maps(maps.replace(values)), start)


def _total(fit: Separation, truth: Truth) -> Maps:
    recovered, given = fit.components[CMB], truth.on(fit.grid).components[CMB]
    given = np.stack([np.asarray(given[letter]) for letter in recovered.stokes.value])
    return recovered.replace(np.asarray(recovered.values) - given)


def _truth(sim: Simulation | Truth) -> Truth:
    truth = sim.truth if isinstance(sim, Simulation) else sim
    if not isinstance(truth, Truth):
        raise ValueError(
            f"sim: expected a simulated sky or its truth, got {type(sim).__name__}. Residuals need "
            "what went in; for data without a truth take cross-spectra of splits "
            "(skysift.spectra with other=)."
        )
    if CMB not in truth.components:
        raise ValueError(
            f"sim: expected a sky with CMB, got {', '.join(truth.components) or 'an empty one'}. "
            "Simulate a sky such as 'c1d1s1'."
        )
    return truth
