"""Posteriors of white parameters by simulating, in rounds, where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from skysift.scattering.bayes.density import Density, Training, learn
from skysift.scattering.bayes.emulator import Baseline, Emulator, Simulated, emulate

Simulate = Callable[[Float[np.ndarray, "field size"], np.random.SeedSequence], Simulated]
"""From wanted parameters to those that were had, with observations."""

_WIDER = 1.3


@dataclass(frozen=True)
class Plan:
    """How much is simulated and learnt.

    Args:
        fields: signals made for the first round, and half of them in each later one.
        draws: contaminations that each signal is seen with.
        pairs: that the emulator draws for a density.
        training: of the density.

    Raises:
        ValueError: for numbers that make no sense.
    """

    fields: int = 160
    draws: int = 4
    pairs: int = 8192
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        for name, least, usual in (("fields", 16, 160), ("draws", 2, 4), ("pairs", 256, 8192)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected {least} or more, got {getattr(self, name)}. "
                    f"Say {name}={usual}."
                )


@dataclass(frozen=True, eq=False)
class Inference:
    """What the rounds ended with.

    Args:
        density: of parameters given observations.
        emulator: of observations given parameters.
        simulated: of all rounds.
        observed: the observation.
        widths: for each round the mean standard deviation of the parameters, 1 for the prior's.
    """

    density: Density
    emulator: Emulator
    simulated: Simulated
    observed: Float[np.ndarray, " seen"]
    widths: tuple[float, ...]

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        observed: Float[np.ndarray, " seen"] | None = None,
    ) -> Float[np.ndarray, "sample size"]:
        """Draws of the posterior, of the observation or of another one.

        Args:
            count: number of draws.
            rng: random numbers.
            observed: the other one.
        """
        return self.density.sample(self.observed if observed is None else observed, count, rng)


def infer(
    simulate: Simulate,
    observed: Float[np.ndarray, " seen"],
    rounds: int,
    plan: Plan,
    seed: np.random.SeedSequence,
    *,
    baseline: Baseline,
    known: Simulated | None = None,
    size: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Inference:
    """Posterior of parameters whose prior is a unit Gaussian.

    Each round simulates at draws of the last posterior, learns the emulator from all simulations,
    draws many pairs of the whole prior from it, and learns the density from those. A likelihood
    does not depend on where it was learnt, so that no round has to be corrected for its proposal,
    and the density serves any observation of the prior: best those like the observed.

    Args:
        simulate: the forward.
        observed: observation.
        rounds: number of them.
        plan: how much to simulate.
        seed: of all that is random.
        baseline: of the emulator.
        known: simulations that there are, in place of those of the first round.
        size: number of parameters, where no simulations are known.
        report: called with the number of rounds done and the mean width of the posterior.

    Raises:
        ValueError: for no rounds, or an observation that is not finite.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected 1 or more, got {rounds}. Say rounds=3.")
    if not np.all(np.isfinite(observed)):
        raise ValueError("observed: expected finite numbers, got others. Look at the data.")
    streams = seed.spawn(rounds)
    count = known.theta.shape[1] if known is not None else int(size or observed.size)
    simulated = known
    widths: list[float] = []
    draws = np.empty((0, count))
    density = emulator = None
    for number, stream in enumerate(streams):
        made, taught, drawn = stream.spawn(3)
        rng = np.random.default_rng(drawn)
        if number or simulated is None:
            wanted = (
                _wanted(draws, plan, rng) if number else rng.standard_normal((plan.fields, count))
            )
            fresh = simulate(wanted, made)
            simulated = fresh if simulated is None else simulated.joined(fresh)
        emulator = emulate(simulated, baseline)
        theta = rng.standard_normal((plan.pairs, count))
        density = learn(theta, emulator.sample(theta, rng), taught, plan.training)
        draws = density.sample(observed, 2000, rng)
        widths.append(float(np.mean(draws.std(axis=0))))
        if report is not None:
            report(number + 1, widths[-1])
    assert density is not None
    assert emulator is not None
    assert simulated is not None
    return Inference(density, emulator, simulated, observed, tuple(widths))


def _wanted(
    draws: Float[np.ndarray, "draw size"], plan: Plan, rng: np.random.Generator
) -> Float[np.ndarray, "field size"]:
    """Draws of a posterior, a little wider, so that the emulator knows its edges."""
    count = max(plan.fields // 2, 1)
    mean = draws.mean(axis=0)
    return mean + _WIDER * (draws[rng.permutation(len(draws))[:count]] - mean)
