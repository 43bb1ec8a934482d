"""How strongly a fit is damped, chosen from the data.

Generalised cross-validation (Golub, Heath & Wahba 1979, Technometrics 21, 215) predicts each
sample from the others and needs only the misfit and the trace of the influence matrix H, which
random probes estimate (Girard 1989, Numer. Math. 56, 1; Hutchinson 1989). It looks at samples, in
which fine structure is blurred, and so damps too little for a good map; the robust form (Lukas
2006, J. Comput. Appl. Math. 192, 306) also counts tr(H^T H), the noise that is let through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from skysift.resample.krylov import Stop, dot, times
from skysift.resample.least_squares import LeastSquares
from skysift.resample.normal import NormalSystem

ROBUSTNESS = 0.3
"""Share of plain cross-validation in the score; Lukas (2006) recommends 0.1 to 0.3.

The maps of the tests are about as good from 0.1 to 0.3. Where residuals are fine structure instead
of noise, as in images of clouds, less than 0.3 chooses the average although a fit predicts better.
"""

TRIALS = 10.0 ** np.arange(1.5, -4.1, -0.5)
"""Dampings that are tried, from (almost) the average of the samples on."""

_TOLERANCE = 1e-2
_PROBED = 20_000
_MOST_PROBES = 32


@dataclass(frozen=True)
class DampingSearch:
    """Scores of the dampings that were tried.

    Args:
        tried: dampings, falling.
        scores: robust generalised cross-validation, NaN where a row had ended before.
        chosen: damping of each row.
    """

    tried: Float[np.ndarray, " trial"]
    scores: Float[np.ndarray, "trial row"]
    chosen: Float[np.ndarray, " row"]


def choose_damping(
    problem: LeastSquares,
    used: Int[np.ndarray, " row"],
    start: Float[np.ndarray, "cell row"],
    *,
    max_iter: int,
    seed: int,
) -> DampingSearch:
    """Damping of each row by robust generalised cross-validation.

    Dampings fall from the average of the samples towards plain least squares, each solved from
    where the one before ended, and a row ends when its score has risen twice: dampings that are
    much too small, which cost the most, are never solved.

    Args:
        problem: rows of values.
        used: number of samples of each row.
        start: overwritten with solutions for a damping near the chosen one, to start a fit from.
        max_iter: iterations for each damping.
        seed: of the probes.
    """
    rows = start.shape[1]
    probed = _Probed.of(problem, used, seed)
    cells, residual = probed.problem.average.copy(), probed.problem.slope.copy()
    scores = np.full((TRIALS.size, rows), np.nan)
    active, before = np.arange(rows), TRIALS[0]
    for trial, damping in enumerate(TRIALS):
        system = probed.problem.system
        pull, last = (system.damped(np.array([one])).pull for one in (damping, before))
        residual += times(probed.problem.average - cells, pull - last)
        strengths, before = np.full(cells.shape[1], damping), damping
        stop = Stop(np.full(cells.shape[1], _TOLERANCE), max_iter)
        probed.problem.solve(strengths, cells, residual, stop)
        scores[trial, active], exact = probed.score(strengths, cells, residual)
        start[:, active] = cells[:, : active.size]
        falling = np.argmin(scores[: trial + 1, active], axis=0) > trial - 2
        going = np.flatnonzero(falling & ~exact)
        if going.size == 0:
            break
        if going.size < active.size:
            kept = probed.columns(going)
            cells, residual = (np.ascontiguousarray(a[:, kept]) for a in (cells, residual))
            active, probed = active[going], probed.select(going)
    scores = scores[~np.all(np.isnan(scores), axis=1)]
    tried = TRIALS[: scores.shape[0]]
    return DampingSearch(tried, scores, np.array([_lowest(tried, row) for row in scores.T]))


@dataclass(frozen=True, eq=False)
class _Probed:
    """Rows of values, followed by probes that look like noise of unit variance.

    Rows that share their weights share the probes; else each has its own, of the same signs.

    Args:
        problem: the columns.
        used: number of samples of each row.
        count: number of probes of a row.
        projected: A^T W z of the probes z.
    """

    problem: LeastSquares
    used: Int[np.ndarray, " row"]
    count: int
    projected: Float[np.ndarray, "cell probe"]

    @staticmethod
    def of(problem: LeastSquares, used: Int[np.ndarray, " row"], seed: int) -> _Probed:
        count = int(np.clip(_PROBED // max(int(used.max()), 1), 1, _MOST_PROBES))
        noise = whitened_probes(problem.system, count, seed)
        owner = np.arange(noise.shape[1]) // count
        system = problem.system.select(owner)
        probes = LeastSquares.of(system, noise, np.zeros(owner.size))
        projected = system.back_projection(noise)
        return _Probed(problem.beside(probes, owner), used, count, projected)

    def score(
        self,
        damping: Float[np.ndarray, " column"],
        cells: Float[np.ndarray, "cell column"],
        residual: Float[np.ndarray, "cell column"],
    ) -> tuple[Float[np.ndarray, " row"], Bool[np.ndarray, " row"]]:
        """Robust generalised cross-validation of each row, and whether the fit is exact."""
        rows, used = self.used.size, self.used
        misfit = self.problem.misfit_of(damping, cells, residual)
        # Of probes z the misfit is z (I - H)^T (I - H) z, the other product z H z.
        bound = dot(self.projected, np.ascontiguousarray(cells[:, rows:]))
        free = used - bound.reshape(-1, self.count).mean(axis=1)
        noise = misfit[rows:].reshape(-1, self.count).mean(axis=1) - 2.0 * free + used
        possible = (free > 1e-6 * used) & (used > 0)
        per_sample = np.divide(free, used, out=np.ones(rows), where=possible)
        let_through = np.divide(noise, used, out=np.ones(rows), where=possible)
        plain = misfit[:rows] / np.maximum(used, 1) / per_sample**2
        score = np.where(possible, plain * (ROBUSTNESS + (1.0 - ROBUSTNESS) * let_through), np.inf)
        return score, (used == 0) | (np.sqrt(misfit[:rows]) <= self.problem.rounding[:rows])

    def columns(self, rows: Int[np.ndarray, " kept"]) -> Int[np.ndarray, " column"]:
        """Numbers of the columns that some rows need."""
        return np.concatenate([rows, self.used.size + self._probes(rows)])

    def select(self, rows: Int[np.ndarray, " kept"]) -> _Probed:
        """Some rows and their probes."""
        projected = np.ascontiguousarray(self.projected[:, self._probes(rows)])
        problem = self.problem.select(self.columns(rows))
        return _Probed(problem, self.used[rows], self.count, projected)

    def _probes(self, rows: Int[np.ndarray, " kept"]) -> Int[np.ndarray, " probe"]:
        if self.projected.shape[1] == self.count:
            rows = rows[:1] * 0
        return (rows[:, None] * self.count + np.arange(self.count)).ravel()


def whitened_probes(
    system: NormalSystem, count: int, seed: int
) -> Float[np.ndarray, "sample probe"]:
    """Random signs over the square root of the weights: `count` for each column of weights."""
    random = np.random.default_rng(np.random.SeedSequence(seed))
    signs = 2 * random.integers(0, 2, (system.weight.shape[0], count), dtype=np.int8) - 1
    root = np.sqrt(np.repeat(system.weight, count, axis=1))
    signs = np.tile(signs, system.weight.shape[1])
    return np.divide(signs, root, out=np.zeros_like(root), where=root > 0.0)


def _lowest(tried: Float[np.ndarray, " trial"], scores: Float[np.ndarray, " trial"]) -> float:
    """Damping at the minimum, between trials by a parabola in its logarithm."""
    best = int(np.nanargmin(scores))
    if best in (0, tried.size - 1) or not np.all(np.isfinite(scores[best - 1 : best + 2])):
        return float(tried[best])
    left, middle, right = scores[best - 1 : best + 2]
    shift = 0.5 * (left - right) / (left - 2.0 * middle + right)
    return float(tried[best] * (tried[best + 1] / tried[best]) ** shift)
