"""A first-order minimiser of the same objective, to compare the Newton method with."""

from __future__ import annotations

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from skysift.compsep.kernel import Data, Kernel, Weights
from skysift.compsep.likelihood import Likelihood

_SOLVER = optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(50, initial_guess_strategy="one"))


class _Objective(eqx.Module):
    """The profiled objective in units of its start, of parameters in units of their bounds."""

    kernel: Kernel
    data: Data
    weights: Weights
    fixed: dict[str, Float[Array, "#cell"]]
    index: Int[Array, "free cell"]
    prior: tuple[Float[Array, " parameter"], Float[Array, " parameter"]]
    low: Float[Array, " parameter"]
    high: Float[Array, " parameter"]
    width: Float[Array, " parameter"]
    unit: Float[Array, ""]

    def project(self, point: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """The nearest point within bounds."""
        return jnp.clip(point, self.low / self.width, self.high / self.width)

    def __call__(self, point: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Amplitudes by dense algebra; at their best the objective does not change with them."""
        theta = self.project(point) * self.width
        columns = self.kernel.columns(theta[self.index], self.fixed)
        mixing = jnp.stack([jnp.broadcast_to(c, self.data[:, 0].shape) for c in columns])
        weights = jnp.broadcast_to(self.weights, self.data.shape)
        normal = jnp.einsum("ivp,vxp,jvp->xpij", mixing, weights, mixing)
        empty = jnp.einsum("xpii->xp", normal) == 0.0
        normal += empty[..., None, None] * jnp.eye(mixing.shape[0])
        right = jnp.einsum("ivp,vxp->xpi", mixing, weights * self.data)
        amplitude = jax.lax.stop_gradient(jnp.linalg.solve(normal, right[..., None])[..., 0])
        residual = self.data - jnp.einsum("ivp,xpi->vxp", mixing, amplitude)
        mean, precision = self.prior
        pull = jnp.sum(precision * (theta - mean) ** 2)
        return 0.5 * (jnp.sum(weights * residual**2) + pull) / self.unit


@eqx.filter_jit
def _step(objective: _Objective, point: Float[Array, " parameter"], state: optax.OptState):
    """One iteration; also the value and the projected gradient where it began."""
    value, slopes = optax.value_and_grad_from_state(objective)(point, state=state)
    gradient = cast(Array, slopes)
    change, state = _SOLVER.update(
        gradient, state, point, value=value, grad=gradient, value_fn=objective
    )
    slope = jnp.linalg.norm(objective.project(point - gradient) - point)
    moved = objective.project(cast(Array, optax.apply_updates(point, change)))
    return moved, state, cast(Array, value), slope


def minimise_first_order(
    likelihood: Likelihood,
    start: Float[np.ndarray, " parameter"],
    low: Float[np.ndarray, " parameter"],
    high: Float[np.ndarray, " parameter"],
    iterations: int = 1000,
    tolerance: float = 1e-12,
) -> tuple[Float[np.ndarray, " parameter"], list[float]]:
    """Minimise by L-BFGS: a reference for benchmarks and tests, not for use.

    Shares only the emission laws with `minimise`: amplitudes by dense algebra, the gradient by
    reverse-mode differentiation, all cells at once. Parameters are in units of the width of their
    bounds and projected into them.

    Args:
        likelihood: the objective.
        start: first point.
        low: lower bounds.
        high: upper bounds.
        iterations: at most so many line searches.
        tolerance: stop where the projected gradient has fallen by this factor.

    Returns:
        The best point found, and the objective before each iteration.
    """
    width = np.where(np.isfinite(high - low), high - low, np.maximum(np.abs(start), 1.0))
    objective = _Objective(
        *jax.tree.map(
            jnp.asarray,
            (
                likelihood.kernel,
                likelihood.data,
                likelihood.weights,
                likelihood.fixed,
                likelihood.structure.index,
                (likelihood.prior_mean, likelihood.prior_precision),
                low,
                high,
                width,
                1.0,
            ),
        )
    )
    point = objective.project(jnp.asarray(start) / width)
    unit = float(eqx.filter_jit(objective)(point)) or 1.0
    objective = eqx.tree_at(lambda o: o.unit, objective, jnp.asarray(unit))
    state, best, history, first = _SOLVER.init(point), point, [], np.inf
    for _ in range(iterations):
        before = point
        point, state, value, slope = _step(objective, point, state)
        history.append(float(value) * unit)
        best = before if history[-1] == min(history) else best
        first = float(slope) if np.isinf(first) else first
        if not np.isfinite(history[-1]) or float(slope) <= tolerance * first:
            break
    return np.asarray(best) * width, history
