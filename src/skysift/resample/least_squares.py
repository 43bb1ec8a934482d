"""Damped least squares, one problem per row of values."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from skysift.resample.krylov import Path, Progress, Stop, conjugate_gradients, dot, times
from skysift.resample.normal import NormalSystem

_FRACTION = 0.1


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Minimise |A x - y|^2_W + damping |x - average|^2_D + x^T S x for each row.

    For weights that are not negative this equals the maximum of a posterior whose prior precision
    is damping / (1 + damping) (D - A^T W A) + S / (1 + damping): cells that share samples are
    alike. Hence the posterior covariance is (1 + damping) (A^T W A + damping D + S)^-1.

    Args:
        system: the normal equations, not damped.
        average: weighted mean of the samples of each cell.
        slope: A^T W (y - A average) - S average, minus half of the gradient at the average.
        misfit: |A average - y|^2_W.
        rounding: norms below which a residual is rounding.
    """

    system: NormalSystem
    average: Float[np.ndarray, "cell row"]
    slope: Float[np.ndarray, "cell row"]
    misfit: Float[np.ndarray, " row"]
    rounding: Float[np.ndarray, " row"]

    @staticmethod
    def of(
        system: NormalSystem,
        values: Float[np.ndarray, "sample row"],
        rounding: Float[np.ndarray, " row"],
    ) -> LeastSquares:
        """The problem of some values."""
        average = system.average(values)
        left = values - system.links @ average
        weighted = system.weight * left
        slope = system.links.back(weighted) - system.roughness(average)
        return LeastSquares(system, average, slope, dot(left, weighted), rounding)

    @functools.cached_property
    def scale(self) -> Float[np.ndarray, " row"]:
        """Norm of the residual of the average."""
        return np.sqrt(dot(self.slope, times(self.slope, self.system.preconditioner)))

    def solve(
        self,
        damping: Float[np.ndarray, " row"],
        cells: Float[np.ndarray, "cell row"],
        residual: Float[np.ndarray, "cell row"],
        stop: Stop,
        progress: Progress | None = None,
    ) -> Path:
        """Minimise from some cells on.

        Args:
            damping: for each row.
            cells: overwritten.
            residual: of these cells (`residual`), overwritten with that of the new ones.
            stop: with targets relative to the residual of the average.
            progress: see `conjugate_gradients`.
        """
        targets = np.maximum(stop.target * self.scale, self.rounding)
        return conjugate_gradients(
            self.system.damped(damping), cells, residual, Stop(targets, stop.max_iter), progress
        )

    def solve_within(
        self,
        damping: Float[np.ndarray, " row"],
        cells: Float[np.ndarray, "cell row"],
        bounds: tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]],
        stop: Stop,
        progress: Progress | None = None,
    ) -> tuple[Path, Float[np.ndarray, "cell row"]]:
        """Minimise with all cells between bounds, which are low and high for each row.

        Cells at a bound that the gradient pushes against are held, the others move by conjugate
        gradients and are clipped, until none of the others would move (active sets as More &
        Toraldo 1991, SIAM J. Optim. 1, 93, identify them). As there, the others are not solved for
        further than a fraction of the residual before it is seen again which cells are held: what
        is found for a wrong choice is lost.

        Returns:
            The path, and the residual of the cells, which are overwritten.
        """
        system, (low, high) = self.system.damped(damping), bounds
        targets = np.maximum(stop.target * self.scale, self.rounding)
        history, left = [], stop.max_iter
        while True:
            np.clip(cells, low, high, out=cells)
            residual = self.residual(damping, cells)
            pushed = ((cells <= low) & (residual < 0.0)) | ((cells >= high) & (residual > 0.0))
            holding = system.holding(pushed)
            norms = np.sqrt(dot(residual, times(residual, holding.preconditioner)))
            history.append(norms[None])
            if left == 0 or np.all(norms <= targets):
                return Path(norms <= targets, np.concatenate(history)), residual
            done = stop.max_iter - left
            near = Stop(np.maximum(targets, _FRACTION * norms), left)
            path = conjugate_gradients(holding, cells, residual, near, _offset(progress, done))
            history[-1] = path.residuals[:-1]
            left -= path.residuals.shape[0] - 1

    def residual(
        self, damping: Float[np.ndarray, " row"], cells: Float[np.ndarray, "cell row"]
    ) -> Float[np.ndarray, "cell row"]:
        """Minus half of the gradient at some cells."""
        system, back = self.system.damped(damping), self.average - cells
        return self.slope + system.product(back) + times(back, system.pull)

    def misfit_of(
        self,
        damping: Float[np.ndarray, " row"],
        cells: Float[np.ndarray, "cell row"],
        residual: Float[np.ndarray, "cell row"],
    ) -> Float[np.ndarray, " row"]:
        """|A x - y|^2_W from cells and their residual, without a product with A."""
        system = self.system.damped(damping)
        change = cells - self.average
        gradient = self.slope + residual + times(change, system.pull)
        gradient += system.roughness(cells + self.average)
        return np.maximum(self.misfit - dot(change, gradient), 0.0)

    def beside(self, other: LeastSquares, owner: Int[np.ndarray, " other"]) -> LeastSquares:
        """These rows followed by others, whose weights are those of the rows that own them."""
        rows = np.arange(self.misfit.size)
        return LeastSquares(
            self.system.select(np.concatenate([rows, owner])),
            np.concatenate([self.average, other.average], axis=1),
            np.concatenate([self.slope, other.slope], axis=1),
            np.concatenate([self.misfit, other.misfit]),
            np.concatenate([self.rounding, other.rounding]),
        )

    def select(self, rows: Int[np.ndarray, " kept"]) -> LeastSquares:
        """The problems of some rows."""
        return replace(
            self,
            system=self.system.select(rows),
            average=np.ascontiguousarray(self.average[:, rows]),
            slope=np.ascontiguousarray(self.slope[:, rows]),
            misfit=self.misfit[rows],
            rounding=self.rounding[rows],
        )


def _offset(progress: Progress | None, done: int) -> Progress | None:
    """Progress of a later part of the iterations."""
    return None if progress is None else lambda number, norms: progress(done + number, norms)
