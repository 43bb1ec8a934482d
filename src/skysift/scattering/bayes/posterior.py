"""Posterior of the statistics of a signal seen through a contamination."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from skysift.grid import masked_to_nan
from skysift.maps import unseen_to_nan
from skysift.scattering.bayes.calibration import Coverage, ranks_of
from skysift.scattering.bayes.emulator import Simulated
from skysift.scattering.bayes.forward import Forward, Making, Whitening, moved
from skysift.scattering.bayes.prior import Around, guess_of, whitening_of
from skysift.scattering.bayes.rounds import Inference, Plan, infer
from skysift.scattering.domain import precision_of
from skysift.scattering.generative.gaussian import colour_of
from skysift.scattering.generative.objective import objective_of
from skysift.scattering.separation.contamination import AbstractContamination, Ensemble
from skysift.scattering.separation.problem import observe
from skysift.scattering.statistic import AbstractStatistic
from skysift.scattering.statistics import Statistics

_SUMMARY = 4000
_MOCKS = 10
"""Of which a coverage is told at least."""


@dataclass(frozen=True)
class Search:
    """How a posterior is found.

    Args:
        breadth: of the prior, in units of what fields of one law scatter by and of what the data
            leave unknown (`posterior`).
        making: of signals.
        plan: how much to simulate and to learn.

    Raises:
        ValueError: for numbers that make no sense.
    """

    breadth: float = 3.0
    making: Making = field(default_factory=Making)
    plan: Plan = field(default_factory=Plan)

    def __post_init__(self) -> None:
        if not 0.0 < self.breadth < np.inf:
            raise ValueError(f"breadth: expected more than 0, got {self.breadth}. Say breadth=3.")


@dataclass(frozen=True, eq=False)
class Posterior:
    """Statistics of a signal given data, as draws.

    Args:
        observed: statistics of the data.
        inference: in parameters of which the prior is a unit Gaussian.
        whitening: from those to parameters of statistics.
        forward: from parameters to data.
        around: where the signals of the prior are from; `breadth` how far.
        breadth: see there.
    """

    observed: Statistics
    inference: Inference
    whitening: Whitening
    forward: Forward
    around: Around
    breadth: float

    def sample(self, count: int, seed: int = 0) -> Statistics:
        """Draws of the statistics of the signal.

        Args:
            count: number of draws.
            seed: of the draws.

        Raises:
            ValueError: for no draws, or a negative seed.
        """
        return self.forward.coordinates.statistics(self._draws(count, seed))

    def prior(self, count: int, seed: int = 0) -> Statistics:
        """Draws of the prior, to see what the data add.

        Args:
            count: number of draws.
            seed: of the draws.

        Raises:
            ValueError: for no draws, or a negative seed.
        """
        _require(count, seed)
        white = np.random.default_rng(seed).standard_normal((count, self.whitening.mean.size))
        return self.forward.coordinates.statistics(self.whitening.coloured(white))

    @property
    def mean(self) -> Statistics:
        """Mean of the draws; of numbers that are powers the geometric mean."""
        return self.forward.coordinates.statistics(self._summary.mean(axis=0))

    def interval(self, level: float = 0.68) -> tuple[Statistics, Statistics]:
        """Lower and upper end of the central interval of each number.

        Args:
            level: part of the draws that it holds.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        _require_level(level)
        ends = np.quantile(self._summary, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
        low, high = (self.forward.coordinates.statistics(one) for one in ends)
        return low, high

    def given(self, data: Float[np.ndarray, "..."]) -> Posterior:
        """The posterior of other data with the same contamination, by the same density.

        Good for data of signals that the prior holds, and for those alone.

        Args:
            data: one map `(*map shape)`, known wherever the first was.

        Raises:
            ValueError: for data of another shape, or not known where the first were.
        """
        values = self._known(data, "data", "Infer other data with `posterior`")
        observation = observe(values, self.forward.statistic, precision_of(np.asarray(data)))
        observed = self.forward.statistic(np.asarray(self.forward.domain.seen(observation.whole)))
        seen = self.whitening.scaled(self.forward.coordinates.of(observed))
        return replace(self, observed=observed, inference=replace(self.inference, observed=seen))

    @property
    def misfit(self) -> float:
        """Mean squared offset of the data from the posterior predictive, in its units.

        Below 1 as a rule: the draws are made for the data. Far above, the data are like no signal
        of the prior with the contamination given.
        """
        rng = np.random.default_rng(0)
        predicted = self.inference.emulator.sample(self.whitening.white(self._summary), rng)
        offset = self.inference.observed - predicted.mean(axis=0)
        covariance = np.cov(predicted, rowvar=False).reshape(offset.size, offset.size)
        return float(offset @ np.linalg.solve(covariance, offset) / offset.size)

    def maps(
        self, count: int, seed: int = 0, *, signal: Float[np.ndarray, "..."] | None = None
    ) -> Float[np.ndarray, "sample ..."]:
        """Signals of the posterior predictive: fields with the statistics of draws.

        Args:
            count: number of fields.
            seed: of draws and fields.
            signal: a map to start from, such as one that was separated: its places stay, its
                statistics become those of the draws. Known wherever the data were. `None` for new
                places.

        Raises:
            ValueError: for no fields, a negative seed, or a map of another shape, or not known
                where the data were.
        """
        draws = self._draws(count, seed)
        stream = np.random.SeedSequence((seed, 1))
        if signal is None:
            return self.forward.signals(draws, stream)
        given = self._known(signal, "signal", "Give `separated.map`")
        statistic = self.forward.statistic
        maps = []
        for one in draws:
            target = self.forward.coordinates.statistics(one)
            colour = colour_of(statistic, target)
            objective = objective_of(statistic, target, colour, self.forward.metric)
            maps.append(moved(objective, given, self.forward.making))
        return np.stack(maps)

    def coverage(
        self,
        mocks: int = 100,
        seed: int = 0,
        *,
        signals: Float[np.ndarray, "mock ..."] | None = None,
        contamination: AbstractContamination | Float[np.ndarray, "draw ..."] | None = None,
    ) -> Coverage:
        """Do intervals hold the truth as often as they say? Simulation-based calibration.

        Signals are made like those that the prior is of, seen with contaminations, and inferred
        (Talts et al. 2018, arXiv:1804.06788). The forward is the true one, not the emulator.

        Args:
            mocks: number of signals.
            seed: of all that is random.
            signals: maps to take as signals in place of those; the prior should hold them.
            contamination: to see the signals with, in the unit of the data, each with a draw of
                its own as far as there are; `None` for the draws that the posterior was learnt
                from, which flatter it if they are few.

        Raises:
            ValueError: for fewer than ten mocks, a negative seed, signals of another shape, or not
                known where the data were, or a contamination that does not fit them.
        """
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
        if signals is None and mocks < _MOCKS:
            raise ValueError(
                f"mocks: expected {_MOCKS} signals or more, got {mocks}. Say mocks=100."
            )
        drawn, made, added, ranked = np.random.SeedSequence(seed).spawn(4)
        if signals is None:
            wanted = self.around.wanted(mocks, self.breadth, np.random.default_rng(drawn))
            signals = self.forward.signals(wanted, made)
        signals = masked_to_nan(signals)
        self.forward.domain.check(signals)
        if signals.ndim != len(self.forward.domain.map_shape) + 1 or len(signals) < _MOCKS:
            raise ValueError(
                f"mocks: expected {_MOCKS} signals or more {self.forward.domain.map_shape}, got "
                f"{signals.shape}. Say mocks=100."
            )
        signals = np.stack([self._known(one, "signals", "Leave it out") for one in signals])
        truths = self.forward.parameters(signals)
        if contamination is None:
            seen = self.forward.seen(signals, added)[:, 0]
        else:
            dirt = self._drawn(contamination, len(signals), added)
            seen = self.forward.parameters(signals + dirt[np.arange(len(signals)) % len(dirt)])
        seen = self.whitening.scaled(seen)
        return ranks_of(
            truths,
            lambda number, rng: self.whitening.coloured(
                self.inference.sample(1000, rng, seen[number])
            ),
            self.forward.coordinates,
            np.random.default_rng(ranked),
        )

    def _drawn(
        self,
        contamination: AbstractContamination | Float[np.ndarray, "draw ..."],
        count: int,
        seed: np.random.SeedSequence,
    ) -> Float[np.ndarray, "draw ..."]:
        """Draws of a contamination as the statistics see them."""
        if not isinstance(contamination, AbstractContamination):
            contamination = Ensemble(contamination)
        domain, cells = self.forward.domain, self.forward.statistic.cells
        looked = np.ones(domain.cell_shape, bool)
        if cells is not None:
            looked = np.any(np.asarray(cells) > 0.0, axis=0)
        dtype = self.forward.contamination.dtype
        fields = contamination.draws(domain, count, seed, dtype, looked, cells)
        return np.stack([np.asarray(domain.seen(one)) for one in fields.whole])

    def _known(self, map: np.ndarray, name: str, advice: str) -> Float[np.ndarray, "..."]:
        """A map, continued where the statistics do not look and it is not known.

        Raises:
            ValueError: for another shape, or cells that are not known where the statistics look.
        """
        domain, cells = self.forward.domain, self.forward.statistic.cells
        domain.check(np.asarray(map))
        values = unseen_to_nan(map)
        known = np.isfinite(values).reshape(-1, *domain.cell_shape).all(axis=0)
        looked = True if cells is None else np.any(np.asarray(cells) > 0.0, axis=0)
        lacking = int(np.sum(~known & looked))
        if values.shape != domain.map_shape or lacking:
            raise ValueError(
                f"{name}: expected one finite map {domain.map_shape}, got {values.shape} with "
                f"{lacking} unknown cells where the first data are known. {advice}."
            )
        if known.all():
            return values
        return np.asarray(domain.mesh.continued(jnp.asarray(values), jnp.asarray(known)))

    @functools.cached_property
    def _summary(self) -> Float[np.ndarray, "sample parameter"]:
        return self._draws(_SUMMARY, 0)

    def _draws(self, count: int, seed: int) -> Float[np.ndarray, "sample parameter"]:
        _require(count, seed)
        return self.whitening.coloured(self.inference.sample(count, np.random.default_rng(seed)))


def posterior(
    data: Float[np.ndarray, "..."],
    contamination: AbstractContamination | Float[np.ndarray, "draw ..."],
    statistics: AbstractStatistic,
    rounds: int = 3,
    seed: int = 0,
    *,
    around: Statistics | None = None,
    draws: int = 100,
    search: Search | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Posterior:
    """Posterior of the statistics of a signal in data with a contamination, `d = s + c`.

    Nothing is known of the signal but that it is like the maximum-entropy field of its statistics
    mu. Inferred are the statistics of the signal that is in the data, not of the ensemble that it
    may be of. The steps: signals with statistics wide around a guess are made (`synthesise`) and
    seen with draws of the contamination; an emulator of Phi(d) given mu is learnt from them, and
    from pairs that it draws a conditional density of mu given Phi(d) (Papamakarios & Murray 2016,
    arXiv:1605.06376); the next round makes signals where the last posterior is.

    Parameters are logarithms of powers and of `S1`, the other numbers as they are. Give statistics
    of some tens to a few hundred numbers (`Reduced`). The prior is the Gaussian with mean and
    covariance of the signals of the first round. They are made with `breadth` times the scatter of
    fields of one law, and as far from Gaussian fields as the data are, or not at all: broad beside
    what the data tell where the signal is seen. Where the contamination drowns it, the posterior
    is the prior; `prior` and `sample` show where that is.

    Args:
        data: one map `(*map shape)`; NaN or UNSEEN where not known.
        contamination: fields of it, as an ensemble of maps or what draws them.
        statistics: of data and signal; their weights mask.
        rounds: one for a density that serves all data of the prior alike, more for one that is
            better for these.
        seed: of all that is random.
        around: statistics of the signal to put the prior around, such as those of a separated
            map; `None` for those of the data, without the power of the contamination.
        draws: of the contamination, at most.
        search: how much is made and learnt; `None` for `Search()`.
        report: called after each round with its number and the mean width of the posterior, in
            units of the prior's.

    Raises:
        ValueError: for data, contamination and statistics that do not fit together, or numbers
            that make no sense.

    Warns:
        UserWarning: when the data are like no signal of the prior with this contamination.

    Examples:
        >>> from skysift.scattering import PowerSpectrum, Training
        >>> st = PowerSpectrum.plane((16, 16), bins=3)
        >>> rng = np.random.default_rng(0)
        >>> noise = 0.3 * rng.standard_normal((20, 16, 16))
        >>> plan = Plan(fields=24, pairs=512, training=Training(width=8, epochs=1, members=1))
        >>> signal = rng.standard_normal((16, 16))
        >>> found = posterior(signal + noise[0], noise[1:], st, 1, search=Search(plan=plan))
        >>> found.sample(5).batch, found.maps(2).shape
        ((5,), (2, 16, 16))
    """
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")
    if rounds < 1:
        raise ValueError(f"rounds: expected 1 or more, got {rounds}. Say rounds=3.")
    search = search or Search()
    if not isinstance(contamination, AbstractContamination):
        contamination = Ensemble(contamination)
    dtype = precision_of(np.asarray(data))
    streams = np.random.SeedSequence(seed).spawn(5)
    observation = observe(data, statistics, dtype)
    statistic, domain = observation.statistic, observation.domain
    fields = contamination.draws(
        domain, draws, streams[0], dtype, observation.kept, statistic.cells
    )
    dirt = np.stack([np.asarray(domain.seen(one)) for one in fields.whole])
    observed = statistic(np.asarray(domain.seen(observation.whole)))
    seen = statistic(dirt, reference=observed)
    if around is not None:
        _require_around(statistic, around)
    guess = guess_of(statistic, observed, seen) if around is None else around
    start = Around(statistic, observed, guess, dirt, seen, streams[1])
    forward = Forward(
        statistic, start.coordinates, start.metric, dirt, search.making, search.plan.draws
    )
    made, added = streams[2].spawn(2)
    rng = np.random.default_rng(streams[3])
    signals = forward.signals(start.wanted(search.plan.fields, search.breadth, rng), made)
    had = forward.parameters(signals)
    whitening = whitening_of(had)
    known = Simulated(whitening.white(had), whitening.scaled(forward.seen(signals, added)))

    def baseline(theta: Float[np.ndarray, "pair size"]) -> Float[np.ndarray, "pair seen"]:
        """Powers add up; the others stay as they are until more is learnt."""
        mu = whitening.coloured(theta)
        power = start.coordinates.power
        total = np.logaddexp(mu, np.log(np.where(power, start.noise, 1.0) + 1e-300))
        return whitening.scaled(np.where(power, total, mu))

    inference = infer(
        lambda theta, stream: forward.simulated(whitening.coloured(theta), whitening, stream),
        whitening.scaled(start.coordinates.of(observed)),
        rounds,
        search.plan,
        streams[4],
        baseline=baseline,
        known=known,
        report=report,
    )
    found = Posterior(observed, inference, whitening, forward, start, search.breadth)
    limit = 1.0 + 5.0 * np.sqrt(2.0 / whitening.mean.size)
    if found.misfit > limit:
        warnings.warn(
            f"posterior: the data are off what its draws predict by {found.misfit:.3g} times their "
            f"variance, more than {limit:.2g}. Look at whether the contamination is that of the "
            "data, or widen the prior (search=Search(breadth=5)).",
            stacklevel=2,
        )
    return found


def _require(count: int, seed: int) -> None:
    if count < 1:
        raise ValueError(f"count: expected 1 or more, got {count}. Say 1000.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}. Say seed=0.")


def _require_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected between 0 and 1, got {level}. Say level=0.68.")


def _require_around(statistic: AbstractStatistic, around: Statistics) -> None:
    if around.layout != statistic.layout or around.batch:
        raise ValueError(
            f"around: expected the statistics of one field of {statistic.layout.origin} "
            f"({statistic.layout.n_coefficients} numbers), got those of {around.batch or 'one'} of "
            f"{around.layout.origin} ({around.n_coefficients}). Compute them with the same "
            "operator, of one map."
        )
